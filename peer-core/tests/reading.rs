//! A content is used while it still arrives, on virtual time: what is read comes first, with
//! some of what follows it; it jumps with the reader; and who reads slowly, or not at all,
//! is not sent more than that.

mod network;

use network::{Access, MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::{
    content::{CHUNK_SIZE, ContentKey},
    namespace::Namespace,
};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// A chunk leaves its source in 131 ms, and a round trip is 40 ms.
const LINE: Access = Access {
    delay: Duration::from_millis(20),
    up: 2e6,
    down: 50e6,
};
const CHUNK_TIME: Duration = Duration::from_millis(131);
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// What is asked for ahead of a reader, at most, and at least (`policy::READ_AHEAD_MAX`, `…_MIN`).
const AHEAD_MAX: u64 = 32;
const AHEAD_MIN: u64 = 8;

/// A source, and readers with nothing yet, linked to it.
fn scene(seed: u64, readers: usize, size: usize) -> (Network, ContentKey, Vec<u8>) {
    let mut network = Network::new(seed, 1 + readers);
    for peer in &mut network.peers {
        peer.access = LINE;
    }
    let bytes = network.random_bytes(size);
    let key = network.publish(0, "a film", &bytes);
    network.run_for(Duration::from_secs(5));
    (network, key, bytes)
}

fn chunk(bytes: &[u8], index: usize) -> Vec<u8> {
    let end = ((index + 1) * CHUNK_SIZE).min(bytes.len());
    bytes[index * CHUNK_SIZE..end].to_vec()
}

/// Reads a chunk and says how long it took.
fn read(network: &mut Network, peer: usize, key: ContentKey, index: u32, bytes: &[u8]) -> Duration {
    let start = network.now;
    let call = network.call(peer, Command::Read { key, index });
    let expected = chunk(bytes, index as usize);
    assert_eq!(network.answer(peer, call), Ok(Answer::Bytes(expected)));
    network.now.since(start)
}

fn chunks_held(network: &Network, peer: usize, key: ContentKey) -> u64 {
    network.held(peer, key) / CHUNK_SIZE as u64
}

fn is_wanted(network: &Network, peer: usize, key: ContentKey) -> bool {
    let contents = network.peers[peer].store.contents(&Namespace::default());
    let content = contents.iter().find(|content| content.key == key);
    content.expect("it is recorded").wanted
}

#[test]
fn a_reader_that_jumps_is_served_before_all_that_was_asked_for() {
    for seed in 300..303 {
        let (mut network, key, bytes) = scene(seed, 1, 32 * MIB);
        let fetch = network.fetch(1, key);
        network.answer(1, fetch).unwrap();
        network.run_for(Duration::from_secs(3));
        let mut jumps = Vec::new();
        for index in [100, 17, 60] {
            let held = network.call(1, Command::Held { key });
            let Ok(Answer::Held(held)) = network.answer(1, held) else {
                panic!("it is recorded")
            };
            let is_held = |index| held.iter().any(|(from, to)| (*from..*to).contains(&index));
            let index = (index..).find(|index| !is_held(*index)).unwrap();
            jumps.push(read(&mut network, 1, key, index, &bytes));
        }
        // One chunk is being sent and one waits in the channel when it is asked for.
        let most = ROUND_TRIP + CHUNK_TIME * 3;
        assert!(
            jumps.iter().all(|took| *took <= most),
            "seed {seed}: {jumps:?}, at most {most:?}"
        );
        network.run_until("the rest", MINUTE, |network| network.has_all(1, key));
    }
}

#[test]
fn on_demand_comes_what_is_read_and_a_little_more() {
    let (mut network, key, bytes) = scene(310, 1, 32 * MIB);
    let fetch = network.fetch_on_demand(1, key);
    network.answer(1, fetch).unwrap();
    network.run_for(Duration::from_secs(20));
    assert_eq!(network.held(1, key), 0, "nobody has read");
    let progress = network.progress(1, key).expect("it was reported");
    assert_eq!(
        (progress.state, progress.reason),
        (ProgressState::Waiting, None)
    );

    read(&mut network, 1, key, 40, &bytes);
    network.run_for(Duration::from_secs(20));
    let held = chunks_held(&network, 1, key);
    assert!(
        (1..=1 + AHEAD_MAX).contains(&held),
        "{held} chunks came of one that was read"
    );

    // A reader that goes on finds what was fetched ahead of it.
    let held = chunks_held(&network, 1, key) as u32;
    for index in 41..40 + held {
        assert!(
            read(&mut network, 1, key, index, &bytes) < ROUND_TRIP,
            "chunk {index} was there"
        );
    }
    // Nothing of it is fetched after a restart, until somebody reads again.
    assert!(!is_wanted(&network, 1, key));

    let all = network.fetch(1, key);
    network.answer(1, all).unwrap();
    assert!(
        is_wanted(&network, 1, key),
        "it is to be whole now, over a restart too"
    );
    network.run_until("all of it", MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
}

#[test]
fn when_nobody_wants_all_any_more_what_is_read_still_comes() {
    let (mut network, key, bytes) = scene(315, 1, 64 * MIB);
    let all = network.fetch(1, key);
    network.answer(1, all).unwrap();
    let reader = network.fetch_on_demand(1, key);
    network.answer(1, reader).unwrap();
    network.run_until("some of it", MINUTE, |network| {
        chunks_held(network, 1, key) >= 8
    });
    let stop = Command::StopFetch {
        key,
        on_demand: true,
        unless_wanted: false,
    };
    let stop = network.call(1, stop);
    network.answer(1, stop).unwrap();
    assert!(!is_wanted(&network, 1, key), "nor after a restart");

    // What was asked for comes, and then no more.
    network.run_for(Duration::from_secs(2));
    let held = chunks_held(&network, 1, key);
    assert!(
        held < 128,
        "{held} of 256 chunks came of a fetch that was stopped"
    );
    network.run_for(Duration::from_secs(20));
    assert_eq!(chunks_held(&network, 1, key), held);
    read(&mut network, 1, key, 250, &bytes);
    network.run_for(Duration::from_secs(20));
    let more = chunks_held(&network, 1, key) - held;
    assert!(
        (1..=1 + AHEAD_MAX).contains(&more),
        "{more} chunks came of one that was read"
    );
}

#[test]
fn who_reads_slowly_is_sent_no_more_than_it_reads() {
    let (mut network, key, bytes) = scene(320, 1, 32 * MIB);
    let fetch = network.fetch_on_demand(1, key);
    network.answer(1, fetch).unwrap();
    for index in 0..10 {
        read(&mut network, 1, key, index, &bytes);
        network.run_for(Duration::from_secs(2));
        let held = chunks_held(&network, 1, key);
        let most = u64::from(index) + 1 + AHEAD_MAX;
        assert!(
            held <= most,
            "{held} chunks came, of which {} were read",
            index + 1
        );
    }
}

#[test]
fn what_was_left_is_not_fetched_when_the_reader_has_jumped() {
    let (mut network, key, bytes) = scene(330, 1, 64 * MIB);
    let fetch = network.fetch_on_demand(1, key);
    network.answer(1, fetch).unwrap();
    let calls: Vec<CallId> = (0..4)
        .map(|index| network.call(1, Command::Read { key, index }))
        .collect();
    network.run_for(Duration::from_millis(60));
    for call in calls {
        network.input(1, Input::Abort(call));
    }
    let took = read(&mut network, 1, key, 200, &bytes);
    assert!(took <= ROUND_TRIP + CHUNK_TIME * 3, "{took:?}");
    network.run_for(Duration::from_secs(20));
    let held = network.call(1, Command::Held { key });
    let Ok(Answer::Held(held)) = network.answer(1, held) else {
        panic!("it is recorded")
    };
    let before: u32 = held
        .iter()
        .filter(|(from, _)| *from < 200)
        .map(|(from, to)| to - from)
        .sum();
    // The window with which a source begins was asked for, and no more was.
    assert!(u64::from(before) <= AHEAD_MIN, "{held:?}");
}

#[test]
fn a_reader_need_not_wait_until_a_lone_publisher_shows_a_chunk() {
    let (mut network, key, bytes) = scene(340, 4, 32 * MIB);
    for peer in 1..=4 {
        let fetch = network.fetch(peer, key);
        network.answer(peer, fetch).unwrap();
    }
    network.run_for(Duration::from_secs(1));
    // The four share the line, and each is sent a chunk in turn.
    let most = ROUND_TRIP + CHUNK_TIME * 12;
    for index in 90..94 {
        let took = read(&mut network, 1, key, index, &bytes);
        assert!(
            took <= most,
            "chunk {index} took {took:?}, at most {most:?}"
        );
    }
}

#[test]
fn a_read_past_the_end_fails_once_the_size_is_known() {
    let (mut network, key, _) = scene(350, 1, MIB);
    network.fetch(1, key);
    let read = network.call(1, Command::Read { key, index: 4 });
    let error = network.answer(1, read).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
}
