//! Payloads under a good signature, which says nothing about what is in them: each kind is
//! parsed without a panic, and what is accepted survives its own text. The first byte picks
//! the kind.

#![no_main]

use std::fmt::Debug;

use ed25519_dalek::{Signer, SigningKey};
use shoal_protocol::catalog::CatalogHead;
use shoal_protocol::control::AuthPayload;
use shoal_protocol::id::{PeerId, Signature};
use shoal_protocol::json;
use shoal_protocol::rendezvous::{Join, Presence};
use shoal_protocol::signal::{Signal, SignalBody};
use shoal_protocol::signed::{Payload, Signed};

libfuzzer_sys::fuzz_target!(|input: (u8, &str)| {
    let (kind, text) = input;
    match kind % 5 {
        0 => open::<Join>(text),
        1 => open::<Presence>(text),
        2 if !is_unsealed(text) => open::<Signal>(text),
        2 => {}
        3 => open::<AuthPayload>(text),
        _ => open::<CatalogHead>(text),
    }
});

/// Nobody sends such a signal, so it has no text of its own.
fn is_unsealed(text: &str) -> bool {
    let signal = json::from_str::<Signal>(text);
    signal.is_ok_and(|signal| signal.body == SignalBody::Unsealed)
}

fn open<T: Payload + PartialEq + Debug>(text: &str) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let signed = Signed {
        peer: PeerId::from_public_key(key.verifying_key().to_bytes()),
        payload: text.into(),
        sig: Signature(key.sign(&T::KIND.message(text)).to_bytes()),
        member: None,
    };
    if let Ok(payload) = signed.open::<T>() {
        let again: T = json::from_str(&payload.to_payload()).expect("its own text");
        assert_eq!(again, payload);
    }
}
