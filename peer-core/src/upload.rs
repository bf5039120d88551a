//! Serving chunks: what others asked for, in which order it is read and sent.
//!
//! Chunks are read from the store a little ahead and cut into frames only when the channel
//! can take one, so what was cancelled is not sent. Fairness: links take turns, chunk by
//! chunk, and have equal shares of the upload limit.
//!
//! Few links are served at a time. Where this peer's own line is what limits, a chunk sent to
//! one link at a time is whole, and can be passed on, long before one that is sent to all of
//! them at once. Of the chunks a link asked for the one that was sent least goes first, so
//! that a lone publisher gives each out once before any twice (super-seeding); before all of
//! them go those that somebody at the link's other end waits to read. A proof of one
//! frame waits for nothing: nobody can ask for chunks without it.

use crate::{
    io::Limits,
    policy,
    rate::Rate,
    water::{self, Water},
};
use shoal_protocol::{
    bulk::{BulkHeader, BulkKind, MAX_PAYLOAD},
    content::ContentKey,
    id::LinkId,
    sorted::SortedMap,
    time::Timestamp,
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// Most answers waiting on one link; more are refused as `busy`. Guess: 64 MiB of chunks.
const MAX_QUEUE: usize = 256;
/// Answers read from the store before the channel asks for them, over all links; at least
/// one for each link. Guess: covers the store's latency at 50 MB/s.
const READ_AHEAD: usize = 4;
/// And besides these for each link, of what goes first.
const READ_FIRST: usize = 4;
/// Contents of which it is counted how often each chunk was sent. Guess.
const MAX_COUNTED: usize = 32;
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
    /// Whether it goes before the others of its link, since somebody waits to read it.
    first: bool,
    /// `None` until it is read.
    bytes: Option<Arc<Vec<u8>>>,
    reading: bool,
    /// Nobody waits for it any more; it goes when it is read, so that what is being read
    /// stays bounded.
    cancelled: bool,
    /// The lane it goes over once it has begun (what goes first takes any, and this is the last),
    /// and how much of it went.
    lane: Option<LinkId>,
    sent: usize,
}

impl Answer {
    /// Whether somebody waits to read it, and it is not being read.
    fn is_awaited(&self) -> bool {
        self.first && !self.reading
    }

    /// Whether it is a proof of one frame, and read.
    fn is_small_proof(&self) -> bool {
        let fits = |bytes: &Arc<Vec<u8>>| bytes.len() <= MAX_PAYLOAD;
        self.wanted.part == Part::Proof && self.bytes.as_ref().is_some_and(fits)
    }
}

/// A link's own bulk channel, or that of one of its lanes.
#[derive(Debug)]
struct Lane {
    id: LinkId,
    water: Water,
    /// How little waits in it when it is to ask for more, and another link may be served.
    low: usize,
    /// When it last took a frame.
    took: Timestamp,
}

impl Lane {
    fn new(id: LinkId) -> Self {
        Self {
            id,
            low: water::low(Water::default().rate),
            water: Water::default(),
            took: Timestamp::default(),
        }
    }
}

#[derive(Debug)]
struct Queue {
    answers: VecDeque<Answer>,
    /// Bytes this link may send now, under a limit; negative after a frame that was larger.
    tokens: f64,
    /// The link itself and what lanes it has.
    lanes: Vec<Lane>,
    /// Number and time of the last turn it had.
    turn: u64,
    turned: Timestamp,
}

impl Queue {
    fn new(link: LinkId) -> Self {
        Self {
            answers: VecDeque::new(),
            tokens: 0.0,
            lanes: vec![Lane::new(link)],
            turn: 0,
            turned: Timestamp::default(),
        }
    }

    fn is_ready(&self) -> bool {
        self.answers.iter().any(|answer| answer.bytes.is_some())
    }

    /// Whether something is to be sent, and has not gone for seconds.
    fn is_stalled(&self, now: Timestamp) -> bool {
        let takes = |lane: &Lane| now.since(lane.took) < policy::TAKES_NOTHING;
        self.is_busy() && !self.lanes.iter().any(takes)
    }

    /// Whether an answer is being sent, or has not yet left its channel.
    fn is_busy(&self) -> bool {
        let waits = |lane: &Lane| lane.water.level > lane.low;
        self.lanes.iter().any(waits) || self.answers.iter().any(|answer| answer.lane.is_some())
    }
}

