//! Clocks that are set, and clocks that leap.

use crate::rig::{Client, Server};
use crate::{Bystanders, withstand};
use shoal_protocol::rendezvous::{ErrorCode, ReceiptStatus};
use std::time::Duration;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One peer answers its pings beside the bystanders, one is joined and says nothing any more, one is
/// away, and a signal waits for it.
async fn world(server: &Server) -> (Client, Client) {
    let (mut one, _) = Client::join(server, 1).await;
    let (silent, _) = Client::join(server, 2).await;
    one.peers().await;
    let (away, _) = Client::join(server, 3).await;
    one.peers().await;
    let gone = away.id();
    drop(away);
    server.settles(|gauges| gauges.sessions_away == 1).await;
    one.send_signal(0, gone).await;
    assert!(one.flush().await.is_empty());
    (one, silent)
}

/// Time leaps, and who answers its pings does.
async fn leap(server: &Server, bystanders: &mut Bystanders, one: &mut Client, span: Duration) {
    server.state.skip(span);
    bystanders.answer_pings().await;
    one.flush().await;
}

#[tokio::test]
async fn a_wall_clock_that_is_set() {
    let change = |config: &mut shoal_signaling::Config| config.limits.heartbeat = HEARTBEAT;
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let (mut one, silent) = world(server).await;
            // Of a few minutes nobody hears anything.
            for (number, wrong) in [(1, -4 * MINUTE), (2, 4 * MINUTE)] {
                server.state.set_clock_wrong(wrong);
                bystanders.notice_nothing().await;
                let (head, pages) = one.key.catalog(1, number, 1..3);
                one.send_catalog(&head, pages).await;
                assert!(one.flush().await.is_empty());
            }
            let held = server.state.gauges();
            // What is signed is judged by the clock, and refused with a word; nobody is away for
            // it, and nothing that waits is lost.
            for (id, wrong) in (1..).zip([-DAY, DAY, -400 * DAY]) {
                server.state.set_clock_wrong(wrong);
                one.send_signal(id, silent.id()).await;
                assert_eq!(one.receipt().await, (id, ReceiptStatus::Refused));
                let (head, pages) = one.key.catalog(1, 3, 1..4);
                one.send_catalog(&head, pages).await;
                assert_eq!(one.error().await.0, ErrorCode::Catalog);
                bystanders.answer_pings().await;
                let now = server.state.gauges();
                assert_eq!((now.sessions, now.sessions_away), (held.sessions, 1));
                assert_eq!(now.queued_signals, held.queued_signals);
            }
            // Leases are spans of time, whatever the clock shows.
            for _ in 0..4 {
                leap(server, bystanders, &mut one, HEARTBEAT).await;
            }
            assert_eq!(server.state.gauges().sessions, 3, "the silent one is away");
            server.state.set_clock_wrong(0);
            bystanders.notice_nothing().await;
        },
    )
    .await;
}

#[tokio::test]
async fn time_that_leaps() {
    let change = |config: &mut shoal_signaling::Config| config.limits.heartbeat = HEARTBEAT;
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            let (mut one, silent) = world(server).await;
            let day = Duration::from_secs(24 * 3600);
            server.state.skip(day);
            // The lease of the one that was away is over, and who sent it a signal hears it.
            assert_eq!(one.receive_but_peers().await, (0, ReceiptStatus::Gone));
            bystanders.answer_pings().await;
            assert_eq!(server.state.gauges().sessions_away, 0);
            // Whoever answers is asked, and stays.
            for _ in 0..3 {
                bystanders.notice_nothing().await;
                leap(server, bystanders, &mut one, HEARTBEAT).await;
            }
            server.settles(|gauges| gauges.connections == 3).await;
            for _ in 0..4 {
                leap(server, bystanders, &mut one, HEARTBEAT).await;
            }
            let gauges = server.state.gauges();
            assert_eq!((gauges.sessions, gauges.sessions_away), (3, 0));
            bystanders.notice_nothing().await;
            drop(silent);
        },
    )
    .await;
}
