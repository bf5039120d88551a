//! How the rendezvous is told of a catalog: at the pace of its socket, and of what it lacks.

mod network;

use network::{Network, Peer};
use shoal_peer_core::io::*;
use shoal_protocol::{
    bits::Bits,
    catalog::{MAX_ENTRIES, Metadata, PageText, Since},
    content::{ContentKey, ContentSize},
    namespace::Namespace,
    proof::{Publication, VerifiedChunk},
    rendezvous::PeerMessage,
    time::UnixMillis,
};
use std::{sync::Arc, time::Duration};

/// A content of one small chunk with a long description, as it is stored.
fn content(number: u64) -> (StoredContent, Arc<Vec<u8>>, VerifiedChunk) {
    let bytes = number.to_le_bytes().to_vec();
    let size = ContentSize::try_from(bytes.len() as u64).expect("a size");
    let mut publication = Publication::new(size);
    let chunk = publication.add(0, bytes).expect("it is as long");
    let proof = publication.finish().expect("it is whole");
    let content = StoredContent {
        key: proof.key(),
        slot: number,
        size,
        metadata: Metadata {
            description: Some("\"long\" ".repeat(100)),
            ..Metadata::default()
        },
        held: Bits::full(1),
        wanted: false,
        pinned: false,
        used: UnixMillis(0),
    };
    (content, proof.to_bytes(), chunk)
}

/// A network of one peer that holds so many contents, over a line of 1 MB a second; with the key
/// of one that can be fetched.
fn publisher(seed: u64, contents: usize) -> (Network, ContentKey) {
    let mut network = Network::new(seed, 0);
    network.rendezvous.resumes = true;
    let mut all: Vec<_> = (0..contents as u64).map(content).collect();
    let contents = all.iter().map(|(content, ..)| content.clone()).collect();
    network.add_peer(|config| config.contents = contents);
    network.peers[0].socket_rate = 1e6;
    let (content, proof, chunk) = all.swap_remove(0);
    let (key, slot, size) = (content.key, content.slot, content.size);
    let chunks = vec![chunk];
    for request in [
        StoreRequest::PutChunks { slot, size, chunks },
        StoreRequest::PutContent { content, proof },
    ] {
        let store = &mut network.peers[0].store;
        store
            .handle(&Namespace::default(), request)
            .expect("it is stored");
    }
    (network, key)
}

/// The catalogs that the rendezvous heard of since it was last asked: the pages of each message.
fn told(network: &mut Network) -> Vec<Vec<PageText>> {
    let heard = std::mem::take(&mut network.rendezvous.heard);
    let catalog = |text: &String| match PeerMessage::parse(text) {
        Ok(PeerMessage::Catalog { pages, .. }) => Some(pages),
        _ => None,
    };
    heard.iter().filter_map(catalog).collect()
}

fn catalog_of(network: &Network, index: usize) -> Option<Since> {
    network.rendezvous.catalog_of(network.peers[index].id)
}

/// Waits until the rendezvous has the newest catalog of the first peer.
fn is_told(network: &mut Network, number: u64) {
    network.run_until("the catalog", Duration::from_secs(60), |network| {
        catalog_of(network, 0).is_some_and(|since| since.number >= number)
    });
}

fn states(peer: &Peer) -> Vec<PeerState> {
    let state = |event: &Event| match event {
        Event::State { state } => Some(*state),
        _ => None,
    };
    peer.events.iter().filter_map(state).collect()
}

