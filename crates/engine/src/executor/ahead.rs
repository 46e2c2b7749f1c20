//! A step planned ahead: while the engine looks at what a decode step drew, the device runs the one after it.
//!
//! Key decision: a plan is a guess that is checked. With a decode step whose tokens the device draws, the executor also
//! enqueues the same sequences one token further; their tokens never leave the device. What the engine then asks for is
//! held against that, sequence by sequence: tokens, length, blocks, adapter, and how the next token is drawn. What is the
//! same is running already; the rest, such as a prompt that came meanwhile, is run beside it; what is not asked for,
//! since its sequence has ended, is forgotten. So nobody above knows of plans but that tables have room for a token more,
//! and tokens are those of an engine without them, as a row does not depend on its company.
//!
//! What a plan writes for a sequence that has ended does no harm. It goes to the one slot after the sequence's tokens, in a
//! block that is not full and so in nobody's cache, and whoever gets the block writes later, on the same stream.
//!
//! Where guesses are checked, or masks come of the last token, there is nothing to plan: whoever plans in vain waits, the
//! longer the more often.

use std::time::Instant;

use garrison_device::{
    BLOCK_SIZE, Batch, Capture, DeviceError, DrawBuffers, NO_TOKEN, Part, SampleRow, Sampled, Want,
};

use super::device_draws::{draw_of, drawn_token};

/// Whether an executor begins with a step before it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookahead {
    /// It does not.
    None,
    /// It does where the device records steps and draws tokens.
    OneStep,
}

/// After plans that were in vain it waits for at most so many steps.
const LONGEST_PAUSE: u32 = 64;

/// The step that runs ahead, and what it takes.
pub(super) struct Ahead<B: Capture> {
    /// One for what is drawn now, one for what is drawn next.
    pub(super) draws: [DrawBuffers<B>; 2],
    /// Which of them the running step has.
    pub(super) turn: usize,
    /// What runs, if anything does: its tokens are drawn, and known by now.
    pub(super) plan: Option<Batch>,
    /// When the tokens of the step before were there: the device has been at the plan since.
    pub(super) since: Instant,
    /// Plans in vain, one after the other, and the steps to go until the next is made.
    vain: u32,
    pause: u32,
    /// What was drawn, of the running step's rows.
    drawn: Vec<u32>,
}

/// What of a batch runs already.
pub(super) enum Found {
    Nothing,
    /// All of it; for each sequence its row of the plan.
    All(Vec<usize>),
    Some(Vec<Option<usize>>),
}

impl<B: Capture> Ahead<B> {
    /// For steps of up to `rows` rows of logits.
    pub(super) fn new(device: &B, rows: usize, vocab: usize) -> Result<Self, DeviceError> {
        let draws = || DrawBuffers::new(device, rows, vocab);
        let drawn = Vec::with_capacity(rows);
        let since = Instant::now();
        Ok(Ahead { draws: [draws()?, draws()?], turn: 0, plan: None, since, vain: 0, pause: 0, drawn })
    }

    /// Holds a batch against what runs, and learns whether plans are worth making.
    pub(super) fn find(&mut self, batch: &Batch) -> Found {
        let Some(plan) = &self.plan else { return Found::Nothing };
        let found = rows_of(plan, batch);
        if found.iter().all(Option::is_none) {
            self.vain = (self.vain + 1).min(LONGEST_PAUSE.ilog2());
            self.pause = 1 << self.vain;
            return Found::Nothing;
        }
        self.vain = 0;
        found.iter().copied().collect::<Option<Vec<usize>>>().map_or(Found::Some(found), Found::All)
    }

    /// Whether it is time for a plan after `batch`, and what that is.
    pub(super) fn successor(&mut self, batch: &Batch) -> Option<Batch> {
        self.pause = self.pause.saturating_sub(1);
        if self.pause > 0 {
            return None;
        }
        successor(batch)
    }

    /// Has rows drawn from the logits of the step that was enqueued last, with the draws number `turn`, and sent. False
    /// if these have no room for them.
    pub(super) fn draw(
        &mut self,
        device: &B,
        logits: &mut B::Buffer,
        rows: &[SampleRow],
        turn: usize,
    ) -> Result<bool, DeviceError> {
        let draws = &mut self.draws[turn];
        draws.clear();
        if !rows.iter().enumerate().all(|(i, row)| draws.push(&draw_of(i, row))) {
            return Ok(false);
        }
        draws.write(device)?;
        device.draw(logits, draws);
        device.send_drawn(draws)?;
        Ok(true)
    }

