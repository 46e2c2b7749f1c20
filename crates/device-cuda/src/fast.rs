//! Prompts in a hurry: steps with many rows as products of halves, at the rate of the GPU's tensor cores.
//!
//! Key decisions:
//! - Quantized weights are unfolded to halves some rows at a time, in memory that is taken once, and multiplied by cuBLASLt,
//!   which also multiplies weights of 16 bits as they lie. Bytes are written and read again for that, so few rows do not pay
//!   it back: they take the way that they always take, and decode steps are the same in both modes, to the bit.
//! - Activations are rounded to the weight's type once, where the other way has 8 bits or is exact to f32. One power of two for
//!   all of them keeps what is too large for F16 within it (`kernels/narrow.cu`).
//! - What the library computes is tried before it is trusted: layouts by columns and factors on the device are easily mistaken,
//!   and no test here has the library itself.

use bytemuck::{Pod, Zeroable};
use garrison_device::DeviceError;
use half::{bf16, f16};

use crate::driver::dense::{DensePlan, DenseProduct, DenseShape, NoDense};
use crate::driver::{Address, Driver, Grid};
use crate::gpu::{Buffer, Gpu, blocks, count};
use crate::halves::{Half, HalfWeight};
use crate::matmul::{Into, Products, Source};
use crate::weight::{Content, Quantized, UNIT, Weight, WeightArgs};

const HALF_BYTES: usize = 2;
/// Blocks that look for the largest activation, and threads of each: the `PARTS` of `kernels/narrow.cu`.
const PARTS: usize = 256;
/// Threads of a block that unfolds, and what lanes of a unit are.
const UNFOLD_THREADS: usize = 128;
const UNIT_LANES: usize = 8;
/// Rows of a weight are unfolded in whole tiles of the library's, where there are as many.
const TILE: usize = 128;

/// What products of halves are enqueued with.
pub(crate) struct Fast<D: Driver> {
    pub(crate) plan: DensePlan,
    largest: D::Function,
    largest_silu: D::Function,
    /// By [`Half`].
    narrow: [D::Function; 2],
    /// 0 and 1, as f32.
    constants: D::Memory,
    /// `[PARTS]` magnitudes.
    parts: D::Memory,
    /// `[2]` f32: what products are multiplied by for the activations' sake, and for the weight's, too.
    scales: D::Memory,
    /// The library's own.
    library: D::Memory,
}

/// Halves on their way. Whatever a recorded step uses stays where it is: what a larger weight needs is made before any step
/// that needs it is recorded, and what was there before is kept.
pub(crate) struct DenseRoom<D: Driver> {
    narrowed: Option<(usize, D::Memory)>,
    unfolded: Option<(usize, D::Memory)>,
    #[allow(dead_code)] // held for recorded steps, not read
    outgrown: Vec<(usize, D::Memory)>,
}

impl<D: Driver> Default for DenseRoom<D> {
    fn default() -> Self {
        DenseRoom { narrowed: None, unfolded: None, outgrown: Vec::new() }
    }
}

