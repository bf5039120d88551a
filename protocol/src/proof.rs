//! Verification of contents chunk by chunk.
//!
//! A content's key is the root of a BLAKE3 tree whose subtrees of 256 KiB are the
//! chunks. The *proof list* holds the chaining values of all chunks; merged, they
//! give the key. Merging alone does not prove the size, since a shorter list of
//! parents merges too. So a proof has a *tail* as well: the way from the root of the
//! last chunk down to its last leaf of 1 KiB. BLAKE3 hashes a leaf together with its
//! place and its length, so the tail fits one size only.
//!
//! A proof has one form, as an answer and in stores: size (u64, little-endian), list,
//! tail, accepted or dropped as one. Who has it can pass it on, whatever chunks they hold.
//!
//! Source: the BLAKE3 paper, sections 2.1 (tree) and 6.4 (verified streaming), and the
//! slices of bao; `blake3::hazmat`.

use crate::content::{CHUNK_SIZE, ContentKey, ContentSize};
use blake3::hazmat::{self, HasherExt, Mode};
use std::sync::Arc;

/// Bytes of a chaining value.
const VALUE_LEN: usize = 32;
/// Bytes of the size in front of a proof.
const SIZE_LEN: usize = 8;
/// Bytes of a leaf of the tree: what the BLAKE3 paper calls a chunk.
const LEAF_LEN: usize = blake3::CHUNK_LEN;
/// Levels of the tree below the root of a chunk.
const CHUNK_LEVELS: usize = (CHUNK_SIZE / LEAF_LEN).ilog2() as usize;

/// Bytes of the largest proof: size, list and tail of the largest content.
pub const MAX_PROOF: usize =
    SIZE_LEN + (ContentSize::MAX.chunks() as usize + CHUNK_LEVELS) * VALUE_LEN + LEAF_LEN;

type Value = [u8; VALUE_LEN];

/// A chunk whose bytes are proven to be those of its content. Nothing else may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChunk {
    index: u32,
    bytes: Vec<u8>,
}

impl VerifiedChunk {
    /// Which chunk of the content it is, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The bytes of the chunk.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the chunk, taken out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Why bytes were not accepted as part of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The proof is too short, too long, or states a size of another length.
    #[error("the proof has the wrong length")]
    Length,
    /// The size is larger than any content may be.
    #[error("the proof states a size above the limit")]
    TooLarge,
    /// The list does not merge to the key.
    #[error("the proof list does not lead to the key")]
    List,
    /// The tail does not merge to the last chunk: the content has another size.
    #[error("the tail of the proof does not lead to the last chunk")]
    Tail,
    /// There is no such chunk, or it has another length.
    #[error("chunk {0} has the wrong length or does not exist")]
    ChunkLength(u32),
    /// The bytes of the chunk are not those of the content.
    #[error("chunk {0} has the wrong bytes")]
    Chunk(u32),
}

/// The size of a content and its proof list, checked against its key. Of the largest contents it
/// has megabytes, so its bytes are kept once, in the form in which they are sent and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    key: ContentKey,
    size: ContentSize,
    bytes: Arc<Vec<u8>>,
}

impl Proof {
    /// The content the proof is for.
    pub fn key(&self) -> ContentKey {
        self.key
    }

    /// The proven size of the content.
    pub fn size(&self) -> ContentSize {
        self.size
    }

    /// Takes what [`Proof::to_bytes`] gave for `key`, wherever it comes from: all or nothing.
    pub fn from_bytes(key: ContentKey, bytes: Vec<u8>) -> Result<Self, ProofError> {
        let (size, rest) = bytes
            .split_first_chunk::<SIZE_LEN>()
            .ok_or(ProofError::Length)?;
        let size =
            ContentSize::try_from(u64::from_le_bytes(*size)).map_err(|_| ProofError::TooLarge)?;
        let list_len = size.chunks() as usize * VALUE_LEN;
        let (list, tail) = rest.split_at_checked(list_len).ok_or(ProofError::Length)?;
        let (list, _) = list.as_chunks::<VALUE_LEN>();
        let tail = Tail::from_bytes(size, tail)?;
        if top(list, true) != *key.hash() {
            return Err(ProofError::List);
        }
        if list.last() != Some(&tail.chunk_value(size)) {
            return Err(ProofError::Tail);
        }
        let bytes = Arc::new(bytes);
        Ok(Self { key, size, bytes })
    }

