//! What peers withstand: links, stores, rendezvous and other peers that fail or lie.

mod network;

use network::{Fault, MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::{
    bulk::{BulkHeader, BulkKind},
    content::ContentKey,
    id::LinkId,
    namespace::Namespace,
};
use std::{cell::Cell, rc::Rc, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

fn reason(network: &Network, peer: usize, key: ContentKey) -> Option<Code> {
    network
        .progress(peer, key)
        .and_then(|progress| progress.reason)
}

#[test]
fn links_that_break_are_made_again() {
    let mut network = Network::new(20, 3);
    let bytes = network.random_bytes(24 * MIB);
    network.publish(0, "bumpy", &bytes);
    let key = network.publish(1, "bumpy", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(2, key);
    for share in 1..4 {
        network.run_until("a part", MINUTE, |network| {
            network.held(2, key) >= (share * 5 * MIB) as u64
        });
        network.cut_links();
    }
    network.run_until("the file", 5 * MINUTE, |network| network.has_all(2, key));
    network.assert_content(2, key, &bytes);
}

/// Two peers, a fetch of which a part has come, and the link over which it comes.
fn fetching(seed: u64) -> (Network, ContentKey, Vec<u8>, Vec<LinkId>) {
    let mut network = Network::new(seed, 2);
    let bytes = network.random_bytes(24 * MIB);
    let key = network.publish(0, "moving", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(1, key);
    network.run_until("a part", MINUTE, |network| {
        network.held(1, key) >= 6 * MIB as u64
    });
    let links = network.open_links();
    assert_eq!(links.len(), 1);
    for peer in &mut network.peers {
        peer.events.clear();
    }
    (network, key, bytes, links)
}

#[test]
fn a_fetch_goes_on_over_its_link_when_the_network_changes() {
    let (mut network, key, bytes, links) = fetching(40);
    network.lose_ways();
    network.run_for(Duration::from_secs(4));
    let held = network.held(1, key);
    network.run_until("more", Duration::from_secs(4), |network| {
        network.held(1, key) > held
    });
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
    assert_eq!(network.open_links(), links);
    for peer in 0..2 {
        assert!(network.errors(peer).is_empty());
        let left = |event: &Event| matches!(event, Event::PeerLeave { .. });
        assert!(!network.peers[peer].events.iter().any(left));
    }
    // What was asked for when the way was lost is sent again.
    let twice = network.peers[0].sent[&1] - bytes.len() as u64;
    assert!(twice < 17 * MIB as u64, "{twice} bytes too many");
}

#[test]
fn a_link_whose_way_is_lost_waits_for_the_rendezvous() {
    let (mut network, key, bytes, links) = fetching(41);
    network.set_rendezvous(false);
    network.lose_ways();
    network.run_for(Duration::from_secs(15));
    let held = network.held(1, key);
    assert!(held < bytes.len() as u64);
    network.set_rendezvous(true);
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    assert_eq!(network.open_links(), links);
}

#[test]
fn a_link_for_which_no_way_is_found_is_made_anew() {
    let (mut network, key, bytes, links) = fetching(42);
    network.is_dark = true;
    network.lose_ways();
    network.run_for(Duration::from_secs(34));
    assert_eq!(network.open_links(), links);
    network.run_until("the file", 2 * MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
    assert_ne!(network.open_links(), links);
}

#[test]
fn a_silent_way_is_found_out_without_the_browser() {
    let mut network = Network::new(43, 2);
    network.run_until("a link", MINUTE, |network| {
        network.links_of(0) + network.links_of(1) == 2
    });
    let links = network.open_links();
    network.lose_ways();
    for peer in 0..2 {
        network.input(peer, Input::Wake);
    }
    network.run_until("another way", Duration::from_secs(4), |network| {
        !network.has_lost_ways()
    });
    let bytes = network.random_bytes(MIB);
    let key = network.publish(0, "after", &bytes);
    network.fetch(1, key);
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    assert_eq!(network.open_links(), links);
}

#[test]
fn a_liar_among_three_sources_is_dropped_and_the_content_arrives() {
    let mut network = Network::new(21, 4);
    network.peers[1].fault = Fault::WrongBytes;
    let bytes = network.random_bytes(12 * MIB);
    for source in 0..2 {
        network.publish(source, "contested", &bytes);
    }
    let key = network.publish(2, "contested", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(3, key);
    network.run_until("the file", MINUTE, |network| network.has_all(3, key));
    network.assert_content(3, key, &bytes);
    let liar = network.peers[1].id;
    let blamed: Vec<_> = network.peers[3]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Error { error } if error.code == Code::InvalidContent => error.peer,
            _ => None,
        })
        .collect();
    assert_eq!(blamed, [liar], "the liar is named, and nobody else");
    network.run_for(MINUTE);
    assert!(
        !network.wired().contains(&(1, 3)),
        "no link to the liar is made again"
    );
}

#[test]
fn a_lone_liar_delivers_nothing() {
    let mut network = Network::new(22, 2);
    network.peers[0].fault = Fault::WrongBytes;
    let bytes = network.random_bytes(2 * MIB);
    let key = network.publish(0, "poison", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(1, key);
    network.run_for(MINUTE);
    assert_eq!(network.held(1, key), 0);
    assert_eq!(
        network.progress(1, key).unwrap().state,
        ProgressState::Waiting
    );
}

#[test]
fn a_silent_source_costs_seconds_at_most() {
    let mut network = Network::new(23, 3);
    let bytes = network.random_bytes(16 * MIB);
    network.publish(0, "half", &bytes);
    let key = network.publish(1, "half", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(2, key);
    network.run_until("a part", MINUTE, |network| {
        network.held(2, key) >= 2 * MIB as u64
    });
    network.peers[0].fault = Fault::Silent;
    let start = network.now;
    network.run_until("the file", MINUTE, |network| network.has_all(2, key));
    let took = network.now.since(start);
    assert!(took < Duration::from_secs(6), "took {took:?}");
    network.assert_content(2, key, &bytes);
}

#[test]
fn a_full_store_pauses_a_fetch_until_there_is_room() {
    let mut network = Network::new(24, 2);
    let bytes = network.random_bytes(8 * MIB);
    let key = network.publish(0, "large", &bytes);
    network.peers[1].store.set_capacity(Some(3 * MIB as u64));
    network.run_for(Duration::from_secs(1));
    network.fetch(1, key);
    network.run_until("the quota", MINUTE, |network| {
        reason(network, 1, key) == Some(Code::Quota)
    });
    let held = network.held(1, key);
    assert!(held > 2 * MIB as u64, "what fits is kept: {held}");
    network.run_for(MINUTE);
    assert!(network.held(1, key) >= held);
    network.peers[1].store.set_capacity(None);
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
}

#[test]
fn a_failing_store_loses_nothing() {
    let mut network = Network::new(25, 2);
    let bytes = network.random_bytes(4 * MIB);
    let key = network.publish(0, "stubborn", &bytes);
    network.run_for(Duration::from_secs(1));
    network.peers[1].store_fails = Some(StoreError::Failed("disk".into()));
    network.fetch(1, key);
    network.run_until("a reason", MINUTE, |network| {
        reason(network, 1, key) == Some(Code::StoreFailed)
    });
    assert_eq!(network.held(1, key), 0);
    network.peers[1].store_fails = None;
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
}

/// Bytes of proofs that a peer sends from now on.
fn count_proofs(network: &mut Network, peer: usize) -> Rc<Cell<usize>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    network.peers[peer].tamper = Some(Box::new(move |frame| {
        if let Frame::Binary(bytes) = &frame
            && let Ok((header, payload)) = BulkHeader::decode(bytes)
            && header.kind == BulkKind::Proof
        {
            counted.set(counted.get() + payload.len());
        }
        vec![frame]
    }));
    count
}

#[test]
fn a_proof_that_cannot_be_stored_is_not_fetched_again() {
    let mut network = Network::new(26, 2);
    let bytes = network.random_bytes(16 * MIB);
    let key = network.publish(0, "pinned", &bytes);
    network.run_for(Duration::from_secs(1));
    let sent = count_proofs(&mut network, 0);
    network.peers[1].store_fails = Some(StoreError::Quota);
    let fetch = Command::Fetch {
        key,
        priority: Priority::Auto,
        paused: false,
        on_demand: false,
        pinned: true,
    };
    network.call(1, fetch);
    network.run_for(MINUTE);
    assert_eq!(reason(&network, 1, key), Some(Code::Quota));
    network.peers[1].store_fails = None;
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
    let sent = sent.get();
    assert!(sent < 4096, "{sent} bytes of a proof of some 3,300");
    let held = network.peers[1].store.contents(&Namespace::default());
    assert!(held[0].pinned, "as it was asked for");
}

#[test]
fn a_proof_may_take_long() {
    let mut network = Network::new(27, 2);
    let bytes = network.random_bytes(64 * MIB);
    let key = network.publish(0, "large", &bytes);
    network.run_for(Duration::from_secs(1));
    // 9.5 kB of it.
    network.peers[0].access.up = 1200.0;
    let sent = count_proofs(&mut network, 0);
    let fetch = network.fetch(1, key);
    let start = network.now;
    network.run_until("its size", MINUTE, |network| {
        network.peers[1].answers.contains_key(&fetch)
    });
    assert!(network.now.since(start) > Duration::from_secs(6));
    assert!(sent.get() < 10_000, "{} bytes", sent.get());
}

#[test]
fn a_fetch_without_sources_waits_says_so_and_goes_on() {
    let mut network = Network::new(26, 2);
    let bytes = network.random_bytes(16 * MIB);
    let key = network.publish(0, "comes and goes", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(1, key);
    network.run_until("a part", MINUTE, |network| {
        network.held(1, key) >= 4 * MIB as u64
    });
    network.kill(0);
    network.run_until("waiting", MINUTE, |network| {
        network
            .progress(1, key)
            .is_some_and(|progress| progress.state == ProgressState::Waiting)
    });
    let held = network.held(1, key);
    assert!(held < bytes.len() as u64);
    network.run_for(5 * MINUTE);
    network.revive(0);
    let before = network.peers[0].sent[&1];
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
    let again = network.peers[0].sent[&1] - before;
    let missing = bytes.len() as u64 - held;
    assert!(
        again < missing * 105 / 100,
        "only what was missing came: {again} of {missing}"
    );
}

#[test]
fn a_fetch_of_what_nobody_has_waits_and_can_be_aborted() {
    let mut network = Network::new(27, 2);
    let key = shoal_protocol::content::ContentKey::from_hash([7; 32]);
    let call = network.fetch(1, key);
    network.run_until("an explanation", MINUTE, |network| {
        reason(network, 1, key) == Some(Code::NotHeld)
    });
    network.input(1, Input::Abort(call));
    network.run_for(MINUTE);
    assert!(
        !network.peers[1].answers.contains_key(&call),
        "an aborted call has no answer"
    );
}

#[test]
fn what_is_recorded_when_its_publication_is_aborted_stays_whole() {
    let mut network = Network::new(29, 2);
    let bytes = network.random_bytes(2 * MIB);
    let call = network.begin_publication(0, "too late", &bytes);
    let recorded = |network: &Network| network.peers[0].store.contents(&Namespace::default());
    network.run_until("the record", MINUTE, |network| {
        !recorded(network).is_empty()
    });
    let key = recorded(&network)[0].key;
    network.input(0, Input::Abort(call));
    network.fetch(1, key);
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.assert_content(0, key, &bytes);
    network.assert_content(1, key, &bytes);
}

#[test]
fn a_killed_peer_goes_on_where_its_store_ended() {
    let mut network = Network::new(28, 2);
    let bytes = network.random_bytes(16 * MIB);
    let key = network.publish(0, "resumed", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(1, key);
    network.run_until("a part", MINUTE, |network| {
        network.held(1, key) >= 6 * MIB as u64
    });
    network.kill(1);
    network.run_for(Duration::from_secs(5));
    let (held, before) = (network.held(1, key), network.peers[0].sent[&1]);
    network.revive(1);
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
    let again = network.peers[0].sent[&1] - before;
    let missing = bytes.len() as u64 - held;
    assert!(
        again < missing * 105 / 100,
        "only what was missing came: {again} of {missing}"
    );
}

#[test]
fn a_read_that_fails_costs_nothing_that_is_stored() {
    let mut network = Network::new(38, 2);
    let bytes = network.random_bytes(4 * MIB);
    let key = network.publish(0, "the only copy", &bytes);
    network.run_for(Duration::from_secs(1));
    // Anew, so that the proof is to be read as well.
    network.kill(0);
    network.revive(0);
    network.run_for(Duration::from_secs(2));
    network.peers[0].reads_fail = 3;
    network.fetch(1, key);
    network.run_until("the file", 2 * MINUTE, |network| network.has_all(1, key));
    network.assert_content(0, key, &bytes);
    assert_eq!(network.peers[0].reads_fail, 0);

    network.peers[1].reads_fail = 1;
    let call = network.call(1, Command::Read { key, index: 3 });
    let error = network.answer(1, call).expect_err("the read failed");
    assert_eq!(error.code, Code::StoreFailed);
    let call = network.call(1, Command::Read { key, index: 3 });
    assert!(network.answer(1, call).is_ok(), "and the next one does not");
}

#[test]
fn a_fetch_whose_proof_cannot_be_read_is_answered() {
    let mut network = Network::new(39, 2);
    let bytes = network.random_bytes(8 * MIB);
    let key = network.publish(0, "in part", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(1, key);
    network.run_until("a part", MINUTE, |network| {
        network.held(1, key) > 2 * MIB as u64
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
    network.kill(1);
    network.revive(1);
    network.run_for(Duration::from_secs(2));
    network.peers[1].reads_fail = 1;
    let call = network.fetch(1, key);
    let error = network.answer(1, call).expect_err("the proof was not read");
    assert_eq!(error.code, Code::StoreFailed);
    network.fetch(1, key);
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.assert_content(1, key, &bytes);
}

#[test]
fn a_holder_without_one_of_its_chunks_keeps_nobody_busy() {
    let mut network = Network::new(40, 2);
    let bytes = network.random_bytes(4 * MIB);
    let key = network.publish(0, "rotten", &bytes);
    network.run_for(Duration::from_secs(1));
    let namespace = Namespace::default();
    let slot = network.peers[0].store.contents(&namespace)[0].slot;
    let rots = StoreRequest::DropChunk { slot, index: 15 };
    network.peers[0]
        .store
        .handle(&namespace, rots)
        .expect("it is there");
    network.fetch(1, key);
    // A timer that is due again at once would never let the minute pass.
    network.run_for(MINUTE);
    let whole = network.publish(0, "rotten", &bytes);
    assert_eq!(whole, key);
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
}

#[test]
fn many_publications_wait_for_each_other() {
    let mut network = Network::new(41, 1);
    let calls: Vec<_> = (0..12u8)
        .map(|n| network.begin_publication(0, "one of many", &vec![n; MIB + usize::from(n)]))
        .collect();
    network.call(0, Command::Contents);
    for call in calls {
        assert!(network.answer(0, call).is_ok());
    }
}

#[test]
fn a_rendezvous_that_drops_whoever_joins_is_asked_ever_less() {
    let mut network = Network::new(37, 1);
    let joins_again = |network: &mut Network| {
        let seen = network.peers[0].events.len();
        network.set_rendezvous(false);
        network.set_rendezvous(true);
        let start = network.now;
        network.run_until("a join", MINUTE, |network| {
            network.peers[0].events[seen..].contains(&Event::State {
                state: PeerState::Online,
            })
        });
        network.now.since(start)
    };
    network.run_for(MINUTE);
    assert!(joins_again(&mut network) < Duration::from_secs(1));
    let waits: Vec<Duration> = (0..8).map(|_| joins_again(&mut network)).collect();
    assert!(waits[7] > Duration::from_secs(5), "{waits:?}");
    network.run_for(MINUTE);
    assert!(joins_again(&mut network) < Duration::from_secs(1));
}

#[test]
fn a_rendezvous_that_restarts_disturbs_no_fetch() {
    let mut network = Network::new(29, 3);
    let bytes = network.random_bytes(64 * MIB);
    let key = network.publish(0, "steady", &bytes);
    network.run_for(Duration::from_secs(1));
    network.fetch(1, key);
    network.run_until("a part", MINUTE, |network| {
        network.held(1, key) >= 4 * MIB as u64
    });
    network.set_rendezvous(false);
    network.run_for(Duration::from_secs(1));
    let held = network.held(1, key);
    network.run_for(Duration::from_secs(1));
    assert!(network.held(1, key) > held, "bytes go on coming without it");
    network.set_rendezvous(true);
    network.run_until("the file", MINUTE, |network| network.has_all(1, key));
    network.run_for(MINUTE);
    for peer in 0..3 {
        assert_eq!(
            network.peers[peer]
                .events
                .iter()
                .rev()
                .find_map(|event| match event {
                    Event::State { state } => Some(*state),
                    _ => None,
                }),
            Some(PeerState::Online)
        );
    }
    // What was advertised before is advertised again.
    network.fetch(2, key);
    network.run_until("a second copy", MINUTE, |network| network.has_all(2, key));
}

#[test]
fn chunks_that_rot_are_withdrawn_and_fetched_again() {
    let mut network = Network::new(30, 3);
    // The other holder is slow, so that every chunk is asked of the one with the bad disk.
    network.peers[1].access.up = 50e3;
    let bytes = network.random_bytes(4 * MIB);
    network.publish(0, "rotten", &bytes);
    let key = network.publish(1, "rotten", &bytes);
    let namespace = shoal_protocol::namespace::Namespace::default();
    let slot = network.peers[0].store.contents(&namespace)[0].slot;
    network.peers[0]
        .store
        .handle(&namespace, StoreRequest::DropChunk { slot, index: 3 })
        .unwrap();
    network.run_for(Duration::from_secs(1));
    network.fetch(2, key);
    network.run_until("the file", MINUTE, |network| network.has_all(2, key));
    network.assert_content(2, key, &bytes);
    assert!(
        network.errors(2).is_empty(),
        "a damaged disk is no lie: {:?}",
        network.errors(2)
    );
    network.run_until("the repair", MINUTE, |network| network.has_all(0, key));
    network.assert_content(0, key, &bytes);
}

#[test]
fn a_replayed_signal_opens_nothing() {
    let mut network = Network::new(31, 2);
    network.run_until("a link", MINUTE, |network| network.links_of(0) == 1);
    let passed = std::mem::take(&mut network.rendezvous.passed);
    assert!(passed.len() >= 4);
    network.peers[0].events.clear();
    for (to, signed) in passed {
        network.rendezvous.replay(to, signed);
    }
    network.run_for(Duration::from_secs(5));
    assert_eq!((network.links_of(0), network.links_of(1)), (1, 1));
    let left = network.peers[0]
        .events
        .iter()
        .any(|event| matches!(event, Event::PeerLeave { .. }));
    assert!(!left, "the link that is there stays");
}

#[test]
fn a_rendezvous_in_the_middle_gets_no_further_than_the_handshake() {
    let mut network = Network::new(32, 2);
    for peer in &mut network.peers {
        peer.node.trust_signals();
    }
    network.in_the_middle = true;
    network.publish(0, "secret", b"nobody in between may read this");
    network.run_until("a channel", MINUTE, |network| !network.wired().is_empty());
    network.run_for(Duration::from_secs(5));
    // Who finds out first closes the channel; the other side may not get to it.
    let errors = [network.errors(0), network.errors(1)].concat();
    assert!(errors.contains(&Code::LinkAuth), "{errors:?}");
    assert_eq!((network.links_of(0), network.links_of(1)), (0, 0));
}

#[test]
fn forged_signals_are_ignored_where_signatures_are_checked() {
    let mut network = Network::new(33, 2);
    network.in_the_middle = true;
    network.run_for(MINUTE);
    assert!(network.wired().is_empty(), "no channel comes about");
}
