//! The frequency factors of Llama 3.1 and later, as a GGUF carries them (`rope_freqs.weight`).

/// Llama 3's way of stretching a context: long wavelengths by `factor`, short ones not, a ramp
/// between. "The Llama 3 Herd of Models", section 3.4.2, and its reference implementation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Llama3Scaling {
    /// How far long wavelengths are stretched.
    pub factor: f32,
    /// Wavelengths over `original_context / low_freq_factor` are long.
    pub low_freq_factor: f32,
    /// Wavelengths under `original_context / high_freq_factor` are short.
    pub high_freq_factor: f32,
    /// The context of pre-training.
    pub original_context: u32,
}

impl Llama3Scaling {
    /// What Llama 3.1, 3.2 and 3.3 share, but for `factor`: 8, or 32 for the small 3.2 models.
    pub fn with_factor(factor: f32) -> Llama3Scaling {
        Llama3Scaling { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 }
    }

    /// What to divide each frequency by, `[head_dim / 2]`.
    pub fn factors(&self, head_dim: usize, freq_base: f32) -> Vec<f32> {
        let context = f64::from(self.original_context);
        let (low, high) = (f64::from(self.low_freq_factor), f64::from(self.high_freq_factor));
        let factor = f64::from(self.factor);
        let one = |i: usize| {
            let frequency = f64::from(freq_base).powf(-2.0 * i as f64 / head_dim as f64);
            let wavelength = std::f64::consts::TAU / frequency;
            if wavelength < context / high {
                1.0
            } else if wavelength > context / low {
                factor
            } else {
                let smooth = (context / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        (0..head_dim / 2).map(|i| one(i) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_wavelengths_stay_and_long_ones_stretch() {
        let factors = Llama3Scaling::with_factor(8.0).factors(128, 500_000.0);
        assert_eq!(factors.len(), 64);
        assert_eq!((factors[0], factors[63]), (1.0, 8.0));
        assert!(factors.is_sorted());
        // Wavelength at i: 2π 500000^(i/64). i = 29 gives 2400 (ramp), 28 gives 1957 (short, under
        // 2048), 35 gives 8228 (long, over 8192).
        assert_eq!(factors[28], 1.0);
        assert!(factors[29] > 1.0 && factors[34] < 8.0);
        assert_eq!(factors[35], 8.0);
    }
}
