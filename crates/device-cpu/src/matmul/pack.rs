//! Packing: from the file's blocks, row after row, to panels of eight rows (see
//! [`layout`](super::layout)).
//!
//! Each source block is first split into byte-wide codes and scales, then its codes are merged
//! into the planes four at a time: bytes never carry into each other, so a `u32` holds four. No
//! value is ever computed; the packed form holds the file's integers.

use garrison_types::TensorType;
use garrison_types::quant::{
    Block, BlockIq4Nl, BlockIq4Xs, BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1,
    BlockQ5K, BlockQ6K, BlockQ8_0, blocks, q3k_scales, q4k_scales_mins,
};

use super::layout::{Layout, PANEL, QUAD, Scales, layout, scale_entry};

/// A block of one row, taken apart.
pub(super) struct Parts {
    /// f16 bits of the scale.
    d: [u8; 2],
    /// f16 bits of the scale of the minimums, or of what is added.
    min: [u8; 2],
    /// Codes in the order of their values; the first `len` count.
    codes: Codes,
    /// Integer scales; the first `runs` count. Signed ones as their bits.
    scales: [u8; 16],
    /// Integer minimums.
    mins: [u8; 16],
}

/// 256 bytes that can be read as words.
#[repr(align(4))]
struct Codes([u8; 256]);

impl Parts {
    fn new() -> Parts {
        Parts { d: [0; 2], min: [0; 2], codes: Codes([0; 256]), scales: [0; 16], mins: [0; 16] }
    }
}

/// A storage block that can be taken apart.
pub(super) trait Split: Block {
    fn split(&self, parts: &mut Parts);
}

/// Low nibbles to the first half, high ones to the second.
fn split_nibbles(qs: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(qs.len());
    for ((&q, low), high) in qs.iter().zip(low).zip(high) {
        *low = q & 15;
        *high = q >> 4;
    }
}

/// Adds bit `j` of `qh` to code `j` as its fifth bit.
fn add_fifth_bits(qh: [u8; 4], codes: &mut [u8]) {
    let bits = u32::from_le_bytes(qh);
    for (j, code) in codes.iter_mut().take(32).enumerate() {
        *code |= ((bits >> j & 1) << 4) as u8;
    }
}

/// Four values per byte, 32 apart, lowest bits first, moved up by `shift`.
fn add_twos(qs: &[u8; 64], shift: u32, codes: &mut [u8; 256]) {
    for (qs, codes) in qs.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (j, codes) in codes.chunks_exact_mut(32).enumerate() {
            for (code, &q) in codes.iter_mut().zip(qs) {
                *code |= (q >> (2 * j) & 3) << shift;
            }
        }
    }
}

/// Bit `run` of byte `l` is value `l` of run `run` of 32, moved up by `shift`.
fn add_ones(qh: &[u8; 32], shift: u32, codes: &mut [u8; 256]) {
    for (run, codes) in codes.chunks_exact_mut(32).enumerate() {
        for (code, &q) in codes.iter_mut().zip(qh) {
            *code |= (q >> run & 1) << shift;
        }
    }
}

impl Split for BlockQ4_0 {
    fn split(&self, p: &mut Parts) {
        p.d = self.d.0;
        split_nibbles(&self.qs, &mut p.codes.0[..32]);
    }
}

impl Split for BlockQ4_1 {
    fn split(&self, p: &mut Parts) {
        (p.d, p.min) = (self.d.0, self.m.0);
        split_nibbles(&self.qs, &mut p.codes.0[..32]);
    }
}

impl Split for BlockQ5_0 {
    fn split(&self, p: &mut Parts) {
        p.d = self.d.0;
        split_nibbles(&self.qs, &mut p.codes.0[..32]);
        add_fifth_bits(self.qh, &mut p.codes.0);
    }
}

impl Split for BlockQ5_1 {
    fn split(&self, p: &mut Parts) {
        (p.d, p.min) = (self.d.0, self.m.0);
        split_nibbles(&self.qs, &mut p.codes.0[..32]);
        add_fifth_bits(self.qh, &mut p.codes.0);
    }
}

impl Split for BlockQ8_0 {
    fn split(&self, p: &mut Parts) {
        p.d = self.d.0;
        p.codes.0[..32].copy_from_slice(bytemuck::cast_slice(&self.qs));
    }
}

