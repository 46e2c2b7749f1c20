//! Activations as the integer kernels want them: int8 with a scale per block, and integer sums.
//!
//! Two forms, the same as llama.cpp's so that logits agree: one scale per 256 values for weights
//! in blocks of 256 (its Q8_K), one per 32, rounded to f16, for weights in blocks of 32 (its
//! Q8_0). Rounding is to nearest, ties to even, so that every instruction set gets the same bits.
//!
//! Rows are taken in turns of as many as stay in the L2 cache. Those of a turn lie block-major,
//! `[k / len, turn, len]`: the columns of a register tile are neighbours, at constant distances, a
//! tile's share of one block is a single run of memory, and so is the turn. (Were all rows one turn, a
//! prompt's blocks would be a power of two apart and evict each other.)

use half::f16;

use crate::{Isa, Pool};

use super::Shared;

/// Sums of a block of 256: 16 of runs of 16, then 8 of runs of 32.
pub(super) const SUMS: usize = 24;

/// Bytes of activations that are gone through for each panel before the next panel's turn: they
/// should stay in the L2 cache, along with the panels of the stripe.
const TURN_BYTES: usize = 192 << 10;

/// Rows of a turn, at most: their unfinished sums should stay in the L1 cache.
pub(super) const MAX_TURN: usize = 128;

/// Rows of `k` values of `bytes` bytes that make a turn; whole tiles of four.
pub(super) fn turn(k: usize, bytes: usize) -> usize {
    (TURN_BYTES / (k * bytes).max(1)).clamp(4, MAX_TURN).next_multiple_of(4)
}

/// Rows that one task quantizes.
const TASK_ROWS: usize = 16;

/// Rows of int8 activations in blocks of `len` values.
pub(super) struct Quantized {
    len: usize,
    rows: usize,
    k: usize,
    /// `[turns, k / len, turn, len]`, see [`Quantized::place`].
    pub(super) q: Vec<i8>,
    /// `[turns, k / len, turn]`
    pub(super) d: Vec<f32>,
    /// `[turns, k / 32, turn, 32]`, for `len` 32 where asked for: each four as `0, 2, 1, 3`.
    pub(super) wide: Vec<i16>,
    /// `[turns, k / 256, turn, SUMS]`, for `len` 256.
    pub(super) run_sums: Vec<i16>,
    /// The same negated, where asked for.
    pub(super) neg_sums: Vec<i32>,
    /// `[turns, k / 32, turn]`, for `len` 32.
    pub(super) sums: Vec<i32>,
}

/// What products with a weight need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Bytes.
    Bytes,
    /// Also in more bits: blocks of 32 their values as i16, blocks of 256 their negated sums as i32.
    Wide,
}

/// Where one block's results go.
pub(super) struct BlockOut<'a> {
    pub(super) q: &'a mut [i8],
    pub(super) d: &'a mut f32,
}

