//! What people and tools may ask over HTTP, in JSON: who the server is, who is in a public
//! namespace, who holds a content. `openapi.json` describes it.
//!
//! It only reads, and tells what any peer that joined is told, so pages of every origin may ask
//! (`Access-Control-Allow-Origin: *`). No answer has an address of a peer.

use crate::{admission::Refusal, state::AppState};
use axum::{
    Router,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde::{Deserialize, Serialize};
use shoal_protocol::{
    VERSIONS, content::ContentKey, id::PeerId, namespace::Namespace, rendezvous::PeerSummary,
};
use std::time::Duration;

/// The description of all this, as OpenAPI 3.1.
const DESCRIPTION: &str = include_str!("openapi.json");

/// Whether a namespace is told of to others than its members.
pub(crate) fn is_listed(namespace: &Namespace) -> bool {
    !namespace.is_private()
}

/// The routes, of which the description must have each.
fn paths() -> [(&'static str, MethodRouter<AppState>); 4] {
    [
        ("/v1/server", get(server)),
        ("/v1/peers", get(peers)),
        ("/v1/providers/{key}", get(providers)),
        ("/v1/openapi.json", get(description)),
    ]
}

/// The routes of this module.
pub(crate) fn routes() -> Router<AppState> {
    paths()
        .into_iter()
        .fold(Router::new(), |router, (path, method)| {
            router.route(path, method)
        })
}

#[derive(Serialize)]
struct Server {
    version: &'static str,
    versions: &'static [u16],
    identity: PeerId,
    peers: usize,
}

async fn server(State(state): State<AppState>) -> Response {
    json(
        StatusCode::OK,
        &Server {
            version: env!("CARGO_PKG_VERSION"),
            versions: VERSIONS,
            identity: state.config().identity,
            peers: state.sessions(),
        },
    )
}

#[derive(Deserialize)]
struct PeersQuery {
    #[serde(default)]
    namespace: Namespace,
    after: Option<PeerId>,
    limit: Option<u16>,
}

#[derive(Serialize)]
struct Peers {
    namespace: Namespace,
    peers: Vec<PeerSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<PeerId>,
}

async fn peers(
    State(state): State<AppState>,
    query: Result<Query<PeersQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(PeersQuery {
        namespace,
        after,
        limit,
    }) = query?;
    check_listed(&namespace)?;
    let page = state.list(&namespace, after, limit);
    Ok(json(
        StatusCode::OK,
        &Peers {
            namespace,
            peers: page.peers,
            next: page.next,
        },
    ))
}

#[derive(Deserialize)]
struct ProvidersQuery {
    #[serde(default)]
    namespace: Namespace,
}

#[derive(Serialize)]
struct Providers {
    namespace: Namespace,
    key: ContentKey,
    peers: Vec<PeerId>,
}

async fn providers(
    State(state): State<AppState>,
    key: Result<Path<ContentKey>, PathRejection>,
    query: Result<Query<ProvidersQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(key) = key?;
    let Query(ProvidersQuery { namespace }) = query?;
    check_listed(&namespace)?;
    let peers = state.providers(&namespace, &key);
    Ok(json(
        StatusCode::OK,
        &Providers {
            namespace,
            key,
            peers,
        },
    ))
}

async fn description() -> Response {
    answer(StatusCode::OK, DESCRIPTION.into())
}

/// The answer to who asks too often, or for more than there is room for.
pub(crate) fn refusal(refusal: &Refusal) -> Response {
    let reached = &refusal.reached;
    let status = match reached.wait {
        Duration::ZERO => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::TOO_MANY_REQUESTS,
    };
    let problem = Problem {
        status,
        code: "limit",
        message: format!("this server has as many {} as it takes", reached.what),
    };
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    let wait = whole_seconds(refusal.retry_after);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
    response
}

/// As `Retry-After` has it: at least one (RFC 9110, section 10.2.3).
pub(crate) fn whole_seconds(span: Duration) -> u64 {
    let rest = u64::from(span.subsec_nanos() > 0);
    span.as_secs().saturating_add(rest).max(1)
}

fn check_listed(namespace: &Namespace) -> Result<(), Problem> {
    if is_listed(namespace) {
        return Ok(());
    }
    Err(Problem {
        status: StatusCode::NOT_FOUND,
        code: "unlisted",
        message: "a private namespace is listed to its members only".into(),
    })
}

/// Why there is no answer.
#[derive(Serialize)]
struct Problem {
    #[serde(skip)]
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    fn malformed(message: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "malformed",
            message,
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::malformed(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed(rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json(self.status, &self)
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Bodies are structs of strings and numbers: serialising cannot fail.
    let mut text = serde_json::to_string(body).unwrap_or_default();
    text.push('\n');
    answer(status, text)
}

fn answer(status: StatusCode, text: String) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        ),
    ];
    (status, headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_every_route() {
        let said: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
        for (path, _) in paths() {
            assert!(said["paths"][path]["get"].is_object(), "{path}");
        }
    }

    #[test]
    fn public_namespaces_are_listed() {
        assert!(is_listed(&Namespace::default()));
    }
}
