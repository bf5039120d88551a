//! What somebody waits to read: it is asked for first, and in order, with what follows it.

use crate::policy;
use shoal_protocol::{content::CHUNK_SIZE, sorted::SortedSet};

/// Where a content is read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Chunks that are waited for. What a reader no longer waits for is not in here, so that
    /// it jumps with its readers.
    pub(super) at: SortedSet<u32>,
    /// How many chunks after each of these are asked for as well.
    ahead: u32,
    /// What was asked for because of it, and has not come.
    pub(super) asked: SortedSet<u32>,
}

impl Reading {
    /// Looks further ahead the faster the content comes, in bytes a second.
    pub(super) fn follow(&mut self, rate: f64) {
        let ahead = rate * policy::READ_AHEAD.as_secs_f64() / CHUNK_SIZE as f64;
        self.ahead = (ahead as u32).clamp(policy::READ_AHEAD_MIN, policy::READ_AHEAD_MAX);
    }

    /// Chunks in the order in which they are of use, some of them more than once.
    pub(super) fn soon(&self) -> impl Iterator<Item = u32> + '_ {
        let steps = 0..=self.ahead;
        steps.flat_map(|step| self.at.iter().filter_map(move |at| at.checked_add(step)))
    }

    /// Takes out what was asked for and is no longer of use: the reader has jumped. While nobody
    /// waits, the reader may be about to go on.
    pub(super) fn take_stale(&mut self) -> Vec<u32> {
        if self.at.is_empty() {
            return Vec::new();
        }
        let is_stale = |index: &&u32| !self.covers(**index);
        let stale: Vec<u32> = self.asked.iter().filter(is_stale).copied().collect();
        for index in &stale {
            self.asked.remove(index);
        }
        stale
    }

    /// Whether a chunk is waited for, or comes soon after one that is.
    pub(super) fn covers(&self, index: u32) -> bool {
        let mut before = self.at.iter().filter_map(|at| index.checked_sub(*at));
        before.any(|step| step <= self.ahead)
    }
}
