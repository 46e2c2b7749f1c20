//! Every type on every instruction set: against the scalar kernel to the bit, against the
//! dequantized weights in f64, and against itself however the work is cut.

use std::num::NonZeroUsize;

use garrison_device::WeightView;
use garrison_types::TensorType;
use garrison_types::quant::dequantize_row;

use super::activations::{Form, Quantized};
use super::kernel::Columns;
use super::{Job, Scratch, Shared, matmul_group};
use crate::weight::Weight;
use crate::{Isa, Nodes, Pool};

/// A plain linear congruential generator: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    /// Roughly normal, standard deviation about 1.
    fn float(&mut self) -> f32 {
        (0..12).map(|_| (self.next() % 65536) as f32 / 65536.0).sum::<f32>() - 6.0
    }
}

/// Where the f16 scales of a block are.
fn half_offsets(ty: TensorType) -> &'static [usize] {
    match ty {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => &[],
        TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => &[0, 2],
        TensorType::Q2_K => &[80, 82],
        TensorType::Q3_K => &[108],
        TensorType::Q6_K => &[208],
        _ => &[0],
    }
}

/// `n` rows of `k` values: every bit random but the scales, which are sane and of both signs.
fn random_weight(ty: TensorType, n: usize, k: usize, random: &mut Random) -> Vec<u8> {
    let half = |x: f32| half::f16::from_f32(x).to_le_bytes();
    let mut bytes = Vec::new();
    for _ in 0..n * k / ty.block_len() {
        match ty {
            TensorType::F32 => bytes.extend(random.float().to_le_bytes()),
            TensorType::F16 => bytes.extend(half(random.float())),
            TensorType::BF16 => bytes.extend(half::bf16::from_f32(random.float()).to_le_bytes()),
            _ => {
                let start = bytes.len();
                bytes.extend((0..ty.block_bytes()).map(|_| random.next() as u8));
                for &at in half_offsets(ty) {
                    bytes[start + at..][..2].copy_from_slice(&half(random.float() * 0.01));
                }
            }
        }
    }
    bytes
}

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).unwrap())
}

fn packed(ty: TensorType, n: usize, k: usize, data: &[u8], pool: &Pool) -> Weight {
    Weight::pack(&WeightView { name: "w", n, k, ty, data }, Isa::detect(), pool).unwrap()
}

fn product(pool: &Pool, isa: Isa, w: &Weight, x: &[f32], rows: usize) -> Vec<f32> {
    let mut dst = vec![f32::NAN; rows * w.n() + 3];
    matmul_group(pool, isa, &mut [(&mut dst, w)], x, rows, &mut Scratch::default());
    assert!(dst[rows * w.n()..].iter().all(|x| x.is_nan()), "wrote past the end");
    dst.truncate(rows * w.n());
    dst
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Row lengths to try.
fn lengths(ty: TensorType) -> &'static [usize] {
    match ty.block_len() {
        256 => &[256, 512, 768],
        32 => &[32, 96, 256],
        _ => &[1, 31, 96, 256],
    }
}

#[test]
fn rows_unpack_to_what_the_file_says() {
    let pool = pool(2);
    for ty in TensorType::ALL {
        for &k in lengths(ty) {
            let n = 19;
            let data = random_weight(ty, n, k, &mut Random(1));
            let w = packed(ty, n, k, &data, &pool);
            let (mut expected, mut got) = (vec![0.0; n * k], vec![f32::NAN; k]);
            dequantize_row(ty, &data, &mut expected);
            for (i, expected) in expected.chunks_exact(k).enumerate() {
                w.unpack_row(i, &mut got);
                assert_eq!(got, expected, "{ty} k {k} row {i}");
            }
        }
    }
}

