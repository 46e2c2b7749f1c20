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
//!
//! Steps are not recorded, and tokens are drawn on the host.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use garrison_device::{
    AttentionShape, Bucket, Capture, Cut, Device, DeviceError, Element, KvShape, LoraShape, LoraView, Ops,
    Queries, RopeShape, StepBuffers, WeightView,
};

use crate::collective::Collective;
use crate::device::{CudaDevice, Step};
use crate::driver::Driver;
use crate::gpu::Buffer;
use crate::kv::KvLayer;
use crate::lora::{LoraRows, LoraSlots};
use crate::weight::Weight;

/// See the module.
pub struct Sharded<D: Driver, C: Collective<D>> {
    ranks: Vec<CudaDevice<D>>,
    collective: C,
}

/// A buffer on every rank.
pub struct ShardedBuffer<D: Driver> {
    parts: Vec<Buffer<D>>,
    /// Whether each has its share of every row, or all the same.
    cut: AtomicBool,
}

/// A weight, or each rank's share of it.
pub struct ShardedWeight<D: Driver> {
    parts: Vec<Weight<D>>,
    cut: Cut,
}

/// Adapter slots, or each rank's share of them.
pub struct ShardedSlots<D: Driver> {
    parts: Vec<LoraSlots<D>>,
    cut: Cut,
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
        Ok(Sharded { ranks, collective })
    }

    /// How many there are.
    pub fn ranks(&self) -> usize {
        self.ranks.len()
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
    fn each<T>(
        &self,
        mut make: impl FnMut(usize, &CudaDevice<D>) -> Result<T, DeviceError>,
    ) -> Result<Vec<T>, DeviceError> {
        self.ranks.iter().enumerate().map(|(i, rank)| make(i, rank)).collect()
    }

    /// Adds the first `len` values of each rank's part over all ranks.
    fn sum<'a>(&self, parts: impl Iterator<Item = &'a D::Memory>, len: usize) {
        let drivers: Vec<&D> = self.ranks.iter().map(|rank| &rank.gpu.driver).collect();
        let summed = self.collective.all_reduce(&drivers, &parts.collect::<Vec<_>>(), len);
        self.ranks[0].gpu.note(summed);
    }

    fn divide(&self, what: &str, n: usize) -> Result<usize, DeviceError> {
        let ranks = self.ranks.len();
        if !n.is_multiple_of(ranks) {
            let reason = format!("{what}, {n}, cannot be divided among {ranks} GPUs");
            return Err(DeviceError::Failed { device: self.name(), reason });
        }
        Ok(n / ranks)
    }

    fn kv_share(&self, shape: &KvShape) -> KvShape {
        KvShape { n_kv_heads: shape.n_kv_heads / self.ranks.len(), ..*shape }
    }

    fn load(&self, view: &WeightView<'_>, cut: Cut) -> Result<ShardedWeight<D>, DeviceError> {
        let WeightView { name, n, k, ty, data } = *view;
        let refuse = |reason: String| DeviceError::Weight { tensor: name.into(), reason };
        let row_bytes = ty.row_bytes(k).filter(|row| row.checked_mul(n) == Some(data.len()));
        let row_bytes =
            row_bytes.ok_or_else(|| refuse(format!("{} bytes are not [{n}, {k}]", data.len())))?;
        let ranks = self.ranks.len();
        let cannot = |of: &str| refuse(format!("its {of} cannot be divided among {ranks} GPUs"));
        let parts = match cut {
            Cut::Whole => self.each(|_, rank| rank.load_weight(view))?,
            // A vector is one row of outputs.
            Cut::Outputs if n == 1 => {
                let share = ty.row_bytes(k / ranks).filter(|_| k.is_multiple_of(ranks));
                let share = share.ok_or_else(|| cannot("values"))?;
                self.each(|i, rank| {
                    let data = &data[i * share..][..share];
                    rank.load_weight(&WeightView { name, n, k: k / ranks, ty, data })
                })?
            }
            Cut::Outputs => {
                if !n.is_multiple_of(ranks) {
                    return Err(cannot("outputs"));
                }
                let share = n / ranks * row_bytes;
                self.each(|i, rank| {
                    let data = &data[i * share..][..share];
                    rank.load_weight(&WeightView { name, n: n / ranks, k, ty, data })
                })?
            }
            Cut::Inputs => {
                let share = ty.row_bytes(k / ranks).filter(|_| k.is_multiple_of(ranks));
                let share = share.ok_or_else(|| cannot(&format!("inputs, in whole blocks of {ty},")))?;
                self.each(|i, rank| {
                    let rows = data.chunks_exact(row_bytes).flat_map(|row| &row[i * share..][..share]);
                    let data: Vec<u8> = rows.copied().collect();
                    rank.load_weight(&WeightView { name, n, k: k / ranks, ty, data: &data })
                })?
            }
        };
        Ok(ShardedWeight { parts, cut })
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
        self.alloc_cut_lora(shape, Cut::Whole)
    }

    fn alloc_cut_lora(&self, shape: &LoraShape, cut: Cut) -> Result<ShardedSlots<D>, DeviceError> {
        let shape = match cut {
            Cut::Whole => *shape,
            Cut::Outputs => {
                LoraShape { n: self.divide("the number of a layer's outputs", shape.n)?, ..*shape }
            }
            Cut::Inputs => LoraShape { k: self.divide("the number of a layer's inputs", shape.k)?, ..*shape },
        };
        Ok(ShardedSlots { parts: self.each(|_, rank| rank.alloc_lora(&shape))?, cut })
    }

    fn write_lora(
        &self,
        slots: &mut ShardedSlots<D>,
        slot: u32,
        view: &LoraView<'_>,
    ) -> Result<(), DeviceError> {
        let ShardedSlots { parts, cut } = slots;
        let (ranks, shifts) = (self.ranks.len(), LoraSlots::<D>::shifts(view));
        let (k, b_share) = (view.a.len() / view.rank, view.b.len() / ranks);
        self.ranks.iter().zip(parts).enumerate().try_for_each(|(i, (rank, part))| match cut {
            Cut::Whole => part.fill(&rank.gpu, slot, view, shifts),
            Cut::Outputs => {
                let share = LoraView { b: &view.b[i * b_share..][..b_share], ..*view };
                part.fill(&rank.gpu, slot, &share, shifts)
            }
            Cut::Inputs => {
                let of_row = |row: &'_ [f32]| row[i * (k / ranks)..][..k / ranks].to_vec();
                let a: Vec<f32> = view.a.chunks_exact(k).flat_map(of_row).collect();
                part.fill(&rank.gpu, slot, &LoraView { a: &a, ..*view }, shifts)
            }
        })
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
        self.ranks.iter().skip(1).try_for_each(|rank| rank.gpu.check())?;
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
}

impl<D: Driver, C: Collective<D>> Capture for Sharded<D, C> {
    type Graph = Infallible;

    fn capture_buckets(&self, _: usize) -> Vec<Bucket> {
        Vec::new()
    }

    fn capture(&self, _: impl FnOnce() -> Result<(), DeviceError>) -> Result<Infallible, DeviceError> {
        let reason = "steps on several GPUs are not recorded".into();
        Err(DeviceError::Failed { device: self.name(), reason })
    }

    fn replay(&self, graph: &Infallible) -> Result<(), DeviceError> {
        match *graph {}
    }
}
