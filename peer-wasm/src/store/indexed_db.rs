//! The store in IndexedDB.
//!
//! Object stores, version 1: `meta` (`format`, `epoch`, `claimed`), `identity`, `contents`
//! (by key: a [`Record`]), `lists` (by key: the proof list), `chunks` (by `[slot, index]`:
//! the bytes). What is held of a content is which of its chunks are there, so the two
//! cannot disagree; `complete` saves counting them at every start.
//!
//! Each engine that opens the store puts a higher `epoch` there, and every write compares
//! it in its own transaction. So an engine that was only frozen while another took over can
//! do no harm.

use super::transaction::{self, Fence, Result, Transaction, closed, error_of, from_idb};
use gloo_events::EventListener;
use idb::{DatabaseEvent, KeyRange, ObjectStoreParams, Query};
use js_sys::{Array, Uint8Array};
use serde::{Deserialize, Serialize};
use shoal_peer_core::io::{Slot, StoreAnswer, StoreError, StoreRequest, StoredContent};
use shoal_protocol::{
    bits::Bits,
    catalog::Metadata,
    content::{ContentKey, ContentSize},
    namespace::Namespace,
    proof::VerifiedChunk,
    time::UnixMillis,
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::IdbDatabase;

/// Version of the layout; also the version of the database.
const FORMAT: u32 = 1;

const META: &str = "meta";
const IDENTITY: &str = "identity";
const CONTENTS: &str = "contents";
const LISTS: &str = "lists";
const CHUNKS: &str = "chunks";
const STORES: [&str; 5] = [META, IDENTITY, CONTENTS, LISTS, CHUNKS];

/// Keys in `meta`: the layout, the epoch of the engine that has the store, and the last
/// epoch that was given to a node.
const FORMAT_KEY: &str = "format";
const EPOCH_KEY: &str = "epoch";
const CLAIMED_KEY: &str = "claimed";
/// Key in `identity`.
const SELF_KEY: &str = "self";

/// The store, under one engine's epoch.
pub struct IndexedDb {
    database: IdbDatabase,
    epoch: u64,
    /// Whether the epoch itself was given to a node.
    is_claimed: Cell<bool>,
    is_closed: Rc<Cell<bool>>,
    _listeners: [EventListener; 2],
}

/// What is kept of a content.
#[derive(Serialize, Deserialize)]
struct Record {
    slot: Slot,
    size: ContentSize,
    metadata: Metadata,
    complete: bool,
    wanted: bool,
    namespaces: BTreeSet<Namespace>,
}

impl IndexedDb {
    /// Opens the database, takes it over, and deletes chunks that no record names: those of
    /// publications that never came to an end.
    pub async fn open(name: &str, now: UnixMillis) -> Result<Self> {
        let mut request = idb::Factory::new()
            .and_then(|factory| factory.open(name, Some(FORMAT)))
            .map_err(from_idb)?;
        request.on_upgrade_needed(|event| {
            // What fails here fails the opening.
            if let Ok(database) = event.database() {
                for store in STORES {
                    let _ = database.create_object_store(store, ObjectStoreParams::new());
                }
            }
        });
        let database: IdbDatabase = match request.await {
            Ok(database) => database.into(),
            Err(idb::Error::DomException(error)) if error.name() == "VersionError" => {
                return Err(newer());
            }
            Err(error) => return Err(from_idb(error)),
        };
        let is_closed = Rc::new(Cell::new(false));
        // Somebody deletes the database or wants a newer version of it; or the browser has
        // closed it, as when a person clears the data of the site.
        let listeners = ["versionchange", "close"].map(|name| {
            let (database, is_closed) = (database.clone(), Rc::clone(&is_closed));
            EventListener::new(&database.clone(), name, move |_| {
                is_closed.set(true);
                database.close();
            })
        });
        let mut store = Self {
            database,
            epoch: 0,
            is_claimed: Cell::new(false),
            is_closed,
            _listeners: listeners,
        };
        store.epoch = store.take_over(now).await?;
        store.drop_orphans().await?;
        Ok(store)
    }

    async fn take_over(&self, now: UnixMillis) -> Result<u64> {
        transaction::write(&self.database, &[META], None, async |t| {
            match number(t, FORMAT_KEY).await? {
                None => t.put(META, &FORMAT_KEY.into(), &FORMAT.into())?,
                Some(format) if format == u64::from(FORMAT) => {}
                Some(_) => return Err(newer()),
            }
            let before = number(t, EPOCH_KEY).await?.unwrap_or(0);
            let claimed = number(t, CLAIMED_KEY).await?.unwrap_or(0);
            let epoch = now.0.max(before.max(claimed) + 1);
            t.put(META, &EPOCH_KEY.into(), &(epoch as f64).into())?;
            Ok(epoch)
        })
        .await
    }

    async fn drop_orphans(&self) -> Result<()> {
        self.write(&[CONTENTS, CHUNKS], async |t| {
            let records = records(t).await?;
            let named: BTreeSet<Slot> = records.values().map(|record| record.slot).collect();
            let request = t.store(CHUNKS)?.open_key_cursor(None, None);
            let mut cursor = request.map_err(from_idb)?.await.map_err(from_idb)?;
            // One step for each slot, however many chunks there are.
            while let Some(at) = cursor {
                let key: Array = at.key().map_err(from_idb)?.unchecked_into();
                let slot = key.get(0).as_f64().unwrap_or(0.0) as Slot;
                if !named.contains(&slot) {
                    t.delete(CHUNKS, whole(slot)?)?;
                }
                let next = Array::of1(&((slot + 1) as f64).into());
                let request = at.next(Some(&next)).map_err(from_idb)?;
                cursor = request.await.map_err(from_idb)?;
            }
            Ok(())
        })
        .await
    }

    /// An epoch for a new node.
    pub async fn claim_epoch(&self, now: UnixMillis) -> Result<u64> {
        if !self.is_claimed.replace(true) {
            return Ok(self.epoch);
        }
        self.write(&[], async |t| {
            let before = number(t, CLAIMED_KEY).await?.unwrap_or(0).max(self.epoch);
            let epoch = now.0.max(before + 1);
            t.put(META, &CLAIMED_KEY.into(), &(epoch as f64).into())?;
            Ok(epoch)
        })
        .await
    }

    /// The identity that was put in.
    pub async fn identity(&self) -> Result<Option<JsValue>> {
        self.read(&[IDENTITY], async |t| t.get(IDENTITY, key(SELF_KEY)).await)
            .await
    }

    /// Keeps the identity.
    pub async fn put_identity(&self, identity: &JsValue) -> Result<()> {
        self.write(&[IDENTITY], async |t| {
            t.put(IDENTITY, &key(SELF_KEY), identity)
        })
        .await
    }

    /// What is held for a namespace.
    pub async fn contents(&self, namespace: &Namespace) -> Result<Vec<StoredContent>> {
        self.read(&[CONTENTS, CHUNKS], async |t| {
            let mut contents = Vec::new();
            for (key, record) in records(t).await? {
                if record.namespaces.contains(namespace) {
                    contents.push(stored(t, key, record).await?);
                }
            }
            Ok(contents)
        })
        .await
    }

    /// Does what a node in `namespace` asks.
    pub async fn handle(
        &self,
        namespace: &Namespace,
        request: StoreRequest,
    ) -> Result<StoreAnswer> {
        match request {
            StoreRequest::PutChunks { slot, chunks } => {
                self.put_chunks(slot, chunks).await?;
            }
            StoreRequest::GetChunk { slot, index } => {
                return self
                    .get_bytes(CHUNKS, chunk(slot, index))
                    .await
                    .map(StoreAnswer::Chunk);
            }
            StoreRequest::DropChunk { slot, index } => self.drop_chunk(slot, index).await?,
            StoreRequest::PutContent { content, list } => {
                let content = self.put_content(namespace, content, list).await?;
                return Ok(StoreAnswer::Content(Some(content)));
            }
            StoreRequest::SetWanted { key, wanted } => {
                self.change(key, |record| record.wanted = wanted).await?;
            }
            StoreRequest::SetComplete { key } => {
                let complete = |record: &mut Record| {
                    record.complete = true;
                    record.wanted = false;
                };
                self.change(key, complete).await?;
            }
            StoreRequest::FindContent { key } => {
                return self.find_content(key).await.map(StoreAnswer::Content);
            }
            StoreRequest::GetList { key: content } => {
                return self
                    .get_bytes(LISTS, key(content))
                    .await
                    .map(StoreAnswer::List);
            }
            StoreRequest::RemoveContent { key } => self.remove_content(namespace, key).await?,
            StoreRequest::DropSlot { slot } => {
                self.write(&[CHUNKS], async |t| t.delete(CHUNKS, whole(slot)?))
                    .await?;
            }
        }
        Ok(StoreAnswer::Done)
    }

    async fn put_chunks(&self, slot: Slot, chunks: Vec<VerifiedChunk>) -> Result<()> {
        self.write(&[CHUNKS], async |t| {
            for verified in chunks {
                let bytes = Uint8Array::from(verified.bytes());
                t.put(CHUNKS, &chunk(slot, verified.index()), &bytes)?;
            }
            Ok(())
        })
        .await
    }

    async fn drop_chunk(&self, slot: Slot, index: u32) -> Result<()> {
        self.write(&[CONTENTS, CHUNKS], async |t| {
            t.delete(CHUNKS, chunk(slot, index))?;
            for (content, mut record) in records(t).await? {
                if record.slot == slot && record.complete {
                    record.complete = false;
                    put_record(t, content, &record)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn put_content(
        &self,
        namespace: &Namespace,
        content: StoredContent,
        list: Vec<u8>,
    ) -> Result<StoredContent> {
        self.write(&[CONTENTS, LISTS, CHUNKS], async |t| {
            let held = held(t, content.slot, content.size).await?;
            let mut new = Record {
                slot: content.slot,
                size: content.size,
                metadata: content.metadata,
                complete: held.is_full(),
                wanted: content.wanted,
                namespaces: BTreeSet::new(),
            };
            let old = match record(t, content.key).await? {
                Some(old) => {
                    let is_full =
                        old.complete || self::held(t, old.slot, old.size).await?.is_full();
                    Some((old, is_full))
                }
                None => None,
            };
            let (mut holds, loses) = match old {
                Some((old, is_full)) if is_full || !held.is_full() => {
                    let loses = new.slot;
                    (old, Some(loses))
                }
                Some((old, _)) => {
                    new.namespaces = old.namespaces;
                    (new, Some(old.slot))
                }
                None => (new, None),
            };
            if let Some(loses) = loses.filter(|loses| *loses != holds.slot) {
                t.delete(CHUNKS, whole(loses)?)?;
            }
            holds.namespaces.insert(namespace.clone());
            put_record(t, content.key, &holds)?;
            if loses != Some(content.slot) {
                t.put(LISTS, &key(content.key), &Uint8Array::from(&list[..]))?;
            }
            stored(t, content.key, holds).await
        })
        .await
    }

    async fn change(&self, content: ContentKey, change: impl FnOnce(&mut Record)) -> Result<()> {
        self.write(&[CONTENTS], async |t| {
            if let Some(mut record) = record(t, content).await? {
                change(&mut record);
                put_record(t, content, &record)?;
            }
            Ok(())
        })
        .await
    }

    async fn find_content(&self, content: ContentKey) -> Result<Option<StoredContent>> {
        self.read(&[CONTENTS, CHUNKS], async |t| {
            match record(t, content).await? {
                Some(record) => stored(t, content, record).await.map(Some),
                None => Ok(None),
            }
        })
        .await
    }

    async fn remove_content(&self, namespace: &Namespace, content: ContentKey) -> Result<()> {
        self.write(&[CONTENTS, LISTS, CHUNKS], async |t| {
            let Some(mut record) = record(t, content).await? else {
                return Ok(());
            };
            record.namespaces.remove(namespace);
            if !record.namespaces.is_empty() {
                return put_record(t, content, &record);
            }
            t.delete(CONTENTS, key(content))?;
            t.delete(LISTS, key(content))?;
            t.delete(CHUNKS, whole(record.slot)?)
        })
        .await
    }

    async fn get_bytes(&self, store: &str, key: JsValue) -> Result<Option<Vec<u8>>> {
        let value = self
            .read(&[store], async |t| t.get(store, key).await)
            .await?;
        Ok(value.map(|bytes| Uint8Array::new(&bytes).to_vec()))
    }

    async fn read<T>(
        &self,
        stores: &[&str],
        work: impl AsyncFnOnce(&Transaction) -> Result<T>,
    ) -> Result<T> {
        if self.is_closed.get() {
            return Err(closed());
        }
        transaction::read(&self.database, stores, work).await
    }

    /// Writes to these stores, while the store is this engine's.
    async fn write<T>(
        &self,
        stores: &[&str],
        work: impl AsyncFnOnce(&Transaction) -> Result<T>,
    ) -> Result<T> {
        if self.is_closed.get() {
            return Err(closed());
        }
        let fence = Fence {
            store: META,
            key: EPOCH_KEY,
            epoch: self.epoch,
        };
        let stores = [&[META], stores].concat();
        transaction::write(&self.database, &stores, Some(fence), work).await
    }

    /// Lets go of the database; what was begun comes to its end.
    pub fn close(&self) {
        self.is_closed.set(true);
        self.database.close();
    }
}

impl Drop for IndexedDb {
    fn drop(&mut self) {
        self.close();
    }
}

fn newer() -> StoreError {
    StoreError::Failed("it was made by a newer version of Shoal; reload the page".into())
}

fn key(name: impl ToString) -> JsValue {
    name.to_string().into()
}

/// The key of a chunk.
fn chunk(slot: Slot, index: u32) -> JsValue {
    Array::of2(&(slot as f64).into(), &index.into()).into()
}

/// All chunks of a slot.
fn whole(slot: Slot) -> Result<Query> {
    let range = KeyRange::bound(&chunk(slot, 0), &chunk(slot, u32::MAX), None, None);
    range.map(Query::KeyRange).map_err(from_idb)
}

async fn number(t: &Transaction, name: &str) -> Result<Option<u64>> {
    let value = t.get(META, key(name)).await?;
    Ok(value
        .and_then(|value| value.as_f64())
        .map(|value| value as u64))
}

async fn record(t: &Transaction, content: ContentKey) -> Result<Option<Record>> {
    let value = t.get(CONTENTS, key(content)).await?;
    value.map(read_record).transpose()
}

fn read_record(value: JsValue) -> Result<Record> {
    serde_wasm_bindgen::from_value(value).map_err(|error| {
        StoreError::Failed(format!("a record cannot be read, it is damaged: {error}"))
    })
}

fn put_record(t: &Transaction, content: ContentKey, record: &Record) -> Result<()> {
    let value = record.serialize(&serde_wasm_bindgen::Serializer::json_compatible());
    let value = value.map_err(|error| error_of(&error.into()))?;
    t.put(CONTENTS, &key(content), &value)
}

async fn records(t: &Transaction) -> Result<BTreeMap<ContentKey, Record>> {
    let store = t.store(CONTENTS)?;
    let keys = store.get_all_keys(None, None).map_err(from_idb)?;
    let keys = keys.await.map_err(from_idb)?;
    let values = store.get_all(None, None).map_err(from_idb)?;
    let values = values.await.map_err(from_idb)?;
    let pairs = keys.into_iter().zip(values);
    pairs
        .map(|(key, value)| {
            let key = key.as_string().and_then(|key| key.parse().ok());
            let key = key.ok_or_else(|| {
                StoreError::Failed("a record has no content key, it is damaged".into())
            })?;
            Ok((key, read_record(value)?))
        })
        .collect()
}

/// Which chunks of a slot are there.
async fn held(t: &Transaction, slot: Slot, size: ContentSize) -> Result<Bits> {
    let keys = t.store(CHUNKS)?.get_all_keys(Some(whole(slot)?), None);
    let mut held = Bits::new(size.chunks());
    for key in keys.map_err(from_idb)?.await.map_err(from_idb)? {
        let index = key.unchecked_into::<Array>().get(1);
        held.insert(index.as_f64().unwrap_or(f64::MAX) as u32);
    }
    Ok(held)
}

/// What is kept of a content, with what is held of it.
async fn stored(t: &Transaction, key: ContentKey, record: Record) -> Result<StoredContent> {
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
    })
}
