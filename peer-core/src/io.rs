//! The seam between the peer's logic and its drivers: everything that goes into a
//! [`crate::Node`] and everything that comes out.
//!
//! A driver feeds [`Input`]s, then drains all [`Output`]s, then tells by `set_buffered` how
//! much the channels still hold and asks `poll_transmit` for frames for every link. It does
//! what outputs say and nothing else.

use serde::{Deserialize, Serialize};
use shoal_protocol::{
    bits::Bits,
    candidate::Candidate,
    catalog::Metadata,
    content::{ContentKey, ContentSize},
    control::Role,
    id::{LinkId, PeerId, Signature},
    json::{self, Object},
    membership::Membership,
    proof::VerifiedChunk,
    rendezvous::IceServer,
    signal::{Description, Fingerprint},
    signed::Kind,
    time::UnixMillis,
};
use std::{ops::Range, sync::Arc, time::Duration};

/// What a node is given at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The peer's identity; the driver signs for it.
    pub peer: PeerId,
    /// The namespace in which this node shares, and what proves that it may. A driver runs one
    /// node per namespace.
    pub membership: Membership,
    /// Epoch of what this node claims over time; higher than any this identity used before.
    pub epoch: u64,
    /// Seed of all randomness of the node, nonces included: unpredictable to others.
    pub seed: [u8; 32],
    /// Whether there is a rendezvous server to connect to.
    pub rendezvous: bool,
    /// ICE servers, instead of those the rendezvous names.
    pub ice_servers: Option<Vec<IceServer>>,
    /// How often the node discovers peers, asks for their catalogs and looks for what is
    /// missing, besides doing so at once when something changes.
    pub sync_interval: Duration,
    /// What to fetch without being asked.
    pub replicate: Option<Replicate>,
    /// What the traffic may be.
    pub limits: Limits,
    /// What the store holds for this namespace.
    pub contents: Vec<StoredContent>,
}

/// A rule for fetching what others offer: the filter, and how much may be held by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object")]
pub struct Replicate {
    /// Only contents that match.
    pub filter: ReplicateFilter,
    /// Bytes that may be fetched by the rule.
    pub budget: u64,
}

impl TryFrom<Object> for Replicate {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        Ok(Self {
            filter: object.find("match")?.unwrap_or_default(),
            budget: object.get("budget")?,
        })
    }
}

/// Which contents a rule covers: those for which everything stated is so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object")]
pub struct ReplicateFilter {
    /// Start of the media type, as `image/`.
    pub media_type: Option<String>,
    /// All of these keywords.
    pub keywords: Vec<String>,
    /// Offered by this peer.
    pub peer: Option<PeerId>,
}

impl TryFrom<Object> for ReplicateFilter {
    type Error = json::Error;
    fn try_from(object: Object) -> Result<Self, json::Error> {
        Ok(Self {
            media_type: object.find("type")?,
            keywords: object.find("keywords")?.unwrap_or_default(),
            peer: object.find("peer")?,
        })
    }
}

/// Names a piece of work given to the driver; comes back with its result.
pub type OpId = u64;
/// Names a call of the API; comes back with its answer. Chosen by the driver.
pub type CallId = u64;
/// Where in the store the chunks of a content lie. Random, below 2^53.
pub type Slot = u64;

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// Time has passed; `next_timeout` was reached.
    Timeout,
    /// The connection to the rendezvous is open.
    RendezvousOpened,
    /// A message of the rendezvous.
    RendezvousMessage(String),
    /// The connection to the rendezvous is closed or could not be opened.
    RendezvousClosed,
    /// Something about a link.
    Link(LinkId, LinkInput),
    /// A signature that was asked for, or `None` if it could not be made.
    Signed(OpId, Option<Signature>),
    /// A store operation is done.
    Stored(OpId, Result<StoreAnswer, StoreError>),
    /// A piece of what is being published, or why it could not be read.
    Source(OpId, Result<Vec<u8>, String>),
    /// A call of the API.
    Command(CallId, Command),
    /// The caller no longer waits: a publication is dropped, a read forgotten, a fetch
    /// stopped unless others want it.
    Abort(CallId),
    /// The network changed or the page was shown again: connect now, do not wait, and find out
    /// which links still work.
    Wake,
    /// A content is to go to make room: it is withdrawn, which ends in
    /// [`Output::Withdrawn`], and then deleted from the store by who asked.
    Withdraw(ContentKey),
    /// A content was pinned or let go, in this namespace or another.
    Pinned(ContentKey, bool),
    /// There may be room in the store again.
    Room,
}

