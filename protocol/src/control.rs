//! Messages of the control channel: JSON text, one message a frame, in order.
//!
//! `Hello` and `Auth` come first; nothing else is parsed before both sides' `Auth` has
//! verified.

use crate::{
    bits::Bits,
    catalog::{PageText, Since},
    content::ContentKey,
    id::{Hash, LinkId, PeerId},
    json::{self, Object, from_object},
    namespace::Namespace,
    signed::{Kind, Payload, Signed},
    words::words,
};
use serde::{Deserialize, Serialize, de::Error as _};

/// Longest control message, in bytes: a catalog head with a page fits.
pub const MAX_CONTROL: usize = 128 * 1024;
/// Most chunks one `FetchPeerKeys` may name, and with it whatever is said of what was asked for
/// or is held no more. Guess: a second of a fast link.
pub const MAX_CHUNKS_PER_REQUEST: usize = 64;

/// A message of the control channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all_fields = "camelCase", try_from = "Object")]
pub enum ControlMessage {
    /// First message: the versions already stated in the signed signals, and the longest
    /// message this side takes.
    Hello {
        /// Protocol versions, best first; must be those of this side's offer or answer.
        versions: Vec<u16>,
        /// Longest message this side takes, in bytes.
        max_message: u32,
    },
    /// Second message: proof of who is at this end of this very channel.
    Auth {
        /// Signed [`AuthPayload`].
        signed: Signed,
    },
    /// Asks for a peer's catalog: the receiver's own or one it has. `since` names what the
    /// asker has already.
    ServeKeys {
        /// Whose catalog.
        peer: PeerId,
        /// The newest head the asker has of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<Since>,
    },
    /// Answers `ServeKeys`, or says unasked, without pages, that a catalog has a new head.
    Catalog {
        /// Signed catalog head.
        signed: Signed,
        /// Pages by number. What does not fit comes in further messages with the same head.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pages: Vec<PageText>,
    },
    /// Asks for chunks of a content. Without chunks: asks which ones the receiver holds
    /// and to be told of more by `Have`.
    FetchPeerKeys {
        /// Names the request in its answers; unique among those of this side on this link.
        id: u32,
        /// The content.
        key: ContentKey,
        /// Chunk numbers.
        chunks: Vec<u32>,
        /// Whether somebody waits for them: they are sent before whatever else this asker
        /// waits for.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        first: bool,
    },
    /// Asks for the proof answer of a content.
    FetchProof {
        /// Names the request in its answer.
        id: u32,
        /// The content.
        key: ContentKey,
    },
    /// Which chunks of a content this side holds: all of them at first (`held`), newly
    /// stored ones later (`chunks`).
    Have {
        /// The content.
        key: ContentKey,
        /// Everything held.
        #[serde(skip_serializing_if = "Option::is_none")]
        held: Option<Bits>,
        /// Newly held.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        chunks: Vec<u32>,
    },
    /// Takes back what was asked for: chunks of a request, or, without chunks, all of it.
    Cancel {
        /// The request.
        id: u32,
        /// Chunk numbers.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        chunks: Vec<u32>,
    },
    /// A request is not answered, for now.
    Refuse {
        /// The request.
        id: u32,
        /// Why.
        code: RefuseCode,
    },
    /// A content, or some of its chunks, is no longer held here. Never blamed.
    Gone {
        /// The content.
        key: ContentKey,
        /// Chunk numbers; empty: the whole content.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        chunks: Vec<u32>,
    },
    /// A signal to pass on to a neighbour of the receiver, or one that was passed on.
    Relay {
        /// Whom the signal is for.
        to: PeerId,
        /// The signed signal.
        signal: Signed,
    },
    /// Asks for a `Pong`.
    Ping {
        /// Comes back in the `Pong`.
        n: u32,
    },
    /// Answers a `Ping`.
    Pong {
        /// The number of the `Ping`.
        n: u32,
    },
}

