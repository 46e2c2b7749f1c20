//! One step's work, ragged, as the scheduler writes it and the executor runs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use garrison_types::Sampling;

use crate::Mask;

/// One step's work. Sequence `s` owns the tokens `q_start[s] .. q_start[s + 1]`, which are the
/// last ones of its `kv_len[s]` tokens so far.
///
/// All fields are mandatory: adapter slot 0 means none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// `[tokens]` token ids.
    pub tokens: Vec<u32>,
    /// `[tokens]` position of each token in its sequence.
    pub positions: Vec<u32>,
    /// `[tokens]` KV slot that each token's key and value are written to.
    pub slots: Vec<u32>,
    /// `[seqs + 1]` where each sequence's tokens begin.
    pub q_start: Vec<u32>,
    /// `[seqs]` tokens in the KV cache once this step has stored its own.
    pub kv_len: Vec<u32>,
    /// Block tables of all sequences, one after the other.
    pub blocks: Vec<u32>,
    /// `[seqs + 1]` where each sequence's block table begins in `blocks`.
    pub block_start: Vec<u32>,
    /// `[seqs]` adapter slot; 0 is none.
    pub adapters: Vec<u32>,
    /// The logits that are wanted, in the order of `StepOutput::samples`, rows ascending.
    pub samples: Vec<SampleRow>,
}

/// One row of logits and what is to be made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRow {
    /// Index into `Batch::tokens` of the token whose successor is wanted.
    pub row: u32,
    /// Draw a token, or score a given one.
    pub want: Want,
    /// How to draw.
    pub sampling: Arc<Sampling>,
    /// Position in its sequence of the token to be drawn: the counter of the random draw.
    pub position: u32,
    /// Tokens so far, for the penalties; empty when no penalty is on.
    pub seen: Arc<TokenCounts>,
    /// Tokens that cannot be chosen (end and stop tokens before `min_tokens`).
    pub banned: Arc<[u32]>,
    /// The tokens that can be chosen, `None` for all. It may still be in the making while the batch
    /// runs: only the draw waits for it.
    pub mask: Option<Mask>,
    /// How many most probable tokens to report with their log-probabilities; `None` computes none.
    pub logprobs: Option<u32>,
}

impl SampleRow {
    /// A token to be drawn for `position` from all that there are: without penalties, bans, mask and log-probabilities.
    pub fn plain(row: u32, sampling: Arc<Sampling>, position: u32) -> Self {
        Self {
            row,
            want: Want::Sample,
            sampling,
            position,
            seen: Arc::default(),
            banned: Arc::default(),
            mask: None,
            logprobs: None,
        }
    }
}

/// What is wanted of a row of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A token drawn from the distribution.
    Sample,
    /// The log-probability of this token (echo, prompt_logprobs).
    Score(u32),
}

/// How often each token occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Token to `(times in the output, occurs in the prompt)`.
    pub counts: BTreeMap<u32, (u32, bool)>,
}

/// What came of a [`SampleRow`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// The token drawn, or the one that was scored.
    pub token: u32,
    /// Present when the row asked for log-probabilities.
    pub logprobs: Option<TokenLogprobs>,
}

/// Log-probabilities under the model's own distribution, before penalties and temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token itself.
    pub logprob: f32,
    /// The token's place among all tokens, 1 being the most probable; the lower id first among equals.
    pub rank: u32,
    /// The most probable tokens, best first, the lower id first among equals.
    pub top: Vec<(u32, f32)>,
}

/// What a batch has of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Those that run.
    pub tokens: &'a [u32],
    /// Tokens in the KV cache once this step has stored its own.
    pub kv_len: u32,
    /// Its block table.
    pub table: &'a [u32],
    /// Its adapter slot; 0 is none.
    pub adapter: u32,
    /// The logits that are wanted of it; rows count through the batch.
    pub samples: &'a [SampleRow],
}

impl Batch {
    /// What there is of sequence `s`.
    pub fn part(&self, s: usize) -> Part<'_> {
        let ends = |of: &[u32]| of[s] as usize..of[s + 1] as usize;
        let (tokens, table) = (ends(&self.q_start), ends(&self.block_start));
        let row = |at: usize| self.samples.partition_point(|sample| (sample.row as usize) < at);
        Part {
            samples: &self.samples[row(tokens.start)..row(tokens.end)],
            tokens: &self.tokens[tokens],
            kv_len: self.kv_len[s],
            table: &self.blocks[table],
            adapter: self.adapters[s],
        }
    }

    /// Sequences in this step.
    pub fn n_seqs(&self) -> usize {
        self.kv_len.len()
    }

    /// `[tokens]` the adapter slot of each token: its sequence's.
    pub fn token_adapters(&self) -> Vec<u32> {
        let lens = self.q_start.windows(2).map(|ends| (ends[1] - ends[0]) as usize);
        lens.zip(&self.adapters).flat_map(|(len, &slot)| std::iter::repeat_n(slot, len)).collect()
    }

    /// Empties the batch, keeping its memory.
    pub fn clear(&mut self) {
        let Batch { tokens, positions, slots, q_start, kv_len, blocks, block_start, adapters, samples } =
            self;
        for v in [tokens, positions, slots, q_start, kv_len, blocks, block_start, adapters] {
            v.clear();
        }
        samples.clear();
    }

    /// Appends a sequence whose last `tokens.len()` of `kv_len` tokens run in this step, with its
    /// whole block table. Positions and slots follow from the table. Returns the index of its
    /// first token in the batch.
    pub fn push_sequence(&mut self, tokens: &[u32], kv_len: u32, table: &[u32], adapter: u32) -> u32 {
        let n = tokens.len() as u32;
        assert!(n > 0 && n <= kv_len, "a sequence runs at least one token and at most all");
        assert!(
            table.len() * crate::BLOCK_SIZE >= kv_len as usize,
            "the block table must cover the sequence"
        );
        if self.q_start.is_empty() {
            self.q_start.push(0);
            self.block_start.push(0);
        }
        let first = self.tokens.len() as u32;
        self.tokens.extend_from_slice(tokens);
        for position in kv_len - n..kv_len {
            let at = position as usize;
            let block = table[at / crate::BLOCK_SIZE];
            self.positions.push(position);
            self.slots.push(block * crate::BLOCK_SIZE as u32 + (at % crate::BLOCK_SIZE) as u32);
        }
        self.q_start.push(first + n);
        self.kv_len.push(kv_len);
        self.blocks.extend_from_slice(table);
        self.block_start.push(self.blocks.len() as u32);
        self.adapters.push(adapter);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_block_table() {
        let mut b = Batch::default();
        b.push_sequence(&[7, 8, 9], 18, &[5, 2], 0);
        let first = b.push_sequence(&[1], 1, &[3], 4);
        assert_eq!(b.token_adapters(), [0, 0, 0, 4]);
        assert_eq!(b.positions, [15, 16, 17, 0]);
        assert_eq!(b.slots, [5 * 16 + 15, 2 * 16, 2 * 16 + 1, 3 * 16]);
        assert_eq!(
            (b.q_start.as_slice(), b.block_start.as_slice()),
            ([0, 3, 4].as_slice(), [0, 2, 3].as_slice())
        );
        assert_eq!((first, b.n_seqs()), (3, 2));
        let part = b.part(1);
        assert_eq!((part.tokens, part.kv_len, part.table, part.adapter), (&[1][..], 1, &[3][..], 4));
        assert!(part.samples.is_empty() && b.part(0).tokens == [7, 8, 9]);
        b.clear();
        assert_eq!(b, Batch::default());
    }
}
