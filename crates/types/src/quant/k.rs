//! The k-quants: super-blocks of 256 values, with 4- or 6-bit scales per run of 16 or 32 values
//! and one or two halves that scale those.

use bytemuck::{Pod, Zeroable};

use super::{Block, F16Le, assert_layout};
use crate::TensorType;

/// Values per block of this family.
pub const K_LEN: usize = 256;

/// `x = d * s * q - dmin * m`, 2-bit `q`; 16 runs of 16.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ2K {
    /// Per run: `s` in the low nibble, `m` in the high one.
    pub scales: [u8; 16],
    /// In each half of 128 values, byte `l` of 32 holds values `l`, `l + 32`, `l + 64`, `l + 96`,
    /// lowest bits first.
    pub qs: [u8; 64],
    /// Scale of the scales.
    pub d: F16Le,
    /// Scale of the minimums.
    pub dmin: F16Le,
}

/// `x = d * (s - 32) * (q - 4)`, 3-bit `q`; 16 runs of 16, see [`q3k_scales`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ3K {
    /// Byte `l`, bit `j`: the third bit of value `32 * j + l`.
    pub hmask: [u8; 32],
    /// The low 2 bits, as in [`BlockQ2K::qs`].
    pub qs: [u8; 64],
    /// 16 packed 6-bit scales.
    pub scales: [u8; 12],
    /// Scale of the scales.
    pub d: F16Le,
}

/// `x = d * s * q - dmin * m`, 4-bit `q`; 8 runs of 32, see [`q4k_scales_mins`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ4K {
    /// Scale of the scales.
    pub d: F16Le,
    /// Scale of the minimums.
    pub dmin: F16Le,
    /// 8 packed pairs of 6-bit scale and minimum.
    pub scales: [u8; 12],
    /// In each quarter of 64 values, byte `l` of 32 holds value `l` low and `l + 32` high.
    pub qs: [u8; 128],
}

/// `x = d * s * q - dmin * m`, 5-bit `q`; 8 runs of 32, see [`q4k_scales_mins`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ5K {
    /// Scale of the scales.
    pub d: F16Le,
    /// Scale of the minimums.
    pub dmin: F16Le,
    /// 8 packed pairs of 6-bit scale and minimum.
    pub scales: [u8; 12],
    /// Byte `l`, bit `r`: the fifth bit of value `l` of run `r`.
    pub qh: [u8; 32],
    /// The low 4 bits, as in [`BlockQ4K::qs`].
    pub qs: [u8; 128],
}

/// `x = d * s * (q - 32)`, 6-bit `q`; 16 runs of 16.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ6K {
    /// Low 4 bits: in each half of 128 values, byte `l` of 64 holds value `l` low and `l + 64` high.
    pub ql: [u8; 128],
    /// High 2 bits: in each half, byte `l` of 32 holds values `l`, `l + 32`, `l + 64`, `l + 96`,
    /// lowest bits first.
    pub qh: [u8; 64],
    /// Per run.
    pub scales: [i8; 16],
    /// Scale of the scales.
    pub d: F16Le,
}

assert_layout!(BlockQ2K);
assert_layout!(BlockQ3K);
assert_layout!(BlockQ4K);
assert_layout!(BlockQ5K);
assert_layout!(BlockQ6K);

/// Unpacks the 8 scales and 8 minimums (0 to 63) of Q4_K and Q5_K.
///
/// The first four scales and minimums have their 6 bits in one byte; those of the last four are
/// nibbles of bytes 8 to 11, topped by the two spare bits of bytes 0 to 7.
#[inline]
pub fn q4k_scales_mins(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = (packed[j + 8] & 15) | ((packed[j] >> 6) << 4);
        mins[j + 4] = (packed[j + 8] >> 4) | ((packed[j + 4] >> 6) << 4);
    }
    (scales, mins)
}

/// Packs scales and minimums of 0 to 63 the way [`q4k_scales_mins`] reads them.
pub fn q4k_pack_scales_mins(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = scales[j] | ((scales[j + 4] >> 4) << 6);
        packed[j + 4] = mins[j] | ((mins[j + 4] >> 4) << 6);
        packed[j + 8] = (scales[j + 4] & 15) | ((mins[j + 4] & 15) << 4);
    }
    packed
}

/// Unpacks the 16 scales of Q3_K, offset removed: -32 to 31.
///
/// The low nibbles are those of bytes 0 to 7 (scales 0 to 7 low, 8 to 15 high); bytes 8 to 11
/// hold the high bits, two per scale, byte `8 + i % 4` for scale `i`.
#[inline]
pub fn q3k_scales(packed: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|i| {
        let low = (packed[i % 8] >> (4 * (i / 8))) & 15;
        let high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
        (low | (high << 4)) as i8 - 32
    })
}

/// Packs scales of -32 to 31 the way [`q3k_scales`] reads them.
pub fn q3k_pack_scales(scales: &[i8; 16]) -> [u8; 12] {
    let mut packed = [0; 12];
    for (i, &s) in scales.iter().enumerate() {
        let bits = (s + 32) as u8;
        packed[i % 8] |= (bits & 15) << (4 * (i / 8));
        packed[8 + i % 4] |= (bits >> 4) << (2 * (i / 4));
    }
    packed
}

