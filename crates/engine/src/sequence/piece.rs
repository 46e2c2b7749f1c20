//! Which part of a sequence runs in a step, and which rows of logits that part wants.

use std::borrow::Cow;
use std::sync::Arc;

use garrison_device::{SampleRow, TokenCounts, Want};

use super::{Sequence, count, needs_output_counts};

/// A piece of a sequence that runs in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Tokens that run.
    pub(crate) tokens: usize,
    /// Rows of logits that score prompt tokens; they come first.
    pub(crate) scores: usize,
    /// Rows of logits that tokens are drawn from: one, and one for each guess that is checked.
    pub(crate) draws: usize,
}

impl Piece {
    /// How many of its tokens are guesses; they come last.
    pub(crate) fn guesses(&self) -> usize {
        self.draws.saturating_sub(1)
    }
}

impl Sequence {
    /// Rows that score prompt tokens among the next `tokens` ones: row `i` scores token `i + 1`.
    pub(super) fn score_rows(&self, tokens: usize) -> std::ops::Range<usize> {
        let Some(scoring) = &self.scoring else { return 0..0 };
        let start = self.computed.max(scoring.scored.len() - 1);
        let end = (self.computed + tokens).min(self.prompt_len - 1);
        start..end.max(start)
    }

    /// The longest next piece within these bounds, if any.
    pub(crate) fn next_piece(&self, max_tokens: usize, max_rows: usize) -> Option<Piece> {
        let mut tokens = self.remaining().min(max_tokens);
        let rows = self.score_rows(tokens);
        if rows.len() > max_rows {
            tokens = rows.start + max_rows - self.computed;
        }
        let scores = self.score_rows(tokens).len();
        let mut draws = usize::from(tokens == self.remaining() && self.draws());
        if scores + draws > max_rows {
            tokens -= 1;
            draws = 0;
        }
        if draws == 1 {
            let room = (max_tokens - tokens).min(max_rows - scores - draws);
            let guesses = self.draft.planned().min(room);
            (tokens, draws) = (tokens + guesses, draws + guesses);
        }
        (tokens > 0).then_some(Piece { tokens, scores, draws })
    }

    /// The tokens of a piece.
    pub(crate) fn piece_tokens(&self, piece: &Piece) -> Cow<'_, [u32]> {
        let known = &self.tokens[self.computed..self.computed + piece.tokens - piece.guesses()];
        match piece.guesses() {
            0 => Cow::Borrowed(known),
            guesses => Cow::Owned([known, &self.draft.tokens[..guesses]].concat()),
        }
    }

    /// Tokens in the cache once a piece ran.
    pub(crate) fn kv_len_after(&self, piece: &Piece) -> usize {
        self.computed + piece.tokens
    }

    /// The rows of logits of a piece whose first token is row `first` of the batch.
    pub(crate) fn sample_rows(&self, piece: &Piece, first: u32) -> impl Iterator<Item = SampleRow> + '_ {
        let top = self.scoring.as_ref().map(|s| s.top);
        let scores = self.score_rows(piece.tokens).map(move |at| (at, Want::Score(self.tokens[at + 1]), top));
        let row_of = move |at: usize| first + (at - self.computed) as u32;
        let scores = scores.map(move |(at, want, logprobs)| SampleRow {
            want,
            logprobs,
            ..SampleRow::plain(row_of(at), Arc::clone(&self.sampling), at as u32 + 1)
        });
        let first_draw = self.computed + piece.tokens - piece.draws;
        scores.chain((0..piece.draws).map(move |i| self.draw_row(row_of(first_draw + i), i)))
    }

    /// Row `row` of a batch, that the token after the first `granted` guesses is drawn from.
    pub(super) fn draw_row(&self, row: u32, granted: usize) -> SampleRow {
        SampleRow {
            row,
            want: Want::Sample,
            sampling: Arc::clone(&self.sampling),
            position: (self.tokens.len() + granted) as u32,
            seen: self.seen_with(granted),
            banned: self.banned_after(self.generated() + granted),
            mask: self.constraint.as_ref().map(|c| c.mask_after(granted)),
            logprobs: self.logprobs,
        }
    }

    fn seen_with(&self, guesses: usize) -> Arc<TokenCounts> {
        let mut seen = Arc::clone(&self.seen);
        if guesses > 0 && needs_output_counts(&self.sampling) {
            for &token in &self.draft.tokens[..guesses] {
                count(&mut seen, token);
            }
        }
        seen
    }

    fn banned_after(&self, generated: usize) -> Arc<[u32]> {
        if generated < self.stop.min_tokens as usize { Arc::clone(&self.banned) } else { Arc::default() }
    }
}
