//! f32 rows into any storage type.
//!
//! Every block type comes down to one of three weighted least-squares searches ([`search`]): a
//! scale, a scale and an offset, or a scale over a codebook. What differs per type is how many
//! values share one, and how the scales themselves are stored.

mod file;
mod iq4;
mod k;
mod legacy;
mod mix;
mod search;

pub(crate) use file::convert;
pub use file::{Progress, quantize_file};
pub use mix::{Mix, UnknownMix};

use garrison_types::TensorType;
use garrison_types::quant::{Bf16Le, Block, F16Le, F32Le};

use crate::error::{Error, Result};

/// The largest half; scales are halves, so blocks cannot hold more.
const MAX_HALF: f32 = 65504.0;

/// Quantizes whole rows, `values: [n * block_len]` into `out: [n * block_bytes]`.
///
/// # Errors
/// If a value is not finite, or too large for the type.
///
/// # Panics
/// If the lengths do not hold the same number of whole blocks.
pub fn quantize_row(ty: TensorType, values: &[f32], out: &mut [u8]) -> Result<()> {
    let most = if matches!(ty, TensorType::F32 | TensorType::BF16) { f32::MAX } else { MAX_HALF };
    if let Some((i, x)) = values.iter().enumerate().find(|(_, x)| x.is_nan() || x.abs() > most) {
        return Err(Error::Unsupported(format!("value {i} is {x}, which {ty} cannot hold")));
    }
    match ty {
        TensorType::F32 => each(values, out, |x: &[f32; 1]| F32Le::new(x[0])),
        TensorType::F16 => each(values, out, |x: &[f32; 1]| F16Le::new(x[0])),
        TensorType::BF16 => each(values, out, |x: &[f32; 1]| Bf16Le::new(x[0])),
        TensorType::Q8_0 => each(values, out, legacy::q8_0),
        TensorType::Q4_0 => each(values, out, legacy::q4_0),
        TensorType::Q4_1 => each(values, out, legacy::q4_1),
        TensorType::Q5_0 => each(values, out, legacy::q5_0),
        TensorType::Q5_1 => each(values, out, legacy::q5_1),
        TensorType::Q2_K => each(values, out, k::q2_k),
        TensorType::Q3_K => each(values, out, k::q3_k),
        TensorType::Q4_K => each(values, out, k::q4_k),
        TensorType::Q5_K => each(values, out, k::q5_k),
        TensorType::Q6_K => each(values, out, k::q6_k),
        TensorType::IQ4_NL => each(values, out, iq4::iq4_nl),
        TensorType::IQ4_XS => each(values, out, iq4::iq4_xs),
    }
    Ok(())
}

/// Quantizes block by block.
fn each<B: Block, const N: usize>(values: &[f32], out: &mut [u8], quantize: impl Fn(&[f32; N]) -> B) {
    const { assert!(B::LEN == N) };
    let (whole, rest) = values.as_chunks::<N>();
    let blocks: &mut [B] = bytemuck::cast_slice_mut(out);
    assert!(rest.is_empty() && whole.len() == blocks.len(), "{} values of type {}", values.len(), B::TYPE);
    for (block, x) in blocks.iter_mut().zip(whole) {
        *block = quantize(x);
    }
}

/// Splits a super-block into its runs.
fn runs<const RUN: usize>(x: &[f32; 256]) -> &[[f32; RUN]] {
    x.as_chunks::<RUN>().0
}
