//! Namespaces: the groups in which content is shared.

use crate::id::parse_text;
use base32ct::{Base32Unpadded, Encoding};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a public namespace: 1 to 64 of the characters `a-z 0-9 . _ -`; or the id of a
/// private one: `~` and its Ed25519 public key in base32 (RFC 4648, lower case, unpadded).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(String);

/// A text that cannot name a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a namespace is 1 to 64 characters, each of a-z 0-9 . _ -, or a private one's id")]
pub struct InvalidNamespace;

impl Namespace {
    /// Longest name, in bytes. Guess: long enough for a host name.
    pub const MAX_BYTES: usize = 64;

    /// What ids of private namespaces begin with.
    const PRIVATE: char = '~';

    /// The private namespace of a public key.
    pub fn of_key(key: &[u8; 32]) -> Self {
        Self(format!(
            "{}{}",
            Self::PRIVATE,
            Base32Unpadded::encode_string(key)
        ))
    }

    /// The name or id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only those are in it who have its secret. It is listed to nobody else, and its
    /// catalogs reach no server.
    pub fn is_private(&self) -> bool {
        self.0.starts_with(Self::PRIVATE)
    }

    /// The public key of a private namespace.
    pub fn key(&self) -> Option<[u8; 32]> {
        let mut key = [0; 32];
        let text = self.0.strip_prefix(Self::PRIVATE)?;
        Base32Unpadded::decode(text, &mut key).ok()?;
        Some(key)
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("public".into())
    }
}

impl FromStr for Namespace {
    type Err = InvalidNamespace;
    fn from_str(text: &str) -> Result<Self, InvalidNamespace> {
        let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if text.starts_with(Self::PRIVATE) {
            let private = Self(text.into());
            // Other texts of the same key would be other namespaces to whoever compares.
            return match private.key() {
                Some(key) if Self::of_key(&key) == private => Ok(private),
                _ => Err(InvalidNamespace),
            };
        }
        if text.is_empty() || text.len() > Self::MAX_BYTES || !text.bytes().all(valid) {
            return Err(InvalidNamespace);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Namespace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["public", "a", "my-site.example_2", &"x".repeat(64)] {
            assert_eq!(good.parse::<Namespace>().unwrap().as_str(), good);
        }
        for bad in ["", "Public", "~key", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert_eq!(bad.parse::<Namespace>(), Err(InvalidNamespace), "{bad}");
        }
    }

    #[test]
    fn the_id_of_a_private_one_is_a_key() {
        let private = Namespace::of_key(&[0xab; 32]);
        assert!(private.is_private() && !Namespace::default().is_private());
        assert_eq!(private.key(), Some([0xab; 32]));
        assert_eq!(private.as_str().parse(), Ok(private.clone()));
        assert!(private.as_str().len() <= Namespace::MAX_BYTES);
        let text = private.as_str();
        for bad in [
            "~",
            &text[1..53],
            &text.to_uppercase(),
            &format!("{text}a"),
            &text[..52],
        ] {
            assert!(
                bad.parse::<Namespace>().is_err() || !bad.starts_with('~'),
                "{bad}"
            );
        }
        // 52 characters have four bits more than a key.
        let loose = format!("{}t", &text[..52]);
        assert!(loose == text || loose.parse::<Namespace>().is_err());
    }
}
