//! Small models of random weights, in every family, with a vocabulary and a template: enough to
//! load, tokenize, run and serve.

use garrison_gguf::quantize::Mix;
use garrison_gguf::synth::{Shape, synth_in_memory};
use garrison_gguf::{Gguf, Llama3Scaling, encode};

/// Families that differ in what their files say or in what the forward pass does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3: its own output matrix, plain rope.
    Llama,
    /// Llama 3.2: tied embedding, scaled rope.
    Llama32,
    /// Mistral: a sliding window of 64 positions.
    Mistral,
    /// Qwen 2.5: biases.
    Qwen2,
    /// Qwen 3: norms of queries and keys.
    Qwen3,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 5] =
        [Family::Llama, Family::Llama32, Family::Mistral, Family::Qwen2, Family::Qwen3];
}

/// What to make.
#[derive(Clone, Debug)]
pub struct TinyModel {
    /// What the file says and which tensors it has.
    pub family: Family,
    /// How tensors are stored.
    pub mix: Mix,
    /// The same bytes for the same seed.
    pub seed: u64,
    /// Layers.
    pub n_layers: usize,
    /// Longest context, in tokens.
    pub context: usize,
}

impl Default for TinyModel {
    fn default() -> Self {
        TinyModel { family: Family::Llama32, mix: Mix::Q4_K_M, seed: 1, n_layers: 2, context: 512 }
    }
}

/// A GGUF file of under 2 million parameters: 256 wide, 4 query heads and 2 KV heads of 64, 512
/// tokens of byte-level BPE with Llama 3's control tokens and template.
///
/// # Panics
/// If it cannot be made: a bug.
pub fn tiny_gguf(model: &TinyModel) -> Vec<u8> {
    let (architecture, tied, rope_scaling) = match model.family {
        Family::Llama | Family::Mistral => ("llama", false, None),
        Family::Llama32 => ("llama", true, Some(Llama3Scaling::with_factor(32.0))),
        Family::Qwen2 => ("qwen2", true, None),
        Family::Qwen3 => ("qwen3", true, None),
    };
    let shape = Shape {
        name: "tiny".into(),
        architecture,
        hidden: 256,
        ffn_hidden: 512,
        n_layers: model.n_layers,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 64,
        vocab: 512,
        tied,
        context: model.context,
        rope_base: 10_000.0,
        rope_scaling,
        norm_epsilon: 1e-5,
    };
    let bytes = synth_in_memory(&shape, model.mix, model.seed).unwrap();
    if model.family != Family::Mistral {
        return bytes;
    }
    let file = Gguf::parse(bytes).unwrap();
    let mut metadata = file.metadata().clone();
    metadata.insert("llama.attention.sliding_window", 64u32);
    let tensors: Vec<_> = file.tensors().map(|t| (t.info.clone(), t.data.to_vec())).collect();
    encode(&metadata, &tensors).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_a_file_with_a_vocabulary() {
        for family in Family::ALL {
            let bytes = tiny_gguf(&TinyModel { family, ..TinyModel::default() });
            assert!(bytes.len() < 2 << 20, "{} bytes", bytes.len());
            let file = Gguf::parse(bytes).unwrap();
            let architecture = file.metadata().str("general.architecture").unwrap();
            let has = |name: &str| file.tensor(name).is_some();
            assert_eq!(has("blk.1.attn_q.bias"), family == Family::Qwen2);
            assert_eq!(has("blk.1.attn_q_norm.weight"), family == Family::Qwen3);
            assert_eq!(has("output.weight"), matches!(family, Family::Llama | Family::Mistral));
            assert_eq!(has("rope_freqs.weight"), family == Family::Llama32);
            let window =
                file.metadata().u32_opt(&format!("{architecture}.attention.sliding_window")).unwrap();
            assert_eq!(window, (family == Family::Mistral).then_some(64));
            assert_eq!(file.metadata().strings("tokenizer.ggml.tokens").unwrap().len(), 512);
        }
    }
}
