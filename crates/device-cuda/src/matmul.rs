//! Products: which kernel computes them, and the 8-bit activations that quantized weights meet.
//!
//! Key decision: whoever makes activations may quantize them at once ([`Source`]). So a norm and the products of what it
//! gives, or `silu` and the product after it, need one kernel less, and give the bits that they would give one by one.

use bytemuck::{Pod, Zeroable};
use garrison_device::DeviceError;

use crate::driver::{Address, Driver, Grid};
use crate::fast::{DenseRoom, Fast};
use crate::gpu::{Buffer, Gpu, blocks, count};
use crate::halves::{self, Cuts, Cutters, Half, HalfWeight};
use crate::ops::RmsNormArgs;
use crate::weight::{Content, Quantized, UNIT, Weight, WeightArgs};

/// Rows up to which weights go straight from memory to tensor cores.
const FEW_ROWS: usize = 64;
/// Rows that are computed at a time: what the scratch holds.
pub(crate) const MAX_ROWS: usize = 1024;

/// Activations, quantized, for weights whose scales are for 32 and for 256 values. Whatever a recorded step
/// uses stays where it is: a larger one is made for a larger weight, before any step that needs it is
/// recorded, and the smaller one is kept.
pub(crate) struct Scratch<D: Driver> {
    /// By span: 32, 256.
    current: [Option<Activations<D>>; 2],
    #[allow(dead_code)] // held for recorded steps, not read
    outgrown: Vec<Activations<D>>,
    /// For weights of 16 bits.
    cuts: Cuts<D>,
    /// For products of halves, where these are wanted.
    pub(crate) dense: DenseRoom<D>,
}

/// Room for [`MAX_ROWS`] rows of so many units of 256 values.
struct Activations<D: Driver> {
    units: usize,
    /// `[MAX_ROWS, units, 256]` bytes.
    q: D::Memory,
    /// `[MAX_ROWS, units, 256 / span]` f32.
    d: D::Memory,
    /// `[MAX_ROWS, units, 32]` bytes.
    sums: D::Memory,
}

