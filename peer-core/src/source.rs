//! One source of one fetch: what it holds, how fast it is, how much to ask of it.

use crate::{fetch::held_bytes, io::SourceProgress, policy, rate::Rate};
use shoal_protocol::{
    bits::Bits,
    content::{CHUNK_SIZE, ContentSize},
    id::PeerId,
    time::Timestamp,
};
use std::time::Duration;

/// A peer that is asked for chunks of a content.
#[derive(Debug)]
pub(crate) struct Source {
    /// The chunks it holds; `None` until it said so.
    pub(crate) have: Option<Bits>,
    /// Chunks asked for and not answered.
    pub(crate) in_flight: usize,
    /// Bytes that came from it and were right.
    pub(crate) bytes: u64,
    pub(crate) rate: Rate,
    window: usize,
    /// Bytes a second it is to send for this fetch, where it sends for others as well.
    share: Option<f64>,
    /// Fastest answer so far: round trip and the source's own work.
    fastest: Option<Duration>,
    /// When it last sent something, or was first asked after being idle.
    heard: Timestamp,
    stalls: u32,
    resting_until: Option<Timestamp>,
}

impl Source {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            have: None,
            in_flight: 0,
            bytes: 0,
            rate: Rate::default(),
            window: policy::WINDOW_START,
            share: None,
            fastest: None,
            heard: now,
            stalls: 0,
            resting_until: None,
        }
    }

    /// How many more chunks may be asked of it now.
    pub(crate) fn room(&self, now: Timestamp) -> usize {
        if self.resting_until.is_some_and(|until| now < until) {
            return 0;
        }
        self.window.saturating_sub(self.in_flight)
    }

    pub(crate) fn asked(&mut self, now: Timestamp, chunks: usize) {
        if self.in_flight == 0 {
            self.heard = now;
        }
        self.in_flight += chunks;
    }

    /// Bytes arrived, whatever they are worth.
    pub(crate) fn heard(&mut self, now: Timestamp) {
        self.heard = now;
        self.stalls = 0;
        self.resting_until = None;
    }

    /// A chunk was right. The window follows bandwidth times delay: what the source sends
    /// in the time of its fastest answer and a little more.
    pub(crate) fn answered(&mut self, now: Timestamp, bytes: u64, asked: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes += bytes;
        self.rate.add(now, bytes);
        let took = now.since(asked);
        let fastest = self.fastest.map_or(took, |fastest| fastest.min(took));
        self.fastest = Some(fastest);
        let chunks = |rate: f64| {
            let ahead = rate * (fastest + policy::WINDOW_AHEAD).as_secs_f64();
            ahead / CHUNK_SIZE as f64
        };
        let (wanted, least) = match self.share {
            // Others keep the source busy meanwhile.
            Some(share) => (chunks(share).round(), 1),
            None => (chunks(self.rate.get(now)).ceil(), policy::WINDOW_MIN),
        };
        self.window = (wanted as usize).clamp(least, policy::WINDOW_MAX);
    }

    /// Says how many bytes a second it is to send for this fetch; `None`: what it can.
    pub(crate) fn set_share(&mut self, share: Option<f64>) {
        self.share = share;
    }

    pub(crate) fn released(&mut self, chunks: usize) {
        self.in_flight = self.in_flight.saturating_sub(chunks);
    }

    /// When it has stalled, if it goes on sending nothing.
    pub(crate) fn stalls_at(&self) -> Option<Timestamp> {
        let usual = self.fastest.unwrap_or_default() * 4;
        let patience = usual.clamp(policy::STALL_MIN, policy::STALL_MAX);
        (self.in_flight > 0).then(|| self.heard + patience)
    }

    /// It has stalled: asks less of it, and nothing for some time if that goes on.
    pub(crate) fn stalled(&mut self, now: Timestamp) {
        self.window = 1;
        self.stalls += 1;
        self.heard = now;
        if self.stalls >= policy::STALLS {
            self.rest(now);
        }
    }

    pub(crate) fn rest(&mut self, now: Timestamp) {
        self.resting_until = Some(now + policy::REST);
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
        self.resting_until
    }
}
