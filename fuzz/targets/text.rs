//! Names and other short texts: none panics, and what is accepted prints as a text that
//! means the same.

#![no_main]

use std::fmt::Debug;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shoal_protocol::bits::Bits;
use shoal_protocol::candidate::Candidate;
use shoal_protocol::content::ContentKey;
use shoal_protocol::id::PeerId;
use shoal_protocol::json;
use shoal_protocol::namespace::Namespace;
use shoal_protocol::signal::{Fingerprint, IceText};

libfuzzer_sys::fuzz_target!(|text: &str| {
    same::<PeerId>(text);
    same::<ContentKey>(text);
    same::<Namespace>(text);
    same::<Fingerprint>(text);
    same::<IceText>(text);
    same::<Candidate>(text);
    same_json::<Bits>(text);
    // Nothing is read that is not JSON, or as something else.
    if let Ok(value) = json::from_str::<Value>(text) {
        assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), value);
    }
});

fn same<T: FromStr + Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        survives(&value);
    }
}

fn same_json<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    if let Ok(value) = json::from_str::<T>(text) {
        survives(&value);
    }
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let printed = serde_json::to_string(value).expect("printable");
    assert_eq!(&json::from_str::<T>(&printed).expect(&printed), value);
}
