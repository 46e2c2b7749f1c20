//! The ops, one to a file: the scalar reference, the kernel for vectors, and how the work is
//! split over threads.
//!
//! No op lets a row's result depend on other rows, on how many there are or on who computes it:
//! each output value is accumulated in one fixed order.

pub(crate) mod add;
pub(crate) mod add_bias;
pub(crate) mod attention;
pub(crate) mod embed;
pub(crate) mod gather;
pub(crate) mod lora;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod rope_angles;
pub(crate) mod silu_mul;
pub(crate) mod store_kv;

use crate::pool::Pool;
use crate::simd::Level;

/// Values that one thread gets through in half a microsecond to two, while another that looks for work takes a part of
/// one to begin. Smaller work runs on the caller.
const WORTH_SHARING: usize = 1 << 12;

/// Parts for each thread at most: what one is behind, the others take over.
const PARTS_PER_THREAD: usize = 16;

/// What an op runs on.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) level: Level,
}

impl Run<'_> {
    /// Calls `task(first_row, part)` for parts of `data` that hold whole rows of `row_len` values
    /// and together all of them; on several threads where that pays.
    pub(crate) fn for_rows(
        &self,
        data: &mut [f32],
        row_len: usize,
        task: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        if row_len == 0 || data.is_empty() {
            return;
        }
        assert!(data.len().is_multiple_of(row_len), "{} values are no rows of {row_len}", data.len());
        if self.pool.threads() == 1 || data.len() < 2 * WORTH_SHARING {
            return task(0, data);
        }
        let part = WORTH_SHARING.max(data.len() / (PARTS_PER_THREAD * self.pool.threads()));
        let rows = (part / row_len).max(1);
        self.pool.for_parts(data, rows * row_len, &|i, part| task(i * rows, part));
    }
}

/// What the tests of all ops share.
#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::Isa;

    /// `len` values between -1 and 1 that look random; the same for the same seed.
    pub(crate) fn values(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// Runs `test` for every instruction set of this processor and several thread counts.
    pub(crate) fn for_every_run(test: impl Fn(Run<'_>, Isa)) {
        for threads in [1, 3] {
            let pool = Pool::new(NonZeroUsize::new(threads).unwrap());
            for isa in Isa::available() {
                test(Run { pool: &pool, level: Level::new(isa).unwrap() }, isa);
            }
        }
    }

    /// Asserts that values agree to `tolerance`, relative to the larger of them or to 1e-30.
    pub(crate) fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
        assert_eq!(got.len(), expected.len(), "{what}");
        for (i, (&g, &e)) in got.iter().zip(expected).enumerate() {
            let close = g == e
                || (g.is_nan() && e.is_nan())
                || (g - e).abs() <= tolerance * g.abs().max(e.abs()).max(1e-30);
            assert!(close, "{what}: value {i} is {g}, expected {e}");
        }
    }

    pub(crate) fn assert_same_bits(got: &[f32], expected: &[f32], what: &str) {
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(got), bits(expected), "{what}");
    }
}
