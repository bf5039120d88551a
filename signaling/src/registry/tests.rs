mod catalogs;
mod jumps;
mod namespaces;
mod reached;
mod receipts;

use super::*;
use crate::{check::Checker, turn::Secret};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use shoal_protocol::rendezvous::{ACK_DELAY, MAX_RECEIPTS, MAX_UNACKED, Receipt};
use shoal_protocol::{
    catalog::{CatalogHead, HEAD_LIFETIME, PageText, page_hashes},
    id::{LinkId, ResumeToken, Signature},
    rendezvous::{Join, PeerMessage, PeerSummary},
    seal::SealKey,
    signal::{SIGNAL_LIFETIME, Signal, SignalBody},
    signed::{Payload, Signed},
    sorted::SortedSet,
};
use std::sync::Arc;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn server() -> PeerId {
    PeerId::from_public_key([5; 32])
}

fn address(n: u32) -> Address {
    Address::new(std::net::Ipv4Addr::from_bits(n).into(), 64)
}

/// A client as it should be, with a wire that loses what is on it when it breaks.
struct Client {
    key: SigningKey,
    from: Address,
    connection: Option<(ConnectionId, Checker)>,
    joined: bool,
    token: Option<ResumeToken>,
    known: BTreeMap<PeerId, Option<u64>>,
    wire: VecDeque<ServerMessage>,
    /// By sender: numbers of the signals received, in order, the repeated ones once.
    heard: BTreeMap<PeerId, Vec<u64>>,
    sent: Vec<PeerId>,
    receipts: BTreeMap<u64, ReceiptStatus>,
    /// The last signal heard; acknowledged at once, or with the next signal sent.
    unacked: Option<u64>,
    acks_with_signals: bool,
    catalog: u64,
    errors: Vec<ErrorCode>,
    /// When to try again, in ms, as the last error said.
    retry_after: Option<u64>,
    ice_servers: Vec<IceServer>,
}

impl Client {
    fn id(&self) -> PeerId {
        PeerId::from_public_key(self.key.verifying_key().to_bytes())
    }

    fn take_receipts(&mut self, receipts: Vec<Receipt>) {
        assert!(receipts.len() <= MAX_RECEIPTS);
        for Receipt { id, status } in receipts {
            let before = self.receipts.insert(id, status);
            assert!(before.is_none_or(|before| before == status));
        }
    }

    fn sign<T: Payload>(&self, payload: &T) -> Signed {
        let payload = payload.to_payload();
        let sig = self.key.sign(&T::KIND.message(&payload)).to_bytes();
        Signed {
            peer: self.id(),
            payload,
            sig: Signature(sig),
            member: None,
        }
    }
}

/// A registry and its clients on virtual time.
struct World {
    registry: Registry,
    now: Timestamp,
    clients: Vec<Client>,
}

impl World {
    fn new(clients: usize, limits: Limits) -> Self {
        let client = |n: usize| Client {
            key: SigningKey::from_bytes(&[n as u8 + 1; 32]),
            from: address(0),
            connection: None,
            joined: false,
            token: None,
            known: BTreeMap::new(),
            wire: VecDeque::new(),
            heard: BTreeMap::new(),
            sent: Vec::new(),
            receipts: BTreeMap::new(),
            unacked: None,
            acks_with_signals: n % 2 == 1,
            catalog: 0,
            errors: Vec::new(),
            retry_after: None,
            ice_servers: Vec::new(),
        };
        let ice = Vec::new();
        Self {
            registry: Registry::new(server(), limits, ice, [3; 32]),
            now: START,
            clients: (0..clients).map(client).collect(),
        }
    }

    fn id(&self, n: usize) -> PeerId {
        self.clients[n].id()
    }

    /// Connects and joins; an earlier connection of the client is forgotten, not closed.
    fn join(&mut self, n: usize, resume: bool) {
        let from = self.clients[n].from;
        let (connection, nonce) = self.registry.handle_connect(self.now, from);
        let client = &mut self.clients[n];
        client.connection = Some((connection, Checker::new(server(), nonce)));
        client.wire.clear();
        client.joined = false;
        let join = Join {
            server: server(),
            nonce,
            namespace: Namespace::default(),
            versions: vec![1],
        };
        let signed = client.sign(&join);
        let resume = client.token.filter(|_| resume);
        self.send(n, PeerMessage::Join { signed, resume });
    }

