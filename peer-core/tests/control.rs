//! Control messages wait little behind chunks, whatever a line carries, and the line is used.

#![allow(clippy::print_stdout)]

mod network;

use network::{Access, Network};
use shoal_peer_core::io::*;
use shoal_protocol::{content::ContentKey, control::ControlMessage};
use std::time::Duration;

/// What control messages may wait.
const WAIT: Duration = Duration::from_millis(50);
/// How long it takes until it is known what a line carries: a few of its frames.
const SETTLES: Duration = Duration::from_secs(2);

/// A publisher (0) whose line carries so many bytes a second, and who has enough for `span`.
fn scene(rate: f64, fetchers: usize, span: Duration) -> (Network, ContentKey) {
    let mut network = Network::new(31, 1 + fetchers);
    network.peers[0].access = Access {
        delay: Duration::from_millis(20),
        up: rate,
        down: 100e6,
    };
    let bytes = (rate * (SETTLES + span).as_secs_f64() * 1.2) as usize + (1 << 20);
    let bytes = network.random_bytes(bytes);
    let key = network.publish(0, "much", &bytes);
    network.run_for(Duration::from_secs(3));
    (network, key)
}

/// Pings fetchers while they fetch: how long messages wait at most, and what is sent of what the
/// line carries.
fn run(rate: f64, fetchers: usize, span: Duration, window: f64) -> (Duration, f64) {
    let (mut network, key) = scene(rate, fetchers, span);
    network.window = window;
    for peer in 1..=fetchers {
        network.fetch(peer, key);
    }
    network.run_for(SETTLES);
    let sent = |network: &Network| network.peers[0].sent.values().sum::<u64>() as f64;
    let (before, end) = (sent(&network), network.now + span);
    network.peers[0].control_waited = Duration::ZERO;
    let mut n = 1_000_000;
    while network.now < end {
        network.run_for(Duration::from_millis(53));
        for peer in 1..=fetchers {
            n += 1;
            let ping = ControlMessage::Ping { n };
            network.say(0, peer, Frame::Text(ping.to_text()));
        }
    }
    let share = (sent(&network) - before) / (rate * span.as_secs_f64());
    (network.peers[0].control_waited, share)
}

#[test]
fn control_messages_wait_50_ms_at_most_at_any_rate_and_the_line_is_used() {
    for rate in [50e3, 100e3, 200e3, 500e3, 1e6, 2e6, 5e6, 10e6, 20e6, 50e6] {
        let span = Duration::from_millis(if rate > 5e6 { 500 } else { 4000 });
        let (waited, share) = run(rate, 1, span, f64::INFINITY);
        println!("{rate} B/s: {waited:?}, {share:.3} of the line");
        assert!(waited <= WAIT, "{rate}: {waited:?}");
        assert!(share > 0.96, "{rate}: {share}");
    }
}

#[test]
fn nor_do_they_where_several_share_the_line() {
    for rate in [200e3, 1e6, 5e6] {
        let (waited, share) = run(rate, 4, Duration::from_secs(4), f64::INFINITY);
        println!("{rate} B/s for four: {waited:?}, {share:.3} of the line");
        assert!(waited <= WAIT, "{rate}: {waited:?}");
        assert!(share > 0.96, "{rate}: {share}");
    }
}

#[test]
fn nor_where_it_is_the_window_of_the_connection_that_limits() {
    // 40 kB in a round trip of 40 ms.
    let rate = 1e6;
    let (waited, share) = run(rate * 4.0, 1, Duration::from_secs(4), 40e3);
    println!("{waited:?}, {share:.3} of the line");
    assert!(waited <= WAIT, "{waited:?}");
    assert!(share > 0.96 / 4.0, "{share}");
}
