//! Byte-level BPE: the `tokenizers` crate merges within the words that the pre-tokenizer cuts.
//!
//! The words are cut here and not by that crate, whose regular expressions backtrack: a megabyte of
//! spaces must not stall a server. Its cache of words is off, because it would keep what clients wrote.

use std::collections::HashSet;

use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Merges, Vocab};

use super::byte_level;
use super::pre_tokenizer::{Family, PreTokenizer};
use crate::TokenizerError;
use crate::tokens::Tokens;

/// Stands for a byte that the vocabulary lacks. The library looks single characters up, and merges
/// of tokens, so no text becomes this.
const UNKNOWN: &str = "\0unknown\0";

/// The BPE encoder.
#[derive(Debug)]
pub(crate) struct Bpe {
    pre_tokenizer: PreTokenizer,
    model: BPE,
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
        // Markup is left out, so neither a merge nor a whole word can become it.
        let plain = tokens.kinds().filter_map(|(id, _)| {
            let text = tokens.text(id);
            (tokens.plain_id(text) == Some(id)).then(|| (text.to_owned(), id))
        });
        let mut vocabulary: Vocab = plain.collect();
        vocabulary.extend(unknown.map(|id| (UNKNOWN.to_owned(), id)));
        let merges = checked(merges, tokens)?;
        let mut builder = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .ignore_merges(family.takes_whole_words())
            .cache_capacity(0);
        if unknown.is_some() {
            builder = builder.unk_token(UNKNOWN.to_owned());
        }
        let model = builder
            .build()
            .map_err(|e| TokenizerError::Build { what: "merge table", reason: e.to_string() })?;
        Ok(Bpe { pre_tokenizer: PreTokenizer::new(family)?, model })
    }

    /// Appends the tokens of `text`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut spelled = String::new();
        self.pre_tokenizer.split(text, &mut |word| {
            spelled.clear();
            spelled.extend(word.bytes().map(byte_level::char_of));
            // It fails only for an unknown token that it was not given.
            let pieces = self.model.tokenize(&spelled).unwrap_or_default();
            out.extend(pieces.iter().map(|piece| piece.id));
        });
    }
}

/// The merges as the library takes them, those that would make markup left out. It indexes out of
/// bounds where a merge makes no token, so that is an error here.
fn checked<'m>(merges: impl Iterator<Item = &'m str>, tokens: &Tokens) -> Result<Merges, TokenizerError> {
    let mut checked = Vec::with_capacity(merges.size_hint().0);
    let mut seen = HashSet::new();
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
        let mut is_text = true;
        for token in [left, right, &joined] {
            let id = tokens.id(token).ok_or_else(|| TokenizerError::MergeWithoutToken {
                index,
                merge: merge.to_string(),
                token: token.to_string(),
            })?;
            is_text &= tokens.plain_id(token) == Some(id);
        }
        // The first of two equal merges counts.
        if is_text && seen.insert(merge) {
            checked.push((left.to_owned(), right.to_owned()));
        }
    }
    Ok(checked)
}
