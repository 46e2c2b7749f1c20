//! Quantized weights with int8 activations.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::activations::SUMS;
use super::super::layout::Layout;
use super::super::simd::Simd;
use super::codes::{Quant, SCALES, ScaleBytes, dot, is_folded, is_signed, offset, two_quads, unpack_scales};
use super::unpacked::{Block, Blocks as Taken, SPAN, Sums};
use super::{Columns, Format, Stripe};

/// A type in blocks of 256 with integer scales.
pub(in super::super) struct Super<Q>(PhantomData<Q>);

/// A type in blocks of 32 with one scale.
pub(in super::super) struct Small<Q>(PhantomData<Q>);

/// Whether `l`'s codes meet activations in 16 bits where sums of 8-bit products are narrow: signed codes
/// of 8 bits are as large as their products may be, so each would have to be widened, and signs moved to
/// the activations before. In 16 bits both are done with beforehand.
pub(in super::super) const fn is_wide(l: &Layout) -> bool {
    l.len == 32 && is_signed(l)
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
    /// For [`is_folded`].
    neg_sums: *const i32,
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
            neg_sums: x.neg_sums.as_ptr().wrapping_add(SUMS * block),
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
            neg_sums: self.neg_sums.wrapping_add(SUMS * columns),
            sums: self.sums.wrapping_add(columns),
        }
    }
}

/// A family of quantized types: its blocks along k.
trait Family {
    /// Values of a block.
    const LEN: usize;

    /// The products with the first `C` of the `columns` of a turn.
    unsafe fn direct<S: Simd, const C: usize>(
        k: usize,
        rows: S::Rows,
        x: Place,
        columns: usize,
    ) -> [S::Float; C];

    /// The products with `columns` of them, which are all of their turn, to `sums`.
    unsafe fn columns<S: Simd>(k: usize, rows: S::Rows, x: Place, columns: usize, sums: &mut Sums<S>);
}

impl<F: Family> Format for F {
    #[inline(always)]
    unsafe fn panels<S: Simd>(s: &Stripe<'_>, rows: S::Rows, panels: Range<usize>, columns: Range<usize>) {
        let x = Place::of(s.x, columns.start);
        let direct = if Self::LEN == 256 { S::DIRECT } else { S::DIRECT_32 };
        if columns.len() <= direct {
            tiles!(S::TILE, columns.len(), |c, C| {
                let x = x.ahead(Self::LEN, c);
                let sums = if C == S::TILE && c == 0 {
                    Self::direct::<S::Ahead, C>(s.k, rows, x, columns.len())
                } else {
                    Self::direct::<S, C>(s.k, rows, x, columns.len())
                };
                for i in 0..C {
                    s.store::<S>(&panels, columns.start + c + i, sums[i]);
                }
            });
        } else {
            let mut sums = Sums::<S>::new();
            Self::columns::<S>(s.k, rows, x, columns.len(), &mut sums);
            for (i, c) in columns.enumerate() {
                s.store::<S>(&panels, c, sums.get(i));
            }
        }
    }
}

impl<Q: Quant> Family for Super<Q> {
    const LEN: usize = 256;

    #[inline(always)]
    unsafe fn direct<S: Simd, const C: usize>(
        k: usize,
        mut rows: S::Rows,
        mut x: Place,
        columns: usize,
    ) -> [S::Float; C] {
        let mut scale_bytes = ScaleBytes::new();
        let mut acc = [S::float_zero(); C];
        for _ in 0..k / 256 {
            let (scales, mins) = unpack_scales::<S, Q>(rows, &mut scale_bytes);
            let dots = packed_dot::<S, Q, C>(rows, scales, x);
            let minimum = runs_dot::<S, Q, C>(|p| S::pairs(mins, SCALES * p), x);
            add_block::<S, Q, C>(rows, x, dots, minimum, &mut acc);
            rows = S::ahead(rows, Q::LAYOUT.bytes);
            x = x.ahead(256, columns);
        }
        acc
    }

