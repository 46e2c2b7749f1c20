//! Blocks taken apart for several columns: registers in memory, as the arithmetic wants them.

use std::mem::MaybeUninit;

use super::super::activations::MAX_TURN;
use super::super::simd::Simd;
use super::codes::{Quant, SCALES, ScaleBytes, two_codes, two_quads, unpack_scales};

/// Values along k that are taken apart at a time.
pub(super) const SPAN: usize = 256;

/// Quads of them.
const QUADS: usize = SPAN / 4;

/// As many registers as `N`, in memory.
struct Kept<T, const N: usize>([MaybeUninit<T>; N]);

impl<T: Copy, const N: usize> Kept<T, N> {
    fn new() -> Self {
        Kept([const { MaybeUninit::uninit() }; N])
    }

    #[inline(always)]
    unsafe fn put(&mut self, i: usize, value: T) {
        debug_assert!(i < N);
        self.0.as_mut_ptr().add(i).cast::<T>().write(value);
    }

    /// Number `i`, which must have been put there.
    #[inline(always)]
    unsafe fn get(&self, i: usize) -> T {
        debug_assert!(i < N);
        self.0.as_ptr().add(i).cast::<T>().read()
    }
}

/// The unfinished sums of a turn's columns.
pub(super) struct Sums<S: Simd>(Kept<S::Float, MAX_TURN>);

impl<S: Simd> Sums<S> {
    pub(super) fn new() -> Self {
        Sums(Kept::new())
    }

    /// Puts zeros there for `columns`.
    #[inline(always)]
    pub(super) unsafe fn clear(&mut self, columns: usize) {
        for c in 0..columns {
            self.0.put(c, S::float_zero());
        }
    }

    /// Those of `C` columns from `first` on.
    #[inline(always)]
    pub(super) unsafe fn tile<const C: usize>(&self, first: usize) -> [S::Float; C] {
        let mut sums = [S::float_zero(); C];
        for c in 0..C {
            sums[c] = self.get(first + c);
        }
        sums
    }

    /// That of column `c`.
    #[inline(always)]
    pub(super) unsafe fn get(&self, c: usize) -> S::Float {
        self.0.get(c)
    }

    #[inline(always)]
    pub(super) unsafe fn put<const C: usize>(&mut self, first: usize, sums: [S::Float; C]) {
        for c in 0..C {
            self.0.put(first + c, sums[c]);
        }
    }
}

/// A block of 256.
pub(super) struct Block<S: Simd> {
    bytes: ScaleBytes,
    codes: Kept<S::Bytes, QUADS>,
    scales: Kept<S::Scale, 16>,
    mins: Kept<S::Pairs, 8>,
}

impl<S: Simd> Block<S> {
    pub(super) fn new() -> Self {
        Block { bytes: ScaleBytes::new(), codes: Kept::new(), scales: Kept::new(), mins: Kept::new() }
    }

    /// Takes a block apart.
    #[inline(always)]
    pub(super) unsafe fn read<Q: Quant>(&mut self, rows: S::Rows) {
        for g in 0..8 {
            each!(J in [0, 1, 2, 3] {
                let (a, b) = two_quads::<S::Ahead, Q>(rows, g, J);
                self.codes.put(8 * g + 2 * J, a);
                self.codes.put(8 * g + 2 * J + 1, b);
            });
        }
        let (scales, mins) = unpack_scales::<S, Q>(rows, &mut self.bytes);
        for p in 0..Q::LAYOUT.runs() / 2 {
            let pairs = S::pairs(scales, SCALES * p);
            self.scales.put(2 * p, S::first(pairs));
            self.scales.put(2 * p + 1, S::second(pairs));
            self.mins.put(p, S::pairs(mins, SCALES * p));
        }
    }

    /// Quad `i` as [`dot`](super::codes::dot) wants it.
    #[inline(always)]
    pub(super) unsafe fn quad(&self, i: usize) -> S::Bytes {
        self.codes.get(i)
    }

    /// The scale of a run.
    #[inline(always)]
    pub(super) unsafe fn scale(&self, run: usize) -> S::Scale {
        self.scales.get(run)
    }

    /// What the sums of runs `2 * p` and `2 * p + 1` are multiplied with.
    #[inline(always)]
    pub(super) unsafe fn mins(&self, p: usize) -> S::Pairs {
        self.mins.get(p)
    }
}

/// Some blocks of 32.
pub(super) struct Blocks<S: Simd> {
    codes: Kept<S::Bytes, QUADS>,
    /// In place of codes, where activations have 16 bits, too.
    wide: Kept<(S::Pairs, S::Pairs), QUADS>,
    d: Kept<S::Float, { SPAN / 32 }>,
    min: Kept<S::Float, { SPAN / 32 }>,
}

impl<S: Simd> Blocks<S> {
    pub(super) fn new() -> Self {
        Blocks { codes: Kept::new(), wide: Kept::new(), d: Kept::new(), min: Kept::new() }
    }

    /// Takes one apart, as number `b`.
    #[inline(always)]
    pub(super) unsafe fn read<Q: Quant>(&mut self, b: usize, rows: S::Rows, wide: bool) {
        each!(J in [0, 1, 2, 3] {
            let at = 8 * b + 2 * J;
            if wide {
                let (first, second) = two_codes::<S::Ahead, Q>(rows, 0, J);
                self.wide.put(at, S::wide_pairs(first));
                self.wide.put(at + 1, S::wide_pairs(second));
            } else {
                let (first, second) = two_quads::<S::Ahead, Q>(rows, 0, J);
                self.codes.put(at, first);
                self.codes.put(at + 1, second);
            }
        });
        self.d.put(b, S::load_f16(rows, 0));
        if let Some(at) = Q::LAYOUT.min {
            self.min.put(b, S::load_f16(rows, at));
        }
    }

    /// Quad `i` of block `b`.
    #[inline(always)]
    pub(super) unsafe fn quad(&self, b: usize, i: usize) -> S::Bytes {
        self.codes.get(8 * b + i)
    }

    /// Quad `i` of block `b` in 16 bits: see [`Simd::wide_pairs`].
    #[inline(always)]
    pub(super) unsafe fn wide_quad(&self, b: usize, i: usize) -> (S::Pairs, S::Pairs) {
        self.wide.get(8 * b + i)
    }

    /// The scales of block `b`.
    #[inline(always)]
    pub(super) unsafe fn d(&self, b: usize) -> S::Float {
        self.d.get(b)
    }

    /// What is added to block `b`, 0 where the type has nothing.
    #[inline(always)]
    pub(super) unsafe fn min<Q: Quant>(&self, b: usize) -> S::Float {
        if Q::LAYOUT.min.is_some() { self.min.get(b) } else { S::float_zero() }
    }
}
