//! What a sequence guesses of its own future, and what the draft model has read of it.

use std::collections::HashSet;

use garrison_device::{BLOCK_SIZE, Batch, SampleRow};
use garrison_tokenizer::Tokenizer;

use super::{Piece, Sequence};
use crate::constraint::MaskThreads;
use crate::kv::{BlockPool, BlockTable};
use crate::speculative::{Candidate, Draft, Source};

/// How much of a sequence the draft model has read. Its keys and values stand in the same blocks as
/// the target's, in a cache of its own.
#[derive(Debug, Default)]
pub(super) struct Drafted {
    /// Tokens, from the first on.
    pub(super) tokens: usize,
    /// Blocks of the table, from the first on, that the pool knows of.
    blocks: usize,
}

impl Sequence {
    /// What guesses are made for, if it decodes: guesses are for tokens that could be drawn beside
    /// the one that will be.
    pub(crate) fn candidate(&mut self) -> Option<Candidate<'_>> {
        let room = self.max_len.saturating_sub(self.tokens.len() + 1);
        let decodes = self.remaining() == 1 && self.score_rows(1).is_empty();
        let unread = self.tokens.len() - self.drafted.tokens;
        let generated = self.generated();
        let mask = self.constraint.as_ref().map_or(0.0, |c| c.cost().as_secs_f64());
        let Sequence { tokens, draft, .. } = self;
        decodes.then_some(Candidate { tokens, draft, room, generated, unread, mask })
    }

    /// Its guesses.
    pub(crate) fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Makes no guesses after all.
    pub(crate) fn drop_guesses(&mut self) {
        self.draft.clear();
    }

    /// Drops the guesses that its grammar rules out.
    pub(crate) fn check_guesses(&mut self) {
        let Some(constraint) = &mut self.constraint else { return };
        if !self.draft.tokens.is_empty() {
            self.draft.tokens.truncate(constraint.followable(&self.draft.tokens));
        }
    }

    /// Has the masks made that a piece draws with. Those of the draft model's guesses come with the guesses.
    pub(crate) fn make_masks(&mut self, piece: &Piece, threads: &mut MaskThreads) {
        let Some(constraint) = &mut self.constraint else { return };
        if piece.draws > 0 {
            let made = piece.guesses().min(self.draft.tokens.len());
            constraint.make_masks(&self.draft.tokens[..made], threads);
        }
    }

    /// Takes the blocks that its guesses need. It has none if there are too few: a guess takes
    /// nothing from anyone.
    pub(crate) fn take_blocks_for_guesses(&mut self, pool: &mut BlockPool) {
        if !self.table.cover(self.tokens.len() + self.draft.planned(), pool) {
            self.draft.clear();
        }
    }

    /// Tells the pool which blocks the draft model has read, and learns which others it has.
    pub(crate) fn share_drafted(&mut self, pool: &mut BlockPool) {
        let Drafted { tokens, blocks } = &mut self.drafted;
        for &block in &self.table.blocks()[*blocks..] {
            let end = (*blocks + 1) * BLOCK_SIZE;
            if end <= *tokens {
                pool.set_drafted(block);
            } else if end < self.tokens.len() && pool.is_drafted(block) {
                *tokens = end;
            } else {
                break;
            }
            *blocks += 1;
        }
    }

    /// Appends what the draft model has not read to its batch: at most `most` tokens, all of them
    /// below `vocab`, and none of a block that is `written` in this step already. Returns how many; the
    /// last one's logits are the first guess.
    pub(crate) fn push_unread(
        &self,
        batch: &mut Batch,
        most: usize,
        vocab: usize,
        written: &mut HashSet<u32>,
    ) -> usize {
        let start = self.drafted.tokens;
        let known = self.tokens[start..].iter().take(most).take_while(|&&t| (t as usize) < vocab).count();
        let mut end = start + known;
        let own = start / BLOCK_SIZE..BlockTable::blocks_for(end);
        for (i, block) in own.clone().zip(&self.table.blocks()[own]) {
            if !written.insert(*block) {
                end = (i * BLOCK_SIZE).max(start);
                break;
            }
        }
        if end == start {
            return 0;
        }
        let table = &self.table.blocks()[..BlockTable::blocks_for(end)];
        let first = batch.push_sequence(&self.tokens[start..end], end as u32, table, 0);
        if end == self.tokens.len() {
            batch.samples.push(self.guess_row(first + (end - start) as u32 - 1));
        }
        end - start
    }

    /// Appends the latest guess to the draft model's batch.
    pub(crate) fn push_guess(&self, batch: &mut Batch) {
        let Some(last) = self.draft.tokens.last() else { return };
        let len = self.tokens.len() + self.draft.tokens.len();
        let table = &self.table.blocks()[..BlockTable::blocks_for(len)];
        let row = batch.push_sequence(&[*last], len as u32, table, 0);
        batch.samples.push(self.guess_row(row));
    }

    /// The next guess is drawn as its token will be: so often both are the same, sampled or not.
    fn guess_row(&self, row: u32) -> SampleRow {
        SampleRow { logprobs: None, ..self.draw_row(row, self.draft.tokens.len()) }
    }

    /// Notes that the draft model has read `tokens` more tokens; says whether all of them.
    pub(crate) fn has_read(&mut self, tokens: usize) -> bool {
        self.drafted.tokens += tokens;
        self.drafted.tokens == self.tokens.len()
    }

    /// Takes a guess of the draft model.
    pub(crate) fn take_guess(&mut self, token: u32, tokenizer: &Tokenizer, threads: &mut MaskThreads) {
        self.draft.wanted -= 1;
        // Its embedding may have more rows than the target's, and nothing else is there.
        if token as usize >= tokenizer.vocab_size() {
            self.draft.wanted = 0;
            return;
        }
        self.draft.tokens.push(token);
        let ends = tokenizer.eos().contains(&token) && !self.stop.ignore_eos;
        if ends || self.stop.token_ids.contains(&token) {
            self.draft.wanted = 0;
        }
        let Some(constraint) = &mut self.constraint else { return };
        if !constraint.suppose(token, threads) {
            self.draft.wanted = 0;
        }
    }

    /// No more guesses are made in this step.
    pub(crate) fn end_guessing(&mut self) {
        self.draft.wanted = 0;
    }

    /// Notes that `proposed` guesses after `known` tokens were checked, of which the first `accepted`
    /// were right. If they are the draft model's, it has read all but the last one.
    pub(super) fn guesses_checked(&mut self, proposed: usize, accepted: usize, known: usize) {
        if proposed > 0 && self.draft.source == Source::Model && self.drafted.tokens == known {
            self.drafted.tokens += accepted.min(proposed - 1);
        }
        self.draft.checked(proposed, accepted);
    }

    /// What the draft model has read is lost with its cache.
    pub(crate) fn lose_drafted(&mut self) {
        self.end_guessing();
        self.release_drafted();
    }

    /// What the draft model has read is lost with the blocks.
    pub(super) fn release_drafted(&mut self) {
        self.draft.clear();
        self.drafted = Drafted::default();
    }
}
