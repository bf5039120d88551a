//! What catalogs take of memory, beside the bytes that are counted.

use crate::{
    ALONE,
    heap::live,
    rig::{Key, entry},
};
use shoal_protocol::{
    VERSIONS,
    catalog::{Entry, Metadata, paginate},
    id::PeerId,
    namespace::Namespace,
    rendezvous::{Join, PeerMessage},
    time::Timestamp,
};
use shoal_signaling::{
    address::Address, check::Checker, clock::Clock, limits::Limits, registry::Registry,
};

/// What is taken at most for each byte that is counted; measured were 2.84, 1.46 and 1.09. An entry
/// is indexed by its key, so the shortest entries take the most.
const MOST: [(&str, f64); 3] = [("shortest", 3.5), ("of 400 bytes", 2.0), ("of 2 KiB", 1.5)];

fn entry_of(kind: &str, n: u32) -> Entry {
    let description = match kind {
        "shortest" => None,
        "of 400 bytes" => Some("d".repeat(280)),
        _ => Some("d".repeat(1920)),
    };
    let metadata = Metadata {
        description,
        ..Metadata::default()
    };
    Entry {
        metadata,
        ..entry(n)
    }
}

/// Registers the catalog of a peer.
fn publish(registry: &mut Registry, now: Timestamp, n: u8, entries: &[Entry]) {
    let server = PeerId::from_public_key([5; 32]);
    let from = Address::new([127, 0, 0, n].into(), 64);
    let (connection, nonce) = registry.handle_connect(now, from);
    let mut checker = Checker::new(server, nonce);
    let key = Key::new(n);
    let signed = key.sign(&Join {
        server,
        nonce,
        namespace: Namespace::default(),
        versions: VERSIONS.to_vec(),
    });
    let mut say = |message: PeerMessage| {
        let request = checker.check(now, &message.to_text());
        registry.handle_request(now, connection, request);
    };
    let resume = None;
    say(PeerMessage::Join { signed, resume });
    let pages = paginate(entries.iter()).unwrap();
    let (head, pages) = key.catalog_of(1, 1, entries.len() as u32, &pages);
    for page in pages {
        let signed = key.sign(&head);
        let pages = vec![page];
        say(PeerMessage::Catalog { signed, pages });
    }
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "docs/operating.md has the figures")]
async fn catalogs_take_little_more_memory_than_is_counted() {
    const PEERS: u8 = 10;
    const ENTRIES: u32 = 1_600;
    let _alone = ALONE.lock().await;
    for (kind, most) in MOST {
        let now = Clock::start().now();
        let server = PeerId::from_public_key([5; 32]);
        let mut registry = Registry::new(server, Limits::default(), Vec::new(), [3; 32]);
        let before = live();
        for n in 1..=PEERS {
            let numbers = u32::from(n) * ENTRIES..(u32::from(n) + 1) * ENTRIES;
            let entries: Vec<Entry> = numbers.map(|n| entry_of(kind, n)).collect();
            publish(&mut registry, now, n, &entries);
        }
        let taken = live() - before;
        let counted = registry.gauges().catalog_bytes;
        let entries = usize::from(PEERS) * ENTRIES as usize;
        println!(
            "entries {kind}: {} bytes each; {taken} bytes for {counted}: {:.2}",
            counted / entries,
            taken as f64 / counted as f64,
        );
        assert!(counted > entries * 80, "all is there");
        assert!(
            taken as f64 <= most * counted as f64,
            "{taken} for {counted}"
        );
        drop(registry);
        let left = live().saturating_sub(before);
        // Other tests begin meanwhile, and wait.
        assert!(left < counted / 10, "{left} bytes are left");
    }
}
