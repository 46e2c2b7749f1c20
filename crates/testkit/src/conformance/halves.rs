//! Products of devices that round weights and activations to halves, where nobody asks for the same bits in any company.
//!
//! Key decision: they are held against f64, not against the CPU, whose 8-bit activations are further off than they are. The
//! bound is that of the arithmetic: a factor that is rounded to `p` bits makes each term of a sum wrong by `2^-p` of it at most,
//! by less than `2^-p / √3` on average (Higham 2002, section 2.2), in either direction; so the sum is off by that share of its terms'
//! root sum of squares, times what chance allows. That holds for single results whose terms cancel, too.

use garrison_device::{Ops, ProductShape};
use garrison_types::TensorType;
use garrison_types::quant::dequantize_row;
use half::f16;

use super::matmul::activations;
use super::{buffer, poisoned, results, weight};
use crate::random::{Random, blocks};

/// Standard errors that a result may be off: a millionth of a normal distribution's are further.
const CHANCE: f64 = 5.0;

/// How much a term of a product is off on average, as a share of it, by what weights of this type are multiplied as.
fn rounding(ty: TensorType) -> f64 {
    let (bits, factors): (i32, f64) = match ty {
        // These stay in f32, and sums are rounded.
        TensorType::F32 => (22, 1.0),
        // Activations are rounded.
        TensorType::BF16 => (8, 1.0),
        TensorType::F16 => (11, 1.0),
        // And weights.
        _ => (11, 2.0),
    };
    2f64.powi(-bits) * f64::sqrt(factors / 3.0)
}

/// Checks products with every storage type, odd sizes and numbers of rows, with activations of order 1 and far beyond what
/// halves hold, placed and added; and that what is no number spoils its row only.
///
/// # Panics
/// If a result is further from f64's than rounding to halves explains.
pub fn check_products_of_halves<B: Ops>(device: &B) {
    for ty in TensorType::ALL {
        let block = ty.block_len();
        let sizes = [(33, 512, 9), (40, 3 * block, 20), (1, block, 1), (7, 5 * block, 3), (150, 768, 70)];
        for (i, (n, k, rows)) in sizes.into_iter().enumerate() {
            let reach = [1.0, 3e5, 1e-6, 1e12, 1.0][i];
            check_product(device, ty, [n, k, rows], reach);
        }
        check_spoiled(device, ty);
    }
}

fn values_of(ty: TensorType, n: usize, k: usize, data: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; n * k];
    dequantize_row(ty, data, &mut values);
    values
}

fn check_product<B: Ops>(device: &B, ty: TensorType, [n, k, rows]: [usize; 3], reach: f32) {
    let what = format!("{}: {ty} [{n}, {k}] and {rows} rows of {reach:e}", device.name());
    let mut random = Random::new(31);
    let data = blocks(ty, n, k, &mut random);
    let w = weight(device, n, k, ty, &data);
    let x: Vec<f32> = activations(rows * k, &mut random).iter().map(|x| x * reach).collect();
    let on_device = buffer(device, &x);
    let mut dst = poisoned(device, rows * n);
    device.matmul(&mut dst, &on_device, &w, rows);
    let placed = results(device, &dst, rows * n, &what);
    let values = values_of(ty, n, k, &data);
    for (at, &got) in placed.iter().enumerate() {
        let (x, w) = (&x[at / n * k..][..k], &values[at % n * k..][..k]);
        let terms = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
        let (sum, squares) =
            terms.fold((0.0, 0.0), |(sum, squares), term| (sum + term, squares + term * term));
        let bound = CHANCE * rounding(ty) * f64::sqrt(squares);
        let off = (f64::from(got) - sum).abs();
        assert!(
            off <= bound,
            "{what}: result {at} is {got}, {sum} expected: off by {off:e}, bound {bound:e}"
        );
    }
    // Adding it to what is there is one rounding more.
    let before: Vec<f32> = random.values(rows * n, reach);
    let (mut sum, mut delta) = (buffer(device, &before), poisoned(device, rows * n));
    device.matmul_add(&mut sum, &on_device, &w, &mut delta, ProductShape { rows, n, k });
    for ((got, before), placed) in results(device, &sum, rows * n, &what).iter().zip(&before).zip(&placed) {
        let (expected, of) = (before + placed, before.abs().max(placed.abs()));
        assert!((got - expected).abs() <= 2e-7 * of, "{what}: {before} and {placed} make {got}");
    }
}

