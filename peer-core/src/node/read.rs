//! Reading what is held, for uploads and for the API: the proof first, then the chunk, which is
//! verified before anybody gets it. What turns out damaged is withdrawn and fetched again.

use super::{NeedsProof, Node, Op, content::store_error};
use crate::{
    io::{Answer, CallId, Code, Error, Event, StoreAnswer, StoreError, StoreRequest},
    upload::{Part, Wanted},
};
use shoal_protocol::{
    content::ContentKey,
    control::{ControlMessage, RefuseCode},
    id::LinkId,
    proof::Proof,
    time::Timestamp,
};
use std::sync::Arc;

impl Node {
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
                Part::Proof => self.uploads.read(link, wanted, proof.to_bytes()),
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
                self.reads_changed(key);
                self.answer_fetch_calls(key);
            }
        }
    }

    pub(super) fn proof_loaded(
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
        let proof = bytes.and_then(|bytes| Proof::from_bytes(key, bytes).ok());
        let proof = proof.filter(|proof| proof.size() == content.size);
        match proof {
            Some(proof) => {
                self.contents.cache_proof(Arc::new(proof));
                for need in needs {
                    self.have_proof(key, need);
                }
            }
            None => self.proof_damaged(now, key, needs),
        }
    }

    /// The proof of a content is missing or damaged. Without it nothing of the content can be
    /// served or read: it is withdrawn until a proof has come from another holder. Its
    /// chunks stay, to be verified by that.
    fn proof_damaged(&mut self, now: Timestamp, key: ContentKey, needs: Vec<NeedsProof>) {
        let message = format!(
            "The stored proof of {key} is damaged. It is not offered until the proof is fetched again."
        );
        self.event(Event::Error {
            error: Error::new(Code::StoreFailed, message),
        });
        self.tell_gone(now, key, &[]);
        self.contents.remove(key);
        self.own_catalog.touch();
        self.transfers.start(key);
        for need in needs {
            match need {
                NeedsProof::Upload(link, wanted) => self.upload_failed(now, link, wanted),
                NeedsProof::Read(call, index) => self.wait_for_chunk(call, key, index),
                // Those who wait for the fetch still do.
                NeedsProof::Fetch => {}
            }
        }
        self.search_anew(now);
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
        for (key, index) in self.uploads.failed(link, wanted) {
            self.seeding.cancelled(now, key, link, index);
        }
        let refusal = ControlMessage::Refuse {
            id: wanted.request,
            code: RefuseCode::StoreFailed,
        };
        self.send(now, link, refusal);
    }

    pub(super) fn upload_read(
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

    pub(super) fn chunk_read(
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
}
