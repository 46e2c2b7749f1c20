//! The searches behind every quantizer: which scale makes the rounding error smallest?
//!
//! Rounding to the grid that just spans the values is rarely best. Each search tries grids a
//! little wider and narrower, rounds to each, solves weighted least squares for the scale (and
//! offset) given that rounding, and keeps the best. The idea is that of ggml's k-quants.
//!
//! Everything runs on floats in [`LANES`] independent sums, with rounding by an addition and
//! clamping by two selects, so that the loops vectorize on the plainest x86-64.

/// Independent partial sums; every `N` here is a multiple.
const LANES: usize = 8;

/// Smaller magnitudes count as zero: their inverse would overflow.
const NOTHING: f32 = f32::MIN_POSITIVE * 1e6;

/// Rounds to the nearest integer, ties to even; exact for magnitudes under 2^22.
#[inline(always)]
pub(super) fn round(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// Clamps as two selects do; `low` for NaN.
#[inline(always)]
pub(super) fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

/// Larger values matter more, small ones still count: `|x|` plus their root mean square.
pub(super) fn weights<const N: usize>(x: &[f32; N]) -> [f32; N] {
    let [squares] = sums(x, x, |x, _| [x * x]);
    let rms = (squares / N as f32).sqrt();
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

/// Adds `K` terms of each `(x, w)` up, in a fixed order.
#[inline(always)]
pub(super) fn sums<const N: usize, const K: usize>(
    x: &[f32; N],
    w: &[f32; N],
    terms: impl Fn(f32, f32) -> [f32; K],
) -> [f32; K] {
    const { assert!(N.is_multiple_of(LANES)) };
    let mut partial = [[0.0; LANES]; K];
    for (x, w) in x.as_chunks::<LANES>().0.iter().zip(w.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let terms = terms(x[lane], w[lane]);
            for k in 0..K {
                partial[k][lane] += terms[k];
            }
        }
    }
    partial.map(|lanes| lanes.iter().sum())
}

/// The scale `d` for `x ≈ d * q`, `q` in `-n ..= n - 1`, that loses least.
///
/// The scale has whichever sign puts the largest value on the negative side, which reaches further.
pub(super) fn symmetric<const N: usize>(x: &[f32; N], w: &[f32; N], n: f32) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < NOTHING {
        return 0.0;
    }
    best_scale((-9..=9).map(|step| (n + 0.1 * step as f32) / -extreme), |inverse| {
        sums(x, w, |x, w| {
            let q = round(clamp(x * inverse, -n, n - 1.0));
            [w * x * q, w * q * q]
        })
    })
}

/// Of candidate inverse scales, the least-squares scale of the best: `sums` gives `Σwxq` and
/// `Σwqq` for one, whence the scale is `Σwxq / Σwqq` and the error `Σwxx - Σwxq² / Σwqq`.
pub(super) fn best_scale(inverses: impl Iterator<Item = f32>, sums: impl Fn(f32) -> [f32; 2]) -> f32 {
    let (mut best, mut scale) = (0.0, 0.0);
    for inverse in inverses {
        let [xq, qq] = sums(inverse);
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
        low = if x < low { x } else { low };
        high = if x > high { x } else { high };
    }
    if offset == Offset::NotPositive {
        low = low.min(0.0);
    }
    if high - low < NOTHING {
        return (0.0, low);
    }
    let [sw, swx] = sums(x, w, |x, w| [w, w * x]);
    // What a fit explains of Σwxx: maximal where the error is minimal.
    let mut best = (f32::MIN, ((high - low) / n, low));
    for step in -10..=10 {
        let to_grid = (n + 0.1 * step as f32) / (high - low);
        let [swq, swqq, swqx] = sums(x, w, |x, w| {
            let q = round(clamp((x - low) * to_grid, 0.0, n));
            [w * q, w * q * q, w * q * x]
        });
        let determinant = sw * swqq - swq * swq;
        if determinant <= 0.0 || swqq <= 0.0 {
            continue;
        }
        let mut d = (sw * swqx - swx * swq) / determinant;
        let mut m = (swqq * swx - swq * swqx) / determinant;
        if offset == Offset::NotPositive && m > 0.0 {
            (d, m) = (swqx / swqq, 0.0);
        }
        let explained = d * swqx + m * swx;
        if d > 0.0 && explained > best.0 {
            best = (explained, (d, m));
        }
    }
    best.1
}
