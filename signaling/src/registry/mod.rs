//! Who is here: connections, sessions, namespaces, views, catalogs, signals.
//!
//! The registry is pure. Time and the seed of its randomness come in as arguments, and so do
//! requests whose signatures [`crate::check`] has verified. What it wants sent waits in its
//! own bounded queues until the driver asks for it:
//!
//! 1. `handle_*` takes an input,
//! 2. [`Registry::poll_woken`] names connections for which something waits, until `None`,
//! 3. [`Registry::poll_transmit`] gives the next message for one of them, whenever its socket
//!    can take one, until it says `Idle` or `Close`,
//! 4. [`Registry::next_timeout`] says when [`Registry::handle_timeout`] is due.
//!
//! A socket that is not ready is not asked for; its messages stay here, merged where they can
//! be (changes of peers), limited where they cannot (signals, receipts).
//!
//! **Sessions.** A session is one peer in one namespace. It outlives its connection by the
//! lease, and a join with its token takes it up again. What was sent since the last answered
//! `ping` may be lost with a connection, so it is sent again; changes and receipts can be
//! heard twice without harm, and signals carry numbers.
//!
//! **Views.** A peer is shown at most [`MAX_VIEW`] others. While a namespace is smaller,
//! everybody is shown everybody; in a crowded one, a random choice made at the join, refilled
//! when one of them goes, and changed a little at every heartbeat. A peer tells its watchers
//! alone of its changes, so a change costs about a view of messages, however large the
//! namespace. Who wants to know everybody asks for the list, page by page.
//!
//! **One connection each.** A peer that joins anew is believed: its older connection ends with
//! `superseded`, and is told to stay away for a lease, so that two holders of one identity
//! take turns and do not throw each other out without end.

mod catalogs;
#[cfg(test)]
mod crowd;
mod ice;
mod listing;
mod members;
mod session;
#[cfg(test)]
mod tests;

use crate::address::Address;
use crate::admission::{Admission, Reached};
use crate::check::{AddressedSignal, Fault, Request, VerifiedJoin, VerifiedPresence};
use crate::counts::Counts;
use crate::{limits::Limits, turn::Turn};
use catalogs::{NotTaken, Reading};
pub use listing::Page;
use members::Members;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use session::{Origin, Receipt, Session};
use shoal_protocol::{
    VERSIONS,
    catalog::{PageText, SignedHead},
    content::ContentKey,
    id::{Nonce, PeerId, ResumeToken},
    namespace::Namespace,
    rendezvous::{ErrorCode, IceServer, MAX_VIEW, PeerSummary, ReceiptStatus, ServerMessage},
    sorted::SortedSet,
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// Nobody is told to stay away for longer, however many are to return. Guess; peers take no
/// longer time either.
const LONGEST_RETURN: Duration = Duration::from_secs(600);

/// A connection, from its first byte to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// A session; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SessionId(u64);

/// What a connection may send now.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made; none is kept"
)]
pub enum Transmit {
    /// This message.
    Message(ServerMessage),
    /// Nothing more, ever: it is to be closed.
    Close,
    /// Nothing until it is woken.
    Idle,
}

/// How many there are of what the registry holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Connections of peers.
    pub connections: usize,
    /// HTTP connections.
    pub http_connections: usize,
    /// Sessions of peers that are connected.
    pub sessions: usize,
    /// Sessions of peers that are away.
    pub sessions_away: usize,
    /// Namespaces.
    pub namespaces: usize,
    /// Signals that wait to be acknowledged.
    pub queued_signals: usize,
    /// Their bytes.
    pub queued_signal_bytes: usize,
    /// Catalogs.
    pub catalogs: usize,
    /// Bytes of catalogs.
    pub catalog_bytes: usize,
    /// Timers.
    pub timers: usize,
    /// Addresses that are remembered.
    pub addresses: usize,
    /// Peers that are remembered.
    pub peers: usize,
}

#[derive(Debug)]
struct Connection {
    from: Address,
    /// Whether it was let in, and counts as one of its address.
    admitted: bool,
    session: Option<SessionId>,
    replies: VecDeque<ServerMessage>,
    closing: bool,
    faults: u32,
    /// Until when it must have joined.
    deadline: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Connection(ConnectionId),
    Session(SessionId),
}

