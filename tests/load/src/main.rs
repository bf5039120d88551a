//! Runs one case against one server and prints what was measured as a line of JSON.
//!
//! At some points it prints `{"reached":POINT}` and goes on when it is given a line: so whoever
//! runs it can restart the server, or have it collect its garbage.

#![allow(clippy::print_stdout, reason = "answers go there")]

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use shoal_load::{
    cases::{Stage, churn, idle, relay, storm},
    crowd::Target,
    system::System,
};
use std::{io::Write, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin},
    task::LocalSet,
    time::timeout,
};

/// No case takes so long: whatever happens, load ends then.
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Parser)]
struct Options {
    /// What the server is.
    #[arg(long)]
    system: System,
    /// Where it listens, on loopback.
    #[arg(long)]
    address: SocketAddr,
    /// Its process.
    #[arg(long)]
    pid: u32,
    /// Peers.
    #[arg(long)]
    peers: usize,
    #[command(subcommand)]
    case: Case,
}

#[derive(Subcommand)]
enum Case {
    /// Memory of idle peers.
    Idle {
        /// Milliseconds after which memory is read.
        #[arg(long, default_value = "2000")]
        rest: u64,
    },
    /// Signals between pairs of peers.
    Relay {
        /// Signals a second, one rate after the other.
        #[arg(long, value_delimiter = ',')]
        rates: Vec<u32>,
        /// Milliseconds for each rate.
        #[arg(long)]
        span: u64,
    },
    /// Peers that come and go.
    Churn {
        /// Peers that come, and that go, a second.
        #[arg(long)]
        churn: u32,
        /// Peers that stay.
        #[arg(long)]
        staying: usize,
        /// Signals a second between those that stay.
        #[arg(long)]
        signals: u32,
        /// Milliseconds it lasts.
        #[arg(long)]
        span: u64,
    },
    /// The server is restarted.
    Storm {
        /// Signals a second.
        #[arg(long)]
        signals: u32,
    },
}

struct Console(Lines<BufReader<Stdin>>);

impl Stage for Console {
    async fn reached(&mut self, point: &str) -> Result<()> {
        say(&serde_json::json!({ "reached": point }))?;
        let line = self.0.next_line().await?;
        line.map(drop).context("nobody is there any more")
    }
}

fn say(value: &serde_json::Value) -> Result<()> {
    println!("{value}");
    std::io::stdout()
        .flush()
        .context("nobody reads the results")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let run = LocalSet::new();
    let value = timeout(LONGEST, run.run_until(measure(&options)))
        .await
        .with_context(|| format!("the case has not ended after {LONGEST:?}"))??;
    say(&value)
}

async fn measure(options: &Options) -> Result<serde_json::Value> {
    let Options {
        system,
        address,
        pid,
        peers,
        ref case,
    } = *options;
    let target = Target {
        system,
        address,
        pid,
    };
    let mut stage = Console(BufReader::new(stdin()).lines());
    let millis = Duration::from_millis;
    match *case {
        Case::Idle { rest } => {
            idle::run(
                target,
                &idle::Options {
                    peers,
                    rest: millis(rest),
                },
                &mut stage,
            )
            .await
        }
        Case::Relay { ref rates, span } => {
            let rates = rates.clone();
            relay::run(
                target,
                &relay::Options {
                    peers,
                    rates,
                    span: millis(span),
                },
                &mut stage,
            )
            .await
        }
        Case::Churn {
            churn,
            staying,
            signals,
            span,
        } => {
            let span = millis(span);
            churn::run(
                target,
                &churn::Options {
                    peers,
                    staying,
                    churn,
                    signals,
                    span,
                },
                &mut stage,
            )
            .await
        }
        Case::Storm { signals } => {
            storm::run(target, &storm::Options { peers, signals }, &mut stage).await
        }
    }
}
