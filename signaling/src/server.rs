//! The HTTP side: routes, and the loop that accepts connections.

use crate::{api, files, socket, state::AppState, tls::Tls};
use axum::{
    Router,
    http::{HeaderMap, Uri},
    response::Response,
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use shoal_protocol::rendezvous;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

/// A request's head must have come within this time, and the TLS handshake be over. Guess.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes a request's head may have, and an HTTP connection may buffer. Hyper's least.
const HTTP_BUFFER: usize = 8 * 1024;
/// How long to wait when no connection can be accepted, most likely for want of files. Guess.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long an answer that is under way may take when the server ends. Guess; browsers keep
/// connections open on which they have not asked anything.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the end of the server may take. Guess: closing all sockets, with a margin.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// All routes of the server. Timers run only under [`run`].
pub fn app(state: AppState) -> Router {
    Router::new()
        .route(rendezvous::PATH, get(socket::upgrade))
        .merge(api::routes())
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback_service(get(serve_file))
        .with_state(state)
}

/// Serves until `shutdown` resolves, then tells the peers and ends in an orderly way.
pub async fn run(
    listener: TcpListener,
    tls: Option<Tls>,
    state: AppState,
    shutdown: impl Future<Output = ()>,
) {
    let app = app(state.clone());
    let timers = tokio::spawn(state.clone().run_timers());
    // Every HTTP connection holds a receiver until it ends.
    let closing = watch::Sender::new(());
    let mut shutdown = core::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if !concerns_one_connection(&error) {
                        tracing::warn!(%error, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        let connection = serve_connection(stream, tls.clone(), app.clone(), closing.subscribe());
        tokio::spawn(connection);
    }
    drop(listener);
    tracing::info!("closing");
    let closed = async {
        state.close_sockets().await;
        closing.send_replace(());
        closing.closed().await;
    };
    if timeout(SHUTDOWN_TIMEOUT, closed).await.is_err() {
        tracing::warn!("some connections did not close in time");
    }
    timers.abort();
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<Tls>,
    app: Router,
    mut closing: watch::Receiver<()>,
) {
    // Signals are small and waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    match tls {
        None => serve_http(stream, app, closing).await,
        Some(tls) => {
            let handshake = tokio::select! {
                handshake = timeout(HEAD_TIMEOUT, tls.accept(stream)) => handshake,
                _ = closing.changed() => return,
            };
            match handshake {
                Ok(Ok(stream)) => serve_http(stream, app, closing).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

async fn serve_http<S>(stream: S, app: Router, mut closing: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HTTP_BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .with_upgrades();
    let mut connection = core::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            match timeout(LAST_ANSWER_TIMEOUT, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ends");
    }
}

/// The peer went before it was accepted; the listener itself is well.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

async fn serve_file(uri: Uri, headers: HeaderMap) -> Response {
    files::answer(uri.path(), &headers)
}