    /// What is sent to who asks for the proof, and what is stored of it.
    pub fn to_bytes(&self) -> Arc<Vec<u8>> {
        Arc::clone(&self.bytes)
    }

    /// The chaining value of a chunk.
    fn value(&self, index: u32) -> Option<&Value> {
        let start = SIZE_LEN + index as usize * VALUE_LEN;
        self.bytes.get(start..)?.first_chunk()
    }

    /// Checks that `bytes` are chunk `index` of the content.
    pub fn verify(&self, index: u32, bytes: Vec<u8>) -> Result<VerifiedChunk, ProofError> {
        if self.size.chunk_len(index) != Some(bytes.len()) {
            return Err(ProofError::ChunkLength(index));
        }
        if Some(&chaining_value(self.size, index, &bytes)) != self.value(index) {
            return Err(ProofError::Chunk(index));
        }
        Ok(VerifiedChunk { index, bytes })
    }
}

/// Makes the proof, and with it the key, of a content this peer publishes.
///
/// Chunks may come in any order; each must come once.
#[derive(Debug)]
pub struct Publication {
    size: ContentSize,
    list: Vec<Value>,
    tail: Option<Tail>,
    missing: u32,
}

impl Publication {
    /// Begins a publication of `size` bytes.
    pub fn new(size: ContentSize) -> Self {
        let chunks = size.chunks();
        Self {
            size,
            list: vec![[0; VALUE_LEN]; chunks as usize],
            tail: None,
            missing: chunks,
        }
    }

    /// The size stated at the beginning.
    pub fn size(&self) -> ContentSize {
        self.size
    }

    /// Adds chunk `index`; an error if it has not the length the size asks for.
    pub fn add(&mut self, index: u32, bytes: Vec<u8>) -> Result<VerifiedChunk, ProofError> {
        if self.size.chunk_len(index) != Some(bytes.len()) {
            return Err(ProofError::ChunkLength(index));
        }
        self.list[index as usize] = chaining_value(self.size, index, &bytes);
        if index == self.size.chunks() - 1 {
            self.tail = Some(Tail::of_chunk(self.size, &bytes));
        }
        self.missing = self.missing.saturating_sub(1);
        Ok(VerifiedChunk { index, bytes })
    }

    /// The proof of the whole content, or `None` while chunks are missing.
    pub fn finish(self) -> Option<Proof> {
        let tail = self.tail.filter(|_| self.missing == 0)?;
        let key = ContentKey::from_hash(top(&self.list, true));
        let parts: [&[u8]; 4] = [
            &self.size.bytes().to_le_bytes(),
            self.list.as_flattened(),
            tail.left.as_flattened(),
            &tail.leaf,
        ];
        Some(Proof {
            key,
            size: self.size,
            bytes: Arc::new(parts.concat()),
        })
    }
}

/// The way from the root of the last chunk down to the last leaf of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tail {
    /// The chaining values of the subtrees left of the way, from the top.
    left: Vec<Value>,
    leaf: Vec<u8>,
}

impl Tail {
    /// The tail of a content of `size` bytes whose last chunk is `bytes`.
    fn of_chunk(size: ContentSize, mut bytes: &[u8]) -> Self {
        let mut left = Vec::new();
        while bytes.len() > LEAF_LEN {
            let offset = size.bytes() - bytes.len() as u64;
            let (subtree, rest) = bytes.split_at(left_bytes(bytes.len()));
            left.push(subtree_value(offset, subtree));
            bytes = rest;
        }
        let leaf = bytes.to_vec();
        Self { left, leaf }
    }

