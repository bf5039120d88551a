//! The switchboard of a peer: takes inputs to the modules they concern, and what these
//! want to each other and to the driver. Decisions are in the modules.
//!
//! The workflow: a peer advertises its catalog at the rendezvous and is shown others
//! ([`discover`]); it asks them for their keys and is asked ([`messages`]); it works out what
//! it lacks and who holds it ([`discover`]), asks for chunks and stores them ([`content`]), and
//! reads them for whoever asks ([`read`]). What it has of its own it publishes ([`publish`]).

mod api;
mod content;
mod discover;
mod messages;
mod publish;
mod read;

use crate::{
    catalogs::{Catalogs, OwnCatalog},
    contents::Contents,
    io::{
        CallId, Channel, Config, Event, Frame, Input, LinkInput, OpId, Output, PeerState,
        Replicate, Slot, StoreRequest,
    },
    link::LinkAction,
    links::{self, Links},
    publishing::Publications,
    random::Random,
    rendezvous::{self, Session, SignTag},
    seeding::Seeding,
    striping::Striping,
    transfers::Transfers,
    upload::{Uploads, Wanted},
};
use shoal_protocol::{
    content::ContentKey,
    control::ControlMessage,
    id::{LinkId, PeerId},
    namespace::Namespace,
    proof::Proof,
    rendezvous::{IceServer, PeerMessage},
    signed::Kind,
    sorted::{SortedMap, SortedSet},
    time::Timestamp,
};
use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

/// Most control messages waiting on a link; a peer that takes none for so long is dropped.
const MAX_CONTROL_QUEUE: usize = 2048;
/// Most bytes of them: the largest catalog fits, 24 MiB.
const MAX_CONTROL_BYTES: usize = 32 * 1024 * 1024;

/// Control messages waiting on a link.
#[derive(Default)]
struct ControlQueue {
    texts: VecDeque<String>,
    bytes: usize,
}

impl ControlQueue {
    fn is_full(&self) -> bool {
        self.texts.len() >= MAX_CONTROL_QUEUE || self.bytes >= MAX_CONTROL_BYTES
    }

    fn push(&mut self, text: String) {
        self.bytes += text.len();
        self.texts.push_back(text);
    }

    fn pop(&mut self) -> Option<String> {
        let text = self.texts.pop_front()?;
        self.bytes -= text.len();
        Some(text)
    }
}

/// Work given to the driver, and whom its result is for.
enum Op {
    SignSession(SignTag),
    SignSignal(LinkId, u32),
    SignAuth(LinkId),
    SignRefusal {
        to: PeerId,
        payload: String,
    },
    SignCatalog,
    /// Chunks of a fetch.
    Put {
        key: ContentKey,
        from: Vec<(u32, PeerId)>,
    },
    /// The record of a fetched content.
    Record {
        key: ContentKey,
    },
    /// Whether another namespace has what is to be fetched.
    Find {
        key: ContentKey,
    },
    /// A content of another namespace is shared in this one too.
    Adopt {
        key: ContentKey,
    },
    /// A proof for whoever waits for it.
    LoadProof {
        key: ContentKey,
    },
    UploadChunk {
        link: LinkId,
        wanted: Wanted,
        index: u32,
    },
    ReadChunk {
        call: CallId,
        key: ContentKey,
        index: u32,
    },
    PublishRead {
        call: CallId,
        range: Range<u64>,
    },
    PublishPut {
        call: CallId,
        range: Range<u64>,
    },
    PublishRecord {
        call: CallId,
        proof: Arc<Proof>,
    },
    Remove {
        call: CallId,
    },
    Pin {
        key: ContentKey,
        pinned: bool,
        call: Option<CallId>,
    },
    /// Nobody waits for it; a failure is told.
    Quiet,
}

/// Who waits for a proof to be read.
enum NeedsProof {
    Upload(LinkId, Wanted),
    Read(CallId, u32),
    Fetch,
}

