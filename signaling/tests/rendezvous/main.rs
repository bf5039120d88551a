//! The server as its peers see it: real sockets, real signatures, free ports.
//!
//! Nothing sleeps to wait: a client waits for the message that must come, or asks something
//! else and knows by the answer that all before has been handled.

mod api;
mod catalogs;
mod command;
#[cfg(feature = "embed")]
mod files;
mod http;
mod join;
mod limits;
mod operating;
mod plain;
mod private;
#[allow(
    dead_code,
    reason = "shared with the tests of what the server withstands"
)]
mod process;
mod relay;
mod resume;
#[allow(
    dead_code,
    reason = "shared with the tests of what the server withstands"
)]
mod rig;
mod settings;
mod tls;
mod watching;
