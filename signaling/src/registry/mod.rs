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
//! **Clocks** may jump. What passes while one is set back takes no time; where it leaps ahead,
//! what is due in between is due at once, but a peer that answered its last `ping` is asked again
//! before it counts as away.
//!
//! **One connection each.** A peer that joins anew is believed: its older connection ends with
//! `superseded`, and is told to stay away for a lease, so that two holders of one identity
//! take turns and do not throw each other out without end.

mod catalogs;
mod coming;
mod connections;
#[cfg(test)]
mod crowd;
mod ice;
mod listing;
mod members;
mod session;
mod signals;
mod steady;
#[cfg(test)]
mod tests;
mod views;

use crate::address::Address;
use crate::admission::{Admission, Refusal};
use crate::check::{Fault, Request};
use crate::counts::Counts;
use crate::{limits::Limits, turn::Turn};
use catalogs::Reading;
use connections::full;
pub use listing::Page;
use members::Members;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use session::Session;
use shoal_protocol::{
    VERSIONS,
    id::{Nonce, PeerId},
    namespace::Namespace,
    rendezvous::{ErrorCode, IceServer, MAX_VIEW, ReceiptStatus, ServerMessage},
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use steady::Steady;

/// A connection, from its first byte to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// A session. Each peer has those of a whole view and of as many watchers, so they are small: a
/// number is used again after four billion others, long after all has ended that named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SessionId(u32);

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
    /// Connections of peers, those included that are being closed.
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
    Receipts(SessionId),
}

/// See the [module](self).
#[derive(Debug)]
pub struct Registry {
    server: PeerId,
    limits: Limits,
    ice_servers: Vec<IceServer>,
    turn: Option<Turn>,
    rng: ChaCha20Rng,
    time: Steady,
    connections: BTreeMap<ConnectionId, Connection>,
    /// How many of them were let in.
    admitted: usize,
    /// In boxes, since a tree that grows at its end is half empty.
    sessions: BTreeMap<SessionId, Box<Session>>,
    namespaces: BTreeMap<Namespace, Members>,
    timers: BTreeSet<(Timestamp, Timer)>,
    woken: BTreeSet<ConnectionId>,
    admission: Admission,
    counts: Counts,
    last_connection: u64,
    last_session: u32,
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
            time: Steady::default(),
            connections: BTreeMap::new(),
            admitted: 0,
            sessions: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            timers: BTreeSet::new(),
            woken: BTreeSet::new(),
            last_connection: 0,
            last_session: 0,
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
        let now = self.time.at(now);
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
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
            self.admitted += 1;
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
        let now = self.time.at(now);
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

    /// Nothing more goes over a connection: its peer is away, though its socket is still open.
    /// [`Registry::handle_disconnect`] is to follow.
    pub fn handle_closing(&mut self, now: Timestamp, id: ConnectionId) {
        let now = self.time.at(now);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.closing = true;
        connection.replies = VecDeque::new();
        let session = connection.session.take();
        if let Some(deadline) = connection.deadline.take() {
            self.timers.remove(&(deadline, Timer::Connection(id)));
        }
        if let Some(session) = session {
            self.detach(now, session);
        }
    }

    /// A connection is gone, with its socket.
    pub fn handle_disconnect(&mut self, now: Timestamp, id: ConnectionId) {
        self.handle_closing(now, id);
        let now = self.time.at(now);
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.woken.remove(&id);
        if connection.admitted {
            self.admitted -= 1;
            self.admission.disconnected(now, connection.from);
        }
    }

    /// Something of so many bytes came on a connection. Returns how long to wait before more
    /// is read.
    pub fn handle_bytes(&mut self, now: Timestamp, id: ConnectionId, bytes: usize) -> Duration {
        let now = self.time.at(now);
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
    ) -> Result<(), Refusal> {
        let now = self.time.at(now);
        let opened = self.admission.http_opened(now, from);
        opened.map_err(|reached| self.refusal(reached))
    }

    /// An HTTP connection is closed, or has become a WebSocket.
    pub fn handle_http_closed(&mut self, now: Timestamp, from: Option<Address>) {
        let now = self.time.at(now);
        self.admission.http_closed(now, from);
    }

