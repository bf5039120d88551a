//! A peer's WebSocket: carries messages between it and the registry, and decides nothing.

use crate::{
    check::Fault,
    limits::Limits,
    registry::Transmit,
    state::{AppState, Connection},
};
use axum::{
    Error,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use core::future::ready;
use shoal_protocol::rendezvous::{ErrorCode, MAX_MESSAGE};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error as Broken;

/// Bytes read from a socket at once. The library's default, 128 KiB for each connection, is
/// most of what an idle peer costs.
const READ_BUFFER: usize = 4 * 1024;
/// Bytes gathered before they are written. All messages are flushed, so none is useful.
const WRITE_BUFFER: usize = 0;
/// Bytes a socket may keep unwritten: one message with its frame, and answers to pings.
const MAX_WRITE_BUFFER: usize = MAX_MESSAGE + 4 * 1024;

/// Answers a request for [`shoal_protocol::rendezvous::PATH`].
pub(crate) async fn upgrade(
    State(state): State<AppState>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !origin_allowed(&headers, &state.config().allowed_origins) {
        let words = "pages of this origin may not use this server\n";
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| serve(socket, state))
}

/// Without an `Origin` it is no page of a browser that asks.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let same = |allowed: &String| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes());
    allowed.is_empty() || allowed.iter().any(same)
}

async fn serve(mut socket: WebSocket, state: AppState) {
    let _open = state.count_socket();
    let mut connection = state.connect();
    let limits = &state.config().limits;
    let reason = exchange(&mut socket, &mut connection, limits).await;
    // The registry need not wait for the socket's last words.
    drop(connection);
    tracing::debug!(reason, "a connection ends");
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
            Transmit::Close => return "closed by the server",
            Transmit::Message(message) => {
                let text = Message::Text(message.to_text().into());
                match timeout(limits.write_timeout, socket.send(text)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return "lost while writing",
                    Err(_) => return "its reader is too slow",
                }
                // Long answers must not keep the server from hearing the peer.
                tokio::select! {
                    biased;
                    received = socket.recv() => received,
                    () = ready(()) => continue,
                }
            }
            Transmit::Idle => tokio::select! {
                received = socket.recv() => received,
                () = connection.woken() => continue,
            },
        };
        match received {
            Some(Ok(Message::Text(text))) => connection.handle_text(&text),
            Some(Ok(Message::Binary(_))) => connection.handle_fault(Fault::new(
                ErrorCode::Malformed,
                "messages are text, not binary",
            )),
            // The library answers pings.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) | None => return "closed by the peer",
            Some(Err(error)) => match broken(&error) {
                Some(fault) => {
                    connection.handle_fault(fault);
                    return last_words(socket, connection, limits).await;
                }
                None => return "lost while reading",
            },
        }
    }
}

/// Nothing more can be read: sends what waits for the peer, an error most likely.
async fn last_words(
    socket: &mut WebSocket,
    connection: &mut Connection,
    limits: &Limits,
) -> &'static str {
    while let Transmit::Message(message) = connection.poll_transmit() {
        let text = Message::Text(message.to_text().into());
        if !matches!(
            timeout(limits.write_timeout, socket.send(text)).await,
            Ok(Ok(()))
        ) {
            break;
        }
    }
    "sent what is no WebSocket message here"
}

/// What a peer is told when its frames cannot be read, if it can be told at all.
fn broken(error: &Error) -> Option<Fault> {
    let source = std::error::Error::source(error)?.downcast_ref::<Broken>()?;
    match source {
        Broken::Capacity(_) => Some(Fault::new(
            ErrorCode::Limit,
            format!("a message has at most {MAX_MESSAGE} bytes"),
        )),
        Broken::Utf8(_) => Some(Fault::new(ErrorCode::Malformed, "a message is not UTF-8")),
        _ => None,
    }
}

/// Says goodbye and reads to the end, so that what was written arrives: a socket closed with
/// bytes unread is reset, and the peer would lose the last messages.
async fn finish(mut socket: WebSocket) {
    if socket.send(Message::Close(None)).await.is_err() {
        return;
    }
    while let Some(Ok(_)) = socket.recv().await {}
}
