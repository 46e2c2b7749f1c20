//! NEON with the dot product extension, of aarch64.

#![allow(unsafe_op_in_unsafe_fn)] // one condition for all, stated in `simd`

use std::arch::aarch64::*;

use super::activations::{BlockOut, scales};
use super::kernel::{Format, Stripe, stripe};
use super::simd::{Half, Simd, Two};

/// The primitives of NEON: two 128-bit registers are half of a panel's rows. Four products are summed in
/// 32 bits by one instruction, whose factors are both signed. No unsigned code needs its eighth bit, so they
/// are signed numbers already.
#[derive(Clone, Copy)]
pub(super) struct Neon;

/// Computes a stripe, whole panels at a time: four registers of sums a column, of the 32 that there are.
///
/// # Safety
/// The processor has NEON and its dot product, and the stripe's addresses are good.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn run<F: Format>(s: &Stripe<'_>) {
    stripe::<Two<Neon>, F>(s);
}

/// `sum` plus, in each lane, the product of four bytes of `w` and of `x`, all signed.
// The intrinsic for it is not stable yet.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn sdot(mut sum: int32x4_t, w: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: it reads and writes the registers that it is given.
    std::arch::asm!(
        "sdot {sum:v}.4s, {w:v}.16b, {x:v}.16b",
        sum = inout(vreg) sum, w = in(vreg) w, x = in(vreg) x,
        options(pure, nomem, nostack, preserves_flags),
    );
    sum
}

impl Simd for Neon {
    const ROWS: usize = 8;
    const NARROW: bool = false;
    const SIGNED_OFFSET: bool = false;
    const TILE: usize = 4;
    const FLOAT_TILE: usize = 2;
    const DIRECT: usize = 1;
    const DIRECT_32: usize = 1;
    const FOLDED: bool = false;

    type Ahead = Self;
    type Rows = Half;
    type Bytes = uint8x16x2_t;
    type Quad = int8x16_t;
    type Pairs = int16x8x2_t;
    type Scale = int32x4x2_t;
    type Part = int32x4x2_t;
    type Int = int32x4x2_t;
    type Float = float32x4x2_t;

    #[inline(always)]
    unsafe fn rows(first: *const u8, stride: usize, i: usize) -> Half {
        Half::number(i, first, stride)
    }

    #[inline(always)]
    unsafe fn ahead(rows: Half, bytes: usize) -> Half {
        rows.ahead(bytes)
    }

    #[inline(always)]
    unsafe fn load(rows: Half, at: usize) -> uint8x16x2_t {
        let from = rows.part(at, 32);
        uint8x16x2_t(vld1q_u8(from), vld1q_u8(from.add(16)))
    }

    #[inline(always)]
    unsafe fn store_bytes(v: uint8x16x2_t, to: Half, at: usize) {
        let to = to.part(at, 32).cast_mut();
        vst1q_u8(to, v.0);
        vst1q_u8(to.add(16), v.1);
    }

    #[inline(always)]
    unsafe fn field(v: uint8x16x2_t, from: u32, to: u32, mask: u8) -> uint8x16x2_t {
        let shift = vdupq_n_s8(to as i8 - from as i8);
        let mask = vdupq_n_u8(mask << to);
        uint8x16x2_t(vandq_u8(vshlq_u8(v.0, shift), mask), vandq_u8(vshlq_u8(v.1, shift), mask))
    }