/// What a driver says of a link it was told to open.
#[derive(Debug)]
pub enum LinkInput {
    /// This side's description is ready.
    LocalDescription(Description),
    /// An address of this side; `None`: there are no more.
    LocalCandidate(Option<Candidate>),
    /// The certificate the other side really used, where the browser tells.
    RemoteFingerprint(Fingerprint),
    /// Both channels are open.
    Opened,
    /// A message of the control channel.
    Control(String),
    /// A frame of the bulk channel.
    Bulk(Vec<u8>),
    /// Nothing is heard of the other side. That may pass, or a restart helps.
    Disconnected,
    /// No way to the other side is left: ends a link that is being made, and has one that is
    /// up look for another way.
    Unreachable,
    /// The connection is of no use.
    Failed {
        /// What the browser says.
        detail: String,
    },
    /// The other side closed a channel.
    Closed,
}

/// A channel of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// JSON messages.
    Control,
    /// Binary frames.
    Bulk,
}

/// What goes into a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// For the control channel.
    Text(String),
    /// For the bulk channel.
    Binary(Vec<u8>),
}

/// Something to do.
#[derive(Debug)]
pub enum Output {
    /// Open the connection to the rendezvous.
    ConnectRendezvous,
    /// Send a message to the rendezvous.
    SendRendezvous(String),
    /// Close the connection to the rendezvous.
    CloseRendezvous,
    /// Make a peer connection; its description and candidates are expected.
    OpenLink {
        /// The link.
        link: LinkId,
        /// Whether to offer, or to answer once the remote description is there.
        role: Role,
        /// ICE servers to use.
        ice_servers: Vec<IceServer>,
    },
    /// Use these ICE servers when a link that is open looks for another way.
    IceServers(Vec<IceServer>),
    /// The other side's description.
    SetRemote {
        /// The link.
        link: LinkId,
        /// The description; its `setup` is the other side's.
        description: Description,
    },
    /// An address of the other side.
    AddCandidate {
        /// The link.
        link: LinkId,
        /// The address; `None`: there are no more.
        candidate: Option<Candidate>,
    },
    /// Restart ICE: another description of this side is expected, with new credentials, and
    /// candidates. What is in the channels stays. Told to who offered; whoever answers gets
    /// another `SetRemote`.
    RestartLink {
        /// The link.
        link: LinkId,
    },
    /// Close a peer connection and forget it. Nothing more is expected of it.
    CloseLink {
        /// The link.
        link: LinkId,
    },
    /// Sign `kind.message(payload)` with the peer's key.
    Sign {
        /// Comes back in `Input::Signed`.
        op: OpId,
        /// The kind.
        kind: Kind,
        /// The payload.
        payload: String,
    },
    /// Read or write the store.
    Store {
        /// Comes back in `Input::Stored`.
        op: OpId,
        /// What to do.
        request: StoreRequest,
    },
    /// Read a piece of what a `Publish` call publishes.
    ReadSource {
        /// Comes back in `Input::Source`.
        op: OpId,
        /// The call.
        call: CallId,
        /// Which bytes.
        range: Range<u64>,
    },
    /// The answer to a call. There is exactly one for each call that was not aborted.
    Answer {
        /// The call.
        call: CallId,
        /// The answer.
        result: Result<Answer, Error>,
    },
    /// Something the page may want to know.
    Event(Event),
    /// A content that was to be withdrawn is offered no more: the catalog without it is signed
    /// and told. It may be deleted.
    Withdrawn(ContentKey),
}

/// A content as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredContent {
    /// The content.
    pub key: ContentKey,
    /// Where its chunks lie.
    pub slot: Slot,
    /// Its proven size.
    pub size: ContentSize,
    /// What is said of it.
    pub metadata: Metadata,
    /// The chunks in the store.
    pub held: Bits,
    /// Whether it is to be fetched until it is complete.
    pub wanted: bool,
    /// Whether it stays when room is needed.
    pub pinned: bool,
    /// When it was last read, served, fetched or published, as far as that is noted.
    pub used: UnixMillis,
}