    fn send(&mut self, n: usize, message: PeerMessage) {
        if let Some((connection, checker)) = &mut self.clients[n].connection {
            let request = checker.check(self.now, &message.to_text());
            self.registry.handle_request(self.now, *connection, request);
        }
    }

    fn signal(&mut self, from: usize, to: usize) {
        let client = &self.clients[from];
        let Some((connection, _)) = &client.connection else {
            return;
        };
        // What is sent into a closing connection is lost, as with any socket.
        if !client.joined || self.registry.connections[connection].closing {
            return;
        }
        let id = client.sent.len() as u64;
        let to = self.id(to);
        let signed = client.sign(&Signal {
            from: client.id(),
            to,
            namespace: Namespace::default(),
            link: LinkId([0; 16]),
            n: id as u32,
            nonce: Nonce([0; 16]),
            versions: vec![1],
            expires: self.now.unix_millis().plus(SIGNAL_LIFETIME),
            body: SignalBody::Link(SealKey([6; 32])),
        });
        self.clients[from].sent.push(to);
        let client = &mut self.clients[from];
        let ack = client.unacked.take_if(|_| client.acks_with_signals);
        self.send(
            from,
            PeerMessage::Signal {
                id,
                to,
                signed,
                ack,
            },
        );
    }

    fn publish(&mut self, n: usize) {
        let client = &mut self.clients[n];
        if !client.joined {
            return;
        }
        client.catalog += 1;
        let text: Arc<str> = Arc::from("[]".to_owned() + &" ".repeat(client.catalog as usize % 7));
        let head = CatalogHead {
            peer: client.id(),
            namespace: Namespace::default(),
            epoch: 1,
            number: client.catalog,
            count: 0,
            pages: page_hashes(std::slice::from_ref(&text)),
            issued: self.now.unix_millis(),
            expires: self.now.unix_millis().plus(HEAD_LIFETIME),
        };
        let signed = client.sign(&head);
        let pages = vec![PageText { page: 0, text }];
        self.send(n, PeerMessage::Catalog { signed, pages });
    }

    /// Up to `count` messages go onto the wire.
    fn transmit(&mut self, n: usize, count: usize) -> bool {
        let Some((connection, _)) = self.clients[n].connection else {
            return false;
        };
        for at in 0..count {
            match self.registry.poll_transmit(self.now, connection) {
                Transmit::Message(message) => self.clients[n].wire.push_back(message),
                Transmit::Idle => return at > 0,
                Transmit::Close => {
                    self.receive(n);
                    self.cut(n, 0);
                    return true;
                }
            }
        }
        count > 0
    }

    /// What is on the wire arrives, and is answered.
    fn receive(&mut self, n: usize) {
        while let Some(message) = self.clients[n].wire.pop_front() {
            self.take(n, message);
        }
    }

    fn take(&mut self, n: usize, message: ServerMessage) {
        let client = &mut self.clients[n];
        let known = |peer: PeerSummary| (peer.peer, peer.catalog.map(|since| since.number));
        match message {
            ServerMessage::Joined {
                resume,
                resumed,
                view,
                ice_servers,
                ..
            } => {
                client.ice_servers = ice_servers;
                client.joined = true;
                client.token = Some(resume);
                assert!(!resumed || view.is_empty());
                if !resumed {
                    client.unacked = None;
                    client.sent.clear();
                    client.receipts.clear();
                    client.known = view.into_iter().map(known).collect();
                }
            }
            ServerMessage::Peers { add, drop } => {
                assert!(add.len() + drop.len() <= MAX_VIEW);
                client.known.extend(add.into_iter().map(known));
                client.known.retain(|peer, _| !drop.contains(peer));
            }
            ServerMessage::Resync { view } => {
                client.known = view.into_iter().map(known).collect();
            }
            ServerMessage::Signal {
                id,
                signed,
                receipts,
            } => {
                let heard = client.heard.entry(signed.peer).or_default();
                if !heard.contains(&id) {
                    heard.push(id);
                }
                client.take_receipts(receipts);
                client.unacked = Some(id);
                if !client.acks_with_signals {
                    self.send(n, PeerMessage::Ack { id });
                }
            }
            ServerMessage::Receipts { receipts } => {
                assert!(!receipts.is_empty());
                client.take_receipts(receipts);
            }
            ServerMessage::Ice { ice_servers } => client.ice_servers = ice_servers,
            ServerMessage::Ping {} => self.send(n, PeerMessage::Pong {}),
            ServerMessage::Error {
                code, retry_after, ..
            } => {
                client.errors.push(code);
                client.retry_after = retry_after;
            }
            _ => {}
        }
    }

