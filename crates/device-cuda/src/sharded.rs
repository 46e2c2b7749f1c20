//! Several GPUs as one device: each has its share of every weight, of the heads, and of their keys and values (tensor
//! parallelism; Shoeybi et al. 2019, Megatron-LM, section 3).
//!
//! Key decisions:
//! - A buffer exists on every rank, and is either the same on each, or cut: then each rank has its share of every row,
//!   one row after the other. Products with weights cut by outputs make cut buffers; products with weights cut by
//!   inputs take them, and are summed over all ranks. So there are two sums a layer, and nothing else crosses the bus.
//! - A rank's ops are those of a device on its own, on smaller shapes.
//! - Sums differ from one device's in the order of additions; they do not depend on the batch, so neither do tokens.
//!
//! - An adapter is cut as the weight that it adds to. Where that is cut by inputs each rank has a part of what rows come to
//!   by the first matrix; these few values a row are what is summed.
//! - Logits are whole on each rank, and so each draws all tokens: nothing has to be sent to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use garrison_device::{
    AttentionShape, Cut, Device, DeviceError, DrawBuffers, Drawing, Element, KvShape, LoraShape, LoraView,
    Ops, Queries, RopeShape, StepBuffers, WeightView,
};

use crate::collective::Collective;
use crate::device::{CudaDevice, Step};
use crate::draw::Draws;
use crate::driver::Driver;
use crate::gpu::Buffer;
use crate::kv::KvLayer;
use crate::lora::{LoraRows, LoraSlots};
use crate::recorded::{Recording, Sum};
use crate::shares::{ShardedSlots, ShardedWeight};

/// See the module.
pub struct Sharded<D: Driver, C: Collective<D>> {
    pub(crate) ranks: Vec<CudaDevice<D>>,
    collective: C,
    pub(crate) steps: Recording<D>,
}

/// A buffer on every rank.
pub struct ShardedBuffer<D: Driver> {
    parts: Vec<Buffer<D>>,
    /// Whether each has its share of every row, or all the same.
    cut: AtomicBool,
}

impl<D: Driver> ShardedBuffer<D> {
    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    fn set_cut(&mut self, cut: bool) {
        *self.cut.get_mut() = cut;
    }

    /// `whole`, or a rank's share of it.
    fn share(&self, whole: usize) -> usize {
        if self.is_cut() { whole / self.parts.len() } else { whole }
    }
}

impl<D: Driver, C: Collective<D>> Sharded<D, C> {
    /// These devices as one; `collective` is theirs.
    ///
    /// # Errors
    /// If there are none.
    pub fn new(ranks: Vec<CudaDevice<D>>, collective: C) -> Result<Self, DeviceError> {
        if ranks.is_empty() {
            return Err(DeviceError::Failed {
                device: "cuda".into(),
                reason: "there are no GPUs to share".into(),
            });
        }
        Ok(Sharded { ranks, collective, steps: Recording::default() })
    }

    /// How many there are.
    pub fn ranks(&self) -> usize {
        self.ranks.len()
    }

    /// One of them, counted from 0.
    pub fn rank(&self, i: usize) -> &CudaDevice<D> {
        &self.ranks[i]
    }

    /// Bytes of memory that nobody has taken, on all of them together: as much as if each had what the fullest has.
    ///
    /// # Errors
    /// If a device fails.
    pub fn available(&self) -> Result<usize, DeviceError> {
        let each = self.ranks.iter().map(CudaDevice::available).collect::<Result<Vec<_>, _>>()?;
        Ok(each.into_iter().min().unwrap_or(0) * self.ranks.len())
    }

    /// One part from each rank.
    pub(crate) fn each<T>(
        &self,
        mut make: impl FnMut(usize, &CudaDevice<D>) -> Result<T, DeviceError>,
    ) -> Result<Vec<T>, DeviceError> {
        self.ranks.iter().enumerate().map(|(i, rank)| make(i, rank)).collect()
    }

