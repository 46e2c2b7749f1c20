//! Weights of 16 bits a value, F16 and BF16: how they lie, what activations become for them, and their products.
//!
//! Key decision: activations are cut into parts of the weight's type, so that tensor cores compute what f32 would, for twice
//! or three times their work; `kernels/halves.cuh` has the arithmetic.

use bytemuck::{Pod, Zeroable};
use garrison_device::{DeviceError, WeightView};
use garrison_types::TensorType;

use crate::driver::{Address, Driver, Grid};
use crate::gpu::{Gpu, blocks, count};
use crate::matmul::{Into, MAX_JOBS, MAX_ROWS};

/// Values of a chunk: rows are filled up with zeros to whole ones.
const CHUNK: usize = 32;
const VALUE_BYTES: usize = 2;
/// Bytes that are padded at a time.
const BAND_BYTES: usize = 16 << 20;
/// Rows of activations, and of the weight, that blocks of the kernels for few rows have, as
/// `kernels/matmul_halves_few.cu` has them.
const FEW: [(usize, usize); 3] = [(8, 16), (16, 32), (32, 32)];
/// Rows of activations up to which these compute.
const FEW_ROWS: usize = 64;
/// Rows of the weight and of activations that a block of the kernel for many rows has.
const MANY: (usize, usize) = (128, 64);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // they are the field's
pub enum Half {
    F16 = 0,
    BF16 = 1,
}

impl Half {
    pub(crate) const ALL: [Half; 2] = [Half::F16, Half::BF16];

    pub(crate) fn of(ty: TensorType) -> Option<Half> {
        match ty {
            TensorType::F16 => Some(Half::F16),
            TensorType::BF16 => Some(Half::BF16),
            _ => None,
        }
    }

    /// Parts that activations are cut into.
    fn parts(self) -> usize {
        match self {
            Half::F16 => 2,
            Half::BF16 => 3,
        }
    }
}

/// A weight of 16 bits a value.
pub(crate) struct HalfWeight<D: Driver> {
    /// `[n, chunks, 32]`
    pub(crate) values: D::Memory,
    pub(crate) half: Half,
    pub(crate) n: usize,
    chunks: usize,
    pub(crate) embed: D::Function,
    /// Of [`FEW`].
    few: [D::Function; 3],
    many: D::Function,
}

impl<D: Driver> HalfWeight<D> {
    pub(crate) fn load(gpu: &Gpu<D>, view: &WeightView<'_>, half: Half) -> Result<Self, DeviceError> {
        let WeightView { name, n, k, ty, data } = *view;
        let kernel = |op: &str| gpu.driver.function(&format!("{op}_{ty}"));
        let few = [kernel("matmul_8")?, kernel("matmul_16")?, kernel("matmul_32")?];
        let (embed, many) = (kernel("embed")?, kernel("matmul")?);
        let (chunks, row) = (k.div_ceil(CHUNK), k * VALUE_BYTES);
        let padded = chunks * CHUNK * VALUE_BYTES;
        let values = gpu.driver.alloc(name, n * padded)?;
        if row == padded {
            gpu.driver.write(&values, 0, data)?;
        } else {
            let band = (BAND_BYTES / padded).max(1);
            let mut bytes = vec![0; band.min(n) * padded];
            for (i, rows) in data.chunks(band * row).enumerate() {
                for (to, from) in bytes.chunks_exact_mut(padded).zip(rows.chunks_exact(row)) {
                    to[..row].copy_from_slice(from);
                }
                gpu.driver.write(&values, i * band * padded, &bytes[..rows.len() / row * padded])?;
            }
        }
        Ok(HalfWeight { values, half, n, chunks, embed, few, many })
    }

    /// Values from a row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.chunks * CHUNK
    }
}

/// Room for [`MAX_ROWS`] rows of activations of so many chunks, cut for one of the two types.
struct Room<D: Driver> {
    chunks: usize,
    /// `[parts, MAX_ROWS, chunks, 32]` of 16 bits.
    parts: D::Memory,
    /// `[MAX_ROWS]` f32.
    d: D::Memory,
}

/// Cut activations. What a recorded step uses stays where it is, as in [`crate::matmul::Scratch`].
pub(crate) struct Cuts<D: Driver> {
    /// By [`Half`].
    current: [Option<Room<D>>; 2],
    #[allow(dead_code)] // held for recorded steps, not read
    outgrown: Vec<Room<D>>,
}

