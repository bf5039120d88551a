//! Every bound of the server, with its unit and where its default comes from.
//!
//! All of them can be set ([`LIMITS`]); `docs/operating.md` lists them for operators.

use crate::setting::{Setting, Value, read};
use shoal_protocol::catalog::MAX_ENTRIES;
use std::{ops::RangeInclusive, time::Duration};

/// Makes [`Limits`], its defaults and its table of one list, so that no bound can lack any of
/// them.
macro_rules! limits {
    ($($(#[doc = $meaning:literal])+ $name:ident: $type:ty = $default:expr, $allowed:expr,
        $key:literal, $unit:literal, from $origin:literal;)+) => {
        /// What the server takes from peers and keeps for them. A peer that asks for more gets
        /// an error or a receipt that says so, or is read more slowly, never silence.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Limits {
            $($(#[doc = $meaning])+ #[doc = concat!(" ", $origin)] pub $name: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// The bounds as settings, in the order in which they are shown.
        pub const LIMITS: &[Setting<Limits>] = &[$(Setting {
            key: $key,
            unit: $unit,
            meaning: &[$($meaning),+],
            origin: $origin,
            many: false,
            also: None,
            secret: false,
            read: |limits, texts| {
                limits.$name = read(texts, $allowed)?;
                Ok(())
            },
            show: |limits| Some(limits.$name.show()),
        },)+];
    };
}

/// For spans of time: what a timer can do, and a day.
const SPAN: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(86_400);
/// For the span between two pings: twice, it is less than what peers take for silence
/// (`shoal_protocol::rendezvous::SILENCE`).
const HEARTBEAT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(20);
/// For spans that may also be nothing.
const PAUSE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
/// For counts.
const COUNT: RangeInclusive<usize> = 1..=100_000_000;
/// For bytes: the longest message, and what a large machine has.
const BYTES: RangeInclusive<usize> = 131_072..=1 << 40;
/// For rates: one in some minutes, and more than any machine does.
const RATE: RangeInclusive<f64> = 0.001..=1e12;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

limits! {
    /// Most connections of peers at once.
    connections: usize = 20_000, COUNT, "connections", "connections",
        from "Guess: 10 KiB each, and what a process may open.";
    /// Connections beside these that are told when to come back before they are closed; more
    /// are refused over HTTP, of which pages hear nothing but that it failed.
    farewells: usize = 1_000, COUNT, "farewells", "connections",
        from "Guess: a twentieth of `connections`.";
    /// Of `connections`, those of one address.
    connections_per_address: usize = 512, COUNT, "connections-per-address", "connections",
        from "Guess: everybody in a large building.";
    /// Most HTTP connections at once, those that are not yet a WebSocket included.
    http_connections: usize = 4_096, COUNT, "http-connections", "connections",
        from "Guess: 16 KiB each.";
    /// Of these, those of one address.
    http_connections_per_address: usize = 256, COUNT,
        "http-connections-per-address", "connections",
        from "Guess: 40 browsers of 6 connections that load the page at the same time.";
    /// How many bits of an IPv6 address name who is counted as one address.
    ipv6_prefix: u32 = 64, 1..=128, "ipv6-prefix", "bits",
        from "RFC 4291, section 2.5.4: hosts choose the last 64 bits themselves, and change \
              them at will (RFC 8981).";
    /// Most sessions at once, those of peers that are away included.
    sessions: usize = 40_000, COUNT, "sessions", "sessions",
        from "Guess: everybody comes back once within a lease.";
    /// Sessions of one peer: the namespaces in which it is at once.
    sessions_per_peer: usize = 64, COUNT, "sessions-per-peer", "sessions",
        from "Guess: more than one page uses.";
    /// Joins of one address, on average.
    address_joins_per_second: f64 = 20.0, RATE, "address-joins-per-second", "joins a second",
        from "Guess.";
    /// Joins of one address at once.
    address_joins_burst: u32 = 600, 1..=u32::MAX, "address-joins-burst", "joins",
        from "Guess: all connections of an address come back after a restart, some twice.";
    /// Signals of one address, on average.
    address_signals_per_second: f64 = 500.0, RATE,
        "address-signals-per-second", "signals a second", from "Guess.";
    /// Signals of one address at once.
    address_signals_burst: u32 = 10_000, 1..=u32::MAX, "address-signals-burst", "signals",
        from "Guess: 40 peers that start at once, with 20 negotiations of 12 each.";
    /// Bytes of messages of one address, on average; who sends more is read more slowly.
    address_bytes_per_second: f64 = 4_194_304.0, RATE,
        "address-bytes-per-second", "bytes a second",
        from "Guess: a tenth of what one core checks.";
    /// Bytes of messages of one address at once.
    address_bytes_burst: u32 = 33_554_432, 131_072..=u32::MAX, "address-bytes-burst", "bytes",
        from "Guess: 8 catalogs of the largest size.";
    /// HTTP requests of one address, on average, WebSockets included.
    address_requests_per_second: f64 = 50.0, RATE,
        "address-requests-per-second", "requests a second", from "Guess.";
    /// HTTP requests of one address at once.
    address_requests_burst: u32 = 1_000, 1..=u32::MAX, "address-requests-burst", "requests",
        from "Guess: 40 browsers that load the page at the same time.";
    /// Joins of one peer, on average.
    peer_joins_per_second: f64 = 0.5, RATE, "peer-joins-per-second", "joins a second",
        from "Guess: a network that is lost every few seconds.";
    /// Joins of one peer at once.
    peer_joins_burst: u32 = 128, 1..=u32::MAX, "peer-joins-burst", "joins",
        from "Guess: all its sessions come back, twice.";
    /// Signals of one peer, on average.
    peer_signals_per_second: f64 = 50.0, RATE, "peer-signals-per-second", "signals a second",
        from "Guess: 4 negotiations of 12 a second.";
    /// Signals of one peer at once.
    peer_signals_burst: u32 = 1_000, 1..=u32::MAX, "peer-signals-burst", "signals",
        from "Guess: 80 negotiations of 12.";
    /// Bytes of messages of one peer, on average; who sends more is read more slowly.
    peer_bytes_per_second: f64 = 131_072.0, RATE, "peer-bytes-per-second", "bytes a second",
        from "Guess: the longest message once a second.";
    /// Bytes of messages of one peer at once.
    peer_bytes_burst: u32 = 8_388_608, 131_072..=u32::MAX, "peer-bytes-burst", "bytes",
        from "Guess: two catalogs of the largest size.";
    /// Addresses and peers that are remembered after they went, until they may do again all
    /// that others may; of more, those are forgotten that have the least to wait.
    idle_accounts: usize = 100_000, COUNT, "idle-accounts", "addresses and peers",
        from "Guess: 200 bytes each.";
    /// A request's head must have come within this time, and the TLS handshake be over.
    head_timeout: Duration = seconds(10), SPAN, "head-timeout-seconds", "seconds",
        from "Guess: a slow phone's round trips.";
    /// A connection that has not joined by then is closed.
    join_timeout: Duration = seconds(10), SPAN, "join-timeout-seconds", "seconds",
        from "Guess: a slow phone's round trips.";
    /// Time between two `ping`s, at most 20: to peers a server is gone that says nothing for 45.
    heartbeat: Duration = seconds(15), HEARTBEAT, "heartbeat-seconds", "seconds",
        from "Guess: shorter than most NATs forget an idle flow.";
    /// A `ping` unanswered for so long means that the peer is away.
    pong_timeout: Duration = seconds(30), SPAN, "pong-timeout-seconds", "seconds",
        from "Two heartbeats, unless it is set.";
    /// For how long the place of a peer that is away is kept.
    lease: Duration = seconds(60), SPAN, "lease-seconds", "seconds",
        from "Guess: a change of network, a laptop's lid; and a signal is good for no longer.";
    /// A socket must take a message within this time, and of an HTTP answer some, or its reader is
    /// too slow.
    write_timeout: Duration = seconds(10), SPAN, "write-timeout-seconds", "seconds",
        from "Guess: the longest message at 128 kbit/s.";
    /// For how long a connection that is to be closed may take for it.
    close_timeout: Duration = seconds(2), SPAN, "close-timeout-seconds", "seconds",
        from "Guess.";
    /// For how long the server goes on after it was told to end, while `/readyz` says so.
    drain: Duration = Duration::ZERO, PAUSE, "drain-seconds", "seconds",
        from "Guess: nobody asks `/readyz`. A load balancer wants two of its intervals.";
    /// For how long its end may take after that.
    shutdown_timeout: Duration = seconds(5), SPAN, "shutdown-timeout-seconds", "seconds",
        from "Guess: closing all sockets, with a margin.";
    /// When peers are to come back to a server that ends or is full, at the earliest.
    retry_after: Duration = Duration::from_millis(500), SPAN, "retry-after-seconds", "seconds",
        from "Guess: how long it takes to start.";
    /// How many are to come back in a second; the time told to each is spread accordingly.
    returns_per_second: f64 = 2_000.0, RATE, "returns-per-second", "connections a second",
        from "Guess: the joins that one core does in half a second.";
    /// Refused messages after which a connection is closed; those that only had no room do not
    /// count.
    faults: u32 = 16, 1..=1_000_000, "faults", "messages",
        from "Guess: no honest peer has any.";
    /// Signals waiting for one peer to acknowledge them; the receipt for one more is `full`.
    queued_signals: usize = 256, COUNT, "queued-signals", "signals",
        from "Guess: 20 negotiations of 12.";
    /// Of these, signals of one sender, so that nobody fills another's queue alone.
    queued_per_sender: usize = 64, COUNT, "queued-per-sender", "signals", from "Guess.";
    /// Bytes of signals waiting for one peer; beyond, the receipt is `full`.
    queued_signal_bytes: usize = 256 * 1024, BYTES, "queued-signal-bytes", "bytes",
        from "Guess: `queued-signals` of 1 KiB.";
    /// Receipts waiting for one peer; the oldest is forgotten first.
    receipts: usize = 256, COUNT, "receipts", "receipts",
        from "Guess: as many as four receivers hold of its signals.";
    /// Peers of whose changes one peer has not heard for certain; beyond, it gets `resync`.
    news: usize = 512, COUNT, "news", "peers", from "Guess: five views.";
    /// Peers of a full view that make room for others at each heartbeat, where there are others.
    view_refresh: usize = 1, 0..=1_000, "view-refresh", "peers",
        from "Guess: a view is another after 25 minutes, for one short message a heartbeat.";
    /// Answers waiting for one connection, which is closed beyond that.
    replies: usize = 64, COUNT, "replies", "messages",
        from "Guess: the server stops reading long before.";
    /// Catalogs one peer may be waiting for.
    readings: usize = 128, COUNT, "readings", "catalogs",
        from "Guess: all of a view, as after a join.";
    /// Entries of one peer's catalog; a longer one is refused with `catalog`.
    catalog_entries: usize = MAX_ENTRIES, 1..=MAX_ENTRIES, "catalog-entries", "entries",
        from "The protocol's.";
    /// Bytes of one peer's catalog; a larger one is refused with `catalog`. While another one
    /// comes the former is kept too.
    catalog_bytes: usize = 4 * 1024 * 1024, BYTES, "catalog-bytes", "bytes",
        from "Guess: `catalog-entries` of 400 bytes.";
    /// Bytes of all catalogs that came from one address; of more, the peer is told when to send it
    /// again. At least twice `catalog-bytes`.
    catalog_bytes_per_address: usize = 64 * 1024 * 1024, BYTES,
        "catalog-bytes-per-address", "bytes",
        from "Guess: a quarter of `all-catalog-bytes`, or for each of `connections-per-address` 300 \
              entries.";
    /// Bytes of all catalogs; as with those of an address.
    all_catalog_bytes: usize = 256 * 1024 * 1024, BYTES, "all-catalog-bytes", "bytes",
        from "Guess: what a small machine can spare.";
    /// Peers named in `providers`.
    providers: usize = 50, 1..=1_000, "providers", "peers",
        from "Guess: more than one fetch uses.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::rendezvous::SILENCE;

    #[test]
    fn one_ping_may_be_lost_before_a_peer_takes_the_server_for_gone() {
        assert!(*HEARTBEAT.end() * 2 < SILENCE);
    }
}