    /// Splits the tail of a content of `size` bytes.
    fn from_bytes(size: ContentSize, bytes: &[u8]) -> Result<Self, ProofError> {
        let (levels, leaf_len) = Self::shape(size);
        let (left, leaf) = bytes
            .split_at_checked(levels * VALUE_LEN)
            .filter(|(_, leaf)| leaf.len() == leaf_len)
            .ok_or(ProofError::Length)?;
        let (left, _) = left.as_chunks::<VALUE_LEN>();
        Ok(Self {
            left: left.to_vec(),
            leaf: leaf.to_vec(),
        })
    }

    /// How many subtrees lie left of the way in a content of `size` bytes, and the bytes of
    /// the leaf.
    fn shape(size: ContentSize) -> (usize, usize) {
        let mut leaf_len = size.chunk_len(size.chunks() - 1).unwrap_or_default();
        let mut levels = 0;
        while leaf_len > LEAF_LEN {
            leaf_len -= left_bytes(leaf_len);
            levels += 1;
        }
        (levels, leaf_len)
    }

    /// The chaining value of the last chunk; for an only chunk, the plain hash.
    fn chunk_value(&self, size: ContentSize) -> Value {
        let is_only = size.chunks() == 1;
        let offset = size.bytes() - self.leaf.len() as u64;
        let leaf = match is_only && self.left.is_empty() {
            true => *blake3::hash(&self.leaf).as_bytes(),
            false => subtree_value(offset, &self.leaf),
        };
        let below = self.left.iter().enumerate().rev();
        below.fold(leaf, |right, (level, left)| {
            merge(left, &right, is_only && level == 0)
        })
    }
}

/// The chaining value of a chunk at its place; for an only chunk, the plain hash.
fn chaining_value(size: ContentSize, index: u32, bytes: &[u8]) -> Value {
    if size.chunks() == 1 {
        return *blake3::hash(bytes).as_bytes();
    }
    subtree_value(u64::from(index) * CHUNK_SIZE as u64, bytes)
}

/// The chaining value of the subtree over `bytes`, which are not empty, at `offset`.
fn subtree_value(offset: u64, bytes: &[u8]) -> Value {
    blake3::Hasher::new()
        .set_input_offset(offset)
        .update(bytes)
        .finalize_non_root()
}

/// The top of the tree over `values`, which are not empty.
fn top(values: &[Value], is_root: bool) -> Value {
    match values {
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            merge(&top(left, false), &top(right, false), is_root)
        }
    }
}

fn merge(left: &Value, right: &Value, is_root: bool) -> Value {
    match is_root {
        true => *hazmat::merge_subtrees_root(left, right, Mode::Hash).as_bytes(),
        false => hazmat::merge_subtrees_non_root(left, right, Mode::Hash),
    }
}

/// How many of `len` > 1 subtrees lie left: the largest power of two below `len`.
fn left_len(len: usize) -> usize {
    len.next_power_of_two() / 2
}

