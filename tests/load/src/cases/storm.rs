//! All peers come back after the server was restarted, and no signal that a receiver had
//! acknowledged is missing.

use super::{Stage, delays_json, prepare, send};
use crate::crowd::{Crowd, Target};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// All must be back within this time, or the run fails: six times the goal.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long signals are exchanged before the restart, and again after it.
const SPAN: Duration = Duration::from_secs(2);

/// How many peers, and how much they say.
pub struct Options {
    /// Peers.
    pub peers: usize,
    /// Signals a second, until the server ends and again when all are back.
    pub signals: u32,
}

/// Restarts the server, which the stage does at the point `restart`, while signals are sent.
pub async fn run(target: Target, options: &Options, stage: &mut impl Stage) -> Result<Value> {
    let Options {
        peers: count,
        signals,
    } = *options;
    let crowd = Crowd::new(target, true)?;
    let peers = crowd.populate(0..count).await?;
    let half = (f64::from(signals) * SPAN.as_secs_f64()) as usize;
    let before = prepare(&peers, &crowd.ledger, 2 * half)?;
    let sending = send(before, &crowd.ledger, signals.into());
    let restarting = async {
        sleep(SPAN).await;
        let began = Instant::now();
        stage.reached("restart").await?;
        anyhow::Ok((began, began.elapsed()))
    };
    let ((), restarted) = tokio::join!(sending, restarting);
    let (began, restart) = restarted?;

    // Each has joined once, and once more.
    let all_back = async {
        while crowd.joins().0 < 2 * count || crowd.joined() < count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(PATIENCE, all_back).await.is_err() {
        bail!(
            "{} of {count} peers are back after {PATIENCE:?}",
            crowd.joined()
        );
    }
    let (joins, last) = crowd.joins();
    let (Some(lost), Some(back)) = (crowd.first_lost(), last) else {
        bail!("no peer lost its connection");
    };
    let interrupted = crowd.ledger.borrow().count(0);

    let first = crowd.ledger.borrow().len();
    let after = prepare(&peers, &crowd.ledger, half)?;
    send(after, &crowd.ledger, signals.into()).await;
    let waiting = Instant::now();
    while crowd.ledger.borrow().count(first).lost > 0 && waiting.elapsed() < SPAN {
        sleep(Duration::from_millis(5)).await;
    }
    let ledger = crowd.ledger.borrow();
    let afterwards = ledger.count(first);
    ensure!(
        peers.iter().all(|peer| peer.is_joined()),
        "not all peers are in"
    );
    Ok(json!({
        "peers": count, "joins": joins,
        "restartSeconds": restart.as_secs_f64(),
        // From the first peer that lost its connection to the last that was back.
        "backSeconds": back.saturating_duration_since(lost.min(began + restart)).as_secs_f64(),
        "backAfterRestartSeconds": back.saturating_duration_since(began + restart).as_secs_f64(),
        "interrupted": interrupted.to_json(), "afterwards": afterwards.to_json(),
        "times": delays_json(&ledger.delays(first), afterwards.sent),
    }))
}
