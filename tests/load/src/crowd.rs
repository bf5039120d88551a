//! Many peers in one process, each with a connection of its own.

use crate::{
    ledger::Ledger,
    process::open_files_max,
    system::{Heard, System, Voice},
};
use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    task::spawn_local,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// Most peers of one run: what one loopback address has ports for, on eight of them.
pub const PEERS_MAX: usize = 200_000;
/// Connections that are being opened at a time. Guess: the server's accept queue is longer.
const OPENING: usize = 128;
/// Peers that all connect before the first of them joins. Guess: a second's worth.
const AT_ONCE: usize = 1_000;
/// Peers that come from one loopback address: far fewer than it has ports to come from, since a
/// port stays taken for a minute after its connection (TIME_WAIT, RFC 9293, section 3.6.1).
const PEERS_PER_ADDRESS: usize = 2_000;
/// Files a process has open beside its sockets. Guess.
const OTHER_FILES: usize = 50;
/// Opening and joining may take so long. Guess, generous.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes read from a socket at a time: thousands of the library's default are gigabytes.
const READ_BUFFER: usize = 4 * 1024;
/// How this project's peers come back (`peer-core/src/rendezvous.rs`): first and longest wait.
const BACKOFF_BASE: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(15);

type Socket = WebSocketStream<TcpStream>;

/// The server load is put on.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is.
    pub system: System,
    /// Where it listens: an address of loopback.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
}

/// A peer that is connected and has not joined.
pub struct Newcomer {
    voice: Voice,
    socket: Socket,
}

/// A peer that has joined.
pub struct Peer {
    voice: RefCell<Voice>,
    orders: mpsc::UnboundedSender<Order>,
    is_joined: Cell<bool>,
}

enum Order {
    Say(String),
    Leave,
}

enum Ended {
    Left,
    /// The server ends, and says for how long to stay away.
    Closing(Duration),
    Lost(anyhow::Error),
}

/// The peers of a run and what they share.
pub struct Crowd {
    target: Target,
    comes_back: bool,
    /// What the peers heard of each other's signals.
    pub ledger: RefCell<Ledger>,
    joined: Cell<usize>,
    /// When the first and the last change of the number of joined peers was.
    first_lost: Cell<Option<Instant>>,
    last_joined: Cell<Option<Instant>>,
    joins: Cell<usize>,
    failure: RefCell<Option<anyhow::Error>>,
    /// For waits that are not to be the same for all.
    chance: Cell<u64>,
}

impl Crowd {
    /// No peers yet. Those of a crowd that `comes_back` do so when their connection is lost, as
    /// this project's peers do; to all others that is a failure of the run.
    pub fn new(target: Target, comes_back: bool) -> Result<Rc<Self>> {
        ensure!(
            target.address.ip().is_loopback(),
            "load is put on this machine only, and {} is not a loopback address",
            target.address
        );
        Ok(Rc::new(Self {
            target,
            comes_back,
            ledger: RefCell::default(),
            joined: Cell::new(0),
            first_lost: Cell::new(None),
            last_joined: Cell::new(None),
            joins: Cell::new(0),
            failure: RefCell::new(None),
            chance: Cell::new(0x9e37_79b9_7f4a_7c15),
        }))
    }

    /// Connects the peers with these numbers, beside those who are in.
    pub async fn connect(&self, numbers: std::ops::Range<usize>) -> Result<Vec<Newcomer>> {
        let count = numbers.len() + self.joined();
        ensure!(count <= PEERS_MAX, "at most {PEERS_MAX} peers");
        let files = open_files_max()?;
        ensure!(
            count + OTHER_FILES <= files,
            "{count} connections need more open files than the {files} this process may have; raise `ulimit -n`"
        );
        let mut newcomers: Vec<Newcomer> = stream::iter(numbers)
            .map(|number| self.open(number))
            .buffer_unordered(OPENING)
            .try_collect()
            .await?;
        // In pairs, neighbours speak to each other.
        newcomers.sort_by_key(|newcomer| newcomer.voice.number());
        Ok(newcomers)
    }

    /// Has those who are connected join.
    pub async fn join(self: &Rc<Self>, newcomers: Vec<Newcomer>) -> Result<Vec<Rc<Peer>>> {
        stream::iter(newcomers)
            .map(|newcomer| self.enter(newcomer))
            .buffered(OPENING)
            .try_collect()
            .await
    }

    /// Connects the peers with these numbers and has them join, some at a time: a server sends
    /// away who joins late.
    pub async fn populate(
        self: &Rc<Self>,
        numbers: std::ops::Range<usize>,
    ) -> Result<Vec<Rc<Peer>>> {
        let mut peers = Vec::with_capacity(numbers.len());
        for first in numbers.clone().step_by(AT_ONCE) {
            let newcomers = self
                .connect(first..numbers.end.min(first + AT_ONCE))
                .await?;
            peers.extend(self.join(newcomers).await?);
        }
        Ok(peers)
    }

