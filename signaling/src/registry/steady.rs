//! Time that stands still when the clock it comes from is set back.
//!
//! Leases, heartbeats and limits are spans of time. Were a clock set back by a day, none of them
//! would end for a day.

use shoal_protocol::time::Timestamp;
use std::time::Duration;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Steady {
    latest: Timestamp,
    /// By how much the clock was set back in all.
    set_back: Duration,
}

impl Steady {
    /// The clock shows `now`: what time it is, which is never less than before.
    pub fn at(&mut self, now: Timestamp) -> Timestamp {
        let time = now + self.set_back;
        self.set_back += self.latest.since(time);
        self.latest = self.latest.max(time);
        self.latest
    }

    /// What the clock shows at a time.
    pub fn shown(&self, time: Timestamp) -> Timestamp {
        let start = Timestamp::default();
        start + time.since(start + self.set_back)
    }
}
