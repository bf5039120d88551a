//! Verification of contents chunk by chunk.
//!
//! A content's key is the root of a BLAKE3 tree whose subtrees of 256 KiB are the
//! chunks. The *proof list* holds the chaining values of all chunks; merged, they
//! give the key. Merging alone does not prove the size, since a shorter list of
//! parents merges too. So a proof answer is size, list and last chunk, accepted or
//! dropped as one: the last chunk verifies only at its true place, which fixes the
//! number of chunks and the size.
//!
//! Source: the BLAKE3 paper, sections 2.1 (tree) and 6.4 (verified streaming);
//! `blake3::hazmat`.

use crate::content::{CHUNK_SIZE, ContentKey, ContentSize};
use blake3::hazmat::{self, HasherExt, Mode};

/// Bytes of a chaining value.
const VALUE_LEN: usize = 32;
/// Bytes of the size in front of a proof answer.
const SIZE_LEN: usize = 8;

/// The largest proof answer: size, list and last chunk of the largest content.
pub const MAX_PROOF_ANSWER: usize =
    SIZE_LEN + ContentSize::MAX.chunks() as usize * VALUE_LEN + CHUNK_SIZE;

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
    /// The proof answer is too short, too long, or states a size of another length.
    #[error("the proof answer has the wrong length")]
    Length,
    /// The size is larger than any content may be.
    #[error("the proof answer states a size above the limit")]
    TooLarge,
    /// The list does not merge to the key.
    #[error("the proof list does not lead to the key")]
    List,
    /// There is no such chunk, or it has another length.
    #[error("chunk {0} has the wrong length or does not exist")]
    ChunkLength(u32),
    /// The bytes of the chunk are not those of the content.
    #[error("chunk {0} has the wrong bytes")]
    Chunk(u32),
}

