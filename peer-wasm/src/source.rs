//! What is being published, read piece by piece.

use crate::errors::describe;
use js_sys::{Array, ArrayBuffer, Uint8Array};
use std::ops::Range;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::Blob;

/// Bytes to publish.
///
/// Always a blob, even of bytes that are in memory: reading it takes a turn of the event
/// loop, so that a large publication lets everything else go on.
#[derive(Clone)]
pub struct Source(Blob);

impl Source {
    /// Takes a `Blob`, an `ArrayBuffer` or a `Uint8Array`; `None` if it is something else.
    pub fn new(data: &JsValue) -> Option<Self> {
        if let Some(blob) = data.dyn_ref::<Blob>() {
            return Some(Self(blob.clone()));
        }
        if data.is_instance_of::<ArrayBuffer>() || data.is_instance_of::<Uint8Array>() {
            return Blob::new_with_u8_array_sequence(&Array::of1(data))
                .ok()
                .map(Self);
        }
        None
    }

    /// Number of bytes.
    pub fn size(&self) -> u64 {
        self.0.size() as u64
    }

    /// Reads a piece. Fails if, say, the file has changed since it was picked.
    pub async fn read(self, range: Range<u64>) -> Result<Vec<u8>, String> {
        let slice = self
            .0
            .slice_with_f64_and_f64(range.start as f64, range.end as f64);
        let slice = slice.map_err(|error| describe(&error))?;
        let bytes = JsFuture::from(slice.array_buffer()).await;
        let bytes = bytes.map_err(|error| describe(&error))?;
        Ok(Uint8Array::new(&bytes).to_vec())
    }
}