/// What is infinite or no number makes its row no numbers, and changes no bit of others.
fn check_spoiled<B: Ops>(device: &B, ty: TensorType) {
    let (n, k, rows) = (20, 512, 12);
    let mut random = Random::new(32);
    let data = blocks(ty, n, k, &mut random);
    let w = weight(device, n, k, ty, &data);
    let mut x = activations(rows * k, &mut random);
    let run = |x: &[f32]| {
        let mut dst = poisoned(device, rows * n);
        device.matmul(&mut dst, &buffer(device, x), &w, rows);
        results(device, &dst, rows * n, "a spoiled row")
    };
    // The rest of the spoiled rows is small: the largest stays who it was.
    x[3 * k..4 * k].fill(0.5);
    x[7 * k..8 * k].fill(0.5);
    let whole = run(&x);
    (x[3 * k + 5], x[7 * k + 77]) = (f32::INFINITY, f32::NAN);
    let spoiled = run(&x);
    for (at, (whole, spoiled)) in whole.iter().zip(&spoiled).enumerate() {
        match at / n {
            // A value of the weight can be 0 where the infinite one is met.
            3 => assert!(!spoiled.is_finite() || spoiled == whole, "{ty}: row 3 has {spoiled}"),
            7 => assert!(spoiled.is_nan(), "{ty}: row 7 has {spoiled}"),
            row => assert_eq!(whole.to_bits(), spoiled.to_bits(), "{ty}: row {row} changed"),
        }
    }
}

/// Checks what quantized weights become on their way: the file's values, rounded to halves once, bit for bit. Rows of
/// activations that have a 1 in one place each take them out again.
///
/// # Panics
/// If a value is another.
pub fn check_unfolded_weights<B: Ops>(device: &B) {
    for ty in TensorType::ALL.into_iter().filter(|ty| ty.is_quantized()) {
        for size in [1.0, 1e4] {
            let (n, k) = (5, 512);
            let mut random = Random::new(33);
            let mut data = blocks(ty, n, k, &mut random);
            enlarge(ty, &mut data, size);
            let mut one = vec![0.0; k * k];
            (0..k).for_each(|i| one[i * k + i] = 1.0);
            let mut dst = poisoned(device, k * n);
            device.matmul(&mut dst, &buffer(device, &one), &weight(device, n, k, ty, &data), k);
            let got = results(device, &dst, k * n, "unfolded");
            let values = values_of(ty, n, k, &data);
            let largest = values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            // Whatever power of two the device brings them to halves by, they have as many bits there as here.
            let scale = 2f32.powi(13 - largest.log2().ceil() as i32);
            for (at, &got) in got.iter().enumerate() {
                let value = values[at % n * k + at / n];
                let expected = f16::from_f32(value * scale).to_f32() / scale;
                // But for what is so small that a half has not all of its bits.
                let close = got == expected || (got - expected).abs() <= largest * 2f32.powi(-24);
                assert!(close, "{ty}: value {} of row {} is {got}, {expected} expected", at / n, at % n);
            }
        }
    }
}

/// Multiplies a block's scales.
fn enlarge(ty: TensorType, data: &mut [u8], times: f32) {
    let (scales, _) = crate::random::scales(ty);
    for block in data.chunks_exact_mut(ty.block_bytes()) {
        for &at in scales {
            let half = f16::from_le_bytes([block[at], block[at + 1]]).to_f32() * times;
            block[at..at + 2].copy_from_slice(&f16::from_f32(half).to_le_bytes());
        }
    }
}