    #[inline(always)]
    unsafe fn or(a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        uint8x16x2_t(vorrq_u8(a.0, b.0), vorrq_u8(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn sub_bytes(a: uint8x16x2_t, b: u8) -> uint8x16x2_t {
        let b = vdupq_n_u8(b);
        uint8x16x2_t(vsubq_u8(a.0, b), vsubq_u8(a.1, b))
    }

    #[inline(always)]
    unsafe fn look_up(table: &'static [i8; 16], v: uint8x16x2_t) -> uint8x16x2_t {
        let table = vld1q_u8(table.as_ptr().cast());
        uint8x16x2_t(vqtbl1q_u8(table, v.0), vqtbl1q_u8(table, v.1))
    }

    #[inline(always)]
    unsafe fn quad(x: *const i8) -> int8x16_t {
        vreinterpretq_s8_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned()))
    }

    #[inline(always)]
    unsafe fn part_zero() -> int32x4x2_t {
        Self::int_zero()
    }

    #[inline(always)]
    unsafe fn dot(part: int32x4x2_t, w: uint8x16x2_t, x: int8x16_t) -> int32x4x2_t {
        int32x4x2_t(sdot(part.0, w.0, x), sdot(part.1, w.1, x))
    }

    #[inline(always)]
    unsafe fn dot_signed(part: int32x4x2_t, w: uint8x16x2_t, x: int8x16_t) -> int32x4x2_t {
        Self::dot(part, w, x)
    }

    #[inline(always)]
    unsafe fn widen_scaled(sum: int32x4x2_t, part: int32x4x2_t, scale: int32x4x2_t) -> int32x4x2_t {
        int32x4x2_t(vmlaq_s32(sum.0, part.0, scale.0), vmlaq_s32(sum.1, part.1, scale.1))
    }

    #[inline(always)]
    unsafe fn widen(sum: int32x4x2_t, part: int32x4x2_t) -> int32x4x2_t {
        int32x4x2_t(vaddq_s32(sum.0, part.0), vaddq_s32(sum.1, part.1))
    }

    #[inline(always)]
    unsafe fn pairs(rows: Half, at: usize) -> int16x8x2_t {
        let bytes = vld1q_s8(rows.part(at, 16).cast());
        int16x8x2_t(vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes))
    }

    #[inline(always)]
    unsafe fn first(pairs: int16x8x2_t) -> int32x4x2_t {
        let first = |pairs| vshrq_n_s32::<16>(vshlq_n_s32::<16>(vreinterpretq_s32_s16(pairs)));
        int32x4x2_t(first(pairs.0), first(pairs.1))
    }

    #[inline(always)]
    unsafe fn second(pairs: int16x8x2_t) -> int32x4x2_t {
        let second = |pairs| vshrq_n_s32::<16>(vreinterpretq_s32_s16(pairs));
        int32x4x2_t(second(pairs.0), second(pairs.1))
    }

    #[inline(always)]
    unsafe fn wide_pairs(v: uint8x16x2_t) -> (int16x8x2_t, int16x8x2_t) {
        let odd = |v| vshrq_n_s16::<8>(vreinterpretq_s16_u8(v));
        let even = |v| vshrq_n_s16::<8>(vshlq_n_s16::<8>(vreinterpretq_s16_u8(v)));
        (int16x8x2_t(even(v.0), even(v.1)), int16x8x2_t(odd(v.0), odd(v.1)))
    }

