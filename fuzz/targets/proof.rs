//! Proofs. An honest one is changed as the input says: it is accepted only if
//! nothing changed in the end. Any bytes at all may be given for it, too.

#![no_main]

use std::sync::LazyLock;

use shoal_protocol::content::{CHUNK_SIZE, ContentKey, ContentSize};
use shoal_protocol::proof::{Proof, Publication};

/// Three whole chunks and a short one of six leaves, so that both trees are lopsided.
static HONEST: LazyLock<(ContentKey, Vec<u8>)> = LazyLock::new(|| {
    let size = ContentSize::try_from(3 * CHUNK_SIZE as u64 + 5 * 1024 + 7).expect("a small size");
    let mut publication = Publication::new(size);
    for index in 0..size.chunks() {
        let len = size.chunk_len(index).expect("a chunk of it");
        publication
            .add(index, vec![index as u8; len])
            .expect("of its length");
    }
    let proof = publication.finish().expect("complete");
    (proof.key(), proof.to_bytes().to_vec())
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (key, honest) = &*HONEST;
    assert!(Proof::from_bytes(*key, input.to_vec()).is_err() || input == honest);

    let mut bytes = honest.clone();
    let (edits, tail) = input.split_at(input.len().min(12));
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[at] ^= edit[2];
    }
    match tail.split_first() {
        Some((0, more)) => bytes.extend_from_slice(more),
        Some((cut, _)) => bytes.truncate(bytes.len().saturating_sub(usize::from(*cut))),
        None => {}
    }
    match Proof::from_bytes(*key, bytes.clone()) {
        Ok(proof) => assert!(bytes == *honest && *proof.to_bytes() == bytes),
        Err(_) => assert_ne!(bytes, *honest),
    }
});
