//! Errors on their way from and to JavaScript.

use shoal_peer_core::io::{Code, Error, StoreError};
use wasm_bindgen::{JsCast, JsValue};

/// What an exception or a rejection says, for a message.
pub fn describe(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => format!(
            "{}: {}",
            String::from(error.name()),
            String::from(error.message())
        ),
        None => thrown.as_string().unwrap_or_else(|| "unknown error".into()),
    }
}

/// A real `Error` with a `code`, to reject with.
pub fn with_code(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    // Setting a property of a fresh object cannot fail.
    let _ = js_sys::Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}

/// An error of the store, to reject with.
pub fn of_store(error: &StoreError) -> JsValue {
    let code = match error {
        StoreError::Quota => "quota",
        StoreError::Superseded | StoreError::Failed(_) => "store-failed",
    };
    with_code(code, &error.to_string())
}

/// An argument that cannot be.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, message)
}
