//! Who may be in a namespace: anybody in a public one, in a private one whoever has its secret.
//!
//! The id of a private namespace is `~` and an Ed25519 public key that follows from the secret
//! ([`NamespaceSecret`]), so the id can be told to those who carry messages, and the secret
//! never is. A statement is proven to be a member's by a second signature, of the namespace's
//! key, over the very text that the peer signed and over the peer: neither is of use to
//! another peer, nor for another statement. `join`, `auth` and `signal` are proven.

use crate::{
    id::InvalidId,
    id::{PeerId, Signature, fixed_bytes, parse_text},
    namespace::Namespace,
    signed::{Kind, Signed},
};
use base64ct::{Base64UrlUnpadded, Encoding};
use core::{fmt, str::FromStr};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

fixed_bytes!(
    /// What makes a page a member of a private namespace: 256 random bits. It is handed from
    /// person to person, in the fragment of a link, and reaches no server.
    NamespaceSecret, 32, "the secret of a namespace (32 bytes, base64url, 43 characters)"
);

impl NamespaceSecret {
    /// The namespace's key: its seed (RFC 8032, section 5.1.5) is
    /// `SHA-256("shoal/1/namespace\0" ‖ secret)`.
    fn key(&self) -> SigningKey {
        let mut hash = Sha256::new();
        hash.update(b"shoal/1/namespace\0");
        hash.update(self.0);
        SigningKey::from_bytes(&hash.finalize().into())
    }
}

/// A namespace with what proves that this peer is in it.
#[derive(Clone)]
pub struct Membership {
    namespace: Namespace,
    key: Option<SigningKey>,
}

impl Membership {
    /// In a namespace where nothing is to be proven. (In a private one nobody would believe it.)
    pub fn public(namespace: Namespace) -> Self {
        Self {
            namespace,
            key: None,
        }
    }

    /// In the private namespace of a secret.
    pub fn private(secret: &NamespaceSecret) -> Self {
        let key = secret.key();
        Self {
            namespace: Namespace::of_key(key.verifying_key().as_bytes()),
            key: Some(key),
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Puts a statement together that `peer` signed with `sig`, and proves it.
    pub fn signed(&self, peer: PeerId, kind: Kind, payload: String, sig: Signature) -> Signed {
        let member = self.key.as_ref().map(|key| {
            let message = proven(peer, kind, &payload);
            Signature(key.sign(&message).to_bytes())
        });
        Signed {
            peer,
            payload,
            sig,
            member,
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({})", self.namespace)
    }
}

impl Signed {
    /// Whether this statement is a member's of the namespace, as far as that has members. The
    /// peer's own signature is for [`Signed::open`] to check.
    pub fn is_of_member(&self, kind: Kind, namespace: &Namespace) -> bool {
        let Some(key) = namespace.key() else {
            return true;
        };
        let (Some(sig), Ok(key)) = (&self.member, VerifyingKey::from_bytes(&key)) else {
            return false;
        };
        let sig = ed25519_dalek::Signature::from_bytes(&sig.0);
        let message = proven(self.peer, kind, &self.payload);
        key.verify_strict(&message, &sig).is_ok()
    }
}

/// What the namespace's key signs: `"shoal/1/member\0" ‖ peer ‖ message of the peer's signature`.
fn proven(peer: PeerId, kind: Kind, payload: &str) -> Vec<u8> {
    let message = kind.message(payload);
    [&b"shoal/1/member\0"[..], peer.public_key(), &message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::Nonce, rendezvous::Join, signed::Payload};

    fn join(membership: &Membership) -> Signed {
        let key = SigningKey::from_bytes(&[7; 32]);
        let peer = PeerId::from_public_key(key.verifying_key().to_bytes());
        let join = Join {
            server: PeerId::from_public_key([1; 32]),
            nonce: Nonce([2; 16]),
            namespace: membership.namespace().clone(),
            versions: vec![1],
        };
        let payload = join.to_payload();
        let sig = Signature(key.sign(&Kind::Join.message(&payload)).to_bytes());
        membership.signed(peer, Kind::Join, payload, sig)
    }

    #[test]
    fn golden_namespace_of_a_secret() {
        let secret = NamespaceSecret([3; 32]);
        assert_eq!(
            secret.to_string(),
            "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM"
        );
        let namespace = Membership::private(&secret).namespace().clone();
        assert_eq!(
            namespace.as_str(),
            "~werrjb7ryagd4djollfqy7kdmxjah72cp464ebxk3zndrxrmnbia"
        );
        assert!(namespace.is_private());
        assert_eq!(namespace.as_str().parse(), Ok(namespace));
    }

    #[test]
    fn a_member_is_known_by_the_second_signature() {
        let membership = Membership::private(&NamespaceSecret([3; 32]));
        let namespace = membership.namespace();
        let signed = join(&membership);
        assert!(signed.open::<Join>().is_ok());
        assert!(signed.is_of_member(Kind::Join, namespace));

        // Who knows the id alone proves nothing, nor with the secret of another namespace.
        let stranger = join(&Membership::public(namespace.clone()));
        assert!(stranger.open::<Join>().is_ok());
        assert!(!stranger.is_of_member(Kind::Join, namespace));
        let mut other = Membership::private(&NamespaceSecret([4; 32]));
        assert!(!join(&other).is_of_member(Kind::Join, namespace));
        other.namespace = namespace.clone();
        assert!(!join(&other).is_of_member(Kind::Join, namespace));

        // It is for one peer and one statement.
        let of_other = Signed {
            peer: PeerId::from_public_key([9; 32]),
            ..signed.clone()
        };
        assert!(!of_other.is_of_member(Kind::Join, namespace));
        assert!(!signed.is_of_member(Kind::Auth, namespace));
        let payload = signed.payload.replace("[1]", "[2]");
        assert!(!Signed { payload, ..signed }.is_of_member(Kind::Join, namespace));
    }

    #[test]
    fn a_public_namespace_has_no_members() {
        let membership = Membership::public(Namespace::default());
        let signed = join(&membership);
        assert_eq!(signed.member, None);
        assert!(signed.is_of_member(Kind::Join, membership.namespace()));
    }
}
