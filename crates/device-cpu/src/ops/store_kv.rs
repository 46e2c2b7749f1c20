//! Writes keys and values `[tokens, n_kv_heads, head_dim]` to their slots.
//!
//! Threads share the work by head: two tokens may have the same slot (padding writes to the null
//! block), two heads never have the same cells. Rounding to the storage type is the `half` crate's,
//! which uses the processor's instructions where they exist and rounds alike where not.

use garrison_device::BLOCK_SIZE;
use half::{bf16, f16};

use super::{Run, WORTH_SHARING};
use crate::kv::{Cells, KvCells, KvLayer};
use crate::pool::Disjoint;

pub(crate) fn store_kv(run: Run<'_>, layer: &mut KvLayer, k: &[f32], v: &[f32], slots: &[u32]) {
    match &mut layer.cells {
        KvCells::F16(cells) => store(run, cells, k, v, slots, f16::from_f32),
        KvCells::BF16(cells) => store(run, cells, k, v, slots, bf16::from_f32),
        KvCells::F32(cells) => store(run, cells, k, v, slots, |x| x),
    }
}

fn store<E: bytemuck::Zeroable + Send>(
    run: Run<'_>,
    cells: &mut Cells<E>,
    k: &[f32],
    v: &[f32],
    slots: &[u32],
    narrow: impl Fn(f32) -> E + Sync,
) {
    let layout = cells.layout;
    let (dim, row) = (layout.head_dim, layout.n_kv_heads * layout.head_dim);
    assert!(k.len() == slots.len() * row && v.len() == k.len());
    let (keys, values) = (Disjoint::new(cells.keys.get_mut()), Disjoint::new(cells.values.get_mut()));
    let store_head = |head: usize| {
        for (i, &slot) in slots.iter().enumerate() {
            let (block, offset) = (slot / BLOCK_SIZE as u32, slot as usize % BLOCK_SIZE);
            let tile = layout.tile(block, head);
            let (at, from) = (tile * layout.key_tile(), i * row + head * dim);
            // SAFETY: a task touches its own head's tiles only, one slice at a time.
            let tile_keys = unsafe { keys.slice(at..at + layout.key_tile()) };
            for (column, &x) in tile_keys.as_chunks_mut::<BLOCK_SIZE>().0.iter_mut().zip(&k[from..from + dim])
            {
                column[offset] = narrow(x);
            }
            let at = tile * layout.value_tile() + offset * layout.value_stride;
            // SAFETY: as above.
            let row_values = unsafe { values.slice(at..at + dim) };
            for (cell, &x) in row_values.iter_mut().zip(&v[from..from + dim]) {
                *cell = narrow(x);
            }
        }
    };
    if k.len() < WORTH_SHARING {
        (0..layout.n_kv_heads).for_each(store_head);
    } else {
        run.pool.run(layout.n_kv_heads, &store_head);
    }
}

#[cfg(test)]
mod tests {
    use garrison_device::{KvDtype, KvShape};

    use super::super::tests::{for_every_run, values};
    use super::*;

    #[test]
    fn every_cell_is_where_attention_looks_for_it() {
        for_every_run(|run, isa| {
            for head_dim in [4, 16, 20] {
                let shape = KvShape { n_blocks: 9, n_kv_heads: 3, head_dim, dtype: KvDtype::F32 };
                let mut layer = KvLayer::zeroed(&shape).unwrap();
                let slots: Vec<u32> = (0..128).map(|i| 16 + (i * 37) % 128).collect();
                let (k, v) = (values(128 * 3 * head_dim, 1), values(128 * 3 * head_dim, 2));
                store_kv(run, &mut layer, &k, &v, &slots);
                let KvCells::F32(cells) = &layer.cells else { unreachable!() };
                for (i, &slot) in slots.iter().enumerate() {
                    for (head, d) in (0..3).flat_map(|h| (0..head_dim).map(move |d| (h, d))) {
                        let from = (i * 3 + head) * head_dim + d;
                        let (block, offset) = (slot / 16, slot as usize % 16);
                        let key = cells.key_tile(block, head)[d * 16 + offset];
                        let value = cells.value_tile(block, head)[offset * cells.layout.value_stride + d];
                        assert_eq!((key, value), (k[from], v[from]), "{isa:?} slot {slot} head {head}");
                    }
                }
                assert!(cells.key_tile(0, 0).iter().all(|&x| x == 0.0), "the null block was written to");
            }
        });
    }
}
