//! What a GPU can do, and how much of that is done.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use garrison_bench::engine::Work;
use garrison_device::{BLOCK_SIZE, Batch, Device, KvDtype, KvShape, SampleRow};
use garrison_device_cuda::{CudaDevice, Driver, Effort, Limits, NoDense, Profiled};
use garrison_engine::{EngineConfig, Execute, LocalExecutor, Lookahead};
use garrison_gguf::Source;
use garrison_gguf::quantize::Mix;
use garrison_gguf::synth::{Shape, synth};
use garrison_model::{Model, ModelSummary, Target};
use garrison_testkit::{TinyModel, adapter, tiny_gguf};
use garrison_types::Sampling;
use serde_json::{Value, json};

use crate::journal::Journal;
use crate::{Fallible, Gpu, Hurried, Options, Outcome, Size};

fn effort(size: Size) -> Effort {
    match size {
        Size::Full => Effort::FULL,
        Size::Small => Effort { bytes: 1 << 16, rounds: 1, repetitions: 1 },
    }
}

/// Measured bandwidth and products.
pub(crate) fn limits<D: Driver>(
    device: &Gpu<D>,
    options: &Options,
    journal: &mut Journal,
) -> Fallible<Outcome> {
    let Limits { copy_bytes_per_second, read_bytes_per_second, int8_ops_per_second } =
        device.limits(effort(options.size))?;
    journal.write(&json!({
        "row": "limits",
        "copy_gb_per_second": copy_bytes_per_second / 1e9,
        "read_gb_per_second": read_bytes_per_second / 1e9,
        "int8_tops": int8_ops_per_second / 1e12,
    }))?;
    Ok(Outcome::Well)
}

/// What is run.
struct Plan {
    prompt: usize,
    depth: usize,
    steps: usize,
    batches: &'static [usize],
    /// Of each launch, when kernels are timed.
    repetitions: usize,
    adapters: usize,
    rank: usize,
    cache: KvDtype,
}

const FULL: Plan = Plan {
    prompt: 2048,
    depth: 512,
    steps: 64,
    batches: &[1, 2, 4, 8, 16, 32, 64],
    repetitions: 20,
    adapters: 16,
    rank: 16,
    cache: KvDtype::F16,
};
const SMALL: Plan = Plan {
    prompt: 16,
    depth: 4,
    steps: 1,
    batches: &[1, 3],
    repetitions: 1,
    adapters: 2,
    rank: 2,
    cache: KvDtype::F16,
};

/// What a stage needs of the plan: what nobody needs is neither allocated nor recorded.
impl Plan {
    fn of(size: Size) -> Plan {
        if size == Size::Full { FULL } else { SMALL }
    }

    /// Decode steps of all batches.
    fn decodes(size: Size) -> Plan {
        Plan { prompt: 1, adapters: 0, ..Plan::of(size) }
    }

    /// A prompt.
    fn prompt(size: Size) -> Plan {
        Plan { batches: &[1], adapters: 0, ..Plan::of(size) }
    }

    /// Decode steps of long contexts.
    fn deep(size: Size, cache: KvDtype) -> Plan {
        let (depth, batches): (usize, &[usize]) =
            if size == Size::Full { (8192, &[16]) } else { (300, &[2]) };
        Plan {
            prompt: 1,
            depth,
            steps: Plan::of(size).steps.min(16),
            batches,
            adapters: 0,
            cache,
            ..Plan::of(size)
        }
    }

    /// Decode steps with guesses and adapters.
    fn extras(size: Size) -> Plan {
        Plan { prompt: 1, batches: if size == Size::Full { &[16] } else { &[2] }, ..Plan::of(size) }
    }
}

/// A model that steps.
struct Rig<D: Driver> {
    device: Gpu<D>,
    executor: LocalExecutor<CudaDevice<Profiled<D>>>,
    source: Source,
    work: Work,
    limits: Limits,
    plan: Plan,
    vocab: usize,
    name: String,
    mode: Mode,
}

/// What `[engine] batch_invariant` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Invariant,
    Hurried,
}

