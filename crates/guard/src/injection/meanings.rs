//! What words mean, as a sentence encoder tells it: known to the [networks](super::net) without having been learned
//! from the training texts. `corpus/meanings.py` makes the table.

use std::sync::LazyLock;

/// Numbers of a meaning.
pub const DIRECTIONS: usize = 48;
/// What the largest number of a meaning is in the table, in deviations of all of them.
const LARGEST: f32 = 3.0;

/// The hashes of the words in rising order, four bytes each, and then, in the same order, their meanings, a byte for
/// each direction.
static TABLE: &[u8] = include_bytes!("meanings.bin");

/// How many words there are.
pub const COUNT: usize = TABLE.len() / (4 + DIRECTIONS);
const _: () = assert!(TABLE.len() == COUNT * (4 + DIRECTIONS) && COUNT < u16::MAX as usize);

/// Bits of a hash that tell its bucket, of which each has a few words.
const BUCKET: u32 = 12;

/// How many words are in buckets before each: hashes are spread evenly, so a search begins where it nearly ends.
static BEFORE: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let before = |bucket: u32| {
        let (mut low, mut high) = (0, COUNT);
        while low < high {
            let middle = (low + high) / 2;
            if hash_at(middle) >> (32 - BUCKET) < bucket { low = middle + 1 } else { high = middle }
        }
        low as u16 // there are fewer than 65,535
    };
    (0..1 << BUCKET).map(before).collect()
});

fn hash_at(place: usize) -> u32 {
    TABLE[4 * place..4 * place + 4].iter().rev().fold(0, |hash, byte| hash << 8 | u32::from(*byte))
}

/// The place of a word in lower case without accents among them, counted from 1; 0 if it is none of them.
pub fn place(word: &[u8]) -> u16 {
    let wanted = hash(word);
    let from = BEFORE[(wanted >> (32 - BUCKET)) as usize];
    let here = (from..COUNT as u16).find(|place| hash_at(usize::from(*place)) >= wanted);
    here.filter(|place| hash_at(usize::from(*place)) == wanted).map_or(0, |place| place + 1)
}

/// What the word at this place means; nothing at 0 and behind the last.
pub fn at(place: u16) -> Option<[f32; DIRECTIONS]> {
    let start = 4 * COUNT + usize::from(place).checked_sub(1)? * DIRECTIONS;
    let row = TABLE.get(start..start + DIRECTIONS)?;
    Some(std::array::from_fn(|i| f32::from(row[i] as i8) * (LARGEST / 127.0)))
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

    /// The cosine of two words' meanings.
    fn like(a: &str, b: &str) -> f32 {
        let [a, b] = [a, b].map(|word| at(place(word.as_bytes())).unwrap());
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
    }

    #[test]
    fn what_means_the_same_is_nearer_than_what_does_not() {
        assert!(like("ignore", "disregard") > like("ignore", "museum"));
        assert!(like("password", "credentials") > like("password", "garden"));
        assert_eq!(at(0), None);
        assert_eq!(at(u16::MAX), None);
    }
}
