//! Quantizers and dequantizers against candle's, which are ports of ggml's written by others.
#![allow(clippy::unwrap_used)]

use candle_core::quantized::k_quants::{self, GgmlType};
use garrison_gguf::quantize::quantize_row;
use garrison_types::TensorType;
use garrison_types::quant::dequantize_row;

/// Sums of twelve uniforms, a splitmix64 generator: close enough to Gaussian, and reproducible.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| (self.bits() >> 11) as f64 / (1u64 << 53) as f64).sum();
        (sum - 6.0) as f32
    }
}

fn gaussian(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..n).map(|_| random.normal()).collect()
}

fn rms(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (sum / a.len() as f64).sqrt()
}

fn round_trip(ty: TensorType, x: &[f32]) -> Vec<f32> {
    let mut bytes = vec![0; ty.row_bytes(x.len()).unwrap()];
    quantize_row(ty, x, &mut bytes).unwrap();
    let mut y = vec![f32::NAN; x.len()];
    dequantize_row(ty, &bytes, &mut y);
    y
}

/// candle's view of bytes as its own blocks, and what it makes of them.
fn candle_dequantize<B: GgmlType>(bytes: &[u8], n: usize) -> Vec<f32> {
    let mut blocks = vec![B::zeros(); n / B::BLCK_SIZE];
    assert_eq!(size_of::<B>() * blocks.len(), bytes.len());
    // SAFETY: candle's blocks are plain old data of this size; every bit pattern is valid.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), blocks.as_mut_ptr().cast(), bytes.len()) };
    let mut out = vec![f32::NAN; n];
    B::to_float(&blocks, &mut out);
    out
}

fn candle_round_trip<B: GgmlType>(x: &[f32]) -> Vec<f32> {
    let mut blocks = vec![B::zeros(); x.len() / B::BLCK_SIZE];
    B::from_float(x, &mut blocks);
    let mut out = vec![f32::NAN; x.len()];
    B::to_float(&blocks, &mut out);
    out
}

macro_rules! for_candle_types {
    ($check:ident, $($arg:expr),*) => {
        $check!(Q4_0, BlockQ4_0, $($arg),*);
        $check!(Q4_1, BlockQ4_1, $($arg),*);
        $check!(Q5_0, BlockQ5_0, $($arg),*);
        $check!(Q5_1, BlockQ5_1, $($arg),*);
        $check!(Q8_0, BlockQ8_0, $($arg),*);
        $check!(Q2_K, BlockQ2K, $($arg),*);
        $check!(Q3_K, BlockQ3K, $($arg),*);
        $check!(Q4_K, BlockQ4K, $($arg),*);
        $check!(Q5_K, BlockQ5K, $($arg),*);
        $check!(Q6_K, BlockQ6K, $($arg),*);
    };
}

#[test]
fn dequantizes_as_candle_does() {
    macro_rules! check {
        ($ty:ident, $block:ident, $random:expr) => {{
            let ty = TensorType::$ty;
            let n = 64 * 256;
            let mut bytes: Vec<u8> = (0..ty.row_bytes(n).unwrap()).map(|_| $random.bits() as u8).collect();
            // Every bit pattern of values, but scales of sane size.
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                for at in scale_offsets(ty) {
                    block[at + 1] = block[at + 1] & 0x80 | 0x2c;
                }
            }
            let mut ours = vec![f32::NAN; n];
            dequantize_row(ty, &bytes, &mut ours);
            let theirs = candle_dequantize::<k_quants::$block>(&bytes, n);
            let most = theirs.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                assert!((a - b).abs() <= most * 1e-6, "{ty} value {i}: {a} and {b}");
            }
        }};
    }
    let mut random = Random(7);
    for_candle_types!(check, random);
}

/// Where a block's halves are.
fn scale_offsets(ty: TensorType) -> Vec<usize> {
    match ty {
        TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => vec![0, 2],
        TensorType::Q2_K => vec![80, 82],
        TensorType::Q3_K => vec![108],
        TensorType::Q6_K => vec![208],
        _ => vec![0],
    }
}

