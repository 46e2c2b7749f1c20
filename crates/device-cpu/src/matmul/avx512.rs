//! AVX-512 F, BW, VL, DQ and VNNI.

#![allow(unsafe_op_in_unsafe_fn)] // one condition for all, stated in `simd`

use std::arch::x86_64::*;

use super::kernel::{Format, Stripe, stripe};
use super::simd::{Simd, Two};

/// The primitives of AVX-512: a 512-bit register is the 16 rows of a panel. Products are summed in 32 bits by VNNI, so
/// nothing needs widening. What is loaded asks for the line `AHEAD` bytes on, unless that is 0.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const AHEAD: usize>;

/// Computes a stripe, two panels at a time: where all 512 bits are computed at once, a cycle has two products and two
/// loads, so that one panel would need an activation loaded for each.
///
/// # Safety
/// The processor has all of [`Isa::Avx512Vnni`](crate::Isa), and the stripe's addresses are good.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn run<F: Format>(s: &Stripe<'_>) {
    stripe::<Two<Avx512<0>>, F>(s)
}

/// In [`shuffle_each`], a byte of zeros.
const NONE: i8 = i8::MIN;

/// Each 32 bits of `v` with the bytes of theirs that `order` names.
#[inline(always)]
unsafe fn shuffle_each(v: __m512i, order: [i8; 4]) -> __m512i {
    let mut lane = [NONE; 16];
    for (i, to) in lane.iter_mut().enumerate() {
        let from = order[i % 4];
        *to = if from == NONE { NONE } else { from + (i - i % 4) as i8 };
    }
    _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(_mm_loadu_si128(lane.as_ptr().cast())))
}

impl<const AHEAD: usize> Simd for Avx512<AHEAD> {
    const ROWS: usize = 16;
    const NARROW: bool = false;
    const SIGNED_OFFSET: bool = true;
    const TILE: usize = 6;
    const FLOAT_TILE: usize = 4;
    const DIRECT: usize = 8;
    const DIRECT_32: usize = 8;
    const FOLDED: bool = true;

    // Two blocks of Q4_K.
    type Ahead = Avx512<4608>;
    type Rows = *const u8;
    type Bytes = __m512i;
    type Quad = __m512i;
    type Pairs = __m512i;
    type Scale = __m512i;
    type Part = __m512i;
    type Int = __m512i;
    type Float = __m512;

    #[inline(always)]
    unsafe fn rows(first: *const u8, stride: usize, i: usize) -> *const u8 {
        first.add(stride * i)
    }

    #[inline(always)]
    unsafe fn ahead(rows: *const u8, bytes: usize) -> *const u8 {
        rows.add(bytes)
    }

    #[inline(always)]
    unsafe fn load(rows: *const u8, at: usize) -> __m512i {
        if AHEAD > 0 {
            _mm_prefetch::<_MM_HINT_T0>(rows.wrapping_add(at + AHEAD).cast());
        }
        _mm512_loadu_si512(rows.add(at).cast())
    }

    #[inline(always)]
    unsafe fn store_bytes(v: __m512i, to: *const u8, at: usize) {
        _mm512_storeu_si512(to.cast_mut().add(at).cast(), v);
    }

