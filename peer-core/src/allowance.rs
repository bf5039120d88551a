//! A limit of bytes a second, kept by a bucket of tokens.

use shoal_protocol::time::Timestamp;
use std::time::Duration;

/// What may be taken at once after a pause, in time at the limit.
const BURST: Duration = Duration::from_millis(250);

/// What a limit allows now. Taking is allowed while anything is left, so that what is larger
/// than the bucket passes too; what was taken too much is waited for afterwards.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// Bytes a second; `None`: no limit.
    limit: Option<f64>,
    left: f64,
    refilled: Timestamp,
}

impl Allowance {
    pub(crate) fn new(now: Timestamp, limit: Option<u64>) -> Self {
        let mut allowance = Self {
            limit: None,
            left: 0.0,
            refilled: now,
        };
        allowance.set_limit(now, limit);
        allowance
    }

    /// Changes the limit, in bytes a second, from now on.
    pub(crate) fn set_limit(&mut self, now: Timestamp, limit: Option<u64>) {
        self.limit = limit.map(|limit| limit.max(1) as f64);
        self.left = 1.0;
        self.refilled = now;
    }

    /// Whether anything may be taken now.
    pub(crate) fn is_open(&mut self, now: Timestamp) -> bool {
        let Some(limit) = self.limit else {
            return true;
        };
        let span = now.since(std::mem::replace(&mut self.refilled, now));
        let most = limit * BURST.as_secs_f64();
        self.left = (self.left + limit * span.as_secs_f64()).min(most.max(1.0));
        self.left > 0.0
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        if self.limit.is_some() {
            self.left -= bytes as f64;
        }
    }

    /// When something may be taken again, if nothing may be now.
    pub(crate) fn opens_at(&self) -> Option<Timestamp> {
        let limit = self.limit.filter(|_| self.left <= 0.0)?;
        let wait = Duration::from_secs_f64((1.0 - self.left) / limit);
        Some(self.refilled + wait.max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_follows_the_limit_whatever_its_size() {
        for size in [1_000, 100_000, 1_000_000] {
            let start = Timestamp::from_millis(1_000_000);
            let end = start + Duration::from_secs(20);
            let mut allowance = Allowance::new(start, Some(500_000));
            let (mut now, mut taken) = (start, 0);
            while now < end {
                while allowance.is_open(now) {
                    allowance.take(size);
                    taken += size;
                }
                now = allowance.opens_at().expect("it is closed");
            }
            let least = 10_000_000 - 1_000;
            assert!((least..=11_200_000).contains(&taken), "{size}: {taken}");
        }
    }

    #[test]
    fn without_a_limit_there_is_no_end() {
        let now = Timestamp::from_millis(1_000_000);
        let mut allowance = Allowance::new(now, None);
        allowance.take(usize::MAX);
        assert!(allowance.is_open(now));
        assert_eq!(allowance.opens_at(), None);
    }
}
