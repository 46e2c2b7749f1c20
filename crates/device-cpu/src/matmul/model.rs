//! AVX-512's primitives in plain Rust, for tests: the kernels' 32-bit path, with a panel to a
//! register and signed codes offset by 128, runs where no processor has it. What is left to a
//! processor that does is that each intrinsic does what its name says.

#![allow(unsafe_op_in_unsafe_fn)] // one condition for all, stated in `simd`

use std::array::from_fn;

use garrison_types::quant::{Bf16Le, F16Le, F32Le};

use super::kernel::{Format, Stripe, stripe};
use super::simd::{Simd, Two};

#[derive(Clone, Copy)]
pub(super) struct Model;

/// Computes a stripe.
///
/// # Safety
/// The stripe's addresses are good.
pub(super) unsafe fn run<F: Format>(s: &Stripe<'_>) {
    stripe::<Two<Model>, F>(s)
}

/// `N` bytes for each of 16 rows.
unsafe fn read<const N: usize>(rows: *const u8, at: usize) -> [[u8; N]; 16] {
    rows.add(at).cast::<[[u8; N]; 16]>().read()
}

/// Four bytes of each of 16 rows.
type Bytes = [[u8; 4]; 16];

impl Simd for Model {
    const ROWS: usize = 16;
    const NARROW: bool = false;
    const SIGNED_OFFSET: bool = true;
    const TILE: usize = 6;
    const FLOAT_TILE: usize = 4;
    const DIRECT: usize = 3;
    const DIRECT_32: usize = 3;
    const FOLDED: bool = true;

    type Ahead = Self;
    type Rows = *const u8;
    type Bytes = Bytes;
    type Quad = [i8; 4];
    type Pairs = [[i16; 2]; 16];
    type Scale = [i32; 16];
    type Part = [i32; 16];
    type Int = [i32; 16];
    type Float = [f32; 16];

    unsafe fn rows(first: *const u8, stride: usize, i: usize) -> *const u8 {
        first.add(stride * i)
    }

    unsafe fn ahead(rows: *const u8, bytes: usize) -> *const u8 {
        rows.add(bytes)
    }

    unsafe fn load(rows: *const u8, at: usize) -> Bytes {
        read(rows, at)
    }

    unsafe fn store_bytes(v: Bytes, to: *const u8, at: usize) {
        to.cast_mut().add(at).cast::<Bytes>().write(v);
    }

    unsafe fn field(v: Bytes, from: u32, to: u32, mask: u8) -> Bytes {
        v.map(|row| row.map(|byte| ((byte >> from) & mask) << to))
    }

    unsafe fn or(a: Bytes, b: Bytes) -> Bytes {
        from_fn(|row| from_fn(|i| a[row][i] | b[row][i]))
    }

    unsafe fn sub_bytes(a: Bytes, b: u8) -> Bytes {
        a.map(|row| row.map(|byte| byte.wrapping_sub(b)))
    }

    unsafe fn look_up(table: &'static [i8; 16], v: Bytes) -> Bytes {
        v.map(|row| row.map(|byte| table[usize::from(byte)] as u8))
    }

    unsafe fn quad(x: *const i8) -> [i8; 4] {
        x.cast::<[i8; 4]>().read()
    }

    unsafe fn part_zero() -> [i32; 16] {
        [0; 16]
    }

    unsafe fn part_shifted(x: *const i32, shift: u32) -> [i32; 16] {
        [x.read() << shift; 16]
    }

    unsafe fn dot(part: [i32; 16], w: Bytes, x: [i8; 4]) -> [i32; 16] {
        let products = |row: [u8; 4]| (0..4).map(|i| i32::from(row[i]) * i32::from(x[i])).sum::<i32>();
        from_fn(|row| part[row] + products(w[row]))
    }

    unsafe fn signed(v: Bytes) -> Bytes {
        v.map(|row| row.map(|byte| byte ^ 0x80))
    }

    unsafe fn dot_signed(part: [i32; 16], w: Bytes, x: [i8; 4]) -> [i32; 16] {
        Self::dot(part, w, x)
    }

    unsafe fn widen_scaled(sum: [i32; 16], part: [i32; 16], scale: [i32; 16]) -> [i32; 16] {
        from_fn(|row| sum[row] + part[row] * scale[row])
    }

    unsafe fn widen(sum: [i32; 16], part: [i32; 16]) -> [i32; 16] {
        from_fn(|row| sum[row] + part[row])
    }

    unsafe fn pairs(rows: *const u8, at: usize) -> [[i16; 2]; 16] {
        read(rows, at).map(|pair: [u8; 2]| pair.map(|byte| i16::from(byte as i8)))
    }

    unsafe fn first(pairs: [[i16; 2]; 16]) -> [i32; 16] {
        pairs.map(|pair| i32::from(pair[0]))
    }

    unsafe fn second(pairs: [[i16; 2]; 16]) -> [i32; 16] {
        pairs.map(|pair| i32::from(pair[1]))
    }

    unsafe fn wide_pairs(v: Bytes) -> ([[i16; 2]; 16], [[i16; 2]; 16]) {
        let of = |i: usize| v.map(|row| [row[i], row[i + 2]].map(|byte| i16::from(byte as i8)));
        (of(0), of(1))
    }

    unsafe fn dot_pairs(sum: [i32; 16], pairs: [[i16; 2]; 16], x: *const i16) -> [i32; 16] {
        let x = x.cast::<[i16; 2]>().read();
        from_fn(|row| sum[row] + (0..2).map(|i| i32::from(pairs[row][i]) * i32::from(x[i])).sum::<i32>())
    }

    unsafe fn int_zero() -> [i32; 16] {
        [0; 16]
    }

    unsafe fn int_splat(x: *const i32) -> [i32; 16] {
        [x.read(); 16]
    }

    unsafe fn sub_shifted(a: [i32; 16], b: [i32; 16], shift: u32) -> [i32; 16] {
        from_fn(|row| a[row] - (b[row] << shift))
    }

    unsafe fn to_float(a: [i32; 16]) -> [f32; 16] {
        a.map(|a| a as f32)
    }

    unsafe fn float_zero() -> [f32; 16] {
        [0.0; 16]
    }

    unsafe fn float_splat(x: *const f32) -> [f32; 16] {
        [x.read(); 16]
    }

    unsafe fn load_f16(rows: *const u8, at: usize) -> [f32; 16] {
        read(rows, at).map(|bytes| F16Le(bytes).get())
    }

    unsafe fn load_bf16(rows: *const u8, at: usize) -> [f32; 16] {
        read(rows, at).map(|bytes| Bf16Le(bytes).get())
    }

    unsafe fn load_f32(rows: *const u8, at: usize) -> [f32; 16] {
        read(rows, at).map(|bytes| F32Le(bytes).get())
    }

    unsafe fn add(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|row| a[row] + b[row])
    }

    unsafe fn mul(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|row| a[row] * b[row])
    }

    unsafe fn mul_add(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        from_fn(|row| a[row].mul_add(b[row], c[row]))
    }

    unsafe fn neg_mul_add(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        from_fn(|row| (-a[row]).mul_add(b[row], c[row]))
    }

    unsafe fn store(v: [f32; 16], to: *mut f32, count: usize) {
        for (row, value) in v.into_iter().enumerate().take(count) {
            to.add(row).write(value);
        }
    }
}
