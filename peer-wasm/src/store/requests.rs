//! What each [`StoreRequest`] does, within a transaction that was begun for it.

use super::{
    layout::{
        CHUNKS, CONTENTS, META, PLACES, PROOFS, Record, chunk, delete_chunks, held, key,
        put_record, record, records, stored,
    },
    transaction::{Result, Transaction},
};
use js_sys::Uint8Array;
use shoal_peer_core::io::{Slot, StoreAnswer, StoreRequest, StoredContent};
use shoal_protocol::{content::ContentKey, namespace::Namespace, proof::VerifiedChunk};
use wasm_bindgen::{JsCast, JsValue};

/// What a request needs of the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing changes.
    Read,
    /// Something is added or changed.
    Write,
    /// Mostly, something goes.
    Delete,
}

/// The object stores and the access that a request needs.
pub fn scope(request: &StoreRequest) -> (&'static [&'static str], Access) {
    match request {
        StoreRequest::GetChunk { .. } => (&[CHUNKS], Access::Read),
        StoreRequest::GetProof { .. } => (&[PROOFS], Access::Read),
        StoreRequest::FindContent { .. } => (&[CONTENTS, CHUNKS, PLACES], Access::Read),
        StoreRequest::PutChunks { .. } => (&[META, CHUNKS], Access::Write),
        StoreRequest::PutContent { .. } => {
            (&[META, CONTENTS, PROOFS, CHUNKS, PLACES], Access::Write)
        }
        StoreRequest::SetWanted { .. }
        | StoreRequest::SetComplete { .. }
        | StoreRequest::SetPinned { .. }
        | StoreRequest::SetUsed(_) => (&[META, CONTENTS], Access::Write),
        StoreRequest::DropChunk { .. } => (&[META, CONTENTS, CHUNKS, PLACES], Access::Delete),
        StoreRequest::RemoveContent { .. } | StoreRequest::DropContent { .. } => {
            (&[META, CONTENTS, PROOFS, CHUNKS, PLACES], Access::Delete)
        }
        StoreRequest::DropSlot { .. } => (&[META, CHUNKS, PLACES], Access::Delete),
    }
}

/// Does what a node in `namespace` asks.
pub async fn perform(
    t: &Transaction,
    namespace: &Namespace,
    request: &StoreRequest,
) -> Result<StoreAnswer> {
    match request {
        StoreRequest::PutChunks { slot, chunks, .. } => put_chunks(t, *slot, chunks)?,
        StoreRequest::GetChunk { slot, index } => {
            let bytes = get_bytes(t, CHUNKS, chunk(*slot, *index)).await;
            return bytes.map(StoreAnswer::Chunk);
        }
        StoreRequest::DropChunk { slot, index } => drop_chunk(t, *slot, *index).await?,
        StoreRequest::PutContent { content, proof } => {
            let content = put_content(t, namespace, content, proof).await?;
            return Ok(StoreAnswer::Content(Some(content)));
        }
        StoreRequest::SetWanted { key, wanted } => {
            change(t, *key, |record| record.wanted = *wanted).await?;
        }
        StoreRequest::SetComplete { key } => {
            let complete = |record: &mut Record| (record.complete, record.wanted) = (true, false);
            change(t, *key, complete).await?;
        }
        StoreRequest::SetPinned { key, pinned } => {
            change(t, *key, |record| record.pinned = *pinned).await?;
        }
        StoreRequest::SetUsed(uses) => {
            for (key, used) in uses {
                change(t, *key, |record| record.used = *used).await?;
            }
        }
        StoreRequest::FindContent { key } => {
            let content = match record(t, *key).await? {
                Some(record) => Some(stored(t, *key, record).await?),
                None => None,
            };
            return Ok(StoreAnswer::Content(content));
        }
        StoreRequest::GetProof { key: content } => {
            let bytes = get_bytes(t, PROOFS, key(content)).await;
            return bytes.map(StoreAnswer::Proof);
        }
        StoreRequest::RemoveContent { key } => remove_content(t, Some(namespace), *key).await?,
        StoreRequest::DropContent { key } => remove_content(t, None, *key).await?,
        StoreRequest::DropSlot { slot } => delete_chunks(t, *slot)?,
    }
    Ok(StoreAnswer::Done)
}

/// Changes what is kept of a content, if it is.
async fn change(t: &Transaction, key: ContentKey, to: impl Fn(&mut Record)) -> Result<()> {
    if let Some(mut record) = record(t, key).await? {
        to(&mut record);
        put_record(t, key, &record)?;
    }
    Ok(())
}

/// Bytes; what is something else is damaged and counts as lost.
async fn get_bytes(t: &Transaction, store: &str, key: JsValue) -> Result<Option<Vec<u8>>> {
    let value = t.get(store, key).await?;
    let bytes = value.and_then(|value| value.dyn_into::<Uint8Array>().ok());
    Ok(bytes.map(|bytes| bytes.to_vec()))
}

fn put_chunks(t: &Transaction, slot: Slot, chunks: &[VerifiedChunk]) -> Result<()> {
    for verified in chunks {
        let bytes = Uint8Array::from(verified.bytes());
        t.put(CHUNKS, &chunk(slot, verified.index()), &bytes)?;
    }
    Ok(())
}

async fn drop_chunk(t: &Transaction, slot: Slot, index: u32) -> Result<()> {
    t.delete(CHUNKS, chunk(slot, index))?;
    t.delete(PLACES, chunk(slot, index))?;
    for (content, mut record) in records(t).await?.0 {
        if record.slot == slot && record.complete {
            record.complete = false;
            put_record(t, content, &record)?;
        }
    }
    Ok(())
}

async fn put_content(
    t: &Transaction,
    namespace: &Namespace,
    content: &StoredContent,
    proof: &[u8],
) -> Result<StoredContent> {
    let held = held(t, content.slot, content.size).await?;
    let old = record(t, content.key).await?;
    let is_full = match &old {
        Some(old) => old.complete || self::held(t, old.slot, old.size).await?.is_full(),
        None => false,
    };
    let stays = is_full || !held.is_full();
    let (mut record, loses) = match old {
        Some(old) if stays => (old, Some(content.slot)),
        old => {
            let loses = old.as_ref().map(|old| old.slot);
            let record = Record {
                slot: content.slot,
                size: content.size,
                metadata: content.metadata.clone(),
                complete: held.is_full(),
                wanted: content.wanted,
                pinned: old.as_ref().is_some_and(|old| old.pinned),
                used: content.used,
                namespaces: old.map(|old| old.namespaces).unwrap_or_default(),
            };
            (record, loses)
        }
    };
    if !proof.is_empty() {
        t.put(PROOFS, &key(content.key), &Uint8Array::from(proof))?;
    }
    record.pinned |= content.pinned;
    if let Some(loses) = loses.filter(|loses| *loses != record.slot) {
        delete_chunks(t, loses)?;
    }
    record.namespaces.insert(namespace.clone());
    put_record(t, content.key, &record)?;
    stored(t, content.key, record).await
}

/// Takes a content out of one namespace, or out of all.
async fn remove_content(
    t: &Transaction,
    namespace: Option<&Namespace>,
    content: ContentKey,
) -> Result<()> {
    let Some(mut record) = record(t, content).await? else {
        return Ok(());
    };
    if let Some(namespace) = namespace {
        record.namespaces.remove(namespace);
        if !record.namespaces.is_empty() {
            return put_record(t, content, &record);
        }
    }
    t.delete(CONTENTS, key(content))?;
    t.delete(PROOFS, key(content))?;
    delete_chunks(t, record.slot)
}
