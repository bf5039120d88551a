//! A network on virtual time: nodes with stores in memory, a rendezvous, and links with
//! delay and rate between them. Everything follows from a seed.

#![allow(dead_code, missing_docs, clippy::print_stdout)]

mod rendezvous;

use ed25519_dalek::{Signer, SigningKey};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use rendezvous::Rendezvous;
use shoal_peer_core::{Admission, Change, MemoryStore, Node, Space, io::*};
use shoal_protocol::{
    bulk,
    catalog::{Metadata, Replica, SignedHead},
    content::{CHUNK_SIZE, ContentKey},
    control::Role,
    id::{LinkId, PeerId, Signature},
    membership::Membership,
    namespace::Namespace,
    rendezvous::{IceServer, PeerMessage},
    signal::{Description, Fingerprint, Setup},
    signed::Signed,
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    time::Duration,
};

/// How a peer is connected to the network; all its links share it.
#[derive(Clone, Copy)]
pub struct Access {
    /// From here to anywhere: the longer one of two counts.
    pub delay: Duration,
    /// Bytes a second.
    pub up: f64,
    pub down: f64,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            up: 20e6,
            down: 100e6,
        }
    }
}

/// How a peer misbehaves.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// Bytes of chunks are wrong.
    WrongBytes,
    /// Takes everything in and says nothing.
    Silent,
    /// Sends so many bytes of chunks a second on each link.
    Slow(f64),
}

pub struct Peer {
    pub id: PeerId,
    pub node: Node,
    pub store: MemoryStore,
    /// What the store may hold, if that is limited, and what waits for room in it.
    pub space: Option<Space>,
    waiting: Vec<(OpId, StoreRequest)>,
    /// What writes fail with.
    pub store_fails: Option<StoreError>,
    /// Whether what it publishes is pinned.
    pub pins: bool,
    /// How often it told the rendezvous of its catalog; and how often it had when contents
    /// were to be withdrawn.
    told: usize,
    withdrawing: BTreeMap<ContentKey, usize>,
    /// The catalog it told of last, if its store is limited.
    advertised: Replica,
    /// How many reads of chunks and of proofs are yet to fail.
    pub reads_fail: u32,
    pub fault: Fault,
    pub access: Access,
    /// When its up and its down link are free again.
    up_free: Timestamp,
    down_free: Timestamp,
    /// Changes, drops or adds to what this peer sends.
    pub tamper: Option<Box<dyn FnMut(Frame) -> Vec<Frame>>>,
    pub events: Vec<Event>,
    /// ICE servers it had links that were open use, and those with which it opened each link.
    pub ice_servers: Vec<Vec<IceServer>>,
    pub opened_with: Vec<Vec<IceServer>>,
    pub answers: BTreeMap<CallId, Result<Answer, Error>>,
    /// Chunk bytes this peer sent, by receiver.
    pub sent: BTreeMap<usize, u64>,
    /// Longest that a control message had to wait behind bulk frames.
    pub control_waited: Duration,
    /// Bytes a second that the socket to the rendezvous takes, and when it has taken all.
    pub socket_rate: f64,
    socket_free: Timestamp,
    /// Longest that anything but a catalog waited in it.
    pub socket_waited: Duration,
    /// How many connections to the rendezvous there were.
    pub sockets: u32,
    key: SigningKey,
    sources: BTreeMap<CallId, Vec<u8>>,
    next_call: CallId,
    timeout: Option<Timestamp>,
    /// How often in a row a timer was due when an input had been handled.
    due_again: u32,
    alive: bool,
    starts: u64,
}

struct End {
    node: usize,
    fingerprint: Fingerprint,
    remote: Option<Fingerprint>,
    /// How many times it was described: its credentials.
    descriptions: u64,
}

/// What waits in the bulk channel at one end of a link.
#[derive(Default)]
struct Sender {
    /// When each frame begins and ends to leave, and its bytes.
    frames: VecDeque<(Timestamp, Timestamp, usize)>,
    bytes: usize,
    /// When the connection's window lets more through.
    window_free: Timestamp,
    /// Whether it will be asked again.
    waiting: bool,
}

impl Sender {
    fn put(&mut self, now: Timestamp, left: Timestamp, bytes: usize) {
        let begins = self.frames.back().map_or(now, |(_, before, _)| *before);
        let begins = begins.max(now);
        self.frames.push_back((begins, left.max(begins), bytes));
        self.bytes += bytes;
    }

    /// Bytes that wait. What is on its way out leaves byte by byte.
    fn buffered(&mut self, now: Timestamp) -> usize {
        while let Some((_, _, bytes)) = self.frames.pop_front_if(|(_, left, _)| *left <= now) {
            self.bytes -= bytes;
        }
        let Some((begins, left, bytes)) = self.frames.front() else {
            return 0;
        };
        let span = left.since(*begins).as_secs_f64();
        let gone = now.since(*begins).as_secs_f64() / span.max(1e-9);
        self.bytes - (*bytes as f64 * gone.min(1.0)) as usize
    }

