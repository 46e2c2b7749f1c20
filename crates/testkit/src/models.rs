//! Whole models on a device: recorded steps are the eager ones to the bit, and every family computes nearly what it
//! does on the CPU.

use std::num::NonZeroUsize;
use std::sync::Arc;

use garrison_device::{Batch, Capture, KvDtype, SampleRow, StepBuffers, StepLimits};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_gguf::Source;
use garrison_gguf::quantize::Mix;
use garrison_model::{AdapterBank, KvCache, Model, ModelSummary, Target, Workspace};
use garrison_types::Sampling;

use crate::{Family, Random, TinyModel, adapter, tiny_gguf};

fn source(family: Family, mix: Mix) -> Source {
    Source::parse(tiny_gguf(&TinyModel { family, mix, ..TinyModel::default() })).unwrap()
}

const VOCAB: usize = 512;
const LIMITS: StepLimits = StepLimits { tokens: 32, seqs: 4, rows: 4, blocks: 16 };

/// A model with room for two short sequences.
struct Small<'a, B: Capture> {
    device: &'a B,
    model: Model<B>,
    step: StepBuffers<B>,
    workspace: Workspace<B>,
    kv: KvCache<B>,
}

impl<'a, B: Capture> Small<'a, B> {
    fn new(device: &'a B, source: &Source, dtype: KvDtype) -> Small<'a, B> {
        let model = Model::load(source, device, |_| {}).unwrap();
        let step = StepBuffers::new(device, LIMITS).unwrap();
        let workspace = Workspace::new(device, model.spec(), LIMITS).unwrap();
        let kv = KvCache::new(device, model.spec(), 8, dtype).unwrap();
        Small { device, model, step, workspace, kv }
    }

    fn forward(&mut self, bank: &AdapterBank<B>) {
        let Small { device, model, step, workspace, kv } = self;
        model.forward(device, step, bank, workspace, kv).unwrap();
    }

    /// The logits of all steps, whose sequences go through adapters in these slots.
    fn adapted(&mut self, source: &Source, slots: [u32; 2]) -> Vec<f32> {
        let spec = ModelSummary::read(source).unwrap().spec;
        let mut bank = AdapterBank::new(self.device, &spec, 2, 8).unwrap();
        for (slot, rank) in [(1, 8), (2, 3)] {
            let adapter = adapter(&spec, rank, &Target::ALL, slot.into());
            bank.fill(self.device, slot, &adapter).unwrap();
        }
        let mut all = Vec::new();
        for mut batch in steps() {
            batch.adapters = slots.to_vec();
            self.step.write(self.device, &batch).unwrap();
            self.forward(&bank);
            all.extend(self.logits());
        }
        all
    }

    fn logits(&self) -> Vec<f32> {
        let mut logits = vec![0.0; self.step.shape.rows * VOCAB];
        self.device.read(&self.workspace.logits, 0, &mut logits).unwrap();
        logits
    }

    /// Runs a batch op by op.
    fn eagerly(&mut self, batch: &Batch) -> Vec<f32> {
        self.step.write(self.device, batch).unwrap();
        self.forward(&AdapterBank::none());
        self.logits()
    }

    /// Records a step of the same shape on another batch, and replays it.
    fn recorded(&mut self, other: &Batch, batch: &Batch) -> Vec<f32> {
        self.step.write(self.device, other).unwrap();
        let Small { device, model, step, workspace, kv } = self;
        let forward = || model.forward(device, step, &AdapterBank::none(), workspace, kv);
        let graph = device.capture(forward).unwrap();
        self.step.write(self.device, batch).unwrap();
        self.device.replay(&graph).unwrap();
        self.logits()
    }
}

/// A batch of these `(tokens, kv_len, block table)`, of which the last tokens' logits are wanted.
fn batch(parts: &[(&[u32], u32, &[u32])]) -> Batch {
    let mut batch = Batch::default();
    for (tokens, kv_len, table) in parts {
        let first = batch.push_sequence(tokens, *kv_len, table, 0);
        batch.samples.push(SampleRow::plain(
            first + tokens.len() as u32 - 1,
            Arc::new(Sampling::greedy()),
            *kv_len,
        ));
    }
    batch
}

/// A prompt for each of two sequences, then a token more of each.
fn steps() -> [Batch; 2] {
    let mut random = Random::new(5);
    let tokens: Vec<u32> = (0..30).map(|_| random.below(VOCAB) as u32).collect();
    let (long, short): (&[u32], &[u32]) = (&[5, 2], &[3]);
    [
        batch(&[(&tokens[..20], 20, long), (&tokens[20..28], 8, short)]),
        batch(&[(&tokens[28..29], 21, long), (&tokens[29..], 9, short)]),
    ]
}

/// Checks that recorded steps of a model in this mix give the bits of eager ones.
///
/// # Panics
/// If they do not.
pub fn check_recorded_steps<B: Capture>(device: &B, mix: Mix) {
    let [prompts, decodes] = steps();
    for (family, dtype) in [(Family::Llama32, KvDtype::F16), (Family::Qwen3, KvDtype::Q8_0)] {
        let source = source(family, mix);
        let mut eager = Small::new(device, &source, dtype);
        let mut graph = Small::new(device, &source, dtype);
        assert_eq!(eager.eagerly(&prompts), graph.eagerly(&prompts));
        // Of the same shape, into the null block.
        let padding = batch(&[(&[0], 1, &[0]), (&[0], 1, &[0])]);
        let (eager, graph) = (eager.eagerly(&decodes), graph.recorded(&padding, &decodes));
        assert!(eager.iter().all(|x| x.is_finite()));
        assert_eq!(eager, graph, "{family:?}");
    }
}

/// How a device's products are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// As the CPU's: to 8 bits with quantized weights, else not at all.
    AsTheCpu,
    /// Prompts to halves.
    Halves,
}

