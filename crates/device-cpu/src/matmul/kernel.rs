//! The vector kernels, written once over [`Simd`] and once per family of formats: a tile of some
//! panels by some columns, and the stripe of tiles that is a task.
//!
//! The order of float operations for one output element is fixed here and nowhere else: one fused
//! multiply-add per block of weights (two where there are minimums), blocks ascending. It does not
//! depend on the tile, so results are the same to the bit whatever else is computed with them.

// SAFETY: everything here is inlined into the stripe functions of an instruction set, under
// their conditions: see `simd`.
#![allow(unsafe_op_in_unsafe_fn)]
#![allow(clippy::needless_range_loop)] // a column indexes several arrays and an address at once

use garrison_types::TensorType;
use garrison_types::quant::IQ4_CODEBOOK;

use super::activations::{Quantized, SUMS};
use super::layout::{Layout, Meaning, PANEL, QUAD, Scales, layout};
use super::simd::Simd;

/// Bytes of activations that are gone through for each panel before the next panel's turn: they
/// should stay in the L2 cache, along with the panels of the stripe.
const COLUMN_BYTES: usize = 192 << 10;

/// The activations of a call in the form a weight needs.
#[derive(Clone, Copy)]
pub(super) enum Columns<'a> {
    /// `[rows, k]`
    Floats(&'a [f32]),
    Int8(&'a Quantized),
}

/// A task: all rows of activations times some panels of a weight.
pub(super) struct Stripe<'a> {
    /// All panels of the weight.
    pub(super) panels: &'a [u8],
    /// Bytes of one.
    pub(super) panel_bytes: usize,
    /// The panels of this task.
    pub(super) range: std::ops::Range<usize>,
    /// Rows of the weight.
    pub(super) n: usize,
    /// Values per row.
    pub(super) k: usize,
    /// Rows of activations.
    pub(super) rows: usize,
    /// The activations.
    pub(super) x: Columns<'a>,
    /// `[rows, n]`; this task alone writes the columns of its panels.
    pub(super) dst: *mut f32,
}

/// A weight format's tile.
pub(super) trait Format {
    /// Columns of a tile, 2 or 4: as many as AVX2's sixteen registers hold with two panels. What is
    /// left over goes one by one. While there are fewer columns, reading the weights takes longest
    /// anyway, and each further size of tile is compiled for each type and instruction set.
    const COLUMNS: usize;

