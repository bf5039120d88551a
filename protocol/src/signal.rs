//! Signals: how two peers agree on a link.
//!
//! A signal carries structured fields, never SDP: each side writes the remote description
//! from a template of its own. Whoever wants the link sends `link`; after the `accept` the
//! peer with the smaller id offers, so there is no glare. Offer and answer are bound to
//! each other and to the channel they lead to by [`transcript_hash`], which both sides
//! sign inside the channel.
//!
//! While a link is up, the offerer may offer again with new ICE credentials, and the answerer
//! may ask for that with `restart`: the connection finds another way between the same two
//! certificates (ICE restart, RFC 8445, section 9), so what was signed inside stays true.

use crate::{
    candidate::Candidate,
    control::Role,
    id::{Hash, InvalidId, LinkId, Nonce, PeerId, parse_text},
    json::{self, Object},
    namespace::Namespace,
    signed::{Kind, Payload},
    time::UnixMillis,
    words::words,
};
use core::{fmt, str::FromStr, time::Duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

/// How long a signal is good for. Guess: longer than any negotiation takes, short enough
/// to remember all links of that time.
pub const SIGNAL_LIFETIME: Duration = Duration::from_secs(60);
/// How far a peer's clock may be behind or ahead. Guess, after Kerberos' five minutes.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The signed payload of a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct Signal {
    /// Who signs.
    pub from: PeerId,
    /// Whom it is for.
    pub to: PeerId,
    /// The namespace in which the link is to be.
    pub namespace: Namespace,
    /// The link it is about.
    pub link: LinkId,
    /// Number of the signal among those of `from` about the link, from 0, rising.
    pub n: u32,
    /// Fresh for each link; makes offer and answer, and so their hash, unique.
    pub nonce: Nonce,
    /// Protocol versions of `from`, best first.
    pub versions: Vec<u16>,
    /// When the signal loses its meaning.
    pub expires: UnixMillis,
    /// What is said.
    #[serde(flatten)]
    pub body: SignalBody,
}

impl Payload for Signal {
    const KIND: Kind = Kind::Signal;
    const MAX_BYTES: usize = 4096;
}

/// What a signal says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", content = "body", rename_all = "lowercase")]
pub enum SignalBody {
    /// Let us have a link.
    Link,
    /// Yes.
    Accept,
    /// The offerer's description.
    Offer(Description),
    /// The answerer's description.
    Answer(Answer),
    /// An address of the sender; `None`: there are no more.
    Candidate(Option<Candidate>),
    /// The answerer of a link that is up asks for another offer: nothing comes through.
    Restart,
    /// No, or no longer.
    Refuse(Refusal),
}

impl TryFrom<Object> for Signal {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        let body = match object.get::<String>("kind")?.as_str() {
            "link" => SignalBody::Link,
            "accept" => SignalBody::Accept,
            "restart" => SignalBody::Restart,
            "offer" => SignalBody::Offer(object.get("body")?),
            "answer" => SignalBody::Answer(object.get("body")?),
            "candidate" => SignalBody::Candidate(object.find("body")?),
            "refuse" => SignalBody::Refuse(object.get("body")?),
            _ => return Err(json::Error::custom("unknown kind of signal")),
        };
        Ok(Self {
            from: object.get("from")?,
            to: object.get("to")?,
            namespace: object.get("namespace")?,
            link: object.get("link")?,
            n: object.get("n")?,
            nonce: object.get("nonce")?,
            versions: object.get("versions")?,
            expires: object.get("expires")?,
            body,
        })
    }
}

words! {
    /// Why a link is refused or given up.
    pub enum Refusal as "a reason to refuse a link" {
        /// As many links are open as this peer takes.
        Limit = "limit",
        /// No common protocol version.
        Version = "version",
        /// The asker did not behave.
        Banned = "banned",
        /// The peer connection could not be made.
        Failed = "failed",
    }
}

/// One side of a peer connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Object")]
pub struct Description {
    /// ICE user fragment.
    pub ufrag: IceText,
    /// ICE password.
    pub pwd: IceText,
    /// SHA-256 fingerprint of the DTLS certificate made for this link.
    pub fingerprint: Fingerprint,
    /// DTLS role.
    pub setup: Setup,
    /// Largest message of the SCTP association, in bytes; 0: no limit.
    pub max_message_size: u64,
}

/// The answer and what it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct Answer {
    /// The answerer's side.
    #[serde(flatten)]
    pub description: Description,
    /// SHA-256 of the payload of the offer.
    pub offer: Hash,
}

impl TryFrom<&Object> for Description {
    type Error = json::Error;
    fn try_from(object: &Object) -> Result<Self, json::Error> {
        Ok(Self {
            ufrag: object.get("ufrag")?,
            pwd: object.get("pwd")?,
            fingerprint: object.get("fingerprint")?,
            setup: object.get("setup")?,
            max_message_size: object.get("maxMessageSize")?,
        })
    }
}

impl TryFrom<Object> for Description {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        Self::try_from(&object)
    }
}

impl TryFrom<Object> for Answer {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        Ok(Self {
            description: Description::try_from(&object)?,
            offer: object.get("offer")?,
        })
    }
}

