//! One source of one fetch: what it holds, how fast it is, how much to ask of it.
//!
//! Only what brings a fetch on counts in favour of a source: new bytes keep it from stalling,
//! a right chunk clears its failures. Bytes that came before, and coming back, do not.

use crate::{fetch::held_bytes, io::SourceProgress, policy, rate::Rate};
use shoal_protocol::{
    bits::Bits,
    content::{CHUNK_SIZE, ContentSize},
    id::PeerId,
    time::Timestamp,
};
use std::time::Duration;

/// How a source failed lately. Outlives its link, so that nobody mends it by coming back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// Failures since its last right chunk.
    failures: u32,
    resting_until: Option<Timestamp>,
}

impl Standing {
    pub(crate) fn is_clear(&self) -> bool {
        self.failures == 0
    }

    fn rest(&mut self, now: Timestamp) {
        self.failures += 1;
        let rest = policy::REST * (1 << (self.failures - 1).min(8));
        self.resting_until = Some(now + rest.min(policy::REST_MAX));
    }

    /// It did not give what it was asked for: it rests if that goes on.
    fn decline(&mut self, now: Timestamp) {
        match self.failures + 1 < policy::DECLINES {
            true => self.failures += 1,
            false => self.rest(now),
        }
    }
}

/// A peer that is asked for chunks of a content.
#[derive(Debug)]
pub(crate) struct Source {
    /// The chunks it holds; `None` until it said so.
    pub(crate) have: Option<Bits>,
    /// Whether its catalog lists the content as complete. A lone publisher says `have` of fewer
    /// chunks, and sends all.
    pub(crate) lists_all: bool,
    /// Chunks asked for and not answered.
    pub(crate) in_flight: usize,
    /// Bytes that came from it and were right.
    pub(crate) bytes: u64,
    pub(crate) rate: Rate,
    window: usize,
    /// Peer connections it sends over.
    connections: usize,
    /// Where it sends for other fetches as well: bytes a second it is to send for this one, and
    /// its fastest answer for any of them.
    share: Option<(f64, Duration)>,
    /// Fastest answer so far: round trip and the source's own work.
    fastest: Option<Duration>,
    /// Smoothed time between two answers while it had work.
    pace: Duration,
    /// When it last sent a right chunk, or became a source.
    answered: Timestamp,
    /// When it last sent something new, or was first asked after being idle.
    heard: Timestamp,
    /// When it last sent a right chunk, or was first asked after being idle.
    busy_since: Timestamp,
    standing: Standing,
}

impl Source {
    /// A source that failed before is asked for one chunk when it comes back, whatever rest it
    /// has left: what was wrong may be over, as when its page is open again. If it fails again,
    /// its rest is longer than the one before.
    pub(crate) fn new(now: Timestamp, standing: Standing) -> Self {
        let standing = Standing {
            resting_until: None,
            ..standing
        };
        Self {
            have: None,
            lists_all: false,
            in_flight: 0,
            bytes: 0,
            rate: Rate::default(),
            window: if standing.is_clear() {
                policy::WINDOW_START
            } else {
                1
            },
            connections: 1,
            share: None,
            fastest: None,
            pace: Duration::ZERO,
            answered: now,
            heard: now,
            busy_since: now,
            standing,
        }
    }

    /// How many more chunks may be asked of it now.
    pub(crate) fn room(&self, now: Timestamp) -> usize {
        if self.is_resting(now) {
            return 0;
        }
        self.window.saturating_sub(self.in_flight)
    }

    /// How many more chunks may be asked of it that somebody waits to read.
    pub(crate) fn room_to_read(&self, now: Timestamp) -> usize {
        if self.is_resting(now) {
            return 0;
        }
        (self.window + policy::READ_ROOM).saturating_sub(self.in_flight)
    }

    pub(crate) fn is_resting(&self, now: Timestamp) -> bool {
        self.rests_until().is_some_and(|until| now < until)
    }

    /// Whether it takes one of the places for sources.
    pub(crate) fn is_of_use(&self, now: Timestamp) -> bool {
        !self.is_resting(now) && now < self.place_until()
    }

    /// How long it takes a place if no chunk comes from it.
    pub(crate) fn place_until(&self) -> Timestamp {
        self.answered + policy::PLACE
    }

    pub(crate) fn asked(&mut self, now: Timestamp, chunks: usize) {
        if self.in_flight == 0 {
            self.heard = now;
            self.busy_since = now;
        }
        self.in_flight += chunks;
    }

    /// Bytes arrived that were missing.
    pub(crate) fn heard(&mut self, now: Timestamp) {
        self.heard = now;
        self.standing.resting_until = None;
    }

    /// A chunk was right. The window follows bandwidth times delay: what the source sends
    /// in twice the time of its fastest answer, so that a window that limits the rate grows (as
    /// in BBR, Cardwell et al., 2016), and a little more.
    pub(crate) fn answered(&mut self, now: Timestamp, bytes: u64, asked: Timestamp) {
        self.standing = Standing::default();
        self.bytes += bytes;
        self.rate.add(now, bytes);
        let took = now.since(asked);
        let pace = took.min(now.since(self.answered));
        self.pace = match self.fastest {
            // Weighs the newest as TCP does a round trip (RFC 6298, section 2, doubled).
            Some(_) => (self.pace * 3 + pace) / 4,
            None => pace,
        };
        self.answered = now;
        self.busy_since = now;
        let fastest = self.fastest.map_or(took, |fastest| fastest.min(took));
        self.fastest = Some(fastest);
        let chunks = |rate: f64, fastest: Duration| {
            let ahead = rate * (fastest * 2 + policy::WINDOW_AHEAD).as_secs_f64();
            ahead / CHUNK_SIZE as f64
        };
        let (wanted, least) = match self.share {
            // Others keep the source busy meanwhile.
            Some((rate, fastest)) => (chunks(rate, fastest).round(), 1),
            None => {
                let wanted = chunks(self.rate.get(now), fastest).ceil();
                (wanted, self.least())
            }
        };
        self.window = (wanted as usize).clamp(least, policy::WINDOW_MAX);
    }

