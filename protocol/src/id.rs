//! Names of peers and links, and other values of a fixed number of bytes.

use crate::base58;
use base64ct::{Base64UrlUnpadded, Encoding};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;

/// A text that should have been an id of a fixed form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}")]
pub struct InvalidId {
    /// What the text should have been.
    pub expected: &'static str,
}

/// A peer: the libp2p PeerId of its Ed25519 key, printed `12D3KooW…`.
///
/// Ordered by the bytes of the key. That the key is a point on the curve is
/// found out when a signature is checked; a peer id that is none verifies nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

impl PeerId {
    /// Identity multihash (code 0, 36 bytes) of a protobuf key: type Ed25519, 32 bytes.
    /// Source: libp2p peer-ids specification.
    const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

    /// The peer whose Ed25519 public key is `key`.
    pub const fn from_public_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The Ed25519 public key.
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PeerId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            expected: "a peer id (12D3KooW…)",
        };
        let bytes = base58::decode(text).ok_or(invalid.clone())?;
        let key = bytes.strip_prefix(&Self::PREFIX).ok_or(invalid.clone())?;
        Ok(Self(key.try_into().map_err(|_| invalid)?))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&Self::PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        // Base58 is ASCII.
        f.write_str(core::str::from_utf8(&base58::encode(&bytes)).unwrap_or_default())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_text(deserializer)
    }
}

/// Deserialises a value from its text form.
pub(crate) fn parse_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    let text = Cow::<str>::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

/// Defines a newtype of `$size` bytes whose text form is unpadded base64url.
macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $size:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId { expected: $expected };
                let mut bytes = [0; $size];
                match Base64UrlUnpadded::decode(text, &mut bytes) {
                    Ok(decoded) if decoded.len() == $size => Ok(Self(bytes)),
                    _ => Err(invalid),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&Base64UrlUnpadded::encode_string(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parse_text(deserializer)
            }
        }
    };
}
pub(crate) use fixed_bytes;

fixed_bytes!(
    /// One attempt of two peers to have a link, chosen at random by who asks for it.
    LinkId, 16, "a link id (16 bytes, base64url)"
);
fixed_bytes!(
    /// Random bytes that make a statement fresh.
    Nonce, 16, "a nonce (16 bytes, base64url)"
);
fixed_bytes!(
    /// A BLAKE3-256 or SHA-256 hash; where it stands says which.
    Hash, 32, "a hash (32 bytes, base64url)"
);
fixed_bytes!(
    /// An Ed25519 signature.
    Signature, 64, "a signature (64 bytes, base64url)"
);
fixed_bytes!(
    /// The secret word with which a peer takes up a session at its rendezvous again.
    ResumeToken, 16, "a resume token (16 bytes, base64url)"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn peer_id_of_the_libp2p_specification() {
        // The public key of test vector 1 of RFC 8032, as rust-libp2p prints it.
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let byte = |at: usize| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).unwrap();
        let peer = PeerId::from_public_key(core::array::from_fn(byte));
        let text = peer.to_string();
        assert!(text.starts_with("12D3KooW"), "{text}");
        assert_eq!(text.parse(), Ok(peer));
    }

    #[test]
    fn what_is_no_peer_id_is_refused() {
        for text in [
            "",
            "12D3KooW",
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "0OIl",
            &"1".repeat(100_000),
        ] {
            assert!(text.parse::<PeerId>().is_err(), "{text:.60}");
        }
    }

    proptest! {
        #[test]
        fn ids_survive_their_text(key: [u8; 32], link: [u8; 16]) {
            let peer = PeerId::from_public_key(key);
            prop_assert_eq!(peer.to_string().parse(), Ok(peer));
            prop_assert_eq!(LinkId(link).to_string().parse(), Ok(LinkId(link)));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<PeerId>();
            let _ = text.parse::<Signature>();
        }
    }
}
