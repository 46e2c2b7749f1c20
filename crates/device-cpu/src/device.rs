//! The device: a thread pool, an instruction set, and the ops over them.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use garrison_device::{
    AttentionShape, Bucket, Capture, Device, DeviceError, Element, KvShape, LoraShape, LoraView, Ops,
    Queries, RopeShape, StepBuffers, WeightView,
};

use crate::buffer::Buffer;
use crate::kv::KvLayer;
use crate::lora::{LoraSlots, LoraWeight};
use crate::matmul;
use crate::ops::{self, Run};
use crate::pool::Pool;
use crate::probe::{self, Limits};
use crate::simd::Level;
use crate::weight::Weight;
use crate::{Isa, Nodes, available_threads};

/// What a [`CpuDevice`] may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuOptions {
    /// Threads that compute, the caller's included.
    pub threads: NonZeroUsize,
    /// Instruction set of the kernels.
    pub isa: Isa,
}

impl Default for CpuOptions {
    /// All that this process may use of this processor.
    fn default() -> Self {
        CpuOptions { threads: available_threads(), isa: Isa::detect() }
    }
}

/// The CPU as a [`Device`]. Ops run when called, so there is nothing to wait for.
pub struct CpuDevice {
    pool: Pool,
    level: Level,
    matmul: Mutex<matmul::Scratch>,
    attention: ops::attention::Scratch,
    lora: Mutex<ops::lora::Scratch>,
}

/// A weight as the CPU computes with it.
pub struct CpuWeight {
    packed: Weight,
    /// `[k]` the values themselves where the weight is a vector (`n` is 1), else empty.
    vector: Box<[f32]>,
}

impl CpuWeight {
    /// The `k` values of a weight that is a vector.
    fn vector(&self) -> &[f32] {
        assert_eq!(self.packed.n(), 1, "a vector is wanted, not a matrix");
        &self.vector
    }
}

/// There are no recorded steps on the CPU.
pub enum NoGraph {}

impl CpuDevice {
    /// A device with its threads started.
    ///
    /// # Errors
    /// If this processor does not have the instruction set.
    pub fn new(options: CpuOptions) -> Result<Self, DeviceError> {
        CpuDevice::on_nodes(options, &Nodes::unbound())
    }

    /// As [`CpuDevice::new`], with the threads that it starts bound to nodes.
    ///
    /// # Errors
    /// As [`CpuDevice::new`].
    pub fn on_nodes(options: CpuOptions, nodes: &Nodes) -> Result<Self, DeviceError> {
        let level = Level::new(options.isa).ok_or_else(|| DeviceError::Failed {
            device: "cpu".into(),
            reason: format!("this processor does not have {:?}; it has {:?}", options.isa, Isa::detect()),
        })?;
        let pool = Pool::on_nodes(options.threads, nodes);
        let attention = ops::attention::Scratch::new(pool.threads());
        Ok(CpuDevice { pool, level, matmul: Mutex::default(), attention, lora: Mutex::default() })
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Instruction set of the kernels.
    pub fn isa(&self) -> Isa {
        self.level.isa()
    }

    /// Measures what the processor can do at most with this device's threads; takes about a second.
    pub fn limits(&self) -> Limits {
        probe::limits(&self.pool, self.level)
    }

    fn run(&self) -> Run<'_> {
        Run { pool: &self.pool, level: self.level }
    }

    fn no_memory(&self, what: &str, bytes: usize) -> DeviceError {
        DeviceError::OutOfMemory { device: self.name(), what: what.into(), bytes }
    }
}

impl Device for CpuDevice {
    type Buffer = Buffer;
    type Weight = CpuWeight;
    type KvLayer = KvLayer;
    type LoraSlots = LoraSlots;

    fn name(&self) -> String {
        "cpu".into()
    }

    fn alloc<T: Element>(&self, len: usize) -> Result<Buffer, DeviceError> {
        Buffer::zeroed(len).ok_or_else(|| self.no_memory("activations", len.saturating_mul(size_of::<T>())))
    }

    fn alloc_kv(&self, shape: &KvShape) -> Result<KvLayer, DeviceError> {
        KvLayer::zeroed(shape).ok_or_else(|| {
            let bytes = shape.n_blocks.saturating_mul(self.kv_block_bytes(shape));
            self.no_memory("the KV cache of a layer", bytes)
        })
    }