impl TryFrom<Object> for ControlMessage {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        Ok(match object.get::<String>("t")?.as_str() {
            "Hello" => Self::Hello {
                versions: object.get("versions")?,
                max_message: object.get("maxMessage")?,
            },
            "Auth" => Self::Auth {
                signed: object.get("signed")?,
            },
            "ServeKeys" => Self::ServeKeys {
                peer: object.get("peer")?,
                since: object.find("since")?,
            },
            "Catalog" => Self::Catalog {
                signed: object.get("signed")?,
                pages: object.find("pages")?.unwrap_or_default(),
            },
            "FetchPeerKeys" => Self::FetchPeerKeys {
                id: object.get("id")?,
                key: object.get("key")?,
                chunks: object.get("chunks")?,
                first: object.find("first")?.unwrap_or_default(),
            },
            "FetchProof" => Self::FetchProof {
                id: object.get("id")?,
                key: object.get("key")?,
            },
            "Have" => Self::Have {
                key: object.get("key")?,
                held: object.find("held")?,
                chunks: object.find("chunks")?.unwrap_or_default(),
            },
            "Cancel" => Self::Cancel {
                id: object.get("id")?,
                chunks: few_chunks(&object)?,
            },
            "Refuse" => Self::Refuse {
                id: object.get("id")?,
                code: object.get("code")?,
            },
            "Gone" => Self::Gone {
                key: object.get("key")?,
                chunks: few_chunks(&object)?,
            },
            "Relay" => Self::Relay {
                to: object.get("to")?,
                signal: object.get("signal")?,
            },
            "Ping" => Self::Ping {
                n: object.get("n")?,
            },
            "Pong" => Self::Pong {
                n: object.get("n")?,
            },
            _ => return Err(json::Error::custom("unknown message")),
        })
    }
}

/// Chunk numbers, as many as a request may name: each costs the receiver more than the sender.
fn few_chunks(object: &Object) -> Result<Vec<u32>, json::Error> {
    let chunks: Vec<u32> = object.find("chunks")?.unwrap_or_default();
    match chunks.len() <= MAX_CHUNKS_PER_REQUEST {
        true => Ok(chunks),
        false => Err(json::Error::custom("it names more chunks than a request")),
    }
}

words! {
    /// Why a request was refused.
    pub enum RefuseCode as "a reason to refuse" {
        /// More requests are waiting than this side takes.
        Busy = "busy",
        /// The request itself cannot be: unknown chunks, a number in use.
        Invalid = "invalid",
        /// This side cannot read what it holds.
        StoreFailed = "store-failed",
    }
}

impl ControlMessage {
    /// The message as sent.
    pub fn to_text(&self) -> String {
        // Messages are structs of strings and numbers, for which serialising cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses a message; its length is checked first.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        parse_message(text, MAX_CONTROL)
    }
}

/// Why a JSON message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than a message may be.
    #[error("the message has {len} bytes, the limit is {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Not a message of the protocol.
    #[error("malformed message: {0}")]
    Malformed(String),
}

pub(crate) fn parse_message<T: serde::de::DeserializeOwned>(
    text: &str,
    max: usize,
) -> Result<T, MessageError> {
    if text.len() > max {
        return Err(MessageError::TooLong {
            len: text.len(),
            max,
        });
    }
    json::from_str(text).map_err(|error| MessageError::Malformed(error.to_string()))
}

words! {
    /// Which side of a link somebody is.
    pub enum Role as "a role" {
        /// Made the offer.
        Offerer = "offerer",
        /// Made the answer.
        Answerer = "answerer",
    }
}

impl Role {
    /// The other side's role.
    pub fn other(self) -> Role {
        match self {
            Role::Offerer => Role::Answerer,
            Role::Answerer => Role::Offerer,
        }
    }
}

/// What a peer signs inside a channel: that it is this side of the link which offer and
/// answer set up. Signing the role keeps a statement from being sent back to its maker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct AuthPayload {
    /// The link.
    pub link: LinkId,
    /// The namespace of the link.
    pub namespace: Namespace,
    /// The signer's side.
    pub role: Role,
    /// [`crate::signal::transcript_hash`] of the offer and answer the signer knows.
    pub hash: Hash,
}

from_object!(AuthPayload {
    get link,
    get namespace,
    get role,
    get hash,
});

impl Payload for AuthPayload {
    const KIND: Kind = Kind::Auth;
    const MAX_BYTES: usize = 512;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Signature;
    use proptest::prelude::*;

