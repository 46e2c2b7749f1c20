//! Attention: how a step's work is cut into blocks of threads. The arithmetic is in `kernels/attention_mma.cu`, for tensor
//! cores, and `attention.cu`.
//!
//! Key decision: a grid depends on nothing but the step's shape and what was allocated, since a recorded step
//! keeps it. Blocks that find nothing to do end at once.

use bytemuck::{Pod, Zeroable};
use garrison_device::{AttentionShape, BLOCK_SIZE, DeviceError, KvDtype};

use crate::device::Step;
use crate::driver::{Address, Driver, Grid};
use crate::gpu::{Buffer, Gpu, blocks, count};
use crate::kv::{KvLayer, LayerArgs, suffix};

/// Positions that are summed on their own.
const SPAN: usize = 256;
/// Warps of a block.
const WARPS: usize = 4;
/// Blocks of threads for each multiprocessor that are worth splitting contexts for.
const WORTH_SPLITTING: usize = 4;
/// What the parts of split contexts may take.
const PARTS_BYTES: usize = 64 << 20;

/// Kernels for one type of cache and head size.
pub(crate) struct Kernels<D: Driver> {
    /// Where few rows share keys, as in decoding.
    few: Kernel<D>,
    /// For prompts, where there is one.
    many: Option<Kernel<D>>,
    join: D::Function,
}

struct Kernel<D: Driver> {
    function: D::Function,
    /// Of a block: heads of tokens.
    rows: usize,
}

impl<D: Driver> Kernels<D> {
    pub(crate) fn new(driver: &D, dtype: KvDtype, head_dim: usize) -> Result<Self, DeviceError> {
        let Some(size) = [64, 128, 256].into_iter().find(|&size| head_dim <= size) else {
            let reason = format!("heads of {head_dim} values are larger than its kernels take, 256");
            return Err(DeviceError::Failed { device: driver.name(), reason });
        };
        let kernel = |name: String, rows| Ok(Kernel { function: driver.function(&name)?, rows });
        let cell = suffix(dtype);
        // What tensor cores take is copied 16 bytes at a time.
        let tensor_cores = match dtype {
            KvDtype::F16 => head_dim.is_multiple_of(8),
            KvDtype::F8E4M3 | KvDtype::Q8_0 => head_dim.is_multiple_of(16),
            KvDtype::F32 | KvDtype::BF16 => false,
        };
        let (few, many) = if tensor_cores && size < 256 {
            let kernel = |rows: usize| kernel(format!("attention_mma_{cell}_{size}_{rows}"), rows);
            (kernel(16)?, Some(kernel(64)?))
        } else {
            // Named by rows of a warp.
            let kernel = |rows: usize| kernel(format!("attention_{cell}_{size}_{rows}"), rows * WARPS);
            (kernel(2)?, if size < 256 { Some(kernel(8)?) } else { None })
        };
        Ok(Kernels { few, many, join: driver.function("attention_join")? })
    }
}

/// Where split contexts' parts go, allocated with the first layer.
pub(crate) struct Parts<D: Driver>(D::Memory);

impl<D: Driver> Parts<D> {
    pub(crate) fn new(gpu: &Gpu<D>) -> Result<Self, DeviceError> {
        gpu.driver.alloc("parts of attention", PARTS_BYTES).map(Parts)
    }
}

/// The twin of `AttentionArgs` in `kernels/attention.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct AttentionArgs {
    dst: Address,
    q: Address,
    layer: LayerArgs,
    positions: Address,
    q_start: Address,
    blocks: Address,
    block_start: Address,
    parts: Address,
    /// Whether each sequence has one of the tokens.
    one_each: u32,
    seqs: u32,
    n_heads: u32,
    window: u32,
    tile_tokens: u32,
    tile_heads: u32,
    max_spans: u32,
    splits: u32,
    scale: f32,
    unused: u32,
}

pub(crate) fn attention<D: Driver>(
    gpu: &Gpu<D>,
    parts: &Parts<D>,
    [dst, q]: [&Buffer<D>; 2],
    layer: &KvLayer<D>,
    step: &Step<'_, D>,
    shape: &AttentionShape,
) {
    let AttentionShape { n_heads, n_kv_heads, head_dim, scale, window } = *shape;
    let kv = &layer.shape;
    assert!(kv.n_kv_heads == n_kv_heads && kv.head_dim == head_dim, "{kv:?} is not for {shape:?}");
    assert!(n_heads.is_multiple_of(n_kv_heads), "{shape:?}");
    let (tokens, seqs, group) = (step.tokens, step.shape.seqs, n_heads / n_kv_heads);

    // One token a sequence has few rows; prompts fill the larger tiles.
    let Kernels { few, many, join } = &layer.attention;
    let &Kernel { function, rows } = match many {
        Some(many) if tokens > seqs || group > few.rows => many,
        _ => few,
    };
    let tile_heads = group.min(rows);
    let tile_tokens = (rows / group).max(1);
    // Each sequence has at most one tile that is not full.
    let tiles = tokens.min(tokens / tile_tokens + seqs);
    let heads = n_kv_heads * group.div_ceil(tile_heads);

    // A context whose spans find no room is not split, which blocks see for themselves.
    let longest = (kv.n_blocks.min(step.block_limit) * BLOCK_SIZE).div_ceil(SPAN).max(1);
    let max_spans = PARTS_BYTES / (tokens * n_heads * (2 + head_dim) * size_of::<f32>());
    let wanted = (WORTH_SPLITTING * gpu.driver.processors()).div_ceil(tiles * heads);
    let splits = wanted.min(max_spans).min(longest).max(1);

    let len = tokens * n_heads * head_dim;
    let args = AttentionArgs {
        dst: dst.first(len),
        q: q.first(len),
        layer: layer.args,
        positions: step.positions.first(tokens),
        q_start: step.q_start.first(seqs + 1),
        blocks: step.blocks.first(0),
        block_start: step.block_start.first(seqs + 1),
        parts: D::address(&parts.0),
        one_each: u32::from(tokens == seqs && step.shape.tokens == seqs),
        seqs: count(seqs),
        n_heads: count(n_heads),
        window,
        tile_tokens: count(tile_tokens),
        tile_heads: count(tile_heads),
        max_spans: count(max_spans),
        splits: count(splits),
        scale: scale * std::f32::consts::LOG2_E,
        unused: 0,
    };
    let grid = Grid { blocks: [count(tiles), count(heads), count(splits)], threads: (32 * WARPS) as u32 };
    gpu.enqueue(function, grid, &args);
    if splits > 1 {
        let grid = Grid { blocks: [blocks(tokens, 1), count(n_heads), 1], threads: 32 };
        gpu.enqueue(*join, grid, &args);
    }
}
