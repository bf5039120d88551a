//! What the server says over plain HTTP. Files with their headers are tested in `files`.

use crate::rig::{PATIENCE, Server};
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn body(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap()
    }
}

pub async fn ask(server: &Server, method: &str, path: &str, more: &str) -> Answer {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = bytes.split_off(end.unwrap() + 4);
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    Answer {
        status: status.parse().unwrap(),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        bytes: body,
    }
}

#[tokio::test]
async fn people_and_tools_ask_who_it_is_and_whether_it_is_well() {
    let server = Server::start().await;
    let health = ask(&server, "GET", "/healthz", "").await;
    assert_eq!((health.status, health.body()), (200, "ok\n"));
    let who = ask(&server, "GET", "/v1/server", "").await;
    assert_eq!(who.headers["content-type"], "application/json");
    let said: serde_json::Value = serde_json::from_slice(&who.bytes).unwrap();
    assert_eq!(said["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(said["versions"][0], 1);
    let identity = server.state.config().identity.to_string();
    assert_eq!(said["identity"], identity);
}

#[tokio::test]
async fn the_root_says_what_to_do_or_is_the_page() {
    let server = Server::start().await;
    let page = ask(&server, "GET", "/", "").await;
    assert_eq!(page.status, 200);
    if cfg!(feature = "embed") {
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    } else {
        assert!(page.body().contains("cargo xtask build"), "{}", page.body());
        assert_eq!(page.headers["content-type"], "text/plain; charset=utf-8");
    }
    let head = ask(&server, "HEAD", "/", "").await;
    assert_eq!((head.status, head.body()), (200, ""));
    assert_eq!(head.headers["content-length"], page.bytes.len().to_string());
    assert_eq!(head.headers["content-type"], page.headers["content-type"]);

    for path in [
        "/none",
        "/shoal/none",
        "/shoal/../Cargo.toml",
        "//etc/passwd",
    ] {
        assert_eq!(ask(&server, "GET", path, "").await.status, 404, "{path}");
    }
    assert_eq!(ask(&server, "POST", "/", "").await.status, 405);
    assert_eq!(ask(&server, "GET", "/v1/socket", "").await.status, 400);
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let server = Server::start().await;
    let long = format!("X-Long: {}\r\n", "x".repeat(20_000));
    let answer = ask(&server, "GET", "/healthz", &long).await;
    assert_eq!(answer.status, 431);
}
