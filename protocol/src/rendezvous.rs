//! Messages between a peer and its rendezvous server: JSON text over a WebSocket at
//! [`PATH`], one message a frame.
//!
//! The server opens with `challenge`; the peer answers with a signed `join`, which names the
//! server and its nonce, so it is good for this connection only. `docs/rendezvous.md` has every
//! message, field, limit and code; `golden/rendezvous` has a sample of each.

use crate::{
    catalog::{PageText, Since},
    content::ContentKey,
    control::{MessageError, parse_message},
    id::{Nonce, PeerId, ResumeToken},
    json::{self, Object, from_object},
    namespace::Namespace,
    signed::{Kind, Payload, Signed},
    time::UnixMillis,
    words::words,
};
use core::time::Duration;
use serde::{Deserialize, Serialize, de::Error as _};

/// Path of the WebSocket.
pub const PATH: &str = "/v1/socket";
/// Longest message either side sends, in bytes: a catalog head with a page fits.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// After so long without a word a peer takes its server for gone; servers ping more often. Guess:
/// three heartbeats of the usual server.
pub const SILENCE: Duration = Duration::from_secs(45);
/// Most peers in `joined` and in one `peers` message. Guess: 8 KiB of JSON.
pub const MAX_VIEW: usize = 100;
/// Most peers in one `listing`. As a view.
pub const MAX_LISTING: usize = MAX_VIEW;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "t",
    rename_all = "lowercase",
    rename_all_fields = "camelCase",
    try_from = "Object"
)]
pub enum ServerMessage {
    /// First message of a connection.
    Challenge {
        /// Protocol versions of the server, best first.
        versions: Vec<u16>,
        /// The server's identity.
        server: PeerId,
        /// To be signed in `join`.
        nonce: Nonce,
    },
    /// The peer is in.
    Joined {
        /// For how long the server keeps the peer's place after its connection is lost, in ms.
        lease: u64,
        /// Lets the peer take up this session again within the lease.
        resume: ResumeToken,
        /// Whether an earlier session went on: nothing was missed.
        resumed: bool,
        /// The newest whole catalog that the server has of this peer. What came since need be
        /// sent alone, if the session went on.
        #[serde(skip_serializing_if = "Option::is_none")]
        catalog: Option<Since>,
        /// ICE servers to use.
        ice_servers: Vec<IceServer>,
        /// Other peers of the namespace, at most [`MAX_VIEW`]. Empty for a resumed session:
        /// what changed in its view follows in `peers`, or all of it in `resync`.
        view: Vec<PeerSummary>,
    },
    /// Changes to the view. They tell how things stand, so hearing one twice does no harm.
    Peers {
        /// Peers that came or whose catalog changed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        add: Vec<PeerSummary>,
        /// Peers that went, or are no longer shown.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        drop: Vec<PeerId>,
    },
    /// A signal for this peer; to be acknowledged. After a resumed session it may come again,
    /// under the same number.
    Signal {
        /// The server's number of it; they rise.
        id: u64,
        /// The signed signal.
        signed: Signed,
        /// Receipts that waited for something to travel with.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        receipts: Vec<Receipt>,
    },
    /// What became of signals of this peer, where no signal for it took the receipts along.
    Receipts {
        /// The receipts.
        receipts: Vec<Receipt>,
    },
    /// Answers `find`.
    Providers {
        /// The content.
        key: ContentKey,
        /// Peers whose catalog lists it.
        peers: Vec<PeerId>,
    },
    /// Answers `list`: peers of the namespace, in the order of their ids as bytes.
    Listing {
        /// The peers, without the one that asked; at most [`MAX_LISTING`].
        peers: Vec<PeerSummary>,
        /// Where to go on: the `after` of the next page. Missing: there are no more.
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<PeerId>,
    },
    /// ICE servers that take the place of those in `joined`, before the credentials in those
    /// lose their meaning. Links that are up go on; new links and restarts use these.
    Ice {
        /// ICE servers to use.
        ice_servers: Vec<IceServer>,
    },
    /// Answers `get`: the newest head and pages changed since. Without `signed`: the
    /// server knows no catalog of this peer.
    Catalog {
        /// Whose catalog.
        peer: PeerId,
        /// The signed head.
        #[serde(skip_serializing_if = "Option::is_none")]
        signed: Option<Signed>,
        /// Pages; what does not fit comes in further messages with the same head.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pages: Vec<PageText>,
    },
    /// The peer missed something: its view is no longer complete and follows anew.
    Resync {
        /// The view, as in `joined`.
        view: Vec<PeerSummary>,
    },
    /// To be answered with `pong` by the client's own code.
    Ping {},
    /// A message was refused. The connection goes on unless the server closes it.
    Error {
        /// To branch on.
        code: ErrorCode,
        /// For a person.
        message: String,
        /// When to try again, in ms.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// The server is about to close the connection.
    Closing {
        /// When to come back, in ms.
        retry_after: u64,
    },
}

impl TryFrom<Object> for ServerMessage {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        Ok(match object.get::<String>("t")?.as_str() {
            "challenge" => Self::Challenge {
                versions: object.get("versions")?,
                server: object.get("server")?,
                nonce: object.get("nonce")?,
            },
            "joined" => Self::Joined {
                lease: object.get("lease")?,
                resume: object.get("resume")?,
                resumed: object.get("resumed")?,
                catalog: object.find("catalog")?,
                ice_servers: object.get("iceServers")?,
                view: object.get("view")?,
            },
            "peers" => Self::Peers {
                add: object.find("add")?.unwrap_or_default(),
                drop: object.find("drop")?.unwrap_or_default(),
            },
            "signal" => Self::Signal {
                id: object.get("id")?,
                signed: object.get("signed")?,
                receipts: object.find("receipts")?.unwrap_or_default(),
            },
            "receipts" => Self::Receipts {
                receipts: object.get("receipts")?,
            },
            "providers" => Self::Providers {
                key: object.get("key")?,
                peers: object.get("peers")?,
            },
            "listing" => Self::Listing {
                peers: object.get("peers")?,
                next: object.find("next")?,
            },
            "ice" => Self::Ice {
                ice_servers: object.get("iceServers")?,
            },
            "catalog" => Self::Catalog {
                peer: object.get("peer")?,
                signed: object.find("signed")?,
                pages: object.find("pages")?.unwrap_or_default(),
            },
            "resync" => Self::Resync {
                view: object.get("view")?,
            },
            "ping" => Self::Ping {},
            "error" => Self::Error {
                code: object.get("code")?,
                message: object.get("message")?,
                retry_after: object.find("retryAfter")?,
            },
            "closing" => Self::Closing {
                retry_after: object.get("retryAfter")?,
            },
            _ => return Err(json::Error::custom("unknown message")),
        })
    }
}

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase", try_from = "Object")]
pub enum PeerMessage {
    /// Joins a namespace. First message of a peer.
    Join {
        /// Signed [`Join`].
        signed: Signed,
        /// Takes up an earlier session.
        #[serde(skip_serializing_if = "Option::is_none")]
        resume: Option<ResumeToken>,
    },
    /// States the peer's presence.
    Presence {
        /// Signed [`Presence`].
        signed: Signed,
    },
    /// Answers `ping`.
    Pong {},
    /// Advertises the peer's catalog.
    Catalog {
        /// Signed catalog head.
        signed: Signed,
        /// Pages that were not sent in this session as they are; what does not fit comes in
        /// further messages with this head or the next.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pages: Vec<PageText>,
    },
    /// Asks for a peer's catalog.
    Get {
        /// Whose.
        peer: PeerId,
        /// The newest head the asker has of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<Since>,
    },
    /// Asks who holds a content.
    Find {
        /// The content.
        key: ContentKey,
    },
    /// Asks for a page of the list of all peers of the namespace. Who asks until there is no
    /// `next` has heard of everybody who was there all the time.
    List {
        /// The page begins with the first peer after this one.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<PeerId>,
        /// Most peers of the page; [`MAX_LISTING`] if it is missing or larger.
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u16>,
    },
    /// Sends a signal to a peer.
    Signal {
        /// Names the signal in its receipt.
        id: u64,
        /// The peer.
        to: PeerId,
        /// The signed signal.
        signed: Signed,
        /// As in `ack`, which need not be sent then.
        #[serde(skip_serializing_if = "Option::is_none")]
        ack: Option<u64>,
    },
    /// The peer has taken a signal, and all that were sent to it before.
    Ack {
        /// The server's number of it.
        id: u64,
    },
    /// The peer goes for good.
    Leave {},
}

