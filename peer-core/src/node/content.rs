//! Steps 5 to 7 of the workflow as far as the store takes part: beginning a fetch, recording
//! it, storing its chunks; and what each store operation that has ended is for.

use super::{NeedsProof, Node, Op};
use crate::{
    contents::describe,
    io::{
        Answer, Code, Error, Event, Progress, StoreAnswer, StoreError, StoreRequest, StoredContent,
    },
};
use shoal_protocol::{
    bits::Bits, catalog::Metadata, content::ContentKey, id::PeerId, proof::Proof,
    sorted::SortedSet, time::Timestamp,
};
use std::sync::Arc;

/// Most contents remembered that went to make room. Guess: more go in no session.
const EVICTED_MAX: usize = 4096;

impl Node {
    /// Goes on with what was being fetched when the store was last closed.
    pub(super) fn resume_wanted(&mut self) {
        let unfinished = self
            .contents
            .iter()
            .filter(|content| content.wanted && !content.held.is_full());
        let keys: Vec<ContentKey> = unfinished.map(|content| content.key).collect();
        for key in keys {
            self.with_proof(key, NeedsProof::Fetch);
        }
    }

    /// Begins to fetch a content, with whatever of it is held already.
    pub(super) fn begin_fetch(&mut self, now: Timestamp, key: ContentKey) {
        match self.contents.get(key) {
            Some(_) => {
                self.note_wanted(key);
                self.with_proof(key, NeedsProof::Fetch);
            }
            None => {
                self.transfers.start(key);
                self.store(Op::Find { key }, StoreRequest::FindContent { key });
            }
        }
        self.search_anew(now);
    }

    /// The proof of a fetched content has come: it gets its record.
    pub(super) fn record(&mut self, now: Timestamp, key: ContentKey, proof: &Arc<Proof>) {
        let size = proof.size();
        if let Some(stated) = self.replicating.get(&key)
            && *stated != size.bytes()
        {
            // Somebody made it look smaller to get it under the budget.
            self.replicating.remove(&key);
            return self.transfers.stop(key);
        }
        let metadata = self.metadata_of(key);
        let held = Bits::new(size.chunks());
        let content = StoredContent {
            key,
            slot: self.new_slot(),
            size,
            metadata,
            held,
            wanted: self.transfers.wants_all(key),
            pinned: self.to_pin.contains(&key),
            used: now.unix_millis(),
        };
        self.contents.cache_proof(proof.clone());
        self.store(
            Op::Record { key },
            StoreRequest::PutContent {
                content,
                proof: proof.to_bytes(),
            },
        );
    }

    /// What the peers that hold a content say of it: the complete holder with the smallest id
    /// is believed, so that all peers show the same.
    fn metadata_of(&self, key: ContentKey) -> Metadata {
        let holders = self.catalogs.holders(key);
        let best = holders.min_by_key(|(peer, entry)| (!entry.complete, *peer));
        best.map(|(_, entry)| entry.metadata.clone())
            .unwrap_or_default()
    }

    /// (7) A chunk is in the store: only now it counts.
    pub(super) fn chunk_stored(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        index: u32,
        peer: PeerId,
    ) {
        let Some(content) = self.contents.get_mut(key) else {
            return;
        };
        let first = content.held.is_empty();
        content.held.insert(index);
        if first {
            self.own_catalog.touch();
        }
        self.event(Event::Chunk { key, index, peer });
        self.chunk_is_fresh(now, key, index);
        let readers = self.read_calls.remove(&(key, index));
        for call in readers.into_iter().flatten() {
            self.with_proof(key, NeedsProof::Read(call, index));
            self.reads_changed(key);
        }
    }

    pub(super) fn fetch_complete(&mut self, key: ContentKey) {
        self.providers.remove(&key);
        self.searched.remove(&key);
        self.replicating.remove(&key);
        self.store(Op::Quiet, StoreRequest::SetComplete { key });
        self.own_catalog.touch();
        let Some(content) = self.contents.get_mut(key) else {
            return;
        };
        content.wanted = false;
        let content = describe(content);
        self.event(Event::Content {
            content,
            removed: false,
        });
    }

    pub(super) fn report(&mut self, key: ContentKey, progress: Progress) {
        let content = self.contents.get(key).map(describe);
        self.event(Event::Progress {
            key,
            content,
            progress,
        });
    }

