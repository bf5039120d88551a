//! What this peer holds in its namespace, as its logic sees it.

use crate::{
    fetch::held_bytes,
    io::{Content, StoredContent},
};
use shoal_protocol::{
    catalog::Entry,
    content::ContentKey,
    proof::{MAX_PROOF, Proof},
    sorted::SortedMap,
};
use std::sync::Arc;

/// Most bytes of proofs kept in memory; more are read from the store again. Guess: twice the
/// largest.
const CACHED_BYTES: usize = 2 * MAX_PROOF;

/// The contents of a node, and the proofs it needed lately.
#[derive(Default)]
pub(crate) struct Contents {
    by_key: SortedMap<ContentKey, StoredContent>,
    proofs: SortedMap<ContentKey, Arc<Proof>>,
}

impl Contents {
    pub(crate) fn new(contents: Vec<StoredContent>) -> Self {
        let by_key = contents
            .into_iter()
            .map(|content| (content.key, content))
            .collect();
        Self {
            by_key,
            proofs: SortedMap::new(),
        }
    }

    pub(crate) fn get(&self, key: ContentKey) -> Option<&StoredContent> {
        self.by_key.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: ContentKey) -> Option<&mut StoredContent> {
        self.by_key.get_mut(&key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &StoredContent> {
        self.by_key.values()
    }

    pub(crate) fn insert(&mut self, content: StoredContent) {
        self.by_key.insert(content.key, content);
    }

    pub(crate) fn remove(&mut self, key: ContentKey) -> Option<StoredContent> {
        self.proofs.remove(&key);
        self.by_key.remove(&key)
    }

    pub(crate) fn proof(&self, key: ContentKey) -> Option<Arc<Proof>> {
        self.proofs.get(&key).cloned()
    }

    pub(crate) fn cache_proof(&mut self, proof: Arc<Proof>) {
        self.proofs.insert(proof.key(), proof.clone());
        let bytes = self.proofs.values().map(|proof| proof.to_bytes().len());
        if bytes.sum::<usize>() > CACHED_BYTES {
            self.proofs.retain(|key, _| *key == proof.key());
        }
    }

    /// What the catalog lists: whatever at least one chunk is held of.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let listed = self
            .by_key
            .values()
            .filter(|content| !content.held.is_empty());
        listed
            .map(|content| Entry {
                key: content.key,
                size: content.size,
                complete: content.held.is_full(),
                metadata: content.metadata.clone(),
                collection: None,
            })
            .collect()
    }
}

/// A content as the API shows it.
pub(crate) fn describe(stored: &StoredContent) -> Content {
    Content {
        key: stored.key,
        size: stored.size.bytes(),
        held: held_bytes(stored.size, &stored.held),
        pinned: stored.pinned,
        metadata: stored.metadata.clone(),
    }
}
