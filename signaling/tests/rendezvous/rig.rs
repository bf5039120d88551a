//! A server on a free port and clients that speak to it.

use crate::http::ask_at;
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use shoal_protocol::{
    VERSIONS,
    catalog::{
        CatalogHead, Entry, HEAD_LIFETIME, Metadata, PageText, Since, page_hashes, paginate,
    },
    content::{ContentKey, ContentSize},
    id::{LinkId, Nonce, PeerId, ResumeToken, Signature},
    namespace::Namespace,
    rendezvous::{
        ErrorCode, IceServer, Join, PATH, PeerMessage, PeerSummary, Presence, Receipt,
        ReceiptStatus, ServerMessage,
    },
    seal::SealKey,
    signal::{SIGNAL_LIFETIME, Signal, SignalBody},
    signed::{Payload, Signed},
    time::UnixMillis,
};
use shoal_signaling::{
    AppState, Config, address::Proxies, identity::Identity, limits::Limits, listen, run,
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::oneshot, task::JoinHandle, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

/// Nothing here takes so long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server of this process.
pub struct Server {
    pub address: SocketAddr,
    pub state: AppState,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let identity = Identity::from_seed([9; 32]);
        let mut config = Config {
            identity: identity.id(),
            seed: [1; 32],
            ice_servers: vec![IceServer {
                urls: vec!["stun:stun.example".into()],
                username: None,
                credential: None,
            }],
            turn: None,
            allowed_origins: Vec::new(),
            proxies: Proxies::default(),
            metrics: true,
            limits: Limits::default(),
        };
        change(&mut config);
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = AppState::new(config);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(run(listener, None, state.clone(), async {
            let _ = stopped.await;
        }));
        Self {
            address,
            state,
            stop: Some(stop),
            running,
        }
    }

    /// Ends the server; returns when it has ended.
    pub async fn stop(mut self) {
        self.begin_stop();
        timeout(PATIENCE, self.running).await.unwrap().unwrap();
    }

    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap();
        }
    }

    /// Waits until the registry holds what `wanted` says.
    pub async fn settles(&self, wanted: impl Fn(&shoal_signaling::registry::Gauges) -> bool) {
        let settled = async {
            while !wanted(&self.state.gauges()) {
                tokio::task::yield_now().await;
            }
        };
        if timeout(PATIENCE, settled).await.is_err() {
            panic!("{:?}", self.state.gauges());
        }
    }
}

/// A peer's key, and what it signs.
#[derive(Clone)]
pub struct Key(SigningKey);

impl Key {
    pub fn new(n: u8) -> Self {
        Self(SigningKey::from_bytes(&[n; 32]))
    }

    pub fn id(&self) -> PeerId {
        PeerId::from_public_key(self.0.verifying_key().to_bytes())
    }

    pub fn sign<T: Payload>(&self, payload: &T) -> Signed {
        self.sign_text::<T>(payload.to_payload())
    }

    /// Signs a text that is not what its type says.
    pub fn sign_text<T: Payload>(&self, payload: String) -> Signed {
        let sig = self.0.sign(&T::KIND.message(&payload));
        Signed {
            peer: self.id(),
            payload,
            sig: Signature(sig.to_bytes()),
            member: None,
        }
    }

    pub fn signal(&self, to: PeerId, n: u32) -> Signal {
        Signal {
            from: self.id(),
            to,
            namespace: Namespace::default(),
            link: LinkId([7; 16]),
            n,
            nonce: Nonce([8; 16]),
            versions: VERSIONS.to_vec(),
            expires: now().plus(SIGNAL_LIFETIME),
            body: SignalBody::Link(SealKey([6; 32])),
        }
    }

    /// A catalog of the contents with these numbers.
    pub fn catalog(
        &self,
        epoch: u64,
        number: u64,
        numbers: impl Iterator<Item = u32>,
    ) -> (CatalogHead, Vec<PageText>) {
        let entries: Vec<Entry> = numbers.map(entry).collect();
        let pages = paginate(entries.iter()).unwrap();
        self.catalog_of(epoch, number, entries.len() as u32, &pages)
    }

