//! Peers share contents: what happens when all goes well, and when it does not.

mod network;

use network::{Fault, MIB, Network, Path};
use shoal_peer_core::io::*;
use std::time::Duration;

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
    // Each chunk came once.
    assert!(network.peers[0].sent[&1] < bytes.len() as u64 * 102 / 100);
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
