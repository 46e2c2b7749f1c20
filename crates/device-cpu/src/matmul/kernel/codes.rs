//! Codes and integer scales, taken apart to bytes.

use std::mem::MaybeUninit;

use garrison_types::TensorType;
use garrison_types::quant::IQ4_CODEBOOK;

use super::super::layout::{Layout, Meaning, PANEL, QUAD, Scales, layout};
use super::super::simd::Simd;

/// A quantized type, known at compile time.
pub(in super::super) trait Quant {
    const TYPE: TensorType;
    const LAYOUT: Layout = match layout(Self::TYPE) {
        Some(layout) => layout,
        None => unreachable!(),
    };
}

macro_rules! quants {
    ($($name:ident = $ty:ident,)*) => { $(
        pub(in super::super) struct $name;
        impl Quant for $name {
            const TYPE: TensorType = TensorType::$ty;
        }
    )* };
}

quants! {
    Q8_0 = Q8_0, Q4_0 = Q4_0, Q4_1 = Q4_1, Q5_0 = Q5_0, Q5_1 = Q5_1, Iq4Nl = IQ4_NL,
    Q2K = Q2_K, Q3K = Q3_K, Q4K = Q4_K, Q5K = Q5_K, Q6K = Q6_K, Iq4Xs = IQ4_XS,
}

/// Quads `2 * j` and `2 * j + 1` of the 32 values number `g`, as [`dot`] wants them.
#[inline(always)]
pub(super) unsafe fn two_quads<S: Simd, Q: Quant>(rows: S::Rows, g: usize, j: usize) -> (S::Bytes, S::Bytes) {
    let (a, b) = two_codes::<S, Q>(rows, g, j);
    if is_signed(&Q::LAYOUT) { (S::signed(a), S::signed(b)) } else { (a, b) }
}

/// The codes of [`two_quads`], as bytes; what a codebook has for them.
#[inline(always)]
pub(super) unsafe fn two_codes<S: Simd, Q: Quant>(rows: S::Rows, g: usize, j: usize) -> (S::Bytes, S::Bytes) {
    let l = &Q::LAYOUT;
    if let Some(at) = l.whole {
        let at = at + l.group() * g + QUAD * 2 * j;
        return (S::load(rows, at), S::load(rows, at + QUAD));
    }
    let mut quads = None;
    if let Some(at) = l.nibbles {
        let v = S::load(rows, at + l.group() * g + QUAD * j);
        let (a, b) = (S::field(v, 0, 0, 15), S::field(v, 4, 0, 15));
        if matches!(l.meaning, Meaning::Codebook) {
            return (S::look_up(&IQ4_CODEBOOK, a), S::look_up(&IQ4_CODEBOOK, b));
        }
        quads = Some((a, b));
    }
    if let Some(at) = l.twos {
        let v = S::load(rows, at + l.group() * g + QUAD * (j / 2));
        let (from, to) = (4 * (j % 2) as u32, l.twos_shift());
        quads = Some(merge::<S>(quads, S::field(v, from, to, 3), S::field(v, from + 2, to, 3)));
    }
    if let Some(at) = l.ones {
        let v = S::load(rows, at + l.group() * g);
        let (from, to) = (2 * j as u32, l.ones_shift());
        quads = Some(merge::<S>(quads, S::field(v, from, to, 1), S::field(v, from + 1, to, 1)));
    }
    match quads {
        Some(quads) => quads,
        None => unreachable!("every quantized layout has a plane"),
    }
}

#[inline(always)]
unsafe fn merge<S: Simd>(
    low: Option<(S::Bytes, S::Bytes)>,
    a: S::Bytes,
    b: S::Bytes,
) -> (S::Bytes, S::Bytes) {
    match low {
        Some((low_a, low_b)) => (S::or(low_a, a), S::or(low_b, b)),
        None => (a, b),
    }
}

pub(super) const fn is_signed(l: &Layout) -> bool {
    matches!(l.meaning, Meaning::Signed | Meaning::Codebook)
}

/// Whether codes may be offset from what they stand for.
pub(in super::super) const fn has_offset(l: &Layout) -> bool {
    is_signed(l) || matches!(l.meaning, Meaning::Offset { .. })
}

/// Whether sums of products begin with what `l`'s offset comes to: see [`Simd::FOLDED`].
pub(super) const fn is_folded<S: Simd>(l: &Layout) -> bool {
    S::FOLDED && l.len == 256 && offset::<S>(l).is_some()
}

/// How far the sum of activations must be shifted before it is subtracted, if at all.
pub(super) const fn offset<S: Simd>(l: &Layout) -> Option<u32> {
    match l.meaning {
        Meaning::Offset { shift } => Some(shift),
        Meaning::Signed | Meaning::Codebook if S::SIGNED_OFFSET => Some(7),
        _ => None,
    }
}

#[inline(always)]
pub(super) unsafe fn dot<S: Simd, Q: Quant>(part: S::Part, w: S::Bytes, x: S::Quad) -> S::Part {
    if is_signed(&Q::LAYOUT) { S::dot_signed(part, w, x) } else { S::dot(part, w, x) }
}

/// Bytes of a panel's unpacked scales and minimums.
const UNPACKED: usize = 8 * QUAD;

/// Room for unpacked scales and minimums of two panels, as many as there are rows for at most.
#[repr(align(64))]
pub(super) struct ScaleBytes(MaybeUninit<[u8; 2 * UNPACKED]>);

impl ScaleBytes {
    pub(super) fn new() -> ScaleBytes {
        ScaleBytes(MaybeUninit::uninit())
    }
}

/// Bytes of two runs' scales.
pub(super) const SCALES: usize = 2 * PANEL;

/// Unpacks the integer scales to signed bytes: where the scales are, and where what is multiplied
/// with the sums of activations is (the minimums, or else the scales again); of each two runs [`SCALES`] bytes.
#[inline(always)]
pub(super) unsafe fn unpack_scales<S: Simd, Q: Quant>(
    rows: S::Rows,
    out: &mut ScaleBytes,
) -> (S::Rows, S::Rows) {
    const { assert!(S::ROWS <= 2 * PANEL) };
    let unpacked = S::rows(out.0.as_mut_ptr().cast::<u8>(), UNPACKED, 0);
    match Q::LAYOUT.scales {
        Scales::None => unreachable!("blocks of 256 have scales"),
        Scales::Bytes { at } => (S::ahead(rows, at), S::ahead(rows, at)),
        Scales::Nibbles { at } => {
            for i in 0..4 {
                let v = S::load(rows, at + QUAD * i);
                S::store_bytes(S::field(v, 0, 0, 15), unpacked, QUAD * i);
                S::store_bytes(S::field(v, 4, 0, 15), unpacked, QUAD * (4 + i));
            }
            (unpacked, S::ahead(unpacked, 4 * QUAD))
        }
        Scales::Six { at, bias } => {
            let high = S::load(rows, at + 2 * QUAD);
            each!(I in [0, 1, 2, 3] {
                let low = S::load(rows, at + QUAD * (I / 2));
                let low = S::field(low, 4 * (I % 2) as u32, 0, 15);
                let v = S::or(low, S::field(high, 2 * I as u32, 4, 3));
                S::store_bytes(S::sub_bytes(v, bias), unpacked, QUAD * I);
            });
            (unpacked, if Q::LAYOUT.runs() == 8 { S::ahead(unpacked, 2 * QUAD) } else { unpacked })
        }
    }
}
