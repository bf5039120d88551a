//! The Shoal peer without I/O.
//!
//! [`Node`] holds all decisions of a peer in one namespace: which links to open, whom to
//! believe, what to fetch from whom. It knows no clock, no random source, no socket and no
//! store; [`io`] is its whole seam to the driver that has them. So the same logic runs in a
//! browser, natively, and in tests on virtual time.

pub mod io;
mod node;
mod store;

pub use node::Node;
pub use store::MemoryStore;
