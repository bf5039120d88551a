//! The rendezvous of the simulated network: as little of one as peers need.

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use shoal_protocol::{
    catalog::{PageText, Replica, SignedHead, Since},
    id::{Hash, LinkId, Nonce, PeerId, ResumeToken},
    namespace::Namespace,
    rendezvous::{
        ErrorCode, IceServer, Join, MAX_VIEW, PeerMessage, PeerSummary, Receipt, ReceiptStatus,
        ServerMessage,
    },
    seal::{SealContext, SealKey, SealSecret},
    signal::{Fingerprint, Opened, Signal, SignalBody, description_hash},
    signed::{Kind, Payload, Signed},
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most peers named in an answer to `find`, as the server has it.
const MAX_PROVIDERS: usize = 50;

pub struct Rendezvous {
    up: bool,
    id: PeerId,
    joined: BTreeMap<usize, PeerId>,
    indexes: BTreeMap<PeerId, usize>,
    /// Who is shown each peer, at most [`MAX_VIEW`] peers to each.
    watchers: BTreeMap<usize, BTreeSet<usize>>,
    /// How many peers each is shown.
    shown: BTreeMap<usize, usize>,
    catalogs: BTreeMap<PeerId, Replica>,
    out: Vec<(usize, String)>,
    next_signal: u64,
    /// Signals not yet acknowledged, by receiver and number: the sender and its number.
    unacknowledged: BTreeMap<(usize, u64), (usize, u64)>,
    /// What the one in the middle swaps for the key of each peer, and that key.
    secret: SealSecret,
    keys: BTreeMap<(LinkId, PeerId), SealKey>,
    /// Hashes of offers as they were passed on, and as they were sent.
    offers: BTreeMap<Hash, Hash>,
    /// What joined peers are told to use.
    pub ice_servers: Vec<IceServer>,
    /// Every signal that passed, for tests that send them again.
    pub passed: Vec<(PeerId, Signed)>,
    /// Every message that came, for tests that look what a server can know.
    pub heard: Vec<String>,
    namespaces: BTreeMap<usize, Namespace>,
    /// Whether it is in league with who has no secret.
    pub lets_anybody_in: bool,
    /// Whether sessions go on, and who has had one.
    pub resumes: bool,
    sessions: BTreeSet<PeerId>,
    /// When catalogs that come now are to be sent again, in ms.
    pub is_full: Option<u64>,
}

impl Rendezvous {
    pub fn new() -> Self {
        Self {
            up: true,
            id: PeerId::from_public_key([9; 32]),
            joined: BTreeMap::new(),
            indexes: BTreeMap::new(),
            watchers: BTreeMap::new(),
            shown: BTreeMap::new(),
            catalogs: BTreeMap::new(),
            out: Vec::new(),
            next_signal: 0,
            unacknowledged: BTreeMap::new(),
            secret: SealSecret::new([8; 32]),
            keys: BTreeMap::new(),
            offers: BTreeMap::new(),
            ice_servers: Vec::new(),
            passed: Vec::new(),
            heard: Vec::new(),
            namespaces: BTreeMap::new(),
            lets_anybody_in: false,
            resumes: false,
            sessions: BTreeSet::new(),
            is_full: None,
        }
    }

    /// The version of a peer's catalog that is there whole.
    pub fn catalog_of(&self, peer: PeerId) -> Option<Since> {
        self.catalogs.get(&peer)?.since()
    }

    /// Tells everybody to use other ICE servers.
    pub fn rename_ice_servers(&mut self, ice_servers: Vec<IceServer>) {
        self.ice_servers = ice_servers.clone();
        let joined: Vec<usize> = self.joined.keys().copied().collect();
        for index in joined {
            let ice_servers = ice_servers.clone();
            self.send(index, &ServerMessage::Ice { ice_servers });
        }
    }

    pub fn drain(&mut self) -> Vec<(usize, String)> {
        std::mem::take(&mut self.out)
    }

    /// Starts or stops; returns whose connections are lost.
    pub fn set_up(&mut self, up: bool) -> Vec<usize> {
        self.up = up;
        self.sessions.clear();
        self.catalogs.clear();
        self.out.clear();
        self.indexes.clear();
        self.watchers.clear();
        self.shown.clear();
        std::mem::take(&mut self.joined).into_keys().collect()
    }

    pub fn connect(&mut self, _now: Timestamp, index: usize) -> bool {
        if self.up {
            let challenge = ServerMessage::Challenge {
                versions: vec![1],
                server: self.id,
                nonce: Nonce([1; 16]),
            };
            self.send(index, &challenge);
        }
        self.up
    }

    pub fn close(&mut self, index: usize) {
        if let Some(peer) = self.joined.remove(&index) {
            self.indexes.remove(&peer);
            self.tell_watchers(
                index,
                &ServerMessage::Peers {
                    add: Vec::new(),
                    drop: vec![peer],
                },
            );
            for watcher in self.watchers.remove(&index).unwrap_or_default() {
                *self.shown.entry(watcher).or_default() -= 1;
            }
            self.shown.remove(&index);
            for watchers in self.watchers.values_mut() {
                watchers.remove(&index);
            }
        }
    }

    /// Shows the newcomer to those with room in their views, and them to it.
    fn introduce(&mut self, index: usize) -> Vec<PeerSummary> {
        let mut view = Vec::new();
        // From its neighbour on, so that not everybody is shown the same.
        let others = self.joined.range(..index).rev();
        let others: Vec<usize> = others
            .chain(self.joined.range(index + 1..).rev())
            .map(|(other, _)| *other)
            .filter(|other| self.namespaces[other] == self.namespaces[&index])
            .collect();
        for other in others {
            if view.len() < MAX_VIEW {
                view.push(self.summary(self.joined[&other]));
                self.watchers.entry(other).or_default().insert(index);
                *self.shown.entry(index).or_default() += 1;
            }
            let shown = self.shown.entry(other).or_default();
            if *shown < MAX_VIEW {
                *shown += 1;
                self.watchers.entry(index).or_default().insert(other);
            }
        }
        view
    }

    fn send(&mut self, index: usize, message: &ServerMessage) {
        self.out.push((index, message.to_text()));
    }

    /// Sends a signal again, to whom it was for.
    pub fn replay(&mut self, to: PeerId, signed: Signed) {
        if let Some(index) = self.index_of(to) {
            self.next_signal += 1;
            let id = self.next_signal;
            self.send(
                index,
                &ServerMessage::Signal {
                    id,
                    signed,
                    receipts: Vec::new(),
                },
            );
        }
    }

    fn tell_watchers(&mut self, of: usize, message: &ServerMessage) {
        for watcher in self.watchers.get(&of).cloned().unwrap_or_default() {
            self.send(watcher, message);
        }
    }

    fn summary(&self, peer: PeerId) -> PeerSummary {
        PeerSummary {
            peer,
            catalog: self.catalogs.get(&peer).and_then(Replica::since),
        }
    }

    fn index_of(&self, peer: PeerId) -> Option<usize> {
        self.indexes.get(&peer).copied()
    }

    pub fn receive(&mut self, now: Timestamp, index: usize, text: &str, in_the_middle: bool) {
        if !self.up {
            return;
        }
        self.heard.push(text.into());
        match PeerMessage::parse(text).expect("peers send only messages of the protocol") {
            PeerMessage::Join { signed, resume } => {
                let join: Join = signed.open().expect("a join is signed");
                assert_eq!(join.server, self.id);
                if !self.lets_anybody_in && !signed.is_of_member(Kind::Join, &join.namespace) {
                    let error = ServerMessage::Error {
                        code: ErrorCode::Unauthorized,
                        message: "the join does not prove the secret".into(),
                        retry_after: None,
                    };
                    return self.send(index, &error);
                }
                self.namespaces.insert(index, join.namespace);
                self.joined.insert(index, signed.peer);
                self.indexes.insert(signed.peer, index);
                let mut view = self.introduce(index);
                let was_here = !self.sessions.insert(signed.peer);
                let resumed = self.resumes && was_here && resume.is_some();
                if resumed {
                    view.clear();
                }
                let resume = ResumeToken([2; 16]);
                self.send(
                    index,
                    &ServerMessage::Joined {
                        lease: 60_000,
                        resume,
                        resumed,
                        catalog: self.catalog_of(signed.peer),
                        ice_servers: self.ice_servers.clone(),
                        view,
                    },
                );
                let add = vec![self.summary(signed.peer)];
                self.tell_watchers(
                    index,
                    &ServerMessage::Peers {
                        add,
                        drop: Vec::new(),
                    },
                );
            }
            _ if !self.joined.contains_key(&index) => {}
            PeerMessage::Catalog { signed, pages } => self.catalog(now, index, signed, &pages),
            PeerMessage::Get { peer, .. } => {
                let catalog = self.catalogs.get(&peer).and_then(Replica::catalog);
                let signed = catalog.map(|catalog| catalog.head().signed().clone());
                let pages = catalog
                    .map(|catalog| catalog.page_texts())
                    .unwrap_or_default();
                // What fits into one message for certain.
                let mut pieces: Vec<Vec<PageText>> = pages.chunks(8).map(<[_]>::to_vec).collect();
                if pieces.is_empty() {
                    pieces.push(Vec::new());
                }
                for pages in pieces {
                    let signed = signed.clone();
                    let catalog = ServerMessage::Catalog {
                        peer,
                        signed,
                        pages,
                    };
                    self.send(index, &catalog);
                }
            }
            PeerMessage::Find { key } => {
                let lists = |(peer, replica): (&PeerId, &Replica)| {
                    replica.catalog()?.entry(&key).map(|_| *peer)
                };
                let peers = self
                    .catalogs
                    .iter()
                    .filter_map(lists)
                    .filter(|peer| self.index_of(*peer).is_some());
                let mut peers: Vec<PeerId> = peers.collect();
                let start = index % peers.len().max(1);
                peers.rotate_left(start);
                peers.truncate(MAX_PROVIDERS);
                self.send(index, &ServerMessage::Providers { key, peers });
            }
            PeerMessage::Signal {
                id,
                to,
                signed,
                ack,
            } => {
                if let Some(last) = ack {
                    self.acknowledged(index, last);
                }
                let signed = if in_the_middle {
                    self.rewrite(signed)
                } else {
                    signed
                };
                match self.index_of(to) {
                    Some(receiver) => {
                        self.passed.push((to, signed.clone()));
                        self.next_signal += 1;
                        self.unacknowledged
                            .insert((receiver, self.next_signal), (index, id));
                        let signal = ServerMessage::Signal {
                            id: self.next_signal,
                            signed,
                            receipts: Vec::new(),
                        };
                        self.send(receiver, &signal);
                    }
                    None => self.receipt(index, id, ReceiptStatus::Gone),
                }
            }
            PeerMessage::Ack { id } => self.acknowledged(index, id),
            PeerMessage::Leave {} => self.close(index),
            PeerMessage::List { .. } | PeerMessage::Presence { .. } | PeerMessage::Pong {} => {}
        }
    }

    fn acknowledged(&mut self, receiver: usize, last: u64) {
        let taken = (receiver, 0)..=(receiver, last);
        let taken: Vec<_> = self.unacknowledged.extract_if(taken, |_, _| true).collect();
        for (_, (sender, id)) in taken {
            self.receipt(sender, id, ReceiptStatus::Delivered);
        }
    }

    fn receipt(&mut self, index: usize, id: u64, status: ReceiptStatus) {
        let receipts = vec![Receipt { id, status }];
        self.send(index, &ServerMessage::Receipts { receipts });
    }

    fn catalog(&mut self, now: Timestamp, index: usize, signed: Signed, pages: &[PageText]) {
        if self.is_full.is_some() {
            let error = ServerMessage::Error {
                code: ErrorCode::Limit,
                message: "there is no room".into(),
                retry_after: self.is_full,
            };
            return self.send(index, &error);
        }
        let peer = signed.peer;
        let head = SignedHead::open(signed, peer, &Namespace::default(), now.unix_millis());
        let replica = self.catalogs.entry(peer).or_default();
        let taken = head.and_then(|head| {
            replica.offer(head)?;
            replica.add_pages(pages)
        });
        if taken.is_ok() {
            let add = vec![self.summary(peer)];
            self.tell_watchers(
                index,
                &ServerMessage::Peers {
                    add,
                    drop: Vec::new(),
                },
            );
        }
    }

    /// Puts own keys into signals that state one, and own certificates into descriptions, which
    /// are sealed anew, and keeps the hashes consistent for each side. The signatures no longer
    /// hold.
    fn rewrite(&mut self, signed: Signed) -> Signed {
        let mut signal: Signal = signed.open_unverified().expect("a signal");
        if let SignalBody::Link(key) | SignalBody::Accept(key) = &mut signal.body {
            self.keys.insert((signal.link, signal.from), *key);
            *key = self.secret.key();
        }
        let opened = signal
            .open_body(&self.secret)
            .expect("sealed to the swapped key");
        let Some((text, mut opened)) = opened else {
            let payload = signal.to_payload();
            return Signed { payload, ..signed };
        };
        let sent = description_hash(&signed.payload, &text);
        match &mut opened {
            Opened::Offer(description) => description.fingerprint = Fingerprint([0xee; 32]),
            Opened::Answer(answer) => {
                answer.description.fingerprint = Fingerprint([0xee; 32]);
                answer.offer = self.offers[&answer.offer];
            }
            Opened::Candidate(_) => {}
        }
        let context = SealContext {
            from: signal.from,
            to: signal.to,
            namespace: &signal.namespace,
            link: signal.link,
            n: signal.n,
            kind: opened.kind(),
        };
        let text = opened.to_text();
        let key = self.keys[&(signal.link, signal.to)];
        let sealed = key.seal(&text, context, &mut ChaCha12Rng::from_seed([4; 32]));
        signal.body = opened.sealed(sealed.expect("the key of a peer"));
        let payload = signal.to_payload();
        if let Opened::Offer(_) = opened {
            self.offers.insert(description_hash(&payload, &text), sent);
        }
        Signed { payload, ..signed }
    }
}
