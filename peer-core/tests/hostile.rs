//! What a neighbour may send that no honest one does. The content still arrives from whoever
//! is honest, the liar is dropped, and nobody else is blamed.

mod network;

use network::{MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::{
    bits::Bits,
    bulk::{BulkHeader, BulkKind, HEADER_LEN},
    content::ContentKey,
    control::{ControlMessage, MAX_CONTROL},
};
use std::{cell::RefCell, rc::Rc, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);
const HOSTILE: usize = 0;
const HONEST: usize = 1;
const VICTIM: usize = 2;

/// A content that a hostile and an honest peer hold, and a third that fetches it.
fn scene(seed: u64) -> (Network, ContentKey, Vec<u8>) {
    let mut network = Network::new(seed, 3);
    let bytes = network.random_bytes(6 * MIB);
    network.publish(HOSTILE, "contested", &bytes);
    let key = network.publish(HONEST, "contested", &bytes);
    network.run_until("all links", MINUTE, |network| network.wired().len() == 3);
    network.run_for(Duration::from_secs(1));
    (network, key, bytes)
}

/// Fetches while the hostile peer does what `tamper` says; checks that the content arrives.
fn fetch_from(seed: u64, tamper: impl FnMut(Frame) -> Vec<Frame> + 'static) -> Network {
    let (mut network, key, bytes) = scene(seed);
    network.peers[HOSTILE].tamper = Some(Box::new(tamper));
    network.fetch(VICTIM, key);
    network.run_until("the content", 2 * MINUTE, |network| {
        network.has_all(VICTIM, key)
    });
    network.assert_content(VICTIM, key, &bytes);
    let honest = network.peers[HONEST].id;
    assert!(
        !blamed(&network).contains(&honest),
        "seed {seed}: an honest peer was blamed"
    );
    network
}

fn blamed(network: &Network) -> Vec<shoal_protocol::id::PeerId> {
    let errors = network.peers[VICTIM]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Error { error } if error.code == Code::InvalidContent => error.peer,
            _ => None,
        });
    errors.collect()
}

fn assert_blamed(network: &Network) {
    assert_eq!(
        blamed(network),
        [network.peers[HOSTILE].id],
        "seed {}",
        network.seed
    );
}

/// Applies a change to bulk frames of one kind.
fn on_bulk(
    kind: BulkKind,
    mut change: impl FnMut(&mut BulkHeader, &mut Vec<u8>),
) -> impl FnMut(Frame) -> Vec<Frame> {
    move |frame| match frame {
        Frame::Binary(bytes) => {
            let (mut header, payload) = BulkHeader::decode(&bytes).unwrap();
            let mut payload = payload.to_vec();
            if header.kind == kind {
                change(&mut header, &mut payload);
            }
            vec![Frame::Binary(header.encode(&payload))]
        }
        text => vec![text],
    }
}

/// Says something unasked once, with the first frame it sends.
fn say(frame: Frame) -> impl FnMut(Frame) -> Vec<Frame> {
    let mut said = Some(frame);
    move |frame| said.take().into_iter().chain([frame]).collect()
}

#[test]
fn text_that_is_no_message_ends_the_link() {
    let texts = [
        "",
        "null",
        "{\"t\":\"Nonsense\"}",
        "{\"t\":\"Have\"}",
        "\u{0}\u{1}",
    ];
    for (seed, text) in (100..).zip(texts) {
        let network = fetch_from(seed, say(Frame::Text(text.into())));
        assert!(
            network.errors(VICTIM).contains(&Code::Unreachable),
            "{text}"
        );
    }
    let long = format!(
        "{{\"t\":\"Ping\",\"n\":1,\"pad\":\"{}\"}}",
        "x".repeat(MAX_CONTROL)
    );
    fetch_from(110, say(Frame::Text(long)));
}

#[test]
fn a_second_hello_ends_the_link() {
    let hello = ControlMessage::Hello {
        versions: vec![1],
        max_message: 1,
    };
    fetch_from(111, say(Frame::Text(hello.to_text())));
}

#[test]
fn frames_that_are_none_end_the_link() {
    for (seed, bytes) in (120..).zip([vec![], vec![1; 15], vec![9; 16], vec![1; 70_000]]) {
        let network = fetch_from(seed, say(Frame::Binary(bytes)));
        assert!(
            network.errors(VICTIM).contains(&Code::Unreachable),
            "seed {seed}"
        );
    }
}

#[test]
fn bytes_nobody_asked_for_are_blamed() {
    let header = BulkHeader {
        kind: BulkKind::Chunk,
        request: 4_000_000_000,
        index: 0,
        offset: 0,
    };
    let network = fetch_from(130, say(Frame::Binary(header.encode(&[1; 100]))));
    assert_blamed(&network);
}

