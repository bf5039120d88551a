//! Of whom the proof of a content is asked, one source after the other.

use crate::{policy, random::Random};
use shoal_protocol::{id::PeerId, sorted::SortedSet, time::Timestamp};

/// Rounds in which each source is asked for the proof once, in random order.
#[derive(Debug, Default)]
pub(super) struct ProofRounds {
    /// Who was asked last, and when.
    asked: Option<(PeerId, Timestamp)>,
    /// Who was asked in this round.
    tried: SortedSet<PeerId>,
    /// How many rounds there were before.
    rounds: u32,
    /// When something new of the answer came last.
    heard: Option<Timestamp>,
}

impl ProofRounds {
    /// When another of the sources that `can_prove` it is asked, if the one that was asked does
    /// not answer: soon if there is another, for the first may have a long queue.
    pub(super) fn due(&self, can_prove: &[PeerId]) -> Option<Timestamp> {
        let (peer, asked) = self.asked?;
        let has_other = can_prove.iter().any(|other| *other != peer);
        let last = asked + policy::PROOF_TIMEOUT;
        // Longer in each round: who is asked again is last in the queue again.
        let patience = policy::PROOF_HEDGE * (1 << self.rounds.min(8));
        let heard = self.heard.unwrap_or(asked);
        Some(if has_other {
            last.min(heard + patience)
        } else {
            last
        })
    }

    /// Goes on to the next source. Gives who need not answer any more, and who is asked now.
    pub(super) fn next(
        &mut self,
        now: Timestamp,
        mut can_prove: Vec<PeerId>,
        random: &mut Random,
    ) -> (Option<PeerId>, Option<PeerId>) {
        let last = self.asked.take().map(|(peer, _)| peer);
        if !can_prove.is_empty() && can_prove.iter().all(|peer| self.tried.contains(peer)) {
            self.tried = last.filter(|_| can_prove.len() > 1).into_iter().collect();
            self.rounds += 1;
        }
        can_prove.retain(|peer| !self.tried.contains(peer));
        let at = random.below(can_prove.len() as u32) as usize;
        let next = can_prove.get(at).copied();
        if let Some(peer) = next {
            self.asked = Some((peer, now));
            self.tried.insert(peer);
            self.heard = None;
        }
        (last, next)
    }

    /// Something new of the answer came.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.heard = Some(now);
    }

    /// Nobody is asked any more.
    pub(super) fn take_back(&mut self) {
        self.asked = None;
    }

    /// A source is not asked any more.
    pub(super) fn take_back_from(&mut self, peer: PeerId) {
        if self.asked.is_some_and(|(asked, _)| asked == peer) {
            self.asked = None;
        }
    }
}
