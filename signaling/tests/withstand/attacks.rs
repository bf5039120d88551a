//! One attack a test.

use crate::http::ask;
use crate::rig::{Client, Key, PATIENCE, Server, metrics, open, open_from};
use crate::{Bystanders, withstand};
use shoal_protocol::{
    rendezvous::{ErrorCode, Join, MAX_MESSAGE, PATH, PeerMessage, ReceiptStatus, ServerMessage},
    signal::Signal,
    signed::Signed,
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Error, Message};

/// How often the bound with this key was reached.
pub async fn reached(server: &Server, key: &str) -> f64 {
    metrics(server).await[&format!("shoal_limits_reached_total{{limit=\"{key}\"}}")]
}

/// Reads until the server ends a connection.
pub async fn ends(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A reset is an end too.
    let _ = read.expect("the server lets it live");
    rest
}

#[tokio::test]
async fn a_flood_of_joins_from_one_address() {
    let change = |config: &mut shoal_signaling::Config| {
        // The bystanders come from 127.0.0.1 too, and are here before.
        config.limits.address_joins_burst = 22;
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let before = reached(server, "address-joins-per-second").await;
            let (mut joined, mut refused) = (Vec::new(), 0);
            for n in 1..=30 {
                match Client::connect_or_refused(server, n).await {
                    Ok(mut client) => {
                        client.send_join(None).await;
                        joined.push(client);
                    }
                    Err((code, wait)) => {
                        assert_eq!(code, ErrorCode::Limit);
                        assert!(wait.is_some_and(|wait| wait >= 500));
                        refused += 1;
                    }
                }
            }
            bystanders.notice_nothing().await;
            assert_eq!((joined.len(), refused), (20, 10));
            let after = reached(server, "address-joins-per-second").await;
            assert_eq!(after - before, f64::from(refused));
        },
    )
    .await;
}

#[tokio::test]
async fn more_connections_than_one_address_may_have() {
    let change = |config: &mut shoal_signaling::Config| config.limits.connections_per_address = 5;
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let mut open = Vec::new();
            for n in 1..10 {
                match Client::connect_or_refused(server, n).await {
                    Ok(client) => open.push(client),
                    Err((code, wait)) => {
                        assert_eq!(code, ErrorCode::Limit);
                        assert!(wait.is_some());
                    }
                }
            }
            assert_eq!(open.len(), 3, "two are the bystanders'");
            bystanders.notice_nothing().await;
        },
    )
    .await;
}

#[tokio::test]
async fn forged_forwarded_headers_help_nobody() {
    let change = |config: &mut shoal_signaling::Config| {
        // Two are the bystanders'; health and metrics stay open to whoever watches.
        config.limits.address_requests_burst = 22;
    };
    withstand(change, async |server: &Server, _: &mut Bystanders| {
        let mut refused = 0;
        for n in 0..30 {
            let forged =
                format!("X-Forwarded-For: 203.0.113.{n}\r\nForwarded: for=203.0.113.{n}\r\n");
            let answer = ask(server, "GET", "/v1/server", &forged).await;
            if answer.status == 429 {
                assert!(answer.headers["retry-after"].parse::<u64>().unwrap() >= 1);
                refused += 1;
            }
        }
        assert_eq!(refused, 10);
        assert_eq!(server.state.gauges().addresses, 1, "all are this one");
    })
    .await;
}

