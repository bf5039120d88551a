//! Notes on contents that are whole, beside their files: what it takes to have them again when
//! the browser has lost the database.
//!
//! A note holds the record, where the chunks lie, and the proof, so nothing of the content is
//! read to take it up: the proof is checked against the key, and the chunks are, as always, when
//! they are read. It is written after the transaction that makes a content whole, or changes its
//! pin or namespaces; what a kill comes before is noted when the store is opened next.

use super::{
    files::{Files, Place},
    layout::{CONTENTS, PLACES, PROOFS, key, put_place, put_record, read_record, whole},
    transaction::{Result, Transaction, from_idb},
};
use js_sys::{Array, Uint8Array};
use shoal_peer_core::io::{Slot, StoreRequest};
use shoal_protocol::{content::ContentKey, proof::Proof, sorted::SortedMap};
use std::cell::RefCell;
use wasm_bindgen::{JsCast, JsValue};

/// The notes of a store.
#[derive(Default)]
pub struct Notes {
    /// What is being noted, and whether it has changed since that was begun.
    writing: RefCell<SortedMap<ContentKey, bool>>,
}

/// The content of which a request, once it is done, may have changed what is noted.
pub fn changed(request: &StoreRequest) -> Option<ContentKey> {
    match request {
        StoreRequest::PutContent { content, .. } => Some(content.key),
        StoreRequest::SetComplete { key }
        | StoreRequest::SetPinned { key, .. }
        | StoreRequest::RemoveContent { key } => Some(*key),
        _ => None,
    }
}

impl Notes {
    /// Notes what there is of a content, if it is whole and all of it in its file. Returns the
    /// slot of the note. `begin` begins to read.
    pub async fn write(
        &self,
        files: &Files,
        begin: impl Fn() -> Result<Transaction>,
        key: ContentKey,
    ) -> Option<Slot> {
        if let Some(is_old) = self.writing.borrow_mut().get_mut(&key) {
            *is_old = true;
            return None;
        }
        loop {
            self.writing.borrow_mut().insert(key, false);
            let slot = write(files, begin(), key).await.unwrap_or_default();
            if self.writing.borrow_mut().remove(&key) != Some(true) {
                return slot;
            }
        }
    }
}

async fn write(
    files: &Files,
    begun: Result<Transaction>,
    content: ContentKey,
) -> Result<Option<Slot>> {
    let t = begun?;
    let Some(value) = t.get(CONTENTS, key(content)).await? else {
        return Ok(None);
    };
    let record = read_record(value.clone())?;
    if !record.complete {
        return Ok(None);
    }
    let places = t.store(PLACES)?.get_all(Some(whole(record.slot)?), None);
    let places: Array = places
        .map_err(from_idb)?
        .await
        .map_err(from_idb)?
        .into_iter()
        .collect();
    let proof = t.get(PROOFS, key(content)).await?;
    if places.length() != record.size.chunks() {
        return Ok(None);
    }
    let proof = proof.unwrap_or_default();
    let slot = record.slot.to_string();
    files
        .note(&slot, &key(content), &value, &proof, &places)
        .await;
    Ok(Some(record.slot))
}

/// Puts what was noted into a database that is new. How many contents that were.
pub fn take_up(t: &Transaction, notes: Vec<[JsValue; 4]>) -> Result<u32> {
    let mut taken = 0;
    for [name, record, offsets, proof] in notes {
        let Some(content) = name.as_string().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let (Ok(record), Ok(offsets)) = (read_record(record), offsets.dyn_into::<Array>()) else {
            continue;
        };
        let proof: Uint8Array = proof.unchecked_into();
        let is_proven = Proof::from_bytes(content, proof.to_vec())
            .is_ok_and(|proof| proof.size() == record.size);
        if !is_proven || !record.complete || offsets.length() != record.size.chunks() {
            continue;
        }
        for (index, offset) in (0..).zip(offsets) {
            let place = Place {
                offset: offset.as_f64().unwrap_or_default() as u64,
                length: record.size.chunk_len(index).unwrap_or_default() as u32,
            };
            put_place(t, record.slot, index, place)?;
        }
        t.put(PROOFS, &key(content), &proof)?;
        put_record(t, content, &record)?;
        taken += 1;
    }
    Ok(taken)
}
