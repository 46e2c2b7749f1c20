//! `dst[i, :] += scale_s * B_s A_s x[i, :]` with `s = adapters[i]`: which rows and ranks are
//! computed together, and by whom. The arithmetic is in [`kernel`].
//!
//! Rows are taken by adapter, so that a prefill reads each once for many rows. Work is cut along
//! rows and along ranks (or outputs), so that one row of a large rank keeps several threads busy
//! too. All sums are there before the first output is computed: two parallel regions.

mod kernel;
#[cfg(test)]
mod tests;

use std::ops::Range;

use kernel::{Expand, Shrink};

use super::Run;
use crate::lora::{LoraSlots, LoraWeight, PAIR};
use crate::pool::Disjoint;
use crate::simd::LANES;

/// Rows of one task: enough to read weights from the cache mostly.
const TASK_ROWS: usize = 48;

/// Bytes of weights of one task: they stay in the first-level cache while its rows go by, and
/// reading them takes longer than handing out a task.
const TASK_BYTES: usize = 32 << 10;

/// Multiplications that one thread gets through while another would just be waking up.
const WORTH_SHARING: usize = 1 << 16;

/// Working memory. It grows to the largest call so far and stays there.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Rows that have an adapter, by adapter.
    rows: Vec<u32>,
    shrinks: Vec<Task>,
    expands: Vec<Task>,
    /// `[rows, stride]` sums of each rank.
    sums: Vec<f32>,
}

/// Some rows of one adapter, and which pairs of ranks or panels of outputs.
struct Task {
    slot: u32,
    /// Of `Scratch::rows`.
    rows: Range<usize>,
    part: Range<usize>,
}

/// `dst` is `[rows, n]`, `x` is `[rows, k]`, `adapters` is `[rows]`.
pub(crate) fn lora(
    run: Run<'_>,
    dst: &mut [f32],
    x: &[f32],
    slots: &LoraSlots,
    adapters: &[u32],
    scratch: &mut Scratch,
) {
    let (n, k) = (slots.shape.n, slots.shape.k);
    assert_eq!((dst.len(), x.len()), (adapters.len() * n, adapters.len() * k), "{:?}", slots.shape);
    let Some(largest) = scratch.plan(slots, adapters) else { return };
    let stride = largest.next_multiple_of(PAIR);
    let Scratch { rows, shrinks, expands, sums } = scratch;
    if sums.len() < rows.len() * stride {
        sums.resize(rows.len() * stride, 0.0);
    }
    let share = |tasks: usize, inputs: usize, task: &(dyn Fn(usize) + Sync)| {
        if rows.len() * largest * inputs > WORTH_SHARING {
            run.pool.run(tasks, task);
        } else {
            (0..tasks).for_each(task);
        }
    };

    let sums_out = Disjoint::new(sums);
    share(shrinks.len(), k, &|i| {
        let Task { slot, rows: of, part } = &shrinks[i];
        let (rows, first) = (&rows[of.clone()], of.start);
        let Some(weight) = slots.get(*slot) else { return };
        let pairs = part.clone();
        kernel::shrink(run.level, &Shrink { weight, pairs, x, k, rows, sums: &sums_out, stride, first });
    });
    let dst = Disjoint::new(dst);
    share(expands.len(), n, &|i| {
        let Task { slot, rows: of, part } = &expands[i];
        let (rows, sums) = (&rows[of.clone()], &sums[of.start * stride..of.end * stride]);
        let Some(weight) = slots.get(*slot) else { return };
        let panels = part.clone();
        kernel::expand(run.level, &Expand { weight, panels, dst: &dst, n, rows, sums, stride });
    });
}

impl Scratch {
    /// Cuts a call into tasks. Returns the largest rank, or `None` if there is nothing to do.
    fn plan(&mut self, slots: &LoraSlots, adapters: &[u32]) -> Option<usize> {
        let weight = |row: u32| match adapters[row as usize] {
            0 => None,
            slot => slots.get(slot),
        };
        self.rows.clear();
        self.rows.extend((0..adapters.len() as u32).filter(|&row| weight(row).is_some()));
        self.rows.sort_unstable_by_key(|&row| (adapters[row as usize], row));
        self.shrinks.clear();
        self.expands.clear();
        let (mut start, mut largest) = (0, None);
        let same = |a: &u32, b: &u32| adapters[*a as usize] == adapters[*b as usize];
        for group in self.rows.chunk_by(same) {
            let Some(weight) = weight(group[0]) else { continue };
            let LoraWeight { rank, .. } = *weight;
            largest = largest.max(Some(rank));
            let pair_bytes = slots.shape.k.next_multiple_of(LANES) * PAIR * 2;
            let panel_bytes = rank * LANES * 2;
            let slot = adapters[group[0] as usize];
            let rows = start..start + group.len();
            cut(&mut self.shrinks, slot, rows.clone(), weight.n_pairs(), pair_bytes);
            cut(&mut self.expands, slot, rows.clone(), slots.shape.n.div_ceil(LANES), panel_bytes);
            start = rows.end;
        }
        largest
    }
}

/// Appends the tasks of `rows` over `n` parts of a weight, each of so many bytes.
fn cut(tasks: &mut Vec<Task>, slot: u32, rows: Range<usize>, n: usize, part_bytes: usize) {
    let step = (TASK_BYTES / part_bytes).max(1);
    for first in rows.clone().step_by(TASK_ROWS) {
        let rows = first..rows.end.min(first + TASK_ROWS);
        let parts = (0..n).step_by(step).map(|part| part..n.min(part + step));
        tasks.extend(parts.map(|part| Task { slot, rows: rows.clone(), part }));
    }
}