    /// A store operation has ended.
    pub(super) fn stored(
        &mut self,
        now: Timestamp,
        op: Op,
        result: Result<StoreAnswer, StoreError>,
    ) {
        if result == Err(StoreError::Superseded) {
            self.event(Event::Superseded);
        }
        match op {
            Op::Put { key, from } => self.transfers.stored(now, key, from, result.map(|_| ())),
            Op::Record { key } => self.record_stored(now, key, result),
            Op::Find { key } => {
                if let Ok(StoreAnswer::Content(Some(mut content))) = result
                    && self.contents.get(key).is_none()
                    && self.transfers.is_fetching(key)
                {
                    content.pinned |= self.to_pin.remove(&key);
                    self.store(
                        Op::Adopt { key },
                        StoreRequest::PutContent {
                            content,
                            proof: Arc::default(),
                        },
                    );
                }
            }
            Op::Adopt { key } => {
                if let Ok(StoreAnswer::Content(Some(content))) = result {
                    let complete = content.held.is_full();
                    self.contents.insert(content);
                    self.own_catalog.touch();
                    if complete {
                        self.transfers.stop(key);
                        self.answer_fetch_calls(key);
                        self.fetch_complete(key);
                    } else if self.transfers.is_fetching(key) {
                        self.begin_fetch(now, key);
                    } else {
                        self.note_fetched(key);
                    }
                }
            }
            Op::LoadProof { key } => self.proof_loaded(now, key, result),
            Op::UploadChunk {
                link,
                wanted,
                index,
            } => self.upload_read(now, link, wanted, index, result),
            Op::ReadChunk { call, key, index } => self.chunk_read(now, call, key, index, result),
            Op::PublishPut { call, range } => self.published(now, call, &range, result),
            Op::PublishRecord { call, proof } => {
                self.publication_recorded(now, call, proof, result)
            }
            Op::Remove { call } => match result {
                Ok(_) => self.answer(call, Answer::Done),
                Err(error) => self.fail_store(call, &error),
            },
            Op::Pin { key, pinned, call } => {
                if result.is_ok() {
                    self.pinned(key, pinned);
                }
                let Some(call) = call else {
                    return;
                };
                match result {
                    // It was removed, or made room, while the store was asked.
                    Ok(_) if self.contents.get(key).is_none() => {
                        self.fail(call, Code::NotHeld, "it is not held here any more");
                    }
                    Ok(_) => self.answer(call, Answer::Done),
                    Err(error) => self.fail_store(call, &error),
                }
            }
            Op::Quiet => {
                if let Err(StoreError::Failed(why)) = result {
                    self.event(Event::Error {
                        error: Error::new(Code::StoreFailed, why),
                    });
                }
            }
            _ => {}
        }
    }

    fn record_stored(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        result: Result<StoreAnswer, StoreError>,
    ) {
        let result = match result {
            Ok(StoreAnswer::Content(Some(content))) => {
                let place = (content.slot, content.held.clone());
                if !content.held.is_empty() {
                    self.own_catalog.touch();
                }
                self.contents.insert(content);
                self.to_pin.remove(&key);
                // It may have been stopped or paused while the record was written.
                self.note_fetched(key);
                Ok(place)
            }
            Ok(_) => Err(StoreError::Failed(
                "the store did not keep the record".into(),
            )),
            Err(error) => Err(error),
        };
        let recorded = result.is_ok();
        self.transfers.recorded(now, key, result);
        if recorded {
            if let Some(content) = self.contents.get(key).map(describe) {
                self.event(Event::Content {
                    content,
                    removed: false,
                });
            }
            self.answer_fetch_calls(key);
            // Of those that waited until its size was known, some may be past its end.
            for index in self.reads_of(key) {
                for call in self.read_calls.remove(&(key, index)).unwrap_or_default() {
                    self.read(call, key, index);
                }
            }
        }
    }

    /// A content was pinned or let go.
    pub(super) fn pinned(&mut self, key: ContentKey, pinned: bool) {
        let content = self.contents.get_mut(key);
        let Some(content) = content.filter(|content| content.pinned != pinned) else {
            return;
        };
        content.pinned = pinned;
        let content = describe(content);
        self.event(Event::Content {
            content,
            removed: false,
        });
    }

    /// A content is to go to make room: it is offered no more, and deleted after.
    pub(super) fn withdraw(&mut self, now: Timestamp, key: ContentKey) {
        if self.contents.get(key).is_some() {
            self.fail_waiting(key);
            self.tell_gone(now, key, &[]);
            self.forget(key);
            if self.evicted.len() >= EVICTED_MAX {
                self.evicted = SortedSet::new();
            }
            self.evicted.insert(key);
        }
        self.withdrawing.push(key);
    }

    /// Forgets a content here, before it is deleted.
    pub(super) fn forget(&mut self, key: ContentKey) {
        self.transfers.stop(key);
        self.uploads.forget(key);
        self.seeding.stop(|seeded| seeded == key);
        self.replicating.remove(&key);
        self.providers.remove(&key);
        self.searched.remove(&key);
        self.fresh_chunks.remove(&key);
        self.subscribers.remove(&key);
        if let Some(content) = self.contents.remove(key) {
            self.own_catalog.touch();
            self.event(Event::Content {
                content: describe(&content),
                removed: true,
            });
        }
    }
}

/// A failed store operation, in words for a person.
pub(super) fn store_error(error: &StoreError) -> Error {
    match error {
        StoreError::Quota => Error::new(
            Code::Quota,
            "There is no room left in this site's storage. Remove contents or free disk space.",
        ),
        StoreError::Superseded => {
            Error::new(Code::StoreFailed, "Another tab has taken over; try again.")
        }
        StoreError::Failed(why) => Error::new(
            Code::StoreFailed,
            format!("The browser's storage failed: {why}"),
        ),
    }
}
