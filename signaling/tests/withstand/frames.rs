//! What comes over a WebSocket and is no message, or none that is allowed; and what a WebSocket
//! costs.

use crate::attacks::reached;
use crate::rig::{Client, PATIENCE, Server, metrics, open_over};
use crate::{ALONE, Bystanders, heap, withstand};
use shoal_protocol::rendezvous::{ErrorCode, MAX_MESSAGE, PeerMessage, ServerMessage};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;

/// The head of a frame of a text that goes on, with a mask that changes nothing.
const FIRST: [u8; 6] = [0x01, 0x80, 0, 0, 0, 0];
/// Of an empty frame of the same message, which goes on.
const MORE: [u8; 6] = [0x00, 0x80, 0, 0, 0, 0];
/// Of one with a hundred bytes.
const HALF: [u8; 6] = [0x81, 0x80 + 100, 0, 0, 0, 0];

#[tokio::test]
async fn frames_that_are_too_large_or_no_text() {
    // Who still sends is heard out, however slowly it does that here.
    let change = |config: &mut shoal_signaling::Config| {
        config.limits.close_timeout = PATIENCE;
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let (mut large, _) = Client::join(server, 1).await;
            large
                .send_raw(Message::text(" ".repeat(MAX_MESSAGE + 1)))
                .await;
            assert_eq!(large.error().await.0, ErrorCode::Limit);
            large.closed().await;
            let (mut invalid, _) = Client::join(server, 2).await;
            invalid.send_invalid_text().await;
            assert_eq!(invalid.error().await.0, ErrorCode::Malformed);
            invalid.closed().await;
            // A frame that says to be larger than allowed, and is: it is not read to its end, and
            // the error arrives all the same.
            // Little of it fits in between.
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_send_buffer_size(4096).unwrap();
            let stream = socket.connect(server.address).await.unwrap();
            let socket = open_over(stream, &[]).await.unwrap();
            let mut larger = Client::greeted(socket, 3).await.unwrap();
            larger.send_join(None).await;
            larger.joined().await;
            let mut frame = vec![0x81, 0xff];
            frame.extend((4 * MAX_MESSAGE as u64).to_be_bytes());
            frame.resize(frame.len() + 4 + 4 * MAX_MESSAGE, 0);
            larger.send_bytes(&frame).await;
            assert_eq!(larger.error().await.0, ErrorCode::Limit);
            larger.closed().await;
            bystanders.notice_nothing().await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_message_without_end() {
    withstand(
        |_| {},
        async |server: &Server, bystanders: &mut Bystanders| {
            let received = "shoal_received_bytes_total";
            let before = metrics(server).await[received];
            let (mut one, _) = Client::join(server, 1).await;
            let endless = MORE.repeat(2 * MAX_MESSAGE / MORE.len() + 1);
            one.send_bytes(&[&FIRST[..], &endless].concat()).await;
            let (code, words) = one.error().await;
            assert_eq!(code, ErrorCode::Limit);
            assert!(words.contains("frames"), "{words}");
            one.closed().await;
            bystanders.notice_nothing().await;
            let after = metrics(server).await[received];
            assert!(after - before > 2.0 * MAX_MESSAGE as f64, "all is counted");
        },
    )
    .await;
}

#[tokio::test]
async fn slow_loris_after_the_upgrade() {
    let change = |config: &mut shoal_signaling::Config| {
        config.limits.heartbeat = Duration::from_secs(15);
        config.limits.pong_timeout = Duration::from_secs(30);
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            // Half a head, a head alone, half a frame, half a message; and then a byte at a time,
            // before the join and after it.
            let parts = [&HALF[..1], &HALF, &[&HALF[..], b"half"].concat(), &FIRST];
            let (mut early, mut joined) = (Vec::new(), Vec::new());
            for (n, part) in (1..).zip(parts) {
                let mut client = Client::connect(server, n).await;
                client.send_bytes(part).await;
                early.push(client);
                let (mut client, _) = Client::join(server, n + 10).await;
                client.send_bytes(part).await;
                joined.push(client);
            }
            let before = reached(server, "join-timeout-seconds").await;
            let silent = reached(server, "pong-timeout-seconds").await;
            for client in early.iter_mut().chain(&mut joined) {
                client.send_bytes(&[0x80]).await;
            }
            server.state.skip(Duration::from_secs(10));
            for client in &mut early {
                let last = client.closed().await;
                let [ServerMessage::Error { code, .. }] = last[..] else {
                    panic!("{last:?}");
                };
                assert_eq!(code, ErrorCode::Limit);
            }
            let after = reached(server, "join-timeout-seconds").await;
            assert_eq!(after - before, 4.0);
            for _ in 0..3 {
                bystanders.answer_pings().await;
                for client in &mut joined {
                    client.send_bytes(&[0x80]).await;
                }
                server.state.skip(Duration::from_secs(15));
            }
            bystanders.answer_pings().await;
            for client in &mut joined {
                client.closed().await;
            }
            let after = reached(server, "pong-timeout-seconds").await;
            assert_eq!(after - silent, 4.0);
            bystanders.notice_nothing().await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_joined_idle_peer_costs_10_kib_or_less() {
    let _alone = ALONE.lock().await;
    let each = cost_of_a_peer(None).await;
    assert!(each <= 10 * 1024, "{each} bytes");
}

#[tokio::test]
async fn so_it_does_after_it_has_sent_the_longest_message() {
    let _alone = ALONE.lock().await;
    let each = cost_of_a_peer(Some(MAX_MESSAGE)).await;
    assert!(each <= 10 * 1024, "{each} bytes");
}

/// Bytes that a joined peer costs which sends nothing any more, after a message of some bytes. Both
/// ends are in this process, so the server's share is less than what is measured.
async fn cost_of_a_peer(message: Option<usize>) -> usize {
    const PEERS: usize = 100;
    let server = Server::with(|config| {
        config.limits.heartbeat = Duration::from_millis(500);
        config.limits.pong_timeout = PATIENCE;
    })
    .await;
    // What the first needs, and others need not again.
    let (mut first, _) = Client::join(&server, 200).await;
    first.send(PeerMessage::Leave {}).await;
    first.closed().await;
    drop(first);
    server.settles(|gauges| gauges.http_connections == 0).await;
    let start = heap::live();
    let mut clients = Vec::with_capacity(PEERS);
    for n in 0..PEERS {
        let (mut client, _) = Client::join(&server, n as u8 + 1).await;
        if let Some(bytes) = message {
            client.send_raw(Message::text(" ".repeat(bytes))).await;
            client.answer_to_nonsense().await;
        }
        clients.push(client);
    }
    // Each has told of a ping since all are there that it has heard of all.
    let last = &mut clients[PEERS - 1];
    for _ in 0..2 {
        while last.receive_any().await != Some(ServerMessage::Ping {}) {}
        last.send(PeerMessage::Pong {}).await;
    }
    let mut sockets = Vec::with_capacity(PEERS);
    for mut client in clients {
        client.flush().await;
        client.flush().await;
        sockets.push(client.into_socket().into_inner());
    }
    let each = (heap::live() - start) / PEERS;
    assert_eq!(server.state.gauges().connections, PEERS);
    each
}
