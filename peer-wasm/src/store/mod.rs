//! Where an engine keeps what it holds: on the disk of the browser, or in memory until it
//! ends.
//!
//! What each [`StoreRequest`] means is defined by [`MemoryStore`].

mod files;
mod indexed_db;
mod layout;
mod notes;
mod opening;
mod requests;
mod transaction;

pub use files::Files;
use indexed_db::{Held, IndexedDb};
pub use layout::{FORMAT, foreign};
use shoal_peer_core::{
    MemoryStore,
    io::{StoreAnswer, StoreError, StoreRequest},
};
use shoal_protocol::{namespace::Namespace, time::UnixMillis};
use std::cell::{Cell, RefCell};
use wasm_bindgen::JsValue;

/// A store, held by one engine.
pub enum Store {
    /// On the disk of the browser.
    IndexedDb(IndexedDb),
    /// Gone with the engine; the number is the last epoch given to a node.
    Memory(RefCell<MemoryStore>, Cell<u64>),
}

impl Store {
    /// A store that keeps nothing.
    pub fn memory() -> Self {
        Self::Memory(RefCell::default(), Cell::new(0))
    }

    /// Opens the database `name`, with files if there are any, and takes it from whichever
    /// engine had it before. `lost` is called if it is deleted from outside.
    pub async fn open(
        name: &str,
        files: Option<Files>,
        now: UnixMillis,
        lost: impl Fn() + Clone + 'static,
    ) -> Result<Self, StoreError> {
        let opened = IndexedDb::open(name, files, now, lost).await;
        opened.map(Self::IndexedDb)
    }

    /// An epoch for a new node: higher than any given out from this store before.
    pub async fn claim_epoch(&self, now: UnixMillis) -> Result<u64, StoreError> {
        match self {
            Self::IndexedDb(database) => database.claim_epoch(now).await,
            Self::Memory(_, last) => {
                last.set(now.0.max(last.get() + 1));
                Ok(last.get())
            }
        }
    }

    /// The identity that was put in.
    pub async fn identity(&self) -> Result<Option<JsValue>, StoreError> {
        match self {
            Self::IndexedDb(database) => database.identity().await,
            Self::Memory(..) => Ok(None),
        }
    }

    /// Keeps the identity, and beside it one that could not be read.
    pub async fn put_identity(
        &self,
        identity: &JsValue,
        unread: Option<&JsValue>,
    ) -> Result<(), StoreError> {
        match self {
            Self::IndexedDb(database) => database.put_identity(identity, unread).await,
            Self::Memory(..) => Ok(()),
        }
    }

    /// What is held, with its namespaces: in one of them, or in all.
    pub async fn contents(&self, namespace: Option<&Namespace>) -> Result<Vec<Held>, StoreError> {
        match self {
            Self::IndexedDb(database) => database.contents(namespace).await,
            Self::Memory(store, _) => {
                let mut all = store.borrow().all();
                all.retain(|(_, of)| namespace.is_none_or(|namespace| of.contains(namespace)));
                Ok(all)
            }
        }
    }

    /// The keys of records that could not be read when the store was opened, and `identity` if
    /// that could not, once.
    pub fn take_damaged(&self) -> Vec<String> {
        match self {
            Self::IndexedDb(database) => database.take_damaged(),
            Self::Memory(..) => Vec::new(),
        }
    }

    /// How many contents were taken up from their files when the store was opened, once; `None`
    /// unless the browser had lost the database.
    pub fn take_recovered(&self) -> Option<u32> {
        match self {
            Self::IndexedDb(database) => database.take_recovered(),
            Self::Memory(..) => None,
        }
    }

    /// Notes beside the files what is not yet, in case the browser loses the database.
    pub async fn note_missing(&self) {
        if let Self::IndexedDb(database) = self {
            database.note_missing().await;
        }
    }

    /// Does what a node in `namespace` asks. Several may be under way; writes take effect
    /// in the order in which they were begun, but for chunks, which may come later: of those
    /// that are put into a slot that is dropped meanwhile nothing is kept.
    pub async fn handle(
        &self,
        namespace: &Namespace,
        request: StoreRequest,
    ) -> Result<StoreAnswer, StoreError> {
        match self {
            Self::IndexedDb(database) => database.handle(namespace, request).await,
            Self::Memory(store, _) => store.borrow_mut().handle(namespace, request),
        }
    }

    /// Lets go of the database once what was begun is done. Whatever is asked after fails.
    pub fn close(&self) {
        if let Self::IndexedDb(database) = self {
            database.close();
        }
    }
}
