//! Content keys, sizes, and the division of contents into chunks.

use crate::id::{InvalidId, parse_text};
use base32ct::{Base32Unpadded, Encoding};
use core::{fmt, ops::Range, str::FromStr};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a chunk: a whole BLAKE3 subtree of 256 chunks of BLAKE3's own 1 KiB.
/// Fixed in version 1 of the protocol.
pub const CHUNK_SIZE: usize = 256 * 1024;

/// The name of a content: CIDv1, codec raw, multihash BLAKE3-256 of its bytes
/// (`bafkr4i…`). The 32 bytes are what `b3sum` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey([u8; 32]);

impl ContentKey {
    /// CID version 1, multicodec `raw`, multihash BLAKE3 of 32 bytes. By hand, as in peer ids:
    /// the `cid` crate brings every base there is; tests compare with it.
    const PREFIX: [u8; 4] = [0x01, 0x55, 0x1e, 0x20];
    /// Multibase code of base32 in lower case without padding.
    const BASE: char = 'b';
    /// Characters of the text form: the base and base32 of 36 bytes.
    const TEXT_LEN: usize = 59;

    /// The key of the content whose BLAKE3-256 hash is `hash`.
    pub const fn from_hash(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The BLAKE3-256 hash of the content.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for ContentKey {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            expected: "a content key (bafkr4i…)",
        };
        if text.len() != Self::TEXT_LEN {
            return Err(invalid);
        }
        let digits = text.strip_prefix(Self::BASE).ok_or(invalid.clone())?;
        let bytes = Base32Unpadded::decode_vec(digits).map_err(|_| invalid.clone())?;
        let hash = bytes.strip_prefix(&Self::PREFIX).ok_or(invalid.clone())?;
        let key = Self(hash.try_into().map_err(|_| invalid.clone())?);
        // One content has one name: other bases and cases of the same CID are refused.
        if key.to_string() != text {
            return Err(invalid);
        }
        Ok(key)
    }
}

impl fmt::Display for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 36];
        bytes[..4].copy_from_slice(&Self::PREFIX);
        bytes[4..].copy_from_slice(&self.0);
        write!(f, "{}{}", Self::BASE, Base32Unpadded::encode_string(&bytes))
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ContentKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_text(deserializer)
    }
}

/// The number of bytes of a content, at most [`ContentSize::MAX`].
///
/// Every content has at least one chunk; the only chunk of an empty content is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct ContentSize(u64);

/// A content that is larger than the protocol allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a content has at most 64 GiB; this one has {0} bytes")]
pub struct ContentTooLarge(pub u64);

impl ContentSize {
    /// Largest content of version 1: 64 GiB, so that a proof list stays under 8 MiB
    /// and a set of chunks under 32 KiB.
    pub const MAX: ContentSize = ContentSize(64 * 1024 * 1024 * 1024);

    /// Number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Number of chunks, at least one.
    pub const fn chunks(self) -> u32 {
        let chunks = self.0.div_ceil(CHUNK_SIZE as u64);
        if chunks == 0 { 1 } else { chunks as u32 }
    }

    /// Where chunk `index` lies in the content, or `None` if there is no such chunk.
    pub fn chunk_range(self, index: u32) -> Option<Range<u64>> {
        if index >= self.chunks() {
            return None;
        }
        let start = u64::from(index) * CHUNK_SIZE as u64;
        Some(start..(start + CHUNK_SIZE as u64).min(self.0))
    }

    /// Number of bytes of chunk `index`, or `None` if there is no such chunk.
    pub fn chunk_len(self, index: u32) -> Option<usize> {
        self.chunk_range(index)
            .map(|range| (range.end - range.start) as usize)
    }
}

impl TryFrom<u64> for ContentSize {
    type Error = ContentTooLarge;
    fn try_from(bytes: u64) -> Result<Self, ContentTooLarge> {
        if bytes > Self::MAX.0 {
            return Err(ContentTooLarge(bytes));
        }
        Ok(Self(bytes))
    }
}

impl From<ContentSize> for u64 {
    fn from(size: ContentSize) -> u64 {
        size.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_hello_is_what_other_tools_print() {
        let key = ContentKey::from_hash(*blake3::hash(b"hello").as_bytes());
        let text = "bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4";
        assert_eq!(key.to_string(), text);
        assert_eq!(text.parse(), Ok(key));
    }

    #[test]
    fn other_names_of_the_same_bytes_are_refused() {
        for text in [
            "",
            "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
            "BAFKR4IHKR4LD3M4GQKJF4RERYXSY2S5TKBXPRQKOW6FIN2IIYVREUZZAB4",
            "bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab5",
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        ] {
            assert!(text.parse::<ContentKey>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn keys_are_the_cids_of_the_cid_crate(hash: [u8; 32]) {
            let multihash = multihash::Multihash::<64>::wrap(0x1e, &hash).unwrap();
            let cid = cid::Cid::new_v1(0x55, multihash).to_string();
            let key = ContentKey::from_hash(hash);
            proptest::prop_assert_eq!(key.to_string(), cid.clone());
            proptest::prop_assert_eq!(cid.parse(), Ok(key));
        }
    }

    #[test]
    fn contents_divide_into_chunks() {
        let size = |bytes| ContentSize::try_from(bytes).unwrap();
        let chunk = CHUNK_SIZE as u64;
        for (bytes, chunks, last) in [
            (0, 1, 0),
            (1, 1, 1),
            (chunk, 1, CHUNK_SIZE),
            (chunk + 1, 2, 1),
            (ContentSize::MAX.bytes(), 262_144, CHUNK_SIZE),
        ] {
            assert_eq!(size(bytes).chunks(), chunks, "{bytes}");
            assert_eq!(size(bytes).chunk_len(chunks - 1), Some(last), "{bytes}");
            assert_eq!(size(bytes).chunk_len(chunks), None, "{bytes}");
        }
        assert!(ContentSize::try_from(ContentSize::MAX.bytes() + 1).is_err());
    }
}
