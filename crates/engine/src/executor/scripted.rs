//! An executor without weights, for tests of everything above it.
//!
//! It keeps a KV cache of its own that stores tokens instead of keys and values, and reads each
//! sequence's past back through its block table. So a wrong slot, a block freed too early or a
//! token not computed again changes the text, as it would with a model; and every batch is checked
//! to be well formed. Logits are a pure function of the past and of the sequence's adapter, and the
//! real sampler draws from them. Each cached token remembers the adapter it was computed with, so
//! that a block shared between two adapters is found out.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garrison_device::{BLOCK_SIZE, Batch, DeviceError, StepLimits};
use garrison_model::Adapter;

use super::check::check;
use super::{Execute, StepOutput, await_mask};
use crate::EngineConfig;
use crate::sampler::Sampler;

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
    control: ScriptControl,
}

/// Steers a [`ScriptedExecutor`] from outside of the engine's thread.
#[derive(Clone, Debug, Default)]
pub struct ScriptControl {
    inner: Arc<(Mutex<Control>, Condvar)>,
}

#[derive(Debug, Default)]
struct Control {
    /// Steps begun.
    begun: u64,
    /// Steps that will fail, the next one first.
    failures: usize,
    /// Adapters that will find no room, the next one first.
    adapter_failures: usize,
    /// Whether the next step panics.
    panics: bool,
    /// What steps say of their time, see [`ScriptControl::set_cost`].
    cost: (f64, f64),
    /// Time a step takes.
    delay: Duration,
    held: bool,
    /// Tokens of each sequence of each step, in order.
    log: Vec<Vec<usize>>,
}

/// Steps remembered in the log.
const LOG: usize = 10_000;

/// What a slot of the KV cache holds.
#[derive(Clone, Copy)]
struct Cell {
    token: u32,
    position: u32,
    /// Digest of the adapter it was computed with.
    adapter: Option<u64>,
}

/// A slot that was never written.
const EMPTY: Cell = Cell { token: u32::MAX, position: u32::MAX, adapter: None };

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
            control: ScriptControl::default(),
        }
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

    /// The tokens of sequence `seq` of the batch, read back from the cache.
    fn past(&self, batch: &Batch, seq: usize) -> Vec<u32> {
        let adapter = self.adapter(batch.adapters[seq]);
        let table = &batch.blocks[batch.block_start[seq] as usize..batch.block_start[seq + 1] as usize];
        let read = |position: usize| {
            let slot = table[position / BLOCK_SIZE] as usize * BLOCK_SIZE + position % BLOCK_SIZE;
            let cell = self.cache[slot];
            assert_eq!(
                cell.position as usize, position,
                "slot {slot} of sequence {seq} holds another position"
            );
            assert_eq!(cell.adapter, adapter, "slot {slot} of sequence {seq} is another adapter's");
            cell.token
        };
        (0..batch.kv_len[seq] as usize).map(read).collect()
    }
}

impl Execute for ScriptedExecutor {
    fn step(&mut self, batch: &Batch) -> Result<StepOutput, DeviceError> {
        check(batch, &self.limits, self.n_blocks, self.vocab);
        self.control.begin(batch)?;
        let adapters = batch.token_adapters();
        let tokens = batch.slots.iter().zip(&batch.tokens).zip(&batch.positions).zip(&adapters);
        for (((&slot, &token), &position), &adapter) in tokens {
            let adapter = self.adapter(adapter);
            self.cache[slot as usize] = Cell { token, position, adapter };
        }
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
}

/// What an adapter does: to each logit something that looks random, -4 to 4.
fn adapt(adapter: Option<u64>, logits: &mut [f32]) {
    let Some(digest) = adapter else { return };
    for (id, logit) in logits.iter_mut().enumerate() {
        let bits = mix(digest ^ (id as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93)) >> 40;
        *logit += bits as f32 / (1u32 << 24) as f32 * 8.0 - 4.0;
    }
}

impl ScriptControl {
    /// The next `n` steps fail.
    pub fn fail_next(&self, n: usize) {
        self.lock().failures = n;
    }

    /// The next `n` adapters find no room.
    pub fn fail_adapters(&self, n: usize) {
        self.lock().adapter_failures = n;
    }

    /// The next step panics.
    pub fn panic_next(&self) {
        self.lock().panics = true;
    }

    /// Each step says that it took `fixed` seconds and `per_token` for each of its tokens; none
    /// unless told.
    pub fn set_cost(&self, fixed: f64, per_token: f64) {
        self.lock().cost = (fixed, per_token);
    }

    fn cost(&self, tokens: usize) -> f64 {
        let (fixed, per_token) = self.lock().cost;
        fixed + per_token * tokens as f64
    }

    /// Each step takes at least this long from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// The next step waits for [`ScriptControl::release`], and those after it do.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Steps go on.
    pub fn release(&self) {
        self.lock().held = false;
        self.inner.1.notify_all();
    }

    /// Steps begun so far.
    pub fn steps(&self) -> u64 {
        self.lock().begun
    }

    /// Waits until this many steps have begun; false if that takes longer than `timeout`.
    pub fn wait_for_steps(&self, steps: u64, timeout: Duration) -> bool {
        let wait = self.inner.1.wait_timeout_while(self.lock(), timeout, |c| c.begun < steps);
        wait.map(|(_, timeout)| !timeout.timed_out()).unwrap_or(false)
    }

    /// Tokens of each sequence of each step so far, for the first 10,000 steps.
    pub fn log(&self) -> Vec<Vec<usize>> {
        self.lock().log.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        // A panic inside a step was asked for; the state is still sound.
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for an adapter, unless there is to be none.
    fn find_room(&self) -> Result<(), DeviceError> {
        let mut control = self.lock();
        if control.adapter_failures == 0 {
            return Ok(());
        }
        control.adapter_failures -= 1;
        Err(DeviceError::OutOfMemory { device: "scripted".into(), what: "an adapter".into(), bytes: 1 })
    }

    /// Notes the step, and does to it what was asked for.
    fn begin(&self, batch: &Batch) -> Result<(), DeviceError> {
        let mut control = self.lock();
        control.begun += 1;
        if control.log.len() < LOG {
            control.log.push(batch.q_start.windows(2).map(|w| (w[1] - w[0]) as usize).collect());
        }
        self.inner.1.notify_all();
        let wait = self.inner.1.wait_while(control, |c| c.held);
        let mut control = wait.unwrap_or_else(PoisonError::into_inner);
        let delay = control.delay;
        assert!(!std::mem::take(&mut control.panics), "the script says: panic");
        if control.failures > 0 {
            control.failures -= 1;
            return Err(DeviceError::Failed {
                device: "scripted".into(),
                reason: "the script says so".into(),
            });
        }
        drop(control);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        Ok(())
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
    use garrison_device::{SampleRow, Want};
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
        batch.samples.push(SampleRow {
            row: row + (tokens.len() - cached) as u32 - 1,
            want: Want::Sample,
            sampling: Arc::new(Sampling::greedy()),
            position: tokens.len() as u32,
            seen: Arc::default(),
            banned: Arc::default(),
            mask: None,
            logprobs: None,
        });
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