/// A peer in one namespace.
///
/// After each [`Node::handle_input`], drain [`Node::poll_output`], then say if the socket to the
/// rendezvous has drained ([`Node::rendezvous_drained`]), tell [`Node::set_buffered`] of each link
/// and ask [`Node::poll_transmit`] for frames, then drain again and sleep until
/// [`Node::next_timeout`] or the next input.
pub struct Node {
    peer: PeerId,
    namespace: Namespace,
    sync_interval: Duration,
    replicate: Option<Replicate>,
    /// Whether they are the application's, which the rendezvous does not change.
    has_own_ice_servers: bool,
    ice_servers: Vec<IceServer>,
    random: Random,

    session: Session,
    links: Links,
    own_catalog: OwnCatalog,
    catalogs: Catalogs,
    contents: Contents,
    transfers: Transfers,
    uploads: Uploads,
    seeding: Seeding,
    striping: Striping,
    publications: Publications,

    state: PeerState,
    /// Peers at the rendezvous.
    view: SortedSet<PeerId>,
    /// Peers said to hold what is being fetched, besides those whose catalogs say so.
    providers: SortedMap<ContentKey, SortedSet<PeerId>>,
    /// Fetches for which the rendezvous has answered who holds them.
    searched: SortedSet<ContentKey>,
    /// What is being fetched by the replication rule, with the size that was stated.
    replicating: SortedMap<ContentKey, u64>,
    /// What is to be pinned once it has a record.
    to_pin: SortedSet<ContentKey>,
    /// What is to go, once the catalog without it is told.
    withdrawing: Vec<ContentKey>,
    /// What went to make room: the replication rule does not fetch it again.
    evicted: SortedSet<ContentKey>,
    next_sync: Timestamp,
    next_search: Timestamp,
    next_find: Timestamp,
    find_wait: Duration,

    /// Calls that wait until size and name of a content are known.
    fetch_calls: SortedMap<ContentKey, Vec<CallId>>,
    /// Calls that wait until a chunk is held.
    read_calls: SortedMap<(ContentKey, u32), Vec<CallId>>,
    catalog_calls: SortedMap<PeerId, Vec<(CallId, Timestamp)>>,
    needs_proof: SortedMap<ContentKey, Vec<NeedsProof>>,
    /// Contents that are looked at, by the calls that say so.
    holds: SortedMap<CallId, ContentKey>,

    /// Links that want to be told of new chunks.
    subscribers: SortedMap<ContentKey, SortedSet<LinkId>>,
    /// Chunks to be told of, and since when.
    fresh_chunks: SortedMap<ContentKey, (Timestamp, Vec<u32>)>,

    /// Time of the last input.
    now: Timestamp,
    control: SortedMap<LinkId, ControlQueue>,
    next_op: OpId,
    ops: SortedMap<OpId, Op>,
    outputs: VecDeque<Output>,
    closed: bool,
}

impl Node {
    /// Starts a peer.
    pub fn new(now: Timestamp, config: Config) -> Self {
        let mut random = Random::new(config.seed);
        let (peer, epoch) = (config.peer, config.epoch);
        let membership = Arc::new(config.membership);
        let namespace = membership.namespace().clone();
        let session = Session::new(
            now,
            peer,
            Arc::clone(&membership),
            epoch,
            config.rendezvous,
            random.fork(),
        );
        let mut node = Self {
            peer,
            sync_interval: config.sync_interval,
            replicate: config.replicate,
            has_own_ice_servers: config.ice_servers.is_some(),
            ice_servers: config.ice_servers.unwrap_or_default(),
            session,
            links: Links::new(peer, membership, random.fork()),
            own_catalog: OwnCatalog::new(peer, namespace.clone(), epoch),
            catalogs: Catalogs::default(),
            contents: Contents::new(config.contents),
            transfers: Transfers::new(now, config.limits.download, random.fork()),
            uploads: Uploads::new(now, config.limits),
            seeding: Seeding::default(),
            striping: Striping::default(),
            publications: Publications::default(),
            namespace,
            random,
            state: PeerState::Offline,
            view: SortedSet::new(),
            providers: SortedMap::new(),
            searched: SortedSet::new(),
            replicating: SortedMap::new(),
            to_pin: SortedSet::new(),
            withdrawing: Vec::new(),
            evicted: SortedSet::new(),
            next_sync: now + config.sync_interval,
            next_search: now,
            next_find: now,
            find_wait: config.sync_interval,
            fetch_calls: SortedMap::new(),
            read_calls: SortedMap::new(),
            catalog_calls: SortedMap::new(),
            needs_proof: SortedMap::new(),
            holds: SortedMap::new(),
            subscribers: SortedMap::new(),
            fresh_chunks: SortedMap::new(),
            now,
            control: SortedMap::new(),
            next_op: 0,
            ops: SortedMap::new(),
            outputs: VecDeque::new(),
            closed: false,
        };
        node.resume_wanted();
        node.settle(now);
        node
    }

