//! A server whose process is killed: it says nothing any more, and another takes its place.

use crate::process::{Running, start};
use crate::rig::{Client, Joined, entry, metrics_at, open_over};
use crate::{ALONE, TIMES, is_held};
use shoal_protocol::{
    id::ResumeToken,
    rendezvous::{PeerMessage, ReceiptStatus, ServerMessage},
};
use std::net::SocketAddr;
use tokio::net::TcpStream;

async fn start_at(listen: &str, identity: &str) -> Running {
    // A peer comes back more often here than one may.
    let wide = ["--peer-joins-burst", "1000"];
    start(&[&["--listen", listen, "--identity", identity], &wide[..]].concat()).await
}

async fn come(server: SocketAddr, n: u8, token: Option<ResumeToken>) -> (Client, Joined) {
    let stream = TcpStream::connect(server).await.unwrap();
    let socket = open_over(stream, &[]).await.unwrap();
    let mut client = Client::greeted(socket, n).await.unwrap();
    client.send_join(token).await;
    let joined = client.joined().await;
    (client, joined)
}

#[tokio::test]
async fn a_killed_process_loses_nothing_without_a_word() {
    let _alone = ALONE.lock().await;
    let folder = std::env::temp_dir().join(format!("shoal-killed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let identity = folder.join("identity");
    let identity = identity.to_str().unwrap();
    let mut server = start_at("127.0.0.1:0", identity).await;
    let address = server.address();
    let (mut one, mut first) = come(address, 1, None).await;
    let (mut two, mut second) = come(address, 2, None).await;
    one.peers().await;
    let known = one.server;
    let mut resident = Vec::new();

    for _ in 0..TIMES {
        // Of two signals one is acknowledged, and its sender knows.
        one.send_signal(1, two.id()).await;
        let (number, _) = two.signal().await;
        two.answer(1, one.id(), number).await;
        one.signal().await;
        assert_eq!(one.receipt().await, (1, ReceiptStatus::Delivered));
        one.send_signal(2, two.id()).await;
        two.signal().await;
        // And one peer's catalog is there.
        let (head, pages) = one.key.catalog(1, 1, 1..3);
        one.send_catalog(&head, pages).await;
        let (changed, _) = two.peers().await;
        assert!(changed[0].catalog.is_some());

        server.kill().await;
        assert!(one.closed().await.is_empty() && two.closed().await.is_empty());
        server = start_at(&address.to_string(), identity).await;
        assert_eq!(server.address(), address);

        // Both come back with their tokens, to the same server, and are told that their sessions
        // are over: what had no receipt is to be sent again.
        (one, first) = come(address, 1, Some(first.resume)).await;
        assert_eq!(one.server, known);
        assert!(!first.resumed && first.view.is_empty());
        one.send_signal(3, two.id()).await;
        assert_eq!(
            one.receipt().await,
            (3, ReceiptStatus::Gone),
            "it is not back yet"
        );
        (two, second) = come(address, 2, Some(second.resume)).await;
        assert!(!second.resumed);
        assert_eq!(second.view[0].peer, one.id());
        assert_eq!(second.view[0].catalog, None, "it is to be advertised again");
        one.peers().await;
        two.send(PeerMessage::Find { key: entry(1).key }).await;
        match two.receive().await {
            ServerMessage::Providers { peers, .. } => assert!(peers.is_empty()),
            other => panic!("{other:?}"),
        }
        // Numbers begin anew, and nothing of before turns up.
        one.send_signal(2, two.id()).await;
        let (number, signal) = two.signal().await;
        assert_eq!(signal.n, 2);
        two.answer(2, one.id(), number).await;
        one.signal().await;
        assert_eq!(one.receipt().await, (2, ReceiptStatus::Delivered));
        assert!(one.flush().await.is_empty() && two.flush().await.is_empty());
        resident.extend(server.resident());
    }
    // The last successors take no more than the first. What a process has when it starts differs by
    // a few percent, so the smallest of five are compared.
    let (first, last) = resident.split_at(resident.len() / 2);
    if let (Some(first), Some(last)) = (first.iter().min(), last.iter().min()) {
        assert!(last * 100 <= first * 105, "{resident:?}");
    }

    for mut client in [two, one] {
        client.send(PeerMessage::Leave {}).await;
        client.closed().await;
    }
    // The buckets of an address and two peers fill for a while; all else is forgotten.
    let mut left = metrics_at(address).await;
    left.retain(|name, value| is_held(name, *value) && !name.starts_with("shoal_accounts"));
    assert!(left.is_empty(), "{left:?}");
    let (status, _) = server.terminate().await;
    assert!(status.success());
    std::fs::remove_dir_all(&folder).unwrap();
}