#[test]
fn the_largest_catalog_is_told_while_everything_else_goes_on() {
    let (mut network, key) = publisher(91, MAX_ENTRIES);
    network.run_for(Duration::from_secs(1));
    let fetcher = network.add_peer(|_| {});
    network.fetch(fetcher, key);
    // A link is made meanwhile: signals do not wait until all is told.
    network.run_until("a link", Duration::from_secs(2), |network| {
        !network.open_links().is_empty()
    });
    assert_eq!(catalog_of(&network, 0), None);
    is_told(&mut network, 1);
    let holder = &network.peers[0];
    assert_eq!(states(holder), [PeerState::Connecting, PeerState::Online]);
    assert_eq!((holder.sockets, network.errors(0)), (1, Vec::new()));
    let waited = network.peers[0].socket_waited;
    assert!(waited < Duration::from_millis(150), "{waited:?}");
    let bytes: usize = told(&mut network)
        .iter()
        .flatten()
        .map(|page| page.text.len())
        .sum();
    assert!(bytes > 9_000_000, "{bytes} bytes");

    // Whoever comes now finds what is in it.
    let late = network.add_peer(|_| {});
    let call = network.fetch(late, key);
    let answer = network.answer(late, call);
    assert!(matches!(answer, Ok(Answer::Content(_))), "{answer:?}");
}

#[test]
fn only_what_changed_is_told() {
    let (mut network, _) = publisher(92, 2_000);
    is_told(&mut network, 1);
    let all = told(&mut network).concat().len();
    assert!(all >= 64, "{all} pages");

    network.publish(0, "one more", b"one more");
    is_told(&mut network, 2);
    let messages = told(&mut network);
    assert_eq!(messages.len(), 1, "a head");
    assert_eq!(messages[0].len(), 1, "and one page");

    // Nothing is missing.
    network.cut_rendezvous(0);
    network.run_for(Duration::from_secs(20));
    assert_eq!(states(&network.peers[0]).last(), Some(&PeerState::Online));
    assert_eq!(told(&mut network).len(), 0);

    // What changed on a connection that broke is.
    network.publish(0, "two more", b"two more");
    network.cut_rendezvous(0);
    is_told(&mut network, 3);
    assert_eq!(told(&mut network).concat().len(), 1);

    // A server that has forgotten all is told all.
    network.set_rendezvous(false);
    network.run_for(Duration::from_secs(1));
    network.set_rendezvous(true);
    is_told(&mut network, 3);
    assert_eq!(told(&mut network).concat().len(), all);
}

#[test]
fn a_catalog_of_which_a_part_is_told_is_told_whole() {
    // Wherever the connection breaks.
    for millis in [200, 900, 1_500] {
        let (mut network, _) = publisher(93, 2_000);
        network.run_for(Duration::from_millis(millis));
        assert_eq!(catalog_of(&network, 0), None, "after {millis} ms");
        network.cut_rendezvous(0);
        is_told(&mut network, 1);
        assert_eq!(states(&network.peers[0]).last(), Some(&PeerState::Online));
    }

    // And if it changes meanwhile, again and again, nothing is told twice.
    let (mut network, _) = publisher(93, 2_000);
    is_told(&mut network, 1);
    let all = told(&mut network).concat().len();
    let (mut network, _) = publisher(93, 2_000);
    for n in 0..20 {
        network.publish(0, &format!("more {n}"), &[n; 100]);
        network.run_for(Duration::from_millis(50));
    }
    assert_eq!(catalog_of(&network, 0), None);
    is_told(&mut network, 20);
    let pages = told(&mut network).concat().len();
    assert!((all..all + 20).contains(&pages), "{pages} pages of {all}");
}

#[test]
fn a_rendezvous_without_room_is_told_again_when_it_says() {
    // Shorter than a rendezvous that sends no pings may be silent.
    const WAIT: u64 = 30_000;
    let (mut network, _) = publisher(94, 500);
    network.rendezvous.is_full = Some(WAIT);
    network.run_for(Duration::from_secs(10));
    assert!(network.errors(0).contains(&Code::Rendezvous));
    let tried = told(&mut network).len();
    assert!((1..10).contains(&tried), "{tried} messages");
    // What changes meanwhile waits too.
    network.publish(0, "one more", b"one more");
    network.run_for(Duration::from_secs(15));
    assert_eq!(told(&mut network).len(), 0);
    network.rendezvous.is_full = None;
    network.run_for(Duration::from_secs(10));
    assert_eq!(catalog_of(&network, 0).map(|since| since.number), Some(2));
    assert_eq!(network.peers[0].sockets, 1);
}