    /// Each connection has a chunk on its way and one it can begin with.
    fn least(&self) -> usize {
        policy::WINDOW_MIN * self.connections
    }

    /// Says how many peer connections it sends over.
    pub(crate) fn set_connections(&mut self, connections: usize) {
        self.connections = connections;
        if self.share.is_none() && self.standing.is_clear() {
            self.window = self.window.max(self.least());
        }
    }

    /// Its fastest answer so far: round trip and its own work.
    pub(crate) fn fastest(&self) -> Option<Duration> {
        self.fastest
    }

    /// Says how many bytes a second it is to send for this fetch, and its fastest answer for
    /// any; `None`: it sends for no other.
    pub(crate) fn set_share(&mut self, share: Option<(f64, Duration)>) {
        self.share = share;
    }

    /// How long others may take for a chunk that this source could be asked for as well.
    pub(crate) fn patience(&self) -> Duration {
        let Some(fastest) = self.fastest else {
            return policy::HEDGE_START;
        };
        let answer = fastest.max(self.pace) + self.pace * self.in_flight as u32;
        (answer * policy::HEDGE).max(policy::HEDGE_MIN)
    }

    /// When it has been silent for longer than it ever is between two answers, if it owes any
    /// and has given some.
    pub(crate) fn silent_at(&self) -> Option<Timestamp> {
        let usual = self.fastest?.max(self.pace) * policy::SILENT;
        (self.in_flight > 0).then(|| self.heard + usual)
    }

    /// Whether it sends nothing new for longer than that.
    pub(crate) fn is_late(&self, now: Timestamp) -> bool {
        self.in_flight > 0 && self.heard + self.patience() <= now
    }

    /// Whether it takes longer than that for a chunk, though it may be sending.
    pub(crate) fn is_slow(&self, now: Timestamp) -> bool {
        self.in_flight > 0 && self.busy_since + self.patience() <= now
    }

    pub(crate) fn released(&mut self, chunks: usize) {
        self.in_flight = self.in_flight.saturating_sub(chunks);
    }

    /// When it has stalled, if it goes on sending nothing new.
    pub(crate) fn stalls_at(&self) -> Option<Timestamp> {
        let usual = self.fastest.unwrap_or_default() * 4;
        let patience = usual.clamp(policy::STALL_MIN, policy::STALL_MAX);
        let waits = self.in_flight > 0 && self.rests_until().is_none();
        waits.then(|| self.heard + patience)
    }

    /// It has stalled or cannot answer: it is asked for nothing for some time.
    pub(crate) fn rest(&mut self, now: Timestamp) {
        self.window = 1;
        self.standing.rest(now);
    }

    /// It does not give what it was asked for: it is asked for less, or rests.
    pub(crate) fn declined(&mut self, now: Timestamp) {
        self.window = 1;
        self.heard = now;
        self.standing.decline(now);
    }

    /// It has rested, and may be asked again.
    pub(crate) fn rested(&mut self, now: Timestamp) {
        self.heard = now;
        self.standing.resting_until = None;
    }

    /// What the API shows of it; `size` is that of the content, once known.
    pub(crate) fn progress(
        &self,
        now: Timestamp,
        peer: PeerId,
        size: Option<ContentSize>,
    ) -> SourceProgress {
        let held = self.have.as_ref().zip(size);
        SourceProgress {
            peer,
            bytes: self.bytes,
            rate: self.rate.get(now),
            held: held.map_or(0, |(have, size)| held_bytes(size, have)),
            in_flight: (self.in_flight * CHUNK_SIZE) as u64,
            window: (self.window * CHUNK_SIZE) as u64,
        }
    }

    /// When it may be asked again, if it rests.
    pub(crate) fn rests_until(&self) -> Option<Timestamp> {
        self.standing.resting_until
    }

    /// It has gone away; what is to be remembered of it.
    pub(crate) fn gone(mut self, now: Timestamp) -> Standing {
        if self.in_flight > 0 {
            self.standing.decline(now);
        }
        self.standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The window, in chunks, of a source that has sent so many bytes a second for some time,
    /// each chunk so long after it was asked for.
    fn window(rate: f64, answer: Duration) -> usize {
        let mut now = Timestamp::from_millis(1_000_000);
        let mut source = Source::new(now, Standing::default());
        for _ in 0..200 {
            now = now + Duration::from_secs_f64(CHUNK_SIZE as f64 / rate);
            source.asked(now, 1);
            source.released(1);
            source.answered(now + answer, CHUNK_SIZE as u64, now);
        }
        source.window
    }

    #[test]
    fn the_window_covers_what_comes_in_twice_an_answer_and_a_little_more() {
        for (rate, answer) in [(10e6, 50), (10e6, 200), (2e6, 400), (1e6, 1000)] {
            let answer = Duration::from_millis(answer);
            let covers = rate * (answer * 2 + policy::WINDOW_AHEAD).as_secs_f64();
            let chunks = window(rate, answer) as f64;
            let expected = covers / CHUNK_SIZE as f64;
            assert!(
                (0.8 * expected..1.2 * expected + 1.0).contains(&chunks),
                "{rate} {answer:?}: {chunks}"
            );
        }
    }

    #[test]
    fn the_window_has_bounds() {
        assert_eq!(window(1e3, Duration::from_millis(10)), policy::WINDOW_MIN);
        assert_eq!(window(1e9, Duration::from_secs(1)), policy::WINDOW_MAX);
    }
}
