//! Publications on their way: reading the source, hashing, storing, in one pass.
//!
//! Chunks are stored in a slot of their own while the key is not known yet; the record
//! that names the slot comes last, so a publication that is given up leaves no content.

use crate::{
    io::{CallId, Code, Error, Progress, ProgressState, Slot},
    policy,
    rate::Rate,
};
use shoal_protocol::{
    catalog::Metadata,
    content::{CHUNK_SIZE, ContentSize},
    proof::{Proof, Publication, VerifiedChunk},
    sorted::SortedMap,
    time::Timestamp,
};
use std::{collections::VecDeque, ops::Range};

/// Chunks read and stored as one: 4 MiB, since each read waits for the browser to answer
/// (`cargo xtask bench publish`).
const BATCH_CHUNKS: u32 = 16;
/// Batches on their way at a time: one is read while another is stored.
const BATCHES_MAX: usize = 2;

/// Most publications at a time, others wait. Guess: each keeps 12 MiB in memory.
const MAX_PUBLISHING: usize = 4;
/// Most publications that wait for others. Guess: a folder of files.
const MAX_WAITING: usize = 4096;

/// The publications of a node, by the call that asked for each.
#[derive(Default)]
pub(crate) struct Publications {
    under_way: SortedMap<CallId, Publishing>,
    /// Those that wait for others to end.
    waiting: VecDeque<(CallId, Waiting)>,
}

/// What is to be published.
pub(crate) struct Waiting {
    pub(crate) size: u64,
    pub(crate) metadata: Metadata,
    pub(crate) pinned: bool,
}

impl Publications {
    /// Lets a publication wait for its turn.
    pub(crate) fn wait(&mut self, call: CallId, waiting: Waiting) -> Result<(), Error> {
        if self.waiting.len() >= MAX_WAITING {
            let message = "Too many contents wait to be published; wait for some of them.";
            return Err(Error::new(Code::Limit, message));
        }
        self.waiting.push_back((call, waiting));
        Ok(())
    }

    /// The next that waits, if there is room for it.
    pub(crate) fn poll_waiting(&mut self) -> Option<(CallId, Waiting)> {
        if self.under_way.len() >= MAX_PUBLISHING {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Lets one wait no more.
    pub(crate) fn stop_waiting(&mut self, call: CallId) {
        self.waiting.retain(|(waiting, ..)| *waiting != call);
    }

    /// Lets none wait any more; gives those that did.
    pub(crate) fn stop_all_waiting(&mut self) -> Vec<CallId> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(call, ..)| call).collect()
    }

    pub(crate) fn begin(&mut self, call: CallId, publishing: Publishing) {
        self.under_way.insert(call, publishing);
    }

    pub(crate) fn get_mut(&mut self, call: CallId) -> Option<&mut Publishing> {
        self.under_way.get_mut(&call)
    }

    /// Those that have begun.
    pub(crate) fn calls(&self) -> Vec<CallId> {
        self.under_way.keys().copied().collect()
    }

    /// One is done or given up; gives it, if it had begun.
    pub(crate) fn end(&mut self, call: CallId) -> Option<Publishing> {
        self.under_way.remove(&call)
    }
}

/// A publication that has begun.
pub(crate) struct Publishing {
    pub(crate) slot: Slot,
    pub(crate) metadata: Metadata,
    pub(crate) pinned: bool,
    publication: Option<Publication>,
    size: ContentSize,
    next: u32,
    /// One read at a time: of a blob that came over a `MessagePort` Firefox 153 reads one
    /// piece, and leaves others that are asked for meanwhile unanswered for ever.
    is_reading: bool,
    /// Batches being read or stored.
    in_flight: usize,
    stored: u64,
    rate: Rate,
    reported: Option<Timestamp>,
}

impl Publishing {
    pub(crate) fn new(slot: Slot, waiting: Waiting) -> Result<Self, Error> {
        let Waiting {
            size,
            metadata,
            pinned,
        } = waiting;
        let size = ContentSize::try_from(size)
            .map_err(|error| Error::new(Code::Limit, error.to_string()))?;
        metadata
            .check()
            .map_err(|error| Error::new(Code::InvalidArgument, error.to_string()))?;
        Ok(Self {
            slot,
            metadata,
            pinned,
            publication: Some(Publication::new(size)),
            size,
            next: 0,
            is_reading: false,
            in_flight: 0,
            stored: 0,
            rate: Rate::default(),
            reported: None,
        })
    }

    pub(crate) fn size(&self) -> ContentSize {
        self.size
    }

    /// Whether everything is stored, and the record that names the slot is being written.
    pub(crate) fn is_recording(&self) -> bool {
        self.publication.is_none()
    }

    /// The next bytes to read, while there is room for them.
    pub(crate) fn poll_range(&mut self) -> Option<Range<u64>> {
        let chunks = self.size.chunks();
        if self.next >= chunks || self.is_reading || self.in_flight >= BATCHES_MAX {
            return None;
        }
        let last = (self.next + BATCH_CHUNKS).min(chunks) - 1;
        let start = self.size.chunk_range(self.next)?.start;
        let end = self.size.chunk_range(last)?.end;
        self.next = last + 1;
        self.is_reading = true;
        self.in_flight += 1;
        Some(start..end)
    }

    /// Takes the bytes of a range; gives its chunks.
    pub(crate) fn read(
        &mut self,
        range: &Range<u64>,
        bytes: &[u8],
    ) -> Result<Vec<VerifiedChunk>, Error> {
        self.is_reading = false;
        let changed = || {
            Error::new(
                Code::InvalidContent,
                "the file changed or could not be read whole while it was published",
            )
        };
        if bytes.len() as u64 != range.end - range.start {
            return Err(changed());
        }
        let first = (range.start / CHUNK_SIZE as u64) as u32;
        let publication = self.publication.as_mut().ok_or_else(changed)?;
        if bytes.is_empty() {
            return Ok(vec![
                publication.add(first, Vec::new()).map_err(|_| changed())?,
            ]);
        }
        let chunks = (first..).zip(bytes.chunks(CHUNK_SIZE));
        chunks
            .map(|(index, chunk)| {
                publication
                    .add(index, chunk.to_vec())
                    .map_err(|_| changed())
            })
            .collect()
    }

    /// A range is stored; gives the proof once all are.
    pub(crate) fn stored(&mut self, now: Timestamp, range: &Range<u64>) -> Option<Proof> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.stored += range.end - range.start;
        self.rate.add(now, range.end - range.start);
        if self.in_flight > 0 || self.next < self.size.chunks() {
            return None;
        }
        self.publication.take()?.finish()
    }

    /// What is to be told, if it is time or it is `done`.
    pub(crate) fn report(&mut self, now: Timestamp, done: bool) -> Option<Progress> {
        let due = self
            .reported
            .is_none_or(|at| at + policy::PROGRESS_INTERVAL <= now);
        if !due && !done {
            return None;
        }
        self.reported = Some(now);
        Some(self.progress(now))
    }

    fn progress(&self, now: Timestamp) -> Progress {
        let rate = self.rate.get(now);
        let left = self.size.bytes() - self.stored;
        Progress {
            state: if left == 0 {
                ProgressState::Done
            } else {
                ProgressState::Fetching
            },
            reason: None,
            held: self.stored,
            size: Some(self.size.bytes()),
            rate,
            seconds_left: (rate > 0.0 && left > 0).then(|| left as f64 / rate),
            sources: Vec::new(),
        }
    }
}
