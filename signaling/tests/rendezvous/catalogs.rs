//! Catalogs: stored, served in parts, searched, and checked.

use crate::rig::{Client, Key, Server, content, entry, now};
use shoal_protocol::{
    catalog::{CatalogHead, HEAD_LIFETIME, PageText, Since},
    rendezvous::{ErrorCode, MAX_MESSAGE, PeerMessage, ServerMessage},
};
use shoal_signaling::limits::Limits;
use std::{ops::Range, sync::Arc};

const FIRST: Since = Since {
    epoch: 1,
    number: 1,
};

fn catalog(client: &Client, number: u64, numbers: Range<u32>) -> (CatalogHead, Vec<PageText>) {
    client.key.catalog(1, number, numbers)
}

async fn providers(client: &mut Client, n: u32) -> usize {
    let key = content(n);
    client.send(PeerMessage::Find { key }).await;
    match client.receive().await {
        ServerMessage::Providers { key: of, peers } if of == key => peers.len(),
        other => panic!("expected providers, got {other:?}"),
    }
}

#[tokio::test]
async fn a_catalog_is_listed_served_and_found() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    let (head, pages) = catalog(&one, 1, 0..3);
    one.send_catalog(&head, pages.clone()).await;

    let (add, _) = two.peers().await;
    assert_eq!((add[0].peer, add[0].catalog), (one.id(), Some(FIRST)));
    let (signed, served) = two.catalogs(one.id(), None, |_| true).await;
    assert_eq!(signed.unwrap().open::<CatalogHead>(), Ok(head));
    assert_eq!(served, pages);
    assert_eq!(providers(&mut two, 2).await, 1);
    assert_eq!(providers(&mut two, 3).await, 0);
    assert_eq!(providers(&mut one, 2).await, 0, "one need not ask itself");

    let (_three, joined) = Client::join(&server, 3).await;
    assert!(joined.view.iter().any(|peer| peer.catalog == Some(FIRST)));

    // Nothing is known of a catalog that is not there.
    two.flush().await;
    let (signed, pages) = two.catalogs(Key::new(9).id(), None, |_| true).await;
    assert!(signed.is_none() && pages.is_empty());

    one.send(PeerMessage::Leave {}).await;
    one.closed().await;
    server.settles(|gauges| gauges.catalog_bytes == 0).await;
    two.flush().await;
    assert_eq!(providers(&mut two, 2).await, 0);
}

#[tokio::test]
async fn a_catalog_is_judged_by_the_wall_clock_when_it_is_asked_for() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    let (head, pages) = catalog(&one, 1, 0..3);
    one.send_catalog(&head, pages).await;
    two.peers().await;
    // Spans of time pass, and who answers pings stays; the wall clock shows what it showed, as
    // where it was a day ahead when the server started.
    server.state.skip(HEAD_LIFETIME * 2);
    assert!(one.flush().await.is_empty() && two.flush().await.is_empty());
    assert_eq!(providers(&mut two, 2).await, 1);
}

#[tokio::test]
async fn only_changed_pages_travel() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    let (head, pages) = catalog(&one, 1, 0..100);
    assert!(pages.len() > 2);
    one.send_catalog(&head, pages.clone()).await;
    two.peers().await;

    let (head, new_pages) = catalog(&one, 2, 0..101);
    let delta: Vec<PageText> = new_pages
        .iter()
        .filter(|page| !pages.contains(page))
        .cloned()
        .collect();
    assert_eq!(delta.len(), 1);
    one.send_catalog(&head, delta.clone()).await;
    two.peers().await;
    let (_, since_first) = two.catalogs(one.id(), Some(FIRST), |_| true).await;
    assert_eq!(since_first, delta);
    let newest = Since {
        epoch: 1,
        number: 2,
    };
    let (signed, none) = two.catalogs(one.id(), Some(newest), |_| true).await;
    assert!(signed.is_some() && none.is_empty());
    let (_, all) = two.catalogs(one.id(), None, |_| true).await;
    assert_eq!(all, new_pages);

    // After a new epoch, what was known says nothing.
    let (head, pages) = one.key.catalog(2, 1, 0..101);
    one.send_catalog(&head, pages.clone()).await;
    two.peers().await;
    let (_, all) = two.catalogs(one.id(), Some(newest), |_| true).await;
    assert_eq!(all, pages);
}

