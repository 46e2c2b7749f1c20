//! Quantized weights with int8 activations.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::activations::{MAX_TURN, SUMS};
use super::super::layout::{Layout, PANEL, QUAD};
use super::super::simd::Simd;
use super::codes::{
    Codes, Packed, Quant, ScaleBytes, Unpacked, dot, is_signed, offset, unpack, unpack_scales, unpack_wide,
};
use super::{Columns, Format, Stripe};

/// A type in blocks of 256 with integer scales.
pub(in super::super) struct Super<Q>(PhantomData<Q>);

/// A type in blocks of 32 with one scale.
pub(in super::super) struct Small<Q>(PhantomData<Q>);

/// Rows of the panels that are computed together, on every instruction set.
const LANES: usize = 2 * PANEL;

/// Values along k whose codes are taken apart at a time.
const SPAN: usize = 256;

/// Bytes that they take for each panel.
const CODE_STRIDE: usize = SPAN / 4 * QUAD;

/// Whether `l`'s codes meet activations in 16 bits where sums of 8-bit products are narrow: signed codes
/// of 8 bits are as large as their products may be, so each would have to be widened, and signs moved to
/// the activations before. In 16 bits both are done with beforehand.
pub(in super::super) const fn is_wide(l: &Layout) -> bool {
    l.len == 32 && is_signed(l)
}

/// Room for the codes of two panels, taken apart, in up to 16 bits.
#[repr(align(64))]
struct CodeBytes(MaybeUninit<[u8; 4 * CODE_STRIDE]>);

impl CodeBytes {
    fn new() -> CodeBytes {
        CodeBytes(MaybeUninit::uninit())
    }

