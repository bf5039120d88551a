//! What is asked for next, among all fetches: their shares of the memory, of the limit and of
//! the peers that send for several of them.

use crate::{allowance::Allowance, fetch::Fetch, policy, random::Random};
use shoal_protocol::{
    content::{CHUNK_SIZE, ContentKey},
    id::PeerId,
    sorted::SortedMap,
    time::Timestamp,
};
use std::time::Duration;

/// The fetches of a node.
pub(super) type Fetches = SortedMap<ContentKey, Fetch>;

/// Chunks to ask for, by what they are of and whom they are asked of.
pub(super) type Picks = SortedMap<(ContentKey, PeerId), Vec<u32>>;

/// Shares out among fetches what is scarce.
pub(super) struct Schedule {
    download: Allowance,
    /// Whether there is something to ask for that the limit does not allow yet.
    held_back: bool,
    /// Peers that are not asked for more until they owe nothing, at the longest until then.
    draining: SortedMap<PeerId, Timestamp>,
    /// When the windows of sources are shared out again among fetches.
    next_shares: Option<Timestamp>,
}

impl Schedule {
    pub(super) fn new(now: Timestamp, limit: Option<u64>) -> Self {
        Self {
            download: Allowance::new(now, limit),
            held_back: false,
            draining: SortedMap::new(),
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
    pub(super) fn drained(&mut self, now: Timestamp, fetches: &Fetches) -> Vec<PeerId> {
        let mut drained: Vec<PeerId> = Vec::new();
        self.draining.retain(|peer, until| {
            let owes = || fetches.values().any(|fetch| fetch.is_owed_by(*peer));
            let stays = now < *until && owes();
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

    /// Chooses what can be asked for now; the fetches have noted it.
    pub(super) fn picks(
        &mut self,
        now: Timestamp,
        fetches: &mut Fetches,
        random: &mut Random,
    ) -> Picks {
        self.share_windows(now, fetches);
        let is_open = fetches.iter().filter(|(_, fetch)| fetch.is_open());
        let mut open: Vec<ContentKey> = is_open.map(|(key, _)| *key).collect();
        let total: f64 = open.iter().map(|key| weight(fetches, key)).sum();
        let mut picks = Picks::new();
        while self.download.is_open(now) {
            // Who got least of its share is next.
            let by_pass =
                |a: &&ContentKey, b: &&ContentKey| pass(fetches, a).total_cmp(&pass(fetches, b));
            let Some(&key) = open.iter().min_by(by_pass) else {
                break;
            };
            let Some(fetch) = fetches.get_mut(&key) else {
                break;
            };
            let weight = fetch.terms.priority.weight();
            let share = policy::IN_FLIGHT_MAX as f64 * weight / total;
            let budget = (share as usize).max(1);
            match fetch.pick(now, budget, &self.draining, random) {
                Some((peer, index)) => {
                    fetch.pass += 1.0 / weight;
                    self.download.take(CHUNK_SIZE);
                    picks.entry((key, peer)).or_default().push(index);
                }
                None => open.retain(|other| *other != key),
            }
        }
        self.held_back = !open.is_empty();
        // Who had nothing to take does not save its share up.
        let least = open.iter().map(|key| pass(fetches, key)).reduce(f64::min);
        for (key, fetch) in fetches {
            if !open.contains(key) {
                fetch.pass = least.map_or(0.0, |least| fetch.pass.max(least));
            }
        }
        picks
    }

    /// Shares the windows of sources of several fetches out among these, now and then. Each
    /// alone would measure what it gets now, and go on with that.
    fn share_windows(&mut self, now: Timestamp, fetches: &mut Fetches) {
        if self.next_shares.is_some_and(|next| now < next) {
            return;
        }
        self.next_shares = Some(now + policy::SHARE_INTERVAL);
        // What comes from each peer for all fetches, their weights, and its fastest answer.
        let mut peers: SortedMap<PeerId, (f64, f64, Duration)> = SortedMap::new();
        for fetch in fetches.values() {
            let weight = fetch.terms.priority.weight();
            let sources = fetch.sources.iter();
            for (&peer, source) in sources.filter(|(_, source)| source.in_flight > 0) {
                let unknown = (0.0, 0.0, Duration::MAX);
                let (rate, weights, fastest) = peers.entry(peer).or_insert(unknown);
                *rate += source.rate.get(now);
                *weights += weight;
                *fastest = source.fastest().map_or(*fastest, |own| own.min(*fastest));
            }
        }
        for fetch in fetches.values_mut() {
            let weight = fetch.terms.priority.weight();
            for (peer, source) in &mut fetch.sources {
                let share = peers.get(peer).filter(|_| source.in_flight > 0);
                let share = share.filter(|(_, weights, _)| *weights > weight);
                let known = share.filter(|(.., fastest)| *fastest < Duration::MAX);
                let known =
                    known.map(|(rate, weights, fastest)| (rate * weight / weights, *fastest));
                source.set_share(known);
            }
        }
    }
}

fn weight(fetches: &Fetches, key: &ContentKey) -> f64 {
    let weight = |fetch: &Fetch| fetch.terms.priority.weight();
    fetches.get(key).map_or(0.0, weight)
}

fn pass(fetches: &Fetches, key: &ContentKey) -> f64 {
    fetches.get(key).map_or(0.0, |fetch| fetch.pass)
}