    /// The connection breaks; the last `lost` messages on the wire do not arrive.
    fn cut(&mut self, n: usize, lost: usize) {
        let client = &mut self.clients[n];
        let arrives = client.wire.len().saturating_sub(lost);
        client.wire.truncate(arrives);
        self.receive(n);
        if let Some((connection, _)) = self.clients[n].connection.take() {
            self.clients[n].joined = false;
            self.registry.handle_disconnect(self.now, connection);
        }
    }

    /// Time passes; timers go off when they are due.
    fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.registry.next_timeout()
            && due <= end
        {
            self.now = self.now.max(due);
            self.registry.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// The clock is set ahead, or back, by so many ms. A driver that sleeps does so for a span of
    /// time, so it wakes up as if nothing had happened.
    fn jump(&mut self, millis: i64) {
        let now = self.now.as_micros().saturating_add_signed(millis * 1000);
        self.now = Timestamp::from_micros(now);
        self.registry.handle_timeout(self.now);
    }

    /// Everything that can be said is said.
    fn settle(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for n in 0..self.clients.len() {
                busy |= self.transmit(n, 8);
                self.receive(n);
            }
        }
    }

    /// What waits for a signal to travel with goes by itself.
    fn confirm(&mut self) {
        for n in 0..self.clients.len() {
            if let Some(id) = self.clients[n].unacked.take() {
                self.send(n, PeerMessage::Ack { id });
            }
        }
        self.advance(ACK_DELAY);
        self.settle();
    }

    /// Nobody says anything more: in the end nothing is left.
    fn end(&mut self) {
        let connections: Vec<ConnectionId> = self.registry.connections.keys().copied().collect();
        for connection in connections {
            self.registry.handle_disconnect(self.now, connection);
        }
        self.advance(Duration::from_secs(3600));
        assert_eq!(self.registry.gauges(), Gauges::default());
    }

    fn check(&self) {
        let registry = &self.registry;
        let mut timers = 0;
        for (id, session) in &registry.sessions {
            timers += usize::from(session.deadline.is_some());
            match session.receipts_due {
                Some(due) => {
                    assert!(session.connection.is_some() && !session.receipts.is_empty());
                    timers += usize::from(registry.timers.contains(&(due, Timer::Receipts(*id))));
                }
                None => assert!(session.connection.is_none() || session.receipts.is_empty()),
            }
            let members = &registry.namespaces[&session.namespace];
            let others = members.sessions().count() - 1;
            assert_eq!(session.view.len(), others.min(MAX_VIEW));
            assert_eq!(members.roomy.contains(id), session.view.len() < MAX_VIEW);
            assert_eq!(members.session_of(&session.peer), Some(*id));
            assert!(!session.view.contains(id));
            for other in &session.view {
                assert!(registry.sessions[other].watchers.contains(id));
            }
            for other in &session.watchers {
                assert!(registry.sessions[other].view.contains(id));
            }
            if let Some(connection) = session.connection {
                assert_eq!(registry.connections[&connection].session, Some(*id));
            }
        }
        let admitted = registry.connections.values().filter(|it| it.admitted);
        assert_eq!(registry.admitted, admitted.count());
        for (id, connection) in &registry.connections {
            timers += usize::from(connection.deadline.is_some());
            if let Some(session) = connection.session {
                assert_eq!(registry.sessions[&session].connection, Some(*id));
            }
        }
        let listed: usize = registry
            .namespaces
            .values()
            .map(|members| members.sessions().count())
            .sum();
        assert_eq!(listed, registry.sessions.len());
        assert_eq!(registry.timers.len(), timers);
        let mut bytes = BTreeMap::<Address, usize>::new();
        for session in registry.sessions.values() {
            let Some(held) = &session.catalog else {
                continue;
            };
            let (from, charged) = held.charged().unwrap_or((address(0), 0));
            assert_eq!(charged, held.bytes());
            *bytes.entry(from).or_default() += charged;
        }
        assert_eq!(
            registry.admission.catalog_bytes(),
            bytes.values().sum::<usize>()
        );
        for (from, bytes) in bytes {
            assert_eq!(registry.admission.catalog_bytes_of(from), bytes);
        }
    }

