//! An executor without weights, for tests of everything above it.
//!
//! It keeps a KV cache of its own that stores tokens instead of keys and values, and reads each
//! sequence's past back through its block table. So a wrong slot, a block freed too early or a
//! token not computed again changes the text, as it would with a model; and every batch is checked
//! to be well formed. Logits are a pure function of the past and of the sequence's adapter, and the
//! real sampler draws from them. Each cached token remembers the adapter it was computed with and
//! everything before it, in the host cache too, so that a block that is taken for another one is found out.

mod control;

use garrison_device::{BLOCK_SIZE, Batch, DeviceError, StepLimits};
use garrison_model::Adapter;

use super::check::check;
use super::{CopyError, Execute, HostCache, StepOutput, await_mask};
use crate::EngineConfig;
use crate::sampler::Sampler;
pub use control::ScriptControl;

/// Writes `[vocab]` logits for what follows these tokens.
type Script = Box<dyn Fn(&[u32], &mut [f32]) + Send>;

/// Runs batches by a script.
pub struct ScriptedExecutor {
    script: Script,
    limits: StepLimits,
    n_blocks: usize,
    vocab: usize,
    /// `[n_blocks * BLOCK_SIZE]`
    cache: Vec<Cell>,
    /// `[adapter_slots]` digests of the adapters, slot 1 first.
    adapters: Vec<Option<u64>>,
    sampler: Sampler,
    host: HostCache,
    control: ScriptControl,
}

/// What a slot of the KV cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    token: u32,
    position: u32,
    /// Digest of the adapter it was computed with.
    adapter: Option<u64>,
    /// Digest of all tokens up to this one.
    past: u64,
}

/// A slot that was never written.
const EMPTY: Cell = Cell { token: u32::MAX, position: u32::MAX, adapter: None, past: 0 };

impl Cell {
    /// Bytes of a cell in the host cache.
    const BYTES: usize = 25;

    fn write(&self, bytes: &mut [u8]) {
        let (token, position) = (self.token.to_le_bytes(), self.position.to_le_bytes());
        let (adapter, past) = (self.adapter.unwrap_or(0).to_le_bytes(), self.past.to_le_bytes());
        let has = [u8::from(self.adapter.is_some())];
        bytes.copy_from_slice(&[&token[..], &position, &has, &adapter, &past].concat());
    }

    fn read(bytes: &[u8]) -> Cell {
        let word = |at: usize| bytes[at..at + 4].iter().rev().fold(0, |n, &b| n << 8 | u32::from(b));
        let long = |at: usize| u64::from(word(at + 4)) << 32 | u64::from(word(at));
        let adapter = (bytes[8] == 1).then(|| long(9));
        Cell { token: word(0), position: word(4), adapter, past: long(17) }
    }
}

impl ScriptedExecutor {
    /// Logits that look random and depend on every token so far.
    pub fn hashing(config: &EngineConfig) -> ScriptedExecutor {
        Self::new(config, |tokens, logits| {
            let past = tokens.iter().fold(0x9E37_79B9_7F4A_7C15, |h, &t| mix(h ^ u64::from(t)));
            for (id, logit) in logits.iter_mut().enumerate() {
                let bits = mix(past ^ (id as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93)) >> 40;
                *logit = bits as f32 / (1u32 << 24) as f32 * 8.0 - 4.0;
            }
        })
    }

    /// Logits that leave no doubt about the next token: `next` of all tokens so far.
    pub fn following(
        config: &EngineConfig,
        next: impl Fn(&[u32]) -> u32 + Send + 'static,
    ) -> ScriptedExecutor {
        Self::new(config, move |tokens, logits| {
            logits.fill(-40.0);
            if let Some(logit) = logits.get_mut(next(tokens) as usize) {
                *logit = 40.0;
            }
        })
    }

    /// Logits as `script` writes them: all tokens of a sequence so far, and `[vocab]` zeros to
    /// overwrite.
    pub fn new(
        config: &EngineConfig,
        script: impl Fn(&[u32], &mut [f32]) + Send + 'static,
    ) -> ScriptedExecutor {
        ScriptedExecutor {
            script: Box::new(script),
            limits: config.step_limits(),
            n_blocks: config.n_blocks,
            vocab: config.vocab,
            cache: vec![EMPTY; config.n_blocks * BLOCK_SIZE],
            adapters: vec![None; config.adapter_slots],
            sampler: Sampler::default(),
            host: HostCache::none(),
            control: ScriptControl::default(),
        }
    }

    /// Bytes of a block in the host cache.
    pub const BLOCK_BYTES: usize = BLOCK_SIZE * Cell::BYTES;

