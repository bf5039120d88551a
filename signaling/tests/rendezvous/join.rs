//! Joining, and being refused.

use crate::rig::{Client, Key, Server, open_from};
use shoal_protocol::{
    id::{Nonce, PeerId},
    rendezvous::{ErrorCode, Join, PeerMessage, Presence, ServerMessage},
    signed::Signed,
};
use std::time::Duration;
use tokio_tungstenite::tungstenite::{self, Message};

/// Sends this join; says how it was refused.
async fn refused(server: &Server, join: impl FnOnce(&Client) -> Signed) -> (ErrorCode, String) {
    let mut client = Client::connect(server, 1).await;
    let signed = join(&client);
    let message = PeerMessage::Join {
        signed,
        resume: None,
    };
    client.send(message).await;
    let error = client.error().await;
    assert!(client.closed().await.is_empty());
    error
}

#[tokio::test]
async fn a_challenge_names_versions_and_identity() {
    let server = Server::start().await;
    let one = Client::connect(&server, 1).await;
    let two = Client::connect(&server, 1).await;
    assert_eq!(one.versions, [1]);
    assert_eq!(one.server, server.state.config().identity);
    assert_ne!(one.nonce, two.nonce);
}

#[tokio::test]
async fn a_join_is_good_for_one_peer_server_and_connection() {
    let server = Server::start().await;
    let unauthorized = |error: (ErrorCode, String), words: &str| {
        assert_eq!(error.0, ErrorCode::Unauthorized, "{}", error.1);
        assert!(error.1.contains(words), "{}", error.1);
    };
    let changed = async |change: fn(&mut Join)| {
        let signed = |client: &Client| {
            let mut join = client.join_payload();
            change(&mut join);
            client.key.sign(&join)
        };
        refused(&server, signed).await
    };
    let other_server = changed(|join| join.server = PeerId::from_public_key([4; 32])).await;
    unauthorized(other_server, "another server");
    let other_nonce = changed(|join| join.nonce = Nonce([0; 16])).await;
    unauthorized(other_nonce, "nonce");

    let other_key = refused(&server, |client| Signed {
        peer: Key::new(2).id(),
        ..client.key.sign(&client.join_payload())
    });
    unauthorized(other_key.await, "signature");
    let other_namespace = refused(&server, |client| {
        let signed = client.key.sign(&client.join_payload());
        let payload = signed.payload.replace("\"public\"", "\"private\"");
        assert_ne!(payload, signed.payload);
        Signed { payload, ..signed }
    });
    unauthorized(other_namespace.await, "signature");
    let other_kind = refused(&server, |client| {
        client.key.sign(&client.key.presence(client.server))
    });
    unauthorized(other_kind.await, "signature");

    let first = Client::connect(&server, 1).await;
    let replayed = first.key.sign(&first.join_payload());
    unauthorized(refused(&server, |_| replayed).await, "nonce");
    server.settles(|gauges| gauges.sessions == 0).await;
}

#[tokio::test]
async fn an_unknown_version_is_told_the_known_ones() {
    let server = Server::start().await;
    let (code, message) = refused(&server, |client| {
        let mut join = client.join_payload();
        join.versions = vec![7, 9];
        client.key.sign(&join)
    })
    .await;
    assert_eq!(code, ErrorCode::Version);
    assert!(message.ends_with("versions: 1"), "{message}");
}

#[tokio::test]
async fn an_impossible_namespace_is_none() {
    let server = Server::start().await;
    let (code, message) = refused(&server, |client| {
        let mut signed = client.key.sign(&client.join_payload());
        signed.payload = signed.payload.replace("public", "No such place");
        client.key.sign_text::<Join>(signed.payload)
    })
    .await;
    assert_eq!(code, ErrorCode::Malformed);
    assert!(message.contains("namespace"), "{message}");
}

#[tokio::test]
async fn a_join_comes_first_and_once() {
    let server = Server::start().await;
    let mut early = Client::connect(&server, 1).await;
    early.send_signal(0, Key::new(2).id()).await;
    let (code, message) = early.error().await;
    assert_eq!(code, ErrorCode::Malformed);
    assert!(message.contains("first message"), "{message}");
    assert!(early.closed().await.is_empty());

    let (mut twice, _) = Client::join(&server, 1).await;
    twice.send_join(None).await;
    assert_eq!(twice.error().await.0, ErrorCode::Malformed);
    assert!(twice.flush().await.is_empty(), "the session goes on");
}

