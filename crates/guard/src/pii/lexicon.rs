//! Sets of words in one table, so that a word of a text is looked up once.

use rustc_hash::FxHashMap;

/// Bits of the sets that a word is in.
pub(super) type Words = u16;

/// Bytes of the longest word.
const MAX_WORD: usize = 24;

/// Words and their sets. The table is fixed, so nobody can choose words that collide in it; and looking up a text's
/// words adds none.
#[derive(Debug, Default)]
pub(super) struct Lexicon {
    table: FxHashMap<&'static str, Words>,
}

impl Lexicon {
    /// Puts words into sets.
    pub(super) fn add(&mut self, words: impl Iterator<Item = &'static str>, sets: Words) {
        for word in words {
            debug_assert!(word.len() <= MAX_WORD, "{word}");
            *self.table.entry(word).or_default() |= sets;
        }
    }

    /// The sets that a word is in.
    pub(super) fn words(&self, word: &str) -> Words {
        if word.len() > MAX_WORD { 0 } else { self.table.get(word).copied().unwrap_or(0) }
    }

    /// The same of a word in ASCII lower case.
    pub(super) fn words_lower(&self, word: &str) -> Words {
        let mut buffer = [0; MAX_WORD];
        let Some(lower) = buffer.get_mut(..word.len()) else { return 0 };
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        std::str::from_utf8(lower).map_or(0, |lower| self.words(lower))
    }
}
