//! `dst[t, i] = (cos, sin)(positions[t] * inv_freq[i]) * magnitude`.
//!
//! Key decision: angles are computed in f64. At position 131071 an f32 product is off by up to
//! 0.004 radians, more than the angle between neighbouring tokens in the slow dimensions. It is
//! once a step, not once a layer, so there is nothing to gain from vectors.

use super::Run;

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
        for (row, &position) in part.chunks_exact_mut(row_len).zip(&positions[first..]) {
            for (angle, &freq) in row.as_chunks_mut::<2>().0.iter_mut().zip(inv_freq) {
                let (sin, cos) = (f64::from(position) * f64::from(freq)).sin_cos();
                let magnitude = f64::from(magnitude);
                *angle = [(cos * magnitude) as f32, (sin * magnitude) as f32];
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_close, for_every_run};
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
}
