//! A fetch that was stopped or paused stays so, whatever it was doing, over a restart too; and
//! one that somebody wants goes on when those who only read it have gone.

mod network;

use network::{MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::content::ContentKey;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// A source and a peer that it is linked to.
fn scene(seed: u64) -> (Network, ContentKey) {
    let mut network = Network::new(seed, 2);
    let bytes = network.random_bytes(8 * MIB);
    let key = network.publish(0, "a film", &bytes);
    network.run_for(Duration::from_secs(1));
    (network, key)
}

fn call(network: &mut Network, command: Command) {
    let call = network.call(1, command);
    network.answer(1, call).expect("it is done");
}

fn stop(key: ContentKey, unless_wanted: bool) -> Command {
    Command::StopFetch {
        key,
        on_demand: false,
        unless_wanted,
    }
}

fn restart(network: &mut Network) {
    network.kill(1);
    network.revive(1);
}

/// The peer holds a part of a content and has been told to stop.
fn part(seed: u64) -> (Network, ContentKey) {
    let (mut network, key) = scene(seed);
    network.fetch(1, key);
    network.run_until("a part", MINUTE, |network| {
        network.held(1, key) > 2 * MIB as u64
    });
    call(&mut network, stop(key, false));
    (network, key)
}

#[test]
fn one_that_is_stopped_before_its_proof_is_read_does_not_go_on() {
    let (mut network, key) = part(61);
    restart(&mut network);
    network.run_for(Duration::from_secs(2));
    let fetch = network.call(1, Command::Pin { key, pinned: true });
    network.answer(1, fetch).expect("it is held");
    network.fetch(1, key);
    network.call(1, stop(key, false));
    network.run_for(MINUTE);
    assert!(!network.has_all(1, key), "it went on");
    restart(&mut network);
    network.run_for(MINUTE);
    assert!(!network.has_all(1, key), "it went on after a restart");
    network.fetch(1, key);
    network.run_until("the rest", MINUTE, |network| network.has_all(1, key));
}

/// At each moment of its beginning: while it is looked for, while its proof is asked for, while
/// its record is written, while chunks come.
#[test]
fn one_that_ends_or_rests_at_any_moment_does_not_go_on_after_a_restart() {
    let pause = |key| Command::Pause { key };
    let end = |key| stop(key, false);
    let commands: [&dyn Fn(ContentKey) -> Command; 2] = [&pause, &end];
    for (step, command) in (0..120)
        .step_by(4)
        .flat_map(|step| commands.map(|command| (step, command)))
    {
        let (mut network, key) = scene(62);
        network.fetch(1, key);
        network.run_for(Duration::from_millis(step));
        call(&mut network, command(key));
        network.run_for(Duration::from_secs(5));
        restart(&mut network);
        network.run_for(Duration::from_secs(20));
        assert!(!network.has_all(1, key), "after {step} ms");
    }
}

#[test]
fn one_that_the_store_began_again_goes_on_without_its_readers() {
    let (mut network, key) = scene(63);
    network.fetch(1, key);
    network.run_until("a part", MINUTE, |network| {
        network.held(1, key) > 2 * MIB as u64
    });
    restart(&mut network);
    let reads = network.fetch_on_demand(1, key);
    network.answer(1, reads).expect("it is known");
    call(&mut network, stop(key, true));
    assert_eq!(network.stops(1, key), 0, "it goes on");
    network.run_until("all", MINUTE, |network| network.has_all(1, key));
}

#[test]
fn one_that_was_only_read_ends_with_its_readers() {
    let (mut network, key) = scene(64);
    let reads = network.fetch_on_demand(1, key);
    network.answer(1, reads).expect("it is known");
    let read = network.call(1, Command::Read { key, index: 3 });
    network.answer(1, read).expect("a chunk");
    call(&mut network, stop(key, true));
    assert_eq!(network.stops(1, key), 1, "all who show it are told");
    call(&mut network, stop(key, true));
    assert_eq!(network.stops(1, key), 1, "it has stopped before");
    let unread = network.call(1, Command::Read { key, index: 0 });
    let error = network.answer(1, unread).expect_err("nobody fetches it");
    assert_eq!(error.code, Code::NotHeld);
    network.run_for(MINUTE);
    assert!(!network.has_all(1, key));
}
