//! Bytes of chunks in files of the origin's private file system (OPFS): one file a slot, to
//! which chunks are appended as they come.
//!
//! Writing a file takes a tenth of the time a database takes, and reading it less
//! (`cargo xtask bench store`), but only dedicated workers are given handles that write, and
//! one at a time to a file. Where there is none, chunks go into the database.
//!
//! Files are not flushed: a chunk that a power cut takes is found damaged when it is read.

use super::transaction::{Result, closed, error_of};
use js_sys::{ArrayBuffer, AsyncIterator, Function, Promise, Reflect, Uint8Array};
use shoal_peer_core::io::{Slot, StoreError};
use shoal_protocol::{content::CHUNK_SIZE, sorted::SortedMap};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use tokio::sync::Mutex;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemReadWriteOptions, FileSystemSyncAccessHandle,
};

/// The folder of all stores.
const FOLDER: &str = "shoal";
/// Most files kept open. Guess: more than are fetched and served at a time.
const OPEN_MAX: usize = 32;

/// Where a chunk lies in the file of its slot.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u32,
}

/// The files of a store.
pub struct Files {
    folder: FileSystemDirectoryHandle,
    open: RefCell<SortedMap<Slot, Rc<File>>>,
    /// Held while a file is opened, which can be done once.
    opening: Mutex<()>,
    is_closed: Cell<bool>,
    /// Whether this engine runs where handles are given.
    has_handles: bool,
}

/// A file that only this engine can change.
struct File {
    handle: FileSystemSyncAccessHandle,
    /// Where the next chunk goes.
    end: Cell<u64>,
    /// Places of the size of a chunk that hold none.
    free: RefCell<Vec<u64>>,
}

impl Drop for File {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl Files {
    /// The files of the store `name`; `None` where the browser has none, as in private windows
    /// of Firefox.
    pub async fn open(name: &str) -> Option<Self> {
        let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).ok()?;
        let storage = Reflect::get(&navigator, &"storage".into()).ok()?;
        let root = Reflect::get(&storage, &"getDirectory".into()).ok()?;
        let root = root.dyn_ref::<Function>()?.call0(&storage).ok()?;
        let mut folder: FileSystemDirectoryHandle = awaited(root).await.ok()?;
        let options = FileSystemGetDirectoryOptions::new();
        options.set_create(true);
        // Names of stores are free, those of files are not.
        for name in [FOLDER, &String::from(js_sys::encode_uri_component(name))] {
            let inner = folder.get_directory_handle_with_options(name, &options);
            folder = awaited(inner).await.ok()?;
        }
        Some(Self {
            folder,
            open: RefCell::default(),
            opening: Mutex::default(),
            is_closed: Cell::new(false),
            has_handles: Reflect::has(&js_sys::global(), &"FileSystemSyncAccessHandle".into())
                .ok()?,
        })
    }

    /// Appends to the file of a slot; `None` if it cannot be written from here.
    pub async fn write(&self, slot: Slot, bytes: &[u8]) -> Result<Option<Place>> {
        let Some(file) = self.file(slot, true).await? else {
            return Ok(None);
        };
        let free = file.free.borrow_mut().pop();
        let offset = free.unwrap_or_else(|| {
            let end = file.end.get();
            file.end.replace(end + CHUNK_SIZE as u64)
        });
        let length = bytes.len() as u32;
        let place = Place { offset, length };
        let written = file
            .handle
            .write_with_u8_array_and_options(bytes, &at(place.offset));
        let error = match written {
            Ok(written) if written as usize == bytes.len() => return Ok(Some(place)),
            // The disk is full, which some browsers say by writing less.
            Ok(_) => StoreError::Quota,
            Err(error) => error_of(&error),
        };
        self.free(slot, place);
        Err(error)
    }

