//! Private namespaces, on virtual time: who has the secret shares, and who knows the id alone
//! gets nowhere; the rendezvous learns of no catalog and of no content.

mod network;

use network::{MIB, Network};
use shoal_peer_core::io::*;
use shoal_protocol::{
    membership::{Membership, NamespaceSecret},
    namespace::Namespace,
};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn home() -> Membership {
    Membership::private(&NamespaceSecret([1; 32]))
}

fn add(network: &mut Network, membership: &Membership) -> usize {
    network.add_peer(|config| config.membership = membership.clone())
}

#[test]
fn who_has_the_secret_shares_and_the_rendezvous_learns_nothing_of_it() {
    let mut network = Network::new(700, 0);
    let (one, two) = (add(&mut network, &home()), add(&mut network, &home()));
    let bytes = network.random_bytes(MIB);
    let key = network.publish(one, "a family picture", &bytes);
    network.fetch(two, key);
    network.run_until("the content", MINUTE, |network| network.has_all(two, key));
    network.assert_content(two, key, &bytes);

    let heard = network.rendezvous.heard.join("\n");
    assert!(heard.contains(home().namespace().as_str()));
    for word in [
        "a family picture",
        &key.to_string(),
        "\"catalog\"",
        "\"find\"",
    ] {
        assert!(!heard.contains(word), "{word}");
    }
}

#[test]
fn a_fetch_says_when_nobody_has_it() {
    let mut network = Network::new(701, 0);
    let (one, two) = (add(&mut network, &home()), add(&mut network, &home()));
    let bytes = network.random_bytes(MIB);
    let key = network.publish(one, "gone", &bytes);
    network.call(one, Command::Remove { key });
    network.fetch(two, key);
    network.run_for(Duration::from_secs(20));
    let progress = network.progress(two, key).expect("it is told of");
    assert_eq!(progress.reason, Some(Code::NotHeld));
}

#[test]
fn catalogs_get_round_among_more_peers_than_are_linked() {
    let mut network = Network::new(702, 0);
    let peers: Vec<usize> = (0..14).map(|_| add(&mut network, &home())).collect();
    let bytes = network.random_bytes(MIB);
    let keys: Vec<_> = ["one", "two", "three"]
        .iter()
        .zip(&peers)
        .map(|(name, peer)| {
            let mut bytes = bytes.clone();
            bytes.extend(name.bytes());
            network.publish(*peer, name, &bytes)
        })
        .collect();
    network.run_for(MINUTE);
    // One that comes later is linked to a few only.
    let late = add(&mut network, &home());
    for key in &keys {
        network.fetch(late, *key);
    }
    network.run_until("all of it", 2 * MINUTE, |network| {
        keys.iter().all(|key| network.has_all(late, *key))
    });
}

#[test]
fn who_knows_the_id_alone_is_not_let_in() {
    let mut network = Network::new(703, 0);
    let (one, two) = (add(&mut network, &home()), add(&mut network, &home()));
    let known = Membership::public(home().namespace().clone());
    let stranger = add(&mut network, &known);
    let outside = add(&mut network, &Membership::public(Namespace::default()));
    network.run_for(MINUTE);
    assert_eq!((network.links_of(one), network.links_of(two)), (1, 1));
    for other in [stranger, outside] {
        assert_eq!(network.links_of(other), 0);
        let events = &network.peers[other].events;
        let met = events
            .iter()
            .any(|event| matches!(event, Event::PeerJoin { .. }));
        assert!(!met, "nobody is listed to it");
    }
    assert!(network.errors(stranger).contains(&Code::Rendezvous));
    // What it is not let into it cannot say anything in.
    assert!(network.rendezvous.passed.iter().all(|(to, signed)| {
        let stranger = network.peers[stranger].id;
        *to != stranger && signed.peer != stranger
    }));
}

#[test]
fn a_rendezvous_that_lets_a_stranger_in_brings_it_no_link_and_no_address() {
    let mut network = Network::new(704, 0);
    network.rendezvous.lets_anybody_in = true;
    let one = add(&mut network, &home());
    let known = Membership::public(home().namespace().clone());
    let stranger = add(&mut network, &known);
    network.run_for(2 * MINUTE);
    assert_eq!((network.links_of(one), network.links_of(stranger)), (0, 0));
    assert!(network.wired().is_empty(), "no channel comes about");
    // It was asked for links, and never answered what it asked for.
    let of_member = network.peers[one].id;
    for (_, signed) in &network.rendezvous.passed {
        let asks = signed.payload.contains("\"kind\":\"link\"");
        assert!(signed.peer != of_member || asks, "{}", signed.payload);
    }
}

#[test]
fn the_handshake_keeps_a_stranger_out_by_itself() {
    let mut network = Network::new(705, 0);
    network.rendezvous.lets_anybody_in = true;
    let one = add(&mut network, &home());
    let known = Membership::public(home().namespace().clone());
    let stranger = add(&mut network, &known);
    for peer in &mut network.peers {
        peer.node.trust_signals();
    }
    network.run_until("a channel", MINUTE, |network| !network.wired().is_empty());
    network.run_for(Duration::from_secs(5));
    assert!(network.errors(one).contains(&Code::LinkAuth));
    assert_eq!((network.links_of(one), network.links_of(stranger)), (0, 0));
}
