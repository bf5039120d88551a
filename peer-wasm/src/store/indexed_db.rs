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
        CHUNKS, CONTENTS, EPOCH_KEY, FORMAT, IDENTITY, META, PLACES, PROOFS, SELF_KEY, STORES,
        UNREAD_KEY, foreign, key, number, places, put_place, records, stored,
    },
    notes::{Notes, changed},
    opening::{claim_epoch, drop_orphans, take_over},
    requests::{Access, perform, scope},
    transaction::{Fence, Result, Transaction, Write, closed, from_idb, is_refused},
};
use gloo_events::EventListener;
use idb::{DatabaseEvent, ObjectStoreParams};
use shoal_peer_core::io::{Slot, StoreAnswer, StoreError, StoreRequest, StoredContent};
use shoal_protocol::{
    content::ContentKey,
    namespace::Namespace,
    proof::VerifiedChunk,
    sorted::{SortedMap, SortedSet},
    time::UnixMillis,
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use tokio::sync::oneshot;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{IdbDatabase, IdbTransactionMode, IdbVersionChangeEvent};

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
    /// Keys of records that could not be read, and were taken out.
    damaged: RefCell<Vec<String>>,
    notes: Notes,
    /// Contents that are whole and not noted, as it was opened.
    unnoted: RefCell<Vec<ContentKey>>,
    /// How many contents were taken up from notes, if the database had been lost.
    recovered: Cell<Option<u32>>,
    /// Slots whose chunks were deleted: what is still put there is not noted.
    dropped: RefCell<SortedSet<Slot>>,
    /// Chunks to be noted with the next transaction, and who waits for it.
    waiting: RefCell<Vec<(Vec<Put>, oneshot::Sender<Said>)>>,
    is_noting: Cell<bool>,
}

/// Most chunks in a transaction: of a larger one that finds the disk full, Firefox (153) does not
/// say so.
const PUT_MAX: usize = 4;

type Places = SortedMap<u32, Place>;

/// A content with the namespaces in which it is shared.
pub type Held = (StoredContent, SortedSet<Namespace>);

/// A chunk that lies in the file of its slot.
type Put = (Slot, u32, Place);

/// What those are told that wait for their chunks to be noted.
enum Said {
    Noted(Result<()>),
    /// Note these, which are their own, and those of all others that wait.
    Lead(Vec<Put>),
}

impl IndexedDb {
    /// Opens the database, takes it over, and deletes chunks that no record names: those of
    /// publications that never came to an end. Into one that is new it takes what is noted beside
    /// the files: the browser has lost the one before. `lost` is called if the database is closed from
    /// outside.
    pub async fn open(
        name: &str,
        files: Option<Files>,
        now: UnixMillis,
        lost: impl Fn() + Clone + 'static,
    ) -> Result<Self> {
        let mut request = idb::Factory::new()
            .and_then(|factory| factory.open(name, Some(FORMAT)))
            .map_err(from_idb)?;
        request.on_upgrade_needed(|event| {
            // What fails here fails the opening.
            if let Ok(database) = event.database() {
                for store in missing(&database) {
                    let _ = database.create_object_store(store, ObjectStoreParams::new());
                }
            }
        });
        let database = match request.await {
            Ok(database) => database,
            Err(idb::Error::DomException(error)) if error.name() == "VersionError" => {
                return Err(foreign());
            }
            Err(error) => return Err(from_idb(error)),
        };
        let is_foreign = missing(&database).next().is_some();
        let database: IdbDatabase = database.into();
        let is_closed = Rc::new(Cell::new(false));
        // Somebody deletes the database or wants a newer version of it; or the browser has
        // closed it, as when a person clears the data of the site.
        let listeners = ["versionchange", "close"].map(|name| {
            let (database, is_closed) = (database.clone(), Rc::clone(&is_closed));
            let (lost, files) = (lost.clone(), files.clone());
            EventListener::new(&database.clone(), name, move |event| {
                database.close();
                let change = event.dyn_ref::<IdbVersionChangeEvent>();
                if change.is_some_and(|change| change.new_version().is_none())
                    && let Some(files) = files.clone()
                {
                    // Whoever deletes it wants what it holds to be gone.
                    spawn_local(async move { files.forget("").await });
                }
                if !is_closed.replace(true) {
                    lost();
                }
            })
        });
        let mut store = Self {
            database,
            epoch: 0,
            is_claimed: Cell::new(false),
            is_closed,
            _listeners: listeners,
            files,
            places: RefCell::default(),
            damaged: RefCell::default(),
            notes: Notes::default(),
            unnoted: RefCell::default(),
            recovered: Cell::new(None),
            dropped: RefCell::default(),
            waiting: RefCell::default(),
            is_noting: Cell::new(false),
        };
        if is_foreign {
            return Err(foreign());
        }
        store.epoch = store.take_over(now).await?;
        store.drop_orphans().await?;
        Ok(store)
    }

