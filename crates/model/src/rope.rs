//! Rotary position embeddings as data: which frequencies, which pairs, what magnitude.
//!
//! Every scaling method that long-context models use comes down to other frequencies (and for
//! YaRN a magnitude), so they are resolved here, once, at load. The op that rotates knows nothing
//! of methods. Frequencies are computed in f64 and rounded once: at position 131071 a frequency's
//! relative error of 1e-7 is already an angle of 0.01.

use std::f64::consts::TAU;

use garrison_device::RopePairing;

/// How a model turns its queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Leading values of each head that are rotated; even.
    pub dim: usize,
    /// `[dim / 2]` angle per position of each pair, scaling applied.
    pub inv_freq: Vec<f32>,
    /// Factor on cosine and sine; 1 except for YaRN.
    pub magnitude: f32,
    /// Which values turn together.
    pub pairing: RopePairing,
}

/// How the frequencies were stretched to reach a longer context than the model was first
/// trained for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// As trained (Su et al. 2021, RoFormer).
    None,
    /// All positions divided by `factor` (Chen et al. 2023, Position Interpolation).
    Linear {
        /// How much longer the context became.
        factor: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, a linear blend between (Llama 3.1).
    Llama3 {
        /// How much longer the context became.
        factor: f64,
        /// Fewer turns than this within the original context: divided.
        low_freq_factor: f64,
        /// More turns than this within the original context: kept.
        high_freq_factor: f64,
        /// The context the model was first trained for.
        original_context: f64,
    },
    /// As Llama 3's, blended over dimensions instead of frequencies, with a magnitude that
    /// sharpens attention (Peng et al. 2023, YaRN, sections 3.2 to 3.4).
    Yarn {
        /// How much longer the context became.
        factor: f64,
        /// The context the model was first trained for.
        original_context: f64,
        /// More turns than this within the original context: kept. 32 in the paper.
        beta_fast: f64,
        /// Fewer turns than this within the original context: divided. 1 in the paper.
        beta_slow: f64,
        /// On top of the paper's magnitude `0.1 ln(factor) + 1`; 1 is the paper's.
        attention_factor: f64,
    },
}

impl Rope {
    /// Resolves base frequency and scaling. `dim` is even, numbers are finite and `base > 1`: the
    /// spec checks what comes from files.
    pub fn new(dim: usize, base: f64, scaling: RopeScaling, pairing: RopePairing) -> Rope {
        let plain = |pair: usize| base.powf(-2.0 * pair as f64 / dim as f64);
        let pairs = 0..dim / 2;
        let (inv_freq, magnitude): (Vec<f64>, f64) = match scaling {
            RopeScaling::None => (pairs.map(plain).collect(), 1.0),
            RopeScaling::Linear { factor } => (pairs.map(|i| plain(i) / factor).collect(), 1.0),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let scaled = |i| {
                    let turns = original_context * plain(i) / TAU;
                    let keep = ramp(low_freq_factor, high_freq_factor, turns);
                    blend(plain(i) / factor, plain(i), keep)
                };
                (pairs.map(scaled).collect(), 1.0)
            }
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor } => {
                // The pair that makes `turns` turns within the original context (equation 17).
                let pair_of =
                    |turns: f64| dim as f64 * (original_context / (turns * TAU)).ln() / (2.0 * base.ln());
                let low = pair_of(beta_fast).floor().max(0.0);
                let high = pair_of(beta_slow).ceil().min(dim as f64 - 1.0);
                let scaled = |i| blend(plain(i), plain(i) / factor, ramp(low, high, i as f64));
                let magnitude = if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 };
                (pairs.map(scaled).collect(), attention_factor * magnitude)
            }
        };
        Rope {
            dim,
            inv_freq: inv_freq.into_iter().map(|f| f as f32).collect(),
            magnitude: magnitude as f32,
            pairing,
        }
    }

    /// Divides each frequency by its factor, `[dim / 2]`: how GGUF files carry Llama 3.1's scaling
    /// (`rope_freqs.weight`).
    pub fn divide(&mut self, factors: &[f32]) {
        debug_assert_eq!(factors.len(), self.inv_freq.len());
        for (f, &by) in self.inv_freq.iter_mut().zip(factors) {
            *f = (f64::from(*f) / f64::from(by)) as f32;
        }
    }
}

/// 0 up to `low`, 1 from `high` on, linear between.
fn ramp(low: f64, high: f64, x: f64) -> f64 {
    // Both ends can fall together; the reference implementations part them by a thousandth.
    ((x - low) / (high - low).max(0.001)).clamp(0.0, 1.0)
}

fn blend(a: f64, b: f64, t: f64) -> f64 {
    a * (1.0 - t) + b * t
}
