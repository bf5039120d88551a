//! Joining, listing, and signals between peers, over real sockets.

mod rig;

use rig::{Client, Server};
use shoal_protocol::rendezvous::{PeerMessage, ReceiptStatus};

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
    for n in 0..3 {
        let (id, signal) = two.signal().await;
        assert_eq!((signal.from, signal.to, signal.n), (one.id(), two.id(), n));
        two.send(PeerMessage::Ack { id }).await;
        assert_eq!(one.receipt().await, (n.into(), ReceiptStatus::Delivered));
    }

    two.send(PeerMessage::Leave {}).await;
    assert!(two.closed().await.is_empty());
    assert_eq!(one.peers().await, (vec![], vec![two.id()]));
    server.stop().await;
    let last = one.closed().await;
    assert!(matches!(
        last[..],
        [shoal_protocol::rendezvous::ServerMessage::Closing { .. }]
    ));
}