    /// When no more than this will wait, if more does now.
    fn falls_to(&self, low: usize) -> Option<Timestamp> {
        let mut rest = self.bytes;
        for (begins, left, bytes) in &self.frames {
            rest -= bytes;
            if rest <= low && rest + bytes > low {
                let gone = (rest + bytes - low) as f64 / *bytes as f64;
                return Some(*begins + left.since(*begins).mul_f64(gone));
            }
        }
        None
    }
}

#[derive(Default)]
struct Wire {
    ends: Vec<End>,
    open: bool,
    /// How many were opened before it.
    number: usize,
    /// Whether nothing comes through until ICE is restarted; channels keep what they took.
    lost: bool,
    held: Vec<(usize, LinkInput)>,
}

enum Happening {
    Input(usize, Input),
    /// A number of bytes have come to the receiver's access link.
    Arrival(LinkId, usize, usize, LinkInput),
    /// Something sent over a link; dropped if the link is gone when it arrives.
    Frame(LinkId, usize, LinkInput),
    Transmit(LinkId, usize),
    /// Over the so many-th connection.
    ToRendezvous(usize, u32, String),
    RendezvousTimer,
    Timeout(usize),
}

struct Scheduled(Timestamp, u64, u64, Happening);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

/// Replaces a signal of a peer that has this key.
pub type Resign = Box<dyn FnMut(&SigningKey, Signed) -> Signed>;

pub struct Network {
    pub now: Timestamp,
    pub peers: Vec<Peer>,
    pub seed: u64,
    pub rendezvous: Rendezvous,
    /// Whether the rendezvous puts itself between all links.
    pub in_the_middle: bool,
    /// Bytes a connection has on their way at most: its rate is this in a round trip.
    pub window: f64,
    /// What one peer says in place of its signals, signed with its key.
    pub resign: Option<Resign>,
    /// What browsers said of their sides of connections: what nobody in between may know.
    pub said: BTreeSet<String>,
    /// Whether a restart finds no way either.
    pub is_dark: bool,
    wires: BTreeMap<LinkId, Wire>,
    /// The links of each peer, and what waits in them.
    links: Vec<BTreeMap<LinkId, Sender>>,
    /// Where peers share one content, its bytes are kept once: see [`Network::share_store`].
    shared: Option<Vec<u8>>,
    queue: BinaryHeap<Scheduled>,
    sequence: u64,
    /// Connections that were opened so far.
    opened: usize,
    random: ChaCha12Rng,
}

pub const MIB: usize = 1024 * 1024;
const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// Bytes that may wait in a socket to the rendezvous, as the driver has it.
const SOCKET_MAX: f64 = 1024.0 * 1024.0;
const STORE_TIME: Duration = Duration::from_millis(2);

impl Network {
    /// A network of `count` peers, online and alone.
    pub fn new(seed: u64, count: usize) -> Self {
        println!("seed {seed}");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut network = Self {
            now: START,
            peers: Vec::new(),
            seed,
            rendezvous: Rendezvous::new(),
            in_the_middle: false,
            window: f64::INFINITY,
            resign: None,
            said: BTreeSet::new(),
            is_dark: false,
            wires: BTreeMap::new(),
            links: Vec::new(),
            shared: None,
            queue: BinaryHeap::new(),
            sequence: 0,
            opened: 0,
            random: ChaCha12Rng::from_seed(bytes),
        };
        for _ in 0..count {
            network.add_peer(|_| {});
        }
        network
    }

    /// From now on all stores hold the chunks of this content and no other, once for all of
    /// them: what a node believes to have stored it can read.
    pub fn share_store(&mut self, bytes: Vec<u8>) {
        self.shared = Some(bytes);
    }

    /// Bytes that do not compress, the same for the same seed.
    pub fn random_bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn config(&mut self, id: PeerId, epoch: u64, contents: Vec<StoredContent>) -> Config {
        let mut seed = [0; 32];
        self.random.fill_bytes(&mut seed);
        Config {
            peer: id,
            membership: Membership::public(Namespace::default()),
            epoch,
            seed,
            rendezvous: true,
            ice_servers: None,
            sync_interval: Duration::from_secs(30),
            replicate: None,
            limits: Limits::default(),
            contents,
        }
    }

    pub fn add_peer(&mut self, change: impl FnOnce(&mut Config)) -> usize {
        let mut secret = [0; 32];
        self.random.fill_bytes(&mut secret);
        let key = SigningKey::from_bytes(&secret);
        let id = PeerId::from_public_key(key.verifying_key().to_bytes());
        let mut config = self.config(id, 1, Vec::new());
        change(&mut config);
        self.links.push(BTreeMap::new());
        self.peers.push(Peer {
            id,
            node: Node::new(self.now, config),
            store: MemoryStore::default(),
            space: None,
            waiting: Vec::new(),
            store_fails: None,
            pins: false,
            told: 0,
            withdrawing: BTreeMap::new(),
            advertised: Replica::default(),
            reads_fail: 0,
            fault: Fault::None,
            access: Access::default(),
            up_free: self.now,
            down_free: self.now,
            tamper: None,
            events: Vec::new(),
            ice_servers: Vec::new(),
            opened_with: Vec::new(),
            answers: BTreeMap::new(),
            sent: BTreeMap::new(),
            control_waited: Duration::ZERO,
            socket_rate: f64::INFINITY,
            socket_free: self.now,
            socket_waited: Duration::ZERO,
            sockets: 0,
            key,
            sources: BTreeMap::new(),
            next_call: 0,
            timeout: None,
            due_again: 0,
            alive: true,
            starts: 1,
        });
        let index = self.peers.len() - 1;
        self.drain(index);
        index
    }

