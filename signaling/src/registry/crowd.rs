//! A crowded namespace with churn, on virtual time: what is sent in all grows with the number
//! of peers, not with its square, and peers get to know others with time.

use super::*;
use crate::{address::Address, check::Checker};
use ed25519_dalek::{Signer, SigningKey};
use shoal_protocol::{
    id::Signature,
    rendezvous::{Join, MAX_LISTING, PeerMessage},
    signed::{Payload, Signed},
};
use std::net::Ipv4Addr;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// For how long the crowd is watched, once it is there.
const WATCHED: Duration = Duration::from_secs(60);
/// One of so many peers goes each second, and another comes: a visit takes 100 seconds.
const CHURN: usize = 100;

struct Member {
    connection: ConnectionId,
    checker: Checker,
    peer: PeerId,
    known: BTreeSet<PeerId>,
    /// All it was ever shown.
    met: BTreeSet<PeerId>,
}

struct Crowd {
    registry: Registry,
    now: Timestamp,
    members: Vec<Member>,
    places: BTreeMap<ConnectionId, usize>,
    joined: u64,
    messages: usize,
    /// Peers that messages told of: the length of nearly all messages.
    named: usize,
    rng: ChaCha20Rng,
}

impl Crowd {
    fn new() -> Self {
        let server = PeerId::from_public_key([5; 32]);
        Self {
            registry: Registry::new(server, Limits::default(), Vec::new(), [3; 32]),
            now: START,
            members: Vec::new(),
            places: BTreeMap::new(),
            joined: 0,
            messages: 0,
            named: 0,
            rng: ChaCha20Rng::from_seed([7; 32]),
        }
    }

    /// A crowd of this size that has said all there was to say.
    fn gathered(count: usize) -> Self {
        let mut crowd = Self::new();
        for _ in 0..count {
            crowd.join();
            // As much time as it would take at a hundred joins a second.
            crowd.pass(Duration::from_millis(10));
        }
        crowd
    }

    fn join(&mut self) {
        self.joined += 1;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.joined.to_le_bytes());
        let key = SigningKey::from_bytes(&seed);
        let peer = PeerId::from_public_key(key.verifying_key().to_bytes());
        // Everybody from an address of their own.
        let address = Ipv4Addr::from_bits(self.joined as u32).into();
        let address = Address::new(address, 64);
        let (connection, nonce) = self.registry.handle_connect(self.now, address);
        let server = PeerId::from_public_key([5; 32]);
        let payload = Join {
            server,
            nonce,
            namespace: Namespace::default(),
            versions: VERSIONS.into(),
        }
        .to_payload();
        let sig = key.sign(&Join::KIND.message(&payload)).to_bytes();
        let signed = Signed {
            peer,
            payload,
            sig: Signature(sig),
            member: None,
        };
        self.places.insert(connection, self.members.len());
        self.members.push(Member {
            connection,
            checker: Checker::new(server, nonce),
            peer,
            known: BTreeSet::new(),
            met: BTreeSet::new(),
        });
        let resume = None;
        self.say(self.members.len() - 1, PeerMessage::Join { signed, resume });
        self.deliver();
    }

    fn leave(&mut self, at: usize) {
        self.say(at, PeerMessage::Leave {});
        let member = self.members.swap_remove(at);
        self.places.remove(&member.connection);
        if let Some(moved) = self.members.get(at) {
            self.places.insert(moved.connection, at);
        }
        self.registry.handle_disconnect(self.now, member.connection);
        self.deliver();
    }

    fn say(&mut self, at: usize, message: PeerMessage) {
        let member = &mut self.members[at];
        let request = member.checker.check(self.now, &message.to_text());
        assert!(!matches!(request, Request::Fault(_)), "{request:?}");
        self.registry
            .handle_request(self.now, member.connection, request);
    }

    /// What waits for sockets is sent, counted and answered.
    fn deliver(&mut self) {
        while let Some(connection) = self.registry.poll_woken() {
            while let Transmit::Message(message) = self.registry.poll_transmit(self.now, connection)
            {
                let Some(&at) = self.places.get(&connection) else {
                    continue;
                };
                self.messages += 1;
                self.named += named(&message);
                self.take(at, message);
            }
        }
    }

    fn take(&mut self, at: usize, message: ServerMessage) {
        let member = &mut self.members[at];
        match message {
            ServerMessage::Joined { view, .. } | ServerMessage::Resync { view } => {
                member.known = view.into_iter().map(|shown| shown.peer).collect();
            }
            ServerMessage::Peers { add, drop } => {
                member.known.retain(|peer| !drop.contains(peer));
                member.known.extend(add.into_iter().map(|shown| shown.peer));
            }
            ServerMessage::Ping {} => return self.say(at, PeerMessage::Pong {}),
            ServerMessage::Challenge { .. } => {}
            other => panic!("{other:?}"),
        }
        let member = &mut self.members[at];
        assert!(member.known.len() <= MAX_VIEW);
        member.met.extend(&member.known);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.registry.next_timeout()
            && due <= end
        {
            self.now = self.now.max(due);
            self.registry.handle_timeout(self.now);
            self.deliver();
        }
        self.now = end;
    }

    /// Peers come and go for some time; returns how many messages that took, and how
    /// many peers these named.
    fn churn(&mut self) -> (usize, usize) {
        let (messages, named) = (self.messages, self.named);
        let changes = self.members.len() * WATCHED.as_secs() as usize / CHURN;
        for _ in 0..changes {
            let at = members::below(self.members.len(), &mut self.rng);
            self.leave(at);
            self.join();
            self.pass(WATCHED / changes as u32);
        }
        (self.messages - messages, self.named - named)
    }
}

