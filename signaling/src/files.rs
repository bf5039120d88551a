//! The demo page at `/` and the package under `/shoal/`, out of the binary.
//!
//! `build.rs` puts the files in behind the feature `embed`. They are named by their hash
//! (`ETag`) and asked about every time (`no-cache`), so a page never runs with the parts of
//! two versions for longer than a reload.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::{collections::BTreeMap, sync::LazyLock};

/// What `/` says where there is no page.
const NO_PAGE: &str = "built without the page: use cargo xtask build\n";

/// The page may load only what this server serves, and connect to any rendezvous.
const PAGE_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
     worker-src 'self' blob:; connect-src 'self' ws: wss:; img-src 'self' blob: data:; \
     style-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of the demo site.
const PAGE_HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", PAGE_POLICY),
    ("referrer-policy", "no-referrer"),
];

/// Headers of the package, which pages of any origin import.
const PACKAGE_HEADERS: &[(&str, &str)] = &[
    ("access-control-allow-origin", "*"),
    ("cross-origin-resource-policy", "cross-origin"),
];

/// A file in the binary: its path and its bytes.
type Embedded = (&'static str, &'static [u8]);

#[cfg(feature = "embed")]
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

#[cfg(not(feature = "embed"))]
static EMBEDDED: &[Embedded] = &[];

struct File {
    bytes: &'static [u8],
    etag: HeaderValue,
    content_type: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

static FILES: LazyLock<BTreeMap<&str, File>> = LazyLock::new(|| index(EMBEDDED));

/// Answers a request for a file.
pub(crate) fn answer(path: &str, request: &HeaderMap) -> Response {
    let page = FILES.contains_key("/index.html");
    serve(&FILES, path, request).unwrap_or_else(|| match path {
        "/" if !page => NO_PAGE.into_response(),
        _ => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
    })
}

fn index(embedded: &'static [Embedded]) -> BTreeMap<&'static str, File> {
    let file = |&(path, bytes): &Embedded| {
        let hash = blake3::hash(bytes).to_hex();
        // Hexadecimal digits in quotes are a valid header.
        let etag = HeaderValue::try_from(format!("\"{}\"", &hash[..32])).ok()?;
        let file = File {
            bytes,
            etag,
            content_type: content_type(path),
            headers: if path.starts_with("/shoal/") {
                PACKAGE_HEADERS
            } else {
                PAGE_HEADERS
            },
        };
        Some((path, file))
    };
    embedded.iter().filter_map(file).collect()
}

fn serve(files: &BTreeMap<&str, File>, path: &str, request: &HeaderMap) -> Option<Response> {
    let file = match path {
        "/" => files.get("/index.html"),
        path => files.get(path),
    }?;
    let mut response = if is_known(request, &file.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(file.bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(file.content_type),
    );
    // Said with 304 too, where it must be that of the file (RFC 9110, section 8.6).
    headers.insert(header::CONTENT_LENGTH, file.bytes.len().into());
    headers.insert(header::ETAG, file.etag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    for (name, value) in file.headers {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    Some(response)
}

/// Whether the asker has the file already (RFC 9110, section 13.1.2).
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let etag = etag.as_bytes();
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|tag| tag.trim_ascii())
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
}

fn content_type(path: &str) -> &'static str {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        "ts" | "md" | "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SITE: &[Embedded] = &[
        ("/index.html", b"<!doctype html>"),
        ("/shoal/shoal_bg.wasm", b"\0asm"),
        ("/shoal/LICENSE-MIT", b"MIT"),
    ];

    fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        response.headers().get(name)?.to_str().ok()
    }

    #[test]
    fn the_page_is_shut_and_the_package_open() {
        let files = index(SITE);
        let page = serve(&files, "/", &HeaderMap::new()).unwrap();
        assert_eq!(
            header(&page, "content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(header(&page, "access-control-allow-origin"), None);
        assert_eq!(header(&page, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&page, "referrer-policy"), Some("no-referrer"));
        let policy = header(&page, "content-security-policy").unwrap();
        assert!(
            policy.contains("script-src 'self' 'wasm-unsafe-eval';"),
            "{policy}"
        );
        assert!(!policy.contains("  "), "{policy}");

        let wasm = serve(&files, "/shoal/shoal_bg.wasm", &HeaderMap::new()).unwrap();
        assert_eq!(header(&wasm, "content-type"), Some("application/wasm"));
        assert_eq!(header(&wasm, "access-control-allow-origin"), Some("*"));
        assert_eq!(
            header(&wasm, "cross-origin-resource-policy"),
            Some("cross-origin")
        );
        assert_eq!(header(&wasm, "content-security-policy"), None);

        assert!(serve(&files, "/shoal/", &HeaderMap::new()).is_none());
        assert!(serve(&files, "/../index.html", &HeaderMap::new()).is_none());
    }

    #[test]
    fn who_has_a_file_gets_no_second_copy() {
        let files = index(SITE);
        let first = serve(&files, "/", &HeaderMap::new()).unwrap();
        assert_eq!(header(&first, "cache-control"), Some("no-cache"));
        let etag = header(&first, "etag").unwrap().to_owned();
        let ask = |tag: String| {
            let mut request = HeaderMap::new();
            request.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            let response = serve(&files, "/", &request).unwrap();
            assert_eq!(header(&response, "etag"), Some(&*etag));
            assert_eq!(header(&response, "content-length"), Some("15"));
            response.status()
        };
        assert_eq!(ask(etag.clone()), StatusCode::NOT_MODIFIED);
        assert_eq!(
            ask(format!("\"other\", W/{etag}")),
            StatusCode::NOT_MODIFIED
        );
        assert_eq!(ask("*".into()), StatusCode::NOT_MODIFIED);
        assert_eq!(ask("\"other\"".into()), StatusCode::OK);
    }
}
