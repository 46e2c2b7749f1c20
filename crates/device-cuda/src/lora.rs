//! The adapter slots beside one linear layer.
//!
//! Key decision: kernels find a slot's matrices through a table whose address stays. So a slot takes the
//! memory of what is in it, and recorded steps see whatever it holds when they run. Values are f16, each
//! matrix multiplied by the power of two that keeps its values in range; the scale takes it back.

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
    sums: D::Memory,
    shrink: D::Function,
    expand: D::Function,
}

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
            sums: gpu.driver.alloc(what, MAX_ROWS * shape.max_rank.max(1) * size_of::<f32>())?,
            shrink: gpu.driver.function("lora_shrink")?,
            expand: gpu.driver.function("lora_expand")?,
        })
    }

    /// Puts an adapter's share into a slot. What was there goes first.
    pub(crate) fn fill(&mut self, gpu: &Gpu<D>, slot: u32, view: &LoraView<'_>) -> Result<(), DeviceError> {
        view.check(&self.shape);
        self.clear(gpu, slot)?;
        let (k, n, rank) = (self.shape.k, self.shape.n, view.rank);
        let (a_shift, b_shift) = (LoraView::shift(view.a), LoraView::shift(view.b));
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

    /// Adds what each row's adapter gives.
    pub(crate) fn add(
        &self,
        gpu: &Gpu<D>,
        dst: &Buffer<D>,
        x: &Buffer<D>,
        adapters: &Buffer<D>,
        rows: usize,
    ) {
        let LoraShape { n, k, max_rank, .. } = self.shape;
        let (dst, x, adapters) = (dst.first(rows * n), x.first(rows * k), adapters.first(rows));
        for first in (0..rows).step_by(MAX_ROWS) {
            let args = LoraArgs {
                dst: dst.offset(first * n * size_of::<f32>()),
                x: x.offset(first * k * size_of::<f32>()),
                sums: D::address(&self.sums),
                slots: D::address(&self.table),
                adapters: adapters.offset(first * size_of::<u32>()),
                n: count(n),
                k: count(k),
                max_rank: count(max_rank),
                unused: 0,
            };
            let rows = count(MAX_ROWS.min(rows - first));
            gpu.enqueue(self.shrink, Grid { blocks: [rows, blocks(max_rank, 4), 1], threads: 128 }, &args);
            gpu.enqueue(self.expand, Grid { blocks: [rows, blocks(n, 128), 1], threads: 128 }, &args);
        }
    }
}
