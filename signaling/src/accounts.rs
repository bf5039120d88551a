//! What each address or each peer holds and has lately used.
//!
//! There is an account as long as something is held or a bucket is not full; an account
//! that would say nothing is none. Pure: time comes in.

use crate::limiter::{Bucket, Rate};
use shoal_protocol::time::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What is counted while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Connections of peers.
    Connections,
    /// HTTP connections.
    Http,
    /// Sessions.
    Sessions,
    /// Bytes of catalogs.
    Catalogs,
}

/// What is counted as it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// Joins.
    Joins,
    /// Signals.
    Signals,
    /// Bytes of messages.
    Bytes,
    /// HTTP requests.
    Requests,
}

/// How much of each [`Used`] there is, in their order.
pub type Rates = [Rate; 4];

#[derive(Debug, Default)]
struct Account {
    /// By [`Held`], in its order.
    held: [usize; 4],
    buckets: [Bucket; 4],
    /// Under which moment it stands among the idle.
    idle: Option<Timestamp>,
}

/// The accounts of all addresses, or of all peers.
#[derive(Debug)]
pub struct Accounts<K> {
    rates: Rates,
    max_idle: usize,
    forgotten: u64,
    accounts: BTreeMap<K, Account>,
    /// Those that hold nothing, by when all their buckets are full.
    idle: BTreeSet<(Timestamp, K)>,
}

impl<K: Copy + Ord> Accounts<K> {
    /// No accounts. At most `max_idle` of those that hold nothing are kept; of more, those go
    /// that would go first anyway.
    pub fn new(rates: Rates, max_idle: usize) -> Self {
        Self {
            rates,
            max_idle,
            forgotten: 0,
            accounts: BTreeMap::new(),
            idle: BTreeSet::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// How many were forgotten early, since there were too many.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Holds so many more, unless that would be more than `most`.
    pub fn hold(&mut self, now: Timestamp, key: K, what: Held, count: usize, most: usize) -> bool {
        self.with(now, key, |account, _| {
            let held = &mut account.held[what as usize];
            let more = held.checked_add(count).filter(|more| *more <= most);
            *held = more.unwrap_or(*held);
            more.is_some()
        })
    }

    /// Whether one more could be held and used now, were at most `most` held.
    pub fn has_room(&self, now: Timestamp, key: &K, what: (Held, Used), most: usize) -> bool {
        let (held, used) = what;
        self.accounts.get(key).is_none_or(|account| {
            let mut bucket = account.buckets[used as usize];
            let fits = account.held[held as usize] < most;
            fits && bucket.take(now, self.rates[used as usize], 1).is_ok()
        })
    }

    /// Holds so many less.
    pub fn release(&mut self, now: Timestamp, key: K, what: Held, count: usize) {
        self.with(now, key, |account, _| {
            let held = &mut account.held[what as usize];
            *held = held.saturating_sub(count);
        });
    }

    /// How much is held.
    #[cfg(test)]
    pub fn held(&self, key: K, what: Held) -> usize {
        let account = self.accounts.get(&key);
        account.map_or(0, |account| account.held[what as usize])
    }

    /// Uses one, or says how long to wait for it.
    pub fn take(&mut self, now: Timestamp, key: K, what: Used) -> Result<(), Duration> {
        self.with(now, key, |account, rates| {
            account.buckets[what as usize].take(now, rates[what as usize], 1)
        })
    }

    /// Uses so many in any case, and says how long to wait before the next.
    pub fn owe(&mut self, now: Timestamp, key: K, what: Used, count: u32) -> Duration {
        self.with(now, key, |account, rates| {
            account.buckets[what as usize].owe(now, rates[what as usize], count)
        })
    }

    /// When [`Accounts::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.idle.first().map(|(at, _)| *at)
    }

    /// Forgets those that say nothing any more.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.idle.first()
            && *at <= now
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.idle.pop_first() {
            self.accounts.remove(&key);
        }
    }

