//! One layer of the KV cache.
//!
//! Key decision: a block keeps each head's keys transposed, `[n_kv_heads, head_dim, BLOCK_SIZE]`,
//! so that one vector holds one coordinate of 16 keys and scores need no horizontal sums; values
//! are `[n_kv_heads, BLOCK_SIZE, value_stride]`, so that one vector holds 16 coordinates of one
//! value. The value stride is `head_dim` rounded up to whole vectors; what is beyond stays zero.
//!
//! Where values have scales, one for each [`GROUP`] of a head, both kinds of tiles begin with them, in
//! the same order: `[groups, BLOCK_SIZE]`, so that one vector holds what 16 tokens' scores or weights
//! are multiplied by, and a tile is one run of memory.

mod cell;

pub(crate) use cell::{Cell, E4M3, GROUP};
use garrison_device::{BLOCK_SIZE, KvDtype, KvShape};
use half::{bf16, f16};

use crate::memory::Lines;
use crate::simd::LANES;

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
    Q8_0(Cells<i8>),
    F8E4M3(Cells<E4M3>),
}

/// `with_cells!(kv_cells, cells => f(cells))`: the same for whichever storage type it is.
macro_rules! with_cells {
    ($kv_cells:expr, $cells:ident => $body:expr) => {
        match $kv_cells {
            $crate::kv::KvCells::F16($cells) => $body,
            $crate::kv::KvCells::BF16($cells) => $body,
            $crate::kv::KvCells::F32($cells) => $body,
            $crate::kv::KvCells::Q8_0($cells) => $body,
            $crate::kv::KvCells::F8E4M3($cells) => $body,
        }
    };
}
pub(crate) use with_cells;

/// Keys and values as `E`.
pub(crate) struct Cells<E> {
    pub(crate) layout: KvLayout,
    /// `[n_blocks, n_kv_heads]` tiles of scales and `[head_dim, BLOCK_SIZE]`
    pub(crate) keys: Lines<E>,
    /// `[n_blocks, n_kv_heads]` tiles of scales and `[BLOCK_SIZE, value_stride]`
    pub(crate) values: Lines<E>,
}

/// One head's keys or values in one block.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a, E> {
    /// `[groups, BLOCK_SIZE]`; empty where cells have no scales.
    pub(crate) scales: &'a [[f16; LANES]],
    /// `[head_dim, BLOCK_SIZE]` or `[BLOCK_SIZE, value_stride]`, in vectors.
    pub(crate) cells: &'a [[E; LANES]],
}

/// Where things are in a layer, counted in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvLayout {
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) value_stride: usize,
    /// What the scales of a tile take.
    scales: usize,
}

impl KvLayout {
    fn new<E: Cell>(shape: &KvShape) -> Self {
        let groups = if E::SCALED { shape.head_dim.div_ceil(GROUP) } else { 0 };
        KvLayout {
            n_kv_heads: shape.n_kv_heads,
            head_dim: shape.head_dim,
            value_stride: shape.head_dim.next_multiple_of(LANES),
            scales: groups * BLOCK_SIZE * size_of::<f16>() / size_of::<E>(),
        }
    }

    /// Cells of one head's keys in one block.
    pub(crate) fn key_tile(&self) -> usize {
        self.scales + self.head_dim * BLOCK_SIZE
    }

    /// Cells of one head's values in one block.
    pub(crate) fn value_tile(&self) -> usize {
        self.scales + self.value_stride * BLOCK_SIZE
    }

    /// Index of a block's and head's tile, among tiles.
    pub(crate) fn tile(&self, block: u32, head: usize) -> usize {
        block as usize * self.n_kv_heads + head
    }

    /// A tile's scales `[groups, BLOCK_SIZE]` and its cells.
    pub(crate) fn split<'t, E: Cell>(&self, tile: &'t mut [E]) -> (&'t mut [[f16; LANES]], &'t mut [E]) {
        let (scales, cells) = tile.split_at_mut(self.scales);
        (bytemuck::cast_slice_mut::<E, f16>(scales).as_chunks_mut().0, cells)
    }

    fn tile_of<'t, E: Cell>(&self, cells: &'t [E], index: usize, len: usize) -> Tile<'t, E> {
        let (scales, cells) = cells[index * len..][..len].split_at(self.scales);
        Tile { scales: bytemuck::cast_slice::<E, f16>(scales).as_chunks().0, cells: cells.as_chunks().0 }
    }
}

