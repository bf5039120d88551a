//! Steps 5 to 7 of the workflow as far as the store takes part: beginning a fetch, recording
//! it, storing its chunks, reading what is held, publishing.

use super::{NeedsProof, Node, Op};
use crate::{
    contents::describe,
    io::{
        Answer, CallId, Code, Error, Event, Progress, StoreAnswer, StoreError, StoreRequest,
        StoredContent,
    },
    publishing::Publishing,
    upload::{Part, Wanted},
};
use shoal_protocol::{
    bits::Bits,
    catalog::Metadata,
    content::ContentKey,
    control::{ControlMessage, RefuseCode},
    id::{LinkId, PeerId},
    proof::Proof,
    time::Timestamp,
};
use std::{ops::Range, sync::Arc};

/// Most publications at a time, others wait. Guess: each keeps 4 MiB in memory.
const MAX_PUBLISHING: usize = 4;

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
        match self.contents.get_mut(key) {
            Some(content) => {
                let wanted = !self.transfers.is_paused(key);
                if content.wanted != wanted && !content.held.is_full() {
                    content.wanted = wanted;
                    self.store(Op::Quiet, StoreRequest::SetWanted { key, wanted });
                }
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
    pub(super) fn record(&mut self, key: ContentKey, proof: &Arc<Proof>) {
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
            wanted: !self.transfers.is_paused(key),
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
        for call in self.read_calls.remove(&(key, index)).unwrap_or_default() {
            self.with_proof(key, NeedsProof::Read(call, index));
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

    /// Does something that needs the proof of a content, which may have to be read first.
    pub(super) fn with_proof(&mut self, key: ContentKey, need: NeedsProof) {
        if self.contents.proof(key).is_some() {
            return self.have_proof(key, need);
        }
        let waiting = self.needs_proof.entry(key).or_default();
        waiting.push(need);
        if waiting.len() == 1 {
            self.store(Op::LoadProof { key }, StoreRequest::GetProof { key });
        }
    }

    fn have_proof(&mut self, key: ContentKey, need: NeedsProof) {
        let (Some(content), Some(proof)) = (self.contents.get(key), self.contents.proof(key))
        else {
            return;
        };
        match need {
            NeedsProof::Upload(link, wanted) => match wanted.part {
                Part::Proof => self.uploads.read(link, wanted, Arc::new(proof.to_bytes())),
                Part::Chunk(index) => {
                    let slot = content.slot;
                    self.store(
                        Op::UploadChunk {
                            link,
                            wanted,
                            index,
                        },
                        StoreRequest::GetChunk { slot, index },
                    );
                }
            },
            NeedsProof::Read(call, index) => {
                let request = StoreRequest::GetChunk {
                    slot: content.slot,
                    index,
                };
                self.store(Op::ReadChunk { call, key, index }, request);
            }
            NeedsProof::Fetch => {
                let (slot, held) = (content.slot, content.held.clone());
                self.transfers.resume(self.now, proof, slot, held);
                self.answer_fetch_calls(key);
            }
        }
    }

    fn proof_loaded(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        result: Result<StoreAnswer, StoreError>,
    ) {
        let needs = self.needs_proof.remove(&key).unwrap_or_default();
        let Some(content) = self.contents.get(key) else {
            return;
        };
        let bytes = match result {
            Ok(StoreAnswer::Proof(bytes)) => bytes,
            Ok(_) => None,
            // It may be there all the same.
            Err(error) => return self.proof_not_read(now, key, needs, &store_error(&error)),
        };
        let proof = bytes.and_then(|bytes| Proof::from_bytes(key, &bytes).ok());
        let proof = proof.filter(|proof| proof.size() == content.size);
        match proof {
            Some(proof) => {
                self.contents.cache_proof(Arc::new(proof));
                for need in needs {
                    self.have_proof(key, need);
                }
            }
            None => {
                // Without its proof nothing of it can be served or read.
                let message = format!(
                    "What was stored of {key} is damaged, and was dropped. It can be fetched again."
                );
                let error = Error::new(Code::StoreFailed, message);
                self.event(Event::Error {
                    error: error.clone(),
                });
                self.tell_gone(now, key, &[]);
                self.forget(key);
                self.store(Op::Quiet, StoreRequest::RemoveContent { key });
                self.proof_not_read(now, key, needs, &error);
            }
        }
    }

    /// Tells all who waited for a proof that it could not be had.
    fn proof_not_read(
        &mut self,
        now: Timestamp,
        key: ContentKey,
        needs: Vec<NeedsProof>,
        error: &Error,
    ) {
        for need in needs {
            match need {
                NeedsProof::Upload(link, wanted) => self.upload_failed(now, link, wanted),
                NeedsProof::Read(call, _) => self.answer_error(call, error.clone()),
                NeedsProof::Fetch => {
                    for call in self.fetch_calls.remove(&key).unwrap_or_default() {
                        self.answer_error(call, error.clone());
                    }
                }
            }
        }
    }

    /// What was asked for cannot be read: whoever asked need not wait for it.
    fn upload_failed(&mut self, now: Timestamp, link: LinkId, wanted: Wanted) {
        self.uploads.cancel(link, wanted.request, &[]);
        let refusal = ControlMessage::Refuse {
            id: wanted.request,
            code: RefuseCode::StoreFailed,
        };
        self.send(now, link, refusal);
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
                if let Ok(StoreAnswer::Content(Some(content))) = result
                    && self.contents.get(key).is_none()
                    && self.transfers.is_fetching(key)
                {
                    self.store(
                        Op::Adopt { key },
                        StoreRequest::PutContent {
                            content,
                            proof: Vec::new(),
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
                    } else {
                        self.begin_fetch(now, key);
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
                self.contents.insert(content);
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
            let waiting: Vec<u32> = self
                .read_calls
                .keys()
                .filter(|(of, _)| *of == key)
                .map(|(_, index)| *index)
                .collect();
            for index in waiting {
                self.transfers.set_urgent(key, index);
            }
        }
    }

    fn upload_read(
        &mut self,
        now: Timestamp,
        link: LinkId,
        wanted: Wanted,
        index: u32,
        result: Result<StoreAnswer, StoreError>,
    ) {
        let Some(proof) = self.contents.proof(wanted.key) else {
            return self.upload_failed(now, link, wanted);
        };
        let bytes = match result {
            Ok(StoreAnswer::Chunk(bytes)) => bytes,
            _ => return self.upload_failed(now, link, wanted),
        };
        // What is sent is verified first: a damaged disk must not look like a lie.
        match bytes.map(|bytes| proof.verify(index, bytes)) {
            Some(Ok(chunk)) => {
                let bytes = Arc::new(chunk.into_bytes());
                self.uploads.read(link, wanted, bytes);
            }
            _ => {
                self.upload_failed(now, link, wanted);
                self.chunk_damaged(now, wanted.key, index);
            }
        }
    }

    fn chunk_read(
        &mut self,
        now: Timestamp,
        call: CallId,
        key: ContentKey,
        index: u32,
        result: Result<StoreAnswer, StoreError>,
    ) {
        let bytes = match result {
            Ok(StoreAnswer::Chunk(bytes)) => bytes,
            Ok(_) => None,
            // It may be there all the same.
            Err(error) => return self.fail_store(call, &error),
        };
        let verified = self
            .contents
            .proof(key)
            .and_then(|proof| proof.verify(index, bytes?).ok());
        match verified {
            Some(chunk) => self.answer(call, Answer::Bytes(chunk.into_bytes())),
            None => {
                self.chunk_damaged(now, key, index);
                self.wait_for_chunk(call, key, index);
            }
        }
    }

    /// A stored chunk is missing or has the wrong bytes: it is withdrawn and fetched again.
    fn chunk_damaged(&mut self, now: Timestamp, key: ContentKey, index: u32) {
        let Some(content) = self.contents.get_mut(key) else {
            return;
        };
        if !content.held.remove(index) {
            return;
        }
        content.wanted = true;
        let slot = content.slot;
        self.own_catalog.touch();
        self.tell_gone(now, key, &[index]);
        // Who was told that it is gone is told when it is there again.
        let links = self.links.up().map(|(_, link)| link);
        self.subscribers.entry(key).or_default().extend(links);
        self.store(Op::Quiet, StoreRequest::DropChunk { slot, index });
        self.store(Op::Quiet, StoreRequest::SetWanted { key, wanted: true });
        if self.transfers.is_fetching(key) {
            self.transfers.lost(key, index);
        } else {
            self.begin_fetch(now, key);
        }
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

    /// Reads the next piece of a publication, if its time has come.
    pub(super) fn read_source(&mut self, call: CallId) {
        let publishing = self.publishing.get_mut(&call);
        let Some(range) = publishing.and_then(|publishing| publishing.poll_range()) else {
            return;
        };
        let op = self.op(Op::PublishRead {
            call,
            range: range.clone(),
        });
        self.outputs
            .push_back(crate::io::Output::ReadSource { op, call, range });
    }

    pub(super) fn source_read(
        &mut self,
        call: CallId,
        range: Range<u64>,
        result: Result<Vec<u8>, String>,
    ) {
        let Some(publishing) = self.publishing.get_mut(&call) else {
            return;
        };
        let chunks = match result {
            Ok(bytes) => publishing.read(&range, &bytes),
            Err(why) => Err(Error::new(
                Code::InvalidContent,
                format!("what was to be published could not be read: {why}"),
            )),
        };
        match chunks {
            Ok(chunks) => {
                let slot = publishing.slot;
                self.store(
                    Op::PublishPut { call, range },
                    StoreRequest::PutChunks { slot, chunks },
                );
                self.read_source(call);
            }
            Err(error) => self.end_publication(call, error),
        }
    }

    fn published(
        &mut self,
        now: Timestamp,
        call: CallId,
        range: &Range<u64>,
        result: Result<StoreAnswer, StoreError>,
    ) {
        let Some(publishing) = self.publishing.get_mut(&call) else {
            return;
        };
        if let Err(error) = result {
            return self.end_publication(call, store_error(&error));
        }
        let proof = publishing.stored(now, range);
        let report = publishing
            .reported
            .is_none_or(|at| at + crate::policy::PROGRESS_INTERVAL <= now);
        if report || proof.is_some() {
            publishing.reported = Some(now);
            let progress = publishing.progress(now);
            self.event(Event::Publishing { call, progress });
        }
        match proof {
            Some(proof) => self.record_publication(call, Arc::new(proof)),
            None => self.read_source(call),
        }
    }

    fn record_publication(&mut self, call: CallId, proof: Arc<Proof>) {
        let Some(publishing) = self.publishing.get(&call) else {
            return;
        };
        let content = StoredContent {
            key: proof.key(),
            slot: publishing.slot,
            size: publishing.size(),
            metadata: publishing.metadata.clone(),
            held: Bits::full(publishing.size().chunks()),
            wanted: false,
        };
        let bytes = proof.to_bytes();
        self.store(
            Op::PublishRecord { call, proof },
            StoreRequest::PutContent {
                content,
                proof: bytes,
            },
        );
    }

    fn publication_recorded(
        &mut self,
        now: Timestamp,
        call: CallId,
        proof: Arc<Proof>,
        result: Result<StoreAnswer, StoreError>,
    ) {
        let key = proof.key();
        match result {
            Ok(StoreAnswer::Content(Some(content))) => {
                self.publishing.remove(&call);
                self.publish_next();
                self.transfers.stop(key);
                let held = content.held.clone();
                self.contents.insert(content);
                self.contents.cache_proof(proof);
                self.own_catalog.touch();
                for link in self.subscribers.remove(&key).unwrap_or_default() {
                    let message = ControlMessage::Have {
                        key,
                        held: Some(held.clone()),
                        chunks: Vec::new(),
                    };
                    self.send(now, link, message);
                }
                self.answer_fetch_calls(key);
                let waiting: Vec<(ContentKey, u32)> = self
                    .read_calls
                    .keys()
                    .filter(|(of, _)| *of == key)
                    .copied()
                    .collect();
                for at in waiting {
                    for read in self.read_calls.remove(&at).unwrap_or_default() {
                        self.with_proof(key, NeedsProof::Read(read, at.1));
                    }
                }
                if let Some(content) = self.contents.get(key).map(describe) {
                    self.event(Event::Content {
                        content: content.clone(),
                        removed: false,
                    });
                    self.answer(call, Answer::Content(content));
                }
            }
            Ok(_) => self.end_publication(
                call,
                store_error(&StoreError::Failed("no record was kept".into())),
            ),
            Err(error) => self.end_publication(call, store_error(&error)),
        }
    }

    /// Begins with publications while there is room for more.
    pub(super) fn publish_next(&mut self) {
        while self.publishing.len() < MAX_PUBLISHING {
            let Some((call, size, metadata)) = self.waiting_publications.pop_front() else {
                return;
            };
            let slot = self.new_slot();
            match Publishing::new(slot, size, metadata) {
                Ok(publishing) => {
                    self.publishing.insert(call, publishing);
                    self.read_source(call);
                }
                Err(error) => self.answer_error(call, error),
            }
        }
    }

    /// Gives a publication up; nothing of it stays.
    pub(super) fn end_publication(&mut self, call: CallId, error: Error) {
        if self.drop_publication(call) {
            self.outputs.push_back(crate::io::Output::Answer {
                call,
                result: Err(error),
            });
        }
    }

    /// Drops a publication and what is stored of it; false if there was none.
    pub(super) fn drop_publication(&mut self, call: CallId) -> bool {
        if self
            .waiting_publications
            .iter()
            .any(|(waiting, ..)| *waiting == call)
        {
            self.waiting_publications
                .retain(|(waiting, ..)| *waiting != call);
            return true;
        }
        let Some(publishing) = self.publishing.remove(&call) else {
            return false;
        };
        self.store(
            Op::Quiet,
            StoreRequest::DropSlot {
                slot: publishing.slot,
            },
        );
        self.publish_next();
        true
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
