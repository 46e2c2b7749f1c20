//! What a step needs at least: bytes to read and operations, from the model's shape.

use garrison_model::{ModelSpec, ModelSummary};
use serde::{Deserialize, Serialize};

/// What a machine can do at most, measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes read from memory per second.
    pub read_bytes_per_second: f64,
    /// Multiplications and additions in 8 bits per second.
    pub int8_ops_per_second: f64,
    /// The same in 32-bit floats.
    pub f32_ops_per_second: f64,
}

impl Limits {
    /// The better of two measurements, one by one: whatever else ran meanwhile only ever made them worse.
    pub(super) fn or_better(self, other: Limits) -> Limits {
        Limits {
            read_bytes_per_second: self.read_bytes_per_second.max(other.read_bytes_per_second),
            int8_ops_per_second: self.int8_ops_per_second.max(other.int8_ops_per_second),
            f32_ops_per_second: self.f32_ops_per_second.max(other.f32_ops_per_second),
        }
    }
}

/// What some work needs at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// Bytes of weights, keys and values; weights once a step, whatever the batch.
    pub bytes: f64,
    /// Multiplications and additions with quantized weights.
    pub int8_ops: f64,
    /// Others.
    pub f32_ops: f64,
}

impl Need {
    fn reading(&self, limits: &Limits) -> f64 {
        self.bytes / limits.read_bytes_per_second
    }

    fn computing(&self, limits: &Limits) -> f64 {
        self.int8_ops / limits.int8_ops_per_second + self.f32_ops / limits.f32_ops_per_second
    }

    /// Whether reading takes longer than computing.
    pub fn is_bound_by_reading(&self, limits: &Limits) -> bool {
        self.reading(limits) >= self.computing(limits)
    }

    /// Seconds that the machine needs at least: reading and computing can go on at once.
    pub fn seconds(&self, limits: &Limits) -> f64 {
        self.reading(limits).max(self.computing(limits))
    }

    fn plus(self, other: Need) -> Need {
        Need {
            bytes: self.bytes + other.bytes,
            int8_ops: self.int8_ops + other.int8_ops,
            f32_ops: self.f32_ops + other.f32_ops,
        }
    }
}

/// Counts the needs of one model.
#[derive(Clone, Debug)]
pub struct Work {
    spec: ModelSpec,
    /// Of weights, each step.
    step_bytes: f64,
    /// Bytes of a token's keys and values in one layer.
    kv_bytes: f64,
    /// Share of the multiplications that are with quantized weights.
    quantized: f64,
}

impl Work {
    /// Of a model whose keys and values take `kv_bytes` for each token and layer.
    pub fn new(summary: &ModelSummary, kv_bytes: f64) -> Work {
        let quantized = summary.types.iter().filter(|share| share.ty.is_quantized());
        let values = |share: &garrison_model::TypeShare| {
            share.bytes as f64 / share.ty.block_bytes() as f64 * share.ty.block_len() as f64
        };
        let all: f64 = summary.types.iter().map(values).sum();
        Work {
            spec: summary.spec.clone(),
            step_bytes: summary.step_bytes as f64,
            kv_bytes,
            quantized: quantized.map(values).sum::<f64>() / all.max(1.0),
        }
    }

    /// Of one step: each sequence's tokens, after so many that are cached. `rows` of logits are wanted.
    pub fn step(&self, sequences: &[(usize, usize)], rows: usize) -> Need {
        let spec = &self.spec;
        let (hidden, q, kv) = (spec.hidden as f64, spec.q_width() as f64, spec.kv_width() as f64);
        let tokens: f64 = sequences.iter().map(|s| s.0 as f64).sum();
        let layer = hidden * (2.0 * q + 2.0 * kv + 3.0 * spec.ffn_hidden as f64);
        let linear = tokens * layer * spec.n_layers as f64 + rows as f64 * hidden * spec.vocab as f64;
        let mut need = Need {
            bytes: self.step_bytes,
            int8_ops: 2.0 * linear * self.quantized,
            f32_ops: 2.0 * linear * (1.0 - self.quantized),
        };
        for &window in &spec.windows {
            for &(new, cached) in sequences {
                // Token i sees cached + i + 1 positions, no more than the window.
                let seen: f64 = (1..=new).map(|i| (cached + i).min(window as usize) as f64).sum();
                let read = (cached + new).min(new.saturating_add(window as usize)) as f64;
                // Scores and sums: a multiplication and an addition for each element of a key and a value.
                need.f32_ops += 4.0 * q * seen;
                need.bytes += self.kv_bytes * read;
            }
        }
        need
    }

