//! The k-quants: scales (and minimums) found per run, then quantized themselves, then the values
//! rounded again to the grid that is really stored.

use bytemuck::Zeroable;
use garrison_types::quant::{
    BlockQ2K, BlockQ3K, BlockQ4K, BlockQ5K, BlockQ6K, F16Le, q3k_pack_scales, q4k_pack_scales_mins,
};

use super::runs;
use super::search::{Offset, affine, clamp, extreme, inverse, round, symmetric, weights};

/// A super-block on the grids `d * s * q - dmin * m`.
struct Affine<const RUNS: usize> {
    d: F16Le,
    dmin: F16Le,
    scales: [u8; RUNS],
    mins: [u8; RUNS],
    /// `[256]`, `0 ..= n`.
    q: [u8; 256],
}

/// Finds scales and minimums of `0 ..= most` for each run of `RUN` values.
fn affine_block<const RUN: usize, const RUNS: usize>(x: &[f32; 256], n: f32, most: f32) -> Affine<RUNS> {
    let (mut wanted_scales, mut wanted_mins) = ([0.0; RUNS], [0.0; RUNS]);
    for (i, run) in runs::<RUN>(x).iter().enumerate() {
        let (d, m) = affine(run, &weights(run), n, Offset::NotPositive);
        (wanted_scales[i], wanted_mins[i]) = (d, -m);
    }
    let (d, scales) = unsigned_scales(&wanted_scales, most);
    let (dmin, mins) = unsigned_scales(&wanted_mins, most);
    let mut q = [0; 256];
    for (i, (q, run)) in q.as_chunks_mut::<RUN>().0.iter_mut().zip(runs::<RUN>(x)).enumerate() {
        let to_grid = inverse(d.get() * f32::from(scales[i]));
        let min = dmin.get() * f32::from(mins[i]);
        *q = run.map(|x| round(clamp((x + min) * to_grid, 0.0, n)) as u8);
    }
    Affine { d, dmin, scales, mins, q }
}

/// Scales `0 ..= most` times a half.
fn unsigned_scales<const RUNS: usize>(wanted: &[f32; RUNS], most: f32) -> (F16Le, [u8; RUNS]) {
    let d = F16Le::new(extreme(wanted).max(0.0) / most);
    let to_scale = inverse(d.get());
    (d, wanted.map(|s| round(clamp(s * to_scale, 0.0, most)) as u8))
}

/// A super-block on the grids `d * s * q`, 16 runs of 16.
struct Symmetric {
    d: F16Le,
    scales: [i8; 16],
    /// `[256]`, `q + n`: `0 .. 2n`.
    q: [u8; 256],
}

/// Finds scales of `-reach ..= reach - 1` for each run.
fn symmetric_block(x: &[f32; 256], n: f32, reach: f32) -> Symmetric {
    let mut wanted = [0.0; 16];
    for (wanted, run) in wanted.iter_mut().zip(runs::<16>(x)) {
        *wanted = symmetric(run, &weights(run), n);
    }
    let d = F16Le::new(extreme(&wanted) / -reach);
    let to_scale = inverse(d.get());
    let scales = wanted.map(|s| round(clamp(s * to_scale, -reach, reach - 1.0)) as i8);
    let mut q = [0; 256];
    for ((q, run), s) in q.as_chunks_mut::<16>().0.iter_mut().zip(runs::<16>(x)).zip(scales) {
        let to_grid = inverse(d.get() * f32::from(s));
        *q = run.map(|x| (round(clamp(x * to_grid, -n, n - 1.0)) + n) as u8);
    }
    Symmetric { d, scales, q }
}

pub(super) fn q2_k(x: &[f32; 256]) -> BlockQ2K {
    let a: Affine<16> = affine_block::<16, 16>(x, 3.0, 15.0);
    BlockQ2K {
        scales: std::array::from_fn(|i| a.scales[i] | (a.mins[i] << 4)),
        qs: two_bits(&a.q),
        d: a.d,
        dmin: a.dmin,
    }
}

pub(super) fn q3_k(x: &[f32; 256]) -> BlockQ3K {
    let s = symmetric_block(x, 4.0, 32.0);
    BlockQ3K { hmask: high_bits(&s.q, 2), qs: two_bits(&s.q), scales: q3k_pack_scales(&s.scales), d: s.d }
}

pub(super) fn q4_k(x: &[f32; 256]) -> BlockQ4K {
    let a: Affine<8> = affine_block::<32, 8>(x, 15.0, 63.0);
    BlockQ4K { d: a.d, dmin: a.dmin, scales: q4k_pack_scales_mins(&a.scales, &a.mins), qs: nibbles(&a.q) }
}

pub(super) fn q5_k(x: &[f32; 256]) -> BlockQ5K {
    let a: Affine<8> = affine_block::<32, 8>(x, 31.0, 63.0);
    BlockQ5K {
        d: a.d,
        dmin: a.dmin,
        scales: q4k_pack_scales_mins(&a.scales, &a.mins),
        qh: high_bits(&a.q, 4),
        qs: nibbles(&a.q),
    }
}

pub(super) fn q6_k(x: &[f32; 256]) -> BlockQ6K {
    let s = symmetric_block(x, 32.0, 128.0);
    let mut block = BlockQ6K { scales: s.scales, d: s.d, ..BlockQ6K::zeroed() };
    for half in 0..2 {
        let q = &s.q[128 * half..][..128];
        for l in 0..64 {
            block.ql[64 * half + l] = (q[l] & 15) | (q[l + 64] << 4);
        }
        for l in 0..32 {
            block.qh[32 * half + l] =
                (q[l] >> 4) | (q[l + 32] >> 4 << 2) | (q[l + 64] >> 4 << 4) | (q[l + 96] >> 4 << 6);
        }
    }
    block
}

/// The low 2 bits, four values 32 apart in each byte.
fn two_bits(q: &[u8; 256]) -> [u8; 64] {
    std::array::from_fn(|i| {
        let (half, l) = (i / 32, i % 32);
        (0..4).fold(0, |bits, j| bits | (q[128 * half + 32 * j + l] & 3) << (2 * j))
    })
}

/// The low 4 bits, two values 32 apart in each byte.
fn nibbles(q: &[u8; 256]) -> [u8; 128] {
    std::array::from_fn(|i| {
        let (quarter, l) = (i / 32, i % 32);
        (q[64 * quarter + l] & 15) | (q[64 * quarter + 32 + l] << 4)
    })
}

/// Bit `bit` of each value: eight values 32 apart in each byte.
fn high_bits(q: &[u8; 256], bit: u32) -> [u8; 32] {
    std::array::from_fn(|l| (0..8).fold(0, |bits, r| bits | ((q[32 * r + l] >> bit) & 1) << r))
}