impl Rounding {
    /// Of logits, the normalized squared error that it explains.
    fn bound(self, mix: Mix) -> f64 {
        match (self, mix) {
            // What differs is the order of additions. A last bit can move a key of 16 bits, or an activation
            // of 8, by a whole step, and from there on the two round apart: they differ by what that costs.
            (Rounding::AsTheCpu, Mix::F16) => 1e-8,
            (Rounding::AsTheCpu, _) => 2e-3,
            // A part in 2^11 of each activation at most, a few products after another.
            (Rounding::Halves, Mix::F16) => 1e-5,
            // And the CPU's 8 bits, all of them.
            (Rounding::Halves, _) => 3e-3,
        }
    }
}

/// Checks that adapters of every target add nearly what they do on the scalar CPU, beside each other and none.
///
/// # Panics
/// If they do not.
pub fn check_adapters<B: Capture>(device: &B) {
    let scalar = CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa: Isa::Scalar }).unwrap();
    let source = source(Family::Llama32, Mix::F16);
    let plain = Small::new(&scalar, &source, KvDtype::F16).adapted(&source, [0, 0]);
    for slots in [[1, 2], [0, 1], [2, 2]] {
        let expected = Small::new(&scalar, &source, KvDtype::F16).adapted(&source, slots);
        let got = Small::new(device, &source, KvDtype::F16).adapted(&source, slots);
        let (error, moved) = (squared_error(&got, &expected), squared_error(&plain, &expected));
        println!("adapters {slots:?}: normalized squared error {error:e}; they move logits by {moved:e}");
        assert!(error < 1e-6 && moved > 1e-2, "adapters {slots:?}: {error:e} of {moved:e}");
    }
}

/// Sum of squared errors over sum of squares.
fn squared_error(got: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = got.iter().zip(expected).map(|(g, e)| square(g - e)).sum();
    error / expected.iter().map(|&e| square(e)).sum::<f64>()
}

/// Checks that a model of each family, each in another mix, computes nearly what the scalar CPU does.
///
/// # Panics
/// If one does not.
pub fn check_families<B: Capture>(device: &B, rounding: Rounding) {
    check_mixes(device, [Mix::Q4_K_M, Mix::Q8_0, Mix::F16, Mix::Q6_K, Mix::Q5_1], rounding);
}

/// The same with these mixes, one for each family.
///
/// # Panics
/// If one does not.
pub fn check_mixes<B: Capture>(device: &B, mixes: [Mix; Family::ALL.len()], rounding: Rounding) {
    let scalar = CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa: Isa::Scalar }).unwrap();
    for (family, mix) in Family::ALL.into_iter().zip(mixes) {
        let source = source(family, mix);
        let mut candidate = Small::new(device, &source, KvDtype::F16);
        let mut cpu = Small::new(&scalar, &source, KvDtype::F16);
        for batch in steps() {
            let (got, expected) = (candidate.eagerly(&batch), cpu.eagerly(&batch));
            let error = squared_error(&got, &expected);
            println!("{family:?} {mix:?}: normalized squared error {error:e}");
            assert!(got.iter().all(|x| x.is_finite()), "{family:?} {mix:?}");
            let bound = rounding.bound(mix);
            assert!(error < bound, "{family:?} {mix:?}: {error:e}");
        }
    }
}