/// The share of the fast mode's decode speed that the invariant one is to have.
const INVARIANT_GOAL: f64 = 0.85;

/// The table of decode steps by batch, and where their time goes; then what invariance costs.
pub(crate) fn decode<D: Driver>(
    device: Gpu<D>,
    hurried: Hurried<'_, D>,
    options: &Options,
    journal: &mut Journal,
) -> Fallible<Outcome> {
    let plan = || Plan::decodes(options.size);
    let mut rig = Rig::new(device, Mode::Invariant, plan(), options, journal)?;
    // The most important rows first: there may not be time for all.
    let one = rig.decode(1, journal)?;
    rig.kernels(1, journal)?;
    let mut last = (1, one);
    for &batch in rig.plan.batches.iter().skip(1) {
        let seconds = rig.decode(batch, journal)?;
        last = (batch, seconds);
        let goal = match batch {
            16 => Some(10.0),
            64 => Some(25.0),
            _ => None,
        };
        let ratio = batch as f64 * one / seconds;
        journal.write(&json!({"row": "batch ratio", "model": rig.name, "batch": batch, "value": ratio,
            "goal": goal, "met": goal.map(|goal| ratio >= goal)}))?;
    }
    rig.kernels(last.0, journal)?;
    rig.ahead(1, journal)?;
    rig.ahead(last.0, journal)?;
    // Both at once are more than some GPUs hold.
    drop(rig);
    match hurried()? {
        Ok(device) => {
            let mut rig = Rig::new(device, Mode::Hurried, plan(), options, journal)?;
            for (batch, invariant) in [(1, one), last] {
                let value = rig.decode(batch, journal)? / invariant;
                journal.write(&json!({
                    "row": "batch-invariant over fast mode", "model": rig.name, "batch": batch,
                    "value": value, "goal": INVARIANT_GOAL, "met": value >= INVARIANT_GOAL,
                }))?;
            }
        }
        Err(why) => no_hurry("batch-invariant over fast mode", &why, journal)?,
    }
    journal.write(&json!({"row": "done"}))?;
    Ok(Outcome::Well)
}

/// Says that there is no fast mode here.
fn no_hurry(row: &str, why: &NoDense, journal: &mut Journal) -> Fallible<()> {
    journal.write(&json!({"row": row, "why": format!("there is no fast mode here: {why}")}))
}

/// A prompt in both modes, and where its time goes.
pub(crate) fn prefill<D: Driver>(
    device: Gpu<D>,
    hurried: Hurried<'_, D>,
    options: &Options,
    journal: &mut Journal,
) -> Fallible<Outcome> {
    let plan = || Plan::prompt(options.size);
    Rig::new(device, Mode::Invariant, plan(), options, journal)?.prefill(journal)?;
    match hurried()? {
        Ok(device) => Rig::new(device, Mode::Hurried, plan(), options, journal)?.prefill(journal)?,
        Err(why) => no_hurry("prefill", &why, journal)?,
    }
    journal.write(&json!({"row": "done"}))?;
    Ok(Outcome::Well)
}

/// What guesses, adapters and long contexts add to a decode step.
pub(crate) fn extras<D: Driver>(
    device: Gpu<D>,
    options: &Options,
    journal: &mut Journal,
) -> Fallible<Outcome> {
    let mut rig =
        Rig::new(Arc::clone(&device), Mode::Invariant, Plan::extras(options.size), options, journal)?;
    rig.guesses(journal)?;
    rig.with_adapters(journal)?;
    drop(rig);
    let mut f16 = None;
    for cache in [KvDtype::F16, KvDtype::F8E4M3, KvDtype::Q8_0] {
        let mut rig = Rig::new(
            Arc::clone(&device),
            Mode::Invariant,
            Plan::deep(options.size, cache),
            options,
            journal,
        )?;
        let (batch, depth) = (rig.plan.batches[0], rig.plan.depth);
        let seconds = rig.decode(batch, journal)?;
        let over_f16 = *f16.get_or_insert(seconds) / seconds;
        journal.write(
            &json!({"row": "long contexts", "model": rig.name, "cache": format!("{cache:?}"), "batch": batch,
            "depth": depth, "step_ms": seconds * 1e3, "value": over_f16}),
        )?;
        rig.kernels(batch, journal)?;
    }
    journal.write(&json!({"row": "done"}))?;
    Ok(Outcome::Well)
}

