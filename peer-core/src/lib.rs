//! The Shoal peer without I/O.
//!
//! [`Node`] holds all decisions of a peer in one namespace: which links to open, whom to
//! believe, what to fetch from whom. It knows no clock, no random source, no socket and no
//! store; [`io`] is its whole seam to the driver that has them. So the same logic runs in a
//! browser, natively, and in tests on virtual time.

// The package is built without what `Debug` writes (`xtask/src/panics.rs`).
#![cfg_attr(not(test), warn(clippy::use_debug))]

mod allowance;
mod assembly;
mod catalogs;
mod contents;
mod fetch;
pub mod io;
mod link;
mod links;
mod node;
mod policy;
mod publishing;
mod random;
mod rate;
mod rendezvous;
mod restart;
mod seeding;
mod source;
mod space;
mod store;
mod striping;
mod transfers;
mod upload;
mod water;

pub use node::Node;
pub use space::{Admission, Change, Space};
pub use store::MemoryStore;
