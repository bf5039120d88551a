//! Puts load on rendezvous servers of this machine: thousands of peers that connect, join and
//! exchange signals as real ones do, at times that do not depend on how fast the server is
//! (open loop). Every signal is accounted for.
//!
//! A [`crowd`] holds the peers, a [`system`] is the server they speak with, the [`ledger`]
//! counts, and [`cases`] say what is measured. Nothing here sends to another machine, and every
//! run ends by itself.

pub mod cases;
pub mod crowd;
pub mod ledger;
pub mod process;
pub mod signals;
pub mod system;
