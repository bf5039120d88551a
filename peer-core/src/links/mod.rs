//! All links of a node: which to open, to whom, when again; whom to refuse.
//!
//! Links are a budget: they are opened when somebody is needed, kept, and used for
//! everything. Knows nothing of what travels over them.
//!
//! A link can be given *lanes*: further connections to the same peer that carry bulk frames
//! only, since one connection over a long way carries less than the line. They are
//! negotiated like links, with signals that go over the link itself, and end with it.
//!
//! Here is the table of links, what happens to each, and how it ends. What is known of peers
//! without a link is in [`records`], when a link is pinged in [`liveness`], which one gives way
//! to another in [`room`].

mod explain;
mod lanes;
mod liveness;
mod records;
mod room;
mod signals;

use crate::{
    io::{Error, LinkInput},
    link::{Link, LinkAction, LinkFailure},
    random::Random,
};
use explain::explain;
use lanes::Traffic;
use liveness::{Due, Liveness};
use records::Records;
pub(crate) use room::IsUsed;
use shoal_protocol::{
    control::ControlMessage,
    id::{LinkId, PeerId, Signature},
    membership::Membership,
    seal::SealKey,
    signal::{Refusal, Signal},
    signed::Signed,
    sorted::SortedMap,
    time::Timestamp,
};
use signals::Seen;
use std::{collections::VecDeque, sync::Arc};

/// Most links at once, negotiations included. Browsers take some 500 peer connections a
/// process; a few dozen keep their bookkeeping cheap. Guess.
pub(crate) const MAX_LINKS: usize = 48;

/// What the links want done, or tell.
#[derive(Debug)]
pub(crate) enum Action {
    Link(LinkId, LinkAction),
    /// Sign a refusal, which belongs to no link.
    SignRefusal {
        to: PeerId,
        payload: String,
    },
    SendSignal {
        to: PeerId,
        signed: Signed,
    },
    Close(LinkId),
    Up {
        link: LinkId,
        peer: PeerId,
    },
    /// A link that was up is so no longer.
    Down {
        peer: PeerId,
    },
    /// A link has a further lane.
    LaneUp {
        link: LinkId,
        lane: LinkId,
    },
    /// A lane that was up is so no longer; what was in it may be lost.
    LaneDown {
        peer: PeerId,
        lane: LinkId,
    },
    /// Bytes come through again, after an ICE restart.
    Restarted {
        peer: PeerId,
    },
    /// An attempt failed in a way a person may want to know.
    Failed(Error),
}

/// A link with what is known of it.
struct Entry {
    link: Link,
    /// The link it is a lane of.
    lane_of: Option<LinkId>,
    /// Whether this side asked for it.
    is_own: bool,
    begun: Timestamp,
    up_since: Option<Timestamp>,
    liveness: Liveness,
    traffic: Traffic,
}

impl Entry {
    fn next_timeout(&self) -> Timestamp {
        let deadline = self.link.deadline();
        deadline.unwrap_or_else(|| self.liveness.next_timeout())
    }
}

/// The links of a node.
pub(crate) struct Links {
    own: PeerId,
    membership: Arc<Membership>,
    entries: SortedMap<LinkId, Entry>,
    by_peer: SortedMap<PeerId, LinkId>,
    records: Records,
    seen: Seen,
    /// Whether others are given the lanes they ask for.
    pub(crate) gives_lanes: bool,
    /// When the next link may give way to another.
    next_room: Timestamp,
    ping: u32,
    random: Random,
    actions: VecDeque<Action>,
    #[cfg(feature = "test-hooks")]
    trust_signals: bool,
}

impl Links {
    pub(crate) fn new(own: PeerId, membership: Arc<Membership>, random: Random) -> Self {
        Self {
            own,
            membership,
            entries: SortedMap::new(),
            by_peer: SortedMap::new(),
            records: Records::default(),
            seen: Seen::default(),
            gives_lanes: true,
            next_room: Timestamp::default(),
            ping: 0,
            random,
            actions: VecDeque::new(),
            #[cfg(feature = "test-hooks")]
            trust_signals: false,
        }
    }

