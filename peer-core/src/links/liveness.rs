//! Whether the other end of a link is still there: when it is asked for a sign of life, and when
//! it has been silent for too long.

use shoal_protocol::time::Timestamp;
use std::time::Duration;

/// A link on which nothing came for so long is asked for a sign of life. Guess.
const PING_AFTER: Duration = Duration::from_secs(10);
/// Pings a link begins with, one after the other: the first is slow where pages still start,
/// and later ones wait behind chunks.
const FIRST_PINGS: u32 = 3;
/// A link on which nothing came for so long after a ping needs another way. Guess: a lost
/// packet or two over a slow line.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// What is due on a link.
pub(super) enum Due {
    Ping,
    /// It did not answer: it needs another way.
    Silent,
}

/// When a link was heard, and asked for a sign of life.
pub(super) struct Liveness {
    last_heard: Timestamp,
    /// The ping that was sent last and not answered, and when.
    pinged: Option<(u32, Timestamp)>,
    /// Pings that were answered.
    pongs: u32,
}

impl Liveness {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            last_heard: now,
            pinged: None,
            pongs: 0,
        }
    }

    /// Something came over it, or it came up.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.last_heard = now;
    }

    /// Ping number `n` was sent.
    pub(super) fn pinged(&mut self, now: Timestamp, n: u32) {
        self.pinged = Some((n, now));
    }

    /// Ping number `n` was answered. Gives the round trip, if that was the last one.
    pub(super) fn pong(&mut self, now: Timestamp, n: u32) -> Option<Duration> {
        let (_, sent) = self.pinged.take_if(|(expected, _)| *expected == n)?;
        self.pongs += 1;
        Some(now.since(sent))
    }

    /// Whether it is still to be pinged without a pause.
    pub(super) fn is_new(&self) -> bool {
        self.pongs < FIRST_PINGS
    }

    /// When the latest ping was sent, if nothing came since.
    fn waits_since(&self) -> Option<Timestamp> {
        let (_, sent) = self.pinged?;
        (self.last_heard <= sent).then_some(sent)
    }

    pub(super) fn next_timeout(&self) -> Timestamp {
        match self.waits_since() {
            Some(sent) => sent + SILENT_AFTER,
            None => self.last_heard + PING_AFTER,
        }
    }

    /// What is due now.
    pub(super) fn due(&self, now: Timestamp) -> Option<Due> {
        let due = match self.waits_since() {
            Some(_) => Due::Silent,
            None => Due::Ping,
        };
        (self.next_timeout() <= now).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_pinged_when_it_is_quiet_and_silent_when_it_does_not_answer() {
        let mut now = Timestamp::from_millis(1_000_000);
        let mut liveness = Liveness::new(now);
        assert!(liveness.due(now).is_none());
        now = liveness.next_timeout();
        assert!(matches!(liveness.due(now), Some(Due::Ping)));
        liveness.pinged(now, 7);
        now = liveness.next_timeout();
        assert!(matches!(liveness.due(now), Some(Due::Silent)));
        assert_eq!(liveness.pong(now, 6), None);
        assert_eq!(liveness.pong(now, 7), Some(SILENT_AFTER));
        assert_eq!(liveness.pong(now, 7), None, "each is answered once");
    }

    #[test]
    fn whatever_comes_after_a_ping_is_a_sign_of_life() {
        let start = Timestamp::from_millis(1_000_000);
        let mut liveness = Liveness::new(start);
        liveness.pinged(start, 1);
        let now = start + Duration::from_millis(1);
        liveness.heard(now);
        assert_eq!(liveness.next_timeout(), now + PING_AFTER);
    }
}
