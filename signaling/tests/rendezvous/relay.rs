//! Listing, and signals between peers.

use crate::rig::{Client, Key, PATIENCE, Server};
use shoal_protocol::{
    rendezvous::{PeerMessage, ReceiptStatus, ServerMessage},
    signal::Signal,
    signed::{Payload, Signed, SignedError},
};
use std::time::Duration;
use tokio::net::TcpStream;

#[tokio::test]
async fn two_peers_join_see_each_other_and_exchange_signals() {
    let server = Server::start().await;
    let (mut one, joined) = Client::join(&server, 1).await;
    assert!(joined.view.is_empty() && !joined.resumed);
    assert_eq!(joined.lease, 60_000);
    assert_eq!(joined.ice_servers[0].urls, ["stun:stun.example"]);
    let (mut two, joined) = Client::join(&server, 2).await;
    assert_eq!(joined.view[0].peer, one.id());
    let (add, drop) = one.peers().await;
    assert_eq!((add[0].peer, drop.len()), (two.id(), 0));

    for id in 0..3 {
        one.send_signal(id, two.id()).await;
    }
    let mut last = 0;
    for n in 0..3 {
        let (id, signal) = two.signal().await;
        assert_eq!((signal.from, signal.to, signal.n), (one.id(), two.id(), n));
        assert!(id > last);
        last = id;
    }
    // Of the first two it is known by themselves, of the third with what answers it.
    two.send(PeerMessage::Ack { id: last - 1 }).await;
    let ServerMessage::Receipts { receipts } = one.receive().await else {
        panic!("no receipts");
    };
    assert_eq!(receipts.len(), 2);
    two.answer(0, one.id(), last).await;
    let (heard, signal) = one.signal().await;
    assert_eq!((signal.from, signal.n), (two.id(), 0));
    for n in 0..3 {
        assert_eq!(one.receipt().await, (n, ReceiptStatus::Delivered));
    }
    one.send(PeerMessage::Ack { id: heard }).await;
    assert_eq!(two.receipt().await, (0, ReceiptStatus::Delivered));

    two.send(PeerMessage::Leave {}).await;
    assert!(two.closed().await.is_empty());
    assert_eq!(one.peers().await, (vec![], vec![two.id()]));
    one.send_signal(3, two.id()).await;
    assert_eq!(one.receipt().await, (3, ReceiptStatus::Gone));
}

/// A signal whose kind and body are these.
fn unsealed(signal: &Signal, kind_and_body: &str) -> String {
    let text = signal.to_payload();
    let (head, _) = text.split_once("\"link\",\"body\"").unwrap();
    format!("{head}{kind_and_body}}}")
}

#[tokio::test]
async fn only_signals_from_who_sends_to_who_is_named_pass() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    let (mut three, _) = Client::join(&server, 3).await;
    let good = one.key.signal(two.id(), 0);
    let signed = |change: fn(&mut Signal)| {
        let mut signal = good.clone();
        change(&mut signal);
        one.key.sign(&signal)
    };
    let forged = [
        signed(|signal| signal.from = Key::new(3).id()),
        signed(|signal| signal.to = Key::new(3).id()),
        signed(|signal| signal.namespace = "elsewhere".parse().unwrap()),
        signed(|signal| signal.expires.0 -= 600_000),
        signed(|signal| signal.expires.0 += 600_000),
        // Of another peer, replayed; under another's name; no signal at all.
        three.key.sign(&three.key.signal(two.id(), 0)),
        Signed {
            peer: three.id(),
            ..one.key.sign(&good)
        },
        one.key.sign(&one.join_payload()),
        // Addresses for all to see.
        one.key.sign_text::<Signal>(unsealed(
            &good,
            r#""candidate","body":{"address":"192.0.2.1"}"#,
        )),
        one.key
            .sign_text::<Signal>(unsealed(&good, r#""candidate","body":null"#)),
    ];
    let to = two.id();
    for (id, signed) in (0..).zip(forged) {
        let shown = format!("{id}: {signed:?}");
        one.send_signed(id, to, signed).await;
        let receipt = one.receive_but_peers().await;
        assert_eq!(receipt, (id, ReceiptStatus::Refused), "{shown}");
    }
    one.send_signal(9, one.id()).await;
    assert_eq!(
        one.receipt().await,
        (9, ReceiptStatus::Refused),
        "to itself"
    );
    let none = |messages: Vec<ServerMessage>| {
        assert!(
            messages
                .iter()
                .all(|message| matches!(message, ServerMessage::Peers { .. })),
            "{messages:?}"
        );
    };
    none(two.flush().await);
    none(three.flush().await);
}

#[tokio::test]
async fn a_wrong_signature_is_under_the_name_of_who_sent_it_and_seen_by_the_receiver() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    let good = one.key.sign(&one.key.signal(two.id(), 0));
    let altered = Signed {
        payload: good.payload.replace("\"n\":0", "\"n\":1"),
        ..good
    };
    let (id, to, signed) = (0, two.id(), altered.clone());
    one.send_signed(id, to, signed).await;
    let ServerMessage::Signal { signed, .. } = two.receive().await else {
        panic!("no signal");
    };
    assert_eq!((signed.peer, &signed), (one.id(), &altered));
    assert_eq!(signed.open::<Signal>(), Err(SignedError::Signature));
}

#[tokio::test]
async fn a_signal_nobody_acknowledged_is_not_delivered() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    one.send_signal(5, two.id()).await;
    let (id, _) = two.signal().await;
    // One before it is none of it.
    two.send(PeerMessage::Ack { id: id - 1 }).await;
    two.flush().await;
    assert!(one.flush().await.is_empty());
    two.send(PeerMessage::Leave {}).await;
    assert!(two.closed().await.is_empty());
    assert_eq!(one.peers_and_receipt().await, (5, ReceiptStatus::Gone));
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_away_then_gone() {
    let server = Server::with(|config| {
        config.limits.heartbeat = Duration::from_millis(250);
        config.limits.pong_timeout = Duration::from_millis(500);
        config.limits.lease = Duration::from_millis(40);
    })
    .await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut frozen, _) = Client::join(&server, 2).await;
    one.peers().await;
    let (add, drop) = tokio::time::timeout(PATIENCE, one.peers()).await.unwrap();
    assert_eq!((add.len(), drop), (0, vec![frozen.id()]));
    let pings = frozen.closed().await;
    assert!(pings.len() >= 2, "{pings:?}");
    assert!(
        pings
            .iter()
            .all(|message| *message == ServerMessage::Ping {})
    );
}

#[tokio::test]
async fn at_the_end_peers_are_told_when_to_come_back() {
    let mut server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let mut early = Client::connect(&server, 2).await;
    // A connection on which nothing was asked must not hold up the end.
    let _silent = TcpStream::connect(server.address).await.unwrap();
    server.begin_stop();
    for client in [&mut one, &mut early] {
        let last = client.closed().await;
        let [ServerMessage::Closing { retry_after }] = last[..] else {
            panic!("{last:?}");
        };
        assert!((500..5000).contains(&retry_after));
    }
    server.stop().await;
}