    /// Of several steps.
    pub fn steps(&self, steps: impl Iterator<Item = (Vec<(usize, usize)>, usize)>) -> Need {
        steps.map(|(sequences, rows)| self.step(&sequences, rows)).fold(Need::default(), Need::plus)
    }
}

#[cfg(test)]
mod tests {
    use garrison_device::RopePairing;
    use garrison_model::{Architecture, OutputHead, QkNorm, QkvBias, Rope, TypeShare};
    use garrison_types::TensorType;

    use super::*;

    fn work(windows: Vec<u32>) -> Work {
        let spec = ModelSpec {
            architecture: Architecture::Llama,
            hidden: 8,
            ffn_hidden: 16,
            n_layers: windows.len(),
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 2,
            vocab: 32,
            norm_eps: 1e-5,
            rope: Rope { dim: 2, inv_freq: vec![1.0], magnitude: 1.0, pairing: RopePairing::Halves },
            qkv_bias: QkvBias::Absent,
            qk_norm: QkNorm::Absent,
            output_head: OutputHead::Tied,
            windows,
            context_length: 64,
        };
        let types = vec![TypeShare { ty: TensorType::Q8_0, tensors: 1, bytes: 34 }];
        Work::new(&ModelSummary { spec, parameters: 32, bytes: 34, step_bytes: 34, types }, 16.0)
    }

    #[test]
    fn needs_are_what_a_pencil_gives() {
        // Per layer: q 8x8, k and v 4x8, out 8x8, three of 16x8: 64+64+64+384 = 576 products a token.
        let all = u32::MAX;
        let need = work(vec![all, all]).step(&[(1, 9)], 1);
        assert_eq!(need.int8_ops, 2.0 * (2.0 * 576.0 + 8.0 * 32.0));
        // Ten positions, two layers: 4 * 8 operations each; 2 * 4 values of 2 bytes each.
        assert_eq!((need.f32_ops, need.bytes), (2.0 * 10.0 * 32.0, 34.0 + 2.0 * 10.0 * 16.0));
        // A prompt of three sees one, two and three positions, and its batch reads the weights once.
        let need = work(vec![all]).step(&[(3, 0), (3, 0)], 2);
        assert_eq!((need.f32_ops, need.bytes), (2.0 * 6.0 * 32.0, 34.0 + 2.0 * 3.0 * 16.0));
        // A window of four.
        let need = work(vec![4]).step(&[(1, 9)], 1);
        assert_eq!((need.f32_ops, need.bytes), (4.0 * 32.0, 34.0 + 5.0 * 16.0));
    }

    #[test]
    fn the_better_of_two_measurements_counts() {
        let of = |read, int8, f32| Limits {
            read_bytes_per_second: read,
            int8_ops_per_second: int8,
            f32_ops_per_second: f32,
        };
        assert_eq!(of(10.0, 5.0, 1.0).or_better(of(8.0, 7.0, 1.0)), of(10.0, 7.0, 1.0));
    }

    #[test]
    fn the_tighter_limit_counts() {
        let limits =
            Limits { read_bytes_per_second: 10.0, int8_ops_per_second: 100.0, f32_ops_per_second: 50.0 };
        let need = Need { bytes: 20.0, int8_ops: 50.0, f32_ops: 25.0 };
        assert!(need.is_bound_by_reading(&limits) && need.seconds(&limits) == 2.0);
        let need = Need { int8_ops: 300.0, ..need };
        assert!(!need.is_bound_by_reading(&limits) && need.seconds(&limits) == 3.5);
    }
}
