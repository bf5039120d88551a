//! What lies where in the database, and how it is read and written within a transaction.
//!
//! Object stores, version 3: `meta` (`format`, `epoch`, `claimed`), `identity`, `contents`
//! (by key: a [`Record`]), `proofs` (by key), and of each chunk that is held, by `[slot,
//! index]`, either where it lies in the file of its slot, in `places` (`[offset, length]`), or
//! its bytes, in `chunks`. Version 1 had no `places`; records of version 2 and before do not say
//! what is pinned, so what is whole there is, and goes only when a person says so.

use super::{
    files::Place,
    transaction::{Result, Transaction, error_of, from_idb},
};
use crate::json::from_js;
use idb::{KeyRange, Query};
use js_sys::Array;
use serde::{Deserialize, Serialize};
use shoal_peer_core::io::{Slot, StoreError, StoredContent};
use shoal_protocol::{
    bits::Bits,
    catalog::Metadata,
    content::{CHUNK_SIZE, ContentKey, ContentSize},
    json::{self, Object},
    namespace::Namespace,
    sorted::{SortedMap, SortedSet},
    time::UnixMillis,
};
use wasm_bindgen::{JsCast, JsValue};

/// Version of the layout; also the version of the database.
pub const FORMAT: u32 = 3;

pub const META: &str = "meta";
pub const IDENTITY: &str = "identity";
pub const CONTENTS: &str = "contents";
pub const PROOFS: &str = "proofs";
pub const CHUNKS: &str = "chunks";
pub const PLACES: &str = "places";
pub const STORES: [&str; 6] = [META, IDENTITY, CONTENTS, PROOFS, CHUNKS, PLACES];

/// Keys in `meta`: the layout, the epoch of the engine that has the store, and the last
/// epoch that was given to a node.
pub const FORMAT_KEY: &str = "format";
pub const EPOCH_KEY: &str = "epoch";
pub const CLAIMED_KEY: &str = "claimed";
/// Keys in `identity`: the peer's own, and one before that could not be read.
pub const SELF_KEY: &str = "self";
pub const UNREAD_KEY: &str = "unread";

/// What is kept of a content. Which chunks are held is not: they are there, or not.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct Record {
    pub slot: Slot,
    pub size: ContentSize,
    pub metadata: Metadata,
    pub complete: bool,
    pub wanted: bool,
    pub pinned: bool,
    /// When it was last used, as far as that is noted.
    pub used: UnixMillis,
    pub namespaces: SortedSet<Namespace>,
}

impl TryFrom<Object> for Record {
    type Error = json::Error;
    fn try_from(object: Object) -> std::result::Result<Self, json::Error> {
        let complete = object.get("complete")?;
        Ok(Self {
            slot: object.get("slot")?,
            size: object.get("size")?,
            metadata: object.get("metadata")?,
            complete,
            wanted: object.get("wanted")?,
            pinned: object.find("pinned")?.unwrap_or(complete),
            used: UnixMillis(object.find("used")?.unwrap_or_default()),
            namespaces: object.get("namespaces")?,
        })
    }
}

/// A layout that this version does not know. What has it is left as it is.
pub fn foreign() -> StoreError {
    StoreError::Failed("it was made by a newer version of Shoal, or not by Shoal".into())
}

/// The key of a record, a proof, or what is there once.
pub fn key(name: impl ToString) -> JsValue {
    name.to_string().into()
}

/// The key of a chunk.
pub fn chunk(slot: Slot, index: u32) -> JsValue {
    Array::of2(&(slot as f64).into(), &index.into()).into()
}

/// All chunks of a slot.
pub fn whole(slot: Slot) -> Result<Query> {
    let range = KeyRange::bound(&chunk(slot, 0), &chunk(slot, u32::MAX), None, None);
    range.map(Query::KeyRange).map_err(from_idb)
}

/// A number in `meta`.
pub async fn number(t: &Transaction, name: &str) -> Result<Option<u64>> {
    let value = t.get(META, key(name)).await?;
    Ok(value
        .and_then(|value| value.as_f64())
        .map(|value| value as u64))
}

/// What is kept of a content.
pub async fn record(t: &Transaction, content: ContentKey) -> Result<Option<Record>> {
    let value = t.get(CONTENTS, key(content)).await?;
    value.map(read_record).transpose()
}

