//! The 32-value types.

use garrison_types::quant::{BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, F16Le};

use super::search::{Offset, affine, clamp, extreme, inverse, round, symmetric, weights};

pub(super) fn q8_0(x: &[f32; 32]) -> BlockQ8_0 {
    let d = F16Le::new(extreme(x).abs() / 127.0);
    let scale = inverse(d.get());
    BlockQ8_0 { d, qs: x.map(|x| round(clamp(x * scale, -127.0, 127.0)) as i8) }
}

pub(super) fn q4_0(x: &[f32; 32]) -> BlockQ4_0 {
    let (d, q) = symmetric_codes(x, 8.0);
    BlockQ4_0 { d, qs: nibbles(&q) }
}

pub(super) fn q5_0(x: &[f32; 32]) -> BlockQ5_0 {
    let (d, q) = symmetric_codes(x, 16.0);
    BlockQ5_0 { d, qh: fifth_bits(&q), qs: nibbles(&q) }
}

pub(super) fn q4_1(x: &[f32; 32]) -> BlockQ4_1 {
    let (d, m, q) = affine_codes(x, 15.0);
    BlockQ4_1 { d, m, qs: nibbles(&q) }
}

pub(super) fn q5_1(x: &[f32; 32]) -> BlockQ5_1 {
    let (d, m, q) = affine_codes(x, 31.0);
    BlockQ5_1 { d, m, qh: fifth_bits(&q), qs: nibbles(&q) }
}

/// Codes `0 .. 2n` for `x = d * (q - n)`.
fn symmetric_codes(x: &[f32; 32], n: f32) -> (F16Le, [u8; 32]) {
    let d = F16Le::new(symmetric(x, &weights(x), n));
    let scale = inverse(d.get());
    (d, x.map(|x| (round(clamp(x * scale, -n, n - 1.0)) + n) as u8))
}

/// Codes `0 ..= n` for `x = d * q + m`.
fn affine_codes(x: &[f32; 32], n: f32) -> (F16Le, F16Le, [u8; 32]) {
    let (d, m) = affine(x, &weights(x), n, Offset::Free);
    let (d, m) = (F16Le::new(d), F16Le::new(m));
    let scale = inverse(d.get());
    (d, m, x.map(|x| round(clamp((x - m.get()) * scale, 0.0, n)) as u8))
}

/// Value `j` low, value `j + 16` high.
pub(super) fn nibbles(q: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| (q[j] & 15) | (q[j + 16] << 4))
}

fn fifth_bits(q: &[u8; 32]) -> [u8; 4] {
    let bits = q.iter().enumerate().fold(0u32, |bits, (j, q)| bits | (u32::from(q >> 4) & 1) << j);
    bits.to_le_bytes()
}
