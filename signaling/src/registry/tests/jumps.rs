//! Clocks that are set ahead and back.

use super::*;

const DAY: i64 = 86_400_000;

/// One answers pings, one does not, and one is away, before the clock jumps.
fn world(limits: &Limits) -> World {
    let mut world = World::new(3, limits.clone());
    for n in 0..3 {
        world.join(n, false);
    }
    world.settle();
    world.cut(2, 0);
    world.settle();
    world
}

/// Time passes, and the first peer answers what it is asked.
fn live(world: &mut World, heartbeats: usize) {
    for _ in 0..heartbeats {
        world.advance(world.registry.limits.heartbeat);
        world.transmit(0, 8);
        world.receive(0);
    }
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_longer() {
    let limits = Limits::default();
    for back in [DAY, 400 * DAY] {
        let mut world = world(&limits);
        // What passed of the lease has passed.
        live(&mut world, 2);
        world.jump(-back);
        assert_eq!(world.registry.gauges().sessions_away, 1);
        let left = limits.lease.as_secs() / limits.heartbeat.as_secs() - 2;
        live(&mut world, left as usize);
        assert!(
            !world.clients[0].known.contains_key(&world.id(2)),
            "its lease is over"
        );
        // The silent one is found out, and its lease ends too.
        live(&mut world, 6);
        assert!(world.clients[0].joined && world.clients[0].known.is_empty());
        assert_eq!(world.registry.gauges().sessions, 1);
        // The accounts of those who went are forgotten.
        live(&mut world, 4);
        assert_eq!(world.registry.gauges().peers, 1);
        world.end();
    }
}

#[test]
fn a_clock_that_leaps_ahead_loses_nobody_who_answers() {
    let limits = Limits::default();
    let mut world = world(&limits);
    world.jump(400 * DAY);
    assert_eq!(
        world.registry.gauges().sessions_away,
        0,
        "its lease is over"
    );
    world.settle();
    world.check_settled();
    live(&mut world, 3);
    assert!(world.clients[0].joined, "it was asked and has answered");
    assert_eq!(world.clients[0].connection.iter().len(), 1);
    world.signal(0, 1);
    world.settle();
    assert!(world.clients[0].errors.is_empty());
    world.end();
}

#[test]
fn limits_hold_whatever_the_clock_shows() {
    let limits = Limits {
        peer_signals_burst: 3,
        peer_signals_per_second: 1.0,
        ..Limits::default()
    };
    let mut world = World::new(2, limits);
    world.join(0, false);
    world.join(1, false);
    world.settle();
    let refused = |world: &mut World, count: usize| {
        for _ in 0..count {
            world.signal(0, 1);
        }
        world.settle();
        let receipts = world.clients[0].receipts.values();
        let refused = receipts.filter(|status| **status == ReceiptStatus::Refused);
        refused.count()
    };
    assert_eq!(refused(&mut world, 5), 2);
    world.jump(-DAY);
    assert_eq!(refused(&mut world, 1), 3, "nothing has flowed back");
    world.advance(Duration::from_secs(2));
    assert_eq!(refused(&mut world, 3), 4, "in two seconds two have");
    world.jump(400 * DAY);
    assert_eq!(refused(&mut world, 4), 5, "no more than the burst");
    world.jump(-DAY);
    world.end();
}

#[test]
fn turn_accounts_end_by_the_clock_and_are_renewed_by_time() {
    let limits = Limits::default();
    let mut world = World::new(1, limits.clone());
    let lifetime = limits.heartbeat * 8;
    let turn = Turn::new(
        vec!["turn:turn.example".parse().unwrap()],
        Secret::new("secret"),
        lifetime,
    );
    world.registry = Registry::new(server(), limits, Vec::new(), [3; 32]).with_turn(Some(turn));
    world.join(0, false);
    world.settle();
    world.jump(-DAY);
    live(&mut world, 4);
    let account = &world.clients[0].ice_servers[0];
    let (expiry, _) = account.username.as_ref().unwrap().split_once(':').unwrap();
    let left = expiry.parse::<u64>().unwrap() - world.now.unix_millis().0 / 1000;
    assert_eq!(left, lifetime.as_secs());
    world.end();
}
