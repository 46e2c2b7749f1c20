//! AVX2, FMA and F16C: a vector is a pair of registers, lanes 0 to 7 and 8 to 15.

use std::arch::x86_64::*;
use std::mem::transmute;

use half::{bf16, f16};

use super::{LANES, Simd};
use crate::Isa;
use crate::kv::E4M3;

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn new() -> Option<Avx2> {
        Isa::Avx2.is_available().then_some(Avx2(()))
    }
}

type Pair = (__m256, __m256);

/// One intrinsic on both registers.
macro_rules! both {
    ($f:ident, $($v:expr),*) => {
        // SAFETY: `self` proves the features, and the intrinsic touches no memory.
        unsafe { ($f($($v.0),*), $f($($v.1),*)) }
    };
}

/// Sign and the rest put where an f16 has them; what is no number becomes all ones.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
pub(super) unsafe fn e4m3_as_f16(from: &[E4M3; LANES]) -> __m256i {
    // SAFETY: the caller knows of the feature; any bits are 16 bytes, or one register.
    unsafe {
        let bytes = transmute::<[E4M3; LANES], __m128i>(*from);
        let placed = _mm256_slli_epi16::<7>(_mm256_cvtepi8_epi16(bytes));
        let halves = _mm256_and_si256(placed, _mm256_set1_epi16(0xbf80_u16 as i16));
        _mm256_or_si256(halves, _mm256_cmpeq_epi16(halves, _mm256_set1_epi16(0x3f80)))
    }
}

impl Simd for Avx2 {
    type V = Pair;

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        // SAFETY: `self` proves the features.
        let v = unsafe { _mm256_set1_ps(x) };
        (v, v)
    }

    // Loads and stores are moves of whole arrays: no alignment to think of, and unlike the
    // intrinsics for them, no pointer checks in builds with debug assertions.

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Pair {
        // SAFETY: any bits are 16 values, or two registers.
        let [low, high] = unsafe { transmute::<[f32; LANES], [__m256; 2]>(*from) };
        (low, high)
    }

    #[inline(always)]
    fn store(self, v: Pair, to: &mut [f32; LANES]) {
        // SAFETY: as for `load`.
        *to = unsafe { transmute::<[__m256; 2], [f32; LANES]>([v.0, v.1]) };
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Pair {
        // SAFETY: `self` proves the features; any bits are 16 halves, or two registers.
        unsafe {
            let [low, high] = transmute::<[f16; LANES], [__m128i; 2]>(*from);
            (_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
        }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16; LANES]) -> Pair {
        // A bfloat16 is the upper half of an f32.
        // SAFETY: `self` proves the features; any bits are 16 halves, or two registers.
        unsafe {
            let [low, high] = transmute::<[bf16; LANES], [__m128i; 2]>(*from);
            let widen = |half| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)));
            (widen(low), widen(high))
        }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Pair {
        // Two loads that widen are cheaper than one and a shuffle.
        // SAFETY: `self` proves the features; any bits are 16 bytes, or two integers.
        unsafe {
            let [low, high] = transmute::<[i8; LANES], [i64; 2]>(*from);
            let widen = |bytes| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes)));
            (widen(low), widen(high))
        }
    }

    #[inline(always)]
    fn load_e4m3(self, from: &[E4M3; LANES]) -> Pair {
        // SAFETY: `self` proves the features.
        unsafe {
            let halves = e4m3_as_f16(from);
            let high = _mm256_extracti128_si256::<1>(halves);
            (_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(high))
        }
    }

    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Pair, b: Pair, c: Pair) -> Pair {
        both!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_min_ps, a, b)
    }

    #[inline(always)]
    fn round(self, a: Pair) -> Pair {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: `self` proves the features.
        unsafe { (_mm256_round_ps::<NEAREST>(a.0), _mm256_round_ps::<NEAREST>(a.1)) }
    }

    #[inline(always)]
    fn pow2(self, n: Pair) -> Pair {
        // The biased exponent, put where an f32 has it.
        // SAFETY: `self` proves the features.
        unsafe {
            let pow2 = |n| {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            };
            (pow2(n.0), pow2(n.1))
        }
    }

    #[inline(always)]
    fn sum(self, v: Pair) -> f32 {
        // SAFETY: `self` proves the features.
        unsafe {
            let v = _mm256_add_ps(v.0, v.1);
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        }
    }

    #[inline(always)]
    fn largest(self, v: Pair) -> f32 {
        // SAFETY: `self` proves the features.
        unsafe {
            let v = _mm256_max_ps(v.0, v.1);
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
        }
    }
}
