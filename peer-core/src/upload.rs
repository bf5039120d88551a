//! Serving chunks: what others asked for, in which order it is read and sent.
//!
//! Chunks are read from the store a little ahead and cut into frames only when the channel
//! can take one, so what was cancelled is not sent. Fairness: each link has its own queue and
//! its own share of the upload limit.

use shoal_protocol::{
    bulk::{BulkHeader, BulkKind, MAX_PAYLOAD},
    content::ContentKey,
    id::LinkId,
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Most answers waiting on one link; more are refused as `busy`. Guess: 64 MiB of chunks.
const MAX_QUEUE: usize = 256;
/// Answers read from the store before the channel asks for them, per link.
const READ_AHEAD: usize = 3;
/// How much of its share a link may send at once after a pause.
const BURST: Duration = Duration::from_millis(250);

/// What is asked of a link: one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) request: u32,
    pub(crate) key: ContentKey,
    pub(crate) part: Part,
}

/// The part of a content an answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Chunk(u32),
    Proof,
}

#[derive(Debug)]
struct Answer {
    wanted: Wanted,
    /// `None` until it is read.
    bytes: Option<Arc<Vec<u8>>>,
    reading: bool,
    sent: usize,
}

#[derive(Debug, Default)]
struct Queue {
    answers: VecDeque<Answer>,
    /// Bytes this link may send now, under a limit; negative after a frame that was larger.
    tokens: f64,
}

/// All uploads of a node.
pub(crate) struct Uploads {
    queues: BTreeMap<LinkId, Queue>,
    /// Bytes a second for all links together.
    limit: Option<u64>,
    refilled: Timestamp,
}

impl Uploads {
    pub(crate) fn new(now: Timestamp, limit: Option<u64>) -> Self {
        Self {
            queues: BTreeMap::new(),
            limit: limit.map(|limit| limit.max(1)),
            refilled: now,
        }
    }

    /// Queues an answer; false if too many are waiting.
    pub(crate) fn push(&mut self, link: LinkId, wanted: Wanted) -> bool {
        let queue = self.queues.entry(link).or_default();
        if queue.answers.len() >= MAX_QUEUE {
            return false;
        }
        queue.answers.push_back(Answer {
            wanted,
            bytes: None,
            reading: false,
            sent: 0,
        });
        true
    }

    /// The next answer to read from the store, if there is one.
    pub(crate) fn poll_read(&mut self) -> Option<(LinkId, Wanted)> {
        self.queues.iter_mut().find_map(|(link, queue)| {
            let answer = queue
                .answers
                .iter_mut()
                .take(READ_AHEAD)
                .find(|answer| !answer.reading)?;
            answer.reading = true;
            Some((*link, answer.wanted))
        })
    }

    /// An answer has been read, or cannot be (`None`).
    pub(crate) fn read(&mut self, link: LinkId, wanted: Wanted, bytes: Option<Arc<Vec<u8>>>) {
        let Some(queue) = self.queues.get_mut(&link) else {
            return;
        };
        let Some(at) = queue
            .answers
            .iter()
            .position(|answer| answer.wanted == wanted)
        else {
            return;
        };
        match bytes {
            Some(bytes) => queue.answers[at].bytes = Some(bytes),
            None => {
                queue.answers.remove(at);
            }
        }
    }

    /// Drops answers that are no longer wanted.
    pub(crate) fn cancel(&mut self, link: LinkId, request: u32, chunks: &[u32]) {
        if let Some(queue) = self.queues.get_mut(&link) {
            queue.answers.retain(|answer| {
                let named = match answer.wanted.part {
                    Part::Chunk(index) => chunks.is_empty() || chunks.contains(&index),
                    Part::Proof => chunks.is_empty(),
                };
                answer.wanted.request != request || !named
            });
        }
    }

    /// Drops all answers about a content that is no longer held.
    pub(crate) fn forget(&mut self, key: ContentKey) {
        for queue in self.queues.values_mut() {
            queue.answers.retain(|answer| answer.wanted.key != key);
        }
    }

    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.queues.remove(&link);
    }

    /// The next bulk frame of a link, if one is ready and the limit allows it.
    pub(crate) fn poll_frame(&mut self, now: Timestamp, link: LinkId) -> Option<Vec<u8>> {
        self.refill(now);
        let limited = self.limit.is_some();
        let queue = self.queues.get_mut(&link)?;
        // Whatever is read goes first, so that one slow read does not hold up the rest.
        let at = queue
            .answers
            .iter()
            .position(|answer| answer.bytes.is_some())?;
        if limited && queue.tokens <= 0.0 {
            return None;
        }
        let answer = queue.answers.get_mut(at)?;
        let bytes = answer.bytes.clone()?;
        let end = (answer.sent + MAX_PAYLOAD).min(bytes.len());
        let (kind, index) = match answer.wanted.part {
            Part::Chunk(index) => (BulkKind::Chunk, index),
            Part::Proof => (BulkKind::Proof, bytes.len() as u32),
        };
        let header = BulkHeader {
            kind,
            request: answer.wanted.request,
            index,
            offset: answer.sent as u32,
        };
        let frame = header.encode(&bytes[answer.sent..end]);
        answer.sent = end;
        if end == bytes.len() {
            queue.answers.remove(at);
        }
        if limited {
            queue.tokens -= frame.len() as f64;
        }
        Some(frame)
    }

    /// Shares what the limit allowed since the last time among the links with work.
    fn refill(&mut self, now: Timestamp) {
        let Some(limit) = self.limit else { return };
        let since = now
            .since(std::mem::replace(&mut self.refilled, now))
            .as_secs_f64();
        let active = self
            .queues
            .values()
            .filter(|queue| !queue.answers.is_empty())
            .count()
            .max(1);
        let share = limit as f64 / active as f64;
        let burst = (share * BURST.as_secs_f64()).max(MAX_PAYLOAD as f64);
        for queue in self
            .queues
            .values_mut()
            .filter(|queue| !queue.answers.is_empty())
        {
            queue.tokens = (queue.tokens + share * since).min(burst);
        }
    }

    /// When a link that the limit holds back may go on.
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let limit = self.limit?;
        let ready = |queue: &&Queue| queue.answers.iter().any(|answer| answer.bytes.is_some());
        let active = self
            .queues
            .values()
            .filter(|queue| !queue.answers.is_empty())
            .count()
            .max(1);
        let share = limit as f64 / active as f64;
        let missing = self
            .queues
            .values()
            .filter(ready)
            .map(|queue| (1.0 - queue.tokens).max(0.0));
        let least = missing.fold(f64::INFINITY, f64::min);
        least
            .is_finite()
            .then(|| self.refilled + Duration::from_secs_f64((least / share).max(0.001)))
    }
}
