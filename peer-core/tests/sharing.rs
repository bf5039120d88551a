//! Peers share contents: what happens when all goes well.

mod network;

use network::{Access, MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::namespace::Namespace;
use std::{collections::BTreeMap, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn two_peers_share_a_file() {
    let mut network = Network::new(1, 2);
    let bytes = network.random_bytes(3 * MIB + 17);
    let key = network.publish(0, "a file", &bytes);
    let call = network.fetch(1, key);
    let Ok(Answer::Content(content)) = network.answer(1, call) else {
        panic!("no content")
    };
    assert_eq!(
        (content.size, content.metadata.name.as_deref()),
        (bytes.len() as u64, Some("a file"))
    );
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
    network.run_for(Duration::from_secs(1));
    assert_eq!(network.progress(1, key).unwrap().state, ProgressState::Done);
    let overhead = network.peers[0].sent[&1] as f64 / bytes.len() as f64;
    assert!(overhead < 1.02, "each chunk comes once: {overhead}");
}

#[test]
fn contents_of_every_edge_arrive() {
    let chunk = 256 * 1024;
    let mut network = Network::new(2, 2);
    for len in [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk] {
        let bytes = network.random_bytes(len);
        let key = network.publish(0, "edge", &bytes);
        let call = network.fetch(1, key);
        assert!(network.answer(1, call).is_ok(), "{len}");
        network.run_until("the content", MINUTE, |network| network.has_all(1, key));
        network.assert_content(1, key, &bytes);
    }
}

#[test]
fn three_sources_share_the_work() {
    let mut network = Network::new(3, 4);
    let bytes = network.random_bytes(24 * MIB);
    for source in 0..3 {
        network.publish(source, "shared", &bytes);
    }
    let key = network.publish(0, "shared", &bytes);
    network.run_for(Duration::from_secs(2));
    network.fetch(3, key);
    network.run_until("the file", MINUTE, |network| network.has_all(3, key));
    network.assert_content(3, key, &bytes);
    for source in 0..3 {
        let share = network.peers[source].sent[&3] as f64 / bytes.len() as f64;
        assert!(share > 0.2, "source {source} sent {share}");
    }
}

#[test]
fn ten_peers_fetch_from_one_and_from_each_other() {
    let mut network = Network::new(4, 10);
    let bytes = network.random_bytes(16 * MIB);
    let key = network.publish(0, "for all", &bytes);
    network.run_for(Duration::from_secs(1));
    for peer in 1..10 {
        network.fetch(peer, key);
    }
    network.run_until("all copies", 10 * MINUTE, |network| {
        (1..10).all(|peer| network.has_all(peer, key))
    });
    for peer in 1..10 {
        network.assert_content(peer, key, &bytes);
    }
    let from_others: u64 = (1..10)
        .flat_map(|peer| network.peers[peer].sent.values())
        .sum();
    assert!(
        from_others > bytes.len() as u64,
        "fetchers serve what they have: {from_others}"
    );
}

#[test]
fn whoever_comes_second_for_a_small_content_is_shown_nothing_and_waits() {
    let mut network = Network::new(12, 3);
    network.peers[0].access.up = 200e3;
    let bytes = network.random_bytes(MIB);
    let key = network.publish(0, "small", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(1, key);
    network.run_for(Duration::from_millis(500));
    network.fetch(2, key);
    network.run_until("both", MINUTE, |network| {
        (1..3).all(|peer| network.has_all(peer, key))
    });
    assert_eq!(network.errors(2), [] as [Code; 0]);
}

#[test]
fn who_holds_a_part_passes_on_that_and_the_proof() {
    let mut network = Network::new(11, 3);
    let bytes = network.random_bytes(4 * MIB);
    let key = network.publish(0, "in part", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(1, key);
    network.run_until("a part", MINUTE, |network| {
        network.held(1, key) >= MIB as u64
    });
    let stop = network.call(
        1,
        Command::StopFetch {
            key,
            on_demand: false,
            unless_wanted: false,
        },
    );
    network.answer(1, stop).expect("it stops");
    network.kill(0);
    // Not even the last chunk, which a proof is made of.
    let namespace = Namespace::default();
    let part = &network.peers[1].store.contents(&namespace)[0];
    let (slot, index) = (part.slot, part.held.len() - 1);
    let store = &mut network.peers[1].store;
    let drops = StoreRequest::DropChunk { slot, index };
    store.handle(&namespace, drops).expect("it is dropped");
    network.kill(1);
    network.revive(1);
    network.run_for(Duration::from_secs(2));
    let call = network.fetch(2, key);
    let Ok(Answer::Content(content)) = network.answer(2, call) else {
        panic!("no content")
    };
    assert_eq!(content.size, bytes.len() as u64);
    network.run_until("what is there", MINUTE, |network| {
        network.held(2, key) == network.held(1, key)
    });
}

#[test]
fn a_slow_source_does_not_hold_up_a_fast_one() {
    let mut network = Network::new(5, 3);
    network.peers[0].access = Access {
        delay: Duration::from_millis(200),
        up: 50e3,
        down: 50e3,
    };
    let bytes = network.random_bytes(16 * MIB);
    network.publish(0, "both", &bytes);
    let key = network.publish(1, "both", &bytes);
    network.run_for(Duration::from_secs(3));
    let start = network.now;
    network.fetch(2, key);
    network.run_until("the file", MINUTE, |network| network.has_all(2, key));
    let took = network.now.since(start);
    // Alone the fast source needs 0.84 s.
    assert!(took < Duration::from_secs(4), "took {took:?}");
}

#[test]
fn catalogs_tell_what_everybody_offers() {
    let mut network = Network::new(6, 3);
    let keys: BTreeMap<usize, _> = (0..2)
        .map(|peer| {
            (
                peer,
                network.publish(peer, &format!("file {peer}"), &[peer as u8; 100]),
            )
        })
        .collect();
    network.run_for(Duration::from_secs(2));
    for (peer, key) in keys {
        let id = network.peers[peer].id;
        let call = network.call(2, Command::Catalog { peer: id });
        let Ok(Answer::Contents(contents)) = network.answer(2, call) else {
            panic!("no catalog")
        };
        assert_eq!(contents.len(), 1);
        assert_eq!((contents[0].key, contents[0].size), (key, 100));
        assert!(
            network.peers[2]
                .events
                .contains(&Event::Catalog { peer: id })
        );
    }
}

#[test]
fn what_is_removed_is_withdrawn_and_gone() {
    let mut network = Network::new(7, 2);
    let key = network.publish(0, "short-lived", b"for a moment");
    network.run_for(Duration::from_secs(1));
    let call = network.call(0, Command::Remove { key });
    assert_eq!(network.answer(0, call), Ok(Answer::Done));
    network.run_for(Duration::from_secs(1));
    let id = network.peers[0].id;
    let call = network.call(1, Command::Catalog { peer: id });
    assert_eq!(network.answer(1, call), Ok(Answer::Contents(Vec::new())));
    let call = network.call(0, Command::Remove { key });
    assert_eq!(network.answer(0, call).unwrap_err().code, Code::NotHeld);
}

#[test]
fn reads_wait_for_their_chunk() {
    let mut network = Network::new(8, 2);
    let bytes = network.random_bytes(8 * MIB);
    let key = network.publish(0, "to read", &bytes);
    network.run_for(Duration::from_secs(1));
    let fetch = network.fetch(1, key);
    network.answer(1, fetch).unwrap();
    let read = network.call(1, Command::Read { key, index: 30 });
    assert_eq!(
        network.answer(1, read),
        Ok(Answer::Bytes(bytes[30 * 262_144..31 * 262_144].to_vec()))
    );
    assert!(!network.has_all(1, key), "what is waited for comes first");
    let read = network.call(1, Command::Read { key, index: 32 });
    assert_eq!(
        network.answer(1, read).unwrap_err().code,
        Code::InvalidArgument
    );
}

#[test]
fn a_rule_fetches_what_matches_within_its_budget() {
    let mut network = Network::new(9, 1);
    let filter = ReplicateFilter {
        media_type: Some("text/".into()),
        ..ReplicateFilter::default()
    };
    let follower = network.add_peer(|config| {
        config.replicate = Some(Replicate {
            filter,
            budget: 5_000,
        });
    });
    let small = network.publish(0, "small", &[1; 3_000]);
    network.run_until("the copy", MINUTE, |network| {
        network.has_all(follower, small)
    });
    let large = network.publish(0, "large", &[2; 4_000]);
    network.run_for(2 * MINUTE);
    assert_eq!(network.held(follower, large), 0, "it is over the budget");
    let tiny = network.publish(0, "tiny", &[3; 1_000]);
    network.run_until("the copy", MINUTE, |network| {
        network.has_all(follower, tiny)
    });
}

#[test]
fn an_upload_limit_holds_and_is_shared_fairly() {
    let mut network = Network::new(10, 0);
    for _ in 0..2 {
        network.add_peer(|config| config.limits.upload = Some(1_000_000));
    }
    network.add_peer(|_| {});
    network.add_peer(|_| {});
    let bytes = network.random_bytes(8 * MIB);
    network.publish(0, "capped", &bytes);
    let key = network.publish(1, "capped", &bytes);
    network.run_for(Duration::from_secs(2));
    let start = network.now;
    network.fetch(2, key);
    network.run_until("some of it", MINUTE, |network| {
        network.held(2, key) > MIB as u64
    });
    network.fetch(3, key);
    // Once it is known to the second what each source carries.
    network.run_for(Duration::from_secs(2));
    let sent = |network: &Network| {
        let of = |source: usize, to| network.peers[source].sent[&to];
        [(0, 2), (0, 3), (1, 2), (1, 3)].map(|(source, to)| of(source, to))
    };
    let before = sent(&network);
    network.run_for(Duration::from_secs(3));
    let got: Vec<u64> = sent(&network)
        .iter()
        .zip(before)
        .map(|(now, old)| now - old)
        .collect();
    let (least, most) = (got.iter().min(), got.iter().max());
    let close = least.map(|least| least * 5 / 4);
    assert!(most <= close.as_ref(), "each gets as much of each: {got:?}");
    network.run_until("both", 2 * MINUTE, |network| {
        network.has_all(2, key) && network.has_all(3, key)
    });
    let seconds = network.now.since(start).as_secs_f64();
    for source in 0..2 {
        let sent: u64 = network.peers[source].sent.values().sum();
        assert!(
            sent as f64 / seconds < 1.1e6,
            "source {source} kept to its limit: {sent} in {seconds} s"
        );
    }
}
