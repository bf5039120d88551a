//! Frames of the bulk channel: pieces of the answers to requests.
//!
//! A frame is a header of 16 bytes and a payload. The header names request, chunk and
//! offset, so frames may arrive in any order. All numbers are little-endian:
//! `kind u8, flags u8 (0), reserved u16 (0), request u32, index u32, offset u32`.

/// Bytes of the header.
pub const HEADER_LEN: usize = 16;
/// Largest frame, header included. Chromium and Firefox both reach their rate with it and
/// control messages wait little behind it (28 ms behind a mebibyte in Chromium).
pub const MAX_FRAME: usize = 64 * 1024;
/// Largest payload of a frame.
pub const MAX_PAYLOAD: usize = MAX_FRAME - HEADER_LEN;
/// Payloads begin at multiples of this in their answer, and have a multiple of it, but for the
/// last. Such a frame fits a packet of SCTP, which has some 1,160 bytes for it in browsers.
pub const GRAIN: usize = MAX_PAYLOAD / 60;
const _: () = assert!(MAX_PAYLOAD.is_multiple_of(GRAIN));

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkKind {
    /// Bytes of a chunk; `index` is the chunk.
    Chunk,
    /// Bytes of a proof answer; `index` is the length of the whole answer in bytes.
    Proof,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkHeader {
    /// What the payload is part of.
    pub kind: BulkKind,
    /// The request it answers.
    pub request: u32,
    /// The chunk, or the length of the proof answer.
    pub index: u32,
    /// Where in the answer the payload belongs, in bytes.
    pub offset: u32,
}

/// Why a frame was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header and one byte, where the answer is not empty, or longer than a frame.
    #[error("a bulk frame has {HEADER_LEN} to {MAX_FRAME} bytes; this one has {0}")]
    Length(usize),
    /// A kind this version does not know.
    #[error("unknown kind {0} of bulk frame")]
    Kind(u8),
    /// Bits that must be zero are not.
    #[error("reserved bits of a bulk frame are set")]
    Reserved,
}

impl BulkHeader {
    /// Puts the header in front of `payload`, of at most [`MAX_PAYLOAD`] bytes.
    pub fn encode(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEADER_LEN + payload.len());
        let kind = match self.kind {
            BulkKind::Chunk => 1,
            BulkKind::Proof => 2,
        };
        frame.extend_from_slice(&[kind, 0, 0, 0]);
        frame.extend_from_slice(&self.request.to_le_bytes());
        frame.extend_from_slice(&self.index.to_le_bytes());
        frame.extend_from_slice(&self.offset.to_le_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    /// Splits a frame into header and payload.
    pub fn decode(frame: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        if frame.len() > MAX_FRAME {
            return Err(FrameError::Length(frame.len()));
        }
        let (header, payload) = frame
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(FrameError::Length(frame.len()))?;
        let [kind, flags, r0, r1, fields @ ..] = header;
        let kind = match kind {
            1 => BulkKind::Chunk,
            2 => BulkKind::Proof,
            other => return Err(FrameError::Kind(*other)),
        };
        if [*flags, *r0, *r1] != [0; 3] {
            return Err(FrameError::Reserved);
        }
        let (fields, _) = fields.as_chunks::<4>();
        let [request, index, offset] = [0, 1, 2].map(|at| u32::from_le_bytes(fields[at]));
        Ok((
            Self {
                kind,
                request,
                index,
                offset,
            },
            payload,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_frame() {
        let header = BulkHeader {
            kind: BulkKind::Chunk,
            request: 7,
            index: 258,
            offset: 65_520,
        };
        let frame = header.encode(b"abc");
        assert_eq!(
            frame,
            [
                1, 0, 0, 0, 7, 0, 0, 0, 2, 1, 0, 0, 0xf0, 0xff, 0, 0, b'a', b'b', b'c'
            ]
        );
        assert_eq!(BulkHeader::decode(&frame), Ok((header, &b"abc"[..])));
    }

    #[test]
    fn bad_frames_are_named() {
        assert_eq!(BulkHeader::decode(&[1; 15]), Err(FrameError::Length(15)));
        assert_eq!(
            BulkHeader::decode(&vec![1; MAX_FRAME + 1]),
            Err(FrameError::Length(MAX_FRAME + 1))
        );
        assert_eq!(BulkHeader::decode(&[9; 16]), Err(FrameError::Kind(9)));
        assert_eq!(BulkHeader::decode(&[1; 16]), Err(FrameError::Reserved));
    }

    proptest! {
        #[test]
        fn frames_survive_the_wire(request: u32, index: u32, offset: u32, proof: bool, payload: Vec<u8>) {
            let kind = if proof { BulkKind::Proof } else { BulkKind::Chunk };
            let header = BulkHeader { kind, request, index, offset };
            let frame = header.encode(&payload);
            prop_assert_eq!(BulkHeader::decode(&frame), Ok((header, &payload[..])));
        }

        #[test]
        fn no_frame_panics(frame: Vec<u8>) {
            let _ = BulkHeader::decode(&frame);
        }
    }
}