/// See the [module](self).
#[derive(Debug)]
pub struct Registry {
    server: PeerId,
    limits: Limits,
    ice_servers: Vec<IceServer>,
    turn: Option<Turn>,
    rng: ChaCha20Rng,
    connections: BTreeMap<ConnectionId, Connection>,
    /// In boxes, since a tree that grows at its end is half empty.
    sessions: BTreeMap<SessionId, Box<Session>>,
    namespaces: BTreeMap<Namespace, Members>,
    timers: BTreeSet<(Timestamp, Timer)>,
    woken: BTreeSet<ConnectionId>,
    catalog_bytes: usize,
    admission: Admission,
    counts: Counts,
    last_id: u64,
    closing: bool,
}

impl Registry {
    /// An empty registry of the server with this identity. The seed must be secret: resume
    /// tokens and nonces come from it.
    pub fn new(
        server: PeerId,
        limits: Limits,
        ice_servers: Vec<IceServer>,
        seed: [u8; 32],
    ) -> Self {
        Self {
            server,
            admission: Admission::new(&limits),
            counts: Counts::default(),
            limits,
            ice_servers,
            turn: None,
            rng: ChaCha20Rng::from_seed(seed),
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            timers: BTreeSet::new(),
            woken: BTreeSet::new(),
            catalog_bytes: 0,
            last_id: 0,
            closing: false,
        }
    }

    /// Gives each peer an account at a TURN server, beside the ICE servers of all.
    pub fn with_turn(mut self, turn: Option<Turn>) -> Self {
        self.turn = turn;
        self
    }

    /// A connection was opened. Its challenge waits; the nonce in it is for its checker.
    pub fn handle_connect(&mut self, now: Timestamp, from: Address) -> (ConnectionId, Nonce) {
        self.last_id += 1;
        let id = ConnectionId(self.last_id);
        let nonce = Nonce(self.random());
        let mut connection = Connection {
            from,
            admitted: false,
            session: None,
            replies: VecDeque::new(),
            closing: false,
            faults: 0,
            deadline: None,
        };
        let admitted = if self.closing {
            None
        } else {
            Some(self.admit(now, from))
        };
        let refusal = match admitted {
            None => Some(ServerMessage::Closing {
                retry_after: self.retry_after(),
            }),
            Some(Ok(())) => None,
            Some(Err(reached)) => {
                self.counts.refused(ErrorCode::Limit);
                Some(self.busy(reached))
            }
        };
        if let Some(refusal) = refusal {
            connection.replies.push_back(refusal);
            connection.closing = true;
        } else {
            connection.admitted = true;
            connection.replies.push_back(ServerMessage::Challenge {
                versions: VERSIONS.to_vec(),
                server: self.server,
                nonce,
            });
            let deadline = now + self.limits.join_timeout;
            connection.deadline = Some(deadline);
            self.timers.insert((deadline, Timer::Connection(id)));
        }
        self.connections.insert(id, connection);
        self.woken.insert(id);
        (id, nonce)
    }

