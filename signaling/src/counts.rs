//! What the registry has done since the server started, for whoever watches it.

use shoal_protocol::rendezvous::{ErrorCode, ReceiptStatus};
use std::{collections::BTreeMap, time::Duration};

/// Upper ends of the classes of [`Histogram`], in seconds: from what a relay takes on an idle
/// machine to what a peer that was away lets it wait.
pub const CLASSES: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.25, 1.0, 10.0,
];

/// Bounds of which it is not counted how often they are reached: what a rate has beside its average,
/// what says when something is done or how much is told, and what is reached as the server ends.
const UNCOUNTED: [&str; 16] = [
    "ipv6-prefix",
    "address-joins-burst",
    "address-signals-burst",
    "address-bytes-burst",
    "address-requests-burst",
    "peer-joins-burst",
    "peer-signals-burst",
    "peer-bytes-burst",
    "heartbeat-seconds",
    "lease-seconds",
    "drain-seconds",
    "shutdown-timeout-seconds",
    "retry-after-seconds",
    "returns-per-second",
    "view-refresh",
    "providers",
];

/// Whether it is counted how often the bound with this key is reached.
pub fn can_be_reached(key: &str) -> bool {
    !UNCOUNTED.contains(&key)
}

/// Spans of time, by how long they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many were at most as long as the class of [`CLASSES`] at this place, and longer
    /// than the one before; the last: longer than all.
    pub classes: [u64; CLASSES.len() + 1],
    /// All together, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// One more.
    pub fn observe(&mut self, span: Duration) {
        let seconds = span.as_secs_f64();
        let at = CLASSES.partition_point(|end| *end < seconds);
        if let Some(class) = self.classes.get_mut(at) {
            *class += 1;
        }
        self.sum += seconds;
    }
}

/// Counters. They only rise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Peers that joined without going on.
    pub joins: u64,
    /// Peers that went on with a session.
    pub resumes: u64,
    /// From a signal's coming until the socket of its receiver is to send it.
    pub relay: Histogram,
    refusals: [u64; ErrorCode::ALL.len()],
    receipts: [u64; ReceiptStatus::ALL.len()],
    reached: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// An `error` was answered.
    pub fn refused(&mut self, code: ErrorCode) {
        if let Some(count) = self.refusals.get_mut(code as usize) {
            *count += 1;
        }
    }

    /// A receipt was made out.
    pub fn receipt(&mut self, status: ReceiptStatus) {
        if let Some(count) = self.receipts.get_mut(status as usize) {
            *count += 1;
        }
    }

    /// The bound that is set by this key was reached.
    pub fn reached(&mut self, key: &'static str) {
        debug_assert!(can_be_reached(key), "{key}");
        *self.reached.entry(key).or_default() += 1;
    }

    /// So many receipts were forgotten, since a peer has too many.
    pub fn forgot_receipts(&mut self, count: usize) {
        (0..count).for_each(|_| self.reached("receipts"));
    }

    /// The bound that is set by this key was reached so often in all.
    pub fn set_reached(&mut self, key: &'static str, times: u64) {
        self.reached.insert(key, times);
    }

    /// Answers by code.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let codes = ErrorCode::ALL.iter().map(|code| code.as_str());
        codes.zip(self.refusals)
    }

    /// Receipts by status.
    pub fn receipts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let statuses = ReceiptStatus::ALL.iter().map(|status| status.as_str());
        statuses.zip(self.receipts)
    }

    /// How often a bound was reached.
    pub fn times_reached(&self, key: &str) -> u64 {
        self.reached.get(key).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;
    use std::{fs, path::Path};

    /// Where keys are named for other reasons.
    const ELSEWHERE: [&str; 4] = ["limits.rs", "settings", "tests", "tests.rs"];

    /// All that is written in a folder.
    fn sources(folder: &Path) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if ELSEWHERE.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            all += &match path.is_dir() {
                true => sources(&path),
                false => fs::read_to_string(&path).unwrap(),
            };
        }
        all
    }

    #[test]
    fn what_has_a_count_is_counted_somewhere() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        let sources = sources(folder);
        for limit in LIMITS {
            let named = sources.contains(&format!("\"{}\"", limit.key));
            assert!(named, "{} is neither counted nor said not to be", limit.key);
        }
        for key in UNCOUNTED {
            assert!(LIMITS.iter().any(|limit| limit.key == key), "{key}");
        }
    }

    #[test]
    fn a_span_is_in_the_class_that_it_does_not_exceed() {
        let mut histogram = Histogram::default();
        for micros in [0, 100, 101, 1_000, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        assert_eq!(histogram.classes[..4], [2, 1, 0, 1]);
        assert_eq!(histogram.classes[CLASSES.len()], 1);
        assert_eq!(histogram.classes.iter().sum::<u64>(), 5);
        assert!((histogram.sum - 60.001_201).abs() < 1e-9);
    }

    #[test]
    fn every_code_has_a_count_of_its_own() {
        let mut counts = Counts::default();
        for (times, code) in (1..).zip(ErrorCode::ALL) {
            (0..times).for_each(|_| counts.refused(*code));
        }
        let all: Vec<u64> = counts.refusals().map(|(_, count)| count).collect();
        assert_eq!(all, (1..=ErrorCode::ALL.len() as u64).collect::<Vec<_>>());
        counts.receipt(ReceiptStatus::Refused);
        assert!(counts.receipts().any(|count| count == ("refused", 1)));
    }
}
