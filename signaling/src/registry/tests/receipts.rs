//! What confirms signals travels with signals, and alone where there are none.

use super::*;

/// Two peers; the first acknowledges at once, the second with the next signal it sends.
fn world() -> World {
    let mut world = World::new(2, Limits::default());
    world.join(0, false);
    world.join(1, false);
    world.settle();
    world
}

/// What goes to a client now.
fn sent_to(world: &mut World, n: usize) -> Vec<ServerMessage> {
    world.transmit(n, 64);
    let sent = world.clients[n].wire.iter().cloned().collect();
    world.receive(n);
    sent
}

fn receipts(of: impl IntoIterator<Item = u64>, status: ReceiptStatus) -> Vec<Receipt> {
    of.into_iter().map(|id| Receipt { id, status }).collect()
}

#[test]
fn an_answer_takes_along_what_confirms_the_signal() {
    let mut world = world();
    world.signal(0, 1);
    world.signal(0, 1);
    assert_eq!(sent_to(&mut world, 1).len(), 2);
    assert_eq!(sent_to(&mut world, 0), [], "nobody has acknowledged them");

    world.signal(1, 0);
    let delivered = receipts([0, 1], ReceiptStatus::Delivered);
    match &sent_to(&mut world, 0)[..] {
        [ServerMessage::Signal { receipts, .. }] => assert_eq!(*receipts, delivered),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.registry.gauges().queued_signals, 0);
    world.check();
}

#[test]
fn where_there_is_no_answer_it_goes_by_itself_after_a_while() {
    let mut world = world();
    world.signal(1, 0);
    sent_to(&mut world, 0);
    world.advance(ACK_DELAY - Duration::from_millis(1));
    assert_eq!(sent_to(&mut world, 1), []);
    // Whatever else there is to say does not hurry it.
    world.publish(0);
    assert!(matches!(
        sent_to(&mut world, 1)[..],
        [ServerMessage::Peers { .. }]
    ));
    world.advance(Duration::from_millis(1));
    let receipts = receipts([0], ReceiptStatus::Delivered);
    assert_eq!(
        sent_to(&mut world, 1),
        [ServerMessage::Receipts { receipts }]
    );
    world.check();
}

#[test]
fn many_do_not_wait() {
    let mut world = world();
    let many = MAX_UNACKED as u64;
    for _ in 0..many {
        world.signal(1, 0);
    }
    sent_to(&mut world, 0);
    let receipts = receipts(0..many, ReceiptStatus::Delivered);
    assert_eq!(
        sent_to(&mut world, 1),
        [ServerMessage::Receipts { receipts }]
    );
}

#[test]
fn what_was_not_passed_on_is_said_at_once_with_all_that_waits() {
    let mut world = world();
    world.signal(1, 0);
    sent_to(&mut world, 0);
    world.signal(1, 1);
    let mut both = receipts([0], ReceiptStatus::Delivered);
    both.extend(receipts([1], ReceiptStatus::Refused));
    let both = ServerMessage::Receipts { receipts: both };
    assert_eq!(sent_to(&mut world, 1), [both]);
}

#[test]
fn what_was_not_sent_cannot_be_acknowledged() {
    let mut world = world();
    world.signal(0, 1);
    for id in [0, 1, u64::MAX] {
        world.send(1, PeerMessage::Ack { id });
    }
    world.advance(ACK_DELAY);
    assert_eq!(sent_to(&mut world, 0), []);
    assert_eq!(sent_to(&mut world, 1).len(), 1, "it is still there");
    world.send(1, PeerMessage::Ack { id: u64::MAX });
    assert_eq!(world.registry.gauges().queued_signals, 0);
}

#[test]
fn a_peer_that_is_away_hears_when_it_is_back() {
    let mut world = world();
    world.signal(1, 0);
    world.cut(1, 0);
    sent_to(&mut world, 0);
    world.check();
    world.advance(ACK_DELAY * 2);
    world.join(1, true);
    world.settle();
    let delivered = BTreeMap::from([(0, ReceiptStatus::Delivered)]);
    assert_eq!(world.clients[1].receipts, delivered);
    world.check();
}

#[test]
fn a_server_that_ends_says_first_what_waits() {
    let mut world = world();
    world.signal(1, 0);
    sent_to(&mut world, 0);
    world.registry.handle_shutdown(world.now);
    let (connection, _) = world.clients[1].connection.as_ref().unwrap();
    let mut last = Vec::new();
    while let Transmit::Message(message) = world.registry.poll_transmit(world.now, *connection) {
        last.push(message);
    }
    let receipts = receipts([0], ReceiptStatus::Delivered);
    let [first, ServerMessage::Closing { .. }] = &last[..] else {
        panic!("{last:?}");
    };
    assert_eq!(*first, ServerMessage::Receipts { receipts });
}

#[test]
fn no_more_wait_than_are_kept() {
    let limits = Limits {
        receipts: 2,
        ..Limits::default()
    };
    let mut world = World::new(2, limits);
    world.join(0, false);
    world.join(1, false);
    world.settle();
    for _ in 0..3 {
        world.signal(1, 0);
        sent_to(&mut world, 0);
        sent_to(&mut world, 1);
    }
    world.advance(ACK_DELAY);
    sent_to(&mut world, 1);
    assert_eq!(world.clients[1].receipts.len(), 3, "none gave way");
}