impl Split for BlockIq4Nl {
    fn split(&self, p: &mut Parts) {
        p.d = self.d.0;
        split_nibbles(&self.qs, &mut p.codes.0[..32]);
    }
}

impl Split for BlockIq4Xs {
    fn split(&self, p: &mut Parts) {
        p.d = self.d.0;
        p.scales[..8].copy_from_slice(bytemuck::cast_slice(&self.scales()));
        for (qs, codes) in self.qs.chunks_exact(16).zip(p.codes.0.chunks_exact_mut(32)) {
            split_nibbles(qs, codes);
        }
    }
}

impl Split for BlockQ2K {
    fn split(&self, p: &mut Parts) {
        (p.d, p.min) = (self.d.0, self.dmin.0);
        p.scales = self.scales.map(|s| s & 15);
        p.mins = self.scales.map(|s| s >> 4);
        p.codes.0.fill(0);
        add_twos(&self.qs, 0, &mut p.codes.0);
    }
}

impl Split for BlockQ3K {
    fn split(&self, p: &mut Parts) {
        p.d = self.d.0;
        p.scales = q3k_scales(&self.scales).map(|s| s as u8);
        p.codes.0.fill(0);
        add_twos(&self.qs, 0, &mut p.codes.0);
        add_ones(&self.hmask, 2, &mut p.codes.0);
    }
}

/// Scales, minimums and nibbles of Q4_K and Q5_K.
fn split_q4k(scales: &[u8; 12], qs: &[u8; 128], p: &mut Parts) {
    let (s, m) = q4k_scales_mins(scales);
    p.scales[..8].copy_from_slice(&s);
    p.mins[..8].copy_from_slice(&m);
    for (qs, codes) in qs.chunks_exact(32).zip(p.codes.0.chunks_exact_mut(64)) {
        split_nibbles(qs, codes);
    }
}

impl Split for BlockQ4K {
    fn split(&self, p: &mut Parts) {
        (p.d, p.min) = (self.d.0, self.dmin.0);
        split_q4k(&self.scales, &self.qs, p);
    }
}

impl Split for BlockQ5K {
    fn split(&self, p: &mut Parts) {
        (p.d, p.min) = (self.d.0, self.dmin.0);
        split_q4k(&self.scales, &self.qs, p);
        add_ones(&self.qh, 4, &mut p.codes.0);
    }
}

impl Split for BlockQ6K {
    fn split(&self, p: &mut Parts) {
        p.d = self.d.0;
        p.scales = self.scales.map(|s| s as u8);
        for (ql, codes) in self.ql.chunks_exact(64).zip(p.codes.0.chunks_exact_mut(128)) {
            split_nibbles(ql, codes);
        }
        add_twos(&self.qh, 4, &mut p.codes.0);
    }
}

/// Packs up to eight rows of `ty`, one after the other in `src`, `row_bytes` each. `out` is a zeroed
/// panel. Rows that are missing stay zero: their scales are, so they count for nothing.
pub(crate) fn pack_panel(ty: TensorType, src: &[u8], row_bytes: usize, out: &mut [u8]) {
    assert!(src.len() <= PANEL * row_bytes, "a panel has {PANEL} rows");
    let Some(l) = layout(ty) else {
        return match ty.block_bytes() {
            4 => interleave::<4>(src, row_bytes, out),
            _ => interleave::<2>(src, row_bytes, out),
        };
    };
    match ty {
        TensorType::Q8_0 => pack_blocks::<BlockQ8_0>(&l, src, row_bytes, out),
        TensorType::Q4_0 => pack_blocks::<BlockQ4_0>(&l, src, row_bytes, out),
        TensorType::Q4_1 => pack_blocks::<BlockQ4_1>(&l, src, row_bytes, out),
        TensorType::Q5_0 => pack_blocks::<BlockQ5_0>(&l, src, row_bytes, out),
        TensorType::Q5_1 => pack_blocks::<BlockQ5_1>(&l, src, row_bytes, out),
        TensorType::Q2_K => pack_blocks::<BlockQ2K>(&l, src, row_bytes, out),
        TensorType::Q3_K => pack_blocks::<BlockQ3K>(&l, src, row_bytes, out),
        TensorType::Q4_K => pack_blocks::<BlockQ4K>(&l, src, row_bytes, out),
        TensorType::Q5_K => pack_blocks::<BlockQ5K>(&l, src, row_bytes, out),
        TensorType::Q6_K => pack_blocks::<BlockQ6K>(&l, src, row_bytes, out),
        TensorType::IQ4_NL => pack_blocks::<BlockIq4Nl>(&l, src, row_bytes, out),
        TensorType::IQ4_XS => pack_blocks::<BlockIq4Xs>(&l, src, row_bytes, out),
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => unreachable!("not in blocks"),
    }
}

