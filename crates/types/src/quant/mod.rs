//! Quantized blocks as ggml lays them out, and their meaning in f32.
//!
//! This is the scalar reference that every kernel, quantizer and test compares with, so it is
//! written for reading, not for speed. Blocks are made of bytes only, so their alignment is 1: a
//! mapped file, an embedded model and a heap buffer can all be viewed as blocks in place, wherever
//! they start.

mod half_le;
pub mod iq4;
pub mod k;
pub mod legacy;
mod parts;

pub use half_le::{Bf16Le, F16Le, F32Le};
pub use iq4::{BlockIq4Nl, BlockIq4Xs, IQ4_CODEBOOK};
pub use k::{
    BlockQ2K, BlockQ3K, BlockQ4K, BlockQ5K, BlockQ6K, K_LEN, q3k_pack_scales, q3k_scales,
    q4k_pack_scales_mins, q4k_scales_mins,
};
pub use legacy::{BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, LEGACY_LEN};
pub use parts::{Codes, Parts, Split};

use bytemuck::Pod;

use crate::TensorType;

/// A storage block: `LEN` values in `size_of::<Self>()` bytes, alignment 1.
pub trait Block: Pod {
    /// The tensor type made of these blocks.
    const TYPE: TensorType;
    /// Values per block.
    const LEN: usize = Self::TYPE.block_len();

    /// Writes the block's values, `out: [LEN]`.
    fn dequantize(&self, out: &mut [f32]);
}

/// Views bytes as blocks, without copying.
///
/// # Panics
/// If `bytes` is not a whole number of blocks: lengths are validated when a file is opened.
pub fn blocks<B: Block>(bytes: &[u8]) -> &[B] {
    bytemuck::cast_slice(bytes)
}

/// Dequantizes whole rows of `ty` into `out`, exactly as ggml's reference does.
///
/// # Panics
/// If the two lengths do not hold the same number of whole blocks.
pub fn dequantize_row(ty: TensorType, bytes: &[u8], out: &mut [f32]) {
    match ty {
        TensorType::F32 => dequantize_blocks::<F32Le>(bytes, out),
        TensorType::F16 => dequantize_blocks::<F16Le>(bytes, out),
        TensorType::BF16 => dequantize_blocks::<Bf16Le>(bytes, out),
        TensorType::Q8_0 => dequantize_blocks::<BlockQ8_0>(bytes, out),
        TensorType::Q4_0 => dequantize_blocks::<BlockQ4_0>(bytes, out),
        TensorType::Q4_1 => dequantize_blocks::<BlockQ4_1>(bytes, out),
        TensorType::Q5_0 => dequantize_blocks::<BlockQ5_0>(bytes, out),
        TensorType::Q5_1 => dequantize_blocks::<BlockQ5_1>(bytes, out),
        TensorType::Q2_K => dequantize_blocks::<BlockQ2K>(bytes, out),
        TensorType::Q3_K => dequantize_blocks::<BlockQ3K>(bytes, out),
        TensorType::Q4_K => dequantize_blocks::<BlockQ4K>(bytes, out),
        TensorType::Q5_K => dequantize_blocks::<BlockQ5K>(bytes, out),
        TensorType::Q6_K => dequantize_blocks::<BlockQ6K>(bytes, out),
        TensorType::IQ4_NL => dequantize_blocks::<BlockIq4Nl>(bytes, out),
        TensorType::IQ4_XS => dequantize_blocks::<BlockIq4Xs>(bytes, out),
    }
}

/// [`dequantize_row`] for a block type known at compile time.
///
/// # Panics
/// As [`dequantize_row`].
pub fn dequantize_blocks<B: Block>(bytes: &[u8], out: &mut [f32]) {
    let blocks = blocks::<B>(bytes);
    assert_eq!(
        blocks.len() * B::LEN,
        out.len(),
        "{} blocks of {} for {} values",
        blocks.len(),
        B::TYPE,
        out.len()
    );
    for (block, values) in blocks.iter().zip(out.chunks_exact_mut(B::LEN)) {
        block.dequantize(values);
    }
}

/// Fails to compile if a block's size or alignment is not what the file format says.
macro_rules! assert_layout {
    ($block:ty) => {
        const _: () = {
            let ty = <$block as $crate::quant::Block>::TYPE;
            assert!(size_of::<$block>() == ty.block_bytes());
            assert!(<$block as $crate::quant::Block>::LEN == ty.block_len());
            assert!(align_of::<$block>() == 1);
        };
    };
}
pub(crate) use assert_layout;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_dequantizes_zero_bytes_to_finite_values() {
        for ty in TensorType::ALL {
            let bytes = vec![0u8; ty.block_bytes() * 3];
            let mut out = vec![f32::NAN; ty.block_len() * 3];
            dequantize_row(ty, &bytes, &mut out);
            assert!(out.iter().all(|&x| x == 0.0), "{ty}: {:?}", &out[..4]);
        }
    }

    #[test]
    fn unaligned_bytes_are_fine() {
        let mut bytes = [0u8; 1 + 8];
        bytes[1..5].copy_from_slice(&1.5f32.to_le_bytes());
        bytes[5..9].copy_from_slice(&(-2.0f32).to_le_bytes());
        let mut out = [0.0; 2];
        dequantize_row(TensorType::F32, &bytes[1..], &mut out);
        assert_eq!(out, [1.5, -2.0]);
    }

    #[test]
    fn half_types_widen_exactly() {
        let mut out = [0.0; 2];
        dequantize_row(TensorType::F16, &[0x00, 0x3c, 0x00, 0xc1], &mut out);
        assert_eq!(out, [1.0, -2.5]);
        dequantize_row(TensorType::BF16, &[0x80, 0x3f, 0x20, 0xc0], &mut out);
        assert_eq!(out, [1.0, -2.5]);
    }

    #[test]
    #[should_panic(expected = "blocks of Q8_0")]
    fn lengths_must_agree() {
        dequantize_row(TensorType::Q8_0, &[0; 34], &mut [0.0; 64]);
    }
}
