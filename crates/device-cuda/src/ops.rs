//! The ops on single values and rows: their arguments and grids.

use bytemuck::{Pod, Zeroable};
use garrison_device::{DeviceError, RopePairing, RopeShape};

use crate::driver::{Address, Driver, Grid};
use crate::gpu::{Buffer, Gpu, blocks, count};
use crate::weight::{Content, Weight, WeightArgs};

/// The kernels that every model needs.
pub(crate) struct Plain<D: Driver> {
    add: D::Function,
    gather: D::Function,
    rms_norm: D::Function,
    rope: D::Function,
    rope_angles: D::Function,
    silu_mul: D::Function,
}

/// The twins of the structs in `kernels/*.cu`, in the order of the methods below.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EmbedArgs {
    dst: Address,
    tokens: Address,
    table: WeightArgs,
    k: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EmbedFloatArgs {
    dst: Address,
    tokens: Address,
    table: Address,
    k: u64,
    stride: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GatherArgs {
    dst: Address,
    src: Address,
    rows: Address,
    dim: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RmsNormArgs {
    pub(crate) dst: Address,
    pub(crate) x: Address,
    pub(crate) w: Address,
    pub(crate) dim: u32,
    pub(crate) eps: f32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct AddArgs {
    dst: Address,
    src: Address,
    len: u64,
    period: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RopeAnglesArgs {
    dst: Address,
    positions: Address,
    inv_freq: Address,
    pairs: u32,
    magnitude: f32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RopeArgs {
    x: Address,
    angles: Address,
    n_heads: u32,
    head_dim: u32,
    pairs: u32,
    stride: u32,
    apart: u32,
    unused: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SiluMulArgs {
    dst: Address,
    gate: Address,
    up: Address,
    len: u64,
}

/// A block of 128 threads for each row.
fn rows_of_128(rows: usize) -> Grid {
    Grid { blocks: [count(rows), 1, 1], threads: 128 }
}

/// A block of 256 threads for each row.
fn rows_of_256(rows: usize) -> Grid {
    Grid { blocks: [count(rows), 1, 1], threads: 256 }
}

/// A thread for each value.
fn values(len: usize) -> Grid {
    Grid { blocks: [blocks(len, 256), 1, 1], threads: 256 }
}

impl<D: Driver> Plain<D> {
    pub(crate) fn new(driver: &D) -> Result<Self, DeviceError> {
        let kernel = |name: &str| driver.function(name);
        Ok(Plain {
            add: kernel("add")?,
            gather: kernel("gather")?,
            rms_norm: kernel("rms_norm")?,
            rope: kernel("rope")?,
            rope_angles: kernel("rope_angles")?,
            silu_mul: kernel("silu_mul")?,
        })
    }

    pub(crate) fn gather(
        &self,
        gpu: &Gpu<D>,
        dst: &Buffer<D>,
        src: &Buffer<D>,
        rows: &Buffer<D>,
        n: usize,
        dim: usize,
    ) {
        let args =
            GatherArgs { dst: dst.first(n * dim), src: src.first(0), rows: rows.first(n), dim: dim as u64 };
        gpu.enqueue(self.gather, rows_of_256(n), &args);
    }

    /// `dst` and `x` may be the same.
    pub(crate) fn rms_norm(
        &self,
        gpu: &Gpu<D>,
        dst: &Buffer<D>,
        x: &Buffer<D>,
        w: &Weight<D>,
        rows: usize,
        eps: f32,
    ) {
        let (w, dim) = w.vector();
        let args =
            RmsNormArgs { dst: dst.first(rows * dim), x: x.first(rows * dim), w, dim: count(dim), eps };
        gpu.enqueue(self.rms_norm, rows_of_256(rows), &args);
    }

    pub(crate) fn add(&self, gpu: &Gpu<D>, dst: &Buffer<D>, src: &Buffer<D>, len: usize) {
        let args = AddArgs { dst: dst.first(len), src: src.first(len), len: len as u64, period: len as u64 };
        gpu.enqueue(self.add, values(len), &args);
    }

    pub(crate) fn add_bias(&self, gpu: &Gpu<D>, x: &Buffer<D>, bias: &Weight<D>, rows: usize) {
        let (src, dim) = bias.vector();
        let len = rows * dim;
        let args = AddArgs { dst: x.first(len), src, len: len as u64, period: dim as u64 };
        gpu.enqueue(self.add, values(len), &args);
    }

    pub(crate) fn rope_angles(
        &self,
        gpu: &Gpu<D>,
        dst: &Buffer<D>,
        positions: &Buffer<D>,
        inv_freq: &Buffer<D>,
        magnitude: f32,
        [rows, pairs]: [usize; 2],
    ) {
        let args = RopeAnglesArgs {
            dst: dst.first(rows * pairs * 2),
            positions: positions.first(rows),
            inv_freq: inv_freq.first(pairs),
            pairs: count(pairs),
            magnitude,
        };
        gpu.enqueue(self.rope_angles, rows_of_128(rows), &args);
    }

    pub(crate) fn rope(
        &self,
        gpu: &Gpu<D>,
        x: &Buffer<D>,
        angles: &Buffer<D>,
        shape: RopeShape,
        rows: usize,
    ) {
        let RopeShape { n_heads, head_dim, rope_dim, .. } = shape;
        let (pairs, stride, apart) = turn(&shape);
        let args = RopeArgs {
            x: x.first(rows * n_heads * head_dim),
            angles: angles.first(rows * rope_dim),
            n_heads: count(n_heads),
            head_dim: count(head_dim),
            pairs,
            stride,
            apart,
            unused: 0,
        };
        gpu.enqueue(self.rope, rows_of_128(rows), &args);
    }

    pub(crate) fn silu_mul(
        &self,
        gpu: &Gpu<D>,
        dst: &Buffer<D>,
        gate: &Buffer<D>,
        up: &Buffer<D>,
        len: usize,
    ) {
        let args =
            SiluMulArgs { dst: dst.first(len), gate: gate.first(len), up: up.first(len), len: len as u64 };
        gpu.enqueue(self.silu_mul, values(len), &args);
    }
}

/// Pairs of a head that turn; how far it is from pair to pair, and from the first of a pair to the second.
pub(crate) fn turn(shape: &RopeShape) -> (u32, u32, u32) {
    let pairs = count(shape.rope_dim / 2);
    match shape.pairing {
        RopePairing::Adjacent => (pairs, 2, 1),
        RopePairing::Halves => (pairs, 1, pairs),
    }
}

/// `dst[i, :] = table[tokens[i], :]`.
pub(crate) fn embed<D: Driver>(
    gpu: &Gpu<D>,
    dst: &Buffer<D>,
    table: &Weight<D>,
    tokens: &Buffer<D>,
    rows: usize,
) {
    let (dst, tokens) = (dst.first(rows * table.k), tokens.first(rows));
    let plain = |values: &D::Memory, embed: D::Function, stride: usize| {
        let [k, stride] = [table.k, stride].map(|n| n as u64);
        let args = EmbedFloatArgs { dst, tokens, table: D::address(values), k, stride };
        gpu.enqueue(embed, rows_of_128(rows), &args);
    };
    match &table.content {
        Content::Floats { values, embed, .. } => plain(values, *embed, table.k),
        Content::Halves(w) => plain(&w.values, w.embed, w.stride()),
        Content::Quantized(w) => {
            let args = EmbedArgs { dst, tokens, table: w.args, k: table.k as u64 };
            gpu.enqueue(w.embed, rows_of_128(rows), &args);
        }
    }
}
