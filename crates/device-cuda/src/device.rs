//! The device: a GPU, its kernels, and scratch memory; what [`Device`], [`Ops`] and [`Capture`] come down to.

use std::sync::{Mutex, OnceLock};

use garrison_device::{
    Adapters, AttentionShape, Bucket, Capture, Device, DeviceError, DrawBuffers, Drawing, Element, KvShape,
    LoraShape, LoraView, Ops, ProductShape, Queries, RopeShape, StepBuffers, StepShape, WeightView,
};

use crate::attention::{self, Parts};
use crate::draw::{self, Drawer, Draws};
use crate::driver::Driver;
use crate::driver::dense::{DensePlan, NoDense};
use crate::fast::Fast;
use crate::gpu::{Buffer, Gpu, lock};
use crate::kv::{self, KvLayer, Turn};
use crate::lora::{LoraRows, LoraSlots};
use crate::matmul::{Into, Products, Quantizers, Scratch, Source};
use crate::ops::{self, Plain};
use crate::upload::Uploads;
use crate::weight::Weight;

/// A GPU as a [`Device`], or what stands in for one.
pub struct CudaDevice<D: Driver> {
    pub(crate) gpu: Gpu<D>,
    plain: Plain<D>,
    quantizers: Quantizers<D>,
    drawer: Drawer<D>,
    /// If prompts are hurried.
    fast: Option<Fast<D>>,
    scratch: Mutex<Scratch<D>>,
    uploads: Mutex<Uploads<D>>,
    /// Made with the first layer of a cache.
    parts: OnceLock<Parts<D>>,
}

/// Which steps [`CudaDevice::hurry`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurry {
    /// Those of so many rows that it pays, by the GPU.
    WherePaid,
    /// Those of so many rows or more: for tests, and whoever measures.
    From(usize),
}

impl<D: Driver> CudaDevice<D> {
    /// A device on `driver`.
    ///
    /// # Errors
    /// If kernels are missing, or there is no memory at all.
    pub fn new(driver: D) -> Result<Self, DeviceError> {
        let (plain, quantizers) = (Plain::new(&driver)?, Quantizers::new(&driver)?);
        let drawer = Drawer::new(&driver)?;
        let gpu = Gpu::new(driver);
        let uploads = Mutex::new(Uploads::new(&gpu)?);
        Ok(CudaDevice {
            gpu,
            plain,
            quantizers,
            drawer,
            fast: None,
            scratch: Mutex::default(),
            uploads,
            parts: OnceLock::new(),
        })
    }

    /// Has steps with many rows, as prompts are, computed faster from now on, by products of halves whose order of
    /// additions depends on how many rows there are: what a row gives then depends on its company. To be asked for before
    /// any weight is loaded. What comes back says from how many rows on.
    ///
    /// # Errors
    /// If this GPU or machine cannot; the device goes on as it was.
    pub fn hurry(&mut self, when: Hurry) -> Result<DensePlan, NoDense> {
        let mut fast = Fast::new(&self.gpu)?;
        if let Hurry::From(rows) = when {
            (fast.plan.halves_from, fast.plan.unfolded_from) = (rows, Some(rows));
        }
        Ok(self.fast.insert(fast).plan)
    }

    /// Bytes of memory that nobody has taken.
    ///
    /// # Errors
    /// If the device fails.
    pub fn available(&self) -> Result<usize, DeviceError> {
        self.gpu.driver.available()
    }
}

/// What a step's ops need of its buffers, and the tokens that are asked about.
pub(crate) struct Step<'a, D: Driver> {
    pub(crate) shape: StepShape,
    /// Block table entries that a step may have.
    pub(crate) block_limit: usize,
    /// How many are asked about, their positions, and where each sequence's begin.
    pub(crate) tokens: usize,
    pub(crate) positions: &'a Buffer<D>,
    pub(crate) q_start: &'a Buffer<D>,
    pub(crate) blocks: &'a Buffer<D>,
    pub(crate) block_start: &'a Buffer<D>,
    pub(crate) slots: &'a Buffer<D>,
}

impl<'a, D: Driver> Step<'a, D> {
    fn of(step: &'a StepBuffers<CudaDevice<D>>, queries: Queries) -> Step<'a, D> {
        let (tokens, positions, q_start) = step.queries(queries);
        let StepBuffers { blocks, block_start, slots, shape, .. } = step;
        let block_limit = step.limits().blocks;
        Step { shape: *shape, block_limit, tokens, positions, q_start, blocks, block_start, slots }
    }
}

impl<D: Driver> CudaDevice<D> {
    /// Writes a step's keys and values to their slots.
    pub(crate) fn store_step(&self, layer: &mut KvLayer<D>, [k, v]: [&Buffer<D>; 2], step: &Step<'_, D>) {
        layer.store(&self.gpu, k, v, step, Turn::None);
    }