/// What a store can be asked.
///
/// Every write belongs to the epoch of its engine and fails with
/// [`StoreError::Superseded`] when another engine has taken over.
#[allow(
    clippy::large_enum_variant,
    reason = "made one at a time and consumed at once"
)]
#[derive(Debug)]
pub enum StoreRequest {
    /// Adds chunks. Answered `Done`; if it fails, some may be there.
    PutChunks {
        /// Where.
        slot: Slot,
        /// Size of the content they are of.
        size: ContentSize,
        /// The chunks.
        chunks: Vec<VerifiedChunk>,
    },
    /// Reads a chunk. Answered `Chunk`.
    GetChunk {
        /// Where.
        slot: Slot,
        /// Which.
        index: u32,
    },
    /// Forgets a chunk that turned out damaged. Answered `Done`.
    DropChunk {
        /// Where.
        slot: Slot,
        /// Which.
        index: u32,
    },
    /// Records a content and shares it in the node's namespace. If the store knows the
    /// content already, its record stays and gains the namespace, unless the new one is
    /// complete and the old one is not; the chunks of the slot that loses are deleted. It is
    /// pinned if either is, and a proof that is not empty replaces the one that was there.
    /// Answered `Content` with the record that holds now.
    PutContent {
        /// The record.
        content: StoredContent,
        /// Its proof, see [`shoal_protocol::proof::Proof::to_bytes`].
        proof: Arc<Vec<u8>>,
    },
    /// Changes whether a content is to be fetched. Answered `Done`.
    SetWanted {
        /// The content.
        key: ContentKey,
        /// The new value.
        wanted: bool,
    },
    /// Notes that all chunks of a content are held, so that they need not be counted at the
    /// next start; it is no longer wanted. Answered `Done`.
    SetComplete {
        /// The content.
        key: ContentKey,
    },
    /// Looks for a content, in whatever namespace it was fetched. Answered `Content`.
    FindContent {
        /// The content.
        key: ContentKey,
    },
    /// Reads a proof. Answered `Proof`.
    GetProof {
        /// The content.
        key: ContentKey,
    },
    /// Takes a content out of the node's namespace, and deletes it if it is in no other.
    /// Answered `Done`.
    RemoveContent {
        /// The content.
        key: ContentKey,
    },
    /// Deletes the chunks of a slot that no record names. Answered `Done`.
    DropSlot {
        /// The slot.
        slot: Slot,
    },
    /// Changes whether a content stays when room is needed. Answered `Done`.
    SetPinned {
        /// The content.
        key: ContentKey,
        /// The new value.
        pinned: bool,
    },
    /// Notes when contents were last used. Answered `Done`.
    SetUsed(Vec<(ContentKey, UnixMillis)>),
    /// Deletes a content, in whatever namespaces it is. Answered `Done`.
    DropContent {
        /// The content.
        key: ContentKey,
    },
}

/// What a store answers.
#[allow(
    clippy::large_enum_variant,
    reason = "made one at a time and consumed at once"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// The transaction has completed.
    Done,
    /// The bytes of a chunk; `None` if it is not there.
    Chunk(Option<Vec<u8>>),
    /// A content; `None` if it is not known.
    Content(Option<StoredContent>),
    /// The bytes of a proof; `None` if it is not there.
    Proof(Option<Vec<u8>>),
}

/// Why a store operation failed. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no room.
    #[error("there is no room left in this site's storage")]
    Quota,
    /// Another engine has taken over the store.
    #[error("another tab has taken over the store")]
    Superseded,
    /// Something else.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// A call of the API.
