//! The primitives in which the kernels are written, so that AVX2 and AVX-512 share the kernels'
//! loops and differ in a few lines each.
//!
//! Every method must only run on a processor that has the features of the implementing type, and
//! must only be inlined into functions compiled with them: the stripe functions in `avx2` and
//! `avx512` are the only ways in.

// SAFETY: all functions here have the same two conditions: the features are there, and
// pointers are good for as many bytes as the method's name or doc says.

/// Vectors of 8 rows per panel, over one or more panels.
pub(super) trait Simd: Copy + 'static {
    /// Panels processed together.
    const PANELS: usize;
    /// Whether products are summed in 16 bits and must be widened after `Layout::chain` of them;
    /// otherwise they are summed in 32.
    const NARROW: bool;
    /// Whether `dot_signed` adds `128 * sum(x)` to what it should, to be subtracted later.
    const SIGNED_OFFSET: bool;

    /// Addresses of the same place in each of the panels.
    type Rows: Copy;
    /// A quad of each panel.
    type Bytes: Copy;
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

    /// `first`, and its neighbours `stride` bytes apart.
    unsafe fn rows(first: *const u8, stride: usize) -> Self::Rows;
    /// Each address, `bytes` further.
    unsafe fn ahead(rows: Self::Rows, bytes: usize) -> Self::Rows;
    /// Asks for the cache line at `bytes` ahead.
    unsafe fn prefetch(rows: Self::Rows, bytes: usize);

    /// 32 bytes of each panel.
    unsafe fn load(rows: Self::Rows, at: usize) -> Self::Bytes;
    /// The inverse of [`Simd::load`], to a buffer of `PANELS` times `stride` bytes.
    unsafe fn store_bytes(v: Self::Bytes, to: *mut u8, stride: usize, at: usize);
    /// `(v >> from << to) & (mask << to)` for each byte.
    unsafe fn field(v: Self::Bytes, from: u32, to: u32, mask: u8) -> Self::Bytes;
    /// Bitwise or.
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Each byte less `b`.
    unsafe fn sub_bytes(a: Self::Bytes, b: u8) -> Self::Bytes;
    /// `table[byte]` for bytes below 16.
    unsafe fn look_up(table: &'static [i8; 16], v: Self::Bytes) -> Self::Bytes;
    /// Four activations for every row.
    unsafe fn quad(x: *const i8) -> Self::Bytes;

    /// 0.
    unsafe fn part_zero() -> Self::Part;
    /// `part + sum of 4 w * x`, `w` unsigned.
    unsafe fn dot(part: Self::Part, w: Self::Bytes, x: Self::Bytes) -> Self::Part;
    /// [`Simd::dot`] for signed `w`, with `128 * sum(x)` added if `SIGNED_OFFSET`.
    unsafe fn dot_signed(part: Self::Part, w: Self::Bytes, x: Self::Bytes) -> Self::Part;
    /// `sum + part * scale`.
    unsafe fn widen_scaled(sum: Self::Int, part: Self::Part, scale: Self::Scale) -> Self::Int;
    /// `sum + part`.
    unsafe fn widen(sum: Self::Int, part: Self::Part) -> Self::Int;

    /// 16 signed bytes of each panel, two per row.
    unsafe fn pairs(rows: Self::Rows, at: usize) -> Self::Pairs;
    /// The first of each row's pair as its scale.
    unsafe fn first(pairs: Self::Pairs) -> Self::Scale;
    /// The second of each row's pair.
    unsafe fn second(pairs: Self::Pairs) -> Self::Scale;
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