#[tokio::test]
async fn who_does_not_join_is_sent_away() {
    let server = Server::with(|config| {
        config.limits.join_timeout = Duration::from_millis(50);
    })
    .await;
    let mut idle = Client::connect(&server, 1).await;
    let (code, message) = idle.error().await;
    assert_eq!(code, ErrorCode::Limit);
    assert!(message.contains("50ms"), "{message}");
    assert!(idle.closed().await.is_empty());
    server.settles(|gauges| gauges.connections == 0).await;
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let server = Server::start().await;
    let (mut here, _) = Client::join(&server, 1).await;
    let mut there = Client::connect(&server, 2).await;
    let mut join = there.join_payload();
    join.namespace = "elsewhere".parse().unwrap();
    let signed = there.key.sign(&join);
    let resume = None;
    there.send(PeerMessage::Join { signed, resume }).await;
    assert!(there.joined().await.view.is_empty());
    assert!(here.flush().await.is_empty());
    here.send_signal(1, there.id()).await;
    let gone = shoal_protocol::rendezvous::ReceiptStatus::Gone;
    assert_eq!(here.receipt().await, (1, gone));

    // The same peer may be in both.
    let mut both = Client::connect(&server, 1).await;
    let mut join = both.join_payload();
    join.namespace = "elsewhere".parse().unwrap();
    let signed = both.key.sign(&join);
    both.send(PeerMessage::Join { signed, resume }).await;
    assert_eq!(both.joined().await.view[0].peer, there.id());
    assert!(here.flush().await.is_empty());
}

#[tokio::test]
async fn a_presence_is_the_peers_own_and_for_here() {
    let server = Server::start().await;
    let (mut client, _) = Client::join(&server, 1).await;
    let good = client.key.presence(client.server);
    let signed = client.key.sign(&good);
    client.send(PeerMessage::Presence { signed }).await;
    assert!(client.flush().await.is_empty());

    let changes: [fn(&mut Presence); 4] = [
        |presence| presence.server = PeerId::from_public_key([4; 32]),
        |presence| presence.namespace = "elsewhere".parse().unwrap(),
        |presence| presence.expires = presence.issued,
        |presence| presence.issued = presence.issued.plus(Duration::from_secs(3600)),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        let signed = client.key.sign(&bad);
        client.send(PeerMessage::Presence { signed }).await;
        assert_eq!(client.error().await.0, ErrorCode::Unauthorized);
    }
    let signed = Key::new(2).sign(&good);
    client.send(PeerMessage::Presence { signed }).await;
    assert_eq!(client.error().await.0, ErrorCode::Unauthorized);
}

#[tokio::test]
async fn pages_of_other_origins_stay_outside_where_the_operator_says_so() {
    let all = Server::start().await;
    assert!(
        open_from(&all, Some("https://anyone.example"))
            .await
            .is_ok()
    );
    let some = Server::with(|config| {
        config.allowed_origins = vec!["https://site.example".into()];
    })
    .await;
    assert!(open_from(&some, Some("https://site.example")).await.is_ok());
    assert!(open_from(&some, None).await.is_ok(), "no page asks");
    for origin in ["https://evil.example", "http://site.example", "null"] {
        match open_from(&some, Some(origin)).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 403),
            other => panic!("{origin}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_survived() {
    let server = Server::start().await;
    let (mut client, _) = Client::join(&server, 1).await;
    let deep = "[".repeat(100_000);
    let long = format!("{{\"t\":\"{}\"}}", "ü".repeat(50_000));
    for text in [
        "",
        "{}",
        "no json",
        "{\"t\":\"signal\"}",
        "{\"t\":\"nothing\"}",
        &deep,
        &long,
    ] {
        client.send_raw(Message::text(text)).await;
        assert_eq!(client.error().await.0, ErrorCode::Malformed, "{text:.20}");
    }
    client.send_raw(Message::binary(vec![1, 2, 3])).await;
    let (code, message) = client.error().await;
    assert_eq!(code, ErrorCode::Malformed);
    assert!(message.contains("binary"), "{message}");
    // Fields of later versions pass.
    client
        .send_raw(Message::text(r#"{"t":"pong","later":1}"#))
        .await;
    assert!(client.flush().await.is_empty());
}

#[tokio::test]
async fn a_connection_that_talks_nonsense_ends() {
    let server = Server::start().await;
    let (mut client, _) = Client::join(&server, 1).await;
    let faults = server.state.config().limits.faults;
    for _ in 0..faults {
        client.send_raw(Message::text("nonsense")).await;
    }
    let errors = client.closed().await;
    assert_eq!(errors.len(), faults as usize);
    let malformed = |message: &ServerMessage| matches!(message, ServerMessage::Error { code, .. } if *code == ErrorCode::Malformed);
    assert!(errors.iter().all(malformed));
}