    /// A connection asks for something.
    pub fn handle_request(&mut self, now: Timestamp, id: ConnectionId, request: Request) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if connection.closing {
            return;
        }
        match (connection.session, request) {
            (_, Request::Fault(fault)) => self.fault(id, fault),
            (None, Request::Join(join)) => self.join(now, id, &join),
            (Some(session), request) => self.session_request(now, id, session, request),
            // The checker lets nothing else through.
            (None, _) => self.fault(
                id,
                Fault::new(ErrorCode::Malformed, "the first message must be a join"),
            ),
        }
    }

    /// A connection is gone.
    pub fn handle_disconnect(&mut self, now: Timestamp, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.woken.remove(&id);
        if connection.admitted {
            self.admission.disconnected(now, connection.from);
        }
        if let Some(deadline) = connection.deadline {
            self.timers.remove(&(deadline, Timer::Connection(id)));
        }
        if let Some(session) = connection.session {
            self.detach(now, session);
        }
    }

    /// Something of so many bytes came on a connection. Returns how long to wait before more
    /// is read.
    pub fn handle_bytes(&mut self, now: Timestamp, id: ConnectionId, bytes: usize) -> Duration {
        let Some(connection) = self.connections.get(&id) else {
            return Duration::ZERO;
        };
        let from = connection.admitted.then_some(connection.from);
        let session = connection.session.and_then(|id| self.sessions.get(&id));
        let peer = session.map(|session| session.peer);
        match self.admission.message(now, from, peer, bytes) {
            Ok(()) => Duration::ZERO,
            Err(reached) => {
                self.counts.reached(reached.key);
                reached.wait
            }
        }
    }

    /// An HTTP connection was opened, by a client or, where no address is given, a proxy.
    /// Unless it is refused, [`Registry::handle_http_closed`] is to follow.
    pub fn handle_http_opened(
        &mut self,
        now: Timestamp,
        from: Option<Address>,
    ) -> Result<(), Reached> {
        let opened = self.admission.http_opened(now, from);
        self.noted(opened)
    }

    /// An HTTP connection is closed, or has become a WebSocket.
    pub fn handle_http_closed(&mut self, now: Timestamp, from: Option<Address>) {
        self.admission.http_closed(now, from);
    }

    /// An HTTP request came; `upgrade` says that it is to become a connection of a peer.
    pub fn handle_http_request(
        &mut self,
        now: Timestamp,
        from: Address,
        upgrade: bool,
    ) -> Result<(), Reached> {
        let requested = self.admission.request(now, from);
        self.noted(requested)?;
        // Those beyond `connections` hear when to come back; of these there are not too many.
        if upgrade && self.connections.len() >= self.limits.connections + self.limits.farewells {
            return self.noted(Err(full("farewells", "connections")));
        }
        Ok(())
    }

    /// A bound that the driver keeps was reached, by key.
    pub fn handle_reached(&mut self, key: &'static str) {
        self.counts.reached(key);
    }

    fn noted(&mut self, admitted: Result<(), Reached>) -> Result<(), Reached> {
        if let Err(reached) = &admitted {
            self.counts.reached(reached.key);
        }
        admitted
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.admission.handle_timeout(now);
        while let Some(&(due, timer)) = self.timers.first()
            && due <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Connection(id) => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.deadline = None;
                    }
                    self.counts.reached("join-timeout-seconds");
                    let limit = self.limits.join_timeout;
                    self.refuse(
                        id,
                        Fault::new(ErrorCode::Limit, format!("no join within {limit:?}")),
                    );
                }
                Timer::Session(id) => {
                    let Some(session) = self.sessions.get_mut(&id) else {
                        continue;
                    };
                    session.deadline = None;
                    match session.connection {
                        Some(connection) => self.heartbeat(now, id, connection),
                        None => self.remove_session(now, id),
                    }
                }
            }
        }
    }

    /// The server is about to end: tells everybody when to come back.
    pub fn handle_shutdown(&mut self) {
        self.closing = true;
        let all: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in all {
            let retry_after = self.retry_after();
            self.reply(id, ServerMessage::Closing { retry_after });
            self.close(id);
        }
    }

    /// When [`Registry::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let own = self.timers.first().map(|(due, _)| *due);
        own.into_iter().chain(self.admission.next_timeout()).min()
    }

    /// A connection for which something may wait.
    pub fn poll_woken(&mut self) -> Option<ConnectionId> {
        self.woken.pop_first()
    }

    /// What to send next on a connection whose socket can take it.
    pub fn poll_transmit(&mut self, now: Timestamp, id: ConnectionId) -> Transmit {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Transmit::Close;
        };
        if let Some(reply) = connection.replies.pop_front() {
            if connection.replies.is_empty() {
                // The room for a few of them is more than most connections ever need again.
                connection.replies = VecDeque::new();
            }
            if let (ServerMessage::Ping {}, Some(session)) = (&reply, connection.session)
                && let Some(session) = self.sessions.get_mut(&session)
            {
                session.news.sent_ping();
            }
            return Transmit::Message(reply);
        }
        if connection.closing {
            return Transmit::Close;
        }
        match connection.session.and_then(|id| self.next_for(now, id)) {
            Some(message) => Transmit::Message(message),
            None => Transmit::Idle,
        }
    }

    /// How many sessions there are, those of peers that are away included.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How much the registry holds. Takes as long as there are sessions.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges {
            connections: self.connections.len(),
            http_connections: self.admission.http(),
            namespaces: self.namespaces.len(),
            catalog_bytes: self.catalog_bytes,
            timers: self.timers.len(),
            addresses: self.admission.addresses(),
            peers: self.admission.peers(),
            ..Gauges::default()
        };
        for session in self.sessions.values() {
            match session.connection {
                Some(_) => gauges.sessions += 1,
                None => gauges.sessions_away += 1,
            }
            let (signals, bytes) = session.inbox.size();
            gauges.queued_signals += signals;
            gauges.queued_signal_bytes += bytes;
            gauges.catalogs += usize::from(session.catalog.is_some());
        }
        gauges
    }

    /// What the registry has done.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Why no further peers should be sent here, if so: the server ends, or is at a bound.
    pub fn unready(&self) -> Option<&'static str> {
        let limits = &self.limits;
        let bounds = [
            (self.closing, "closing"),
            (self.connections.len() >= limits.connections, "connections"),
            (self.sessions.len() >= limits.sessions, "sessions"),
            (
                self.catalog_bytes >= limits.all_catalog_bytes,
                "all-catalog-bytes",
            ),
            (
                self.admission.http() >= limits.http_connections,
                "http-connections",
            ),
        ];
        bounds
            .into_iter()
            .find_map(|(reached, key)| reached.then_some(key))
    }

    /// What waits for a session, the most urgent first.
    fn next_for(&mut self, now: Timestamp, id: SessionId) -> Option<ServerMessage> {
        let session = self.sessions.get_mut(&id)?;
        if let Some(receipt) = session.receipts.pop_front() {
            session.news.sent_receipt(receipt, &self.limits);
            let Receipt { id, status } = receipt;
            return Some(ServerMessage::Receipt { id, status });
        }
        if let Some((id, signed, came)) = session.inbox.next() {
            if let Some(came) = came {
                self.counts.relay.observe(now.since(came));
            }
            return Some(ServerMessage::Signal { id, signed });
        }
        if session.news.take_resync() {
            let view = self.view(id);
            return Some(ServerMessage::Resync { view });
        }
        let peers = session.news.take(MAX_VIEW, &self.limits);
        if !peers.is_empty() {
            return Some(self.changes(id, peers));
        }
        self.read_catalog(id)
    }

    fn session_request(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        id: SessionId,
        request: Request,
    ) {
        match request {
            Request::Presence(presence) => self.presence(id, presence),
            Request::Pong => self.pong(now, id),
            Request::Catalog { head, pages } => self.catalog(connection, id, head, &pages),
            Request::Get { peer, since } => self.get(connection, id, Reading::new(peer, since)),
            Request::List { after, limit } => self.send_listing(connection, id, after, limit),
            Request::Find { key } => self.find(now, connection, id, key),
            Request::Signal { id: number, signal } => {
                self.signal(now, connection, id, number, signal)
            }
            Request::RefusedSignal { id: number } => {
                self.receipt(id, number, ReceiptStatus::Refused);
            }
            Request::Ack { id: number } => self.ack(id, number),
            Request::Leave => {
                self.remove_session(now, id);
                self.close(connection);
            }
            Request::Join(_) | Request::Fault(_) => {}
        }
    }
}

