//! The demo page at `/` and the package under `/shoal/`, out of the binary.
//!
//! `build.rs` puts the files in behind the feature `embed`, with the compressed forms that
//! `cargo xtask build` made. They are named by their hash (`ETag`) and asked about every time
//! (`no-cache`), so a page never runs with the parts of two versions for longer than a reload.

use crate::coding::{self, Coding};
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

/// And of its service worker, which answers for pages outside of its folder.
const WORKER: &str = "/shoal/sw.js";
const WORKER_HEADERS: &[(&str, &str)] = &[
    PACKAGE_HEADERS[0],
    PACKAGE_HEADERS[1],
    ("service-worker-allowed", "/"),
];

/// A file in the binary, with its compressed forms where they are smaller.
struct Embedded {
    path: &'static str,
    identity: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

#[cfg(feature = "embed")]
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

#[cfg(not(feature = "embed"))]
static EMBEDDED: &[Embedded] = &[];

struct File {
    forms: Vec<Form>,
    content_type: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

/// A file in one content coding.
struct Form {
    coding: Coding,
    bytes: &'static [u8],
    etag: HeaderValue,
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
    let file = |embedded: &'static Embedded| {
        let forms = [
            (Coding::Identity, Some(embedded.identity)),
            (Coding::Gzip, embedded.gzip),
            (Coding::Brotli, embedded.brotli),
        ];
        let hash = blake3::hash(embedded.identity).to_hex();
        let form = |(coding, bytes): (Coding, Option<&'static [u8]>)| {
            let bytes = bytes?;
            // Each form has a tag of its own (RFC 9110, section 8.8.3.3). Letters, digits and
            // a hyphen in quotes are a valid header.
            let tag = format!("\"{}-{}\"", &hash[..32], coding.name());
            let etag = HeaderValue::try_from(tag).ok()?;
            Some(Form {
                coding,
                bytes,
                etag,
            })
        };
        let file = File {
            forms: forms.into_iter().filter_map(form).collect(),
            content_type: content_type(embedded.path),
            headers: match embedded.path {
                WORKER => WORKER_HEADERS,
                path if path.starts_with("/shoal/") => PACKAGE_HEADERS,
                _ => PAGE_HEADERS,
            },
        };
        (embedded.path, file)
    };
    embedded.iter().map(file).collect()
}

fn serve(files: &BTreeMap<&str, File>, path: &str, request: &HeaderMap) -> Option<Response> {
    let file = match path {
        "/" => files.get("/index.html"),
        path => files.get(path),
    }?;
    let coding = coding::choose(request, file.forms.iter().map(|form| form.coding));
    let form = file.forms.iter().find(|form| form.coding == coding)?;
    let mut response = if is_known(request, &form.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Body::from(form.bytes).into_response();
        if coding != Coding::Identity {
            let coding = HeaderValue::from_static(coding.name());
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, coding);
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(file.content_type),
    );
    // Said with 304 too, where it must be that of the file (RFC 9110, section 8.6).
    headers.insert(header::CONTENT_LENGTH, form.bytes.len().into());
    headers.insert(header::ETAG, form.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
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

    const fn plain(path: &'static str, identity: &'static [u8]) -> Embedded {
        Embedded {
            path,
            identity,
            brotli: None,
            gzip: None,
        }
    }

    static SITE: &[Embedded] = &[
        plain("/index.html", b"<!doctype html>"),
        plain("/shoal/LICENSE-MIT", b"MIT"),
        plain("/shoal/sw.js", b"{}"),
        Embedded {
            brotli: Some(b"br"),
            gzip: Some(b"gz."),
            ..plain("/shoal/shoal_bg.wasm", b"\0asm")
        },
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

        assert_eq!(header(&wasm, "service-worker-allowed"), None);
        let worker = serve(&files, "/shoal/sw.js", &HeaderMap::new()).unwrap();
        assert_eq!(header(&worker, "service-worker-allowed"), Some("/"));
        assert_eq!(header(&worker, "access-control-allow-origin"), Some("*"));

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
    #[test]
    fn each_form_has_its_own_tag_and_caches_keep_them_apart() {
        let files = index(SITE);
        let ask = |path: &str, headers: &[(HeaderName, &str)]| {
            let headers = headers.iter();
            let pairs = headers.map(|(name, value)| (name.clone(), value.parse().unwrap()));
            let response = serve(&files, path, &pairs.collect()).unwrap();
            assert_eq!(header(&response, "vary"), Some("accept-encoding"));
            response
        };
        let wasm = "/shoal/shoal_bg.wasm";
        let mut tags = Vec::new();
        for (accepted, coding, length) in [
            ("br, gzip", Some("br"), "2"),
            ("gzip", Some("gzip"), "3"),
            ("identity", None, "4"),
        ] {
            let full = ask(wasm, &[(header::ACCEPT_ENCODING, accepted)]);
            assert_eq!(header(&full, "content-encoding"), coding);
            assert_eq!(header(&full, "content-length"), Some(length));
            assert_eq!(header(&full, "content-type"), Some("application/wasm"));
            let tag = header(&full, "etag").unwrap().to_owned();
            assert!(!tags.contains(&tag));
            for known in &tags {
                let other = ask(
                    wasm,
                    &[
                        (header::ACCEPT_ENCODING, accepted),
                        (header::IF_NONE_MATCH, known),
                    ],
                );
                assert_eq!(other.status(), StatusCode::OK, "{known}");
            }
            let known = ask(
                wasm,
                &[
                    (header::ACCEPT_ENCODING, accepted),
                    (header::IF_NONE_MATCH, &tag),
                ],
            );
            assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(header(&known, "etag"), Some(&*tag));
            assert_eq!(header(&known, "content-encoding"), None);
            tags.push(tag);
        }
        let plain = ask("/", &[(header::ACCEPT_ENCODING, "br, gzip")]);
        assert_eq!(header(&plain, "content-encoding"), None);
        assert_eq!(header(&plain, "content-length"), Some("15"));
    }
}
