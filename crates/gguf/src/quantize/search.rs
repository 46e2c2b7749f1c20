//! The searches behind every quantizer: which scale makes the rounding error smallest?
//!
//! Rounding to the grid that just spans the values is rarely best. Each search tries grids a
//! little wider and narrower, rounds to each, solves weighted least squares for the scale (and
//! offset) given that rounding, and keeps the best. The idea is that of ggml's k-quants.
//!
//! Values are handled as floats throughout and rounded by adding 1.5 * 2^23, so that the loops
//! vectorize on the plainest x86-64.

/// Rounds to the nearest integer, ties to even; exact for magnitudes under 2^22.
#[inline(always)]
pub(super) fn round(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// Larger values matter more, small ones still count: `|x|` plus their root mean square.
pub(super) fn weights<const N: usize>(x: &[f32; N]) -> [f32; N] {
    let rms = (x.iter().map(|x| x * x).sum::<f32>() / N as f32).sqrt();
    x.map(|x| rms + x.abs())
}

/// The value of largest magnitude, with its sign.
pub(super) fn extreme<const N: usize>(x: &[f32; N]) -> f32 {
    x.iter().fold(0.0, |m: f32, &x| if x.abs() > m.abs() { x } else { m })
}

/// `1 / x`, or 0 where that is not finite: a scale of zero quantizes to zeros.
pub(super) fn inverse(x: f32) -> f32 {
    let inverse = 1.0 / x;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The scale `d` for `x ≈ d * q`, `q` in `-n ..= n - 1`, that loses least.
///
/// The scale has whichever sign puts the largest value on the negative side, which reaches further.
pub(super) fn symmetric<const N: usize>(x: &[f32; N], w: &[f32; N], n: f32) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < f32::MIN_POSITIVE * 1e6 {
        return 0.0;
    }
    best_scale((-9..=9).map(|step| (n + 0.1 * step as f32) / -extreme), |inverse| {
        let (mut xq, mut qq) = (0.0, 0.0);
        for (x, w) in x.iter().zip(w) {
            let q = round((x * inverse).clamp(-n, n - 1.0));
            xq += w * x * q;
            qq += w * q * q;
        }
        (xq, qq)
    })
}

/// Of candidate inverse scales, the least-squares scale of the best: `sums` gives `Σwxq` and
/// `Σwqq` for one, whence the scale is `Σwxq / Σwqq` and the error `Σwxx - Σwxq² / Σwqq`.
pub(super) fn best_scale(inverses: impl Iterator<Item = f32>, sums: impl Fn(f32) -> (f32, f32)) -> f32 {
    let (mut best, mut scale) = (0.0, 0.0);
    for inverse in inverses {
        let (xq, qq) = sums(inverse);
        if qq > 0.0 && xq * xq > best * qq {
            best = xq * xq / qq;
            scale = xq / qq;
        }
    }
    scale
}

/// Where the offset of an affine grid may lie.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Offset {
    /// Anywhere.
    Free,
    /// At or below zero, as k-quants store it.
    NotPositive,
}

/// The scale `d >= 0` and offset `m` for `x ≈ d * q + m`, `q` in `0 ..= n`, that lose least.
pub(super) fn affine<const N: usize>(x: &[f32; N], w: &[f32; N], n: f32, offset: Offset) -> (f32, f32) {
    let (mut low, mut high) = (x[0], x[0]);
    for &x in x {
        low = low.min(x);
        high = high.max(x);
    }
    if offset == Offset::NotPositive {
        low = low.min(0.0);
    }
    if high - low < f32::MIN_POSITIVE * 1e6 {
        return (0.0, low);
    }
    let first = ((high - low) / n, low);
    let mut best = (error(x, w, n, inverse(first.0), first), first);
    let sum_w: f32 = w.iter().sum();
    let sum_wx: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
    for step in -10..=10 {
        let to_grid = (n + 0.1 * step as f32) / (high - low);
        let (mut wq, mut wqq, mut wqx) = (0.0, 0.0, 0.0);
        for (x, w) in x.iter().zip(w) {
            let q = round(((x - low) * to_grid).clamp(0.0, n));
            wq += w * q;
            wqq += w * q * q;
            wqx += w * q * x;
        }
        let determinant = sum_w * wqq - wq * wq;
        if determinant <= 0.0 || wqq <= 0.0 {
            continue;
        }
        let mut fit = ((sum_w * wqx - sum_wx * wq) / determinant, (wqq * sum_wx - wq * wqx) / determinant);
        if offset == Offset::NotPositive && fit.1 > 0.0 {
            fit = (wqx / wqq, 0.0);
        }
        let error = error(x, w, n, inverse(fit.0), fit);
        if fit.0 > 0.0 && error < best.0 {
            best = (error, fit);
        }
    }
    best.1
}

/// The weighted squared error of rounding to a grid.
fn error<const N: usize>(x: &[f32; N], w: &[f32; N], n: f32, inverse: f32, (d, m): (f32, f32)) -> f32 {
    x.iter()
        .zip(w)
        .map(|(x, w)| {
            let q = round(((x - m) * inverse).clamp(0.0, n));
            let e = d * q + m - x;
            w * e * e
        })
        .sum()
}
