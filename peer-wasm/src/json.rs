//! Plain values of JavaScript, read as the JSON they are written as: by the reader of messages,
//! since one made for values themselves would be as large again.

use js_sys::JSON;
use serde::de::DeserializeOwned;
use shoal_protocol::json::{self, Error};
use wasm_bindgen::JsValue;

/// Reads a value. What has no JSON (nothing, a cycle) is an empty text, which nothing is.
pub fn from_js<T: DeserializeOwned>(value: &JsValue) -> Result<T, Error> {
    let text = JSON::stringify(value).ok();
    let text = text.and_then(|text| JsValue::from(text).as_string());
    json::from_str(&text.unwrap_or_default())
}