    /// Attention of a step's tokens.
    pub(crate) fn attend_step(
        &self,
        [dst, q]: [&Buffer<D>; 2],
        layer: &KvLayer<D>,
        step: &Step<'_, D>,
        shape: &AttentionShape,
    ) {
        let Some(parts) = self.parts.get() else { unreachable!("parts are made with the first layer") };
        attention::attention(&self.gpu, parts, [dst, q], layer, step, shape);
    }

    /// Draws from rows of logits.
    pub(crate) fn draw_rows(&self, logits: &Buffer<D>, draws: &Draws<'_, D>) {
        self.drawer.draw(&self.gpu, logits, draws);
    }

    /// Begins to bring what was drawn to the host.
    pub(crate) fn send_tokens(&self, tokens: &Buffer<D>, n: usize) -> Result<(), DeviceError> {
        self.drawer.send(&self.gpu, tokens, n)
    }

    /// What was sent.
    pub(crate) fn receive_tokens(&self, tokens: &Buffer<D>, out: &mut [u32]) -> Result<(), DeviceError> {
        self.drawer.receive(&self.gpu, tokens, out)
    }

    /// `dst = x w` for each job.
    fn products(&self, jobs: &mut [(&mut Buffer<D>, &Weight<D>)], source: &Source<'_, D>, rows: usize) {
        let jobs: Vec<(&Buffer<D>, &Weight<D>)> = jobs.iter().map(|(dst, w)| (&**dst, *w)).collect();
        self.enqueue_products(&jobs, source, rows, Into::Place);
    }

    /// `dst += x w`.
    fn sum(&self, dst: &Buffer<D>, w: &Weight<D>, source: &Source<'_, D>, rows: usize) {
        self.enqueue_products(&[(dst, w)], source, rows, Into::Sum);
    }

    fn enqueue_products(
        &self,
        jobs: &[(&Buffer<D>, &Weight<D>)],
        source: &Source<'_, D>,
        rows: usize,
        into: Into,
    ) {
        // Held until all of it is enqueued: nobody quantizes something else in between.
        let scratch = lock(&self.scratch);
        let (gpu, quantizers, fast) = (&self.gpu, &self.quantizers, self.fast.as_ref());
        Products { gpu, quantizers, scratch: &scratch, fast }.group(jobs, source, rows, into);
    }
}

impl<D: Driver> Device for CudaDevice<D> {
    type Buffer = Buffer<D>;
    type Weight = Weight<D>;
    type KvLayer = KvLayer<D>;
    type LoraSlots = LoraSlots<D>;

    fn name(&self) -> String {
        self.gpu.driver.name()
    }

    fn alloc<T: Element>(&self, len: usize) -> Result<Buffer<D>, DeviceError> {
        const { assert!(size_of::<T>() == 4, "buffers hold elements of 32 bits") };
        self.gpu.buffer("activations", len)
    }

    fn alloc_kv(&self, shape: &KvShape) -> Result<KvLayer<D>, DeviceError> {
        if self.parts.get().is_none() {
            // If another thread was faster, its parts stay.
            let _ = self.parts.set(Parts::new(&self.gpu)?);
        }
        KvLayer::zeroed(&self.gpu, shape)
    }

    fn kv_block_bytes(&self, shape: &KvShape) -> usize {
        kv::block_bytes(shape)
    }

    fn read_kv_block(&self, layer: &KvLayer<D>, block: u32, out: &mut [u8]) -> Result<(), DeviceError> {
        self.gpu.check()?;
        self.gpu.driver.read(&layer.memory, layer.block(block, out.len()), out)
    }

    fn write_kv_block(&self, layer: &mut KvLayer<D>, block: u32, data: &[u8]) -> Result<(), DeviceError> {
        self.gpu.driver.write(&layer.memory, layer.block(block, data.len()), data)
    }

    fn alloc_lora(&self, shape: &LoraShape) -> Result<LoraSlots<D>, DeviceError> {
        LoraSlots::empty(&self.gpu, shape)
    }

    fn write_lora(
        &self,
        slots: &mut LoraSlots<D>,
        slot: u32,
        view: &LoraView<'_>,
    ) -> Result<(), DeviceError> {
        slots.fill(&self.gpu, slot, view, LoraSlots::<D>::shifts(view))
    }

