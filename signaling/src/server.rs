//! The HTTP side: routes, and the loop that accepts connections.

use crate::{
    address::Address,
    api, files, metrics, socket,
    state::{AppState, OpenHttp},
    tls::Tls,
};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use shoal_protocol::rendezvous;
use std::{
    error::Error,
    io::{self, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutWriter;

/// Connections that may wait to be accepted, of which the system allows as many as its
/// `net.core.somaxconn` says. All peers come back at once after a restart, and whose first packet
/// finds no room tries again after 1, 3, 7, 15 and 31 s (RFC 6298, section 2). Guess: half of
/// the default of `connections`.
const BACKLOG: u32 = 10_000;
/// Bytes a request's head may have, and an HTTP connection may buffer. Hyper's least.
const HTTP_BUFFER: usize = 8 * 1024;
/// How long to wait when no connection can be accepted, most likely for want of files. Guess.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long an answer that is under way may take when the server ends. Guess; browsers keep
/// connections open on which they have not asked anything.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// From where a connection comes, before any header is read.
#[derive(Clone, Copy)]
struct Remote(IpAddr);

/// All routes of the server. Timers run only under [`run`].
pub fn app(state: AppState) -> Router {
    let routes = Router::new()
        .route(rendezvous::PATH, get(socket::upgrade))
        .merge(api::routes())
        .fallback_service(get(serve_file))
        .layer(from_fn_with_state(state.clone(), admit))
        // What watches the server is never kept out.
        .merge(health());
    let routes = match state.config().metrics {
        true => routes.route("/metrics", get(show_metrics)),
        false => routes,
    };
    routes.with_state(state)
}

/// The routes for the operator alone.
fn watching(state: AppState) -> Router {
    health()
        .route("/metrics", get(show_metrics))
        .with_state(state)
}

fn health() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(say_whether_ready))
}

/// Listens on a host or address with a port.
pub async fn listen(place: &str) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(place).await? {
        match listen_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted server need not wait until the old connections are forgotten. Elsewhere
    // than on Unix it would let two servers have one port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown` resolves, goes on for as long as the bounds say, then tells the
/// peers and ends in an orderly way.
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
    let accepting = async {
        loop {
            let (stream, from) = accept(&listener).await;
            let open = match state.open_http(from) {
                Ok(open) => open,
                Err(refusal) => {
                    tracing::debug!(%from, limit = refusal.reached.key, "no room for a connection");
                    refuse(stream, refusal.retry_after);
                    continue;
                }
            };
            let service = Serving {
                app: app.clone(),
                from,
                state: state.clone(),
                closing: closing.subscribe(),
            };
            tokio::spawn(serve_connection(stream, tls.clone(), service, open));
        }
    };
    let drain = state.config().limits.drain;
    let ended = async {
        shutdown.await;
        if !drain.is_zero() {
            tracing::info!(?drain, "draining");
            state.drain();
            sleep(drain).await;
        }
    };
    tokio::select! {
        () = accepting => {}
        () = ended => {}
    }
    drop(listener);
    tracing::info!("closing");
    let closed = async {
        state.close_sockets().await;
        closing.send_replace(());
        closing.closed().await;
    };
    let within = state.config().limits.shutdown_timeout;
    if timeout(within, closed).await.is_err() {
        tracing::warn!("some connections did not close in time");
    }
    timers.abort();
}

/// Serves `/metrics`, `/healthz` and `/readyz` alone, for as long as it is polled.
pub async fn run_metrics(listener: TcpListener, state: AppState) {
    let app = watching(state.clone());
    let closing = watch::Sender::new(());
    loop {
        let (stream, from) = accept(&listener).await;
        let serving = Serving {
            app: app.clone(),
            from,
            state: state.clone(),
            closing: closing.subscribe(),
        };
        tokio::spawn(serve_http(stream, serving));
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from.ip()),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What a connection hears that is not even asked what it wants. Says so if that takes no time;
/// over TLS it is no answer, and the connection just ends.
fn refuse(stream: TcpStream, retry_after: Duration) {
    let wait = api::whole_seconds(retry_after);
    let words = format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         content-type: text/plain; charset=utf-8\r\nretry-after: {wait}\r\n\
         content-length: 31\r\nconnection: close\r\n\r\nthis server has no room for it\n"
    );
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(words.as_bytes());
    }
}

/// What a connection is served, and until when.
struct Serving {
    app: Router,
    from: IpAddr,
    state: AppState,
    closing: watch::Receiver<()>,
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<Tls>,
    mut serving: Serving,
    open: OpenHttp,
) {
    // It counts until it ends or is a WebSocket.
    let _open = open;
    // Signals are small and waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    match tls {
        None => serve_http(stream, serving).await,
        Some(tls) => {
            let within = serving.state.config().limits.head_timeout;
            let handshake = tokio::select! {
                handshake = timeout(within, tls.accept(stream)) => handshake,
                _ = serving.closing.changed() => return,
            };
            match handshake {
                Ok(Ok(stream)) => serve_http(stream, serving).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => {
                    serving.state.handle_reached("head-timeout-seconds");
                    tracing::debug!("a TLS handshake took too long");
                }
            }
        }
    }
}

async fn serve_http<S>(stream: S, serving: Serving)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let Serving {
        app,
        from,
        state,
        mut closing,
    } = serving;
    let limits = &state.config().limits;
    // Who asks for much and reads nothing would hold it for ever.
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(limits.write_timeout));
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Remote(from));
        app.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HTTP_BUFFER)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
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
        if error.is_timeout() {
            state.handle_reached("head-timeout-seconds");
        } else if is_slow_reader(&error) {
            state.handle_reached("write-timeout-seconds");
        }
        tracing::debug!(%error, "an HTTP connection ends");
    }
}

/// Whether an answer was not taken in time.
fn is_slow_reader(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &io::Error| cause.kind() == io::ErrorKind::TimedOut)
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

/// Finds out who asks, and whether it may.
async fn admit(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let Remote(remote) = request
        .extensions()
        .get()
        .copied()
        .unwrap_or(Remote(Ipv6Addr::UNSPECIFIED.into()));
    let config = state.config();
    let client = config.proxies.client(remote, request.headers());
    let address = Address::new(client, config.limits.ipv6_prefix);
    request.extensions_mut().insert(address);
    let upgrade = request.uri().path() == rendezvous::PATH;
    let response = match state.admit_request(address, upgrade) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            tracing::debug!(%address, limit = refusal.reached.key, "a request is refused");
            api::refusal(&refusal)
        }
    };
    let status = response.status().as_str().to_owned();
    let responses = &state.traffic().responses;
    responses.get_or_create(&[("status", status)]).inc();
    response
}

async fn say_whether_ready(State(state): State<AppState>) -> Response {
    match state.unready() {
        None => "ready\n".into_response(),
        Some(why) => {
            let words = format!("not ready: {why}\n");
            (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
        }
    }
}

async fn show_metrics(State(state): State<AppState>) -> Response {
    match metrics::render(&state) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn serve_file(uri: Uri, headers: HeaderMap) -> Response {
    files::answer(uri.path(), &headers)
}
