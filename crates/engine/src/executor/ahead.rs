//! A step planned ahead: while the engine looks at what a decode step drew, the device runs the one after it.
//!
//! Key decision: a plan is a guess that is checked, and it is a forward pass without draws. With a decode step whose tokens
//! the device draws, the executor also enqueues the same sequences one token further; their tokens never leave the device.
//! What the engine then asks for is held against that, sequence by sequence: tokens, length, blocks, adapter. What is the
//! same is running already; the rest, such as a prompt that came meanwhile, is run beside it; what is not asked for,
//! since its sequence has ended, is forgotten. So nobody above knows of plans but that tables have room for a token more,
//! and tokens are those of an engine without them, as a row does not depend on its company.
//!
//! How the plan's tokens are drawn is told once they are asked for: by then penalties know the token before, and a grammar's
//! mask has been made while the device was at the forward pass.
//!
//! What a plan writes for a sequence that has ended does no harm. It goes to the one slot after the sequence's tokens, in a
//! block that is not full and so in nobody's cache, and whoever gets the block writes later, on the same stream.
//!
//! Where guesses are checked, or the host draws, there is nothing to plan: whoever plans in vain waits, the longer the more
//! often.

use std::time::{Duration, Instant};

use garrison_device::{
    BLOCK_SIZE, Batch, Capture, DeviceError, DrawBuffers, NO_TOKEN, Part, SampleRow, Sampled,
};

use super::await_mask;
use super::device_draws::{can_draw, draw_of, drawn_token};
use super::graph::any_row;

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
    pub(super) draws: DrawBuffers<B>,
    /// What runs, if anything does: its tokens are drawn, and known by now.
    pub(super) plan: Option<Batch>,
    /// When the tokens of the step before were there: the device has been at the plan since.
    pub(super) since: Instant,
    /// What the last step took whose masks came in time.
    usual: Duration,
    /// Plans in vain, one after the other, and the steps to go until the next is made.
    vain: u32,
    pause: u32,
    /// What was drawn last, for each of its batch's rows.
    drawn: Vec<u32>,
}

/// Whether the device draws.
pub(super) enum Draws {
    /// It was told to, after so long a wait for masks.
    Enqueued { waited: Duration },
    /// It cannot draw some of them, and was told nothing.
    Refused,
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
        Ok(Ahead {
            draws: DrawBuffers::new(device, rows, vocab)?,
            plan: None,
            since: Instant::now(),
            usual: Duration::ZERO,
            vain: 0,
            pause: 0,
            drawn: Vec::with_capacity(rows),
        })
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

    /// Has rows drawn, each from its own of the logits of the step that was enqueued last, and sent.
    pub(super) fn draw<'a>(
        &mut self,
        device: &B,
        logits: &mut B::Buffer,
        rows: impl Iterator<Item = (usize, &'a SampleRow)> + Clone,
    ) -> Result<Draws, DeviceError> {
        if !rows.clone().all(|(_, row)| can_draw(row)) {
            return Ok(Draws::Refused);
        }
        let waited = rows.clone().map(|(_, row)| await_mask(row)).sum();
        let draws = &mut self.draws;
        draws.clear();
        if !rows.clone().all(|(i, row)| draws.push(&draw_of(i, row))) {
            return Ok(Draws::Refused);
        }
        // While the forward pass runs nobody waits for a mask: what it usually takes is no wait.
        let beyond = self.since.elapsed().saturating_sub(self.usual);
        draws.write(device)?;
        device.draw(logits, draws);
        device.send_drawn(draws)?;
        Ok(Draws::Enqueued { waited: beyond.min(waited) })
    }

    /// Waits for what was drawn last; how long the step took without `waited`.
    pub(super) fn receive(&mut self, device: &B, waited: Duration) -> Result<Duration, DeviceError> {
        self.drawn.clear();
        self.drawn.resize(self.draws.count, 0);
        device.receive_drawn(&self.draws, &mut self.drawn)?;
        let took = self.since.elapsed().saturating_sub(waited);
        if waited.is_zero() {
            self.usual = took;
        }
        self.since = Instant::now();
        Ok(took)
    }

    /// The token that was drawn for a row, the `at`th.
    pub(super) fn token(&self, sample: &SampleRow, at: usize) -> Sampled {
        drawn_token(sample, self.drawn[at], self.draws.vocab)
    }

    /// From now on `plan` is what runs, on the tokens that were drawn last.
    pub(super) fn go_on(&mut self, mut plan: Batch) {
        for (token, &drawn) in plan.tokens.iter_mut().zip(&self.drawn) {
            // What the device hands on where it could draw nothing.
            *token = if drawn == NO_TOKEN { 0 } else { drawn };
        }
        self.plan = Some(plan);
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
        && matches!((plan.samples, wanted.samples), ([_], [_]))
}

/// The step after a decode step, if every token of that is drawn on the device, and there are blocks for it. Its tokens
/// are not known, nor how its own are drawn.
fn successor(batch: &Batch) -> Option<Batch> {
    let mut next = Batch::default();
    for s in 0..batch.n_seqs() {
        let Part { tokens: [_], kv_len, table, adapter, samples: [sample] } = batch.part(s) else {
            return None;
        };
        if !can_draw(sample) || table.len() * BLOCK_SIZE <= kv_len as usize {
            return None;
        }
        let row = next.push_sequence(&[0], kv_len + 1, table, adapter);
        next.samples.push(any_row(row));
    }
    (next.n_seqs() > 0).then_some(next)
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
