//! The store in IndexedDB.
//!
//! What is held of a content is which of its chunks are there, so the two cannot disagree;
//! that it is complete is noted only to save counting them at every start.
//!
//! Each engine that opens the store puts a higher `epoch` there, and every write compares
//! it in its own transaction. So an engine that was only frozen while another took over can
//! do no harm.

use super::{
    layout::{
        CHUNKS, CLAIMED_KEY, CONTENTS, EPOCH_KEY, FORMAT, FORMAT_KEY, IDENTITY, LISTS, META,
        Record, SELF_KEY, STORES, chunk, held, key, newer, number, put_record, record, records,
        stored, whole,
    },
    transaction::{self, Fence, Result, Transaction, Write, closed, from_idb, is_refused},
};
use gloo_events::EventListener;
use idb::{DatabaseEvent, ObjectStoreParams};
use js_sys::{Array, Uint8Array};
use shoal_peer_core::io::{Slot, StoreAnswer, StoreError, StoreRequest, StoredContent};
use shoal_protocol::{
    content::ContentKey, namespace::Namespace, proof::VerifiedChunk, time::UnixMillis,
};
use std::{cell::Cell, collections::BTreeSet, rc::Rc};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::IdbDatabase;

/// The store, under one engine's epoch.
pub struct IndexedDb {
    database: IdbDatabase,
    epoch: u64,
    /// Whether the epoch itself was given to a node.
    is_claimed: Cell<bool>,
    is_closed: Rc<Cell<bool>>,
    _listeners: [EventListener; 2],
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
        let write = Write::begin(&self.database, &[META], None)?;
        let epoch = take_over(write.transaction(), now).await;
        write.end(epoch.as_ref().err().cloned()).await?;
        epoch
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
                self.delete(&[CHUNKS], async |t| t.delete(CHUNKS, whole(slot)?))
                    .await?;
            }
        }
        Ok(StoreAnswer::Done)
    }

    async fn put_chunks(&self, slot: Slot, chunks: Vec<VerifiedChunk>) -> Result<()> {
        self.write(&[CHUNKS], async |t| {
            for verified in &chunks {
                let bytes = Uint8Array::from(verified.bytes());
                t.put(CHUNKS, &chunk(slot, verified.index()), &bytes)?;
            }
            Ok(())
        })
        .await
    }

    async fn drop_chunk(&self, slot: Slot, index: u32) -> Result<()> {
        self.delete(&[CONTENTS, CHUNKS], async |t| {
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
        let stores = [CONTENTS, LISTS, CHUNKS];
        self.write(&stores, async |t| {
            put_content(t, namespace, &content, &list).await
        })
        .await
    }

    async fn change(&self, content: ContentKey, change: impl Fn(&mut Record)) -> Result<()> {
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
        self.delete(&[CONTENTS, LISTS, CHUNKS], async |t| {
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
        work: impl AsyncFn(&Transaction) -> Result<T>,
    ) -> Result<T> {
        match self.write_once(stores, &work).await {
            Err(error) if is_refused(&error) => self.write_once(stores, &work).await,
            done => done,
        }
    }

    /// Deletes from these stores. To delete takes room as well; where there was none,
    /// browsers lend some to the second attempt.
    async fn delete(
        &self,
        stores: &[&str],
        work: impl AsyncFn(&Transaction) -> Result<()>,
    ) -> Result<()> {
        match self.write_once(stores, &work).await {
            Err(StoreError::Quota) => self.write_once(stores, &work).await,
            Err(error) if is_refused(&error) => self.write_once(stores, &work).await,
            done => done,
        }
    }

    async fn write_once<T>(
        &self,
        stores: &[&str],
        work: &impl AsyncFn(&Transaction) -> Result<T>,
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
        let write = Write::begin(&self.database, &stores, Some(fence))?;
        let done = work(write.transaction()).await;
        write.end(done.as_ref().err().cloned()).await?;
        done
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

/// Puts a new epoch into the store, after a look at its format.
async fn take_over(t: &Transaction, now: UnixMillis) -> Result<u64> {
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
}

/// Records a content, or leaves the record that is there; see [`StoreRequest::PutContent`].
async fn put_content(
    t: &Transaction,
    namespace: &Namespace,
    content: &StoredContent,
    list: &[u8],
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
                namespaces: old.map(|old| old.namespaces).unwrap_or_default(),
            };
            t.put(LISTS, &key(content.key), &Uint8Array::from(list))?;
            (record, loses)
        }
    };
    if let Some(loses) = loses.filter(|loses| *loses != record.slot) {
        t.delete(CHUNKS, whole(loses)?)?;
    }
    record.namespaces.insert(namespace.clone());
    put_record(t, content.key, &record)?;
    stored(t, content.key, record).await
}
