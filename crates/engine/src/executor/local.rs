//! A model on a device of this machine.
//!
//! Owns everything a step touches, allocated once: the step buffers that the batch is written to,
//! the model's workspace and KV cache, the adapters' slots, the recorded steps, and a row of logits on
//! the host for each thread that draws: a row of a large vocabulary takes half a millisecond, so many of
//! them are shared.

use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use garrison_device::{
    Adapters, Batch, Bucket, Capture, DeviceError, KvDtype, SampleRow, Sampled, StepBuffers, StepLimits,
};
use garrison_model::{Adapter, AdapterBank, KvCache, Model, Workspace};

use super::ahead::{Ahead, Draws, Found, Lookahead, rest};
use super::device_draws::{DeviceDraws, Drawn};
use super::graph::{Graphs, pad};
use super::{CopyError, Execute, HostCache, StepOutput, await_mask, threads};
use crate::EngineConfig;
use crate::sampler::Sampler;

/// Runs batches on a device.
pub struct LocalExecutor<B: Capture> {
    device: Arc<B>,
    model: Model<B>,
    memory: Memory<B>,
    adapters: AdapterBank<B>,
    graphs: Graphs<B::Graph>,
    /// A padded copy of the batch, for recorded steps.
    padded: Batch,
    on_device: DeviceDraws<B>,
    ahead: Option<Box<Ahead<B>>>,
    /// At least one.
    drawers: Vec<Drawer>,
    host: HostCache,
}

/// Logits that a thread of its own takes over. Starting one takes as long as drawing from fewer.
const WORTH_SHARING: usize = 1 << 19;
/// Threads that draw at most.
const MOST_DRAWERS: usize = 8;

/// What a thread draws with.
struct Drawer {
    /// `[vocab]`
    logits: Vec<f32>,
    sampler: Sampler,
}

impl Drawer {
    /// Draws from rows `first ..` of the step's logits; says how long that waited for masks.
    fn draw<B: Capture>(
        &mut self,
        device: &B,
        logits: &B::Buffer,
        first: usize,
        rows: &[SampleRow],
    ) -> Result<(Vec<Sampled>, Duration), DeviceError> {
        let mut waited = Duration::ZERO;
        let draw = |(i, row): (usize, &SampleRow)| {
            // The first read waits for the step. What a mask takes beyond that is a wait for the mask.
            device.read(logits, (first + i) * self.logits.len(), &mut self.logits)?;
            waited += await_mask(row);
            Ok(self.sampler.sample(&mut self.logits, row))
        };
        let samples = rows.iter().enumerate().map(draw).collect::<Result<_, DeviceError>>()?;
        Ok((samples, waited))
    }
}

/// Draws from rows `from ..` of the step's logits, on as many threads as have enough to do; says how long the
/// one that waited longest for masks did.
fn draw_all<B: Capture>(
    drawers: &mut [Drawer],
    device: &B,
    logits: &B::Buffer,
    from: usize,
    rows: &[SampleRow],
) -> Result<(Vec<Sampled>, Duration), DeviceError> {
    let nothing = (Vec::new(), Duration::ZERO);
    let Some(own) = drawers.first() else { return Ok(nothing) };
    let threads = (rows.len() * own.logits.len() / WORTH_SHARING).clamp(1, drawers.len());
    let share = rows.len().div_ceil(threads).max(1);
    let shares = rows.chunks(share).enumerate().map(|(i, rows)| (from + i * share, rows));
    let drawn = threads::share(drawers, shares, Builder::new, |drawer, (at, rows)| {
        drawer.draw(device, logits, at, rows)
    });
    let (mut samples, mut waited) = nothing;
    for drawn in drawn {
        let (drawn, for_masks) = drawn?;
        samples.extend(drawn);
        waited = waited.max(for_masks);
    }
    Ok((samples, waited))
}

