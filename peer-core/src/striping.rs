//! Striping: which links get lanes, by measurement.
//!
//! Over a long way one connection carries what its window allows, however fast the line is.
//! So a link that chunks come over is measured without lanes, then with them, and keeps
//! them if more comes.

use crate::policy;
use shoal_protocol::{id::PeerId, sorted::SortedMap, time::Timestamp};
use std::time::Duration;

/// What is known of a link when it is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Bytes that came over it and its lanes so far.
    pub(crate) received: u64,
    /// Its shortest round trip.
    pub(crate) rtt: Option<Duration>,
    /// Whether chunks are asked for over it.
    pub(crate) is_busy: bool,
}

/// What a link is to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    AddLanes,
    DropLanes,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Has no lanes.
    Alone,
    /// Lanes were added when it carried `before` bytes a second; they settle for some rounds.
    Trying { before: f64, rounds: u32 },
    /// Has lanes that pay.
    Striped,
    /// Lanes did not pay.
    Resting { until: Timestamp },
}

#[derive(Clone, Copy, Debug)]
struct Stripe {
    phase: Phase,
    /// Begin of the round, and the bytes that had come by then.
    since: Timestamp,
    received: u64,
    /// When chunks were last asked for over it.
    busy: Timestamp,
}

/// The links that chunks come over.
#[derive(Debug, Default)]
pub(crate) struct Striping {
    stripes: SortedMap<PeerId, Stripe>,
    /// End of the round.
    next: Option<Timestamp>,
}

impl Striping {
    /// Whether a round has ended, or the first can begin. Rounds go on while chunks are asked
    /// for of anybody.
    pub(crate) fn is_due(&self, now: Timestamp, is_busy: bool) -> bool {
        match self.next {
            Some(next) => next <= now,
            None => is_busy,
        }
    }

    pub(crate) fn link_down(&mut self, peer: PeerId) {
        self.stripes.remove(&peer);
    }

    /// When the round ends.
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.next
    }

    /// Ends a round: judges the links, and takes on those over which chunks are asked for.
    pub(crate) fn end_round(
        &mut self,
        now: Timestamp,
        links: impl Iterator<Item = (PeerId, Measured)>,
    ) -> Vec<(PeerId, Verdict)> {
        let links: SortedMap<PeerId, Measured> = links.collect();
        let sources = links.values().filter(|measured| measured.is_busy).count();
        let mut verdicts = Vec::new();
        self.stripes.retain(|&peer, stripe| {
            let Some(&measured) = links.get(&peer) else {
                return false;
            };
            let is_idle = stripe.busy + policy::LANE_IDLE <= now && !measured.is_busy;
            let verdict = match is_idle {
                true => Some(Verdict::DropLanes),
                false => stripe.judge(now, measured, sources),
            };
            verdicts.extend(verdict.map(|verdict| (peer, verdict)));
            !is_idle
        });
        for (peer, measured) in links.into_iter().filter(|(_, measured)| measured.is_busy) {
            self.stripes.entry(peer).or_insert(Stripe {
                phase: Phase::Alone,
                since: now,
                received: measured.received,
                busy: now,
            });
        }
        self.next = (!self.stripes.is_empty()).then(|| now + policy::LANE_ROUND);
        verdicts
    }
}

impl Stripe {
    /// Ends a round; `sources` is the number of links that chunks come over.
    fn judge(&mut self, now: Timestamp, measured: Measured, sources: usize) -> Option<Verdict> {
        let span = now.since(std::mem::replace(&mut self.since, now));
        let before = std::mem::replace(&mut self.received, measured.received);
        let rate = measured.received.saturating_sub(before) as f64 / span.as_secs_f64();
        if !measured.is_busy {
            // What came says nothing about what could.
            return None;
        }
        self.busy = now;
        match self.phase {
            Phase::Resting { until } if now < until => None,
            Phase::Alone | Phase::Resting { .. } => {
                let is_far = measured.rtt.is_some_and(|rtt| rtt >= policy::LANE_RTT_MIN);
                let pays = is_far && rate >= policy::LANE_RATE_MIN;
                (pays && sources <= policy::LANE_SOURCES).then(|| {
                    self.phase = Phase::Trying {
                        before: rate,
                        rounds: 0,
                    };
                    Verdict::AddLanes
                })
            }
            Phase::Trying { before, .. } if rate >= before * policy::LANE_GAIN => {
                self.phase = Phase::Striped;
                None
            }
            Phase::Trying { before, rounds } if rounds < policy::LANE_ROUNDS => {
                let rounds = rounds + 1;
                self.phase = Phase::Trying { before, rounds };
                None
            }
            Phase::Trying { .. } => {
                let until = now + policy::LANE_REST;
                self.phase = Phase::Resting { until };
                Some(Verdict::DropLanes)
            }
            Phase::Striped => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_millis(40);

    /// Lets rounds pass in which the link carries `rates` bytes a second.
    fn judge(rtt: Duration, rates: &[f64]) -> Vec<Option<Verdict>> {
        let mut now = Timestamp::from_millis(1_000_000);
        let peer = PeerId::from_public_key([1; 32]);
        let mut striping = Striping::default();
        let mut received = 0;
        let round = |rate: &f64| {
            if let Some(next) = striping.next_timeout() {
                assert!(!striping.is_due(now, *rate > 0.0));
                now = next;
            }
            received += (rate * policy::LANE_ROUND.as_secs_f64()) as u64;
            let measured = Measured {
                received,
                rtt: Some(rtt),
                is_busy: *rate > 0.0,
            };
            if !striping.is_due(now, measured.is_busy) {
                assert!(
                    !measured.is_busy,
                    "rounds go on while there is something to do"
                );
                return None;
            }
            let verdicts = striping.end_round(now, [(peer, measured)].into_iter());
            verdicts.first().map(|(_, verdict)| *verdict)
        };
        rates.iter().map(round).collect()
    }

    #[test]
    fn a_far_link_keeps_lanes_that_pay() {
        let verdicts = judge(FAR, &[2e6, 2e6, 2e6, 6e6, 6e6, 2e6, 6e6]);
        assert_eq!(verdicts[1], Some(Verdict::AddLanes));
        assert_eq!(verdicts[2..], [None; 5]);
    }

    #[test]
    fn lanes_that_do_not_pay_are_dropped_and_not_tried_again_soon() {
        let verdicts = judge(FAR, &[2e6; 20]);
        assert_eq!(verdicts[1], Some(Verdict::AddLanes));
        let dropped = 2 + policy::LANE_ROUNDS as usize;
        assert_eq!(verdicts[dropped], Some(Verdict::DropLanes));
        assert!(verdicts[dropped + 1..].iter().all(Option::is_none));
    }

    #[test]
    fn a_near_or_slow_link_gets_none() {
        assert_eq!(judge(Duration::from_millis(1), &[2e7; 5]), [None; 5]);
        assert_eq!(judge(FAR, &[1e5; 5]), [None; 5]);
    }

    #[test]
    fn lanes_of_a_link_that_is_not_used_are_dropped_in_time() {
        let idle = policy::LANE_IDLE.as_millis() / policy::LANE_ROUND.as_millis();
        let mut rates = vec![2e6, 2e6, 6e6];
        rates.extend(vec![0.0; idle as usize + 5]);
        let verdicts = judge(FAR, &rates);
        assert!(verdicts[2..2 + idle as usize].iter().all(Option::is_none));
        assert_eq!(verdicts[2 + idle as usize], Some(Verdict::DropLanes));
        assert!(verdicts[3 + idle as usize..].iter().all(Option::is_none));
    }
}
