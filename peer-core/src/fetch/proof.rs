//! Of whom the proof of a content is asked: one source, and another whenever those that were
//! asked take long.

use crate::{policy, random::Random};
use shoal_protocol::{id::PeerId, sorted::SortedSet, time::Timestamp};

/// A source that is asked.
#[derive(Debug)]
struct Asked {
    peer: PeerId,
    since: Timestamp,
    /// When something new of its answer came last, or it was asked.
    heard: Timestamp,
}

/// Rounds in which each source is asked for the proof once, in random order. Whoever was asked
/// before may still answer, and the first that comes is taken.
#[derive(Debug, Default)]
pub(super) struct ProofRounds {
    /// Who is asked; the oldest first.
    asked: Vec<Asked>,
    /// Who was asked in this round.
    tried: SortedSet<PeerId>,
    /// How often somebody was asked.
    times: u32,
}

impl ProofRounds {
    /// When another of the sources that `can_prove` it is asked, if none of those that were
    /// asked answers: soon if there is another, for a source may have gone silent.
    pub(super) fn due(&self, can_prove: &[PeerId]) -> Option<Timestamp> {
        let newest = self.asked.last()?;
        let given_up = self.asked.iter().map(Asked::given_up_at).min()?;
        // Longer each time from the third on, as it is more likely that all of them are slow.
        let patience = policy::PROOF_HEDGE * (1 << self.times.saturating_sub(2).min(3));
        // A long answer takes its time, but nobody holds others back for long by dripping.
        let heard = self.asked.iter().map(|asked| asked.heard).max()?;
        let hedge = (heard + patience).min(newest.since + patience * policy::PROOF_DRIPS);
        let has_other = can_prove.iter().any(|peer| !self.is_asked(*peer));
        Some(if has_other {
            given_up.min(hedge)
        } else {
            given_up
        })
    }

    /// Goes on to the next source. Gives who need not answer any more, and who is asked now.
    pub(super) fn next(
        &mut self,
        now: Timestamp,
        mut can_prove: Vec<PeerId>,
        random: &mut Random,
    ) -> (Option<PeerId>, Option<PeerId>) {
        // Who has been silent for longest.
        let silent = self.asked.iter().enumerate();
        let silent = silent.min_by_key(|(_, asked)| asked.heard);
        let given_up = silent.filter(|(_, asked)| {
            self.asked.len() >= policy::PROOF_ASKED || asked.given_up_at() <= now
        });
        let given_up = given_up.map(|(at, _)| at);
        let given_up = given_up.map(|at| self.asked.remove(at).peer);
        if can_prove.iter().all(|peer| self.tried.contains(peer)) {
            let given_up = given_up.filter(|_| can_prove.len() > 1);
            let still = self.asked.iter().map(|asked| asked.peer);
            self.tried = still.chain(given_up).collect();
        }
        can_prove.retain(|peer| !self.tried.contains(peer));
        let at = random.below(can_prove.len() as u32) as usize;
        let next = can_prove.get(at).copied();
        if let Some(peer) = next {
            self.asked.push(Asked {
                peer,
                since: now,
                heard: now,
            });
            self.tried.insert(peer);
            self.times = self.times.saturating_add(1);
        }
        (given_up, next)
    }

    fn is_asked(&self, peer: PeerId) -> bool {
        self.asked.iter().any(|asked| asked.peer == peer)
    }

    /// Something new of an answer came.
    pub(super) fn heard(&mut self, now: Timestamp, peer: PeerId) {
        let asked = self.asked.iter_mut().find(|asked| asked.peer == peer);
        if let Some(asked) = asked {
            asked.heard = now;
        }
    }

    /// Nobody is asked any more, and whoever is next is asked as the first.
    pub(super) fn take_back(&mut self) {
        self.asked.clear();
        self.times = 0;
    }

    /// A source is not asked any more.
    pub(super) fn take_back_from(&mut self, peer: PeerId) {
        self.asked.retain(|asked| asked.peer != peer);
    }
}

impl Asked {
    /// When it is waited for no longer, if nothing new comes from it.
    fn given_up_at(&self) -> Timestamp {
        self.heard + policy::PROOF_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    fn peers(count: u8) -> Vec<PeerId> {
        let peer = |number| PeerId::from_public_key([number; 32]);
        (0..count).map(peer).collect()
    }

    /// Asks as long as nobody has answered, while every one that is asked sends something all the
    /// while. Gives when each was asked.
    fn asked(count: u8, drips: bool) -> Vec<(PeerId, Duration)> {
        let (peers, mut random) = (peers(count), Random::new([7; 32]));
        let (mut rounds, mut asked) = (ProofRounds::default(), Vec::new());
        for step in 0..1000 {
            let now = START + Duration::from_millis(10 * step);
            for peer in peers.iter().filter(|_| drips) {
                rounds.heard(now, *peer);
            }
            if rounds.due(&peers).is_none_or(|due| due <= now)
                && let (_, Some(peer)) = rounds.next(now, peers.clone(), &mut random)
            {
                asked.push((peer, now.since(START)));
            }
        }
        asked
    }

    #[test]
    fn nobody_holds_others_back_for_long_whether_silent_or_dripping() {
        let silent = asked(8, false);
        let mut first: Vec<PeerId> = silent.iter().take(8).map(|(peer, _)| *peer).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 8, "each is asked once before any is again");
        assert!(silent[2].1 <= policy::PROOF_HEDGE * 2, "{silent:?}");
        let dripping = asked(8, true);
        let most = policy::PROOF_HEDGE * policy::PROOF_DRIPS * 2;
        assert!(dripping[2].1 <= most, "{dripping:?}");
    }

    #[test]
    fn a_lone_source_that_sends_is_asked_once_and_a_silent_one_again() {
        assert_eq!(asked(1, true).len(), 1);
        assert_eq!(asked(1, false).len(), 2);
    }
}