/// Plain values of `SIZE` bytes: `[k, PANEL]`.
fn interleave<const SIZE: usize>(src: &[u8], row_bytes: usize, out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<SIZE>();
    for (r, row) in src.chunks_exact(row_bytes).enumerate() {
        for (value, out) in row.as_chunks::<SIZE>().0.iter().zip(out.chunks_exact_mut(PANEL)) {
            out[r] = *value;
        }
    }
}

/// [`pack_panel`] for a block type known at compile time.
fn pack_blocks<B: Split>(layout: &Layout, src: &[u8], row_bytes: usize, out: &mut [u8]) {
    let mut parts = Parts::new();
    for (b, out) in out.chunks_exact_mut(layout.bytes).enumerate() {
        for (r, row) in src.chunks_exact(row_bytes).enumerate() {
            let at = b * size_of::<B>();
            blocks::<B>(&row[at..at + size_of::<B>()])[0].split(&mut parts);
            write_block(layout, &parts, r, out);
        }
    }
}

/// Writes row `r`'s part of a packed block.
fn write_block(l: &Layout, p: &Parts, r: usize, out: &mut [u8]) {
    out[2 * r..][..2].copy_from_slice(&p.d);
    if let Some(at) = l.min {
        out[at + 2 * r..][..2].copy_from_slice(&p.min);
    }
    write_scales(l, p, r, out);
    let words: &[u32; 64] = bytemuck::cast_ref(&p.codes.0);
    let words = &words[..l.len / 4];
    if let Some(at) = l.whole {
        write_plane::<1>(words, 0, 0xff, &mut out[at..], r);
    }
    if let Some(at) = l.nibbles {
        write_plane::<2>(words, 0, 0x0f, &mut out[at..], r);
    }
    if let Some(at) = l.twos {
        write_plane::<4>(words, l.twos_shift(), 0x03, &mut out[at..], r);
    }
    if let Some(at) = l.ones {
        write_plane::<8>(words, l.ones_shift(), 0x01, &mut out[at..], r);
    }
}

/// Writes the plane of which `N` quads share a vector: the field `mask << shift` of each code.
fn write_plane<const N: usize>(words: &[u32], shift: u32, mask: u8, plane: &mut [u8], r: usize) {
    let mask = u32::from_ne_bytes([mask; 4]);
    let vectors = plane.chunks_exact_mut(QUAD);
    for (quads, vector) in words.chunks_exact(N).zip(vectors) {
        let mut word = 0;
        for (i, &quad) in quads.iter().enumerate() {
            word |= (quad >> shift & mask) << (i * 8 / N);
        }
        vector[4 * r..][..4].copy_from_slice(&word.to_ne_bytes());
    }
}

fn write_scales(l: &Layout, p: &Parts, r: usize, out: &mut [u8]) {
    let runs = l.runs();
    match l.scales {
        Scales::None => {}
        Scales::Bytes { at } => {
            for (run, &s) in p.scales[..runs].iter().enumerate() {
                out[at + scale_entry(r, run)] = s;
            }
        }
        Scales::Nibbles { at } => {
            for (run, (&s, &m)) in p.scales.iter().zip(&p.mins).enumerate() {
                out[at + scale_entry(r, run)] = s | m << 4;
            }
        }
        Scales::Six { at, bias } => {
            let six = &mut out[at..at + 96];
            for (run, (&s, &m)) in p.scales[..runs].iter().zip(&p.mins).enumerate() {
                write_six(six, scale_entry(r, run), s.wrapping_add(bias));
                if runs == 8 {
                    write_six(six, 64 + scale_entry(r, run), m);
                }
            }
        }
    }
}

fn write_six(six: &mut [u8], i: usize, value: u8) {
    six[i % 32 + 32 * (i / 64)] |= (value & 15) << (4 * (i / 32 % 2));
    six[64 + i % 32] |= (value >> 4) << (2 * (i / 32));
}
