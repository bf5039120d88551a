//! What an idle peer costs the server in memory: connected, and joined.

use super::Stage;
use crate::{
    crowd::{Crowd, Target},
    process::{cpu_time, resident_kib},
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Most peers that first all connect and then all join; more would be sent away for joining
/// late, so they join as they come.
const CONNECTED_FIRST: usize = 10_000;

/// How many, and how long things are left alone before memory is read.
pub struct Options {
    /// Peers.
    pub peers: usize,
    /// Time for the server to tidy up.
    pub rest: Duration,
}

/// Measures KiB of resident memory above that of the server without peers, for each peer.
pub async fn run(target: Target, options: &Options, stage: &mut impl Stage) -> Result<Value> {
    let Options { peers: count, rest } = *options;
    let crowd = Crowd::new(target, false)?;
    stage.reached("empty").await?;
    let empty = resident_kib(target.pid)?;
    let each = |kib: u64| kib.saturating_sub(empty) as f64 / count as f64;
    let (began, cpu) = (Instant::now(), cpu_time(target.pid)?);
    let (peers, connected) = if count <= CONNECTED_FIRST {
        let newcomers = crowd.connect(0..count).await?;
        stage.reached("connected").await?;
        let connected = resident_kib(target.pid)?;
        (crowd.join(newcomers).await?, Some(each(connected)))
    } else {
        let mut peers = Vec::new();
        for first in (0..count).step_by(CONNECTED_FIRST / 10) {
            let newcomers = crowd
                .connect(first..(first + CONNECTED_FIRST / 10).min(count))
                .await?;
            peers.extend(crowd.join(newcomers).await?);
        }
        (peers, None)
    };
    let took = began.elapsed();
    let cpu = cpu_time(target.pid)? - cpu;
    sleep(rest).await;
    stage.reached("joined").await?;
    crowd.check()?;
    ensure!(
        peers.len() == count && crowd.joined() == count,
        "not all peers are in"
    );
    let joined = each(resident_kib(target.pid)?);
    Ok(json!({
        "peers": count, "emptyKib": empty, "connectedKib": connected, "joinedKib": joined,
        "seconds": took.as_secs_f64(), "cpuMillisPerJoin": cpu.as_secs_f64() * 1000.0 / count as f64,
    }))
}