#[derive(Debug)]
pub enum Command {
    /// Shares `size` bytes, read through `ReadSource`. Answered `Content`.
    Publish {
        /// Number of bytes.
        size: u64,
        /// What is said of it.
        metadata: Metadata,
        /// Whether it stays when room is needed.
        pinned: bool,
    },
    /// Fetches a content. Answered `Content` when size and name are known; bytes follow.
    Fetch {
        /// The content.
        key: ContentKey,
        /// Its share among others that are fetched; of a fetch that runs it is raised to this.
        priority: Priority,
        /// Begins it paused.
        paused: bool,
        /// Fetches only what is read, and some ahead of it. One that runs and is to fetch all
        /// goes on with that.
        on_demand: bool,
        /// Pins it; `false` leaves it as it is.
        pinned: bool,
    },
    /// Lets a fetch rest: nothing is asked for until it is resumed, also after the store
    /// was closed. Answered `Done`.
    Pause {
        /// The content.
        key: ContentKey,
    },
    /// Goes on with a fetch that was paused. Answered `Done`.
    Resume {
        /// The content.
        key: ContentKey,
    },
    /// Changes the share of a fetch. Answered `Done`.
    Prioritise {
        /// The content.
        key: ContentKey,
        /// The new share.
        priority: Priority,
    },
    /// Changes limits. Answered `Done`.
    Limit(Limits),
    /// Stops fetching a content, whoever wanted it; what is held stays. Answered `Done`.
    StopFetch {
        /// The content.
        key: ContentKey,
        /// Goes on with what is read: somebody still wants that, and nobody the rest.
        on_demand: bool,
        /// Does nothing to a fetch of all of it, which a rule or the store may have begun.
        unless_wanted: bool,
    },
    /// Reads a chunk, once it is held. Answered `Bytes`.
    Read {
        /// The content.
        key: ContentKey,
        /// The chunk.
        index: u32,
    },
    /// Tells which chunks of a content are held. Answered `Held`.
    Held {
        /// The content.
        key: ContentKey,
    },
    /// Has a content stay while it is looked at, until this is taken back. Not answered.
    Hold {
        /// The content.
        key: ContentKey,
    },
    /// Lists what is held. Answered `Contents`.
    Contents,
    /// Stops sharing a content and deletes it. Answered `Done`.
    Remove {
        /// The content.
        key: ContentKey,
    },
    /// Has a content stay when room is needed, or lets it go then. Answered `Done`.
    Pin {
        /// The content.
        key: ContentKey,
        /// Whether it stays.
        pinned: bool,
    },
    /// Lists the peers known. Answered `Peers`.
    Peers,
    /// Lists what a peer offers, as far as known. Answered `Contents`.
    Catalog {
        /// The peer.
        peer: PeerId,
    },
    /// Takes leave of everybody. Answered `Done`; nothing follows.
    Close,
}

/// The share of a fetch in what comes, among others that want the same line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// A quarter of the usual share.
    Low,
    /// As others.
    #[default]
    Auto,
    /// Four times the usual share.
    High,
}

/// What the traffic of a peer may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes a second sent to all peers together; `None`: no limit.
    pub upload: Option<u64>,
    /// Most bytes a second fetched from all peers together; `None`: no limit.
    pub download: Option<u64>,
    /// Most peers chunks are sent to at a time; `None`: as many as the line has room for.
    pub upload_slots: Option<u32>,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// It is done.
    Done,
    /// A content.
    Content(Content),
    /// Contents.
    Contents(Vec<Content>),
    /// Runs of chunks: the first of each, and one past its last.
    Held(Vec<(u32, u32)>),
    /// Peers.
    Peers(Vec<PeerInfo>),
    /// What the store holds and may hold.
    Storage(Storage),
    /// Bytes of a chunk; the driver hands them over without serialising.
    #[serde(skip)]
    Bytes(Vec<u8>),
}

/// A content as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Content {
    /// The content.
    pub key: ContentKey,
    /// Number of bytes.
    pub size: u64,
    /// Bytes held: of a peer's catalog, `size` or, for what it holds in part, 0.
    pub held: u64,
    /// Whether it stays here when room is needed.
    pub pinned: bool,
    /// What is said of it.
    #[serde(flatten)]
    pub metadata: Metadata,
}

/// What a store holds and may hold: see [`crate::Space`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Bytes of contents, those on their way included.
    pub held: u64,
    /// Most bytes of them.
    pub limit: u64,
}

/// A peer as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerInfo {
    /// The peer.
    pub id: PeerId,
    /// Whether there is a link to it.
    pub linked: bool,
    /// Round trip of the link, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<f64>,
    /// What goes over the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkStats>,
}

/// What goes over a link: chunks and proofs, with their headers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStats {
    /// Peer connections it has: more than one where that carries more.
    pub connections: usize,
    /// Bytes that came, since it is up.
    pub received: u64,
    /// Bytes that were sent, since it is up.
    pub sent: u64,
    /// Bytes a second that come, over the last seconds.
    pub receive_rate: f64,
    /// Bytes a second that are sent, over the last seconds.
    pub send_rate: f64,
}