/// Draws on the host what the device did not.
fn draw_rest<B: Capture>(
    drawers: &mut [Drawer],
    device: &B,
    logits: &B::Buffer,
    rows: &[SampleRow],
    drawn: Drawn,
) -> Result<(Vec<Sampled>, Duration), DeviceError> {
    let Drawn { tokens, mut waited } = drawn;
    if tokens.is_empty() {
        return draw_all(drawers, device, logits, 0, rows);
    }
    let mut samples = Vec::with_capacity(rows.len());
    for run in tokens.chunk_by(|a, b| a.is_some() == b.is_some()) {
        let from = samples.len();
        if run[0].is_some() {
            samples.extend(run.iter().flatten().cloned());
            continue;
        }
        let (own, for_masks) = draw_all(drawers, device, logits, from, &rows[from..from + run.len()])?;
        samples.extend(own);
        waited += for_masks;
    }
    Ok((samples, waited))
}

/// What a step reads and writes on the device.
struct Memory<B: Capture> {
    step: StepBuffers<B>,
    workspace: Workspace<B>,
    kv: KvCache<B>,
}

impl<B: Capture> LocalExecutor<B> {
    /// Allocates for the steps that `config` allows, and records what the device can record.
    ///
    /// # Errors
    /// If the device has too little memory, or fails while recording.
    pub fn new(
        device: Arc<B>,
        model: Model<B>,
        config: &EngineConfig,
        kv_dtype: KvDtype,
    ) -> Result<LocalExecutor<B>, DeviceError> {
        assert_eq!(config.vocab, model.spec().vocab, "the engine's limits were made for another model");
        let buckets = device.capture_buckets(config.concurrency());
        let limits = with_padding(config.step_limits(), &buckets);
        let mut memory = Memory {
            step: StepBuffers::new(&*device, limits)?,
            workspace: Workspace::new(&*device, model.spec(), limits)?,
            kv: KvCache::new(&*device, model.spec(), config.n_blocks, kv_dtype)?,
        };
        let adapters = AdapterBank::new(&*device, model.spec(), config.adapter_slots, Adapter::MAX_RANK)?;
        let buckets = with_adapters(buckets, &adapters);
        let graphs = Graphs::record(buckets, |bucket| memory.record(&device, &model, &adapters, bucket))?;
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_DRAWERS));
        let drawer = || Drawer { logits: vec![0.0; model.spec().vocab], sampler: Sampler::default() };
        let drawers = (0..threads).map(|_| drawer()).collect();
        let on_device = DeviceDraws::new(&*device, limits.rows, model.spec().vocab)?;
        let padded = Batch::default();
        let host = HostCache::none();
        let ahead = None;
        Ok(LocalExecutor { device, model, memory, adapters, graphs, padded, on_device, ahead, drawers, host })
    }

    /// Has it begin with steps before it is asked, or not any more; it does not unless told.
    ///
    /// # Errors
    /// If the device has too little memory.
    pub fn look_ahead(&mut self, lookahead: Lookahead) -> Result<(), DeviceError> {
        let able = !self.graphs.is_empty() && matches!(self.on_device, DeviceDraws::OnDevice(_));
        self.ahead = match lookahead {
            Lookahead::OneStep if able => {
                let (rows, vocab) = (self.memory.step.limits().rows, self.model.spec().vocab);
                Some(Box::new(Ahead::new(&*self.device, rows, vocab)?))
            }
            _ => None,
        };
        Ok(())
    }

    /// Keeps blocks that are evicted in `host`, which was made for blocks of this executor.
    pub fn with_host_cache(self, host: HostCache) -> LocalExecutor<B> {
        LocalExecutor { host, ..self }
    }

    /// What computes.
    pub fn device(&self) -> &Arc<B> {
        &self.device
    }

    /// The model.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// Bytes of one block's keys and values over all layers.
    pub fn block_bytes(&self) -> usize {
        self.memory.kv.block_bytes(&self.device)
    }
}

/// Recorded steps are padded to their buckets, which may be larger than any batch.
fn with_padding(limits: StepLimits, buckets: &[Bucket]) -> StepLimits {
    let largest = buckets.iter().map(|b| b.seqs).max().unwrap_or(0);
    StepLimits {
        tokens: limits.tokens.max(largest),
        seqs: limits.seqs.max(largest),
        rows: limits.rows.max(largest),
        blocks: limits.blocks + largest,
    }
}