    fn address(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

/// The unfinished sums of a turn's columns, `[columns, LANES]`.
#[repr(align(64))]
struct Sums(MaybeUninit<[f32; MAX_TURN * LANES]>);

impl Sums {
    fn new() -> Sums {
        Sums(MaybeUninit::uninit())
    }

    /// Puts zeros there for `columns`.
    #[inline(always)]
    unsafe fn clear<S: Simd>(&mut self, columns: usize) {
        for c in 0..columns {
            self.put::<S, 1>(c, [S::float_zero()]);
        }
    }

    /// Those of `C` columns from `first` on, which must have been put there.
    #[inline(always)]
    unsafe fn tile<S: Simd, const C: usize>(&self, first: usize) -> [S::Float; C] {
        let mut sums = [S::float_zero(); C];
        for c in 0..C {
            sums[c] = self.get::<S>(first + c);
        }
        sums
    }

    /// That of column `c`, which must have been put there.
    #[inline(always)]
    unsafe fn get<S: Simd>(&self, c: usize) -> S::Float {
        let at = self.0.as_ptr().cast::<f32>().add(LANES * c);
        S::load_f32(S::rows(at.cast(), size_of::<f32>() * PANEL), 0)
    }

    #[inline(always)]
    unsafe fn put<S: Simd, const C: usize>(&mut self, first: usize, sums: [S::Float; C]) {
        const { assert!(S::PANELS * PANEL == LANES) };
        for c in 0..C {
            S::store(sums[c], self.0.as_mut_ptr().cast::<f32>().add(LANES * (first + c)), LANES);
        }
    }
}

/// Where the activations of one block are, for one column and its neighbours.
#[derive(Clone, Copy)]
struct Place {
    q: *const i8,
    d: *const f32,
    /// For [`is_wide`].
    wide: *const i16,
    /// For blocks of 256.
    run_sums: *const i16,
    /// For blocks of 32.
    sums: *const i32,
}

impl Place {
    /// The first block's, from column `first` on, with which a turn begins.
    fn of(x: Columns<'_>, first: usize) -> Place {
        let Columns::Int8(x) = x else { unreachable!("quantized weights meet quantized activations") };
        let block = x.place(0, first);
        let (len, d) = (x.len(), x.d.as_ptr());
        // Wrapping, since not all of them are there.
        Place {
            q: x.q.as_ptr().wrapping_add(len * block),
            d: d.wrapping_add(block),
            wide: x.wide.as_ptr().wrapping_add(len * block),
            run_sums: x.run_sums.as_ptr().wrapping_add(SUMS * block),
            sums: x.sums.as_ptr().wrapping_add(block),
        }
    }

    /// `columns` further, in blocks of `len`. As many as the turn has lead to the next block.
    #[inline(always)]
    fn ahead(self, len: usize, columns: usize) -> Place {
        // Wrapping, since not all of them are there.
        Place {
            q: self.q.wrapping_add(len * columns),
            d: self.d.wrapping_add(columns),
            wide: self.wide.wrapping_add(len * columns),
            run_sums: self.run_sums.wrapping_add(SUMS * columns),
            sums: self.sums.wrapping_add(columns),
        }
    }
}

/// Calls `$tile::<C>(first column)` for all of `$columns`, four at a time and then what is left.
macro_rules! tiles {
    ($columns:expr, |$c:ident, $n:ident| $tile:expr) => {{
        let mut $c = 0;
        while $c < $columns {
            match $columns - $c {
                1 => {
                    const $n: usize = 1;
                    $tile;
                    $c += 1;
                }
                2 => {
                    const $n: usize = 2;
                    $tile;
                    $c += 2;
                }
                3 => {
                    const $n: usize = 3;
                    $tile;
                    $c += 3;
                }
                _ => {
                    const $n: usize = 4;
                    $tile;
                    $c += 4;
                }
            }
        }
    }};
}

/// A family of quantized types: its blocks along k.
trait Blocks {
    /// The products with one column.
    unsafe fn column<S: Simd>(k: usize, rows: S::Rows, x: Place) -> S::Float;

    /// The products with `columns` of them, to `sums`.
    unsafe fn columns<S: Simd>(k: usize, rows: S::Rows, x: Place, columns: usize, sums: &mut Sums);
}

impl<B: Blocks> Format for B {
    #[inline(always)]
    unsafe fn panels<S: Simd>(s: &Stripe<'_>, rows: S::Rows, panel: usize, columns: Range<usize>) {
        let x = Place::of(s.x, columns.start);
        if columns.len() == 1 {
            let sum = Self::column::<S>(s.k, rows, x);
            s.store::<S>(panel, columns.start, sum);
        } else {
            let mut sums = Sums::new();
            Self::columns::<S>(s.k, rows, x, columns.len(), &mut sums);
            for (i, c) in columns.enumerate() {
                s.store::<S>(panel, c, sums.get::<S>(i));
            }
        }
    }
}

impl<Q: Quant> Blocks for Super<Q> {
    #[inline(always)]
    unsafe fn column<S: Simd>(k: usize, mut rows: S::Rows, mut x: Place) -> S::Float {
        let mut scale_bytes = ScaleBytes::new();
        let mut acc = [S::float_zero()];
        for _ in 0..k / 256 {
            let scales = unpack_scales::<S, Q>(rows, &mut scale_bytes);
            Self::block(Packed::<S>(rows), rows, scales, x, &mut acc);
            rows = S::ahead(rows, Q::LAYOUT.bytes);
            x = x.ahead(256, 1);
        }
        acc[0]
    }

    #[inline(always)]
    unsafe fn columns<S: Simd>(k: usize, mut rows: S::Rows, mut x: Place, columns: usize, sums: &mut Sums) {
        let (mut scale_bytes, mut code_bytes) = (ScaleBytes::new(), CodeBytes::new());
        let codes = code_bytes.address();
        sums.clear::<S>(columns);
        for _ in 0..k / 256 {
            let scales = unpack_scales::<S, Q>(rows, &mut scale_bytes);
            for g in 0..8 {
                unpack::<S, Q>(rows, g, codes.add(8 * QUAD * g), CODE_STRIDE);
            }
            let unpacked = Unpacked::<S>(S::rows(codes, CODE_STRIDE));
            tiles!(columns, |c, C| {
                let mut acc = sums.tile::<S, C>(c);
                Self::block(unpacked, rows, scales, x.ahead(256, c), &mut acc);
                sums.put::<S, C>(c, acc);
            });
            rows = S::ahead(rows, Q::LAYOUT.bytes);
            x = x.ahead(256, columns);
        }
    }
}

impl<Q: Quant> Super<Q> {
    /// Adds a block's products with `C` columns to `acc`.
    #[inline(always)]
    unsafe fn block<S: Simd, W: Codes<S>, const C: usize>(
        codes: W,
        rows: S::Rows,
        (scales, mins): (S::Rows, S::Rows),
        x: Place,
        acc: &mut [S::Float; C],
    ) {
        let l = &Q::LAYOUT;
        let sum = super_dot::<S, Q, W, C>(codes, scales, x.q);
        let dw = S::load_f16(rows, 0);
        let shift = offset::<S>(l);
        let minimum = if l.min.is_some() || shift.is_some() {
            super_min::<S, Q, C>(mins, x.run_sums)
        } else {
            [S::int_zero(); C]
        };
        for c in 0..C {
            let dx = S::float_splat(x.d.add(c));
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
    }
}

impl<Q: Quant> Blocks for Small<Q> {
    #[inline(always)]
    unsafe fn column<S: Simd>(k: usize, mut rows: S::Rows, mut x: Place) -> S::Float {
        let mut acc = [S::float_zero()];
        for _ in 0..k / 32 {
            Self::add_block::<S, 1>(small_dot::<S, Q, _, 1>(Packed::<S>(rows), x.q), rows, x, &mut acc);
            rows = S::ahead(rows, Q::LAYOUT.bytes);
            x = x.ahead(32, 1);
        }
        acc[0]
    }

    #[inline(always)]
    unsafe fn columns<S: Simd>(k: usize, mut rows: S::Rows, mut x: Place, columns: usize, sums: &mut Sums) {
        const { assert!(!is_wide(&Q::LAYOUT) || !S::NARROW || offset::<S>(&Q::LAYOUT).is_none()) };
        let wide = S::NARROW && is_wide(&Q::LAYOUT);
        let block_bytes = if wide { 16 * QUAD } else { 8 * QUAD };
        let stride = SPAN / 32 * block_bytes;
        let mut code_bytes = CodeBytes::new();
        let codes = code_bytes.address();
        sums.clear::<S>(columns);
        let mut left = k / 32;
        while left > 0 {
            let blocks = left.min(SPAN / 32);
            for b in 0..blocks {
                let (block, to) = (S::ahead(rows, Q::LAYOUT.bytes * b), codes.add(block_bytes * b));
                if wide {
                    unpack_wide::<S, Q>(block, to, stride);
                } else {
                    unpack::<S, Q>(block, 0, to, stride);
                }
            }
            let unpacked = S::rows(codes, stride);
            tiles!(columns, |c, C| {
                let mut acc = sums.tile::<S, C>(c);
                for b in 0..blocks {
                    let codes = S::ahead(unpacked, block_bytes * b);
                    let block = S::ahead(rows, Q::LAYOUT.bytes * b);
                    let x = x.ahead(32, columns * b + c);
                    let dots = if wide {
                        wide_dot::<S, C>(codes, x.wide)
                    } else {
                        narrow_dot::<S, Q, C>(codes, x.q)
                    };
                    Self::add_block::<S, C>(dots, block, x, &mut acc);
                }
                sums.put::<S, C>(c, acc);
            });
            rows = S::ahead(rows, Q::LAYOUT.bytes * blocks);
            x = x.ahead(32, columns * blocks);
            left -= blocks;
        }
    }
}

impl<Q: Quant> Small<Q> {
    /// Adds a block's products with `C` columns, `sum` in integers, to `acc`.
    #[inline(always)]
    unsafe fn add_block<S: Simd, const C: usize>(
        sum: [S::Int; C],
        rows: S::Rows,
        x: Place,
        acc: &mut [S::Float; C],
    ) {
        let l = &Q::LAYOUT;
        let dw = S::load_f16(rows, 0);
        for c in 0..C {
            let dx = S::float_splat(x.d.add(c));
            let whole = match offset::<S>(l) {
                Some(shift) => S::sub_shifted(sum[c], S::int_splat(x.sums.add(c)), shift),
                None => sum[c],
            };
            acc[c] = S::mul_add(S::mul(dw, dx), S::to_float(whole), acc[c]);
            if let Some(at) = l.min {
                let m = S::mul(S::load_f16(rows, at), dx);
                acc[c] = S::mul_add(m, S::to_float(S::int_splat(x.sums.add(c))), acc[c]);
            }
        }
    }
}

/// `sum over runs of scale * (codes . x)`, x at `q + 256 * column`.
#[inline(always)]
unsafe fn super_dot<S: Simd, Q: Quant, W: Codes<S>, const C: usize>(
    codes: W,
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
                let (w0, w1) = codes.two_quads::<Q>(g, J);
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

/// `codes . x` over a block of 32, x at `q + 32 * column`.
#[inline(always)]
unsafe fn small_dot<S: Simd, Q: Quant, W: Codes<S>, const C: usize>(codes: W, q: *const i8) -> [S::Int; C] {
    let mut sum = [S::int_zero(); C];
    let mut part = [S::part_zero(); C];
    each!(J in [0, 1, 2, 3] {
        let (w0, w1) = codes.two_quads::<Q>(0, J);
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

/// `codes . x` over a block of 32 that is taken apart, x at `x + 32 * column`.
#[inline(always)]
unsafe fn narrow_dot<S: Simd, Q: Quant, const C: usize>(codes: S::Rows, x: *const i8) -> [S::Int; C] {
    let chain = if S::NARROW { Q::LAYOUT.chain.min(8) } else { 8 };
    let mut sum = [S::int_zero(); C];
    for link in 0..8 / chain {
        let mut part = [S::part_zero(); C];
        for i in link * chain..(link + 1) * chain {
            let w = S::load(codes, QUAD * i);
            for c in 0..C {
                part[c] = dot::<S, Q>(part[c], w, S::quad(x.add(32 * c + 4 * i)));
            }
            S::keep(&mut part);
        }
        for c in 0..C {
            sum[c] = S::widen(sum[c], part[c]);
        }
    }
    sum
}

/// `codes . x` over a block of 32 in 16 bits, x at `x + 32 * column`.
#[inline(always)]
unsafe fn wide_dot<S: Simd, const C: usize>(codes: S::Rows, x: *const i16) -> [S::Int; C] {
    let mut sum = [S::int_zero(); C];
    for i in 0..8 {
        let even = S::wide_pairs(codes, 2 * QUAD * i);
        let odd = S::wide_pairs(codes, 2 * QUAD * i + QUAD);
        for c in 0..C {
            let x = x.add(32 * c + 4 * i);
            sum[c] = S::dot_pairs(S::dot_pairs(sum[c], even, x), odd, x.add(2));
        }
        S::keep_ints(&mut sum);
    }
    sum
}