    /// Ends a peer without a word, as a crash does; its store stays.
    pub fn kill(&mut self, index: usize) {
        self.peers[index].alive = false;
        self.rendezvous.close(index);
        self.close_wires(|wire| wire.ends.iter().any(|end| end.node == index));
        self.pump_rendezvous();
    }

    /// Starts a killed peer again on its store.
    pub fn revive(&mut self, index: usize) {
        let namespace = Namespace::default();
        let contents = self.peers[index].store.contents(&namespace);
        self.peers[index].starts += 1;
        let (id, epoch) = (self.peers[index].id, self.peers[index].starts);
        let config = self.config(id, epoch, contents);
        let peer = &mut self.peers[index];
        peer.node = Node::new(self.now, config);
        peer.alive = true;
        peer.timeout = None;
        peer.events.clear();
        self.drain(index);
    }

    /// Breaks the links of one peer.
    pub fn cut_links_of(&mut self, index: usize) {
        self.close_wires(|wire| wire.ends.iter().any(|end| end.node == index));
    }

    /// Has one peer send a frame to another over the link between them, if there is one.
    pub fn say(&mut self, from: usize, to: usize, frame: Frame) {
        let open = |link: &&LinkId| self.wires.get(*link).is_some_and(|wire| wire.open);
        let shared = |link: &&LinkId| self.links[to].contains_key(*link);
        let mut links = self.links[from].keys().filter(shared).filter(open);
        if let Some(&link) = links.next() {
            self.put_on_wire(from, link, frame);
        }
    }

    /// Breaks every link.
    pub fn cut_links(&mut self) {
        self.close_wires(|_| true);
    }

    /// Nothing comes through any link until its ICE is restarted: the network of its ends
    /// has changed. Their browsers find out after some time.
    pub fn lose_ways(&mut self) {
        for (link, wire) in &mut self.wires {
            wire.lost = true;
            for end in &wire.ends {
                self.sequence += 1;
                let told = Input::Link(*link, LinkInput::Disconnected);
                self.queue.push(Scheduled(
                    self.now + Duration::from_secs(5),
                    self.sequence,
                    0,
                    Happening::Input(end.node, told),
                ));
            }
        }
    }

    fn close_wires(&mut self, which: impl Fn(&Wire) -> bool) {
        let gone: Vec<LinkId> = self
            .wires
            .iter()
            .filter(|(_, wire)| which(wire))
            .map(|(link, _)| *link)
            .collect();
        for link in gone {
            for end in self
                .wires
                .remove(&link)
                .into_iter()
                .flat_map(|wire| wire.ends)
            {
                self.links[end.node].remove(&link);
                self.schedule(
                    Duration::from_millis(1),
                    Happening::Input(end.node, Input::Link(link, LinkInput::Closed)),
                );
            }
        }
    }

    /// Stops or starts the rendezvous; stopping forgets all sessions.
    pub fn set_rendezvous(&mut self, up: bool) {
        for index in self.rendezvous.set_up(up) {
            self.schedule(
                Duration::ZERO,
                Happening::Input(index, Input::RendezvousClosed),
            );
        }
    }

    pub fn call(&mut self, index: usize, command: Command) -> CallId {
        let peer = &mut self.peers[index];
        peer.next_call += 1;
        let call = peer.next_call;
        self.input(index, Input::Command(call, command));
        call
    }

    /// Publishes bytes and waits until they are published.
    pub fn begin_publication(&mut self, index: usize, name: &str, bytes: &[u8]) -> CallId {
        let call = self.peers[index].next_call + 1;
        self.peers[index].sources.insert(call, bytes.to_vec());
        let metadata = Metadata {
            name: Some(name.into()),
            media_type: Some("text/plain".into()),
            ..Metadata::default()
        };
        let publish = Command::Publish {
            size: bytes.len() as u64,
            metadata,
            pinned: self.peers[index].pins,
        };
        let made = self.call(index, publish);
        assert_eq!(made, call);
        call
    }

    pub fn publish(&mut self, index: usize, name: &str, bytes: &[u8]) -> ContentKey {
        let call = self.begin_publication(index, name, bytes);
        match self.answer(index, call) {
            Ok(Answer::Content(content)) => content.key,
            other => panic!("publishing gave {other:?}"),
        }
    }

    /// Waits for the answer to a call.
    pub fn answer(&mut self, index: usize, call: CallId) -> Result<Answer, Error> {
        self.run_until("an answer", Duration::from_secs(120), |network| {
            network.peers[index].answers.contains_key(&call)
        });
        self.peers[index].answers.remove(&call).unwrap()
    }

