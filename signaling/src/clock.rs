//! The one place where the server asks what time it is.

use shoal_protocol::time::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that never runs backwards: a monotonic one, set once by the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    at: Timestamp,
}

impl Clock {
    /// Reads the wall clock, for the last time.
    pub fn start() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: Instant::now(),
            at: Timestamp::default() + unix,
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.at + self.started.elapsed()
    }

    /// How long it is until `at`; zero if that is past.
    pub fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}