    #[inline(always)]
    unsafe fn dot_pairs(sum: int32x4x2_t, pairs: int16x8x2_t, x: *const i16) -> int32x4x2_t {
        let x = vreinterpretq_s16_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned()));
        // Each row's two products are neighbours, and are added to each other first.
        let add = |sum, pairs| {
            let low = vmull_s16(vget_low_s16(pairs), vget_low_s16(x));
            vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(pairs, x)))
        };
        int32x4x2_t(add(sum.0, pairs.0), add(sum.1, pairs.1))
    }

    #[inline(always)]
    unsafe fn int_zero() -> int32x4x2_t {
        int32x4x2_t(vdupq_n_s32(0), vdupq_n_s32(0))
    }

    #[inline(always)]
    unsafe fn int_splat(x: *const i32) -> int32x4x2_t {
        int32x4x2_t(vdupq_n_s32(*x), vdupq_n_s32(*x))
    }

    #[inline(always)]
    unsafe fn sub_shifted(a: int32x4x2_t, b: int32x4x2_t, shift: u32) -> int32x4x2_t {
        let shift = vdupq_n_s32(shift as i32);
        int32x4x2_t(vsubq_s32(a.0, vshlq_s32(b.0, shift)), vsubq_s32(a.1, vshlq_s32(b.1, shift)))
    }

    #[inline(always)]
    unsafe fn to_float(a: int32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vcvtq_f32_s32(a.0), vcvtq_f32_s32(a.1))
    }

    #[inline(always)]
    unsafe fn float_zero() -> float32x4x2_t {
        float32x4x2_t(vdupq_n_f32(0.0), vdupq_n_f32(0.0))
    }

    #[inline(always)]
    unsafe fn float_splat(x: *const f32) -> float32x4x2_t {
        float32x4x2_t(vdupq_n_f32(*x), vdupq_n_f32(*x))
    }

    #[inline(always)]
    unsafe fn load_f16(rows: Half, at: usize) -> float32x4x2_t {
        let halves = vreinterpretq_f16_u8(vld1q_u8(rows.part(at, 16)));
        float32x4x2_t(vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves))
    }

    #[inline(always)]
    unsafe fn load_bf16(rows: Half, at: usize) -> float32x4x2_t {
        // A bfloat16 is the upper half of an f32.
        let halves = vreinterpretq_u16_u8(vld1q_u8(rows.part(at, 16)));
        let (low, high) = (vshll_n_u16::<16>(vget_low_u16(halves)), vshll_high_n_u16::<16>(halves));
        float32x4x2_t(vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high))
    }

    #[inline(always)]
    unsafe fn load_f32(rows: Half, at: usize) -> float32x4x2_t {
        let v = Self::load(rows, at);
        float32x4x2_t(vreinterpretq_f32_u8(v.0), vreinterpretq_f32_u8(v.1))
    }

    #[inline(always)]
    unsafe fn add(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn mul(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn mul_add(a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1))
    }

    #[inline(always)]
    unsafe fn neg_mul_add(a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vfmsq_f32(c.0, a.0, b.0), vfmsq_f32(c.1, a.1, b.1))
    }

    #[inline(always)]
    unsafe fn store(v: float32x4x2_t, to: *mut f32, count: usize) {
        if count >= 8 {
            vst1q_f32(to, v.0);
            vst1q_f32(to.add(4), v.1);
        } else {
            let mut all = [0.0f32; 8];
            vst1q_f32(all.as_mut_ptr(), v.0);
            vst1q_f32(all.as_mut_ptr().add(4), v.1);
            std::ptr::copy_nonoverlapping(all.as_ptr(), to, count);
        }
    }
}

/// Quantizes a block, see `activations`.
pub(super) fn quantize(x: &[f32], out: BlockOut<'_>, quads: &mut [i32; 64]) {
    assert!(x.len().is_multiple_of(32) && x.len() <= 256 && out.q.len() == x.len());
    // SAFETY: NEON is part of every processor that this is compiled for.
    unsafe { quantize_neon(x, out, quads) }
}

#[target_feature(enable = "neon")]
unsafe fn quantize_neon(x: &[f32], out: BlockOut<'_>, quads: &mut [i32; 64]) {
    // As integers, the bits of magnitudes sort like the numbers, NaN above infinity.
    let mut most = vdupq_n_u32(0);
    for x in x.as_chunks::<4>().0 {
        most = vmaxq_u32(most, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x.as_ptr()))));
    }
    let (d, factor) = scales(f32::from_bits(vmaxvq_u32(most)), x.len());
    *out.d = d;
    if factor == 0.0 {
        out.q.fill(0);
        quads.fill(0);
        return;
    }
    for (i, (x, q)) in x.chunks_exact(16).zip(out.q.chunks_exact_mut(16)).enumerate() {
        let ints = |at: usize| vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x.as_ptr().add(at)), factor));
        let low = vcombine_s16(vqmovn_s32(ints(0)), vqmovn_s32(ints(4)));
        let high = vcombine_s16(vqmovn_s32(ints(8)), vqmovn_s32(ints(12)));
        let bytes = vcombine_s8(vqmovn_s16(low), vqmovn_s16(high));
        vst1q_s8(q.as_mut_ptr(), bytes);
        vst1q_s32(quads.as_mut_ptr().add(4 * i), vpaddlq_s16(vpaddlq_s8(bytes)));
    }
}