/// Has the file of the model written, so that nobody's time goes to that.
pub(crate) fn write_model(options: &Options, journal: &mut Journal) -> Fallible<Outcome> {
    let (path, name) = model_file(options, journal)?;
    let bytes = std::fs::metadata(&path)?.len();
    journal.write(&json!({"row": "file", "model": name, "gb": bytes as f64 / 1e9}))?;
    Ok(Outcome::Well)
}

/// The file of a model of random weights, of a tiny shape or of a preset's, which is written where it is not there yet;
/// what rows call it.
pub(crate) fn model_file(options: &Options, journal: &mut Journal) -> Fallible<(PathBuf, String)> {
    if options.size == Size::Small {
        let path = options.out.join("tiny.gguf");
        std::fs::write(&path, tiny_gguf(&TinyModel::default()))?;
        return Ok((path, "tiny".into()));
    }
    let path = options.models.join(format!("{}-Q4_K_M.gguf", options.preset));
    if !path.exists() {
        let begun = Instant::now();
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        synth(&Shape::preset(&options.preset)?, Mix::Q4_K_M, 1, &path, threads)?;
        journal.write(
            &json!({"row": "written", "model": options.preset, "seconds": begun.elapsed().as_secs_f64()}),
        )?;
    }
    Ok((path, format!("{} Q4_K_M", options.preset)))
}

impl<D: Driver> Rig<D> {
    fn new(
        device: Gpu<D>,
        mode: Mode,
        plan: Plan,
        options: &Options,
        journal: &mut Journal,
    ) -> Fallible<Rig<D>> {
        let (path, name) = model_file(options, journal)?;
        let source = Source::open(&path)?;
        let limits = device.limits(effort(options.size))?;
        let begun = Instant::now();
        let model = Model::load(&source, &*device, |_| {})?;
        device.synchronize()?;
        let seconds = begun.elapsed().as_secs_f64();
        let bytes = model.weight_bytes();
        journal.write(&json!({"row": "load", "model": name, "seconds": seconds, "gb": bytes as f64 / 1e9,
            "gb_per_second": bytes as f64 / 1e9 / seconds, "value": seconds, "goal": 3.0, "met": seconds <= 3.0}))?;
        let summary = ModelSummary::read(&source)?;
        let (vocab, most) = (summary.spec.vocab, plan.batches.iter().copied().max().unwrap_or(1));
        let per_sequence = (plan.depth + plan.steps + 8).max(plan.prompt).div_ceil(BLOCK_SIZE);
        let config = EngineConfig {
            max_seqs: most,
            max_batch_tokens: plan.prompt.max(most).max(8), // five are what guesses take
            n_blocks: per_sequence * most + 1,
            context: per_sequence * BLOCK_SIZE,
            max_waiting: 1,
            max_waiting_per_client: 1,
            vocab,
            prefix_cache: false,
            prompt_lookup: true,
            adapter_slots: plan.adapters,
            max_stall: None,
        };
        let begun = Instant::now();
        let spec = &summary.spec;
        let shape =
            KvShape { n_blocks: 1, n_kv_heads: spec.n_kv_heads, head_dim: spec.head_dim, dtype: plan.cache };
        let work = Work::new(&summary, device.kv_block_bytes(&shape) as f64 / BLOCK_SIZE as f64);
        let executor = LocalExecutor::new(Arc::clone(&device), model, &config, plan.cache)?;
        journal.write(&json!({"row": "record", "model": name, "seconds": begun.elapsed().as_secs_f64()}))?;
        Ok(Rig { device, executor, source, work, limits, plan, vocab, name, mode })
    }

