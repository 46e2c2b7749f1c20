//! Copies to the host cache and back: what is saved, what is restored, and when.
//!
//! Key decision: a copied block counts, in a step's budget, as the prompt tokens that could be computed
//! meanwhile. So streams wait for copies no longer than they would for a prompt ([`crate::pace`]): what
//! takes longer is spread over steps. A sequence that is to be restored runs when it is; one for which
//! much has to be evicted is admitted when that is saved.

use super::{Budget, Scheduler};
use crate::executor::CopyError;
use crate::kv::Save;
use crate::sequence::{Found, Sequence};
use crate::swap::{Direction, SwapCounts};

impl Scheduler {
    /// What is cached of a sequence, as far as it is worth having.
    pub(super) fn find_cached(&self, sequence: &Sequence) -> Found {
        let mut found = sequence.find_cached(&self.pool);
        if !self.swap.restores_pay(self.pace.seconds_per_token()) {
            found.slots.clear();
        }
        found
    }

    /// Prompt tokens that could be computed in the time of a copy.
    fn tokens_of(&self, direction: Direction) -> usize {
        self.swap.tokens(direction, self.pace.seconds_per_token())
    }

    /// The same for the saves that this step begins with, so far.
    pub(super) fn tokens_of_saves(&self) -> usize {
        self.pool.saves().len() * self.tokens_of(Direction::Save)
    }

    /// Lets as many blocks be saved as could be in the time of `tokens` prompt tokens, if that pays.
    pub(super) fn allow_saves(&mut self, tokens: usize) {
        let pays = self.swap.saves_pay(self.pace.seconds_per_token());
        self.pool.allow_saves(if pays { tokens / self.tokens_of(Direction::Save) } else { 0 });
    }

    /// Decodes take a block each at most; what they evict is saved as far as streams can wait for it.
    pub(super) fn allow_saves_of_decodes(&mut self) {
        let decodes = self.running.iter().filter(|s| s.remaining() == 1).count();
        self.allow_saves(self.pace.prompt_tokens(decodes));
    }

    /// Makes blank blocks for a sequence that needs `needed` of which some are `found`, while streams run.
    /// False if that takes longer than they can wait: then it is gone on with in the next step.
    pub(super) fn make_room(&mut self, found: &Found, needed: usize, budget: &mut Budget) -> bool {
        if !self.swap.saves_pay(self.pace.seconds_per_token()) || self.pool.slots().1 == 0 {
            return true;
        }
        let each = self.tokens_of(Direction::Save);
        found.hold(&mut self.pool);
        let evictions = (needed - found.blocks.len()).saturating_sub(self.pool.blank());
        let now = evictions.min(budget.tokens.div_ceil(each));
        self.pool.make_blank(now);
        found.release(&mut self.pool);
        budget.tokens = budget.tokens.saturating_sub(now * each);
        now == evictions
    }

    /// Plans as many of `seq`'s restores as there is time for, at least one.
    pub(super) fn plan_restores(&mut self, seq: usize, budget: &mut Budget) {
        let each = self.tokens_of(Direction::Restore);
        let blocks = self.running[seq].to_restore().min(budget.tokens.div_ceil(each));
        budget.tokens = budget.tokens.saturating_sub(blocks * each);
        if blocks > 0 {
            self.restores.push((seq, blocks));
        }
    }

    /// Whether copies should be tried out now, to learn what copies cost.
    pub(crate) fn wants_trial(&mut self) -> bool {
        self.pool.slots().1 > 0 && self.swap.wants_trial(self.pace.seconds_per_token())
    }

    /// Notes what came of trying out copies there and back.
    pub(crate) fn tried(&mut self, outcome: &Result<(f64, f64), CopyError>) {
        match outcome {
            Ok((save, restore)) => self.swap.tried(*save, *restore),
            Err(_) => self.swap.failed(),
        }
    }

    /// Takes what is to be saved, in order; it comes before what is to be restored.
    pub(crate) fn take_saves(&mut self) -> Vec<Save> {
        self.pool.take_saves()
    }

    /// Notes what came of saving a block.
    pub(crate) fn saved(&mut self, slot: u32, outcome: &Result<f64, CopyError>) {
        match outcome {
            Ok(seconds) => self.swap.copied(Direction::Save, *seconds),
            Err(_) => {
                self.swap.failed();
                self.pool.lose_slot(slot);
            }
        }
    }

    /// Takes which running sequences are to be restored, and how many blocks of each.
    pub(crate) fn take_restores(&mut self) -> Vec<(usize, usize)> {
        std::mem::take(&mut self.restores)
    }

    /// The next slot to be restored of a running sequence, and the block that it goes to.
    pub(crate) fn next_restore(&self, seq: usize) -> Option<(u32, u32)> {
        self.running[seq].next_restore()
    }

    /// Notes what came of restoring it.
    pub(crate) fn restored(&mut self, seq: usize, outcome: &Result<f64, CopyError>) {
        match outcome {
            Ok(seconds) => {
                self.swap.copied(Direction::Restore, *seconds);
                self.looked_up.host_hits += self.running[seq].restored(&mut self.pool) as u64;
            }
            Err(_) => {
                self.swap.failed();
                self.running[seq].not_restored(&mut self.pool);
            }
        }
    }

    /// Forgets what the host cache held: another one has taken its place. Nothing may run.
    pub(crate) fn lose_host(&mut self) {
        self.pool.forget_slots();
        self.swap.begin_anew();
    }

    /// Blocks in the host cache, and how many it holds.
    pub(crate) fn host_blocks(&self) -> (usize, usize) {
        self.pool.slots()
    }

    /// What the host cache was used for so far.
    pub(crate) fn swaps(&self) -> SwapCounts {
        self.swap.counts
    }
}
