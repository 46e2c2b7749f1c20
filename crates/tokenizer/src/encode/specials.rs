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
    /// Texts with their tokens, sorted by text.
    sorted: Vec<(Box<str>, u32)>,
    /// The texts' bytes back to front, sorted: what a text may end with.
    reversed: Vec<Vec<u8>>,
    /// The longest text, in bytes.
    longest: usize,
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
        let mut sorted: Vec<(Box<str>, u32)> = ids.iter().map(|&id| (tokens.text(id).into(), id)).collect();
        sorted.sort_unstable();
        let mut reversed: Vec<Vec<u8>> =
            ids.iter().map(|&id| tokens.text(id).bytes().rev().collect()).collect();
        reversed.sort_unstable();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(ids.iter().map(|&id| tokens.text(id)))
            .map_err(|e| TokenizerError::Build { what: "table of special tokens", reason: e.to_string() })?;
        let longest = sorted.iter().map(|(text, _)| text.len()).max().unwrap_or(0);
        Ok(Specials { automaton, ids, sorted, reversed, longest })
    }

    /// All matches in `text`, from left to right, none overlapping.
    pub(crate) fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Found> + 'a {
        self.automaton
            .find_iter(text)
            .map(|m| Found { id: self.ids[m.pattern().as_usize()], range: m.range() })
    }

    /// The token whose text is exactly `text`.
    pub(crate) fn exact(&self, text: &str) -> Option<u32> {
        let at = self.sorted.binary_search_by(|(known, _)| (**known).cmp(text)).ok()?;
        Some(self.sorted[at].1)
    }

    /// Every offset in `text` at which one of the tokens stands, overlapping or not.
    pub(crate) fn starts(&self, text: &str) -> Vec<usize> {
        let mut starts = Vec::new();
        let mut at = 0;
        // A later token may begin inside an earlier one, so the search goes on one character on.
        while let Some(found) = self.automaton.find(&text[at..]) {
            let start = at + found.start();
            starts.push(start);
            at = start + text[start..].chars().next().map_or(1, char::len_utf8);
        }
        starts
    }

    /// Every offset at which `text` ends with an unfinished token: `<|eot` for `<|eot_id|>`.
    pub(crate) fn unfinished_at_end(&self, text: &str) -> impl Iterator<Item = usize> {
        let from = text.len().saturating_sub(self.longest);
        let offsets = (from..text.len()).filter(|&offset| text.is_char_boundary(offset));
        offsets.filter(|&offset| {
            let end = &text[offset..];
            let at = self.sorted.partition_point(|(known, _)| **known <= *end);
            self.sorted.get(at).is_some_and(|(known, _)| known.starts_with(end))
        })
    }

    /// Whether `text` starts with what ends a token: `|>` for `<|eot_id|>`.
    pub(crate) fn end_with_a_start_of(&self, text: &str) -> bool {
        let lengths = 1..=text.len().min(self.longest);
        lengths.filter(|&len| text.is_char_boundary(len)).any(|len| {
            let start: Vec<u8> = text.bytes().take(len).rev().collect();
            let at = self.reversed.partition_point(|known| *known <= start);
            self.reversed.get(at).is_some_and(|known| known.starts_with(&start))
        })
    }

    /// Whether all of `text` lies within a token.
    pub(crate) fn contain(&self, text: &str) -> bool {
        text.len() < self.longest && self.sorted.iter().any(|(known, _)| known.contains(text))
    }
}
