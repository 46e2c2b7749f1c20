//! Random blocks of a given standard deviation.

use bytemuck::Zeroable;
use garrison_types::TensorType;
use garrison_types::quant::{
    Bf16Le, Block, BlockIq4Nl, BlockIq4Xs, BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0,
    BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0, F16Le, F32Le, dequantize_row, q3k_pack_scales,
    q4k_pack_scales_mins,
};

/// splitmix64 (Steele, Lea, Flood 2014): a counter and a mixer, so any position can be a start.
pub(super) struct Random(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The generator of one stretch of one tensor.
    pub(super) fn at(seed: u64, tensor: u64, stretch: u64) -> Random {
        Random(mix(mix(mix(seed).wrapping_add(tensor)).wrapping_add(stretch)))
    }

    #[inline]
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = self.bits().to_le_bytes();
        }
        let last = self.bits().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// Makes blocks of one type, scaled once.
pub(super) struct BlockMaker {
    ty: TensorType,
    /// The block scale that gives the deviation wanted.
    d: f32,
}

impl BlockMaker {
    pub(super) fn new(ty: TensorType, deviation: f32) -> BlockMaker {
        // Measured rather than derived, so that there is one statement of what is random: below.
        let unit = BlockMaker { ty, d: 1.0 };
        let n_blocks = 4096usize.div_ceil(ty.block_len());
        let mut bytes = vec![0; n_blocks * ty.block_bytes()];
        unit.fill(&mut Random::at(0, 0, 0), &mut bytes);
        let mut values = vec![0.0; n_blocks * ty.block_len()];
        dequantize_row(ty, &bytes, &mut values);
        let variance = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
        BlockMaker { ty, d: deviation / variance.sqrt() }
    }

    /// Fills whole blocks.
    pub(super) fn fill(&self, random: &mut Random, bytes: &mut [u8]) {
        random.fill(bytes);
        match self.ty {
            TensorType::F32 => self.levels(random, bytes, F32Le::new),
            TensorType::F16 => self.levels(random, bytes, F16Le::new),
            TensorType::BF16 => self.levels(random, bytes, Bf16Le::new),
            TensorType::Q8_0 => self.each(random, bytes, q8_0),
            TensorType::Q4_0 => {
                self.each(random, bytes, |b: &mut BlockQ4_0, d, r| b.d = F16Le::new(signed(d, r)))
            }
            TensorType::Q5_0 => {
                self.each(random, bytes, |b: &mut BlockQ5_0, d, r| b.d = F16Le::new(signed(d, r)))
            }
            TensorType::IQ4_NL => {
                self.each(random, bytes, |b: &mut BlockIq4Nl, d, r| b.d = F16Le::new(signed(d, r)))
            }
            TensorType::Q4_1 => self.each(random, bytes, |b: &mut BlockQ4_1, d, _| {
                (b.d, b.m) = (F16Le::new(d), F16Le::new(-7.5 * d));
            }),
            TensorType::Q5_1 => self.each(random, bytes, |b: &mut BlockQ5_1, d, _| {
                (b.d, b.m) = (F16Le::new(d), F16Le::new(-15.5 * d));
            }),
            TensorType::Q2_K => self.each(random, bytes, q2_k),
            TensorType::Q3_K => self.each(random, bytes, q3_k),
            TensorType::Q4_K => self.each(random, bytes, |b: &mut BlockQ4K, d, r| {
                (b.d, b.dmin, b.scales) = (F16Le::new(d), F16Le::new(7.5 * d), even_scales(r));
            }),
            TensorType::Q5_K => self.each(random, bytes, |b: &mut BlockQ5K, d, r| {
                (b.d, b.dmin, b.scales) = (F16Le::new(d), F16Le::new(15.5 * d), even_scales(r));
            }),
            TensorType::Q6_K => self.each(random, bytes, q6_k),
            TensorType::IQ4_XS => self.each(random, bytes, iq4_xs),
        }
    }

    /// Draws plain values from 4096 levels between `-d` and `d`: rounding each anew would take far
    /// longer than writing it.
    fn levels<B: Block>(&self, random: &mut Random, bytes: &mut [u8], round: impl Fn(f32) -> B) {
        let levels: Vec<B> = (0..4096).map(|i| round(self.d * ((i as f32 + 0.5) / 2048.0 - 1.0))).collect();
        self.each(random, bytes, |block: &mut B, _, random| *block = levels[(random >> 52) as usize]);
    }

    fn each<B: Block>(&self, random: &mut Random, bytes: &mut [u8], finish: impl Fn(&mut B, f32, u64)) {
        for block in bytemuck::cast_slice_mut::<u8, B>(bytes) {
            finish(block, self.d, random.bits());
        }
    }
}

/// A scale of random sign, for types whose codes are not quite centred.
fn signed(d: f32, random: u64) -> f32 {
    if random & 1 == 0 { d } else { -d }
}

/// Scales 32 to 63 with minimums equal to them, which centres the codes given the right `dmin`.
fn even_scales(random: u64) -> [u8; 12] {
    let scales = random.to_le_bytes().map(|byte| 32 | (byte & 31));
    q4k_pack_scales_mins(&scales, &scales)
}

/// 16 scales of magnitude `reach / 2` to `reach - 1`, random in sign.
fn signed_scales(random: u64, reach: u8) -> [i8; 16] {
    std::array::from_fn(|i| {
        let bits = (random >> (4 * i)) as u8;
        // Three bits spread over the upper half of the range.
        let magnitude = (reach / 2 + (bits & 7) * (reach / 16)) as i8;
        if bits & 8 == 0 { magnitude } else { -magnitude }
    })
}

fn q8_0(block: &mut BlockQ8_0, d: f32, _: u64) {
    block.d = F16Le::new(d);
    for q in &mut block.qs {
        // No quantizer makes -128, so no kernel need expect it.
        *q = (*q).max(-127);
    }
}

fn q2_k(block: &mut BlockQ2K, d: f32, random: u64) {
    (block.d, block.dmin) = (F16Le::new(d), F16Le::new(1.5 * d));
    block.scales = std::array::from_fn(|i| (8 | ((random >> (4 * i)) & 7) as u8) * 0x11);
}

fn q3_k(block: &mut BlockQ3K, d: f32, random: u64) {
    block.d = F16Le::new(d);
    block.scales = q3k_pack_scales(&signed_scales(random, 32));
}

fn q6_k(block: &mut BlockQ6K, d: f32, random: u64) {
    block.d = F16Le::new(d);
    block.scales = signed_scales(random, 128);
}

fn iq4_xs(block: &mut BlockIq4Xs, d: f32, random: u64) {
    *block = BlockIq4Xs { d: F16Le::new(d), qs: block.qs, ..BlockIq4Xs::zeroed() };
    let mut scales = [0; 8];
    scales.copy_from_slice(&signed_scales(random, 32)[..8]);
    block.set_scales(scales);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_centred_and_of_the_deviation_asked_for() {
        for ty in TensorType::ALL {
            for deviation in [0.0625, 0.0110485] {
                let n = 1 << 16;
                let mut bytes = vec![0; ty.row_bytes(n).unwrap()];
                BlockMaker::new(ty, deviation).fill(&mut Random::at(1, 2, 3), &mut bytes);
                let mut values = vec![f32::NAN; n];
                dequantize_row(ty, &bytes, &mut values);
                let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
                let square = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
                let found = square.sqrt() as f32;
                assert!((found / deviation - 1.0).abs() < 0.06, "{ty}: {found} instead of {deviation}");
                assert!(mean.abs() < 0.03 * f64::from(deviation), "{ty}: mean {mean}");
            }
        }
    }
}