#[test]
fn frames_out_of_place_are_blamed() {
    let network = fetch_from(
        131,
        on_bulk(BulkKind::Chunk, |header, _| header.offset += 1),
    );
    assert_blamed(&network);
    let network = fetch_from(
        132,
        on_bulk(BulkKind::Chunk, |header, _| header.offset = u32::MAX),
    );
    assert_blamed(&network);
}

#[test]
fn frames_in_another_order_are_fine() {
    let mut held_back: Vec<Frame> = Vec::new();
    let network = fetch_from(133, move |frame| match frame {
        Frame::Binary(_) => {
            held_back.push(frame);
            if held_back.len() < 5 {
                return Vec::new();
            }
            held_back.drain(..).rev().collect()
        }
        text => vec![text],
    });
    assert!(blamed(&network).is_empty());
}

/// The hostile peer alone holds the content, so that the proof must come from it first.
fn proof_from(seed: u64, tamper: impl FnMut(Frame) -> Vec<Frame> + 'static) {
    let mut network = Network::new(seed, 3);
    let bytes = network.random_bytes(3 * MIB + 5);
    let key = network.publish(HOSTILE, "contested", &bytes);
    network.run_until("all links", MINUTE, |network| network.wired().len() == 3);
    network.run_for(Duration::from_secs(1));
    network.peers[HOSTILE].tamper = Some(Box::new(tamper));
    network.fetch(VICTIM, key);
    network.run_for(Duration::from_secs(20));
    assert_eq!(network.held(VICTIM, key), 0);
    assert_blamed(&network);
    network.publish(HONEST, "contested", &bytes);
    network.run_until("the content", 2 * MINUTE, |network| {
        network.has_all(VICTIM, key)
    });
    network.assert_content(VICTIM, key, &bytes);
    assert_blamed(&network);
}

#[test]
fn a_proof_that_does_not_merge_blames_its_sender_only() {
    proof_from(
        140,
        on_bulk(BulkKind::Proof, |header, payload| {
            if header.offset == 0 {
                payload[8] ^= 1;
            }
        }),
    );
}

#[test]
fn a_proof_with_another_size_blames_its_sender_only() {
    proof_from(
        141,
        on_bulk(BulkKind::Proof, |header, payload| {
            if header.offset == 0 {
                payload[0] ^= 1;
            }
        }),
    );
}

#[test]
fn a_proof_with_a_wrong_tail_blames_its_sender_only() {
    proof_from(
        142,
        on_bulk(BulkKind::Proof, |_, payload| {
            if let Some(last) = payload.last_mut() {
                *last ^= 1;
            }
        }),
    );
}

#[test]
fn a_proof_that_announces_gigabytes_is_refused() {
    proof_from(
        143,
        on_bulk(BulkKind::Proof, |header, _| header.index = u32::MAX),
    );
}

#[test]
fn a_peer_that_says_it_holds_what_cannot_be_is_dropped() {
    let (mut network, key, _) = scene(150);
    let held = Some(Bits::full(300_000));
    let have = ControlMessage::Have {
        key,
        held,
        chunks: Vec::new(),
    }
    .to_text();
    network.peers[HOSTILE].tamper = Some(Box::new(move |frame| match &frame {
        Frame::Text(text) if text.starts_with("{\"t\":\"Have\"") => vec![Frame::Text(have.clone())],
        _ => vec![frame],
    }));
    network.fetch(VICTIM, key);
    network.run_until("the content", MINUTE, |network| {
        network.has_all(VICTIM, key)
    });
    assert_blamed(&network);
}

#[test]
fn a_peer_that_advertises_all_and_sends_nothing_costs_seconds() {
    let (mut network, key, bytes) = scene(151);
    network.peers[HOSTILE].tamper = Some(Box::new(|frame| match frame {
        Frame::Binary(_) => Vec::new(),
        text => vec![text],
    }));
    let start = network.now;
    network.fetch(VICTIM, key);
    network.run_until("the content", MINUTE, |network| {
        network.has_all(VICTIM, key)
    });
    network.assert_content(VICTIM, key, &bytes);
    let took = network.now.since(start);
    assert!(took < Duration::from_secs(10), "took {took:?}");
    assert!(blamed(&network).is_empty(), "silence is no lie");
}

