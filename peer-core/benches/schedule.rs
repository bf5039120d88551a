//! How long a flash crowd takes on virtual time, beside what no policy can beat.
//!
//! One peer has a content, all others ask for it at once. Prints a line of JSON for each
//! crowd: peers, bytes, seconds until each had all of it, and the lower bound. Nobody is
//! done before the source has sent everything once, before the content fits through their own
//! access link, and all together not before the up links of everybody have carried it to
//! everybody (Kumar and Ross, "Peer-Assisted File Distribution: The Minimum Distribution
//! Time", 2006).
//!
//!     cargo bench -p shoal-peer-core --bench schedule -- SEED MEGABYTES PEERS…

#![allow(clippy::print_stdout)]

#[path = "../tests/network/mod.rs"]
mod network;

use network::{Access, MIB, Network};
use shoal_peer_core::io::ProgressState;
use std::time::Duration;

/// How every peer is connected: a good line at home.
const ACCESS: Access = Access {
    delay: Duration::from_millis(20),
    up: 2.5e6,
    down: 12.5e6,
};

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let [seed, size, crowds @ ..] = &numbers[..] else {
        panic!("a seed, megabytes and numbers of peers are expected");
    };
    for &peers in crowds {
        crowd(*seed as u64, size * MIB, peers);
    }
}

fn crowd(seed: u64, size: usize, peers: usize) {
    let mut network = Network::new(seed, peers + 1);
    for peer in &mut network.peers {
        peer.access = ACCESS;
    }
    let bytes = network.random_bytes(size);
    let key = network.publish(0, "crowd", &bytes);
    network.share_store(bytes);
    network.run_for(Duration::from_secs(5));
    let start = network.now;
    for peer in 1..=peers {
        network.fetch(peer, key);
    }
    let mut done = vec![None; peers];
    let mut left = peers;
    let (mut asked, mut limit) = (0u64, 0);
    network.run_until(
        "the content everywhere",
        Duration::from_secs(1000),
        |network| {
            limit += 1;
            // Looking at everybody takes longer than a step.
            if limit % (peers as u64 * 4) != 0 {
                return false;
            }
            asked += 1;
            for (at, done) in done
                .iter_mut()
                .enumerate()
                .filter(|(_, done)| done.is_none())
            {
                let progress = network.progress(at + 1, key).cloned();
                // Of a thousand peers they would fill the memory.
                network.peers[at + 1].events.clear();
                if progress.is_some_and(|progress| progress.state == ProgressState::Done) {
                    *done = Some(network.now.since(start).as_secs_f64());
                    left -= 1;
                }
            }
            left == 0
        },
    );
    let mut seconds: Vec<f64> = done.into_iter().flatten().collect();
    seconds.sort_by(f64::total_cmp);
    let (size, n) = (size as f64, peers as f64);
    let bound = (size / ACCESS.up)
        .max(size / ACCESS.down)
        .max(n * size / ((n + 1.0) * ACCESS.up));
    let median = seconds[seconds.len() / 2];
    let last = seconds[seconds.len() - 1];
    let sent: u64 = network
        .peers
        .iter()
        .flat_map(|peer| peer.sent.values())
        .sum();
    let sent = sent as f64 / (n * size);
    let own: u64 = network.peers[0].sent.values().sum();
    let own = own as f64 / size;
    println!(
        r#"{{"seed":{seed},"copies_of_source":{own:.2},"sent_per_received":{sent:.3},"peers":{peers},"bytes":{size},"bound":{bound:.3},"median":{median:.3},"last":{last:.3},"first":{:.3}}}"#,
        seconds[0]
    );
}
