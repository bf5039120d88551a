//! How much may wait in a channel: enough that its line never stands idle, and no more, since
//! control messages wait behind it.
//!
//! A channel is measured while anything waits in it: what leaves it then is what its line
//! carries, whoever else is served meanwhile. If it runs empty although more was to be sent,
//! too little waited for the time that the browser takes to ask for more, and its rate is taken
//! to be twice what it was.
//!
//! Frames are small on slow channels: a message that has begun to leave is not interrupted
//! (RFC 8260 would allow it; browsers do not offer it). Chromium lets control messages pass
//! those that have not begun, but says only when a channel is empty or 100 KiB have left it
//! (`MaybeSendOnBufferedAmountChanged` in WebRTC). So slow channels run empty there each time,
//! more than is needed waits in them, and frames follow what was seen to leave.

use crate::policy;
use shoal_protocol::{
    bulk::{GRAIN, HEADER_LEN, MAX_PAYLOAD},
    time::Timestamp,
};
use std::time::Duration;

/// What waits in a channel, and how fast it leaves.
#[derive(Debug)]
pub(crate) struct Water {
    /// Bytes taken and not yet sent.
    pub(crate) level: usize,
    /// Bytes a second that leave it while anything waits, or more while it runs empty.
    pub(crate) rate: f64,
    /// Bytes a second that were seen to leave it.
    seen: f64,
    /// What has left it since that was found, in which time.
    left: usize,
    span: Duration,
    looked: Timestamp,
    /// Whether more was to be sent than it might take.
    held_back: bool,
}

impl Default for Water {
    fn default() -> Self {
        let rate = policy::WATER_START as f64 / policy::CHANNEL_AHEAD.as_secs_f64();
        Self {
            level: 0,
            rate,
            seen: rate,
            left: 0,
            span: Duration::ZERO,
            looked: Timestamp::default(),
            held_back: false,
        }
    }
}

impl Water {
    /// Says how many bytes a second it carries.
    #[cfg(test)]
    pub(crate) fn set_rate(&mut self, rate: f64) {
        (self.rate, self.seen) = (rate, rate);
    }

    /// Says how much waits in the channel now.
    pub(crate) fn set_level(&mut self, now: Timestamp, level: usize) {
        let before = std::mem::replace(&mut self.level, level);
        let span = now.since(std::mem::replace(&mut self.looked, now));
        if before == 0 {
            return;
        }
        self.left += before.saturating_sub(level);
        self.span += span;
        // Nothing may have left it, or nothing was said of it yet.
        if self.left == 0 || (level > 0 && self.span < policy::WATER_ROUND) {
            return;
        }
        let rate = self.left as f64 / self.span.as_secs_f64().max(1e-3);
        (self.left, self.span) = (0, Duration::ZERO);
        // If nothing more was to be sent, it may have been empty for long.
        if level > 0 || self.held_back {
            // What leaves at once is in the network's buffers, not yet over the line.
            self.seen = match rate > self.seen {
                true => (self.seen + rate.min(self.seen * 2.0)) / 2.0,
                false => (self.seen * 3.0 + rate) / 4.0,
            };
        }
        if level > 0 {
            self.rate = (self.rate * 3.0 + rate) / 4.0;
        } else if std::mem::take(&mut self.held_back) {
            // It may have been empty for most of this time, but not for nearly all of it.
            let more = (self.rate * 2.0).min(policy::WATER_RATE_MAX).max(rate);
            let is_near = rate * policy::WATER_NEAR >= self.rate;
            self.rate = if is_near {
                more
            } else {
                (self.rate * 3.0 + rate) / 4.0
            };
        }
    }

    /// The channel took a frame.
    pub(crate) fn took(&mut self, now: Timestamp, bytes: usize) {
        if self.level == 0 {
            self.looked = now;
        }
        self.level += bytes;
        self.held_back = false;
    }

    /// How much payload its frames have: several of them may wait, and none takes long.
    pub(crate) fn payload(&self, rate: f64) -> usize {
        payload(rate.min(self.seen))
    }

    /// Whether a frame with so much payload may go into the channel, if it is taken to carry so
    /// many bytes a second.
    pub(crate) fn has_room(&mut self, rate: f64, payload: usize) -> bool {
        let fits = self.level == 0 || self.level + HEADER_LEN + payload <= high(rate);
        self.held_back |= !fits;
        fits
    }
}

