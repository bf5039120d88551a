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
        CHUNKS, CLAIMED_KEY, CONTENTS, EPOCH_KEY, FORMAT, FORMAT_KEY, IDENTITY, META, SELF_KEY,
        STORES, key, newer, number, records, stored, whole,
    },
    requests::{Access, perform, scope},
    transaction::{Fence, Result, Transaction, Write, closed, from_idb, is_refused},
};
use gloo_events::EventListener;
use idb::{DatabaseEvent, ObjectStoreParams};
use js_sys::Array;
use shoal_peer_core::io::{Slot, StoreAnswer, StoreError, StoreRequest, StoredContent};
use shoal_protocol::{namespace::Namespace, sorted::SortedSet, time::UnixMillis};
use std::{cell::Cell, rc::Rc};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{IdbDatabase, IdbTransactionMode};

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
        write.end(epoch).await
    }

    async fn drop_orphans(&self) -> Result<()> {
        let write = self.begin_write(&[META, CONTENTS, CHUNKS])?;
        let done = drop_orphans(write.transaction()).await;
        write.end(done).await
    }

    /// An epoch for a new node.
    pub async fn claim_epoch(&self, now: UnixMillis) -> Result<u64> {
        if !self.is_claimed.replace(true) {
            return Ok(self.epoch);
        }
        let write = self.begin_write(&[META])?;
        let epoch = claim_epoch(write.transaction(), self.epoch, now).await;
        write.end(epoch).await
    }

    /// The identity that was put in.
    pub async fn identity(&self) -> Result<Option<JsValue>> {
        let t = self.begin_read(&[IDENTITY])?;
        t.get(IDENTITY, key(SELF_KEY)).await
    }

    /// Keeps the identity.
    pub async fn put_identity(&self, identity: &JsValue) -> Result<()> {
        let write = self.begin_write(&[META, IDENTITY])?;
        let done = write.transaction().put(IDENTITY, &key(SELF_KEY), identity);
        write.end(done).await
    }

    /// What is held for a namespace.
    pub async fn contents(&self, namespace: &Namespace) -> Result<Vec<StoredContent>> {
        let t = self.begin_read(&[CONTENTS, CHUNKS])?;
        let mut contents = Vec::new();
        for (key, record) in records(&t).await? {
            if record.namespaces.contains(namespace) {
                contents.push(stored(&t, key, record).await?);
            }
        }
        Ok(contents)
    }

    /// Does what a node in `namespace` asks.
    pub async fn handle(
        &self,
        namespace: &Namespace,
        request: &StoreRequest,
    ) -> Result<StoreAnswer> {
        let (stores, access) = scope(request);
        if access == Access::Read {
            return perform(&self.begin_read(stores)?, namespace, request).await;
        }
        let mut is_second = false;
        loop {
            let write = self.begin_write(stores)?;
            let done = perform(write.transaction(), namespace, request).await;
            match write.end(done).await {
                // Deleting takes room as well. Where there was none, Firefox lends some to
                // the transaction after, which may do nothing but delete.
                Err(StoreError::Quota) if access == Access::Delete && !is_second => {}
                Err(error) if is_refused(&error) && !is_second => {}
                done => return done,
            }
            is_second = true;
        }
    }

    fn begin_read(&self, stores: &[&str]) -> Result<Transaction> {
        if self.is_closed.get() {
            return Err(closed());
        }
        Transaction::begin(&self.database, stores, IdbTransactionMode::Readonly)
    }

    /// Begins to write while the store is this engine's. `META` is one of the stores.
    fn begin_write(&self, stores: &[&str]) -> Result<Write> {
        if self.is_closed.get() {
            return Err(closed());
        }
        let fence = Fence {
            store: META,
            key: EPOCH_KEY,
            epoch: self.epoch,
        };
        Write::begin(&self.database, stores, Some(fence))
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

/// Deletes the chunks of slots that no record names.
async fn drop_orphans(t: &Transaction) -> Result<()> {
    let records = records(t).await?;
    let named: SortedSet<Slot> = records.values().map(|record| record.slot).collect();
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
}

/// Gives out an epoch above the engine's and above all that were given out.
async fn claim_epoch(t: &Transaction, engine: u64, now: UnixMillis) -> Result<u64> {
    let before = number(t, CLAIMED_KEY).await?.unwrap_or(0).max(engine);
    let epoch = now.0.max(before + 1);
    t.put(META, &CLAIMED_KEY.into(), &(epoch as f64).into())?;
    Ok(epoch)
}
