//! A peer's WebSocket: carries messages between it and the registry, and decides nothing.

use crate::{
    address::Address,
    check::Fault,
    frames::{Broken, Received, WebSocket},
    limits::Limits,
    registry::Transmit,
    state::{AppState, Connection},
};
use axum::{
    body::Body,
    extract::{Extension, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use core::future::ready;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use shoal_protocol::rendezvous::ErrorCode;
use std::io;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

/// In a box, since a future has room for each place a value is ever moved to.
type Socket = Box<WebSocket<TokioIo<Upgraded>>>;

/// Answers a request for [`shoal_protocol::rendezvous::PATH`].
pub(crate) async fn upgrade(
    State(state): State<AppState>,
    Extension(from): Extension<Address>,
    mut request: Request,
) -> Response {
    if !origin_allowed(request.headers(), &state.config().allowed_origins) {
        tracing::debug!(%from, "a page of an origin that is not allowed");
        let words = "pages of this origin may not use this server\n";
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    let response = match create_response_with_body(&request, Body::empty) {
        Ok(response) => response,
        Err(error) => {
            let words = format!("a WebSocket is expected here: {error}\n");
            return (StatusCode::BAD_REQUEST, words).into_response();
        }
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let socket = WebSocket::new(TokioIo::new(upgraded));
                serve(Box::new(socket), state, from).await;
            }
            Err(error) => tracing::debug!(%error, "a connection did not become a WebSocket"),
        }
    });
    response
}

/// Without an `Origin` it is no page of a browser that asks.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let same = |allowed: &String| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes());
    allowed.is_empty() || allowed.iter().any(same)
}

async fn serve(mut socket: Socket, state: AppState, from: Address) {
    let _open = state.count_socket();
    let mut connection = state.connect(from);
    let limits = &state.config().limits;
    let end = exchange(&mut socket, &mut connection, limits).await;
    connection.handle_bytes(socket.take_read());
    // The registry need not wait for the socket's last words, but counts it until it is closed.
    connection.handle_closing();
    let reason = end.reason();
    let reasons = &state.traffic().closed;
    reasons.get_or_create(&[("reason", reason)]).inc();
    tracing::debug!(%from, reason, "a connection ends");
    if !end.has_last_words() {
        drop(socket);
    } else if timeout(limits.close_timeout, socket.close()).await.is_err() {
        connection.handle_reached("close-timeout-seconds");
        tracing::debug!(%from, "a connection did not close in time");
    }
}

/// Why a connection ends.
#[derive(Clone, Copy)]
enum End {
    ByPeer,
    ByServer,
    /// What the peer sends cannot be read.
    Unreadable,
    SlowReader,
    Lost,
}

impl End {
    /// For whoever watches the server.
    fn reason(self) -> &'static str {
        match self {
            Self::ByPeer => "by-peer",
            Self::ByServer => "by-server",
            Self::Unreadable => "unreadable",
            Self::SlowReader => "slow-reader",
            Self::Lost => "lost",
        }
    }

    /// Whether the peer is there and hears them.
    fn has_last_words(self) -> bool {
        matches!(self, Self::ByPeer | Self::ByServer | Self::Unreadable)
    }
}

/// Carries messages both ways until the connection ends; says why it does.
async fn exchange(socket: &mut Socket, connection: &mut Connection, limits: &Limits) -> End {
    loop {
        let received = match connection.poll_transmit() {
            Transmit::Close => return End::ByServer,
            Transmit::Message(message) => {
                let text = message.to_text();
                connection.handle_sent(text.len());
                let sent = timeout(limits.write_timeout, socket.send(text)).await;
                if let Some(end) = ended(sent, connection) {
                    return end;
                }
                // Long answers must not keep the server from hearing the peer.
                tokio::select! {
                    biased;
                    received = receive(socket, connection.quiet_until()) => received,
                    () = ready(()) => continue,
                }
            }
            Transmit::Idle => tokio::select! {
                received = receive(socket, connection.quiet_until()) => received,
                () = connection.woken() => continue,
            },
        };
        match received {
            Ok(Received::Text(text)) => connection.handle_text(socket.take_read(), &text),
            Ok(Received::Binary) => {
                let fault = Fault::new(ErrorCode::Malformed, "messages are text, not binary");
                connection.handle_fault(socket.take_read(), fault);
            }
            Ok(Received::Ping(content)) => {
                connection.handle_bytes(socket.take_read());
                let sent = timeout(limits.write_timeout, socket.pong(content)).await;
                if let Some(end) = ended(sent, connection) {
                    return end;
                }
            }
            Ok(Received::Pong | Received::Part) => connection.handle_bytes(socket.take_read()),
            Ok(Received::Close) => return End::ByPeer,
            Err(broken) => {
                let code = match &broken {
                    Broken::Ended | Broken::Lost(_) => return End::Lost,
                    Broken::TooLong => ErrorCode::Limit,
                    Broken::NotUtf8 | Broken::Malformed(_) => ErrorCode::Malformed,
                };
                let fault = Fault::new(code, broken.to_string());
                connection.handle_fault(socket.take_read(), fault);
                return last_words(socket, connection, limits).await;
            }
        }
    }
}

/// Whether a connection ends since something could not be sent. The stream has the limit for
/// messages too, since answers over HTTP have no other.
fn ended(
    sent: Result<io::Result<()>, tokio::time::error::Elapsed>,
    connection: &mut Connection,
) -> Option<End> {
    match sent {
        Ok(Ok(())) => None,
        Ok(Err(error)) if error.kind() != io::ErrorKind::TimedOut => Some(End::Lost),
        _ => {
            connection.handle_reached("write-timeout-seconds");
            Some(End::SlowReader)
        }
    }
}

/// Nothing more can be read: sends what waits for the peer, an error most likely.
async fn last_words(socket: &mut Socket, connection: &mut Connection, limits: &Limits) -> End {
    while let Transmit::Message(message) = connection.poll_transmit() {
        let text = message.to_text();
        connection.handle_sent(text.len());
        let sent = timeout(limits.write_timeout, socket.send(text)).await;
        if let Some(end) = ended(sent, connection) {
            return end;
        }
    }
    End::Unreadable
}

/// What comes next, once it may be read.
async fn receive(socket: &mut Socket, quiet_until: Option<Instant>) -> Result<Received, Broken> {
    if let Some(until) = quiet_until {
        sleep_until(until).await;
    }
    socket.receive().await
}
