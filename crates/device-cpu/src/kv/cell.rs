//! What keys and values are stored as: how values become cells, and cells a vector of values.
//!
//! Key decision: what a cell lacks to its value is multiplied where it is cheapest, never cell by cell.
//! A scale of [`GROUP`] values multiplies a whole group's scores or a token's weight; a factor of all
//! cells, [`Cell::UNIT`], goes into the query and into what is divided by at the end.

use bytemuck::{Pod, Zeroable};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::Isa;
use crate::matmul::quantize_32;
use crate::simd::{LANES, Simd};

/// Values along a head that share a scale, where there are scales.
pub(crate) const GROUP: usize = 32;

/// A storage type of keys and values.
pub(crate) trait Cell: Pod + Send + Sync {
    /// Whether each [`GROUP`] of a head's values has a scale.
    const SCALED: bool;
    /// The value of a cell that loads as 1, before scaling; a power of two.
    const UNIT: f32;

    /// Stores up to [`GROUP`] values; their scale.
    fn narrow(isa: Isa, x: &[f32], to: &mut [Self; GROUP]) -> f16;

    /// What the cells hold, in units of the scale and of [`Cell::UNIT`].
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::V;
}

// Rounding to 16 bits is the `half` crate's, which uses the processor's instructions where they exist
// and rounds alike where not.

impl Cell for f16 {
    const SCALED: bool = false;
    const UNIT: f32 = 1.0;

    fn narrow(_: Isa, x: &[f32], to: &mut [f16; GROUP]) -> f16 {
        to[..x.len()].convert_from_f32_slice(x);
        f16::ONE
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f16; LANES]) -> S::V {
        s.load_f16(from)
    }
}

impl Cell for bf16 {
    const SCALED: bool = false;
    const UNIT: f32 = 1.0;

    fn narrow(_: Isa, x: &[f32], to: &mut [bf16; GROUP]) -> f16 {
        to[..x.len()].convert_from_f32_slice(x);
        f16::ONE
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[bf16; LANES]) -> S::V {
        s.load_bf16(from)
    }
}

impl Cell for f32 {
    const SCALED: bool = false;
    const UNIT: f32 = 1.0;

    fn narrow(_: Isa, x: &[f32], to: &mut [f32; GROUP]) -> f16 {
        to[..x.len()].copy_from_slice(x);
        f16::ONE
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32; LANES]) -> S::V {
        s.load(from)
    }
}

/// Q8_0: the scale is that of the largest value, 127 steps of it.
impl Cell for i8 {
    const SCALED: bool = true;
    const UNIT: f32 = 1.0;

    /// As activations are rounded, so that a group with anything but finite numbers in it is no number.
    fn narrow(isa: Isa, x: &[f32], to: &mut [i8; GROUP]) -> f16 {
        let mut group = [0.0; GROUP];
        group[..x.len()].copy_from_slice(x);
        f16::from_f32(quantize_32(isa, &group, to))
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[i8; LANES]) -> S::V {
        s.load_i8(from)
    }
}

/// E4M3 (Micikevicius et al. 2022, FP8 Formats for Deep Learning, table 1): no infinities, one
/// pattern for what is no number.
#[derive(Clone, Copy, PartialEq, Eq, Zeroable, Pod)]
#[repr(transparent)]
pub(crate) struct E4M3(pub(crate) u8);

impl E4M3 {
    pub(crate) const NAN: E4M3 = E4M3(0x7f);
    /// 448
    const LARGEST: u32 = 0x7e;