    pub fn fetch(&mut self, index: usize, key: ContentKey) -> CallId {
        self.fetch_with(index, key, Priority::Auto)
    }

    pub fn fetch_with(&mut self, index: usize, key: ContentKey, priority: Priority) -> CallId {
        let fetch = Command::Fetch {
            key,
            priority,
            paused: false,
            on_demand: false,
            pinned: false,
        };
        self.call(index, fetch)
    }

    /// Fetches only what is read.
    pub fn fetch_on_demand(&mut self, index: usize, key: ContentKey) -> CallId {
        let fetch = Command::Fetch {
            key,
            priority: Priority::Auto,
            paused: false,
            on_demand: true,
            pinned: false,
        };
        self.call(index, fetch)
    }

    /// Bytes of a content in a peer's store.
    pub fn held(&self, index: usize, key: ContentKey) -> u64 {
        let contents = self.peers[index].store.contents(&Namespace::default());
        let content = contents.iter().find(|content| content.key == key);
        content.map_or(0, |content| {
            content
                .held
                .iter()
                .map(|index| content.size.chunk_len(index).unwrap() as u64)
                .sum()
        })
    }

    pub fn has_all(&self, index: usize, key: ContentKey) -> bool {
        let contents = self.peers[index].store.contents(&Namespace::default());
        contents
            .iter()
            .any(|content| content.key == key && content.held.is_full())
    }

    /// Checks that what a peer stores of a content are its bytes.
    pub fn assert_content(&mut self, index: usize, key: ContentKey, bytes: &[u8]) {
        let contents = self.peers[index].store.contents(&Namespace::default());
        let content = contents
            .iter()
            .find(|content| content.key == key)
            .expect("it is held");
        let mut found = Vec::new();
        for chunk in 0..content.size.chunks() {
            let request = StoreRequest::GetChunk {
                slot: content.slot,
                index: chunk,
            };
            match self.peers[index]
                .store
                .handle(&Namespace::default(), request)
            {
                Ok(StoreAnswer::Chunk(Some(bytes))) => found.extend_from_slice(&bytes),
                other => panic!("chunk {chunk}: {other:?}"),
            }
        }
        assert!(found == bytes, "the bytes of {key} differ");
    }

