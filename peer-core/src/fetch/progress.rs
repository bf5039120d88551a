//! What is told of a fetch, and when.

use super::Fetch;
use crate::{
    io::{Progress, ProgressState},
    policy,
};
use shoal_protocol::{
    bits::Bits,
    content::{CHUNK_SIZE, ContentSize},
    time::Timestamp,
};

impl Fetch {
    /// When something is to be told, if nothing else happens before.
    pub(super) fn report_due(&self) -> Option<Timestamp> {
        self.reported
            .filter(|_| self.changed)
            .map(|at| at + policy::PROGRESS_INTERVAL)
    }

    /// What is to be told now, if it is time and there is something new.
    pub(crate) fn report(&mut self, now: Timestamp) -> Option<Progress> {
        let due = self
            .reported
            .is_none_or(|at| at + policy::PROGRESS_INTERVAL <= now);
        if !self.changed || !due {
            return None;
        }
        self.reported = Some(now);
        // While bytes come the rate changes by itself.
        self.changed = self.rate.get(now) > 0.0;
        Some(self.progress(now))
    }

    /// How far it has come.
    pub(crate) fn progress(&self, now: Timestamp) -> Progress {
        let size = self.chunks.as_ref().map(|chunks| chunks.proof.size());
        let held = self
            .chunks
            .as_ref()
            .map_or(0, |chunks| held_bytes(chunks.proof.size(), &chunks.held));
        let rate = self.rate.get(now);
        let usable = self.sources.values().any(|source| match &self.chunks {
            Some(chunks) => {
                source.in_flight > 0 && !source.is_resting(now)
                    || source
                        .have
                        .as_ref()
                        .is_some_and(|have| chunks.free.common_from(have, 0).next().is_some())
            }
            None => true,
        });
        let busy = self
            .chunks
            .as_ref()
            .is_some_and(|chunks| chunks.in_memory() > 0);
        let chunks_known = self.chunks.is_some();
        let (state, reason) = match self.store_full {
            _ if self.is_complete() => (ProgressState::Done, None),
            _ if self.terms.paused => (ProgressState::Paused, None),
            Some((code, _)) => (ProgressState::Waiting, Some(code)),
            None if self.terms.on_demand && !busy && chunks_known && self.reading.at.is_empty() => {
                (ProgressState::Waiting, None)
            }
            None if usable || busy => (ProgressState::Fetching, None),
            None if !self.searched => (ProgressState::Searching, None),
            None => (ProgressState::Waiting, Some(self.trouble)),
        };
        let left = size.map_or(0, |size| size.bytes() - held);
        let sources = self
            .sources
            .iter()
            .filter(|(_, source)| source.bytes > 0 || source.in_flight > 0);
        Progress {
            state,
            reason,
            held,
            size: size.map(|size| size.bytes()),
            rate,
            seconds_left: (rate > 0.0 && left > 0).then(|| left as f64 / rate),
            sources: sources
                .map(|(&peer, source)| source.progress(now, peer, size))
                .collect(),
        }
    }
}

/// Bytes of the chunks in a set.
pub(crate) fn held_bytes(size: ContentSize, held: &Bits) -> u64 {
    let last = size.chunks() - 1;
    let full = u64::from(held.count()) * CHUNK_SIZE as u64;
    if !held.contains(last) {
        return full;
    }
    let last_len = size.chunk_len(last).unwrap_or_default() as u64;
    full + last_len - CHUNK_SIZE as u64
}
