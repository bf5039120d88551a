//! Striping: which links get lanes, by measurement.
//!
//! Over a long way one connection carries what its window allows, however fast the line is.
//! So a link that chunks come over is measured without lanes, then with them, and keeps
//! them if more comes. What paid once need not pay for ever: now and then, ever more seldom,
//! and soon when it carries no more than lanes would pay for, a link is measured without them
//! again.

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
    /// Its lanes that are up.
    pub(crate) lanes: usize,
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
    /// Has lanes that pay, since then: it carried `before` bytes a second without them and
    /// carries `with` now.
    Striped {
        before: f64,
        with: f64,
        since: Timestamp,
    },
    /// Its lanes are closed, to see for some rounds what it carries without. It carried `with`
    /// bytes a second with them.
    Checked { with: f64, rounds: u32 },
    /// Lanes did not pay.
    Resting { until: Timestamp },
}

#[derive(Clone, Copy, Debug)]
struct Stripe {
    phase: Phase,
    /// How long lanes that pay are kept before they are measured again.
    keep: Duration,
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
                keep: policy::LANE_KEEP,
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
                self.phase = Phase::Striped {
                    before,
                    with: rate,
                    since: now,
                };
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
            Phase::Striped { .. } if measured.lanes == 0 => {
                // They broke.
                self.phase = Phase::Alone;
                None
            }
            Phase::Striped {
                before,
                with,
                since,
            } => {
                let with = (with * 3.0 + rate) / 4.0;
                let doubt = with < before * policy::LANE_GAIN;
                let keep = if doubt {
                    self.keep / policy::LANE_DOUBT
                } else {
                    self.keep
                };
                if now < since + keep {
                    self.phase = Phase::Striped {
                        before,
                        with,
                        since,
                    };
                    return None;
                }
                self.keep = (self.keep * 2).min(policy::LANE_KEEP_MAX);
                self.phase = Phase::Checked { with, rounds: 0 };
                Some(Verdict::DropLanes)
            }
            Phase::Checked { .. } if measured.lanes > 0 => None,
            Phase::Checked { with, .. }
                if rate * policy::LANE_GAIN > with || sources > policy::LANE_SOURCES =>
            {
                let until = now + policy::LANE_REST;
                self.phase = Phase::Resting { until };
                None
            }
            Phase::Checked { with, rounds } if rounds < policy::LANE_ALONE => {
                // What was lost with them comes first.
                let rounds = rounds + 1;
                self.phase = Phase::Checked { with, rounds };
                None
            }
            Phase::Checked { .. } => {
                self.phase = Phase::Trying {
                    before: rate,
                    rounds: 0,
                };
                Some(Verdict::AddLanes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_millis(40);

    /// Lets rounds pass in which the link carries `rates` bytes a second.
    fn judge(rtt: Duration, rates: &[f64]) -> Vec<Option<Verdict>> {
        let rates = rates.iter().copied();
        judge_by(rtt, rates.map(|rate| (rate, rate)))
    }

    /// The same where it carries more, or less, with lanes: the second rate.
    fn judge_by(rtt: Duration, rates: impl Iterator<Item = (f64, f64)>) -> Vec<Option<Verdict>> {
        let mut lanes = 0;
        let mut now = Timestamp::from_millis(1_000_000);
        let peer = PeerId::from_public_key([1; 32]);
        let mut striping = Striping::default();
        let mut received = 0;
        let round = |(alone, striped): (f64, f64)| {
            let rate = if lanes > 0 { striped } else { alone };
            if let Some(next) = striping.next_timeout() {
                assert!(!striping.is_due(now, rate > 0.0));
                now = next;
            }
            received += (rate * policy::LANE_ROUND.as_secs_f64()) as u64;
            let measured = Measured {
                received,
                rtt: Some(rtt),
                lanes,
                is_busy: rate > 0.0,
            };
            if !striping.is_due(now, measured.is_busy) {
                assert!(
                    !measured.is_busy,
                    "rounds go on while there is something to do"
                );
                return None;
            }
            let verdicts = striping.end_round(now, [(peer, measured)].into_iter());
            let verdict = verdicts.first().map(|(_, verdict)| *verdict);
            match verdict {
                Some(Verdict::AddLanes) => lanes = policy::LANES_MAX,
                Some(Verdict::DropLanes) => lanes = 0,
                None => {}
            }
            verdict
        };
        rates.map(round).collect()
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

    /// Rounds of so many seconds.
    fn rounds(seconds: u32) -> usize {
        (Duration::from_secs(seconds.into()).as_millis() / policy::LANE_ROUND.as_millis()) as usize
    }

    #[test]
    fn lanes_that_pay_cost_little_to_be_measured_again() {
        let hour = rounds(3600);
        let verdicts = judge_by(FAR, std::iter::repeat_n((2e6, 6e6), hour));
        let adds = verdicts
            .iter()
            .filter(|verdict| **verdict == Some(Verdict::AddLanes));
        assert!((5..=15).contains(&adds.count()));
        let mut lanes = false;
        let without = verdicts.iter().filter(|verdict| {
            lanes = verdict.map_or(lanes, |verdict| verdict == Verdict::AddLanes);
            !lanes
        });
        assert!(without.count() * 100 < hour);
    }

    #[test]
    fn lanes_that_no_longer_pay_are_dropped() {
        let paid = std::iter::repeat_n((2e6, 6e6), rounds(10));
        // The line of the source is busy elsewhere, and carries as much as one connection; or
        // the way has become so near that one connection carries all of it.
        for (later, within) in [((2e6, 2e6), 30), ((6e6, 6e6), 120)] {
            let rates = paid.clone().chain(std::iter::repeat_n(later, rounds(300)));
            let verdicts = judge_by(FAR, rates);
            let drops = |verdict: &Option<Verdict>| *verdict == Some(Verdict::DropLanes);
            let first = verdicts.iter().position(drops).expect("they are dropped");
            assert!(first < rounds(10 + within), "{first}");
            // From then on they are tried as seldom as where they never paid.
            let with = verdicts[first..].iter().scan(false, |lanes, verdict| {
                *lanes = verdict.map_or(*lanes, |verdict| verdict == Verdict::AddLanes);
                Some(*lanes)
            });
            let with = with.filter(|lanes| *lanes).count();
            assert!(with * 12 < rounds(300), "{with}");
        }
    }

    #[test]
    fn lanes_of_a_way_that_became_slower_stay() {
        let slower = std::iter::repeat_n((5e5, 2e6), rounds(300));
        let rates = std::iter::repeat_n((2e6, 6e6), rounds(10)).chain(slower);
        let verdicts = judge_by(FAR, rates);
        let last = verdicts.iter().rev().find_map(|verdict| *verdict);
        assert_eq!(last, Some(Verdict::AddLanes));
    }

    #[test]
    fn lanes_that_broke_are_made_anew() {
        let mut striping = Striping::default();
        let peer = PeerId::from_public_key([1; 32]);
        let mut verdicts = Vec::new();
        let mut now = Timestamp::from_millis(1_000_000);
        for (received, lanes) in [(0, 0), (1, 0), (4, 3), (7, 3), (8, 0), (9, 0)] {
            let measured = Measured {
                received: received * 1_000_000,
                rtt: Some(FAR),
                lanes,
                is_busy: true,
            };
            let all = striping.end_round(now, [(peer, measured)].into_iter());
            verdicts.extend(all.into_iter().map(|(_, verdict)| verdict));
            now = now + policy::LANE_ROUND;
        }
        assert_eq!(verdicts, [Verdict::AddLanes; 2]);
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