/// Most bytes that may wait in a channel that carries so many a second.
fn high(rate: f64) -> usize {
    let ahead = (rate * policy::CHANNEL_AHEAD.as_secs_f64()) as usize;
    ahead.clamp(2 * (HEADER_LEN + GRAIN), policy::HIGH_WATER_MAX)
}

/// How little waits in such a channel when it is to ask for more.
pub(crate) fn low(rate: f64) -> usize {
    high(rate) / 2
}

/// How much payload the frames for such a channel have: four of them may wait, or some more
/// where they cannot be larger.
fn payload(rate: f64) -> usize {
    let ahead = (rate * policy::CHANNEL_AHEAD.as_secs_f64()) as usize / 4;
    (ahead.saturating_sub(HEADER_LEN) / GRAIN * GRAIN).clamp(GRAIN, MAX_PAYLOAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    /// What was sent in the last second, how long at most the last byte that waited had to, and
    /// how long the largest message took.
    struct Ran {
        sent: f64,
        waits: Duration,
        frame: Duration,
    }

    /// Sends for some seconds over a line. The browser says what waits once at least `seldom`
    /// bytes have left or none is left, and asks for more so long after it could.
    fn run(line: f64, latency: Duration, seldom: f64) -> Ran {
        let (mut water, mut now, mut waits) = (Water::default(), START, 0.0);
        let (mut sent, mut longest, mut largest) = (0.0, 0.0f64, 0);
        let mut said = 0.0;
        while now < START + Duration::from_secs(6) {
            let is_last = now >= START + Duration::from_secs(5);
            if waits == 0.0 || said - waits >= seldom {
                said = waits;
            }
            water.set_level(now, said as usize);
            let payload = water.payload(water.rate);
            while water.has_room(water.rate, payload) {
                water.took(now, HEADER_LEN + payload);
                waits += (HEADER_LEN + payload) as f64;
                said += (HEADER_LEN + payload) as f64;
                largest = largest.max(if is_last { payload } else { 0 });
            }
            if is_last {
                longest = longest.max(waits / line);
            }
            let low = low(water.rate) as f64;
            let hidden = said - waits;
            let until = if seldom > 0.0 {
                (said - low).max(seldom) - hidden
            } else {
                waits - low
            };
            let pause = Duration::from_secs_f64(until.clamp(0.0, waits) / line) + latency;
            let went = (line * pause.as_secs_f64()).min(waits);
            waits -= went;
            now = now + pause;
            sent += if is_last { went } else { 0.0 };
        }
        Ran {
            sent,
            waits: Duration::from_secs_f64(longest),
            frame: Duration::from_secs_f64(largest as f64 / line),
        }
    }

    #[test]
    fn little_waits_at_any_rate_and_the_line_is_never_idle() {
        for line in [50e3, 100e3, 200e3, 500e3, 1e6, 2e6, 5e6, 10e6, 20e6] {
            let Ran { sent, waits, .. } = run(line, Duration::from_millis(2), 0.0);
            assert!(sent > 0.97 * line, "{line}: {sent}");
            assert!(waits <= Duration::from_millis(50), "{line}: {waits:?}");
        }
        // More than this must not wait, and is enough.
        let Ran { sent, waits, .. } = run(50e6, Duration::from_millis(2), 0.0);
        assert!(sent > 0.97 * 50e6, "{sent}");
        assert!(waits <= Duration::from_millis(25), "{waits:?}");
    }

    #[test]
    fn a_browser_that_takes_long_to_ask_for_more_is_given_more() {
        for line in [500e3, 5e6] {
            let Ran { sent, .. } = run(line, Duration::from_millis(40), 0.0);
            assert!(sent > 0.85 * line, "{line}: {sent}");
        }
    }

    #[test]
    fn a_little_now_and_then_says_nothing_of_the_line() {
        let (mut water, mut now) = (Water::default(), START);
        let before = water.payload(water.rate);
        for _ in 0..20 {
            assert!(water.has_room(water.rate, GRAIN));
            water.took(now, GRAIN);
            now = now + Duration::from_secs(1);
            water.set_level(now, 0);
        }
        assert_eq!(water.payload(water.rate), before);
    }

    #[test]
    fn frames_are_small_where_the_browser_seldom_says_what_waits() {
        for line in [500e3, 1e6, 2e6, 5e6, 20e6] {
            let Ran { sent, frame, .. } = run(line, Duration::from_millis(2), 100.0 * 1024.0);
            assert!(sent > 0.9 * line, "{line}: {sent}");
            assert!(frame <= Duration::from_millis(12), "{line}: {frame:?}");
        }
    }
}
