//! What is measured.

pub mod churn;
pub mod idle;
pub mod relay;
pub mod storm;

use crate::{
    crowd::Peer,
    ledger::{Ledger, percentile_millis},
};
use anyhow::Result;
use serde_json::{Value, json};
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// Stops at points of a case where somebody else has something to do, such as to restart the
/// server, and goes on when that is done.
pub trait Stage {
    /// The case has reached the point with this name.
    fn reached(&mut self, point: &str) -> impl Future<Output = Result<()>>;
}

/// A signal that is ready to be sent.
pub(crate) struct Prepared {
    from: Rc<Peer>,
    number: u32,
    pub text: String,
}

/// Makes signals between neighbours. They are made, and signed, before the first is sent.
pub(crate) fn prepare(
    peers: &[Rc<Peer>],
    ledger: &RefCell<Ledger>,
    count: usize,
) -> Result<Vec<Prepared>> {
    let pairs = peers.len() / 2;
    (0..count)
        .map(|at| {
            // A prime that is no factor of the number of pairs leads to all of them.
            let pair = (at * 7919) % pairs;
            let (from, to) = if (at / pairs).is_multiple_of(2) {
                (2 * pair, 2 * pair + 1)
            } else {
                (2 * pair + 1, 2 * pair)
            };
            let number = ledger.borrow_mut().enter();
            let text = peers[from].signal(&peers[to].address(), number)?;
            Ok(Prepared {
                from: peers[from].clone(),
                number,
                text,
            })
        })
        .collect()
}

/// Sends so many signals a second, each when it is due, whatever became of those before it
/// (open loop).
pub(crate) async fn send(signals: Vec<Prepared>, ledger: &RefCell<Ledger>, rate: f64) {
    let start = Instant::now();
    for (at, Prepared { from, number, text }) in signals.into_iter().enumerate() {
        let due = start + Duration::from_secs_f64(at as f64 / rate);
        if due > Instant::now() {
            sleep_until(due).await;
        }
        ledger.borrow_mut().send(number, due);
        from.say(text);
    }
}

/// p50, p99 and the longest of these delays, in ms, of so many that were to come.
pub(crate) fn delays_json(delays: &[Duration], of: usize) -> Value {
    // What never came took longer than everything that did.
    let percentile = |share: f64| {
        let rank = (of as f64 * share).ceil() as usize;
        (rank <= delays.len())
            .then(|| percentile_millis(delays, rank as f64 / delays.len() as f64))
            .flatten()
    };
    json!({ "p50": percentile(0.5), "p99": percentile(0.99), "max": percentile(1.0) })
}