#[test]
fn every_variant_equals_the_scalar_kernel_to_the_bit() {
    let pool = pool(2);
    for ty in TensorType::ALL {
        for &k in lengths(ty) {
            for n in [1, 7, 16, 17, 33] {
                let mut random = Random((n * k) as u64);
                let data = random_weight(ty, n, k, &mut random);
                let x: Vec<f32> = (0..128 * k).map(|_| random.float()).collect();
                let w = packed(ty, n, k, &data, &pool);
                let expected = product(&pool, Isa::Scalar, &w, &x, 128);
                for isa in Isa::available() {
                    for rows in (1..=17).chain([32, 128]) {
                        let got = product(&pool, isa, &w, &x, rows);
                        assert_eq!(bits(&got), bits(&expected[..rows * n]), "{ty} {isa:?} {n}x{k} M {rows}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_kernels_mean_the_same_in_the_way_of_avx512() {
    let pool = pool(1);
    for ty in TensorType::ALL {
        for &k in lengths(ty) {
            // An odd number of panels, the last one partial.
            let n = 35;
            let mut random = Random(11);
            let data = random_weight(ty, n, k, &mut random);
            let w = packed(ty, n, k, &data, &pool);
            // A few columns, and some beside a whole tile.
            for rows in [2, 11] {
                let x: Vec<f32> = (0..rows * k).map(|_| random.float()).collect();
                let mut quantized = Quantized::new(if ty.is_quantized() { ty.block_len() } else { 32 });
                let x_as_needed = if ty.is_quantized() {
                    quantized.fill(&pool, Isa::Scalar, &x, rows, k, Form::Wide);
                    Columns::Int8(&quantized)
                } else {
                    Columns::Floats(&x)
                };
                let mut got = vec![f32::NAN; rows * n];
                Job { dst: Shared(got.as_mut_ptr()), w: &w, x: x_as_needed }.run_model(rows);
                let expected = product(&pool, Isa::Scalar, &w, &x, rows);
                assert_eq!(bits(&got), bits(&expected), "{ty} k {k} M {rows}");
            }
        }
    }
}

#[test]
fn the_scalar_kernel_is_right() {
    let pool = pool(1);
    for ty in TensorType::ALL {
        let (n, k, rows) = (24, 768, 5);
        let mut random = Random(7);
        let data = random_weight(ty, n, k, &mut random);
        let x: Vec<f32> = (0..rows * k).map(|_| random.float()).collect();
        let w = packed(ty, n, k, &data, &pool);
        let got = product(&pool, Isa::Scalar, &w, &x, rows);
        let mut values = vec![0.0; n * k];
        dequantize_row(ty, &data, &mut values);
        let (mut error, mut norm) = (0.0, 0.0);
        for i in 0..rows {
            for o in 0..n {
                let dot: f64 = (0..k).map(|j| f64::from(x[i * k + j]) * f64::from(values[o * k + j])).sum();
                error += (f64::from(got[i * n + o]) - dot).powi(2);
                norm += dot * dot;
            }
        }
        // Rounding activations to 1/127 of the largest of 256 leaves about (3 / 127)^2 / 12.
        let bound = if ty.is_quantized() { 1e-4 } else { 1e-12 };
        assert!(error / norm < bound, "{ty}: {:e}", error / norm);
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others_on_any_number_of_threads() {
    for ty in TensorType::ALL {
        let (n, k, rows) = (200, 512, 40);
        let mut random = Random(3);
        let data = random_weight(ty, n, k, &mut random);
        let x: Vec<f32> = (0..rows * k).map(|_| random.float()).collect();
        for isa in Isa::available().filter(|&isa| isa != Isa::Scalar) {
            let (one, two) = (pool(1), pool(2));
            let nodes = Pool::on_nodes(NonZeroUsize::new(3).unwrap(), &Nodes::two_fakes());
            let w = packed(ty, n, k, &data, &two);
            let all = product(&two, isa, &w, &x, rows);
            assert_eq!(bits(&all), bits(&product(&one, isa, &w, &x, rows)), "{ty} {isa:?}");
            assert_eq!(bits(&all), bits(&product(&nodes, isa, &w, &x, rows)), "{ty} {isa:?} on two nodes");
            for i in 0..rows {
                let alone = product(&one, isa, &w, &x[i * k..][..k], 1);
                assert_eq!(bits(&alone), bits(&all[i * n..][..n]), "{ty} {isa:?} row {i}");
            }
        }
    }
}

#[test]
fn a_group_equals_its_parts() {
    let pool = pool(2);
    let mut random = Random(5);
    let (k, rows) = (256, 3);
    let x: Vec<f32> = (0..rows * k).map(|_| random.float()).collect();
    // More than are taken at once, of all kinds, wide enough for several tasks.
    let weights: Vec<Weight> = TensorType::ALL
        .iter()
        .map(|&ty| packed(ty, 1003, k, &random_weight(ty, 1003, k, &mut random), &pool))
        .collect();
    let mut out = vec![vec![f32::NAN; rows * 1003]; weights.len()];
    let mut jobs: Vec<(&mut [f32], &Weight)> = out.iter_mut().map(Vec::as_mut_slice).zip(&weights).collect();
    matmul_group(&pool, Isa::detect(), &mut jobs, &x, rows, &mut Scratch::default());
    for (out, w) in out.iter().zip(&weights) {
        assert_eq!(bits(out), bits(&product(&pool, Isa::detect(), w, &x, rows)), "{}", w.ty());
    }
}

#[test]
fn activations_that_are_not_finite_stay_in_their_row() {
    let pool = pool(1);
    let k = 512;
    for ty in TensorType::ALL {
        let mut random = Random(9);
        let data = random_weight(ty, 16, k, &mut random);
        let mut x: Vec<f32> = (0..3 * k).map(|_| random.float()).collect();
        x[5] = f32::NAN;
        x[k + 7] = f32::INFINITY;
        for isa in Isa::available() {
            let w = packed(ty, 16, k, &data, &pool);
            let got = product(&pool, isa, &w, &x, 3);
            assert!(got[..32].iter().all(|x| !x.is_finite()), "{ty} {isa:?}");
            assert!(got[32..].iter().all(|x| x.is_finite()), "{ty} {isa:?}");
        }
    }
}

#[test]
fn extreme_codes_do_not_overflow() {
    // All codes and scales at their largest, all activations at the end of their range.
    let pool = pool(1);
    let k = 256;
    for ty in TensorType::ALL.into_iter().filter(|t| t.is_quantized()) {
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            let mut data = vec![fill; 8 * k / ty.block_len() * ty.block_bytes()];
            for block in data.chunks_exact_mut(ty.block_bytes()) {
                for &at in half_offsets(ty) {
                    block[at..at + 2].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes());
                }
            }
            let w = packed(ty, 8, k, &data, &pool);
            for sign in [1.0, -1.0] {
                let x = vec![sign; 4 * k];
                for rows in [1, 4] {
                    let expected = product(&pool, Isa::Scalar, &w, &x, rows);
                    for isa in Isa::available() {
                        let got = product(&pool, isa, &w, &x, rows);
                        assert_eq!(bits(&got), bits(&expected), "{ty} {isa:?} {fill} M {rows}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_view_of_the_wrong_size_is_refused() {
    let pool = pool(1);
    for (n, k, len) in [(2, 256, 143), (2, 255, 288), (0, 256, 0), (usize::MAX, 256, 144)] {
        let view = WeightView { name: "blk.0.x", n, k, ty: TensorType::Q4_K, data: &vec![0; len] };
        let error = Weight::pack(&view, Isa::Scalar, &pool).err().unwrap().to_string();
        assert!(error.contains("blk.0.x") && error.contains("Q4_K"), "{error}");
    }
}