    /// Connects a peer and has it join.
    pub async fn add(self: &Rc<Self>, number: usize) -> Result<Rc<Peer>> {
        let newcomer = self.open(number).await?;
        self.enter(newcomer).await
    }

    /// The server they speak with.
    pub fn target(&self) -> Target {
        self.target
    }

    /// How many peers are in.
    pub fn joined(&self) -> usize {
        self.joined.get()
    }

    /// How often a peer has joined, and when that was last.
    pub fn joins(&self) -> (usize, Option<Instant>) {
        (self.joins.get(), self.last_joined.get())
    }

    /// When a peer first lost its connection.
    pub fn first_lost(&self) -> Option<Instant> {
        self.first_lost.get()
    }

    /// Fails if a peer did.
    pub fn check(&self) -> Result<()> {
        self.failure.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// Waits until all signals have come or were returned, and where there are receipts for all,
    /// at most for so long.
    pub async fn settle(&self, longest: Duration) -> Result<()> {
        let end = Instant::now() + longest;
        let confirms = self.target.system == System::Shoal;
        let is_over = |ledger: &Ledger| ledger.is_settled() && (!confirms || ledger.is_confirmed());
        while !is_over(&self.ledger.borrow()) && Instant::now() < end {
            self.check()?;
            sleep(Duration::from_millis(5)).await;
        }
        self.check()
    }

    async fn open(&self, number: usize) -> Result<Newcomer> {
        let voice = Voice::new(self.target.system, number);
        self.open_with(voice).await
    }

    async fn open_with(&self, mut voice: Voice) -> Result<Newcomer> {
        let opening = async {
            let mut socket = open_socket(self.target.address, &voice).await?;
            if voice.waits_for_welcome() {
                self.hear_until(&mut socket, &mut voice, Heard::Welcome)
                    .await?;
            }
            Ok(Newcomer { voice, socket })
        };
        timeout(PATIENCE, opening)
            .await
            .context("a connection was not opened in time")?
    }

    async fn enter(self: &Rc<Self>, newcomer: Newcomer) -> Result<Rc<Peer>> {
        let Newcomer {
            mut voice,
            mut socket,
        } = newcomer;
        self.say_join(&mut socket, &mut voice).await?;
        let (orders, taken) = mpsc::unbounded_channel();
        let peer = Rc::new(Peer {
            voice: RefCell::new(voice),
            orders,
            is_joined: Cell::new(false),
        });
        self.count_in(&peer);
        spawn_local(self.clone().live(peer.clone(), socket, taken));
        Ok(peer)
    }

    async fn say_join(&self, socket: &mut Socket, voice: &mut Voice) -> Result<()> {
        let Some(text) = voice.join()? else {
            return Ok(());
        };
        let joining = async {
            socket.send(Message::text(text)).await?;
            self.hear_until(socket, voice, Heard::Joined).await
        };
        timeout(PATIENCE, joining)
            .await
            .context("a join was not answered in time")?
    }

    async fn hear_until(
        &self,
        socket: &mut Socket,
        voice: &mut Voice,
        wanted: Heard,
    ) -> Result<()> {
        let mut replies = Vec::new();
        loop {
            let message = socket.next().await.context("the server hung up")??;
            let Message::Text(text) = message else {
                continue;
            };
            let heard = voice.hear(&text, &mut replies)?;
            self.ledger.borrow_mut().note(&heard, text.len());
            for reply in replies.drain(..) {
                socket.send(Message::text(reply)).await?;
            }
            if heard == wanted {
                return Ok(());
            }
        }
    }

    /// The life of a peer, from its join until it leaves.
    async fn live(
        self: Rc<Self>,
        peer: Rc<Peer>,
        mut socket: Socket,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) {
        loop {
            let ended = self.converse(&peer, &mut socket, &mut orders).await;
            drop(socket);
            self.count_out(&peer);
            let least = match ended {
                Ended::Left => return,
                Ended::Closing(least) if self.comes_back => least,
                Ended::Lost(_) if self.comes_back => Duration::ZERO,
                Ended::Closing(_) => return self.fail(anyhow::anyhow!("the server closed")),
                Ended::Lost(error) => return self.fail(error),
            };
            if self.first_lost.get().is_none() {
                self.first_lost.set(Some(Instant::now()));
            }
            socket = self.come_back(&peer, least).await;
            self.count_in(&peer);
        }
    }

    async fn come_back(&self, peer: &Peer, least: Duration) -> Socket {
        let mut least = least;
        for failures in 0.. {
            sleep(least + self.backoff(failures)).await;
            least = Duration::ZERO;
            let voice = peer.voice.borrow().anew();
            let Ok(mut newcomer) = self.open_with(voice).await else {
                continue;
            };
            let Newcomer { voice, socket } = &mut newcomer;
            if self.say_join(socket, voice).await.is_ok() {
                peer.voice.replace(newcomer.voice);
                return newcomer.socket;
            }
        }
        unreachable!("an endless loop has ended")
    }

    /// Exponential back-off with equal jitter, as this project's peers have it.
    fn backoff(&self, failures: u32) -> Duration {
        let full = BACKOFF_BASE
            .saturating_mul(1 << failures.min(16))
            .min(BACKOFF_MAX);
        // Xorshift (Marsaglia 2003).
        let mut x = self.chance.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.chance.set(x);
        full / 2 + full.mul_f64((x >> 11) as f64 / (1_u64 << 53) as f64 / 2.0)
    }

    async fn converse(
        &self,
        peer: &Peer,
        socket: &mut Socket,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Ended {
        match self.exchange(peer, socket, orders).await {
            Ok(ended) => ended,
            Err(error) => Ended::Lost(error),
        }
    }

    async fn exchange(
        &self,
        peer: &Peer,
        socket: &mut Socket,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Result<Ended> {
        let mut replies = Vec::new();
        loop {
            let ack_due = peer.voice.borrow().ack_due();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Say(signal)) => {
                        let text = peer.voice.borrow_mut().say(signal);
                        socket.send(Message::text(text)).await?;
                    }
                    Some(Order::Leave) | None => {
                        let last = peer.voice.borrow().leave();
                        if let Some(last) = last {
                            socket.send(Message::text(last)).await?;
                        }
                        socket.close(None).await?;
                        return Ok(Ended::Left);
                    }
                },
                message = socket.next() => {
                    let text = match message {
                        Some(Ok(Message::Text(text))) => text,
                        Some(Ok(Message::Close(_))) | None => bail!("the server hung up"),
                        Some(Ok(_)) => continue,
                        Some(Err(error)) => return Err(error.into()),
                    };
                    let heard = peer.voice.borrow_mut().hear(&text, &mut replies)?;
                    self.ledger.borrow_mut().note(&heard, text.len());
                    for reply in replies.drain(..) {
                        socket.send(Message::text(reply)).await?;
                    }
                    if let Heard::Closing(least) = heard {
                        return Ok(Ended::Closing(least));
                    }
                }
                () = sleep_until(ack_due.unwrap_or_else(Instant::now)), if ack_due.is_some() => {
                    let ack = peer.voice.borrow_mut().ack();
                    if let Some(ack) = ack {
                        socket.send(Message::text(ack)).await?;
                    }
                }
            }
        }
    }