/// All uploads of a node.
pub(crate) struct Uploads {
    queues: SortedMap<LinkId, Queue>,
    /// The link of each lane.
    lanes: SortedMap<LinkId, LinkId>,
    /// Bytes a second for all links together.
    limit: Option<u64>,
    /// Most links that are served at a time.
    slots: Option<usize>,
    refilled: Timestamp,
    rate: Rate,
    turns: u64,
    /// The links that may begin with an answer, as found at some time; `None` once something
    /// has changed.
    starters: Option<(Timestamp, Vec<LinkId>)>,
    finished: VecDeque<(LinkId, ContentKey, u32)>,
    /// How often each chunk was read to be sent, while anybody asks for its content.
    sent: SortedMap<ContentKey, SortedMap<u32, u32>>,
}

impl Uploads {
    pub(crate) fn new(now: Timestamp, limits: Limits) -> Self {
        let mut uploads = Self {
            queues: SortedMap::new(),
            lanes: SortedMap::new(),
            limit: None,
            slots: None,
            refilled: now,
            rate: Rate::default(),
            turns: 0,
            starters: None,
            finished: VecDeque::new(),
            sent: SortedMap::new(),
        };
        uploads.set_limits(now, limits);
        uploads
    }

    pub(crate) fn set_limits(&mut self, now: Timestamp, limits: Limits) {
        self.starters = None;
        self.refill(now);
        self.limit = limits.upload.map(|limit| limit.max(1));
        self.slots = limits.upload_slots.map(|slots| slots.max(1) as usize);
    }

    /// A link has a further lane.
    pub(crate) fn lane_up(&mut self, link: LinkId, lane: LinkId) {
        self.starters = None;
        self.lanes.insert(lane, link);
        let queue = self.queues.entry(link).or_insert_with(|| Queue::new(link));
        queue.lanes.push(Lane::new(lane));
    }

    /// The link a lane belongs to; a link is its own first lane.
    fn link_of(&self, lane: LinkId) -> LinkId {
        self.lanes.get(&lane).copied().unwrap_or(lane)
    }

    fn lane(&self, lane: LinkId) -> Option<&Lane> {
        let queue = self.queues.get(&self.link_of(lane))?;
        queue.lanes.iter().find(|each| each.id == lane)
    }

    /// What the channel of a link or lane has taken and not yet sent, in bytes.
    pub(crate) fn set_buffered(&mut self, now: Timestamp, lane: LinkId, bytes: usize) {
        self.starters = None;
        let link = self.link_of(lane);
        let lanes = self.queues.get_mut(&link).map(|queue| &mut queue.lanes);
        if let Some(lane) = lanes.into_iter().flatten().find(|each| each.id == lane) {
            lane.water.set_level(now, bytes);
        }
    }

    /// How little the channel of a link or lane holds when it is to ask for more, in bytes.
    pub(crate) fn low_water(&self, lane: LinkId) -> usize {
        self.lane(lane).map_or(0, |lane| lane.low)
    }

    /// What a lane is taken to carry, in bytes a second: as much as others like it, but hardly
    /// more than it does. Where links share a line each has as much of it as waits, so who once
    /// was ahead would stay ahead.
    fn rate_of(&self, lane: &Lane) -> f64 {
        let own = lane.water.rate;
        let active = self
            .queues
            .values()
            .filter(|queue| !queue.answers.is_empty());
        let rates = active
            .flat_map(|queue| &queue.lanes)
            .map(|lane| lane.water.rate);
        // Those that are far slower are limited by their own line.
        let alike = rates.filter(|rate| *rate * policy::UNLIKE > own);
        let (sum, count) = alike.fold((own, 1.0), |(sum, count), rate| (sum + rate, count + 1.0));
        // A link with more in its lanes stalls: its answers come late, and ways are looked for
        // anew (tests/e2e/striping.test.mjs).
        let queue = self.queues.get(&self.link_of(lane.id));
        let lanes = queue.map_or(1, |queue| queue.lanes.len());
        (sum / count).min(own * policy::CATCH_UP) / lanes as f64
    }