    /// The newest progress of a fetch.
    pub fn progress(&self, index: usize, key: ContentKey) -> Option<&Progress> {
        self.peers[index]
            .events
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::Progress {
                    key: of, progress, ..
                } if *of == key => Some(progress),
                _ => None,
            })
    }

    /// How often a peer was told that a fetch was stopped.
    pub fn stops(&self, index: usize, key: ContentKey) -> usize {
        let events = self.peers[index].events.iter();
        events
            .filter(|event| matches!(event, Event::Stopped { key: of } if *of == key))
            .count()
    }

    pub fn errors(&self, index: usize) -> Vec<Code> {
        let errors = self.peers[index]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Error { error } => Some(error.code),
                _ => None,
            });
        errors.collect()
    }

    /// Links that are up, as a peer sees it.
    pub fn links_of(&mut self, index: usize) -> usize {
        let call = self.call(index, Command::Peers);
        match self.answer(index, call) {
            Ok(Answer::Peers(peers)) => peers.iter().filter(|peer| peer.linked).count(),
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass until something holds; panics with the seed if it does not in time.
    pub fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&mut Network) -> bool,
    ) {
        let end = self.now + limit;
        let mut steps = 0u64;
        loop {
            if holds(self) {
                return;
            }
            assert!(
                steps < 50_000_000,
                "seed {}: no end to what happens",
                self.seed
            );
            steps += 1;
            match self.queue.peek() {
                Some(Scheduled(at, ..)) if *at <= end => self.step(),
                _ => {
                    self.now = end;
                    assert!(
                        holds(self),
                        "seed {}: {what} did not come within {limit:?}",
                        self.seed
                    );
                    return;
                }
            }
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self
            .queue
            .peek()
            .is_some_and(|Scheduled(at, ..)| *at <= end)
        {
            self.step();
        }
        self.now = end;
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.schedule_at(self.now + after, happening);
    }

    fn schedule_at(&mut self, at: Timestamp, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Scheduled(at, self.sequence, 0, happening));
    }

    fn step(&mut self) {
        let Some(Scheduled(at, _, _, happening)) = self.queue.pop() else {
            return;
        };
        self.now = self.now.max(at);
        match happening {
            Happening::Input(index, input) => self.input(index, input),
            Happening::Arrival(link, index, len, input) => {
                let receiver = &mut self.peers[index];
                // The first bytes pass while the last are on their way.
                let pass = Duration::from_secs_f64(len as f64 / receiver.access.down);
                let through = self.now.max(receiver.down_free + pass);
                receiver.down_free = through;
                self.schedule_at(through, Happening::Frame(link, index, input));
            }
            Happening::Frame(link, index, input) => match self.wires.get_mut(&link) {
                Some(wire) if wire.lost => wire.held.push((index, input)),
                Some(_) => self.input(index, Input::Link(link, input)),
                None => {}
            },
            Happening::Transmit(link, index) => {
                if let Some(sender) = self.links[index].get_mut(&link) {
                    sender.waiting = false;
                    self.transmit(index);
                }
            }
            Happening::ToRendezvous(index, socket, _) if socket != self.peers[index].sockets => {}
            Happening::ToRendezvous(index, _, mut text) => {
                if let Some(resign) = &mut self.resign
                    && let Ok(mut message) = PeerMessage::parse(&text)
                    && let PeerMessage::Signal { signed, .. } = &mut message
                {
                    *signed = resign(&self.peers[index].key, signed.clone());
                    text = message.to_text();
                }
                self.rendezvous
                    .receive(self.now, index, &text, self.in_the_middle);
                self.pump_rendezvous();
            }
            Happening::RendezvousTimer => {}
            Happening::Timeout(index) => {
                if self.peers[index]
                    .timeout
                    .is_some_and(|time| time <= self.now)
                {
                    self.peers[index].timeout = None;
                    self.input(index, Input::Timeout);
                }
            }
        }
    }

    /// Puts a message into the socket; closes it, as the driver does, if too much waits there.
    fn send_rendezvous(&mut self, index: usize, text: String) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let waits = peer.socket_free.since(now);
        if waits.as_secs_f64() * peer.socket_rate > SOCKET_MAX {
            return self.cut_rendezvous(index);
        }
        let pass = Duration::from_secs_f64(text.len() as f64 / peer.socket_rate);
        peer.socket_free = peer.socket_free.max(now) + pass;
        if text.starts_with("{\"t\":\"catalog\"") {
            peer.told += 1;
        } else {
            peer.socket_waited = peer.socket_waited.max(waits);
        }
        let (arrives, socket) = (peer.socket_free + Duration::from_millis(10), peer.sockets);
        self.schedule_at(arrives, Happening::ToRendezvous(index, socket, text));
    }

    /// Breaks the connection of a peer to the rendezvous; what is on its way is lost.
    pub fn cut_rendezvous(&mut self, index: usize) {
        self.rendezvous.close(index);
        self.peers[index].sockets += 1;
        let closed = Happening::Input(index, Input::RendezvousClosed);
        self.schedule(Duration::ZERO, closed);
        self.pump_rendezvous();
    }

    fn pump_rendezvous(&mut self) {
        for (index, text) in self.rendezvous.drain() {
            self.schedule(
                Duration::from_millis(10),
                Happening::Input(index, Input::RendezvousMessage(text)),
            );
        }
    }

    pub fn input(&mut self, index: usize, input: Input) {
        let peer = &mut self.peers[index];
        if !peer.alive || peer.fault == Fault::Silent {
            return;
        }
        peer.node.handle_input(self.now, input);
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        while let Some(output) = self.peers[index].node.poll_output() {
            self.output(index, output);
        }
        self.transmit(index);
        let next = self.peers[index].node.next_timeout();
        let peer = &mut self.peers[index];
        let is_due = next.is_some_and(|next| next <= self.now);
        peer.due_again = if is_due { peer.due_again + 1 } else { 0 };
        assert!(
            peer.due_again < 100,
            "seed {}: a timer is due however often it is handled",
            self.seed
        );
        if let Some(time) =
            next.filter(|time| self.peers[index].timeout.is_none_or(|set| *time < set))
        {
            self.peers[index].timeout = Some(time);
            self.schedule_at(time.max(self.now), Happening::Timeout(index));
        }
    }

    fn output(&mut self, index: usize, output: Output) {
        match output {
            Output::ConnectRendezvous => {
                let now = self.now;
                let peer = &mut self.peers[index];
                peer.sockets += 1;
                peer.socket_free = now;
                let input = if self.rendezvous.connect(self.now, index) {
                    Input::RendezvousOpened
                } else {
                    Input::RendezvousClosed
                };
                self.schedule(Duration::from_millis(10), Happening::Input(index, input));
                self.pump_rendezvous();
            }
            Output::SendRendezvous(text) => {
                self.advertised(index, &text);
                self.send_rendezvous(index, text);
            }
            Output::CloseRendezvous => {
                // What the socket took is still sent.
                self.rendezvous.close(index);
                self.pump_rendezvous();
            }
            Output::IceServers(servers) => self.peers[index].ice_servers.push(servers),
            Output::OpenLink {
                link,
                role,
                ice_servers,
            } => {
                self.peers[index].opened_with.push(ice_servers);
                let mut bytes = [0; 32];
                self.random.fill_bytes(&mut bytes);
                let end = End {
                    node: index,
                    fingerprint: Fingerprint(bytes),
                    remote: None,
                    descriptions: 0,
                };
                self.wires.entry(link).or_default().ends.push(end);
                self.links[index].insert(link, Sender::default());
                if role == Role::Offerer {
                    self.local_description(index, link, Setup::Actpass, Fingerprint(bytes));
                }
            }
            Output::SetRemote { link, description } => {
                let Some(wire) = self.wires.get_mut(&link) else {
                    return;
                };
                let Some(end) = wire.ends.iter_mut().find(|end| end.node == index) else {
                    return;
                };
                end.remote = Some(description.fingerprint);
                let own = end.fingerprint;
                let is_answer = description.setup != Setup::Actpass;
                if !is_answer {
                    self.local_description(index, link, Setup::Active, own);
                }
                if is_answer {
                    self.find_way(link);
                }
                self.open_if_ready(link);
            }
            Output::RestartLink { link } => {
                let own = self.end_of(index, link).expect("it was opened").fingerprint;
                self.local_description(index, link, Setup::Actpass, own);
            }
            Output::AddCandidate { .. } => {}
            Output::CloseLink { link } => self.close_wire_of(index, link),
            Output::Sign { op, kind, payload } => {
                let signature = self.peers[index].key.sign(&kind.message(&payload));
                let signature = Some(Signature(signature.to_bytes()));
                self.schedule(
                    Duration::from_micros(200),
                    Happening::Input(index, Input::Signed(op, signature)),
                );
            }
            Output::Store { op, request } => self.store(index, op, request, false),
            Output::Withdrawn(key) => {
                let namespace = Namespace::default();
                let now = self.now.unix_millis();
                let peer = &mut self.peers[index];
                let before = peer.withdrawing.remove(&key);
                assert!(before < Some(peer.told), "it is told before it is deleted");
                let told = peer.advertised.catalog().expect("it told of one");
                assert!(told.entry(&key).is_none(), "what is told lacks it");
                let request = StoreRequest::DropContent { key };
                peer.store.handle(&namespace, request).unwrap();
                if let Some(space) = &mut peer.space {
                    space.gone(now, key, true);
                }
                self.room(index);
            }
            Output::ReadSource { op, call, range } => {
                let source = &self.peers[index].sources[&call];
                let bytes = source[range.start as usize..range.end as usize].to_vec();
                self.schedule(
                    Duration::from_micros(500),
                    Happening::Input(index, Input::Source(op, Ok(bytes))),
                );
            }
            Output::Answer { call, result } => {
                let former = self.peers[index].answers.insert(call, result);
                assert!(
                    former.is_none(),
                    "seed {}: call {call} was answered twice",
                    self.seed
                );
            }
            Output::Event(event) => self.peers[index].events.push(event),
        }
    }

    /// Notes what a peer tells the rendezvous of its catalog.
    fn advertised(&mut self, index: usize, text: &str) {
        if !text.contains("\"t\":\"catalog\"") {
            return;
        }
        let now = self.now.unix_millis();
        let peer = &mut self.peers[index];
        peer.told += 1;
        if peer.space.is_some()
            && let Ok(PeerMessage::Catalog { signed, pages }) = PeerMessage::parse(text)
        {
            let head = SignedHead::open(signed, peer.id, &Namespace::default(), now).unwrap();
            peer.advertised.offer(head).unwrap();
            peer.advertised.add_pages(&pages).unwrap();
        }
    }

    /// Limits what the store of a peer holds, as a person does.
    pub fn set_limit(&mut self, index: usize, limit: u64) {
        let now = self.now.unix_millis();
        let peer = &mut self.peers[index];
        let space = peer
            .space
            .get_or_insert_with(|| Space::new(now, peer.store.all()));
        space.set_limit(limit);
        let going = space.trim(now, &peer.node.in_use().collect());
        self.withdraw(index, going);
        self.room(index);
    }

    fn withdraw(&mut self, index: usize, keys: Vec<ContentKey>) {
        for key in keys {
            let told = self.peers[index].told;
            self.peers[index].withdrawing.insert(key, told);
            let input = Happening::Input(index, Input::Withdraw(key));
            self.schedule(Duration::ZERO, input);
        }
    }

    /// There may be room in the store of a peer: what waits for it is tried again.
    fn room(&mut self, index: usize) {
        self.schedule(Duration::ZERO, Happening::Input(index, Input::Room));
        for (op, request) in std::mem::take(&mut self.peers[index].waiting) {
            self.store(index, op, request, true);
        }
    }

    /// Does what a node asks of its store, in the order of a driver: room first.
    fn store(&mut self, index: usize, op: OpId, request: StoreRequest, again: bool) {
        let now = self.now.unix_millis();
        let peer = &mut self.peers[index];
        let change = Change::of(&request);
        if let Some(space) = &mut peer.space {
            match space.admit(now, &request, again, || peer.node.in_use().collect()) {
                Admission::Now => {}
                Admission::Wait(keys) => {
                    peer.waiting.push((op, request));
                    return self.withdraw(index, keys);
                }
                Admission::Full => {
                    let full = Input::Stored(op, Err(StoreError::Quota));
                    return self.schedule(STORE_TIME, Happening::Input(index, full));
                }
            }
        }
        let writes = matches!(
            request,
            StoreRequest::PutChunks { .. } | StoreRequest::PutContent { .. }
        );
        let reads = matches!(
            request,
            StoreRequest::GetChunk { .. } | StoreRequest::GetProof { .. }
        );
        let fails = reads && peer.reads_fail > 0;
        peer.reads_fail -= u32::from(fails);
        let result = match (&peer.store_fails, &self.shared, &request) {
            _ if fails => Err(StoreError::Failed("a read failed".into())),
            (Some(error), ..) if writes => Err(error.clone()),
            (_, Some(_), StoreRequest::PutChunks { .. }) => Ok(StoreAnswer::Done),
            (_, Some(bytes), StoreRequest::GetChunk { index, .. }) => {
                let chunk = bytes.chunks(CHUNK_SIZE).nth(*index as usize);
                Ok(StoreAnswer::Chunk(chunk.map(<[u8]>::to_vec)))
            }
            _ => peer.store.handle(&Namespace::default(), request),
        };
        let mut has_room = false;
        if let Some(space) = &mut peer.space {
            has_room = space.done(now, &Namespace::default(), change, &result);
            let held: u64 = peer
                .store
                .all()
                .iter()
                .map(|(content, _)| content.held.count() as u64 * CHUNK_SIZE as u64)
                .sum();
            assert!(space.storage().held <= space.storage().limit.max(held));
            let uses = space.poll_uses(now);
            let noted = peer
                .store
                .handle(&Namespace::default(), StoreRequest::SetUsed(uses));
            noted.unwrap();
        }
        let stored = Happening::Input(index, Input::Stored(op, result));
        self.schedule(STORE_TIME, stored);
        if has_room {
            self.room(index);
        }
    }

    fn local_description(
        &mut self,
        index: usize,
        link: LinkId,
        setup: Setup,
        fingerprint: Fingerprint,
    ) {
        let Some(end) = self.end_of(index, link) else {
            return;
        };
        end.descriptions += 1;
        let description = Description {
            ufrag: format!("abcd{}", end.descriptions).parse().unwrap(),
            pwd: "0123456789abcdef012345".parse().unwrap(),
            fingerprint,
            setup,
            max_message_size: 262_144,
        };
        let address = format!("192.0.2.{}", 100 + index % 100);
        let candidate = format!("candidate:1 1 udp 2122260223 {address} 50000 typ host");
        let candidate = candidate.parse().unwrap();
        self.said.extend([
            description.ufrag.as_str().into(),
            description.pwd.as_str().into(),
            description.fingerprint.to_string(),
            address,
        ]);
        for input in [
            LinkInput::LocalDescription(description),
            LinkInput::LocalCandidate(Some(candidate)),
        ] {
            let input = Input::Link(link, input);
            self.schedule(Duration::from_millis(2), Happening::Input(index, input));
        }
    }

    /// Both ends of a link know each other's new credentials.
    fn find_way(&mut self, link: LinkId) {
        let Some(wire) = self.wires.get_mut(&link) else {
            return;
        };
        if !wire.lost || self.is_dark {
            return;
        }
        wire.lost = false;
        for (node, input) in std::mem::take(&mut wire.held) {
            self.schedule(
                Duration::from_millis(20),
                Happening::Frame(link, node, input),
            );
        }
    }

    fn close_wire_of(&mut self, index: usize, link: LinkId) {
        for end in self
            .wires
            .remove(&link)
            .into_iter()
            .flat_map(|wire| wire.ends)
        {
            self.links[end.node].remove(&link);
            if end.node != index {
                let delay = self.peers[index].access.delay;
                self.schedule(
                    delay,
                    Happening::Input(end.node, Input::Link(link, LinkInput::Closed)),
                );
            }
        }
    }

    /// Opens the channels once both sides know each other's certificate, as DTLS does. A
    /// rendezvous in the middle has a connection to each side, which it connects.
    fn open_if_ready(&mut self, link: LinkId) {
        let Some(wire) = self.wires.get_mut(&link) else {
            return;
        };
        let [a, b] = &wire.ends[..] else { return };
        let (Some(from_b), Some(from_a)) = (a.remote, b.remote) else {
            return;
        };
        let true_ends = from_b == b.fingerprint && from_a == a.fingerprint;
        if wire.open || !(true_ends || self.in_the_middle) {
            return;
        }
        wire.open = true;
        self.opened += 1;
        wire.number = self.opened;
        let nodes = [a.node, b.node];
        for node in nodes {
            self.schedule(
                Duration::from_millis(20),
                Happening::Frame(link, node, LinkInput::Opened),
            );
        }
    }

    /// Takes frames while the channels can take more.
    fn transmit(&mut self, index: usize) {
        let now = self.now;
        let mut told = None;
        while self.peers[index].socket_free <= now && told != Some(self.peers[index].told) {
            let peer = &mut self.peers[index];
            told = Some(peer.told);
            peer.node.rendezvous_drained(now);
            while let Some(output) = self.peers[index].node.poll_output() {
                self.output(index, output);
            }
        }
        let links: Vec<LinkId> = self.links[index].keys().copied().collect();
        for &link in &links {
            while let Some(frame) =
                self.peers[index]
                    .node
                    .poll_transmit(now, link, Channel::Control)
            {
                self.send_frame(index, link, frame);
            }
        }
        let node = &mut self.peers[index].node;
        for (link, sender) in &mut self.links[index] {
            node.set_buffered(now, *link, sender.buffered(now));
        }
        for link in links {
            while let Some(frame) = self.peers[index]
                .node
                .poll_transmit(now, link, Channel::Bulk)
            {
                self.send_frame(index, link, frame);
            }
            let Some(sender) = self.links[index].get_mut(&link) else {
                continue;
            };
            if sender.waiting || sender.frames.is_empty() {
                continue;
            }
            let low = self.peers[index].node.low_water(link);
            if let Some(again) = sender.falls_to(low) {
                sender.waiting = true;
                // An event of the browser takes its time as well.
                let again = again.max(now + Duration::from_millis(1));
                self.schedule_at(again, Happening::Transmit(link, index));
            }
        }
        while let Some(output) = self.peers[index].node.poll_output() {
            self.output(index, output);
        }
    }

    fn end_of(&mut self, index: usize, link: LinkId) -> Option<&mut End> {
        let wire = self.wires.get_mut(&link)?;
        wire.ends.iter_mut().find(|end| end.node == index)
    }

    fn send_frame(&mut self, index: usize, link: LinkId, frame: Frame) {
        let frames = match &mut self.peers[index].tamper {
            Some(tamper) => tamper(frame),
            None => vec![frame],
        };
        for frame in frames {
            self.put_on_wire(index, link, frame);
        }
    }

    fn put_on_wire(&mut self, index: usize, link: LinkId, frame: Frame) {
        let Some(wire) = self.wires.get_mut(&link) else {
            return;
        };
        let Some(to) = wire
            .ends
            .iter()
            .map(|end| end.node)
            .find(|node| *node != index)
        else {
            return;
        };
        let Some(end) = self.links[index].get_mut(&link) else {
            return;
        };
        let is_control = matches!(frame, Frame::Text(_));
        let (len, input) = match frame {
            Frame::Text(text) => (text.len(), LinkInput::Control(text)),
            Frame::Binary(mut bytes) => {
                if self.peers[index].fault == Fault::WrongBytes
                    && let Some(last) = bytes
                        .get_mut(bulk::HEADER_LEN..)
                        .and_then(|payload| payload.last_mut())
                {
                    *last ^= 1;
                }
                *self.peers[index].sent.entry(to).or_default() += bytes.len() as u64;
                (bytes.len(), LinkInput::Bulk(bytes))
            }
        };
        let time = |rate: f64| Duration::from_secs_f64(len as f64 / rate);
        let sender = &mut self.peers[index];
        let (up, delay) = (sender.access.up, sender.access.delay);
        let left = match sender.fault {
            Fault::Slow(rate) if !is_control => end.window_free.max(self.now) + time(rate),
            _ => {
                sender.up_free = sender.up_free.max(self.now) + time(up);
                sender.up_free
            }
        };
        let delay = delay.max(self.peers[to].access.delay);
        // What waits at the receiver's link holds up the sender: flow control.
        let backlog = self.peers[to].down_free.since(self.now + delay);
        end.window_free =
            left.max(end.window_free + time(self.window / (2.0 * delay.as_secs_f64())));
        let left = end.window_free;
        if is_control {
            let waited = left.since(self.now).saturating_sub(time(up));
            let longest = &mut self.peers[index].control_waited;
            *longest = waited.max(*longest);
        } else {
            end.put(self.now, left.max(self.now + backlog), len);
        }
        self.schedule_at(left + delay, Happening::Arrival(link, to, len, input));
    }

    /// Connections that are open between two peers.
    pub fn connections(&self, one: usize, other: usize) -> usize {
        let between = |wire: &&Wire| {
            let has = |node| wire.ends.iter().any(|end| end.node == node);
            wire.open && has(one) && has(other)
        };
        self.wires.values().filter(between).count()
    }

    /// Cuts the connection between two peers that was opened last.
    pub fn cut_lane(&mut self, one: usize, other: usize) {
        let between = |wire: &Wire| {
            let has = |node| wire.ends.iter().any(|end| end.node == node);
            wire.open && has(one) && has(other)
        };
        let numbers = self
            .wires
            .values()
            .filter(|wire| between(wire))
            .map(|wire| wire.number);
        let last = numbers.max();
        self.close_wires(|wire| between(wire) && Some(wire.number) == last);
    }

    pub fn has_lost_ways(&self) -> bool {
        self.wires.values().any(|wire| wire.lost)
    }

    /// The links that are open, without their lanes: of two peers' connections the first.
    pub fn open_links(&self) -> Vec<LinkId> {
        let mut open: Vec<_> = self.wires.iter().filter(|(_, wire)| wire.open).collect();
        open.sort_by_key(|(_, wire)| wire.number);
        let mut pairs = BTreeSet::new();
        open.retain(|(_, wire)| {
            let pair: BTreeSet<usize> = wire.ends.iter().map(|end| end.node).collect();
            pairs.insert(pair)
        });
        open.into_iter().map(|(link, _)| *link).collect()
    }

    /// Peers among which links are up, by index.
    pub fn wired(&self) -> BTreeSet<(usize, usize)> {
        let open = self.wires.values().filter(|wire| wire.open);
        open.map(|wire| {
            (
                wire.ends[0].node.min(wire.ends[1].node),
                wire.ends[0].node.max(wire.ends[1].node),
            )
        })
        .collect()
    }
}
