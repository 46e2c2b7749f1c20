//! Runs a model without a scheduler: the same steps that the engine would take, one after the other.

use std::time::Instant;

use garrison_device::{BLOCK_SIZE, Batch, DeviceError, KvDtype, Ops, SampleRow, StepBuffers, StepLimits};
use garrison_model::{AdapterBank, KvCache, Model, Workspace};
use garrison_types::Sampling;

use super::{Kind, Limits, Row, Work};

/// Which rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Sequences at once; each of these.
    pub batches: Vec<usize>,
    /// Prompt lengths for prefill; each of these.
    pub prompts: Vec<usize>,
    /// Tokens generated for decode.
    pub generated: usize,
    /// Tokens that are there before; each of these.
    pub depths: Vec<usize>,
    /// How often each row is measured.
    pub repetitions: usize,
    /// Tokens of a step, at most: longer prompts are taken in chunks.
    pub step_tokens: usize,
}

impl Plan {
    /// Tokens that a sequence can have.
    fn context(&self) -> usize {
        let longest = self.prompts.iter().copied().max().unwrap_or(0).max(self.generated);
        self.depths.iter().copied().max().unwrap_or(0) + longest
    }

    /// Blocks of a sequence.
    fn blocks(&self) -> usize {
        self.context().div_ceil(BLOCK_SIZE)
    }
}

/// A model with everything that steps need.
pub struct EngineRun<'a, D: Ops> {
    device: &'a D,
    model: &'a Model<D>,
    plan: Plan,
    step: StepBuffers<D>,
    workspace: Workspace<D>,
    kv: KvCache<D>,
    logits: Vec<f32>,
    vocab: usize,
}

impl<'a, D: Ops> EngineRun<'a, D> {
    /// Makes room for all rows of `plan`.
    ///
    /// # Errors
    /// If memory is short.
    pub fn new(
        device: &'a D,
        model: &'a Model<D>,
        plan: Plan,
        kv_dtype: KvDtype,
    ) -> Result<EngineRun<'a, D>, DeviceError> {
        let seqs = plan.batches.iter().copied().max().unwrap_or(1);
        let blocks = plan.blocks() * seqs;
        let limits = StepLimits { tokens: plan.step_tokens.max(seqs), seqs, rows: seqs, blocks };
        Ok(EngineRun {
            step: StepBuffers::new(device, limits)?,
            workspace: Workspace::new(device, model.spec(), limits)?,
            kv: KvCache::new(device, model.spec(), blocks + 1, kv_dtype)?,
            logits: vec![0.0; seqs * model.spec().vocab],
            vocab: model.spec().vocab,
            device,
            model,
            plan,
        })
    }

    /// Measures every row, giving each to `take` when it is done.
    ///
    /// # Errors
    /// If the device fails.
    pub fn rows(
        &mut self,
        work: &Work,
        limits: &Limits,
        mut take: impl FnMut(Row),
    ) -> Result<(), DeviceError> {
        let plan = self.plan.clone();
        let few = 32.min(plan.step_tokens).min(plan.context());
        self.forward(&[(0, few, 0)])?; // warm up, within the room that there is
        for &depth in &plan.depths {
            for &batch in &plan.batches {
                self.fill(batch, depth)?;
                for &prompt in &plan.prompts {
                    take(self.row(Kind::Prefill, (batch, prompt, depth), work, limits)?);
                }
                if plan.generated > 0 {
                    take(self.row(Kind::Decode, (batch, plan.generated, depth), work, limits)?);
                }
            }
        }
        Ok(())
    }

    /// Brings `batch` sequences to `depth`.
    fn fill(&mut self, batch: usize, depth: usize) -> Result<(), DeviceError> {
        for steps in self.prefill(batch, depth, 0) {
            self.forward(&steps)?;
        }
        Ok(())
    }

    fn row(
        &mut self,
        kind: Kind,
        (batch, tokens, depth): (usize, usize, usize),
        work: &Work,
        limits: &Limits,
    ) -> Result<Row, DeviceError> {
        let steps: Vec<Vec<Part>> = match kind {
            Kind::Prefill => self.prefill(batch, tokens, depth),
            Kind::Decode => (0..tokens).map(|i| (0..batch).map(|s| (s, 1, depth + i)).collect()).collect(),
        };
        let shapes = steps.iter().map(|parts| (parts.iter().map(|p| (p.1, p.2)).collect(), parts.len()));
        let need = work.steps(shapes);
        let mut tokens_per_second = Vec::new();
        for _ in 0..self.plan.repetitions {
            let started = Instant::now();
            for parts in &steps {
                self.forward(parts)?;
            }
            tokens_per_second.push((batch * tokens) as f64 / started.elapsed().as_secs_f64());
        }
        Ok(Row::new((kind, batch, tokens, depth), tokens_per_second, need, limits))
    }

    /// Steps that read `tokens` of each sequence after `depth`: one sequence after the other, in chunks.
    fn prefill(&self, batch: usize, tokens: usize, depth: usize) -> Vec<Vec<Part>> {
        let chunk = self.plan.step_tokens;
        let of = |sequence: usize| {
            (0..tokens).step_by(chunk).map(move |at| vec![(sequence, chunk.min(tokens - at), depth + at)])
        };
        (0..batch).flat_map(of).collect()
    }

    /// One step. Which tokens these are is of no account; that the logits come back is, as a sampler needs them.
    fn forward(&mut self, parts: &[Part]) -> Result<(), DeviceError> {
        let blocks = self.plan.blocks();
        let mut batch = Batch::default();
        for &(sequence, new, cached) in parts {
            let token = |i: usize| ((cached + i).wrapping_mul(7919) + sequence * 31) % self.vocab;
            let tokens: Vec<u32> = (0..new).map(|i| token(i) as u32).collect();
            // Block 0 is nobody's.
            let first = sequence * blocks + 1;
            let table: Vec<u32> =
                (first..first + (cached + new).div_ceil(BLOCK_SIZE)).map(|b| b as u32).collect();
            let row = batch.push_sequence(&tokens, (cached + new) as u32, &table, 0);
            batch.samples.push(SampleRow::plain(
                row + new as u32 - 1,
                Sampling::greedy().into(),
                (cached + new) as u32,
            ));
        }
        self.step.write(self.device, &batch)?;
        let bank = AdapterBank::none();
        self.model.forward(self.device, &self.step, &bank, &mut self.workspace, &mut self.kv)?;
        let rows = parts.len() * self.vocab;
        self.device.read(&self.workspace.logits, 0, &mut self.logits[..rows])
    }
}

/// A sequence's share of a step: which, new tokens, and those that are there.
type Part = (usize, usize, usize);
