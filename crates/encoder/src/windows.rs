//! A long text in pieces that a model can take, which overlap so that every token is judged with words around it.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::EncoderError;

/// Tokens of one window.
#[derive(Debug)]
pub(crate) struct Window {
    /// Ids with the special ones around them.
    pub(crate) ids: Vec<u32>,
    /// Of each id that stands for text: its place in `ids`, its bytes, and which word of the window it is of.
    pub(crate) tokens: Vec<Token>,
    /// Where it stops to answer for tokens; what begins later is there to be seen.
    pub(crate) end: usize,
}

impl Window {
    /// Whether a token is this window's to answer for, when all up to `until` is answered. So nothing is left out,
    /// also where two windows cut a word in different ways.
    pub(crate) fn answers(&self, token: &Token, until: usize) -> bool {
        token.bytes.end > until && token.bytes.start < self.end
    }
}

/// One token of the text.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) row: usize,
    pub(crate) bytes: Range<usize>,
    pub(crate) word: Option<u32>,
}

/// Cuts texts.
pub(crate) struct Windows {
    tokenizer: Tokenizer,
    /// Special ids before and after every window.
    before: Vec<u32>,
    after: Vec<u32>,
    /// Tokens of text in a window at most.
    room: usize,
    /// How many of them the next window sees again.
    overlap: usize,
}

/// Bytes that are tokenized for each token of room: enough for text, and a bound for what is none.
const BYTES_PER_TOKEN: usize = 8;

impl Windows {
    /// Reads `tokenizer.json`; a window has `length` tokens at most, special ones included.
    pub(crate) fn read(folder: &Path, length: usize, overlap: usize) -> Result<Windows, EncoderError> {
        let path = folder.join("tokenizer.json");
        let bytes =
            std::fs::read(&path).map_err(|source| EncoderError::Read { path: path.clone(), source })?;
        // The library panics on some files that it should refuse.
        let built = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(&bytes)));
        let invalid = |reason: String| EncoderError::Invalid { path: path.clone(), reason };
        let mut tokenizer = match built {
            Ok(Ok(tokenizer)) => tokenizer,
            Ok(Err(error)) => return Err(invalid(error.to_string())),
            Err(_) => return Err(invalid("the tokenizers library cannot read it".into())),
        };
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| invalid(e.to_string()))?;
        let special = tokenizer.encode("", true).map_err(|e| EncoderError::Tokenize(e.to_string()))?;
        let (before, after) = special.get_ids().split_at(special.len().div_ceil(2));
        let (before, after) = (before.to_vec(), after.to_vec());
        let room = length.saturating_sub(special.len());
        if room < 2 || overlap >= room {
            return Err(invalid(format!("{length} tokens with {overlap} of overlap leave no room for text")));
        }
        Ok(Windows { tokenizer, before, after, room, overlap })
    }

    /// Fails if there are ids that a model with so many words does not know.
    pub(crate) fn check_vocabulary(&self, folder: &Path, words: usize) -> Result<(), EncoderError> {
        let ids = self.tokenizer.get_vocab(true).into_values().max().map_or(0, |n| n as usize + 1);
        if ids <= words {
            return Ok(());
        }
        let reason = format!("has ids up to {ids}, the model only {words}");
        Err(EncoderError::Invalid { path: folder.join("tokenizer.json"), reason })
    }

    /// The window that begins at byte `start`, and where the next one begins, if there is one.
    pub(crate) fn at(&self, text: &str, start: usize) -> Result<(Window, Option<usize>), EncoderError> {
        let end = text.floor_char_boundary((start + self.room * BYTES_PER_TOKEN).min(text.len()));
        let piece = &text[start..end];
        let encoded = catch_unwind(AssertUnwindSafe(|| self.tokenizer.encode(piece, false)))
            .map_err(|_| EncoderError::Tokenize("it panicked".into()))?
            .map_err(|e| EncoderError::Tokenize(e.to_string()))?;
        let count = encoded.len().min(self.room);
        let whole = end == text.len() && count == encoded.len();
        let ids = [&self.before, &encoded.get_ids()[..count], &self.after].concat();
        let tokens: Vec<Token> = (0..count)
            .map(|i| {
                let (from, to) = encoded.get_offsets()[i];
                let word = encoded.get_word_ids().get(i).copied().flatten();
                Token { row: self.before.len() + i, bytes: start + from..start + to, word }
            })
            .collect();
        if whole {
            return Ok((Window { ids, tokens, end: text.len() }, None));
        }
        // What was read, and of it what the next window sees again; both windows answer for half of that.
        let read = tokens.last().map_or(end, |t| t.bytes.end).max(start);
        let again = tokens
            .len()
            .checked_sub(self.overlap)
            .and_then(|i| tokens.get(i))
            .map_or(read, |t| t.bytes.start);
        // Half of it is always behind, whatever the tokens are: so no text takes more than its share of windows.
        let next = cut(text, again.max(usize::midpoint(start, read)).max(start + 1), read);
        let middle = cut(text, usize::midpoint(next, read), read).max(next);
        Ok((Window { ids, tokens, end: middle }, Some(next)))
    }

    /// All windows of a text, in order.
    pub(crate) fn each(
        &self,
        text: &str,
        mut judge: impl FnMut(Window) -> Result<(), EncoderError>,
    ) -> Result<(), EncoderError> {
        let mut start = 0;
        loop {
            let (window, next) = self.at(text, start)?;
            judge(window)?;
            match next {
                Some(next) if next > start => start = next,
                _ => return Ok(()),
            }
        }
    }
}

/// The blank before a word, from `from` on; if there is none before `end`, any place between characters.
fn cut(text: &str, from: usize, end: usize) -> usize {
    let from = text.ceil_char_boundary(from.min(text.len()));
    let end = text.floor_char_boundary(end).max(from);
    text[from..end].find(char::is_whitespace).map_or(from, |i| from + i)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may

    use super::*;

    /// Every letter is answered for, in order, whatever the text.
    #[test]
    fn windows_answer_for_every_letter() {
        for family in ["bert", "deberta", "modernbert"] {
            let folder =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(family).join("tokens");
            let windows = Windows::read(&folder, 16, 5).unwrap();
            let prose = "Ada Lovelace met Charles Babbage in London, and they spoke of engines. ".repeat(9);
            for text in [prose.as_str(), &"x".repeat(999), &"ä ö ü ".repeat(99), "short", ""] {
                let (mut until, mut seen) = (0, vec![false; text.len()]);
                windows
                    .each(text, |window| {
                        assert!(window.ids.len() <= 16);
                        for token in &window.tokens {
                            if window.answers(token, until) {
                                assert!(token.bytes.end > until, "{family}");
                                until = token.bytes.end;
                                seen[token.bytes.clone()].fill(true);
                            }
                        }
                        Ok(())
                    })
                    .unwrap();
                let missed = text.char_indices().find(|(i, c)| c.is_alphanumeric() && !seen[*i]);
                assert_eq!(missed, None, "{family}: {text}");
            }
        }
    }
}
