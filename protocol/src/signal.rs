//! Signals: how two peers agree on a link.
//!
//! A signal carries structured fields, never SDP: each side writes the remote description
//! from a template of its own. Whoever wants the link sends `link`; after the `accept` the
//! peer with the smaller id offers, so there is no glare. Both of these state a key, to which
//! what the other side says of itself is sealed ([`crate::seal`]): offer, answer, candidates.
//! Offer and answer are bound to each other and to the channel they lead to by
//! [`transcript_hash`], which both sides sign inside the channel.
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
    seal::{SealContext, SealError, SealKey, SealSecret, Sealed},
    signed::{Kind, Payload},
    time::UnixMillis,
    words::words,
};
use core::{fmt, str::FromStr, time::Duration};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _},
};
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
    /// Let us have a link; what is said to the sender is to be sealed to this key.
    Link(SealKey),
    /// Yes; and the key of this side.
    Accept(SealKey),
    /// The offerer's [`Description`].
    Offer(Sealed),
    /// The answerer's [`Answer`].
    Answer(Sealed),
    /// An address of the sender, a [`Candidate`]; `null`: there are no more.
    Candidate(Sealed),
    /// The answerer of a link that is up asks for another offer: nothing comes through.
    Restart,
    /// No, or no longer.
    Refuse(Refusal),
    /// One of those that state a key or are sealed, without a key or not sealed. Never sent,
    /// and refused by whoever gets it.
    #[serde(skip_serializing)]
    Unsealed,
}

/// What a sealed body says.
#[derive(Clone, Debug, PartialEq)]
pub enum Opened {
    /// Of [`SignalBody::Offer`].
    Offer(Description),
    /// Of [`SignalBody::Answer`].
    Answer(Answer),
    /// Of [`SignalBody::Candidate`].
    Candidate(Option<Candidate>),
}

impl Opened {
    /// The kind of its signal.
    pub fn kind(&self) -> &'static str {
        match self {
            Opened::Offer(_) => "offer",
            Opened::Answer(_) => "answer",
            Opened::Candidate(_) => "candidate",
        }
    }

    /// The text that is sealed.
    pub fn to_text(&self) -> String {
        // Structs of strings and numbers, for which serialising cannot fail.
        match self {
            Opened::Offer(offer) => serde_json::to_string(offer),
            Opened::Answer(answer) => serde_json::to_string(answer),
            Opened::Candidate(candidate) => serde_json::to_string(candidate),
        }
        .unwrap_or_default()
    }

    /// The body of its signal.
    pub fn sealed(&self, sealed: Sealed) -> SignalBody {
        match self {
            Opened::Offer(_) => SignalBody::Offer(sealed),
            Opened::Answer(_) => SignalBody::Answer(sealed),
            Opened::Candidate(_) => SignalBody::Candidate(sealed),
        }
    }
}

impl Signal {
    /// Opens the body, if it is a sealed one: the text that was sealed, and what it says.
    pub fn open_body(&self, secret: &SealSecret) -> Result<Option<(String, Opened)>, SealError> {
        let (kind, sealed) = match &self.body {
            SignalBody::Offer(sealed) => ("offer", sealed),
            SignalBody::Answer(sealed) => ("answer", sealed),
            SignalBody::Candidate(sealed) => ("candidate", sealed),
            SignalBody::Unsealed => return Err(SealError::Body),
            SignalBody::Link(_)
            | SignalBody::Accept(_)
            | SignalBody::Restart
            | SignalBody::Refuse(_) => return Ok(None),
        };
        let context = SealContext {
            from: self.from,
            to: self.to,
            namespace: &self.namespace,
            link: self.link,
            n: self.n,
            kind,
        };
        let text = secret.open(sealed, context)?;
        let opened = match kind {
            "offer" => json::from_str(&text).map(Opened::Offer),
            "answer" => json::from_str(&text).map(Opened::Answer),
            _ => json::from_str(&text).map(Opened::Candidate),
        };
        let opened = opened.map_err(|_| SealError::Body)?;
        Ok(Some((text, opened)))
    }
}

