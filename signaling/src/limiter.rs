//! Token buckets: how much of something may be done at once, and on average.
//!
//! Kept as one moment each, when the bucket will be full again, which says the same as a
//! level and the time of its last change: the generic cell rate algorithm in its virtual
//! scheduling form (ITU-T I.371, annex A). Pure: time comes in.

use shoal_protocol::time::Timestamp;
use std::time::Duration;

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_second: f64,
    burst: u32,
}

impl Rate {
    /// So many a second, of which so many may come at once.
    pub const fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst }
    }

    /// How long it takes for `count` to flow back.
    fn span(self, count: u32) -> Duration {
        let seconds = f64::from(count) / self.per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
    }
}

/// A bucket, full at first. Its [`Rate`] is handed in, since many share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: Timestamp,
}

impl Bucket {
    /// Takes `count`, or says how long to wait for them. What is refused costs nothing.
    pub fn take(&mut self, now: Timestamp, rate: Rate, count: u32) -> Result<(), Duration> {
        let mut bucket = *self;
        match bucket.owe(now, rate, count) {
            Duration::ZERO => {
                *self = bucket;
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes `count` in any case, and says how long it takes until nothing is owed. No more
    /// is owed than the bucket holds; that bounds the wait, also when a clock jumps back.
    pub fn owe(&mut self, now: Timestamp, rate: Rate, count: u32) -> Duration {
        let burst = rate.span(rate.burst);
        let full_at = self.full_at.max(now) + rate.span(count);
        self.full_at = full_at.min(now + burst * 2);
        self.full_at.since(now).saturating_sub(burst)
    }

    /// When it is full again.
    pub fn full_at(&self) -> Timestamp {
        self.full_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn rates() -> impl Strategy<Value = Rate> {
        (1u32..10_000, 1u32..1_000)
            .prop_map(|(tenths, burst)| Rate::new(f64::from(tenths) / 10.0, burst))
    }

    #[test]
    fn a_burst_at_once_then_the_rate() {
        let rate = Rate::new(2.0, 3);
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.take(START, rate, 1), Ok(()));
        }
        let half = Duration::from_millis(500);
        assert_eq!(bucket.take(START, rate, 1), Err(half));
        assert_eq!(bucket.take(START + half, rate, 1), Ok(()));
        assert_eq!(bucket.full_at(), START + half * 4);
    }

    #[test]
    fn debts_are_paid_by_waiting() {
        let rate = Rate::new(100.0, 100);
        let mut bucket = Bucket::default();
        assert_eq!(bucket.owe(START, rate, 100), Duration::ZERO);
        assert_eq!(bucket.owe(START, rate, 50), Duration::from_millis(500));
        assert_eq!(
            bucket.owe(START, rate, 1_000),
            Duration::from_secs(1),
            "the most"
        );
        assert_eq!(
            bucket.owe(START + Duration::from_secs(1), rate, 0),
            Duration::ZERO
        );
    }

    proptest! {
        /// Over any span no more is let through than the burst and what flows back in it.
        #[test]
        fn no_window_lets_more_through(
            rate in rates(),
            steps in prop::collection::vec((0u64..2_000_000, 1u32..20), 1..200),
        ) {
            let mut bucket = Bucket::default();
            let mut now = START;
            let mut taken: Vec<(Timestamp, u32)> = Vec::new();
            for (pause, count) in steps {
                now = now + Duration::from_micros(pause);
                let before = bucket;
                match bucket.take(now, rate, count) {
                    Ok(()) => taken.push((now, count)),
                    Err(wait) => {
                        prop_assert_eq!(bucket, before);
                        if count <= rate.burst {
                            // Who waits as long as it is told is let through.
                            let mut later = bucket;
                            let then = now + wait + Duration::from_micros(1);
                            prop_assert_eq!(later.take(then, rate, count), Ok(()));
                        }
                    }
                }
            }
            for (at, (first, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (time, count) in &taken[at..] {
                    sum += count;
                    let flowed = rate.per_second * time.since(*first).as_secs_f64();
                    // Moments are whole microseconds.
                    let most = f64::from(rate.burst) + flowed + rate.per_second * 1e-4 + 1e-6;
                    prop_assert!(f64::from(sum) <= most, "{sum} of {most}");
                }
            }
        }

        /// A bucket that is full again is like a new one.
        #[test]
        fn what_is_full_has_forgotten(rate in rates(), counts in prop::collection::vec(1u32..50, 1..50)) {
            let mut bucket = Bucket::default();
            for count in counts {
                bucket.owe(START, rate, count);
            }
            let (mut new, full) = (Bucket::default(), bucket.full_at());
            for count in [1, rate.burst] {
                prop_assert_eq!(bucket.take(full, rate, count), new.take(full, rate, count));
                prop_assert_eq!(bucket, new);
            }
        }

        /// Whatever the clock does, nobody waits for longer than a bucket takes to fill.
        #[test]
        fn clocks_may_jump(
            rate in rates(),
            steps in prop::collection::vec((any::<u64>(), 1u32..2_000), 1..50),
        ) {
            let mut bucket = Bucket::default();
            for (micros, count) in steps {
                let now = Timestamp::from_micros(micros);
                let most = rate.span(rate.burst);
                prop_assert!(bucket.owe(now, rate, count) <= most);
                let _ = bucket.take(now, rate, count);
                prop_assert!(bucket.full_at() <= now + most * 2);
            }
        }
    }
}
