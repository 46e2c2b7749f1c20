//! `dst[i, j] = x[i, j] * w[j] / sqrt(mean_j(x[i, j]^2) + eps)`.

use super::Run;
use crate::simd::{LANES, Simd, variants};

pub(crate) fn rms_norm(run: Run<'_>, dst: &mut [f32], x: &[f32], w: &[f32], eps: f32) {
    let dim = w.len();
    assert_eq!(dst.len(), x.len());
    run.for_rows(dst, dim, &|first, part| {
        for (dst, x) in part.chunks_exact_mut(dim).zip(x[first * dim..].chunks_exact(dim)) {
            dst.copy_from_slice(x);
            row(run.level, dst, w, eps);
        }
    });
}

pub(crate) fn rms_norm_in_place(run: Run<'_>, x: &mut [f32], w: &[f32], eps: f32) {
    run.for_rows(x, w.len(), &|_, part| rows(run.level, part, w, eps));
}

variants!(fn row(x: &mut [f32], w: &[f32], eps: f32) = kernel);
variants!(fn rows(x: &mut [f32], w: &[f32], eps: f32) = kernel_rows);

#[inline(always)]
fn kernel_rows<S: Simd>(s: S, x: &mut [f32], w: &[f32], eps: f32) {
    x.chunks_exact_mut(w.len()).for_each(|x| kernel(s, x, w, eps));
}

/// One row: two running sums of every other vector, so that additions overlap.
#[inline(always)]
fn kernel<S: Simd>(s: S, x: &mut [f32], w: &[f32], eps: f32) {
    let len = x.len();
    let (body, tail) = x.as_chunks_mut::<LANES>();
    let (w_body, w_tail) = w.as_chunks::<LANES>();
    let mut sums = [s.splat(0.0); 2];
    for pair in body.chunks(2) {
        for (sum, x) in sums.iter_mut().zip(pair) {
            let x = s.load(x);
            *sum = s.fma(x, x, *sum);
        }
    }
    if !tail.is_empty() {
        let x = s.load_tail(tail);
        sums[0] = s.fma(x, x, sums[0]);
    }
    let mean = s.sum(s.add(sums[0], sums[1])) / len as f32;
    let scale = s.splat(1.0 / (mean + eps).sqrt());
    for (x, w) in body.iter_mut().zip(w_body) {
        s.store(s.mul(s.mul(s.load(x), scale), s.load(w)), x);
    }
    if !tail.is_empty() {
        let y = s.mul(s.mul(s.load_tail(tail), scale), s.load_tail(w_tail));
        s.store_tail(y, tail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_close, assert_same_bits, for_every_run, values};
    use super::*;
    use crate::simd::portable::Portable;

    /// One row, the sum in f64.
    fn reference(x: &mut [f32], w: &[f32], eps: f32) {
        let sum: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let scale = 1.0 / ((sum / x.len() as f64) as f32 + eps).sqrt();
        for (x, w) in x.iter_mut().zip(w) {
            *x = *x * scale * w;
        }
    }

    fn reference_rows(x: &mut [f32], w: &[f32], eps: f32) {
        x.chunks_exact_mut(w.len()).for_each(|x| reference(x, w, eps));
    }

    const DIMS: [usize; 9] = [1, 15, 16, 17, 32, 47, 128, 1000, 4096];

    #[test]
    fn every_variant_is_close_to_f64() {
        for_every_run(|run, isa| {
            for dim in DIMS {
                let rows = 40_000 / dim + 1;
                let (x, w) = (values(rows * dim, 1), values(dim, 2));
                let mut expected = x.clone();
                reference_rows(&mut expected, &w, 1e-5);
                let mut got = vec![f32::NAN; x.len()];
                rms_norm(run, &mut got, &x, &w, 1e-5);
                assert_close(&got, &expected, 1e-6, &format!("{isa:?}, {dim}"));
                let mut in_place = x.clone();
                rms_norm_in_place(run, &mut in_place, &w, 1e-5);
                assert_same_bits(&in_place, &got, &format!("{isa:?}, {dim}, in place"));
            }
        });
    }

    #[test]
    fn the_kernel_means_the_same_on_any_width() {
        for_every_run(|run, isa| {
            for dim in DIMS.into_iter().filter(|_| isa != crate::Isa::Scalar) {
                let (mut x, w) = (values(dim, 3), values(dim, 4));
                let mut expected = x.clone();
                kernel(Portable, &mut expected, &w, 1e-6);
                row(run.level, &mut x, &w, 1e-6);
                assert_same_bits(&x, &expected, &format!("{isa:?}, {dim}"));
            }
        });
    }

    #[test]
    fn zeros_stay_zeros() {
        for_every_run(|run, _| {
            let mut x = [0.0; 20];
            rms_norm_in_place(run, &mut x, &[2.0; 20], 1e-6);
            assert_eq!(x, [0.0; 20]);
        });
    }
}
