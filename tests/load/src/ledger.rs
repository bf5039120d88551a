//! Every signal that was sent and what became of it.

use crate::system::Heard;
use serde_json::{Value, json};
use shoal_protocol::rendezvous::ReceiptStatus;
use std::time::Duration;
use tokio::time::Instant;

/// One signal.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When it was to be sent: what waits in this program counts too (open loop).
    due: Option<Instant>,
    received_at: Option<Instant>,
    received: u32,
    receipt: Option<ReceiptStatus>,
}

/// The signals of a run; their numbers go from 0.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    /// How many entries have come or have a receipt that says why not.
    settled: usize,
    /// Messages that named a signal which was never sent.
    unknown: usize,
    /// How many entries have a receipt.
    confirmed: usize,
    /// Messages heard that were not about signals, and their bytes.
    heard: usize,
    heard_bytes: usize,
}

/// How many signals there were, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Sent.
    pub sent: usize,
    /// Received at least once.
    pub received: usize,
    /// Received more than once.
    pub repeated: usize,
    /// With the receipt `delivered`.
    pub delivered: usize,
    /// With a receipt that says that it was not passed on.
    pub returned: usize,
    /// With the receipt `delivered`, but never received: there must be none.
    pub lied: usize,
    /// Neither received nor returned.
    pub lost: usize,
    /// Named by a message, but never sent: there must be none.
    pub unknown: usize,
}

impl Ledger {
    /// There is to be another signal; returns its number.
    pub fn enter(&mut self) -> u32 {
        self.entries.push(Entry {
            due: None,
            received_at: None,
            received: 0,
            receipt: None,
        });
        (self.entries.len() - 1) as u32
    }

    /// The signal is sent; it was to be at this time.
    pub fn send(&mut self, number: u32, due: Instant) {
        if let Some(entry) = self.entries.get_mut(number as usize) {
            entry.due = Some(due);
        }
    }

    /// Number of signals entered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether all have come or were returned.
    pub fn is_settled(&self) -> bool {
        self.settled == self.entries.len()
    }

    /// Whether there is a receipt for each.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed == self.entries.len()
    }

    /// A message of so many bytes came.
    pub fn note(&mut self, heard: &Heard, bytes: usize) {
        let receipts = match heard {
            Heard::Signal(number, receipts) => {
                self.change((*number).into(), |entry| {
                    entry.received += 1;
                    entry.received_at.get_or_insert_with(Instant::now);
                });
                receipts
            }
            Heard::Receipts(receipts) => receipts,
            _ => {
                self.heard += 1;
                self.heard_bytes += bytes;
                return;
            }
        };
        for receipt in receipts {
            self.change(receipt.id, |entry| entry.receipt = Some(receipt.status));
        }
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Entry)) {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(entry) = self.entries.get_mut(at) else {
            self.unknown += 1;
            return;
        };
        let before = *entry;
        change(entry);
        self.settled += usize::from(!before.is_settled() && entry.is_settled());
        self.confirmed += usize::from(before.receipt.is_none() && entry.receipt.is_some());
    }

    /// Messages heard so far that were not about signals, and their bytes.
    pub fn heard(&self) -> (usize, usize) {
        (self.heard, self.heard_bytes)
    }

    /// What became of the signals from `first` on.
    pub fn count(&self, first: usize) -> Count {
        let mut count = Count {
            unknown: self.unknown,
            ..Count::default()
        };
        for entry in &self.entries[first..] {
            let delivered = entry.receipt == Some(ReceiptStatus::Delivered);
            let received = entry.received > 0;
            count.sent += 1;
            count.received += usize::from(received);
            count.repeated += usize::from(entry.received > 1);
            count.delivered += usize::from(delivered);
            count.returned += usize::from(entry.receipt.is_some() && !delivered);
            count.lied += usize::from(delivered && !received);
            count.lost += usize::from(!entry.is_settled());
        }
        count
    }

    /// Times from when a signal was to be sent until it was received, of those from `first` on
    /// that were, the shortest first.
    pub fn delays(&self, first: usize) -> Vec<Duration> {
        let delay = |entry: &Entry| Some(entry.received_at?.saturating_duration_since(entry.due?));
        let mut delays: Vec<Duration> = self.entries[first..].iter().filter_map(delay).collect();
        delays.sort_unstable();
        delays
    }
}

impl Entry {
    fn is_settled(&self) -> bool {
        self.received > 0
            || self
                .receipt
                .is_some_and(|status| status != ReceiptStatus::Delivered)
    }
}

impl Count {
    /// For the report.
    pub fn to_json(self) -> Value {
        json!({
            "sent": self.sent, "received": self.received, "repeated": self.repeated,
            "delivered": self.delivered, "returned": self.returned, "lied": self.lied,
            "lost": self.lost, "unknown": self.unknown,
        })
    }
}

/// The value that this share of the sorted values do not exceed, in ms; the nearest rank.
pub fn percentile_millis(sorted: &[Duration], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let value = sorted.get(rank.saturating_sub(1))?;
    Some(value.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::rendezvous::Receipt;

    #[test]
    fn every_signal_is_accounted_for() {
        let mut ledger = Ledger::default();
        let due = Instant::now();
        for number in 0..5 {
            assert_eq!(ledger.enter(), number);
            ledger.send(number, due);
        }
        let receipt = |id, status| Receipt { id, status };
        let [delivered, full] = [ReceiptStatus::Delivered, ReceiptStatus::Full];
        for heard in [
            Heard::Signal(0, Vec::new()),
            Heard::Signal(1, vec![receipt(0, delivered)]),
            Heard::Signal(1, Vec::new()),
            Heard::Receipts(vec![receipt(2, full), receipt(3, delivered)]),
            Heard::Signal(99, Vec::new()),
            Heard::Other,
        ] {
            ledger.note(&heard, 10);
        }
        assert!(!ledger.is_settled());
        assert_eq!(
            ledger.count(0),
            Count {
                sent: 5,
                received: 2,
                repeated: 1,
                delivered: 2,
                returned: 1,
                lied: 1,
                lost: 2,
                unknown: 1
            }
        );
        assert_eq!(ledger.delays(0).len(), 2);
        assert_eq!(ledger.heard(), (1, 10));
        ledger.note(&Heard::Signal(3, Vec::new()), 0);
        ledger.note(&Heard::Signal(4, Vec::new()), 0);
        assert!(ledger.is_settled() && !ledger.is_confirmed());
        let last = [1, 4].map(|id| receipt(id, delivered));
        ledger.note(&Heard::Receipts(last.into()), 0);
        assert!(ledger.is_confirmed());
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile_millis(&values, 0.5), Some(100.0));
        assert_eq!(percentile_millis(&values, 0.99), Some(198.0));
        assert_eq!(percentile_millis(&values[..1], 0.99), Some(1.0));
        assert_eq!(percentile_millis(&[], 0.5), None);
    }
}
