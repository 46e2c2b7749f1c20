//! From tokens to text, at once or as they come.
//!
//! A token is bytes, not characters: one emoji may be four tokens. The incremental detokenizer
//! therefore holds back the bytes of a character that is not complete, at most three, and shows
//! U+FFFD only for bytes that can never become one. However a sequence is cut, the pieces joined
//! are what decoding it at once gives, because both are this one loop.

use crate::tokenizer::{LeadingSpace, SkipSpecial, Tokenizer};

/// The text of one sequence as it grows. Constant work per byte; one buffer, reused.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    skip: SkipSpecial,
    leading_space: Pending,
    /// The start of a character whose rest has not come: 0 to 3 bytes.
    partial: Vec<u8>,
    /// What the last call returned.
    shown: String,
}

/// Whether the next bytes are the first of a text whose leading space is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    AtStart,
    Done,
}

impl Detokenizer {
    /// For a sequence that is a text of its own, as [`Tokenizer::decode`] sees it: the space that
    /// SPM puts before a text is dropped.
    pub fn new(skip: SkipSpecial) -> Detokenizer {
        Detokenizer { skip, leading_space: Pending::AtStart, partial: Vec::new(), shown: String::new() }
    }

    /// For a sequence that continues a prompt: its first token's space is part of the answer, as
    /// prompt and answer joined would have it.
    pub fn continuing(skip: SkipSpecial) -> Detokenizer {
        Detokenizer { leading_space: Pending::Done, ..Detokenizer::new(skip) }
    }

    /// Takes the next token; returns the text it completes, often all of its own, sometimes none.
    /// An id outside the vocabulary has no text.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> &str {
        self.shown.clear();
        if self.skip == SkipSpecial::No || !tokenizer.is_control(id) {
            let mut bytes = tokenizer.token_bytes(id);
            if let (Pending::AtStart, Some(first)) = (self.leading_space, bytes.first()) {
                self.leading_space = Pending::Done;
                if tokenizer.leading_space == LeadingSpace::Dropped && *first == b' ' {
                    bytes = &bytes[1..];
                }
            }
            self.take(bytes);
        }
        &self.shown
    }

    /// Takes the next bytes, whatever they are, as [`push`](Detokenizer::push) takes a token's.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> &str {
        self.shown.clear();
        self.take(bytes);
        &self.shown
    }

    /// Ends the sequence: returns what was held back, as U+FFFD, since its rest will not come.
    pub fn flush(&mut self) -> &str {
        self.shown.clear();
        if !self.partial.is_empty() {
            self.partial.clear();
            self.shown.push(char::REPLACEMENT_CHARACTER);
        }
        &self.shown
    }

    /// Bytes held back: the start of a character, never more than three.
    pub fn held_back(&self) -> &[u8] {
        &self.partial
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.partial.is_empty() {
            let used = show_complete(bytes, &mut self.shown);
            self.partial.extend_from_slice(&bytes[used..]);
            return;
        }
        self.partial.extend_from_slice(bytes);
        let used = show_complete(&self.partial, &mut self.shown);
        self.partial.drain(..used);
    }
}

/// Appends the characters of `bytes`, with U+FFFD for what can never be one, and returns how many
/// bytes that was: all but the start of a last, incomplete character. Each maximal invalid part is
/// one U+FFFD, as the Unicode Standard recommends (chapter 3, table 3-8).
fn show_complete(bytes: &[u8], out: &mut String) -> usize {
    let mut used = 0;
    loop {
        let rest = &bytes[used..];
        let error = match std::str::from_utf8(rest) {
            Ok(text) => {
                out.push_str(text);
                return bytes.len();
            }
            Err(error) => error,
        };
        let (valid, _) = rest.split_at(error.valid_up_to());
        out.push_str(&String::from_utf8_lossy(valid));
        used += valid.len();
        match error.error_len() {
            Some(len) => {
                out.push(char::REPLACEMENT_CHARACTER);
                used += len;
            }
            None => return used,
        }
    }
}

impl Tokenizer {
    /// The text of a whole sequence. Bytes that are no characters become U+FFFD; ids outside the
    /// vocabulary have no text.
    pub fn decode(&self, ids: &[u32], skip: SkipSpecial) -> String {
        let mut detokenizer = Detokenizer::new(skip);
        let mut text = String::new();
        for &id in ids {
            text.push_str(detokenizer.push(self, id));
        }
        text.push_str(detokenizer.flush());
        text
    }
}