    /// Reads what lies at a place; `None` if it is not there any more.
    pub async fn read(&self, slot: Slot, place: Place) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(slot, false).await? else {
            return self.read_locked(slot, place).await;
        };
        let mut bytes = vec![0; place.length as usize];
        let read = file
            .handle
            .read_with_u8_array_and_options(&mut bytes, &at(place.offset));
        match read {
            Ok(read) if read as usize == bytes.len() => Ok(Some(bytes)),
            Ok(_) => Ok(None),
            Err(error) => Err(error_of(&error)),
        }
    }

    /// As `read`, of a file that this engine cannot have for itself.
    async fn read_locked(&self, slot: Slot, place: Place) -> Result<Option<Vec<u8>>> {
        let file = self.folder.get_file_handle(&name(slot));
        let Some(file) = found(awaited::<FileSystemFileHandle>(file).await)? else {
            return Ok(None);
        };
        let file: Blob = awaited(file.get_file()).await.map_err(|e| error_of(&e))?;
        let (start, end) = (place.offset, place.offset + u64::from(place.length));
        let slice = file.slice_with_f64_and_f64(start as f64, end as f64);
        let slice = slice.map_err(|error| error_of(&error))?;
        let bytes = awaited::<ArrayBuffer>(slice.array_buffer()).await;
        let bytes = Uint8Array::new(bytes.map_err(|error| error_of(&error))?.as_ref()).to_vec();
        Ok((bytes.len() == place.length as usize).then_some(bytes))
    }

    /// Lets a place be used for another chunk.
    pub fn free(&self, slot: Slot, place: Place) {
        if let Some(file) = self.open.borrow().get(&slot) {
            file.free.borrow_mut().push(place.offset);
        }
    }

    /// Deletes the file of a slot, if there is one. What cannot be deleted now is when the
    /// store is opened next.
    pub async fn remove(&self, slot: Slot) {
        drop(self.open.borrow_mut().remove(&slot));
        let _ = JsFuture::from(self.folder.remove_entry(&name(slot))).await;
    }

    /// The slots that have files.
    pub async fn slots(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        let names: AsyncIterator = self.folder.keys();
        while let Ok(next) = names.next()
            && let Ok(next) = JsFuture::from(next).await
            && let Ok(name) = Reflect::get(&next, &"value".into())
            && let Some(name) = name.as_string()
        {
            slots.extend(name.parse::<Slot>());
        }
        slots
    }

    /// Lets go of all files.
    pub fn close(&self) {
        self.is_closed.set(true);
        drop(self.open.take());
    }

    /// The open file of a slot; `None` if there is none, or it cannot be had.
    async fn file(&self, slot: Slot, create: bool) -> Result<Option<Rc<File>>> {
        let open = || self.open.borrow().get(&slot).map(Rc::clone);
        if let Some(file) = open() {
            return Ok(Some(file));
        }
        let _alone = self.opening.lock().await;
        if let Some(file) = open() {
            return Ok(Some(file));
        }
        if self.is_closed.get() {
            return Err(closed());
        }
        if !self.has_handles {
            return Ok(None);
        }
        let options = FileSystemGetFileOptions::new();
        options.set_create(create);
        let handle = self
            .folder
            .get_file_handle_with_options(&name(slot), &options);
        let Some(handle) = found(awaited::<FileSystemFileHandle>(handle).await)? else {
            return Ok(None);
        };
        let opening = handle.create_sync_access_handle();
        let Ok(opened) = awaited::<FileSystemSyncAccessHandle>(opening).await else {
            return Ok(None); // Another engine has it.
        };
        let size = opened.get_size().map_err(|error| error_of(&error))? as u64;
        if self.is_closed.get() {
            opened.close();
            return Err(closed());
        }
        let file = Rc::new(File {
            handle: opened,
            end: Cell::new(size.next_multiple_of(CHUNK_SIZE as u64)),
            free: RefCell::default(),
        });
        let mut open = self.open.borrow_mut();
        if open.len() >= OPEN_MAX {
            open.retain(|_, file| Rc::strong_count(file) > 1);
        }
        open.insert(slot, Rc::clone(&file));
        Ok(Some(file))
    }
}

fn name(slot: Slot) -> String {
    slot.to_string()
}

fn at(offset: u64) -> FileSystemReadWriteOptions {
    let options = FileSystemReadWriteOptions::new();
    options.set_at(offset as f64);
    options
}

/// Whether there is such a file.
fn found<T>(result: core::result::Result<T, JsValue>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.dyn_ref::<web_sys::DomException>() {
            Some(error) if error.name() == "NotFoundError" => Ok(None),
            _ => Err(error_of(&error)),
        },
    }
}

async fn awaited<T: JsCast>(promise: impl Into<JsValue>) -> core::result::Result<T, JsValue> {
    let promise: Promise = promise.into().unchecked_into();
    JsFuture::from(promise).await.map(JsCast::unchecked_into)
}
