//! Each case against a server of this project, with few peers and for a moment: that it runs to
//! its end, and that what it counts is there.

use serde_json::Value;
use shoal_load::{
    cases::{Stage, churn, idle, relay, storm},
    crowd::{Crowd, Target},
    system::System,
};
use shoal_signaling::{
    AppState, Config, address::Proxies, identity::Identity, limits::Limits, listen, run,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, LocalSet},
};

/// A server of this process.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::on(listen("127.0.0.1:0").await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let state = AppState::new(Config {
            identity: Identity::from_seed([9; 32]).id(),
            seed: [1; 32],
            ice_servers: Vec::new(),
            turn: None,
            allowed_origins: Vec::new(),
            proxies: Proxies::default(),
            metrics: false,
            limits: Limits::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(run(listener, None, state, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            running,
        }
    }

    async fn restart(self) -> Self {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
        Self::on(listen(&self.address.to_string()).await.unwrap())
    }

    fn target(&self) -> Target {
        Target {
            system: System::Shoal,
            address: self.address,
            pid: std::process::id(),
        }
    }
}

/// Notes the points, and restarts the server at `restart`.
struct Script {
    server: Option<Server>,
    points: Vec<String>,
}

impl Script {
    fn new(server: Server) -> Self {
        Self {
            server: Some(server),
            points: Vec::new(),
        }
    }

    fn target(&self) -> Target {
        self.server.as_ref().unwrap().target()
    }
}

impl Stage for Script {
    async fn reached(&mut self, point: &str) -> anyhow::Result<()> {
        self.points.push(point.to_owned());
        if point == "restart" {
            let server = self.server.take().unwrap();
            self.server = Some(server.restart().await);
        }
        Ok(())
    }
}

fn number(value: &Value, path: &str) -> f64 {
    let found = value.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {path} of {value}"))
}

#[tokio::test]
async fn idle_peers_take_memory() {
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut script = Script::new(Server::start().await);
            let options = idle::Options {
                peers: 50,
                rest: Duration::ZERO,
            };
            let value = idle::run(script.target(), &options, &mut script)
                .await
                .unwrap();
            assert_eq!(script.points, ["empty", "connected", "joined"]);
            // Server and peers are one process here.
            assert!(number(&value, "/joinedKib") > 0.0);
            assert_eq!(number(&value, "/peers"), 50.0);
        })
        .await;
}

#[tokio::test]
async fn every_signal_is_relayed_and_confirmed() {
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut script = Script::new(Server::start().await);
            let options = relay::Options {
                peers: 20,
                rates: vec![100, 200],
                span: Duration::from_millis(500),
            };
            let value = relay::run(script.target(), &options, &mut script)
                .await
                .unwrap();
            for (step, sent) in [50.0, 100.0].into_iter().enumerate() {
                let count = |name: &str| number(&value, &format!("/steps/{step}/count/{name}"));
                let sums = ["sent", "received", "delivered", "lost"].map(count);
                assert_eq!(sums, [sent, sent, sent, 0.0]);
                assert!(number(&value, &format!("/steps/{step}/times/p50")) > 0.0);
            }
        })
        .await;
}

#[tokio::test]
async fn peers_come_and_go() {
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut script = Script::new(Server::start().await);
            let options = churn::Options {
                peers: 40,
                staying: 20,
                churn: 20,
                signals: 40,
                span: Duration::from_millis(500),
            };
            let value = churn::run(script.target(), &options, &mut script)
                .await
                .unwrap();
            assert_eq!(number(&value, "/changes"), 10.0);
            assert_eq!(number(&value, "/count/received"), 20.0);
            assert!(number(&value, "/joins/p99") > 0.0);
            assert!(
                number(&value, "/messagesPerChange") > 1.0,
                "the others hear of it"
            );
        })
        .await;
}

#[tokio::test]
async fn all_come_back_and_nothing_acknowledged_is_missing() {
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut script = Script::new(Server::start().await);
            let options = storm::Options {
                peers: 30,
                signals: 50,
            };
            let value = storm::run(script.target(), &options, &mut script)
                .await
                .unwrap();
            assert!(number(&value, "/joins") >= 60.0);
            assert!(number(&value, "/backSeconds") > 0.0);
            assert_eq!(number(&value, "/interrupted/lied"), 0.0);
            assert_eq!(number(&value, "/interrupted/sent"), 200.0);
            assert_eq!(number(&value, "/afterwards/received"), 100.0);
        })
        .await;
}

#[tokio::test]
async fn load_stays_on_this_machine() {
    let address = "192.0.2.1:80".parse().unwrap();
    let target = Target {
        system: System::Shoal,
        address,
        pid: 1,
    };
    let error = Crowd::new(target, false).err().unwrap();
    assert!(
        error.to_string().contains("not a loopback address"),
        "{error}"
    );
}
