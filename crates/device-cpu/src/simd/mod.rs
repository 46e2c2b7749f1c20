//! Sixteen f32 lanes, on whatever the processor has.
//!
//! Key decision: the width is 16 everywhere, two AVX2 registers, one AVX-512 register or four of NEON, which is
//! also the number of tokens in a KV block. Kernels are written once over [`Simd`]; the variants
//! differ in primitives only, and since every primitive rounds the same way, they agree to the
//! bit. `Portable`, an array of 16, is the scalar variant and runs the very loops that AVX-512 runs:
//! rounding activations to 8 bits turns the last bit of a norm into a whole quantum some layers on,
//! so only equal bits keep a model's variants equal. The formulas in f64 are in each op's tests.
//!
//! A value of an instruction set's type proves that the processor has it: the only way to get one
//! is a constructor that asks.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod portable;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
use half::{bf16, f16};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

use crate::Isa;
use crate::kv::E4M3;

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// What kernels compute with. All methods are pure functions of their lanes and round once,
/// ties to even.
pub(crate) trait Simd: Copy {
    /// 16 lanes.
    type V: Copy;

    fn splat(self, x: f32) -> Self::V;
    fn load(self, from: &[f32; LANES]) -> Self::V;
    fn store(self, v: Self::V, to: &mut [f32; LANES]);
    fn load_f16(self, from: &[f16; LANES]) -> Self::V;
    fn load_bf16(self, from: &[bf16; LANES]) -> Self::V;
    fn load_i8(self, from: &[i8; LANES]) -> Self::V;
    /// 256th parts of the values: what an f16 of the same bits in the same places means.
    fn load_e4m3(self, from: &[E4M3; LANES]) -> Self::V;

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where `a > b`, else `b`: so a NaN in `b` stays and one in `a` does not.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a` where `a < b`, else `b`.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The nearest whole number.
    fn round(self, a: Self::V) -> Self::V;
    /// `2^n` for whole `n` of -126 to 127; anything for others.
    fn pow2(self, n: Self::V) -> Self::V;

    /// The sum of all lanes: lanes 8 apart first, then 4, 2 and 1.
    fn sum(self, v: Self::V) -> f32;
    /// [`Simd::max`] of all lanes, lower ones as `a`, in the order of [`Simd::sum`].
    fn largest(self, v: Self::V) -> f32;

    /// `e^x` to within two units in the last place, from 0 below -104 through subnormals to
    /// infinity above 88.73; NaN stays.
    ///
    /// Range reduction to `|r| <= ln(2) / 2` in two steps (Cody and Waite 1980, chapter 6), then
    /// `1 + r + r^2 p(r)` with `p` through the Chebyshev nodes, off by `1.1e-8` at most.
    #[inline(always)]
    fn exp(self, x: Self::V) -> Self::V {
        // 355/512 has few enough bits for `n * LN2_HI` to be exact.
        const LN2_HI: f32 = 355.0 / 512.0;
        const LN2_LO: f32 = -2.121_944_4e-4;
        const P: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_556, 0.008_363_233, 0.001_392_625_1];
        let x = self.min(self.splat(89.0), self.max(self.splat(-105.0), x));
        let n = self.round(self.mul(x, self.splat(std::f32::consts::LOG2_E)));
        let r = self.fma(n, self.splat(-LN2_HI), x);
        let r = self.fma(n, self.splat(-LN2_LO), r);
        let mut p = self.splat(P[4]);
        for c in [P[3], P[2], P[1], P[0]] {
            p = self.fma(p, r, self.splat(c));
        }
        let p = self.add(self.fma(self.mul(r, r), p, r), self.splat(1.0));
        // Two halves, because 2^n itself may be out of range where the result is not.
        let half = self.round(self.mul(n, self.splat(0.5)));
        self.mul(self.mul(p, self.pow2(half)), self.pow2(self.sub(n, half)))
    }

    /// As [`Simd::load`], of up to 16 values; missing ones are 0.
    #[inline(always)]
    fn load_tail(self, from: &[f32]) -> Self::V {
        let mut lanes = [0.0; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// As [`Simd::store`], of the first `to.len()` lanes.
    #[inline(always)]
    fn store_tail(self, v: Self::V, to: &mut [f32]) {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }
}

/// A chosen instruction set that this processor has.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl Level {
    /// `isa`, if this processor has it.
    pub(crate) fn new(isa: Isa) -> Option<Level> {
        match isa {
            Isa::Scalar => Some(Level::Scalar),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::new().map(Level::Avx2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => Avx512::new().map(Level::Avx512),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => Neon::new().map(Level::Neon),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512Vnni => None,
            #[cfg(not(target_arch = "aarch64"))]
            Isa::NeonDot => None,
        }
    }

    pub(crate) fn isa(self) -> Isa {
        match self {
            Level::Scalar => Isa::Scalar,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => Isa::Avx512Vnni,
            #[cfg(target_arch = "aarch64")]
            Level::Neon(_) => Isa::NeonDot,
        }
    }
}

/// `variants!(fn f(a: A, …) = simd);` defines `f(level, a, …)`, which compiles `simd(s, a, …)`, generic
/// over [`Simd`] and `#[inline(always)]`, once for each instruction set.
macro_rules! variants {
    ($vis:vis fn $name:ident $(<$e:ident: $bound:path>)? ($($arg:ident: $ty:ty),* $(,)?) = $simd:path) => {
        $vis fn $name $(<$e: $bound>)? (level: $crate::simd::Level, $($arg: $ty),*) {
            match level {
                $crate::simd::Level::Scalar => $simd($crate::simd::portable::Portable, $($arg),*),
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2(s) => {
                    #[target_feature(enable = "avx2,fma,f16c")]
                    fn variant $(<$e: $bound>)? (s: $crate::simd::Avx2, $($arg: $ty),*) {
                        $simd(s, $($arg),*)
                    }
                    // SAFETY: `s` proves the features.
                    unsafe { variant(s, $($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512(s) => {
                    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
                    fn variant $(<$e: $bound>)? (s: $crate::simd::Avx512, $($arg: $ty),*) {
                        $simd(s, $($arg),*)
                    }
                    // SAFETY: `s` proves the features.
                    unsafe { variant(s, $($arg),*) }
                }
                // These features are part of every processor that this is compiled for.
                #[cfg(target_arch = "aarch64")]
                $crate::simd::Level::Neon(s) => $simd(s, $($arg),*),
            }
        }
    };
}
pub(crate) use variants;