/// Measured on this data, plus 2%: a quantizer that gets worse fails here.
const RMS_BOUNDS: [(TensorType, f64); 15] = [
    (TensorType::F32, 0.0),
    (TensorType::F16, 0.00022),
    (TensorType::BF16, 0.00169),
    (TensorType::Q8_0, 0.00537),
    (TensorType::Q4_0, 0.08192),
    (TensorType::Q4_1, 0.07107),
    (TensorType::Q5_0, 0.04055),
    (TensorType::Q5_1, 0.03426),
    (TensorType::Q2_K, 0.27820),
    (TensorType::Q3_K, 0.14635),
    (TensorType::Q4_K, 0.07241),
    (TensorType::Q5_K, 0.03623),
    (TensorType::Q6_K, 0.01750),
    (TensorType::IQ4_NL, 0.07473),
    (TensorType::IQ4_XS, 0.07544),
];

#[test]
fn round_trip_error_stays_within_bounds() {
    let x = gaussian(1 << 18, 1);
    for (ty, bound) in RMS_BOUNDS {
        let error = rms(&x, &round_trip(ty, &x));
        println!("{ty:7} rms {error:.5}");
        assert!(error <= bound, "{ty}: rms error {error} over {bound}");
    }
}

#[test]
fn quantizes_at_least_as_well_as_candle() {
    macro_rules! check {
        ($ty:ident, $block:ident, $x:expr) => {{
            let ours = rms($x, &round_trip(TensorType::$ty, $x));
            let theirs = rms($x, &candle_round_trip::<k_quants::$block>($x));
            println!("{:7} ours {ours:.5} candle {theirs:.5}", TensorType::$ty);
            assert!(ours <= theirs * 1.01, "{}: {ours} over candle's {theirs}", TensorType::$ty);
        }};
    }
    let x = gaussian(1 << 16, 2);
    for_candle_types!(check, &x);
}

#[test]
fn awkward_blocks_survive() {
    let mut random = Random(3);
    let mut cases: Vec<(&str, Vec<f32>)> = vec![
        ("zeros", vec![0.0; 256]),
        ("a constant", vec![0.75; 256]),
        ("a negative constant", vec![-0.75; 256]),
        ("one spike", (0..256).map(|i| if i == 100 { 40.0 } else { 0.0 }).collect()),
        ("one negative spike", (0..256).map(|i| if i == 31 { -40.0 } else { 0.0 }).collect()),
        ("all positive", (0..256).map(|i| 1.0 + i as f32 / 256.0).collect()),
        ("tiny", (0..256).map(|_| random.normal() * 1e-30).collect()),
        ("subnormal", (0..256).map(|_| random.normal() * 1e-42).collect()),
    ];
    cases.push(("large", (0..256).map(|_| random.normal() * 1e4).collect()));
    for (case, x) in cases {
        for ty in TensorType::ALL {
            let y = round_trip(ty, &x);
            let most = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (i, (x, y)) in x.iter().zip(&y).enumerate() {
                assert!((x - y).abs() <= 0.4 * most + 1e-4, "{ty}, {case}, value {i}: {x} became {y}");
            }
        }
    }
}

#[test]
fn what_a_type_cannot_hold_is_an_error() {
    let mut x = vec![0.0; 256];
    for bad in [f32::NAN, f32::INFINITY] {
        x[9] = bad;
        for ty in TensorType::ALL {
            let mut out = vec![0; ty.row_bytes(256).unwrap()];
            let message = quantize_row(ty, &x, &mut out).unwrap_err().to_string();
            assert!(message.contains("value 9"), "{message}");
        }
    }
    x[9] = 1e6;
    assert!(quantize_row(TensorType::F16, &x, &mut [0; 512]).is_err());
    assert!(quantize_row(TensorType::BF16, &x, &mut [0; 512]).is_ok());
}
