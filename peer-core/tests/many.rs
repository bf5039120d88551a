//! A peer that fetches hundreds of contents at once from one other gets them all, and the link
//! between them stays.

#![allow(clippy::print_stdout)]

mod network;

use network::{MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::{
    bits::Bits,
    catalog::Metadata,
    content::ContentSize,
    namespace::Namespace,
    proof::{Publication, VerifiedChunk},
    time::UnixMillis,
};
use std::{sync::Arc, time::Duration};

/// A content of one small chunk, as it is stored.
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
        metadata: Metadata::default(),
        held: Bits::full(1),
        wanted: false,
        pinned: false,
        used: UnixMillis(0),
    };
    (content, proof.to_bytes(), chunk)
}

#[test]
fn hundreds_of_contents_are_fetched_from_one_peer() {
    const CONTENTS: u64 = 600;
    let mut network = Network::new(41, 0);
    let all: Vec<_> = (0..CONTENTS).map(content).collect();
    let contents: Vec<StoredContent> = all.iter().map(|(content, ..)| content.clone()).collect();
    let holder = network.add_peer(|config| config.contents = contents);
    let store = &mut network.peers[holder].store;
    for (content, proof, chunk) in all {
        let (slot, size) = (content.slot, content.size);
        let chunks = vec![chunk];
        for request in [
            StoreRequest::PutChunks { slot, size, chunks },
            StoreRequest::PutContent { content, proof },
        ] {
            store
                .handle(&Namespace::default(), request)
                .expect("it is stored");
        }
    }
    let fetcher = network.add_peer(|config| {
        config.replicate = Some(Replicate {
            filter: ReplicateFilter::default(),
            budget: MIB as u64,
        });
    });
    let held = |network: &Network| {
        let contents = network.peers[fetcher].store.contents(&Namespace::default());
        let whole = contents.iter().filter(|content| content.held.is_full());
        whole.count() as u64
    };
    let start = network.now;
    while held(&network) < CONTENTS && network.now < start + Duration::from_secs(30) {
        network.run_for(Duration::from_secs(1));
    }
    println!("{} after {:?}", held(&network), network.now.since(start));
    assert_eq!(network.errors(fetcher), [] as [Code; 0]);
    assert_eq!(network.errors(holder), [] as [Code; 0]);
    assert_eq!(network.open_links().len(), 1);
    assert_eq!(held(&network), CONTENTS);
}
