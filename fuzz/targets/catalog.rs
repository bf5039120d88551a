//! Catalogs whose head names just the pages it comes with: the signature and the hashes are
//! right, and everything else is the liar's. The input is the pages, each after a byte 0xff,
//! which no text has; what is before the first is numbers for the head.

#![no_main]

use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use shoal_protocol::catalog::{CatalogHead, Offered, PageText, Replica, SignedHead, page_hashes};
use shoal_protocol::id::{PeerId, Signature};
use shoal_protocol::namespace::Namespace;
use shoal_protocol::signed::{Payload, Signed};
use shoal_protocol::time::UnixMillis;

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|byte| *byte == 0xff);
    let numbers = parts.next().unwrap_or_default();
    let number = |at: usize| numbers.get(at).copied().unwrap_or_default();
    let mut pages: Vec<Arc<str>> = parts
        .map(|part| String::from_utf8_lossy(part).into())
        .collect();
    // Most inputs would end at the power of two that the number of pages must be.
    if number(0) == 0 {
        pages.resize(pages.len().max(1).next_power_of_two(), "[]".into());
    }
    let key = SigningKey::from_bytes(&[7; 32]);
    let peer = PeerId::from_public_key(key.verifying_key().to_bytes());
    let head = CatalogHead {
        peer,
        namespace: Namespace::default(),
        epoch: 1,
        number: u64::from(number(1)),
        count: u32::from(number(2)),
        pages: page_hashes(&pages),
        issued: NOW,
        expires: UnixMillis(NOW.0 + 1000),
    };
    let payload = head.to_payload();
    let sig = Signature(key.sign(&CatalogHead::KIND.message(&payload)).to_bytes());
    let signed = Signed {
        peer,
        payload,
        sig,
        member: None,
    };
    let Ok(head) = SignedHead::open(signed, peer, &Namespace::default(), NOW) else {
        return;
    };

    let mut replica = Replica::default();
    let Ok(offered) = replica.offer(head) else {
        return;
    };
    let texts: Vec<_> = (0..)
        .zip(&pages)
        .map(|(page, text)| PageText {
            page,
            text: text.clone(),
        })
        .collect();
    let done = replica.add_pages(&texts);
    if let Some(catalog) = replica.catalog() {
        assert_eq!(catalog.entries().count(), usize::from(number(2)));
        assert!(
            catalog
                .entries()
                .all(|entry| catalog.entry(&entry.key) == Some(entry))
        );
        assert_eq!(catalog.page_texts(), texts);
    } else {
        assert!(done != Ok(Offered::Complete) || offered != Offered::Wanting);
    }
});