    /// Everybody who is connected knows what the registry shows; every signal is accounted for.
    fn check_settled(&self) {
        self.check();
        for client in self.clients.iter().filter(|client| client.joined) {
            let members = &self.registry.namespaces[&Namespace::default()];
            let id = members.session_of(&client.id()).unwrap();
            let incarnation = self.registry.sessions[&id].incarnation;
            let shown: BTreeMap<PeerId, Option<u64>> = self
                .registry
                .view(id)
                .into_iter()
                .map(|peer| (peer.peer, peer.catalog.map(|since| since.number)))
                .collect();
            assert_eq!(client.known, shown);
            for (number, to) in (0..).zip(&client.sent) {
                let origin = session::Origin {
                    session: id,
                    incarnation,
                    id: number,
                };
                let waits = members.session_of(to).is_some_and(|to| {
                    let receiver = &self.registry.sessions[&to];
                    receiver.connection.is_none() && receiver.inbox.holds(origin)
                });
                assert!(
                    client.receipts.contains_key(&number) || waits,
                    "signal {number} of {} is lost",
                    client.id()
                );
            }
            for heard in client.heard.values() {
                // Numbers are the server's, in the order of sending.
                assert!(heard.is_sorted(), "{heard:?}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize, bool),
    Cut(usize, usize),
    Transmit(usize, usize),
    Receive(usize),
    Signal(usize, usize),
    Publish(usize),
    Leave(usize),
    Advance(u64),
    /// The clock is set ahead or back.
    Jump(i64),
}

fn step(clients: usize) -> impl Strategy<Value = Step> {
    let who = 0..clients;
    prop_oneof![
        4 => (who.clone(), any::<bool>()).prop_map(|(n, resume)| Step::Join(n, resume)),
        2 => (who.clone(), 0..4usize).prop_map(|(n, lost)| Step::Cut(n, lost)),
        6 => (who.clone(), 1..6usize).prop_map(|(n, count)| Step::Transmit(n, count)),
        6 => who.clone().prop_map(Step::Receive),
        5 => (who.clone(), who.clone()).prop_map(|(from, to)| Step::Signal(from, to)),
        2 => who.clone().prop_map(Step::Publish),
        1 => who.prop_map(Step::Leave),
        2 => (1..40_000u64).prop_map(Step::Advance),
        1 => (-100_000_000..100_000_000i64).prop_map(Step::Jump),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_whatever_breaks(
        steps in prop::collection::vec(step(5), 1..150),
        news in 1..6usize,
    ) {
        let limits = Limits { news, queued_per_sender: 4, faults: 1000, ..Limits::default() };
        let mut world = World::new(5, limits);
        for step in steps {
            match step {
                Step::Join(n, resume) => world.join(n, resume),
                Step::Cut(n, lost) => world.cut(n, lost),
                Step::Transmit(n, count) => {
                    world.transmit(n, count);
                }
                Step::Receive(n) => world.receive(n),
                Step::Signal(from, to) => world.signal(from, to),
                Step::Publish(n) => world.publish(n),
                Step::Leave(n) if world.clients[n].joined => {
                    world.send(n, PeerMessage::Leave {});
                    world.cut(n, 0);
                    world.clients[n].token = None;
                }
                Step::Leave(_) => {}
                Step::Advance(millis) => world.advance(Duration::from_millis(millis)),
                Step::Jump(millis) => world.jump(millis),
            }
            world.check();
        }
        world.settle();
        world.confirm();
        world.check_settled();

        world.end();
    }
}

#[test]
fn a_crowd_is_shown_in_part_and_nobody_is_left_without_company() {
    let mut world = World::new(250, Limits::default());
    for n in 0..250 {
        world.join(n, false);
        if n % 10 == 0 || (95..105).contains(&n) {
            world.check();
        }
    }
    world.settle();
    world.check_settled();
    for n in (0..250).filter(|n| n % 5 != 0) {
        world.send(n, PeerMessage::Leave {});
        if n % 10 == 1 {
            world.check();
        }
        world.clients[n].joined = false;
        world.clients[n].connection = None;
    }
    world.settle();
    world.check_settled();
    assert_eq!(
        world.clients[0].known.len(),
        49,
        "all are shown who are left"
    );
}

#[test]
fn a_view_is_chosen_at_random() {
    let mut members = Members::default();
    let sessions: Vec<SessionId> = (0..1000).map(SessionId).collect();
    for session in &sessions {
        members.insert(
            PeerId::from_public_key(core::array::from_fn(|_| 0)),
            *session,
        );
    }
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let mut drawn = vec![0; 1000];
    for _ in 0..1000 {
        let sample = members.sample(100, &SortedSet::default(), &mut rng);
        assert_eq!(sample.len(), 100);
        for session in sample {
            drawn[session.0 as usize] += 1;
        }
    }
    // Binomial with mean 100 and deviation 9.5: six deviations either way.
    assert!(
        drawn.iter().all(|count| (43..158).contains(count)),
        "{drawn:?}"
    );
}

#[test]
fn a_silent_peer_is_away_and_gone_after_its_lease() {
    let limits = Limits::default();
    let mut world = World::new(2, limits.clone());
    world.join(0, false);
    world.join(1, false);
    world.settle();
    // The first answers, the second does not.
    for _ in 0..2 {
        world.advance(limits.heartbeat);
        world.transmit(0, 8);
        world.receive(0);
    }
    world.advance(limits.heartbeat - Duration::from_millis(1));
    let silent = world.clients[1].connection.as_ref().unwrap().0;
    assert!(!world.registry.connections[&silent].closing);
    world.advance(Duration::from_millis(1));
    let mut last = Vec::new();
    while let Transmit::Message(message) = world.registry.poll_transmit(world.now, silent) {
        last.push(message);
    }
    assert_eq!(
        world.registry.poll_transmit(world.now, silent),
        Transmit::Close
    );
    assert_eq!(last, [ServerMessage::Ping {}, ServerMessage::Ping {}]);
    world.cut(1, 0);
    assert!(
        world.clients[0].known.contains_key(&world.id(1)),
        "its lease goes on"
    );
    for _ in 0..4 {
        world.advance(limits.heartbeat);
        world.transmit(0, 8);
        world.receive(0);
    }
    world.settle();
    assert!(world.clients[0].known.is_empty());
    world.check_settled();
}

#[test]
fn nobody_fills_the_queue_of_another_alone() {
    let limits = Limits {
        queued_signals: 5,
        queued_per_sender: 3,
        ..Limits::default()
    };
    let mut world = World::new(4, limits);
    for n in 0..4 {
        world.join(n, false);
    }
    world.settle();
    world.cut(3, 0);
    for _ in 0..4 {
        world.signal(0, 3);
    }
    for _ in 0..3 {
        world.signal(1, 3);
    }
    world.settle();
    let full = ReceiptStatus::Full;
    assert_eq!(world.clients[0].receipts, BTreeMap::from([(3, full)]));
    assert_eq!(world.clients[1].receipts, BTreeMap::from([(2, full)]));

    // A new session does not inherit them, and who sent them hears of it.
    world.join(3, false);
    world.settle();
    let gone = ReceiptStatus::Gone;
    assert_eq!(world.clients[0].receipts[&2], gone);
    assert_eq!(world.clients[1].receipts[&0], gone);
    world.check_settled();
}

#[test]
fn a_receipt_is_for_the_session_that_sent_the_signal() {
    let mut world = World::new(2, Limits::default());
    world.join(0, false);
    world.join(1, false);
    world.settle();
    world.signal(0, 1);
    world.join(0, false);
    world.settle();
    world.confirm();
    assert!(world.clients[0].receipts.is_empty(), "numbers start again");
    assert!(world.clients[1].heard.contains_key(&world.id(0)));
}

#[test]
fn two_holders_of_an_identity_take_turns() {
    let limits = Limits::default();
    let mut world = World::new(1, limits.clone());
    world.join(0, false);
    world.settle();
    let older = world.clients[0].connection.as_ref().unwrap().0;
    world.join(0, false);
    let Transmit::Message(ServerMessage::Error {
        code, retry_after, ..
    }) = world.registry.poll_transmit(world.now, older)
    else {
        panic!("no error");
    };
    assert_eq!(code, ErrorCode::Superseded);
    assert_eq!(retry_after, Some(limits.lease.as_millis() as u64));
    assert_eq!(
        world.registry.poll_transmit(world.now, older),
        Transmit::Close
    );
    world.settle();
    assert!(world.clients[0].joined, "the newer one stays");
}

#[test]
fn turn_accounts_are_renewed_before_they_end() {
    let limits = Limits::default();
    let mut world = World::new(2, limits.clone());
    let urls = vec!["turn:turn.example".parse().unwrap()];
    let lifetime = limits.heartbeat * 8;
    let turn = Turn::new(urls, Secret::new("secret"), lifetime);
    world.registry =
        Registry::new(server(), limits.clone(), Vec::new(), [3; 32]).with_turn(Some(turn));
    world.join(0, false);
    world.join(1, false);
    world.settle();
    let expiry = |account: &IceServer| -> u64 {
        let user = account.username.as_ref().unwrap();
        let (expiry, _) = user.split_once(':').unwrap();
        expiry.parse().unwrap()
    };
    let mut accounts: Vec<IceServer> = world.clients[0].ice_servers.clone();
    for _ in 0..32 {
        world.advance(limits.heartbeat);
        world.settle();
        let account = world.clients[0].ice_servers[0].clone();
        let left = expiry(&account) - world.now.unix_millis().0 / 1000;
        assert!(left >= lifetime.as_secs() / 2, "{left} s are left");
        if accounts.last() != Some(&account) {
            accounts.push(account);
        }
    }
    assert_eq!(accounts.len(), 9, "each half of a lifetime");
    let names = |n: usize| {
        let user = world.clients[n].ice_servers[0].username.as_ref().unwrap();
        user.ends_with(&format!(":{}", world.id(n)))
    };
    assert!(names(0) && names(1), "each has its own");

    // Who comes back gets a new one at once.
    world.cut(0, 0);
    world.advance(limits.lease / 2);
    world.join(0, true);
    world.settle();
    let left = expiry(&world.clients[0].ice_servers[0]) - world.now.unix_millis().0 / 1000;
    assert_eq!(left, lifetime.as_secs());
}

#[test]
fn too_many_connections_are_told_when_to_come_back() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let mut world = World::new(0, limits);
    world.registry.handle_connect(START, address(0));
    let (second, _) = world.registry.handle_connect(START, address(0));
    let Transmit::Message(ServerMessage::Error {
        code, retry_after, ..
    }) = world.registry.poll_transmit(world.now, second)
    else {
        panic!("no error");
    };
    assert_eq!(code, ErrorCode::Limit);
    assert!(retry_after.is_some_and(|wait| wait >= 500));
    assert_eq!(
        world.registry.poll_transmit(world.now, second),
        Transmit::Close
    );
}

#[test]
fn new_peers_are_refused_where_too_many_are_away() {
    let limits = Limits {
        sessions: 1,
        ..Limits::default()
    };
    let mut world = World::new(2, limits);
    world.join(0, false);
    world.settle();
    world.cut(0, 0);
    world.join(1, false);
    world.settle();
    assert_eq!(world.clients[1].errors, [ErrorCode::Limit]);
    world.join(0, true);
    world.settle();
    assert!(world.clients[0].joined, "who was here may come back");
    world.check_settled();
}

#[test]
fn who_never_joins_is_sent_away() {
    let mut world = World::new(0, Limits::default());
    let (idle, _) = world.registry.handle_connect(START, address(0));
    world.advance(Duration::from_secs(11));
    world.registry.poll_transmit(world.now, idle);
    assert!(matches!(
        world.registry.poll_transmit(world.now, idle),
        Transmit::Message(ServerMessage::Error { .. })
    ));
    assert_eq!(
        world.registry.poll_transmit(world.now, idle),
        Transmit::Close
    );
}

#[test]
fn all_catalogs_together_are_bounded() {
    let limits = Limits {
        all_catalog_bytes: 400,
        ..Limits::default()
    };
    let mut world = World::new(2, limits);
    world.join(0, false);
    world.join(1, false);
    world.settle();
    world.publish(0);
    world.publish(1);
    world.settle();
    assert!(world.clients[0].errors.is_empty());
    assert_eq!(world.clients[1].errors, [ErrorCode::Limit]);
    world.check_settled();
}
