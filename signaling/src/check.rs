//! From the text of a message to a request whose signatures were checked.
//!
//! Signatures and pages of catalogs are the dear parts of messages, so they are checked and read
//! here, before and apart from the [registry](crate::registry), which takes only what came
//! through this module.
//! One [`Checker`] follows one connection: it knows the nonce that the join must name and,
//! afterwards, who is speaking.
//!
//! Signals are the one thing whose signature is left to others. The connection is its peer's
//! since the join, and a signal passes only under that peer's name, so a wrong signature can
//! only be of its own making; and the receiver, which does not trust this server, checks it in
//! any case. Checking it here too took two fifths of all processor time of a busy server.

use shoal_protocol::{
    VERSIONS,
    catalog::{CatalogError, HEAD_LIFETIME, Pages, SignedHead, Since},
    common_version,
    content::ContentKey,
    id::{Nonce, PeerId, ResumeToken},
    namespace::Namespace,
    rendezvous::{ErrorCode, Join, PeerMessage, Presence},
    signal::{CLOCK_SKEW, SIGNAL_LIFETIME, Signal, SignalBody},
    signed::{Kind, Signed, SignedError},
    time::{Timestamp, UnixMillis},
};

/// What a connection asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// To join.
    Join(VerifiedJoin),
    /// To be listed with this presence.
    Presence(VerifiedPresence),
    /// An answer to `ping`.
    Pong,
    /// To store a catalog.
    Catalog {
        /// The checked head.
        head: SignedHead,
        /// Pages that it names. Of entries no more is kept than of what they are.
        pages: Pages<ContentKey>,
    },
    /// A peer's catalog.
    Get {
        /// Whose.
        peer: PeerId,
        /// What the asker has of it.
        since: Option<Since>,
    },
    /// A page of the list of peers.
    List {
        /// The peer it follows.
        after: Option<PeerId>,
        /// Most peers of it.
        limit: Option<u16>,
    },
    /// Who holds a content.
    Find {
        /// The content.
        key: ContentKey,
        /// When it asks, by the wall clock: of who holds it, those count whose catalogs are valid.
        now: UnixMillis,
    },
    /// To pass a signal on.
    Signal {
        /// The sender's number of it.
        id: u64,
        /// The signal; none if it is not to be passed on.
        signal: Option<AddressedSignal>,
        /// As in [`Request::Ack`].
        ack: Option<u64>,
    },
    /// To forget a signal it has taken, and those before it.
    Ack {
        /// The server's number of it.
        id: u64,
    },
    /// To be forgotten.
    Leave,
    /// Something that cannot be.
    Fault(Fault),
}

/// A message that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// To branch on.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
}

impl Fault {
    /// Longest message, in bytes. Those of parsers quote what they were given.
    const MAX_MESSAGE: usize = 300;

    /// A fault with its words.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > Self::MAX_MESSAGE {
            message.truncate(message.floor_char_boundary(Self::MAX_MESSAGE));
            message.push('…');
        }
        Self { code, message }
    }
}

/// A join whose signature is right, for this server and this connection.
#[derive(Clone, Debug)]
pub struct VerifiedJoin {
    peer: PeerId,
    namespace: Namespace,
    resume: Option<ResumeToken>,
}

impl VerifiedJoin {
    /// Who joins.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Where.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The session to take up, as the peer says.
    pub fn resume(&self) -> Option<ResumeToken> {
        self.resume
    }
}

/// A presence signed by the peer that sent it, for this server and namespace. Of it only its
/// place among others is kept: nobody is told more than that the peer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifiedPresence {
    epoch: u64,
    issued: UnixMillis,
}

/// A signal under the name of the peer that sent it, for the peer it is to be passed to. Its
/// signature is the receiver's to check.
#[derive(Clone, Debug)]
pub struct AddressedSignal {
    to: PeerId,
    signed: Signed,
}

impl AddressedSignal {
    /// Whom it is for.
    pub fn to(&self) -> PeerId {
        self.to
    }

    /// What was signed.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// The signal as it travels.
    pub fn into_signed(self) -> Signed {
        self.signed
    }
}

/// Checks the messages of one connection.
#[derive(Clone, Debug)]
pub struct Checker {
    server: PeerId,
    nonce: Nonce,
    joined: Option<(PeerId, Namespace)>,
}

impl Checker {
    /// A checker for a connection that was challenged with `nonce` by `server`.
    pub fn new(server: PeerId, nonce: Nonce) -> Self {
        Self {
            server,
            nonce,
            joined: None,
        }
    }

    /// Turns a message into a request. Never fails: what is wrong is a request too, since
    /// what follows from it is the registry's to say.
    pub fn check(&mut self, now: Timestamp, text: &str) -> Request {
        self.try_check(now.unix_millis(), text)
            .unwrap_or_else(Request::Fault)
    }