    /// Sequences with these `(tokens, cached tokens, adapter)`, the last token's successor to be drawn.
    fn batch(&self, parts: &[(usize, usize, u32)], draws: usize) -> Batch {
        let per_sequence = (self.plan.depth + self.plan.steps + 8).max(self.plan.prompt).div_ceil(BLOCK_SIZE);
        let mut batch = Batch::default();
        for (sequence, &(new, cached, slot)) in parts.iter().enumerate() {
            let tokens: Vec<u32> =
                (0..new).map(|i| (((cached + i) * 7919 + sequence * 31) % self.vocab) as u32).collect();
            // Block 0 is nobody's.
            let first = sequence * per_sequence + 1;
            let table: Vec<u32> = (first..first + (cached + new + 1).div_ceil(BLOCK_SIZE).min(per_sequence))
                .map(|b| b as u32)
                .collect();
            let row = batch.push_sequence(&tokens, (cached + new) as u32, &table, slot);
            for i in new - draws.min(new)..new {
                batch.samples.push(SampleRow::plain(
                    row + i as u32,
                    Arc::new(Sampling::greedy()),
                    (cached + i) as u32,
                ));
            }
        }
        batch
    }

    /// Seconds of the median step of `steps`, each a token further.
    fn steps(&mut self, steps: usize, batch: impl Fn(&Self, usize) -> Batch) -> Fallible<f64> {
        let mut times = Vec::with_capacity(steps);
        for i in 0..=steps {
            let batch = batch(self, i);
            let begun = Instant::now();
            self.executor.step(&batch)?;
            times.push(begun.elapsed().as_secs_f64());
        }
        times.remove(0); // whatever is done once
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }

    /// Seconds of a step that decodes `batch` sequences, and its row.
    fn decode(&mut self, batch: usize, journal: &mut Journal) -> Fallible<f64> {
        let depth = self.plan.depth;
        let seconds = self.steps(self.plan.steps, |rig, i| rig.batch(&vec![(1, depth + i, 0); batch], 1))?;
        let need = self.work.step(&vec![(1, depth + self.plan.steps / 2); batch], batch);
        let share = need.bytes / self.limits.copy_bytes_per_second / seconds;
        let goal = match (batch, self.name.contains("70b")) {
            (1, false) => Some(0.75),
            (1, true) => Some(0.80),
            _ => None,
        };
        journal.write(&json!({
            "row": "decode", "model": self.name, "batch_invariant": self.mode == Mode::Invariant, "batch": batch, "depth": depth, "step_ms": seconds * 1e3,
            "tokens_per_second": batch as f64 / seconds, "gb": need.bytes / 1e9,
            "share_of_copy_bandwidth": share, "value": share, "goal": goal, "met": goal.map(|goal| share >= goal),
        }))?;
        Ok(seconds)
    }

    fn prefill(&mut self, journal: &mut Journal) -> Fallible<()> {
        let prompt = self.plan.prompt;
        let seconds = self.steps(3, |rig, _| rig.batch(&[(prompt, 0, 0)], 1))?;
        let need = self.work.step(&[(prompt, 0)], 1);
        let ops = need.int8_ops + need.f32_ops;
        journal.write(&json!({
            "row": "prefill", "model": self.name, "batch_invariant": self.mode == Mode::Invariant, "tokens": prompt, "step_ms": seconds * 1e3,
            "tokens_per_second": prompt as f64 / seconds, "tops": ops / seconds / 1e12,
            "share_of_mma": ops / seconds / self.limits.int8_ops_per_second,
            "value": seconds * 1e3, "goal": 50.0, "met": seconds <= 0.050,
        }))?;
        self.profile(&[(prompt, 0, 0)], seconds, "prefill kernels", journal)
    }

