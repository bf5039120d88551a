//! What the operator's log says of others: at `info`, nothing.

use crate::ALONE;
use crate::process::start;
use crate::rig::{Client, Key, content, open_over};
use shoal_protocol::rendezvous::{MAX_MESSAGE, PATH, PeerMessage};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

/// Where the clients come from: no other line has it.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 7);

async fn connect(server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((SOURCE, 0).into()).unwrap();
    socket.connect(server).await.unwrap()
}

async fn ask(server: SocketAddr, request: &str) {
    let mut stream = connect(server).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    // What is answered, and whether it is, is another test's.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn join(server: SocketAddr, n: u8) -> Client {
    let socket = open_over(connect(server).await, &[]).await.unwrap();
    let mut client = Client::greeted(socket, n).await.unwrap();
    let mut join = client.join_payload();
    join.namespace = "a-namespace".parse().unwrap();
    let (signed, resume) = (client.key.sign(&join), None);
    client.send(PeerMessage::Join { signed, resume }).await;
    client.joined().await;
    client
}

/// Does what a server can be asked for, well and badly; returns its log.
async fn log_of_a_day(filter: &str) -> String {
    let running = start(&[
        "--listen",
        "127.0.0.1:0",
        "--log-filter",
        filter,
        "--head-timeout-seconds",
        "1",
        "--connections-per-address",
        "3",
        "--allow-origin",
        "https://site.example",
    ])
    .await;
    let server = running.address();
    let mut one = join(server, 1).await;
    let mut two = join(server, 2).await;
    one.peers().await;
    let (mut head, pages) = one.key.catalog(1, 1, 1..3);
    head.namespace = "a-namespace".parse().unwrap();
    one.send_catalog(&head, pages).await;
    two.peers().await;
    let mut signal = one.key.signal(two.id(), 1);
    signal.namespace = "a-namespace".parse().unwrap();
    let (id, to, signed) = (1, two.id(), one.key.sign(&signal));
    one.send_signed(id, to, signed).await;
    two.signal().await;

    // One connection that says nonsense, one too many, and a page of another origin.
    let odd = open_over(connect(server).await, &[]).await.unwrap();
    let mut odd = Client::greeted(odd, 3).await.unwrap();
    let many = open_over(connect(server).await, &[]).await.unwrap();
    Client::greeted(many, 4).await.err().unwrap();
    odd.send_raw(Message::text("nonsense")).await;
    odd.error().await;
    odd.closed().await;
    let origin = [("origin", "https://evil.example")];
    open_over(connect(server).await, &origin).await.unwrap_err();
    // Requests that are none, half ones, and one for a content.
    let wanted = format!(
        "GET /v1/providers/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        content(1)
    );
    for request in [
        "nonsense\r\n\r\n",
        "GET / HT",
        &format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n"),
        &wanted,
    ] {
        ask(server, request).await;
    }
    // Connections that break the protocol, and one that breaks off.
    one.send_raw(Message::text(" ".repeat(MAX_MESSAGE + 1)))
        .await;
    one.error().await;
    one.closed().await;
    two.send_invalid_text().await;
    two.error().await;
    two.closed().await;
    drop(join(server, 5).await);
    let (status, log) = running.terminate().await;
    assert!(status.success());
    log
}

#[tokio::test]
async fn no_contents_and_no_addresses_at_info() {
    let _alone = ALONE.lock().await;
    let log = log_of_a_day("info").await;
    assert!(log.contains("ready") && log.contains("closing"), "{log}");
    let peers = [1, 2, 3, 5].map(|n| Key::new(n).id().to_string());
    let others = [
        "127.0.7.7".to_owned(),
        "file 1".into(),
        "file 2".into(),
        content(1).to_string(),
        content(2).to_string(),
        "a-namespace".into(),
        "evil.example".into(),
        "nonsense".into(),
    ];
    for secret in peers.iter().chain(&others) {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    // That it would be seen here.
    assert!(log_of_a_day("debug").await.contains("127.0.7.7"));
}
