//! SentencePiece BPE: merges by score, with byte fallback.
//!
//! The `tokenizers` crate knows merges by rank only. Turning scores into ranks needs every split
//! of every piece at load and loses how equal scores tie (leftmost), so the loop is ours; its
//! oracle is llama.cpp (`llm_tokenizer_spm`).

use std::cmp::Ordering;

use super::merge::{Merger, NONE, Symbol};
use crate::TokenizerError;
use crate::tokenizer::unknown_text;
use crate::tokens::{Tokens, byte_token};
use garrison_types::{TokenKind, Vocabulary};

/// The SPM encoder.
#[derive(Debug)]
pub(crate) struct Spm {
    /// `[vocab]` scores, higher merges first.
    scores: Vec<f32>,
    /// `[256]` the token of each raw byte, or [`NONE`].
    byte_tokens: Box<[u32; 256]>,
    /// For what cannot be expressed, if the vocabulary lacks a byte.
    unknown: Option<u32>,
    /// Whether a text starts with a space that is not in it.
    add_space_prefix: bool,
}

/// A score as a priority. Total, since a damaged file may hold NaN.
#[derive(Clone, Copy, PartialEq)]
struct Score(f32);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Spm {
    /// An encoder for `vocabulary`, whose table is `tokens`.
    pub(crate) fn new(vocabulary: &Vocabulary, tokens: &Tokens) -> Result<Self, TokenizerError> {
        if vocabulary.scores.is_empty() {
            return Err(TokenizerError::NoScores);
        }
        let mut byte_tokens = Box::new([NONE; 256]);
        for (id, kind) in tokens.kinds() {
            if kind == TokenKind::Byte
                && let Some(byte) = byte_token(tokens.text(id))
            {
                byte_tokens[byte as usize] = id;
            }
        }
        Ok(Spm {
            scores: vocabulary.scores.clone(),
            byte_tokens,
            unknown: unknown_text(vocabulary, tokens),
            add_space_prefix: vocabulary.add_space_prefix,
        })
    }

    /// Appends the tokens of `text`, a piece that starts the text or follows a special token.
    pub(crate) fn encode(&self, tokens: &Tokens, text: &str, out: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let mut spelled = String::with_capacity(text.len() + 16);
        if self.add_space_prefix {
            spelled.push('▁');
        }
        spelled.extend(text.chars().map(|c| if c == ' ' { '▁' } else { c }));

        let mut merger = Merger::new();
        for (start, c) in spelled.char_indices() {
            let end = start + c.len_utf8();
            merger.push(c.len_utf8(), tokens.plain_id(&spelled[start..end]).unwrap_or(NONE));
        }
        merger.merge(|left, right| self.join(tokens, &spelled, left, right));
        for symbol in merger.symbols() {
            match symbol.token {
                NONE => self.fall_back(&spelled[symbol.range()], out),
                token => out.push(token),
            }
        }
    }

    fn join(&self, tokens: &Tokens, text: &str, left: &Symbol, right: &Symbol) -> Option<(Score, u32)> {
        let joined = left.start as usize..right.end as usize;
        if joined.len() > tokens.longest() {
            return None;
        }
        let id = tokens.plain_id(&text[joined])?;
        let score = self.scores.get(id as usize)?;
        Some((Score(*score), id))
    }

    /// Spells a piece that is no token in bytes.
    fn fall_back(&self, piece: &str, out: &mut Vec<u32>) {
        for byte in piece.bytes() {
            match self.byte_tokens[byte as usize] {
                NONE => out.extend(self.unknown),
                token => out.push(token),
            }
        }
    }
}
