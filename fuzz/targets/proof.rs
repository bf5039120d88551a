//! Proof answers. An honest answer is changed as the input says: it is accepted only if
//! nothing changed in the end. Any bytes at all may be given for it, too.

#![no_main]

use std::sync::LazyLock;

use shoal_protocol::content::{CHUNK_SIZE, ContentKey, ContentSize};
use shoal_protocol::proof::{Proof, Publication};

/// Three whole chunks and a short one, so that the tree is lopsided.
static HONEST: LazyLock<(ContentKey, Vec<u8>)> = LazyLock::new(|| {
    let size = ContentSize::try_from(3 * CHUNK_SIZE as u64 + 7).expect("a small size");
    let mut publication = Publication::new(size);
    let mut last = None;
    for index in 0..size.chunks() {
        let len = size.chunk_len(index).expect("a chunk of it");
        last = Some(
            publication
                .add(index, vec![index as u8; len])
                .expect("of its length"),
        );
    }
    let proof = publication.finish().expect("complete");
    let answer = proof
        .answer(&last.expect("the last chunk"))
        .expect("the last chunk");
    (proof.key(), answer)
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (key, honest) = &*HONEST;
    let _ = Proof::from_answer(*key, input);

    let mut answer = honest.clone();
    let (edits, tail) = input.split_at(input.len().min(12));
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % answer.len();
        answer[at] ^= edit[2];
    }
    match tail.split_first() {
        Some((0, more)) => answer.extend_from_slice(more),
        Some((cut, _)) => answer.truncate(answer.len().saturating_sub(usize::from(*cut))),
        None => {}
    }
    assert_eq!(Proof::from_answer(*key, &answer).is_ok(), answer == *honest);
});
