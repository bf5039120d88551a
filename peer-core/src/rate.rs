//! Measuring rates over the last seconds.

use shoal_protocol::time::Timestamp;
use std::time::Duration;

/// Length of a bucket.
const BUCKET: Duration = Duration::from_millis(250);
/// Buckets kept: the rate is that of the last two seconds.
const BUCKETS: u64 = 8;

/// Bytes a second over the last two seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    buckets: [u64; BUCKETS as usize],
    /// Number of the newest bucket since the epoch.
    newest: u64,
    started: Option<Timestamp>,
}

impl Rate {
    fn number(now: Timestamp) -> u64 {
        now.as_micros() / BUCKET.as_micros() as u64
    }

    fn advance(&mut self, now: Timestamp) {
        let number = Self::number(now);
        let skipped = number.saturating_sub(self.newest).min(BUCKETS);
        for step in 0..skipped {
            self.buckets[((number - step) % BUCKETS) as usize] = 0;
        }
        self.newest = self.newest.max(number);
    }

    /// Counts bytes.
    pub(crate) fn add(&mut self, now: Timestamp, bytes: u64) {
        self.advance(now);
        self.started.get_or_insert(now);
        self.buckets[(self.newest % BUCKETS) as usize] += bytes;
    }

    /// Bytes a second.
    pub(crate) fn get(&self, now: Timestamp) -> f64 {
        let Some(started) = self.started else {
            return 0.0;
        };
        let mut current = self.clone();
        current.advance(now);
        let span = now.since(started).clamp(BUCKET, BUCKET * BUCKETS as u32);
        current.buckets.iter().sum::<u64>() as f64 / span.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_and_silence_none() {
        let mut rate = Rate::default();
        let start = Timestamp::from_millis(1_000_000);
        for step in 0..100 {
            rate.add(start + Duration::from_millis(step * 50), 5_000);
        }
        let end = start + Duration::from_millis(99 * 50);
        assert!(
            (90_000.0..=110_000.0).contains(&rate.get(end)),
            "{}",
            rate.get(end)
        );
        assert_eq!(rate.get(end + Duration::from_secs(3)), 0.0);
    }
}