fn named(message: &ServerMessage) -> usize {
    match message {
        ServerMessage::Joined { view, .. } | ServerMessage::Resync { view } => view.len(),
        ServerMessage::Peers { add, drop } => add.len() + drop.len(),
        _ => 0,
    }
}

#[test]
fn what_is_sent_grows_with_the_crowd_and_not_with_its_square() {
    let sizes = [1000, 2000, 4000];
    let sent = sizes.map(|size| Crowd::gathered(size).churn());
    let [small, middle, large] = sent;
    let per_peer =
        |(sent, _): (usize, usize), size: usize| sent as f64 / size as f64 / WATCHED.as_secs_f64();
    // Linear: twice. To everybody: four times.
    for (less, more) in [(small, middle), (middle, large)] {
        for (less, more) in [(less.0, more.0), (less.1, more.1)] {
            let growth = more as f64 / less as f64;
            assert!((1.9..2.2).contains(&growth), "{sent:?}");
        }
    }
    // A hundredth of a view changes each second, in two messages at most, besides pings.
    assert!(per_peer(large, 4000) < 2.5, "{sent:?}");
}

#[test]
fn a_peer_that_stays_is_shown_others_and_is_shown_to_others() {
    let mut crowd = Crowd::gathered(400);
    let last = crowd.members.last().unwrap().peer;
    let heartbeat = crowd.registry.limits.heartbeat;
    for _ in 0..100 {
        crowd.pass(heartbeat);
    }
    for member in &crowd.members {
        assert_eq!(member.known.len(), MAX_VIEW);
        // A view of 100, and 100 random exchanges among the 299 others.
        let met = member.met.len();
        assert!(met > MAX_VIEW + 50, "{met}");
    }
    // Nobody was shown the last one when it came.
    let shown = crowd
        .members
        .iter()
        .filter(|member| member.known.contains(&last));
    let shown = shown.count();
    // Binomial with mean 100 times the share of views that are new.
    assert!((30..150).contains(&shown), "{shown}");
}

#[test]
fn a_list_walked_to_its_end_has_everybody_who_stayed_once() {
    let mut crowd = Crowd::gathered(350);
    let asker = crowd.members[0].peer;
    let stayed: BTreeSet<PeerId> = crowd.members[..250]
        .iter()
        .map(|member| member.peer)
        .collect();
    let mut heard = Vec::new();
    let mut after = None;
    let public = Namespace::default();
    loop {
        let page = crowd.registry.list(&public, after, Some(20), Some(asker));
        assert!(page.peers.len() <= 20);
        heard.extend(page.peers.iter().map(|shown| shown.peer));
        // Somebody goes and somebody comes between any two pages.
        crowd.leave(250);
        crowd.join();
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert!(heard.is_sorted(), "in order, and nobody twice");
    let unique: BTreeSet<PeerId> = heard.iter().copied().collect();
    assert_eq!(unique.len(), heard.len());
    assert!(!unique.contains(&asker));
    for peer in stayed.iter().filter(|peer| **peer != asker) {
        assert!(unique.contains(peer), "{peer} is missing");
    }
    let page = |limit| crowd.registry.list(&public, None, limit, None).peers.len();
    assert_eq!(
        [page(None), page(Some(u16::MAX)), page(Some(0))],
        [MAX_LISTING, MAX_LISTING, 1]
    );
    let nowhere = crowd
        .registry
        .list(&"nowhere".parse().unwrap(), None, None, None);
    assert_eq!(nowhere, Page::default());
}
