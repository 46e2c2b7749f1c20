//! The draft model at work: it reads what it has missed, then guesses one token after the other for
//! all sequences that are to be guessed for (Leviathan et al. 2023, section 2; in a batch).
//!
//! Key decisions:
//! - Its keys and values stand in the blocks of the target's, in a cache of its own. So sharing
//!   prefixes, preemption and eviction need no second bookkeeping: the pool remembers of each block
//!   whether the draft model has read it, too.
//! - It reads nothing before guesses are wanted. Where they never pay, it costs nothing.
//! - It draws its guesses as the target will draw, with the same seed and position, penalties and
//!   mask: then the same token comes out wherever both distributions agree.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_device::{Batch, DeviceError, StepLimits};
use garrison_tokenizer::Tokenizer;

use crate::constraint::MaskThreads;
use crate::executor::{DraftModel, Execute, StepOutput};
use crate::kv::BlockPool;
use crate::pace::Pace;
use crate::sequence::Sequence;

/// Failures after which it is asked no more: what it does to a device that the target shares ends the target's requests
/// as well, and to start one again takes as long as loading did, and all wait.
const MOST_FAILURES: u32 = 3;
/// Times that it guesses without a failure for one to be forgotten: a device that is lost once a day is not lost by it.
const FORGIVEN_AFTER: u32 = 100_000;
/// Steps for which it is left alone after its first failure, and how many times as many after each further one: memory
/// that is short at this moment may not be in a while.
const REST: u32 = 256;
const LONGER_REST: u32 = 8;

/// Makes guesses.
pub(crate) struct Drafter {
    executor: Box<dyn Execute>,
    tokenizer: Arc<Tokenizer>,
    /// It knows token ids below this.
    vocab: usize,
    limits: StepLimits,
    pace: Pace,
    batch: Batch,
    /// For how long its model ran, see [`Drafter::take_ran`].
    ran: Duration,
    failures: u32,
    /// Times that it guessed since the last of them.
    well: u32,
}

/// What is to come in a step before which the draft model reads what it has missed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToCome {
    /// Seconds that the guesses after the first take, and the target.
    pub(crate) seconds: f64,
    /// Prompt tokens that the target could read besides: so fast the draft model is, too, before it is known how fast.
    pub(crate) tokens: usize,
}

/// How long one of its steps took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DraftStep {
    pub(crate) tokens: usize,
    pub(crate) seqs: usize,
    pub(crate) seconds: f64,
    /// For masks, besides.
    pub(crate) waited: f64,
}

impl Drafter {
    pub(crate) fn new(
        model: DraftModel,
        tokenizer: Arc<Tokenizer>,
        limits: StepLimits,
        max_stall: Option<Duration>,
    ) -> Drafter {
        let DraftModel { executor, vocab, .. } = model;
        Drafter {
            executor,
            tokenizer,
            vocab,
            limits,
            pace: Pace::new(max_stall),
            batch: Batch::default(),
            ran: Duration::ZERO,
            failures: 0,
            well: 0,
        }
    }

    /// Whether it failed so often that it is to be asked no more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.failures >= MOST_FAILURES
    }

    /// Steps for which it is to be left alone, having just failed.
    pub(crate) fn rest(&self) -> u32 {
        REST * LONGER_REST.pow(self.failures.saturating_sub(1))
    }

    /// For how long its model ran since this was asked last.
    pub(crate) fn take_ran(&mut self) -> Duration {
        std::mem::take(&mut self.ran)
    }

    /// Makes the guesses that are wanted of the running sequences `seqs`, as far as it gets. What it has missed it reads in
    /// as much of the time that streams can wait as is not taken by what is `to_come`.
    ///
    /// # Errors
    /// If the device fails. What was read until then is lost.
    pub(crate) fn guess(
        &mut self,
        running: &mut [Sequence],
        seqs: Vec<usize>,
        to_come: ToCome,
        pool: &mut BlockPool,
        masks: &mut MaskThreads,
    ) -> Result<Vec<DraftStep>, DeviceError> {
        let outcome = self.try_to_guess(running, seqs, to_come, pool, masks);
        self.well += 1;
        match &outcome {
            Ok(_) if self.well < FORGIVEN_AFTER => {}
            Ok(_) => (self.failures, self.well) = (self.failures.saturating_sub(1), 0),
            Err(_) => (self.failures, self.well) = (self.failures + 1, 0),
        }
        outcome
    }

    fn try_to_guess(
        &mut self,
        running: &mut [Sequence],
        mut seqs: Vec<usize>,
        to_come: ToCome,
        pool: &mut BlockPool,
        masks: &mut MaskThreads,
    ) -> Result<Vec<DraftStep>, DeviceError> {
        let all = seqs.clone();
        let mut steps = Vec::new();
        steps.extend(self.read(running, &mut seqs, to_come, masks)?);
        for &seq in &all {
            running[seq].share_drafted(pool);
        }
        loop {
            seqs.retain(|&seq| running[seq].draft().wanted > 0);
            if seqs.is_empty() {
                break;
            }
            self.batch.clear();
            seqs.iter().for_each(|&seq| running[seq].push_guess(&mut self.batch));
            steps.push(self.step(running, &seqs, masks)?);
        }
        for seq in all {
            running[seq].end_guessing();
        }
        Ok(steps)
    }

    /// Reads what was missed, for as many sequences as a step has room for, and draws the first
    /// guess of those that are read to their end: `seqs` from then on.
    fn read(
        &mut self,
        running: &mut [Sequence],
        seqs: &mut Vec<usize>,
        to_come: ToCome,
        masks: &mut MaskThreads,
    ) -> Result<Option<DraftStep>, DeviceError> {
        self.batch.clear();
        let most = if self.pace.is_known() {
            self.pace.prompt_tokens_after(to_come.seconds, seqs.len())
        } else {
            to_come.tokens
        };
        let mut room = self.limits.tokens.min(most.saturating_add(seqs.len()));
        let mut written = HashSet::new();
        let mut read = Vec::new();
        for &seq in seqs.iter() {
            let tokens = running[seq].push_unread(&mut self.batch, room, self.vocab, &mut written);
            room -= tokens;
            read.push(tokens);
        }
        let mut ends = Vec::new();
        if self.batch.tokens.is_empty() {
            seqs.clear();
            return Ok(None);
        }
        // Nothing of this is so before the step ran, but nobody asks before that.
        for (&seq, tokens) in seqs.iter().zip(read) {
            if running[seq].has_read(tokens) {
                ends.push(seq);
            }
        }
        *seqs = ends;
        let step = self.step(running, seqs, masks)?;
        if step.tokens > 2 * step.seqs {
            self.pace.observe(step.tokens, step.seconds);
        }
        Ok(Some(step))
    }

    /// Runs the batch, whose rows are those of `seqs`, and hands the guesses out.
    fn step(
        &mut self,
        running: &mut [Sequence],
        seqs: &[usize],
        masks: &mut MaskThreads,
    ) -> Result<DraftStep, DeviceError> {
        let begun = Instant::now();
        let output = self.executor.step(&self.batch);
        self.ran += begun.elapsed();
        let output = output?;
        assert_eq!(output.samples.len(), seqs.len(), "one guess for each sequence");
        let StepOutput { samples, seconds, waited } = output;
        let step = DraftStep { tokens: self.batch.tokens.len(), seqs: self.batch.n_seqs(), seconds, waited };
        // The rows hold on to the sequences' token counts.
        self.batch.samples.clear();
        for (&seq, sampled) in seqs.iter().zip(samples) {
            running[seq].take_guess(sampled.token, &self.tokenizer, masks);
        }
        Ok(step)
    }
}