    /// Takes signals without checking their signatures: what a broken check would do. Shows
    /// that the handshake inside the channel holds by itself.
    #[cfg(feature = "test-hooks")]
    pub(crate) fn trust_signals(&mut self) {
        self.trust_signals = true;
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Peers to which a link is up.
    pub(crate) fn up(&self) -> impl Iterator<Item = (PeerId, LinkId)> + '_ {
        let up = self.entries.values();
        let up = up.filter(|entry| entry.link.is_up() && entry.lane_of.is_none());
        up.map(|entry| (entry.link.peer, entry.link.id))
    }

    /// The link to a peer, if it is up.
    pub(crate) fn link_to(&self, peer: PeerId) -> Option<LinkId> {
        let id = self.by_peer.get(&peer)?;
        self.entries
            .get(id)
            .filter(|entry| entry.link.is_up())
            .map(|entry| entry.link.id)
    }

    /// The peer at the other end of a link that is up.
    pub(crate) fn peer_of(&self, link: LinkId) -> Option<PeerId> {
        self.entries
            .get(&link)
            .filter(|entry| entry.link.is_up())
            .map(|entry| entry.link.peer)
    }

    /// Links up or on their way.
    pub(crate) fn count(&self) -> usize {
        self.by_peer.len()
    }

    /// Whether a link to the peer is up or on its way.
    pub(crate) fn has(&self, peer: PeerId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// Whether the last attempts to reach the peer failed.
    pub(crate) fn is_failing(&self, peer: PeerId) -> bool {
        self.records.is_failing(peer)
    }

    pub(crate) fn is_banned(&self, now: Timestamp, peer: PeerId) -> bool {
        self.records.is_banned(now, peer)
    }

    /// Opens a link to a peer unless there is one, it failed lately, or there is no room, even
    /// if one that is not used gives way.
    pub(crate) fn connect(&mut self, now: Timestamp, peer: PeerId, is_used: IsUsed) {
        let wait = self.records.has_to_wait(now, peer);
        if peer == self.own || self.has(peer) || wait || self.is_banned(now, peer) {
            return;
        }
        if !self.has_room(now, true, is_used) {
            return;
        }
        let id = LinkId(self.random.bytes());
        let link = self.ask(now, id, peer);
        self.insert(now, link, None, true);
    }

    /// A link, or lane, that this side asks for.
    fn ask(&mut self, now: Timestamp, id: LinkId, peer: PeerId) -> Link {
        let membership = Arc::clone(&self.membership);
        Link::ask(now, id, self.own, peer, membership, self.random.fork())
    }

    /// The link, or lane, that another peer asks for with `signal` and `key`.
    fn accept(&mut self, now: Timestamp, signal: &Signal, key: SealKey) -> Link {
        let membership = Arc::clone(&self.membership);
        Link::accept(now, self.own, membership, self.random.fork(), signal, key)
    }

    /// Lets failed peers be tried again at once, and finds out which links still work.
    pub(crate) fn wake(&mut self, now: Timestamp) {
        self.records.forgive();
        let up: Vec<LinkId> = self.up().map(|(_, link)| link).collect();
        for link in up {
            self.send_ping(now, link);
        }
    }

    /// Signals can be carried again.
    pub(crate) fn signals_pass(&mut self, now: Timestamp) {
        let up: Vec<LinkId> = self.up().map(|(_, link)| link).collect();
        for link in up {
            self.with(now, link, |link| link.signals_pass(now));
        }
    }

    /// Closes the link to a peer that cannot be trusted and refuses new ones for some time.
    pub(crate) fn ban(&mut self, now: Timestamp, peer: PeerId) {
        self.records.ban(now, peer);
        if let Some(&id) = self.by_peer.get(&peer) {
            self.close(id);
        }
    }

    /// Closes every link.
    pub(crate) fn close_all(&mut self) {
        let ids: Vec<LinkId> = self.entries.keys().copied().collect();
        for id in ids {
            self.close(id);
        }
    }

    /// The rendezvous says that a peer is not there.
    pub(crate) fn peer_gone(&mut self, now: Timestamp, peer: PeerId) {
        if let Some(&id) = self.by_peer.get(&peer)
            && self
                .entries
                .get(&id)
                .is_some_and(|entry| !entry.link.is_up())
        {
            self.fail(now, id, LinkFailure::Timeout("the peer is gone"));
        }
    }

    /// A peer came (back): earlier failures say nothing any more.
    pub(crate) fn peer_came(&mut self, peer: PeerId) {
        self.records.came(peer);
    }

    pub(crate) fn signal_signed(
        &mut self,
        now: Timestamp,
        link: LinkId,
        n: u32,
        signature: Option<Signature>,
    ) {
        self.with(now, link, |link| link.signal_signed(n, signature));
    }

    pub(crate) fn auth_signed(
        &mut self,
        now: Timestamp,
        link: LinkId,
        signature: Option<Signature>,
    ) {
        self.with(now, link, |link| link.auth_signed(signature));
    }

    /// Takes what the driver says of a link. Gives back a control message or bulk frame of a
    /// link that is up.
    pub(crate) fn handle_input(
        &mut self,
        now: Timestamp,
        id: LinkId,
        input: LinkInput,
    ) -> Option<LinkInput> {
        let entry = self.entries.get_mut(&id)?;
        match input {
            LinkInput::LocalDescription(description) => {
                self.with(now, id, |link| link.local_description(now, description));
            }
            LinkInput::LocalCandidate(candidate) => {
                self.with(now, id, |link| link.local_candidate(now, candidate));
            }
            LinkInput::RemoteFingerprint(fingerprint) => {
                self.with(now, id, |link| link.remote_fingerprint(fingerprint));
            }
            LinkInput::Opened => self.with(now, id, |link| link.opened(now)),
            LinkInput::Control(_) | LinkInput::Bulk(_) if entry.link.is_up() => {
                entry.liveness.heard(now);
                if entry.link.heard() {
                    let peer = entry.link.peer;
                    self.actions.push_back(Action::Restarted { peer });
                    // What the round trip is now.
                    self.send_ping(now, id);
                }
                return Some(input);
            }
            LinkInput::Control(text) => self.with(now, id, |link| link.handle_handshake(&text)),
            LinkInput::Bulk(_) => {
                let failure =
                    LinkFailure::Protocol("a bulk frame came before Hello and Auth".into());
                self.fail(now, id, failure);
            }
            LinkInput::Disconnected => self.with(now, id, |link| link.disconnected(now)),
            LinkInput::Unreachable => self.with(now, id, |link| link.unreachable(now)),
            LinkInput::Failed { detail } => self.fail(now, id, LinkFailure::Connection(detail)),
            LinkInput::Closed => self.fail(
                now,
                id,
                LinkFailure::Connection("the peer closed it".into()),
            ),
        }
        None
    }

    /// The other side of a link that was up broke the protocol.
    pub(crate) fn misbehaved(&mut self, now: Timestamp, id: LinkId, detail: String) {
        self.fail(now, id, LinkFailure::Protocol(detail));
    }

    /// A `Pong`.
    pub(crate) fn pong(&mut self, now: Timestamp, id: LinkId, n: u32) {
        if let Some(entry) = self.entries.get_mut(&id)
            && let Some(rtt) = entry.liveness.pong(now, n)
        {
            entry.traffic.round_trip(rtt);
            if entry.liveness.is_new() {
                self.send_ping(now, id);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.entries.values().map(Entry::next_timeout).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        let entries = self.entries.iter();
        let due = entries.filter(|(_, entry)| entry.next_timeout() <= now);
        for id in due.map(|(id, _)| *id).collect::<Vec<LinkId>>() {
            self.with(now, id, |link| link.handle_timeout(now));
            let Some(entry) = self.entries.get(&id).filter(|entry| entry.link.is_up()) else {
                continue;
            };
            if entry.link.deadline().is_some() {
                continue; // It looks for another way.
            }
            match entry.liveness.due(now) {
                Some(Due::Silent) => self.with(now, id, |link| link.silent(now)),
                Some(Due::Ping) => self.send_ping(now, id),
                None => {}
            }
        }
    }

    fn send_ping(&mut self, now: Timestamp, id: LinkId) {
        self.ping = self.ping.wrapping_add(1);
        let n = self.ping;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.liveness.pinged(now, n);
            let ping = LinkAction::SendControl(ControlMessage::Ping { n });
            self.actions.push_back(Action::Link(id, ping));
        }
    }

    fn insert(&mut self, now: Timestamp, link: Link, lane_of: Option<LinkId>, is_own: bool) {
        let (id, peer) = (link.id, link.peer);
        if lane_of.is_none() {
            self.by_peer.insert(peer, id);
        }
        self.entries.insert(
            id,
            Entry {
                link,
                lane_of,
                is_own,
                begun: now,
                up_since: None,
                liveness: Liveness::new(now),
                traffic: Traffic::default(),
            },
        );
        self.with(now, id, |_| Ok(()));
    }

    /// Lets a link do something and passes on what it wants.
    fn with(
        &mut self,
        now: Timestamp,
        id: LinkId,
        act: impl FnOnce(&mut Link) -> Result<(), LinkFailure>,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let outcome = act(&mut entry.link);
        let (peer, lane_of) = (entry.link.peer, entry.lane_of);
        let (mut up, mut pings) = (false, false);
        while let Some(action) = entry.link.poll() {
            self.actions.push_back(match (action, lane_of) {
                (LinkAction::SendSignal(signed), None) => Action::SendSignal { to: peer, signed },
                (LinkAction::SendSignal(signal), Some(link)) => {
                    let relay = ControlMessage::Relay { to: peer, signal };
                    Action::Link(link, LinkAction::SendControl(relay))
                }
                (LinkAction::Up, None) => {
                    up = true;
                    entry.up_since = Some(now);
                    entry.liveness.heard(now);
                    Action::Up { link: id, peer }
                }
                (LinkAction::Up, Some(link)) => {
                    entry.liveness.heard(now);
                    Action::LaneUp { link, lane: id }
                }
                (LinkAction::Ping, _) => {
                    pings = true;
                    continue;
                }
                (other, _) => Action::Link(id, other),
            });
        }
        if up {
            self.peer_came(peer);
        }
        if up || pings {
            self.send_ping(now, id);
        }
        if let Err(failure) = outcome {
            self.fail(now, id, failure);
        }
    }

    /// Ends a link and remembers that it failed.
    fn fail(&mut self, now: Timestamp, id: LinkId, failure: LinkFailure) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        let (peer, was_up, candidates) =
            (entry.link.peer, entry.link.is_up(), entry.link.candidates());
        let is_lane = entry.lane_of.is_some();
        if is_lane {
            return self.close(id);
        }
        if failure == LinkFailure::Unsealed
            && let Some(entry) = self.entries.get_mut(&id)
        {
            let payload = entry.link.refusal(now, Refusal::Unsealed);
            let refusal = Action::SignRefusal { to: peer, payload };
            self.actions.push_back(refusal);
        }
        self.ended(now, id);
        self.close(id);
        if !was_up {
            self.records.failed(now, peer, &mut self.random);
        }
        if let Some(error) = explain(peer, was_up, &failure, candidates) {
            self.actions.push_back(Action::Failed(error));
        }
    }

    /// Remembers how long a link was up, if it was.
    fn ended(&mut self, now: Timestamp, id: LinkId) {
        if let Some(entry) = self.entries.get(&id)
            && let Some(up_since) = entry.up_since
        {
            let was_up = now.since(up_since);
            self.records
                .ended(now, entry.link.peer, was_up, &mut self.random);
        }
    }

    fn close(&mut self, id: LinkId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        let peer = entry.link.peer;
        if entry.link.is_open() {
            self.actions.push_back(Action::Close(id));
        }
        if entry.lane_of.is_none() {
            self.by_peer.remove(&peer);
            let lanes: Vec<LinkId> = self.lanes(id).collect();
            lanes.into_iter().for_each(|lane| self.close(lane));
        }
        if entry.link.is_up() {
            self.actions.push_back(match entry.lane_of {
                None => Action::Down { peer },
                Some(_) => Action::LaneDown { peer, lane: id },
            });
        }
    }
}
