//! Which sequences run in the next step, and how much of each.
//!
//! The scheduler sees sequences and counts of blocks, never a buffer. Key decisions:
//!
//! - Decodes first, then prompts in the order of urgency, in chunks of what `max_batch_tokens`
//!   leaves (Sarathi-Serve, Agrawal et al. 2024, section 4), and while streams run of what brings
//!   the step to the time allowed ([`Pace`]): a long prompt never stalls a stream for longer.
//! - A sequence is admitted when blocks for all of its tokens are there, so only decodes grow and
//!   half-read prompts never fight over blocks. A watermark of free blocks, spared for those that
//!   run already, keeps a new one from being thrown out again at once.
//! - When blocks run out, the last running sequence in order gives its own back, waits again and is
//!   computed again later, as far as it is not in the prefix cache, on the device or the host
//!   (recompute and swapping, vLLM, Kwon et al. 2023, section 4.5). Any accepted sequence fits alone,
//!   so there is no deadlock.
//! - A sequence that begins as one does whose prompt is being read waits for it and takes what it
//!   computed: several answers to one prompt cost one prompt.
//! - Who is admitted next is the queue's choice ([`Waiting`]). Running sequences are in the order of
//!   arrival, a client's own by urgency: so the first one always moves on, whoever is admitted.

mod admission;
mod copies;

use std::collections::BTreeMap;
use std::time::Instant;

use garrison_device::StepLimits;

use crate::EngineConfig;
use crate::adapters::{AdapterHandle, AdapterSlots};
use crate::constraint::{MaskThreads, MaskTimes};
use crate::executor::StepOutput;
use crate::kv::BlockPool;
use crate::pace::Pace;
use crate::sequence::{Piece, Progress, Sequence};
use crate::speculative::{Drafter, Planner, Sources, ToCome};
use crate::swap::Swap;
use crate::waiting::{GENERATED_COST, Urgency, Waiting};

/// A running sequence's part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Index among the running sequences.
    pub(crate) seq: usize,
    /// What of it runs.
    pub(crate) piece: Piece,
}

/// Sequences that wait and run, and the blocks they hold.
pub(crate) struct Scheduler {
    waiting: Waiting,
    /// As [`Scheduler::order`] puts them, but for those admitted in this step.
    running: Vec<Sequence>,
    pool: BlockPool,
    adapters: AdapterSlots,
    limits: StepLimits,
    /// Blocks that admission leaves free while others run.
    watermark: usize,
    /// Tokens beyond those of a step that decoding sequences have blocks for, where some are left.
    lookahead: usize,
    prefix_cache: bool,
    planner: Option<Planner>,
    pace: Pace,
    swap: Swap,
    /// Whether what waits can run only when something that runs has ended, or something else comes.
    blocked: bool,
    /// Running sequences to be restored before the step, by index, and how many blocks of each.
    restores: Vec<(usize, usize)>,
    preemptions: u64,
    looked_up: Lookups,
}

/// Prompt tokens looked for in the prefix cache when their sequences left the queue, and those found;
/// of those that the device has not, the ones looked for in the host cache, and restored from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lookups {
    pub(crate) queries: u64,
    pub(crate) hits: u64,
    pub(crate) host_queries: u64,
    pub(crate) host_hits: u64,
}

/// What is left of a step's limits.
struct Budget {
    tokens: usize,
    rows: usize,
}