/// Coming and going.
impl Registry {
    fn join(&mut self, now: Timestamp, connection: ConnectionId, join: &VerifiedJoin) {
        let peer = join.peer();
        if let Err(reached) = self.admission.joined(now, peer) {
            return self.turn_away(connection, reached);
        }
        let known = self
            .namespaces
            .get(join.namespace())
            .and_then(|members| members.session_of(&join.peer()));
        if known.is_none()
            && let Err(reached) = self.admit_session(now, peer)
        {
            return self.turn_away(connection, reached);
        }
        let (id, resumed) = match known {
            None => (self.add_session(join), false),
            Some(id) => {
                self.supersede(id);
                let resumed = join.resume().is_some()
                    && self.sessions.get(&id).map(|session| session.token) == join.resume();
                if !resumed {
                    self.start_anew(id);
                }
                (id, resumed)
            }
        };
        if let Some(joining) = self.connections.get_mut(&connection) {
            joining.session = Some(id);
            if let Some(deadline) = joining.deadline.take() {
                self.timers
                    .remove(&(deadline, Timer::Connection(connection)));
            }
        }
        match resumed {
            true => self.counts.resumes += 1,
            false => self.counts.joins += 1,
        }
        let token = ResumeToken(self.random());
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.connection = Some(connection);
        session.token = token;
        self.arm(id, now + self.limits.heartbeat);
        let ice_servers = self.ice_servers_for(now, id);
        let joined = ServerMessage::Joined {
            lease: millis(self.limits.lease),
            resume: token,
            resumed,
            ice_servers,
            // Who resumes has a view, and hears what changed in it.
            view: if resumed { Vec::new() } else { self.view(id) },
        };
        self.reply(connection, joined);
    }