    fn kv_block_bytes(&self, shape: &KvShape) -> usize {
        KvLayer::block_bytes(shape)
    }

    fn read_kv_block(&self, layer: &KvLayer, block: u32, out: &mut [u8]) -> Result<(), DeviceError> {
        let [keys, values] = layer.block(block);
        assert_eq!(out.len(), keys.len() + values.len(), "the bytes of one block");
        let (to_keys, to_values) = out.split_at_mut(keys.len());
        to_keys.copy_from_slice(keys);
        to_values.copy_from_slice(values);
        Ok(())
    }

    fn write_kv_block(&self, layer: &mut KvLayer, block: u32, data: &[u8]) -> Result<(), DeviceError> {
        let [keys, values] = layer.block_mut(block);
        assert_eq!(data.len(), keys.len() + values.len(), "the bytes of one block");
        let (from_keys, from_values) = data.split_at(keys.len());
        keys.copy_from_slice(from_keys);
        values.copy_from_slice(from_values);
        Ok(())
    }

    fn alloc_lora(&self, shape: &LoraShape) -> Result<LoraSlots, DeviceError> {
        LoraSlots::empty(shape).ok_or_else(|| self.no_memory("adapter slots", shape.slots))
    }

    fn write_lora(&self, slots: &mut LoraSlots, slot: u32, view: &LoraView<'_>) -> Result<(), DeviceError> {
        // What was there goes first, so that the two are never in memory together.
        slots.put(slot, None);
        let weight = LoraWeight::pack(&slots.shape, view).ok_or_else(|| {
            let bytes = LoraWeight::bytes(&slots.shape, view.rank).unwrap_or(usize::MAX);
            self.no_memory("an adapter", bytes)
        })?;
        slots.put(slot, Some(weight));
        Ok(())
    }

    fn clear_lora(&self, slots: &mut LoraSlots, slot: u32) {
        slots.put(slot, None);
    }

    fn load_weight(&self, view: &WeightView<'_>) -> Result<CpuWeight, DeviceError> {
        let packed = Weight::pack(view, self.isa(), &self.pool)?;
        let mut vector = Vec::new();
        if view.n == 1 {
            vector
                .try_reserve_exact(view.k)
                .map_err(|_| self.no_memory(view.name, view.k.saturating_mul(size_of::<f32>())))?;
            vector.resize(view.k, 0.0);
            packed.unpack_row(0, &mut vector);
        }
        Ok(CpuWeight { packed, vector: vector.into_boxed_slice() })
    }