/// The twins of the structs in `kernels/narrow.cu` and `unfold.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LargestArgs {
    x: Address,
    parts: Address,
    len: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LargestSiluArgs {
    gate: Address,
    up: Address,
    values: Address,
    parts: Address,
    len: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct NarrowArgs {
    to: Address,
    x: Address,
    parts: Address,
    scale: Address,
    k: u32,
    stride: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct UnfoldArgs {
    to: Address,
    w: WeightArgs,
    x_scale: Address,
    scale: Address,
    first: u32,
    up: f32,
    down: f32,
    unused: u32,
}

/// Rows of activations as halves, and where their products go.
#[derive(Clone, Copy)]
struct Narrowed {
    at: Address,
    rows: usize,
    stride: usize,
    /// What products are multiplied by.
    scale: Address,
    into: Into,
}

impl<D: Driver> Fast<D> {
    /// Starts the library, and tries it.
    ///
    /// # Errors
    /// If it is not there, or wrong.
    pub(crate) fn new(gpu: &Gpu<D>) -> Result<Self, NoDense> {
        let (driver, plan) = (&gpu.driver, gpu.driver.open_dense()?);
        let alloc = |bytes: usize| driver.alloc("products of halves", bytes);
        let constants = alloc(2 * size_of::<f32>())?;
        driver.write(&constants, 0, bytemuck::cast_slice(&[0.0f32, 1.0]))?;
        let fast = Fast {
            plan,
            largest: driver.function("largest")?,
            largest_silu: driver.function("largest_silu")?,
            narrow: [driver.function("narrow_F16")?, driver.function("narrow_BF16")?],
            constants,
            parts: alloc(PARTS * size_of::<u32>())?,
            scales: alloc(2 * size_of::<f32>())?,
            library: alloc(plan.library_bytes)?,
        };
        for half in Half::ALL {
            fast.try_out(gpu, half)?;
        }
        Ok(fast)
    }

    /// Whether a product with so many rows is one of halves.
    pub(crate) fn takes(&self, w: &Weight<D>, rows: usize) -> bool {
        match w.content {
            Content::Floats { .. } => false,
            Content::Halves(_) => rows >= self.plan.halves_from,
            Content::Quantized(_) => self.plan.unfolded_from.is_some_and(|from| rows >= from),
        }
    }

    /// Makes room for products with `weight`.
    pub(crate) fn reserve(
        &self,
        gpu: &Gpu<D>,
        room: &mut DenseRoom<D>,
        weight: &Weight<D>,
    ) -> Result<(), DeviceError> {
        let unfolded = match &weight.content {
            Content::Floats { .. } => return Ok(()),
            Content::Halves(_) => 0,
            Content::Quantized(_) if self.plan.unfolded_from.is_none() => return Ok(()),
            Content::Quantized(w) => self.part_rows(w) * stride(w) * HALF_BYTES,
        };
        let narrowed = self.plan.rows * x_stride(weight.k) * HALF_BYTES;
        let DenseRoom { narrowed: for_x, unfolded: for_w, outgrown } = room;
        for (slot, what, bytes) in
            [(for_x, "activations as halves", narrowed), (for_w, "an unfolded weight", unfolded)]
        {
            if slot.as_ref().is_none_or(|(there, _)| *there < bytes) {
                outgrown.extend(slot.replace((bytes, gpu.driver.alloc(what, bytes.max(1))?)));
            }
        }
        Ok(())
    }

    /// Rows of a weight that are unfolded at a time: as even parts as can be.
    fn part_rows(&self, w: &Quantized<D>) -> usize {
        let (n, most) = (w.args.rows(), (self.plan.unfolded_bytes / (stride(w) * HALF_BYTES)).max(1));
        let even = n.div_ceil(n.div_ceil(most));
        let whole = even.next_multiple_of(TILE);
        if whole <= most { whole.min(n) } else { even }
    }

    /// `dst = x w` for each job, or `dst += x w`; all are such as it [takes](Fast::takes).
    pub(crate) fn products(
        &self,
        on: &Products<'_, D>,
        jobs: &[(&Buffer<D>, &Weight<D>)],
        source: &Source<'_, D>,
        rows: usize,
        into: Into,
    ) {
        let (gpu, k) = (on.gpu, jobs[0].1.k);
        let Some((_, narrowed)) = &on.scratch.dense.narrowed else { unreachable!("a weight was loaded") };
        // Even parts: a last one of few rows would have all weights unfolded for these.
        let most = rows.div_ceil(rows.div_ceil(self.plan.rows));
        for first in (0..rows).step_by(most) {
            let rows = most.min(rows - first);
            let x = self.look(on, source, k, (first, rows));
            let [scale, _] = self.scales();
            let x_stride = x_stride(k);
            let narrowed = Narrowed { at: D::address(narrowed), rows, stride: x_stride, scale, into };
            for half in Half::ALL {
                let of_half = |w: &Weight<D>| match &w.content {
                    Content::Halves(w) => w.half == half,
                    _ => half == Half::F16,
                };
                let mut jobs = jobs.iter().filter(|(_, w)| of_half(w)).peekable();
                if jobs.peek().is_none() {
                    continue;
                }
                let (to, parts) = (narrowed.at, D::address(&self.parts));
                let args = NarrowArgs { to, x, parts, scale, k: count(k), stride: count(x_stride) };
                let grid = Grid { blocks: [count(rows), 1, 1], threads: PARTS as u32 };
                gpu.enqueue(self.narrow[half as usize], grid, &args);
                for (dst, w) in jobs {
                    let dst = dst.first((first + rows) * w.n).offset(first * w.n * size_of::<f32>());
                    match &w.content {
                        Content::Halves(w) => self.with_halves(gpu, dst, w, narrowed),
                        Content::Quantized(w) => {
                            self.with_unfolded(gpu, &on.scratch.dense, dst, w, narrowed);
                        }
                        Content::Floats { .. } => unreachable!("these are taken by nobody here"),
                    }
                }
            }
        }
    }

    /// Computes rows `first ..` of activations, if they are not there; has the largest of them looked for. Where they are.
    fn look(
        &self,
        on: &Products<'_, D>,
        source: &Source<'_, D>,
        k: usize,
        (first, rows): (usize, usize),
    ) -> Address {
        let grid = Grid { blocks: [PARTS as u32, 1, 1], threads: PARTS as u32 };
        let (parts, len) = (D::address(&self.parts), (rows * k) as u64);
        if let Source::Silu { values, gate, up } = *source {
            let at =
                |buffer: &Buffer<D>| buffer.first((first + rows) * k).offset(first * k * size_of::<f32>());
            let [gate, up, values] = [gate, up, values].map(at);
            on.gpu.enqueue(self.largest_silu, grid, &LargestSiluArgs { gate, up, values, parts, len });
            return values;
        }
        let x = on.prepare(source, [false; 2], k, (first, rows));
        on.gpu.enqueue(self.largest, grid, &LargestArgs { x, parts, len });
        x
    }

    /// For the activations' sake; for the weight's, too.
    fn scales(&self) -> [Address; 2] {
        let first = D::address(&self.scales);
        [first, first.offset(size_of::<f32>())]
    }

    fn with_halves(&self, gpu: &Gpu<D>, dst: Address, w: &HalfWeight<D>, x: Narrowed) {
        let (half, n, k) = (w.half, w.n, w.stride());
        gpu.multiply(&self.product(x, D::address(&w.values), (half, n, k), (dst, n)));
    }

    fn with_unfolded(&self, gpu: &Gpu<D>, room: &DenseRoom<D>, dst: Address, w: &Quantized<D>, x: Narrowed) {
        let Some((_, unfolded)) = &room.unfolded else { unreachable!("a weight was loaded") };
        let (n, k, to) = (w.args.rows(), stride(w), D::address(unfolded));
        let (up, down) = powers_of(w.largest);
        let [x_scale, scale] = self.scales();
        let part = self.part_rows(w);
        for first in (0..n).step_by(part) {
            let rows = part.min(n - first);
            let (first_row, unused) = (count(first), 0);
            let args = UnfoldArgs { to, w: w.args, x_scale, scale, first: first_row, up, down, unused };
            let grid = Grid {
                blocks: [count(rows), blocks(w.args.units() * UNIT_LANES, UNFOLD_THREADS), 1],
                threads: UNFOLD_THREADS as u32,
            };
            gpu.enqueue(w.unfold, grid, &args);
            let dst = dst.offset(first * size_of::<f32>());
            gpu.multiply(&self.product(Narrowed { scale, ..x }, to, (Half::F16, rows, k), (dst, n)));
        }
    }

    fn product(
        &self,
        x: Narrowed,
        w: Address,
        (half, n, k): (Half, usize, usize),
        (dst, dst_stride): (Address, usize),
    ) -> DenseProduct {
        let Narrowed { at, rows, stride, scale, into } = x;
        DenseProduct {
            shape: DenseShape { half, n, rows, k, x_stride: stride, dst_stride, into },
            w,
            x: at,
            dst,
            scale,
            constants: D::address(&self.constants),
            workspace: (D::address(&self.library), self.plan.library_bytes),
        }
    }

    /// Holds what the library computes against what is right, with numbers that are exact in halves: `dst = s x w^T` over what
    /// is no number, which must not be read, then `dst += s x w^T`.
    fn try_out(&self, gpu: &Gpu<D>, half: Half) -> Result<(), NoDense> {
        const N: usize = 48;
        const ROWS: usize = 24;
        const K: usize = 64;
        const STRIDE: usize = 72;
        let value = |i: usize, j: usize| ((7 * i + 5 * j + i * j) % 13) as f32 - 6.0;
        let narrow = |x: f32| match half {
            Half::F16 => f16::from_f32(x).to_bits(),
            Half::BF16 => bf16::from_f32(x).to_bits(),
        };
        let driver = &gpu.driver;
        let alloc = |bytes: usize| driver.alloc("a product of halves", bytes);
        let w: Vec<u16> = (0..N * K).map(|at| narrow(value(at / K, at % K))).collect();
        // Beyond a row's end is what nobody may read.
        let x = |at: usize| if at % STRIDE < K { value(at % STRIDE, at / STRIDE) } else { f32::NAN };
        let x: Vec<u16> = (0..ROWS * STRIDE).map(|at| narrow(x(at))).collect();
        let (on_w, on_x, on_dst) = (alloc(N * K * 2)?, alloc(ROWS * STRIDE * 2)?, alloc(ROWS * (N + 1) * 4)?);
        driver.write(&on_w, 0, bytemuck::cast_slice(&w))?;
        driver.write(&on_x, 0, bytemuck::cast_slice(&x))?;
        driver.write(&on_dst, 0, bytemuck::cast_slice(&[f32::NAN; ROWS * (N + 1)]))?;
        let [scale, _] = self.scales();
        driver.write(&self.scales, 0, bytemuck::bytes_of(&0.5f32))?;
        let narrowed = |into| Narrowed { at: D::address(&on_x), rows: ROWS, stride: STRIDE, scale, into };
        for (into, times) in [(Into::Place, 1.0), (Into::Sum, 2.0)] {
            let dst = (D::address(&on_dst), N + 1);
            let product = self.product(narrowed(into), D::address(&on_w), (half, N, K), dst);
            // SAFETY: all that it names is here, and stays until it was waited for below.
            unsafe { driver.multiply(&product) }?;
            let mut got = [0.0f32; ROWS * (N + 1)];
            driver.read(&on_dst, 0, bytemuck::cast_slice_mut(&mut got))?;
            for (at, &got) in got.iter().enumerate() {
                let (row, col) = (at / (N + 1), at % (N + 1));
                let sum: f32 = (0..K).map(|j| value(col, j) * value(j, row)).sum();
                let expected = if col < N { times * 0.5 * sum } else { f32::NAN };
                if got != expected && !(got.is_nan() && expected.is_nan()) {
                    return Err(NoDense::Wrong { got, expected });
                }
            }
        }
        Ok(())
    }
}

/// Values from a row of an unfolded weight to the next.
fn stride<D: Driver>(w: &Quantized<D>) -> usize {
    w.args.units() * UNIT
}

/// Values from a row of activations to the next: no weight has more.
fn x_stride(k: usize) -> usize {
    k.next_multiple_of(UNIT)
}

/// What brings magnitudes up to `largest` to just below 2^15, and back, as `powers_of` in `kernels/halves.cuh`.
fn powers_of(largest: f32) -> (f32, f32) {
    let exponent = (largest.to_bits() >> 23).clamp(15, 254);
    (f32::from_bits((268 - exponent) << 23), f32::from_bits((exponent - 14) << 23))
}