    /// The products of the rows at `rows` with columns `first .. first + C`.
    unsafe fn tile<S: Simd, const C: usize>(rows: S::Rows, s: &Stripe<'_>, first: usize) -> [S::Float; C];
}

/// Computes a stripe: for each block of columns, for each panel, tile after tile.
#[inline(always)]
pub(super) unsafe fn stripe<S: Simd, F: Format>(s: &Stripe<'_>) {
    let columns = (COLUMN_BYTES / s.k.max(1)).next_multiple_of(F::COLUMNS);
    let mut block = 0;
    while block < s.rows {
        let end = s.rows.min(block + columns);
        let mut panel = s.range.start;
        while panel < s.range.end {
            // Past the last panel the last is read again, and nothing is written.
            let stride = if panel + 1 < s.range.end { s.panel_bytes } else { 0 };
            let rows = S::rows(s.panels.as_ptr().add(panel * s.panel_bytes), stride);
            let mut c = block;
            while c + F::COLUMNS <= end {
                if F::COLUMNS == 4 {
                    tile::<S, F, 4>(rows, s, panel, c);
                } else {
                    tile::<S, F, 2>(rows, s, panel, c);
                }
                c += F::COLUMNS;
            }
            while c < end {
                tile::<S, F, 1>(rows, s, panel, c);
                c += 1;
            }
            panel += S::PANELS;
        }
        block = end;
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, F: Format, const C: usize>(rows: S::Rows, s: &Stripe<'_>, panel: usize, c: usize) {
    let sums = F::tile::<S, C>(rows, s, c);
    let end = s.n.min(s.range.end * PANEL);
    let count = end.saturating_sub(panel * PANEL).min(S::PANELS * PANEL);
    for (i, sum) in sums.into_iter().enumerate() {
        S::store(sum, s.dst.add((c + i) * s.n + panel * PANEL), count);
    }
}

/// A quantized type, known at compile time.
pub(super) trait Quant {
    const TYPE: TensorType;
    const LAYOUT: Layout = match layout(Self::TYPE) {
        Some(layout) => layout,
        None => unreachable!(),
    };
}

macro_rules! quants {
    ($($name:ident = $ty:ident,)*) => { $(
        pub(super) struct $name;
        impl Quant for $name {
            const TYPE: TensorType = TensorType::$ty;
        }
    )* };
}

quants! {
    Q8_0 = Q8_0, Q4_0 = Q4_0, Q4_1 = Q4_1, Q5_0 = Q5_0, Q5_1 = Q5_1, Iq4Nl = IQ4_NL,
    Q2K = Q2_K, Q3K = Q3_K, Q4K = Q4_K, Q5K = Q5_K, Q6K = Q6_K, Iq4Xs = IQ4_XS,
}

/// Runs the body with `$j` as each of the constants: loops that the compiler must unroll, since
/// the shifts depend on the index.
macro_rules! each {
    ($j:ident in [$($i:literal),*] $body:block) => { $( { const $j: usize = $i; $body } )* };
}

/// Quads `2 * j` and `2 * j + 1` of the 32 values number `g`, as bytes.
#[inline(always)]
unsafe fn two_quads<S: Simd, Q: Quant>(rows: S::Rows, g: usize, j: usize) -> (S::Bytes, S::Bytes) {
    let l = &Q::LAYOUT;
    if let Some(at) = l.whole {
        let at = at + QUAD * (8 * g + 2 * j);
        return (S::load(rows, at), S::load(rows, at + QUAD));
    }
    let mut quads = None;
    if let Some(at) = l.nibbles {
        let v = S::load(rows, at + QUAD * (4 * g + j));
        let (a, b) = (S::field(v, 0, 0, 15), S::field(v, 4, 0, 15));
        if matches!(l.meaning, Meaning::Codebook) {
            return (S::look_up(&IQ4_CODEBOOK, a), S::look_up(&IQ4_CODEBOOK, b));
        }
        quads = Some((a, b));
    }
    if let Some(at) = l.twos {
        let v = S::load(rows, at + QUAD * (2 * g + j / 2));
        let (from, to) = (4 * (j % 2) as u32, l.twos_shift());
        quads = Some(merge::<S>(quads, S::field(v, from, to, 3), S::field(v, from + 2, to, 3)));
    }
    if let Some(at) = l.ones {
        let v = S::load(rows, at + QUAD * g);
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

const fn is_signed(l: &Layout) -> bool {
    matches!(l.meaning, Meaning::Signed | Meaning::Codebook)
}

/// How far the sum of activations must be shifted before it is subtracted, if at all.
const fn offset<S: Simd>(l: &Layout) -> Option<u32> {
    match l.meaning {
        Meaning::Offset { shift } => Some(shift),
        Meaning::Signed | Meaning::Codebook if S::SIGNED_OFFSET => Some(7),
        _ => None,
    }
}

#[inline(always)]
unsafe fn dot<S: Simd, Q: Quant>(part: S::Part, w: S::Bytes, x: S::Quad) -> S::Part {
    if is_signed(&Q::LAYOUT) { S::dot_signed(part, w, x) } else { S::dot(part, w, x) }
}

/// A type in blocks of 256 with integer scales.
pub(super) struct Super<Q>(std::marker::PhantomData<Q>);

impl<Q: Quant> Format for Super<Q> {
    const COLUMNS: usize = 4;

    #[inline(always)]
    unsafe fn tile<S: Simd, const C: usize>(rows: S::Rows, s: &Stripe<'_>, first: usize) -> [S::Float; C] {
        let l = &Q::LAYOUT;
        let Columns::Int8(x) = s.x else { unreachable!() };
        let (mut q, mut d, mut sums) =
            (x.q.as_ptr().add(256 * first), x.d.as_ptr().add(first), x.run_sums.as_ptr().add(SUMS * first));
        let mut rows = rows;
        let mut acc = [S::float_zero(); C];
        let mut scratch = ScaleBytes([0; 2 * SCALE_STRIDE]);
        for _ in 0..s.k / 256 {
            let (scales, mins) = unpack_scales::<S, Q>(rows, &mut scratch);
            let sum = super_dot::<S, Q, C>(rows, scales, q);
            let dw = S::load_f16(rows, 0);
            let shift = offset::<S>(l);
            let minimum = if l.min.is_some() || shift.is_some() {
                super_min::<S, Q, C>(mins, sums)
            } else {
                [S::int_zero(); C]
            };
            for c in 0..C {
                let dx = S::float_splat(d.add(c));
                let whole = match shift {
                    Some(shift) => S::sub_shifted(sum[c], minimum[c], shift),
                    None => sum[c],
                };
                acc[c] = S::mul_add(S::mul(dw, dx), S::to_float(whole), acc[c]);
                if let Some(at) = l.min {
                    let dmin = S::mul(S::load_f16(rows, at), dx);
                    acc[c] = S::neg_mul_add(dmin, S::to_float(minimum[c]), acc[c]);
                }
            }
            rows = S::ahead(rows, l.bytes);
            q = q.add(256 * s.rows);
            d = d.add(s.rows);
            sums = sums.add(SUMS * s.rows);
        }
        acc
    }
}

/// `sum over runs of scale * (codes . x)`, x at `q + 256 * column`.
#[inline(always)]
unsafe fn super_dot<S: Simd, Q: Quant, const C: usize>(
    rows: S::Rows,
    scales: S::Rows,
    q: *const i8,
) -> [S::Int; C] {
    let l = &Q::LAYOUT;
    let mut sum = [S::int_zero(); C];
    // Two runs of 32 at a time; a pair of scales is for both, or for the halves of each.
    for g2 in 0..4 {
        each!(H in [0, 1] {
            let g = 2 * g2 + H;
            let pairs = S::pairs(scales, if l.run == 32 { 16 * g2 } else { 16 * g });
            let mut part = [S::part_zero(); C];
            each!(J in [0, 1, 2, 3] {
                let (w0, w1) = two_quads::<S, Q>(rows, g, J);
                let use_first = if l.run == 32 { H == 0 } else { J < 2 };
                let scale = if use_first { S::first(pairs) } else { S::second(pairs) };
                let run_ends = (2 * (J + 1)).is_multiple_of(l.run / 4);
                let full = |quads: usize| S::NARROW && quads.is_multiple_of(l.chain);
                for c in 0..C {
                    let x = q.add(256 * c + 32 * g + 8 * J);
                    part[c] = dot::<S, Q>(part[c], w0, S::quad(x));
                    if full(2 * J + 1) {
                        sum[c] = S::widen_scaled(sum[c], part[c], scale);
                        part[c] = S::part_zero();
                    }
                    part[c] = dot::<S, Q>(part[c], w1, S::quad(x.add(4)));
                    if full(2 * J + 2) || run_ends {
                        sum[c] = S::widen_scaled(sum[c], part[c], scale);
                        part[c] = S::part_zero();
                    }
                }
            });
        });
    }
    sum
}

/// `sum over runs of minimum * sum(x)`, or with the scales in the minimums' place.
#[inline(always)]
unsafe fn super_min<S: Simd, Q: Quant, const C: usize>(mins: S::Rows, sums: *const i16) -> [S::Int; C] {
    let l = &Q::LAYOUT;
    let from = if l.run == 16 { 0 } else { 16 };
    let mut minimum = [S::int_zero(); C];
    for p in 0..l.runs() / 2 {
        let pairs = S::pairs(mins, 16 * p);
        for c in 0..C {
            minimum[c] = S::dot_pairs(minimum[c], pairs, sums.add(SUMS * c + from + 2 * p));
        }
    }
    minimum
}

/// Bytes per panel that unpacked scales and minimums take.
const SCALE_STRIDE: usize = 256;

/// Room for unpacked scales and minimums of two panels.
#[repr(align(64))]
struct ScaleBytes([u8; 2 * SCALE_STRIDE]);

/// Unpacks the integer scales to signed bytes: where the scales are, and where what is multiplied
/// with the sums of activations is (the minimums, or else the scales again).
#[inline(always)]
unsafe fn unpack_scales<S: Simd, Q: Quant>(rows: S::Rows, out: &mut ScaleBytes) -> (S::Rows, S::Rows) {
    let to = out.0.as_mut_ptr();
    let unpacked = S::rows(to, SCALE_STRIDE);
    match Q::LAYOUT.scales {
        Scales::None => unreachable!("blocks of 256 have scales"),
        Scales::Bytes { at } => (S::ahead(rows, at), S::ahead(rows, at)),
        Scales::Nibbles { at } => {
            for i in 0..4 {
                let v = S::load(rows, at + 32 * i);
                S::store_bytes(S::field(v, 0, 0, 15), to, SCALE_STRIDE, 32 * i);
                S::store_bytes(S::field(v, 4, 0, 15), to, SCALE_STRIDE, 128 + 32 * i);
            }
            (unpacked, S::ahead(unpacked, 128))
        }
        Scales::Six { at, bias } => {
            let high = S::load(rows, at + 64);
            each!(I in [0, 1, 2, 3] {
                let low = S::load(rows, at + 32 * (I / 2));
                let low = S::field(low, 4 * (I % 2) as u32, 0, 15);
                let v = S::or(low, S::field(high, 2 * I as u32, 4, 3));
                S::store_bytes(S::sub_bytes(v, bias), to, SCALE_STRIDE, 32 * I);
            });
            (unpacked, if Q::LAYOUT.runs() == 8 { S::ahead(unpacked, 64) } else { unpacked })
        }
    }
}

/// A type in blocks of 32 with one scale.
pub(super) struct Small<Q>(std::marker::PhantomData<Q>);

impl<Q: Quant> Format for Small<Q> {
    const COLUMNS: usize = 4;

    #[inline(always)]
    unsafe fn tile<S: Simd, const C: usize>(rows: S::Rows, s: &Stripe<'_>, first: usize) -> [S::Float; C] {
        let l = &Q::LAYOUT;
        let Columns::Int8(x) = s.x else { unreachable!() };
        let (mut q, mut d, mut sums) =
            (x.q.as_ptr().add(32 * first), x.d.as_ptr().add(first), x.sums.as_ptr().add(first));
        let mut rows = rows;
        let mut acc = [S::float_zero(); C];
        for _ in 0..s.k / 32 {
            let sum = small_dot::<S, Q, C>(rows, q);
            let dw = S::load_f16(rows, 0);
            for c in 0..C {
                let dx = S::float_splat(d.add(c));
                let whole = match offset::<S>(l) {
                    Some(shift) => S::sub_shifted(sum[c], S::int_splat(sums.add(c)), shift),
                    None => sum[c],
                };
                acc[c] = S::mul_add(S::mul(dw, dx), S::to_float(whole), acc[c]);
                if let Some(at) = l.min {
                    let m = S::mul(S::load_f16(rows, at), dx);
                    acc[c] = S::mul_add(m, S::to_float(S::int_splat(sums.add(c))), acc[c]);
                }
            }
            rows = S::ahead(rows, l.bytes);
            q = q.add(32 * s.rows);
            d = d.add(s.rows);
            sums = sums.add(s.rows);
        }
        acc
    }
}

/// `codes . x` over a block of 32, x at `q + 32 * column`.
#[inline(always)]
unsafe fn small_dot<S: Simd, Q: Quant, const C: usize>(rows: S::Rows, q: *const i8) -> [S::Int; C] {
    let mut sum = [S::int_zero(); C];
    let mut part = [S::part_zero(); C];
    each!(J in [0, 1, 2, 3] {
        let (w0, w1) = two_quads::<S, Q>(rows, 0, J);
        let full = |quads: usize| S::NARROW && quads.is_multiple_of(Q::LAYOUT.chain);
        for c in 0..C {
            let x = q.add(32 * c + 8 * J);
            part[c] = dot::<S, Q>(part[c], w0, S::quad(x));
            if full(2 * J + 1) {
                sum[c] = S::widen(sum[c], part[c]);
                part[c] = S::part_zero();
            }
            part[c] = dot::<S, Q>(part[c], w1, S::quad(x.add(4)));
            if full(2 * J + 2) || J == 3 {
                sum[c] = S::widen(sum[c], part[c]);
                part[c] = S::part_zero();
            }
        }
    });
    sum
}

/// A float type: bytes per value and how eight rows of them are read.
pub(super) trait FloatType {
    const BYTES: usize;
    unsafe fn load<S: Simd>(rows: S::Rows, at: usize) -> S::Float;
}

macro_rules! floats {
    ($($name:ident($bytes:literal, $load:ident),)*) => { $(
        pub(super) struct $name;
        impl FloatType for $name {
            const BYTES: usize = $bytes;
            #[inline(always)]
            unsafe fn load<S: Simd>(rows: S::Rows, at: usize) -> S::Float {
                S::$load(rows, at)
            }
        }
    )* };
}

floats! { F32(4, load_f32), F16(2, load_f16), Bf16(2, load_bf16), }

/// Float weights and float activations. Even and odd values are summed apart, then together.
pub(super) struct Floats<T>(std::marker::PhantomData<T>);

impl<T: FloatType> Format for Floats<T> {
    const COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn tile<S: Simd, const C: usize>(rows: S::Rows, s: &Stripe<'_>, first: usize) -> [S::Float; C] {
        let Columns::Floats(x) = s.x else { unreachable!() };
        let x = x.as_ptr().add(first * s.k);
        let step = T::BYTES * PANEL;
        let mut even = [S::float_zero(); C];
        let mut odd = [S::float_zero(); C];
        for i in 0..s.k / 2 {
            let (w0, w1) = (T::load::<S>(rows, 2 * i * step), T::load::<S>(rows, (2 * i + 1) * step));
            for c in 0..C {
                let x = x.add(c * s.k + 2 * i);
                even[c] = S::mul_add(w0, S::float_splat(x), even[c]);
                odd[c] = S::mul_add(w1, S::float_splat(x.add(1)), odd[c]);
            }
        }
        if s.k % 2 == 1 {
            let w = T::load::<S>(rows, (s.k - 1) * step);
            for c in 0..C {
                even[c] = S::mul_add(w, S::float_splat(x.add(c * s.k + s.k - 1)), even[c]);
            }
        }
        let mut sums = even;
        for c in 0..C {
            sums[c] = S::add(even[c], odd[c]);
        }
        sums
    }
}