    fn add_session(&mut self, join: &VerifiedJoin) -> SessionId {
        self.last_id += 1;
        let id = SessionId(self.last_id);
        let token = ResumeToken(self.random());
        let mut session = Session::new(join.peer(), join.namespace().clone(), token);

        let members = self.namespaces.entry(join.namespace().clone()).or_default();
        let view = members.sample(MAX_VIEW, &SortedSet::default(), &mut self.rng);
        let watchers = core::mem::take(&mut members.roomy);
        members.insert(join.peer(), id);
        for other in &watchers {
            if let Some(watcher) = self.sessions.get_mut(other) {
                watcher.view.insert(id);
                if watcher.view.len() < MAX_VIEW {
                    members.roomy.insert(*other);
                }
            }
        }
        if view.len() < MAX_VIEW {
            members.roomy.insert(id);
        }
        for other in &view {
            if let Some(shown) = self.sessions.get_mut(other) {
                shown.watchers.insert(id);
            }
        }
        session.view = view.into_iter().collect();
        session.watchers = watchers;
        self.sessions.insert(id, Box::new(session));
        self.tell_watchers(id);
        id
    }

    /// The peer has joined again without going on: what was under way is over.
    fn start_anew(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.incarnation += 1;
        session.presence = None;
        session.receipts.clear();
        session.readings.clear();
        session.news.clear();
        let given_up = session.inbox.drain();
        self.receipts_gone(given_up);
        self.tell_watchers(id);
    }

    /// Ends the connection of a session that another one takes over.
    fn supersede(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.rewind(&self.limits);
        let Some(connection) = session.connection.take() else {
            return;
        };
        if let Some(old) = self.connections.get_mut(&connection) {
            old.session = None;
        }
        let superseded = ServerMessage::Error {
            code: ErrorCode::Superseded,
            message: "the same peer has joined again on another connection".into(),
            retry_after: Some(millis(self.limits.lease)),
        };
        self.reply(connection, superseded);
        self.close(connection);
    }

    /// The session's connection is lost; its lease begins.
    fn detach(&mut self, now: Timestamp, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.connection = None;
        session.rewind(&self.limits);
        self.arm(id, now + self.limits.lease);
    }

    fn remove_session(&mut self, now: Timestamp, id: SessionId) {
        self.tell_watchers(id);
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        self.admission.session_removed(now, session.peer);
        if let Some(deadline) = session.deadline {
            self.timers.remove(&(deadline, Timer::Session(id)));
        }
        if let Some(connection) = session.connection
            && let Some(connection) = self.connections.get_mut(&connection)
        {
            connection.session = None;
        }
        for other in &session.view {
            if let Some(shown) = self.sessions.get_mut(other) {
                shown.watchers.remove(&id);
            }
        }
        let catalog = session.catalog.take().unwrap_or_default();
        self.catalog_bytes -= catalog.bytes();
        if let Some(members) = self.namespaces.get_mut(&session.namespace) {
            members.remove(&session.peer, id);
            for key in catalog.keys() {
                members.remove_provider(key, id);
            }
            if members.is_empty() {
                self.namespaces.remove(&session.namespace);
            }
        }
        for watcher in &session.watchers {
            self.refill(*watcher, id, &session.namespace);
        }
        self.receipts_gone(session.inbox.drain());
    }