#[tokio::test]
async fn a_large_catalog_comes_in_several_messages_none_too_long() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    let (head, pages) = catalog(&one, 1, 0..8_000);
    for part in pages.chunks(5) {
        one.send_catalog(&head, part.to_vec()).await;
    }
    assert_eq!(two.peers().await.0[0].catalog, Some(FIRST));

    two.send(PeerMessage::Get {
        peer: one.id(),
        since: None,
    })
    .await;
    let mut served = Vec::new();
    let mut messages = 0;
    while served.len() < pages.len() {
        let message = two.receive().await;
        assert!(message.to_text().len() <= MAX_MESSAGE);
        let ServerMessage::Catalog { pages, .. } = message else {
            panic!("{message:?}");
        };
        messages += 1;
        served.extend(pages);
    }
    assert_eq!(served, pages);
    assert!((5..40).contains(&messages), "{messages} messages");
}

#[tokio::test]
async fn the_largest_head_and_pages_fit_into_messages() {
    let server = Server::start().await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    // Descriptions of quotation marks double twice on the way: in the page, in the message.
    let mut numbers = (0..).map(|n| {
        let mut entry = entry(n);
        entry.metadata.description = Some("\"".repeat(2048));
        entry
    });
    let entries: Vec<_> = numbers.by_ref().take(600).collect();
    let pages = shoal_protocol::catalog::paginate(entries.iter()).unwrap();
    let (head, pages) = one.key.catalog_of(1, 1, 600, &pages);
    for page in &pages {
        one.send_catalog(&head, vec![page.clone()]).await;
    }
    assert_eq!(two.peers().await.0[0].catalog, Some(FIRST));
    let wanted = pages.len();
    let (_, served) = two
        .catalogs(one.id(), None, |all| all.len() == wanted)
        .await;
    assert_eq!(served, pages);
}