    fn signed() -> Signed {
        Signed {
            peer: PeerId::from_public_key([1; 32]),
            payload: "{}".into(),
            sig: Signature([2; 64]),
            member: None,
        }
    }

    #[test]
    fn every_message_survives_its_text() {
        let key = ContentKey::from_hash([3; 32]);
        let peer = PeerId::from_public_key([1; 32]);
        for message in [
            ControlMessage::Hello {
                versions: vec![1],
                max_message: 131_072,
            },
            ControlMessage::Auth { signed: signed() },
            ControlMessage::ServeKeys {
                peer,
                since: Some(Since {
                    epoch: 1,
                    number: 2,
                }),
            },
            ControlMessage::Catalog {
                signed: signed(),
                pages: vec![PageText {
                    page: 7,
                    text: "[]".into(),
                }],
            },
            ControlMessage::FetchPeerKeys {
                id: 4,
                key,
                chunks: vec![0, 9],
                first: true,
            },
            ControlMessage::FetchProof { id: 5, key },
            ControlMessage::Have {
                key,
                held: Some(Bits::full(3)),
                chunks: vec![],
            },
            ControlMessage::Cancel {
                id: 6,
                chunks: vec![1],
            },
            ControlMessage::Refuse {
                id: 6,
                code: RefuseCode::StoreFailed,
            },
            ControlMessage::Gone {
                key,
                chunks: vec![2],
            },
            ControlMessage::Relay {
                to: peer,
                signal: signed(),
            },
            ControlMessage::Ping { n: 1 },
            ControlMessage::Pong { n: 1 },
        ] {
            let text = message.to_text();
            assert_eq!(
                ControlMessage::parse(&text).as_ref(),
                Ok(&message),
                "{text}"
            );
        }
    }

    #[test]
    fn golden_messages() {
        let key = ContentKey::from_hash(*blake3::hash(b"hello").as_bytes());
        let fetch = ControlMessage::FetchPeerKeys {
            id: 4,
            key,
            chunks: vec![0, 9],
            first: false,
        };
        assert_eq!(
            fetch.to_text(),
            r#"{"t":"FetchPeerKeys","id":4,"key":"bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4","chunks":[0,9]}"#
        );
        let hello = ControlMessage::Hello {
            versions: vec![1],
            max_message: 131_072,
        };
        assert_eq!(
            hello.to_text(),
            r#"{"t":"Hello","versions":[1],"maxMessage":131072}"#
        );
    }

    #[test]
    fn what_is_taken_back_or_gone_is_named_in_short_lists() {
        let key = ContentKey::from_hash([3; 32]);
        let chunks = |len: usize| (0..len as u32).collect::<Vec<u32>>();
        for (len, passes) in [
            (MAX_CHUNKS_PER_REQUEST, true),
            (MAX_CHUNKS_PER_REQUEST + 1, false),
        ] {
            for message in [
                ControlMessage::Cancel {
                    id: 1,
                    chunks: chunks(len),
                },
                ControlMessage::Gone {
                    key,
                    chunks: chunks(len),
                },
            ] {
                assert_eq!(ControlMessage::parse(&message.to_text()).is_ok(), passes);
            }
        }
    }

    #[test]
    fn unknown_fields_pass_and_unknown_messages_do_not() {
        assert_eq!(
            ControlMessage::parse(r#"{"t":"Ping","n":1,"later":[]}"#),
            Ok(ControlMessage::Ping { n: 1 })
        );
        for text in [
            "",
            "[]",
            r#"{"t":"Pang","n":1}"#,
            r#"{"t":"Ping","n":-1}"#,
            r#"{"n":1}"#,
        ] {
            assert!(
                matches!(ControlMessage::parse(text), Err(MessageError::Malformed(_))),
                "{text}"
            );
        }
        let long = format!(
            r#"{{"t":"Ping","n":1,"pad":"{}"}}"#,
            "x".repeat(MAX_CONTROL)
        );
        assert!(matches!(
            ControlMessage::parse(&long),
            Err(MessageError::TooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = ControlMessage::parse(&text);
        }
    }
}