    /// Adds the first `len` values of each rank's part over all ranks, or records that.
    fn sum<'a>(&self, parts: impl Iterator<Item = &'a Arc<D::Memory>>, len: usize) {
        let sum = Sum { parts: parts.cloned().collect(), len };
        let done = if self.steps.is_recording() { self.cut_recording(sum) } else { self.all_reduce(&sum) };
        self.ranks[0].gpu.note(done);
    }

    pub(crate) fn all_reduce(&self, sum: &Sum<D>) -> Result<(), DeviceError> {
        let drivers: Vec<&D> = self.ranks.iter().map(|rank| &rank.gpu.driver).collect();
        let parts: Vec<&D::Memory> = sum.parts.iter().map(|part| &**part).collect();
        self.collective.all_reduce(&drivers, &parts, sum.len)
    }

    /// Whether anything was noted that failed.
    pub(crate) fn check_ranks(&self) -> Result<(), DeviceError> {
        self.ranks.iter().try_for_each(|rank| rank.gpu.check())
    }

    fn kv_share(&self, shape: &KvShape) -> KvShape {
        KvShape { n_kv_heads: shape.n_kv_heads / self.ranks.len(), ..*shape }
    }

    /// The step as rank `i` has it.
    fn step<'a>(step: &'a StepBuffers<Self>, i: usize, queries: Queries) -> Step<'a, D> {
        let (tokens, positions, q_start) = step.queries(queries);
        Step {
            shape: step.shape,
            block_limit: step.limits().blocks,
            tokens,
            positions: &positions.parts[i],
            q_start: &q_start.parts[i],
            blocks: &step.blocks.parts[i],
            block_start: &step.block_start.parts[i],
            slots: &step.slots.parts[i],
        }
    }
}

impl<D: Driver, C: Collective<D>> Device for Sharded<D, C> {
    type Buffer = ShardedBuffer<D>;
    type Weight = ShardedWeight<D>;
    type KvLayer = Vec<KvLayer<D>>;
    type LoraSlots = ShardedSlots<D>;

    fn name(&self) -> String {
        let names: Vec<String> = self.ranks.iter().map(Device::name).collect();
        names.join("+")
    }

    fn alloc<T: Element>(&self, len: usize) -> Result<ShardedBuffer<D>, DeviceError> {
        let parts = self.each(|_, rank| rank.alloc::<T>(len))?;
        Ok(ShardedBuffer { parts, cut: AtomicBool::new(false) })
    }

    fn alloc_kv(&self, shape: &KvShape) -> Result<Vec<KvLayer<D>>, DeviceError> {
        self.divide("the number of KV heads", shape.n_kv_heads)?;
        self.each(|_, rank| rank.alloc_kv(&self.kv_share(shape)))
    }

    fn kv_block_bytes(&self, shape: &KvShape) -> usize {
        self.ranks.iter().map(|rank| rank.kv_block_bytes(&self.kv_share(shape))).sum()
    }

    fn read_kv_block(&self, layer: &Vec<KvLayer<D>>, block: u32, out: &mut [u8]) -> Result<(), DeviceError> {
        let share = out.len() / self.ranks.len();
        let mut parts = self.ranks.iter().zip(layer).zip(out.chunks_exact_mut(share));
        parts.try_for_each(|((rank, layer), out)| rank.read_kv_block(layer, block, out))
    }

    fn write_kv_block(
        &self,
        layer: &mut Vec<KvLayer<D>>,
        block: u32,
        data: &[u8],
    ) -> Result<(), DeviceError> {
        let share = data.len() / self.ranks.len();
        let mut parts = self.ranks.iter().zip(layer).zip(data.chunks_exact(share));
        parts.try_for_each(|((rank, layer), data)| rank.write_kv_block(layer, block, data))
    }

    fn alloc_lora(&self, shape: &LoraShape) -> Result<ShardedSlots<D>, DeviceError> {
        self.alloc_slots(shape, Cut::Whole)
    }

    fn alloc_cut_lora(&self, shape: &LoraShape, cut: Cut) -> Result<ShardedSlots<D>, DeviceError> {
        self.alloc_slots(shape, cut)
    }

    fn write_lora(
        &self,
        slots: &mut ShardedSlots<D>,
        slot: u32,
        view: &LoraView<'_>,
    ) -> Result<(), DeviceError> {
        self.fill_slot(slots, slot, view)
    }

    fn clear_lora(&self, slots: &mut ShardedSlots<D>, slot: u32) {
        for (rank, part) in self.ranks.iter().zip(&mut slots.parts) {
            rank.clear_lora(part, slot);
        }
    }

    fn load_weight(&self, view: &WeightView<'_>) -> Result<ShardedWeight<D>, DeviceError> {
        self.load(view, Cut::Whole)
    }

    fn load_cut_weight(&self, view: &WeightView<'_>, cut: Cut) -> Result<ShardedWeight<D>, DeviceError> {
        self.load(view, cut)
    }

    fn write<T: Element>(&self, dst: &mut ShardedBuffer<D>, data: &[T]) -> Result<(), DeviceError> {
        dst.set_cut(false);
        self.ranks.iter().zip(&mut dst.parts).try_for_each(|(rank, part)| rank.write(part, data))
    }

