//! The non-linear 4-bit types: a nibble indexes a fixed codebook, denser around zero.
//!
//! Both keep value `j` of a run of 32 in the low nibble of byte `j` and value `j + 16` in the high
//! one.

use bytemuck::{Pod, Zeroable};

use super::{Block, F16Le, assert_layout};
use crate::TensorType;

/// What a nibble stands for, before scaling.
pub const IQ4_CODEBOOK: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// `x = d * codebook[q]`, 32 values.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockIq4Nl {
    /// Scale.
    pub d: F16Le,
    /// `q`, 4 bits each.
    pub qs: [u8; 16],
}

/// `x = d * (s - 32) * codebook[q]` with a 6-bit `s` for each of 8 runs of 32 values.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockIq4Xs {
    /// Scale of the scales.
    pub d: F16Le,
    /// High 2 bits of the 8 scales, a little-endian u16, run 0 lowest.
    pub scales_h: [u8; 2],
    /// Low 4 bits of the 8 scales, run 0 in the low nibble of byte 0.
    pub scales_l: [u8; 4],
    /// `q`, 4 bits each, 16 bytes a run.
    pub qs: [u8; 128],
}

assert_layout!(BlockIq4Nl);
assert_layout!(BlockIq4Xs);

impl BlockIq4Xs {
    /// The scales of the 8 runs, offset removed: -32 to 31.
    pub fn scales(&self) -> [i8; 8] {
        let high = u16::from_le_bytes(self.scales_h);
        std::array::from_fn(|run| {
            let low = (self.scales_l[run / 2] >> (4 * (run % 2))) & 15;
            let bits = low | ((((high >> (2 * run)) & 3) as u8) << 4);
            bits as i8 - 32
        })
    }

    /// Packs scales of -32 to 31 the way [`BlockIq4Xs::scales`] reads them.
    pub fn set_scales(&mut self, scales: [i8; 8]) {
        let mut high = 0u16;
        self.scales_l = [0; 4];
        for (run, s) in scales.into_iter().enumerate() {
            let bits = (s + 32) as u8;
            self.scales_l[run / 2] |= (bits & 15) << (4 * (run % 2));
            high |= u16::from(bits >> 4) << (2 * run);
        }
        self.scales_h = high.to_le_bytes();
    }
}

fn look_up(d: f32, qs: &[u8], out: &mut [f32]) {
    for (j, &q) in qs.iter().enumerate() {
        out[j] = d * f32::from(IQ4_CODEBOOK[usize::from(q & 15)]);
        out[j + 16] = d * f32::from(IQ4_CODEBOOK[usize::from(q >> 4)]);
    }
}

impl Block for BlockIq4Nl {
    const TYPE: TensorType = TensorType::IQ4_NL;

    fn dequantize(&self, out: &mut [f32]) {
        look_up(self.d.get(), &self.qs, out);
    }
}

impl Block for BlockIq4Xs {
    const TYPE: TensorType = TensorType::IQ4_XS;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.get();
        let runs = self.qs.chunks_exact(16).zip(out.chunks_exact_mut(32));
        for (s, (qs, out)) in self.scales().into_iter().zip(runs) {
            look_up(d * f32::from(s), qs, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iq4_nl_by_hand() {
        let mut qs = [0x88; 16];
        qs[2] = 0xf0;
        let mut out = [0.0; 32];
        BlockIq4Nl { d: F16Le::new(0.5), qs }.dequantize(&mut out);
        assert_eq!((out[2], out[18], out[0], out[31]), (-63.5, 56.5, 0.5, 0.5));
    }

    #[test]
    fn iq4_xs_scales_round_trip_and_apply() {
        let scales = [-32, 31, 0, -1, 17, -20, 5, 1];
        let mut block =
            BlockIq4Xs { d: F16Le::new(1.0), scales_h: [0; 2], scales_l: [0; 4], qs: [0x88; 128] };
        block.set_scales(scales);
        assert_eq!(block.scales(), scales);
        block.qs[16] = 0xf7; // run 1, values 0 and 16
        let mut out = [0.0; 256];
        block.dequantize(&mut out);
        assert_eq!(out[0], -32.0);
        assert_eq!(out[32], 31.0 * -10.0);
        assert_eq!(out[48], 31.0 * 113.0);
        assert_eq!(out[255], 1.0);
    }

    #[test]
    fn iq4_xs_bits_lie_where_ggml_puts_them() {
        let block = BlockIq4Xs {
            d: F16Le::new(1.0),
            scales_h: [0b01_00_00_10, 0b11_00_00_00],
            scales_l: [0x21, 0, 0, 0xf0],
            qs: [0; 128],
        };
        // Run 0: 1 + 2*16; run 1: 2; run 3: 16; run 7: 15 + 3*16.
        assert_eq!(block.scales(), [1, -30, -32, -16, -32, -32, -32, 31]);
    }
}
