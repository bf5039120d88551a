//! What Shoal puts on wires and into stores: names, content verification,
//! signed statements, catalogs, signals, frames and rendezvous messages.
//!
//! Pure data and checks. Nothing here knows a clock, a random source, a socket
//! or a browser; whatever these provide comes in as an argument. Every type that
//! can be parsed refuses what breaks its limits, so code behind this crate
//! handles only values that hold their promises.
//!
//! * [`id`]: peer ids, link ids, nonces, hashes. [`namespace`]: where content is shared.
//! * [`content`]: content keys, sizes and chunks. [`proof`]: chunks verified one by one.
//! * [`membership`]: who may be in a private namespace.
//! * [`signed`]: everything a party claims, under its signature.
//! * [`catalog`]: what a peer says it holds, as a signed head and pages.
//! * [`signal`], [`candidate`]: how two peers agree on a link, without SDP.
//! * [`seal`]: what of that only the other peer may read.
//! * [`rendezvous`]: messages between peer and rendezvous server.
//! * [`control`], [`bulk`]: messages and frames inside a link.
//! * [`bits`], [`time`], [`sorted`]: sets of chunks, points in time, small maps and sets.

// The package is built without what `Debug` writes (`xtask/src/panics.rs`).
#![cfg_attr(not(test), warn(clippy::use_debug))]

mod base58;
pub mod bits;
pub mod bulk;
pub mod candidate;
pub mod catalog;
pub mod content;
pub mod control;
pub mod id;
pub mod json;
pub mod membership;
pub mod namespace;
pub mod proof;
pub mod rendezvous;
pub mod seal;
pub mod signal;
pub mod signed;
pub mod sorted;
pub mod time;
mod words;

/// Versions of the peer and rendezvous protocols this crate speaks, best first.
pub const VERSIONS: &[u16] = &[1];

/// Picks the version two sides share: the first of ours the other side lists too.
pub fn common_version(theirs: &[u16]) -> Option<u16> {
    VERSIONS
        .iter()
        .copied()
        .find(|version| theirs.contains(version))
}