impl TryFrom<Object> for PeerMessage {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        Ok(match object.get::<String>("t")?.as_str() {
            "join" => Self::Join {
                signed: object.get("signed")?,
                resume: object.find("resume")?,
            },
            "presence" => Self::Presence {
                signed: object.get("signed")?,
            },
            "pong" => Self::Pong {},
            "catalog" => Self::Catalog {
                signed: object.get("signed")?,
                pages: object.find("pages")?.unwrap_or_default(),
            },
            "get" => Self::Get {
                peer: object.get("peer")?,
                since: object.find("since")?,
            },
            "find" => Self::Find {
                key: object.get("key")?,
            },
            "list" => Self::List {
                after: object.find("after")?,
                limit: object.find("limit")?,
            },
            "signal" => Self::Signal {
                id: object.get("id")?,
                to: object.get("to")?,
                signed: object.get("signed")?,
                ack: object.find("ack")?,
            },
            "ack" => Self::Ack {
                id: object.get("id")?,
            },
            "leave" => Self::Leave {},
            _ => return Err(json::Error::custom("unknown message")),
        })
    }
}

/// How long an acknowledgement or the receipt `delivered` waits at most for a signal to travel
/// with: a signal is mostly answered by one, so that most need no message of their own. Guess; the
/// delayed acknowledgement of TCP (RFC 9293, section 3.8.6.3) waits half as long.
pub const ACK_DELAY: Duration = Duration::from_secs(1);
/// So many signals or receipts do not wait. Guess: a quarter of what a server keeps of one sender.
pub const MAX_UNACKED: usize = 16;
/// Most receipts in one message. Guess: 9 KiB of JSON, about a view.
pub const MAX_RECEIPTS: usize = 256;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct Receipt {
    /// The sender's number of it.
    pub id: u64,
    /// What became of it.
    pub status: ReceiptStatus,
}

