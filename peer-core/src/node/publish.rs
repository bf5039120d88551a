//! Publishing: the source is read, its chunks are stored, and the record comes last.

use super::{Node, Op, content::store_error};
use crate::{
    contents::describe,
    io::{
        Answer, CallId, Code, Error, Event, Output, StoreAnswer, StoreError, StoreRequest,
        StoredContent,
    },
    publishing::Publishing,
};
use shoal_protocol::{bits::Bits, control::ControlMessage, proof::Proof, time::Timestamp};
use std::{ops::Range, sync::Arc};

impl Node {
    /// Begins with publications while there is room for more.
    pub(super) fn publish_next(&mut self) {
        while let Some((call, waiting)) = self.publications.poll_waiting() {
            let slot = self.new_slot();
            match Publishing::new(slot, waiting) {
                Ok(publishing) => {
                    self.publications.begin(call, publishing);
                    self.read_source(call);
                }
                Err(error) => self.answer_error(call, error),
            }
        }
    }

    /// Reads the next piece of a publication, if its time has come.
    pub(super) fn read_source(&mut self, call: CallId) {
        let publishing = self.publications.get_mut(call);
        let Some(range) = publishing.and_then(|publishing| publishing.poll_range()) else {
            return;
        };
        let op = self.op(Op::PublishRead {
            call,
            range: range.clone(),
        });
        self.outputs
            .push_back(Output::ReadSource { op, call, range });
    }

    pub(super) fn source_read(
        &mut self,
        call: CallId,
        range: Range<u64>,
        result: Result<Vec<u8>, String>,
    ) {
        let Some(publishing) = self.publications.get_mut(call) else {
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
                let (slot, size) = (publishing.slot, publishing.size());
                self.store(
                    Op::PublishPut { call, range },
                    StoreRequest::PutChunks { slot, size, chunks },
                );
                self.read_source(call);
            }
            Err(error) => self.end_publication(call, error),
        }
    }

    pub(super) fn published(
        &mut self,
        now: Timestamp,
        call: CallId,
        range: &Range<u64>,
        result: Result<StoreAnswer, StoreError>,
    ) {
        let Some(publishing) = self.publications.get_mut(call) else {
            return;
        };
        if let Err(error) = result {
            return self.end_publication(call, store_error(&error));
        }
        let proof = publishing.stored(now, range);
        if let Some(progress) = publishing.report(now, proof.is_some()) {
            self.event(Event::Publishing { call, progress });
        }
        match proof {
            Some(proof) => self.record_publication(now, call, Arc::new(proof)),
            None => self.read_source(call),
        }
    }

    fn record_publication(&mut self, now: Timestamp, call: CallId, proof: Arc<Proof>) {
        let Some(publishing) = self.publications.get_mut(call) else {
            return;
        };
        let content = StoredContent {
            key: proof.key(),
            slot: publishing.slot,
            size: publishing.size(),
            metadata: publishing.metadata.clone(),
            held: Bits::full(publishing.size().chunks()),
            wanted: false,
            pinned: publishing.pinned,
            used: now.unix_millis(),
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

    pub(super) fn publication_recorded(
        &mut self,
        now: Timestamp,
        call: CallId,
        proof: Arc<Proof>,
        result: Result<StoreAnswer, StoreError>,
    ) {
        let key = proof.key();
        let Some(publishing) = self.publications.end(call) else {
            return;
        };
        self.publish_next();
        let error = match result {
            Ok(StoreAnswer::Content(Some(content))) => {
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
                for index in self.reads_of(key) {
                    for read in self.read_calls.remove(&(key, index)).unwrap_or_default() {
                        self.read(read, key, index);
                    }
                }
                if let Some(content) = self.contents.get(key).map(describe) {
                    self.event(Event::Content {
                        content: content.clone(),
                        removed: false,
                    });
                    self.answer(call, Answer::Content(content));
                }
                return;
            }
            Ok(_) => StoreError::Failed("no record was kept".into()),
            Err(error) => error,
        };
        let slot = publishing.slot;
        self.store(Op::Quiet, StoreRequest::DropSlot { slot });
        self.answer_error(call, store_error(&error));
    }

    /// Ends a publication that has begun with an error.
    pub(super) fn end_publication(&mut self, call: CallId, error: Error) {
        if self.drop_publication(call) {
            self.answer_error(call, error);
        }
    }

    /// Ends a publication that nobody waits for. One that is being recorded is not ended: it
    /// stays, as if nobody had stopped waiting.
    pub(super) fn abort_publication(&mut self, call: CallId) {
        let publishing = self.publications.get_mut(call);
        if !publishing.is_some_and(|publishing| publishing.is_recording()) {
            self.publications.stop_waiting(call);
            self.drop_publication(call);
        }
    }

    /// Drops a publication that has begun and what is stored of it; false if there was none.
    fn drop_publication(&mut self, call: CallId) -> bool {
        let Some(publishing) = self.publications.end(call) else {
            return false;
        };
        // A record may name the slot already; then the content is whole, and stays.
        if !publishing.is_recording() {
            let slot = publishing.slot;
            self.store(Op::Quiet, StoreRequest::DropSlot { slot });
        }
        self.publish_next();
        true
    }
}