    /// Shows a session another peer in place of the one that went.
    fn refill(&mut self, id: SessionId, gone: SessionId, namespace: &Namespace) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.view.remove(&gone);
        let Some(members) = self.namespaces.get_mut(namespace) else {
            return;
        };
        match members.draw(id, &session.view, &mut self.rng) {
            None => {
                members.roomy.insert(id);
            }
            Some(other) => {
                session.view.insert(other);
                if let Some(shown) = self.sessions.get_mut(&other) {
                    shown.watchers.insert(id);
                    let peer = shown.peer;
                    self.tell(id, peer);
                }
            }
        }
    }

    fn heartbeat(&mut self, now: Timestamp, id: SessionId, connection: ConnectionId) {
        let timeout = self.limits.pong_timeout;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session
            .pings
            .front()
            .is_some_and(|due| *due + timeout <= now)
        {
            if let Some(silent) = self.connections.get_mut(&connection) {
                silent.session = None;
            }
            self.counts.reached("pong-timeout-seconds");
            self.close(connection);
            self.detach(now, id);
            return;
        }
        session.pings.push_back(now);
        let overdue = session.pings.front().map(|due| *due + timeout);
        let next = (now + self.limits.heartbeat).min(overdue.unwrap_or(now));
        self.arm(id, next);
        self.reply(connection, ServerMessage::Ping {});
        self.renew_ice(now, id, connection);
        self.refresh_view(id);
    }

    fn pong(&mut self, now: Timestamp, id: SessionId) {
        let heartbeat = self.limits.heartbeat;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        // One that nobody asked for says nothing.
        if let Some(sent) = session.pings.pop_front() {
            session.news.confirm();
            if session.pings.is_empty() {
                self.arm(id, (sent + heartbeat).max(now));
            }
        }
    }

    fn presence(&mut self, id: SessionId, presence: VerifiedPresence) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let order = |presence: &VerifiedPresence| {
            let presence = presence.presence();
            (presence.epoch, presence.issued)
        };
        let newest = session.presence.as_ref().map(order);
        if newest < Some(order(&presence)) {
            session.presence = Some(presence);
        }
    }
}

/// What peers hear of each other.
impl Registry {
    /// A session's view, as it stands.
    fn view(&self, id: SessionId) -> Vec<PeerSummary> {
        let shown = self.sessions.get(&id).into_iter();
        shown
            .flat_map(|session| &session.view)
            .filter_map(|other| self.sessions.get(other))
            .map(|other| summary(other))
            .collect()
    }

    /// How things stand with these peers, as far as a session is shown them.
    fn changes(&self, id: SessionId, peers: Vec<PeerId>) -> ServerMessage {
        let (mut add, mut drop) = (Vec::new(), Vec::new());
        let members = self
            .sessions
            .get(&id)
            .and_then(|session| Some((session, self.namespaces.get(&session.namespace)?)));
        for peer in peers {
            let shown = members.and_then(|(session, members)| {
                let other = members.session_of(&peer)?;
                session.view.contains(&other).then_some(other)
            });
            match shown.and_then(|other| self.sessions.get(&other)) {
                Some(other) => add.push(summary(other)),
                None => drop.push(peer),
            }
        }
        ServerMessage::Peers { add, drop }
    }

    fn send_listing(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
        after: Option<PeerId>,
        limit: Option<u16>,
    ) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let Page { peers, next } = self.list(&session.namespace, after, limit, Some(session.peer));
        self.reply(connection, ServerMessage::Listing { peers, next });
    }

    fn tell_watchers(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let peer = session.peer;
        for watcher in session.watchers.clone() {
            self.tell(watcher, peer);
        }
    }

    fn tell(&mut self, id: SessionId, about: PeerId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.news.push(about, &self.limits);
            self.woken.extend(session.connection);
        }
    }
}

