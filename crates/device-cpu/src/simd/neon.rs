//! NEON: a vector is four registers of four lanes.

use std::arch::aarch64::*;
use std::mem::transmute;

use half::{bf16, f16};

use super::{LANES, Simd};
use crate::Isa;
use crate::kv::E4M3;

/// Proof that the processor has NEON and its dot product.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    pub(crate) fn new() -> Option<Neon> {
        Isa::NeonDot.is_available().then_some(Neon(()))
    }
}

type Four = [float32x4_t; 4];

/// An expression for each register, in which `$i` is its number.
macro_rules! each {
    ($i:ident => $f:expr) => {
        each!($i in [0, 1, 2, 3] => $f)
    };
    ($i:ident in [$($register:literal),*] => $f:expr) => {
        // SAFETY: `self` proves the features, and nothing here touches memory.
        unsafe { [$({ let $i: usize = $register; $f }),*] }
    };
}

/// Four halves as numbers.
///
/// # Safety
/// The processor must have NEON.
#[inline(always)]
unsafe fn widen(halves: u64) -> float32x4_t {
    // SAFETY: the caller knows of the feature.
    unsafe { vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(halves))) }
}

impl Simd for Neon {
    type V = Four;

    #[inline(always)]
    fn splat(self, x: f32) -> Four {
        each!(_i => vdupq_n_f32(x))
    }

    // Loads and stores are moves of whole arrays, as on the other instruction sets.

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Four {
        // SAFETY: any bits are 16 values, or four registers.
        unsafe { transmute::<[f32; LANES], Four>(*from) }
    }

    #[inline(always)]
    fn store(self, v: Four, to: &mut [f32; LANES]) {
        // SAFETY: as for `load`.
        *to = unsafe { transmute::<Four, [f32; LANES]>(v) };
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Four {
        // SAFETY: any bits are 16 halves, or four integers.
        let fours = unsafe { transmute::<[f16; LANES], [u64; 4]>(*from) };
        each!(i => widen(fours[i]))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16; LANES]) -> Four {
        // SAFETY: any bits are 16 halves, or four integers.
        let fours = unsafe { transmute::<[bf16; LANES], [u64; 4]>(*from) };
        // A bfloat16 is the upper half of an f32.
        each!(i => vreinterpretq_f32_u32(vshll_n_u16::<16>(vcreate_u16(fours[i]))))
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Four {
        // SAFETY: `self` proves the features; any bits are 16 bytes, or one register.
        unsafe {
            let bytes = transmute::<[i8; LANES], int8x16_t>(*from);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ]
        }
    }

    #[inline(always)]
    fn load_e4m3(self, from: &[E4M3; LANES]) -> Four {
        // SAFETY: `self` proves the features; any bits are 16 bytes, or one register.
        unsafe {
            let bytes = transmute::<[E4M3; LANES], int8x16_t>(*from);
            // Sign and the rest put where an f16 has them; what is no number becomes all ones.
            let halves = |eight| {
                let placed = vreinterpretq_u16_s16(vshlq_n_s16::<7>(eight));
                let halves = vandq_u16(placed, vdupq_n_u16(0xbf80));
                vreinterpretq_f16_u16(vorrq_u16(halves, vceqq_u16(halves, vdupq_n_u16(0x3f80))))
            };
            let (low, high) = (halves(vmovl_s8(vget_low_s8(bytes))), halves(vmovl_high_s8(bytes)));
            [
                vcvt_f32_f16(vget_low_f16(low)),
                vcvt_high_f32_f16(low),
                vcvt_f32_f16(vget_low_f16(high)),
                vcvt_high_f32_f16(high),
            ]
        }
    }

    #[inline(always)]
    fn add(self, a: Four, b: Four) -> Four {
        each!(i => vaddq_f32(a[i], b[i]))
    }
    #[inline(always)]
    fn sub(self, a: Four, b: Four) -> Four {
        each!(i => vsubq_f32(a[i], b[i]))
    }
    #[inline(always)]
    fn mul(self, a: Four, b: Four) -> Four {
        each!(i => vmulq_f32(a[i], b[i]))
    }
    #[inline(always)]
    fn div(self, a: Four, b: Four) -> Four {
        each!(i => vdivq_f32(a[i], b[i]))
    }
    #[inline(always)]
    fn fma(self, a: Four, b: Four, c: Four) -> Four {
        each!(i => vfmaq_f32(c[i], a[i], b[i]))
    }
    // NEON's own maximum has other ideas of NaN and of the zeros.
    #[inline(always)]
    fn max(self, a: Four, b: Four) -> Four {
        each!(i => vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]))
    }
    #[inline(always)]
    fn min(self, a: Four, b: Four) -> Four {
        each!(i => vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i]))
    }
    #[inline(always)]
    fn round(self, a: Four) -> Four {
        each!(i => vrndnq_f32(a[i]))
    }

    #[inline(always)]
    fn pow2(self, n: Four) -> Four {
        // The biased exponent, put where an f32 has it.
        each!(i => {
            let biased = vaddq_s32(vcvtq_s32_f32(n[i]), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        })
    }

    #[inline(always)]
    fn sum(self, v: Four) -> f32 {
        // SAFETY: `self` proves the features.
        unsafe {
            let v = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
            let v = vadd_f32(vget_low_f32(v), vget_high_f32(v));
            vget_lane_f32::<0>(v) + vget_lane_f32::<1>(v)
        }
    }

    #[inline(always)]
    fn largest(self, v: Four) -> f32 {
        // SAFETY: `self` proves the features.
        unsafe {
            let max = |a, b| vbslq_f32(vcgtq_f32(a, b), a, b);
            let v = max(max(v[0], v[2]), max(v[1], v[3]));
            let (low, high) = (vget_low_f32(v), vget_high_f32(v));
            let v = vbsl_f32(vcgt_f32(low, high), low, high);
            let (low, high) = (vget_lane_f32::<0>(v), vget_lane_f32::<1>(v));
            if low > high { low } else { high }
        }
    }
}