    async fn take_over(&self, now: UnixMillis) -> Result<u64> {
        let is_new = number(&self.begin_read(&[META])?, EPOCH_KEY)
            .await?
            .is_none();
        let notes = match &self.files {
            Some(files) if is_new => files.kept().await,
            _ => Vec::new(),
        };
        let write = Write::begin(&self.database, &[META, CONTENTS, PROOFS, PLACES], None)?;
        let done = take_over(write.transaction(), now, notes).await;
        let (epoch, recovered) = write.end(done).await?;
        self.recovered.set(recovered);
        Ok(epoch)
    }

    async fn drop_orphans(&self) -> Result<()> {
        let write = self.begin_write(&[META, CONTENTS, PROOFS, CHUNKS, PLACES])?;
        let done = drop_orphans(write.transaction()).await;
        let (named, damaged) = write.end(done).await?;
        *self.damaged.borrow_mut() = damaged;
        if let Some(files) = &self.files {
            let (with_files, noted) = files.all().await;
            for slot in with_files.iter() {
                if !named.contains_key(slot) {
                    files.delete(*slot).await;
                }
            }
            let is_missing = |slot: &Slot| with_files.contains(slot) && !noted.contains(slot);
            let missing = named.iter().filter(|(slot, _)| is_missing(slot));
            *self.unnoted.borrow_mut() = missing.filter_map(|(_, whole)| *whole).collect();
        }
        Ok(())
    }

    /// Notes what was whole and not noted when the store was opened.
    pub async fn note_missing(&self) {
        for key in self.unnoted.take() {
            self.note_whole(key).await;
        }
    }

