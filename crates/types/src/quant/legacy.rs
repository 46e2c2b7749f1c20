//! The 32-value blocks: one scale (`_0`) or a scale and an offset (`_1`), 4, 5 or 8 bits a value.
//!
//! In the 4-bit part, byte `j` holds value `j` in its low nibble and value `j + 16` in its high one.

use bytemuck::{Pod, Zeroable};

use super::{Block, F16Le, assert_layout};
use crate::TensorType;

/// Values per block of this family.
pub const LEGACY_LEN: usize = 32;
const HALF: usize = LEGACY_LEN / 2;

/// `x = d * (q - 8)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ4_0 {
    /// Scale.
    pub d: F16Le,
    /// `q`, 4 bits each.
    pub qs: [u8; HALF],
}

/// `x = d * q + m`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ4_1 {
    /// Scale.
    pub d: F16Le,
    /// Offset.
    pub m: F16Le,
    /// `q`, 4 bits each.
    pub qs: [u8; HALF],
}

/// `x = d * (q - 16)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ5_0 {
    /// Scale.
    pub d: F16Le,
    /// Bit `j` of this little-endian u32 is the fifth bit of value `j`.
    pub qh: [u8; 4],
    /// The low 4 bits.
    pub qs: [u8; HALF],
}

/// `x = d * q + m`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ5_1 {
    /// Scale.
    pub d: F16Le,
    /// Offset.
    pub m: F16Le,
    /// Bit `j` of this little-endian u32 is the fifth bit of value `j`.
    pub qh: [u8; 4],
    /// The low 4 bits.
    pub qs: [u8; HALF],
}

/// `x = d * q`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BlockQ8_0 {
    /// Scale.
    pub d: F16Le,
    /// `q`, one byte each.
    pub qs: [i8; LEGACY_LEN],
}

assert_layout!(BlockQ4_0);
assert_layout!(BlockQ4_1);
assert_layout!(BlockQ5_0);
assert_layout!(BlockQ5_1);
assert_layout!(BlockQ8_0);

/// Bit 4 of values `j` and `j + 16`, in place.
fn fifth_bits(qh: [u8; 4], j: usize) -> (u8, u8) {
    let bits = u32::from_le_bytes(qh);
    ((((bits >> j) & 1) << 4) as u8, (((bits >> (j + HALF)) & 1) << 4) as u8)
}

impl Block for BlockQ4_0 {
    const TYPE: TensorType = TensorType::Q4_0;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.get();
        for (j, &q) in self.qs.iter().enumerate() {
            out[j] = (i32::from(q & 15) - 8) as f32 * d;
            out[j + HALF] = (i32::from(q >> 4) - 8) as f32 * d;
        }
    }
}

impl Block for BlockQ4_1 {
    const TYPE: TensorType = TensorType::Q4_1;

    fn dequantize(&self, out: &mut [f32]) {
        let (d, m) = (self.d.get(), self.m.get());
        for (j, &q) in self.qs.iter().enumerate() {
            out[j] = f32::from(q & 15) * d + m;
            out[j + HALF] = f32::from(q >> 4) * d + m;
        }
    }
}

impl Block for BlockQ5_0 {
    const TYPE: TensorType = TensorType::Q5_0;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.get();
        for (j, &q) in self.qs.iter().enumerate() {
            let (low, high) = fifth_bits(self.qh, j);
            out[j] = (i32::from(q & 15 | low) - 16) as f32 * d;
            out[j + HALF] = (i32::from(q >> 4 | high) - 16) as f32 * d;
        }
    }
}

impl Block for BlockQ5_1 {
    const TYPE: TensorType = TensorType::Q5_1;

    fn dequantize(&self, out: &mut [f32]) {
        let (d, m) = (self.d.get(), self.m.get());
        for (j, &q) in self.qs.iter().enumerate() {
            let (low, high) = fifth_bits(self.qh, j);
            out[j] = f32::from(q & 15 | low) * d + m;
            out[j + HALF] = f32::from(q >> 4 | high) * d + m;
        }
    }
}

impl Block for BlockQ8_0 {
    const TYPE: TensorType = TensorType::Q8_0;

    fn dequantize(&self, out: &mut [f32]) {
        let d = self.d.get();
        for (x, &q) in out.iter_mut().zip(&self.qs) {
            *x = f32::from(q) * d;
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
    fn q4_0_by_hand() {
        let mut qs = [0x88; 16];
        qs[0] = 0xf0; // value 0 is 0 - 8, value 16 is 15 - 8
        qs[3] = 0x1a;
        let out = values(BlockQ4_0 { d: F16Le::new(0.5), qs });
        assert_eq!((out[0], out[16], out[3], out[19], out[1]), (-4.0, 3.5, 1.0, -3.5, 0.0));
    }

    #[test]
    fn q4_1_by_hand() {
        let mut qs = [0; 16];
        qs[15] = 0x3c;
        let out = values(BlockQ4_1 { d: F16Le::new(0.25), m: F16Le::new(-1.0), qs });
        assert_eq!((out[15], out[31], out[0]), (2.0, -0.25, -1.0));
    }

    #[test]
    fn q5_0_by_hand() {
        let mut qs = [0; 16];
        (qs[0], qs[2]) = (0x21, 0x0f);
        // Fifth bits of values 0, 2 and 16.
        let qh = ((1u32 << 0) | (1 << 2) | (1 << 16)).to_le_bytes();
        let out = values(BlockQ5_0 { d: F16Le::new(2.0), qh, qs });
        assert_eq!((out[0], out[16], out[2], out[18]), (2.0, 4.0, 30.0, -32.0));
    }

    #[test]
    fn q5_1_by_hand() {
        let qh = (1u32 << 31).to_le_bytes();
        let mut qs = [0; 16];
        qs[15] = 0xf0;
        let out = values(BlockQ5_1 { d: F16Le::new(1.0), m: F16Le::new(0.5), qh, qs });
        assert_eq!((out[15], out[31]), (0.5, 31.5));
    }

    #[test]
    fn q8_0_by_hand() {
        let mut qs = [0i8; 32];
        (qs[0], qs[31]) = (-128, 127);
        let out = values(BlockQ8_0 { d: F16Le::new(0.125), qs });
        assert_eq!((out[0], out[1], out[31]), (-16.0, 0.0, 15.875));
    }
}
