//! Bytes of chunks in files, one a slot: `js/files.js`, which an engine is given with its store.

use super::transaction::{Result, error_of};
use js_sys::{Array, Uint8Array};
use shoal_peer_core::io::Slot;
use shoal_protocol::{content::CHUNK_SIZE, sorted::SortedSet};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};

#[wasm_bindgen]
extern "C" {
    /// The files of a store; see there for what each does.
    #[derive(Clone)]
    pub type Files;

    #[wasm_bindgen(method, catch)]
    async fn ready(this: &Files, slot: &str) -> core::result::Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch)]
    fn write(this: &Files, slot: &str, bytes: &[u8]) -> core::result::Result<Option<f64>, JsValue>;

    #[wasm_bindgen(method, catch)]
    fn read(
        this: &Files,
        slot: &str,
        at: f64,
        into: &mut [u8],
    ) -> core::result::Result<Option<f64>, JsValue>;

    #[wasm_bindgen(method, catch, js_name = readShared)]
    async fn read_shared(
        this: &Files,
        slot: &str,
        at: f64,
        length: u32,
    ) -> core::result::Result<JsValue, JsValue>;

    #[wasm_bindgen(method)]
    fn free(this: &Files, slot: &str, at: f64);

    #[wasm_bindgen(method)]
    async fn remove(this: &Files, slot: &str);

    #[wasm_bindgen(method)]
    async fn slots(this: &Files) -> JsValue;

    /// Notes on a content that is whole what [`Files::kept`] gives; `places` are of all chunks, as
    /// they are in the database.
    #[wasm_bindgen(method)]
    pub async fn note(
        this: &Files,
        slot: &str,
        key: &JsValue,
        record: &JsValue,
        proof: &JsValue,
        places: &Array,
    );

    #[wasm_bindgen(method)]
    async fn notes(this: &Files) -> JsValue;

    /// Deletes the note of a slot, or, of none (`""`), all.
    #[wasm_bindgen(method)]
    pub async fn forget(this: &Files, slot: &str);

    /// Lets go of all files.
    #[wasm_bindgen(method)]
    pub fn close(this: &Files);
}

/// Where a chunk lies in the file of its slot.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u32,
}

impl Files {
    /// Appends to the file of a slot; `None` if it cannot be written from here.
    pub async fn append(&self, slot: Slot, bytes: &[u8]) -> Result<Option<Place>> {
        let slot = slot.to_string();
        self.ready(&slot).await.map_err(|error| error_of(&error))?;
        let offset = Files::write(self, &slot, bytes).map_err(|error| error_of(&error))?;
        Ok(offset.map(|offset| Place {
            offset: offset as u64,
            length: bytes.len() as u32,
        }))
    }

    /// Reads what lies at a place; `None` if it is not there any more.
    pub async fn get(&self, slot: Slot, place: Place) -> Result<Option<Vec<u8>>> {
        let slot = slot.to_string();
        let failed = |error: JsValue| error_of(&error);
        let (at, length) = (place.offset as f64, place.length.min(CHUNK_SIZE as u32));
        let mut bytes = vec![0; length as usize];
        let is_ready = self.ready(&slot).await.map_err(failed)?;
        let read = match is_ready.is_truthy() {
            true => Files::read(self, &slot, at, &mut bytes).map_err(failed)?,
            false => None,
        };
        if read.is_none() {
            let shared = self.read_shared(&slot, at, length).await.map_err(failed)?;
            bytes = shared.unchecked_into::<Uint8Array>().to_vec();
        }
        let is_whole = read.unwrap_or(bytes.len() as f64) == f64::from(length);
        Ok((is_whole && bytes.len() == length as usize).then_some(bytes))
    }

    /// Lets a place be used for another chunk.
    pub fn release(&self, slot: Slot, place: Place) {
        self.free(&slot.to_string(), place.offset as f64);
    }

    /// Deletes the file of a slot.
    pub async fn delete(&self, slot: Slot) {
        self.remove(&slot.to_string()).await;
    }

    /// The slots that have files or notes, and those whose notes are whole.
    pub async fn all(&self) -> (SortedSet<Slot>, SortedSet<Slot>) {
        let found: Array = self.slots().await.unchecked_into();
        let slots = |at| {
            let names = found.get(at).unchecked_into::<Array>().into_iter();
            let slots = names.filter_map(|name| name.as_string()?.parse().ok());
            slots.collect()
        };
        (slots(0), slots(1))
    }

    /// The notes there are, as far as their files are long enough: key, record, offsets of the
    /// chunks, proof. Any of it may be damaged.
    pub async fn kept(&self) -> Vec<[JsValue; 4]> {
        let notes = self.notes().await.unchecked_into::<Array>();
        let parts = notes.into_iter().map(JsCast::unchecked_into::<Array>);
        parts
            .map(|parts| [0, 1, 2, 3].map(|at| parts.get(at)))
            .collect()
    }
}
