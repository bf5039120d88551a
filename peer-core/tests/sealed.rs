//! Sealed signals, on virtual time: what a rendezvous can read, and what comes of bodies that
//! it changes, moves or replaces.

mod network;

use ed25519_dalek::Signer;
use network::Network;
use shoal_peer_core::io::*;
use shoal_protocol::{
    id::Signature,
    signal::{Signal, SignalBody},
    signed::{Kind, Payload, Signed},
};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn read(signed: &Signed) -> Signal {
    signed.open().expect("peers sign their signals")
}

#[test]
fn a_rendezvous_reads_no_address_and_no_secret_of_a_connection() {
    let mut network = Network::new(800, 3);
    network.run_until("all links", MINUTE, |network| network.wired().len() == 3);
    let (mut offers, mut candidates) = (0, 0);
    for (_, signed) in &network.rendezvous.passed {
        match read(signed).body {
            SignalBody::Offer(_) => offers += 1,
            SignalBody::Candidate(_) => candidates += 1,
            SignalBody::Unsealed => panic!("{}", signed.payload),
            _ => {}
        }
    }
    assert!(offers >= 3 && candidates >= 6);
    let heard = network.rendezvous.heard.join("\n");
    // Fragments, a password, fingerprints and addresses.
    assert!(network.said.len() >= 8, "{:?}", network.said);
    for said in &network.said {
        assert!(!heard.contains(said), "{said}");
    }
}

#[test]
fn a_body_of_another_link_is_refused_with_its_code() {
    let mut network = Network::new(801, 2);
    network.run_until("a link", MINUTE, |network| network.links_of(0) == 1);
    let earlier = std::mem::take(&mut network.rendezvous.passed);
    // One side is honest in all but that: what it seals to a link it says on the next one.
    network.cut_links();
    network.resign = Some(Box::new(move |key, signed| {
        let mut signal = read(&signed);
        let SignalBody::Offer(_) = signal.body else {
            return signed;
        };
        let old = earlier.iter().map(|(_, signed)| read(signed));
        let mut old = old.filter(|old| matches!(old.body, SignalBody::Offer(_)));
        signal.body = old.next().expect("an offer was made").body;
        let payload = signal.to_payload();
        let sig = key.sign(&Kind::Signal.message(&payload)).to_bytes();
        Signed {
            payload,
            sig: Signature(sig),
            ..signed
        }
    }));
    network.run_for(MINUTE);
    assert_refused(&mut network);
}

#[test]
fn a_body_that_is_not_sealed_is_refused_with_its_code() {
    for (seed, kind) in [
        (802, "offer"),
        (803, "answer"),
        (804, "candidate"),
        (805, "link"),
    ] {
        let mut network = Network::new(seed, 2);
        let sealed = format!("\"kind\":\"{kind}\"");
        network.resign = Some(Box::new(move |key, signed| {
            if !signed.payload.contains(&sealed) {
                return signed;
            }
            let (head, _) = signed.payload.split_once(&sealed).unwrap();
            let payload = format!("{head}{sealed},\"body\":{{}}}}");
            let sig = key.sign(&Kind::Signal.message(&payload)).to_bytes();
            Signed {
                payload,
                sig: Signature(sig),
                ..signed
            }
        }));
        network.run_for(MINUTE);
        assert_refused(&mut network);
    }
}

fn assert_refused(network: &mut Network) {
    let refused = network.rendezvous.passed.iter().any(|(_, signed)| {
        let refusal = "\"kind\":\"refuse\",\"body\":\"unsealed\"";
        signed.payload.contains(refusal)
    });
    assert!(refused, "seed {}", network.seed);
    assert_eq!((network.links_of(0), network.links_of(1)), (0, 0));
    let errors = [network.errors(0), network.errors(1)].concat();
    assert!(errors.contains(&Code::LinkAuth), "{errors:?}");
}
