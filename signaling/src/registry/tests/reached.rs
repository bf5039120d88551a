//! Bounds that are reached: what is refused, for how long, and that it is counted.

use super::*;

fn times(world: &World, key: &str) -> u64 {
    world.registry.counts().times_reached(key)
}

#[test]
fn who_is_turned_away_counts_until_its_socket_is_closed() {
    let limits = Limits {
        connections: 1,
        farewells: 2,
        ..Limits::default()
    };
    let mut world = World::new(1, limits);
    world.join(0, false);
    world.settle();
    let ask = |world: &mut World| world.registry.handle_http_request(START, address(0), true);
    let mut turned_away = Vec::new();
    for _ in 0..2 {
        ask(&mut world).unwrap();
        let (id, _) = world.registry.handle_connect(START, address(0));
        while let Transmit::Message(_) = world.registry.poll_transmit(START, id) {}
        world.registry.handle_closing(START, id);
        turned_away.push(id);
        world.check();
    }
    let refusal = ask(&mut world).unwrap_err();
    assert_eq!(refusal.reached.key, "farewells");
    assert!(refusal.retry_after >= Duration::from_millis(500));
    assert_eq!(times(&world, "farewells"), 1);
    // Other requests need no farewell.
    let asked = world.registry.handle_http_request(START, address(0), false);
    assert!(asked.is_ok());
    assert_eq!(world.registry.gauges().connections, 3);
    world.registry.handle_disconnect(START, turned_away[0]);
    ask(&mut world).unwrap();
    world.registry.handle_disconnect(START, turned_away[1]);
    world.end();
}

#[test]
fn no_address_keeps_others_out_with_its_farewells() {
    let limits = Limits {
        connections_per_address: 1,
        farewells: 1,
        ..Limits::default()
    };
    let mut world = World::new(0, limits);
    let mut ask = |n| world.registry.handle_http_request(START, address(n), true);
    ask(1).unwrap();
    world.registry.handle_connect(START, address(1));
    world.registry.handle_connect(START, address(1));
    let mut ask = |n| world.registry.handle_http_request(START, address(n), true);
    assert_eq!(ask(1).unwrap_err().reached.key, "farewells");
    assert!(ask(2).is_ok(), "who would be let in needs none");
    world.end();
}

#[test]
fn a_connection_that_is_being_closed_is_its_addresses_and_its_peer_is_away() {
    let limits = Limits {
        connections_per_address: 1,
        ..Limits::default()
    };
    let mut world = World::new(2, limits);
    world.join(0, false);
    world.settle();
    let (closing, _) = world.clients[0].connection.take().unwrap();
    world.registry.handle_closing(START, closing);
    world.clients[0].joined = false;
    let gauges = world.registry.gauges();
    assert_eq!((gauges.connections, gauges.sessions_away), (1, 1));
    world.check();
    world.join(1, false);
    world.settle();
    assert_eq!(world.clients[1].errors, [ErrorCode::Limit]);
    world.registry.handle_disconnect(START, closing);
    world.join(1, false);
    world.settle();
    assert!(world.clients[1].joined);
    world.end();
}

#[test]
fn who_is_refused_over_http_comes_back_at_another_time_each() {
    let limits = Limits {
        http_connections: 2,
        returns_per_second: 0.1,
        ..Limits::default()
    };
    let mut world = World::new(0, limits);
    let mut open = || world.registry.handle_http_opened(START, Some(address(0)));
    open().unwrap();
    open().unwrap();
    let waits: BTreeSet<u64> = (0..100)
        .map(|_| open().unwrap_err().retry_after.as_secs())
        .collect();
    // Two are to come back in twenty seconds.
    assert!(waits.len() > 15 && waits.last() < Some(&21), "{waits:?}");
}

#[test]
fn receipts_that_are_forgotten_are_counted() {
    let limits = Limits {
        receipts: 3,
        ..Limits::default()
    };
    let mut world = World::new(2, limits);
    world.join(0, false);
    world.join(1, false);
    world.settle();
    // Heard and not confirmed, more than are kept: with the connection they are lost.
    for _ in 0..5 {
        world.signal(0, 1);
        world.settle();
        world.confirm();
    }
    assert_eq!(world.clients[0].receipts.len(), 5);
    assert_eq!(times(&world, "receipts"), 0, "none is lost yet");
    world.cut(0, 0);
    assert_eq!(times(&world, "receipts"), 2);

    // More than are kept at once.
    world.join(0, false);
    world.settle();
    for _ in 0..5 {
        world.signal(0, 1);
    }
    world.settle();
    world.confirm();
    assert_eq!(world.clients[0].receipts.len(), 3);
    assert_eq!(times(&world, "receipts"), 4);
}

#[test]
fn views_that_are_told_anew_are_counted() {
    let limits = Limits {
        news: 2,
        ..Limits::default()
    };
    let mut world = World::new(6, limits);
    world.join(0, false);
    world.settle();
    for n in 1..3 {
        world.join(n, false);
    }
    world.settle();
    world.advance(world.registry.limits.heartbeat);
    world.settle();
    assert_eq!(times(&world, "news"), 0);
    for n in 3..6 {
        world.join(n, false);
    }
    world.settle();
    assert!(times(&world, "news") > 0);
    world.check_settled();
}

#[test]
fn accounts_that_are_forgotten_early_are_counted() {
    let limits = Limits {
        idle_accounts: 2,
        ..Limits::default()
    };
    let mut world = World::new(0, limits);
    for n in 0..5 {
        world
            .registry
            .handle_http_request(START, address(n), false)
            .unwrap();
    }
    assert_eq!(times(&world, "idle-accounts"), 3);
}
