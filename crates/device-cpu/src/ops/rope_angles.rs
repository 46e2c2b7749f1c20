//! `dst[t, i] = (cos, sin)(positions[t] * inv_freq[i]) * magnitude`.
//!
//! Key decisions: angles are computed in f64. At position 131071 an f32 product is off by up to
//! 0.004 radians, more than the angle between neighbouring tokens in the slow dimensions. And by a loop without a branch
//! that the compiler makes vectors of: once a step is not much, but a library's sine and cosine take 20 nanoseconds a pair, for
//! a prompt of a small model as long as one of its layers.

use std::f64::consts::FRAC_2_PI;

use super::Run;
use crate::simd::{Simd, variants};

/// `dst` is `[positions, inv_freq, 2]`.
pub(crate) fn rope_angles(
    run: Run<'_>,
    dst: &mut [f32],
    positions: &[u32],
    inv_freq: &[f32],
    magnitude: f32,
) {
    let row_len = 2 * inv_freq.len();
    assert_eq!(dst.len(), positions.len() * row_len);
    run.for_rows(dst, row_len, &|first, part| {
        let positions = &positions[first..][..part.len() / row_len];
        rows(run.level, part, positions, inv_freq, magnitude);
    });
}

variants!(fn rows(dst: &mut [f32], positions: &[u32], inv_freq: &[f32], magnitude: f32) = rows_for);

#[inline(always)]
fn rows_for<S: Simd>(_: S, dst: &mut [f32], positions: &[u32], inv_freq: &[f32], magnitude: f32) {
    let magnitude = f64::from(magnitude);
    for (row, &position) in dst.chunks_exact_mut(2 * inv_freq.len()).zip(positions) {
        for (angle, &freq) in row.as_chunks_mut::<2>().0.iter_mut().zip(inv_freq) {
            let [cos, sin] = cos_sin(f64::from(position) * f64::from(freq));
            *angle = [(cos * magnitude) as f32, (sin * magnitude) as f32];
        }
    }
}

/// Cosine and sine of `x` from 0 to a million, to `1e-15`.
///
/// What is left of `x` after the nearest multiple of a quarter turn, subtracted in two parts (Cody and Waite 1980,
/// chapter 8), of which the first has so few bits that its multiples are exact; then polynomials on
/// half of a quarter turn, with fdlibm's coefficients (Sun Microsystems 1993, `k_sin.c` and `k_cos.c`).
#[inline(always)]
fn cos_sin(x: f64) -> [f64; 2] {
    /// Added and subtracted again it rounds to a whole number, which it leaves in the low bits.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    /// The first 33 bits of half of pi, and what is left of it.
    const QUARTER: f64 = f64::from_bits(0x3FF9_21FB_5440_0000);
    const QUARTER_LOW: f64 = 6.077_100_506_506_192e-11;
    const SIN: [f64; 6] = [
        -1.666_666_666_666_663_2e-1,
        8.333_333_333_322_49e-3,
        -1.984_126_982_985_795e-4,
        2.755_731_370_707_007e-6,
        -2.505_076_025_340_686_3e-8,
        1.589_690_995_211_55e-10,
    ];
    const COS: [f64; 6] = [
        4.166_666_666_666_66e-2,
        -1.388_888_888_887_411e-3,
        2.480_158_728_947_673e-5,
        -2.755_731_435_139_066_3e-7,
        2.087_572_321_298_175e-9,
        -1.135_964_755_778_819_5e-11,
    ];
    let shifted = x * FRAC_2_PI + SHIFT;
    let n = shifted - SHIFT;
    let r = (x - n * QUARTER) - n * QUARTER_LOW;
    let z = r * r;
    let [s1, s2, s3, s4, s5, s6] = SIN;
    let sin = r + r * z * (s1 + z * (s2 + z * (s3 + z * (s4 + z * (s5 + z * s6)))));
    let [c1, c2, c3, c4, c5, c6] = COS;
    let cos = 1.0 - 0.5 * z + z * z * (c1 + z * (c2 + z * (c3 + z * (c4 + z * (c5 + z * c6)))));
    let quarters = shifted.to_bits();
    let (cos, sin) = if quarters & 1 == 0 { (cos, sin) } else { (sin, cos) };
    // The sign bit: the cosine is negative in the second and third quarter, the sine in the third and fourth.
    let negative = [quarters.wrapping_add(1), quarters].map(|quarters| (quarters & 2) << 62);
    [f64::from_bits(cos.to_bits() ^ negative[0]), f64::from_bits(sin.to_bits() ^ negative[1])]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_close, assert_same_bits, for_every_run};
    use super::*;

    #[test]
    fn angles_are_right_far_out() {
        // cos and sin of 131071 radians and of 131071 * 0.5, to more digits than f32 has.
        let expected = [-0.817_983_5, -0.575_241_7, -0.301_675_74, 0.953_410_6];
        for_every_run(|run, isa| {
            let mut dst = [0.0; 8];
            rope_angles(run, &mut dst, &[0, 131_071], &[1.0, 0.5], 2.0);
            assert_eq!(dst[..4], [2.0, 0.0, 2.0, 0.0]);
            assert_close(
                &dst[4..].iter().map(|x| x / 2.0).collect::<Vec<_>>(),
                &expected,
                1e-6,
                &format!("{isa:?}"),
            );
        });
    }

    #[test]
    fn cosine_and_sine_are_those_of_the_library() {
        let mut worst = 0f64;
        for i in 0..400_000 {
            let x = f64::from(i) * 2.621_43;
            let [cos, sin] = cos_sin(x);
            worst = worst.max((cos - x.cos()).abs()).max((sin - x.sin()).abs());
        }
        assert!(worst < 1e-15, "off by {worst:e}");
    }

    #[test]
    fn every_instruction_set_gets_the_same_bits() {
        let positions: Vec<u32> = (0..700).map(|i| i * 187).collect();
        let inv_freq: Vec<f32> = (0..32).map(|i| 10_000f32.powf(-i as f32 / 32.0)).collect();
        let mut expected = vec![0.0; 700 * 64];
        for (row, &position) in expected.chunks_exact_mut(64).zip(&positions) {
            for (angle, &freq) in row.as_chunks_mut::<2>().0.iter_mut().zip(&inv_freq) {
                *angle = cos_sin(f64::from(position) * f64::from(freq)).map(|x| (x * 0.75) as f32);
            }
        }
        for_every_run(|run, isa| {
            let mut got = vec![f32::NAN; expected.len()];
            rope_angles(run, &mut got, &positions, &inv_freq, 0.75);
            assert_same_bits(&got, &expected, &format!("{isa:?}"));
        });
    }
}