words! {
    /// DTLS role in a description: the offer leaves it open, the answer decides (RFC 8842).
    pub enum Setup as "a DTLS role" {
        /// Either.
        Actpass = "actpass",
        /// Begins the handshake.
        Active = "active",
        /// Waits for the handshake.
        Passive = "passive",
    }
}

/// A user fragment or password of ICE: 4 to 256 of the characters `A-Z a-z 0-9 + /`
/// (RFC 8839, section 5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceText(String);

impl IceText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IceText {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let ice_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        if !(4..=256).contains(&text.len()) || !text.bytes().all(ice_char) {
            return Err(InvalidId {
                expected: "an ICE user fragment or password",
            });
        }
        Ok(Self(text.into()))
    }
}

impl Serialize for IceText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IceText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_text(deserializer)
    }
}

/// The SHA-256 fingerprint of a certificate, printed as SDP does: `AB:CD:…` (RFC 8122).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl FromStr for Fingerprint {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            expected: "a SHA-256 fingerprint (AB:CD:…)",
        };
        if text.len() != 32 * 3 - 1 {
            return Err(invalid);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.split(':')) {
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid.clone())?;
        }
        let fingerprint = Self(bytes);
        if !fingerprint.to_string().eq_ignore_ascii_case(text) {
            return Err(invalid);
        }
        Ok(fingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_text(deserializer)
    }
}

/// Who offers on a link between two peers: the smaller id.
pub fn role_of(own: PeerId, other: PeerId) -> Role {
    if own < other {
        Role::Offerer
    } else {
        Role::Answerer
    }
}

/// SHA-256 of an offer's payload, as the answer names it.
pub fn offer_hash(offer_payload: &str) -> Hash {
    Hash(Sha256::digest(offer_payload).into())
}

/// `H = SHA-256(context ‖ offer ‖ answer)` over the signed payloads of offer and answer, each
/// after its length as eight bytes, little-endian. Both sides sign it inside the channel, so
/// a channel to anybody but the makers of these very descriptions is found out.
pub fn transcript_hash(offer_payload: &str, answer_payload: &str) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"shoal/1/link\0");
    for payload in [offer_payload, answer_payload] {
        hash.update((payload.len() as u64).to_le_bytes());
        hash.update(payload);
    }
    Hash(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signal(body: SignalBody) -> Signal {
        Signal {
            from: PeerId::from_public_key([1; 32]),
            to: PeerId::from_public_key([2; 32]),
            namespace: Namespace::default(),
            link: LinkId([3; 16]),
            n: 4,
            nonce: Nonce([5; 16]),
            versions: vec![1],
            expires: UnixMillis(1_790_000_000_000),
            body,
        }
    }

    fn description() -> Description {
        Description {
            ufrag: "abcd".parse().unwrap(),
            pwd: "0123456789abcdefghij+/".parse().unwrap(),
            fingerprint: Fingerprint([0xab; 32]),
            setup: Setup::Actpass,
            max_message_size: 262_144,
        }
    }

    #[test]
    fn every_kind_of_signal_survives_its_payload() {
        let candidate = "candidate:1 1 udp 1 192.0.2.1 9 typ host".parse().unwrap();
        for body in [
            SignalBody::Link,
            SignalBody::Accept,
            SignalBody::Offer(description()),
            SignalBody::Answer(Answer {
                description: description(),
                offer: offer_hash("x"),
            }),
            SignalBody::Candidate(Some(candidate)),
            SignalBody::Candidate(None),
            SignalBody::Restart,
            SignalBody::Refuse(Refusal::Limit),
        ] {
            let signal = signal(body);
            let payload = signal.to_payload();
            assert_eq!(
                json::from_str::<Signal>(&payload).unwrap(),
                signal,
                "{payload}"
            );
            assert!(payload.len() < Signal::MAX_BYTES);
        }
    }

    #[test]
    fn golden_signal() {
        let payload = signal(SignalBody::Refuse(Refusal::Limit)).to_payload();
        assert!(payload.ends_with(
            r#""namespace":"public","link":"AwMDAwMDAwMDAwMDAwMDAw","n":4,"nonce":"BQUFBQUFBQUFBQUFBQUFBQ","versions":[1],"expires":1790000000000,"kind":"refuse","body":"limit"}"#
        ), "{payload}");
    }

    #[test]
    fn golden_restart() {
        let payload = signal(SignalBody::Restart).to_payload();
        let end = r#""versions":[1],"expires":1790000000000,"kind":"restart"}"#;
        assert!(payload.ends_with(end), "{payload}");
    }

    #[test]
    fn descriptions_hold_no_text_a_parser_could_trip_over() {
        let good = serde_json::to_string(&description()).unwrap();
        for (from, to) in [
            ("abcd", "ab"),
            ("abcd", "abcd\\r\\na=ice-lite"),
            ("AB:AB", "AB-AB"),
            ("AB:AB", "AB:A"),
            ("actpass", "holdconn"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(json::from_str::<Description>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_transcript_tells_where_the_offer_ends() {
        assert_ne!(transcript_hash("ab", "c"), transcript_hash("a", "bc"));
        assert_ne!(transcript_hash("a", "b"), transcript_hash("b", "a"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Fingerprint>();
            let _ = text.parse::<IceText>();
            let _ = json::from_str::<Signal>(&text);
        }
    }
}