    /// The nearest, ties to even; the largest for all that are larger.
    #[inline]
    pub(crate) fn from_f32(x: f32) -> E4M3 {
        let magnitude = x.abs();
        // Rounded where the mantissa is cut to 3 bits; the exponent's bias is 7 instead of 127.
        let bits = magnitude.to_bits();
        let normal = ((bits + 0x7_ffff + (bits >> 20 & 1)) >> 20).saturating_sub((127 - 7) << 3);
        // Below 2^-6 steps are 2^-9, as they are of f32 from 2^14 on.
        const SHIFT: f32 = 16384.0;
        let subnormal = (magnitude + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits());
        let code = if magnitude < 0.015_625 { subnormal } else { normal.min(Self::LARGEST) };
        let sign = (x.to_bits() >> 24) as u8 & 0x80;
        if x.is_nan() { E4M3::NAN } else { E4M3(sign | code as u8) }
    }
}

impl Cell for E4M3 {
    const SCALED: bool = false;
    const UNIT: f32 = 256.0;

    fn narrow(_: Isa, x: &[f32], to: &mut [E4M3; GROUP]) -> f16 {
        for (to, &x) in to.iter_mut().zip(x) {
            *to = E4M3::from_f32(x);
        }
        f16::ONE
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[E4M3; LANES]) -> S::V {
        s.load_e4m3(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Portable;

    fn value(code: u8) -> f32 {
        Portable.load_e4m3(&[E4M3(code); LANES])[0] * E4M3::UNIT
    }

    /// By the format's definition.
    fn defined(code: u8) -> f64 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7));
        let magnitude = match (exponent, code & 7) {
            (15, 7) => f64::NAN,
            (0, _) => mantissa / 8.0 * 2f64.powi(-6),
            _ => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
        };
        if code < 0x80 { magnitude } else { -magnitude }
    }

    #[test]
    fn every_fp8_means_what_its_bits_say() {
        // What is no number has one pattern only, and 0xff is not it.
        for code in 0..0xff {
            let (got, expected) = (f64::from(value(code)), defined(code));
            assert!(got == expected || (got.is_nan() && expected.is_nan()), "{code:#x}: {got}, {expected}");
            assert!(got.is_nan() || E4M3::from_f32(got as f32).0 == code, "{code:#x}");
        }
    }

    #[test]
    fn fp8_is_the_nearest_with_ties_to_even_and_saturates() {
        // Between two neighbours: what is nearer, and in the middle the one that ends in a zero bit.
        for code in 0..0x7e {
            let (low, high) = (defined(code), defined(code + 1));
            let middle = ((low + high) / 2.0) as f32;
            let even = code + code % 2;
            for (x, expected) in [(middle.next_down(), code), (middle, even), (middle.next_up(), code + 1)] {
                assert_eq!(E4M3::from_f32(x).0, expected, "{x}");
                assert_eq!(E4M3::from_f32(-x).0, expected | 0x80, "-{x}");
            }
        }
        for x in [448.0, 463.0, 464.0, 465.0, 479.0, 480.0, 481.0, 1e10, f32::MAX, f32::INFINITY] {
            assert_eq!((E4M3::from_f32(x).0, E4M3::from_f32(-x).0), (0x7e, 0xfe), "{x}");
        }
        assert_eq!((E4M3::from_f32(f32::NAN).0, E4M3::from_f32(-f32::NAN).0), (0x7f, 0x7f));
        assert_eq!((E4M3::from_f32(1e-40).0, E4M3::from_f32(-0.0).0), (0, 0x80));
    }

    #[test]
    fn a_group_is_steps_of_a_127th_of_its_largest() {
        for isa in Isa::available() {
            let mut cells = [0i8; GROUP];
            let d = i8::narrow(isa, &[1.0, -254.0, 3.0, 5.0, 0.9, -0.0], &mut cells);
            // 3 / 2 and 5 / 2 are ties, and round to even.
            assert_eq!((d.to_f32(), &cells[..7]), (2.0, &[0, -127, 2, 2, 0, 0, 0][..]), "{isa:?}");
            assert_eq!(i8::narrow(isa, &[0.0; 32], &mut cells).to_f32(), 0.0);
            for wild in [f32::NAN, f32::INFINITY] {
                assert!(i8::narrow(isa, &[1.0, wild], &mut cells).is_nan(), "{isa:?} {wild}");
            }
        }
    }
}