#[test]
fn handshakes_that_are_not_in_order_open_no_link() {
    let tampers: [fn(Frame) -> Vec<Frame>; 4] = [
        // Without Hello.
        |frame| match &frame {
            Frame::Text(text) if text.starts_with("{\"t\":\"Hello\"") => Vec::new(),
            _ => vec![frame],
        },
        // Something else before Auth.
        |frame| match &frame {
            Frame::Text(text) if text.starts_with("{\"t\":\"Auth\"") => {
                vec![Frame::Text(ControlMessage::Ping { n: 1 }.to_text()), frame]
            }
            _ => vec![frame],
        },
        // Bulk before Auth.
        |frame| match &frame {
            Frame::Text(text) if text.starts_with("{\"t\":\"Auth\"") => {
                vec![Frame::Binary(vec![0; HEADER_LEN]), frame]
            }
            _ => vec![frame],
        },
        // Other versions than were signed.
        |frame| match &frame {
            Frame::Text(text) if text.starts_with("{\"t\":\"Hello\"") => {
                vec![Frame::Text(text.replace("[1]", "[]"))]
            }
            _ => vec![frame],
        },
    ];
    for (seed, tamper) in (160..).zip(tampers) {
        let mut network = Network::new(seed, 2);
        network.peers[0].tamper = Some(Box::new(tamper));
        network.run_for(MINUTE);
        assert_eq!(
            (network.links_of(0), network.links_of(1)),
            (0, 0),
            "seed {seed}"
        );
    }
}

#[test]
fn a_reflected_auth_opens_no_link() {
    // Whoever is second to send its Auth sends back the first one instead.
    let mut network = Network::new(170, 2);
    let first: Rc<RefCell<Option<Frame>>> = Rc::default();
    for peer in 0..2 {
        let first = Rc::clone(&first);
        network.peers[peer].tamper = Some(Box::new(move |frame| match &frame {
            Frame::Text(text) if text.starts_with("{\"t\":\"Auth\"") => match first.take() {
                Some(reflected) => vec![reflected],
                None => {
                    first.replace(Some(frame.clone()));
                    vec![frame]
                }
            },
            _ => vec![frame],
        }));
    }
    network.run_for(Duration::from_secs(20));
    let errors = [network.errors(0), network.errors(1)].concat();
    assert!(errors.contains(&Code::LinkAuth), "{errors:?}");
    assert_eq!((network.links_of(0), network.links_of(1)), (0, 0));
}

#[test]
fn a_peer_that_takes_back_what_was_asked_for_keeps_nobody_busy() {
    let mut network = Network::new(65, 2);
    let bytes = network.random_bytes(4 * MIB);
    let key = network.publish(0, "taken back", &bytes);
    network.run_for(Duration::from_secs(1));
    let gone = ControlMessage::Gone {
        key,
        chunks: Vec::new(),
    };
    let gone = gone.to_text();
    network.peers[0].tamper = Some(Box::new(move |frame| match frame {
        Frame::Binary(_) => vec![Frame::Text(gone.clone())],
        text => vec![text],
    }));
    network.fetch(1, key);
    // The network itself sees to it that no timer is due for ever.
    network.run_for(MINUTE);
    assert_eq!(network.held(1, key), 0);
}

/// As many as there is room for hold links to a publisher, and to a fetcher, and want nothing.
#[test]
fn nobody_is_locked_out_by_peers_that_hold_links_and_want_nothing() {
    const HOLDERS: usize = 56;
    let (publisher, fetcher) = (HOLDERS, HOLDERS + 1);
    let mut network = Network::new(140, HOLDERS + 2);
    let small = [publisher, fetcher].map(|peer| {
        let bytes = network.random_bytes(1000 + peer);
        network.publish(peer, "bait", &bytes)
    });
    network.run_for(Duration::from_secs(2));
    for holder in 0..HOLDERS {
        for key in small {
            network.fetch(holder, key);
        }
    }
    network.run_for(Duration::from_secs(20));
    for peer in [publisher, fetcher] {
        assert!(
            network.links_of(peer) >= 36,
            "the room for strangers is full"
        );
    }
    let bytes = network.random_bytes(4 * MIB);
    let key = network.publish(publisher, "wanted", &bytes);
    let start = network.now;
    network.fetch(fetcher, key);
    network.run_until("the content", MINUTE, |network| {
        network.has_all(fetcher, key)
    });
    let took = network.now.since(start);
    assert!(took < Duration::from_secs(5), "took {took:?}");
    network.assert_content(fetcher, key, &bytes);
    // And somebody who comes later reaches both.
    let late = network.add_peer(|_| {});
    let start = network.now;
    network.fetch(late, key);
    network.run_until("the content", MINUTE, |network| network.has_all(late, key));
    assert!(network.now.since(start) < Duration::from_secs(8));
}
