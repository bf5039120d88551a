//! Clients that send too much, or read too little.

use crate::rig::{Client, PATIENCE, Server, metrics, open, open_from, open_over};
use futures_util::StreamExt;
use shoal_protocol::rendezvous::{
    ErrorCode, MAX_MESSAGE, PeerMessage, ReceiptStatus, ServerMessage,
};
use std::{net::Ipv4Addr, time::Duration};
use tokio::{net::TcpSocket, time::timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::test]
async fn an_oversized_message_ends_its_connection_with_a_word() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    one.send_raw(Message::text(" ".repeat(MAX_MESSAGE))).await;
    assert_eq!(
        one.error().await.0,
        ErrorCode::Malformed,
        "just not too long"
    );
    one.send_raw(Message::text(" ".repeat(MAX_MESSAGE + 1)))
        .await;
    let (code, message) = one.error().await;
    assert_eq!(code, ErrorCode::Limit);
    assert!(message.contains(&MAX_MESSAGE.to_string()), "{message}");
    assert!(one.closed().await.is_empty());
}

#[tokio::test]
async fn who_is_turned_away_takes_a_place_until_it_closes() {
    let server = Server::with(|config| {
        config.limits.connections_per_address = 1;
        config.limits.farewells = 2;
        // These do not close by themselves.
        config.limits.close_timeout = 2 * PATIENCE;
    })
    .await;
    let (_one, _) = Client::join(&server, 1).await;
    let mut turned_away = Vec::new();
    for _ in 0..2 {
        turned_away.push(open(&server).await);
    }
    server.settles(|gauges| gauges.connections == 3).await;
    match open_from(&server, None).await {
        Err(Error::Http(refusal)) => {
            assert_eq!(refusal.status(), 503);
            let wait = refusal.headers()["retry-after"].to_str().unwrap();
            assert!(wait.parse::<u64>().unwrap() >= 1);
        }
        other => panic!("{other:?}"),
    }
    // Another address, for which there is room, is let in all the same.
    let other = TcpSocket::new_v4().unwrap();
    other.bind((Ipv4Addr::new(127, 0, 7, 2), 0).into()).unwrap();
    let stream = other.connect(server.address).await.unwrap();
    let mut two = Client::greeted(open_over(stream, &[]).await.unwrap(), 2)
        .await
        .unwrap();
    two.send_join(None).await;
    two.joined().await;
    drop(turned_away);
    server.settles(|gauges| gauges.connections == 2).await;
    let seen = metrics(&server).await;
    assert_eq!(seen["shoal_limits_reached_total{limit=\"farewells\"}"], 1.0);
}

#[tokio::test]
async fn who_does_not_close_is_closed() {
    let server = Server::with(|config| {
        config.limits.connections = 1;
        config.limits.close_timeout = Duration::from_millis(50);
    })
    .await;
    let (_one, _) = Client::join(&server, 1).await;
    let _silent = open(&server).await;
    let reached = "shoal_limits_reached_total{limit=\"close-timeout-seconds\"}";
    let closed = async { while metrics(&server).await[reached] < 1.0 {} };
    timeout(PATIENCE, closed).await.unwrap();
    server.settles(|gauges| gauges.connections == 1).await;
}

#[tokio::test]
async fn a_peer_that_says_goodbye_is_answered() {
    let server = Server::start().await;
    let mut socket = Client::connect(&server, 1).await.into_socket();
    socket.close(None).await.unwrap();
    let last = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(matches!(last, Some(Ok(Message::Close(_)))), "{last:?}");
    let end = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
    server.settles(|gauges| gauges.connections == 0).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_its_connection() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    one.send_invalid_text().await;
    assert_eq!(one.error().await.0, ErrorCode::Malformed);
    assert!(one.closed().await.is_empty());
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let server = Server::with(|config| config.limits.queued_per_sender = 2).await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    for id in 0..3 {
        one.send_signal(id, two.id()).await;
    }
    assert_eq!(one.receipt().await, (2, ReceiptStatus::Full));
    let (id, _) = two.signal().await;
    two.send(PeerMessage::Ack { id }).await;
    assert_eq!(one.receipt().await, (0, ReceiptStatus::Delivered));
    one.send_signal(3, two.id()).await;
    assert_eq!(two.signal().await.1.n, 1);
    assert_eq!(two.signal().await.1.n, 3);
}

#[tokio::test]
async fn who_never_reads_is_dropped_and_nobody_else_notices() {
    let server = Server::with(|config| {
        config.limits.write_timeout = Duration::from_millis(100);
        config.limits.close_timeout = Duration::from_millis(10);
        config.limits.lease = Duration::from_millis(10);
    })
    .await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    let (head, pages) = one.key.catalog(1, 1, 0..4_000);
    for part in pages.chunks(5) {
        one.send_catalog(&head, part.to_vec()).await;
    }
    two.peers().await;

    let (mut deaf, _) = Client::join(&server, 3).await;
    assert_eq!(one.peers().await.0[0].peer, deaf.id());
    assert_eq!(two.peers().await.0[0].peer, deaf.id());
    let peer = one.id();
    let deaf_id = deaf.id();
    // Asks for far more than sockets hold, and reads nothing, until the server has enough.
    let asking = tokio::spawn(async move {
        while deaf
            .try_send(PeerMessage::Get { peer, since: None })
            .await
            .is_ok()
        {}
    });
    // Others go on meanwhile, and then hear that it has gone.
    let mut gone = false;
    for id in 0.. {
        one.send_signal(id, two.id()).await;
        let number = loop {
            match two.receive().await {
                ServerMessage::Signal { id, .. } => break id,
                ServerMessage::Peers { drop, .. } => gone |= drop == [deaf_id],
                other => panic!("{other:?}"),
            }
        };
        two.send(PeerMessage::Ack { id: number }).await;
        let receipt = one.receive_but_peers().await;
        assert_eq!(receipt, (id, ReceiptStatus::Delivered));
        if gone {
            break;
        }
    }
    asking.await.unwrap();
    server.settles(|gauges| gauges.connections == 2).await;
}

#[tokio::test]
async fn after_all_have_gone_nothing_is_left() {
    let server = Server::with(|config| {
        config.limits.lease = Duration::from_millis(10);
        // So that nothing need be remembered for long.
        config.limits.peer_joins_per_second = 1_000.0;
        config.limits.address_joins_per_second = 1_000.0;
    })
    .await;
    for _ in 0..3 {
        let mut clients = Vec::new();
        for n in 1..6 {
            let (mut client, _) = Client::join(&server, n).await;
            let (head, pages) = client.key.catalog(1, 1, 0..40);
            client.send_catalog(&head, pages).await;
            for other in &clients {
                client.send_signal(0, Client::id(other)).await;
            }
            clients.push(client);
        }
        drop(clients);
        server.settles(|gauges| *gauges == Default::default()).await;
    }
}
