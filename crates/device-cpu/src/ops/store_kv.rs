//! Writes keys and values `[tokens, n_kv_heads, head_dim]` to their slots.
//!
//! Threads share the work by head: two tokens may have the same slot (padding writes to the null
//! block), two heads never have the same cells.

use garrison_device::BLOCK_SIZE;

use super::{Run, WORTH_SHARING};
use crate::kv::{Cell, Cells, GROUP, KvLayer, with_cells};
use crate::pool::Disjoint;

pub(crate) fn store_kv(run: Run<'_>, layer: &mut KvLayer, k: &[f32], v: &[f32], slots: &[u32]) {
    with_cells!(&mut layer.cells, cells => store(run, cells, k, v, slots));
}

fn store<E: Cell>(run: Run<'_>, cells: &mut Cells<E>, k: &[f32], v: &[f32], slots: &[u32]) {
    let (layout, isa) = (cells.layout, run.level.isa());
    let (dim, row) = (layout.head_dim, layout.n_kv_heads * layout.head_dim);
    assert!(k.len() == slots.len() * row && v.len() == k.len());
    let (keys, values) = (Disjoint::new(cells.keys.get_mut()), Disjoint::new(cells.values.get_mut()));
    let store_head = |head: usize| {
        let mut narrow = [E::zeroed(); GROUP];
        for (i, &slot) in slots.iter().enumerate() {
            let (block, offset) = (slot / BLOCK_SIZE as u32, slot as usize % BLOCK_SIZE);
            let (tile, from) = (layout.tile(block, head), i * row + head * dim);
            let at = tile * layout.key_tile();
            // SAFETY: a task touches its own head's tiles only, one slice at a time.
            let (scales, columns) = layout.split(unsafe { keys.slice(at..at + layout.key_tile()) });
            let columns = columns.chunks_mut(GROUP * BLOCK_SIZE);
            for ((g, x), columns) in k[from..from + dim].chunks(GROUP).enumerate().zip(columns) {
                let scale = E::narrow(isa, x, &mut narrow);
                for (column, &cell) in columns.as_chunks_mut::<BLOCK_SIZE>().0.iter_mut().zip(&narrow) {
                    column[offset] = cell;
                }
                if E::SCALED {
                    scales[g][offset] = scale;
                }
            }
            let at = tile * layout.value_tile();
            // SAFETY: as above.
            let (scales, rows) = layout.split(unsafe { values.slice(at..at + layout.value_tile()) });
            let cells = rows[offset * layout.value_stride..][..dim].chunks_mut(GROUP);
            for ((g, x), cells) in v[from..from + dim].chunks(GROUP).enumerate().zip(cells) {
                let scale = E::narrow(isa, x, &mut narrow);
                cells.copy_from_slice(&narrow[..x.len()]);
                if E::SCALED {
                    scales[g][offset] = scale;
                }
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
    use crate::kv::KvCells;

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
                        let key = cells.key_tile(block, head).cells[d][offset];
                        let at = offset * cells.layout.value_stride + d;
                        let value = cells.value_tile(block, head).cells[at / 16][at % 16];
                        assert_eq!((key, value), (k[from], v[from]), "{isa:?} slot {slot} head {head}");
                    }
                }
                assert!(
                    cells.key_tile(0, 0).cells.iter().flatten().all(|&x| x == 0.0),
                    "the null block was written to"
                );
            }
        });
    }
}
