//! Shoal in the browser: the driver of the peer and its JavaScript package.
//!
//! This is the engine, the half that is compiled to WebAssembly: [`Engine`] drives one
//! [`shoal_peer_core::Node`] for each namespace in use, over WebSocket, data channels,
//! IndexedDB and WebCrypto. It runs in a dedicated worker, or in the page, and knows
//! neither: pages reach it through `toClient` and `call`, peer connections through
//! `toBroker` and `fromBroker`.
//!
//! Every module but `engine` and `driver` is an edge: it wraps one thing of the browser,
//! gives it back with its guard, and knows no other edge. Whatever the browser calls back
//! about becomes an [`shoal_peer_core::io::Input`] in a queue; one pump takes them out.
//!
//! A panic is a trap. The page then starts another engine, so nothing is caught here.

// The package is built without what `Debug` writes (`xtask/src/panics.rs`).
#![cfg_attr(not(test), warn(clippy::use_debug))]

#[cfg(target_arch = "wasm32")]
mod broker;
#[cfg(target_arch = "wasm32")]
mod budget;
#[cfg(target_arch = "wasm32")]
mod calls;
#[cfg(target_arch = "wasm32")]
mod channels;
#[cfg(target_arch = "wasm32")]
mod clock;
#[cfg(target_arch = "wasm32")]
mod driver;
#[cfg(target_arch = "wasm32")]
mod engine;
#[cfg(target_arch = "wasm32")]
mod errors;
#[cfg(target_arch = "wasm32")]
mod identity;
#[cfg(target_arch = "wasm32")]
mod json;
#[cfg(target_arch = "wasm32")]
mod rendezvous;
#[cfg(target_arch = "wasm32")]
mod source;
#[cfg(target_arch = "wasm32")]
mod store;

#[cfg(target_arch = "wasm32")]
pub use engine::{Engine, Host};

/// A third of the size of the allocator that comes with the target (ARCHITECTURE.md).
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: rlsf::GlobalTlsf<Small> = rlsf::GlobalTlsf::new();

/// What of the allocator is worth its code.
#[cfg(target_arch = "wasm32")]
struct Small;

#[cfg(target_arch = "wasm32")]
impl rlsf::GlobalTlsfOptions for Small {
    const ENABLE_REALLOCATION: bool = false;
    // Memory that grew in steps can hold what is larger than a step.
    const COALESCE_POOLS: bool = true;
}
