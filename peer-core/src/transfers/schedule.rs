//! What is asked for next, among all fetches: their shares of the memory, of the limit and of
//! the peers that send for several of them.

use super::{fetches::Fetches, requests::Requests};
use crate::{allowance::Allowance, policy, random::Random, source::Source};
use shoal_protocol::{
    content::{CHUNK_SIZE, ContentKey},
    id::PeerId,
    sorted::SortedMap,
    time::Timestamp,
};
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// Chunks to ask for, by what they are of and whom they are asked of.
pub(super) type Picks = SortedMap<(ContentKey, PeerId), Vec<u32>>;

/// Shares out among fetches what is scarce.
pub(super) struct Schedule {
    download: Allowance,
    /// Whether there is something to ask for that the limit does not allow yet.
    held_back: bool,
    /// Peers that are not asked for more until they owe nothing, at the longest until then.
    draining: SortedMap<PeerId, Timestamp>,
    /// Peers that were asked for as much as they queue.
    full: Vec<PeerId>,
    /// When the windows of sources are shared out again among fetches.
    next_shares: Option<Timestamp>,
}

impl Schedule {
    pub(super) fn new(now: Timestamp, limit: Option<u64>) -> Self {
        Self {
            download: Allowance::new(now, limit),
            held_back: false,
            draining: SortedMap::new(),
            full: Vec::new(),
            next_shares: None,
        }
    }

    /// Changes how much may be fetched, in bytes a second.
    pub(super) fn set_limit(&mut self, now: Timestamp, limit: Option<u64>) {
        self.download.set_limit(now, limit);
    }

    /// The weights of fetches have changed.
    pub(super) fn share_anew(&mut self, now: Timestamp) {
        self.next_shares = Some(now);
    }

    /// Asks nothing of a peer until it owes nothing.
    pub(super) fn drain(&mut self, now: Timestamp, peer: PeerId) {
        self.draining.insert(peer, now + policy::LANE_DRAIN);
    }

    /// Peers that were drained, or have taken too long; they are asked again.
    pub(super) fn drained(&mut self, now: Timestamp, requests: &Requests) -> Vec<PeerId> {
        let mut drained: Vec<PeerId> = Vec::new();
        self.draining.retain(|peer, until| {
            let stays = now < *until && requests.owing().any(|(owing, _)| owing == *peer);
            if !stays {
                drained.push(*peer);
            }
            stays
        });
        drained
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        let limit = self.download.opens_at().filter(|_| self.held_back);
        let drained = self.draining.values().copied();
        drained.chain(limit).min()
    }

    /// Peers that were asked for as much as they queue, and have sent half of it.
    pub(super) fn have_room(&mut self, requests: &Requests) -> Vec<PeerId> {
        if self.full.is_empty() {
            return Vec::new();
        }
        let owed = requests.owed();
        let has_room = |peer: &PeerId| {
            owed.get(peer)
                .is_none_or(|owed| *owed <= policy::OWED_MAX / 2)
        };
        let (have_room, full) = self.full.drain(..).partition(has_room);
        self.full = full;
        have_room
    }

    /// Chooses what can be asked for now; the fetches have noted it.
    pub(super) fn picks(
        &mut self,
        now: Timestamp,
        fetches: &mut Fetches,
        requests: &Requests,
        random: &mut Random,
    ) -> Picks {
        self.share_windows(now, fetches);
        fetches.share_memory();
        let mut picks = Picks::new();
        if !self.download.is_open(now) {
            self.held_back = fetches.ready().next().is_some();
            return picks;
        }
        // Who got least of its share is next.
        let mut ready: BinaryHeap<_> = fetches.ready().map(Reverse).collect();
        if ready.is_empty() {
            self.held_back = false;
            return picks;
        }
        let mut owed = requests.owed();
        while self.download.is_open(now) {
            let Some(Reverse((pass, key))) = ready.pop() else {
                break;
            };
            fetches.floor = fetches.floor.max(pass);
            let budget = fetches.budget(&key);
            let Some(fetch) = fetches.get_mut(&key) else {
                continue;
            };
            let is_full = |peer: &PeerId| {
                self.draining.contains_key(peer)
                    || owed.get(peer).is_some_and(|owed| *owed >= policy::OWED_MAX)
            };
            match fetch.pick(now, budget, &is_full, random) {
                Some((peer, index)) => {
                    let owes = owed.entry(peer).or_default();
                    *owes += 1;
                    if *owes == policy::OWED_MAX && !self.full.contains(&peer) {
                        self.full.push(peer);
                    }
                    fetch.pass += fetch.terms.priority.stride();
                    ready.push(Reverse((fetch.pass, key)));
                    self.download.take(CHUNK_SIZE);
                    picks.entry((key, peer)).or_default().push(index);
                }
                None => fetches.rest(&key),
            }
        }
        self.held_back = !ready.is_empty();
        picks
    }

    /// Shares the windows of sources of several fetches out among these, now and then. Each
    /// alone would measure what it gets now, and go on with that.
    fn share_windows(&mut self, now: Timestamp, fetches: &mut Fetches) {
        if self.next_shares.is_some_and(|next| now < next) {
            return;
        }
        self.next_shares = Some(now + policy::SHARE_INTERVAL);
        // One that owes nothing at the moment, between two answers, has its share all the same.
        let works = |source: &Source| source.in_flight > 0 || source.rate.get(now) > 0.0;
        // What comes from each peer for all fetches, their weights, and its fastest answer.
        let mut peers: SortedMap<PeerId, (f64, f64, Duration)> = SortedMap::new();
        for fetch in fetches.look_at_all() {
            let weight = fetch.terms.priority.weight();
            let sources = fetch.sources.iter();
            for (&peer, source) in sources.filter(|(_, source)| works(source)) {
                let unknown = (0.0, 0.0, Duration::MAX);
                let (rate, weights, fastest) = peers.entry(peer).or_insert(unknown);
                *rate += source.rate.get(now);
                *weights += weight;
                *fastest = source.fastest().map_or(*fastest, |own| own.min(*fastest));
            }
        }
        for fetch in fetches.look_at_all() {
            let weight = fetch.terms.priority.weight();
            for (peer, source) in &mut fetch.sources {
                let share = peers.get(peer).filter(|_| works(source));
                let share = share.filter(|(_, weights, _)| *weights > weight);
                let known = share.filter(|(.., fastest)| *fastest < Duration::MAX);
                let known =
                    known.map(|(rate, weights, fastest)| (rate * weight / weights, *fastest));
                source.set_share(known);
            }
        }
    }
}