/// Catalogs.
impl Registry {
    fn catalog(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
        head: SignedHead,
        pages: &[PageText],
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let limit = |message: String| Fault::new(ErrorCode::Limit, message);
        let entries = self.limits.catalog_entries;
        if head.head().count as usize > entries {
            self.counts.reached("catalog-entries");
            let fault = limit(format!("a catalog here has at most {entries} entries"));
            return self.fault(connection, fault);
        }
        let incoming =
            head.signed().payload.len() + pages.iter().map(|page| page.text.len()).sum::<usize>();
        if self.catalog_bytes + incoming > self.limits.all_catalog_bytes {
            self.counts.reached("all-catalog-bytes");
            let fault = limit("this server holds as many catalogs as it can".into());
            return self.fault(connection, fault);
        }

        let held = session.catalog.get_or_insert_default();
        let before = held.bytes();
        let taken = held.take(head, pages, self.limits.catalog_bytes);
        self.catalog_bytes = self.catalog_bytes - before + held.bytes();
        match taken {
            Ok(None) => {}
            Ok(Some(changes)) => {
                if let Some(members) = self.namespaces.get_mut(&session.namespace) {
                    for key in changes.removed {
                        members.remove_provider(&key, id);
                    }
                    for key in changes.added {
                        members.add_provider(key, id);
                    }
                }
                self.tell_watchers(id);
            }
            Err(refused) => {
                if matches!(refused, NotTaken::TooLarge(_)) {
                    self.counts.reached("catalog-bytes");
                }
                self.fault(
                    connection,
                    Fault::new(ErrorCode::Catalog, refused.to_string()),
                );
            }
        }
    }

    fn get(&mut self, connection: ConnectionId, id: SessionId, reading: Reading) {
        let max = self.limits.readings;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.readings.len() >= max {
            self.counts.reached("readings");
            let message = format!("at most {max} catalogs can be asked for at once");
            return self.fault(connection, Fault::new(ErrorCode::Limit, message));
        }
        session.readings.push_back(reading);
        self.woken.insert(connection);
    }

    /// The next part of the catalog a session has asked for first.
    fn read_catalog(&mut self, id: SessionId) -> Option<ServerMessage> {
        let session = self.sessions.get_mut(&id)?;
        let mut reading = session.readings.pop_front()?;
        let members = self.namespaces.get(&session.namespace);
        let catalog = members
            .and_then(|members| members.session_of(&reading.peer))
            .and_then(|owner| self.sessions.get(&owner)?.catalog.as_ref());
        let (message, last) = match catalog {
            Some(catalog) => catalog.read(&mut reading),
            None => (reading.nothing(), true),
        };
        if !last && let Some(session) = self.sessions.get_mut(&id) {
            session.readings.push_front(reading);
        }
        Some(message)
    }

    fn find(&mut self, now: Timestamp, connection: ConnectionId, id: SessionId, key: ContentKey) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (peer, namespace) = (session.peer, session.namespace.clone());
        let peers = self.providers(now, &namespace, &key, Some(peer));
        self.reply(connection, ServerMessage::Providers { key, peers });
    }
}

/// Signals.
impl Registry {
    fn signal(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        from: SessionId,
        number: u64,
        signal: AddressedSignal,
    ) {
        let Some(sender) = self.sessions.get(&from) else {
            return;
        };
        let address = self.connections.get(&connection).map(|sent| sent.from);
        let admitted = self.admission.signal(now, address, sender.peer);
        if let Err(reached) = admitted {
            self.counts.reached(reached.key);
            return self.receipt(from, number, ReceiptStatus::Refused);
        }
        let origin = Origin {
            session: from,
            incarnation: sender.incarnation,
            id: number,
        };
        let receiver = self
            .namespaces
            .get(&sender.namespace)
            .and_then(|members| members.session_of(&signal.to()))
            .and_then(|id| self.sessions.get_mut(&id));
        let Some(receiver) = receiver else {
            return self.receipt(from, number, ReceiptStatus::Gone);
        };
        match receiver
            .inbox
            .push(now, origin, signal.into_signed(), &self.limits)
        {
            Ok(()) => self.woken.extend(receiver.connection),
            Err(session::Full(key)) => {
                self.counts.reached(key);
                self.receipt(from, number, ReceiptStatus::Full);
            }
        }
    }

    fn ack(&mut self, id: SessionId, number: u64) {
        let origin = self
            .sessions
            .get_mut(&id)
            .and_then(|session| session.inbox.acknowledge(number));
        if let Some(origin) = origin {
            self.receipt_to(origin, ReceiptStatus::Delivered);
        }
    }

    fn receipts_gone(&mut self, given_up: Vec<Origin>) {
        for origin in given_up {
            self.receipt_to(origin, ReceiptStatus::Gone);
        }
    }

