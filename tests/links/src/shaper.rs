//! One way of a link: what becomes of a packet, and when it comes out.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// How a link is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Of one way.
    pub(crate) delay: Duration,
    /// Bytes a second.
    pub(crate) rate: f64,
    /// Bytes that may wait for the rate.
    pub(crate) queue: f64,
    /// Share of packets that vanish.
    pub(crate) loss: f64,
}

/// Packets on their way.
pub(crate) struct Shaper {
    shape: Shape,
    /// In the order they come out, with when.
    packets: VecDeque<(Instant, Vec<u8>)>,
    /// When the last byte that was taken has left.
    free: Option<Instant>,
    random: u32,
}

impl Shaper {
    pub(crate) fn new(shape: Shape, seed: u32) -> Self {
        Self {
            shape,
            packets: VecDeque::new(),
            free: None,
            random: seed.max(1),
        }
    }

    /// Takes a packet, or drops it.
    pub(crate) fn take(&mut self, now: Instant, packet: &[u8]) {
        if self.chance() < self.shape.loss {
            return;
        }
        let free = self.free.map_or(now, |free| free.max(now));
        if (free - now).as_secs_f64() * self.shape.rate > self.shape.queue {
            return;
        }
        let left = free + Duration::from_secs_f64(packet.len() as f64 / self.shape.rate);
        self.free = Some(left);
        self.packets
            .push_back((left + self.shape.delay, packet.to_vec()));
    }

    /// A packet that has come through.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (_, packet) = self.packets.pop_front_if(|(due, _)| *due <= now)?;
        Some(packet)
    }

    /// When the next packet comes out.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.packets.front().map(|(due, _)| *due)
    }

    pub(crate) fn drop_all(&mut self) {
        self.packets.clear();
    }

    /// From 0 to 1: xorshift32 (Marsaglia, "Xorshift RNGs", 2003).
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        f64::from(self.random) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        delay: Duration::from_millis(20),
        rate: 1e6,
        queue: 10_000.0,
        loss: 0.0,
    };

    /// When packets of a kilobyte come out that all go in at once, in milliseconds.
    fn sent(shape: Shape, packets: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut shaper = Shaper::new(shape, 7);
        (0..packets).for_each(|_| shaper.take(start, &[0; 1000]));
        let mut out = Vec::new();
        while let Some(due) = shaper.next() {
            assert_eq!(shaper.pass(due - Duration::from_nanos(1)), None);
            assert_eq!(shaper.pass(due).expect("it is due").len(), 1000);
            out.push((due - start).as_micros().div_ceil(1000));
        }
        out
    }

    #[test]
    fn packets_take_the_delay_and_the_time_of_their_bytes() {
        assert_eq!(sent(SHAPE, 3), [21, 22, 23]);
    }

    #[test]
    fn what_does_not_fit_the_queue_is_dropped() {
        assert_eq!(sent(SHAPE, 50).len(), 11);
    }

    #[test]
    fn a_share_is_lost_and_the_same_for_the_same_seed() {
        let lossy = Shape {
            loss: 0.2,
            queue: 1e9,
            ..SHAPE
        };
        let left = sent(lossy, 1000);
        assert!((750..850).contains(&left.len()), "{}", left.len());
        assert_eq!(left, sent(lossy, 1000));
    }

    #[test]
    fn nothing_is_left_of_a_way_that_is_cut() {
        let mut shaper = Shaper::new(SHAPE, 7);
        shaper.take(Instant::now(), &[0; 10]);
        shaper.drop_all();
        assert_eq!(shaper.next(), None);
    }
}
