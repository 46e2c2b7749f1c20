//! Little-endian numbers with alignment 1, the scales of every block and the elements of plain
//! tensors.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

use super::{Block, assert_layout};
use crate::TensorType;

/// An IEEE half, little-endian, unaligned.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct F16Le(pub [u8; 2]);

impl F16Le {
    /// The nearest half, ties to even.
    pub fn new(x: f32) -> Self {
        F16Le(f16::from_f32(x).to_le_bytes())
    }

    /// The value, exactly.
    #[inline]
    pub fn get(self) -> f32 {
        f16::from_le_bytes(self.0).to_f32()
    }
}

/// A bfloat16, little-endian, unaligned.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Bf16Le(pub [u8; 2]);

impl Bf16Le {
    /// The nearest bfloat16, ties to even.
    pub fn new(x: f32) -> Self {
        Bf16Le(bf16::from_f32(x).to_le_bytes())
    }

    /// The value, exactly.
    #[inline]
    pub fn get(self) -> f32 {
        bf16::from_le_bytes(self.0).to_f32()
    }
}

/// An IEEE single, little-endian, unaligned.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct F32Le(pub [u8; 4]);

impl F32Le {
    /// The value's bytes.
    pub fn new(x: f32) -> Self {
        F32Le(x.to_le_bytes())
    }

    /// The value.
    #[inline]
    pub fn get(self) -> f32 {
        f32::from_le_bytes(self.0)
    }
}

macro_rules! plain_block {
    ($number:ty, $ty:ident) => {
        impl Block for $number {
            const TYPE: TensorType = TensorType::$ty;

            #[inline]
            fn dequantize(&self, out: &mut [f32]) {
                out[0] = self.get();
            }
        }
        assert_layout!($number);
    };
}

plain_block!(F32Le, F32);
plain_block!(F16Le, F16);
plain_block!(Bf16Le, BF16);
