//! What a peer sends and fetches is shared out: among fetches by their priority, among
//! fetchers equally, all of it within limits; and a fetch can rest.

mod network;

use network::{Access, MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::content::ContentKey;
use std::time::Duration;

const LIMIT: u64 = 2_000_000;

/// A publisher (0) with `contents` of 16 MiB and a line of 4 MB/s, and a fetcher (1).
fn scene(contents: usize) -> (Network, Vec<ContentKey>) {
    let mut network = Network::new(11, 2);
    network.peers[0].access = Access {
        up: 4e6,
        ..Access::default()
    };
    let mut publish = |number: usize| {
        let bytes = network.random_bytes(16 * MIB);
        network.publish(0, &format!("content {number}"), &bytes)
    };
    let keys = (0..contents).map(&mut publish).collect();
    (network, keys)
}

fn call(network: &mut Network, command: Command) {
    let call = network.call(1, command);
    assert_eq!(network.answer(1, call), Ok(Answer::Done));
}

/// Bytes held of each content.
fn held(network: &Network, keys: &[ContentKey]) -> Vec<f64> {
    let held = |key: &ContentKey| network.held(1, *key) as f64;
    keys.iter().map(held).collect()
}

#[test]
fn contents_that_are_fetched_together_arrive_together() {
    let (mut network, keys) = scene(3);
    // The first has a start, and with it a rate and a window.
    network.fetch(1, keys[0]);
    network.run_for(Duration::from_secs(1));
    let before = held(&network, &keys);
    network.fetch(1, keys[1]);
    network.fetch(1, keys[2]);
    network.run_for(Duration::from_secs(6));
    let now = held(&network, &keys);
    let got: Vec<f64> = now.iter().zip(before).map(|(now, old)| now - old).collect();
    let most = got.iter().copied().fold(0.0, f64::max);
    let least = got.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least > 0.8 * most, "{got:?}");
    assert!(got.iter().sum::<f64>() > 0.9 * 6.0 * 4e6, "{got:?}");
}

#[test]
fn a_content_of_high_priority_gets_most_of_the_line() {
    let (mut network, keys) = scene(2);
    network.fetch(1, keys[0]);
    network.fetch_with(1, keys[1], Priority::High);
    // Rates are not known at once.
    network.run_for(Duration::from_millis(1500));
    let before = held(&network, &keys);
    network.run_for(Duration::from_secs(2));
    let after = held(&network, &keys);
    assert!(
        after[1] - before[1] > 2.5 * (after[0] - before[0]),
        "{before:?} {after:?}"
    );
    assert!(after[0] > before[0], "{before:?} {after:?}");
    // And the other way round.
    let [key, other] = keys[..] else { panic!() };
    let (low, high) = (Priority::Low, Priority::High);
    call(
        &mut network,
        Command::Prioritise {
            key,
            priority: high,
        },
    );
    call(
        &mut network,
        Command::Prioritise {
            key: other,
            priority: low,
        },
    );
    network.run_for(Duration::from_millis(700));
    let before = held(&network, &keys);
    network.run_for(Duration::from_secs(1));
    let after = held(&network, &keys);
    assert!(
        after[0] - before[0] > 2.0 * (after[1] - before[1]),
        "{before:?} {after:?}"
    );
}

#[test]
fn a_limit_of_what_is_fetched_holds_and_is_used() {
    let (mut network, keys) = scene(2);
    let limits = Limits {
        download: Some(LIMIT),
        ..Limits::default()
    };
    call(&mut network, Command::Limit(limits));
    network.fetch(1, keys[0]);
    network.fetch_with(1, keys[1], Priority::High);
    network.run_for(Duration::from_secs(5));
    let got = held(&network, &keys);
    let sum: f64 = got.iter().sum();
    let limit = LIMIT as f64 * 5.0;
    assert!((0.9 * limit..1.1 * limit).contains(&sum), "{got:?}");
    // Priorities hold within the limit too.
    assert!(got[1] > 2.5 * got[0] && got[0] > 0.0, "{got:?}");
    call(&mut network, Command::Limit(Limits::default()));
    network.run_for(Duration::from_secs(2));
    let now: f64 = held(&network, &keys).iter().sum();
    assert!(now - sum > 0.9 * 2.0 * 4e6, "{sum} {now}");
}

#[test]
fn a_limit_of_what_is_sent_can_be_changed() {
    let (mut network, keys) = scene(1);
    let limits = Limits {
        upload: Some(LIMIT),
        ..Limits::default()
    };
    let limit = network.call(0, Command::Limit(limits));
    assert_eq!(network.answer(0, limit), Ok(Answer::Done));
    network.fetch(1, keys[0]);
    network.run_for(Duration::from_secs(4));
    let got = network.held(1, keys[0]) as f64;
    let most = LIMIT as f64 * 4.0;
    assert!((0.85 * most..1.1 * most).contains(&got), "{got}");
}

#[test]
fn a_fetch_rests_until_it_is_resumed() {
    let (mut network, keys) = scene(1);
    let key = keys[0];
    network.fetch(1, key);
    network.run_for(Duration::from_secs(1));
    call(&mut network, Command::Pause { key });
    // What is on its way arrives.
    network.run_for(Duration::from_secs(1));
    let before = network.held(1, key);
    assert!(before > 0);
    network.run_for(Duration::from_secs(60));
    assert_eq!(network.held(1, key), before);
    let progress = network.progress(1, key).expect("it was reported");
    assert_eq!(progress.state, ProgressState::Paused);
    // It rests over a restart, too.
    network.kill(1);
    network.revive(1);
    network.run_for(Duration::from_secs(30));
    assert_eq!(network.held(1, key), before);
    call(&mut network, Command::Resume { key });
    network.run_until("the rest", Duration::from_secs(30), |network| {
        network.has_all(1, key)
    });
    // Of what was asked for when it was paused, some was on its way.
    let sent = network.peers[0].sent[&1];
    assert!(sent < 18 * MIB as u64, "{sent} bytes were sent");
}

#[test]
fn a_fetch_can_begin_paused_and_waits_with_everything() {
    let (mut network, keys) = scene(1);
    let key = keys[0];
    let fetch = Command::Fetch {
        key,
        priority: Priority::Auto,
        paused: true,
        on_demand: false,
        pinned: false,
    };
    let fetch = network.call(1, fetch);
    network.run_for(Duration::from_secs(30));
    assert!(!network.peers[1].answers.contains_key(&fetch));
    assert!(!network.peers[0].sent.contains_key(&1));
    call(&mut network, Command::Resume { key });
    assert!(network.answer(1, fetch).is_ok());
    let is_done = |network: &mut Network| {
        let last = network.progress(1, key).expect("it was reported");
        last.state == ProgressState::Done
    };
    network.run_until("the content", Duration::from_secs(30), is_done);
    // Whole contents and unknown ones do not rest.
    call(&mut network, Command::Pause { key });
    let other = ContentKey::from_hash([7; 32]);
    call(&mut network, Command::Pause { key: other });
    call(&mut network, Command::Resume { key: other });
    assert!(is_done(&mut network));
}