impl Block for BlockQ2K {
    const TYPE: TensorType = TensorType::Q2_K;

    fn dequantize(&self, out: &mut [f32]) {
        let (d, dmin) = (self.d.get(), self.dmin.get());
        for (run, out) in out.chunks_exact_mut(16).enumerate() {
            let scale = d * f32::from(self.scales[run] & 15);
            let min = dmin * f32::from(self.scales[run] >> 4);
            let (qs, shift) = two_bit_run(&self.qs, run);
            for (x, &q) in out.iter_mut().zip(qs) {
                *x = scale * f32::from((q >> shift) & 3) - min;
            }
        }
    }
}

impl Block for BlockQ3K {
    const TYPE: TensorType = TensorType::Q3_K;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.get();
        let scales = q3k_scales(&self.scales);
        for (run, out) in out.chunks_exact_mut(16).enumerate() {
            let scale = d * f32::from(scales[run]);
            let (qs, shift) = two_bit_run(&self.qs, run);
            let masks = &self.hmask[16 * (run % 2)..][..16];
            for ((x, &q), &mask) in out.iter_mut().zip(qs).zip(masks) {
                let high = (mask >> (run / 2)) & 1;
                *x = scale * f32::from(((q >> shift) & 3 | (high << 2)) as i8 - 4);
            }
        }
    }
}

/// The 16 bytes and the shift that hold run `run`'s low bits in Q2_K and Q3_K.
fn two_bit_run(qs: &[u8; 64], run: usize) -> (&[u8], usize) {
    (&qs[32 * (run / 8) + 16 * (run % 2)..][..16], 2 * (run % 8 / 2))
}

impl Block for BlockQ4K {
    const TYPE: TensorType = TensorType::Q4_K;

    fn dequantize(&self, out: &mut [f32]) {
        let (d, dmin) = (self.d.get(), self.dmin.get());
        let (scales, mins) = q4k_scales_mins(&self.scales);
        for (run, out) in out.chunks_exact_mut(32).enumerate() {
            let (scale, min) = (d * f32::from(scales[run]), dmin * f32::from(mins[run]));
            let qs = &self.qs[32 * (run / 2)..][..32];
            for (x, &q) in out.iter_mut().zip(qs) {
                *x = scale * f32::from((q >> (4 * (run % 2))) & 15) - min;
            }
        }
    }
}

impl Block for BlockQ5K {
    const TYPE: TensorType = TensorType::Q5_K;

    fn dequantize(&self, out: &mut [f32]) {
        let (d, dmin) = (self.d.get(), self.dmin.get());
        let (scales, mins) = q4k_scales_mins(&self.scales);
        for (run, out) in out.chunks_exact_mut(32).enumerate() {
            let (scale, min) = (d * f32::from(scales[run]), dmin * f32::from(mins[run]));
            let qs = &self.qs[32 * (run / 2)..][..32];
            for ((x, &q), &qh) in out.iter_mut().zip(qs).zip(&self.qh) {
                let low = (q >> (4 * (run % 2))) & 15;
                *x = scale * f32::from(low | (((qh >> run) & 1) << 4)) - min;
            }
        }
    }
}