    /// Notes what there is of a content beside its file, if it is whole.
    async fn note_whole(&self, key: ContentKey) {
        let Some(files) = &self.files else { return };
        let begin = || self.begin_read(&[CONTENTS, PROOFS, PLACES]);
        let noted = self.notes.write(files, begin, key).await;
        // It may have gone meanwhile.
        if let Some(slot) = noted.filter(|slot| self.dropped.borrow().contains(slot)) {
            files.delete(slot).await;
        }
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

    /// Keeps the identity; one before, that could not be read, beside it.
    pub async fn put_identity(&self, identity: &JsValue, unread: Option<&JsValue>) -> Result<()> {
        let write = self.begin_write(&[META, IDENTITY])?;
        let t = write.transaction();
        let mut done = t.put(IDENTITY, &key(SELF_KEY), identity);
        if let Some(unread) = unread {
            self.damaged.borrow_mut().push(IDENTITY.into());
            done = done.and(t.put(IDENTITY, &key(UNREAD_KEY), unread));
        }
        write.end(done).await
    }

    /// The keys of records that could not be read when the store was opened. They were taken
    /// out, with what nothing else names. And `identity`, if that was one.
    pub fn take_damaged(&self) -> Vec<String> {
        self.damaged.take()
    }

    /// How many contents were taken up from notes when the database was found lost, once.
    pub fn take_recovered(&self) -> Option<u32> {
        self.recovered.take()
    }

    /// What is held, with its namespaces: in one of them, or in all.
    pub async fn contents(&self, namespace: Option<&Namespace>) -> Result<Vec<Held>> {
        let t = self.begin_read(&[CONTENTS, CHUNKS, PLACES])?;
        let mut contents = Vec::new();
        for (key, mut record) in records(&t).await?.0 {
            if namespace.is_none_or(|namespace| record.namespaces.contains(namespace)) {
                let namespaces = std::mem::take(&mut record.namespaces);
                contents.push((stored(&t, key, record).await?, namespaces));
            }
        }
        Ok(contents)
    }

    /// Does what a node in `namespace` asks.
    pub async fn handle(
        &self,
        namespace: &Namespace,
        request: StoreRequest,
    ) -> Result<StoreAnswer> {
        match request {
            StoreRequest::PutChunks {
                slot,
                size,
                mut chunks,
            } => {
                if let Some(files) = &self.files
                    && self.put_chunks(files, slot, &chunks).await?
                {
                    return Ok(StoreAnswer::Done);
                }
                while !chunks.is_empty() {
                    let rest = chunks.split_off(chunks.len().min(PUT_MAX));
                    let part = StoreRequest::PutChunks { slot, size, chunks };
                    self.in_database(namespace, &part).await?;
                    chunks = rest;
                }
                Ok(StoreAnswer::Done)
            }
            StoreRequest::GetChunk { slot, index } => match self.place(slot, index).await? {
                Some(place) => {
                    // It may be there all the same.
                    let no_files = || StoreError::Failed("its files cannot be opened".into());
                    let files = self.files.as_ref().ok_or_else(no_files)?;
                    files.get(slot, place).await.map(StoreAnswer::Chunk)
                }
                None => self.in_database(namespace, &request).await,
            },
            request => self.in_database(namespace, &request).await,
        }
    }

    async fn place(&self, slot: Slot, index: u32) -> Result<Option<Place>> {
        let places = self.places(slot).await?;
        let place = places.borrow().get(&index).copied();
        Ok(place)
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
            match files.append(slot, chunk.bytes()).await {
                Ok(Some(place)) => put.push((slot, chunk.index(), place)),
                Ok(None) => done = Ok(false),
                Err(error) => done = Err(error),
            }
            if !matches!(done, Ok(true)) {
                break;
            }
        }
        if matches!(done, Ok(true)) {
            done = self.note(put.clone()).await.map(|()| true);
        }
        for (_, index, place) in put {
            let unused = match &done {
                Ok(true) => places.borrow_mut().insert(index, place),
                _ => Some(place),
            };
            if let Some(unused) = unused {
                files.release(slot, unused);
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

    /// Notes where chunks lie, together with all that are put while others are noted: a
    /// transaction costs more than what is in it.
    async fn note(&self, mut put: Vec<Put>) -> Result<()> {
        if self.is_noting.replace(true) {
            let (say, said) = oneshot::channel();
            self.waiting.borrow_mut().push((put, say));
            match said.await {
                Ok(Said::Lead(own)) => put = own,
                Ok(Said::Noted(done)) => return done,
                Err(_) => return Err(closed()),
            }
        }
        let waiting = self.waiting.take();
        let others = waiting.iter().flat_map(|(put, _)| put);
        let done = self.put_places(put.iter().chain(others)).await;
        for (_, say) in waiting {
            // Whoever does not listen has gone.
            let _ = say.send(Said::Noted(done.clone()));
        }
        self.is_noting.set(false);
        let mut waiting = self.waiting.borrow_mut();
        while !waiting.is_empty() && !self.is_noting.get() {
            let (put, say) = waiting.remove(0);
            self.is_noting.set(say.send(Said::Lead(put)).is_ok());
        }
        done
    }

    async fn put_places(&self, mut put: impl Iterator<Item = &Put>) -> Result<()> {
        let write = self.begin_write(&[META, PLACES])?;
        let done =
            put.try_for_each(
                |(slot, index, place)| match self.dropped.borrow().contains(slot) {
                    true => Ok(()),
                    false => put_place(write.transaction(), *slot, *index, *place),
                },
            );
        write.end(done).await
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
            if let StoreRequest::DropSlot { slot } = request {
                // Of those that are put meanwhile, some are noted after this.
                self.dropped.borrow_mut().insert(*slot);
            }
            let done = perform(write.transaction(), namespace, request).await;
            let dropped = write.transaction().take_dropped();
            for slot in &dropped {
                self.dropped.borrow_mut().insert(*slot);
            }
            let done = write.end(done).await;
            match done {
                Ok(_) => {
                    self.forget(request, dropped).await;
                    if let Some(key) = changed(request) {
                        self.note_whole(key).await;
                    }
                }
                Err(_) => self
                    .dropped
                    .borrow_mut()
                    .retain(|slot| !dropped.contains(slot)),
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

    /// Lets go of the bytes whose places are no longer noted, and of the note on what lost some.
    async fn forget(&self, request: &StoreRequest, dropped: Vec<Slot>) {
        if let StoreRequest::DropChunk { slot, index } = request {
            let places = self.places.borrow().get(slot).cloned();
            let place = places.and_then(|places| places.borrow_mut().remove(index));
            if let Some(files) = &self.files {
                if let Some(place) = place {
                    files.release(*slot, place);
                }
                files.forget(&slot.to_string()).await;
            }
        }
        for slot in dropped {
            self.places.borrow_mut().remove(&slot);
            if let Some(files) = &self.files {
                files.delete(slot).await;
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

/// The object stores that a database lacks.
fn missing(database: &idb::Database) -> impl Iterator<Item = &'static str> {
    let names = database.store_names();
    let lacks = move |store: &&str| !names.iter().any(|name| name == store);
    STORES.into_iter().filter(lacks)
}

impl Drop for IndexedDb {
    fn drop(&mut self) {
        self.close();
    }
}