/// The proof list of a content, checked against its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    key: ContentKey,
    size: ContentSize,
    list: Vec<[u8; VALUE_LEN]>,
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

    /// Takes a proof answer (see [`Proof::answer`]) for `key`: all of it, with the last
    /// chunk, or nothing.
    pub fn from_answer(
        key: ContentKey,
        answer: &[u8],
    ) -> Result<(Self, VerifiedChunk), ProofError> {
        let (size, rest) = answer
            .split_first_chunk::<SIZE_LEN>()
            .ok_or(ProofError::Length)?;
        let size =
            ContentSize::try_from(u64::from_le_bytes(*size)).map_err(|_| ProofError::TooLarge)?;
        let list_len = size.chunks() as usize * VALUE_LEN;
        let (list, last) = rest.split_at_checked(list_len).ok_or(ProofError::Length)?;
        let proof = Self::from_list(key, size, list)?;
        let last = proof.verify(size.chunks() - 1, last.to_vec())?;
        Ok((proof, last))
    }

    /// Takes a list from this peer's own store, where the size was proven before.
    pub fn from_list(key: ContentKey, size: ContentSize, list: &[u8]) -> Result<Self, ProofError> {
        let (values, rest) = list.as_chunks::<VALUE_LEN>();
        if values.len() != size.chunks() as usize || !rest.is_empty() {
            return Err(ProofError::Length);
        }
        if root(values) != *key.hash() {
            return Err(ProofError::List);
        }
        Ok(Self {
            key,
            size,
            list: values.to_vec(),
        })
    }

    /// The list as bytes, 32 for each chunk.
    pub fn list(&self) -> &[u8] {
        self.list.as_flattened()
    }

    /// What is sent to who asks for the proof: size (u64, little-endian), list, last chunk.
    /// `None` if `last` is not the last chunk.
    pub fn answer(&self, last: &VerifiedChunk) -> Option<Vec<u8>> {
        if last.index != self.size.chunks() - 1 {
            return None;
        }
        let list = self.list();
        let mut answer = Vec::with_capacity(SIZE_LEN + list.len() + last.bytes.len());
        answer.extend_from_slice(&self.size.bytes().to_le_bytes());
        answer.extend_from_slice(list);
        answer.extend_from_slice(&last.bytes);
        Some(answer)
    }

    /// Checks that `bytes` are chunk `index` of the content.
    pub fn verify(&self, index: u32, bytes: Vec<u8>) -> Result<VerifiedChunk, ProofError> {
        if self.size.chunk_len(index) != Some(bytes.len()) {
            return Err(ProofError::ChunkLength(index));
        }
        if chaining_value(self.size, index, &bytes) != self.list[index as usize] {
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
    list: Vec<[u8; VALUE_LEN]>,
    missing: u32,
}

impl Publication {
    /// Begins a publication of `size` bytes.
    pub fn new(size: ContentSize) -> Self {
        let chunks = size.chunks();
        Self {
            size,
            list: vec![[0; VALUE_LEN]; chunks as usize],
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
        self.missing = self.missing.saturating_sub(1);
        Ok(VerifiedChunk { index, bytes })
    }

    /// The proof of the whole content, or `None` while chunks are missing.
    pub fn finish(self) -> Option<Proof> {
        if self.missing > 0 {
            return None;
        }
        let key = ContentKey::from_hash(root(&self.list));
        Some(Proof {
            key,
            size: self.size,
            list: self.list,
        })
    }
}

/// The chaining value of a chunk at its place; for an only chunk, the plain hash.
fn chaining_value(size: ContentSize, index: u32, bytes: &[u8]) -> [u8; VALUE_LEN] {
    if size.chunks() == 1 {
        return *blake3::hash(bytes).as_bytes();
    }
    blake3::Hasher::new()
        .set_input_offset(u64::from(index) * CHUNK_SIZE as u64)
        .update(bytes)
        .finalize_non_root()
}

/// The root of the tree over `values`, which are not empty.
fn root(values: &[[u8; VALUE_LEN]]) -> [u8; VALUE_LEN] {
    match values {
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            *hazmat::merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes()
        }
    }
}

fn subtree(values: &[[u8; VALUE_LEN]]) -> [u8; VALUE_LEN] {
    match values {
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            hazmat::merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// How many of `len` > 1 leaves lie left: the largest power of two below `len`.
fn left_len(len: usize) -> usize {
    len.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect()
    }

    fn publish(data: &[u8]) -> (Proof, Vec<VerifiedChunk>) {
        let size = ContentSize::try_from(data.len() as u64).unwrap();
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

    #[test]
    fn keys_are_plain_blake3_at_every_edge() {
        for len in [
            0,
            1,
            CHUNK_SIZE - 1,
            CHUNK_SIZE,
            CHUNK_SIZE + 1,
            2 * CHUNK_SIZE,
            5 * CHUNK_SIZE + 7,
            7 * CHUNK_SIZE,
        ] {
            let data = bytes(len);
            let (proof, chunks) = publish(&data);
            assert_eq!(proof.key().hash(), blake3::hash(&data).as_bytes(), "{len}");
            let answer = proof.answer(chunks.last().unwrap()).unwrap();
            let (same, last) = Proof::from_answer(proof.key(), &answer).unwrap();
            assert_eq!((&same, &last), (&proof, chunks.last().unwrap()), "{len}");
            for chunk in &chunks {
                assert_eq!(
                    same.verify(chunk.index(), chunk.bytes().to_vec()).as_ref(),
                    Ok(chunk)
                );
            }
        }
    }

    #[test]
    fn a_shorter_list_of_parents_does_not_shrink_the_content() {
        let data = bytes(4 * CHUNK_SIZE);
        let (proof, chunks) = publish(&data);
        let parents: Vec<u8> = [subtree(&proof.list[..2]), subtree(&proof.list[2..])].concat();
        let size = ContentSize::try_from(2 * CHUNK_SIZE as u64).unwrap();
        // The list alone passes; that is why the last chunk belongs to the answer.
        assert!(Proof::from_list(proof.key(), size, &parents).is_ok());
        for last in &chunks {
            let mut answer = size.bytes().to_le_bytes().to_vec();
            answer.extend_from_slice(&parents);
            answer.extend_from_slice(last.bytes());
            assert_eq!(
                Proof::from_answer(proof.key(), &answer),
                Err(ProofError::Chunk(1))
            );
        }
    }

    #[test]
    fn a_proof_answer_is_accepted_or_dropped_as_one() {
        let data = bytes(3 * CHUNK_SIZE + 9);
        let (proof, chunks) = publish(&data);
        let key = proof.key();
        let answer = proof.answer(&chunks[3]).unwrap();
        let changed = |at: usize| {
            let mut answer = answer.clone();
            answer[at] ^= 1;
            Proof::from_answer(key, &answer).map(|_| ())
        };
        assert_eq!(changed(0), Err(ProofError::ChunkLength(3)));
        assert_eq!(changed(7), Err(ProofError::TooLarge));
        assert_eq!(changed(8), Err(ProofError::List));
        assert_eq!(changed(answer.len() - 1), Err(ProofError::Chunk(3)));
        for len in [0, 7, 8, 100, answer.len() - 1] {
            assert!(Proof::from_answer(key, &answer[..len]).is_err(), "{len}");
        }
        assert_eq!(proof.answer(&chunks[0]), None);
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
}