impl Block for BlockQ6K {
    const TYPE: TensorType = TensorType::Q6_K;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.get();
        for (run, out) in out.chunks_exact_mut(16).enumerate() {
            let scale = d * f32::from(self.scales[run]);
            // Runs 0-1, 2-3, 4-5, 6-7 of a half are its four groups of 32 values.
            let (half, group, part) = (run / 8, run % 8 / 2, run % 2);
            let ql = &self.ql[64 * half + 32 * (group % 2) + 16 * part..][..16];
            let qh = &self.qh[32 * half + 16 * part..][..16];
            for ((x, &l), &h) in out.iter_mut().zip(ql).zip(qh) {
                let bits = (l >> (4 * (group / 2))) & 15 | (((h >> (2 * group)) & 3) << 4);
                *x = scale * f32::from(bits as i8 - 32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<B: Block>(block: B) -> Vec<f32> {
        let mut out = vec![f32::NAN; B::LEN];
        block.dequantize(&mut out);
        out
    }

    #[test]
    fn q4k_scales_round_trip() {
        let scales = [0, 63, 17, 32, 48, 15, 16, 63];
        let mins = [63, 1, 2, 40, 33, 62, 7, 0];
        assert_eq!(q4k_scales_mins(&q4k_pack_scales_mins(&scales, &mins)), (scales, mins));
    }

    #[test]
    fn q4k_bits_lie_where_ggml_puts_them() {
        let mut packed = [0u8; 12];
        packed[1] = 0b10_000101; // scale 1 is 5; scale 5's high bits are 2
        packed[5] = 0b01_000011; // min 1 is 3; min 5's high bits are 1
        packed[9] = 0x7c; // scale 5's low nibble is 12, min 5's is 7
        let (scales, mins) = q4k_scales_mins(&packed);
        assert_eq!((scales[1], scales[5], mins[1], mins[5]), (5, 44, 3, 23));
    }

    #[test]
    fn q3k_scales_round_trip() {
        let scales = [-32, 31, 0, 1, -1, 15, -16, 16, 7, 8, -8, 30, -31, 2, 3, -17];
        assert_eq!(q3k_scales(&q3k_pack_scales(&scales)), scales);
    }

    #[test]
    fn q3k_bits_lie_where_ggml_puts_them() {
        let mut packed = [0u8; 12];
        packed[2] = 0x53; // scale 2 low nibble 3, scale 10 low nibble 5
        packed[10] = 0b11_10_01_00; // high bits of scales 2, 6, 10, 14
        let scales = q3k_scales(&packed);
        assert_eq!((scales[2], scales[6], scales[10], scales[14]), (3 - 32, 16 - 32, 5 + 32 - 32, 48 - 32));
    }

    #[test]
    fn q2k_by_hand() {
        let mut block = BlockQ2K::zeroed();
        (block.d, block.dmin) = (F16Le::new(0.5), F16Le::new(0.25));
        block.scales[0] = 0x23;
        block.scales[11] = 0x0f; // half 1, group 1, second 16: values 128 + 32 + 16 ..
        block.qs[0] = 0b01; // value 0
        block.qs[32 + 16] = 0b1100; // half 1, byte 16, group 1
        let out = values(block);
        assert_eq!(out[0], 0.5 * 3.0 - 0.25 * 2.0);
        assert_eq!(out[1], -0.5);
        assert_eq!(out[128 + 32 + 16], 0.5 * 15.0 * 3.0);
        assert_eq!(out[128 + 32 + 17], 0.0);
    }

    #[test]
    fn q3k_by_hand() {
        let mut block = BlockQ3K::zeroed();
        block.d = F16Le::new(0.5);
        let mut scales = [0; 16];
        (scales[0], scales[15]) = (2, -3);
        block.scales = q3k_pack_scales(&scales);
        block.qs[0] = 3; // value 0
        block.hmask[0] = 1; // its third bit
        block.qs[63] = 0b10 << 6; // value 255, third bit clear
        let out = values(block);
        assert_eq!((out[0], out[1]), (3.0, -4.0));
        assert_eq!((out[255], out[254]), (0.5 * -3.0 * -2.0, 0.5 * -3.0 * -4.0));
        assert_eq!(out[100], 0.0);
    }

    #[test]
    fn q4k_by_hand() {
        let mut block = BlockQ4K::zeroed();
        (block.d, block.dmin) = (F16Le::new(0.5), F16Le::new(0.125));
        block.scales = q4k_pack_scales_mins(&[1, 2, 0, 0, 0, 0, 0, 40], &[8, 0, 0, 0, 0, 0, 0, 16]);
        block.qs[0] = 0x5a;
        block.qs[127] = 0x70;
        let out = values(block);
        assert_eq!((out[0], out[32], out[1]), (10.0 * 0.5 - 1.0, 5.0, -1.0));
        assert_eq!((out[255], out[254]), (7.0 * 20.0 - 2.0, -2.0));
    }

    #[test]
    fn q5k_by_hand() {
        let mut block = BlockQ5K::zeroed();
        (block.d, block.dmin) = (F16Le::new(0.5), F16Le::new(0.125));
        block.scales = q4k_pack_scales_mins(&[1, 2, 0, 0, 0, 0, 0, 40], &[8, 0, 0, 0, 0, 0, 0, 16]);
        block.qs[0] = 0x5a;
        block.qs[127] = 0x70;
        block.qh[0] = 0b10; // value 0 of run 1
        block.qh[31] = 0b1000_0000; // value 31 of run 7
        let out = values(block);
        assert_eq!((out[0], out[32], out[1]), (4.0, 21.0, -1.0));
        assert_eq!((out[255], out[254]), (23.0 * 20.0 - 2.0, -2.0));
    }

    #[test]
    fn q6k_by_hand() {
        let mut block = BlockQ6K::zeroed();
        block.d = F16Le::new(0.5);
        (block.scales[0], block.scales[5], block.scales[15]) = (2, -4, 10);
        block.ql[0] = 0x0f; // value 0: 15 + 1 * 16
        block.qh[0] = 0b01;
        block.ql[16] = 0x20; // value 64 + 16: run 5 of half 0, high nibble
        block.qh[16] = 0b11_0000;
        block.ql[127] = 0x30; // value 255
        block.qh[63] = 0b10 << 6;
        let out = values(block);
        assert_eq!(out[0], 31.0 - 32.0);
        assert_eq!(out[80], -2.0 * (2.0 + 48.0 - 32.0));
        assert_eq!(out[255], 5.0 * (3.0 + 32.0 - 32.0));
        assert_eq!(out[1], -32.0);
    }
}
