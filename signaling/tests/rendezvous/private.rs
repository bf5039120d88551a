//! Private namespaces: only who proves the secret is in one, and nobody else hears of it.

use crate::rig::{Client, Key, Server, content, now};
use shoal_protocol::{
    id::{LinkId, Nonce, PeerId},
    membership::{Membership, NamespaceSecret},
    namespace::Namespace,
    rendezvous::{ErrorCode, PeerMessage, PeerSummary, ReceiptStatus, ServerMessage},
    seal::SealKey,
    signal::{SIGNAL_LIFETIME, Signal, SignalBody},
    signed::{Kind, Signed},
};

fn membership(secret: u8) -> Membership {
    Membership::private(&NamespaceSecret([secret; 32]))
}

/// The join of a connection to the namespace, with what `proving` signs.
fn join_of(client: &Client, namespace: &Namespace, proving: &Membership) -> Signed {
    let mut join = client.join_payload();
    join.namespace = namespace.clone();
    let Signed {
        peer, payload, sig, ..
    } = client.key.sign(&join);
    proving.signed(peer, Kind::Join, payload, sig)
}

async fn try_join(server: &Server, n: u8, namespace: &Namespace, proving: &Membership) -> Client {
    let mut client = Client::connect(server, n).await;
    let signed = join_of(&client, namespace, proving);
    let message = PeerMessage::Join {
        signed,
        resume: None,
    };
    client.send(message).await;
    client
}

async fn join(server: &Server, n: u8, membership: &Membership) -> (Client, Vec<PeerSummary>) {
    let mut client = try_join(server, n, membership.namespace(), membership).await;
    match client.receive().await {
        ServerMessage::Joined { view, .. } => (client, view),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_who_proves_the_secret_joins() {
    let server = Server::start().await;
    let home = membership(1);
    let (mut one, view) = join(&server, 1, &home).await;
    assert!(view.is_empty());

    // Who knows the id has another secret, or none, or what another peer has signed.
    let other = Membership::private(&NamespaceSecret([2; 32]));
    let none = Membership::public(home.namespace().clone());
    for proving in [other, none] {
        let mut stranger = try_join(&server, 3, home.namespace(), &proving).await;
        let (code, message) = stranger.error().await;
        assert_eq!(code, ErrorCode::Unauthorized, "{message}");
        assert!(!message.contains(home.namespace().as_str()), "{message}");
        assert!(stranger.closed().await.is_empty());
    }
    let mut stranger = Client::connect(&server, 3).await;
    let member = join_of(&one, home.namespace(), &home).member;
    let unproven = join_of(
        &stranger,
        home.namespace(),
        &Membership::public(Namespace::default()),
    );
    let signed = Signed { member, ..unproven };
    stranger
        .send(PeerMessage::Join {
            signed,
            resume: None,
        })
        .await;
    assert_eq!(stranger.error().await.0, ErrorCode::Unauthorized);

    let (two, view) = join(&server, 2, &home).await;
    assert_eq!(view[0].peer, one.id());
    assert_eq!(one.peers().await.0[0].peer, two.id());
}

#[tokio::test]
async fn nobody_else_hears_of_it() {
    let server = Server::start().await;
    let home = membership(1);
    let (one, _) = join(&server, 1, &home).await;
    let (mut outside, joined) = Client::join(&server, 3).await;
    assert!(joined.view.is_empty());
    let (mut next_door, view) = join(&server, 4, &membership(2)).await;
    assert!(view.is_empty());

    // Neither a signal nor a question leads in.
    outside.send_signal(1, one.id()).await;
    assert_eq!(outside.receipt().await, (1, ReceiptStatus::Gone));
    let signal = signal_of(&next_door.key, one.id(), membership(2).namespace());
    send_signal(&mut next_door, 1, one.id(), &signal).await;
    assert_eq!(next_door.receipt().await, (1, ReceiptStatus::Gone));
    // Nor one that says it is from inside.
    let signal = signal_of(&outside.key, one.id(), home.namespace());
    send_signal(&mut outside, 2, one.id(), &signal).await;
    assert_eq!(outside.receipt().await, (2, ReceiptStatus::Refused));
    outside
        .send(PeerMessage::Get {
            peer: one.id(),
            since: None,
        })
        .await;
    match outside.receive().await {
        ServerMessage::Catalog { signed: None, .. } => {}
        other => panic!("{other:?}"),
    }
}

async fn send_signal(client: &mut Client, id: u64, to: PeerId, signal: &Signal) {
    let signed = client.key.sign(signal);
    client.send_signed(id, to, signed).await;
}

fn signal_of(key: &Key, to: PeerId, namespace: &Namespace) -> Signal {
    Signal {
        from: key.id(),
        to,
        namespace: namespace.clone(),
        link: LinkId([7; 16]),
        n: 0,
        nonce: Nonce([8; 16]),
        versions: vec![1],
        expires: now().plus(SIGNAL_LIFETIME),
        body: SignalBody::Link(SealKey([6; 32])),
    }
}

#[tokio::test]
async fn no_catalog_of_it_is_taken_or_served() {
    let server = Server::start().await;
    let (mut one, _) = join(&server, 1, &membership(1)).await;
    let (head, pages) = one.key.catalog(1, 1, 0..3);
    let signed = one.key.sign(&head);
    for message in [
        PeerMessage::Catalog { signed, pages },
        PeerMessage::Get {
            peer: one.id(),
            since: None,
        },
        PeerMessage::Find { key: content(1) },
    ] {
        one.send(message).await;
        let (code, message) = one.error().await;
        assert_eq!(code, ErrorCode::Catalog, "{message}");
    }
    let gauges = server.state.gauges();
    assert_eq!(gauges.catalog_bytes, 0);
}