    /// Keeps blocks that are evicted in `host`, which was made for [`ScriptedExecutor::BLOCK_BYTES`].
    pub fn with_host_cache(self, host: HostCache) -> ScriptedExecutor {
        ScriptedExecutor { host, ..self }
    }

    /// A way to steer it once the engine has it.
    pub fn control(&self) -> ScriptControl {
        self.control.clone()
    }

    /// The digest of the adapter in a slot that a batch names.
    fn adapter(&self, slot: u32) -> Option<u64> {
        let index = (slot as usize).checked_sub(1)?;
        let digest = self.adapters.get(index).copied().flatten();
        assert!(digest.is_some(), "a batch names adapter slot {slot}, which holds none");
        digest
    }

    /// Where an adapter's digest is kept.
    fn slot_mut(&mut self, slot: u32) -> &mut Option<u64> {
        let n = self.adapters.len();
        assert!(slot > 0 && slot as usize <= n, "adapter slot {slot} is not one of 1 to {n}");
        &mut self.adapters[slot as usize - 1]
    }

    /// Where position `position` of sequence `seq` of the batch stands.
    fn place(batch: &Batch, seq: usize, position: usize) -> usize {
        let table = &batch.blocks[batch.block_start[seq] as usize..batch.block_start[seq + 1] as usize];
        table[position / BLOCK_SIZE] as usize * BLOCK_SIZE + position % BLOCK_SIZE
    }

    /// Writes the tokens of sequence `seq` of the batch to the cache.
    fn store(&mut self, batch: &Batch, seq: usize) {
        let adapter = self.adapter(batch.adapters[seq]);
        for at in batch.q_start[seq] as usize..batch.q_start[seq + 1] as usize {
            let (token, position) = (batch.tokens[at], batch.positions[at]);
            let before = (position as usize).checked_sub(1);
            let before = before.map_or(0, |before| self.cache[Self::place(batch, seq, before)].past);
            let past = mix(before ^ (u64::from(token) + 1));
            self.cache[batch.slots[at] as usize] = Cell { token, position, adapter, past };
        }
    }

    /// The tokens of sequence `seq` of the batch, read back from the cache.
    fn past(&self, batch: &Batch, seq: usize) -> Vec<u32> {
        let adapter = self.adapter(batch.adapters[seq]);
        let mut before = 0;
        let read = |position: usize| {
            let slot = Self::place(batch, seq, position);
            let cell = self.cache[slot];
            assert_eq!(
                cell.position as usize, position,
                "slot {slot} of sequence {seq} holds another position"
            );
            assert_eq!(cell.adapter, adapter, "slot {slot} of sequence {seq} is another adapter's");
            before = mix(before ^ (u64::from(cell.token) + 1));
            assert_eq!(cell.past, before, "slot {slot} of sequence {seq} comes after something else");
            cell.token
        };
        (0..batch.kv_len[seq] as usize).map(read).collect()
    }
}

impl Execute for ScriptedExecutor {
    fn step(&mut self, batch: &Batch) -> Result<StepOutput, DeviceError> {
        check(batch, &self.limits, self.n_blocks, self.vocab);
        self.control.begin(batch)?;
        (0..batch.n_seqs()).for_each(|seq| self.store(batch, seq));
        let seconds = self.control.cost(batch.tokens.len());
        let mut output = StepOutput { seconds, ..StepOutput::default() };
        let mut logits = vec![0.0; self.vocab];
        let mut samples = batch.samples.iter().peekable();
        for seq in 0..batch.n_seqs() {
            let past = self.past(batch, seq);
            while let Some(row) = samples.next_if(|s| s.row < batch.q_start[seq + 1]) {
                logits.fill(0.0);
                (self.script)(&past[..row.position as usize], &mut logits);
                adapt(self.adapter(batch.adapters[seq]), &mut logits);
                output.waited += await_mask(row).as_secs_f64();
                output.samples.push(self.sampler.sample(&mut logits, row));
            }
        }
        Ok(output)
    }

    fn load_adapter(&mut self, slot: u32, adapter: &Adapter) -> Result<(), DeviceError> {
        *self.slot_mut(slot) = None;
        self.control.find_room()?;
        *self.slot_mut(slot) = Some(adapter.digest());
        Ok(())
    }

    fn clear_adapter(&mut self, slot: u32) {
        *self.slot_mut(slot) = None;
    }

    fn host_slots(&self) -> usize {
        self.host.slots()
    }

