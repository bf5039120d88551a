//! Base58 of 38 bytes as 52 characters, which is what a [`PeerId`](crate::id::PeerId) is written as.
//!
//! A server writes the ids of a whole view for each join, and reads and writes some for each
//! signal. Numbers of any length go byte by byte and digit by digit; of this one, words of 32 bits
//! and groups of four digits are converted, a sixteenth of the steps. The alphabet is Bitcoin's.

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const NO_DIGIT: u8 = 0xff;
/// The digit that each character of ASCII is.
const DIGITS: [u8; 128] = {
    let mut digits = [NO_DIGIT; 128];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        digits[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};
/// Digits of a group, and how many different ones there are.
const GROUP: usize = 4;
const GROUPS: u64 = 58_u64.pow(GROUP as u32);

/// Bytes of what is written.
pub const BYTES: usize = 38;
/// Characters of its text: as many as the largest number of so many bytes takes.
pub const CHARACTERS: usize = 52;
/// Words of 32 bits that hold the bytes, after two that are zero.
const WORDS: usize = BYTES.div_ceil(4);
const PADDING: usize = 4 * WORDS - BYTES;

/// The digits of a number, in as many characters as the largest takes: where its first byte is
/// zero, and the second is not small, that is its Base58.
pub fn encode(bytes: &[u8; BYTES]) -> [u8; CHARACTERS] {
    let mut padded = [0; 4 * WORDS];
    padded[PADDING..].copy_from_slice(bytes);
    let mut groups = [0_u64; CHARACTERS / GROUP];
    for word in padded.chunks_exact(4) {
        let mut carry = word
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        for group in groups.iter_mut().rev() {
            carry += *group << 32;
            *group = carry % GROUPS;
            carry /= GROUPS;
        }
    }
    let mut text = [0; CHARACTERS];
    for (characters, mut group) in text.chunks_exact_mut(GROUP).zip(groups) {
        for character in characters.iter_mut().rev() {
            *character = ALPHABET[(group % 58) as usize];
            group /= 58;
        }
    }
    text
}

/// The number that so many digits are; `None` where there are more or fewer, or others, or the
/// number takes more bytes.
pub fn decode(text: &str) -> Option<[u8; BYTES]> {
    let text: &[u8; CHARACTERS] = text.as_bytes().try_into().ok()?;
    let mut words = [0_u64; WORDS];
    for characters in text.chunks_exact(GROUP) {
        let mut carry = 0;
        for character in characters {
            match DIGITS.get(usize::from(*character)) {
                None | Some(&NO_DIGIT) => return None,
                Some(digit) => carry = carry * 58 + u64::from(*digit),
            }
        }
        for word in words.iter_mut().rev() {
            carry += *word * GROUPS;
            *word = carry & 0xffff_ffff;
            carry >>= 32;
        }
    }
    let mut padded = [0; 4 * WORDS];
    for (bytes, word) in padded.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&(word as u32).to_be_bytes());
    }
    let (padding, bytes) = padded.split_at(PADDING);
    match padding.iter().all(|byte| *byte == 0) {
        true => bytes.try_into().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_what_others_write_and_read(mut bytes: [u8; 32], second in 0x20..=0xff_u8) {
            let mut number = [0; BYTES];
            number[1] = second;
            number[6..].copy_from_slice(&bytes);
            let text = encode(&number);
            let text = core::str::from_utf8(&text).unwrap();
            prop_assert_eq!(text, bs58::encode(number).into_string());
            prop_assert_eq!(decode(text), Some(number));
            // And whatever else it may be.
            bytes.reverse();
            number[..32].copy_from_slice(&bytes);
            let text = encode(&number);
            prop_assert_eq!(decode(core::str::from_utf8(&text).unwrap()), Some(number));
        }

        #[test]
        fn what_others_do_not_read_is_not_read(text in "[2-9A-Za-z][0-9A-Za-z]{51}") {
            let others = bs58::decode(&text).into_vec().ok();
            let ours = decode(&text).map(|bytes| bytes.to_vec());
            // What is larger they read too.
            prop_assert_eq!(ours, others.filter(|bytes| bytes.len() == BYTES));
        }
    }

    #[test]
    fn another_length_and_other_characters_are_no_number() {
        for text in [
            "",
            "1",
            &"1".repeat(51),
            &"1".repeat(53),
            &"z".repeat(52),
            &"é".repeat(26),
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode(&"1".repeat(52)), Some([0; BYTES]));
    }
}