    /// An HTTP request came; `upgrade` says that it is to become a connection of a peer.
    pub fn handle_http_request(
        &mut self,
        now: Timestamp,
        from: Address,
        upgrade: bool,
    ) -> Result<(), Refusal> {
        let now = self.time.at(now);
        let requested = self.admission.request(now, from);
        requested.map_err(|reached| self.refusal(reached))?;
        // Who is not let in hears when to come back; of these there are not too many.
        let farewells = self.connections.len() - self.admitted;
        if upgrade && farewells >= self.limits.farewells && !self.has_room(now, from) {
            return Err(self.refusal(full("farewells", "connections")));
        }
        Ok(())
    }

    /// A bound that the driver keeps was reached, by key.
    pub fn handle_reached(&mut self, key: &'static str) {
        self.counts.reached(key);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.time.at(now);
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
                Timer::Receipts(id) => {
                    let session = self.sessions.get(&id);
                    self.woken
                        .extend(session.and_then(|session| session.connection));
                }
            }
        }
    }

    /// The server is about to end: tells everybody when to come back.
    pub fn handle_shutdown(&mut self, now: Timestamp) {
        let now = self.time.at(now);
        self.closing = true;
        let all: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in all {
            // What waits for a signal to travel with waits no longer.
            if let Some(session) = self.connections.get(&id).and_then(|of| of.session) {
                let receipts = self.take_receipts(now, session);
                if !receipts.is_empty() {
                    self.reply(id, ServerMessage::Receipts { receipts });
                }
            }
            let retry_after = self.retry_after();
            self.reply(id, ServerMessage::Closing { retry_after });
            self.close(id);
        }
    }

    /// When [`Registry::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let own = self.timers.first().map(|(due, _)| *due);
        let first = own.into_iter().chain(self.admission.next_timeout()).min();
        first.map(|due| self.time.shown(due))
    }

    /// A connection for which something may wait.
    pub fn poll_woken(&mut self) -> Option<ConnectionId> {
        self.woken.pop_first()
    }

    /// What to send next on a connection whose socket can take it.
    pub fn poll_transmit(&mut self, now: Timestamp, id: ConnectionId) -> Transmit {
        let now = self.time.at(now);
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
            catalog_bytes: self.admission.catalog_bytes(),
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
            let catalog = session.catalog.as_ref();
            gauges.catalogs += usize::from(catalog.is_some_and(|held| held.since().is_some()));
        }
        gauges
    }

    /// What the registry has done.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        counts.set_reached("idle-accounts", self.admission.forgotten());
        counts
    }

    /// Why no further peers should be sent here, if so: the server ends, or is at a bound.
    pub fn unready(&self) -> Option<&'static str> {
        let limits = &self.limits;
        let bounds = [
            (self.closing, "closing"),
            (self.admitted >= limits.connections, "connections"),
            (self.sessions.len() >= limits.sessions, "sessions"),
            (
                // The largest catalog would be refused.
                self.admission.catalog_bytes() + limits.catalog_bytes > limits.all_catalog_bytes,
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
        let signal = session.inbox.next();
        let are_due = session.receipts_due.is_some_and(|due| due <= now);
        let receipts = match signal.is_some() || are_due {
            true => self.take_receipts(now, id),
            false => Vec::new(),
        };
        if let Some((id, signed, came)) = signal {
            if let Some(came) = came {
                self.counts.relay.observe(now.since(came));
            }
            return Some(ServerMessage::Signal {
                id,
                signed,
                receipts,
            });
        }
        if !receipts.is_empty() {
            return Some(ServerMessage::Receipts { receipts });
        }
        let session = self.sessions.get_mut(&id)?;
        if session.news.take_resync() {
            self.counts.reached("news");
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
            Request::Catalog { head, pages } => self.catalog(now, connection, id, head, pages),
            Request::Get { peer, since } => self.get(connection, id, Reading::new(peer, since)),
            Request::List { after, limit } => self.send_listing(connection, id, after, limit),
            Request::Find { key, now } => self.find(now, connection, id, key),
            Request::Signal {
                id: number,
                signal,
                ack,
            } => {
                if let Some(taken) = ack {
                    self.ack(now, id, taken);
                }
                match signal {
                    Some(signal) => self.signal(now, connection, id, number, signal),
                    None => self.receipt(now, id, number, ReceiptStatus::Refused),
                }
            }
            Request::Ack { id: taken } => self.ack(now, id, taken),
            Request::Leave => {
                self.remove_session(now, id);
                self.close(connection);
            }
            Request::Join(_) | Request::Fault(_) => {}
        }
    }
}
