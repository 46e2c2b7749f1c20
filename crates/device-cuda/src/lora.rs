//! The adapter slots beside one linear layer.
//!
//! Key decision: kernels find a slot's matrices through a table whose address stays. So a slot takes the
//! memory of what is in it, and recorded steps see whatever it holds when they run. Values are f16, each
//! matrix multiplied by the power of two that keeps its values in range; the scale takes it back.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use garrison_device::{DeviceError, LoraShape, LoraView};
use half::f16;

use crate::driver::{Address, Driver, Grid};
use crate::gpu::{Buffer, Gpu, blocks, count};

/// Rows that are computed at a time: what `sums` holds.
const MAX_ROWS: usize = 512;

/// The adapter slots beside one linear layer.
pub struct LoraSlots<D: Driver> {
    shape: LoraShape,
    /// `[slots + 1]` of [`Slot`].
    table: D::Memory,
    /// `[slots]` what the table points to, slot 1 first.
    matrices: Vec<Option<D::Memory>>,
    /// `[MAX_ROWS, max_rank]`
    sums: Arc<D::Memory>,
    shrink: D::Function,
    expand: D::Function,
}

/// What adapters are added to, what they are given, and which one each row has.
pub(crate) struct LoraRows<'a, D: Driver> {
    /// `[rows, n]`
    pub(crate) dst: &'a Buffer<D>,
    /// `[rows, k]`
    pub(crate) x: &'a Buffer<D>,
    /// `[rows]`
    pub(crate) adapters: &'a Buffer<D>,
}

impl<D: Driver> Clone for LoraRows<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Driver> Copy for LoraRows<'_, D> {}

/// The twins of the structs in `kernels/lora.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Slot {
    a: Address,
    b: Address,
    rank: u32,
    scale: f32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LoraArgs {
    dst: Address,
    x: Address,
    sums: Address,
    slots: Address,
    adapters: Address,
    n: u32,
    k: u32,
    max_rank: u32,
    unused: u32,
}

impl<D: Driver> LoraSlots<D> {
    pub(crate) fn empty(gpu: &Gpu<D>, shape: &LoraShape) -> Result<Self, DeviceError> {
        let what = "adapter slots";
        Ok(LoraSlots {
            shape: *shape,
            table: gpu.zeroed(what, (shape.slots + 1) * size_of::<Slot>())?,
            matrices: (0..shape.slots).map(|_| None).collect(),
            sums: Arc::new(gpu.driver.alloc(what, MAX_ROWS * shape.max_rank.max(1) * size_of::<f32>())?),
            shrink: gpu.driver.function("lora_shrink")?,
            expand: gpu.driver.function("lora_expand")?,
        })
    }

    /// The powers of two that an adapter's matrices are multiplied by.
    pub(crate) fn shifts(view: &LoraView<'_>) -> [i32; 2] {
        [view.a, view.b].map(LoraView::shift)
    }

    /// Puts an adapter's share into a slot. What was there goes first. Ranks that add up what they have of a product take
    /// the whole adapter's shifts.
    pub(crate) fn fill(
        &mut self,
        gpu: &Gpu<D>,
        slot: u32,
        view: &LoraView<'_>,
        [a_shift, b_shift]: [i32; 2],
    ) -> Result<(), DeviceError> {
        view.check(&self.shape);
        self.clear(gpu, slot)?;
        let (k, n, rank) = (self.shape.k, self.shape.n, view.rank);
        let half = |x: f32, shift: i32| f16::from_f32(x * 2f32.powi(shift)).to_bits();
        // `a` as it is, `[rank, k]`; `b` turned to `[rank, n]`, as threads read it.
        let mut values: Vec<u16> = view.a.iter().map(|&x| half(x, a_shift)).collect();
        values.extend(
            (0..rank).flat_map(|r| (0..n).map(move |o| o * rank + r)).map(|i| half(view.b[i], b_shift)),
        );
        let memory = gpu.driver.alloc("an adapter", size_of_val(values.as_slice()))?;
        gpu.driver.write(&memory, 0, bytemuck::cast_slice(&values))?;
        let a = D::address(&memory);
        let scale = (f64::from(view.scale) * 2f64.powi(-(a_shift + b_shift))) as f32;
        let entry = Slot { a, b: a.offset(rank * k * size_of::<u16>()), rank: count(rank), scale };
        self.put(gpu, slot, &entry)?;
        let at = self.index(slot);
        self.matrices[at] = Some(memory);
        Ok(())
    }

