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

/// Peers of which it is measured what they cost while they are connected and have not joined;
/// the others join as they come. A server sends away who joins late.
const CONNECTED_FIRST: usize = 2_000;

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
    let each = |kib: u64, peers: usize| kib.saturating_sub(empty) as f64 / peers as f64;
    let (began, cpu) = (Instant::now(), cpu_time(target.pid)?);
    let first = count.min(CONNECTED_FIRST);
    let newcomers = crowd.connect(0..first).await?;
    stage.reached("connected").await?;
    let connected = each(resident_kib(target.pid)?, first);
    let mut peers = crowd.join(newcomers).await?;
    peers.extend(crowd.populate(first..count).await?);
    let took = began.elapsed();
    let cpu = cpu_time(target.pid)? - cpu;
    sleep(rest).await;
    stage.reached("joined").await?;
    crowd.check()?;
    ensure!(
        peers.len() == count && crowd.joined() == count,
        "not all peers are in"
    );
    let joined = each(resident_kib(target.pid)?, count);
    Ok(json!({
        "peers": count, "emptyKib": empty, "connectedKib": connected, "joinedKib": joined,
        "seconds": took.as_secs_f64(), "cpuMillisPerJoin": cpu.as_secs_f64() * 1000.0 / count as f64,
    }))
}