    fn count_in(&self, peer: &Peer) {
        peer.is_joined.set(true);
        self.joined.set(self.joined.get() + 1);
        self.joins.set(self.joins.get() + 1);
        self.last_joined.set(Some(Instant::now()));
    }

    fn count_out(&self, peer: &Peer) {
        peer.is_joined.set(false);
        self.joined.set(self.joined.get() - 1);
    }

    fn fail(&self, error: anyhow::Error) {
        self.failure.borrow_mut().get_or_insert(error);
    }
}

impl Peer {
    /// Whether it is in.
    pub fn is_joined(&self) -> bool {
        self.is_joined.get()
    }

    /// By what others name it.
    pub fn address(&self) -> String {
        self.voice.borrow().address().to_owned()
    }

    /// The text of a signal with this number for another peer.
    pub fn signal(&self, to: &str, number: u32) -> Result<String> {
        self.voice.borrow().signal(to, number)
    }

    /// Sends the text of a signal. Once the peer is gone nobody hears it, which the ledger then shows.
    pub fn say(&self, text: String) {
        let _ = self.orders.send(Order::Say(text));
    }

    /// Goes for good.
    pub fn leave(&self) {
        let _ = self.orders.send(Order::Leave);
    }
}

async fn open_socket(server: SocketAddr, voice: &Voice) -> Result<Socket> {
    let socket = match server.ip() {
        IpAddr::V4(_) => {
            let socket = TcpSocket::new_v4()?;
            // All of 127/8 is loopback (RFC 1122, section 3.2.1.3); each run has addresses of its
            // own there.
            let run = 1 + std::process::id() % 250;
            let part = voice.number() / PEERS_PER_ADDRESS % 250;
            let source = Ipv4Addr::new(127, u8::try_from(run)?, u8::try_from(part)?, 1);
            socket.bind((source, 0).into())?;
            socket
        }
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let stream = socket
        .connect(server)
        .await
        .with_context(|| format!("cannot connect to {server}"))?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let url = format!("ws://{server}{}", voice.path());
    let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    Ok(socket)
}
