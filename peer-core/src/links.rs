//! All links of a node: which to open, to whom, when again; whom to refuse.
//!
//! Links are a budget: they are opened when somebody is needed, kept, and used for
//! everything. Knows nothing of what travels over them.
//!
//! A link can be given *lanes*: further connections to the same peer that carry bulk frames
//! only, since one connection over a long way carries less than the line. They are
//! negotiated like links, with signals that go over the link itself, and end with it.

use crate::{
    io::{Candidates, Code, Error, LinkInput},
    link::{Link, LinkAction, LinkFailure},
    policy,
    random::Random,
    rate::Rate,
};
use shoal_protocol::{
    VERSIONS, common_version,
    control::ControlMessage,
    id::{LinkId, Nonce, PeerId, Signature},
    namespace::Namespace,
    signal::{CLOCK_SKEW, Refusal, SIGNAL_LIFETIME, Signal, SignalBody},
    signed::{Payload, Signed},
    sorted::SortedMap,
    time::{Timestamp, UnixMillis},
};
use std::{collections::VecDeque, time::Duration};

/// Most links at once, negotiations included. Browsers take some 500 peer connections a
/// process; a few dozen keep their bookkeeping cheap. Guess.
pub(crate) const MAX_LINKS: usize = 48;
/// Links that lanes leave room for. Guess.
const LANE_MARGIN: usize = 16;
/// First wait before a peer is tried again. Guess.
const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// Longest wait before a peer is tried again. Guess.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// How long a peer that sent wrong bytes is refused. Guess: longer than most visits.
const BAN: Duration = Duration::from_secs(3600);
/// A link on which nothing came for so long is asked for a sign of life. Guess.
const PING_AFTER: Duration = Duration::from_secs(10);
/// Pings a link begins with, one after the other: the first is slow where pages still start,
/// and later ones wait behind chunks.
const FIRST_PINGS: u32 = 3;
/// A link on which nothing came for so long after a ping needs another way. Guess: a lost
/// packet or two over a slow line.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// A link that ends sooner after it came up was of no use. Guess.
const STEADY: Duration = Duration::from_secs(10);
/// Useless links in a row after which a peer has to wait out its back-off, whatever it does.
/// Guess: a page that is reloaded and a network that changes make fewer.
const DROPS: u32 = 3;
/// Most links remembered against replays, and of one peer. A minute's worth of honest use
/// is far below. Guess.
const MAX_SEEN: usize = 4096;
const MAX_SEEN_OF_PEER: usize = 32;
/// Most peers whose failures are remembered. Guess.
const MAX_RECORDS: usize = 4096;

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

/// A link with what is known of its liveliness.
struct Entry {
    link: Link,
    /// The link it is a lane of.
    lane_of: Option<LinkId>,
    up_since: Option<Timestamp>,
    last_heard: Timestamp,
    pinged: Option<(u32, Timestamp)>,
    /// Pings that were answered.
    pongs: u32,
    traffic: Traffic,
}

/// What went over a link, bulk frames only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) receiving: Rate,
    pub(crate) sending: Rate,
    /// Its newest and its shortest round trip.
    pub(crate) rtt: Option<Duration>,
    pub(crate) least_rtt: Option<Duration>,
    /// Its lanes, besides itself.
    pub(crate) lanes: usize,
}

impl Entry {
    /// When the latest ping was sent, if nothing came since.
    fn waits_since(&self) -> Option<Timestamp> {
        let (_, sent) = self.pinged?;
        (self.last_heard <= sent).then_some(sent)
    }
}

/// What is remembered of a peer beyond its links.
#[derive(Default)]
struct Record {
    failures: u32,
    /// Links in a row that came up and soon ended.
    drops: u32,
    not_before: Option<Timestamp>,
    banned_until: Option<Timestamp>,
}

