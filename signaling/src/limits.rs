//! Every bound of the server, with its unit and where its default comes from.

use shoal_protocol::catalog::MAX_ENTRIES;
use std::time::Duration;

/// What the server takes from peers and keeps for them. A peer that asks for more gets
/// an error or a receipt that says so, never silence.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most connections at once. Guess: 10 KiB each, and what a process may open.
    pub connections: usize,
    /// Most sessions at once, those of peers that are away included. Guess: everybody comes
    /// back once within a lease.
    pub sessions: usize,
    /// A connection that has not joined by then is closed. Guess: a slow phone's round trips.
    pub join_timeout: Duration,
    /// Time between two `ping`s. Guess: shorter than most NATs forget an idle flow.
    pub heartbeat: Duration,
    /// A `ping` unanswered for so long means that the peer is away. Two heartbeats.
    pub pong_timeout: Duration,
    /// For how long the place of a peer that is away is kept. Guess: a change of network,
    /// a laptop's lid; and a signal is good for no longer.
    pub lease: Duration,
    /// One message must be taken by the socket within this time, or its reader is too slow.
    /// Guess: the longest message at 128 kbit/s.
    pub write_timeout: Duration,
    /// For how long a connection that is to be closed may take for it. Guess.
    pub close_timeout: Duration,
    /// Refused messages after which a connection is closed. Guess: no honest peer has any.
    pub faults: u32,
    /// Signals waiting for one peer to acknowledge them. Guess: 20 negotiations of 12.
    pub queued_signals: usize,
    /// Of these, signals of one sender, so that nobody fills another's queue alone. Guess.
    pub queued_per_sender: usize,
    /// Bytes of signals waiting for one peer. Guess: `queued_signals` of 1 KiB.
    pub queued_signal_bytes: usize,
    /// Receipts waiting for one peer; the oldest is forgotten first. Guess: as many as four
    /// receivers hold of its signals.
    pub receipts: usize,
    /// Peers of whose changes one peer has not heard for certain; beyond, it gets `resync`.
    /// Guess: five views.
    pub news: usize,
    /// Peers of a full view that make room for others at each heartbeat, where there are others.
    /// Guess: a view is another after 25 minutes, for one short message a heartbeat.
    pub view_refresh: usize,
    /// Answers waiting for one connection. Guess: the server stops reading long before.
    pub replies: usize,
    /// Catalogs one peer may be waiting for. Guess: all of a view, as after a join.
    pub readings: usize,
    /// Entries of one peer's catalog. The protocol's.
    pub catalog_entries: usize,
    /// Bytes of one peer's catalog. Guess: `catalog_entries` of 400 bytes.
    pub catalog_bytes: usize,
    /// Bytes of all catalogs. Guess: what a small machine can spare.
    pub all_catalog_bytes: usize,
    /// Peers named in `providers`. Guess: more than one fetch uses.
    pub providers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            sessions: 40_000,
            join_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            pong_timeout: Duration::from_secs(30),
            lease: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            faults: 16,
            queued_signals: 256,
            queued_per_sender: 64,
            queued_signal_bytes: 256 * 1024,
            receipts: 256,
            news: 512,
            view_refresh: 1,
            replies: 64,
            readings: 128,
            catalog_entries: MAX_ENTRIES,
            catalog_bytes: 4 * 1024 * 1024,
            all_catalog_bytes: 256 * 1024 * 1024,
            providers: 50,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_limits_are() {
        let document = include_str!("../../docs/rendezvous.md");
        let limits = format!("{:?}", Limits::default());
        let (_, table) = document.split_once("| limit | default | |\n").unwrap();
        let rows = table
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with('|'));
        let mut said = 0;
        for row in rows {
            let mut cells = row.split(" | ");
            let name = cells.next().unwrap().trim_matches(['|', ' ', '`']);
            let value = cells.next().unwrap();
            let holds = limits.contains(&format!(" {name}: {value}"));
            assert!(holds, "docs/rendezvous.md: {name} is not {value}: {limits}");
            said += 1;
        }
        assert!(
            said >= limits.matches(": ").count(),
            "some are not in the document"
        );
    }
}
