//! Transactions of IndexedDB: all or nothing, under the epoch of their engine.
//!
//! Requests go through `idb`. Its way of waiting for the end of a transaction is not used:
//! it names no reason for an abort that comes with the commit, which is how a full disk
//! shows, and after an error leaves a handler behind whose closure is gone.

use crate::errors::describe;
use gloo_events::EventListener;
use idb::{ObjectStore, Query, request::futures::GetStoreRequestFuture};
use shoal_peer_core::io::{Slot, StoreError};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use tokio::sync::oneshot;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{DomException, IdbDatabase, IdbTransaction, IdbTransactionMode};

pub type Result<T> = core::result::Result<T, StoreError>;

/// A running transaction.
pub struct Transaction {
    transaction: idb::Transaction,
    raw: IdbTransaction,
    /// Slots whose chunks go with it.
    dropped: RefCell<Vec<Slot>>,
}

impl Transaction {
    pub fn begin(
        database: &IdbDatabase,
        stores: &[&str],
        mode: IdbTransactionMode,
    ) -> Result<Self> {
        let names: js_sys::Array = stores.iter().map(|name| JsValue::from(*name)).collect();
        let raw = database.transaction_with_str_sequence_and_mode(&names, mode);
        let raw = raw.map_err(|error| error_of(&error))?;
        Ok(Self {
            transaction: raw.clone().into(),
            raw,
            dropped: RefCell::default(),
        })
    }

    /// The chunks of a slot go with this transaction; so is their file to, after.
    pub fn dropped(&self, slot: Slot) {
        self.dropped.borrow_mut().push(slot);
    }

    /// The slots whose files are to go once it has completed.
    pub fn take_dropped(&self) -> Vec<Slot> {
        self.dropped.take()
    }

    /// Nothing more follows. Without it the transaction would end by itself, a turn later.
    fn commit(&self) {
        // Fails if it has ended already, which `End` tells.
        #[expect(deprecated, reason = "it left the standard and came back")]
        let _ = self.raw.commit();
    }

    fn abort(&self) {
        // As above.
        let _ = self.raw.abort();
    }

    /// An object store that was named at the beginning.
    pub fn store(&self, name: &str) -> Result<ObjectStore> {
        self.transaction.object_store(name).map_err(from_idb)
    }

    /// Reads one value.
    pub async fn get(&self, store: &str, key: impl Into<Query>) -> Result<Option<JsValue>> {
        let request = self.store(store)?.get(key).map_err(from_idb)?;
        request.await.map_err(from_idb)
    }

    /// Writes one value. If that fails, so does the transaction.
    pub fn put(&self, store: &str, key: &JsValue, value: &JsValue) -> Result<()> {
        let request = self.store(store)?.put(value, Some(key));
        request.map(drop).map_err(from_idb)
    }

    /// Deletes what there is. If that fails, so does the transaction.
    pub fn delete(&self, store: &str, key: impl Into<Query>) -> Result<()> {
        let request = self.store(store)?.delete(key);
        request.map(drop).map_err(from_idb)
    }
}

/// Where the epoch of the engine that has the store is, and what it is expected to be.
pub struct Fence<'a> {
    /// Name of the object store.
    pub store: &'a str,
    /// Its key there.
    pub key: &'a str,
    /// This engine's.
    pub epoch: u64,
}

/// A transaction that writes.
pub struct Write {
    transaction: Transaction,
    fence: Option<(GetStoreRequestFuture, u64)>,
    ended: End,
}

impl Write {
    /// Begins; `stores` name that of the fence too.
    ///
    /// If another engine has put its own epoch at the fence, nothing is written. The fence is
    /// asked for first, so its answer comes before anything can complete, and nobody need
    /// wait for it.
    pub fn begin(
        database: &IdbDatabase,
        stores: &[&str],
        fence: Option<Fence<'_>>,
    ) -> Result<Self> {
        let transaction = Transaction::begin(database, stores, IdbTransactionMode::Readwrite)?;
        let ended = End::of(&transaction.raw);
        let fence = match fence {
            Some(fence) => {
                let request = transaction.store(fence.store)?;
                let request = request.get(JsValue::from(fence.key)).map_err(from_idb)?;
                Some((request.into_future(), fence.epoch))
            }
            None => None,
        };
        Ok(Self {
            transaction,
            fence,
            ended,
        })
    }

    /// Where to write.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Returns after it has completed, or, if something has failed, been reverted.
    pub async fn end<T>(self, done: Result<T>) -> Result<T> {
        match done {
            Ok(value) => self.settle(None).await.map(|()| value),
            Err(error) => Err(self.settle(Some(error)).await.err().unwrap_or_else(closed)),
        }
    }