impl<E: Cell> Cells<E> {
    fn zeroed(shape: &KvShape) -> Option<Self> {
        let layout = KvLayout::new::<E>(shape);
        let tiles = shape.n_blocks.checked_mul(shape.n_kv_heads)?;
        Some(Cells {
            layout,
            keys: Lines::zeroed(tiles.checked_mul(layout.key_tile())?)?,
            values: Lines::zeroed(tiles.checked_mul(layout.value_tile())?)?,
        })
    }

    fn block_bytes(shape: &KvShape) -> usize {
        let layout = KvLayout::new::<E>(shape);
        layout.n_kv_heads * (layout.key_tile() + layout.value_tile()) * size_of::<E>()
    }

    /// One head's keys in one block, `[head_dim, BLOCK_SIZE]`.
    pub(crate) fn key_tile(&self, block: u32, head: usize) -> Tile<'_, E> {
        self.layout.tile_of(self.keys.get(), self.layout.tile(block, head), self.layout.key_tile())
    }

    /// One head's values in one block, `[BLOCK_SIZE, value_stride]`.
    pub(crate) fn value_tile(&self, block: u32, head: usize) -> Tile<'_, E> {
        self.layout.tile_of(self.values.get(), self.layout.tile(block, head), self.layout.value_tile())
    }

    /// All heads' keys in one block, and their values.
    fn block(&self, block: u32) -> [&[u8]; 2] {
        let (heads, block) = (self.layout.n_kv_heads, block as usize);
        let (keys, values) = (heads * self.layout.key_tile(), heads * self.layout.value_tile());
        [
            bytemuck::cast_slice(&self.keys.get()[block * keys..][..keys]),
            bytemuck::cast_slice(&self.values.get()[block * values..][..values]),
        ]
    }

    fn block_mut(&mut self, block: u32) -> [&mut [u8]; 2] {
        let (heads, block) = (self.layout.n_kv_heads, block as usize);
        let (keys, values) = (heads * self.layout.key_tile(), heads * self.layout.value_tile());
        [
            bytemuck::cast_slice_mut(&mut self.keys.get_mut()[block * keys..][..keys]),
            bytemuck::cast_slice_mut(&mut self.values.get_mut()[block * values..][..values]),
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
            KvDtype::Q8_0 => KvCells::Q8_0(Cells::zeroed(shape)?),
            KvDtype::F8E4M3 => KvCells::F8E4M3(Cells::zeroed(shape)?),
        };
        Some(KvLayer { shape: *shape, cells })
    }

    /// Bytes of one block's keys and values in a layer of this shape.
    pub(crate) fn block_bytes(shape: &KvShape) -> usize {
        match shape.dtype {
            KvDtype::F16 => Cells::<f16>::block_bytes(shape),
            KvDtype::BF16 => Cells::<bf16>::block_bytes(shape),
            KvDtype::F32 => Cells::<f32>::block_bytes(shape),
            KvDtype::Q8_0 => Cells::<i8>::block_bytes(shape),
            KvDtype::F8E4M3 => Cells::<E4M3>::block_bytes(shape),
        }
    }

    /// One block's keys and values.
    pub(crate) fn block(&self, block: u32) -> [&[u8]; 2] {
        with_cells!(&self.cells, cells => cells.block(block))
    }

    pub(crate) fn block_mut(&mut self, block: u32) -> [&mut [u8]; 2] {
        with_cells!(&mut self.cells, cells => cells.block_mut(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_takes_what_its_type_says() {
        let bytes =
            |dtype, head_dim| KvLayer::block_bytes(&KvShape { n_blocks: 3, n_kv_heads: 2, head_dim, dtype });
        // Keys and values of 16 tokens and 2 heads; Q8_0 is 34 bytes for 32 values.
        let per_head = 2 * 16 * 2;
        assert_eq!(bytes(KvDtype::F16, 64), per_head * 128);
        assert_eq!(bytes(KvDtype::F32, 64), per_head * 256);
        assert_eq!(bytes(KvDtype::F8E4M3, 64), per_head * 64);
        assert_eq!(bytes(KvDtype::Q8_0, 64), per_head * 68);
        // 40 values are two groups; rows of values are padded to 48.
        assert_eq!(bytes(KvDtype::Q8_0, 40), 16 * 2 * (40 + 4) + 16 * 2 * (48 + 4));
    }
}