/// The twins of the structs in `kernels/quantize.cuh`, `quantize.cu`, `rms_norm.cu`, `matmul.cuh` and
/// `matmul_float.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct QuantizedArgs {
    to: ActivationArgs,
    units: u32,
    len: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct QuantizeArgs {
    x: Address,
    to: QuantizedArgs,
    k: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct QuantizeSiluArgs {
    gate: Address,
    up: Address,
    values: Address,
    to: QuantizedArgs,
    k: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct NormQuantizeArgs {
    norm: RmsNormArgs,
    to: [QuantizedArgs; 2],
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
struct MatmulJob {
    dst: Address,
    w: WeightArgs,
    first_block: u32,
    unused: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulArgs {
    x: ActivationArgs,
    jobs: [MatmulJob; MAX_JOBS],
    count: u32,
    rows: u32,
    add: u32,
    unused: u32,
}

/// Weights of a launch.
pub(crate) const MAX_JOBS: usize = 3;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulFloatArgs {
    dst: Address,
    x: Address,
    w: Address,
    n: u32,
    k: u32,
    rows: u32,
    add: u32,
}

impl<D: Driver> Default for Scratch<D> {
    fn default() -> Self {
        Scratch {
            current: [None, None],
            outgrown: Vec::new(),
            cuts: Cuts::default(),
            dense: DenseRoom::default(),
        }
    }
}

fn form(span: usize) -> usize {
    usize::from(span == UNIT)
}

impl<D: Driver> Scratch<D> {
    /// Makes room for products with `weight`.
    pub(crate) fn reserve(&mut self, gpu: &Gpu<D>, weight: &Weight<D>) -> Result<(), DeviceError> {
        let Quantized { span, args, .. } = match &weight.content {
            Content::Quantized(weight) => weight,
            Content::Halves(weight) => return self.cuts.reserve(gpu, weight),
            Content::Floats { .. } => return Ok(()),
        };
        let (units, slot) = (args.units(), &mut self.current[form(*span)]);
        if slot.as_ref().is_some_and(|room| room.units >= units) {
            return Ok(());
        }
        let alloc = |bytes: usize| gpu.driver.alloc("quantized activations", MAX_ROWS * units * bytes);
        let room = Activations {
            units,
            q: alloc(UNIT)?,
            d: alloc(UNIT / span * size_of::<f32>())?,
            sums: alloc(UNIT / 16 * 2)?,
        };
        self.outgrown.extend(slot.replace(room));
        Ok(())
    }

    fn args(&self, form: usize, k: usize) -> QuantizedArgs {
        let units = k.div_ceil(UNIT);
        let room = self.current[form].as_ref().filter(|room| room.units >= units);
        let Some(room) = room else { unreachable!("a weight that was loaded has room for its activations") };
        let to =
            ActivationArgs { q: D::address(&room.q), d: D::address(&room.d), sums: D::address(&room.sums) };
        QuantizedArgs { to, units: count(units), len: if form == 1 { 256 } else { 32 } }
    }
}

/// The kernels that quantize, or cut.
pub(crate) struct Quantizers<D: Driver> {
    plain: D::Function,
    silu: D::Function,
    norm: D::Function,
    cutters: Cutters<D>,
}

impl<D: Driver> Quantizers<D> {
    pub(crate) fn new(driver: &D) -> Result<Self, DeviceError> {
        let kernel = |name: &str| driver.function(name);
        Ok(Quantizers {
            plain: kernel("quantize")?,
            silu: kernel("quantize_silu")?,
            norm: kernel("norm_quantize")?,
            cutters: Cutters::new(driver)?,
        })
    }
}

/// Where activations come from.
pub(crate) enum Source<'a, D: Driver> {
    /// They are there.
    Values(&'a Buffer<D>),
    /// `values` is the norm of `x`, and yet to be computed; `w` is the norm's weight.
    Norm { values: &'a Buffer<D>, x: &'a Buffer<D>, w: &'a Weight<D>, eps: f32 },
    /// `values` is `silu(gate) * up`, and yet to be computed.
    Silu { values: &'a Buffer<D>, gate: &'a Buffer<D>, up: &'a Buffer<D> },
}

impl<'a, D: Driver> Source<'a, D> {
    /// Where they are, then.
    fn values(&self) -> &'a Buffer<D> {
        match *self {
            Source::Values(values) | Source::Norm { values, .. } | Source::Silu { values, .. } => values,
        }
    }
}

/// What becomes of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Into {
    /// They are written.
    Place,
    /// They are added to what is there.
    Sum,
}

/// What products are enqueued with.
pub(crate) struct Products<'a, D: Driver> {
    pub(crate) gpu: &'a Gpu<D>,
    pub(crate) quantizers: &'a Quantizers<D>,
    pub(crate) scratch: &'a Scratch<D>,
    /// If batch invariance is not wanted.
    pub(crate) fast: Option<&'a Fast<D>>,
}

impl<D: Driver> Products<'_, D> {
    /// `dst = x w` for each job, or `dst += x w`, `x` being quantized once for each kind of weight. All jobs have at
    /// least one quantized weight, or `source` is there already.
    pub(crate) fn group(
        &self,
        jobs: &[(&Buffer<D>, &Weight<D>)],
        source: &Source<'_, D>,
        rows: usize,
        into: Into,
    ) {
        let Some(k) = jobs.first().map(|(_, w)| w.k) else { return };
        assert!(jobs.iter().all(|(_, w)| w.k == k), "weights of a group have the same inputs");
        let Some(fast) = self.fast else { return self.invariant(jobs, source, rows, into) };
        let (dense, others): (Vec<_>, Vec<_>) = jobs.iter().partition(|(_, w)| fast.takes(w, rows));
        if dense.is_empty() {
            return self.invariant(jobs, source, rows, into);
        }
        fast.products(self, &dense, source, rows, into);
        self.invariant(&others, &Source::Values(source.values()), rows, into);
    }

    /// Products whose rows do not depend on each other.
    fn invariant(&self, jobs: &[(&Buffer<D>, &Weight<D>)], source: &Source<'_, D>, rows: usize, into: Into) {
        let Some(k) = jobs.first().map(|(_, w)| w.k) else { return };
        let mut wanted = [false; 2];
        for (_, w) in jobs {
            if let Content::Quantized(w) = &w.content {
                wanted[form(w.span)] = true;
            }
        }
        for first in (0..rows).step_by(MAX_ROWS) {
            let rows = MAX_ROWS.min(rows - first);
            let x = self.prepare(source, wanted, k, (first, rows));
            let at = |dst: &Buffer<D>, n: usize| {
                dst.first((first + rows) * n).offset(first * n * size_of::<f32>())
            };
            let mut quantized: Vec<(Address, &Quantized<D>)> = Vec::new();
            let mut of_halves: Vec<(Address, &HalfWeight<D>)> = Vec::new();
            for (dst, w) in jobs {
                match &w.content {
                    Content::Floats { values, one, eight, .. } => {
                        let (function, tile) = if rows == 1 { (*one, 1) } else { (*eight, 8) };
                        let [n, k, of] = [w.n, k, rows].map(count);
                        let (dst, add) = (at(dst, w.n), u32::from(into == Into::Sum));
                        let args = MatmulFloatArgs { dst, x, w: D::address(values), n, k, rows: of, add };
                        let grid = Grid { blocks: [blocks(w.n, 4), blocks(rows, tile), 1], threads: 128 };
                        self.gpu.enqueue(function, grid, &args);
                    }
                    Content::Halves(of) => of_halves.push((at(dst, w.n), of)),
                    Content::Quantized(of) => quantized.push((at(dst, w.n), of)),
                }
            }
            for half in Half::ALL {
                let jobs: Vec<_> = of_halves.iter().copied().filter(|(_, w)| w.half == half).collect();
                if !jobs.is_empty() {
                    let (cutters, cuts) = (&self.quantizers.cutters, &self.scratch.cuts);
                    halves::products(self.gpu, cutters, cuts, &jobs, x, (rows, k), into);
                }
            }
            // Weights of a type together: there are fewer launches, and more for each to do at once.
            quantized.sort_by_key(|(_, w)| w.ty);
            for jobs in
                quantized.chunk_by(|(_, a), (_, b)| a.ty == b.ty).flat_map(|jobs| jobs.chunks(MAX_JOBS))
            {
                let x = self.scratch.args(form(jobs[0].1.span), k).to;
                product(self.gpu, jobs, x, rows, into);
            }
        }
    }

    /// Computes rows `first ..` of activations, if they are not there, and quantizes them as is wanted; where they are.
    pub(crate) fn prepare(
        &self,
        source: &Source<'_, D>,
        wanted: [bool; 2],
        k: usize,
        (first, rows): (usize, usize),
    ) -> Address {
        let at = |buffer: &Buffer<D>| buffer.first((first + rows) * k).offset(first * k * size_of::<f32>());
        let forms = (0..2).filter(|&form| wanted[form]).map(|form| self.scratch.args(form, k));
        let grid = |units: u32| Grid { blocks: [blocks(units as usize, 4), count(rows), 1], threads: 128 };
        let quantize = |x: Address, forms: &mut dyn Iterator<Item = QuantizedArgs>| {
            for to in forms {
                self.gpu.enqueue(self.quantizers.plain, grid(to.units), &QuantizeArgs { x, to, k: k as u64 });
            }
        };
        match *source {
            Source::Values(values) => {
                quantize(at(values), &mut forms.into_iter());
                at(values)
            }
            Source::Norm { values, x, w, eps } => {
                let (w, dim) = w.vector();
                let norm = RmsNormArgs { dst: at(values), x: at(x), w, dim: count(dim), eps };
                let mut to = [QuantizedArgs::zeroed(); 2];
                to.iter_mut().zip(forms).for_each(|(to, form)| *to = form);
                let grid = Grid { blocks: [count(rows), 1, 1], threads: 256 };
                self.gpu.enqueue(self.quantizers.norm, grid, &NormQuantizeArgs { norm, to });
                at(values)
            }
            Source::Silu { values, gate, up } => {
                let mut forms = forms;
                if let Some(to) = forms.next() {
                    let [gate, up, values] = [gate, up, values].map(at);
                    let args = QuantizeSiluArgs { gate, up, values, to, k: k as u64 };
                    self.gpu.enqueue(self.quantizers.silu, grid(to.units), &args);
                }
                quantize(at(values), &mut forms);
                at(values)
            }
        }
    }
}

/// Products with weights of one type.
fn product<D: Driver>(
    gpu: &Gpu<D>,
    jobs: &[(Address, &Quantized<D>)],
    x: ActivationArgs,
    rows: usize,
    into: Into,
) {
    let w = jobs[0].1;
    // The smallest kernel that holds all rows; up to 64 rows the largest of them, some at a time.
    let few = w.few.iter().find(|few| rows <= few.rows).or(w.few.last().filter(|_| rows <= FEW_ROWS));
    let (function, block_rows, cols) = match (w.vectors.get(rows - 1), few) {
        (Some(&function), _) => (function, 4, 1),
        (None, Some(few)) => (few.function, few.block_rows, blocks(rows, few.rows)),
        (None, None) => (w.many, w.block_rows, blocks(rows, 64)),
    };
    let mut args = MatmulArgs { x, count: count(jobs.len()), rows: count(rows), ..MatmulArgs::zeroed() };
    args.add = u32::from(into == Into::Sum);
    let mut all = 0;
    for (job, &(dst, w)) in args.jobs.iter_mut().zip(jobs) {
        *job = MatmulJob { dst, w: w.args, first_block: all, unused: 0 };
        all += blocks(w.args.rows(), block_rows);
    }
    let grid = if rows > FEW_ROWS {
        Grid { blocks: [cols, all, 1], threads: count(w.block_rows * 2) }
    } else {
        Grid { blocks: [all, cols, 1], threads: 128 }
    };
    gpu.enqueue(function, grid, &args);
}
