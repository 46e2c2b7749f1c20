//! Blocks taken apart into byte-wide codes and scales, which backends arrange as their kernels like.
//! No value is ever computed: what comes out are the file's integers.

use super::{
    Block, BlockIq4Nl, BlockIq4Xs, BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1,
    BlockQ5K, BlockQ6K, BlockQ8_0, q3k_scales, q4k_scales_mins,
};
use crate::TensorType;

/// A block of one row, taken apart.
pub struct Parts {
    /// f16 bits of the scale.
    pub d: [u8; 2],
    /// f16 bits of the scale of the minimums, or of what is added.
    pub min: [u8; 2],
    /// Codes in the order of their values; the first `len` count.
    pub codes: Codes,
    /// Integer scales; the first `runs` count. Signed ones as their bits.
    pub scales: [u8; 16],
    /// Integer minimums.
    pub mins: [u8; 16],
}

/// 256 bytes that can be read as words.
#[repr(align(4))]
pub struct Codes([u8; 256]);

impl Codes {
    /// Four to a word, in memory's order.
    pub fn words(&self) -> &[u32; 64] {
        bytemuck::cast_ref(&self.0)
    }
}

impl Parts {
    /// Takes a block of a quantized type apart.
    ///
    /// # Panics
    /// If `block` is not one block of `ty`, or `ty` is not quantized.
    pub fn read(&mut self, ty: TensorType, block: &[u8]) {
        match ty {
            TensorType::Q8_0 => bytemuck::from_bytes::<BlockQ8_0>(block).split(self),
            TensorType::Q4_0 => bytemuck::from_bytes::<BlockQ4_0>(block).split(self),
            TensorType::Q4_1 => bytemuck::from_bytes::<BlockQ4_1>(block).split(self),
            TensorType::Q5_0 => bytemuck::from_bytes::<BlockQ5_0>(block).split(self),
            TensorType::Q5_1 => bytemuck::from_bytes::<BlockQ5_1>(block).split(self),
            TensorType::Q2_K => bytemuck::from_bytes::<BlockQ2K>(block).split(self),
            TensorType::Q3_K => bytemuck::from_bytes::<BlockQ3K>(block).split(self),
            TensorType::Q4_K => bytemuck::from_bytes::<BlockQ4K>(block).split(self),
            TensorType::Q5_K => bytemuck::from_bytes::<BlockQ5K>(block).split(self),
            TensorType::Q6_K => bytemuck::from_bytes::<BlockQ6K>(block).split(self),
            TensorType::IQ4_NL => bytemuck::from_bytes::<BlockIq4Nl>(block).split(self),
            TensorType::IQ4_XS => bytemuck::from_bytes::<BlockIq4Xs>(block).split(self),
            TensorType::F32 | TensorType::F16 | TensorType::BF16 => unreachable!("{ty} is not in blocks"),
        }
    }
}

impl Default for Parts {
    fn default() -> Parts {
        Parts { d: [0; 2], min: [0; 2], codes: Codes([0; 256]), scales: [0; 16], mins: [0; 16] }
    }
}

/// A storage block that can be taken apart.
pub trait Split: Block {
    /// Overwrites what counts of `parts`.
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