from_object!(Receipt {
    get id,
    get status,
});

/// A peer as the server lists it. No addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct PeerSummary {
    /// The peer.
    pub peer: PeerId,
    /// The newest catalog head the server has of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Since>,
}

from_object!(PeerSummary {
    get peer,
    find catalog,
});

/// A STUN or TURN server, as `RTCIceServer` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct IceServer {
    /// Its URLs.
    pub urls: Vec<String>,
    /// TURN user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

from_object!(IceServer {
    get urls,
    find username,
    find credential,
});

words! {
    /// What became of a signal.
    pub enum ReceiptStatus as "what becomes of a signal" {
        /// The receiver has acknowledged it.
        Delivered = "delivered",
        /// There is no such peer here.
        Gone = "gone",
        /// The receiver's queue is full.
        Full = "full",
        /// The server does not pass it on: not signed by the sender, too large, too many.
        Refused = "refused",
    }
}

words! {
    /// Why the server refused something.
    pub enum ErrorCode as "a server's reason to refuse" {
        /// Not a message of the protocol, or not at this point.
        Malformed = "malformed",
        /// No common protocol version; the message names the server's.
        Version = "version",
        /// A signature or what it is over is wrong.
        Unauthorized = "unauthorized",
        /// The same peer joined again elsewhere; this session ends.
        Superseded = "superseded",
        /// More than the server's limits allow; the message names the limit.
        Limit = "limit",
        /// The catalog was not taken; the message says why.
        Catalog = "catalog",
        /// Something is wrong with the server.
        Internal = "internal",
    }
}

macro_rules! text_form {
    ($message:ty) => {
        impl $message {
            /// The message as sent.
            pub fn to_text(&self) -> String {
                // Messages are structs of strings and numbers: serialising cannot fail.
                serde_json::to_string(self).unwrap_or_default()
            }

            /// Parses a message; its length is checked first.
            pub fn parse(text: &str) -> Result<Self, MessageError> {
                parse_message(text, MAX_MESSAGE)
            }
        }
    };
}
text_form!(ServerMessage);
text_form!(PeerMessage);

/// What a peer signs to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The server it joins.
    pub server: PeerId,
    /// The nonce of the server's challenge.
    pub nonce: Nonce,
    /// The namespace.
    pub namespace: Namespace,
    /// Protocol versions of the peer, best first.
    pub versions: Vec<u16>,
}

impl Payload for Join {
    const KIND: Kind = Kind::Join;
    const MAX_BYTES: usize = 1024;
}

/// What a peer signs to be listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The server at which it is present.
    pub server: PeerId,
    /// The namespace.
    pub namespace: Namespace,
    /// Rises whenever the peer starts from unknown state.
    pub epoch: u64,
    /// When it was signed.
    pub issued: UnixMillis,
    /// When it loses its meaning.
    pub expires: UnixMillis,
}

impl Payload for Presence {
    const KIND: Kind = Kind::Presence;
    const MAX_BYTES: usize = 1024;
}
