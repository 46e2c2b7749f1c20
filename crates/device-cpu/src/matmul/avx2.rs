//! AVX2 with FMA and F16C.

#![allow(unsafe_op_in_unsafe_fn)] // one condition for all, stated in `simd`

use std::arch::x86_64::*;

use super::activations::{BlockOut, scales};
use super::kernel::{Format, Stripe, stripe};
use super::simd::{Half, Simd, Two};

/// The primitives of AVX2: a 256-bit register is half of a panel's rows. Products of floats go `FLOATS` columns at a time:
/// two with the sixteen registers of AVX2, four with the 32 that AVX-512VL adds.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const FLOATS: usize>;

/// Computes a stripe, whole panels at a time: spreading an activation over a register costs as much as
/// multiplying with it, so it should serve twice.
///
/// # Safety
/// The processor has AVX2, FMA and F16C, and the stripe's addresses are good.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<F: Format>(s: &Stripe<'_>) {
    stripe::<Two<Avx2<2>>, F>(s);
}

/// The same for floats, where there are 32 registers.
///
/// # Safety
/// As for [`run`], and the processor has AVX-512VL.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl")]
pub(super) unsafe fn run_wide<F: Format>(s: &Stripe<'_>) {
    stripe::<Two<Avx2<4>>, F>(s);
}

impl<const FLOATS: usize> Simd for Avx2<FLOATS> {
    const ROWS: usize = 8;
    const NARROW: bool = true;
    const SIGNED_OFFSET: bool = false;
    const TILE: usize = 4;
    const FLOAT_TILE: usize = FLOATS;
    const DIRECT: usize = 4;
    const DIRECT_32: usize = 1;
    const FOLDED: bool = false;

    type Ahead = Self;
    type Rows = Half;
    type Bytes = __m256i;
    type Quad = __m256i;
    type Pairs = __m256i;
    type Scale = __m256i;
    type Part = __m256i;
    type Int = __m256i;
    type Float = __m256;

    #[inline(always)]
    unsafe fn rows(first: *const u8, stride: usize, i: usize) -> Half {
        Half::number(i, first, stride)
    }

    #[inline(always)]
    unsafe fn ahead(rows: Half, bytes: usize) -> Half {
        rows.ahead(bytes)
    }

    #[inline(always)]
    unsafe fn load(rows: Half, at: usize) -> __m256i {
        _mm256_loadu_si256(rows.part(at, 32).cast())
    }

    #[inline(always)]
    unsafe fn store_bytes(v: __m256i, to: Half, at: usize) {
        _mm256_storeu_si256(to.part(at, 32).cast_mut().cast(), v);
    }

    #[inline(always)]
    unsafe fn field(v: __m256i, from: u32, to: u32, mask: u8) -> __m256i {
        // Shifts cross bytes within 16 bits; the mask removes what crossed.
        let shifted = if from >= to {
            _mm256_srl_epi16(v, _mm_cvtsi32_si128((from - to) as i32))
        } else {
            _mm256_sll_epi16(v, _mm_cvtsi32_si128((to - from) as i32))
        };
        _mm256_and_si256(shifted, _mm256_set1_epi8((mask << to) as i8))
    }