    fn with<T>(
        &mut self,
        now: Timestamp,
        key: K,
        work: impl FnOnce(&mut Account, &Rates) -> T,
    ) -> T {
        let account = self.accounts.entry(key).or_default();
        if let Some(at) = account.idle.take() {
            self.idle.remove(&(at, key));
        }
        let done = work(account, &self.rates);
        if account.held == [0; 4] {
            let full = account.buckets.iter().map(Bucket::full_at).max();
            match full.filter(|full| *full > now) {
                None => {
                    self.accounts.remove(&key);
                }
                Some(full) => {
                    account.idle = Some(full);
                    self.idle.insert((full, key));
                    if self.idle.len() > self.max_idle {
                        self.forgotten += 1;
                        self.forget_first();
                    }
                }
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
    const RATES: Rates = [Rate::new(1.0, 3); 4];

    #[test]
    fn who_has_gone_is_remembered_until_its_buckets_are_full() {
        let mut accounts = Accounts::new(RATES, 10);
        assert!(accounts.hold(START, 1, Held::Connections, 1, 1));
        assert!(
            !accounts.hold(START, 1, Held::Connections, 1, 1),
            "one is the most"
        );
        let joining = (Held::Connections, Used::Joins);
        assert!(!accounts.has_room(START, &1, joining, 1));
        assert!(
            accounts.has_room(START, &1, joining, 2) && accounts.has_room(START, &2, joining, 1)
        );
        for _ in 0..3 {
            assert_eq!(accounts.take(START, 1, Used::Joins), Ok(()));
        }
        assert!(!accounts.has_room(START, &1, joining, 2), "all are used");
        accounts.release(START, 1, Held::Connections, 1);
        assert_eq!(
            accounts.next_timeout(),
            Some(START + Duration::from_secs(3))
        );
        assert!(
            accounts.take(START, 1, Used::Joins).is_err(),
            "going helps nobody"
        );
        accounts.handle_timeout(START + Duration::from_secs(2));
        assert_eq!(accounts.len(), 1);
        accounts.handle_timeout(START + Duration::from_secs(3));
        assert!(accounts.is_empty() && accounts.next_timeout().is_none());
    }

    #[test]
    fn of_too_many_idle_ones_the_least_busy_are_forgotten() {
        let mut accounts = Accounts::new(RATES, 2);
        for (key, uses) in [(1, 3), (2, 1), (3, 2)] {
            for _ in 0..uses {
                accounts.take(START, key, Used::Signals).unwrap();
            }
        }
        assert_eq!((accounts.len(), accounts.forgotten()), (2, 1));
        assert!(
            accounts.take(START, 1, Used::Signals).is_err(),
            "the busiest is known"
        );
        // Who holds something is never forgotten.
        for key in 10..20 {
            assert!(accounts.hold(START, key, Held::Sessions, 1, 1));
        }
        assert_eq!(accounts.len(), 12);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Hold(u8, usize, usize),
        Release(u8, usize),
        Take(u8),
        Owe(u8, u32),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                (0u8..6, 0usize..4, 1usize..4)
                    .prop_map(|(key, count, most)| Step::Hold(key, count, most)),
                (0u8..6, 0usize..4).prop_map(|(key, count)| Step::Release(key, count)),
                (0u8..6).prop_map(Step::Take),
                (0u8..6, 0u32..9).prop_map(|(key, count)| Step::Owe(key, count)),
                (0u64..3_000).prop_map(Step::Pass),
            ],
            1..200,
        )
    }

    proptest! {
        #[test]
        fn what_is_held_is_counted_and_nothing_is_left_at_the_end(steps in steps()) {
            let mut accounts = Accounts::new(RATES, 3);
            let mut held = BTreeMap::<u8, usize>::new();
            let mut now = START;
            for step in steps {
                match step {
                    Step::Hold(key, more, most) => {
                        let count = held.entry(key).or_default();
                        let fits = accounts.hold(now, key, Held::Catalogs, more, most);
                        prop_assert_eq!(fits, *count + more <= most);
                        *count += if fits { more } else { 0 };
                        prop_assert_eq!(accounts.held(key, Held::Catalogs), *count);
                    }
                    Step::Release(key, less) => {
                        accounts.release(now, key, Held::Catalogs, less);
                        let count = held.entry(key).or_default();
                        *count = count.saturating_sub(less);
                    }
                    Step::Take(key) => {
                        let _ = accounts.take(now, key, Used::Requests);
                    }
                    Step::Owe(key, count) => {
                        accounts.owe(now, key, Used::Bytes, count);
                    }
                    Step::Pass(millis) => {
                        now = now + Duration::from_millis(millis);
                        accounts.handle_timeout(now);
                    }
                }
                let holding = held.values().filter(|count| **count > 0).count();
                prop_assert_eq!(accounts.len(), holding + accounts.idle.len());
                prop_assert!(accounts.idle.len() <= 3);
            }
            for (key, count) in held {
                accounts.release(now, key, Held::Catalogs, count);
            }
            accounts.handle_timeout(now + Duration::from_secs(3_600));
            prop_assert!(accounts.is_empty());
        }
    }
}