    /// A receipt to whoever sent a signal, if it is still that session.
    fn receipt_to(&mut self, origin: Origin, status: ReceiptStatus) {
        let session = self.sessions.get(&origin.session);
        if session.is_some_and(|session| session.incarnation == origin.incarnation) {
            self.receipt(origin.session, origin.id, status);
        }
    }

    fn receipt(&mut self, id: SessionId, number: u64, status: ReceiptStatus) {
        self.counts.receipt(status);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.push_receipt(Receipt { id: number, status }, &self.limits);
            self.woken.extend(session.connection);
        }
    }
}

/// Connections, timers, randomness.
impl Registry {
    /// Answers a connection. One that lets too many answers wait is closed.
    fn reply(&mut self, id: ConnectionId, message: ServerMessage) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.closing {
            return;
        }
        if let ServerMessage::Error { code, .. } = &message {
            self.counts.refused(*code);
        }
        connection.replies.push_back(message);
        if connection.replies.len() > self.limits.replies {
            self.counts.reached("replies");
            connection.replies.clear();
            connection.closing = true;
        }
        self.woken.insert(id);
    }

    /// Says what is wrong. Before the join, and after too many times, the connection ends.
    fn fault(&mut self, id: ConnectionId, fault: Fault) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.faults += 1;
        let too_many = connection.faults >= self.limits.faults;
        if too_many {
            self.counts.reached("faults");
        }
        if connection.session.is_none() || too_many {
            return self.refuse(id, fault);
        }
        self.reply(id, error(fault));
    }

    /// Says what is wrong and ends the connection.
    fn refuse(&mut self, id: ConnectionId, fault: Fault) {
        self.reply(id, error(fault));
        self.close(id);
    }

    /// Whether one more connection from there is let in.
    fn admit(&mut self, now: Timestamp, from: Address) -> Result<(), Reached> {
        if self.connections.len() >= self.limits.connections {
            return Err(full("connections", "connections"));
        }
        self.admission.connected(now, from)
    }

    /// Whether one more session of this peer is let in.
    fn admit_session(&mut self, now: Timestamp, peer: PeerId) -> Result<(), Reached> {
        if self.sessions.len() >= self.limits.sessions {
            return Err(full("sessions", "peers"));
        }
        self.admission.session_added(now, peer)
    }

    /// Says when to come back, and ends the connection.
    fn turn_away(&mut self, id: ConnectionId, reached: Reached) {
        let refusal = self.busy(reached);
        self.reply(id, refusal);
        self.close(id);
    }

    /// The error of a server that is full.
    fn busy(&mut self, reached: Reached) -> ServerMessage {
        self.counts.reached(reached.key);
        let wait = u64::try_from(reached.wait.as_millis()).unwrap_or(u64::MAX);
        ServerMessage::Error {
            code: ErrorCode::Limit,
            message: format!("this server has as many {} as it takes", reached.what),
            retry_after: Some(wait.saturating_add(self.retry_after())),
        }
    }

    fn close(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.closing = true;
            self.woken.insert(id);
        }
    }

    /// Sets the one timer of a session.
    fn arm(&mut self, id: SessionId, at: Timestamp) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(old) = session.deadline.replace(at) {
            self.timers.remove(&(old, Timer::Session(id)));
        }
        self.timers.insert((at, Timer::Session(id)));
    }

    /// When to come back (ms): not all at once.
    fn retry_after(&mut self) -> u64 {
        let least = self.limits.retry_after;
        let all = self.connections.len() as f64 / self.limits.returns_per_second;
        let spread = Duration::try_from_secs_f64(all)
            .unwrap_or(LONGEST_RETURN)
            .clamp(least, LONGEST_RETURN.max(least));
        let spread = usize::try_from(spread.as_millis()).unwrap_or(usize::MAX);
        let least = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
        least.saturating_add(members::below(spread, &mut self.rng) as u64)
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn summary(session: &Session) -> PeerSummary {
    PeerSummary {
        peer: session.peer,
        catalog: session.catalog.as_ref().and_then(|held| held.since()),
    }
}

/// There is no room until somebody goes.
fn full(key: &'static str, what: &'static str) -> Reached {
    Reached {
        key,
        what,
        wait: Duration::ZERO,
    }
}

fn error(fault: Fault) -> ServerMessage {
    ServerMessage::Error {
        code: fault.code,
        message: fault.message,
        retry_after: None,
    }
}