impl TryFrom<Object> for Signal {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        let body = match object.get::<String>("kind")?.as_str() {
            "link" => sealed(&object, SignalBody::Link),
            "accept" => sealed(&object, SignalBody::Accept),
            "restart" => SignalBody::Restart,
            "offer" => sealed(&object, SignalBody::Offer),
            "answer" => sealed(&object, SignalBody::Answer),
            "candidate" => sealed(&object, SignalBody::Candidate),
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

fn sealed<T: DeserializeOwned>(object: &Object, body: impl Fn(T) -> SignalBody) -> SignalBody {
    object.get("body").map_or(SignalBody::Unsealed, body)
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
        /// A signal's body is not sealed, or not to the key of the link.
        Unsealed = "unsealed",
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
    /// [`description_hash`] of the offer.
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

/// SHA-256 over the signed payload of an offer or answer and over the text in its sealed body,
/// each after its length as eight bytes, little-endian: what was carried, and what it says.
pub fn description_hash(payload: &str, text: &str) -> Hash {
    let mut hash = Sha256::new();
    for part in [payload, text] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Hash(hash.finalize().into())
}

/// `H = SHA-256(context ‖ offer ‖ answer)` over the [`description_hash`] of either. Both sides
/// sign it inside the channel, so a channel to anybody but the makers of these very
/// descriptions is found out.
pub fn transcript_hash(offer: &Hash, answer: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"shoal/1/link\0");
    hash.update(offer.0);
    hash.update(answer.0);
    Hash(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

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
        let sealed: Sealed = "A".repeat(64).parse().unwrap();
        for body in [
            SignalBody::Link(SealKey([6; 32])),
            SignalBody::Accept(SealKey([6; 32])),
            SignalBody::Offer(sealed.clone()),
            SignalBody::Answer(sealed.clone()),
            SignalBody::Candidate(sealed),
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
        }
    }

    fn bodies() -> [Opened; 4] {
        let candidate = "candidate:1 1 udp 1 192.0.2.1 9 typ host".parse().unwrap();
        [
            Opened::Offer(description()),
            Opened::Answer(Answer {
                description: description(),
                offer: description_hash("x", "y"),
            }),
            Opened::Candidate(Some(candidate)),
            Opened::Candidate(None),
        ]
    }

    #[test]
    fn a_sealed_body_tells_its_receiver_alone() {
        let secret = SealSecret::new([6; 32]);
        let mut rng = ChaCha12Rng::from_seed([5; 32]);
        for body in bodies() {
            let mut signal = signal(SignalBody::Restart);
            let namespace = signal.namespace.clone();
            let context = SealContext {
                from: signal.from,
                to: signal.to,
                namespace: &namespace,
                link: signal.link,
                n: signal.n,
                kind: body.kind(),
            };
            let sealed = secret.key().seal(&body.to_text(), context, &mut rng);
            signal.body = body.sealed(sealed.unwrap());
            let payload = signal.to_payload();
            for word in ["192.0.2.1", "0123456789abcdefghij+/", "AB:AB", "ufrag"] {
                assert!(!payload.contains(word), "{payload}");
            }
            assert!(payload.len() < Signal::MAX_BYTES);
            let came: Signal = json::from_str(&payload).unwrap();
            assert_eq!(came.open_body(&secret), Ok(Some((body.to_text(), body))));
            // Nor under another kind.
            let other = payload.replace(r#""kind":"candidate""#, r#""kind":"answer""#);
            let other = other.replace(r#""kind":"offer""#, r#""kind":"candidate""#);
            if other != payload {
                let other: Signal = json::from_str(&other).unwrap();
                assert_eq!(other.open_body(&secret), Err(SealError::Body));
            }
        }
    }

    #[test]
    fn a_body_that_is_not_sealed_is_seen() {
        for body in bodies() {
            let text = signal(SignalBody::Restart).to_payload();
            let kind = format!(r#""kind":"{}","body":{}"#, body.kind(), body.to_text());
            let text = text.replace(r#""kind":"restart""#, &kind);
            let signal: Signal = json::from_str(&text).unwrap();
            assert_eq!(signal.body, SignalBody::Unsealed, "{text}");
            let opened = signal.open_body(&SealSecret::new([6; 32]));
            assert_eq!(opened, Err(SealError::Body));
        }
        let text = signal(SignalBody::Restart).to_payload();
        let text = text.replace("restart", "link");
        let signal: Signal = json::from_str(&text).unwrap();
        assert_eq!(signal.body, SignalBody::Unsealed);
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
    fn the_hash_tells_where_the_payload_ends() {
        assert_ne!(description_hash("ab", "c"), description_hash("a", "bc"));
        let (a, b) = (Hash([1; 32]), Hash([2; 32]));
        assert_ne!(transcript_hash(&a, &b), transcript_hash(&b, &a));
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
