//! The vector kernels, written once over [`Simd`] and once per family of formats: a tile of some
//! panels by some columns, and the stripe of tiles that is a task.
//!
//! Key decision: a few columns take codes apart in registers, as they go; many find them taken apart, block
//! after block, in a scratch that stays in the L1 cache ([`unpacked`]). Taking them apart costs about as much
//! as a product with one column, writing them out and reading them again as one with two more.
//!
//! The order of float operations for one output element is fixed here and nowhere else: one fused
//! multiply-add per block of weights (two where there are minimums), blocks ascending. It does not
//! depend on the tile, so results are the same to the bit whatever else is computed with them.

// SAFETY: everything here is inlined into the stripe functions of an instruction set, under
// their conditions: see `simd`.
#![allow(unsafe_op_in_unsafe_fn)]
#![allow(clippy::needless_range_loop)] // a column indexes several arrays and an address at once

/// Runs the body with `$j` as each of the constants: loops that the compiler must unroll, since
/// the shifts depend on the index.
macro_rules! each {
    ($j:ident in [$($i:literal),*] $body:block) => { $( { const $j: usize = $i; $body } )* };
}

/// Calls `$tile` for all of `$columns` with the first column and how many: `$most` (2, 4 or 6) at a time, then
/// what is left.
macro_rules! tiles {
    ($most:expr, $columns:expr, |$c:ident, $n:ident| $tile:expr) => {{
        let mut $c = 0;
        while $c < $columns {
            let left = $columns - $c;
            $c += if $most == 6 && left >= 6 {
                const $n: usize = 6;
                $tile;
                $n
            } else if $most >= 4 && left >= 4 {
                const $n: usize = 4;
                $tile;
                $n
            } else if $most >= 4 && left == 3 {
                const $n: usize = 3;
                $tile;
                $n
            } else if left >= 2 {
                const $n: usize = 2;
                $tile;
                $n
            } else {
                const $n: usize = 1;
                $tile;
                $n
            };
        }
    }};
}

mod codes;
mod floats;
mod quantized;
mod unpacked;

use std::ops::Range;

use super::activations::{Quantized, turn};
use super::layout::PANEL;
use super::simd::Simd;

pub(super) use codes::{Iq4Nl, Iq4Xs, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, has_offset};
pub(super) use floats::{Bf16, F16, F32, Floats};
pub(super) use quantized::{Small, Super, is_wide};

/// The activations of a call in the form a weight needs.
#[derive(Clone, Copy)]
pub(super) enum Columns<'a> {
    /// `[rows, k]`
    Floats(&'a [f32]),
    Int8(&'a Quantized),
}

impl Columns<'_> {
    /// Columns that are gone through for each panel before the next panel's turn.
    fn turn(&self, k: usize) -> usize {
        match self {
            Columns::Floats(_) => turn(k, size_of::<f32>()),
            Columns::Int8(x) => x.turn(),
        }
    }
}

/// A task: all rows of activations times some panels of a weight.
pub(super) struct Stripe<'a> {
    /// All panels of the weight.
    pub(super) panels: &'a [u8],
    /// Bytes of one.
    pub(super) panel_bytes: usize,
    /// The panels of this task.
    pub(super) range: Range<usize>,
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

/// A family of weight formats.
pub(super) trait Format {
    /// Computes the products of the panels at `rows`, which are numbers `panels`, with some columns.
    unsafe fn panels<S: Simd>(s: &Stripe<'_>, rows: S::Rows, panels: Range<usize>, columns: Range<usize>);
}

/// Computes a stripe: for each block of columns, for each panel.
#[inline(always)]
pub(super) unsafe fn stripe<S: Simd, F: Format>(s: &Stripe<'_>) {
    let columns = s.x.turn(s.k);
    let mut block = 0;
    while block < s.rows {
        let end = s.rows.min(block + columns);
        let mut panel = s.range.start;
        while panel < s.range.end {
            // Where there are not two any more one goes alone, and is computed twice.
            let all = panel + S::ROWS / PANEL <= s.range.end;
            let (taken, stride) = if all { (S::ROWS / PANEL, s.panel_bytes) } else { (1, 0) };
            let rows = S::rows(s.panels.as_ptr().add(panel * s.panel_bytes), stride, 0);
            F::panels::<S>(s, rows, panel..panel + taken, block..end);
            panel += taken;
        }
        block = end;
    }
}

impl Stripe<'_> {
    /// Writes what came of column `c` and some panels.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, panels: &Range<usize>, c: usize, value: S::Float) {
        let count = self.n.min(panels.end * PANEL) - panels.start * PANEL;
        S::store(value, self.dst.add(c * self.n + panels.start * PANEL), count);
    }
}
