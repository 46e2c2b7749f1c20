//! Loops over a whole vocabulary, written so that the compiler vectorises them and so that every
//! machine gets the same bits: plain multiplications and additions in a fixed order, no libm.
//!
//! They are compiled a second time for AVX2 and taken from there where the processor has it ([`wide`]): with what every
//! x86-64 has, a row of 1,280 logits took 7 to 9 microseconds, most of it exponentials. It changes no bit, as the compiler
//! never makes one rounding of two.

use std::sync::LazyLock;

use pulp::Arch;

/// Values summed together before they are added to a running total.
pub(super) const BLOCK: usize = 256;
const LANES: usize = 16;

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs a loop as compiled for this processor. What it calls has to be inlined: compiled by itself, it is compiled for any.
#[inline(always)]
fn wide<R>(work: impl FnOnce() -> R) -> R {
    ARCH.dispatch(work)
}

/// Makes logits comparable: NaN and minus infinity can never be chosen, plus infinity becomes the
/// largest finite value, and there is one zero.
pub(super) fn sanitize(logits: &mut [f32]) {
    wide(
        #[inline(always)]
        || {
            for x in logits {
                *x = comparable(*x);
            }
        },
    );
}

/// [`sanitize`] for one value.
#[inline(always)]
pub(super) fn comparable(x: f32) -> f32 {
    // Adding zero turns -0.0 into 0.0.
    if x.is_nan() { f32::NEG_INFINITY } else { x.min(f32::MAX) + 0.0 }
}

/// The largest value, minus infinity for an empty slice. No NaN may be in it.
pub(super) fn max(xs: &[f32]) -> f32 {
    wide(
        #[inline(always)]
        || max_of(xs),
    )
}

/// `dst[i]` = [`max`] of the `i`-th `len` values; the last may be fewer.
pub(super) fn maxima(dst: &mut Vec<f32>, xs: &[f32], len: usize) {
    dst.clear();
    dst.resize(xs.len().div_ceil(len), f32::NEG_INFINITY);
    wide(
        #[inline(always)]
        || {
            for (max, xs) in dst.iter_mut().zip(xs.chunks(len)) {
                *max = max_of(xs);
            }
        },
    );
}

#[inline(always)]
fn max_of(xs: &[f32]) -> f32 {
    let (chunks, rest) = xs.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

/// The lowest index of the largest value, `None` if all are minus infinity.
pub(super) fn argmax(xs: &[f32]) -> Option<u32> {
    let best = max(xs);
    if best == f32::NEG_INFINITY {
        return None;
    }
    // Whole chunks are skipped without a branch per value.
    let chunk = wide(
        #[inline(always)]
        || xs.chunks(LANES).position(|c| c.iter().fold(false, |hit, &x| hit | (x == best))),
    )?;
    let within = xs[chunk * LANES..].iter().position(|&x| x == best)?;
    Some((chunk * LANES + within) as u32)
}

/// `dst[i] = exp((xs[i] - max) * scale)`, for `xs[i] <= max` and `scale > 0`.
pub(super) fn exp_scaled(dst: &mut Vec<f32>, xs: &[f32], max: f32, scale: f32) {
    dst.resize(xs.len(), 0.0);
    wide(
        #[inline(always)]
        || {
            for (weight, &x) in dst.iter_mut().zip(xs) {
                *weight = exp((x - max) * scale);
            }
        },
    );
}

/// Sums of `BLOCK` values each over `dst`, in `f64`, in a fixed order.
pub(super) fn block_sums(dst: &mut Vec<f64>, xs: &[f32]) {
    dst.resize(xs.len().div_ceil(BLOCK), 0.0);
    wide(
        #[inline(always)]
        || {
            for (sum, block) in dst.iter_mut().zip(xs.chunks(BLOCK)) {
                let (chunks, rest) = block.as_chunks::<LANES>();
                let mut lanes = [0f64; LANES];
                for chunk in chunks {
                    for (lane, &x) in lanes.iter_mut().zip(chunk) {
                        *lane += f64::from(x);
                    }
                }
                *sum = lanes.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x)).sum::<f64>();
            }
        },
    );
}

/// `exp(x)` for `x <= 0`, 0 below -87. Range reduction and polynomial after Cephes' `expf`
/// (Moshier), relative error under 2e-7; exactly 1 at 0.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > -87.0 { x } else { -87.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let mantissa = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(SHIFT.to_bits()).wrapping_add(127) << 23;
    if x > -87.0 { mantissa * f32::from_bits(exponent) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_real_one() {
        let mut worst = 0f64;
        for i in 0..870_000 {
            let x = -(i as f32) / 10_000.0;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            worst = worst.max((got - want).abs() / want);
        }
        assert!(worst < 2e-7, "relative error {worst:e}");
        assert_eq!((exp(0.0), exp(-1e9), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn argmax_takes_the_lowest_of_equals_at_any_length() {
        for n in 1..70 {
            for at in 0..n {
                let mut xs = vec![-1.0; n];
                xs[at..].fill(2.5);
                assert_eq!(argmax(&xs), Some(at as u32), "{n} values");
            }
        }
        assert_eq!(argmax(&[]), None);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 33]), None);
    }

    /// What a processor without wider vectors computes.
    #[test]
    fn every_processor_gets_the_same_bits() {
        for n in [0, 1, 15, 16, 17, 255, 256, 300, 1280, 5003] {
            let xs: Vec<f32> = (0..n).map(|i| (i * 7919 % 1013) as f32 * -0.09).collect();
            let (mut weights, mut sums, mut most) = (Vec::new(), Vec::new(), Vec::new());
            exp_scaled(&mut weights, &xs, 1.5, 0.7);
            let expected: Vec<f32> = xs.iter().map(|&x| exp((x - 1.5) * 0.7)).collect();
            let bits = |xs: &[f32]| xs.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&weights), bits(&expected), "{n} values");
            block_sums(&mut sums, &weights);
            assert_eq!(sums.len(), weights.len().div_ceil(BLOCK));
            for (sum, block) in sums.iter().zip(weights.chunks(BLOCK)) {
                let whole = block.len() / LANES * LANES;
                let lane = |lane: usize| {
                    block[lane..whole].iter().step_by(LANES).fold(0.0, |sum, &x| sum + f64::from(x))
                };
                let lanes = (0..LANES.min(whole)).map(lane).sum::<f64>();
                assert_eq!(*sum, lanes + block[whole..].iter().map(|&x| f64::from(x)).sum::<f64>());
            }
            maxima(&mut most, &xs, 9);
            let of = |xs: &[f32]| xs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(most, xs.chunks(9).map(of).collect::<Vec<_>>());
            assert_eq!(max(&xs), of(&xs));
        }
    }

    #[test]
    fn sanitized_values_compare() {
        let mut xs = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1.0];
        sanitize(&mut xs);
        assert_eq!(
            xs.map(f32::to_bits),
            [f32::NEG_INFINITY, f32::MAX, f32::NEG_INFINITY, 0.0, 1.0].map(f32::to_bits)
        );
    }
}
