//! Sealed bodies of signals: those who carry a signal learn no addresses from it.
//!
//! Each side of a link makes an X25519 key for that link alone and states it in its first
//! signal, `link` or `accept`, under its signature; what the other side says of itself after
//! that is sealed to it. So nobody in between can put a key of its own there, a body is of no
//! use on another link, and when the link is over nobody can open its bodies any more.
//!
//! HPKE (RFC 9180) in base mode, each body by itself (section 6.1), with DHKEM(X25519,
//! HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305; `info` is [`INFO`], and the associated data
//! are what the signal says besides ([`SealContext`]). Who sealed is told by the signature
//! over the signal, which covers the sealed body.

use crate::{
    id::{InvalidId, LinkId, PeerId, fixed_bytes, parse_text},
    namespace::Namespace,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use core::{fmt, str::FromStr};
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::X25519HkdfSha256 as X25519,
};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// HPKE's `info`.
pub const INFO: &[u8] = b"shoal/1/seal";

/// Bytes of the encapsulated key, in front of the ciphertext.
const ENCAPSULATED: usize = 32;
/// Bytes of the tag of ChaCha20Poly1305, which the ciphertext ends with.
const TAG: usize = 16;

fixed_bytes!(
    /// The public X25519 key to which bodies are sealed.
    SealKey, 32, "a sealing key (32 bytes, base64url)"
);

/// What a sealed body belongs to. It opens for nothing else.
#[derive(Clone, Copy, Debug)]
pub struct SealContext<'a> {
    /// Who sealed.
    pub from: PeerId,
    /// For whom.
    pub to: PeerId,
    /// The namespace of the link.
    pub namespace: &'a Namespace,
    /// The link.
    pub link: LinkId,
    /// The number of the signal.
    pub n: u32,
    /// The kind of the signal, as it is written there.
    pub kind: &'static str,
}

impl SealContext<'_> {
    /// The associated data: fields of a fixed length, the kind, a zero byte, the namespace.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.from.public_key());
        bytes.extend(self.to.public_key());
        bytes.extend(self.link.0);
        bytes.extend(self.n.to_le_bytes());
        bytes.extend(self.kind.bytes());
        bytes.push(0);
        bytes.extend(self.namespace.as_str().bytes());
        bytes
    }
}

/// Why a body could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a key that anything can be sealed to (RFC 7748, section 6.1: a point of low order).
    #[error("the sealing key is not one")]
    Key,
    /// Not sealed to this key, for this signal, or changed on its way.
    #[error("the body does not open with the key of this link")]
    Body,
}

impl SealKey {
    /// Seals a text.
    pub fn seal(
        &self,
        text: &str,
        context: SealContext,
        rng: &mut impl CryptoRng,
    ) -> Result<Sealed, SealError> {
        let key = <X25519 as Kem>::PublicKey::from_bytes(&self.0).map_err(|_| SealError::Key)?;
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519>(
                &OpModeS::Base,
                &key,
                INFO,
                text.as_bytes(),
                &context.to_bytes(),
                rng,
            )
            .map_err(|_| SealError::Key)?;
        let mut sealed = encapsulated.to_bytes().to_vec();
        sealed.extend(ciphertext);
        Ok(Sealed(sealed))
    }
}

/// The private half of a [`SealKey`].
#[derive(Clone)]
pub struct SealSecret {
    secret: <X25519 as Kem>::PrivateKey,
    key: SealKey,
}

impl SealSecret {
    /// The key that follows from 32 random bytes (`DeriveKeyPair`, section 7.1.3).
    pub fn new(seed: [u8; 32]) -> Self {
        let (secret, key) = X25519::derive_keypair(&seed);
        Self {
            secret,
            key: SealKey(key.to_bytes().into()),
        }
    }

    /// What others seal to.
    pub fn key(&self) -> SealKey {
        self.key
    }

    /// Opens what was sealed to the key in this context.
    pub fn open(&self, sealed: &Sealed, context: SealContext) -> Result<String, SealError> {
        let (encapsulated, ciphertext) = sealed
            .0
            .split_at_checked(ENCAPSULATED)
            .ok_or(SealError::Body)?;
        let encapsulated = <X25519 as Kem>::EncappedKey::from_bytes(encapsulated);
        let text = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519>(
            &OpModeR::Base,
            &self.secret,
            &encapsulated.map_err(|_| SealError::Body)?,
            INFO,
            ciphertext,
            &context.to_bytes(),
        )
        .map_err(|_| SealError::Body)?;
        String::from_utf8(text).map_err(|_| SealError::Body)
    }
}

impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealSecret({})", self.key)
    }
}

/// A sealed text: the encapsulated key and the ciphertext, in base64url.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Longest, in bytes. Guess: three times the largest description.
    pub const MAX_BYTES: usize = 2048;
}

impl FromStr for Sealed {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            expected: "a sealed body (base64url)",
        };
        if text.len() > Self::MAX_BYTES / 3 * 4 {
            return Err(invalid());
        }
        let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|_| invalid())?;
        match bytes.len() >= ENCAPSULATED + TAG {
            true => Ok(Self(bytes)),
            false => Err(invalid()),
        }
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    fn context(namespace: &Namespace) -> SealContext<'_> {
        SealContext {
            from: PeerId::from_public_key([1; 32]),
            to: PeerId::from_public_key([2; 32]),
            namespace,
            link: LinkId([3; 16]),
            n: 4,
            kind: "candidate",
        }
    }

    fn rng() -> ChaCha12Rng {
        ChaCha12Rng::from_seed([5; 32])
    }

    #[test]
    fn golden_sealed_body() {
        let secret = SealSecret::new([6; 32]);
        assert_eq!(
            secret.key().to_string(),
            "IrtgJLygw03Inybprb6PgVK6hdg0jHBYX6Jz8MGgHG8"
        );
        let namespace = Namespace::default();
        let context = context(&namespace);
        let sealed = secret.key().seal("null", context, &mut rng()).unwrap();
        let golden = "nGLf2i_daLx1bXTsa1CEGLg7XIncW8t0YUMRg7LHEAVcDBJuZTYP5X1IdCd3qmkAF_pEFA";
        assert_eq!(sealed.to_string(), golden);
        let sealed: Sealed = golden.parse().unwrap();
        assert_eq!(secret.open(&sealed, context).as_deref(), Ok("null"));
    }

    #[test]
    fn a_body_opens_for_its_receiver_and_signal_only() {
        let (secret, other) = (SealSecret::new([6; 32]), SealSecret::new([7; 32]));
        let (public, home) = (Namespace::default(), "home".parse().unwrap());
        let good = context(&public);
        let text = "candidate:1 1 udp 1 192.0.2.1 9 typ host";
        let sealed = secret.key().seal(text, good, &mut rng()).unwrap();
        assert_eq!(secret.open(&sealed, good).as_deref(), Ok(text));

        assert_eq!(other.open(&sealed, good), Err(SealError::Body));
        let peer = PeerId::from_public_key([9; 32]);
        for bad in [
            SealContext { from: peer, ..good },
            SealContext { to: peer, ..good },
            SealContext {
                namespace: &home,
                ..good
            },
            SealContext {
                link: LinkId([9; 16]),
                ..good
            },
            SealContext { n: 5, ..good },
            SealContext {
                kind: "offer",
                ..good
            },
        ] {
            assert_eq!(secret.open(&sealed, bad), Err(SealError::Body), "{bad:?}");
        }
        for at in 0..sealed.0.len() {
            let mut changed = sealed.clone();
            changed.0[at] ^= 1;
            assert_eq!(secret.open(&changed, good), Err(SealError::Body), "{at}");
        }
    }

    #[test]
    fn nothing_is_sealed_to_a_point_of_low_order() {
        let namespace = Namespace::default();
        for key in [[0; 32], core::array::from_fn(|at| u8::from(at == 0))] {
            let sealed = SealKey(key).seal("null", context(&namespace), &mut rng());
            assert_eq!(sealed, Err(SealError::Key));
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_is_no_sealed_body() {
        let text = |bytes: usize| Base64UrlUnpadded::encode_string(&vec![0; bytes]);
        assert!(text(ENCAPSULATED + TAG - 1).parse::<Sealed>().is_err());
        assert!(text(ENCAPSULATED + TAG).parse::<Sealed>().is_ok());
        assert!(text(Sealed::MAX_BYTES + 3).parse::<Sealed>().is_err());
    }

    proptest! {
        #[test]
        fn texts_come_out_as_they_went_in(text: String, seed: [u8; 32]) {
            let (secret, namespace) = (SealSecret::new(seed), Namespace::default());
            let context = context(&namespace);
            let sealed = secret.key().seal(&text, context, &mut rng()).unwrap();
            prop_assert_eq!(secret.open(&sealed, context), Ok(text));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let (secret, namespace) = (SealSecret::new([6; 32]), Namespace::default());
            prop_assert_eq!(secret.open(&Sealed(bytes), context(&namespace)), Err(SealError::Body));
        }
    }
}
