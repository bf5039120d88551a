//! What peers do when their stores may hold no more: make room, wait for it, go on.

mod network;

use network::{MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::content::ContentKey;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// A publisher of three contents of 4 MiB, and a peer that has fetched the first two and may
/// hold 9 MiB.
fn scene(seed: u64) -> (Network, Vec<ContentKey>) {
    let mut network = Network::new(seed, 2);
    let keys: Vec<ContentKey> = (0..3)
        .map(|_| {
            let bytes = network.random_bytes(4 * MIB);
            network.publish(0, "one of three", &bytes)
        })
        .collect();
    network.set_limit(1, 9 * MIB as u64);
    for key in &keys[..2] {
        network.fetch(1, *key);
        network.run_until("a content", MINUTE, |network| network.has_all(1, *key));
        network.run_for(Duration::from_secs(1));
    }
    (network, keys)
}

fn reason(network: &Network, key: ContentKey) -> Option<Code> {
    network
        .progress(1, key)
        .and_then(|progress| progress.reason)
}

fn call(network: &mut Network, command: Command) {
    let call = network.call(1, command);
    assert_eq!(network.answer(1, call), Ok(Answer::Done));
}

#[test]
fn what_was_used_least_recently_makes_room_and_is_withdrawn_first() {
    let (mut network, keys) = scene(1);
    network.run_for(MINUTE);
    let read = network.call(
        1,
        Command::Read {
            key: keys[0],
            index: 0,
        },
    );
    network.answer(1, read).unwrap();
    network.fetch(1, keys[2]);
    network.run_until("the third", MINUTE, |network| network.has_all(1, keys[2]));
    assert!(network.has_all(1, keys[0]), "it was read since");
    assert_eq!(network.held(1, keys[1]), 0);
    let gone = |event: &Event| matches!(event, Event::Content { content, removed: true } if content.key == keys[1]);
    assert!(network.peers[1].events.iter().any(gone), "the page is told");
    // What went can be fetched again, and is, once the others are no longer in use.
    network.run_for(MINUTE);
    network.fetch(1, keys[1]);
    network.run_until("the second", MINUTE, |network| network.has_all(1, keys[1]));
}

#[test]
fn where_nothing_may_go_a_fetch_waits_and_goes_on_at_once_when_something_may() {
    let (mut network, keys) = scene(2);
    for key in &keys[..2] {
        let (key, pinned) = (*key, true);
        call(&mut network, Command::Pin { key, pinned });
    }
    network.run_for(MINUTE);
    network.fetch(1, keys[2]);
    network.run_until("the quota", MINUTE, |network| {
        reason(network, keys[2]) == Some(Code::Quota)
    });
    network.run_for(MINUTE);
    assert!(network.has_all(1, keys[0]) && network.has_all(1, keys[1]));
    // Right after a try, long before the next.
    network.run_until("a try", MINUTE, |network| {
        reason(network, keys[2]) != Some(Code::Quota)
    });
    network.run_until("another wait", MINUTE, |network| {
        reason(network, keys[2]) == Some(Code::Quota)
    });
    call(
        &mut network,
        Command::Pin {
            key: keys[0],
            pinned: false,
        },
    );
    network.run_until("the third", Duration::from_secs(1), |network| {
        network.has_all(1, keys[2])
    });
    assert_eq!(network.held(1, keys[0]), 0);
}

#[test]
fn a_removal_and_a_higher_limit_let_a_fetch_go_on_at_once() {
    for seed in [3, 4] {
        let (mut network, keys) = scene(seed);
        for key in &keys[..2] {
            let (key, pinned) = (*key, true);
            call(&mut network, Command::Pin { key, pinned });
        }
        network.fetch(1, keys[2]);
        network.run_until("the quota", MINUTE, |network| {
            reason(network, keys[2]) == Some(Code::Quota)
        });
        if seed == 3 {
            call(&mut network, Command::Remove { key: keys[0] });
        } else {
            network.set_limit(1, 12 * MIB as u64);
        }
        network.run_until("the third", Duration::from_secs(1), |network| {
            network.has_all(1, keys[2])
        });
    }
}

#[test]
fn a_publication_that_has_no_room_fails_and_leaves_nothing() {
    let (mut network, keys) = scene(5);
    network.peers[1].pins = true;
    let bytes = network.random_bytes(12 * MIB);
    let call = network.begin_publication(1, "too large", &bytes);
    let error = network.answer(1, call).unwrap_err();
    assert_eq!(error.code, Code::Quota);
    network.run_for(MINUTE);
    assert!(
        network.has_all(1, keys[0]) && network.has_all(1, keys[1]),
        "nothing went for it"
    );
    let bytes = network.random_bytes(5 * MIB);
    let key = network.publish(1, "of its size", &bytes);
    network.assert_content(1, key, &bytes);
    // What one publishes goes last.
    network.run_for(MINUTE);
    network.fetch(1, keys[2]);
    network.run_until("the third", MINUTE, |network| network.has_all(1, keys[2]));
    assert!(network.has_all(1, key));
}

#[test]
fn what_is_served_stays_while_it_is() {
    let (mut network, keys) = scene(6);
    // Only the small store has the first, and it goes out slowly.
    let call = network.call(0, Command::Remove { key: keys[0] });
    network.answer(0, call).unwrap();
    network.run_for(MINUTE);
    network.peers[1].access.up = 100e3;
    let late = network.add_peer(|_| {});
    network.fetch(late, keys[0]);
    network.run_until("a part", MINUTE, |network| network.held(late, keys[0]) > 0);
    network.fetch(1, keys[2]);
    network.run_until("the third", MINUTE, |network| network.has_all(1, keys[2]));
    assert_eq!(
        network.held(1, keys[1]),
        0,
        "this one went, though it was used since"
    );
    network.run_until("the first", 2 * MINUTE, |network| {
        network.has_all(late, keys[0])
    });
}

#[test]
fn a_damaged_proof_is_fetched_again_and_the_chunks_stay() {
    let (mut network, keys) = scene(7);
    let key = keys[0];
    network.kill(1);
    network.peers[1].store.damage_proof(key);
    let before = network.peers[0].sent[&1];
    network.revive(1);
    let read = network.call(1, Command::Read { key, index: 3 });
    match network.answer(1, read) {
        Ok(Answer::Bytes(bytes)) => assert_eq!(bytes.len(), MIB / 4),
        other => panic!("reading gave {other:?}"),
    }
    assert!(network.has_all(1, key));
    assert!(
        network.peers[0].sent[&1] - before < MIB as u64 / 4,
        "no chunk came again"
    );
    assert_eq!(network.errors(1), [Code::StoreFailed]);
}

#[test]
fn a_pin_that_comes_too_late_says_that_the_content_is_gone() {
    let (mut network, keys) = scene(8);
    network.run_for(MINUTE);
    network.set_limit(1, 5 * MIB as u64);
    // The first is to go, and its node does not know that yet.
    let (key, pinned) = (keys[0], true);
    let pin = network.call(1, Command::Pin { key, pinned });
    assert_eq!(network.answer(1, pin).unwrap_err().code, Code::NotHeld);
    assert_eq!(network.held(1, key), 0);
    assert!(network.has_all(1, keys[1]));
}

#[test]
fn what_is_looked_at_stays_until_nobody_does() {
    let (mut network, keys) = scene(9);
    let hold = network.call(1, Command::Hold { key: keys[0] });
    network.run_for(MINUTE);
    network.fetch(1, keys[2]);
    network.run_until("the third", MINUTE, |network| network.has_all(1, keys[2]));
    assert!(network.has_all(1, keys[0]), "it is older, and looked at");
    assert_eq!(network.held(1, keys[1]), 0);
    assert!(!network.peers[1].answers.contains_key(&hold));
    network.input(1, Input::Abort(hold));
    network.run_for(MINUTE);
    network.fetch(1, keys[1]);
    network.run_until("the second", MINUTE, |network| network.has_all(1, keys[1]));
    assert_eq!(network.held(1, keys[0]), 0);
}