    /// Waits for what the running step drew.
    pub(super) fn receive(&mut self, device: &B) -> Result<(), DeviceError> {
        let draws = &self.draws[self.turn];
        self.drawn.clear();
        self.drawn.resize(draws.count, 0);
        device.receive_drawn(draws, &mut self.drawn)?;
        self.since = Instant::now();
        Ok(())
    }

    /// The token of a row of the running step.
    pub(super) fn token(&self, sample: &SampleRow, row: usize) -> Sampled {
        drawn_token(sample, self.drawn[row], self.draws[self.turn].vocab)
    }

    /// From now on `plan` is what runs, of whose sequences the running step has drawn the tokens in `rows`. If any of these
    /// is none, the plan is nothing.
    pub(super) fn go_on(&mut self, mut plan: Batch, rows: &[usize]) {
        for (token, &row) in plan.tokens.iter_mut().zip(rows) {
            *token = self.drawn[row];
        }
        let spoiled = plan.tokens.contains(&NO_TOKEN);
        self.plan = (!spoiled).then_some(plan);
        self.turn = 1 - self.turn;
    }
}

/// For each sequence of `batch` its row of `plan`, if the plan has the same; both have them in one order.
fn rows_of(plan: &Batch, batch: &Batch) -> Vec<Option<usize>> {
    let mut next = 0;
    let mut find = |s: usize| {
        let wanted = batch.part(s);
        let found = (next..plan.n_seqs()).find(|&at| same(&plan.part(at), &wanted))?;
        next = found + 1;
        Some(found)
    };
    (0..batch.n_seqs()).map(&mut find).collect()
}

/// Whether a plan's sequence is the one that is wanted, which may have more blocks by now.
fn same(plan: &Part<'_>, wanted: &Part<'_>) -> bool {
    plan.kv_len == wanted.kv_len
        && plan.tokens == wanted.tokens
        && plan.adapter == wanted.adapter
        && wanted.table.starts_with(plan.table)
        && matches!((plan.samples, wanted.samples), ([a], [b]) if same_draw(a, b))
}

fn same_draw(a: &SampleRow, b: &SampleRow) -> bool {
    let SampleRow { row: _, want, sampling, position, seen, banned, mask, logprobs } = a;
    (want, position, logprobs) == (&b.want, &b.position, &b.logprobs)
        && mask == &b.mask
        && sampling == &b.sampling
        && seen == &b.seen
        && banned == &b.banned
}

/// The step after a decode step, if every token of that is drawn on the device, how the next is drawn does not depend on it,
/// and there are blocks for it. Its tokens are not known.
fn successor(batch: &Batch) -> Option<Batch> {
    let mut next = Batch::default();
    for s in 0..batch.n_seqs() {
        let Part { tokens: [_], kv_len, table, adapter, samples: [sample] } = batch.part(s) else {
            return None;
        };
        if !is_plain(sample) || table.len() * BLOCK_SIZE <= kv_len as usize {
            return None;
        }
        let row = next.push_sequence(&[0], kv_len + 1, table, adapter);
        next.samples.push(SampleRow { row, position: sample.position + 1, ..sample.clone() });
    }
    (next.n_seqs() > 0).then_some(next)
}

/// Whether the token after the one that is drawn here is drawn in the same way, whatever that is.
fn is_plain(row: &SampleRow) -> bool {
    let sampling = &row.sampling;
    let penalties = [sampling.frequency_penalty, sampling.presence_penalty, sampling.repetition_penalty];
    row.want == Want::Sample
        && row.logprobs.is_none()
        && row.mask.is_none()
        && row.seen.counts.is_empty()
        && row.banned.is_empty()
        && penalties == [0.0, 0.0, 1.0]
}

/// The sequences of a batch that are not found, as a batch of their own.
pub(super) fn rest(batch: &Batch, found: &[Option<usize>]) -> Batch {
    let mut rest = Batch::default();
    for (s, _) in found.iter().enumerate().filter(|(_, row)| row.is_none()) {
        let Part { tokens, kv_len, table, adapter, samples } = batch.part(s);
        let first = rest.push_sequence(tokens, kv_len, table, adapter);
        let moved =
            samples.iter().map(|row| SampleRow { row: row.row - batch.q_start[s] + first, ..row.clone() });
        rest.samples.extend(moved);
    }
    rest
}
