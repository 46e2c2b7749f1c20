//! Products, with every storage type.

use garrison_device::Ops;
use garrison_types::TensorType;
use garrison_types::quant::dequantize_row;

use super::{Bounds, Case, Visitor, assert_small_error, buffer, poisoned, results, weight};
use crate::random::{Random, blocks};

pub(super) fn visit(visitor: &mut impl Visitor) {
    for ty in TensorType::ALL {
        let block = ty.block_len();
        for rows in (1..=17).chain([32, 128]) {
            visitor.visit(Matmul { ty, n: 33, k: 512, rows });
        }
        for n in [1, 7, 8, 9, 70] {
            for k in [block, 3 * block] {
                for rows in [1, 5] {
                    visitor.visit(Matmul { ty, n, k, rows });
                }
            }
        }
        // More rows of both than a block of any kernel has, and an end within one.
        visitor.visit(Matmul { ty, n: 150, k: 768, rows: 70 });
        visitor.visit(Group { types: [ty, TensorType::F16, TensorType::Q6_K], rows: 6 });
    }
}

/// Activations of order 1 with a few large ones, as models have them.
pub(super) fn activations(len: usize, random: &mut Random) -> Vec<f32> {
    (0..len).map(|_| random.value() * if random.below(50) == 0 { 20.0 } else { 1.0 }).collect()
}

struct Matmul {
    ty: TensorType,
    n: usize,
    k: usize,
    rows: usize,
}

impl Case for Matmul {
    fn name(&self) -> String {
        format!("matmul of {} rows with {} [{}, {}]", self.rows, self.ty, self.n, self.k)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let mut random = Random::new(1);
        let w = weight(device, self.n, self.k, self.ty, &blocks(self.ty, self.n, self.k, &mut random));
        let x = activations(self.rows * self.k, &mut random);
        let mut dst = poisoned(device, self.rows * self.n);
        device.matmul(&mut dst, &buffer(device, &x), &w, self.rows);
        results(device, &dst, self.rows * self.n, &self.name())
    }

    fn compare(&self, got: &[f32], expected: &[f32], bounds: &Bounds, what: &str) {
        let bound = if self.ty.is_quantized() { bounds.quantized_product } else { bounds.product };
        assert_small_error(got, expected, bound, what);
    }
}

/// Three products of the same rows at once.
struct Group {
    types: [TensorType; 3],
    rows: usize,
}

impl Case for Group {
    fn name(&self) -> String {
        format!("matmul_group of {} rows with {:?}", self.rows, self.types)
    }

    /// Panics if the group differs from its parts.
    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        const NS: [usize; 3] = [40, 9, 16];
        let mut random = Random::new(2);
        let k = 256;
        let weights: Vec<_> = self
            .types
            .iter()
            .zip(NS)
            .map(|(&ty, n)| weight(device, n, k, ty, &blocks(ty, n, k, &mut random)))
            .collect();
        let x = buffer(device, &activations(self.rows * k, &mut random));
        let mut together = NS.map(|n| poisoned(device, self.rows * n));
        let mut jobs: Vec<_> = together.iter_mut().zip(&weights).collect();
        device.matmul_group(&mut jobs, &x, self.rows);
        let mut all = Vec::new();
        for ((together, w), n) in together.iter().zip(&weights).zip(NS) {
            let mut alone = poisoned(device, self.rows * n);
            device.matmul(&mut alone, &x, w, self.rows);
            let [alone, together] =
                [&alone, together].map(|b| results(device, b, self.rows * n, &self.name()));
            super::assert_same_bits(&together, &alone, &self.name());
            all.extend(together);
        }
        all
    }

    fn compare(&self, got: &[f32], expected: &[f32], bounds: &Bounds, what: &str) {
        assert_small_error(got, expected, bounds.quantized_product.max(bounds.product), what);
    }
}

/// Compares products with the dequantized weight's, computed in f64. For quantized weights the
/// device may have rounded the activations, which are even here, to 8 bits: a normalized squared
/// error of 2e-5, and more where a weight's terms cancel.
///
/// # Panics
/// If the error is larger than that explains.
pub fn check_matmul_against_f64<B: Ops>(device: &B) {
    for ty in TensorType::ALL {
        for (n, k, rows) in [(33, 512, 9), (40, 3 * ty.block_len(), 20)] {
            let mut random = Random::new(3);
            let blocks = blocks(ty, n, k, &mut random);
            let x = random.values(rows * k, 1.0);
            let mut values = vec![0.0; n * k];
            dequantize_row(ty, &blocks, &mut values);
            let expected: Vec<f32> = x
                .chunks_exact(k)
                .flat_map(|x| values.chunks_exact(k).map(|w| dot(x, w)).collect::<Vec<_>>())
                .collect();
            let what = format!("{}: {ty} [{n}, {k}] and {rows} rows", device.name());
            let mut dst = poisoned(device, rows * n);
            device.matmul(&mut dst, &buffer(device, &x), &weight(device, n, k, ty, &blocks), rows);
            let bound = if ty.is_quantized() { 1e-4 } else { 1e-11 };
            assert_small_error(&results(device, &dst, rows * n, &what), &expected, bound, &what);
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
}