    /// Empties a slot, after everything enqueued.
    pub(crate) fn clear(&mut self, gpu: &Gpu<D>, slot: u32) -> Result<(), DeviceError> {
        self.put(gpu, slot, &Slot::zeroed())?;
        let at = self.index(slot);
        self.matrices[at] = None;
        Ok(())
    }

    fn put(&self, gpu: &Gpu<D>, slot: u32, entry: &Slot) -> Result<(), DeviceError> {
        let at = self.index(slot) + 1;
        gpu.driver.write(&self.table, at * size_of::<Slot>(), bytemuck::bytes_of(entry))
    }

    fn index(&self, slot: u32) -> usize {
        let n = self.matrices.len();
        assert!(slot >= 1 && slot as usize <= n, "adapter slot {slot} is not one of 1 to {n}");
        slot as usize - 1
    }

    /// Rows that are computed at a time.
    pub(crate) fn chunks(rows: usize) -> impl Iterator<Item = Range<usize>> {
        (0..rows).step_by(MAX_ROWS).map(move |first| first..rows.min(first + MAX_ROWS))
    }

    /// Adds what each row's adapter gives.
    pub(crate) fn add(&self, gpu: &Gpu<D>, of: LoraRows<'_, D>, rows: usize) {
        for chunk in Self::chunks(rows) {
            self.shrink(gpu, of, &chunk);
            self.expand(gpu, of, &chunk);
        }
    }

    /// What a chunk's rows come to by the first matrix, into [`LoraSlots::sums`].
    pub(crate) fn shrink(&self, gpu: &Gpu<D>, of: LoraRows<'_, D>, chunk: &Range<usize>) {
        let blocks = [count(chunk.len()), blocks(self.shape.max_rank, 4), 1];
        gpu.enqueue(self.shrink, Grid { blocks, threads: 128 }, &self.args(of, chunk));
    }

    /// `[chunk, max_rank]`, of which a row's adapter has the first: how many values, and where.
    pub(crate) fn sums(&self, chunk: &Range<usize>) -> (usize, &Arc<D::Memory>) {
        (chunk.len() * self.shape.max_rank, &self.sums)
    }

    /// Adds what these become by the second matrix.
    pub(crate) fn expand(&self, gpu: &Gpu<D>, of: LoraRows<'_, D>, chunk: &Range<usize>) {
        let blocks = [count(chunk.len()), blocks(self.shape.n, 128), 1];
        gpu.enqueue(self.expand, Grid { blocks, threads: 128 }, &self.args(of, chunk));
    }

    fn args(&self, of: LoraRows<'_, D>, chunk: &Range<usize>) -> LoraArgs {
        let LoraShape { n, k, max_rank, .. } = self.shape;
        let LoraRows { dst, x, adapters } = of;
        LoraArgs {
            dst: dst.first(chunk.end * n).offset(chunk.start * n * size_of::<f32>()),
            x: x.first(chunk.end * k).offset(chunk.start * k * size_of::<f32>()),
            sums: D::address(&self.sums),
            slots: D::address(&self.table),
            adapters: adapters.first(chunk.end).offset(chunk.start * size_of::<u32>()),
            n: count(n),
            k: count(k),
            max_rank: count(max_rank),
            unused: 0,
        }
    }
}