pub(crate) struct Links {
    own: PeerId,
    namespace: Namespace,
    entries: SortedMap<LinkId, Entry>,
    by_peer: SortedMap<PeerId, LinkId>,
    records: SortedMap<PeerId, Record>,
    /// Links that were asked for, against replays, with when they may be forgotten.
    seen: SortedMap<LinkId, (PeerId, UnixMillis)>,
    /// Whether others are given the lanes they ask for.
    pub(crate) gives_lanes: bool,
    ping: u32,
    random: Random,
    actions: VecDeque<Action>,
    #[cfg(feature = "test-hooks")]
    trust_signals: bool,
}

impl Links {
    pub(crate) fn new(own: PeerId, namespace: Namespace, random: Random) -> Self {
        Self {
            own,
            namespace,
            entries: SortedMap::new(),
            by_peer: SortedMap::new(),
            records: SortedMap::new(),
            seen: SortedMap::new(),
            gives_lanes: true,
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

    /// Counts a bulk frame that came over a link or a lane.
    pub(crate) fn received(&mut self, now: Timestamp, link: LinkId, bytes: usize) {
        if let Some(traffic) = self.traffic_of(link) {
            traffic.received += bytes as u64;
            traffic.receiving.add(now, bytes as u64);
        }
    }

    /// Counts a bulk frame that was sent over a link or a lane.
    pub(crate) fn sent(&mut self, now: Timestamp, link: LinkId, bytes: usize) {
        if let Some(traffic) = self.traffic_of(link) {
            traffic.sent += bytes as u64;
            traffic.sending.add(now, bytes as u64);
        }
    }

    /// The counts of a link, which are those of its lanes too.
    fn traffic_of(&mut self, link: LinkId) -> Option<&mut Traffic> {
        let lane_of = self.entries.get(&link)?.lane_of;
        let entry = self.entries.get_mut(&lane_of.unwrap_or(link))?;
        Some(&mut entry.traffic)
    }

    /// What goes over the link to a peer, if it is up.
    pub(crate) fn traffic(&self, peer: PeerId) -> Option<Traffic> {
        let link = self.link_to(peer)?;
        let traffic = self.entries.get(&link)?.traffic.clone();
        let up = |lane: &LinkId| self.entries.get(lane).is_some_and(|lane| lane.link.is_up());
        let lanes = self.lanes(link).filter(up).count();
        Some(Traffic { lanes, ..traffic })
    }

    /// The lanes of a link, those on their way included.
    pub(crate) fn lanes(&self, link: LinkId) -> impl Iterator<Item = LinkId> + '_ {
        let entries = self.entries.iter();
        let lanes = entries.filter(move |(_, entry)| entry.lane_of == Some(link));
        lanes.map(|(lane, _)| *lane)
    }

    /// Whether it is a lane of another link.
    pub(crate) fn is_lane(&self, link: LinkId) -> bool {
        let entry = self.entries.get(&link);
        entry.is_some_and(|entry| entry.lane_of.is_some())
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
        self.records
            .get(&peer)
            .is_some_and(|record| record.failures > 0)
    }

    pub(crate) fn is_banned(&self, now: Timestamp, peer: PeerId) -> bool {
        self.records
            .get(&peer)
            .and_then(|record| record.banned_until)
            .is_some_and(|until| now < until)
    }

    /// Opens a link to a peer unless there is one, the budget is spent, or it failed lately.
    pub(crate) fn connect(&mut self, now: Timestamp, peer: PeerId) {
        let wait = self
            .records
            .get(&peer)
            .and_then(|record| record.not_before)
            .is_some_and(|time| now < time);
        let full = self.entries.len() >= MAX_LINKS;
        if peer == self.own || self.has(peer) || full || wait || self.is_banned(now, peer) {
            return;
        }
        let id = LinkId(self.random.bytes());
        let nonce = Nonce(self.random.bytes());
        let link = Link::ask(now, id, self.own, peer, self.namespace.clone(), nonce);
        self.insert(now, link, None);
    }

    /// Asks for a further lane to a peer to which a link is up. False if there can be none.
    pub(crate) fn add_lane(&mut self, now: Timestamp, peer: PeerId) -> bool {
        let Some(link) = self.link_to(peer).filter(|link| self.can_add_lane(*link)) else {
            return false;
        };
        let id = LinkId(self.random.bytes());
        let nonce = Nonce(self.random.bytes());
        let lane = Link::ask(now, id, self.own, peer, self.namespace.clone(), nonce);
        self.insert(now, lane, Some(link));
        true
    }

    fn can_add_lane(&self, link: LinkId) -> bool {
        self.lanes(link).count() < policy::LANES_MAX && self.entries.len() < MAX_LINKS - LANE_MARGIN
    }

    /// Closes the lanes to a peer.
    pub(crate) fn drop_lanes(&mut self, peer: PeerId) {
        let link = self.by_peer.get(&peer).copied();
        let lanes: Vec<LinkId> = link.into_iter().flat_map(|link| self.lanes(link)).collect();
        lanes.into_iter().for_each(|lane| self.close(lane));
    }

    /// Lets failed peers be tried again at once, and finds out which links still work.
    pub(crate) fn wake(&mut self, now: Timestamp) {
        for record in self.records.values_mut() {
            record.not_before = None;
        }
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
        self.record(peer).banned_until = Some(now + BAN);
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
        if let Some(record) = self.records.get_mut(&peer) {
            record.failures = 0;
            if record.drops < DROPS {
                record.not_before = None;
            }
        }
    }

    /// Whether the peer came and went so often that it has to wait.
    fn is_dropping(&self, now: Timestamp, peer: PeerId) -> bool {
        self.records.get(&peer).is_some_and(|record| {
            record.drops >= DROPS && record.not_before.is_some_and(|time| now < time)
        })
    }

    /// Takes a signal; `over` is the link it came over, unless it was the rendezvous that
    /// passed it on.
    pub(crate) fn handle_signal(&mut self, now: Timestamp, signed: &Signed, over: Option<LinkId>) {
        #[cfg(feature = "test-hooks")]
        let opened = if self.trust_signals {
            signed.open_unverified()
        } else {
            signed.open()
        };
        #[cfg(not(feature = "test-hooks"))]
        let opened = signed.open();
        // Whatever does not verify says nothing about the peer it names.
        let Ok(signal): Result<Signal, _> = opened else {
            return;
        };
        let time = now.unix_millis();
        let addressed = signal.from == signed.peer
            && signal.to == self.own
            && signal.namespace == self.namespace;
        let latest = time.plus(SIGNAL_LIFETIME + CLOCK_SKEW);
        let valid = signal.expires.plus(CLOCK_SKEW) > time && signal.expires <= latest;
        if !addressed || !valid || signal.from == self.own {
            return;
        }
        let own_link = over.filter(|link| self.peer_of(*link) == Some(signal.from));
        if let SignalBody::Link = signal.body {
            self.asked(now, &signal, own_link);
        } else if self
            .entries
            .get(&signal.link)
            .is_some_and(|entry| entry.link.peer == signal.from)
        {
            self.with(now, signal.link, |link| {
                link.handle_signal(now, &signal, &signed.payload)
            });
        }
    }

    /// Another peer asks for a link, or for a lane of the one it asks over.
    fn asked(&mut self, now: Timestamp, signal: &Signal, lane_of: Option<LinkId>) {
        let time = now.unix_millis();
        self.seen.retain(|_, (_, forget)| *forget > time);
        let of_peer = self
            .seen
            .values()
            .filter(|(peer, _)| *peer == signal.from)
            .count();
        if self.seen.contains_key(&signal.link)
            || of_peer >= MAX_SEEN_OF_PEER
            || self.seen.len() >= MAX_SEEN
        {
            return;
        }
        self.seen
            .insert(signal.link, (signal.from, signal.expires.plus(CLOCK_SKEW)));
        if self.is_banned(now, signal.from) {
            return self.refuse(now, signal, Refusal::Banned);
        }
        if common_version(&signal.versions).is_none() {
            return self.refuse(now, signal, Refusal::Version);
        }
        if let Some(link) = lane_of {
            // A lane that is not accepted is not waited for: there is the link.
            if self.gives_lanes && self.can_add_lane(link) {
                let nonce = Nonce(self.random.bytes());
                let lane = Link::accept(now, self.own, nonce, signal);
                self.insert(now, lane, lane_of);
            }
            return;
        }
        if let Some(&id) = self.by_peer.get(&signal.from) {
            let asking = self
                .entries
                .get(&id)
                .is_some_and(|entry| entry.link.is_asking());
            if asking && self.own < signal.from {
                // Both asked at once: the smaller id's link is the one; they will accept it.
                return;
            }
            // Theirs is the one, or they lost the link this side still believes in.
            self.ended(now, id);
            self.close(id);
        }
        if self.is_dropping(now, signal.from) {
            return self.refuse(now, signal, Refusal::Limit);
        }
        if self.entries.len() >= MAX_LINKS {
            return self.refuse(now, signal, Refusal::Limit);
        }
        let nonce = Nonce(self.random.bytes());
        let link = Link::accept(now, self.own, nonce, signal);
        self.insert(now, link, None);
    }

    fn refuse(&mut self, now: Timestamp, asked: &Signal, why: Refusal) {
        let refusal = Signal {
            from: self.own,
            to: asked.from,
            namespace: self.namespace.clone(),
            link: asked.link,
            n: 0,
            nonce: Nonce(self.random.bytes()),
            versions: VERSIONS.into(),
            expires: now.unix_millis().plus(SIGNAL_LIFETIME),
            body: SignalBody::Refuse(why),
        };
        self.actions.push_back(Action::SignRefusal {
            to: asked.from,
            payload: refusal.to_payload(),
        });
    }

    pub(crate) fn refusal_signed(
        &mut self,
        to: PeerId,
        payload: String,
        signature: Option<Signature>,
    ) {
        if let Some(sig) = signature {
            self.actions.push_back(Action::SendSignal {
                to,
                signed: Signed {
                    peer: self.own,
                    payload,
                    sig,
                },
            });
        }
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
                entry.last_heard = now;
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
            && let Some((_, sent)) = entry.pinged.take_if(|(expected, _)| *expected == n)
        {
            let rtt = now.since(sent);
            let traffic = &mut entry.traffic;
            traffic.rtt = Some(rtt);
            traffic.least_rtt = Some(traffic.least_rtt.map_or(rtt, |least| least.min(rtt)));
            entry.pongs += 1;
            if entry.pongs < FIRST_PINGS {
                self.send_ping(now, id);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let of_entry = |entry: &Entry| match entry.link.deadline() {
            Some(deadline) => deadline,
            None => match entry.waits_since() {
                Some(sent) => sent + SILENT_AFTER,
                None => entry.last_heard + PING_AFTER,
            },
        };
        self.entries.values().map(of_entry).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        let due: Vec<LinkId> = self.entries.keys().copied().collect();
        for id in due {
            self.with(now, id, |link| link.handle_timeout(now));
            let Some(entry) = self.entries.get(&id).filter(|entry| entry.link.is_up()) else {
                continue;
            };
            if entry.link.deadline().is_some() {
                continue; // It looks for another way.
            }
            match entry.waits_since() {
                Some(sent) if sent + SILENT_AFTER <= now => {
                    self.with(now, id, |link| link.silent(now));
                }
                None if entry.last_heard + PING_AFTER <= now => self.send_ping(now, id),
                _ => {}
            }
        }
    }

    fn send_ping(&mut self, now: Timestamp, id: LinkId) {
        self.ping = self.ping.wrapping_add(1);
        let n = self.ping;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.pinged = Some((n, now));
            let ping = LinkAction::SendControl(ControlMessage::Ping { n });
            self.actions.push_back(Action::Link(id, ping));
        }
    }

    fn insert(&mut self, now: Timestamp, link: Link, lane_of: Option<LinkId>) {
        let (id, peer) = (link.id, link.peer);
        if lane_of.is_none() {
            self.by_peer.insert(peer, id);
        }
        self.entries.insert(
            id,
            Entry {
                link,
                lane_of,
                up_since: None,
                last_heard: now,
                pinged: None,
                pongs: 0,
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
                    entry.last_heard = now;
                    Action::Up { link: id, peer }
                }
                (LinkAction::Up, Some(link)) => {
                    entry.last_heard = now;
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

    fn record(&mut self, peer: PeerId) -> &mut Record {
        if self.records.len() >= MAX_RECORDS && !self.records.contains_key(&peer) {
            self.records
                .retain(|_, record| record.banned_until.is_some());
        }
        self.records.entry(peer).or_default()
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
        self.ended(now, id);
        self.close(id);
        if !was_up {
            self.back_off(now, peer);
            let record = self.record(peer);
            record.failures = record.failures.saturating_add(1);
        }
        if let Some(error) = explain(peer, was_up, &failure, candidates) {
            self.actions.push_back(Action::Failed(error));
        }
    }

    /// Remembers how long a link was up, and waits the longer for the next one, the more of
    /// them soon ended.
    fn ended(&mut self, now: Timestamp, id: LinkId) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        let Some(up_since) = entry.up_since else {
            return;
        };
        let peer = entry.link.peer;
        let record = self.record(peer);
        record.drops = match now.since(up_since) < STEADY {
            true => record.drops.saturating_add(1),
            false => 0,
        };
        self.back_off(now, peer);
    }

    fn back_off(&mut self, now: Timestamp, peer: PeerId) {
        let record = self.record(peer);
        // One useless link says little.
        let failures = record.failures + record.drops.saturating_sub(1);
        let wait = self.random.backoff(BACKOFF_BASE, failures, BACKOFF_MAX);
        self.record(peer).not_before = Some(now + wait);
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

/// Puts a failure in words for a person; `None` where nobody can do anything about it.
fn explain(
    peer: PeerId,
    was_up: bool,
    failure: &LinkFailure,
    candidates: Candidates,
) -> Option<Error> {
    let (code, message) = match failure {
        LinkFailure::Auth(why) => (
            Code::LinkAuth,
            format!(
                "The connection to {peer} was dropped: {why}. Somebody may be in between, for example a rendezvous that is not honest."
            ),
        ),
        LinkFailure::Protocol(why) => (
            Code::Unreachable,
            format!("The connection to {peer} was dropped: {why}."),
        ),
        LinkFailure::Signing => (
            Code::Unreachable,
            "This peer could not sign with its key.".into(),
        ),
        LinkFailure::Refused(Refusal::Version) => (
            Code::Unreachable,
            format!(
                "{peer} speaks another version of Shoal. One of the two pages must be reloaded or updated."
            ),
        ),
        LinkFailure::Connection(_) | LinkFailure::Timeout(_) if was_up => return None,
        LinkFailure::Connection(detail) => (
            Code::Unreachable,
            format!("{} ({detail})", explain_candidates(peer, candidates)),
        ),
        LinkFailure::Timeout("no connection came about") => {
            (Code::Unreachable, explain_candidates(peer, candidates))
        }
        LinkFailure::Refused(_) | LinkFailure::Timeout(_) => return None,
    };
    Some(Error {
        code,
        message,
        peer: Some(peer),
        candidates: Some(candidates),
    })
}

/// Says what the candidates tell about a connection that did not come about.
fn explain_candidates(peer: PeerId, Candidates { local, remote }: Candidates) -> String {
    let start = format!("No connection to {peer} could be made: ");
    let total = |counts: crate::io::CandidateCounts| counts.host + counts.srflx + counts.relay;
    start
        + match (total(local), total(remote)) {
            (0, _) => {
                "this browser found no network address to offer; a setting, an extension or a missing network hides them."
            }
            (_, 0) => "the other browser sent no network address.",
            _ if local.relay + remote.relay > 0 => {
                "not even the TURN relay worked; check its address, its port and its password."
            }
            _ if local.srflx == 0 && remote.srflx == 0 => {
                "both sides know only addresses of their own network, for the rendezvous names no STUN server or it does not answer."
            }
            _ => {
                "the networks in between let no direct connection through; a TURN server would help."
            }
        }
}
