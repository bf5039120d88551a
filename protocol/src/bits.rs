//! Sets of chunks as bits.

use base64ct::{Base64UrlUnpadded, Encoding};
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A set of numbers from 0 up to a fixed length: which chunks of a content are meant.
#[derive(Clone, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl Bits {
    /// The empty set of numbers below `len`.
    pub fn new(len: u32) -> Self {
        Self {
            words: vec![0; (len as usize).div_ceil(64)],
            len,
            count: 0,
        }
    }

    /// The set of all numbers below `len`.
    pub fn full(len: u32) -> Self {
        let mut bits = Self::new(len);
        bits.words.fill(u64::MAX);
        if let Some(last) = bits.words.last_mut() {
            *last = last_word(len);
        }
        bits.count = len;
        bits
    }

    /// One more than the highest number the set may hold.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// How many numbers the set holds.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the set holds every number below its length.
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether the set holds `index`.
    pub fn contains(&self, index: u32) -> bool {
        index < self.len && self.words[index as usize / 64] >> (index % 64) & 1 == 1
    }

    /// Adds `index`; false if it was there or is out of range.
    pub fn insert(&mut self, index: u32) -> bool {
        if index >= self.len || self.contains(index) {
            return false;
        }
        self.words[index as usize / 64] |= 1 << (index % 64);
        self.count += 1;
        true
    }

    /// Removes `index`; false if it was not there.
    pub fn remove(&mut self, index: u32) -> bool {
        if !self.contains(index) {
            return false;
        }
        self.words[index as usize / 64] &= !(1 << (index % 64));
        self.count -= 1;
        true
    }

    /// The numbers that are in both sets: from about `start` (its word of 64) to the end,
    /// then from 0.
    pub fn common_from<'a>(
        &'a self,
        other: &'a Bits,
        start: u32,
    ) -> impl Iterator<Item = u32> + 'a {
        let words = self.words.len().min(other.words.len());
        let first = if words == 0 {
            0
        } else {
            start as usize / 64 % words
        };
        (first..words).chain(0..first).flat_map(move |at| {
            let mut rest = self.words[at] & other.words[at];
            core::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                Some(at as u32 * 64 + bit)
            })
        })
    }

    /// The runs of numbers in the set, ascending: the first of each, and one past its last.
    pub fn ranges(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for index in self.iter() {
            match ranges.last_mut() {
                Some((_, end)) if *end == index => *end += 1,
                _ => ranges.push((index, index + 1)),
            }
        }
        ranges
    }

    /// The numbers in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            let mut rest = word;
            core::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                Some(at as u32 * 64 + bit)
            })
        })
    }
}

/// The bits of the last word of a set of numbers below `len`.
fn last_word(len: u32) -> u64 {
    u64::MAX >> ((64 - len % 64) % 64)
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, self.len)
    }
}

/// On the wire: base64url of the bits, least significant first, after the length as
/// four bytes, little-endian.
impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = self.len.to_le_bytes().to_vec();
        bytes.extend(self.words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.truncate(4 + (self.len as usize).div_ceil(8));
        serializer.serialize_str(&Base64UrlUnpadded::encode_string(&bytes))
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = Base64UrlUnpadded::decode_vec(&text).map_err(de::Error::custom)?;
        let invalid = || de::Error::custom("a set of chunks has another length than it states");
        let (len, bytes) = bytes.split_first_chunk::<4>().ok_or_else(invalid)?;
        let len = u32::from_le_bytes(*len);
        // Compared before anything is allocated by the stated length.
        if bytes.len() != (len as usize).div_ceil(8) {
            return Err(invalid());
        }
        let mut bits = Self::new(len);
        for (word, bytes) in bits.words.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(whole);
            bits.count += word.count_ones();
        }
        if bits
            .words
            .last()
            .is_some_and(|last| last & !last_word(len) != 0)
        {
            return Err(invalid());
        }
        Ok(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bits() {
        let mut bits = Bits::new(10);
        bits.insert(0);
        bits.insert(9);
        assert_eq!(serde_json::to_string(&bits).unwrap(), r#""CgAAAAEC""#);
    }

    #[test]
    fn a_set_that_lies_about_its_length_is_refused() {
        for text in [
            r#""""#,
            r#""CgAA""#,
            r#""_____wEC""#,
            r#""CgAAAAEE""#,
            r#""CgAAAAECAA""#,
        ] {
            assert!(crate::json::from_str::<Bits>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn common_numbers_are_found_once(left: Vec<u16>, right: Vec<u16>, start: u32) {
            let set = |picks: &[u16]| {
                let mut bits = Bits::new(300);
                picks.iter().for_each(|pick| { bits.insert(u32::from(pick % 300)); });
                bits
            };
            let (left, right) = (set(&left), set(&right));
            let mut common: Vec<u32> = left.common_from(&right, start).collect();
            common.sort_unstable();
            let expected: Vec<u32> = left.iter().filter(|&index| right.contains(index)).collect();
            prop_assert_eq!(common, expected);
        }

        #[test]
        fn sets_survive_the_wire(len in 0u32..600, picks: Vec<u32>) {
            let mut bits = Bits::new(len);
            for pick in picks {
                bits.insert(if len == 0 { pick } else { pick % len });
            }
            let text = serde_json::to_string(&bits).unwrap();
            let same: Bits = crate::json::from_str(&text).unwrap();
            prop_assert_eq!(same.iter().count() as u32, bits.count());
            prop_assert_eq!(same, bits);
            let full = Bits::full(len);
            prop_assert!(full.is_full() && full.iter().eq(0..len));
        }
    }

    #[test]
    fn runs_are_told_by_their_ends() {
        let mut bits = Bits::new(200);
        for index in [0, 1, 5, 63, 64, 199] {
            bits.insert(index);
        }
        assert_eq!(bits.ranges(), [(0, 2), (5, 6), (63, 65), (199, 200)]);
        assert_eq!(Bits::new(9).ranges(), []);
        assert_eq!(Bits::full(70).ranges(), [(0, 70)]);
    }
}
