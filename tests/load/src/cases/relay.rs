//! Signals between pairs of peers at rising rate.

use super::{Stage, delays_json, prepare, send};
use crate::{
    crowd::{Crowd, Peer, Target},
    process::cpu_time,
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::{rc::Rc, time::Duration};

/// The 99th percentile of a rate that counts as sustained, in ms.
const P99_MAX: f64 = 50.0;
/// How long after the last signal the others are waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a rate is tried before it counts as not sustained: what else the machine does may
/// delay one of them.
const ATTEMPTS: usize = 3;
/// Most signals of one rate, for the memory they take before they are sent.
const SIGNALS_MAX: usize = 400_000;

/// How many peers, and what is sent between them.
pub struct Options {
    /// Peers, in pairs.
    pub peers: usize,
    /// Signals a second, one rate after the other.
    pub rates: Vec<u32>,
    /// How long each rate is kept up.
    pub span: Duration,
}

/// Sends at each rate until one is not sustained at any attempt.
pub async fn run(target: Target, options: &Options, stage: &mut impl Stage) -> Result<Value> {
    let crowd = Crowd::new(target, false)?;
    let peers = crowd.populate(0..options.peers & !1).await?;
    ensure!(peers.len() >= 2, "at least two peers are needed");
    stage.reached("joined").await?;
    let mut steps = Vec::new();
    for &rate in &options.rates {
        let count = (f64::from(rate) * options.span.as_secs_f64()) as usize;
        ensure!(
            count <= SIGNALS_MAX,
            "at most {SIGNALS_MAX} signals of one rate"
        );
        let mut sustained = false;
        for attempt in 1..=ATTEMPTS {
            let mut step = send_at(rate, count, &crowd, &peers, options.span).await?;
            sustained = step["sustained"] == true;
            step["attempt"] = attempt.into();
            if sustained || attempt == ATTEMPTS {
                steps.push(step);
                break;
            }
        }
        if !sustained {
            break;
        }
    }
    Ok(json!({ "peers": peers.len(), "steps": steps }))
}

async fn send_at(
    rate: u32,
    count: usize,
    crowd: &Crowd,
    peers: &[Rc<Peer>],
    span: Duration,
) -> Result<Value> {
    let target = crowd.target();
    let first = crowd.ledger.borrow().len();
    let made = prepare(peers, &crowd.ledger, count)?;
    let bytes: usize = made.iter().map(|signal| signal.text.len()).sum();
    let before = [cpu_time(target.pid)?, cpu_time(std::process::id())?];
    send(made, &crowd.ledger, rate.into()).await;
    crowd.settle(PATIENCE).await?;
    let after = [cpu_time(target.pid)?, cpu_time(std::process::id())?];
    let ledger = crowd.ledger.borrow();
    let count = ledger.count(first);
    let delays = ledger.delays(first);
    let times = delays_json(&delays, count.sent);
    let cpu = (after[0] - before[0]).as_secs_f64();
    let sustained = times["p99"].as_f64().is_some_and(|p99| p99 <= P99_MAX);
    Ok(json!({
        "rate": rate, "bytes": bytes as f64 / count.sent as f64, "times": times,
        "count": count.to_json(), "cpuSeconds": cpu,
        "perCpuSecond": count.received as f64 / cpu.max(0.001),
        // Where this comes near to 1, the rate is that of the load generator.
        "loadBusy": (after[1] - before[1]).as_secs_f64() / span.as_secs_f64(),
        "sustained": sustained,
    }))
}
