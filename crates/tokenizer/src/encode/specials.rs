//! Finding special tokens in a text: leftmost, then longest, as both references match them.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use garrison_types::TokenKind;

use crate::TokenizerError;
use crate::tokens::Tokens;

/// A set of token texts to be found in one pass.
#[derive(Debug)]
pub(crate) struct Specials {
    automaton: AhoCorasick,
    /// The token of each pattern.
    ids: Vec<u32>,
}

/// A special token where it stands in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: u32,
    pub(crate) range: Range<usize>,
}

impl Specials {
    /// The tokens of `tokens` whose kind is one of `kinds`.
    pub(crate) fn of_kinds(tokens: &Tokens, kinds: &[TokenKind]) -> Result<Self, TokenizerError> {
        let wanted = |&(id, kind): &(u32, TokenKind)| kinds.contains(&kind) && !tokens.text(id).is_empty();
        let ids: Vec<u32> = tokens.kinds().filter(wanted).map(|(id, _)| id).collect();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(ids.iter().map(|&id| tokens.text(id)))
            .map_err(|e| TokenizerError::Build { what: "table of special tokens", reason: e.to_string() })?;
        Ok(Specials { automaton, ids })
    }

    /// All matches in `text`, from left to right, none overlapping.
    pub(crate) fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Found> + 'a {
        self.automaton
            .find_iter(text)
            .map(|m| Found { id: self.ids[m.pattern().as_usize()], range: m.range() })
    }

    /// The token whose text is exactly `text`.
    pub(crate) fn exact(&self, text: &str) -> Option<u32> {
        self.find(text).next().filter(|found| found.range == (0..text.len())).map(|found| found.id)
    }
}