    async fn settle(self, mut failed: Option<StoreError>) -> Result<()> {
        if failed.is_some() {
            self.transaction.abort();
        }
        if let Some((current, epoch)) = self.fence {
            // Waited for even then: the browser calls the handlers of aborted requests too.
            let current = current.await;
            if let (Ok(current), None) = (current, &failed)
                && current.and_then(|current| current.as_f64()) != Some(epoch as f64)
            {
                failed = Some(StoreError::Superseded);
                self.transaction.abort();
            }
        }
        if failed.is_none() {
            self.transaction.commit();
        }
        match (self.ended.wait().await, failed) {
            (Ok(()), None) => Ok(()),
            // A request says only that there was an abort, if that came first.
            (Err(StoreError::Quota), _) => Err(StoreError::Quota),
            (_, Some(failed)) => Err(failed),
            (Err(reason), None) => Err(reason),
        }
    }
}

/// The end of a transaction.
struct End {
    said: oneshot::Receiver<Result<()>>,
    _listeners: [EventListener; 2],
}

impl End {
    fn of(transaction: &IdbTransaction) -> Self {
        let (say, said) = oneshot::channel();
        let say = Rc::new(Cell::new(Some(say)));
        let same = Rc::clone(&say);
        let aborted = transaction.clone();
        let on_complete = EventListener::new(transaction, "complete", move |_| {
            if let Some(say) = say.take() {
                // Nobody may be waiting any more.
                let _ = say.send(Ok(()));
            }
        });
        let on_abort = EventListener::new(transaction, "abort", move |_| {
            let reason = match aborted.error() {
                Some(error) => error_of(error.as_ref()),
                None => StoreError::Failed("the transaction was aborted".into()),
            };
            if let Some(say) = same.take() {
                // As above.
                let _ = say.send(Err(reason));
            }
        });
        Self {
            said,
            _listeners: [on_complete, on_abort],
        }
    }

    async fn wait(self) -> Result<()> {
        // The sender lives in the listeners, which live here.
        self.said.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// The database is closed, by this engine or from outside.
pub fn closed() -> StoreError {
    StoreError::Failed("the database was closed or deleted".into())
}

/// What an exception of IndexedDB means.
pub fn error_of(thrown: &JsValue) -> StoreError {
    let name = thrown.dyn_ref::<DomException>().map(DomException::name);
    match name.as_deref() {
        Some("QuotaExceededError") => StoreError::Quota,
        _ => StoreError::Failed(describe(thrown)),
    }
}

/// Whether a transaction was not allowed to write. Firefox lets the transaction after one
/// that found the disk full do nothing but delete.
pub fn is_refused(error: &StoreError) -> bool {
    matches!(error, StoreError::Failed(why) if why.starts_with("InvalidStateError"))
}

/// As [`error_of`], for those that came through `idb`. Its own texts, of all that can be done
/// with a database, stay out of the package.
pub fn from_idb(error: idb::Error) -> StoreError {
    use idb::Error::{
        CursorAdvanceFailed, CursorContinueFailed, CursorKeyNotFound, DeleteFailed, DomException,
        GetAllFailed, GetAllKeysFailed, GetFailed, IndexedDbNotFound, IndexedDbOpenFailed,
        KeyRangeCreateFailed, ObjectStoreCreateFailed, ObjectStoreNotFound, OpenCursorFailed,
        OpenKeyCursorFailed, RequestErrorNotFound, RequestResultNotFound, TransactionAbortError,
        TransactionCommitError, TransactionOpenFailed, UnexpectedJsType, UpdateFailed,
    };
    match error {
        DomException(error) => error_of(error.as_ref()),
        CursorAdvanceFailed(error)
        | CursorContinueFailed(error)
        | CursorKeyNotFound(error)
        | DeleteFailed(error)
        | GetAllFailed(error)
        | GetAllKeysFailed(error)
        | GetFailed(error)
        | IndexedDbNotFound(error)
        | IndexedDbOpenFailed(error)
        | KeyRangeCreateFailed(error)
        | ObjectStoreCreateFailed(error)
        | ObjectStoreNotFound(error)
        | OpenCursorFailed(error)
        | OpenKeyCursorFailed(error)
        | RequestErrorNotFound(error)
        | RequestResultNotFound(error)
        | TransactionAbortError(error)
        | TransactionCommitError(error)
        | TransactionOpenFailed(error)
        | UpdateFailed(error) => error_of(&error),
        UnexpectedJsType(expected, _) => {
            StoreError::Failed(["IndexedDB gave something else than ", expected].concat())
        }
        _ => StoreError::Failed("IndexedDB gave no result and no error".into()),
    }
}
