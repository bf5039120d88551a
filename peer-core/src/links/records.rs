//! What is remembered of peers beyond their links: who failed and has to wait, and who is
//! refused.

use crate::random::Random;
use shoal_protocol::{id::PeerId, sorted::SortedMap, time::Timestamp};
use std::time::Duration;

/// First wait before a peer is tried again. Guess.
const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// Longest wait before a peer is tried again. Guess.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// How long a peer that sent wrong bytes is refused. Guess: longer than most visits.
const BAN: Duration = Duration::from_secs(3600);
/// A link that ends sooner after it came up was of no use. Guess.
const STEADY: Duration = Duration::from_secs(10);
/// Useless links in a row after which a peer has to wait out its back-off, whatever it does.
/// Guess: a page that is reloaded and a network that changes make fewer.
const DROPS: u32 = 3;
/// Most peers whose failures are remembered. Guess.
const MAX_RECORDS: usize = 4096;

#[derive(Default)]
struct Record {
    failures: u32,
    /// Links in a row that came up and soon ended.
    drops: u32,
    not_before: Option<Timestamp>,
    banned_until: Option<Timestamp>,
}

impl Record {
    fn has_to_wait(&self, now: Timestamp) -> bool {
        self.not_before.is_some_and(|time| now < time)
    }
}

/// The records of peers.
#[derive(Default)]
pub(super) struct Records {
    by_peer: SortedMap<PeerId, Record>,
}

impl Records {
    /// Whether the last attempts to reach the peer failed.
    pub(super) fn is_failing(&self, peer: PeerId) -> bool {
        let record = self.by_peer.get(&peer);
        record.is_some_and(|record| record.failures > 0)
    }

    pub(super) fn is_banned(&self, now: Timestamp, peer: PeerId) -> bool {
        let record = self.by_peer.get(&peer);
        let until = record.and_then(|record| record.banned_until);
        until.is_some_and(|until| now < until)
    }

    /// Whether it is too soon to try the peer again.
    pub(super) fn has_to_wait(&self, now: Timestamp, peer: PeerId) -> bool {
        let record = self.by_peer.get(&peer);
        record.is_some_and(|record| record.has_to_wait(now))
    }

    /// Whether the peer came and went so often that it has to wait.
    pub(super) fn is_dropping(&self, now: Timestamp, peer: PeerId) -> bool {
        let record = self.by_peer.get(&peer);
        record.is_some_and(|record| record.drops >= DROPS && record.has_to_wait(now))
    }

    /// Refuses a peer for some time.
    pub(super) fn ban(&mut self, now: Timestamp, peer: PeerId) {
        self.record(peer).banned_until = Some(now + BAN);
    }

    /// Lets all be tried again at once.
    pub(super) fn forgive(&mut self) {
        for record in self.by_peer.values_mut() {
            record.not_before = None;
        }
    }

    /// A peer came (back): earlier failures say nothing any more.
    pub(super) fn came(&mut self, peer: PeerId) {
        if let Some(record) = self.by_peer.get_mut(&peer) {
            record.failures = 0;
            if record.drops < DROPS {
                record.not_before = None;
            }
        }
    }

    /// A link to the peer did not come up.
    pub(super) fn failed(&mut self, now: Timestamp, peer: PeerId, random: &mut Random) {
        self.back_off(now, peer, random);
        let record = self.record(peer);
        record.failures = record.failures.saturating_add(1);
    }

    /// A link to the peer has ended that was up for so long: the next one waits the longer, the
    /// more of them soon ended.
    pub(super) fn ended(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        was_up: Duration,
        random: &mut Random,
    ) {
        let record = self.record(peer);
        record.drops = match was_up < STEADY {
            true => record.drops.saturating_add(1),
            false => 0,
        };
        self.back_off(now, peer, random);
    }

    fn back_off(&mut self, now: Timestamp, peer: PeerId, random: &mut Random) {
        let record = self.record(peer);
        // One useless link says little.
        let failures = record.failures + record.drops.saturating_sub(1);
        let wait = random.backoff(BACKOFF_BASE, failures, BACKOFF_MAX);
        record.not_before = Some(now + wait);
    }

    fn record(&mut self, peer: PeerId) -> &mut Record {
        if self.by_peer.len() >= MAX_RECORDS && !self.by_peer.contains_key(&peer) {
            self.by_peer
                .retain(|_, record| record.banned_until.is_some());
        }
        self.by_peer.entry(peer).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId::from_public_key([1; 32]);
    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn who_comes_back_need_not_wait_unless_its_links_soon_end() {
        let (mut records, mut random) = (Records::default(), Random::new([1; 32]));
        records.failed(NOW, PEER, &mut random);
        assert!(records.is_failing(PEER) && records.has_to_wait(NOW, PEER));
        records.came(PEER);
        assert!(!records.is_failing(PEER) && !records.has_to_wait(NOW, PEER));
        for _ in 0..DROPS {
            assert!(!records.is_dropping(NOW, PEER));
            records.ended(NOW, PEER, Duration::ZERO, &mut random);
            records.came(PEER);
        }
        assert!(records.is_dropping(NOW, PEER));
        records.ended(NOW, PEER, STEADY, &mut random);
        assert!(!records.is_dropping(NOW, PEER));
    }

    #[test]
    fn a_ban_outlasts_the_records_of_others() {
        let (mut records, mut random) = (Records::default(), Random::new([1; 32]));
        records.ban(NOW, PEER);
        for number in 0..=MAX_RECORDS {
            let mut key = [2; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            records.failed(NOW, PeerId::from_public_key(key), &mut random);
        }
        assert!(records.by_peer.len() <= MAX_RECORDS);
        assert!(records.is_banned(NOW, PEER));
        assert!(!records.is_banned(NOW + BAN, PEER));
    }
}
