//! The two halves of what an adapter adds, for rows that share it: `shrink` to the rank's sums,
//! `expand` to the outputs.
//!
//! Each sum runs over its inputs in one order: 16 lanes side by side, front to back, the lanes
//! added at the end; each output over the ranks from the first to the last. How many rows and
//! ranks are computed together changes nothing in it.

use std::ops::Range;

use crate::lora::{LoraWeight, PAIR, PairChunk};
use crate::pool::Disjoint;
use crate::simd::{LANES, Simd, variants};

/// `sums[i, r] = scale * sum_j a[r, j] x[rows[i], j]` for some rows and pairs of ranks.
pub(super) struct Shrink<'a> {
    pub(super) weight: &'a LoraWeight,
    pub(super) pairs: Range<usize>,
    /// `[all rows, k]`
    pub(super) x: &'a [f32],
    pub(super) k: usize,
    pub(super) rows: &'a [u32],
    /// `[all sums' rows, stride]`; these rows' begin at `first`.
    pub(super) sums: &'a Disjoint<'a, f32>,
    pub(super) stride: usize,
    pub(super) first: usize,
}

/// `dst[rows[i], o] += sum_r sums[i, r] b[o, r]` for some rows and panels of 16 outputs.
pub(super) struct Expand<'a> {
    pub(super) weight: &'a LoraWeight,
    pub(super) panels: Range<usize>,
    /// `[all rows, n]`
    pub(super) dst: &'a Disjoint<'a, f32>,
    pub(super) n: usize,
    pub(super) rows: &'a [u32],
    /// `[rows, stride]`
    pub(super) sums: &'a [f32],
    pub(super) stride: usize,
}

variants!(pub(super) fn shrink(work: &Shrink<'_>) = shrink_all);
variants!(pub(super) fn expand(work: &Expand<'_>) = expand_all);

/// Two rows at a time: with a pair of ranks that is eight sums on AVX2, as many as it takes for none
/// to wait for itself, and what they are made of has room beside them.
#[inline(always)]
pub(super) fn shrink_all<S: Simd>(s: S, work: &Shrink<'_>) {
    let mut at = 0;
    while at < work.rows.len() {
        at += match work.rows.len() - at {
            1 => shrink_rows::<S, 1>(s, work, at),
            _ => shrink_rows::<S, 2>(s, work, at),
        };
    }
}

/// `M` rows from the `at`-th on; returns `M`.
#[inline(always)]
fn shrink_rows<S: Simd, const M: usize>(s: S, work: &Shrink<'_>, at: usize) -> usize {
    let x: [&[f32]; M] = std::array::from_fn(|m| &work.x[work.rows[at + m] as usize * work.k..][..work.k]);
    for pair in work.pairs.clone() {
        let sums = dots(s, work.weight.pair(pair), x);
        for (m, sums) in sums.iter().enumerate() {
            let start = (work.first + at + m) * work.stride + pair * PAIR;
            // SAFETY: no other task has these rows and pairs, and no other slice is alive.
            let to = unsafe { work.sums.slice(start..start + PAIR) };
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum * work.weight.scale);
        }
    }
    M
}

/// Products of `M` rows with a pair of rows of `a`.
#[inline(always)]
fn dots<S: Simd, const M: usize>(s: S, a: &[PairChunk], x: [&[f32]; M]) -> [[f32; PAIR]; M] {
    let bodies = x.map(|x| x.as_chunks::<LANES>().0);
    let tails = x.map(|x| x.as_chunks::<LANES>().1);
    let whole = bodies[0].len();
    let bodies = bodies.map(|x| &x[..whole]);
    let mut sums = [[s.splat(0.0); PAIR]; M];
    for (c, a) in a[..whole].iter().enumerate() {
        for r in 0..PAIR {
            let a = s.load_f16(&a[r]);
            for m in 0..M {
                sums[m][r] = s.fma(a, s.load(&bodies[m][c]), sums[m][r]);
            }
        }
    }
    if let [a] = &a[whole..] {
        for m in 0..M {
            let x = s.load_tail(tails[m]);
            for r in 0..PAIR {
                sums[m][r] = s.fma(s.load_f16(&a[r]), x, sums[m][r]);
            }
        }
    }
    sums.map(|row| row.map(|v| s.sum(v)))
}

/// Four sums under way at a time, so that none waits for itself.
#[inline(always)]
pub(super) fn expand_all<S: Simd>(s: S, work: &Expand<'_>) {
    let mut at = 0;
    while at < work.rows.len() {
        at += match work.rows.len() - at {
            1 => expand_rows::<S, 1, 4>(s, work, at),
            2 => expand_rows::<S, 2, 2>(s, work, at),
            3 => expand_rows::<S, 3, 1>(s, work, at),
            _ => expand_rows::<S, 4, 1>(s, work, at),
        };
    }
}

/// `M` rows from the `at`-th on, `P` panels at a time; returns `M`.
#[inline(always)]
fn expand_rows<S: Simd, const M: usize, const P: usize>(s: S, work: &Expand<'_>, at: usize) -> usize {
    let sums: [&[f32]; M] = std::array::from_fn(|m| &work.sums[(at + m) * work.stride..][..work.weight.rank]);
    let mut panel = work.panels.start;
    while panel + P <= work.panels.end {
        let outputs = outputs::<S, M, P>(s, std::array::from_fn(|p| work.weight.panel(panel + p)), sums);
        store::<S, M, P>(s, work, at, panel, outputs);
        panel += P;
    }
    for panel in panel..work.panels.end {
        let outputs = outputs::<S, M, 1>(s, [work.weight.panel(panel)], sums);
        store::<S, M, 1>(s, work, at, panel, outputs);
    }
    M
}

#[inline(always)]
fn outputs<S: Simd, const M: usize, const P: usize>(
    s: S,
    b: [&[[half::f16; LANES]]; P],
    sums: [&[f32]; M],
) -> [[S::V; P]; M] {
    let rank = b[0].len();
    let (b, sums) = (b.map(|b| &b[..rank]), sums.map(|sums| &sums[..rank]));
    let mut outputs = [[s.splat(0.0); P]; M];
    for r in 0..rank {
        for p in 0..P {
            let b = s.load_f16(&b[p][r]);
            for m in 0..M {
                outputs[m][p] = s.fma(s.splat(sums[m][r]), b, outputs[m][p]);
            }
        }
    }
    outputs
}

/// Adds to `dst`.
#[inline(always)]
fn store<S: Simd, const M: usize, const P: usize>(
    s: S,
    work: &Expand<'_>,
    at: usize,
    panel: usize,
    outputs: [[S::V; P]; M],
) {
    for (m, outputs) in outputs.into_iter().enumerate() {
        let row = work.rows[at + m] as usize * work.n;
        for (p, output) in outputs.into_iter().enumerate() {
            let column = (panel + p) * LANES;
            let end = work.n.min(column + LANES);
            // SAFETY: no other task has these rows and panels, and no other slice is alive.
            let to = unsafe { work.dst.slice(row + column..row + end) };
            match to.as_mut_array::<LANES>() {
                Some(to) => s.store(s.add(s.load(to), output), to),
                None => s.store_tail(s.add(s.load_tail(to), output), to),
            }
        }
    }
}
