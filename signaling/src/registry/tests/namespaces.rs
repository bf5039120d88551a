//! One peer in as many namespaces as it likes.

use super::*;

const NAMESPACES: u32 = 100_000;

/// The joins of one peer into so many namespaces: their signatures are verified once.
fn joins() -> Vec<Request> {
    let world = World::new(1, Limits::default());
    let join = |n: u32| {
        let join = Join {
            server: server(),
            nonce: Nonce([0; 16]),
            namespace: format!("place-{n}").parse().unwrap(),
            versions: vec![1],
        };
        let signed = world.clients[0].sign(&join);
        let message = PeerMessage::Join {
            signed,
            resume: None,
        };
        Checker::new(server(), Nonce([0; 16])).check(START, &message.to_text())
    };
    (0..NAMESPACES).map(join).collect()
}

#[test]
fn a_hundred_thousand_of_one_peer() {
    let joins = joins();
    // As an operator sets it, and with every bound that could keep the peer out raised.
    let bounded = Limits::default();
    let raised = Limits {
        connections: 200_000,
        connections_per_address: 200_000,
        sessions: 200_000,
        sessions_per_peer: 200_000,
        peer_joins_burst: 200_000,
        address_joins_burst: 200_000,
        ..Limits::default()
    };
    for (limits, expected) in [
        (bounded.clone(), bounded.sessions_per_peer),
        (raised, NAMESPACES as usize),
    ] {
        let mut registry = Registry::new(server(), limits.clone(), Vec::new(), [3; 32]);
        // From another address each time, so that only what is said of the peer keeps it out.
        for (n, join) in (0..).zip(&joins) {
            let (connection, _) = registry.handle_connect(START, address(n));
            registry.handle_request(START, connection, join.clone());
            while let Transmit::Message(_) = registry.poll_transmit(START, connection) {}
            registry.handle_disconnect(START, connection);
        }
        let gauges = registry.gauges();
        assert_eq!(
            (gauges.sessions_away, gauges.namespaces),
            (expected, expected)
        );
        assert_eq!((gauges.peers, gauges.timers), (1, expected));
        let refused = u64::from(NAMESPACES) - expected as u64;
        let reached = ["sessions-per-peer", "peer-joins-per-second"];
        let reached = reached.map(|key| registry.counts().times_reached(key));
        assert_eq!(reached.iter().sum::<u64>(), refused);
        registry.handle_timeout(START + limits.lease);
        assert_eq!(registry.gauges().namespaces, 0);
        registry.handle_timeout(START + Duration::from_secs(1_000_000));
        while registry.poll_woken().is_some() {}
        assert_eq!(registry.gauges(), Gauges::default());
    }
}

#[test]
fn numbers_of_sessions_start_over_without_those_that_are_taken() {
    let mut world = World::new(4, Limits::default());
    world.join(0, false);
    world.settle();
    world.registry.last_session = u32::MAX - 1;
    for n in 1..4 {
        world.join(n, false);
    }
    world.settle();
    let taken: Vec<u32> = world.registry.sessions.keys().map(|id| id.0).collect();
    assert_eq!(taken, [0, 1, 2, u32::MAX]);
    world.check_settled();
}