/// How many of `len` > [`LEAF_LEN`] bytes lie left.
fn left_bytes(len: usize) -> usize {
    left_len(len.div_ceil(LEAF_LEN)) * LEAF_LEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lengths at which the tree of a content changes its shape.
    const EDGES: [usize; 17] = [
        0,
        1,
        LEAF_LEN - 1,
        LEAF_LEN,
        LEAF_LEN + 1,
        2 * LEAF_LEN,
        2 * LEAF_LEN + 1,
        5 * LEAF_LEN + 3,
        CHUNK_SIZE - 1,
        CHUNK_SIZE,
        CHUNK_SIZE + 1,
        CHUNK_SIZE + 7 * LEAF_LEN,
        2 * CHUNK_SIZE - 1,
        2 * CHUNK_SIZE,
        4 * CHUNK_SIZE,
        5 * CHUNK_SIZE + 7,
        7 * CHUNK_SIZE,
    ];

    fn bytes(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect()
    }

    fn size(len: usize) -> ContentSize {
        ContentSize::try_from(len as u64).unwrap()
    }

    fn publish(data: &[u8]) -> (Proof, Vec<VerifiedChunk>) {
        let size = size(data.len());
        let mut publication = Publication::new(size);
        let chunks = (0..size.chunks())
            .map(|index| {
                let range = size.chunk_range(index).unwrap();
                publication
                    .add(
                        index,
                        data[range.start as usize..range.end as usize].to_vec(),
                    )
                    .unwrap()
            })
            .collect();
        (publication.finish().unwrap(), chunks)
    }

    fn list(proof: &Proof) -> &[Value] {
        let (list, _) = proof.bytes[SIZE_LEN..].as_chunks();
        &list[..proof.size.chunks() as usize]
    }

    fn tail(proof: &Proof) -> Tail {
        let tail = &proof.bytes[SIZE_LEN + list(proof).len() * VALUE_LEN..];
        Tail::from_bytes(proof.size, tail).expect("its tail")
    }

    /// A list and a tail cut or filled up to what a content of `size` bytes has.
    fn claim(size: ContentSize, list: &[Value], tail: &Tail) -> Vec<u8> {
        let (levels, leaf_len) = Tail::shape(size);
        let mut left = tail.left.clone();
        left.resize(levels, [0; VALUE_LEN]);
        let mut leaf = tail.leaf.clone();
        leaf.resize(leaf_len, 0);
        let head = size.bytes().to_le_bytes();
        [&head[..], list.as_flattened(), left.as_flattened(), &leaf].concat()
    }

    #[test]
    fn golden_proof() {
        let (proof, _) = publish(&[0; LEAF_LEN + 1]);
        let key = "d2beb49d87e59db174cb3ff1440f1899422968df670d060fd7ce759e8cc160e7";
        let left = "91715ad631c858232d522cc2ff678052288c8c540fc6ab6c5fa5104cb63e0d39";
        let hex: String = proof
            .to_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(hex, format!("0104000000000000{key}{left}00"));
    }

    #[test]
    fn keys_are_plain_blake3_at_every_edge() {
        for len in EDGES {
            let data = bytes(len);
            let (proof, chunks) = publish(&data);
            assert_eq!(proof.key().hash(), blake3::hash(&data).as_bytes(), "{len}");
            let bytes = proof.to_bytes();
            let same = Proof::from_bytes(proof.key(), bytes.to_vec()).unwrap();
            assert_eq!(same, proof, "{len}");
            for chunk in &chunks {
                assert_eq!(
                    same.verify(chunk.index(), chunk.bytes().to_vec()).as_ref(),
                    Ok(chunk)
                );
            }
        }
    }

    #[test]
    fn the_largest_proof_has_the_stated_length() {
        let (levels, leaf_len) = Tail::shape(ContentSize::MAX);
        let values = ContentSize::MAX.chunks() as usize + levels;
        assert_eq!(SIZE_LEN + values * VALUE_LEN + leaf_len, MAX_PROOF);
    }

    #[test]
    fn a_list_of_parents_does_not_shrink_the_content() {
        let data = bytes(4 * CHUNK_SIZE);
        let (proof, chunks) = publish(&data);
        let parents = [
            top(&list(&proof)[..2], false),
            top(&list(&proof)[2..], false),
        ];
        // The list alone passes; that is why there is a tail.
        assert_eq!(top(&parents, true), *proof.key().hash());
        for chunk in &chunks {
            for len in [CHUNK_SIZE + 1, 2 * CHUNK_SIZE - 1, 2 * CHUNK_SIZE] {
                // The tail of a chunk, or the way from a parent down to the leaf.
                let of_chunk = Tail::of_chunk(size(4 * CHUNK_SIZE), chunk.bytes());
                let mut of_parent = of_chunk.clone();
                of_parent.left.insert(0, list(&proof)[2]);
                for tail in [&of_chunk, &of_parent] {
                    let claimed = claim(size(len), &parents, tail);
                    let refused = Proof::from_bytes(proof.key(), claimed);
                    assert_eq!(refused, Err(ProofError::Tail), "{len}");
                }
            }
        }
    }

    #[test]
    fn a_tail_fits_no_other_place() {
        // One byte behind a chunk; one byte behind a leaf has a tree of the same shape.
        let (proof, _) = publish(&bytes(CHUNK_SIZE + 1));
        let tail = Tail {
            left: vec![list(&proof)[0]],
            leaf: tail(&proof).leaf,
        };
        let moved = claim(size(LEAF_LEN + 1), &[*proof.key().hash()], &tail);
        assert_eq!(moved.len(), SIZE_LEN + 2 * VALUE_LEN + 1);
        assert_eq!(Proof::from_bytes(proof.key(), moved), Err(ProofError::Tail));
    }

    #[test]
    fn no_other_size_with_as_many_chunks_passes() {
        for len in EDGES {
            let (proof, _) = publish(&bytes(len));
            let near = [1, 2, LEAF_LEN - 1, LEAF_LEN, LEAF_LEN + 1, 2 * LEAF_LEN];
            let smaller = near.iter().filter_map(|less| len.checked_sub(*less));
            let larger = near.iter().map(|more| len + more);
            for other in smaller.chain(larger).map(size) {
                if other.chunks() == proof.size.chunks() {
                    let claimed = claim(other, list(&proof), &tail(&proof));
                    let refused = Proof::from_bytes(proof.key(), claimed);
                    assert_eq!(refused, Err(ProofError::Tail), "{len}: {other:?}");
                }
            }
        }
    }

    #[test]
    fn a_proof_is_accepted_or_dropped_as_one() {
        let data = bytes(3 * CHUNK_SIZE + 5 * LEAF_LEN + 9);
        let (proof, _) = publish(&data);
        let bytes = proof.to_bytes();
        let changed = |at: usize, bit: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1 << bit;
            Proof::from_bytes(proof.key(), bytes)
        };
        for at in 0..bytes.len() {
            assert!(changed(at, at as u8 % 8).is_err(), "byte {at}");
        }
        assert_eq!(changed(0, 0), Err(ProofError::Length));
        assert_eq!(changed(7, 0), Err(ProofError::TooLarge));
        assert_eq!(changed(8, 0), Err(ProofError::List));
        let tail = SIZE_LEN + 4 * VALUE_LEN;
        assert_eq!(changed(tail, 0), Err(ProofError::Tail));
        assert_eq!(changed(bytes.len() - 1, 7), Err(ProofError::Tail));
        for len in 0..bytes.len() {
            let short = Proof::from_bytes(proof.key(), bytes[..len].to_vec());
            assert_eq!(short, Err(ProofError::Length), "{len}");
        }
        let long = [&bytes[..], &[0]].concat();
        assert_eq!(
            Proof::from_bytes(proof.key(), long),
            Err(ProofError::Length)
        );
    }

    #[test]
    fn wrong_bytes_at_the_right_place_and_right_bytes_at_the_wrong_place_fail() {
        let data = bytes(3 * CHUNK_SIZE);
        let (proof, chunks) = publish(&data);
        assert_eq!(
            proof.verify(1, chunks[0].bytes().to_vec()),
            Err(ProofError::Chunk(1))
        );
        assert_eq!(
            proof.verify(3, chunks[0].bytes().to_vec()),
            Err(ProofError::ChunkLength(3))
        );
        assert_eq!(proof.verify(0, Vec::new()), Err(ProofError::ChunkLength(0)));
    }

    proptest! {
        #[test]
        fn no_other_small_size_passes(len in 0usize..8 * LEAF_LEN, other in 0usize..8 * LEAF_LEN) {
            let (proof, _) = publish(&bytes(len));
            let claimed = claim(size(other), list(&proof), &tail(&proof));
            prop_assert_eq!(Proof::from_bytes(proof.key(), claimed).is_ok(), len == other);
        }

        #[test]
        fn no_bytes_panic(stated in 0u64..4 * CHUNK_SIZE as u64, bytes: Vec<u8>, filler: u8) {
            let key = ContentKey::from_hash([7; VALUE_LEN]);
            prop_assert!(Proof::from_bytes(key, bytes.clone()).is_err());
            // As long as such a content asks for.
            let stated = ContentSize::try_from(stated).unwrap();
            let list = vec![[filler; VALUE_LEN]; stated.chunks() as usize];
            let tail = Tail { left: Vec::new(), leaf: bytes };
            let key = ContentKey::from_hash(top(&list, true));
            let refused = Proof::from_bytes(key, claim(stated, &list, &tail));
            prop_assert_eq!(refused, Err(ProofError::Tail));
        }
    }
}