#[tokio::test]
async fn more_namespaces_than_one_peer_may_be_in() {
    let change = |config: &mut shoal_signaling::Config| config.limits.sessions_per_peer = 8;
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let mut joined = Vec::new();
            for n in 0..40 {
                let mut client = Client::connect(server, 1).await;
                let mut join = client.join_payload();
                join.namespace = format!("place-{n}").parse().unwrap();
                let (signed, resume) = (client.key.sign(&join), None);
                client.send(PeerMessage::Join { signed, resume }).await;
                match client.receive().await {
                    ServerMessage::Joined { .. } => joined.push(client),
                    ServerMessage::Error {
                        code,
                        message,
                        retry_after,
                    } => {
                        assert_eq!((code, retry_after.is_some()), (ErrorCode::Limit, true));
                        assert!(message.contains("namespaces of one peer"), "{message}");
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(joined.len(), 8);
            bystanders.notice_nothing().await;
            for client in &mut joined {
                client.send(PeerMessage::Leave {}).await;
                client.closed().await;
            }
        },
    )
    .await;
}

/// With the bounds raised that keep it out: 2,000 each time, 20,000 in all, which takes half a minute.
/// A hundred thousand at once are tried on the pure registry.
#[tokio::test]
async fn thousands_of_namespaces_of_one_peer() {
    const NAMESPACES: usize = 2_000;
    let change = |config: &mut shoal_signaling::Config| {
        let limits = &mut config.limits;
        limits.sessions_per_peer = NAMESPACES;
        limits.peer_joins_burst = 1_000_000;
        limits.address_joins_burst = 1_000_000;
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            for n in 0..NAMESPACES {
                let mut client = Client::connect(server, 1).await;
                let mut join = client.join_payload();
                join.namespace = format!("place-{n}").parse().unwrap();
                let (signed, resume) = (client.key.sign(&join), None);
                client.send(PeerMessage::Join { signed, resume }).await;
                client.joined().await;
                if n % 500 == 0 {
                    bystanders.notice_nothing().await;
                }
            }
            server
                .settles(|gauges| gauges.sessions_away == NAMESPACES)
                .await;
            let gauges = server.state.gauges();
            assert_eq!((gauges.namespaces, gauges.peers), (NAMESPACES + 1, 3));
            bystanders.notice_nothing().await;
        },
    )
    .await;
}

#[tokio::test]
async fn pages_of_a_wrong_origin() {
    let change = |config: &mut shoal_signaling::Config| {
        config.allowed_origins = vec!["https://site.example".into()];
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            for _ in 0..20 {
                match open_from(server, Some("https://evil.example")).await {
                    Err(Error::Http(response)) => assert_eq!(response.status(), 403),
                    other => panic!("{other:?}"),
                }
            }
            bystanders.notice_nothing().await;
        },
    )
    .await;
}

#[tokio::test]
async fn clients_that_never_read() {
    let change = |config: &mut shoal_signaling::Config| {
        config.limits.write_timeout = Duration::from_millis(100);
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let before = reached(server, "write-timeout-seconds").await;
            let (mut holder, _) = Client::join(server, 1).await;
            let (head, pages) = holder.key.catalog(1, 1, 0..4_000);
            for part in pages.chunks(5) {
                holder.send_catalog(&head, part.to_vec()).await;
            }
            holder.flush().await;
            let (mut deaf, _) = Client::join(server, 2).await;
            let peer = holder.id();
            // Many megabytes, and fewer requests than may wait.
            for _ in 0..100 {
                deaf.send(PeerMessage::Get { peer, since: None }).await;
            }
            let dropped =
                async { while reached(server, "write-timeout-seconds").await <= before {} };
            if timeout(PATIENCE, dropped).await.is_err() {
                panic!("never dropped: {:#?}", metrics(server).await);
            }
            bystanders.notice_nothing().await;
            drop(deaf);
            holder.send(PeerMessage::Leave {}).await;
            holder.closed().await;
        },
    )
    .await;
}

#[tokio::test]
async fn slow_loris_and_half_an_upgrade() {
    let change = |config: &mut shoal_signaling::Config| {
        config.limits.head_timeout = Duration::from_millis(500);
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let before = reached(server, "head-timeout-seconds").await;
            let mut streams = Vec::new();
            let upgrade = format!(
                "GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            );
            for part in ["", "G", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", &upgrade] {
                for _ in 0..10 {
                    let mut stream = TcpStream::connect(server.address).await.unwrap();
                    stream.write_all(part.as_bytes()).await.unwrap();
                    streams.push(stream);
                }
            }
            bystanders.notice_nothing().await;
            for stream in &mut streams {
                ends(stream).await;
            }
            let after = reached(server, "head-timeout-seconds").await;
            assert_eq!(after - before, streams.len() as f64);
        },
    )
    .await;
}

