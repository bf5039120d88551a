//! What the server withstands.
//!
//! Each attack is made ten times. While it lasts two peers who have nothing to do with it go on
//! and notice nothing. After each time all that `/metrics` counts as held is back at zero, and
//! after the tenth the process holds as many bytes as after the second, within 5 %.
//!
//! Limits are such that nothing flows back while an attack lasts, however slow the machine is; then
//! a year is skipped, in which all is forgiven and every lease ends.

mod attacks;
mod catalogs;
mod clocks;
mod frames;
mod heap;
#[path = "../rendezvous/http.rs"]
#[allow(dead_code, reason = "shared with the other tests of the server")]
mod http;
mod killed;
mod logs;
#[path = "../rendezvous/process.rs"]
#[allow(dead_code, reason = "shared with the other tests of the server")]
mod process;
mod proxies;
#[path = "../rendezvous/rig.rs"]
#[allow(dead_code, reason = "shared with the other tests of the server")]
mod rig;

use rig::{Client, Server, metrics};
use shoal_protocol::{
    id::PeerId,
    rendezvous::{PeerMessage, ReceiptStatus},
};
use shoal_signaling::Config;
use std::time::Duration;
use tokio::sync::Mutex;

/// Live bytes are those of the process, so one attack is made at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How often each attack is made.
const TIMES: usize = 10;

/// Two peers who have nothing to do with it.
pub struct Bystanders {
    one: Client,
    two: Client,
    signals: u64,
    /// The number of the last signal that the first heard.
    heard: Option<u64>,
}

impl Bystanders {
    async fn join(server: &Server) -> Self {
        let mut one = Client::connect(server, 101).await;
        join_elsewhere(&mut one).await;
        let mut two = Client::connect(server, 102).await;
        join_elsewhere(&mut two).await;
        one.peers().await;
        Self {
            one,
            two,
            signals: 0,
            heard: None,
        }
    }

    /// A signal goes from one to the other and is answered, and what confirms them goes with
    /// them; nothing else is heard.
    pub async fn notice_nothing(&mut self) {
        let id = self.signals;
        self.signals += 1;
        let Self { one, two, .. } = self;
        send(one, two.id(), id, self.heard).await;
        let (number, signal) = two.signal().await;
        assert_eq!(u64::from(signal.n), id);
        if let Some(before) = id.checked_sub(1) {
            assert_eq!(two.receipt().await, (before, ReceiptStatus::Delivered));
        }
        send(two, one.id(), id, Some(number)).await;
        self.heard = Some(one.signal().await.0);
        assert_eq!(one.receipt().await, (id, ReceiptStatus::Delivered));
    }

    /// Hears what there is, which is nothing but pings.
    pub async fn answer_pings(&mut self) {
        for client in [&mut self.one, &mut self.two] {
            assert!(client.flush().await.is_empty());
        }
    }

    async fn leave(mut self) {
        self.notice_nothing().await;
        for client in [&mut self.one, &mut self.two] {
            client.send(PeerMessage::Leave {}).await;
        }
        self.one.closed().await;
        self.two.closed().await;
    }
}

async fn send(from: &mut Client, to: PeerId, id: u64, ack: Option<u64>) {
    let mut signal = from.key.signal(to, id as u32);
    signal.namespace = "bystanders".parse().unwrap();
    let signed = from.key.sign(&signal);
    from.send(PeerMessage::Signal {
        id,
        to,
        signed,
        ack,
    })
    .await;
}

async fn join_elsewhere(client: &mut Client) {
    let mut join = client.join_payload();
    join.namespace = "bystanders".parse().unwrap();
    let (signed, resume) = (client.key.sign(&join), None);
    client.send(PeerMessage::Join { signed, resume }).await;
    client.joined().await;
}

/// Makes an attack again and again, as the module says.
pub async fn withstand(
    change: impl FnOnce(&mut Config),
    attack: impl AsyncFn(&Server, &mut Bystanders),
) {
    let _alone = ALONE.lock().await;
    let server = Server::with(|config| {
        let limits = &mut config.limits;
        limits.close_timeout = Duration::from_millis(50);
        for rate in [
            &mut limits.peer_joins_per_second,
            &mut limits.address_joins_per_second,
            &mut limits.peer_signals_per_second,
            &mut limits.address_signals_per_second,
            &mut limits.address_requests_per_second,
        ] {
            *rate = 0.001;
        }
        // Questions are asked until things are as they should be.
        limits.address_requests_burst = 1_000_000;
        change(config);
    })
    .await;
    let mut live = Vec::new();
    for _ in 0..TIMES {
        let mut bystanders = Bystanders::join(&server).await;
        attack(&server, &mut bystanders).await;
        bystanders.leave().await;
        forgive(&server).await;
        nothing_is_held(&server).await;
        live.push(heap::live());
    }
    server.stop().await;
    let (second, tenth) = (live[1], live[TIMES - 1]);
    assert!(tenth * 100 <= second * 105, "{live:?}");
}

/// What the connection that asks takes itself.
const OWN: [&str; 2] = ["shoal_http_connections", "shoal_accounts{of=\"addresses\"}"];

/// Waits until all connections are closed, and skips what it takes for all else to be forgotten.
async fn forgive(server: &Server) {
    server
        .settles(|gauges| gauges.connections == 0 && gauges.http_connections == 0)
        .await;
    server.state.skip(Duration::from_secs(365 * 86_400));
}

/// All gauges are at zero, but for the connection that asks, and then without it.
async fn nothing_is_held(server: &Server) {
    let mut left = metrics(server).await;
    left.retain(|name, value| is_held(name, *value));
    assert!(left.is_empty(), "{left:?}");
    forgive(server).await;
    assert_eq!(server.state.gauges(), Default::default());
}

/// Whether it says that something is held, but for the connection that asks.
fn is_held(name: &str, value: f64) -> bool {
    is_gauge(name) && value > f64::from(u8::from(OWN.contains(&name)))
}

/// Whether it says how much is held.
fn is_gauge(name: &str) -> bool {
    let name = name.split('{').next().unwrap_or(name);
    let constant = [
        "shoal_build_info",
        "shoal_ready",
        "shoal_start_time_seconds",
    ];
    let counts = ["_total", "_sum", "_count", "_bucket"];
    !constant.contains(&name) && !counts.iter().any(|end| name.ends_with(end))
}
