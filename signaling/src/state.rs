//! What the parts of the server share: the registry, the clock, who is to be woken.

use crate::{
    address::{Address, Proxies},
    admission::Refusal,
    check::{Checker, Fault, Request},
    clock::Clock,
    limits::Limits,
    metrics::{Snapshot, Traffic},
    registry::{ConnectionId, Gauges, Page, Registry, Transmit},
    turn::Turn,
};
use shoal_protocol::{
    content::ContentKey, id::PeerId, namespace::Namespace, rendezvous::IceServer, time::Timestamp,
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's identity.
    pub identity: PeerId,
    /// Secret random bytes, for nonces and tokens.
    pub seed: [u8; 32],
    /// ICE servers for peers.
    pub ice_servers: Vec<IceServer>,
    /// TURN servers at which each peer has an account of its own.
    pub turn: Option<Turn>,
    /// Origins whose pages may connect; empty: all. In the form browsers send.
    pub allowed_origins: Vec<String>,
    /// Whose word on a client's address is taken.
    pub proxies: Proxies,
    /// Whether `/metrics` is served with everything else.
    pub metrics: bool,
    /// Bounds.
    pub limits: Limits,
}

/// The state of a server; clones share it.
#[derive(Clone, Debug)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    clock: Clock,
    started: Timestamp,
    traffic: Traffic,
    hub: Mutex<Hub>,
    /// Raised when a timer is due earlier than the one being slept for.
    earlier: Notify,
    open_sockets: watch::Sender<usize>,
}

#[derive(Debug)]
struct Hub {
    registry: Registry,
    wakers: BTreeMap<ConnectionId, Arc<Notify>>,
    slept_for: Option<Timestamp>,
    /// The server is about to end, but goes on for now.
    draining: bool,
}

impl AppState {
    /// The state of a server that has just started.
    pub fn new(config: Config) -> Self {
        let registry = Registry::new(
            config.identity,
            config.limits.clone(),
            config.ice_servers.clone(),
            config.seed,
        )
        .with_turn(config.turn.clone());
        let clock = Clock::start();
        Self(Arc::new(Shared {
            config,
            started: clock.now(),
            clock,
            traffic: Traffic::default(),
            hub: Mutex::new(Hub {
                registry,
                wakers: BTreeMap::new(),
                slept_for: None,
                draining: false,
            }),
            earlier: Notify::new(),
            open_sockets: watch::Sender::new(0),
        }))
    }

    /// What the server is made of.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// How much the registry holds.
    pub fn gauges(&self) -> Gauges {
        self.lock().registry.gauges()
    }

    /// A page of the peers of a namespace.
    pub(crate) fn list(
        &self,
        namespace: &Namespace,
        after: Option<PeerId>,
        limit: Option<u16>,
    ) -> Page {
        self.lock().registry.list(namespace, after, limit, None)
    }

    /// Peers that list a content.
    pub(crate) fn providers(&self, namespace: &Namespace, key: &ContentKey) -> Vec<PeerId> {
        let now = self.0.clock.wall().unix_millis();
        self.lock().registry.providers(now, namespace, key, None)
    }

    /// How many sessions there are, those of peers that are away included.
    pub(crate) fn sessions(&self) -> usize {
        self.lock().registry.sessions()
    }

