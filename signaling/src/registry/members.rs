//! A namespace: who is in it, who still has room in the view, and who holds what.

use super::SessionId;
use rand_core::Rng;
use shoal_protocol::{content::ContentKey, id::PeerId, sorted::SortedSet};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// The members of a namespace.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_peer: BTreeMap<PeerId, SessionId>,
    /// The same, in an order that lets one be drawn at random.
    list: Vec<SessionId>,
    place: BTreeMap<SessionId, usize>,
    /// Members who are shown fewer peers than a view holds.
    pub roomy: SortedSet<SessionId>,
    providers: BTreeMap<ContentKey, BTreeSet<SessionId>>,
}

impl Members {
    pub fn insert(&mut self, peer: PeerId, session: SessionId) {
        self.by_peer.insert(peer, session);
        self.place.insert(session, self.list.len());
        self.list.push(session);
    }

    pub fn remove(&mut self, peer: &PeerId, session: SessionId) {
        self.by_peer.remove(peer);
        self.roomy.remove(&session);
        let Some(at) = self.place.remove(&session) else {
            return;
        };
        self.list.swap_remove(at);
        if let Some(moved) = self.list.get(at) {
            self.place.insert(*moved, at);
        }
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Members in the order of their ids, from the first after this one.
    pub fn after(&self, peer: Option<PeerId>) -> impl Iterator<Item = (&PeerId, SessionId)> {
        let start = peer.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.by_peer.range((start, Bound::Unbounded));
        range.map(|(peer, session)| (peer, *session))
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn session_of(&self, peer: &PeerId) -> Option<SessionId> {
        self.by_peer.get(peer).copied()
    }

    /// Up to `count` members that `skip` does not name, drawn at random.
    ///
    /// Floyd's algorithm (Bentley, Programming Pearls, CACM 30(9), 1987), drawing as many
    /// more as could be skipped.
    pub fn sample(
        &self,
        count: usize,
        skip: &SortedSet<SessionId>,
        rng: &mut impl Rng,
    ) -> Vec<SessionId> {
        let all = self.list.len();
        let draw = count.saturating_add(skip.len()).min(all);
        let mut drawn = BTreeSet::new();
        for last in all - draw..all {
            let at = below(last + 1, rng);
            if !drawn.insert(at) {
                drawn.insert(last);
            }
        }
        let mut sample: Vec<SessionId> = drawn
            .into_iter()
            .filter_map(|at| self.list.get(at).copied())
            .filter(|session| !skip.contains(session))
            .collect();
        // More may be left than wanted: which ones must not depend on their place.
        while sample.len() > count {
            sample.swap_remove(below(sample.len(), rng));
        }
        sample
    }

    /// One member other than `asker` and those in `skip`, drawn at random.
    pub fn draw(
        &self,
        asker: SessionId,
        skip: &SortedSet<SessionId>,
        rng: &mut impl Rng,
    ) -> Option<SessionId> {
        // In a crowded namespace nearly every draw hits.
        for _ in 0..8 {
            let session = *self.list.get(below(self.list.len().max(1), rng))?;
            if session != asker && !skip.contains(&session) {
                return Some(session);
            }
        }
        let mut skip = skip.clone();
        skip.insert(asker);
        self.sample(1, &skip, rng).pop()
    }

    pub fn add_provider(&mut self, key: ContentKey, session: SessionId) {
        self.providers.entry(key).or_default().insert(session);
    }

    pub fn remove_provider(&mut self, key: &ContentKey, session: SessionId) {
        if let Some(sessions) = self.providers.get_mut(key) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.providers.remove(key);
            }
        }
    }

    pub fn providers(&self, key: &ContentKey) -> impl Iterator<Item = SessionId> {
        self.providers.get(key).into_iter().flatten().copied()
    }

    #[cfg(test)]
    pub fn sessions(&self) -> impl Iterator<Item = (&PeerId, SessionId)> {
        self.by_peer.iter().map(|(peer, session)| (peer, *session))
    }
}

/// A random number below `bound`, which is not zero.
pub(super) fn below(bound: usize, rng: &mut impl Rng) -> usize {
    // The high half of a 64 by 64 bit product (Lemire 2019); its bias is below 2^-32 here.
    let product = u128::from(rng.next_u64()) * bound as u128;
    (product >> 64) as usize
}