    #[inline(always)]
    unsafe fn columns<S: Simd>(
        k: usize,
        mut rows: S::Rows,
        mut x: Place,
        columns: usize,
        sums: &mut Sums<S>,
    ) {
        let mut block = Block::<S>::new();
        sums.clear(columns);
        for _ in 0..k / 256 {
            block.read::<Q>(rows);
            tiles!(S::TILE, columns, |c, C| {
                let x = x.ahead(256, c);
                let mut acc = sums.tile::<C>(c);
                let dots = block_dot::<S, Q, C>(&block, x);
                let minimum = runs_dot::<S, Q, C>(|p| block.mins(p), x);
                add_block::<S, Q, C>(rows, x, dots, minimum, &mut acc);
                sums.put(c, acc);
            });
            rows = S::ahead(rows, Q::LAYOUT.bytes);
            x = x.ahead(256, columns);
        }
    }
}

/// Adds a block of 256 to `acc`: its products with `C` columns in integers, and the minimums' or the offset's.
#[inline(always)]
unsafe fn add_block<S: Simd, Q: Quant, const C: usize>(
    rows: S::Rows,
    x: Place,
    sum: [S::Int; C],
    minimum: [S::Int; C],
    acc: &mut [S::Float; C],
) {
    let l = &Q::LAYOUT;
    let dw = S::load_f16(rows, 0);
    for c in 0..C {
        let dx = S::float_splat(x.d.add(c));
        let whole = match offset::<S>(l) {
            Some(shift) if !is_folded::<S>(l) => S::sub_shifted(sum[c], minimum[c], shift),
            _ => sum[c],
        };
        acc[c] = S::mul_add(S::mul(dw, dx), S::to_float(whole), acc[c]);
        if let Some(at) = l.min {
            let dmin = S::mul(S::load_f16(rows, at), dx);
            acc[c] = S::neg_mul_add(dmin, S::to_float(minimum[c]), acc[c]);
        }
    }
}

impl<Q: Quant> Family for Small<Q> {
    const LEN: usize = 32;

    #[inline(always)]
    unsafe fn direct<S: Simd, const C: usize>(
        k: usize,
        mut rows: S::Rows,
        mut x: Place,
        columns: usize,
    ) -> [S::Float; C] {
        let mut acc = [S::float_zero(); C];
        for _ in 0..k / 32 {
            let min = match Q::LAYOUT.min {
                Some(at) => S::load_f16(rows, at),
                None => S::float_zero(),
            };
            let dots = packed_dot_32::<S, Q, C>(rows, x.q);
            add_block_32::<S, Q, C>(S::load_f16(rows, 0), min, x, dots, &mut acc);
            rows = S::ahead(rows, Q::LAYOUT.bytes);
            x = x.ahead(32, columns);
        }
        acc
    }

    #[inline(always)]
    unsafe fn columns<S: Simd>(
        k: usize,
        mut rows: S::Rows,
        mut x: Place,
        columns: usize,
        sums: &mut Sums<S>,
    ) {
        const { assert!(!is_wide(&Q::LAYOUT) || !S::NARROW || offset::<S>(&Q::LAYOUT).is_none()) };
        let wide = S::NARROW && is_wide(&Q::LAYOUT);
        let mut taken = Taken::<S>::new();
        sums.clear(columns);
        let mut left = k / 32;
        while left > 0 {
            let blocks = left.min(SPAN / 32);
            for b in 0..blocks {
                taken.read::<Q>(b, S::ahead(rows, Q::LAYOUT.bytes * b), wide);
            }
            tiles!(S::TILE, columns, |c, C| {
                let mut acc = sums.tile::<C>(c);
                for b in 0..blocks {
                    let x = x.ahead(32, columns * b + c);
                    let dots = if wide {
                        wide_dot::<S, C>(&taken, b, x.wide)
                    } else {
                        block_dot_32::<S, Q, C>(&taken, b, x.q)
                    };
                    add_block_32::<S, Q, C>(taken.d(b), taken.min::<Q>(b), x, dots, &mut acc);
                }
                sums.put(c, acc);
            });
            rows = S::ahead(rows, Q::LAYOUT.bytes * blocks);
            x = x.ahead(32, columns * blocks);
            left -= blocks;
        }
    }
}

