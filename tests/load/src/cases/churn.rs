//! A namespace in which peers come and go, while those who stay exchange signals.

use super::{Stage, delays_json, prepare, send};
use crate::{
    crowd::{Crowd, Target},
    process::cpu_time,
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// How long after the end the last signals and joins are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many peers, and how many of them come and go.
pub struct Options {
    /// Peers.
    pub peers: usize,
    /// Of these, peers that stay, and exchange signals.
    pub staying: usize,
    /// Peers that come, and peers that go, a second.
    pub churn: u32,
    /// Signals a second between those who stay.
    pub signals: u32,
    /// How long it lasts.
    pub span: Duration,
}

/// Has the oldest of the others leave for each that comes.
pub async fn run(target: Target, options: &Options, stage: &mut impl Stage) -> Result<Value> {
    let Options {
        peers: count,
        staying,
        churn,
        signals,
        span,
    } = *options;
    let changes = (f64::from(churn) * span.as_secs_f64()) as usize;
    ensure!(
        2 <= staying && staying + changes <= count,
        "more peers must be able to go than stay"
    );
    let crowd = Crowd::new(target, false)?;
    let peers = crowd.populate(0..count).await?;
    stage.reached("joined").await?;
    let (staying, going) = peers.split_at(staying & !1);
    let made = prepare(
        staying,
        &crowd.ledger,
        (f64::from(signals) * span.as_secs_f64()) as usize,
    )?;

    let (heard, cpu) = (crowd.ledger.borrow().heard(), cpu_time(target.pid)?);
    let began = Instant::now();
    let joins = Rc::new(RefCell::new(Vec::new()));
    let mut coming = JoinSet::new();
    let sending = send(made, &crowd.ledger, signals.into());
    let changing = async {
        for (at, gone) in going.iter().take(changes).enumerate() {
            let due = began + Duration::from_secs_f64(at as f64 / f64::from(churn));
            sleep_until(due).await;
            gone.leave();
            let (crowd, joins) = (crowd.clone(), joins.clone());
            coming.spawn_local(async move {
                let peer = crowd.add(count + at).await?;
                joins.borrow_mut().push(due.elapsed());
                anyhow::Ok(peer)
            });
        }
    };
    tokio::join!(sending, changing);
    // Whom nobody keeps leaves.
    let mut arrived = Vec::new();
    while let Some(peer) = coming.join_next().await {
        arrived.push(peer??);
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_time(target.pid)? - cpu;
    crowd.settle(PATIENCE).await?;
    ensure!(
        crowd.joined() == count,
        "{} of {count} peers are in",
        crowd.joined()
    );
    let ledger = crowd.ledger.borrow();
    let messages = ledger.heard().0 - heard.0;
    let bytes = ledger.heard().1 - heard.1;
    let mut joins = joins.borrow().clone();
    joins.sort_unstable();
    let signals = ledger.count(0);
    Ok(json!({
        "peers": count, "changes": changes,
        "joins": delays_json(&joins, changes),
        "signals": delays_json(&ledger.delays(0), signals.sent), "count": signals.to_json(),
        "messagesPerChange": messages as f64 / (2 * changes) as f64,
        "bytesPerChange": bytes as f64 / (2 * changes) as f64,
        "cpuMillisPerChange": cpu.as_secs_f64() * 1000.0 / (2 * changes) as f64,
        "cpuShare": cpu.as_secs_f64() / seconds,
    }))
}
