//! The primitives in which the kernels are written, so that AVX2, AVX-512 and NEON share the
//! kernels' loops and differ in a few lines each.
//!
//! Every method must only run on a processor that has the features of the implementing type, and
//! must only be inlined into functions compiled with them: the stripe functions in `avx2`, `avx512`
//! and `neon` are the only ways in.

#![allow(unsafe_op_in_unsafe_fn)] // one condition for all

// SAFETY: all functions here have the same two conditions: the features are there, and
// pointers are good for as many bytes as the method's name or doc says.

/// Vectors of some rows.
pub(super) trait Simd: Copy + 'static {
    /// Rows processed together: half a panel, or whole ones.
    const ROWS: usize;
    /// Whether products are summed in 16 bits and must be widened after `Layout::chain` of them;
    /// otherwise they are summed in 32.
    const NARROW: bool;
    /// Whether `dot_signed` adds `128 * sum(x)` to what it should, to be subtracted later.
    const SIGNED_OFFSET: bool;
    /// Columns of a tile of integers, 4 or 8: as many as there are registers for.
    const TILE: usize;
    /// Columns of a tile of floats, 2 or 4, of `Two` of this.
    const FLOAT_TILE: usize;
    /// The most columns for which it is faster to take codes apart in registers, tile by tile, in blocks of 256.
    const DIRECT: usize;
    /// [`Simd::DIRECT`] in blocks of 32.
    const DIRECT_32: usize;
    /// Whether what an offset comes to is what sums of products begin with, in blocks of 256.
    const FOLDED: bool;

    /// The same, whose [`Simd::load`] asks for the line that it will load some blocks later, where that pays: for the
    /// first tile of [`Simd::TILE`] columns, and where blocks are taken apart for many. Its blocks take so long that the
    /// processor's own window does not reach the next one, and multiplying and reading would take turns; with fewer
    /// columns it reads further ahead by itself than with requests in its way.
    type Ahead: Simd<Rows = Self::Rows, Float = Self::Float, Bytes = Self::Bytes>;

    /// Where the rows' part of each vector is found in blocks.
    type Rows: Copy;
    /// A quad.
    type Bytes: Copy;
    /// Four activations, the same for every row.
    type Quad: Copy;
    /// Two i16 per row.
    type Pairs: Copy;
    /// An integer scale per row, in the form `widen_scaled` likes.
    type Scale: Copy;
    /// Sums of products on their way to `Int`.
    type Part: Copy;
    /// An i32 per row.
    type Int: Copy;
    /// An f32 per row.
    type Float: Copy;

    /// Register number `i` of the rows of the panels at `first`, `stride` bytes apart.
    unsafe fn rows(first: *const u8, stride: usize, i: usize) -> Self::Rows;
    /// Each address, `bytes` further.
    unsafe fn ahead(rows: Self::Rows, bytes: usize) -> Self::Rows;

    /// Four bytes of each row.
    unsafe fn load(rows: Self::Rows, at: usize) -> Self::Bytes;
    /// The inverse of [`Simd::load`], to memory that may be written.
    unsafe fn store_bytes(v: Self::Bytes, to: Self::Rows, at: usize);
    /// `(v >> from << to) & (mask << to)` for each byte.
    unsafe fn field(v: Self::Bytes, from: u32, to: u32, mask: u8) -> Self::Bytes;
    /// Bitwise or.
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Each byte less `b`.
    unsafe fn sub_bytes(a: Self::Bytes, b: u8) -> Self::Bytes;
    /// `table[byte]` for bytes below 16.
    unsafe fn look_up(table: &'static [i8; 16], v: Self::Bytes) -> Self::Bytes;
    /// Four activations for every row.
    unsafe fn quad(x: *const i8) -> Self::Quad;

    /// Sees to it that all of them are in registers here. Without it the compiler takes long unrolled loops
    /// column by column, to which end it puts everything else aside, and the loads and stores take longer
    /// than the arithmetic.
    unsafe fn keep<const C: usize>(_parts: &mut [Self::Part; C]) {}
    /// [`Simd::keep`] for integer sums.
    unsafe fn keep_ints<const C: usize>(_sums: &mut [Self::Int; C]) {}
    /// [`Simd::keep`] for pairs.
    unsafe fn keep_pairs<const C: usize>(_parts: &mut [[Self::Part; 2]; C]) {}
    /// [`Simd::keep_ints`] for pairs.
    unsafe fn keep_int_pairs<const C: usize>(_sums: &mut [[Self::Int; 2]; C]) {}

    /// 0.
    unsafe fn part_zero() -> Self::Part;
    /// `*x << shift` for every row; only where `FOLDED`.
    #[inline(always)]
    unsafe fn part_shifted(_x: *const i32, _shift: u32) -> Self::Part {
        const { assert!(!Self::FOLDED, "who folds offsets has to say how sums begin") };
        Self::part_zero()
    }
    /// `part + sum of 4 w * x`, `w` unsigned.
    unsafe fn dot(part: Self::Part, w: Self::Bytes, x: Self::Quad) -> Self::Part;
    /// Signed bytes as [`Simd::dot_signed`] wants them.
    #[inline(always)]
    unsafe fn signed(v: Self::Bytes) -> Self::Bytes {
        v
    }
    /// [`Simd::dot`] for signed `w`, with `128 * sum(x)` added if `SIGNED_OFFSET`.
    unsafe fn dot_signed(part: Self::Part, w: Self::Bytes, x: Self::Quad) -> Self::Part;
    /// `sum + part * scale`.
    unsafe fn widen_scaled(sum: Self::Int, part: Self::Part, scale: Self::Scale) -> Self::Int;
    /// `sum + part`.
    unsafe fn widen(sum: Self::Int, part: Self::Part) -> Self::Int;

    /// Two signed bytes of each row.
    unsafe fn pairs(rows: Self::Rows, at: usize) -> Self::Pairs;
    /// The first of each row's pair as its scale.
    unsafe fn first(pairs: Self::Pairs) -> Self::Scale;
    /// The second of each row's pair.
    unsafe fn second(pairs: Self::Pairs) -> Self::Scale;
    /// Each signed byte as an i16: of each row's four the even ones, and the odd ones.
    unsafe fn wide_pairs(v: Self::Bytes) -> (Self::Pairs, Self::Pairs);
    /// `sum + pair . (x[0], x[1])`, the same two for each row.
    unsafe fn dot_pairs(sum: Self::Int, pairs: Self::Pairs, x: *const i16) -> Self::Int;

    /// 0.
    unsafe fn int_zero() -> Self::Int;
    /// `*x` for every row.
    unsafe fn int_splat(x: *const i32) -> Self::Int;
    /// `a - (b << shift)`.
    unsafe fn sub_shifted(a: Self::Int, b: Self::Int, shift: u32) -> Self::Int;
    /// Nearest f32.
    unsafe fn to_float(a: Self::Int) -> Self::Float;

    /// 0.
    unsafe fn float_zero() -> Self::Float;
    /// `*x` for every row.
    unsafe fn float_splat(x: *const f32) -> Self::Float;
    /// An f16 per row.
    unsafe fn load_f16(rows: Self::Rows, at: usize) -> Self::Float;
    /// A bfloat16 per row.
    unsafe fn load_bf16(rows: Self::Rows, at: usize) -> Self::Float;
    /// An f32 per row.
    unsafe fn load_f32(rows: Self::Rows, at: usize) -> Self::Float;
    /// `a + b`.
    unsafe fn add(a: Self::Float, b: Self::Float) -> Self::Float;
    /// `a * b`.
    unsafe fn mul(a: Self::Float, b: Self::Float) -> Self::Float;
    /// `a * b + c`, rounded once.
    unsafe fn mul_add(a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    /// `c - a * b`, rounded once.
    unsafe fn neg_mul_add(a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    /// Writes the first `count` rows to `to`.
    unsafe fn store(v: Self::Float, to: *mut f32, count: usize);
}

/// Half of a panel's rows, where a register holds no more.
#[derive(Clone, Copy)]
pub(super) struct Half {
    /// 0 or 1.
    number: usize,
    panel: *const u8,
}

impl Half {
    /// Number `i` of the halves of the panels at `first`, `stride` bytes apart.
    #[inline(always)]
    pub(super) unsafe fn number(i: usize, first: *const u8, stride: usize) -> Half {
        Half { number: i % 2, panel: first.add(stride * (i / 2)) }
    }

    /// The same, `bytes` further.
    #[inline(always)]
    pub(super) unsafe fn ahead(self, bytes: usize) -> Half {
        Half { panel: self.panel.add(bytes), ..self }
    }

    /// This half's part of a vector of `2 * bytes`.
    #[inline(always)]
    pub(super) unsafe fn part(self, at: usize, bytes: usize) -> *const u8 {
        self.panel.add(at + bytes * self.number)
    }
}

/// The rows of `S` twice over. More work for each activation that is loaded and spread, at the
/// price of twice the registers.
#[derive(Clone, Copy)]
pub(super) struct Two<S>(std::marker::PhantomData<S>);

/// Methods that treat the two halves alike.
macro_rules! both {
    ($($name:ident($($arg:ident: $ty:ident),*; $($same:ident: $same_ty:ty),*) -> $out:ident;)*) => { $(
        #[inline(always)]
        unsafe fn $name($($arg: Self::$ty,)* $($same: $same_ty),*) -> Self::$out {
            [S::$name($($arg[0],)* $($same),*), S::$name($($arg[1],)* $($same),*)]
        }
    )* };
}

impl<S: Simd> Simd for Two<S> {
    const ROWS: usize = 2 * S::ROWS;
    const NARROW: bool = S::NARROW;
    const SIGNED_OFFSET: bool = S::SIGNED_OFFSET;
    const TILE: usize = S::TILE;
    const FLOAT_TILE: usize = S::FLOAT_TILE;
    const DIRECT: usize = S::DIRECT;
    const DIRECT_32: usize = S::DIRECT_32;
    const FOLDED: bool = S::FOLDED;

    type Ahead = Two<S::Ahead>;
    type Rows = [S::Rows; 2];
    type Bytes = [S::Bytes; 2];
    type Quad = S::Quad;
    type Pairs = [S::Pairs; 2];
    type Scale = [S::Scale; 2];
    type Part = [S::Part; 2];
    type Int = [S::Int; 2];
    type Float = [S::Float; 2];

    both! {
        ahead(rows: Rows; bytes: usize) -> Rows;
        load(rows: Rows; at: usize) -> Bytes;
        field(v: Bytes; from: u32, to: u32, mask: u8) -> Bytes;
        or(a: Bytes, b: Bytes;) -> Bytes;
        sub_bytes(a: Bytes; b: u8) -> Bytes;
        part_zero(;) -> Part;
        part_shifted(; x: *const i32, shift: u32) -> Part;
        dot(part: Part, w: Bytes; x: S::Quad) -> Part;
        dot_signed(part: Part, w: Bytes; x: S::Quad) -> Part;
        widen_scaled(sum: Int, part: Part, scale: Scale;) -> Int;
        widen(sum: Int, part: Part;) -> Int;
        pairs(rows: Rows; at: usize) -> Pairs;
        signed(v: Bytes;) -> Bytes;
        first(pairs: Pairs;) -> Scale;
        second(pairs: Pairs;) -> Scale;
        dot_pairs(sum: Int, pairs: Pairs; x: *const i16) -> Int;
        int_zero(;) -> Int;
        int_splat(; x: *const i32) -> Int;
        sub_shifted(a: Int, b: Int; shift: u32) -> Int;
        to_float(a: Int;) -> Float;
        float_zero(;) -> Float;
        float_splat(; x: *const f32) -> Float;
        load_f16(rows: Rows; at: usize) -> Float;
        load_bf16(rows: Rows; at: usize) -> Float;
        load_f32(rows: Rows; at: usize) -> Float;
        add(a: Float, b: Float;) -> Float;
        mul(a: Float, b: Float;) -> Float;
        mul_add(a: Float, b: Float, c: Float;) -> Float;
        neg_mul_add(a: Float, b: Float, c: Float;) -> Float;
    }

    #[inline(always)]
    unsafe fn keep<const C: usize>(parts: &mut [[S::Part; 2]; C]) {
        S::keep_pairs(parts);
    }

    #[inline(always)]
    unsafe fn keep_ints<const C: usize>(sums: &mut [[S::Int; 2]; C]) {
        S::keep_int_pairs(sums);
    }

    #[inline(always)]
    unsafe fn rows(first: *const u8, stride: usize, i: usize) -> Self::Rows {
        [S::rows(first, stride, 2 * i), S::rows(first, stride, 2 * i + 1)]
    }

    #[inline(always)]
    unsafe fn store_bytes(v: Self::Bytes, to: Self::Rows, at: usize) {
        S::store_bytes(v[0], to[0], at);
        S::store_bytes(v[1], to[1], at);
    }

    #[inline(always)]
    unsafe fn wide_pairs(v: Self::Bytes) -> (Self::Pairs, Self::Pairs) {
        let (first, second) = (S::wide_pairs(v[0]), S::wide_pairs(v[1]));
        ([first.0, second.0], [first.1, second.1])
    }

    #[inline(always)]
    unsafe fn look_up(table: &'static [i8; 16], v: Self::Bytes) -> Self::Bytes {
        [S::look_up(table, v[0]), S::look_up(table, v[1])]
    }

    #[inline(always)]
    unsafe fn quad(x: *const i8) -> S::Quad {
        S::quad(x)
    }

    #[inline(always)]
    unsafe fn store(v: Self::Float, to: *mut f32, count: usize) {
        S::store(v[0], to, count);
        S::store(v[1], to.wrapping_add(S::ROWS), count.saturating_sub(S::ROWS));
    }
}