/// Adds a block of 32, its products with `C` columns in integers, to `acc`.
#[inline(always)]
unsafe fn add_block_32<S: Simd, Q: Quant, const C: usize>(
    dw: S::Float,
    min: S::Float,
    x: Place,
    sum: [S::Int; C],
    acc: &mut [S::Float; C],
) {
    let l = &Q::LAYOUT;
    for c in 0..C {
        let dx = S::float_splat(x.d.add(c));
        let whole = match offset::<S>(l) {
            Some(shift) => S::sub_shifted(sum[c], S::int_splat(x.sums.add(c)), shift),
            None => sum[c],
        };
        acc[c] = S::mul_add(S::mul(dw, dx), S::to_float(whole), acc[c]);
        if l.min.is_some() {
            acc[c] = S::mul_add(S::mul(min, dx), S::to_float(S::int_splat(x.sums.add(c))), acc[c]);
        }
    }
}

/// `sum over runs of scale * (codes . x)` of `C` columns, x at `x.q + 256 * column`, codes taken apart as they
/// are needed.
#[inline(always)]
unsafe fn packed_dot<S: Simd, Q: Quant, const C: usize>(
    rows: S::Rows,
    scales: S::Rows,
    x: Place,
) -> [S::Int; C] {
    let l = &Q::LAYOUT;
    let mut sum = [S::int_zero(); C];
    // Two runs of 32 at a time; a pair of scales is for both, or for the halves of each.
    for g2 in 0..4 {
        each!(H in [0, 1] {
            let g = 2 * g2 + H;
            let pairs = S::pairs(scales, if l.run == 32 { SCALES * g2 } else { SCALES * g });
            let mut part = [S::part_zero(); C];
            each!(J in [0, 1, 2, 3] {
                if (2 * J).is_multiple_of(l.run / 4) {
                    part = begin::<S, Q, C>(x, (32 * g + 8 * J) / l.run);
                }
                let (w0, w1) = two_quads::<S, Q>(rows, g, J);
                let use_first = if l.run == 32 { H == 0 } else { J < 2 };
                let scale = if use_first { S::first(pairs) } else { S::second(pairs) };
                let run_ends = (2 * (J + 1)).is_multiple_of(l.run / 4);
                let full = |quads: usize| S::NARROW && quads.is_multiple_of(l.chain);
                for c in 0..C {
                    let q = x.q.add(256 * c + 32 * g + 8 * J);
                    part[c] = dot::<S, Q>(part[c], w0, S::quad(q));
                    if full(2 * J + 1) {
                        sum[c] = S::widen_scaled(sum[c], part[c], scale);
                        part[c] = S::part_zero();
                    }
                    part[c] = dot::<S, Q>(part[c], w1, S::quad(q.add(4)));
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

/// What sums of products of a run begin with.
#[inline(always)]
unsafe fn begin<S: Simd, Q: Quant, const C: usize>(x: Place, run: usize) -> [S::Part; C] {
    let l = &Q::LAYOUT;
    let mut part = [S::part_zero(); C];
    if let (true, Some(shift)) = (is_folded::<S>(l), offset::<S>(l)) {
        for c in 0..C {
            part[c] = S::part_shifted(x.neg_sums.add(SUMS * c + first_sum(l) + run), shift);
        }
    }
    part
}

/// The sum of a block's first run among its [`SUMS`].
const fn first_sum(l: &Layout) -> usize {
    if l.run == 16 { 0 } else { 16 }
}

/// [`packed_dot`] with what was taken apart before.
#[inline(always)]
unsafe fn block_dot<S: Simd, Q: Quant, const C: usize>(w: &Block<S>, x: Place) -> [S::Int; C] {
    let l = &Q::LAYOUT;
    let quads = l.run / 4;
    let chain = if S::NARROW { l.chain.min(quads) } else { quads };
    let mut sum = [S::int_zero(); C];
    for run in 0..l.runs() {
        let scale = w.scale(run);
        for link in 0..quads / chain {
            let mut part = begin::<S, Q, C>(x, run);
            for i in 0..chain {
                let quad = quads * run + chain * link + i;
                let codes = w.quad(quad);
                for c in 0..C {
                    part[c] = dot::<S, Q>(part[c], codes, S::quad(x.q.add(256 * c + 4 * quad)));
                }
                S::keep(&mut part);
            }
            for c in 0..C {
                sum[c] = S::widen_scaled(sum[c], part[c], scale);
            }
        }
    }
    sum
}

/// `sum over runs of minimum * sum(x)`, or with the scales in the minimums' place; nothing where neither is
/// wanted. `mins(p)` are those of runs `2 * p` and `2 * p + 1`.
#[inline(always)]
unsafe fn runs_dot<S: Simd, Q: Quant, const C: usize>(
    mins: impl Fn(usize) -> S::Pairs,
    x: Place,
) -> [S::Int; C] {
    let l = &Q::LAYOUT;
    let mut minimum = [S::int_zero(); C];
    if l.min.is_none() && (offset::<S>(l).is_none() || is_folded::<S>(l)) {
        return minimum;
    }
    for p in 0..l.runs() / 2 {
        let pairs = mins(p);
        for c in 0..C {
            minimum[c] = S::dot_pairs(minimum[c], pairs, x.run_sums.add(SUMS * c + first_sum(l) + 2 * p));
        }
    }
    minimum
}

/// `codes . x` over a block of 32 of `C` columns, x at `x + 32 * column`, codes taken apart as they are needed.
#[inline(always)]
unsafe fn packed_dot_32<S: Simd, Q: Quant, const C: usize>(rows: S::Rows, x: *const i8) -> [S::Int; C] {
    let mut sum = [S::int_zero(); C];
    let mut part = [S::part_zero(); C];
    each!(J in [0, 1, 2, 3] {
        let (w0, w1) = two_quads::<S, Q>(rows, 0, J);
        let full = |quads: usize| S::NARROW && quads.is_multiple_of(Q::LAYOUT.chain);
        for c in 0..C {
            let x = x.add(32 * c + 8 * J);
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

/// [`packed_dot_32`] with block `b` of what was taken apart before.
#[inline(always)]
unsafe fn block_dot_32<S: Simd, Q: Quant, const C: usize>(
    w: &Taken<S>,
    b: usize,
    x: *const i8,
) -> [S::Int; C] {
    let chain = if S::NARROW { Q::LAYOUT.chain.min(8) } else { 8 };
    let mut sum = [S::int_zero(); C];
    for link in 0..8 / chain {
        let mut part = [S::part_zero(); C];
        for i in link * chain..(link + 1) * chain {
            let codes = w.quad(b, i);
            for c in 0..C {
                part[c] = dot::<S, Q>(part[c], codes, S::quad(x.add(32 * c + 4 * i)));
            }
            S::keep(&mut part);
        }
        for c in 0..C {
            sum[c] = S::widen(sum[c], part[c]);
        }
    }
    sum
}

/// `codes . x` over block `b` in 16 bits, x at `x + 32 * column`.
#[inline(always)]
unsafe fn wide_dot<S: Simd, const C: usize>(w: &Taken<S>, b: usize, x: *const i16) -> [S::Int; C] {
    let mut sum = [S::int_zero(); C];
    for i in 0..8 {
        let (even, odd) = w.wide_quad(b, i);
        for c in 0..C {
            let x = x.add(32 * c + 4 * i);
            sum[c] = S::dot_pairs(S::dot_pairs(sum[c], even, x), odd, x.add(2));
        }
        S::keep_ints(&mut sum);
    }
    sum
}
