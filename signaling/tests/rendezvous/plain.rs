//! What the server says over plain HTTP. Files with their headers are tested in `files`.

use crate::{
    http::ask,
    rig::{PATIENCE, Server},
};
use shoal_signaling::listen;
use tokio::{net::TcpStream, time::timeout};

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

/// Nobody is accepted here; whoever finds no room would wait for longer than this test does.
#[tokio::test]
async fn as_many_wait_to_be_accepted_as_come_back_after_a_restart() {
    // Linux says how many it allows; elsewhere that is not known.
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    let listener = listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    // More than tokio lets wait, which is 1,024.
    for n in 0..allowed.trim().parse().unwrap_or(0).min(1_100) {
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
        waiting.push(connected.unwrap_or_else(|_| panic!("no room for one more than {n}")));
    }
}
