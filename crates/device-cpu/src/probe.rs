//! What the processor can do at most, measured now: the limits that speeds are held against.
//!
//! Key decision: loops of nothing but the instruction that the kernels' arithmetic consists of, on registers,
//! and of nothing but reads, all threads at once. No kernel can be faster; data sheets can, and on a shared
//! machine so can yesterday.

use std::hint::black_box;
use std::time::Instant;

use crate::Isa;
use crate::memory::Pages;
use crate::pool::Pool;
use crate::simd::Level;

/// Limits of a processor with the threads of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes read from memory per second.
    pub read_bytes_per_second: f64,
    /// Multiplications and additions of 8-bit integers per second, each counting as one.
    pub int8_ops_per_second: f64,
    /// The same of 32-bit floats.
    pub f32_ops_per_second: f64,
}

/// Far more than any last-level cache that a process has to itself.
const READ_BYTES: usize = 256 << 20;

/// Repetitions, of which the best counts: others only ever slow it down.
const REPETITIONS: usize = 10;

/// Rounds of a loop over registers: some milliseconds.
const ROUNDS: usize = 2_000_000;

/// Independent sums in registers: enough to hide an instruction's latency.
const SUMS: usize = 12;

pub(crate) fn limits(pool: &Pool, level: Level) -> Limits {
    let threads = pool.threads();
    let of = |(ops, work): (f64, &(dyn Fn() + Sync))| {
        ops * (threads * ROUNDS * SUMS) as f64 / best(|| pool.run(threads, &|_| work()))
    };
    Limits {
        read_bytes_per_second: read(pool),
        int8_ops_per_second: of(int8(level)),
        f32_ops_per_second: of(float(level)),
    }
}

/// Bytes a second from memory like that of weights: in pages of the same size, and no two lines alike, which a
/// processor or its host could keep as one. 0 if there is no room for them.
fn read(pool: &Pool) -> f64 {
    let Some(mut pages) = Pages::zeroed(READ_BYTES) else { return 0.0 };
    let data: &mut [u64] = bytemuck::cast_slice_mut(pages.get_mut());
    let share = data.len().div_ceil(pool.threads());
    // Written first by who reads it, since that decides on which node it lies.
    pool.for_parts(data, share, &|i, part| {
        for (j, x) in part.iter_mut().enumerate() {
            *x = ((share * i + j) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    });
    let data: &[u64] = bytemuck::cast_slice(pages.get());
    let seconds = best(|| {
        pool.run(pool.threads(), &|i| {
            let part = data.chunks(share).nth(i).unwrap_or_default();
            black_box(part.iter().fold(0u64, |sum, &x| sum ^ x));
        });
    });
    READ_BYTES as f64 / seconds
}

/// Seconds of the fastest repetition.
fn best(mut run: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..REPETITIONS).map(time).fold(f64::INFINITY, f64::min)
}

/// Operations of one instruction, and a loop of [`ROUNDS`] times [`SUMS`] of them.
fn int8(level: Level) -> (f64, &'static (dyn Fn() + Sync)) {
    match level.isa() {
        // SAFETY: a level of an instruction set exists only where the processor has it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => (128.0, &|| unsafe { x86::dpbusd() }),
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (64.0, &|| unsafe { x86::maddubs() }),
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => (32.0, &|| unsafe { neon::sdot() }),
        _ => (2.0, &plain),
    }
}

/// As [`int8`], of floats.
fn float(level: Level) -> (f64, &'static (dyn Fn() + Sync)) {
    match level.isa() {
        // SAFETY: as in `int8`.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => (32.0, &|| unsafe { x86::fma512() }),
        // SAFETY: as in `int8`.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (16.0, &|| unsafe { x86::fma256() }),
        // SAFETY: as in `int8`.
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => (8.0, &|| unsafe { neon::fmla() }),
        _ => (2.0, &plain),
    }
}

/// Where there are no vectors: multiplications and additions as the compiler makes them of plain Rust.
fn plain() {
    let mut sums = black_box([1u32; SUMS]);
    let factor = black_box(3u32);
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = sum.wrapping_mul(factor).wrapping_add(factor);
        }
        sums = black_box(sums);
    }
}

/// Each sum goes through the next instruction of its kind, so nothing can be left out or taken together.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::{ROUNDS, SUMS};

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn maddubs() {
        let factor = black_box(_mm256_set1_epi8(1));
        let mut sums = black_box([_mm256_set1_epi8(1); SUMS]);
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_maddubs_epi16(*sum, factor);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn fma256() {
        let factor = black_box(_mm256_set1_ps(0.5));
        let mut sums = black_box([_mm256_set1_ps(1.0); SUMS]);
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn dpbusd() {
        let factor = black_box(_mm512_set1_epi8(1));
        let mut sums = black_box([_mm512_set1_epi32(1); SUMS]);
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn fma512() {
        let factor = black_box(_mm512_set1_ps(0.5));
        let mut sums = black_box([_mm512_set1_ps(1.0); SUMS]);
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
    }
}

/// As on x86-64.
#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;
    use std::hint::black_box;

    use super::{ROUNDS, SUMS};

    #[target_feature(enable = "neon,dotprod")]
    pub(super) fn sdot() {
        let factor = black_box(vdupq_n_s8(1));
        let mut sums = black_box([vdupq_n_s32(1); SUMS]);
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                // SAFETY: it reads and writes registers only. The intrinsic for it is not stable yet.
                unsafe {
                    std::arch::asm!(
                        "sdot {sum:v}.4s, {x:v}.16b, {x:v}.16b",
                        sum = inout(vreg) *sum, x = in(vreg) factor,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "neon")]
    pub(super) fn fmla() {
        let factor = black_box(vdupq_n_f32(0.5));
        let mut sums = black_box([vdupq_n_f32(1.0); SUMS]);
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = vfmaq_f32(*sum, factor, factor);
            }
        }
        black_box(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of more lanes do more; and no loop was optimised away, which would look a thousand times faster.
    #[test]
    fn limits_are_of_this_world() {
        let of = |isa| limits(&Pool::new(std::num::NonZeroUsize::MIN), Level::new(isa).unwrap());
        let all: Vec<Limits> = Isa::available().map(of).collect();
        for found in &all {
            assert!((1e8..1e12).contains(&found.read_bytes_per_second), "{found:?}");
            assert!((1e8..3e12).contains(&found.int8_ops_per_second), "{found:?}");
            assert!((1e8..1e12).contains(&found.f32_ops_per_second), "{found:?}");
        }
        if let [scalar, vector, ..] = all[..] {
            // Far more on a processor, less in an emulator of one.
            assert!(vector.int8_ops_per_second > 2.0 * scalar.int8_ops_per_second, "{all:?}");
            assert!(vector.int8_ops_per_second > 1.5 * vector.f32_ops_per_second, "{all:?}");
        }
    }
}
