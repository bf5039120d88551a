//! Points in time and spans, as plain data that is handed in.
//!
//! `std::time::Instant` panics on wasm and cannot be simulated, so the project
//! has its own. There is one clock for timeouts and for the expiry of signed
//! statements: microseconds since the Unix epoch that never run backwards. A
//! driver makes it from a monotonic clock anchored once to the wall clock.

use core::{ops::Add, time::Duration};
use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch, never decreasing within one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Makes a timestamp from microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Makes a timestamp from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The same moment in the unit of signed statements.
    pub const fn unix_millis(self) -> UnixMillis {
        UnixMillis(self.0 / 1_000)
    }

    /// Time from `earlier` to this moment; zero if `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Duration) -> Timestamp {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_add(micros))
    }
}

/// Milliseconds since the Unix epoch: how signed statements state time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash,
)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This moment plus a span.
    pub fn plus(self, span: Duration) -> UnixMillis {
        UnixMillis(
            self.0
                .saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}
