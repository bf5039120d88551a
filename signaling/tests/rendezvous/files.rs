//! The page and the package out of the binary, as browsers and caches ask for them. Only with
//! the feature `embed`: `cargo xtask test` runs it so.

use crate::http::{Answer, ask};
use crate::rig::Server;
use std::io::Read;

const WASM: &str = "/shoal/shoal_peer_bg.wasm";

/// What Chromium and Firefox send to https and to localhost, and to plain http.
const OF_BROWSERS: [(&str, &str); 2] =
    [("gzip, deflate, br, zstd", "br"), ("gzip, deflate", "gzip")];

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    ask(server, "GET", path, &lines.collect::<String>()).await
}

fn unpacked(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    match answer.headers["content-encoding"].as_str() {
        "br" => brotli_decompressor::BrotliDecompress(&mut &*answer.bytes, &mut bytes).unwrap(),
        "gzip" => drop(
            flate2::read::GzDecoder::new(&*answer.bytes)
                .read_to_end(&mut bytes)
                .unwrap(),
        ),
        other => panic!("{other}"),
    }
    bytes
}

#[tokio::test]
async fn files_come_compressed_to_who_can_unpack_them() {
    let server = Server::start().await;
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/shoal/index.d.ts", "text/plain; charset=utf-8"),
        ("/shoal/index.js", "text/javascript; charset=utf-8"),
        // Whatever the coding, or browsers do not compile it while it arrives.
        (WASM, "application/wasm"),
    ] {
        let plain = get(&server, path, &[]).await;
        assert_eq!(plain.headers.get("content-encoding"), None);
        let mut length = plain.bytes.len();
        for (accepted, coding) in OF_BROWSERS.into_iter().rev() {
            let packed = get(&server, path, &[("Accept-Encoding", accepted)]).await;
            assert_eq!(packed.status, 200);
            assert_eq!(packed.headers["content-encoding"], coding);
            assert_eq!(packed.headers["content-type"], content_type);
            assert_eq!(
                packed.headers["content-length"],
                packed.bytes.len().to_string()
            );
            assert_eq!(packed.headers["vary"], "accept-encoding");
            assert!(unpacked(&packed) == plain.bytes, "{path} as {coding}");
            assert!(packed.bytes.len() < length, "{path} as {coding}");
            length = packed.bytes.len();
        }
    }
}

#[tokio::test]
async fn who_accepts_no_coding_gets_the_file_as_it_is() {
    let server = Server::start().await;
    let plain = get(&server, WASM, &[]).await;
    assert!(plain.bytes.starts_with(b"\0asm"));
    assert_eq!(plain.headers["vary"], "accept-encoding");
    for accepted in ["identity", "deflate, zstd", "br;q=0, gzip;q=0", ""] {
        let same = get(&server, WASM, &[("Accept-Encoding", accepted)]).await;
        assert_eq!(same.headers.get("content-encoding"), None, "{accepted}");
        assert!(same.bytes == plain.bytes, "{accepted}");
    }
    let head = ask(&server, "HEAD", WASM, "Accept-Encoding: br\r\n").await;
    assert_eq!((head.status, head.bytes.len()), (200, 0));
    assert_eq!(head.headers["content-encoding"], "br");
}

#[tokio::test]
async fn each_coding_of_a_file_is_known_by_its_own_tag() {
    let server = Server::start().await;
    let mut before = String::from("\"none\"");
    for accepted in ["identity", "gzip", "br"] {
        let ask = async |tag: &str| {
            let headers = [("Accept-Encoding", accepted), ("If-None-Match", tag)];
            get(&server, "/shoal/index.js", &headers).await
        };
        let full = ask(&before).await;
        assert_eq!(full.status, 200, "{accepted}");
        assert_eq!(full.headers["access-control-allow-origin"], "*");
        let tag = &full.headers["etag"];
        let known = ask(tag).await;
        assert_eq!((known.status, known.bytes.len()), (304, 0), "{accepted}");
        assert_eq!(known.headers["etag"], *tag);
        assert_eq!(known.headers["vary"], "accept-encoding");
        before.clone_from(tag);
    }
}