    /// Time from token to token where each step runs what the last one drew, with the next step planned ahead and without:
    /// the difference is what the device waited for the host.
    fn ahead(&mut self, batch: usize, journal: &mut Journal) -> Fallible<()> {
        let mut seconds = |lookahead| -> Fallible<f64> {
            self.executor.look_ahead(lookahead)?;
            let (depth, steps) = (self.plan.depth, self.plan.steps);
            let mut tokens = vec![1; batch];
            let mut begun = Instant::now();
            for i in 0..=steps {
                let mut batch = self.batch(&vec![(1, depth + i, 0); batch], 1);
                batch.tokens.copy_from_slice(&tokens);
                tokens = self.executor.step(&batch)?.samples.iter().map(|drawn| drawn.token).collect();
                if i == 0 {
                    begun = Instant::now();
                }
            }
            Ok(begun.elapsed().as_secs_f64() / steps as f64)
        };
        let (plain, ahead) = (seconds(Lookahead::None)?, seconds(Lookahead::OneStep)?);
        self.executor.look_ahead(Lookahead::None)?;
        journal.write(&json!({
            "row": "planned ahead", "model": self.name, "batch": batch, "plain_ms": plain * 1e3, "ahead_ms": ahead * 1e3,
            "gap_us": (plain - ahead) * 1e6, "value": ahead / plain, "goal": 1.0, "met": ahead <= plain,
        }))?;
        Ok(())
    }

    /// Which kernels a decode step's time goes to, and what is left.
    fn kernels(&mut self, batch: usize, journal: &mut Journal) -> Fallible<()> {
        let depth = self.plan.depth;
        let parts = vec![(1, depth, 0); batch];
        let seconds = self.steps(self.plan.steps.min(16), |rig, _| rig.batch(&parts, 1))?;
        self.profile(&parts, seconds, "decode kernels", journal)
    }

    fn profile(
        &mut self,
        parts: &[(usize, usize, u32)],
        seconds: f64,
        row: &str,
        journal: &mut Journal,
    ) -> Fallible<()> {
        let batch = self.batch(parts, 1);
        let (device, executor) = (Arc::clone(&self.device), &mut self.executor);
        let times = device.driver().profile(self.plan.repetitions, || executor.step(&batch).map(|_| ()))?;
        let inside: f64 = times.iter().map(|time| time.seconds).sum();
        let outside = 1.0 - inside / seconds;
        let kernels: Vec<Value> = times
            .iter()
            .map(|time| json!({"kernel": time.name, "launches": time.launches, "us": time.seconds * 1e6}))
            .collect();
        journal.write(&json!({
            "row": row, "model": self.name, "batch_invariant": self.mode == Mode::Invariant, "batch": parts.len(),
            "step_ms": seconds * 1e3,
            "kernels_ms": inside * 1e3, "value": outside, "goal": 0.05, "met": outside <= 0.05, "kernels": kernels,
        }))?;
        Ok(())
    }

    /// What checking four guesses costs beside a plain step.
    fn guesses(&mut self, journal: &mut Journal) -> Fallible<()> {
        let (depth, steps) = (self.plan.depth, self.plan.steps.min(16));
        let plain = self.steps(steps, |rig, _| rig.batch(&[(1, depth, 0)], 1))?;
        let seconds = self.steps(steps, |rig, _| rig.batch(&[(5, depth, 0)], 5))?;
        journal.write(&json!({
            "row": "verification of 4 guesses", "model": self.name, "step_ms": seconds * 1e3,
            "value": seconds / plain,
        }))?;
        Ok(())
    }

    /// What mixed adapters add to a step.
    fn with_adapters(&mut self, journal: &mut Journal) -> Fallible<()> {
        let (count, depth, steps) = (self.plan.adapters, self.plan.depth, self.plan.steps.min(32));
        let one = adapter(&ModelSummary::read(&self.source)?.spec, self.plan.rank, &Target::ALL, 1);
        for slot in 1..=count {
            self.executor.load_adapter(slot as u32, &one)?;
        }
        let without = self.steps(steps, |rig, _| rig.batch(&vec![(1, depth, 0); count], 1))?;
        let mixed: Vec<_> = (1..=count).map(|slot| (1, depth, slot as u32)).collect();
        let with = self.steps(steps, |rig, _| rig.batch(&mixed, 1))?;
        journal.write(&json!({
            "row": "adapters", "model": self.name, "adapters": count, "rank": self.plan.rank,
            "without_ms": without * 1e3, "with_ms": with * 1e3,
            "value": with / without - 1.0, "goal": 0.10, "met": with / without - 1.0 <= 0.10,
        }))?;
        Ok(())
    }
}
