//! Rotates each pair `(a, b)` of each head to `(a cos - b sin, a sin + b cos)`.
//!
//! Key decision: one loop for all instruction sets, compiled for each: the compiler turns pairs
//! into shuffles by itself, and a product and a difference round alike everywhere.

use garrison_device::{RopePairing, RopeShape};

use super::Run;
use crate::simd::{Simd, variants};

/// `x` is `[rows, n_heads, head_dim]`, `angles` `[rows, rope_dim / 2, 2]`.
pub(crate) fn rope(run: Run<'_>, x: &mut [f32], angles: &[f32], shape: RopeShape) {
    let RopeShape { n_heads, head_dim, rope_dim, pairing } = shape;
    assert!(rope_dim <= head_dim && rope_dim.is_multiple_of(2), "{shape:?}");
    let rotate = match pairing {
        RopePairing::Adjacent => adjacent,
        RopePairing::Halves => halves,
    };
    run.for_rows(x, n_heads * head_dim, &|first, part| {
        for (i, row) in part.chunks_exact_mut(n_heads * head_dim).enumerate() {
            let angles = &angles[(first + i) * rope_dim..][..rope_dim];
            rotate(run.level, row, head_dim, angles);
        }
    });
}

variants!(fn adjacent(row: &mut [f32], head_dim: usize, angles: &[f32]) = adjacent_for);
variants!(fn halves(row: &mut [f32], head_dim: usize, angles: &[f32]) = halves_for);

#[inline(always)]
fn adjacent_for<S: Simd>(_: S, row: &mut [f32], head_dim: usize, angles: &[f32]) {
    rotate_adjacent(row, head_dim, angles);
}

#[inline(always)]
fn halves_for<S: Simd>(_: S, row: &mut [f32], head_dim: usize, angles: &[f32]) {
    rotate_halves(row, head_dim, angles);
}

#[inline(always)]
fn rotate_adjacent(row: &mut [f32], head_dim: usize, angles: &[f32]) {
    let angles = angles.as_chunks::<2>().0;
    for head in row.chunks_exact_mut(head_dim) {
        for ([a, b], [cos, sin]) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }
}

#[inline(always)]
fn rotate_halves(row: &mut [f32], head_dim: usize, angles: &[f32]) {
    let rope_dim = angles.len();
    let angles = angles.as_chunks::<2>().0;
    for head in row.chunks_exact_mut(head_dim) {
        let (low, high) = head[..rope_dim].split_at_mut(rope_dim / 2);
        for ((a, b), [cos, sin]) in low.iter_mut().zip(high).zip(angles) {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_close, for_every_run, values};
    use super::*;

    /// The formula, one value at a time, in f64.
    fn by_definition(x: &[f32], angles: &[f32], shape: RopeShape) -> Vec<f32> {
        let RopeShape { n_heads, head_dim, rope_dim, pairing } = shape;
        let mut out = x.to_vec();
        for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
            let (row, x) = (head / n_heads, &x[head * head_dim..]);
            for i in 0..rope_dim / 2 {
                let (a, b) = match pairing {
                    RopePairing::Adjacent => (2 * i, 2 * i + 1),
                    RopePairing::Halves => (i, i + rope_dim / 2),
                };
                let [cos, sin] = [0, 1].map(|j| f64::from(angles[row * rope_dim + 2 * i + j]));
                let (xa, xb) = (f64::from(x[a]), f64::from(x[b]));
                out[a] = (xa * cos - xb * sin) as f32;
                out[b] = (xa * sin + xb * cos) as f32;
            }
        }
        out
    }

    #[test]
    fn both_pairings_follow_the_formula() {
        for_every_run(|run, isa| {
            for pairing in [RopePairing::Adjacent, RopePairing::Halves] {
                for (n_heads, head_dim, rope_dim) in [(1, 2, 2), (3, 20, 12), (5, 64, 64), (4, 128, 96)] {
                    let shape = RopeShape { n_heads, head_dim, rope_dim, pairing };
                    let rows = 40_000 / (n_heads * head_dim);
                    let angles: Vec<f32> = values(rows * rope_dim / 2, 2)
                        .into_iter()
                        .flat_map(|a| [(3.0 * a).cos(), (3.0 * a).sin()])
                        .collect();
                    let x: Vec<f32> = values(rows * n_heads * head_dim, 1).iter().map(|x| x + 2.0).collect();
                    let mut got = x.clone();
                    rope(run, &mut got, &angles, shape);
                    let expected = by_definition(&x, &angles, shape);
                    // Differences cancel, so the error is relative to the values, which are 1 to 3.
                    let shift = |x: &[f32]| x.iter().map(|x| x + 10.0).collect::<Vec<_>>();
                    assert_close(&shift(&got), &shift(&expected), 1e-6, &format!("{isa:?} {shape:?}"));
                }
            }
        });
    }
}
