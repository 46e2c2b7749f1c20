//! rope_angles and rope.

use garrison_device::{Ops, RopePairing, RopeShape};

use super::{Bounds, Case, Visitor, assert_close, buffer, index_buffer, poisoned, results};
use crate::random::Random;

pub(super) fn visit(visitor: &mut impl Visitor) {
    for rows in [1, 5, 128] {
        for rope_dim in [2, 64, 96] {
            visitor.visit(Angles { rows, rope_dim });
        }
        for pairing in [RopePairing::Adjacent, RopePairing::Halves] {
            for (n_heads, head_dim, rope_dim) in [(1, 2, 2), (3, 20, 12), (8, 64, 64), (5, 128, 96)] {
                visitor.visit(Rope { rows, shape: RopeShape { n_heads, head_dim, rope_dim, pairing } });
            }
        }
    }
}

/// Positions up to the end of a context of 131072.
fn positions(rows: usize, random: &mut Random) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..rows).map(|_| random.below(131_072) as u32).collect();
    positions[0] = 131_071;
    positions
}

fn inv_freq(rope_dim: usize) -> Vec<f32> {
    (0..rope_dim / 2).map(|i| 500_000f32.powf(-2.0 * i as f32 / rope_dim as f32)).collect()
}

struct Angles {
    rows: usize,
    rope_dim: usize,
}

impl Case for Angles {
    fn name(&self) -> String {
        format!("rope_angles {} rows of {}", self.rows, self.rope_dim)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let positions = positions(self.rows, &mut Random::new(1));
        let positions = index_buffer(device, &positions);
        let inv_freq = buffer(device, &inv_freq(self.rope_dim));
        let len = self.rows * self.rope_dim;
        let mut dst = poisoned(device, len);
        device.rope_angles(&mut dst, &positions, &inv_freq, self.rope_dim, 1.25, self.rows);
        results(device, &dst, len, &self.name())
    }

    /// Sines and cosines are of order 1, however large the angle.
    fn compare(&self, got: &[f32], expected: &[f32], bounds: &Bounds, what: &str) {
        let shift = |x: &[f32]| x.iter().map(|x| x + 4.0).collect::<Vec<_>>();
        assert_close(&shift(got), &shift(expected), bounds.rows, what);
    }
}

struct Rope {
    rows: usize,
    shape: RopeShape,
}

impl Case for Rope {
    fn name(&self) -> String {
        format!("rope {} rows of {:?}", self.rows, self.shape)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let RopeShape { n_heads, head_dim, rope_dim, .. } = self.shape;
        let mut random = Random::new(2);
        let positions = index_buffer(device, &positions(self.rows, &mut random));
        let inv_freq = buffer(device, &inv_freq(rope_dim));
        let mut angles = poisoned(device, self.rows * rope_dim);
        device.rope_angles(&mut angles, &positions, &inv_freq, rope_dim, 1.0, self.rows);
        let len = self.rows * n_heads * head_dim;
        let mut x = buffer(device, &random.values(len, 1.0));
        device.rope(&mut x, &angles, self.shape, self.rows);
        results(device, &x, len, &self.name())
    }
}