    fn try_check(&mut self, now: UnixMillis, text: &str) -> Result<Request, Fault> {
        let message = PeerMessage::parse(text).map_err(malformed)?;
        let Some((peer, namespace)) = &self.joined else {
            return match message {
                PeerMessage::Join { signed, resume } => self.join(&signed, resume),
                _ => Err(malformed("the first message must be a join")),
            };
        };
        if namespace.is_private()
            && let PeerMessage::Catalog { .. } | PeerMessage::Get { .. } | PeerMessage::Find { .. } =
                &message
        {
            return Err(Fault::new(
                ErrorCode::Catalog,
                "the catalogs of a private namespace go from peer to peer; no server takes, has or searches them",
            ));
        }
        Ok(match message {
            PeerMessage::Join { .. } => {
                return Err(malformed("this connection has joined already"));
            }
            PeerMessage::Presence { signed } => {
                Request::Presence(check_presence(self.server, *peer, namespace, &signed, now)?)
            }
            PeerMessage::Pong {} => Request::Pong,
            PeerMessage::Catalog { signed, pages } => {
                let head = SignedHead::open(signed, *peer, namespace, now);
                let head = head.map_err(catalog_fault)?;
                let pages = head.read_pages(&pages).map_err(catalog_fault)?;
                Request::Catalog { head, pages }
            }
            PeerMessage::Get { peer, since } => Request::Get { peer, since },
            PeerMessage::List { after, limit } => Request::List { after, limit },
            PeerMessage::Find { key } => Request::Find { key, now },
            PeerMessage::Signal {
                id,
                to,
                signed,
                ack,
            } => Request::Signal {
                id,
                signal: check_signal(*peer, to, namespace, signed, now),
                ack,
            },
            PeerMessage::Ack { id } => Request::Ack { id },
            PeerMessage::Leave {} => Request::Leave,
        })
    }

    fn join(&mut self, signed: &Signed, resume: Option<ResumeToken>) -> Result<Request, Fault> {
        let join: Join = signed.open().map_err(signed_fault)?;
        if join.server != self.server {
            return Err(unauthorized("the join is for another server"));
        }
        if join.nonce != self.nonce {
            return Err(unauthorized("the join is not for this connection's nonce"));
        }
        if common_version(&join.versions).is_none() {
            let ours: Vec<String> = VERSIONS.iter().map(u16::to_string).collect();
            return Err(Fault::new(
                ErrorCode::Version,
                format!(
                    "this server speaks these protocol versions: {}",
                    ours.join(", ")
                ),
            ));
        }
        if !signed.is_of_member(Kind::Join, &join.namespace) {
            // Does not name the namespace: whoever asks is not in it.
            return Err(unauthorized(
                "this namespace is private, and the join does not prove its secret",
            ));
        }
        self.joined = Some((signed.peer, join.namespace.clone()));
        Ok(Request::Join(VerifiedJoin {
            peer: signed.peer,
            namespace: join.namespace,
            resume,
        }))
    }
}

fn check_presence(
    server: PeerId,
    peer: PeerId,
    namespace: &Namespace,
    signed: &Signed,
    now: UnixMillis,
) -> Result<VerifiedPresence, Fault> {
    if signed.peer != peer {
        return Err(unauthorized("the presence is another peer's"));
    }
    let presence: Presence = signed.open().map_err(signed_fault)?;
    if presence.server != server || presence.namespace != *namespace {
        return Err(unauthorized(
            "the presence is for another server or namespace",
        ));
    }
    let latest = now.plus(CLOCK_SKEW);
    let longest = presence.issued.plus(HEAD_LIFETIME);
    if presence.expires <= now || presence.issued > latest || presence.expires > longest {
        return Err(unauthorized("the presence is not valid at this time"));
    }
    Ok(VerifiedPresence {
        epoch: presence.epoch,
        issued: presence.issued,
    })
}

/// The signal, if it is from `from` for `to` in this namespace and good at this time.
fn check_signal(
    from: PeerId,
    to: PeerId,
    namespace: &Namespace,
    signed: Signed,
    now: UnixMillis,
) -> Option<AddressedSignal> {
    if signed.peer != from || to == from {
        return None;
    }
    let signal: Signal = signed.open_unverified().ok()?;
    // The sender's clock may be behind or ahead; the receiver looks more closely.
    let timely = signal.expires.plus(CLOCK_SKEW) > now
        && signal.expires <= now.plus(SIGNAL_LIFETIME + CLOCK_SKEW);
    let placed = signal.from == from && signal.to == to && signal.namespace == *namespace;
    // What is not sealed must not be seen here, so no peer sends it.
    let sealed = signal.body != SignalBody::Unsealed;
    (timely && placed && sealed).then_some(AddressedSignal { to, signed })
}

fn malformed(why: impl ToString) -> Fault {
    Fault::new(ErrorCode::Malformed, why.to_string())
}

fn unauthorized(why: &str) -> Fault {
    Fault::new(ErrorCode::Unauthorized, why)
}

fn signed_fault(error: SignedError) -> Fault {
    let code = match error {
        SignedError::Malformed(_) | SignedError::TooLong(_) => ErrorCode::Malformed,
        SignedError::Signature => ErrorCode::Unauthorized,
    };
    Fault::new(code, error.to_string())
}

fn catalog_fault(error: CatalogError) -> Fault {
    Fault::new(ErrorCode::Catalog, error.to_string())
}
