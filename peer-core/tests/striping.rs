//! Over a long way one connection carries less than the line. A fetch gets further ones to
//! the same peer where they pay, and loses nothing when one of them breaks.

mod network;

use network::{Access, MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::content::ContentKey;
use std::time::Duration;

/// 40 ms of round trip, and connections that carry 2 MB/s over it.
const DELAY: Duration = Duration::from_millis(20);
const WINDOW: f64 = 80e3;

struct Scene {
    network: Network,
    key: ContentKey,
    bytes: Vec<u8>,
}

/// A publisher (0), a fetcher (1), and how their connections are.
fn scene(delay: Duration, window: f64, up: f64, size: usize) -> Scene {
    let mut network = Network::new(7, 2);
    network.window = window;
    for peer in &mut network.peers {
        let down = 100e6;
        peer.access = Access { delay, up, down };
    }
    let bytes = network.random_bytes(size);
    let key = network.publish(0, "far", &bytes);
    Scene {
        network,
        key,
        bytes,
    }
}

impl Scene {
    /// Fetches, and says how long it took and how many connections there were at most.
    fn fetch(&mut self) -> (Duration, usize) {
        let (start, key) = (self.network.now, self.key);
        self.network.fetch(1, key);
        let mut most = 0;
        self.network
            .run_until("the content", Duration::from_secs(120), |network| {
                most = most.max(network.connections(0, 1));
                network.has_all(1, key)
            });
        self.network.assert_content(1, key, &self.bytes);
        (self.network.now.since(start), most)
    }
}

#[test]
fn a_far_peer_is_fetched_from_over_several_connections() {
    let (took, most) = scene(DELAY, WINDOW, 20e6, 48 * MIB).fetch();
    assert_eq!(most, 4);
    // One connection takes 25 s.
    assert!(took < Duration::from_secs(9), "{took:?}");
}

#[test]
fn connections_that_bring_nothing_are_closed() {
    // The line of the source carries as much as one connection.
    let mut scene = scene(DELAY, WINDOW, 2e6, 32 * MIB);
    let (took, most) = scene.fetch();
    assert_eq!((most, scene.network.connections(0, 1)), (4, 1));
    // What was on its way over them came for nothing.
    assert!(took < Duration::from_secs(19), "{took:?}");
}

#[test]
fn a_near_peer_needs_one_connection() {
    let (_, most) = scene(Duration::from_millis(1), WINDOW, 20e6, 32 * MIB).fetch();
    assert_eq!(most, 1);
}

#[test]
fn connections_that_are_not_used_are_closed_and_the_link_stays() {
    let mut scene = scene(DELAY, WINDOW, 20e6, 32 * MIB);
    scene.fetch();
    assert_eq!(scene.network.connections(0, 1), 4);
    scene.network.run_for(Duration::from_secs(15));
    assert_eq!(scene.network.connections(0, 1), 1);
    assert_eq!(scene.network.links_of(1), 1);
}

#[test]
fn connections_that_no_longer_pay_are_closed_until_they_pay_again() {
    // One connection carries 600 kB/s.
    let mut scene = scene(DELAY, 24e3, 20e6, 128 * MIB);
    let network = &mut scene.network;
    network.fetch(1, scene.key);
    let has = |connections| move |network: &mut Network| network.connections(0, 1) == connections;
    network.run_until("four connections", Duration::from_secs(10), has(4));
    network.run_for(Duration::from_secs(5));
    assert_eq!(network.connections(0, 1), 4);
    // The line of the source is needed for something else.
    network.peers[0].access.up = 6e5;
    network.run_until("one connection", Duration::from_secs(30), has(1));
    network.run_for(Duration::from_secs(30));
    assert_eq!(network.connections(0, 1), 1);
    network.peers[0].access.up = 20e6;
    network.run_until("four connections", Duration::from_secs(60), has(4));
    network.run_for(Duration::from_secs(5));
    assert_eq!(network.connections(0, 1), 4);
    assert!(!network.has_all(1, scene.key));
}

#[test]
fn a_broken_connection_costs_what_was_on_its_way() {
    let mut scene = scene(DELAY, WINDOW, 20e6, 48 * MIB);
    let key = scene.key;
    scene.network.fetch(1, key);
    let striped = |network: &mut Network| network.connections(0, 1) == 4;
    let limit = Duration::from_secs(10);
    scene.network.run_until("four connections", limit, striped);
    scene.network.run_for(Duration::from_secs(1));
    scene.network.cut_lane(0, 1);
    let (took, _) = scene.fetch();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let sent = scene.network.peers[0].sent[&1];
    let window = 4 * MIB as u64;
    assert!(sent < scene.bytes.len() as u64 + window, "{sent}");
    assert_eq!(scene.network.errors(1), [] as [Code; 0]);
}

#[test]
fn what_goes_over_a_link_is_told_for_all_its_connections() {
    let mut scene = scene(DELAY, WINDOW, 20e6, 32 * MIB);
    scene.fetch();
    let call = scene.network.call(1, Command::Peers);
    let Ok(Answer::Peers(peers)) = scene.network.answer(1, call) else {
        panic!("no peers");
    };
    let link = peers[0].link.as_ref().expect("it is linked");
    assert_eq!(link.connections, 4);
    assert!(link.received >= scene.bytes.len() as u64);
    assert!(link.receive_rate > 4e6, "{link:?}");
    // The way, and what may wait before a control message.
    let rtt = peers[0].rtt.expect("it was measured");
    assert!((40.0..90.0).contains(&rtt), "{rtt}");
}