/// What can go wrong, for a program to branch on. The API's `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The caller took it back.
    Aborted,
    /// The peer is closed.
    Closed,
    /// An argument cannot be.
    InvalidArgument,
    /// Not a content key.
    InvalidKey,
    /// The bytes to publish could not be read, or changed meanwhile.
    InvalidContent,
    /// Nobody known holds it.
    NotHeld,
    /// No room in the store.
    Quota,
    /// The store does not work.
    StoreFailed,
    /// The rendezvous cannot be reached or refuses.
    Rendezvous,
    /// No connection to a peer could be made.
    Unreachable,
    /// A link's other end is not the peer it claims to be.
    LinkAuth,
    /// A limit of Shoal's.
    Limit,
}

/// An error for the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// To branch on.
    pub code: Code,
    /// What happened, to what, and what to do.
    pub message: String,
    /// The peer it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerId>,
    /// For `unreachable`: the kinds of addresses both sides had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
}

impl Priority {
    /// Its share, against others.
    pub(crate) fn weight(self) -> f64 {
        match self {
            Self::Low => 0.25,
            Self::Auto => 1.0,
            Self::High => 4.0,
        }
    }

    /// How far it gets with a chunk, in relation to its share.
    pub(crate) fn stride(self) -> u64 {
        match self {
            Self::Low => 16,
            Self::Auto => 4,
            Self::High => 1,
        }
    }
}

impl Error {
    /// An error that is about no peer.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            peer: None,
            candidates: None,
        }
    }
}

/// The kinds of addresses both sides of a link had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Candidates {
    /// This side's.
    pub local: CandidateCounts,
    /// The other side's.
    pub remote: CandidateCounts,
}

/// How many candidates of each kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CandidateCounts {
    /// Addresses of the machine.
    pub host: u16,
    /// As STUN servers see it.
    pub srflx: u16,
    /// On TURN servers.
    pub relay: u16,
}

/// Something that happened and was not asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The state of the connection to the rendezvous changed.
    State {
        /// The new state.
        state: PeerState,
    },
    /// A peer came into view.
    PeerJoin {
        /// The peer.
        peer: PeerId,
    },
    /// A peer went.
    PeerLeave {
        /// The peer.
        peer: PeerId,
    },
    /// What a peer offers changed.
    Catalog {
        /// The peer.
        peer: PeerId,
    },
    /// What is held changed.
    Content {
        /// The content.
        content: Content,
        /// Whether it is no longer held.
        removed: bool,
    },
    /// How far a fetch is. At most ten a second for each content.
    Progress {
        /// The content.
        key: ContentKey,
        /// What is known of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<Content>,
        /// How far it is.
        progress: Progress,
    },
    /// How far a publication is.
    Publishing {
        /// The call.
        call: CallId,
        /// How far it is.
        progress: Progress,
    },
    /// A fetch was stopped before its end. What came of it is held.
    Stopped {
        /// The content.
        key: ContentKey,
    },
    /// A chunk was fetched and stored.
    Chunk {
        /// The content.
        key: ContentKey,
        /// The chunk.
        index: u32,
        /// Who sent it.
        peer: PeerId,
    },
    /// Something failed that no call was waiting for.
    Error {
        /// What.
        error: Error,
    },
    /// What the store holds or may hold changed by more than a little.
    Storage(Storage),
    /// Another engine has taken over the store: this one must stop.
    Superseded,
}

/// The state of the connection to the rendezvous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Trying for the first time.
    Connecting,
    /// Joined.
    Online,
    /// Not joined; tries again.
    Offline,
}

/// How far a fetch or a publication is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is going on.
    pub state: ProgressState,
    /// Why it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Code>,
    /// Bytes stored.
    pub held: u64,
    /// Bytes in all, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bytes a second, over the last seconds.
    pub rate: f64,
    /// Time left at this rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
    /// Who it comes from.
    pub sources: Vec<SourceProgress>,
}

/// What is going on with a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgressState {
    /// Asking who holds it.
    Searching,
    /// Bytes are coming.
    Fetching,
    /// Rests until it is resumed.
    Paused,
    /// Nothing can be done now; goes on by itself.
    Waiting,
    /// All is held.
    Done,
}

/// One source of a fetch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The peer.
    pub peer: PeerId,
    /// Bytes that came from it and were right.
    pub bytes: u64,
    /// Bytes a second, over the last seconds.
    pub rate: f64,
    /// Bytes of the content it holds, as far as known.
    pub held: u64,
    /// Bytes it is asked for and has not sent.
    pub in_flight: u64,
    /// Bytes it may be asked for at a time.
    pub window: u64,
}
