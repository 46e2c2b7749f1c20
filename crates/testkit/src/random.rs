//! Numbers that look random and are the same every time.

use garrison_types::TensorType;
use half::{bf16, f16};

/// splitmix64 (Steele, Lea and Flood 2014, figure 11).
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From -1 to 1.
    pub fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// `len` values from -`reach` to `reach`.
    pub fn values(&mut self, len: usize, reach: f32) -> Vec<f32> {
        (0..len).map(|_| self.value() * reach).collect()
    }
}

/// `n` rows of `k` values as `ty` stores them, every bit of the codes random and the scales such
/// that values are of order 1.
///
/// # Panics
/// If `k` is not a whole number of blocks.
pub fn blocks(ty: TensorType, n: usize, k: usize, random: &mut Random) -> Vec<u8> {
    let len = n * ty.row_bytes(k).unwrap();
    if !ty.is_quantized() {
        let to_bytes = |x: f32| match ty {
            TensorType::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
            TensorType::BF16 => bf16::from_f32(x).to_le_bytes().to_vec(),
            _ => x.to_le_bytes().to_vec(),
        };
        return random.values(n * k, 1.0).into_iter().flat_map(to_bytes).collect();
    }
    let mut bytes: Vec<u8> = (0..len).map(|_| random.bits() as u8).collect();
    let (scales, size) = scales(ty);
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        for &at in scales {
            // Of either sign, and varying by a factor of two.
            let scale = size * (1.5 + 0.5 * random.value()) * if random.bits() & 1 == 0 { 1.0 } else { -1.0 };
            block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        }
    }
    bytes
}

/// Where a block's f16 scales are, and how large they are for values of order 1.
pub(crate) fn scales(ty: TensorType) -> (&'static [usize], f32) {
    match ty {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => (&[], 0.0),
        TensorType::Q8_0 => (&[0], 1.0 / 128.0),
        TensorType::Q4_0 => (&[0], 1.0 / 8.0),
        TensorType::Q4_1 => (&[0, 2], 1.0 / 8.0),
        TensorType::Q5_0 => (&[0], 1.0 / 16.0),
        TensorType::Q5_1 => (&[0, 2], 1.0 / 16.0),
        TensorType::Q2_K => (&[80, 82], 1.0 / 16.0),
        TensorType::Q3_K => (&[108], 1.0 / 64.0),
        TensorType::Q4_K => (&[0, 2], 1.0 / 256.0),
        TensorType::Q5_K => (&[0, 2], 1.0 / 512.0),
        TensorType::Q6_K => (&[208], 1.0 / 2048.0),
        TensorType::IQ4_NL => (&[0], 1.0 / 128.0),
        TensorType::IQ4_XS => (&[0], 1.0 / 2048.0),
    }
}

#[cfg(test)]
mod tests {
    use garrison_types::quant::dequantize_row;

    use super::*;

    #[test]
    fn blocks_hold_values_of_order_one() {
        for ty in TensorType::ALL {
            let bytes = blocks(ty, 2, 512, &mut Random::new(1));
            let mut values = vec![0.0; 1024];
            dequantize_row(ty, &bytes, &mut values);
            let rms = (values.iter().map(|x| x * x).sum::<f32>() / 1024.0).sqrt();
            assert!((0.2..5.0).contains(&rms), "{ty}: {rms}");
        }
    }
}