    /// Takes signals without checking their signatures, to show what then still holds.
    #[cfg(feature = "test-hooks")]
    pub fn trust_signals(&mut self) {
        self.links.trust_signals();
    }

    /// Takes in something that happened.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) {
        if self.closed {
            return;
        }
        self.now = now;
        match input {
            Input::Timeout => {}
            Input::RendezvousOpened => self.session.opened(now),
            Input::RendezvousMessage(text) => self.session.handle_message(now, &text),
            Input::RendezvousClosed => self.session.closed(now),
            Input::Link(link, input) => match self.links.handle_input(now, link, input) {
                Some(LinkInput::Control(text)) => self.control_message(now, link, &text),
                Some(LinkInput::Bulk(frame)) => self.bulk_frame(now, link, &frame),
                _ => {}
            },
            Input::Signed(op, signature) => match self.ops.remove(&op) {
                Some(Op::SignSession(tag)) => self.session.signed(now, tag, signature),
                Some(Op::SignSignal(link, n)) => self.links.signal_signed(now, link, n, signature),
                Some(Op::SignAuth(link)) => self.links.auth_signed(now, link, signature),
                Some(Op::SignRefusal { to, payload }) => {
                    self.links.refusal_signed(to, payload, signature)
                }
                Some(Op::SignCatalog) => self.catalog_signed(now, signature),
                _ => {}
            },
            Input::Stored(op, result) => {
                if let Some(op) = self.ops.remove(&op) {
                    self.stored(now, op, result);
                }
            }
            Input::Source(op, result) => {
                if let Some(Op::PublishRead { call, range }) = self.ops.remove(&op) {
                    self.source_read(call, range, result);
                }
            }
            Input::Command(call, command) => self.command(now, call, command),
            Input::Abort(call) => self.abort(call),
            Input::Wake => {
                self.session.wake(now);
                self.links.wake(now);
                self.search_anew(now);
            }
            Input::Withdraw(key) => self.withdraw(now, key),
            Input::Pinned(key, pinned) => self.pinned(key, pinned),
            Input::Room => self.transfers.has_room(),
        }
        self.settle(now);
    }

    /// The next thing to do, in the order in which it must be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The socket to the rendezvous has sent all that it took: if a piece of the catalog waits, it
    /// is the next output. So nothing else waits behind more than one.
    pub fn rendezvous_drained(&mut self, now: Timestamp) {
        if self.tells_rendezvous()
            && let Some((signed, pages)) = self.own_catalog.poll_piece(now)
        {
            self.now = now;
            self.tell_rendezvous(PeerMessage::Catalog { signed, pages });
            self.settle(now);
        }
    }

    /// Tells how many bytes a link's bulk channel has taken and not yet sent. Tell it of all
    /// links before asking for frames.
    pub fn set_buffered(&mut self, now: Timestamp, link: LinkId, bytes: usize) {
        self.uploads.set_buffered(now, link, bytes);
    }

    /// How little the bulk channel of a link holds, in bytes, when frames are to be asked for
    /// again, of all links.
    pub fn low_water(&self, link: LinkId) -> usize {
        self.uploads.low_water(link)
    }

    /// The next frame for a channel. Ask only while the channel can take more: what was not
    /// asked for yet can still be cancelled.
    pub fn poll_transmit(
        &mut self,
        now: Timestamp,
        link: LinkId,
        channel: Channel,
    ) -> Option<Frame> {
        match channel {
            Channel::Control => self.control.get_mut(&link)?.pop().map(Frame::Text),
            Channel::Bulk => {
                let frame = self.uploads.poll_frame(now, link)?;
                self.links.sent(now, link, frame.len());
                self.read_uploads();
                self.chunks_sent(now);
                Some(Frame::Binary(frame))
            }
        }
    }

    /// The contents that are in use now: being fetched, also if they rest, looked at, waited for
    /// by a reader, or being sent.
    pub fn in_use(&self) -> impl Iterator<Item = ContentKey> + '_ {
        let read = self.read_calls.keys().map(|(key, _)| *key);
        let loading = self.needs_proof.keys().copied();
        let kept = self.transfers.keys().chain(self.uploads.keys());
        let held = self.holds.values().copied();
        kept.chain(read).chain(loading).chain(held)
    }

    /// When to hand in [`Input::Timeout`], if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        if self.closed {
            return None;
        }
        let times = [
            Some(self.next_sync),
            self.transfers.want_sources().then_some(self.next_search),
            self.session.next_timeout(),
            self.links.next_timeout(),
            self.own_catalog.next_timeout(),
            match self.tells_rendezvous() {
                true => self.own_catalog.next_piece(self.now),
                false => None,
            },
            self.transfers.next_timeout(),
            self.uploads.next_timeout(),
            self.seeding.next_timeout(),
            self.striping.next_timeout(),
            self.fresh_chunks
                .values()
                .map(|(since, _)| *since + messages::HAVE_INTERVAL)
                .min(),
            self.catalog_calls
                .values()
                .flatten()
                .map(|(_, until)| *until)
                .min(),
        ];
        times.into_iter().flatten().min()
    }

    /// Lets every module do what is due and carries out what they want, until all is quiet.
    fn settle(&mut self, now: Timestamp) {
        self.session.handle_timeout(now);
        self.links.handle_timeout(now);
        self.own_catalog.handle_timeout(now);
        self.transfers.handle_timeout(now);
        let uploads = &self.uploads;
        self.seeding
            .handle_timeout(now, |link, key| uploads.is_served(now, link, key));
        self.stripe(now);
        self.synchronise(now);
        self.end_catalog_calls(now);
        loop {
            while self.session_action(now) || self.link_action(now) || self.transfer_action(now) {}
            self.sign_catalog(now);
            self.transfers.schedule(now);
            self.read_uploads();
            self.flush_have(now);
            self.show_chunks(now);
            if !self.session_action(now) && !self.link_action(now) && !self.transfer_action(now) {
                break;
            }
        }
        // What is withdrawn may go once the catalog without it is told.
        let is_telling = self.tells_rendezvous() && self.own_catalog.is_telling(now);
        if self.own_catalog.is_told() && !is_telling {
            let withdrawn = self.withdrawing.drain(..).map(Output::Withdrawn);
            self.outputs.extend(withdrawn);
        }
    }

    fn session_action(&mut self, now: Timestamp) -> bool {
        let Some(action) = self.session.poll() else {
            return false;
        };
        use rendezvous::Action;
        match action {
            Action::Connect => self.outputs.push_back(Output::ConnectRendezvous),
            Action::Send(message) => self
                .outputs
                .push_back(Output::SendRendezvous(message.to_text())),
            Action::Disconnect => self.outputs.push_back(Output::CloseRendezvous),
            Action::Sign(tag, kind, payload) => self.sign(Op::SignSession(tag), kind, payload),
            Action::State(state) => {
                self.state = state;
                self.event(Event::State { state });
            }
            Action::Joined(known) => self.joined(now, known),
            Action::Ice(servers) => self.ice_servers_named(servers),
            Action::View(view) => self.view_replaced(now, view),
            Action::Peers { add, drop } => self.view_changed(now, add, drop),
            Action::Signal(signed) => self.take_signal(now, &signed, None),
            Action::Receipt { to, status } => self.receipt(now, to, status),
            Action::Providers { key, peers } => self.providers_found(now, key, peers),
            Action::Catalog {
                signed: Some(signed),
                pages,
                ..
            } => self.catalog_received(now, None, signed, &pages),
            Action::Catalog {
                signed: None, peer, ..
            } => self.answer_catalog_calls(peer),
            Action::Refused {
                code,
                message,
                retry_after,
            } => self.rendezvous_refused(now, code, message, retry_after),
        }
        true
    }

    fn link_action(&mut self, now: Timestamp) -> bool {
        let Some(action) = self.links.poll() else {
            return false;
        };
        use links::Action;
        match action {
            Action::Link(link, action) => match action {
                LinkAction::Open(role) => {
                    let ice_servers = self.ice_servers.clone();
                    self.outputs.push_back(Output::OpenLink {
                        link,
                        role,
                        ice_servers,
                    });
                }
                LinkAction::Restart => self.outputs.push_back(Output::RestartLink { link }),
                LinkAction::SetRemote(description) => {
                    self.outputs
                        .push_back(Output::SetRemote { link, description });
                }
                LinkAction::AddCandidate(candidate) => {
                    self.outputs
                        .push_back(Output::AddCandidate { link, candidate });
                }
                LinkAction::SignSignal { n, payload } => {
                    self.sign(Op::SignSignal(link, n), Kind::Signal, payload)
                }
                LinkAction::SignAuth(payload) => self.sign(Op::SignAuth(link), Kind::Auth, payload),
                LinkAction::SendControl(message) => self.send(now, link, message),
                LinkAction::SendSignal(_) | LinkAction::Up | LinkAction::Ping => {}
            },
            Action::SignRefusal { to, payload } => {
                self.sign(
                    Op::SignRefusal {
                        to,
                        payload: payload.clone(),
                    },
                    Kind::Signal,
                    payload,
                );
            }
            Action::SendSignal { to, signed } => self.send_signal(now, to, signed),
            Action::Close(link) => {
                self.control.remove(&link);
                self.uploads.link_down(link);
                self.seeding.link_down(now, link);
                for links in self.subscribers.values_mut() {
                    links.remove(&link);
                }
                self.outputs.push_back(Output::CloseLink { link });
            }
            Action::Up { link, peer } => self.link_up(now, link, peer),
            Action::Down { peer } => self.link_down(now, peer),
            Action::LaneUp { link, lane } => {
                self.uploads.lane_up(link, lane);
                if let Some(peer) = self.links.peer_of(link) {
                    self.count_connections(peer);
                }
            }
            Action::LaneDown { peer, lane } => {
                self.uploads.link_down(lane);
                self.transfers.lane_down(peer);
            }
            Action::Restarted { peer } => self.transfers.peer_is_back(now, peer),
            Action::Failed(error) => self.event(Event::Error { error }),
        }
        true
    }

    fn sign(&mut self, op: Op, kind: Kind, payload: String) {
        let op = self.op(op);
        self.outputs.push_back(Output::Sign { op, kind, payload });
    }

    fn store(&mut self, op: Op, request: StoreRequest) {
        let op = self.op(op);
        self.outputs.push_back(Output::Store { op, request });
    }

    fn op(&mut self, op: Op) -> OpId {
        self.next_op += 1;
        self.ops.insert(self.next_op, op);
        self.next_op
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Queues a control message.
    fn send(&mut self, now: Timestamp, link: LinkId, message: ControlMessage) {
        let queue = self.control.entry(link).or_default();
        if queue.is_full() {
            return self
                .links
                .misbehaved(now, link, "it takes no messages".into());
        }
        queue.push(message.to_text());
    }

    /// Queues a control message for a peer, if a link to it is up.
    fn send_to(&mut self, now: Timestamp, peer: PeerId, message: ControlMessage) {
        if let Some(link) = self.links.link_to(peer) {
            self.send(now, link, message);
        }
    }

    fn tell_rendezvous(&mut self, message: PeerMessage) -> bool {
        self.session.send(message)
    }

    fn new_slot(&mut self) -> Slot {
        self.random.slot()
    }
}
