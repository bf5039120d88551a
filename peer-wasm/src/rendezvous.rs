//! The WebSocket to the rendezvous server.

use gloo_events::EventListener;
use js_sys::JsString;
use shoal_protocol::rendezvous::{MAX_MESSAGE, PATH};
use wasm_bindgen::JsCast;
use web_sys::{MessageEvent, Url, WebSocket};

/// Most bytes that may wait to be sent. A server that takes them no faster is given up.
/// Guess: eight of the longest messages.
const MAX_BUFFERED: u32 = 8 * MAX_MESSAGE as u32;

/// What happened to the connection. After `Closed` nothing follows.
pub enum SocketEvent {
    /// It is open.
    Opened,
    /// A message came in.
    Message(String),
    /// It is closed, could not be opened, or brought something that is no message.
    Closed,
}

/// A connection; closed when dropped, and silent from then on.
pub struct Socket {
    socket: WebSocket,
    listeners: Vec<EventListener>,
}

impl Socket {
    /// Begins to connect. `None` if the browser does not allow it.
    pub fn open(url: &str, notify: impl Fn(SocketEvent) + Clone + 'static) -> Option<Self> {
        let socket = WebSocket::new(url).ok()?;
        let (opened, message, closed) = (notify.clone(), notify.clone(), notify);
        let listeners = vec![
            EventListener::new(&socket, "open", move |_| opened(SocketEvent::Opened)),
            EventListener::new(&socket, "message", move |event| message(read(event))),
            // Comes after an error too.
            EventListener::new(&socket, "close", move |_| closed(SocketEvent::Closed)),
        ];
        Some(Self { socket, listeners })
    }

    /// Whether all that was to be sent is.
    pub fn is_idle(&self) -> bool {
        self.socket.buffered_amount() == 0
    }

    /// Sends a message. False if it cannot be sent: then the connection is of no more use.
    pub fn send(&self, text: &str) -> bool {
        self.socket.ready_state() == WebSocket::OPEN
            && self.socket.buffered_amount() <= MAX_BUFFERED
            && self.socket.send_with_str(text).is_ok()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.listeners.clear();
        // Fails only for a code or reason that is not given here.
        let _ = self.socket.close();
    }
}

/// Binary messages and those above the limit are no messages of the protocol.
fn read(event: &web_sys::Event) -> SocketEvent {
    let event: &MessageEvent = event.unchecked_ref();
    match event.data().dyn_into::<JsString>() {
        Ok(text) if text.length() as usize <= MAX_MESSAGE => SocketEvent::Message(text.into()),
        _ => SocketEvent::Closed,
    }
}

/// The address of the WebSocket of a server that is named by its own address (`http:`,
/// `https:`, `ws:` or `wss:`); `None` if it is no such address.
pub fn socket_url(server: &str) -> Option<String> {
    let url = Url::new(server).ok()?;
    match url.protocol().as_str() {
        "http:" | "ws:" => url.set_protocol("ws:"),
        "https:" | "wss:" => url.set_protocol("wss:"),
        _ => return None,
    }
    let path = url.pathname();
    let folder = path.trim_end_matches('/').trim_end_matches(PATH);
    url.set_pathname(&[folder, PATH].concat());
    url.set_search("");
    url.set_hash("");
    Some(url.href())
}
