//! Putting an answer together from bulk frames.

use shoal_protocol::{
    bits::Bits,
    bulk::{GRAIN, MAX_PAYLOAD},
};

/// The bytes of one answer. Its frames have whole grains ([`GRAIN`]) but for the last, so it is
/// known which have come.
#[derive(Debug)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
    arrived: Bits,
}

/// What a frame did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// Something is still missing.
    Partly,
    /// All is there.
    Whole,
    /// It was there already.
    Again,
    /// It has no place in this answer.
    Misplaced,
}

impl Assembly {
    /// An answer of `len` bytes.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            bytes: vec![0; len],
            arrived: Bits::new(len.div_ceil(GRAIN).max(1) as u32),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn add(&mut self, offset: u32, payload: &[u8]) -> Added {
        let start = offset as usize;
        let end = start.saturating_add(payload.len());
        let is_last = end == self.bytes.len();
        let is_whole = is_last || !payload.is_empty() && payload.len().is_multiple_of(GRAIN);
        if !start.is_multiple_of(GRAIN) || payload.len() > MAX_PAYLOAD || !is_whole {
            return Added::Misplaced;
        }
        let grains = (start / GRAIN) as u32..end.div_ceil(GRAIN).max(start / GRAIN + 1) as u32;
        let Some(place) = self.bytes.get_mut(start..end) else {
            return Added::Misplaced;
        };
        if grains.end > self.arrived.len() {
            return Added::Misplaced;
        }
        let before = self.arrived.count();
        grains.for_each(|grain| {
            self.arrived.insert(grain);
        });
        if self.arrived.count() == before {
            return Added::Again;
        }
        place.copy_from_slice(payload);
        match self.arrived.is_full() {
            true => Added::Whole,
            false => Added::Partly,
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_any_order_and_only_to_their_place() {
        let data: Vec<u8> = (0..MAX_PAYLOAD * 2 + 10).map(|i| i as u8).collect();
        let mut assembly = Assembly::new(data.len());
        let at = |n: usize| (n * MAX_PAYLOAD) as u32;
        assert_eq!(assembly.add(at(2), &data[MAX_PAYLOAD * 2..]), Added::Partly);
        assert_eq!(assembly.add(at(0), &data[..MAX_PAYLOAD]), Added::Partly);
        assert_eq!(assembly.add(at(0), &data[..MAX_PAYLOAD]), Added::Again);
        assert_eq!(
            assembly.add(at(1), &data[..MAX_PAYLOAD - 1]),
            Added::Misplaced
        );
        assert_eq!(assembly.add(1, &data[..MAX_PAYLOAD]), Added::Misplaced);
        assert_eq!(assembly.add(at(3), &[]), Added::Misplaced);
        assert_eq!(assembly.add(u32::MAX, &[1]), Added::Misplaced);
        assert_eq!(
            assembly.add(at(1), &data[MAX_PAYLOAD..MAX_PAYLOAD * 2]),
            Added::Whole
        );
        assert_eq!(assembly.into_bytes(), data);
    }

    #[test]
    fn frames_may_be_small_and_overlap() {
        let data: Vec<u8> = (0..GRAIN * 5 + 10).map(|i| i as u8).collect();
        let mut assembly = Assembly::new(data.len());
        let mut add = |from: usize, to: usize| {
            let to = (to * GRAIN).min(data.len());
            assembly.add((from * GRAIN) as u32, &data[from * GRAIN..to])
        };
        assert_eq!(add(1, 3), Added::Partly);
        assert_eq!(add(1, 1), Added::Misplaced);
        assert_eq!(add(1, 2), Added::Again);
        assert_eq!(add(2, 6), Added::Partly);
        assert_eq!(add(0, 1), Added::Whole);
        assert_eq!(assembly.into_bytes(), data);
    }

    #[test]
    fn an_empty_answer_is_one_empty_frame() {
        let mut assembly = Assembly::new(0);
        assert_eq!(assembly.add(1, &[]), Added::Misplaced);
        assert_eq!(assembly.add(0, &[]), Added::Whole);
    }
}
