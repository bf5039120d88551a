//! A store in memory, for pages without a disk, for simulations and for tests.

use crate::io::{Slot, StoreAnswer, StoreError, StoreRequest, StoredContent};
use shoal_protocol::{
    content::ContentKey,
    namespace::Namespace,
    sorted::{SortedMap, SortedSet},
};
use std::sync::Arc;

/// The store of a peer that keeps nothing. It is the reference for what every store does.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: SortedMap<ContentKey, Record>,
    chunks: SortedMap<(Slot, u32), Vec<u8>>,
    bytes: u64,
    capacity: Option<u64>,
}

#[derive(Debug)]
struct Record {
    content: StoredContent,
    proof: Arc<Vec<u8>>,
    namespaces: SortedSet<Namespace>,
}

impl MemoryStore {
    /// Limits the bytes of chunks; what does not fit fails with [`StoreError::Quota`].
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    /// Leaves a content with a proof that proves nothing.
    #[cfg(feature = "test-hooks")]
    pub fn damage_proof(&mut self, key: ContentKey) {
        if let Some(record) = self.contents.get_mut(&key) {
            record.proof = Arc::default();
        }
    }

    /// What is held for a namespace, as [`crate::io::Config::contents`] wants it.
    pub fn contents(&self, namespace: &Namespace) -> Vec<StoredContent> {
        let shared = self
            .contents
            .values()
            .filter(|record| record.namespaces.contains(namespace));
        shared.map(|record| record.content.clone()).collect()
    }

    /// All that is held, with the namespaces in which it is shared, as
    /// [`crate::Space::new`] wants it.
    pub fn all(&self) -> Vec<(StoredContent, SortedSet<Namespace>)> {
        let records = self.contents.values();
        records
            .map(|record| (record.content.clone(), record.namespaces.clone()))
            .collect()
    }

    /// Does what a node in `namespace` asks.
    pub fn handle(
        &mut self,
        namespace: &Namespace,
        request: StoreRequest,
    ) -> Result<StoreAnswer, StoreError> {
        match request {
            StoreRequest::PutChunks { slot, chunks, .. } => {
                let added: u64 = chunks.iter().map(|chunk| chunk.bytes().len() as u64).sum();
                if self
                    .capacity
                    .is_some_and(|capacity| self.bytes + added > capacity)
                {
                    return Err(StoreError::Quota);
                }
                for chunk in chunks {
                    let index = chunk.index();
                    self.bytes += chunk.bytes().len() as u64;
                    if let Some(old) = self.chunks.insert((slot, index), chunk.into_bytes()) {
                        self.bytes -= old.len() as u64;
                    }
                    if let Some(content) = self.content_of(slot) {
                        content.held.insert(index);
                    }
                }
                Ok(StoreAnswer::Done)
            }
            StoreRequest::GetChunk { slot, index } => {
                Ok(StoreAnswer::Chunk(self.chunks.get(&(slot, index)).cloned()))
            }
            StoreRequest::DropChunk { slot, index } => {
                self.drop_chunk(slot, index);
                if let Some(content) = self.content_of(slot) {
                    content.held.remove(index);
                }
                Ok(StoreAnswer::Done)
            }
            StoreRequest::PutContent { content, proof } => {
                let key = content.key;
                let mut namespaces = SortedSet::new();
                let pinned = content.pinned;
                if let Some(mut old) = self.contents.remove(&key) {
                    namespaces = old.namespaces.clone();
                    old.content.pinned |= pinned;
                    if content.held.is_full() && !old.content.held.is_full() {
                        self.drop_slot(old.content.slot);
                        let pinned = old.content.pinned;
                        let content = StoredContent { pinned, ..content };
                        self.contents.insert(
                            key,
                            Record {
                                content,
                                proof,
                                namespaces,
                            },
                        );
                    } else {
                        if content.slot != old.content.slot {
                            self.drop_slot(content.slot);
                        }
                        if !proof.is_empty() {
                            old.proof = proof;
                        }
                        self.contents.insert(key, old);
                    }
                } else {
                    self.contents.insert(
                        key,
                        Record {
                            content,
                            proof,
                            namespaces,
                        },
                    );
                }
                let record = self.contents.get_mut(&key);
                Ok(StoreAnswer::Content(record.map(|record| {
                    record.namespaces.insert(namespace.clone());
                    record.content.clone()
                })))
            }
            StoreRequest::SetWanted { key, wanted } => {
                if let Some(record) = self.contents.get_mut(&key) {
                    record.content.wanted = wanted;
                }
                Ok(StoreAnswer::Done)
            }
            StoreRequest::SetComplete { key } => {
                if let Some(record) = self.contents.get_mut(&key) {
                    record.content.wanted = false;
                }
                Ok(StoreAnswer::Done)
            }
            StoreRequest::FindContent { key } => Ok(StoreAnswer::Content(
                self.contents.get(&key).map(|record| record.content.clone()),
            )),
            StoreRequest::GetProof { key } => Ok(StoreAnswer::Proof(
                self.contents.get(&key).map(|record| record.proof.to_vec()),
            )),
            StoreRequest::RemoveContent { key } => {
                if let Some(record) = self.contents.get_mut(&key) {
                    record.namespaces.remove(namespace);
                    if record.namespaces.is_empty() {
                        self.drop_content(key);
                    }
                }
                Ok(StoreAnswer::Done)
            }
            StoreRequest::DropContent { key } => {
                self.drop_content(key);
                Ok(StoreAnswer::Done)
            }
            StoreRequest::SetPinned { key, pinned } => {
                if let Some(record) = self.contents.get_mut(&key) {
                    record.content.pinned = pinned;
                }
                Ok(StoreAnswer::Done)
            }
            StoreRequest::SetUsed(uses) => {
                for (key, used) in uses {
                    if let Some(record) = self.contents.get_mut(&key) {
                        record.content.used = used;
                    }
                }
                Ok(StoreAnswer::Done)
            }
            StoreRequest::DropSlot { slot } => {
                self.drop_slot(slot);
                Ok(StoreAnswer::Done)
            }
        }
    }

    fn content_of(&mut self, slot: Slot) -> Option<&mut StoredContent> {
        let mut contents = self.contents.values_mut().map(|record| &mut record.content);
        contents.find(|content| content.slot == slot)
    }

    fn drop_chunk(&mut self, slot: Slot, index: u32) {
        if let Some(old) = self.chunks.remove(&(slot, index)) {
            self.bytes -= old.len() as u64;
        }
    }

    fn drop_content(&mut self, key: ContentKey) {
        if let Some(record) = self.contents.remove(&key) {
            self.drop_slot(record.content.slot);
        }
    }

    fn drop_slot(&mut self, slot: Slot) {
        let bytes = &mut self.bytes;
        self.chunks.retain(|(of, _), chunk| {
            if *of == slot {
                *bytes -= chunk.len() as u64;
            }
            *of != slot
        });
    }
}
