//! Of whom the proof of a content is asked: one source, and another whenever those that were
//! asked take long.

use crate::{policy, random::Random};
use shoal_protocol::{id::PeerId, sorted::SortedSet, time::Timestamp};

/// Rounds in which each source is asked for the proof once, in random order. Whoever was asked
/// before may still answer: a proof is small, and the first that comes is taken.
#[derive(Debug, Default)]
pub(super) struct ProofRounds {
    /// Who is asked, and since when; the oldest first.
    asked: Vec<(PeerId, Timestamp)>,
    /// Who was asked in this round.
    tried: SortedSet<PeerId>,
    /// How often somebody was asked.
    times: u32,
    /// When something new of an answer came last.
    heard: Option<Timestamp>,
}

impl ProofRounds {
    /// When another of the sources that `can_prove` it is asked, if none of those that were
    /// asked answers: soon if there is another, for a source may have gone silent.
    pub(super) fn due(&self, can_prove: &[PeerId]) -> Option<Timestamp> {
        let (_, oldest) = *self.asked.first()?;
        let (_, newest) = *self.asked.last()?;
        let last = oldest + policy::PROOF_TIMEOUT;
        // Longer each time from the third on, as it is more likely that all of them are slow.
        let patience = policy::PROOF_HEDGE * (1 << self.times.saturating_sub(2).min(8));
        let heard = self.heard.map_or(newest, |heard| heard.max(newest));
        let has_other = can_prove.iter().any(|peer| !self.is_asked(*peer));
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
        let oldest = self.asked.first().copied();
        let given_up = oldest.filter(|(_, asked)| {
            self.asked.len() >= policy::PROOF_ASKED || *asked + policy::PROOF_TIMEOUT <= now
        });
        if given_up.is_some() {
            self.asked.remove(0);
        }
        if can_prove.iter().all(|peer| self.tried.contains(peer)) {
            let given_up = given_up.filter(|_| can_prove.len() > 1);
            let still = self.asked.iter().chain(&given_up);
            self.tried = still.map(|(peer, _)| *peer).collect();
        }
        can_prove.retain(|peer| !self.tried.contains(peer));
        let at = random.below(can_prove.len() as u32) as usize;
        let next = can_prove.get(at).copied();
        if let Some(peer) = next {
            self.asked.push((peer, now));
            self.tried.insert(peer);
            self.times = self.times.saturating_add(1);
        }
        (given_up.map(|(peer, _)| peer), next)
    }

    fn is_asked(&self, peer: PeerId) -> bool {
        self.asked.iter().any(|(asked, _)| *asked == peer)
    }

    /// Something new of an answer came.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.heard = Some(now);
    }

    /// Nobody is asked any more.
    pub(super) fn take_back(&mut self) {
        self.asked.clear();
    }

    /// A source is not asked any more.
    pub(super) fn take_back_from(&mut self, peer: PeerId) {
        self.asked.retain(|(asked, _)| *asked != peer);
    }
}