    fn write_all<T: Element>(&self, parts: &mut [(&mut ShardedBuffer<D>, &[T])]) -> Result<(), DeviceError> {
        self.ranks.iter().enumerate().try_for_each(|(i, rank)| {
            let own = parts.iter_mut().map(|(dst, data)| {
                dst.set_cut(false);
                (&mut dst.parts[i], *data)
            });
            rank.write_all(&mut own.collect::<Vec<_>>())
        })
    }

    /// What is cut is never asked for.
    fn read<T: Element>(
        &self,
        src: &ShardedBuffer<D>,
        offset: usize,
        out: &mut [T],
    ) -> Result<(), DeviceError> {
        debug_assert!(!src.is_cut(), "a buffer that is cut is read");
        self.check_ranks()?;
        self.ranks[0].read(&src.parts[0], offset, out)
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.ranks.iter().try_for_each(Device::synchronize)
    }
}

impl<D: Driver, C: Collective<D>> Ops for Sharded<D, C> {
    fn embed(
        &self,
        dst: &mut ShardedBuffer<D>,
        table: &ShardedWeight<D>,
        tokens: &ShardedBuffer<D>,
        rows: usize,
    ) {
        dst.set_cut(false);
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.embed(&mut dst.parts[i], &table.parts[i], &tokens.parts[i], rows);
        }
    }

    fn gather(
        &self,
        dst: &mut ShardedBuffer<D>,
        src: &ShardedBuffer<D>,
        rows: &ShardedBuffer<D>,
        n: usize,
        dim: usize,
    ) {
        dst.set_cut(src.is_cut());
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.gather(&mut dst.parts[i], &src.parts[i], &rows.parts[i], n, src.share(dim));
        }
    }

    fn rms_norm(
        &self,
        dst: &mut ShardedBuffer<D>,
        x: &ShardedBuffer<D>,
        w: &ShardedWeight<D>,
        rows: usize,
        eps: f32,
    ) {
        debug_assert!(!x.is_cut(), "a norm is over whole rows");
        dst.set_cut(false);
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.rms_norm(&mut dst.parts[i], &x.parts[i], &w.parts[i], rows, eps);
        }
    }

    /// Of heads, of which each rank has its own.
    fn rms_norm_in_place(&self, x: &mut ShardedBuffer<D>, w: &ShardedWeight<D>, rows: usize, eps: f32) {
        let rows = x.share(rows);
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.rms_norm_in_place(&mut x.parts[i], &w.parts[i], rows, eps);
        }
    }

    fn matmul(&self, dst: &mut ShardedBuffer<D>, x: &ShardedBuffer<D>, w: &ShardedWeight<D>, rows: usize) {
        debug_assert_eq!(x.is_cut(), w.cut == Cut::Inputs, "activations are cut as the weight's inputs are");
        dst.set_cut(w.cut == Cut::Outputs);
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.matmul(&mut dst.parts[i], &x.parts[i], &w.parts[i], rows);
        }
        if w.cut == Cut::Inputs {
            self.sum(dst.parts.iter().map(|part| &part.memory), rows * w.parts[0].n);
        }
    }

    fn lora(
        &self,
        dst: &mut ShardedBuffer<D>,
        x: &ShardedBuffer<D>,
        slots: &ShardedSlots<D>,
        adapters: &ShardedBuffer<D>,
        rows: usize,
    ) {
        debug_assert_eq!(
            (x.is_cut(), dst.is_cut()),
            (slots.cut == Cut::Inputs, slots.cut == Cut::Outputs),
            "rows are cut as the weight's are that is added to"
        );
        let of = |i: usize| LoraRows { dst: &dst.parts[i], x: &x.parts[i], adapters: &adapters.parts[i] };
        for chunk in LoraSlots::<D>::chunks(rows) {
            for (i, rank) in self.ranks.iter().enumerate() {
                slots.parts[i].shrink(&rank.gpu, of(i), &chunk);
            }
            if slots.cut == Cut::Inputs {
                let (len, _) = slots.parts[0].sums(&chunk);
                self.sum(slots.parts.iter().map(|part| part.sums(&chunk).1), len);
            }
            for (i, rank) in self.ranks.iter().enumerate() {
                slots.parts[i].expand(&rank.gpu, of(i), &chunk);
            }
        }
    }

    fn add_bias(&self, x: &mut ShardedBuffer<D>, bias: &ShardedWeight<D>, rows: usize) {
        debug_assert_eq!(x.is_cut(), bias.cut == Cut::Outputs, "a bias is cut as what it is added to");
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.add_bias(&mut x.parts[i], &bias.parts[i], rows);
        }
    }

    fn rope_angles(
        &self,
        dst: &mut ShardedBuffer<D>,
        positions: &ShardedBuffer<D>,
        inv_freq: &ShardedBuffer<D>,
        rope_dim: usize,
        magnitude: f32,
        rows: usize,
    ) {
        for (i, rank) in self.ranks.iter().enumerate() {
            let (dst, positions, inv_freq) = (&mut dst.parts[i], &positions.parts[i], &inv_freq.parts[i]);
            rank.rope_angles(dst, positions, inv_freq, rope_dim, magnitude, rows);
        }
    }

    fn rope(&self, x: &mut ShardedBuffer<D>, angles: &ShardedBuffer<D>, shape: RopeShape, rows: usize) {
        let shape = RopeShape { n_heads: x.share(shape.n_heads), ..shape };
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.rope(&mut x.parts[i], &angles.parts[i], shape, rows);
        }
    }

    fn store_kv(
        &self,
        layer: &mut Vec<KvLayer<D>>,
        k: &ShardedBuffer<D>,
        v: &ShardedBuffer<D>,
        step: &StepBuffers<Self>,
    ) {
        debug_assert!(k.is_cut() && v.is_cut(), "each rank has the keys and values of its own heads");
        for (i, rank) in self.ranks.iter().enumerate() {
            let of_rank = Self::step(step, i, Queries::Tokens);
            rank.store_step(&mut layer[i], [&k.parts[i], &v.parts[i]], &of_rank);
        }
    }

    fn attention(
        &self,
        dst: &mut ShardedBuffer<D>,
        q: &ShardedBuffer<D>,
        layer: &Vec<KvLayer<D>>,
        step: &StepBuffers<Self>,
        queries: Queries,
        shape: &AttentionShape,
    ) {
        debug_assert!(q.is_cut(), "each rank has its own heads");
        let ranks = self.ranks.len();
        let shape =
            AttentionShape { n_heads: shape.n_heads / ranks, n_kv_heads: shape.n_kv_heads / ranks, ..*shape };
        dst.set_cut(true);
        for (i, rank) in self.ranks.iter().enumerate() {
            let of_rank = Self::step(step, i, queries);
            rank.attend_step([&dst.parts[i], &q.parts[i]], &layer[i], &of_rank, &shape);
        }
    }

    fn silu_mul(
        &self,
        dst: &mut ShardedBuffer<D>,
        gate: &ShardedBuffer<D>,
        up: &ShardedBuffer<D>,
        len: usize,
    ) {
        dst.set_cut(gate.is_cut());
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.silu_mul(&mut dst.parts[i], &gate.parts[i], &up.parts[i], gate.share(len));
        }
    }

    fn add(&self, dst: &mut ShardedBuffer<D>, src: &ShardedBuffer<D>, len: usize) {
        debug_assert_eq!(dst.is_cut(), src.is_cut(), "sums are of what is cut alike");
        let len = dst.share(len);
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.add(&mut dst.parts[i], &src.parts[i], len);
        }
    }

    fn drawing(&self) -> Drawing {
        self.ranks[0].drawing()
    }

    /// Each rank has all logits, draws the same from them, and has the tokens.
    fn draw(&self, logits: &mut ShardedBuffer<D>, draws: &mut DrawBuffers<Self>) {
        debug_assert!(!logits.is_cut(), "tokens are drawn from whole rows");
        for (i, rank) in self.ranks.iter().enumerate() {
            let [tokens, rows, edits, masks] =
                [&draws.tokens, &draws.rows, &draws.edits, &draws.masks].map(|buffer| &buffer.parts[i]);
            let (count, vocab) = (draws.count, draws.vocab);
            rank.draw_rows(&logits.parts[i], &Draws { tokens, rows, edits, masks, count, vocab });
        }
    }

    fn hand_on(
        &self,
        dst: &mut ShardedBuffer<D>,
        drawn: &ShardedBuffer<D>,
        rows: &ShardedBuffer<D>,
        n: usize,
        vocab: usize,
    ) {
        for (i, rank) in self.ranks.iter().enumerate() {
            rank.hand_on(&mut dst.parts[i], &drawn.parts[i], &rows.parts[i], n, vocab);
        }
    }

    fn send_drawn(&self, draws: &DrawBuffers<Self>) -> Result<(), DeviceError> {
        self.ranks[0].send_tokens(&draws.tokens.parts[0], draws.count)
    }

    fn receive_drawn(&self, draws: &DrawBuffers<Self>, out: &mut [u32]) -> Result<(), DeviceError> {
        self.check_ranks()?;
        self.ranks[0].receive_tokens(&draws.tokens.parts[0], out)
    }
}
