//! Links with delay, rate and loss: UDP that comes in at one socket of a link goes out of the
//! other, held back for as long as the link takes. Nothing leaves the machine: both sockets are
//! at an address of its own, and send to ports of that address only.
//!
//! Takes a line for each thing to do, and ends with its input:
//!
//! - `open ADDRESS` makes a link, and answers with the ports of its two sockets. Links are
//!   numbered from 0.
//! - `to LINK SIDE PORT` says where the packets go that come in at a side, 0 or 1.
//! - `cut` has all links that are there drop everything.
//!
//! All that is dropped or held back follows from the seed and the packets.

#![allow(clippy::print_stdout, reason = "answers go there")]

mod shaper;

use anyhow::{Context, Result, bail};
use clap::Parser;
use shaper::{Shape, Shaper};
use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// The largest packet of UDP.
const PACKET_MAX: usize = 65_536;
/// Packets taken from a socket before the others have their turn.
const TAKEN_MAX: usize = 64;
/// A timer is as much as a millisecond late, so half of that is no time at all.
const EARLY: Duration = Duration::from_micros(500);

#[derive(Parser)]
struct Options {
    /// Delay of one way, in milliseconds.
    #[arg(long)]
    delay: f64,
    /// Rate of one way, in bytes a second.
    #[arg(long)]
    rate: f64,
    /// Bytes that may wait for the rate; what is more is dropped.
    #[arg(long)]
    queue: f64,
    /// Share of packets that vanish.
    #[arg(long)]
    loss: f64,
    /// What chance follows from.
    #[arg(long)]
    seed: u32,
}

/// What the two sides of a link are told.
#[derive(Clone, Copy, Default)]
struct Told {
    /// The port packets go to that come in at each side.
    to: [Option<u16>; 2],
    is_cut: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let (say, mut said) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if say.send(line).is_err() {
                break;
            }
        }
    });
    let mut links: Vec<watch::Sender<Told>> = Vec::new();
    while let Some(line) = said.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["open", address] => links.push(open(&options, address, links.len()).await?),
            ["to", link, side, port] => {
                let link = links.get(link.parse::<usize>()?).context("no such link")?;
                let (side, port) = (side.parse::<usize>()?.min(1), port.parse()?);
                link.send_modify(|told| told.to[side] = Some(port));
            }
            ["cut"] => {
                for link in &links {
                    link.send_modify(|told| told.is_cut = true);
                }
            }
            _ => bail!("`{line}` is not understood"),
        }
    }
    Ok(())
}

async fn open(options: &Options, address: &str, number: usize) -> Result<watch::Sender<Told>> {
    let address: IpAddr = address.parse().context("an address is expected")?;
    let sockets = [
        UdpSocket::bind((address, 0)).await?,
        UdpSocket::bind((address, 0)).await?,
    ];
    let [one, other] = &sockets;
    println!(
        "{} {}",
        one.local_addr()?.port(),
        other.local_addr()?.port()
    );
    std::io::stdout().flush()?;
    let shape = Shape {
        delay: Duration::from_secs_f64(options.delay / 1000.0),
        rate: options.rate,
        queue: options.queue,
        loss: options.loss,
    };
    let seed = |side| options.seed * 1000 + number as u32 * 2 + side;
    let shapers = [0, 1].map(|side| Shaper::new(shape, seed(side)));
    let (tell, told) = watch::channel(Told::default());
    tokio::spawn(carry(address, sockets, shapers, told));
    Ok(tell)
}

/// Carries packets until the link is forgotten.
async fn carry(
    address: IpAddr,
    sockets: [UdpSocket; 2],
    mut shapers: [Shaper; 2],
    mut told: watch::Receiver<Told>,
) {
    let mut packet = vec![0; PACKET_MAX];
    loop {
        let due = shapers.iter().filter_map(Shaper::next).min();
        let rest = Instant::now() + Duration::from_secs(3600);
        tokio::select! {
            biased;
            changed = told.changed() => if changed.is_err() {
                return;
            },
            () = sleep_until(due.unwrap_or(rest)) => {}
            // What is wrong with a socket shows when it is read.
            _ = sockets[0].readable() => {}
            _ = sockets[1].readable() => {}
        }
        let Told { to, is_cut } = *told.borrow();
        for side in [0, 1] {
            for _ in 0..TAKEN_MAX {
                let Ok(length) = sockets[side].try_recv(&mut packet) else {
                    break;
                };
                if !is_cut {
                    shapers[side].take(Instant::now(), &packet[..length]);
                }
            }
            if is_cut {
                shapers[side].drop_all();
            }
            let now = Instant::now() + EARLY;
            while let Some(packet) = shapers[side].pass(now) {
                if let Some(port) = to[side] {
                    // As on any link, what cannot be sent is lost.
                    let to = SocketAddr::new(address, port);
                    let _ = sockets[1 - side].try_send_to(&packet, to);
                }
            }
        }
    }
}
