//! The codebook types.

use garrison_types::quant::{BlockIq4Nl, BlockIq4Xs, F16Le, IQ4_CODEBOOK};

use super::legacy::nibbles;
use super::runs;
use super::search::{best_scale, clamp, extreme, inverse, round, weights};

pub(super) fn iq4_nl(x: &[f32; 32]) -> BlockIq4Nl {
    let d = F16Le::new(codebook_scale(x));
    BlockIq4Nl { d, qs: nibbles(&codes(x, d.get())) }
}

pub(super) fn iq4_xs(x: &[f32; 256]) -> BlockIq4Xs {
    let mut wanted = [0.0; 8];
    for (wanted, run) in wanted.iter_mut().zip(runs::<32>(x)) {
        *wanted = codebook_scale(run);
    }
    // Scales are -32 to 31 times d: give the longer side to the largest.
    let d = F16Le::new(extreme(&wanted) / -32.0);
    let to_scale = inverse(d.get());
    let scales = wanted.map(|s| round(clamp(s * to_scale, -32.0, 31.0)) as i8);
    let mut block = BlockIq4Xs { d, scales_h: [0; 2], scales_l: [0; 4], qs: [0; 128] };
    block.set_scales(scales);
    let (quarters, _) = block.qs.as_chunks_mut::<16>();
    for ((qs, run), s) in quarters.iter_mut().zip(runs::<32>(x)).zip(scales) {
        *qs = nibbles(&codes(run, d.get() * f32::from(s)));
    }
    block
}

/// The scale that loses least, trying both signs: the codebook reaches further down than up.
fn codebook_scale(x: &[f32; 32]) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < f32::MIN_POSITIVE * 1e6 {
        return 0.0;
    }
    let w = weights(x);
    let ends = [IQ4_CODEBOOK[0], IQ4_CODEBOOK[15]].map(f32::from);
    let inverses =
        ends.into_iter().flat_map(|end| (-7..=7).map(move |step| (end + 1.5 * step as f32) / extreme));
    best_scale(inverses, |inverse| {
        let q = nearest_values(&x.map(|x| x * inverse));
        let mut partial = [[0.0; 8]; 2];
        for i in 0..32 {
            partial[0][i % 8] += w[i] * x[i] * q[i];
            partial[1][i % 8] += w[i] * q[i] * q[i];
        }
        partial.map(|lanes| lanes.iter().sum())
    })
}

/// The codebook value nearest to each, by climbing from the lowest: every midpoint passed adds a
/// step. Unlike a lookup, this vectorizes.
fn nearest_values(x: &[f32; 32]) -> [f32; 32] {
    let mut values = [f32::from(IQ4_CODEBOOK[0]); 32];
    for (pair, midpoint) in IQ4_CODEBOOK.windows(2).zip(MIDPOINTS) {
        let step = f32::from(pair[1]) - f32::from(pair[0]);
        for (value, &x) in values.iter_mut().zip(x) {
            *value += if x > midpoint { step } else { 0.0 };
        }
    }
    values
}

fn codes(x: &[f32; 32], d: f32) -> [u8; 32] {
    let scale = inverse(d);
    x.map(|x| nearest(x * scale))
}

/// Between neighbours of the codebook.
const MIDPOINTS: [f32; 15] = {
    let mut midpoints = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        midpoints[i] = (IQ4_CODEBOOK[i] as f32 + IQ4_CODEBOOK[i + 1] as f32) / 2.0;
        i += 1;
    }
    midpoints
};

/// The code whose codebook value is nearest: the number of midpoints below `x`.
fn nearest(x: f32) -> u8 {
    MIDPOINTS.iter().map(|&m| u8::from(x > m)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_is_nearest() {
        for i in -1400..=1400 {
            let x = i as f32 / 10.0;
            let code = usize::from(nearest(x));
            let distance = |c: i8| (f32::from(c) - x).abs();
            let best = IQ4_CODEBOOK.into_iter().map(distance).fold(f32::MAX, f32::min);
            assert_eq!(distance(IQ4_CODEBOOK[code]), best, "{x}");
            assert_eq!(nearest_values(&[x; 32])[31], f32::from(IQ4_CODEBOOK[code]), "{x}");
        }
    }
}