    pub fn catalog_of(
        &self,
        epoch: u64,
        number: u64,
        count: u32,
        pages: &[Arc<str>],
    ) -> (CatalogHead, Vec<PageText>) {
        let head = CatalogHead {
            peer: self.id(),
            namespace: Namespace::default(),
            epoch,
            number,
            count,
            pages: page_hashes(pages),
            issued: now(),
            expires: now().plus(HEAD_LIFETIME),
        };
        let texts = (0..)
            .zip(pages)
            .map(|(page, text)| PageText {
                page,
                text: text.clone(),
            })
            .collect();
        (head, texts)
    }

    pub fn presence(&self, server: PeerId) -> Presence {
        Presence {
            server,
            namespace: Namespace::default(),
            epoch: 1,
            issued: now(),
            expires: now().plus(Duration::from_secs(600)),
        }
    }
}

pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(since.as_millis() as u64)
}

pub fn content(n: u32) -> ContentKey {
    ContentKey::from_hash(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

pub fn entry(n: u32) -> Entry {
    Entry {
        key: content(n),
        size: ContentSize::try_from(u64::from(n)).unwrap(),
        complete: true,
        metadata: Metadata {
            name: Some(format!("file {n}")),
            ..Metadata::default()
        },
        collection: None,
    }
}

/// What `joined` said.
#[derive(Debug)]
pub struct Joined {
    pub lease: u64,
    pub resume: ResumeToken,
    pub resumed: bool,
    pub catalog: Option<Since>,
    pub ice_servers: Vec<IceServer>,
    pub view: Vec<PeerSummary>,
}

/// A connection of a peer.
pub struct Client {
    pub key: Key,
    pub server: PeerId,
    pub nonce: Nonce,
    pub versions: Vec<u16>,
    socket: WebSocketStream<TcpStream>,
    /// Receipts that came and were not asked for yet.
    receipts: VecDeque<Receipt>,
}

impl Client {
    /// Connects and reads the challenge.
    pub async fn connect(server: &Server, n: u8) -> Self {
        match Self::connect_or_refused(server, n).await {
            Ok(client) => client,
            Err(refused) => panic!("no challenge: {refused:?}"),
        }
    }

    /// Connects, or says with which code and time to come back it is turned away.
    pub async fn connect_or_refused(
        server: &Server,
        n: u8,
    ) -> Result<Self, (ErrorCode, Option<u64>)> {
        Self::greeted(open(server).await, n).await
    }

    /// Reads what a server says first.
    pub async fn greeted(
        mut socket: WebSocketStream<TcpStream>,
        n: u8,
    ) -> Result<Self, (ErrorCode, Option<u64>)> {
        match receive(&mut socket).await.unwrap() {
            ServerMessage::Challenge {
                versions,
                server,
                nonce,
            } => Ok(Self {
                key: Key::new(n),
                server,
                nonce,
                versions,
                socket,
                receipts: VecDeque::new(),
            }),
            ServerMessage::Error {
                code, retry_after, ..
            } => Err((code, retry_after)),
            other => panic!("{other:?}"),
        }
    }

    /// The socket alone: nobody reads it or answers on it any more.
    pub fn into_socket(self) -> WebSocketStream<TcpStream> {
        self.socket
    }

    /// Connects and joins.
    pub async fn join(server: &Server, n: u8) -> (Self, Joined) {
        Self::resume(server, n, None).await
    }

    pub async fn resume(server: &Server, n: u8, token: Option<ResumeToken>) -> (Self, Joined) {
        let mut client = Self::connect(server, n).await;
        client.send_join(token).await;
        let joined = client.joined().await;
        (client, joined)
    }

    pub fn id(&self) -> PeerId {
        self.key.id()
    }

    pub fn join_payload(&self) -> Join {
        Join {
            server: self.server,
            nonce: self.nonce,
            namespace: Namespace::default(),
            versions: VERSIONS.to_vec(),
        }
    }

    pub async fn send_join(&mut self, resume: Option<ResumeToken>) {
        let signed = self.key.sign(&self.join_payload());
        self.send(PeerMessage::Join { signed, resume }).await;
    }

    pub async fn joined(&mut self) -> Joined {
        match self.receive().await {
            ServerMessage::Joined {
                lease,
                resume,
                resumed,
                catalog,
                ice_servers,
                view,
            } => Joined {
                lease,
                resume,
                resumed,
                catalog,
                ice_servers,
                view,
            },
            other => panic!("expected joined, got {other:?}"),
        }
    }

    pub async fn send(&mut self, message: PeerMessage) {
        self.send_raw(Message::text(message.to_text())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        timeout(PATIENCE, self.socket.send(message))
            .await
            .unwrap()
            .unwrap();
    }

    /// Bytes as they are, a frame or not.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let sent = timeout(PATIENCE, self.socket.get_mut().write_all(bytes));
        sent.await.unwrap().unwrap();
    }

    /// A text frame that holds no text.
    pub async fn send_invalid_text(&mut self) {
        let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
        self.send_raw(Message::Frame(frame)).await;
    }

    /// Writes as long as the server takes it.
    pub async fn try_send(&mut self, message: PeerMessage) -> Result<(), ()> {
        let message = Message::text(message.to_text());
        self.socket.send(message).await.map_err(|_| ())
    }

    pub async fn send_signal(&mut self, id: u64, to: PeerId) {
        let signed = self.key.sign(&self.key.signal(to, id as u32));
        self.send_signed(id, to, signed).await;
    }

    pub async fn send_signed(&mut self, id: u64, to: PeerId, signed: Signed) {
        self.send(PeerMessage::Signal {
            id,
            to,
            signed,
            ack: None,
        })
        .await;
    }

    /// Answers the signals that came, up to this one, with a signal.
    pub async fn answer(&mut self, id: u64, to: PeerId, came: u64) {
        self.send(PeerMessage::Signal {
            id,
            to,
            signed: self.key.sign(&self.key.signal(to, id as u32)),
            ack: Some(came),
        })
        .await;
    }

    pub async fn send_catalog(&mut self, head: &CatalogHead, pages: Vec<PageText>) {
        let signed = self.key.sign(head);
        self.send(PeerMessage::Catalog { signed, pages }).await;
    }

    /// The next message; pings are answered and skipped.
    pub async fn receive(&mut self) -> ServerMessage {
        match self.try_receive().await {
            Some(message) => message,
            None => panic!("the connection was closed"),
        }
    }

    pub async fn try_receive(&mut self) -> Option<ServerMessage> {
        loop {
            match receive(&mut self.socket).await? {
                ServerMessage::Ping {} => self.send(PeerMessage::Pong {}).await,
                message => {
                    if let ServerMessage::Signal { receipts, .. }
                    | ServerMessage::Receipts { receipts } = &message
                    {
                        self.receipts.extend(receipts);
                    }
                    return Some(message);
                }
            }
        }
    }

    /// The next message, whatever it is.
    pub async fn receive_any(&mut self) -> Option<ServerMessage> {
        receive(&mut self.socket).await
    }

    /// The next receipt, alone or with a signal that was read.
    pub async fn receipt(&mut self) -> (u64, ReceiptStatus) {
        if self.receipts.is_empty() {
            match self.receive().await {
                ServerMessage::Receipts { .. } => {}
                other => panic!("expected receipts, got {other:?}"),
            }
        }
        let Receipt { id, status } = self.receipts.pop_front().expect("never none");
        (id, status)
    }

    /// A receipt, before or after one change of the view.
    pub async fn peers_and_receipt(&mut self) -> (u64, ReceiptStatus) {
        match self.receive().await {
            ServerMessage::Peers { .. } => self.receipt().await,
            ServerMessage::Receipts { .. } => {
                self.peers().await;
                self.receipt().await
            }
            other => panic!("expected peers and a receipt, got {other:?}"),
        }
    }

    /// The next receipt; changes of the view are skipped.
    pub async fn receive_but_peers(&mut self) -> (u64, ReceiptStatus) {
        while self.receipts.is_empty() {
            match self.receive().await {
                ServerMessage::Peers { .. } | ServerMessage::Receipts { .. } => {}
                other => panic!("expected a receipt, got {other:?}"),
            }
        }
        self.receipt().await
    }

    pub async fn signal(&mut self) -> (u64, Signal) {
        match self.receive().await {
            ServerMessage::Signal { id, signed, .. } => (id, signed.open().unwrap()),
            other => panic!("expected a signal, got {other:?}"),
        }
    }

    pub async fn error(&mut self) -> (ErrorCode, String) {
        match self.receive().await {
            ServerMessage::Error { code, message, .. } => (code, message),
            other => panic!("expected an error, got {other:?}"),
        }
    }

    /// The error that answers what was no message; changes of the view are skipped.
    pub async fn answer_to_nonsense(&mut self) {
        loop {
            match self.receive().await {
                ServerMessage::Peers { .. } => {}
                ServerMessage::Error { code, .. } => return assert_eq!(code, ErrorCode::Malformed),
                other => panic!("expected an error, got {other:?}"),
            }
        }
    }

    pub async fn peers(&mut self) -> (Vec<PeerSummary>, Vec<PeerId>) {
        match self.receive().await {
            ServerMessage::Peers { add, drop } => (add, drop),
            other => panic!("expected peers, got {other:?}"),
        }
    }

    pub async fn listing(&mut self) -> (Vec<PeerSummary>, Option<PeerId>) {
        match self.receive().await {
            ServerMessage::Listing { peers, next } => (peers, next),
            other => panic!("expected a listing, got {other:?}"),
        }
    }

    /// Asks for a catalog, and takes messages of the answer until it is enough.
    pub async fn catalogs(
        &mut self,
        peer: PeerId,
        since: Option<Since>,
        enough: impl Fn(&[PageText]) -> bool,
    ) -> (Option<Signed>, Vec<PageText>) {
        self.send(PeerMessage::Get { peer, since }).await;
        let mut all = Vec::new();
        loop {
            match self.receive().await {
                ServerMessage::Catalog {
                    peer: of,
                    signed,
                    pages,
                } => {
                    assert_eq!(of, peer);
                    all.extend(pages);
                    if enough(&all) {
                        return (signed, all);
                    }
                }
                other => panic!("expected a catalog, got {other:?}"),
            }
        }
    }

    /// Waits for the end of the connection; messages before it are returned.
    pub async fn closed(&mut self) -> Vec<ServerMessage> {
        let mut before = Vec::new();
        while let Some(message) = self.receive_any().await {
            before.push(message);
        }
        before
    }

    /// Asks something and waits for the answer: all before it has been handled then.
    pub async fn flush(&mut self) -> Vec<ServerMessage> {
        let key = content(u32::MAX);
        self.send(PeerMessage::Find { key }).await;
        let mut before = Vec::new();
        loop {
            match self.receive().await {
                ServerMessage::Providers { key: of, .. } if of == key => return before,
                other => before.push(other),
            }
        }
    }
}

/// What `/metrics` says, by name and labels.
pub async fn metrics(server: &Server) -> BTreeMap<String, f64> {
    metrics_at(server.address).await
}

pub async fn metrics_at(server: SocketAddr) -> BTreeMap<String, f64> {
    let answer = ask_at(server, "GET", "/metrics", "").await;
    let kind = &answer.headers["content-type"];
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"));
    let text = String::from_utf8(answer.bytes).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let values = text.lines().filter(|line| !line.starts_with('#'));
    values
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.into(), value.parse().unwrap())
        })
        .collect()
}

/// Opens a WebSocket to a server.
pub async fn open(server: &Server) -> WebSocketStream<TcpStream> {
    open_from(server, None).await.unwrap()
}

pub async fn open_from(
    server: &Server,
    origin: Option<&str>,
) -> Result<WebSocketStream<TcpStream>, tokio_tungstenite::tungstenite::Error> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let origin = origin.map(|origin| ("origin", origin));
    open_over(stream, origin.as_slice()).await
}

/// Opens a WebSocket over a connection, with further headers.
pub async fn open_over(
    stream: TcpStream,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<TcpStream>, tokio_tungstenite::tungstenite::Error> {
    let url = format!("ws://{}{PATH}", stream.peer_addr().unwrap());
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let (socket, _) = timeout(PATIENCE, client_async(request, stream))
        .await
        .unwrap()?;
    Ok(socket)
}

async fn receive(socket: &mut WebSocketStream<TcpStream>) -> Option<ServerMessage> {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("silence")? {
            Ok(Message::Text(text)) => return Some(ServerMessage::parse(&text).unwrap()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}
