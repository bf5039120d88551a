//! What an operator sees: metrics, health, readiness, logs.

use crate::http::ask;
use crate::process::start;
use crate::rig::{Client, PATIENCE, Server, metrics};
use shoal_protocol::rendezvous::{MAX_MESSAGE, PeerMessage, ServerMessage};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn what_peers_do_is_counted() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    one.send_signal(1, two.id()).await;
    let (id, _) = two.signal().await;
    let waiting = metrics(&server).await;
    assert_eq!(waiting["shoal_queued_signals"], 1.0);
    assert!(waiting["shoal_queued_signal_bytes"] > 100.0);
    two.send(PeerMessage::Ack { id }).await;
    one.receipt().await;
    one.send(PeerMessage::Join {
        signed: one.key.sign(&one.join_payload()),
        resume: None,
    })
    .await;
    one.error().await;
    drop(two);
    server.settles(|gauges| gauges.sessions_away == 1).await;

    let seen = metrics(&server).await;
    for (name, value) in [
        ("shoal_ready", 1.0),
        ("shoal_connections", 1.0),
        ("shoal_http_connections", 1.0),
        ("shoal_sessions{state=\"connected\"}", 1.0),
        ("shoal_sessions{state=\"away\"}", 1.0),
        ("shoal_namespaces", 1.0),
        ("shoal_queued_signals", 0.0),
        ("shoal_accounts{of=\"addresses\"}", 1.0),
        ("shoal_accounts{of=\"peers\"}", 2.0),
        ("shoal_joins_total{resumed=\"false\"}", 2.0),
        ("shoal_receipts_total{status=\"delivered\"}", 1.0),
        ("shoal_receipts_total{status=\"full\"}", 0.0),
        ("shoal_refusals_total{code=\"malformed\"}", 1.0),
        ("shoal_refusals_total{code=\"limit\"}", 0.0),
        ("shoal_limits_reached_total{limit=\"connections\"}", 0.0),
        ("shoal_relay_seconds_count", 1.0),
        ("shoal_relay_seconds_bucket{le=\"+Inf\"}", 1.0),
    ] {
        assert_eq!(seen.get(name), Some(&value), "{name}: {seen:#?}");
    }
    assert!(seen["shoal_received_bytes_total"] > 500.0);
    assert!(seen["shoal_relay_seconds_sum"] < 10.0);
}

#[tokio::test]
async fn last_words_are_counted_too() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    one.flush().await;
    let sent = ["shoal_sent_messages_total", "shoal_sent_bytes_total"];
    let before = metrics(&server).await;
    one.send_raw(Message::text(" ".repeat(MAX_MESSAGE + 1)))
        .await;
    let (_, words) = one.error().await;
    one.closed().await;
    let after = metrics(&server).await;
    assert_eq!(after[sent[0]] - before[sent[0]], 1.0);
    assert!(after[sent[1]] - before[sent[1]] > words.len() as f64);
}

#[tokio::test]
async fn a_full_server_is_alive_and_not_ready() {
    let server = Server::with(|config| config.limits.connections = 1).await;
    assert_eq!(ask(&server, "GET", "/readyz", "").await.status, 200);
    let (_one, _) = Client::join(&server, 1).await;
    let answer = ask(&server, "GET", "/readyz", "").await;
    assert_eq!(
        (answer.status, &answer.bytes[..]),
        (503, &b"not ready: connections\n"[..])
    );
    assert_eq!(ask(&server, "GET", "/healthz", "").await.status, 200);
    assert_eq!(metrics(&server).await["shoal_ready"], 0.0);
}

#[tokio::test]
async fn while_it_drains_it_serves_and_says_so() {
    let mut server = Server::with(|config| config.limits.drain = Duration::from_secs(2)).await;
    let (mut one, _) = Client::join(&server, 1).await;
    server.begin_stop();
    let unready = async { while ask(&server, "GET", "/readyz", "").await.status == 200 {} };
    timeout(PATIENCE, unready).await.unwrap();
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    for client in [&mut one, &mut two] {
        let last = client.closed().await;
        assert!(
            matches!(last[..], [ServerMessage::Closing { .. }]),
            "{last:?}"
        );
    }
    server.stop().await;
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    text
}

#[tokio::test]
async fn metrics_may_have_an_address_of_their_own_and_logs_be_json() {
    let arguments = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let running = start(&[&arguments[..], &["--log-format", "json"]].concat()).await;
    let public = running.line.trim().rsplit_once('/').unwrap().1.to_owned();
    let hidden = get(&public, "/metrics").await;
    assert!(hidden.starts_with("HTTP/1.1 404"), "{hidden}");
    let (status, log) = running.terminate().await;
    assert!(status.success());
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let place = lines
        .iter()
        .find_map(|line| line["address"].as_str())
        .unwrap();
    assert!(place.starts_with("127.0.0.1:"), "{log}");
    assert!(
        lines.iter().any(|line| line["message"] == "closing"),
        "{log}"
    );

    // With the port known, it is asked.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = free.local_addr().unwrap().to_string();
    drop(free);
    let running = start(&["--listen", "127.0.0.1:0", "--metrics-listen", &place]).await;
    assert!(get(&place, "/metrics").await.contains("# EOF"));
    assert!(get(&place, "/readyz").await.ends_with("ready\n"));
    assert!(get(&place, "/v1/server").await.starts_with("HTTP/1.1 404"));
    let (_, log) = running.terminate().await;
    assert!(
        !log.contains("12D3KooW") || log.matches("12D3KooW").count() == 1,
        "{log}"
    );
}