#[tokio::test]
async fn half_open_connections() {
    let change = |config: &mut shoal_signaling::Config| {
        config.limits.heartbeat = Duration::from_secs(15);
        config.limits.pong_timeout = Duration::from_secs(30);
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            // Some never join, some joined and answer nothing any more; none closes.
            let mut silent = Vec::new();
            for n in 1..6 {
                silent.push(open(server).await);
                let (client, _) = Client::join(server, n).await;
                silent.push(client.into_socket());
            }
            for _ in 0..3 {
                assert!(server.state.gauges().connections > 2);
                server.state.skip(Duration::from_secs(15));
                bystanders.answer_pings().await;
            }
            server.settles(|gauges| gauges.connections == 2).await;
            bystanders.notice_nothing().await;
            drop(silent);
        },
    )
    .await;
}

#[tokio::test]
async fn signals_to_nobody_and_too_many() {
    let change = |config: &mut shoal_signaling::Config| {
        config.limits.peer_signals_burst = 50;
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let (mut one, _) = Client::join(server, 1).await;
            let (mut gone, mut refused) = (0, 0);
            for id in 0..80 {
                one.send_signal(id, Key::new(99).id()).await;
                match one.receipt().await {
                    (of, ReceiptStatus::Gone) if of == id => gone += 1,
                    (of, ReceiptStatus::Refused) if of == id => refused += 1,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((gone, refused), (50, 30));
            bystanders.notice_nothing().await;
        },
    )
    .await;
}

#[tokio::test]
async fn forged_and_replayed_joins_and_signals() {
    withstand(
        |_| {},
        async |server: &Server, bystanders: &mut Bystanders| {
            let (mut one, _) = Client::join(server, 1).await;
            let forge = |join: &Join| Signed {
                peer: Key::new(1).id(),
                ..Key::new(2).sign(join)
            };
            let replayed = one.key.sign(&one.join_payload());
            for n in 0..10 {
                let mut client = Client::connect(server, 1).await;
                let signed = match n % 2 {
                    0 => forge(&client.join_payload()),
                    _ => replayed.clone(),
                };
                client
                    .send(PeerMessage::Join {
                        signed,
                        resume: None,
                    })
                    .await;
                assert_eq!(client.error().await.0, ErrorCode::Unauthorized);
                client.closed().await;
            }
            let (mut two, _) = Client::join(server, 2).await;
            one.peers().await;
            let (to, heard) = (two.id(), two.key.signal(one.id(), 0));
            let sent_by_two = |signal: &Signal| Signed {
                peer: two.id(),
                ..Key::new(3).sign(signal)
            };
            for (id, signed) in [
                (0, sent_by_two(&heard)),
                (1, two.key.sign(&heard)),
                (2, Key::new(3).sign(&one.key.signal(to, 0))),
            ] {
                one.send_signed(id, to, signed).await;
                assert_eq!(one.receipt().await, (id, ReceiptStatus::Refused));
            }
            // Under its own name a peer may sign as badly as it likes: its signal is passed on, and
            // the receiver verifies it.
            let badly = Signed {
                peer: one.id(),
                ..Key::new(3).sign(&one.key.signal(to, 0))
            };
            one.send_signed(3, to, badly.clone()).await;
            match two.receive().await {
                ServerMessage::Signal { signed, .. } => assert_eq!(signed, badly),
                other => panic!("{other:?}"),
            }
            assert!(two.flush().await.is_empty(), "of the others nothing came");
            bystanders.notice_nothing().await;
        },
    )
    .await;
}

#[tokio::test]
async fn more_bytes_than_a_peer_may_send_are_read_slowly() {
    let change = |config: &mut shoal_signaling::Config| {
        config.limits.peer_bytes_burst = 131_072;
        config.limits.peer_bytes_per_second = 1_000_000.0;
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let before = reached(server, "peer-bytes-per-second").await;
            let (mut one, _) = Client::join(server, 1).await;
            for _ in 0..4 {
                one.send_raw(Message::text(" ".repeat(MAX_MESSAGE - 1)))
                    .await;
            }
            bystanders.notice_nothing().await;
            for _ in 0..4 {
                assert_eq!(one.error().await.0, ErrorCode::Malformed, "late, not lost");
            }
            assert!(one.flush().await.is_empty());
            assert!(reached(server, "peer-bytes-per-second").await > before);
        },
    )
    .await;
}