/// Where there are slots for adapters, each bucket is recorded with and without them.
fn with_adapters<B: Capture>(buckets: Vec<Bucket>, bank: &AdapterBank<B>) -> Vec<Bucket> {
    let kinds: &[Adapters] =
        if bank.slots() == 0 { &[Adapters::Absent] } else { &[Adapters::Absent, Adapters::Present] };
    let each = |bucket| kinds.iter().map(move |&adapters| Bucket { adapters, ..bucket });
    buckets.into_iter().flat_map(each).collect()
}

impl<B: Capture> Memory<B> {
    /// Warms a bucket up, so that whatever is done once is done, and records it. Everything it
    /// writes goes to the null block.
    fn record(
        &mut self,
        device: &B,
        model: &Model<B>,
        adapters: &AdapterBank<B>,
        bucket: Bucket,
    ) -> Result<B::Graph, DeviceError> {
        let Memory { step, workspace, kv } = self;
        let mut batch = Batch::default();
        pad(&mut batch, bucket);
        step.write(device, &batch)?;
        step.shape.adapters = bucket.adapters;
        model.forward(device, step, adapters, workspace, kv)?;
        device.synchronize()?;
        device.capture(|| model.forward(device, step, adapters, workspace, kv))
    }
}

impl<B: Capture> LocalExecutor<B> {
    /// Enqueues a step.
    fn enqueue(&mut self, batch: &Batch) -> Result<(), DeviceError> {
        let Memory { step, workspace, kv } = &mut self.memory;
        match self.graphs.hit(batch) {
            Some((bucket, graph)) => {
                self.padded.clone_from(batch);
                pad(&mut self.padded, bucket);
                step.write(&*self.device, &self.padded)?;
                self.device.replay(graph)?;
                // The copy must not hold on to the sequences' token counts.
                self.padded.clear();
            }
            None => {
                step.write(&*self.device, batch)?;
                self.model.forward(&self.device, step, &self.adapters, workspace, kv)?;
            }
        }
        Ok(())
    }

    /// Draws from the logits of the step that was enqueued last, and waits for it.
    fn finish(&mut self, batch: &Batch, begun: Instant) -> Result<StepOutput, DeviceError> {
        let workspace = &mut self.memory.workspace;
        let drawn = self.on_device.draw(&*self.device, &mut workspace.logits, &batch.samples)?;
        let (samples, waited) =
            draw_rest(&mut self.drawers, &*self.device, &workspace.logits, &batch.samples, drawn)?;
        if samples.is_empty() {
            // No row was read, so nothing has waited for the step or noticed its failure yet.
            self.device.synchronize()?;
        }
        let seconds = begun.elapsed().saturating_sub(waited).as_secs_f64();
        Ok(StepOutput { samples, seconds, waited: waited.as_secs_f64() })
    }

    /// Enqueues `next`, whose tokens are those that were drawn last.
    fn plan(&mut self, ahead: &Ahead<B>, next: &Batch) -> Result<(), DeviceError> {
        let Some((bucket, graph)) = self.graphs.hit(next) else { unreachable!("it was looked for before") };
        let drawn = next.n_seqs() as u32;
        self.padded.clone_from(next);
        pad(&mut self.padded, bucket);
        let rows: Vec<u32> = (0..self.padded.tokens.len() as u32).map(|row| row % drawn).collect();
        let (step, vocab) = (&mut self.memory.step, self.model.spec().vocab);
        step.write_ahead(&*self.device, &self.padded, &ahead.draws.tokens, &rows, vocab)?;
        self.padded.clear();
        self.device.replay(graph)
    }

    /// A step, of which some may run already.
    fn step_ahead(
        &mut self,
        ahead: &mut Ahead<B>,
        batch: &Batch,
        begun: Instant,
    ) -> Result<StepOutput, DeviceError> {
        let found = ahead.find(batch);
        ahead.plan = None;
        let next = ahead.successor(batch).filter(|next| self.graphs.hit(next).is_some());
        let rows: Vec<usize> = match &found {
            Found::All(rows) => rows.clone(),
            Found::Some(rows) => return self.step_beside(ahead, batch, rows, begun),
            Found::Nothing => {
                self.enqueue(batch)?;
                if next.is_none() {
                    return self.finish(batch, begun);
                }
                ahead.since = begun;
                (0..batch.n_seqs()).collect()
            }
        };
        let drawn = rows.into_iter().zip(&batch.samples);
        let Draws::Enqueued { waited } =
            ahead.draw(&*self.device, &mut self.memory.workspace.logits, drawn)?
        else {
            if matches!(found, Found::All(_)) {
                // There is no room for its edits, so the host draws: of a step of its own, which writes the same once more.
                self.enqueue(batch)?;
            }
            return self.finish(batch, begun);
        };
        if let Some(next) = &next {
            self.plan(ahead, next)?;
        }
        let took = ahead.receive(&*self.device, waited)?;
        let samples = batch.samples.iter().enumerate().map(|(i, sample)| ahead.token(sample, i)).collect();
        if let Some(next) = next {
            ahead.go_on(next);
        }
        Ok(StepOutput { samples, seconds: took.as_secs_f64(), waited: waited.as_secs_f64() })
    }