    fn write<T: Element>(&self, dst: &mut Buffer, data: &[T]) -> Result<(), DeviceError> {
        dst.as_mut_slice()[..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn read<T: Element>(&self, src: &Buffer, offset: usize, out: &mut [T]) -> Result<(), DeviceError> {
        out.copy_from_slice(&src.as_slice()[offset..][..out.len()]);
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl Ops for CpuDevice {
    fn embed(&self, dst: &mut Buffer, table: &CpuWeight, tokens: &Buffer, rows: usize) {
        let dst = dst.values_mut(rows * table.packed.k());
        ops::embed::embed(self.run(), dst, &table.packed, tokens.indices(rows));
    }

    fn gather(&self, dst: &mut Buffer, src: &Buffer, rows: &Buffer, n: usize, dim: usize) {
        ops::gather::gather(dst.values_mut(n * dim), src.as_slice(), rows.indices(n), dim);
    }

    fn rms_norm(&self, dst: &mut Buffer, x: &Buffer, w: &CpuWeight, rows: usize, eps: f32) {
        let w = w.vector();
        let len = rows * w.len();
        ops::rms_norm::rms_norm(self.run(), dst.values_mut(len), x.values(len), w, eps);
    }

    fn rms_norm_in_place(&self, x: &mut Buffer, w: &CpuWeight, rows: usize, eps: f32) {
        let w = w.vector();
        ops::rms_norm::rms_norm_in_place(self.run(), x.values_mut(rows * w.len()), w, eps);
    }

    fn matmul(&self, dst: &mut Buffer, x: &Buffer, w: &CpuWeight, rows: usize) {
        self.matmul_group(&mut [(dst, w)], x, rows);
    }

    fn matmul_group(&self, jobs: &mut [(&mut Buffer, &CpuWeight)], x: &Buffer, rows: usize) {
        let Some(k) = jobs.first().map(|(_, w)| w.packed.k()) else { return };
        let mut jobs: Vec<_> =
            jobs.iter_mut().map(|(dst, w)| (dst.values_mut(rows * w.packed.n()), &w.packed)).collect();
        let mut scratch = lock(&self.matmul);
        matmul::matmul_group(&self.pool, self.isa(), &mut jobs, x.values(rows * k), rows, &mut scratch);
    }

    fn lora(&self, dst: &mut Buffer, x: &Buffer, slots: &LoraSlots, adapters: &Buffer, rows: usize) {
        let (dst, x) = (dst.values_mut(rows * slots.shape.n), x.values(rows * slots.shape.k));
        ops::lora::lora(self.run(), dst, x, slots, adapters.indices(rows), &mut lock(&self.lora));
    }

    fn add_bias(&self, x: &mut Buffer, bias: &CpuWeight, rows: usize) {
        let bias = bias.vector();
        ops::add_bias::add_bias(self.run(), x.values_mut(rows * bias.len()), bias);
    }

    fn rope_angles(
        &self,
        dst: &mut Buffer,
        positions: &Buffer,
        inv_freq: &Buffer,
        rope_dim: usize,
        magnitude: f32,
        rows: usize,
    ) {
        let dst = dst.values_mut(rows * rope_dim);
        let inv_freq = inv_freq.values(rope_dim / 2);
        ops::rope_angles::rope_angles(self.run(), dst, positions.indices(rows), inv_freq, magnitude);
    }

    fn rope(&self, x: &mut Buffer, angles: &Buffer, shape: RopeShape, rows: usize) {
        let x = x.values_mut(rows * shape.n_heads * shape.head_dim);
        ops::rope::rope(self.run(), x, angles.values(rows * shape.rope_dim), shape);
    }

    fn store_kv(&self, layer: &mut KvLayer, k: &Buffer, v: &Buffer, step: &StepBuffers<Self>) {
        let len = step.shape.tokens * layer.shape.n_kv_heads * layer.shape.head_dim;
        let slots = step.slots.indices(step.shape.tokens);
        ops::store_kv::store_kv(self.run(), layer, k.values(len), v.values(len), slots);
    }

    fn attention(
        &self,
        dst: &mut Buffer,
        q: &Buffer,
        layer: &KvLayer,
        step: &StepBuffers<Self>,
        queries: Queries,
        shape: &AttentionShape,
    ) {
        let (count, positions, q_start) = step.queries(queries);
        let len = count * shape.n_heads * shape.head_dim;
        let (dst, q) = (dst.values_mut(len), q.values(len));
        let seqs = step.shape.seqs;
        let step = ops::attention::Step {
            positions: positions.indices(count),
            q_start: q_start.indices(seqs + 1),
            blocks: step.blocks.as_slice(),
            block_start: step.block_start.indices(seqs + 1),
        };
        ops::attention::attention(self.run(), dst, q, layer, &step, shape, &self.attention);
    }

    fn silu_mul(&self, dst: &mut Buffer, gate: &Buffer, up: &Buffer, len: usize) {
        ops::silu_mul::silu_mul(self.run(), dst.values_mut(len), gate.values(len), up.values(len));
    }

    fn add(&self, dst: &mut Buffer, src: &Buffer, len: usize) {
        ops::add::add(self.run(), dst.values_mut(len), src.values(len));
    }
}

impl Capture for CpuDevice {
    type Graph = NoGraph;

    fn capture_buckets(&self, _max_seqs: usize) -> Vec<Bucket> {
        Vec::new()
    }

    fn capture(&self, _forward: impl FnOnce() -> Result<(), DeviceError>) -> Result<NoGraph, DeviceError> {
        Err(DeviceError::Failed { device: self.name(), reason: "the CPU does not record steps".into() })
    }

    fn replay(&self, graph: &NoGraph) -> Result<(), DeviceError> {
        match *graph {}
    }
}

/// A panic while scratch memory was borrowed leaves nothing in it that the next op would read.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
