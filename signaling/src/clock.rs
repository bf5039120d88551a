//! The one place where the server asks what time it is.
//!
//! Spans are those of a clock that never runs backwards; whether a signed statement is good at this
//! time is asked of the wall clock as it is now, which may have been wrong when the server
//! started, and goes on while the machine sleeps.

use shoal_protocol::time::Timestamp;
use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A clock that never runs backwards: a monotonic one, set once by the wall clock. Beside it the
/// wall clock.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    at: Timestamp,
    /// Microseconds that were skipped.
    skipped: AtomicU64,
    /// By how many milliseconds the wall clock is wrong.
    wrong: AtomicI64,
}

impl Clock {
    /// Begins with what the wall clock shows.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            at: unix(),
            skipped: AtomicU64::new(0),
            wrong: AtomicI64::new(0),
        }
    }

    /// What the wall clock shows.
    pub fn wall(&self) -> Timestamp {
        let micros = self.wrong.load(Relaxed).saturating_mul(1000);
        Timestamp::from_micros(unix().as_micros().saturating_add_signed(micros))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        let skipped = Duration::from_micros(self.skipped.load(Relaxed));
        self.at + self.started.elapsed() + skipped
    }

    /// How long it is until `at`; zero if that is past.
    pub fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }

    /// Skips some time: so tests need not wait for what takes minutes.
    pub fn skip(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.skipped.fetch_add(micros, Relaxed);
    }

    /// Sets the wall clock so many milliseconds ahead of the right time, or behind it: so tests
    /// need not set that of the machine.
    pub fn set_wrong(&self, millis: i64) {
        self.wrong.store(millis, Relaxed);
    }
}

fn unix() -> Timestamp {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::default() + unix.unwrap_or_default()
}
