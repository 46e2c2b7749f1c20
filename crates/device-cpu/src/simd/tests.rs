//! Every primitive of every instruction set against [`Portable`], to the bit.

use half::{bf16, f16};

use super::portable::Portable;
use super::{LANES, Level, Simd, variants};
use crate::Isa;
use crate::kv::E4M3;

/// Runs every method on `[a, b, c]` and appends what comes out.
#[inline(always)]
fn all_methods<S: Simd>(s: S, x: &[[f32; LANES]; 3], out: &mut Vec<f32>) {
    let mut put = |v: S::V| {
        let mut lanes = [0.0; LANES];
        s.store(v, &mut lanes);
        out.extend(lanes);
    };
    let [a, b, c] = [s.load(&x[0]), s.load(&x[1]), s.load(&x[2])];
    for v in [s.add(a, b), s.sub(a, b), s.mul(a, b), s.div(a, b), s.fma(a, b, c)] {
        put(v);
    }
    for v in [s.max(a, b), s.min(a, b), s.round(a), s.exp(a), s.splat(x[0][3])] {
        put(v);
    }
    let n = s.round(s.min(s.splat(127.0), s.max(s.splat(-126.0), s.load(&[7.4; LANES]))));
    put(s.pow2(s.sub(n, s.load(&std::array::from_fn(|i| i as f32)))));
    put(s.load_f16(&x[1].map(f16::from_f32)));
    put(s.load_bf16(&x[1].map(bf16::from_f32)));
    put(s.load_tail(&x[2][..5]));
    let mut tail = [1.0; 7];
    s.store_tail(b, &mut tail);
    out.extend(tail);
    out.extend([s.sum(a), s.largest(a), s.sum(c), s.largest(c)]);
}

/// Loads every byte there is.
#[inline(always)]
fn all_bytes<S: Simd>(s: S, out: &mut Vec<f32>) {
    for first in (0..=240).step_by(LANES) {
        let bytes: [u8; LANES] = std::array::from_fn(|i| first + i as u8);
        for v in [s.load_i8(&bytes.map(|b| b as i8)), s.load_e4m3(&bytes.map(E4M3))] {
            let mut lanes = [0.0; LANES];
            s.store(v, &mut lanes);
            out.extend(lanes);
        }
    }
}

variants!(fn run_bytes(out: &mut Vec<f32>) = all_bytes);
variants!(fn run(x: &[[f32; LANES]; 3], out: &mut Vec<f32>) = all_methods);

#[test]
fn every_byte_loads_alike() {
    let mut expected = Vec::new();
    all_bytes(Portable, &mut expected);
    assert_eq!(expected.len(), 2 * 256);
    for level in Isa::available().filter_map(Level::new) {
        let mut got = Vec::new();
        run_bytes(level, &mut got);
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            let same = e.to_bits() == g.to_bits() || (e.is_nan() && g.is_nan());
            assert!(same, "{:?}, output {i}: {g}, expected {e}", level.isa());
        }
    }
}

const EXTREMES: [f32; 14] = [
    0.0,
    -0.0,
    1.0,
    -2.5,
    1e-42,
    -3e38,
    f32::MAX,
    f32::MIN_POSITIVE,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    88.5,
    -103.5,
    0.5,
];

#[test]
fn every_instruction_set_agrees_with_the_portable_one_to_the_bit() {
    for isa in Isa::available() {
        let level = Level::new(isa).unwrap();
        for seed in 0..200 {
            let extreme = |i: usize| EXTREMES[(i * 7 + seed) % EXTREMES.len()];
            let tame = |i: usize| ((i * 37 + seed * 101) % 997) as f32 / 50.0 - 10.0;
            let pick = |k: usize| {
                std::array::from_fn(|i| {
                    if (seed + i + k).is_multiple_of(3) { extreme(i * 3 + k) } else { tame(i * 5 + k) }
                })
            };
            let x = [pick(0), pick(1), pick(2)];
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            all_methods(Portable, &x, &mut expected);
            run(level, &x, &mut got);
            for (i, (e, g)) in expected.iter().zip(&got).enumerate() {
                let same = e.to_bits() == g.to_bits() || (e.is_nan() && g.is_nan());
                assert!(same, "{isa:?}, output {i}: {e} and {g}");
            }
            assert_eq!(expected.len(), got.len());
        }
    }
}

fn exp(x: f32) -> f32 {
    Portable.exp([x; LANES])[0]
}

#[test]
fn exp_is_accurate_over_the_whole_range() {
    let mut worst = 0.0f64;
    for i in 0..400_000 {
        let x = -87.0 + i as f32 * (175.5 / 400_000.0);
        let exact = f64::from(x).exp();
        worst = worst.max((f64::from(exp(x)) / exact - 1.0).abs());
    }
    assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
}

#[test]
fn exp_is_right_at_the_extremes() {
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(-0.0), 1.0);
    assert_eq!(exp(f32::INFINITY), f32::INFINITY);
    assert_eq!(exp(88.73), f32::INFINITY);
    assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(exp(-200.0), 0.0);
    assert!(exp(f32::NAN).is_nan());
    let subnormal = exp(-100.0);
    assert!((subnormal - (-100f32).exp()).abs() <= f32::from_bits(2), "{subnormal:e}");
}
