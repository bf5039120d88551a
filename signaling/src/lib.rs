//! Shoal's rendezvous server: introduces peers, relays signals, lists catalogs, and serves
//! the demo page and the package.
//!
//! The server is not trusted. It sees who signals whom and what public namespaces list; it
//! never holds content, and everything peers claim reaches others under their own signature.
//!
//! A message goes through four modules, once: `socket` carries it (in `frames`), [`check`] turns it
//! into a request with its signatures verified, [`registry`] decides, and what it wants sent is
//! fetched by the sockets it concerns. [`limits`] names every bound. [`server`] has the
//! routes and the accept loop, `api` what people and tools may ask over HTTP, `files` what is
//! served from the binary. [`turn`] makes accounts for peers that need a TURN server.

pub mod accounts;
pub mod address;
pub mod admission;
mod api;
pub mod check;
pub mod clock;
mod coding;
pub mod counts;
mod files;
mod frames;
pub mod ice;
pub mod identity;
pub mod limiter;
pub mod limits;
pub mod metrics;
pub mod registry;
pub mod server;
pub mod setting;
pub mod settings;
mod socket;
pub mod state;
pub mod tls;
pub mod turn;

pub use server::{app, listen, run, run_metrics};
pub use state::{AppState, Config};
