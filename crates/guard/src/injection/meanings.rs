//! English words whose meaning is known to the [network](super::net) without having been learned from the training
//! texts: those that `corpus/meanings.py` asked a sentence encoder about. Here is only which words these are.

/// The hashes of the words in rising order, four bytes each.
static WORDS: &[u8] = include_bytes!("meanings.bin");

/// How many words there are.
pub const COUNT: usize = WORDS.len() / 4;

/// The place of a word in lower case without accents among them, counted from 1; 0 if it is none of them.
pub fn place(word: &[u8]) -> u16 {
    let wanted = hash(word);
    let (mut low, mut high) = (0, COUNT);
    while low < high {
        let middle = (low + high) / 2;
        let bytes = &WORDS[4 * middle..4 * middle + 4];
        let here = bytes.iter().rev().fold(0, |hash, byte| hash << 8 | u32::from(*byte));
        match here.cmp(&wanted) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Equal => return u16::try_from(middle + 1).unwrap_or(0),
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    0
}

/// FNV-1a, 64 bits folded to 32, as `corpus/meanings.py` has it.
fn hash(word: &[u8]) -> u32 {
    let wide = word.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (wide >> 32) as u32 ^ wide as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_words_have_places_of_their_own_and_others_none() {
        let places: Vec<u16> =
            ["ignore", "disregard", "instructions", "password"].iter().map(|w| place(w.as_bytes())).collect();
        assert!(places.iter().all(|place| (1..=COUNT).contains(&usize::from(*place))), "{places:?}");
        assert_eq!(place(b"qqzzxk"), 0);
        assert_eq!(place(b""), 0);
    }
}
