//! The store on the disk: records in IndexedDB, the bytes of chunks in files where there are
//! any.
//!
//! What is held of a content is which of its chunks are there, so the two cannot disagree;
//! that it is complete is noted only to save counting them at every start.
//!
//! Each engine that opens the store puts a higher `epoch` there, and every write compares
//! it in its own transaction. So an engine that was only frozen while another took over can
//! do no harm.

use super::{
    files::{Files, Place},
    layout::{
        CHUNKS, CLAIMED_KEY, CONTENTS, EPOCH_KEY, FORMAT, FORMAT_KEY, IDENTITY, META, PLACES,
        SELF_KEY, STORES, key, newer, number, places, put_place, records, stored, whole,
    },
    requests::{Access, perform, scope},
    transaction::{Fence, Result, Transaction, Write, closed, from_idb, is_refused},
};
use gloo_events::EventListener;
use idb::{DatabaseEvent, ObjectStoreParams};
use js_sys::Array;
use shoal_peer_core::io::{Slot, StoreAnswer, StoreError, StoreRequest, StoredContent};
use shoal_protocol::{
    namespace::Namespace,
    proof::VerifiedChunk,
    sorted::{SortedMap, SortedSet},
    time::UnixMillis,
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use tokio::sync::{Mutex, OnceCell, RwLock};
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
    files: Option<Files>,
    /// Where the chunks of a slot lie in its file, once that was asked.
    places: RefCell<SortedMap<Slot, Rc<RefCell<Places>>>>,
    /// Chunks are put beside each other; whatever else changes something waits for those
    /// before it, and those after wait for it.
    order: RwLock<()>,
    /// What is to be noted with the next transaction.
    batch: RefCell<Rc<Batch>>,
    noting: Mutex<()>,
}

type Places = SortedMap<u32, Place>;

/// Places of chunks that are noted in one transaction: it costs more than what is in it.
#[derive(Default)]
struct Batch {
    places: RefCell<Vec<(Slot, u32, Place)>>,
    noted: OnceCell<Result<()>>,
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
                let old = database.store_names();
                for store in STORES
                    .iter()
                    .filter(|store| !old.iter().any(|old| old == *store))
                {
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
            files: Files::open(name).await,
            places: RefCell::default(),
            order: RwLock::default(),
            batch: RefCell::default(),
            noting: Mutex::default(),
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
        let write = self.begin_write(&[META, CONTENTS, CHUNKS, PLACES])?;
        let done = drop_orphans(write.transaction()).await;
        let named = write.end(done).await?;
        if let Some(files) = &self.files {
            for slot in files.slots().await {
                if !named.contains(&slot) {
                    files.remove(slot).await;
                }
            }
        }
        Ok(())
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
        let t = self.begin_read(&[CONTENTS, CHUNKS, PLACES])?;
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
        match (request, &self.files) {
            (StoreRequest::PutChunks { slot, chunks }, Some(files)) => {
                let _order = self.order.read().await;
                match self.put_chunks(files, *slot, chunks).await? {
                    true => Ok(StoreAnswer::Done),
                    false => self.in_database(namespace, request).await,
                }
            }
            (StoreRequest::GetChunk { slot, index }, Some(files)) => {
                let place = self.places(*slot).await?.borrow().get(index).copied();
                match place {
                    Some(place) => files.read(*slot, place).await.map(StoreAnswer::Chunk),
                    None => self.in_database(namespace, request).await,
                }
            }
            _ if scope(request).1 == Access::Read => self.in_database(namespace, request).await,
            _ => {
                let _order = self.order.write().await;
                self.in_database(namespace, request).await
            }
        }
    }

    /// Puts chunks into the file of their slot, all or none. False if it cannot be written.
    async fn put_chunks(
        &self,
        files: &Files,
        slot: Slot,
        chunks: &[VerifiedChunk],
    ) -> Result<bool> {
        if self.is_closed.get() {
            return Err(closed());
        }
        let places = self.places(slot).await?;
        let mut put = Vec::new();
        let mut done = Ok(true);
        for chunk in chunks {
            match files.write(slot, chunk.bytes()).await {
                Ok(Some(place)) => put.push((slot, chunk.index(), place)),
                Ok(None) => done = Ok(false),
                Err(error) => done = Err(error),
            }
            if !matches!(done, Ok(true)) {
                break;
            }
        }
        if matches!(done, Ok(true)) {
            done = self.note(&put).await.map(|()| true);
        }
        for (_, index, place) in put {
            let unused = match &done {
                Ok(true) => places.borrow_mut().insert(index, place),
                _ => Some(place),
            };
            if let Some(unused) = unused {
                files.free(slot, unused);
            }
        }
        done
    }

