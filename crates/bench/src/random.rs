//! Seeded numbers: the same seed gives the same arrivals, prompts and intervals on every machine.

use std::f64::consts::TAU;

/// splitmix64 (Steele, Lea and Flood 2014, figure 11), and the distributions made from it.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A generator of its own for each `stream`, so that drawing more from one moves no other.
    pub fn stream(seed: u64, stream: u64) -> Random {
        let mut mixed = Random(seed ^ Random(stream).bits());
        Random(mixed.bits())
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Below `n`, which must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Of mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }

    /// Of mean 0 and variance 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        (2.0 * self.exponential()).sqrt() * (TAU * self.uniform()).cos()
    }

    /// Of mean `shape` (Marsaglia and Tsang 2000, "A simple method for generating gamma variables").
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            // The paper's section 6: a smaller shape from the next larger one.
            return self.gamma(shape + 1.0) * (1.0 - self.uniform()).powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            let u = 1.0 - self.uniform();
            if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of many draws.
    fn moments(mut draw: impl FnMut(&mut Random) -> f64) -> (f64, f64) {
        let mut random = Random::new(7);
        let values: Vec<f64> = (0..40_000).map(|_| draw(&mut random)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64)
    }

    #[test]
    fn distributions_have_their_moments() {
        let close = |(mean, variance): (f64, f64), wanted: (f64, f64)| {
            let (m, v) = ((mean - wanted.0).abs(), (variance - wanted.1).abs());
            assert!(
                m < 0.03 * wanted.0.max(1.0) && v < 0.06 * wanted.1.max(0.5),
                "{mean} {variance} {wanted:?}"
            );
        };
        close(moments(Random::uniform), (0.5, 1.0 / 12.0));
        close(moments(Random::exponential), (1.0, 1.0));
        close(moments(Random::normal), (0.0, 1.0));
        close(moments(|r| r.gamma(4.0)), (4.0, 4.0));
        close(moments(|r| r.gamma(0.25)), (0.25, 0.25));
        close(moments(|r| r.below(10) as f64), (4.5, 8.25));
    }

    #[test]
    fn streams_of_a_seed_differ_and_repeat() {
        assert_eq!(Random::stream(1, 2).bits(), Random::stream(1, 2).bits());
        assert_ne!(Random::stream(1, 2).bits(), Random::stream(1, 3).bits());
        assert_ne!(Random::stream(1, 2).bits(), Random::stream(2, 2).bits());
    }
}