    fn clear_lora(&self, slots: &mut LoraSlots<D>, slot: u32) {
        let cleared = slots.clear(&self.gpu, slot);
        self.gpu.note(cleared);
    }

    fn load_weight(&self, view: &WeightView<'_>) -> Result<Weight<D>, DeviceError> {
        let weight = Weight::load(&self.gpu, view)?;
        let mut scratch = lock(&self.scratch);
        scratch.reserve(&self.gpu, &weight)?;
        if let Some(fast) = &self.fast {
            fast.reserve(&self.gpu, &mut scratch.dense, &weight)?;
        }
        Ok(weight)
    }

    fn write<T: Element>(&self, dst: &mut Buffer<D>, data: &[T]) -> Result<(), DeviceError> {
        self.gpu.driver.write(&dst.memory, 0, bytemuck::cast_slice(data))
    }

    fn write_all<T: Element>(&self, parts: &mut [(&mut Buffer<D>, &[T])]) -> Result<(), DeviceError> {
        lock(&self.uploads).write(&self.gpu, parts)
    }

    fn read<T: Element>(&self, src: &Buffer<D>, offset: usize, out: &mut [T]) -> Result<(), DeviceError> {
        self.gpu.check()?;
        self.gpu.driver.read(&src.memory, offset * size_of::<T>(), bytemuck::cast_slice_mut(out))
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.gpu.check()?;
        self.gpu.driver.synchronize()
    }
}

impl<D: Driver> Ops for CudaDevice<D> {
    fn embed(&self, dst: &mut Buffer<D>, table: &Weight<D>, tokens: &Buffer<D>, rows: usize) {
        ops::embed(&self.gpu, dst, table, tokens, rows);
    }

    fn gather(&self, dst: &mut Buffer<D>, src: &Buffer<D>, rows: &Buffer<D>, n: usize, dim: usize) {
        self.plain.gather(&self.gpu, dst, src, rows, n, dim);
    }

    fn rms_norm(&self, dst: &mut Buffer<D>, x: &Buffer<D>, w: &Weight<D>, rows: usize, eps: f32) {
        self.plain.rms_norm(&self.gpu, dst, x, w, rows, eps);
    }

    fn rms_norm_in_place(&self, x: &mut Buffer<D>, w: &Weight<D>, rows: usize, eps: f32) {
        self.plain.rms_norm(&self.gpu, x, x, w, rows, eps);
    }

    fn matmul(&self, dst: &mut Buffer<D>, x: &Buffer<D>, w: &Weight<D>, rows: usize) {
        self.matmul_group(&mut [(dst, w)], x, rows);
    }

    fn matmul_group(&self, jobs: &mut [(&mut Buffer<D>, &Weight<D>)], x: &Buffer<D>, rows: usize) {
        self.products(jobs, &Source::Values(x), rows);
    }

    fn norm_matmul_group(
        &self,
        jobs: &mut [(&mut Buffer<D>, &Weight<D>)],
        normed: &mut Buffer<D>,
        x: &Buffer<D>,
        norm: &Weight<D>,
        eps: f32,
        rows: usize,
    ) {
        self.products(jobs, &Source::Norm { values: normed, x, w: norm, eps }, rows);
    }

    fn matmul_add(
        &self,
        dst: &mut Buffer<D>,
        x: &Buffer<D>,
        w: &Weight<D>,
        _delta: &mut Buffer<D>,
        shape: ProductShape,
    ) {
        self.sum(dst, w, &Source::Values(x), shape.rows);
    }

    fn silu_mul_matmul_add(
        &self,
        dst: &mut Buffer<D>,
        activated: &mut Buffer<D>,
        [gate, up]: [&Buffer<D>; 2],
        w: &Weight<D>,
        delta: &mut Buffer<D>,
        shape: ProductShape,
    ) {
        if w.is_quantized() {
            return self.sum(dst, w, &Source::Silu { values: activated, gate, up }, shape.rows);
        }
        self.silu_mul(activated, gate, up, shape.rows * shape.k);
        self.matmul_add(dst, activated, w, delta, shape);
    }

    fn lora(
        &self,
        dst: &mut Buffer<D>,
        x: &Buffer<D>,
        slots: &LoraSlots<D>,
        adapters: &Buffer<D>,
        rows: usize,
    ) {
        slots.add(&self.gpu, LoraRows { dst, x, adapters }, rows);
    }

    fn add_bias(&self, x: &mut Buffer<D>, bias: &Weight<D>, rows: usize) {
        self.plain.add_bias(&self.gpu, x, bias, rows);
    }

