//! Statements under their maker's signature.

use crate::{
    id::{PeerId, Signature},
    json::{self, Object, from_object},
};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a signed statement is, so that one kind never passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A peer joins a namespace at a server.
    Join,
    /// A peer says it is present at a server.
    Presence,
    /// One step of the negotiation of a link.
    Signal,
    /// A peer proves itself inside a link.
    Auth,
    /// The head of a catalog.
    Catalog,
    /// A search record.
    Record,
    /// A server describes itself.
    Descriptor,
    /// A batch of a server's log.
    Batch,
    /// A server's lease over its peers.
    Lease,
    /// A pass to search.
    Pass,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Join => "join",
            Kind::Presence => "presence",
            Kind::Signal => "signal",
            Kind::Auth => "auth",
            Kind::Catalog => "catalog",
            Kind::Record => "record",
            Kind::Descriptor => "descriptor",
            Kind::Batch => "batch",
            Kind::Lease => "lease",
            Kind::Pass => "pass",
        }
    }

    /// The bytes a signature of this kind is over: `"shoal/1/" + kind + "\0" + payload`.
    pub fn message(self, payload: &str) -> Vec<u8> {
        ["shoal/1/", self.name(), "\0", payload]
            .concat()
            .into_bytes()
    }
}

/// A payload with its type and kind. The payload says what it is for (server, namespace,
/// link, number), so that it means nothing elsewhere.
pub trait Payload: Serialize + DeserializeOwned {
    /// The kind it is signed as.
    const KIND: Kind;
    /// Longest payload, in bytes.
    const MAX_BYTES: usize;

    /// The text that is signed and sent.
    fn to_payload(&self) -> String {
        // Payloads are structs of strings and numbers, for which serialising cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// `{ peer, payload, sig }`: a statement as it travels. The payload is kept as the very
/// text that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct Signed {
    /// Who signed.
    pub peer: PeerId,
    /// What was signed: JSON of a [`Payload`].
    pub payload: String,
    /// Ed25519 over [`Kind::message`].
    pub sig: Signature,
    /// In a private namespace, that a member signed ([`crate::membership`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<Signature>,
}

from_object!(Signed {
    get peer,
    get payload,
    get sig,
    find member,
});

/// Why a signed statement was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// Longer than its kind may be.
    #[error("the signed payload is longer than {0} bytes")]
    TooLong(usize),
    /// The signature is not the peer's, or for another kind.
    #[error("the signature is not valid")]
    Signature,
    /// The payload is not what its kind says.
    #[error("the signed payload is malformed: {0}")]
    Malformed(String),
}

impl Signed {
    /// Checks the signature and parses the payload, in this order.
    pub fn open<T: Payload>(&self) -> Result<T, SignedError> {
        self.check_length::<T>()?;
        self.verify(T::KIND)?;
        self.open_unverified()
    }

    /// Parses the payload without checking the signature. Only for a statement that this
    /// side checked before or made itself.
    pub fn open_unverified<T: Payload>(&self) -> Result<T, SignedError> {
        self.check_length::<T>()?;
        json::from_str(&self.payload).map_err(|error| SignedError::Malformed(error.to_string()))
    }

    fn check_length<T: Payload>(&self) -> Result<(), SignedError> {
        if self.payload.len() > T::MAX_BYTES {
            return Err(SignedError::TooLong(T::MAX_BYTES));
        }
        Ok(())
    }

    /// Checks that `peer` signed the payload as `kind`. Refuses weak keys and other
    /// encodings of the same signature (RFC 8032, strict).
    fn verify(&self, kind: Kind) -> Result<(), SignedError> {
        let key =
            VerifyingKey::from_bytes(self.peer.public_key()).map_err(|_| SignedError::Signature)?;
        let sig = ed25519_dalek::Signature::from_bytes(&self.sig.0);
        key.verify_strict(&kind.message(&self.payload), &sig)
            .map_err(|_| SignedError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Greeting {
        hello: String,
    }
    impl Payload for Greeting {
        const KIND: Kind = Kind::Join;
        const MAX_BYTES: usize = 64;
    }

    fn sign(kind: Kind, payload: &str) -> Signed {
        let key = SigningKey::from_bytes(&[7; 32]);
        Signed {
            peer: PeerId::from_public_key(key.verifying_key().to_bytes()),
            payload: payload.into(),
            sig: Signature(key.sign(&kind.message(payload)).to_bytes()),
            member: None,
        }
    }

    #[test]
    fn a_statement_opens_for_its_signer_kind_and_text_only() {
        let payload = r#"{"hello":"sea"}"#;
        let signed = sign(Kind::Join, payload);
        assert_eq!(
            signed.open::<Greeting>(),
            Ok(Greeting {
                hello: "sea".into()
            })
        );

        assert_eq!(
            sign(Kind::Auth, payload).open::<Greeting>(),
            Err(SignedError::Signature)
        );
        let other = Signed {
            payload: r#"{"hello":"see"}"#.into(),
            ..signed.clone()
        };
        assert_eq!(other.open::<Greeting>(), Err(SignedError::Signature));
        let other = Signed {
            peer: PeerId::from_public_key([3; 32]),
            ..signed
        };
        assert_eq!(other.open::<Greeting>(), Err(SignedError::Signature));
    }

    #[test]
    fn a_weak_key_signs_nothing() {
        let mut signed = sign(Kind::Join, r#"{"hello":"sea"}"#);
        // The neutral element, for which everybody can make signatures.
        let mut weak = [0; 32];
        weak[0] = 1;
        signed.peer = PeerId::from_public_key(weak);
        signed.sig = Signature([0; 64]);
        signed.sig.0[0] = 1;
        assert_eq!(signed.open::<Greeting>(), Err(SignedError::Signature));
    }

    #[test]
    fn long_and_malformed_payloads_are_named() {
        let long = format!(r#"{{"hello":"{}"}}"#, "a".repeat(64));
        assert_eq!(
            sign(Kind::Join, &long).open::<Greeting>(),
            Err(SignedError::TooLong(64))
        );
        assert!(matches!(
            sign(Kind::Join, "[]").open::<Greeting>(),
            Err(SignedError::Malformed(_))
        ));
    }
}
