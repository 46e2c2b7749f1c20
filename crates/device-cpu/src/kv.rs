//! One layer of the KV cache.
//!
//! Key decision: a block keeps each head's keys transposed, `[n_kv_heads, head_dim, BLOCK_SIZE]`,
//! so that one vector holds one coordinate of 16 keys and scores need no horizontal sums; values
//! are `[n_kv_heads, BLOCK_SIZE, value_stride]`, so that one vector holds 16 coordinates of one
//! value. The value stride is `head_dim` rounded up to whole vectors; what is beyond stays zero.

use bytemuck::Pod;
use garrison_device::{BLOCK_SIZE, KvDtype, KvShape};
use half::{bf16, f16};

use crate::memory::Lines;

/// Keys and values of one layer.
pub struct KvLayer {
    pub(crate) shape: KvShape,
    pub(crate) cells: KvCells,
}

/// Keys and values in one of the storage types.
pub(crate) enum KvCells {
    F16(Cells<f16>),
    BF16(Cells<bf16>),
    F32(Cells<f32>),
}

/// Keys and values as `E`.
pub(crate) struct Cells<E> {
    pub(crate) layout: KvLayout,
    /// `[n_blocks, n_kv_heads, head_dim, BLOCK_SIZE]`
    pub(crate) keys: Lines<E>,
    /// `[n_blocks, n_kv_heads, BLOCK_SIZE, value_stride]`
    pub(crate) values: Lines<E>,
}

/// Where things are in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvLayout {
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) value_stride: usize,
}

impl KvLayout {
    fn new(shape: &KvShape) -> Self {
        KvLayout {
            n_kv_heads: shape.n_kv_heads,
            head_dim: shape.head_dim,
            value_stride: shape.head_dim.next_multiple_of(BLOCK_SIZE),
        }
    }

    /// Elements of one head's keys in one block.
    pub(crate) fn key_tile(&self) -> usize {
        self.head_dim * BLOCK_SIZE
    }

    /// Elements of one head's values in one block.
    pub(crate) fn value_tile(&self) -> usize {
        self.value_stride * BLOCK_SIZE
    }

    /// Index of a block's and head's tile, among tiles.
    pub(crate) fn tile(&self, block: u32, head: usize) -> usize {
        block as usize * self.n_kv_heads + head
    }
}

impl<E: Pod> Cells<E> {
    fn zeroed(shape: &KvShape) -> Option<Self> {
        let layout = KvLayout::new(shape);
        let tiles = shape.n_blocks.checked_mul(shape.n_kv_heads)?;
        Some(Cells {
            layout,
            keys: Lines::zeroed(tiles.checked_mul(layout.key_tile())?)?,
            values: Lines::zeroed(tiles.checked_mul(layout.value_tile())?)?,
        })
    }

    /// One head's keys in one block, `[head_dim, BLOCK_SIZE]`.
    pub(crate) fn key_tile(&self, block: u32, head: usize) -> &[E] {
        let len = self.layout.key_tile();
        &self.keys.get()[self.layout.tile(block, head) * len..][..len]
    }

    /// One head's values in one block, `[BLOCK_SIZE, value_stride]`.
    pub(crate) fn value_tile(&self, block: u32, head: usize) -> &[E] {
        let len = self.layout.value_tile();
        &self.values.get()[self.layout.tile(block, head) * len..][..len]
    }

    /// All heads' keys in one block, and their values.
    fn block(&self, block: u32) -> [&[u8]; 2] {
        let KvLayout { n_kv_heads, .. } = self.layout;
        let (keys, values) = (n_kv_heads * self.layout.key_tile(), n_kv_heads * self.layout.value_tile());
        [
            bytemuck::cast_slice(&self.keys.get()[block as usize * keys..][..keys]),
            bytemuck::cast_slice(&self.values.get()[block as usize * values..][..values]),
        ]
    }

    fn block_mut(&mut self, block: u32) -> [&mut [u8]; 2] {
        let KvLayout { n_kv_heads, .. } = self.layout;
        let (keys, values) = (n_kv_heads * self.layout.key_tile(), n_kv_heads * self.layout.value_tile());
        [
            bytemuck::cast_slice_mut(&mut self.keys.get_mut()[block as usize * keys..][..keys]),
            bytemuck::cast_slice_mut(&mut self.values.get_mut()[block as usize * values..][..values]),
        ]
    }
}

impl KvLayer {
    /// A zeroed layer, or `None` if memory is short.
    pub(crate) fn zeroed(shape: &KvShape) -> Option<Self> {
        let cells = match shape.dtype {
            KvDtype::F16 => KvCells::F16(Cells::zeroed(shape)?),
            KvDtype::BF16 => KvCells::BF16(Cells::zeroed(shape)?),
            KvDtype::F32 => KvCells::F32(Cells::zeroed(shape)?),
        };
        Some(KvLayer { shape: *shape, cells })
    }

    /// Bytes of one block's keys and values in a layer of this shape.
    pub(crate) fn block_bytes(shape: &KvShape) -> usize {
        let layout = KvLayout::new(shape);
        let cell = match shape.dtype {
            KvDtype::F16 | KvDtype::BF16 => 2,
            KvDtype::F32 => 4,
        };
        shape.n_kv_heads * (layout.key_tile() + layout.value_tile()) * cell
    }

    /// One block's keys and values.
    pub(crate) fn block(&self, block: u32) -> [&[u8]; 2] {
        match &self.cells {
            KvCells::F16(cells) => cells.block(block),
            KvCells::BF16(cells) => cells.block(block),
            KvCells::F32(cells) => cells.block(block),
        }
    }

    pub(crate) fn block_mut(&mut self, block: u32) -> [&mut [u8]; 2] {
        match &mut self.cells {
            KvCells::F16(cells) => cells.block_mut(block),
            KvCells::BF16(cells) => cells.block_mut(block),
            KvCells::F32(cells) => cells.block_mut(block),
        }
    }
}