    /// What is asked for and not yet sent.
    pub(crate) fn keys(&self) -> impl Iterator<Item = ContentKey> + '_ {
        let answers = self.queues.values().flat_map(|queue| &queue.answers);
        answers.map(|answer| answer.wanted.key)
    }

    /// Whether answers to a request are waiting.
    pub(crate) fn is_asked(&self, link: LinkId, request: u32) -> bool {
        self.queues.get(&link).is_some_and(|queue| {
            let mut answers = queue.answers.iter();
            answers.any(|answer| answer.wanted.request == request)
        })
    }

    /// Queues an answer; false if too many are waiting.
    pub(crate) fn push(&mut self, link: LinkId, wanted: Wanted, first: bool) -> bool {
        let queue = self.queues.entry(link).or_insert_with(|| Queue::new(link));
        if queue.answers.len() >= MAX_QUEUE {
            return false;
        }
        queue.answers.push_back(Answer {
            wanted,
            first,
            bytes: None,
            reading: false,
            cancelled: false,
            lane: None,
            sent: 0,
        });
        true
    }

    /// The next answer to read from the store, if there is one.
    pub(crate) fn poll_read(&mut self) -> Option<(LinkId, Wanted)> {
        let waiting = self
            .queues
            .values()
            .filter(|queue| !queue.answers.is_empty());
        let each = (READ_AHEAD / waiting.count().max(1)).max(1);
        let (link, queue) = self.queues.iter_mut().find(|(_, queue)| {
            let read = queue.answers.iter().filter(|answer| answer.reading).count();
            let most = match queue.answers.iter().any(Answer::is_awaited) {
                true => each + READ_FIRST,
                false => each,
            };
            read < (most + queue.lanes.len() - 1).min(queue.answers.len())
        })?;
        let sent = &self.sent;
        let times = |wanted: &Wanted| match wanted.part {
            Part::Chunk(index) => {
                let of_content = sent.get(&wanted.key);
                of_content
                    .and_then(|chunks| chunks.get(&index))
                    .map_or(0, |times| *times)
            }
            Part::Proof => 0,
        };
        let unread = queue.answers.iter_mut().filter(|answer| !answer.reading);
        let answer = unread.min_by_key(|answer| (!answer.first, times(&answer.wanted)))?;
        answer.reading = true;
        let read = (*link, answer.wanted);
        if self.sent.len() >= MAX_COUNTED {
            self.forget_sent();
        }
        if let Part::Chunk(index) = read.1.part {
            let chunks = self.sent.entry(read.1.key).or_default();
            *chunks.entry(index).or_default() += 1;
        }
        Some(read)
    }

    /// An answer has been read.
    pub(crate) fn read(&mut self, link: LinkId, wanted: Wanted, bytes: Arc<Vec<u8>>) {
        self.starters = None;
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
        match queue.answers[at].cancelled {
            true => drop(queue.answers.remove(at)),
            false => queue.answers[at].bytes = Some(bytes),
        }
    }

    /// Drops answers that are no longer wanted; gives the chunks among them.
    pub(crate) fn cancel(
        &mut self,
        link: LinkId,
        request: u32,
        chunks: &[u32],
    ) -> Vec<(ContentKey, u32)> {
        self.starters = None;
        let mut dropped = Vec::new();
        let Some(queue) = self.queues.get_mut(&link) else {
            return dropped;
        };
        queue.answers.retain_mut(|answer| {
            let is_named = |wanted: &Wanted| match wanted.part {
                Part::Chunk(index) => chunks.is_empty() || chunks.contains(&index),
                Part::Proof => chunks.is_empty(),
            };
            if answer.wanted.request != request || answer.cancelled || !is_named(&answer.wanted) {
                return true;
            }
            if let Part::Chunk(index) = answer.wanted.part {
                dropped.push((answer.wanted.key, index));
            }
            answer.cancelled = true;
            answer.reading && answer.bytes.is_none()
        });
        dropped
    }

    /// An answer cannot be read: the whole request is given up.
    pub(crate) fn failed(&mut self, link: LinkId, wanted: Wanted) -> Vec<(ContentKey, u32)> {
        self.starters = None;
        let dropped = self.cancel(link, wanted.request, &[]);
        if let Some(queue) = self.queues.get_mut(&link) {
            queue.answers.retain(|answer| answer.wanted != wanted);
        }
        dropped
    }

    /// Drops all answers about a content that is no longer held.
    pub(crate) fn forget(&mut self, key: ContentKey) {
        self.starters = None;
        for queue in self.queues.values_mut() {
            queue.answers.retain(|answer| answer.wanted.key != key);
        }
    }

    /// A link or a lane is no longer there.
    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.starters = None;
        let Some(of) = self.lanes.remove(&link) else {
            self.queues.remove(&link);
            return self.forget_sent();
        };
        if let Some(queue) = self.queues.get_mut(&of) {
            queue.lanes.retain(|lane| lane.id != link);
            let answers = queue.answers.iter_mut();
            for answer in answers.filter(|answer| answer.lane == Some(link) || answer.first) {
                (answer.lane, answer.sent) = (None, 0);
            }
        }
    }

    /// Forgets how often chunks were sent of contents that nobody asks for.
    fn forget_sent(&mut self) {
        let queues = &self.queues;
        let answers = || queues.values().flat_map(|queue| &queue.answers);
        self.sent
            .retain(|key, _| answers().any(|answer| answer.wanted.key == *key));
    }

    /// The next bulk frame for a link or a lane, if one is ready and the limit allows it.
    pub(crate) fn poll_frame(&mut self, now: Timestamp, lane: LinkId) -> Option<Vec<u8>> {
        let link = self.link_of(lane);
        // Most links wait for nothing.
        if !self.queues.get(&link)?.is_ready() {
            return None;
        }
        self.refill(now);
        let queue = self.queues.get(&link)?;
        let place = |which: &dyn Fn(&Answer) -> bool| queue.answers.iter().position(which);
        let has_begun = queue.answers.iter().any(|answer| answer.lane.is_some());
        let at_once = place(&Answer::is_small_proof);
        // What somebody waits for takes the turn of what its link is sent, and all lanes.
        let first = |answer: &Answer| answer.first && answer.bytes.is_some();
        let at_once = at_once.or_else(|| place(&first).filter(|_| has_begun));
        let at_once = at_once.or_else(|| place(&|answer| answer.lane == Some(lane)));
        // Whatever is read goes first, so that one slow read does not hold up the rest.
        let read = |answer: &Answer| answer.bytes.is_some() && answer.lane.is_none();
        let at = at_once.or_else(|| place(&first).or_else(|| place(&read)))?;
        if at_once.is_none() && !self.has_turn(now, link) {
            return None;
        }
        let limited = self.limit.is_some();
        let rate = self.lane(lane).map(|lane| self.rate_of(lane))?;
        let queue = self.queues.get_mut(&link)?;
        if limited && queue.tokens <= 0.0 {
            return None;
        }
        let of_link = queue.lanes.iter_mut().find(|each| each.id == lane)?;
        of_link.low = water::low(rate);
        let payload = of_link.water.payload(rate);
        if !of_link.water.has_room(rate, payload) {
            return None;
        }
        self.starters = None;
        if at_once.is_none() {
            self.turns += 1;
            (queue.turn, queue.turned) = (self.turns, now);
        }
        let answer = queue.answers.get_mut(at)?;
        answer.lane = Some(lane);
        let bytes = answer.bytes.clone()?;
        let end = (answer.sent + payload).min(bytes.len());
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
            let key = answer.wanted.key;
            if let Part::Chunk(index) = answer.wanted.part {
                self.finished.push_back((link, key, index));
            }
            queue.answers.remove(at);
        }
        let sent = frame.len();
        if limited {
            queue.tokens -= sent as f64;
        }
        if let Some(lane) = queue.lanes.iter_mut().find(|each| each.id == lane) {
            lane.water.took(now, sent);
            lane.took = now;
        }
        self.rate.add(now, sent as u64);
        Some(frame)
    }

    /// A chunk that has gone into its channel whole.
    pub(crate) fn poll_finished(&mut self) -> Option<(LinkId, ContentKey, u32)> {
        self.finished.pop_front()
    }

    /// How many links are sent to.
    pub(crate) fn active(&self) -> usize {
        let queues = self.queues.values();
        queues.filter(|queue| !queue.answers.is_empty()).count()
    }

    /// Whether a link waits for answers, and takes what it is sent.
    pub(crate) fn is_sending(&self, now: Timestamp, link: LinkId) -> bool {
        let queue = self.queues.get(&link);
        queue.is_some_and(|queue| !queue.answers.is_empty() && !queue.is_stalled(now))
    }

    /// Whether a link waits for answers about a content, and takes what it is sent.
    pub(crate) fn is_served(&self, now: Timestamp, link: LinkId, key: ContentKey) -> bool {
        self.queues.get(&link).is_some_and(|queue| {
            let mut wanted = queue.answers.iter().filter(|answer| !answer.cancelled);
            wanted.any(|answer| answer.wanted.key == key) && !queue.is_stalled(now)
        })
    }

    /// Whether a link may begin with an answer: it waits longest, and few enough are served.
    fn has_turn(&mut self, now: Timestamp, link: LinkId) -> bool {
        let queue = self.queues.get(&link);
        if let Some(queue) = queue.filter(|queue| queue.is_busy()) {
            let turn = (queue.turn, link);
            let earlier = self.waiting().filter(|other| *other < turn);
            return earlier.count() < self.free(now, Some(link));
        }
        // All links that wait ask one after the other.
        if self.starters.as_ref().is_none_or(|(at, _)| *at != now) {
            let mut waiting: Vec<(u64, LinkId)> = self.waiting().collect();
            waiting.sort_unstable();
            waiting.truncate(self.free(now, None));
            let starters = waiting.into_iter().map(|(_, link)| link).collect();
            self.starters = Some((now, starters));
        }
        let starters = self.starters.iter().flat_map(|(_, starters)| starters);
        starters.into_iter().any(|starter| *starter == link)
    }

    /// Links that are not sent to and have something to be sent, with their last turns.
    fn waiting(&self) -> impl Iterator<Item = (u64, LinkId)> + '_ {
        let waits = |queue: &Queue| queue.is_ready() && !queue.is_busy();
        let waiting = self.queues.iter().filter(move |(_, queue)| waits(queue));
        waiting.map(|(link, queue)| (queue.turn, *link))
    }

    /// How many more links may be sent to, `but` one not counted.
    fn free(&self, now: Timestamp, but: Option<LinkId>) -> usize {
        let others = self.queues.iter().filter(|(other, _)| Some(**other) != but);
        let busy = others
            .map(|(_, queue)| queue)
            .filter(|queue| queue.is_busy());
        // Those that take long are limited by their own line, and keep nobody waiting: but
        // for the slots, which somebody has set.
        let is_slow = |queue: &&Queue| now.since(queue.turned) >= policy::TURN;
        let (slow, served): (Vec<_>, Vec<_>) = busy.partition(is_slow);
        // Who takes nothing loses its slot.
        let slow = slow.iter().filter(|queue| !queue.is_stalled(now));
        let more = (self.rate.get(now) / policy::RATE_PER_TURN) as usize;
        let free = (policy::TURNS + more).saturating_sub(served.len());
        let slots = self.slots.unwrap_or(usize::MAX);
        free.min(slots.saturating_sub(slow.count() + served.len()))
    }
    /// What a link may have saved up at most, under a limit.
    fn burst(&self, limit: u64) -> f64 {
        let share = limit as f64 / self.active().max(1) as f64;
        (share * BURST.as_secs_f64()).max(MAX_PAYLOAD as f64)
    }

    /// Shares what the limit allowed since the last time among the links with work. What some
    /// cannot take, since they are slow or stalled, goes to the others.
    fn refill(&mut self, now: Timestamp) {
        let Some(limit) = self.limit else { return };
        let since = now.since(std::mem::replace(&mut self.refilled, now));
        let burst = self.burst(limit);
        let mut rest = limit as f64 * since.as_secs_f64();
        let queues = self.queues.values_mut();
        let mut takers: Vec<&mut Queue> = queues
            .filter(|queue| !queue.answers.is_empty() && queue.tokens < burst)
            .collect();
        // Rounding leaves a little.
        while rest > 1e-6 && !takers.is_empty() {
            let share = rest / takers.len() as f64;
            takers.retain_mut(|queue| {
                let given = share.min(burst - queue.tokens);
                queue.tokens += given;
                rest -= given;
                queue.tokens < burst
            });
        }
    }

    /// When a link that the limit holds back may go on.
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let limit = self.limit?;
        let burst = self.burst(limit);
        let queues = self.queues.values();
        let takers = queues.filter(|queue| !queue.answers.is_empty() && queue.tokens < burst);
        let share = limit as f64 / takers.count().max(1) as f64;
        let held_back = self.queues.values();
        let held_back = held_back.filter(|queue| queue.is_ready() && queue.tokens <= 0.0);
        let missing = held_back.map(|queue| 1.0 - queue.tokens);
        let least = missing.reduce(f64::min)?;
        Some(self.refilled + Duration::from_secs_f64((least / share).max(0.001)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ContentKey = ContentKey::from_hash([7; 32]);
    const CHUNK: usize = 4 * MAX_PAYLOAD;

    fn link(number: u8) -> LinkId {
        LinkId([number; 16])
    }

    /// Uploads with a chunk read for each of some links.
    fn uploads(now: Timestamp, links: u8, slots: Option<u32>) -> Uploads {
        let limits = Limits {
            upload_slots: slots,
            ..Limits::default()
        };
        let mut uploads = Uploads::new(now, limits);
        for number in 0..links {
            let part = Part::Chunk(number.into());
            let wanted = Wanted {
                request: 1,
                key: KEY,
                part,
            };
            assert!(uploads.push(link(number), wanted, false));
        }
        while let Some((link, wanted)) = uploads.poll_read() {
            uploads.read(link, wanted, Arc::new(vec![0; CHUNK]));
        }
        fast(&mut uploads, 4.4e6);
        uploads
    }

    /// Lets lanes be known to carry so much: of 4.4 MB/s most of a chunk may wait.
    fn fast(uploads: &mut Uploads, rate: f64) {
        let lanes = uploads
            .queues
            .values_mut()
            .flat_map(|queue| &mut queue.lanes);
        lanes.for_each(|lane| lane.water.set_rate(rate));
    }

    /// Lets each link send what it may, and says which did.
    fn served(uploads: &mut Uploads, now: Timestamp, links: u8) -> Vec<u8> {
        let mut sends = |number: &u8| {
            let frames = std::iter::from_fn(|| uploads.poll_frame(now, link(*number)));
            frames.count() > 0
        };
        (0..links).filter(|number| sends(number)).collect()
    }

    #[test]
    fn no_more_links_are_served_at_a_time_than_there_are_slots() {
        let now = Timestamp::from_millis(1_000_000);
        let mut uploads = uploads(now, 4, Some(1));
        assert_eq!(served(&mut uploads, now, 4), [0]);
        // However long it takes.
        let later = now + policy::TURN * 3 / 2;
        assert_eq!(served(&mut uploads, later, 4), [] as [u8; 0]);
        uploads.set_buffered(later, link(0), 0);
        fast(&mut uploads, 8.8e6);
        // What is left of the first, which hardly fills its channel, and then the next.
        assert_eq!(served(&mut uploads, later, 4), [0, 1]);
        // But if it takes nothing at all.
        let later = later + policy::TURN * 3;
        assert_eq!(served(&mut uploads, later, 4), [2]);
    }

    #[test]
    fn what_is_cancelled_while_it_is_read_counts_until_it_is() {
        let now = Timestamp::from_millis(1_000_000);
        let mut uploads = Uploads::new(now, Limits::default());
        let mut reads = VecDeque::new();
        for request in 0..1000 {
            let part = Part::Chunk(request % 7);
            let wanted = Wanted {
                request,
                key: KEY,
                part,
            };
            uploads.push(link(0), wanted, false);
            reads.extend(uploads.poll_read());
            uploads.cancel(link(0), request, &[]);
        }
        assert_eq!(reads.len(), READ_AHEAD);
        for (link, wanted) in reads {
            uploads.read(link, wanted, Arc::new(vec![0; CHUNK]));
        }
        assert_eq!(uploads.active(), 0);
        assert_eq!(uploads.poll_frame(now, link(0)), None);
    }

    #[test]
    fn what_stalled_links_do_not_take_of_the_limit_the_others_get() {
        const LINKS: u8 = 10;
        let start = Timestamp::from_millis(1_000_000);
        let limit = 1_000_000;
        let limits = Limits {
            upload: Some(limit),
            ..Limits::default()
        };
        let mut uploads = Uploads::new(start, limits);
        let mut sent = [0; LINKS as usize];
        let (mut now, mut request, mut timers) = (start, 0, 0);
        // The stalled ones have had their turns then.
        let settled = start + Duration::from_secs(5);
        while now < settled + Duration::from_secs(20) {
            for number in 0..LINKS {
                while uploads
                    .queues
                    .get(&link(number))
                    .is_none_or(|queue| queue.answers.len() < 4)
                {
                    let part = Part::Chunk(request);
                    let wanted = Wanted {
                        request,
                        key: KEY,
                        part,
                    };
                    assert!(uploads.push(link(number), wanted, false));
                    request += 1;
                }
            }
            let read = |uploads: &mut Uploads| {
                while let Some((link, wanted)) = uploads.poll_read() {
                    uploads.read(link, wanted, Arc::new(vec![0; CHUNK]));
                }
            };
            read(&mut uploads);
            fast(&mut uploads, 4.4e6);
            for number in 0..LINKS {
                // The last two take what they are sent.
                if number >= LINKS - 2 {
                    uploads.set_buffered(now, link(number), 0);
                }
                while let Some(frame) = uploads.poll_frame(now, link(number)) {
                    if now >= settled {
                        sent[number as usize] += frame.len();
                    }
                    read(&mut uploads);
                }
            }
            timers += 1;
            let soon = now + Duration::from_secs(1);
            now = uploads.next_timeout().map_or(soon, |due| due.min(soon));
        }
        let [.., one, other] = sent;
        let all: usize = sent.iter().sum();
        let stalled = all - one - other;
        assert_eq!(stalled, 0, "{sent:?}");
        assert!(
            (0.97 * 20e6..1.03 * 20e6).contains(&(all as f64)),
            "{sent:?}"
        );
        assert!(
            one.max(other) as f64 <= 1.1 * one.min(other) as f64,
            "{sent:?}"
        );
        // A timer or two for each frame.
        assert!(timers < 3 * all / MAX_PAYLOAD, "{timers}");
    }

    #[test]
    fn a_link_that_takes_long_keeps_nobody_waiting() {
        let now = Timestamp::from_millis(1_000_000);
        let mut uploads = uploads(now, 4, None);
        assert_eq!(served(&mut uploads, now, 4), [0, 1]);
        let later = now + policy::TURN;
        assert_eq!(served(&mut uploads, later, 4), [2, 3]);
    }

    #[test]
    fn a_small_proof_waits_for_no_chunk() {
        let now = Timestamp::from_millis(1_000_000);
        let mut uploads = uploads(now, 3, None);
        assert!(uploads.poll_frame(now, link(0)).is_some());
        assert!(uploads.poll_frame(now, link(1)).is_some());
        assert_eq!(uploads.poll_frame(now, link(2)), None, "two are served");
        for number in 0..3 {
            let wanted = Wanted {
                request: 2,
                key: KEY,
                part: Part::Proof,
            };
            assert!(uploads.push(link(number), wanted, false));
            uploads.read(link(number), wanted, Arc::new(vec![0; MAX_PAYLOAD]));
            let frame = uploads.poll_frame(now, link(number)).expect("the proof");
            let (header, _) = BulkHeader::decode(&frame).expect("a frame");
            assert_eq!(header.kind, BulkKind::Proof);
        }
    }

    #[test]
    fn lanes_carry_different_chunks_and_a_broken_one_gives_its_chunk_back() {
        let now = Timestamp::from_millis(1_000_000);
        let (own, lane) = (link(0), link(9));
        let mut uploads = Uploads::new(now, Limits::default());
        uploads.lane_up(own, lane);
        for index in 0..2 {
            let part = Part::Chunk(index);
            let wanted = Wanted {
                request: 1,
                key: KEY,
                part,
            };
            uploads.push(own, wanted, false);
            uploads.poll_read();
            uploads.read(own, wanted, Arc::new(vec![0; CHUNK]));
        }
        fast(&mut uploads, 4.4e6);
        let index = |frame: Vec<u8>| BulkHeader::decode(&frame).map(|(header, _)| header.index);
        let first = uploads.poll_frame(now, own).map(index);
        let second = uploads.poll_frame(now, lane).map(index);
        assert_eq!((first, second), (Some(Ok(0)), Some(Ok(1))));
        uploads.link_down(lane);
        assert_eq!(uploads.poll_frame(now, lane), None);
        let mut rest: Vec<_> = std::iter::from_fn(|| {
            uploads.set_buffered(now, own, 0);
            uploads.poll_frame(now, own).map(index)
        })
        .collect();
        // What is left of the first, and all of the second.
        rest.dedup();
        assert_eq!(rest, [Ok(0), Ok(1)]);
    }
}