    /// A step of which some sequences run already, in `rows` of the plan; the others do after it.
    fn step_beside(
        &mut self,
        ahead: &mut Ahead<B>,
        batch: &Batch,
        rows: &[Option<usize>],
        begun: Instant,
    ) -> Result<StepOutput, DeviceError> {
        let running = rows.iter().enumerate().filter_map(|(s, row)| Some((*row.as_ref()?, s)));
        let drawn = running.map(|(row, s)| (row, &batch.part(s).samples[0]));
        let logits = &mut self.memory.workspace.logits;
        // Before the others' logits take the place.
        let Draws::Enqueued { waited } = ahead.draw(&*self.device, logits, drawn)? else {
            self.enqueue(batch)?;
            return self.finish(batch, begun);
        };
        let (rest, since) = (rest(batch, rows), ahead.since);
        self.enqueue(&rest)?;
        ahead.receive(&*self.device, waited)?;
        let StepOutput { samples, waited: later, .. } = self.finish(&rest, begun)?;
        let waited = waited.as_secs_f64() + later;
        let seconds = since.elapsed().as_secs_f64() - waited;
        let (mut own, mut before) = (samples.into_iter(), 0);
        let mut all = Vec::with_capacity(batch.samples.len());
        for (s, row) in rows.iter().enumerate() {
            let wanted = batch.part(s).samples;
            if row.is_none() {
                all.extend(own.by_ref().take(wanted.len()));
                continue;
            }
            all.extend(wanted.iter().map(|sample| ahead.token(sample, before)));
            before += 1;
        }
        Ok(StepOutput { samples: all, seconds, waited })
    }

    /// What runs ahead is of no use any more.
    fn forget_plan(&mut self) {
        if let Some(ahead) = &mut self.ahead {
            ahead.plan = None;
        }
    }
}

impl<B: Capture> Execute for LocalExecutor<B> {
    fn step(&mut self, batch: &Batch) -> Result<StepOutput, DeviceError> {
        let begun = Instant::now();
        let empty = batch.adapters.iter().find(|&&slot| slot != 0 && !self.adapters.holds(slot));
        assert!(empty.is_none(), "a batch names adapter slot {empty:?}, which holds none");
        let Some(mut ahead) = self.ahead.take() else {
            self.enqueue(batch)?;
            return self.finish(batch, begun);
        };
        let output = self.step_ahead(&mut ahead, batch, begun);
        self.ahead = Some(ahead);
        output
    }

    fn lookahead(&self) -> usize {
        usize::from(self.ahead.is_some())
    }

    fn load_adapter(&mut self, slot: u32, adapter: &Adapter) -> Result<(), DeviceError> {
        self.forget_plan();
        self.adapters.fill(&self.device, slot, adapter)
    }

    fn clear_adapter(&mut self, slot: u32) {
        self.forget_plan();
        self.adapters.clear(&self.device, slot);
    }

    fn host_slots(&self) -> usize {
        self.host.slots()
    }

    fn save_block(&mut self, block: u32, slot: u32) -> Result<f64, CopyError> {
        let begun = Instant::now();
        self.host.write(slot, |bytes| self.memory.kv.read_block(&self.device, block, bytes))?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn restore_block(&mut self, slot: u32, block: u32) -> Result<f64, CopyError> {
        let begun = Instant::now();
        self.forget_plan();
        self.host.read(slot, |bytes| self.memory.kv.write_block(&self.device, block, bytes))?;
        Ok(begun.elapsed().as_secs_f64())
    }
}
