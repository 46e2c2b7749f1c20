//! Products: which kernel computes them, and the 8-bit activations that quantized weights meet.

use bytemuck::{Pod, Zeroable};
use garrison_device::DeviceError;

use crate::driver::{Address, Driver, Grid};
use crate::gpu::{Buffer, Gpu, blocks, count};
use crate::weight::{Content, Quantized, RUN, Weight, WeightArgs};

/// Rows that are computed at a time: what the scratch holds.
const MAX_ROWS: usize = 512;

/// Activations, quantized, for weights whose scales are for 32 and for 256 values. Whatever a recorded step
/// uses stays where it is: a larger one is made for a larger weight, before any step that needs it is
/// recorded, and the smaller one is kept.
pub(crate) struct Scratch<D: Driver> {
    /// By span: 32, 256.
    current: [Option<Activations<D>>; 2],
    #[allow(dead_code)] // held for recorded steps, not read
    outgrown: Vec<Activations<D>>,
}

/// Room for [`MAX_ROWS`] rows of `k` values.
struct Activations<D: Driver> {
    k: usize,
    /// `[MAX_ROWS, k]` bytes.
    q: D::Memory,
    /// `[MAX_ROWS, k / span]` f32.
    d: D::Memory,
    /// `[MAX_ROWS, k / 16]` i16.
    sums: D::Memory,
}

/// The twins of the structs in `kernels/quantize.cu`, `matmul.cuh` and `matmul_float.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct QuantizeArgs {
    x: Address,
    to: ActivationArgs,
    k: u32,
    unused: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ActivationArgs {
    q: Address,
    d: Address,
    sums: Address,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulArgs {
    dst: Address,
    x: ActivationArgs,
    w: WeightArgs,
    rows: u32,
    unused: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulFloatArgs {
    dst: Address,
    x: Address,
    w: Address,
    n: u32,
    k: u32,
    rows: u32,
    unused: u32,
}

impl<D: Driver> Default for Scratch<D> {
    fn default() -> Self {
        Scratch { current: [None, None], outgrown: Vec::new() }
    }
}

fn form(span: usize) -> usize {
    usize::from(span == 256)
}

impl<D: Driver> Scratch<D> {
    /// Makes room for products with `weight`.
    pub(crate) fn reserve(&mut self, gpu: &Gpu<D>, weight: &Weight<D>) -> Result<(), DeviceError> {
        let Content::Quantized(Quantized { span, .. }) = &weight.content else { return Ok(()) };
        let (k, slot) = (weight.k, &mut self.current[form(*span)]);
        if slot.as_ref().is_some_and(|room| room.k >= k) {
            return Ok(());
        }
        let alloc = |bytes: usize| gpu.driver.alloc("quantized activations", bytes);
        let room = Activations {
            k,
            q: alloc(MAX_ROWS * k)?,
            d: alloc(MAX_ROWS * k / span * size_of::<f32>())?,
            sums: alloc(MAX_ROWS * k / 16 * size_of::<i16>())?,
        };
        self.outgrown.extend(slot.replace(room));
        Ok(())
    }

    fn args(&self, span: usize, k: usize) -> ActivationArgs {
        let room = self.current[form(span)].as_ref().filter(|room| room.k >= k);
        let Some(room) = room else { unreachable!("a weight that was loaded has room for its activations") };
        ActivationArgs { q: D::address(&room.q), d: D::address(&room.d), sums: D::address(&room.sums) }
    }
}

/// The kernels that quantize, by span.
pub(crate) struct Quantizers<D: Driver>([D::Function; 2]);

impl<D: Driver> Quantizers<D> {
    pub(crate) fn new(driver: &D) -> Result<Self, DeviceError> {
        Ok(Quantizers([driver.function("quantize_32")?, driver.function("quantize_256")?]))
    }
}

/// `dst = x w` for each job, `x` being quantized once for each kind of weight.
pub(crate) fn matmul_group<D: Driver>(
    gpu: &Gpu<D>,
    quantizers: &Quantizers<D>,
    scratch: &Scratch<D>,
    jobs: &mut [(&mut Buffer<D>, &Weight<D>)],
    x: &Buffer<D>,
    rows: usize,
) {
    let Some(k) = jobs.first().map(|(_, w)| w.k) else { return };
    let x = x.first(rows * k);
    for first in (0..rows).step_by(MAX_ROWS) {
        let rows = MAX_ROWS.min(rows - first);
        let x = x.offset(first * k * size_of::<f32>());
        let mut quantized = [false; 2];
        for (dst, w) in jobs.iter_mut() {
            assert_eq!(w.k, k, "weights of a group have the same inputs");
            let dst = dst.first((first + rows) * w.n).offset(first * w.n * size_of::<f32>());
            match &w.content {
                Content::Floats { values, one, eight, .. } => {
                    let (function, tile) = if rows == 1 { (*one, 1) } else { (*eight, 8) };
                    let [n, k, of] = [w.n, k, rows].map(count);
                    let args = MatmulFloatArgs { dst, x, w: D::address(values), n, k, rows: of, unused: 0 };
                    let grid = Grid { blocks: [blocks(w.n, 4), blocks(rows, tile), 1], threads: 128 };
                    gpu.enqueue(function, grid, &args);
                }
                Content::Quantized(w) => {
                    let to = scratch.args(w.span, k);
                    let done = &mut quantized[form(w.span)];
                    if !std::mem::replace(done, true) {
                        let args = QuantizeArgs { x, to, k: count(k), unused: 0 };
                        let grid = Grid { blocks: [blocks(k, 4 * 8 * RUN), count(rows), 1], threads: 128 };
                        gpu.enqueue(quantizers.0[form(w.span)], grid, &args);
                    }
                    product(gpu, w, dst, to, rows);
                }
            }
        }
    }
}

fn product<D: Driver>(gpu: &Gpu<D>, w: &Quantized<D>, dst: Address, x: ActivationArgs, rows: usize) {
    let args = MatmulArgs { dst, x, w: w.args, rows: count(rows), unused: 0 };
    let n = w.args.rows();
    if let Some(function) = w.few.get(rows - 1) {
        return gpu.enqueue(*function, Grid { blocks: [blocks(n, 4), 1, 1], threads: 128 }, &args);
    }
    let (function, tile) = if rows <= 8 { (w.tiles[0], 8) } else { (w.tiles[1], 32) };
    gpu.enqueue(function, Grid { blocks: [blocks(rows, tile), blocks(n, 64), 1], threads: 128 }, &args);
}
