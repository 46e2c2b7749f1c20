//! `dst[i] = silu(gate[i]) * up[i]`, `silu(x) = x / (1 + exp(-x))`.

use super::Run;
use crate::simd::{LANES, Simd, variants};

pub(crate) fn silu_mul(run: Run<'_>, dst: &mut [f32], gate: &[f32], up: &[f32]) {
    assert!(gate.len() == dst.len() && up.len() == dst.len());
    run.for_rows(dst, 1, &|first, part| {
        let range = first..first + part.len();
        slices(run.level, part, &gate[range.clone()], &up[range]);
    });
}

variants!(fn slices(dst: &mut [f32], gate: &[f32], up: &[f32]) = kernel);

/// A function, as a closure that is called twice is compiled once, without the instruction set: each
/// of its intrinsics was a call.
#[inline(always)]
fn vector<S: Simd>(s: S, gate: S::V, up: S::V) -> S::V {
    let negative = s.sub(s.splat(0.0), gate);
    s.mul(s.div(gate, s.add(s.splat(1.0), s.exp(negative))), up)
}

#[inline(always)]
fn kernel<S: Simd>(s: S, dst: &mut [f32], gate: &[f32], up: &[f32]) {
    let (body, tail) = dst.as_chunks_mut::<LANES>();
    let (gate, gate_tail) = gate.as_chunks::<LANES>();
    let (up, up_tail) = up.as_chunks::<LANES>();
    for ((d, g), u) in body.iter_mut().zip(gate).zip(up) {
        s.store(vector(s, s.load(g), s.load(u)), d);
    }
    if !tail.is_empty() {
        s.store_tail(vector(s, s.load_tail(gate_tail), s.load_tail(up_tail)), tail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_close, for_every_run, values};
    use super::*;

    #[test]
    fn every_variant_follows_the_formula() {
        for_every_run(|run, isa| {
            for len in [0, 1, 15, 16, 33, 100_001] {
                let gate: Vec<f32> = values(len, 1).iter().map(|x| x * 20.0).collect();
                let (up, mut got) = (values(len, 2), vec![f32::NAN; len]);
                let expected: Vec<f32> = gate
                    .iter()
                    .zip(&up)
                    .map(|(&g, &u)| {
                        let g = f64::from(g);
                        (g / (1.0 + (-g).exp()) * f64::from(u)) as f32
                    })
                    .collect();
                silu_mul(run, &mut got, &gate, &up);
                assert_close(&got, &expected, 1e-6, &format!("{isa:?}, {len}"));
            }
        });
    }

    #[test]
    fn extremes_are_those_of_the_formula() {
        for_every_run(|run, isa| {
            let gate = [0.0, -0.0, 100.0, -100.0, 3e38, -3e38, f32::INFINITY, f32::NAN, -87.0, 1e-40];
            let mut got = [0.0; 10];
            silu_mul(run, &mut got, &gate, &[1.0; 10]);
            let expected = gate.map(|g| g / (1.0 + (-g).exp()));
            for (g, e) in got.iter().zip(expected) {
                let close = *g == e || (g.is_nan() && e.is_nan()) || (g - e).abs() <= 2e-6 * e.abs() + 1e-36;
                assert!(close, "{isa:?}: {got:?}, expected {expected:?}");
            }
        });
    }
}