#[tokio::test]
async fn lies_and_damage_are_refused_and_change_nothing() {
    let server = Server::with(|config| config.limits.faults = 100).await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    let (good, pages) = catalog(&one, 5, 0..3);
    one.send_catalog(&good, pages.clone()).await;
    two.peers().await;

    let text = |text: &str| -> Vec<Arc<str>> { vec![Arc::from(text)] };
    let lie = |number, count, texts: Vec<Arc<str>>| one.key.catalog_of(1, number, count, &texts);
    let key = content(1);
    let other_key = content(2);
    let mut order = [key, other_key];
    order.sort();
    let long_name = "x".repeat(10_000);
    let lies = [
        // Counts and entries that are none.
        lie(6, 7, text("[]")),
        lie(7, 10_001, text("[]")),
        lie(8, 1, text("no json")),
        lie(
            9,
            1,
            text(r#"[{"key":"nonsense","size":1,"complete":true}]"#),
        ),
        lie(
            10,
            1,
            text(&format!(r#"[{{"key":"{key}","size":-1,"complete":true}}]"#)),
        ),
        lie(
            11,
            1,
            text(&format!(
                r#"[{{"key":"{key}","size":1,"complete":true,"name":"{long_name}"}}]"#
            )),
        ),
        lie(
            12,
            2,
            text(&format!(
                r#"[{{"key":"{1}","size":1,"complete":true}},{{"key":"{0}","size":1,"complete":true}}]"#,
                order[0], order[1]
            )),
        ),
        // Three pages are no power of two.
        lie(13, 0, vec![Arc::from("[]"); 3]),
        // Another catalog under a number that was used.
        lie(5, 0, text("[]")),
        // For another peer, another namespace, another time.
        {
            let (mut head, pages) = lie(14, 0, text("[]"));
            head.peer = two.id();
            (head, pages)
        },
        {
            let (mut head, pages) = lie(15, 0, text("[]"));
            head.namespace = "elsewhere".parse().unwrap();
            (head, pages)
        },
        {
            let (mut head, pages) = lie(16, 0, text("[]"));
            head.expires = now();
            (head, pages)
        },
        // A page that is not the one the head names.
        {
            let (head, mut pages) = lie(17, 0, text("[]"));
            pages[0].text = Arc::from("[ ]");
            (head, pages)
        },
        {
            let (head, mut pages) = lie(18, 0, text("[]"));
            pages[0].page = 9;
            (head, pages)
        },
    ];
    for (head, pages) in lies {
        let shown = format!("{head:?}");
        one.send_catalog(&head, pages).await;
        let (code, message) = one.error().await;
        assert_eq!(code, ErrorCode::Catalog, "{shown}: {message}");
    }
    // Signed by somebody else.
    let (head, pages_of_two) = two.key.catalog(1, 19, 0..3);
    let signed = two.key.sign(&head);
    let pages_sent = pages_of_two.clone();
    one.send(PeerMessage::Catalog {
        signed,
        pages: pages_sent,
    })
    .await;
    assert_eq!(one.error().await.0, ErrorCode::Catalog);
    // An older head is overtaken, not a lie.
    let (old, old_pages) = catalog(&one, 4, 0..1);
    one.send_catalog(&old, old_pages).await;
    assert!(one.flush().await.is_empty());

    let (signed, served) = two.catalogs(one.id(), None, |_| true).await;
    assert_eq!(signed.unwrap().open::<CatalogHead>(), Ok(good));
    assert_eq!(served, pages);
    assert!(two.flush().await.is_empty());
    // And a good one is still taken.
    let (head, pages) = catalog(&one, 20, 0..4);
    one.send_catalog(&head, pages).await;
    assert_eq!(two.peers().await.0[0].catalog.unwrap().number, 20);
}

#[tokio::test]
async fn catalogs_are_bounded() {
    let server = Server::with(|config| {
        config.limits.catalog_entries = 50;
        config.limits.catalog_bytes = 4000;
    })
    .await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (head, _) = catalog(&one, 1, 0..51);
    // However often: what is too large for this server is no fault.
    for _ in 0..2 * Limits::default().faults {
        one.send_catalog(&head, vec![]).await;
        let (code, message) = one.error().await;
        assert_eq!(code, ErrorCode::Catalog);
        assert!(message.contains("50 entries"), "{message}");
    }

    let (head, pages) = catalog(&one, 2, 0..50);
    for page in pages {
        one.send_catalog(&head, vec![page]).await;
    }
    let (code, message) = one.error().await;
    assert_eq!(code, ErrorCode::Catalog);
    assert!(message.contains("4000 bytes"), "{message}");
    let (head, pages) = catalog(&one, 3, 0..5);
    one.send_catalog(&head, pages).await;
    assert!(one.flush().await.is_empty());
    let (signed, _) = one.catalogs(one.id(), None, |_| true).await;
    assert!(signed.is_some());
}

#[tokio::test]
async fn where_there_is_no_room_it_is_said_when_to_try_again() {
    let server = Server::with(|config| config.limits.catalog_bytes_per_address = 40_000).await;
    let (mut one, _) = Client::join(&server, 1).await;
    let (mut two, _) = Client::join(&server, 2).await;
    one.peers().await;
    let (head, pages) = catalog(&one, 1, 0..200);
    one.send_catalog(&head, pages).await;
    two.peers().await;
    let (head, pages) = catalog(&two, 1, 0..200);
    for _ in 0..2 * Limits::default().faults {
        two.send_catalog(&head, pages.clone()).await;
        match two.receive().await {
            ServerMessage::Error {
                code: ErrorCode::Limit,
                message,
                retry_after: Some(wait),
            } => assert!(wait >= 60_000, "{message}: {wait} ms"),
            other => panic!("expected a limit and a time, got {other:?}"),
        }
    }
    // Both addresses are the same here.
    one.send(PeerMessage::Leave {}).await;
    one.closed().await;
    two.peers().await;
    two.send_catalog(&head, pages).await;
    assert!(two.flush().await.is_empty());
    assert_eq!(providers(&mut two, 2).await, 0, "two need not ask itself");
    let (mut three, joined) = Client::join(&server, 3).await;
    assert_eq!(joined.view[0].catalog, Some(FIRST));
    assert_eq!(providers(&mut three, 2).await, 1);
}

#[tokio::test]
async fn a_catalog_survives_a_broken_connection() {
    let server = Server::start().await;
    let (mut one, joined) = Client::join(&server, 1).await;
    let (head, pages) = catalog(&one, 1, 0..3);
    one.send_catalog(&head, pages).await;
    one.flush().await;
    drop(one);
    let (mut two, _) = Client::join(&server, 2).await;
    assert_eq!(providers(&mut two, 2).await, 1);
    let (mut one, again) = Client::resume(&server, 1, Some(joined.resume)).await;
    assert!(again.resumed);
    assert_eq!((joined.catalog, again.catalog), (None, Some(FIRST)));
    // Sending it again, as after a fresh join, does no harm.
    let (head, pages) = catalog(&one, 1, 0..3);
    one.send_catalog(&head, pages).await;
    one.flush().await;
    assert_eq!(providers(&mut two, 2).await, 1);
}
