//! Runs a model over sequences laid out by hand, as a scheduler would.

use std::sync::Arc;

use garrison_device::{BLOCK_SIZE, Batch, KvDtype, Ops, SampleRow, StepBuffers, StepLimits};
use garrison_gguf::Source;
use garrison_model::{Adapter, AdapterBank, KvCache, Model, Workspace};

pub const LIMITS: StepLimits = StepLimits { tokens: 96, seqs: 8, rows: 96, blocks: 64 };
const BLOCKS: usize = 40;

pub struct Runner<B: Ops> {
    pub model: Model<B>,
    device: B,
    step: StepBuffers<B>,
    ws: Workspace<B>,
    kv: KvCache<B>,
    pub bank: AdapterBank<B>,
}

/// A sequence's share of a step.
pub struct Part<'a> {
    /// The last of its `kv_len` tokens.
    pub tokens: &'a [u32],
    pub kv_len: usize,
    /// Which blocks it owns; see [`table`].
    pub table: &'a [u32],
    pub wanted: Wanted,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Wanted {
    All,
    Last,
    None,
}

/// Blocks for sequence `i`, scattered and not in order: every fourth, backwards.
pub fn table(i: u32, tokens: usize) -> Vec<u32> {
    (0..tokens.div_ceil(BLOCK_SIZE) as u32).map(|j| BLOCKS as u32 - 1 - i - 4 * j).collect()
}

impl<B: Ops> Runner<B> {
    pub fn new(device: B, source: &Source, dtype: KvDtype) -> Runner<B> {
        let model = Model::load(source, &device, |_| {}).unwrap();
        let step = StepBuffers::new(&device, LIMITS).unwrap();
        let ws = Workspace::new(&device, model.spec(), LIMITS).unwrap();
        let kv = KvCache::new(&device, model.spec(), BLOCKS, dtype).unwrap();
        Runner { model, device, step, ws, kv, bank: AdapterBank::none() }
    }

    /// Copies blocks of another runner's cache into this one's.
    pub fn take_blocks(&mut self, from: &Runner<B>, theirs: &[u32], ours: &[u32]) {
        let mut bytes = vec![0; from.kv.block_bytes(&from.device)];
        for (&their, &our) in theirs.iter().zip(ours) {
            from.kv.read_block(&from.device, their, &mut bytes).unwrap();
            self.kv.write_block(&self.device, our, &bytes).unwrap();
        }
    }

    /// The same with these adapters in slots 1 and on.
    pub fn with_adapters(mut self, adapters: &[&Adapter]) -> Runner<B> {
        let spec = self.model.spec();
        self.bank = AdapterBank::new(&self.device, spec, adapters.len(), Adapter::MAX_RANK).unwrap();
        for (slot, adapter) in (1..).zip(adapters) {
            self.bank.fill(&self.device, slot, adapter).unwrap();
        }
        self
    }

    /// One step; returns the wanted rows' logits in order.
    pub fn step(&mut self, parts: &[Part]) -> Vec<Vec<f32>> {
        self.step_adapted(parts, &vec![0; parts.len()])
    }

    /// One step in which each part goes through the adapter in its slot.
    pub fn step_adapted(&mut self, parts: &[Part], slots: &[u32]) -> Vec<Vec<f32>> {
        let mut batch = Batch::default();
        for (part, &slot) in parts.iter().zip(slots) {
            let first = batch.push_sequence(part.tokens, part.kv_len as u32, part.table, slot);
            let end = first + part.tokens.len() as u32;
            let rows = match part.wanted {
                Wanted::All => first..end,
                Wanted::Last => end - 1..end,
                Wanted::None => end..end,
            };
            batch.samples.extend(rows.map(sample_row));
        }
        self.step.write(&self.device, &batch).unwrap();
        self.model.forward(&self.device, &self.step, &self.bank, &mut self.ws, &mut self.kv).unwrap();
        let vocab = self.model.spec().vocab;
        let mut logits = vec![0f32; batch.samples.len() * vocab];
        if !logits.is_empty() {
            self.device.read(&self.ws.logits, 0, &mut logits).unwrap();
        }
        logits.chunks(vocab).map(<[f32]>::to_vec).collect()
    }

    /// Logits after every token of one sequence, run in chunks of these sizes.
    pub fn chunked(&mut self, tokens: &[u32], table: &[u32], chunks: &[usize]) -> Vec<Vec<f32>> {
        self.chunked_adapted(tokens, table, chunks, 0)
    }

    /// [`Runner::chunked`] through the adapter in a slot.
    pub fn chunked_adapted(
        &mut self,
        tokens: &[u32],
        table: &[u32],
        chunks: &[usize],
        slot: u32,
    ) -> Vec<Vec<f32>> {
        assert_eq!(chunks.iter().sum::<usize>(), tokens.len());
        let (mut at, mut logits) = (0, Vec::new());
        for n in chunks {
            let part = Part { tokens: &tokens[at..at + n], kv_len: at + n, table, wanted: Wanted::All };
            logits.extend(self.step_adapted(&[part], &[slot]));
            at += n;
        }
        logits
    }
}

fn sample_row(row: u32) -> SampleRow {
    SampleRow::plain(row, Arc::default(), 0)
}
