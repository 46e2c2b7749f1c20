//! Byte-level BPE: merges by rank within the words that the pre-tokenizer cuts.
//!
//! The loop runs on bytes and ids, so nothing is spelled in GPT-2's alphabet on the way, and a
//! hostile merge list is an error rather than a panic (the `tokenizers` crate's builder indexes
//! out of bounds on merges longer than any token). That crate is this module's oracle in tests.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::byte_level;
use super::merge::{Merger, NONE};
use super::pre_tokenizer::{Family, PreTokenizer};
use crate::TokenizerError;
use crate::tokens::Tokens;
use garrison_types::TokenKind;

/// `(left, right)` to `(rank, joined)`.
type Merges = HashMap<(u32, u32), (u32, u32), RandomState>;

/// The BPE encoder.
#[derive(Debug)]
pub(crate) struct Bpe {
    pre_tokenizer: PreTokenizer,
    takes_whole_words: bool,
    /// `[256]` the token of each byte, or [`NONE`].
    byte_tokens: Box<[u32; 256]>,
    merges: Merges,
    /// For a byte that the vocabulary lacks.
    unknown: Option<u32>,
}

impl Bpe {
    /// An encoder with `merges` ("left right", best first) over `tokens`.
    pub(crate) fn new<'m>(
        tokens: &Tokens,
        merges: impl ExactSizeIterator<Item = &'m str>,
        family: Family,
        unknown: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        if merges.len() == 0 {
            return Err(TokenizerError::NoMerges);
        }
        let mut byte_tokens = Box::new([NONE; 256]);
        for byte in 0..=255u8 {
            let text = byte_level::char_of(byte).to_string();
            byte_tokens[byte as usize] = tokens.plain_id(&text).unwrap_or(NONE);
        }
        Ok(Bpe {
            pre_tokenizer: PreTokenizer::new(family)?,
            takes_whole_words: family.takes_whole_words(),
            byte_tokens,
            merges: merge_table(tokens, merges)?,
            unknown,
        })
    }

    /// Appends the tokens of `text`.
    pub(crate) fn encode(&self, tokens: &Tokens, text: &str, out: &mut Vec<u32>) {
        let mut merger = Merger::new();
        let mut spelled = String::new();
        self.pre_tokenizer.split(text, &mut |word| {
            if self.takes_whole_words && word.len() <= tokens.longest() {
                spelled.clear();
                spelled.extend(word.bytes().map(byte_level::char_of));
                if let Some(id) = tokens.plain_id(&spelled) {
                    return out.push(id);
                }
            }
            self.encode_word(word, &mut merger, out);
        });
    }

    fn encode_word(&self, word: &str, merger: &mut Merger<Reverse<u32>>, out: &mut Vec<u32>) {
        merger.clear();
        for byte in word.bytes() {
            merger.push(1, self.byte_tokens[byte as usize]);
        }
        merger.merge(|left, right| {
            let (rank, joined) = self.merges.get(&(left.token, right.token))?;
            Some((Reverse(*rank), *joined))
        });
        out.extend(merger.symbols().filter_map(|symbol| match symbol.token {
            NONE => self.unknown,
            token => Some(token),
        }));
    }
}

fn merge_table<'m>(
    tokens: &Tokens,
    merges: impl ExactSizeIterator<Item = &'m str>,
) -> Result<Merges, TokenizerError> {
    let mut table = HashMap::with_capacity_and_hasher(merges.len(), RandomState::default());
    let mut joined = String::new();
    for (index, merge) in merges.enumerate() {
        let malformed = || TokenizerError::MalformedMerge { index, text: merge.to_string() };
        let (left, right) = merge.split_once(' ').ok_or_else(malformed)?;
        if left.is_empty() || right.is_empty() {
            return Err(malformed());
        }
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        let id = |token: &str| {
            tokens.id(token).ok_or_else(|| TokenizerError::MergeWithoutToken {
                index,
                merge: merge.to_string(),
                token: token.to_string(),
            })
        };
        let (left, right, joined) = (id(left)?, id(right)?, id(&joined)?);
        // Text must not merge into markup, even if a file asks for it.
        if tokens.kind(joined) != TokenKind::Control {
            table.entry((left, right)).or_insert((index as u32, joined));
        }
    }
    Ok(table)
}
