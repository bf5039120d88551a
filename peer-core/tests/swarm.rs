//! What faulty sources cost a fetch, on virtual time: never more than a stated bound over the
//! same fetch without them. And what a swarm does for everybody: it shares, and it is fair.
//!
//! Seven honest sources and three faulty ones hold a content that an eleventh peer fetches.
//! Without the fault means that the faulty three were gone before.

#![allow(clippy::print_stdout)]

mod network;

use network::{Access, Fault, MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::{
    bulk::{BulkHeader, BulkKind},
    content::{CHUNK_SIZE, ContentKey},
    control::{ControlMessage, RefuseCode},
    id::PeerId,
    namespace::Namespace,
};
use std::{cell::RefCell, collections::BTreeMap, ops::Range, rc::Rc, sync::Mutex, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);
const HONEST: Range<usize> = 0..7;
const FAULTY: Range<usize> = 7..10;
const FETCHER: usize = 10;
const SEEDS: Range<u64> = 200..206;

const SIZE: usize = 6 * MIB;
/// A round trip is 40 ms, and 65 ms pass until a chunk has left its source.
const LINE: Access = Access {
    delay: Duration::from_millis(20),
    up: 4e6,
    down: 50e6,
};
/// A chunk that is asked for is whole after so long.
const ANSWER: Duration = Duration::from_millis(105);
/// A source that gives nothing is found out once: its chunks are asked of others after two of
/// their answers, or 300 ms if these have given none yet (`policy::HEDGE_START`), and are whole
/// one answer later.
const LATE: Duration = Duration::from_millis(105 * 4);
/// Another source is asked for the proof after 150 ms, another after as long, and the fourth
/// after twice that (`policy::PROOF_HEDGE`).
const PROOF: Duration = Duration::from_millis(150 * 4);

/// How long the fetch takes without the fault, by seed.
static WITHOUT: Mutex<BTreeMap<u64, Duration>> = Mutex::new(BTreeMap::new());

/// What happens while a fetch goes on; called every few milliseconds.
type Meanwhile = Box<dyn FnMut(&mut Network, ContentKey)>;

fn swarm(seed: u64) -> (Network, ContentKey, Vec<u8>) {
    let mut network = Network::new(seed, FETCHER + 1);
    for peer in &mut network.peers {
        peer.access = LINE;
    }
    let bytes = network.random_bytes(SIZE);
    let mut keys = (0..FETCHER).map(|peer| network.publish(peer, "contested", &bytes));
    let key = keys.next().expect("there are sources");
    assert!(keys.all(|other| other == key));
    network.run_for(Duration::from_secs(12));
    (network, key, bytes)
}

/// Fetches, and returns how long it took.
fn fetch(
    network: &mut Network,
    key: ContentKey,
    bytes: &[u8],
    mut meanwhile: Meanwhile,
) -> Duration {
    let start = network.now;
    network.fetch(FETCHER, key);
    while !network.has_all(FETCHER, key) {
        network.run_for(Duration::from_millis(5));
        meanwhile(network, key);
        let took = network.now.since(start);
        assert!(took < 2 * MINUTE, "seed {}: it never comes", network.seed);
    }
    let took = network.now.since(start);
    network.assert_content(FETCHER, key, bytes);
    let honest: Vec<PeerId> = HONEST.map(|peer| network.peers[peer].id).collect();
    let blamed = blamed(network);
    assert!(
        !blamed.iter().any(|peer| honest.contains(peer)),
        "seed {}: an honest peer was blamed",
        network.seed
    );
    took
}

fn blamed(network: &Network) -> Vec<PeerId> {
    let errors = network.peers[FETCHER].events.iter();
    let errors = errors.filter_map(|event| match event {
        Event::Error { error } if error.code == Code::InvalidContent => error.peer,
        _ => None,
    });
    errors.collect()
}

fn without(seed: u64) -> Duration {
    let mut known = WITHOUT.lock().expect("no test failed in it");
    let took = known.entry(seed).or_insert_with(|| {
        let (mut network, key, bytes) = swarm(seed);
        FAULTY.for_each(|peer| network.kill(peer));
        network.run_for(Duration::from_secs(5));
        fetch(&mut network, key, &bytes, nothing())
    });
    *took
}

/// Fetches with and without a fault, for each seed, and compares.
fn costs_at_most(
    fault: &str,
    bound: Duration,
    is_blamed: bool,
    begin: impl Fn(&mut Network, ContentKey) -> Meanwhile,
) {
    let mut found_out = 0;
    for seed in SEEDS {
        let without = without(seed);
        let (mut network, key, bytes) = swarm(seed);
        let meanwhile = begin(&mut network, key);
        network.run_for(Duration::from_secs(5));
        let with = fetch(&mut network, key, &bytes, meanwhile);
        let sent = HONEST.filter_map(|peer| network.peers[peer].sent.get(&FETCHER));
        let sent: u64 = sent.sum();
        println!("{fault}: {with:?} instead of {without:?}, {sent} sent");
        assert!(
            with <= without + bound,
            "seed {seed}: {fault}: {with:?} instead of {without:?}"
        );
        let faulty: Vec<PeerId> = FAULTY.map(|peer| network.peers[peer].id).collect();
        let blamed = blamed(&network);
        assert!(is_blamed || blamed.is_empty(), "seed {seed}: {fault}");
        // What was asked of two is sent by hardly more than one.
        assert!(
            sent <= (SIZE + 2 * CHUNK_SIZE) as u64,
            "seed {seed}: {fault}: {sent} bytes were sent"
        );
        assert!(blamed.len() <= FAULTY.len(), "each is dropped once");
        found_out += blamed.iter().filter(|peer| faulty.contains(peer)).count();
    }
    // Not in each: where all of them were links away, none was asked in time.
    assert!(!is_blamed || found_out > 0, "{fault}: nobody was blamed");
}

fn nothing() -> Meanwhile {
    Box::new(|_, _| {})
}

/// Answers a bulk frame of a faulty peer with something else.
fn instead(mut answer: impl FnMut(BulkHeader) -> Vec<Frame>) -> impl FnMut(Frame) -> Vec<Frame> {
    move |frame| match &frame {
        Frame::Binary(bytes) => match BulkHeader::decode(bytes) {
            Ok((header, _)) => answer(header),
            Err(_) => vec![frame],
        },
        Frame::Text(_) => vec![frame],
    }
}

fn refusing(code: RefuseCode) -> impl FnMut(Frame) -> Vec<Frame> {
    instead(move |header| {
        let id = header.request;
        let refusal = ControlMessage::Refuse { id, code };
        match header.offset {
            0 => vec![Frame::Text(refusal.to_text())],
            _ => Vec::new(),
        }
    })
}

/// Says that it has just lost what it is asked for, and that it has it again.
fn wavering(key: ContentKey) -> impl FnMut(Frame) -> Vec<Frame> {
    instead(move |header| {
        let chunks = vec![header.index];
        let gone = ControlMessage::Gone {
            key,
            chunks: chunks.clone(),
        };
        let have = ControlMessage::Have {
            key,
            held: None,
            chunks,
        };
        match header.kind {
            BulkKind::Chunk if header.offset == 0 => [gone, have]
                .map(|message| Frame::Text(message.to_text()))
                .into(),
            _ => Vec::new(),
        }
    })
}

/// Has the faulty three do something once a third of the content has come.
fn at_a_third(mut act: impl FnMut(&mut Network, usize) + 'static) -> Meanwhile {
    let mut done = false;
    Box::new(move |network, key| {
        if !done && network.held(FETCHER, key) >= SIZE as u64 / 3 {
            done = true;
            FAULTY.for_each(|peer| act(network, peer));
        }
    })
}

#[test]
fn a_third_that_vanishes() {
    // What they were sending is asked of others at once.
    costs_at_most("closed", 2 * ANSWER, false, |_, _| {
        at_a_third(|network, peer| network.kill(peer))
    });
    costs_at_most("silent", LATE, false, |_, _| {
        at_a_third(|network, peer| network.peers[peer].fault = Fault::Silent)
    });
}

#[test]
fn liars() {
    // A chunk each, and all that was asked of them.
    costs_at_most("lies", LATE + PROOF, true, |network, _| {
        for peer in FAULTY {
            network.peers[peer].fault = Fault::WrongBytes;
        }
        nothing()
    });
}

#[test]
fn slow_ones() {
    for rate in [1.0, 40e3] {
        let what = format!("{rate} bytes a second");
        costs_at_most(&what, LATE + PROOF, false, |network, _| {
            for peer in FAULTY {
                network.peers[peer].fault = Fault::Slow(rate);
            }
            nothing()
        });
        costs_at_most(&what, LATE, false, |_, _| {
            at_a_third(move |network, peer| network.peers[peer].fault = Fault::Slow(rate))
        });
    }
}

#[test]
fn ones_that_repeat_a_frame_for_ever() {
    costs_at_most("repeats", LATE + PROOF, true, |network, _| {
        let first: Rc<RefCell<BTreeMap<usize, Frame>>> = Rc::default();
        for peer in FAULTY {
            let first = Rc::clone(&first);
            network.peers[peer].tamper = Some(Box::new(move |frame| match &frame {
                Frame::Binary(_) if first.borrow().contains_key(&peer) => Vec::new(),
                Frame::Binary(_) => {
                    first.borrow_mut().insert(peer, frame.clone());
                    vec![frame]
                }
                Frame::Text(_) => vec![frame],
            }));
        }
        Box::new(move |network, _| {
            // Frames are small at first: as many as make a large one.
            for (peer, frame) in &*first.borrow() {
                (0..16).for_each(|_| network.say(*peer, FETCHER, frame.clone()));
            }
        })
    });
}

#[test]
fn ones_that_send_what_nobody_asked_for() {
    let unasked = |request| {
        let header = BulkHeader {
            kind: BulkKind::Chunk,
            request,
            index: 0,
            offset: 0,
        };
        Frame::Binary(header.encode(&[7; 60_000]))
    };
    // Both a request that was never made and one that has long been answered; only what comes
    // before the ban takes up the line.
    for request in [1, 4_000_000_000] {
        costs_at_most("unasked", LATE, true, |_, _| {
            Box::new(move |network, _| {
                for peer in FAULTY {
                    network.say(peer, FETCHER, unasked(request));
                }
            })
        });
    }
}

#[test]
fn ones_that_advertise_all_and_hold_nothing() {
    costs_at_most("gives nothing", LATE + PROOF, false, |network, _| {
        for peer in FAULTY {
            network.peers[peer].tamper = Some(Box::new(instead(|_| Vec::new())));
        }
        nothing()
    });
    for code in [RefuseCode::Busy, RefuseCode::StoreFailed] {
        costs_at_most("refuses", LATE, false, move |network, _| {
            for peer in FAULTY {
                network.peers[peer].tamper = Some(Box::new(refusing(code)));
            }
            nothing()
        });
    }
    costs_at_most("wavers", LATE + PROOF, false, |network, key| {
        for peer in FAULTY {
            network.peers[peer].tamper = Some(Box::new(wavering(key)));
        }
        nothing()
    });
}

/// Comes back as soon as it can, gives nothing, and goes after a moment.
fn reconnecting(network: &mut Network) -> Meanwhile {
    for peer in FAULTY {
        network.peers[peer].tamper = Some(Box::new(instead(|_| Vec::new())));
    }
    let mut step = 0;
    Box::new(move |network, _| {
        step += 1;
        for peer in FAULTY.filter(|peer| (step + peer) % 100 == 0) {
            network.cut_links_of(peer);
            network.input(peer, Input::Wake);
        }
    })
}

#[test]
fn ones_that_reconnect_in_a_loop() {
    costs_at_most("reconnects", LATE + PROOF, false, |network, _| {
        reconnecting(network)
    });
}

#[test]
fn whoever_reconnects_in_a_loop_is_asked_ever_less() {
    let (mut network, key, _) = swarm(210);
    for peer in HONEST {
        network.kill(peer);
    }
    let asked = Rc::new(RefCell::new(0));
    let count = Rc::clone(&asked);
    network.peers[FETCHER].tamper = Some(Box::new(move |frame| {
        if let Frame::Text(text) = &frame {
            *count.borrow_mut() += usize::from(text.contains("FetchPeerKeys"));
        }
        vec![frame]
    }));
    let mut meanwhile = reconnecting(&mut network);
    network.fetch(FETCHER, key);
    let mut counts = Vec::new();
    for _ in 0..4 {
        let before = *asked.borrow();
        for _ in 0..12_000 {
            network.run_for(Duration::from_millis(5));
            meanwhile(&mut network, key);
        }
        counts.push(*asked.borrow() - before);
    }
    println!("asked in each minute: {counts:?}");
    // The back-off ends at a minute: each of the three comes up twice in it at most.
    assert!(counts[3] <= FAULTY.len() * 4, "{counts:?}");
}

#[test]
fn all_faults_at_once() {
    costs_at_most("all", LATE * 2, true, |network, _| {
        network.peers[7].fault = Fault::WrongBytes;
        network.peers[8].fault = Fault::Slow(1.0);
        network.peers[9].tamper = Some(Box::new(refusing(RefuseCode::Busy)));
        network.peers[0].fault = Fault::Slow(40e3);
        let mut step = 0;
        Box::new(move |network, _| {
            step += 1;
            if step == 40 {
                network.kill(1);
                network.peers[2].fault = Fault::Silent;
            }
            if step % 100 == 0 {
                network.cut_links_of(3);
                network.input(3, Input::Wake);
            }
        })
    });
}

/// Each chunk is held by one honest peer only, and all of them are advertised by many who do
/// not give them.
#[test]
fn one_honest_copy_of_each_chunk_is_enough() {
    const HOLDERS: usize = 6;
    const LIARS: Range<usize> = HOLDERS..HOLDERS + 12;
    let mut worst = Duration::ZERO;
    for seed in 300..306 {
        let mut network = Network::new(seed, LIARS.end + 1);
        let fetcher = LIARS.end;
        for peer in &mut network.peers {
            peer.access = LINE;
        }
        let bytes = network.random_bytes(3 * MIB);
        let mut key = None;
        for peer in 0..fetcher {
            key = Some(network.publish(peer, "scattered", &bytes));
        }
        let key = key.expect("there are peers");
        let namespace = Namespace::default();
        for peer in 0..HOLDERS {
            network.kill(peer);
            let slot = network.peers[peer].store.contents(&namespace)[0].slot;
            for index in (0..12).filter(|index| *index as usize % HOLDERS != peer) {
                let drop = StoreRequest::DropChunk { slot, index };
                let store = &mut network.peers[peer].store;
                store.handle(&namespace, drop).expect("it is there");
            }
            network.revive(peer);
        }
        for peer in LIARS {
            let liar = &mut network.peers[peer];
            match (peer as u64 + seed) % 6 {
                0 => liar.fault = Fault::WrongBytes,
                1 => liar.fault = Fault::Slow(1.0),
                2 => liar.tamper = Some(Box::new(refusing(RefuseCode::Busy))),
                3 => liar.tamper = Some(Box::new(wavering(key))),
                4 => liar.tamper = Some(Box::new(instead(|_| Vec::new()))),
                _ => liar.tamper = Some(Box::new(refusing(RefuseCode::Invalid))),
            }
        }
        network.run_for(Duration::from_secs(12));
        let start = network.now;
        network.fetch(fetcher, key);
        network.run_until("the content", 2 * MINUTE, |network| {
            network.has_all(fetcher, key)
        });
        network.assert_content(fetcher, key, &bytes);
        worst = worst.max(network.now.since(start));
        println!("took {:?}", network.now.since(start));
    }
    // Twelve liars take eight places, which come free after five seconds (`policy::PLACE`) and
    // are looked for every two.
    assert!(worst < Duration::from_secs(8), "took {worst:?}");
}

/// What the publisher of a content sends: the chunks, in the order in which they were begun.
fn record_chunks(network: &mut Network, peer: usize) -> Rc<RefCell<Vec<u32>>> {
    let order: Rc<RefCell<Vec<u32>>> = Rc::default();
    let begun = Rc::clone(&order);
    network.peers[peer].tamper = Some(Box::new(move |frame| {
        if let Frame::Binary(bytes) = &frame
            && let Ok((header, _)) = BulkHeader::decode(bytes)
            && (header.kind, header.offset) == (BulkKind::Chunk, 0)
        {
            begun.borrow_mut().push(header.index);
        }
        vec![frame]
    }));
    order
}

#[test]
fn a_lone_publisher_sends_each_chunk_once_before_any_twice() {
    for seed in SEEDS {
        let mut network = Network::new(seed, 6);
        for peer in &mut network.peers {
            peer.access = LINE;
        }
        let bytes = network.random_bytes(12 * MIB);
        let key = network.publish(0, "for all", &bytes);
        network.run_for(Duration::from_secs(5));
        let order = record_chunks(&mut network, 0);
        for peer in 1..6 {
            network.fetch(peer, key);
        }
        network.run_until("all copies", MINUTE, |network| {
            (1..6).all(|peer| network.has_all(peer, key))
        });
        let order = order.borrow();
        let chunks = bytes.len() / CHUNK_SIZE;
        let mut first: Vec<u32> = order.iter().copied().take(chunks).collect();
        first.sort_unstable();
        first.dedup();
        println!("{} of {chunks}, {} in all", first.len(), order.len());
        assert_eq!(first.len(), chunks, "seed {seed}: {order:?}");
    }
}

/// Some ask a lone publisher for everything, take it back and ask again.
#[test]
fn nobody_keeps_chunks_from_others_by_asking_and_taking_back() {
    let mut without = Duration::ZERO;
    for hostile in [0, 1, 3] {
        let mut network = Network::new(231, 2 + hostile);
        for peer in &mut network.peers {
            peer.access = LINE;
        }
        let bytes = network.random_bytes(32 * MIB);
        let key = network.publish(0, "wanted", &bytes);
        network.run_for(Duration::from_secs(5));
        let chunks = (bytes.len() / CHUNK_SIZE) as u32;
        let all: Vec<u32> = (0..chunks).collect();
        let say = |network: &mut Network, message: ControlMessage| {
            for peer in 2..2 + hostile {
                network.say(peer, 0, Frame::Text(message.to_text()));
            }
        };
        // They mind nothing that comes, and come first, so that they are shown most.
        for peer in 2..2 + hostile {
            network.peers[peer].fault = Fault::Silent;
        }
        let ask = |id, chunks: &[u32]| ControlMessage::FetchPeerKeys {
            id,
            key,
            chunks: chunks.to_vec(),
            first: false,
        };
        say(&mut network, ask(1, &[]));
        network.run_for(Duration::from_secs(1));
        let start = network.now;
        network.fetch(1, key);
        let mut id = 2;
        while !network.has_all(1, key) {
            for part in all.chunks(64) {
                say(&mut network, ask(id, part));
                let chunks = Vec::new();
                say(&mut network, ControlMessage::Cancel { id, chunks });
                id += 1;
            }
            network.run_for(Duration::from_millis(100));
            assert!(network.now.since(start) < 5 * MINUTE, "it arrives");
        }
        let took = network.now.since(start);
        println!("{hostile} of them: {took:?}");
        match hostile {
            0 => without = took,
            _ => assert!(took < without * 5 / 4, "took {took:?}"),
        }
    }
}

#[test]
fn news_of_chunks_are_batched() {
    let mut network = Network::new(220, 3);
    let bytes = network.random_bytes(32 * MIB);
    let key = network.publish(0, "news", &bytes);
    network.run_for(Duration::from_secs(2));
    let haves = Rc::new(RefCell::new(0));
    let count = Rc::clone(&haves);
    network.peers[1].tamper = Some(Box::new(move |frame| {
        if let Frame::Text(text) = &frame {
            *count.borrow_mut() += u128::from(text.starts_with("{\"t\":\"Have\""));
        }
        vec![frame]
    }));
    let start = network.now;
    network.fetch(1, key);
    network.fetch(2, key);
    network.run_until("both", MINUTE, |network| {
        (1..3).all(|peer| network.has_all(peer, key))
    });
    network.run_for(Duration::from_secs(1));
    let most = network.now.since(start).as_millis() / 100 + 1;
    let haves = *haves.borrow();
    println!("{haves} of {most} at most");
    assert!(haves > 2 && haves <= most, "{haves} of {most} at most");
}

/// Four peers fetch a content each from the same one.
#[test]
fn uploads_are_fair_and_control_does_not_wait() {
    for seed in SEEDS {
        let mut network = Network::new(seed, 5);
        network.peers[0].access.up = 20e6;
        let keys: Vec<ContentKey> = (1..5)
            .map(|_| {
                let bytes = network.random_bytes(48 * MIB);
                network.publish(0, "one of four", &bytes)
            })
            .collect();
        network.run_for(Duration::from_secs(2));
        network.peers[0].control_waited = Duration::ZERO;
        for (peer, key) in (1..5).zip(&keys) {
            network.fetch(peer, *key);
        }
        let held = |network: &Network| -> Vec<u64> {
            let peers = (1..5).zip(&keys);
            let held = peers.map(|(peer, key)| network.held(peer, *key));
            held.map(|bytes| bytes / CHUNK_SIZE as u64).collect()
        };
        // Rates are not known at once.
        network.run_for(Duration::from_secs(3));
        let before = held(&network);
        network.run_for(Duration::from_secs(4));
        let after = held(&network).into_iter();
        let got: Vec<u64> = after.zip(&before).map(|(now, old)| now - old).collect();
        let waited = network.peers[0].control_waited;
        println!("{before:?}, then {got:?} chunks, control waited {waited:?}");
        let (least, most) = (got.iter().min(), got.iter().max());
        let close = least.map(|least| least * 5 / 4);
        assert!(most <= close.as_ref(), "seed {seed}: {got:?}");
        assert!(
            waited <= Duration::from_millis(50),
            "seed {seed}: {waited:?}"
        );
    }
}