    /// Where the chunks of a slot lie that are in its file.
    async fn places(&self, slot: Slot) -> Result<Rc<RefCell<Places>>> {
        if let Some(places) = self.places.borrow().get(&slot) {
            return Ok(Rc::clone(places));
        }
        let places = places(&self.begin_read(&[PLACES])?, slot).await?;
        // Whoever asked at the same time may have been first, and have changed it since.
        let mut all = self.places.borrow_mut();
        let places = all.entry(slot).or_insert(Rc::new(RefCell::new(places)));
        Ok(Rc::clone(places))
    }

    /// Notes where chunks lie, together with all that are put while others are noted.
    async fn note(&self, put: &[(Slot, u32, Place)]) -> Result<()> {
        let batch = Rc::clone(&self.batch.borrow());
        batch.places.borrow_mut().extend_from_slice(put);
        let note = || async {
            let _alone = self.noting.lock().await;
            self.batch.take();
            let write = self.begin_write(&[META, PLACES])?;
            let mut places = batch.places.borrow().clone().into_iter();
            let done = places
                .try_for_each(|(slot, index, at)| put_place(write.transaction(), slot, index, at));
            write.end(done).await
        };
        batch.noted.get_or_init(note).await.clone()
    }

    /// Does what is asked by one transaction.
    async fn in_database(
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
            let dropped = write.transaction().take_dropped();
            let done = write.end(done).await;
            if done.is_ok() {
                self.forget(request, dropped).await;
            }
            match done {
                // Deleting takes room as well. Where there was none, Firefox lends some to
                // the transaction after, which may do nothing but delete.
                Err(StoreError::Quota) if access == Access::Delete && !is_second => {}
                Err(error) if is_refused(&error) && !is_second => {}
                done => return done,
            }
            is_second = true;
        }
    }

    /// Lets go of the bytes whose places are no longer noted.
    async fn forget(&self, request: &StoreRequest, dropped: Vec<Slot>) {
        if let StoreRequest::DropChunk { slot, index } = request
            && let Some(places) = self.places.borrow().get(slot)
            && let Some(place) = places.borrow_mut().remove(index)
            && let Some(files) = &self.files
        {
            files.free(*slot, place);
        }
        for slot in dropped {
            self.places.borrow_mut().remove(&slot);
            if let Some(files) = &self.files {
                files.remove(slot).await;
            }
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
        if let Some(files) = &self.files {
            files.close();
        }
    }
}

impl Drop for IndexedDb {
    fn drop(&mut self) {
        self.close();
    }
}

/// Puts a new epoch into the store, after a look at its format.
async fn take_over(t: &Transaction, now: UnixMillis) -> Result<u64> {
    if number(t, FORMAT_KEY).await? > Some(u64::from(FORMAT)) {
        return Err(newer());
    }
    t.put(META, &FORMAT_KEY.into(), &FORMAT.into())?;
    let before = number(t, EPOCH_KEY).await?.unwrap_or(0);
    let claimed = number(t, CLAIMED_KEY).await?.unwrap_or(0);
    let epoch = now.0.max(before.max(claimed) + 1);
    t.put(META, &EPOCH_KEY.into(), &(epoch as f64).into())?;
    Ok(epoch)
}

/// Deletes the chunks of slots that no record names; returns those that are named.
async fn drop_orphans(t: &Transaction) -> Result<SortedSet<Slot>> {
    let records = records(t).await?;
    let named: SortedSet<Slot> = records.values().map(|record| record.slot).collect();
    for store in [CHUNKS, PLACES] {
        let request = t.store(store)?.open_key_cursor(None, None);
        let mut cursor = request.map_err(from_idb)?.await.map_err(from_idb)?;
        // One step for each slot, however many chunks there are.
        while let Some(at) = cursor {
            let key: Array = at.key().map_err(from_idb)?.unchecked_into();
            let slot = key.get(0).as_f64().unwrap_or(0.0) as Slot;
            if !named.contains(&slot) {
                t.delete(store, whole(slot)?)?;
            }
            let next = Array::of1(&((slot + 1) as f64).into());
            let request = at.next(Some(&next)).map_err(from_idb)?;
            cursor = request.await.map_err(from_idb)?;
        }
    }
    Ok(named)
}

/// Gives out an epoch above the engine's and above all that were given out.
async fn claim_epoch(t: &Transaction, engine: u64, now: UnixMillis) -> Result<u64> {
    let before = number(t, CLAIMED_KEY).await?.unwrap_or(0).max(engine);
    let epoch = now.0.max(before + 1);
    t.put(META, &CLAIMED_KEY.into(), &(epoch as f64).into())?;
    Ok(epoch)
}
