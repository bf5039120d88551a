//! Shoal's rendezvous server.
fn main() {}
