//! A peer's WebSocket: carries messages between it and the registry, and decides nothing.

use crate::{
    address::Address,
    check::Fault,
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
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use shoal_protocol::rendezvous::{ErrorCode, MAX_MESSAGE};
use std::io::ErrorKind;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Error, Message,
        handshake::server::create_response_with_body,
        protocol::{
            Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

/// Bytes read from a socket at once: most signals come whole. Each connection keeps so many, and
/// the library's default, 128 KiB, would be most of what an idle peer costs.
const READ_BUFFER: usize = 1024;
/// Bytes of a message in one frame. A connection keeps room for the longest frame it ever wrote,
/// which would be that of `joined` with a whole view.
const FRAGMENT: usize = 1024;
/// Bytes gathered before they are written. All messages are flushed, so none is useful.
const WRITE_BUFFER: usize = 0;
/// Bytes a socket may keep unwritten: a frame, and answers to pings.
const MAX_WRITE_BUFFER: usize = FRAGMENT + 4 * 1024;

/// In a box, since a future has room for each place a value is ever moved to.
type WebSocket = Box<WebSocketStream<TokioIo<Upgraded>>>;

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
                let config = WebSocketConfig::default()
                    .read_buffer_size(READ_BUFFER)
                    .write_buffer_size(WRITE_BUFFER)
                    .max_write_buffer_size(MAX_WRITE_BUFFER)
                    .max_message_size(Some(MAX_MESSAGE))
                    .max_frame_size(Some(MAX_MESSAGE));
                let stream = TokioIo::new(upgraded);
                let socket =
                    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
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

async fn serve(mut socket: WebSocket, state: AppState, from: Address) {
    let _open = state.count_socket();
    let mut connection = state.connect(from);
    let limits = &state.config().limits;
    let reason = exchange(&mut socket, &mut connection, limits).await;
    // The registry need not wait for the socket's last words.
    drop(connection);
    let reasons = &state.traffic().closed;
    reasons.get_or_create(&[("reason", reason)]).inc();
    tracing::debug!(%from, reason, "a connection ends");
    if timeout(limits.close_timeout, finish(socket)).await.is_err() {
        tracing::debug!("a connection did not close in time");
    }
}

/// Carries messages both ways until the connection ends; says why it does.
async fn exchange(
    socket: &mut WebSocket,
    connection: &mut Connection,
    limits: &Limits,
) -> &'static str {
    loop {
        let received = match connection.poll_transmit() {
            Transmit::Close => return "by-server",
            Transmit::Message(message) => {
                let sent = send(socket, connection, message.to_text());
                match timeout(limits.write_timeout, sent).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) if !timed_out(&error) => return "lost",
                    _ => {
                        connection.handle_reached("write-timeout-seconds");
                        return "slow-reader";
                    }
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
            Some(Ok(Message::Text(text))) => connection.handle_text(&text),
            Some(Ok(Message::Binary(bytes))) => {
                let words = "messages are text, not binary";
                let fault = Fault::new(ErrorCode::Malformed, words);
                connection.handle_fault(bytes.len(), fault);
            }
            // The library answers pings.
            Some(Ok(Message::Ping(bytes) | Message::Pong(bytes))) => {
                connection.handle_bytes(bytes.len());
            }
            // Reading gives none.
            Some(Ok(Message::Frame(_))) => {}
            Some(Ok(Message::Close(_))) | None => return "by-peer",
            Some(Err(error)) => match broken(&error) {
                Some(fault) => {
                    connection.handle_fault(0, fault);
                    return last_words(socket, connection, limits).await;
                }
                None => return "lost",
            },
        }
    }
}

/// Sends a message, in frames of at most [`FRAGMENT`] (RFC 6455, section 5.4).
async fn send(socket: &mut WebSocket, connection: &Connection, text: String) -> Result<(), Error> {
    connection.handle_sent(text.len());
    if text.len() <= FRAGMENT {
        return socket.send(Message::text(text)).await;
    }
    let bytes = Bytes::from(text);
    let mut kind = OpCode::Data(Data::Text);
    for start in (0..bytes.len()).step_by(FRAGMENT) {
        let end = bytes.len().min(start + FRAGMENT);
        let frame = Frame::message(bytes.slice(start..end), kind, end == bytes.len());
        socket.send(Message::Frame(frame)).await?;
        kind = OpCode::Data(Data::Continue);
    }
    Ok(())
}

/// Nothing more can be read: sends what waits for the peer, an error most likely.
async fn last_words(
    socket: &mut WebSocket,
    connection: &mut Connection,
    limits: &Limits,
) -> &'static str {
    while let Transmit::Message(message) = connection.poll_transmit() {
        let sent = send(socket, connection, message.to_text());
        if !matches!(timeout(limits.write_timeout, sent).await, Ok(Ok(()))) {
            break;
        }
    }
    "unreadable"
}

/// The next message, once it may be read.
async fn receive(
    socket: &mut WebSocket,
    quiet_until: Option<Instant>,
) -> Option<Result<Message, Error>> {
    if let Some(until) = quiet_until {
        sleep_until(until).await;
    }
    socket.next().await
}

/// The stream has the limit for messages too, since answers over HTTP have no other.
fn timed_out(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == ErrorKind::TimedOut)
}

/// What a peer is told when its frames cannot be read, if it can be told at all.
fn broken(error: &Error) -> Option<Fault> {
    match error {
        Error::Capacity(_) => Some(Fault::new(
            ErrorCode::Limit,
            format!("a message has at most {MAX_MESSAGE} bytes"),
        )),
        Error::Utf8(_) => Some(Fault::new(ErrorCode::Malformed, "a message is not UTF-8")),
        _ => None,
    }
}

/// Says goodbye and reads to the end, so that what was written arrives: a socket closed with
/// bytes unread is reset, and the peer would lose the last messages.
async fn finish(mut socket: WebSocket) {
    if socket.send(Message::Close(None)).await.is_err() {
        return;
    }
    while let Some(Ok(_)) = socket.next().await {}
}