    #[inline(always)]
    unsafe fn field(v: __m512i, from: u32, to: u32, mask: u8) -> __m512i {
        // Shifts cross bytes within 16 bits; the mask removes what crossed.
        let shifted = if from >= to {
            _mm512_srl_epi16(v, _mm_cvtsi32_si128((from - to) as i32))
        } else {
            _mm512_sll_epi16(v, _mm_cvtsi32_si128((to - from) as i32))
        };
        _mm512_and_si512(shifted, _mm512_set1_epi8((mask << to) as i8))
    }

    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, b)
    }

    #[inline(always)]
    unsafe fn sub_bytes(a: __m512i, b: u8) -> __m512i {
        _mm512_sub_epi8(a, _mm512_set1_epi8(b as i8))
    }

    #[inline(always)]
    unsafe fn look_up(table: &'static [i8; 16], v: __m512i) -> __m512i {
        let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
        _mm512_shuffle_epi8(table, v)
    }

    #[inline(always)]
    unsafe fn quad(x: *const i8) -> __m512i {
        _mm512_set1_epi32(x.cast::<i32>().read_unaligned())
    }

    #[inline(always)]
    unsafe fn part_zero() -> __m512i {
        _mm512_setzero_si512()
    }

    #[inline(always)]
    unsafe fn part_shifted(x: *const i32, shift: u32) -> __m512i {
        _mm512_sll_epi32(_mm512_set1_epi32(*x), _mm_cvtsi32_si128(shift as i32))
    }

    #[inline(always)]
    unsafe fn dot(part: __m512i, w: __m512i, x: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(part, w, x)
    }

    #[inline(always)]
    unsafe fn signed(v: __m512i) -> __m512i {
        // Flipping the top bit adds 128 and makes it unsigned.
        _mm512_xor_si512(v, _mm512_set1_epi8(i8::MIN))
    }

    #[inline(always)]
    unsafe fn dot_signed(part: __m512i, w: __m512i, x: __m512i) -> __m512i {
        Self::dot(part, w, x)
    }

    #[inline(always)]
    unsafe fn widen_scaled(sum: __m512i, part: __m512i, scale: __m512i) -> __m512i {
        // 24 bits of a sum are its low byte and the 16 bits above that; the scale has a second half 256 times as large.
        // `vpmulld` is two instructions on Intel's processors.
        _mm512_dpwssd_epi32(sum, shuffle_each(part, [0, NONE, 1, 2]), scale)
    }

    #[inline(always)]
    unsafe fn widen(sum: __m512i, part: __m512i) -> __m512i {
        _mm512_add_epi32(sum, part)
    }

    #[inline(always)]
    unsafe fn pairs(rows: *const u8, at: usize) -> __m512i {
        _mm512_cvtepi8_epi16(_mm256_loadu_si256(rows.add(at).cast()))
    }

    #[inline(always)]
    unsafe fn first(pairs: __m512i) -> __m512i {
        shuffle_each(pairs, [0, 1, NONE, 0])
    }

    #[inline(always)]
    unsafe fn second(pairs: __m512i) -> __m512i {
        shuffle_each(pairs, [2, 3, NONE, 2])
    }

    #[inline(always)]
    unsafe fn wide_pairs(v: __m512i) -> (__m512i, __m512i) {
        (_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(v)), _mm512_srai_epi16::<8>(v))
    }

    #[inline(always)]
    unsafe fn dot_pairs(sum: __m512i, pairs: __m512i, x: *const i16) -> __m512i {
        let x = _mm512_set1_epi32(x.cast::<i32>().read_unaligned());
        _mm512_dpwssd_epi32(sum, pairs, x)
    }

    #[inline(always)]
    unsafe fn int_zero() -> __m512i {
        _mm512_setzero_si512()
    }

    #[inline(always)]
    unsafe fn int_splat(x: *const i32) -> __m512i {
        _mm512_set1_epi32(*x)
    }

    #[inline(always)]
    unsafe fn sub_shifted(a: __m512i, b: __m512i, shift: u32) -> __m512i {
        _mm512_sub_epi32(a, _mm512_sll_epi32(b, _mm_cvtsi32_si128(shift as i32)))
    }

    #[inline(always)]
    unsafe fn to_float(a: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(a)
    }

    #[inline(always)]
    unsafe fn float_zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline(always)]
    unsafe fn float_splat(x: *const f32) -> __m512 {
        _mm512_set1_ps(*x)
    }

    #[inline(always)]
    unsafe fn load_f16(rows: *const u8, at: usize) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(rows.add(at).cast()))
    }

    #[inline(always)]
    unsafe fn load_bf16(rows: *const u8, at: usize) -> __m512 {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(rows.add(at).cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
    }

    #[inline(always)]
    unsafe fn load_f32(rows: *const u8, at: usize) -> __m512 {
        _mm512_castsi512_ps(Self::load(rows, at))
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn neg_mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fnmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn store(v: __m512, to: *mut f32, count: usize) {
        if count >= 16 {
            _mm512_storeu_ps(to, v);
        } else {
            _mm512_mask_storeu_ps(to, ((1u32 << count) - 1) as u16, v);
        }
    }
}