/// Reads a record.
pub fn read_record(value: JsValue) -> Result<Record> {
    from_js(&value).map_err(|error| {
        StoreError::Failed(format!("a record cannot be read, it is damaged: {error}"))
    })
}

/// Keeps a record.
pub fn put_record(t: &Transaction, content: ContentKey, record: &Record) -> Result<()> {
    let value = record.serialize(&serde_wasm_bindgen::Serializer::json_compatible());
    let value = value.map_err(|error| error_of(&error.into()))?;
    t.put(CONTENTS, &key(content), &value)
}

/// What is kept of all contents, and the keys of records that cannot be read.
pub async fn records(t: &Transaction) -> Result<(SortedMap<ContentKey, Record>, Vec<JsValue>)> {
    let store = t.store(CONTENTS)?;
    let keys = store.get_all_keys(None, None).map_err(from_idb)?;
    let keys = keys.await.map_err(from_idb)?;
    let values = store.get_all(None, None).map_err(from_idb)?;
    let values = values.await.map_err(from_idb)?;
    let mut records = SortedMap::new();
    let mut damaged = Vec::new();
    for (key, value) in keys.into_iter().zip(values) {
        let content = key.as_string().and_then(|key| key.parse().ok());
        match (content, read_record(value)) {
            (Some(content), Ok(record)) => {
                records.insert(content, record);
            }
            _ => damaged.push(key),
        }
    }
    Ok((records, damaged))
}

/// Which chunks of a slot are there.
pub async fn held(t: &Transaction, slot: Slot, size: ContentSize) -> Result<Bits> {
    let mut held = Bits::new(size.chunks());
    for store in [CHUNKS, PLACES] {
        let keys = t.store(store)?.get_all_keys(Some(whole(slot)?), None);
        for key in keys.map_err(from_idb)?.await.map_err(from_idb)? {
            held.insert(index_of(key));
        }
    }
    Ok(held)
}

fn index_of(chunk: JsValue) -> u32 {
    let index = chunk.unchecked_into::<Array>().get(1);
    index.as_f64().unwrap_or(f64::MAX) as u32
}

/// Where the chunks of a slot lie that are in its file.
pub async fn places(t: &Transaction, slot: Slot) -> Result<SortedMap<u32, Place>> {
    let store = t.store(PLACES)?;
    let keys = store.get_all_keys(Some(whole(slot)?), None);
    let keys = keys.map_err(from_idb)?.await.map_err(from_idb)?;
    let values = store.get_all(Some(whole(slot)?), None);
    let values = values.map_err(from_idb)?.await.map_err(from_idb)?;
    let number = |value: &Array, at| value.get(at).as_f64().unwrap_or(0.0);
    let pairs = keys.into_iter().zip(values).map(|(key, value)| {
        // At a place of no length nothing is found, so a damaged one counts as lost.
        let value = value.dyn_into::<Array>().unwrap_or_default();
        let place = Place {
            offset: number(&value, 0) as u64,
            length: number(&value, 1).min(CHUNK_SIZE as f64) as u32,
        };
        (index_of(key), place)
    });
    Ok(pairs.collect())
}

/// Notes where a chunk lies.
pub fn put_place(t: &Transaction, slot: Slot, index: u32, place: Place) -> Result<()> {
    let value = Array::of2(&(place.offset as f64).into(), &place.length.into());
    t.put(PLACES, &chunk(slot, index), &value)
}

/// Deletes what is kept of the chunks of a slot.
pub fn delete_chunks(t: &Transaction, slot: Slot) -> Result<()> {
    t.delete(CHUNKS, whole(slot)?)?;
    t.delete(PLACES, whole(slot)?)?;
    t.dropped(slot);
    Ok(())
}

/// What is kept of a content, with what is held of it.
pub async fn stored(t: &Transaction, key: ContentKey, record: Record) -> Result<StoredContent> {
    let held = match record.complete {
        true => Bits::full(record.size.chunks()),
        false => held(t, record.slot, record.size).await?,
    };
    Ok(StoredContent {
        key,
        slot: record.slot,
        size: record.size,
        metadata: record.metadata,
        held,
        wanted: record.wanted,
        pinned: record.pinned,
        used: record.used,
    })
}