    /// Why no further peers should be sent here, if so: a word, or the key of a bound.
    pub fn unready(&self) -> Option<&'static str> {
        self.lock().unready()
    }

    pub(crate) fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    /// What there is to tell at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let hub = self.lock();
        Snapshot {
            gauges: hub.registry.gauges(),
            counts: hub.registry.counts(),
            ready: hub.unready().is_none(),
            started: self.0.started.since(Timestamp::default()).as_secs_f64(),
        }
    }

    /// Skips some time, and does what has come due.
    pub fn skip(&self, span: Duration) {
        self.0.clock.skip(span);
        self.with(|hub, now| hub.registry.handle_timeout(now));
    }

    /// Sets the wall clock so many milliseconds ahead of the right time, or behind it.
    pub fn set_clock_wrong(&self, millis: i64) {
        self.0.clock.set_wrong(millis);
    }

    /// Goes on, but tells who asks that the server is about to end.
    pub(crate) fn drain(&self) {
        self.lock().draining = true;
    }

    /// An HTTP connection of a client or proxy; it counts until the guard is dropped.
    pub(crate) fn open_http(&self, from: IpAddr) -> Result<OpenHttp, Refusal> {
        let config = self.config();
        let from =
            (!config.proxies.trusts(from)).then(|| Address::new(from, config.limits.ipv6_prefix));
        self.with(|hub, now| hub.registry.handle_http_opened(now, from))?;
        Ok(OpenHttp {
            state: self.clone(),
            from,
        })
    }

    /// An HTTP request; `upgrade` says that it is to become a connection of a peer.
    pub(crate) fn admit_request(&self, from: Address, upgrade: bool) -> Result<(), Refusal> {
        self.with(|hub, now| hub.registry.handle_http_request(now, from, upgrade))
    }

    /// A new connection of a peer.
    pub(crate) fn connect(&self, from: Address) -> Connection {
        let waker = Arc::new(Notify::new());
        let (id, nonce) = self.with(|hub, now| {
            let (id, nonce) = hub.registry.handle_connect(now, from);
            hub.wakers.insert(id, waker.clone());
            (id, nonce)
        });
        Connection {
            state: self.clone(),
            id,
            checker: Checker::new(self.config().identity, nonce),
            waker,
            quiet_until: None,
        }
    }

    /// A bound that the server's parts keep was reached, by key.
    pub(crate) fn handle_reached(&self, key: &'static str) {
        self.with(|hub, _| hub.registry.handle_reached(key));
    }

    /// Counts a socket until the guard is dropped.
    pub(crate) fn count_socket(&self) -> OpenSocket {
        self.0.open_sockets.send_modify(|open| *open += 1);
        OpenSocket(self.clone())
    }

    /// Runs timers until the server ends.
    pub(crate) async fn run_timers(self) {
        loop {
            let next = {
                let mut hub = self.lock();
                hub.slept_for = hub.registry.next_timeout();
                hub.slept_for
            };
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep(self.0.clock.until(at)).await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.with(|hub, now| hub.registry.handle_timeout(now)),
                () = self.0.earlier.notified() => {}
            }
        }
    }

    /// Tells all peers that the server ends; returns once their sockets are closed.
    pub(crate) async fn close_sockets(&self) {
        self.with(|hub, now| hub.registry.handle_shutdown(now));
        let mut open = self.0.open_sockets.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    /// Works on the registry, then wakes whom that concerns.
    fn with<T>(&self, work: impl FnOnce(&mut Hub, Timestamp) -> T) -> T {
        let mut hub = self.lock();
        let done = work(&mut hub, self.0.clock.now());
        while let Some(id) = hub.registry.poll_woken() {
            if let Some(waker) = hub.wakers.get(&id) {
                waker.notify_one();
            }
        }
        let next = hub.registry.next_timeout();
        if next.is_some_and(|next| hub.slept_for.is_none_or(|slept_for| next < slept_for)) {
            hub.slept_for = next;
            self.0.earlier.notify_one();
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    fn unready(&self) -> Option<&'static str> {
        match self.draining {
            true => Some("draining"),
            false => self.registry.unready(),
        }
    }
}

/// An HTTP connection that is not closed yet.
pub(crate) struct OpenHttp {
    state: AppState,
    from: Option<Address>,
}

impl Drop for OpenHttp {
    fn drop(&mut self) {
        self.state
            .with(|hub, now| hub.registry.handle_http_closed(now, self.from));
    }
}

/// A socket that is not closed yet.
pub(crate) struct OpenSocket(AppState);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.0.open_sockets.send_modify(|open| *open -= 1);
    }
}

/// A connection as its socket sees it. Dropped, it is gone from the registry.
pub(crate) struct Connection {
    state: AppState,
    id: ConnectionId,
    checker: Checker,
    waker: Arc<Notify>,
    /// Until then nothing is read: it sends more than it may.
    quiet_until: Option<Instant>,
}

impl Connection {
    /// Something came that says nothing, or only a part of a message.
    pub fn handle_bytes(&mut self, bytes: usize) {
        self.handle(bytes, None);
    }

    /// A message of so many bytes is to be sent.
    pub fn handle_sent(&self, bytes: usize) {
        let traffic = &self.state.0.traffic;
        traffic.sent.inc();
        traffic.sent_bytes.inc_by(bytes as u64);
    }

    /// When to read on.
    pub fn quiet_until(&self) -> Option<Instant> {
        self.quiet_until
    }

    /// A bound of the socket was reached, by key.
    pub fn handle_reached(&mut self, key: &'static str) {
        self.state.handle_reached(key);
    }

    /// A message came, for which so many bytes were read.
    pub fn handle_text(&mut self, bytes: usize, text: &str) {
        // Signatures are checked before the registry is locked.
        let request = self.checker.check(self.state.0.clock.wall(), text);
        self.handle(bytes, Some(request));
    }

    /// Something came that is no message.
    pub fn handle_fault(&mut self, bytes: usize, fault: Fault) {
        self.handle(bytes, Some(Request::Fault(fault)));
    }

    /// Nothing more is said or heard, but its socket is still open.
    pub fn handle_closing(&mut self) {
        let id = self.id;
        self.state
            .with(|hub, now| hub.registry.handle_closing(now, id));
    }

    fn handle(&mut self, bytes: usize, request: Option<Request>) {
        let id = self.id;
        let traffic = &self.state.0.traffic;
        traffic.received.inc_by(u64::from(request.is_some()));
        traffic.received_bytes.inc_by(bytes as u64);
        let pause = self.state.with(|hub, now| {
            let pause = hub.registry.handle_bytes(now, id, bytes);
            if let Some(request) = request {
                hub.registry.handle_request(now, id, request);
            }
            pause
        });
        self.quiet_until = (!pause.is_zero()).then(|| Instant::now() + pause);
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Transmit {
        let now = self.state.0.clock.now();
        self.state.lock().registry.poll_transmit(now, self.id)
    }

    /// Waits until there may be something to send.
    pub async fn woken(&self) {
        self.waker.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let id = self.id;
        self.state.with(|hub, now| {
            hub.wakers.remove(&id);
            hub.registry.handle_disconnect(now, id);
        });
    }
}
