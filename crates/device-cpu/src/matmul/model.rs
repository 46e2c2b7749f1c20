//! AVX-512's primitives in plain Rust, for tests: the kernels' 32-bit path, with two panels to a
//! register and signed codes offset by 128, runs where no processor has it. What is left to a
//! processor that does is that each intrinsic does what its name says.

#![allow(unsafe_op_in_unsafe_fn)] // one condition for all, stated in `simd`

use std::array::from_fn;

use garrison_types::quant::{Bf16Le, F16Le, F32Le};

use super::kernel::{Format, Stripe, stripe};
use super::simd::Simd;

#[derive(Clone, Copy)]
pub(super) struct Model;

/// Computes a stripe.
///
/// # Safety
/// The stripe's addresses are good.
pub(super) unsafe fn run<F: Format>(s: &Stripe<'_>) {
    stripe::<Model, F>(s);
}

/// The same place in two panels.
#[derive(Clone, Copy)]
pub(super) struct TwoRows([*const u8; 2]);

impl TwoRows {
    /// `N` bytes for each of 16 rows, the first eight from the first panel.
    unsafe fn read<const N: usize>(self, at: usize) -> [[u8; N]; 16] {
        from_fn(|row| self.0[row / 8].add(at + N * (row % 8)).cast::<[u8; N]>().read())
    }
}

/// Four bytes of each of 16 rows.
type Bytes = [[u8; 4]; 16];

fn dot(part: [i32; 16], w: Bytes, x: [i8; 4], value: fn(u8) -> i32) -> [i32; 16] {
    from_fn(|row| part[row] + (0..4).map(|i| value(w[row][i]) * i32::from(x[i])).sum::<i32>())
}

impl Simd for Model {
    const PANELS: usize = 2;
    const NARROW: bool = false;
    const SIGNED_OFFSET: bool = true;

    type Rows = TwoRows;
    type Bytes = Bytes;
    type Quad = [i8; 4];
    type Pairs = [[i16; 2]; 16];
    type Scale = [i32; 16];
    type Part = [i32; 16];
    type Int = [i32; 16];
    type Float = [f32; 16];

    unsafe fn rows(first: *const u8, stride: usize) -> TwoRows {
        TwoRows([first, first.add(stride)])
    }

    unsafe fn ahead(rows: TwoRows, bytes: usize) -> TwoRows {
        TwoRows(rows.0.map(|p| p.add(bytes)))
    }

    unsafe fn load(rows: TwoRows, at: usize) -> Bytes {
        rows.read(at)
    }

    unsafe fn store_bytes(v: Bytes, to: *mut u8, stride: usize, at: usize) {
        for (row, bytes) in v.into_iter().enumerate() {
            to.add(stride * (row / 8) + at + 4 * (row % 8)).cast::<[u8; 4]>().write(bytes);
        }
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

    unsafe fn dot(part: [i32; 16], w: Bytes, x: [i8; 4]) -> [i32; 16] {
        dot(part, w, x, i32::from)
    }

    unsafe fn dot_signed(part: [i32; 16], w: Bytes, x: [i8; 4]) -> [i32; 16] {
        dot(part, w, x, |w| i32::from(w as i8) + 128)
    }

    unsafe fn widen_scaled(sum: [i32; 16], part: [i32; 16], scale: [i32; 16]) -> [i32; 16] {
        from_fn(|row| sum[row] + part[row] * scale[row])
    }

    unsafe fn widen(sum: [i32; 16], part: [i32; 16]) -> [i32; 16] {
        from_fn(|row| sum[row] + part[row])
    }

    unsafe fn pairs(rows: TwoRows, at: usize) -> [[i16; 2]; 16] {
        rows.read(at).map(|pair: [u8; 2]| pair.map(|byte| i16::from(byte as i8)))
    }

    unsafe fn first(pairs: [[i16; 2]; 16]) -> [i32; 16] {
        pairs.map(|pair| i32::from(pair[0]))
    }

    unsafe fn second(pairs: [[i16; 2]; 16]) -> [i32; 16] {
        pairs.map(|pair| i32::from(pair[1]))
    }

    unsafe fn store_wide(v: Bytes, to: *mut u8, stride: usize, at: usize) {
        for (row, bytes) in v.into_iter().enumerate() {
            for (i, byte) in bytes.into_iter().enumerate() {
                let at = stride * (row / 8) + at + 32 * (i % 2) + 4 * (row % 8) + 2 * (i / 2);
                to.add(at).cast::<[u8; 2]>().write(i16::from(byte as i8).to_le_bytes());
            }
        }
    }

    unsafe fn wide_pairs(rows: TwoRows, at: usize) -> [[i16; 2]; 16] {
        rows.read(at).map(|[a, b, c, d]: [u8; 4]| [i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d])])
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

    unsafe fn load_f16(rows: TwoRows, at: usize) -> [f32; 16] {
        rows.read(at).map(|bytes| F16Le(bytes).get())
    }

    unsafe fn load_bf16(rows: TwoRows, at: usize) -> [f32; 16] {
        rows.read(at).map(|bytes| Bf16Le(bytes).get())
    }

    unsafe fn load_f32(rows: TwoRows, at: usize) -> [f32; 16] {
        rows.read(at).map(|bytes| F32Le(bytes).get())
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