impl Quantized {
    /// An empty one for blocks of `len`, 32 or 256.
    pub(super) fn new(len: usize) -> Quantized {
        Quantized {
            len,
            rows: 0,
            k: 0,
            q: Vec::new(),
            d: Vec::new(),
            wide: Vec::new(),
            run_sums: Vec::new(),
            neg_sums: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Values of a block.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Rows of a turn; the last may have fewer.
    pub(super) fn turn(&self) -> usize {
        turn(self.k, 1)
    }

    /// The number of block `b` of row `r` in memory.
    pub(super) fn place(&self, b: usize, r: usize) -> usize {
        place(self.rows, self.k / self.len, self.turn(), b, r)
    }

    /// Makes room for `rows` rows of `k` values. Allocates only beyond what was ever asked for.
    pub(super) fn reserve(&mut self, rows: usize, k: usize) {
        let blocks = rows * (k / self.len);
        grow(&mut self.q, blocks * self.len);
        grow(&mut self.d, blocks);
        if self.len == 256 {
            grow(&mut self.run_sums, blocks * SUMS);
        } else {
            grow(&mut self.sums, blocks);
        }
    }

    /// Quantizes `x: [rows, k]`, `k` a multiple of `len`.
    pub(super) fn fill(&mut self, pool: &Pool, isa: Isa, x: &[f32], rows: usize, k: usize, form: Form) {
        assert!(k.is_multiple_of(self.len), "rows of {k} values are not whole blocks of {}", self.len);
        self.reserve(rows, k);
        match (form, self.len) {
            (Form::Bytes, _) => {}
            (Form::Wide, 256) => grow(&mut self.neg_sums, rows * (k / 256) * SUMS),
            (Form::Wide, _) => grow(&mut self.wide, rows * k),
        }
        (self.rows, self.k) = (rows, k);
        let quantize = quantizer(isa);
        if rows <= TASK_ROWS {
            for r in 0..rows {
                self.as_shared(form).fill_row(r, &x[r * k..][..k], quantize);
            }
            return;
        }
        let shared = self.as_shared(form);
        pool.run(rows.div_ceil(TASK_ROWS), &|task| {
            for r in task * TASK_ROWS..rows.min((task + 1) * TASK_ROWS) {
                shared.fill_row(r, &x[r * k..][..k], quantize);
            }
        });
    }

    fn as_shared(&mut self, form: Form) -> SharedQuantized {
        SharedQuantized {
            len: self.len,
            rows: self.rows,
            turn: self.turn(),
            q: Shared(self.q.as_mut_ptr()),
            d: Shared(self.d.as_mut_ptr()),
            form,
            wide: Shared(self.wide.as_mut_ptr()),
            run_sums: Shared(self.run_sums.as_mut_ptr()),
            neg_sums: Shared(self.neg_sums.as_mut_ptr()),
            sums: Shared(self.sums.as_mut_ptr()),
        }
    }
}

/// The number in memory of block `b` of row `r`, of `rows` rows of `blocks` blocks in turns of `turn`.
fn place(rows: usize, blocks: usize, turn: usize, b: usize, r: usize) -> usize {
    let first = r / turn * turn;
    first * blocks + b * turn.min(rows - first) + (r - first)
}

fn grow<T: Clone + Default>(v: &mut Vec<T>, len: usize) {
    if v.len() < len {
        v.resize(len, T::default());
    }
}

/// [`Quantized`] as tasks on several threads write it, each its own rows.
struct SharedQuantized {
    len: usize,
    rows: usize,
    turn: usize,
    q: Shared<i8>,
    d: Shared<f32>,
    form: Form,
    wide: Shared<i16>,
    run_sums: Shared<i16>,
    neg_sums: Shared<i32>,
    sums: Shared<i32>,
}

impl SharedQuantized {
    /// Quantizes row `r`. Only one thread may do so for each row.
    fn fill_row(&self, r: usize, x: &[f32], quantize: Quantize) {
        let blocks = x.len() / self.len;
        for (b, x) in x.chunks_exact(self.len).enumerate() {
            let at = place(self.rows, blocks, self.turn, b, r);
            // SAFETY: `reserve` made room for `rows` blocks at each of the row's `k / len`
            // places; block `at` belongs to this row alone, and one thread fills it.
            let (q, d) = unsafe {
                let q = std::slice::from_raw_parts_mut(self.q.0.add(at * self.len), self.len);
                (q, &mut *self.d.0.add(at))
            };
            let mut quads = [0i32; 64];
            quantize(x, BlockOut { q: &mut *q, d }, &mut quads);
            if self.len == 256 {
                self.fill_run_sums(at, &quads);
                continue;
            }
            // SAFETY: as above, one per block.
            unsafe { *self.sums.0.add(at) = quads[..8].iter().sum() };
            if self.form == Form::Wide {
                // SAFETY: as above, `len` of them per block.
                let wide =
                    unsafe { std::slice::from_raw_parts_mut(self.wide.0.add(at * self.len), self.len) };
                for (wide, q) in wide.as_chunks_mut::<4>().0.iter_mut().zip(q.as_chunks::<4>().0) {
                    *wide = [q[0], q[2], q[1], q[3]].map(i16::from);
                }
            }
        }
    }

    /// Sums of the runs of block `at`, of which `quads` are sums of four. Only one thread may do so for each.
    fn fill_run_sums(&self, at: usize, quads: &[i32; 64]) {
        // SAFETY: `reserve` made room for `SUMS` of them per block.
        let sums = unsafe { &mut *self.run_sums.0.add(at * SUMS).cast::<[i16; SUMS]>() };
        for (sum, quads) in sums[..16].iter_mut().zip(quads.chunks_exact(4)) {
            *sum = quads.iter().sum::<i32>() as i16;
        }
        for run in 0..8 {
            sums[16 + run] = sums[2 * run] + sums[2 * run + 1];
        }
        if self.form == Form::Wide {
            // SAFETY: as above.
            let negated = unsafe { &mut *self.neg_sums.0.add(at * SUMS).cast::<[i32; SUMS]>() };
            *negated = sums.map(|sum| -i32::from(sum));
        }
    }
}

/// Quantizes one block of 32 or 256 values and sums each four of the results.
type Quantize = fn(&[f32], BlockOut<'_>, &mut [i32; 64]);

fn quantizer(isa: Isa) -> Quantize {
    match isa {
        Isa::Scalar => quantize_scalar,
        #[cfg(target_arch = "x86_64")]
        // Bound by memory, not by the width of the registers: AVX-512 would gain nothing.
        Isa::Avx2 | Isa::Avx512Vnni => super::avx2::quantize,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => super::neon::quantize,
        _ => unreachable!("not on this processor"),
    }
}

/// Quantizes 32 values, and their scale.
pub(crate) fn quantize_32(isa: Isa, x: &[f32; 32], q: &mut [i8; 32]) -> f32 {
    let mut d = 0.0;
    quantizer(isa)(x, BlockOut { q, d: &mut d }, &mut [0; 64]);
    d
}

/// The scale of a block and the factor that brings its values to -127..=127.
///
/// A block that holds anything but finite numbers gets the scale NaN and zeros: what is computed
/// from it is NaN, and no instruction set's idea of converting an infinity to an integer matters.
pub(super) fn scales(amax: f32, len: usize) -> (f32, f32) {
    let factor = 127.0 / amax;
    if !amax.is_finite() {
        return (f32::NAN, 0.0);
    }
    if !factor.is_finite() {
        return (0.0, 0.0); // all zeros, or too small to tell from them
    }
    if len == 256 {
        return (1.0 / factor, factor);
    }
    let d = amax / 127.0;
    let rounded = f16::from_f32(d);
    // Beyond the range of normal halves the unrounded scale is the better one.
    (if rounded.is_normal() { rounded.to_f32() } else { d }, factor)
}

fn quantize_scalar(x: &[f32], out: BlockOut<'_>, quads: &mut [i32; 64]) {
    let mut amax = 0.0f32;
    for &v in x {
        // `max` would lose a NaN.
        amax = if v.abs() > amax || v.is_nan() { v.abs() } else { amax };
        if amax.is_nan() {
            break;
        }
    }
    let (d, factor) = scales(amax, x.len());
    *out.d = d;
    for (q, &v) in out.q.iter_mut().zip(x) {
        *q = if factor == 0.0 { 0 } else { round_to_even(v * factor) as i8 };
    }
    for (sum, q) in quads.iter_mut().zip(out.q.chunks_exact(4)) {
        *sum = q.iter().map(|&q| i32::from(q)).sum();
    }
}

/// Nearest integer, ties to even, of a number far below 2^22: adding 1.5 * 2^23 leaves no bits for
/// the fraction.
fn round_to_even(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    fn quantized(isa: Isa, len: usize, x: &[f32], rows: usize) -> Quantized {
        let mut q = Quantized::new(len);
        q.fill(&Pool::new(NonZeroUsize::MIN), isa, x, rows, x.len() / rows, Form::Wide);
        q
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        let mut x: Vec<f32> = (0..256 * 40)
            .map(|i| ((i * 7919 % 1013) as f32 - 500.0) * 0.013 * (1 + i / 256) as f32)
            .collect();
        x[256..512].fill(0.0);
        x[700] = 1e30;
        x[1000] = f32::NAN;
        x[1500] = f32::NEG_INFINITY;
        x[1536..1792].fill(1e-39);
        for len in [32, 256] {
            let expected = quantized(Isa::Scalar, len, &x, 20);
            for isa in Isa::available() {
                let got = quantized(isa, len, &x, 20);
                assert_eq!(got.q, expected.q, "{isa:?}");
                let bits = |d: &[f32]| d.iter().map(|d| d.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&got.d), bits(&expected.d), "{isa:?}");
                assert_eq!((&got.run_sums, &got.sums), (&expected.run_sums, &expected.sums), "{isa:?}");
                assert_eq!(got.neg_sums, expected.neg_sums, "{isa:?}");
            }
        }
    }

    #[test]
    fn values_come_back_within_half_a_step() {
        let x: Vec<f32> = (0..512).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        for len in [32, 256] {
            let q = quantized(Isa::Scalar, len, &x, 2);
            for (i, &v) in x.iter().enumerate() {
                let (row, at) = (i / 256, i % 256);
                let block = at / len * 2 + row;
                let back = f32::from(q.q[block * len + at % len]) * q.d[block];
                // The scale's rounding to f16 moves the largest by 127 * 2^-11 of a step.
                assert!((back - v).abs() <= q.d[block] * 0.57, "{back} {v}");
            }
        }
    }

    #[test]
    fn wide_values_are_the_same_in_another_order() {
        let x: Vec<f32> = (0..512).map(|i| (i % 53) as f32 - 17.0).collect();
        let q = quantized(Isa::Scalar, 32, &x, 2);
        for (wide, q) in q.wide.chunks_exact(4).zip(q.q.chunks_exact(4)) {
            assert_eq!(wide, [q[0], q[2], q[1], q[3]].map(i16::from));
        }
        assert_eq!(q.wide.len(), q.q.len());
    }

    #[test]
    fn sums_are_of_the_quantized_values() {
        let x: Vec<f32> = (0..512).map(|i| (i % 37) as f32 - 11.0).collect();
        let q = quantized(Isa::Scalar, 256, &x, 1);
        assert!(q.run_sums.iter().zip(&q.neg_sums).all(|(&sum, &negated)| i32::from(sum) == -negated));
        for (run, q16) in q.q.chunks_exact(16).enumerate() {
            let sum: i16 = q16.iter().map(|&q| i16::from(q)).sum();
            assert_eq!(q.run_sums[run / 16 * SUMS + run % 16], sum);
        }
        assert_eq!(q.run_sums[SUMS + 16 + 3], q.run_sums[SUMS + 6] + q.run_sums[SUMS + 7]);
    }
}