    fn rope_angles(
        &self,
        dst: &mut Buffer<D>,
        positions: &Buffer<D>,
        inv_freq: &Buffer<D>,
        rope_dim: usize,
        magnitude: f32,
        rows: usize,
    ) {
        self.plain.rope_angles(&self.gpu, dst, positions, inv_freq, magnitude, [rows, rope_dim / 2]);
    }

    fn rope(&self, x: &mut Buffer<D>, angles: &Buffer<D>, shape: RopeShape, rows: usize) {
        self.plain.rope(&self.gpu, x, angles, shape, rows);
    }

    fn store_kv(&self, layer: &mut KvLayer<D>, k: &Buffer<D>, v: &Buffer<D>, step: &StepBuffers<Self>) {
        self.store_step(layer, [k, v], &Step::of(step, Queries::Tokens));
    }

    fn rope_store_kv(
        &self,
        layer: &mut KvLayer<D>,
        [k, v]: [&mut Buffer<D>; 2],
        angles: &Buffer<D>,
        shape: RopeShape,
        step: &StepBuffers<Self>,
    ) {
        let turned = Turn::Keys { angles, shape };
        layer.store(&self.gpu, k, v, &Step::of(step, Queries::Tokens), turned);
    }

    fn attention(
        &self,
        dst: &mut Buffer<D>,
        q: &Buffer<D>,
        layer: &KvLayer<D>,
        step: &StepBuffers<Self>,
        queries: Queries,
        shape: &AttentionShape,
    ) {
        self.attend_step([dst, q], layer, &Step::of(step, queries), shape);
    }

    fn silu_mul(&self, dst: &mut Buffer<D>, gate: &Buffer<D>, up: &Buffer<D>, len: usize) {
        self.plain.silu_mul(&self.gpu, dst, gate, up, len);
    }

    fn add(&self, dst: &mut Buffer<D>, src: &Buffer<D>, len: usize) {
        self.plain.add(&self.gpu, dst, src, len);
    }

    fn drawing(&self) -> Drawing {
        Drawing::OnDevice { max_vocab: draw::MAX_VOCAB }
    }

    fn draw(&self, logits: &mut Buffer<D>, draws: &mut DrawBuffers<Self>) {
        let DrawBuffers { rows, edits, masks, count, vocab, tokens, .. } = draws;
        let (count, vocab) = (*count, *vocab);
        self.draw_rows(logits, &Draws { tokens, rows, edits, masks, count, vocab });
    }

    fn hand_on(&self, dst: &mut Buffer<D>, drawn: &Buffer<D>, rows: &Buffer<D>, n: usize, vocab: usize) {
        self.drawer.hand_on(&self.gpu, [dst, drawn, rows], n, vocab);
    }

    fn send_drawn(&self, draws: &DrawBuffers<Self>) -> Result<(), DeviceError> {
        self.send_tokens(&draws.tokens, draws.count)
    }

    fn receive_drawn(&self, draws: &DrawBuffers<Self>, out: &mut [u32]) -> Result<(), DeviceError> {
        self.receive_tokens(&draws.tokens, out)
    }
}

/// Sequences of a recorded step, at most.
pub(crate) const LARGEST_BUCKET: usize = 256;

impl<D: Driver> Capture for CudaDevice<D> {
    type Graph = D::Graph;

    /// Every small size, where a padded sequence costs most; then steps of eight, of sixteen from 64 on.
    fn capture_buckets(&self, max_seqs: usize) -> Vec<Bucket> {
        let sizes = (1..8).chain((8..64).step_by(8)).chain((64..=LARGEST_BUCKET).step_by(16));
        // The first that holds `max_seqs` is the last that is ever hit.
        let mut enough = false;
        let wanted = sizes.take_while(|&n| !std::mem::replace(&mut enough, n >= max_seqs));
        wanted.map(|n| Bucket { adapters: Adapters::Absent, tokens: n, seqs: n }).collect()
    }

    fn capture(&self, forward: impl FnOnce() -> Result<(), DeviceError>) -> Result<D::Graph, DeviceError> {
        self.gpu.driver.begin_recording()?;
        let enqueued = forward();
        let recorded = self.gpu.driver.end_recording();
        enqueued?;
        self.gpu.check()?;
        recorded
    }

    fn replay(&self, graph: &D::Graph) -> Result<(), DeviceError> {
        self.gpu.check()?;
        // SAFETY: whoever recorded the step keeps its buffers, model and cache for as long as the graph, and
        // what the device itself lent it is never freed.
        unsafe { self.gpu.driver.replay(graph) }
    }
}
