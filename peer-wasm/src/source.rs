//! What is being published, read piece by piece.

use crate::errors::describe;
use js_sys::{Array, ArrayBuffer, Promise, Uint8Array};
use std::{cell::RefCell, ops::Range, rc::Rc};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::Blob;

/// Bytes to publish.
///
/// Always a blob, even of bytes that are in memory: reading it takes a turn of the event
/// loop, so that a large publication lets everything else go on.
#[derive(Clone)]
pub struct Source {
    blob: Blob,
    /// The piece after the last one, which is read while that one is hashed and stored. Begun
    /// once nothing else is read: see `Publishing` of `shoal-peer-core`.
    ahead: Rc<RefCell<Option<Piece>>>,
}

/// A piece that is being read.
struct Piece {
    range: Range<u64>,
    reading: JsFuture,
}

impl Source {
    /// Takes a `Blob`, an `ArrayBuffer` or a `Uint8Array`; `None` if it is something else.
    pub fn new(data: &JsValue) -> Option<Self> {
        if let Some(blob) = data.dyn_ref::<Blob>() {
            return Some(Self::of(blob.clone()));
        }
        if data.is_instance_of::<ArrayBuffer>() || data.is_instance_of::<Uint8Array>() {
            return Blob::new_with_u8_array_sequence(&Array::of1(data))
                .ok()
                .map(Self::of);
        }
        None
    }

    fn of(blob: Blob) -> Self {
        let ahead = Rc::default();
        Self { blob, ahead }
    }

    /// Number of bytes.
    pub fn size(&self) -> u64 {
        self.blob.size() as u64
    }

    /// Reads a piece, and begins with the next of its length. Fails if, say, the file has
    /// changed since it was picked.
    pub async fn read(self, range: Range<u64>) -> Result<Vec<u8>, String> {
        let ahead = self.ahead.take().filter(|ahead| ahead.range == range);
        let piece = match ahead {
            Some(piece) => piece,
            None => self.begin(range.clone())?,
        };
        let bytes = piece.reading.await.map_err(|error| describe(&error))?;
        let next = range.end..(range.end + (range.end - range.start)).min(self.size());
        if !next.is_empty() {
            *self.ahead.borrow_mut() = Some(self.begin(next)?);
        }
        Ok(Uint8Array::new(&bytes).to_vec())
    }

    fn begin(&self, range: Range<u64>) -> Result<Piece, String> {
        let (start, end) = (range.start as f64, range.end as f64);
        let slice = self.blob.slice_with_f64_and_f64(start, end);
        let slice = slice.map_err(|error| describe(&error))?;
        let reading = JsFuture::from(Promise::unchecked_from_js(slice.array_buffer().into()));
        Ok(Piece { range, reading })
    }
}
