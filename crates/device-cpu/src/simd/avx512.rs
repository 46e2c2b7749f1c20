//! AVX-512: a vector is one register.

use std::arch::x86_64::*;
use std::mem::transmute;

use half::{bf16, f16};

use super::avx2::e4m3_as_f16;
use super::{LANES, Simd};
use crate::Isa;
use crate::kv::E4M3;

/// Proof that the processor has AVX-512 F, BW, VL and DQ, and what [`super::Avx2`] proves.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn new() -> Option<Avx512> {
        Isa::Avx512Vnni.is_available().then_some(Avx512(()))
    }
}

/// One intrinsic that touches no memory.
macro_rules! op {
    ($f:ident, $($v:expr),*) => {
        // SAFETY: `self` proves the features.
        unsafe { $f($($v),*) }
    };
}

/// Lanes 0 to 7 and 8 to 15.
#[inline(always)]
fn halves(_proof: Avx512, v: __m512) -> (__m256, __m256) {
    // SAFETY: the argument proves the features.
    unsafe { (_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)) }
}

impl Simd for Avx512 {
    type V = __m512;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        op!(_mm512_set1_ps, x)
    }

    // Loads and stores are moves of whole arrays, as in [`super::avx2`].

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        // SAFETY: any bits are 16 values, or one register.
        unsafe { transmute::<[f32; LANES], __m512>(*from) }
    }

    #[inline(always)]
    fn store(self, v: __m512, to: &mut [f32; LANES]) {
        // SAFETY: as for `load`.
        *to = unsafe { transmute::<__m512, [f32; LANES]>(v) };
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> __m512 {
        // SAFETY: `self` proves the features; any bits are 16 halves, or one register.
        unsafe { _mm512_cvtph_ps(transmute::<[f16; LANES], __m256i>(*from)) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16; LANES]) -> __m512 {
        // A bfloat16 is the upper half of an f32.
        // SAFETY: `self` proves the features; any bits are 16 halves, or one register.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(transmute::<[bf16; LANES], __m256i>(*from));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> __m512 {
        // SAFETY: `self` proves the features; any bits are 16 bytes, or one register.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(transmute::<[i8; LANES], __m128i>(*from))) }
    }

    #[inline(always)]
    fn load_e4m3(self, from: &[E4M3; LANES]) -> __m512 {
        // SAFETY: `self` proves the features, AVX2 among them.
        unsafe { _mm512_cvtph_ps(e4m3_as_f16(from)) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_min_ps, a, b)
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: `self` proves the features.
        unsafe { _mm512_roundscale_ps::<NEAREST>(a) }
    }

    #[inline(always)]
    fn pow2(self, n: __m512) -> __m512 {
        // The biased exponent, put where an f32 has it.
        // SAFETY: `self` proves the features.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        let (low, high) = halves(self, v);
        // SAFETY: `self` proves the features.
        unsafe {
            let v = _mm256_add_ps(low, high);
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        }
    }

    #[inline(always)]
    fn largest(self, v: __m512) -> f32 {
        let (low, high) = halves(self, v);
        // SAFETY: `self` proves the features.
        unsafe {
            let v = _mm256_max_ps(low, high);
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
        }
    }
}