    #[inline(always)]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        _mm256_or_si256(a, b)
    }

    #[inline(always)]
    unsafe fn sub_bytes(a: __m256i, b: u8) -> __m256i {
        _mm256_sub_epi8(a, _mm256_set1_epi8(b as i8))
    }

    #[inline(always)]
    unsafe fn look_up(table: &'static [i8; 16], v: __m256i) -> __m256i {
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
        _mm256_shuffle_epi8(table, v)
    }

    #[inline(always)]
    unsafe fn quad(x: *const i8) -> __m256i {
        _mm256_set1_epi32(x.cast::<i32>().read_unaligned())
    }

    #[inline(always)]
    unsafe fn keep_pairs<const C: usize>(parts: &mut [[__m256i; 2]; C]) {
        match parts.as_mut_slice() {
            [[a, b], [c, d], [e, f], [g, h]] => keep_eight([a, b, c, d, e, f, g, h]),
            [[a, b], [c, d], [e, f]] => keep_six([a, b, c, d, e, f]),
            [[a, b], [c, d]] => keep_four([a, b, c, d]),
            _ => {}
        }
    }

    #[inline(always)]
    unsafe fn keep_int_pairs<const C: usize>(sums: &mut [[__m256i; 2]; C]) {
        Self::keep_pairs(sums);
    }

    #[inline(always)]
    unsafe fn part_zero() -> __m256i {
        _mm256_setzero_si256()
    }

    #[inline(always)]
    unsafe fn dot(part: __m256i, w: __m256i, x: __m256i) -> __m256i {
        _mm256_add_epi16(part, _mm256_maddubs_epi16(w, x))
    }

    #[inline(always)]
    unsafe fn dot_signed(part: __m256i, w: __m256i, x: __m256i) -> __m256i {
        let products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        _mm256_add_epi16(part, products)
    }

    #[inline(always)]
    unsafe fn widen_scaled(sum: __m256i, part: __m256i, scale: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(part, scale))
    }

    #[inline(always)]
    unsafe fn widen(sum: __m256i, part: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(part, _mm256_set1_epi16(1)))
    }

    #[inline(always)]
    unsafe fn pairs(rows: Half, at: usize) -> __m256i {
        _mm256_cvtepi8_epi16(_mm_loadu_si128(rows.part(at, 16).cast()))
    }

    #[inline(always)]
    unsafe fn first(pairs: __m256i) -> __m256i {
        let low = _mm_set_epi8(13, 12, 13, 12, 9, 8, 9, 8, 5, 4, 5, 4, 1, 0, 1, 0);
        _mm256_shuffle_epi8(pairs, _mm256_broadcastsi128_si256(low))
    }

    #[inline(always)]
    unsafe fn second(pairs: __m256i) -> __m256i {
        let high = _mm_set_epi8(15, 14, 15, 14, 11, 10, 11, 10, 7, 6, 7, 6, 3, 2, 3, 2);
        _mm256_shuffle_epi8(pairs, _mm256_broadcastsi128_si256(high))
    }

    #[inline(always)]
    unsafe fn wide_pairs(v: __m256i) -> (__m256i, __m256i) {
        (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(v)), _mm256_srai_epi16::<8>(v))
    }

    #[inline(always)]
    unsafe fn dot_pairs(sum: __m256i, pairs: __m256i, x: *const i16) -> __m256i {
        let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, x))
    }

    #[inline(always)]
    unsafe fn int_zero() -> __m256i {
        _mm256_setzero_si256()
    }

    #[inline(always)]
    unsafe fn int_splat(x: *const i32) -> __m256i {
        _mm256_set1_epi32(*x)
    }

    #[inline(always)]
    unsafe fn sub_shifted(a: __m256i, b: __m256i, shift: u32) -> __m256i {
        _mm256_sub_epi32(a, _mm256_sll_epi32(b, _mm_cvtsi32_si128(shift as i32)))
    }

    #[inline(always)]
    unsafe fn to_float(a: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(a)
    }

    #[inline(always)]
    unsafe fn float_zero() -> __m256 {
        _mm256_setzero_ps()
    }

    #[inline(always)]
    unsafe fn float_splat(x: *const f32) -> __m256 {
        _mm256_set1_ps(*x)
    }

    #[inline(always)]
    unsafe fn load_f16(rows: Half, at: usize) -> __m256 {
        _mm256_cvtph_ps(_mm_loadu_si128(rows.part(at, 16).cast()))
    }

    #[inline(always)]
    unsafe fn load_bf16(rows: Half, at: usize) -> __m256 {
        let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(rows.part(at, 16).cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    }

    #[inline(always)]
    unsafe fn load_f32(rows: Half, at: usize) -> __m256 {
        _mm256_loadu_ps(rows.part(at, 32).cast())
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn neg_mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fnmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn store(v: __m256, to: *mut f32, count: usize) {
        if count >= 8 {
            _mm256_storeu_ps(to, v);
        } else {
            let mut all = [0.0f32; 8];
            _mm256_storeu_ps(all.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(all.as_ptr(), to, count);
        }
    }
}

/// A function that has some vectors in registers at once, see [`Simd::keep`].
macro_rules! keep {
    ($name:ident, $count:literal, $places:literal, $($v:ident),*) => {
        #[target_feature(enable = "avx2")]
        #[inline]
        unsafe fn $name([$($v),*]: [&mut __m256i; $count]) {
            // SAFETY: no instructions.
            std::arch::asm!($places, $(inout(ymm_reg) *$v,)* options(pure, nomem, nostack, preserves_flags));
        }
    };
}

keep!(keep_eight, 8, "/* {} {} {} {} {} {} {} {} */", a, b, c, d, e, f, g, h);
keep!(keep_six, 6, "/* {} {} {} {} {} {} */", a, b, c, d, e, f);
keep!(keep_four, 4, "/* {} {} {} {} */", a, b, c, d);

/// Quantizes a block, see `activations`.
pub(super) fn quantize(x: &[f32], out: BlockOut<'_>, quads: &mut [i32; 64]) {
    assert!(x.len().is_multiple_of(32) && x.len() <= 256 && out.q.len() == x.len());
    // SAFETY: `activations::quantizer` hands this function out only where AVX2 is available.
    unsafe { quantize_avx2(x, out, quads) }
}

#[target_feature(enable = "avx2")]
unsafe fn quantize_avx2(x: &[f32], out: BlockOut<'_>, quads: &mut [i32; 64]) {
    let magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fff_ffff));
    // As integers, the bits of magnitudes sort like the numbers, NaN above infinity.
    let mut most = _mm256_setzero_si256();
    for x in x.chunks_exact(8) {
        let abs = _mm256_and_ps(_mm256_loadu_ps(x.as_ptr()), magnitude);
        most = _mm256_max_epi32(most, _mm256_castps_si256(abs));
    }
    let most = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256::<1>(most));
    let most = _mm_max_epi32(most, _mm_shuffle_epi32::<0b01_00_11_10>(most));
    let most = _mm_max_epi32(most, _mm_shuffle_epi32::<0b10_11_00_01>(most));
    let (d, factor) = scales(f32::from_bits(_mm_cvtsi128_si32(most) as u32), x.len());
    *out.d = d;
    if factor == 0.0 {
        out.q.fill(0);
        quads.fill(0);
        return;
    }
    let factor = _mm256_set1_ps(factor);
    // Packing interleaves the 128-bit halves; this puts the fours back in order.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let ones = (_mm256_set1_epi8(1), _mm256_set1_epi16(1));
    for (i, (x, q)) in x.chunks_exact(32).zip(out.q.chunks_exact_mut(32)).enumerate() {
        let ints = |at: usize| _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x.as_ptr().add(at)), factor));
        let low = _mm256_packs_epi32(ints(0), ints(8));
        let high = _mm256_packs_epi32(ints(16), ints(24));
        let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
        _mm256_storeu_si256(q.as_mut_ptr().cast(), bytes);
        let sums = _mm256_madd_epi16(_mm256_maddubs_epi16(ones.0, bytes), ones.1);
        _mm256_storeu_si256(quads.as_mut_ptr().add(8 * i).cast(), sums);
    }
}