    fn save_block(&mut self, block: u32, slot: u32) -> Result<f64, CopyError> {
        let mut seconds = 0.0;
        let cells = self.cache.iter().skip(block as usize * BLOCK_SIZE);
        self.host.write(slot, |bytes| {
            cells.zip(bytes.chunks_exact_mut(Cell::BYTES)).for_each(|(cell, to)| cell.write(to));
            seconds = self.control.save()?;
            Ok(())
        })?;
        Ok(seconds)
    }

    fn restore_block(&mut self, slot: u32, block: u32) -> Result<f64, CopyError> {
        let mut seconds = 0.0;
        let cells = &mut self.cache[block as usize * BLOCK_SIZE..][..BLOCK_SIZE];
        // Whoever relies on a copy that failed finds out.
        cells.fill(EMPTY);
        self.host.read(slot, |bytes| {
            seconds = self.control.restore()?;
            cells
                .iter_mut()
                .zip(bytes.chunks_exact(Cell::BYTES))
                .for_each(|(cell, from)| *cell = Cell::read(from));
            Ok(())
        })?;
        Ok(seconds)
    }
}

/// What an adapter does: to each logit something that looks random, -4 to 4.
fn adapt(adapter: Option<u64>, logits: &mut [f32]) {
    let Some(digest) = adapter else { return };
    for (id, logit) in logits.iter_mut().enumerate() {
        let bits = mix(digest ^ (id as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93)) >> 40;
        *logit += bits as f32 / (1u32 << 24) as f32 * 8.0 - 4.0;
    }
}

/// SplitMix64's finalizer (Steele, Lea and Flood 2014, figure 15).
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use garrison_device::SampleRow;
    use garrison_model::Target;
    use garrison_types::Sampling;

    use super::*;

    /// Adapters that differ in one value.
    fn adapter(value: f32) -> Adapter {
        let source = garrison_testkit::tiny_gguf(&garrison_testkit::TinyModel::default());
        let source = garrison_gguf::Source::parse(source).unwrap();
        let spec = garrison_model::ModelSpec::read(&source).unwrap();
        let (n, k) = Target::Q.shape(&spec);
        let part = garrison_model::LowRank { rank: 1, a: vec![value; k], b: vec![1.0; n], scale: 1.0 };
        Adapter::from_parts(&spec, [(0, Target::Q, part)]).unwrap()
    }

    fn executor() -> ScriptedExecutor {
        ScriptedExecutor::hashing(&EngineConfig {
            max_seqs: 1,
            max_batch_tokens: 16,
            n_blocks: 2,
            context: 16,
            max_waiting: 1,
            max_waiting_per_client: 1,
            vocab: 300,
            prefix_cache: true,
            max_stall: None,
            prompt_lookup: false,
            adapter_slots: 2,
        })
    }

    /// The last of `tokens` in block 1, through the adapter in `slot`.
    fn step(executor: &mut ScriptedExecutor, tokens: &[u32], cached: usize, slot: u32) -> u32 {
        let mut batch = Batch::default();
        let row = batch.push_sequence(&tokens[cached..], tokens.len() as u32, &[1], slot);
        batch.samples.push(SampleRow::plain(
            row + (tokens.len() - cached) as u32 - 1,
            Arc::new(Sampling::greedy()),
            tokens.len() as u32,
        ));
        executor.step(&batch).unwrap().samples[0].token
    }

    #[test]
    fn an_adapter_changes_what_is_said() {
        let mut executor = executor();
        executor.load_adapter(1, &adapter(1.0)).unwrap();
        executor.load_adapter(2, &adapter(2.0)).unwrap();
        let said = [0, 1, 2].map(|slot| step(&mut executor, &[5, 6], 0, slot));
        assert!(said[0] != said[1] && said[1] != said[2] && said[0] != said[2], "{said:?}");
        executor.load_adapter(2, &adapter(1.0)).unwrap();
        assert_eq!(
            step(&mut executor, &[5, 6], 0, 2),
            said[1],
            "it is the adapter that counts, not the slot"
        );
    }

    #[test]
    #[should_panic(expected = "is another adapter's")]
    fn what_another_adapter_cached_is_found_out() {
        let mut executor = executor();
        executor.load_adapter(1, &adapter(1.0)).unwrap();
        step(&mut executor, &[5, 6], 0, 0);
        step(&mut executor, &[5, 6, 7], 2, 1);
    }

    #[test]
    #[should_panic(expected = "a batch names adapter slot 1, which holds none")]
    fn an_empty_slot_is_found_out() {
        let mut executor = executor();
        executor.load_adapter(1, &adapter(1.0)).unwrap();
        executor.clear_adapter(1);
        step(&mut executor, &[5, 6], 0, 1);
    }
}