impl<D: Driver> Default for Cuts<D> {
    fn default() -> Self {
        Cuts { current: [None, None], outgrown: Vec::new() }
    }
}

impl<D: Driver> Cuts<D> {
    /// Makes room for products with `weight`.
    pub(crate) fn reserve(&mut self, gpu: &Gpu<D>, weight: &HalfWeight<D>) -> Result<(), DeviceError> {
        let HalfWeight { half, chunks, .. } = *weight;
        let slot = &mut self.current[half as usize];
        if slot.as_ref().is_some_and(|room| room.chunks >= chunks) {
            return Ok(());
        }
        let alloc = |bytes: usize| gpu.driver.alloc("cut activations", MAX_ROWS * bytes);
        let parts = alloc(half.parts() * chunks * CHUNK * VALUE_BYTES)?;
        self.outgrown.extend(slot.replace(Room { chunks, parts, d: alloc(size_of::<f32>())? }));
        Ok(())
    }
}

/// The kernels that cut, by [`Half`].
pub(crate) struct Cutters<D: Driver>([D::Function; 2]);

impl<D: Driver> Cutters<D> {
    pub(crate) fn new(driver: &D) -> Result<Self, DeviceError> {
        Ok(Cutters([driver.function("cut_F16")?, driver.function("cut_BF16")?]))
    }
}

/// The twins of the structs in `kernels/cut.cu` and `kernels/halves.cuh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CutArgs {
    to: Address,
    d: Address,
    x: Address,
    rows: u32,
    k: u32,
    chunks: u32,
    unused: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HalfJob {
    dst: Address,
    w: Address,
    n: u32,
    first_block: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HalfArgs {
    x: Address,
    d: Address,
    jobs: [HalfJob; MAX_JOBS],
    count: u32,
    rows: u32,
    add: u32,
    chunks: u32,
}

/// Cuts `rows` rows of `k` values at `x` and enqueues their products with weights of one type.
pub(crate) fn products<D: Driver>(
    gpu: &Gpu<D>,
    cutters: &Cutters<D>,
    cuts: &Cuts<D>,
    jobs: &[(Address, &HalfWeight<D>)],
    x: Address,
    (rows, k): (usize, usize),
    into: Into,
) {
    let half = jobs[0].1.half;
    let chunks = k.div_ceil(CHUNK);
    let room = cuts.current[half as usize].as_ref().filter(|room| room.chunks >= chunks);
    let Some(room) = room else { unreachable!("a weight that was loaded has room for its activations") };
    let (to, d) = (D::address(&room.parts), D::address(&room.d));
    let args = CutArgs { to, d, x, rows: count(rows), k: count(k), chunks: count(chunks), unused: 0 };
    gpu.enqueue(cutters.0[half as usize], Grid { blocks: [count(rows), 1, 1], threads: 256 }, &args);
    for jobs in jobs.chunks(MAX_JOBS) {
        let mut args = HalfArgs { x: to, d, ..HalfArgs::zeroed() };
        [args.count, args.rows, args.chunks] = [jobs.len(), rows, chunks].map(count);
        args.add = u32::from(into == Into::Sum);
        product(gpu, jobs, args, rows);
    }
}

/// Products of one launch.
fn product<D: Driver>(gpu: &Gpu<D>, jobs: &[(Address, &HalfWeight<D>)], mut args: HalfArgs, rows: usize) {
    let w = jobs[0].1;
    // The smallest kernel that holds all rows; up to 64 rows the largest of them, some at a time.
    let few = FEW.iter().position(|few| rows <= few.0).unwrap_or(FEW.len() - 1);
    let many = rows > FEW_ROWS;
    let (function, block_rows) = if many { (w.many, MANY.0) } else { (w.few[few], FEW[few].1) };
    let mut all = 0;
    for (job, &(dst, w)) in args.jobs.iter_mut().zip(jobs) {
        *job = HalfJob { dst, w: D::address(&w.values), n: count(w.n), first_block: all };
        all += blocks(w.n, block_rows);
    }
    let blocks = if many { [blocks(rows, MANY.1), all, 1] } else { [all, blocks(rows, FEW[few].0), 1] };
    gpu.enqueue(function, Grid { blocks, threads: 128 }, &args);
}