impl Scheduler {
    /// `draft_context` is how many tokens the draft model can read, if there is one; `host_slots` how
    /// many blocks the host cache holds; `lookahead` is [`Execute::lookahead`](crate::Execute::lookahead).
    pub(crate) fn new(
        config: &EngineConfig,
        draft_context: Option<usize>,
        host_slots: usize,
        lookahead: usize,
    ) -> Scheduler {
        let sources = Sources { lookup: config.prompt_lookup, model: draft_context };
        let guesses = sources.lookup || sources.model.is_some();
        let pool = BlockPool::new(config.n_blocks, if config.prefix_cache { host_slots } else { 0 });
        Scheduler {
            waiting: Waiting::new(),
            running: Vec::with_capacity(config.concurrency()),
            watermark: pool.capacity() / 100 + 1,
            pool,
            lookahead,
            adapters: AdapterSlots::new(config.adapter_slots),
            limits: config.step_limits(),
            prefix_cache: config.prefix_cache,
            planner: guesses.then(|| Planner::new(config.step_limits().rows, sources)),
            pace: Pace::new(config.max_stall),
            swap: Swap::default(),
            blocked: false,
            restores: Vec::new(),
            preemptions: 0,
            looked_up: Lookups::default(),
        }
    }

    /// Takes a new sequence in.
    pub(crate) fn enqueue(&mut self, sequence: Sequence) {
        self.waiting.push(sequence);
        self.blocked = false;
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Running sequences, as [`Chunk::seq`] counts them.
    pub(crate) fn running(&self) -> &[Sequence] {
        &self.running
    }

    /// Waiting sequences that ran before.
    pub(crate) fn preempted(&self) -> usize {
        self.waiting.iter().filter(|s| s.was_admitted()).count()
    }

    /// Blocks in use, and blocks there are.
    pub(crate) fn blocks(&self) -> (usize, usize) {
        (self.pool.capacity() - self.pool.free(), self.pool.capacity())
    }

    /// Preemptions so far.
    pub(crate) fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// What the prefix cache was asked for so far.
    pub(crate) fn lookups(&self) -> Lookups {
        self.looked_up
    }

    /// Notes how long a step took.
    pub(crate) fn observe(&mut self, chunks: &[Chunk], output: &StepOutput) {
        let tokens = chunks.iter().map(|c| c.piece.tokens).sum();
        self.swap.pass(output.seconds);
        let reads = chunks.iter().any(|c| c.piece.tokens != c.piece.draws);
        if reads {
            self.pace.observe(tokens, output.seconds);
        }
        if let Some(planner) = &mut self.planner {
            planner.observe_wait(output.waited);
            if reads {
                // A sequence gave way since guesses were planned, and another's prompt came in.
                planner.void_step();
            } else {
                planner.observe(tokens, output.seconds);
            }
        }
    }

    /// Notes how many tokens a step brought, what its masks took, and for how many seconds the engine
    /// itself was busy with it.
    pub(crate) fn settle(&mut self, tokens: usize, masks: MaskTimes, own: f64) {
        if let Some(planner) = &mut self.planner {
            planner.settle(tokens, masks, own);
        }
    }

    /// Guesses checked so far, and those that were right.
    pub(crate) fn guesses(&self) -> (u64, u64) {
        self.planner.as_ref().map_or((0, 0), |p| (p.proposed, p.accepted))
    }

    /// Lets a running sequence take its results. What it computed can then be found by others, and
    /// what it generated is on its client's account.
    pub(crate) fn advance(
        &mut self,
        chunk: &Chunk,
        take: impl FnOnce(&mut Sequence) -> Progress,
    ) -> Progress {
        let sequence = &mut self.running[chunk.seq];
        let source = sequence.draft().source;
        let progress = take(sequence);
        if let Some(planner) = &mut self.planner {
            planner.checked(source, chunk.piece.guesses(), progress.accepted);
            if progress.ended.is_some() {
                planner.ended(sequence.generated());
            }
        }
        if self.prefix_cache {
            sequence.cache_blocks(&mut self.pool);
        }
        self.waiting.charge(sequence.client(), progress.generated as u64 * GENERATED_COST);
        progress
    }

    /// Takes every running sequence out, and forgets what was cached: the device has lost it.
    pub(crate) fn lose_running(&mut self) -> Vec<Sequence> {
        let lost = self.retire(|_, _| true);
        self.pool.forget_all();
        self.adapters.forget_all();
        if let Some(planner) = &mut self.planner {
            planner.void_step();
        }
        lost
    }

    /// Chooses the next step, and the copies before it: ascending in [`Chunk::seq`] within decodes and
    /// within prompts. There is one or the other unless the scheduler is idle or somebody gave way.
    pub(crate) fn schedule(&mut self) -> Vec<Chunk> {
        self.order();
        self.restores.clear();
        let mut budget = Budget { tokens: self.limits.tokens, rows: self.limits.rows };
        let mut chunks = Vec::with_capacity(self.limits.seqs);
        let preemptions = self.preemptions;
        self.guess();
        self.allow_saves_of_decodes();
        self.decode(&mut budget, &mut chunks);
        if !chunks.is_empty() {
            let others = self.limits.tokens - budget.tokens + self.tokens_of_saves();
            budget.tokens = budget.tokens.min(self.pace.prompt_tokens(others));
        }
        self.allow_saves(usize::MAX);
        self.prefill(&mut budget, &mut chunks);
        self.admit(&mut budget, &mut chunks);
        let idle = chunks.is_empty() && self.restores.is_empty() && preemptions == self.preemptions;
        debug_assert!(!idle || self.is_idle(), "there is work and none was scheduled");
        chunks
    }

    /// Puts running sequences in the order in which they give way, last first: that of their arrival,
    /// but among the places that one client has, its more urgent ones come first. So a client's
    /// priorities move its own sequences and nobody else's.
    fn order(&mut self) {
        let mut own: BTreeMap<u32, (Vec<u64>, Vec<Urgency>)> = BTreeMap::new();
        for sequence in &self.running {
            let (places, urgencies) = own.entry(sequence.client()).or_default();
            places.push(sequence.urgency().serial);
            urgencies.push(sequence.urgency());
        }
        for (places, urgencies) in own.values_mut() {
            places.sort_unstable();
            urgencies.sort_unstable();
        }
        let place = |sequence: &Sequence| {
            let (places, urgencies) = own.get(&sequence.client())?;
            places.get(urgencies.binary_search(&sequence.urgency()).ok()?).copied()
        };
        self.running.sort_by_cached_key(place);
    }

    /// Guesses what decoding sequences go on with, unless prompts have a better use for the step.
    fn guess(&mut self) {
        let Some(planner) = &mut self.planner else { return };
        let reads = self.running.iter().any(|s| s.remaining() > 1);
        let admits = !self.waiting.is_empty() && self.running.len() < self.limits.seqs && !self.blocked;
        if reads || admits {
            self.running.iter_mut().for_each(Sequence::drop_guesses);
            return;
        }
        // Each running sequence decodes a token, those that nothing is guessed for as well.
        let decodes = self.running.len();
        if planner.sources().model.is_some() {
            self.running.iter_mut().for_each(|s| s.share_drafted(&mut self.pool));
        }
        let mut candidates: Vec<_> = self.running.iter_mut().filter_map(Sequence::candidate).collect();
        planner.plan(&mut candidates, decodes, self.limits.rows.saturating_sub(decodes));
        self.running.iter_mut().for_each(Sequence::check_guesses);
    }

    /// Has the masks made that a step draws with.
    pub(crate) fn make_masks(&mut self, chunks: &[Chunk], threads: &mut MaskThreads) {
        for Chunk { seq, piece } in chunks {
            self.running[*seq].make_masks(piece, threads);
        }
    }

    /// Lets the draft model make the guesses that are planned; of those that it does not make, `chunks`
    /// is relieved. False if the draft model has failed too often and is not to be asked again.
    pub(crate) fn draft(
        &mut self,
        drafter: &mut Drafter,
        chunks: &mut [Chunk],
        masks: &mut MaskThreads,
    ) -> bool {
        let Some(planner) = &mut self.planner else { return true };
        let wanted: Vec<usize> =
            chunks.iter().map(|c| c.seq).filter(|&seq| self.running[seq].draft().wanted > 0).collect();
        if wanted.is_empty() {
            return true;
        }
        let tokens = chunks.iter().map(|c| c.piece.tokens).sum();
        let rounds = wanted.iter().map(|&seq| self.running[seq].draft().wanted).max().unwrap_or(0);
        let seconds = planner.seconds_to_come(tokens, wanted.len(), rounds);
        let to_come = ToCome { seconds, tokens: self.pace.prompt_tokens(tokens) };
        let outcome = drafter.guess(&mut self.running, wanted, to_come, &mut self.pool, masks);
        match &outcome {
            Ok(steps) => {
                for step in steps {
                    planner.observe_draft(step.tokens, step.seqs, step.seconds);
                    planner.observe_wait(step.waited);
                }
            }
            Err(error) => {
                if drafter.is_given_up() {
                    tracing::error!(%error, "the draft model failed again; going on without it");
                    planner.lose_model();
                } else {
                    let steps = drafter.rest();
                    tracing::error!(%error, steps, "the draft model failed; it will be asked again after some steps");
                    planner.void_step();
                    planner.rest_model(steps);
                }
                self.pool.forget_drafted();
                self.running.iter_mut().for_each(Sequence::lose_drafted);
            }
        }
        for Chunk { seq, piece } in chunks {
            let missing = piece.guesses().saturating_sub(self.running[*seq].draft().tokens.len());
            piece.tokens -= missing;
            piece.draws -= missing;
        }
        !drafter.is_given_up()
    }

    /// Sequences with a single token to go; each may need one more block.
    fn decode(&mut self, budget: &mut Budget, chunks: &mut Vec<Chunk>) {
        let mut seq = 0;
        while seq < self.running.len() {
            if self.running[seq].remaining() == 1 {
                self.grow(seq);
            }
            seq += 1;
        }
        // Guesses come after, so that they take no block that a token needs.
        for (seq, sequence) in self.running.iter_mut().enumerate() {
            if sequence.remaining() == 1 {
                sequence.take_blocks_for_guesses(&mut self.pool);
                budget.take(sequence, seq, chunks);
                // Those that run may take them again: nobody waits for a block that is only likely to be needed.
                if self.lookahead > 0 && self.pool.free() > self.watermark {
                    sequence.take_blocks_ahead(self.lookahead, &mut self.pool);
                }
            }
        }
    }

    /// Makes room for the next token, at the expense of the last in order, be it the sequence itself.
    fn grow(&mut self, seq: usize) {
        while let Some(sequence) = self.running.get_mut(seq) {
            if sequence.take_blocks(&mut self.pool) {
                return;
            }
            self.preempt();
        }
    }

    /// The last running sequence goes back to the queue. Nothing of the step is planned yet.
    fn preempt(&mut self) {
        let Some(mut sequence) = self.running.pop() else { return };
        tracing::debug!(request = sequence.id(), "preempted: the KV cache is full");
        sequence.release_blocks(&mut self.pool);
        self.adapters.release(sequence.slot());
        sequence.set_slot(0);
        self.preemptions += 1;
        self.waiting.push_again(sequence);
    }

    /// Prompts that are admitted already; their blocks are there.
    fn prefill(&mut self, budget: &mut Budget, chunks: &mut Vec<Chunk>) {
        for seq in 0..self.running.len() {
            if self.running[seq].remaining() > 1 {
                self.read(seq, budget, chunks);
            }
        }
    }

    /// Goes on with the prompt of `seq`: what is to be restored, and once that is there, what is to be computed.
    fn read(&mut self, seq: usize, budget: &mut Budget, chunks: &mut Vec<Chunk>) {
        if self.running[seq].to_restore() > 0 && !self.swap.restores_pay(self.pace.seconds_per_token()) {
            // They did when it was admitted. The disk may have been believed too fast, and streams wait.
            self.running[seq].release_slots(&mut self.pool);
        }
        if self.running[seq].to_restore() > 0 {
            self.plan_restores(seq, budget);
        } else {
            budget.take(&self.running[seq], seq, chunks);
        }
    }

    /// The slot to be filled before the step that was scheduled, and with what.
    pub(crate) fn adapter_to_fill(&mut self) -> Option<(u32, AdapterHandle)> {
        self.adapters.take_fill()
    }

    /// Slots whose adapters nobody can ask for any more: they are empty now.
    pub(crate) fn unloaded_adapters(&mut self) -> Vec<u32> {
        self.adapters.take_unloaded()
    }

    /// Slots filled so far.
    pub(crate) fn adapter_swaps(&self) -> u64 {
        self.adapters.swaps()
    }

    /// Takes the sequences out whose adapter could not be put into its slot.
    pub(crate) fn lose_adapter(&mut self, slot: u32) -> Vec<Sequence> {
        let lost = self.retire(|_, s| s.slot() == slot);
        self.adapters.forget(slot);
        lost
    }

    /// Takes sequences out whose clients are gone, wherever they are; says how many.
    pub(crate) fn drop_cancelled(&mut self) -> usize {
        let gone = self.waiting.extract(Sequence::is_cancelled).len();
        self.blocked &= gone == 0;
        gone + self.retire(|_, s| s.is_cancelled()).len()
    }

    /// Takes sequences out whose deadline has passed, wherever they are.
    pub(crate) fn take_late(&mut self, now: Instant) -> Vec<Sequence> {
        let mut late = self.waiting.extract(|s| s.is_late(now));
        self.blocked &= late.is_empty();
        late.extend(self.retire(|_, s| s.is_late(now)));
        late
    }

    /// Takes running sequences out, by index and sequence, and frees their blocks.
    pub(crate) fn retire(&mut self, done: impl Fn(usize, &Sequence) -> bool) -> Vec<Sequence> {
        let mut index = 0;
        let ended = self.running.extract_if(.., |s| {
            index += 1;
            done(index - 1, s)
        });
        let mut ended: Vec<Sequence> = ended.collect();
        self.blocked &= ended.is_empty();
        for sequence in &mut ended {
            sequence.release_blocks(&mut self.pool);
            self.adapters.release(sequence.slot());
            self.waiting.ended(sequence.client());
        }
        ended
    }

    /// Takes every sequence out.
    pub(crate) fn take_all(&mut self) -> Vec<Sequence> {
        let mut all = self.retire(|_, _| true);
        all.extend(self.waiting.extract(|_| true));
        all
    }

    /// Checks what must hold between steps.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let slots = self.running.iter().flat_map(Sequence::slots);
        self.pool.check(self.running.iter().map(|s| s.table().blocks()), slots);
        assert!(self.pool.saves().is_empty(), "blocks that were evicted are saved before the step");
        self.adapters.check(self.running.iter().map(|s| (s.slot(), s.adapter_number())));
        assert!(self.running.len() <= self.limits.seqs);
        for s in &self.running {
            assert!(s.remaining() > 0, "a running sequence has something to run");
            assert!(s.table().blocks().len() * garrison_device::BLOCK_SIZE + 1 >= s.len());
        }
        assert!(
            self.waiting.iter().all(|s| s.table().blocks().is_empty()),
            "waiting sequences hold no blocks"
        );
    }
}

impl Budget {
    /// Plans as much of `sequence` as there is room for.
    fn take(&mut self, sequence: &Sequence, seq: usize, chunks: &mut Vec<Chunk>) {
        let Some(piece) = sequence.next_piece(self.tokens, self.rows) else { return };
        self.tokens -= piece.tokens;
        self.rows -= piece.scores + piece.draws;
        chunks.push(Chunk { seq, piece });
    }
}
