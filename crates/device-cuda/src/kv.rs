//! One layer of the KV cache: `kernels/cells.cuh` says how it lies in memory.
//!
//! Key decision: a block's keys and values of all heads are one stretch, so a block is copied as a whole.

use bytemuck::{Pod, Zeroable};
use garrison_device::{BLOCK_SIZE, DeviceError, KvDtype, KvShape, RopeShape};

use crate::attention::Kernels;
use crate::device::Step;
use crate::driver::{Address, Driver, Grid};
use crate::gpu::{Buffer, Gpu, count};
use crate::ops::turn;

/// Keys and values of one layer.
pub struct KvLayer<D: Driver> {
    pub(crate) shape: KvShape,
    pub(crate) memory: D::Memory,
    pub(crate) args: LayerArgs,
    store: D::Function,
    pub(crate) attention: Kernels<D>,
}

/// The twin of `LayerArgs` in `kernels/cells.cuh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct LayerArgs {
    data: Address,
    block_bytes: u64,
    tile_bytes: u32,
    n_kv_heads: u32,
    head_dim: u32,
    unused: u32,
}

/// The twin of `StoreKvArgs` in `kernels/store_kv.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct StoreKvArgs {
    layer: LayerArgs,
    k: Address,
    v: Address,
    slots: Address,
    angles: Address,
    /// 0 where keys are stored as they are.
    pairs: u32,
    stride: u32,
    apart: u32,
    unused: u32,
}

/// Whether keys are turned before they are stored.
pub(crate) enum Turn<'a, D: Driver> {
    None,
    Keys { angles: &'a Buffer<D>, shape: RopeShape },
}

/// Values that share a scale, where there are scales.
const GROUP: usize = 32;

/// Bytes of one head's keys or values in one block.
fn tile_bytes(shape: &KvShape) -> usize {
    let (cell, scales) = match shape.dtype {
        KvDtype::F32 => (4, 0),
        KvDtype::F16 | KvDtype::BF16 => (2, 0),
        KvDtype::F8E4M3 => (1, 0),
        KvDtype::Q8_0 => (1, shape.head_dim.div_ceil(GROUP) * 2),
    };
    BLOCK_SIZE * (shape.head_dim * cell + scales)
}

/// Bytes of one block's keys and values.
pub(crate) fn block_bytes(shape: &KvShape) -> usize {
    2 * shape.n_kv_heads * tile_bytes(shape)
}

/// What kernels call the type.
pub(crate) fn suffix(dtype: KvDtype) -> &'static str {
    match dtype {
        KvDtype::F16 => "F16",
        KvDtype::BF16 => "BF16",
        KvDtype::F32 => "F32",
        KvDtype::Q8_0 => "Q8_0",
        KvDtype::F8E4M3 => "F8E4M3",
    }
}

impl<D: Driver> KvLayer<D> {
    pub(crate) fn zeroed(gpu: &Gpu<D>, shape: &KvShape) -> Result<Self, DeviceError> {
        let bytes = block_bytes(shape);
        let memory = gpu.zeroed("the KV cache of a layer", shape.n_blocks.saturating_mul(bytes))?;
        let args = LayerArgs {
            data: D::address(&memory),
            block_bytes: bytes as u64,
            tile_bytes: count(tile_bytes(shape)),
            n_kv_heads: count(shape.n_kv_heads),
            head_dim: count(shape.head_dim),
            unused: 0,
        };
        let name = suffix(shape.dtype);
        let store = gpu.driver.function(&format!("store_kv_{name}"))?;
        let attention = Kernels::new(&gpu.driver, shape.dtype, shape.head_dim)?;
        Ok(KvLayer { shape: *shape, memory, args, store, attention })
    }

    /// Where a block begins, in bytes; it must be as long as it is.
    pub(crate) fn block(&self, block: u32, len: usize) -> usize {
        assert!((block as usize) < self.shape.n_blocks, "block {block} of {:?}", self.shape);
        assert_eq!(len, block_bytes(&self.shape), "the bytes of one block");
        block as usize * len
    }

    /// Writes the step's keys and values to their slots.
    pub(crate) fn store(
        &mut self,
        gpu: &Gpu<D>,
        k: &Buffer<D>,
        v: &Buffer<D>,
        step: &Step<'_, D>,
        turned: Turn<'_, D>,
    ) {
        let (tokens, KvShape { n_kv_heads, head_dim, .. }) = (step.shape.tokens, self.shape);
        let len = tokens * n_kv_heads * head_dim;
        let (angles, pairs, stride, apart) = match turned {
            // Nobody looks at them.
            Turn::None => (k.first(len), 0, 0, 0),
            Turn::Keys { angles, shape } => {
                let (pairs, stride, apart) = turn(&shape);
                (angles.first(tokens * shape.rope_dim), pairs, stride, apart)
            }
        };
        let args = StoreKvArgs {
            layer: self.args,
            k: k.first(len),
            v: v.first(len),
            slots: step.slots.first(tokens),
            angles,
            pairs,
            stride,
            apart,
            unused: 0,
        };
        gpu.enqueue(self.store, Grid { blocks: [count(tokens), count(n_kv_heads), 2], threads: 32 }, &args);
    }
}
