//! Coming back.

use crate::rig::{Client, Server};
use shoal_protocol::{
    id::ResumeToken,
    rendezvous::{ErrorCode, PeerMessage, ReceiptStatus, ServerMessage},
};
use std::time::Duration;

#[tokio::test]
async fn within_the_lease_nothing_is_missed() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut leaver, _) = Client::join(&server, 3).await;
    let (mut two, first) = Client::join(&server, 2).await;
    assert_eq!(first.view.len(), 2);
    one.flush().await;

    // Two acknowledges one of two signals, then its connection breaks.
    one.send_signal(1, two.id()).await;
    one.send_signal(2, two.id()).await;
    let (id, _) = two.signal().await;
    two.send(PeerMessage::Ack { id }).await;
    assert_eq!(one.receipt().await, (1, ReceiptStatus::Delivered));
    let (unheard, _) = two.signal().await;
    let two_id = two.id();
    drop(two);

    // Meanwhile somebody goes, somebody comes, and more is said.
    leaver.send(PeerMessage::Leave {}).await;
    leaver.closed().await;
    let (four, joined) = Client::join(&server, 4).await;
    assert_eq!(joined.view.len(), 2, "who is away keeps its place");
    one.send_signal(3, two_id).await;
    one.flush().await;

    let (mut two, again) = Client::resume(&server, 2, Some(first.resume)).await;
    assert!(again.resumed && again.view.is_empty());
    assert_ne!(again.resume, first.resume);
    let (id, signal) = two.signal().await;
    assert_eq!((id, signal.n), (unheard, 2));
    let (id, signal) = two.signal().await;
    assert_eq!(signal.n, 3);
    two.send(PeerMessage::Ack { id }).await;
    let (add, drop) = two.peers().await;
    assert_eq!((add[0].peer, drop), (four.id(), vec![leaver.id()]));
    assert_eq!(one.receipt().await, (2, ReceiptStatus::Delivered));
    assert_eq!(one.receipt().await, (3, ReceiptStatus::Delivered));
    assert!(one.flush().await.is_empty(), "nobody noticed");
}

#[tokio::test]
async fn who_missed_too_much_gets_its_view_anew() {
    let server = Server::with(|config| config.limits.news = 3).await;
    let (two, first) = Client::join(&server, 2).await;
    drop(two);
    let mut others = Vec::new();
    for n in 10..15 {
        others.push(Client::join(&server, n).await.0);
    }
    let (mut two, again) = Client::resume(&server, 2, Some(first.resume)).await;
    assert!(again.resumed);
    let ServerMessage::Resync { view } = two.receive().await else {
        panic!("no resync");
    };
    let mut seen: Vec<_> = view.iter().map(|peer| peer.peer).collect();
    let mut wanted: Vec<_> = others.iter().map(Client::id).collect();
    seen.sort();
    wanted.sort();
    assert_eq!(seen, wanted);
    assert!(two.flush().await.is_empty());
}

#[tokio::test]
async fn after_the_lease_a_session_is_over() {
    let server = Server::with(|config| config.limits.lease = Duration::from_millis(20)).await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (two, first) = Client::join(&server, 2).await;
    let two_id = two.id();
    one.peers().await;
    drop(two);
    assert_eq!(one.peers().await.1, [two_id]);
    let (_two, again) = Client::resume(&server, 2, Some(first.resume)).await;
    assert!(!again.resumed);
    assert_eq!(again.view[0].peer, one.id());
}

#[tokio::test]
async fn only_the_peer_itself_resumes_its_session() {
    let server = Server::start().await;
    let (one, first) = Client::join(&server, 1).await;
    drop(one);
    server.settles(|gauges| gauges.connections == 0).await;
    let (two, other) = Client::resume(&server, 2, Some(first.resume)).await;
    assert!(!other.resumed);
    drop(two);
    let (_, wrong) = Client::resume(&server, 1, Some(ResumeToken([0; 16]))).await;
    assert!(!wrong.resumed);
    let (_, old) = Client::resume(&server, 1, Some(first.resume)).await;
    assert!(!old.resumed, "a token is good once");
}

#[tokio::test]
async fn a_second_join_takes_over() {
    let server = Server::start().await;
    let (mut watcher, _) = Client::join(&server, 1).await;
    let (mut old, first) = Client::join(&server, 2).await;
    watcher.peers().await;
    watcher.send_signal(1, old.id()).await;
    old.signal().await;

    let (mut new, second) = Client::join(&server, 2).await;
    assert!(!second.resumed);
    assert_eq!(second.view[0].peer, watcher.id());
    assert_eq!(old.error().await.0, ErrorCode::Superseded);
    assert!(old.closed().await.is_empty());
    assert_eq!(watcher.peers_and_receipt().await, (1, ReceiptStatus::Gone));
    watcher.send_signal(2, new.id()).await;
    assert_eq!(new.signal().await.1.n, 2);

    // With its token, it takes up what it left.
    let (mut newest, third) = Client::resume(&server, 2, Some(second.resume)).await;
    assert!(third.resumed);
    assert_ne!(third.resume, first.resume);
    assert_eq!(newest.signal().await.1.n, 2);
    assert_eq!(new.error().await.0, ErrorCode::Superseded);
    server.settles(|gauges| gauges.sessions == 2).await;
}
