//! `config.json`, parsed once into what GGUF needs.

use serde::Deserialize;
use serde_json::Value;

use crate::metadata::Metadata;
use crate::rope::Llama3Scaling;

/// Architectures that differ in how they are converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Llama and Mistral: GGUF interleaves the rotated halves of their heads.
    Llama,
    Qwen2,
    Qwen3,
}

impl Family {
    fn architecture(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        }
    }
}

/// How positions are stretched.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RopeScaling {
    None,
    Llama3(Llama3Scaling),
    Linear { factor: f32 },
    Yarn { factor: f32, original_context: u32, attention_factor: Option<f32>, beta: [Option<f32>; 2] },
}

/// A model's hyperparameters.
#[derive(Debug)]
pub(super) struct Config {
    /// Hugging Face's name of the architecture, for errors.
    pub class: String,
    pub family: Family,
    pub n_layers: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
    head_dim: u32,
    hidden: u32,
    ffn_hidden: u32,
    vocab: u32,
    context: u32,
    norm_epsilon: f32,
    rope_base: f32,
    rope_scaling: RopeScaling,
    sliding_window: Option<u32>,
}

/// The file's own shape; defaults are those of the transformers library.
#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    architectures: Vec<String>,
    hidden_size: u32,
    intermediate_size: u32,
    num_hidden_layers: u32,
    num_attention_heads: u32,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    vocab_size: u32,
    max_position_embeddings: u32,
    rms_norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    rope_scaling: Option<WireRope>,
    /// Where transformers 5 keeps both of the above.
    rope_parameters: Option<WireRope>,
    tie_word_embeddings: Option<bool>,
    sliding_window: Option<u32>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<Value>,
}

#[derive(Deserialize)]
struct WireRope {
    rope_type: Option<String>,
    /// The older name; many files carry both.
    r#type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<u32>,
    attention_factor: Option<f32>,
    beta_fast: Option<f32>,
    beta_slow: Option<f32>,
}

impl Config {
    pub(super) fn read(json: &Value) -> Result<Config, String> {
        let wire = Wire::deserialize(json).map_err(|e| e.to_string())?;
        let class = wire.architectures.first().cloned().unwrap_or_default();
        let family = match class.as_str() {
            "LlamaForCausalLM" | "MistralForCausalLM" => Family::Llama,
            "Qwen2ForCausalLM" => Family::Qwen2,
            "Qwen3ForCausalLM" => Family::Qwen3,
            _ => {
                return Err(format!(
                    "its architecture is \"{class}\"; LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and \
                     Qwen3ForCausalLM are read"
                ));
            }
        };
        if wire.quantization_config.is_some() {
            return Err(
                "its weights are quantized already; convert from the original F32, F16 or BF16".into()
            );
        }
        let n_heads = wire.num_attention_heads;
        let n_kv_heads = wire.num_key_value_heads.unwrap_or(n_heads);
        let sizes = [wire.hidden_size, wire.intermediate_size, wire.num_hidden_layers, n_heads, n_kv_heads];
        if sizes.contains(&0) || !n_heads.is_multiple_of(n_kv_heads) {
            return Err(format!("sizes are impossible: hidden, ffn, layers, heads, kv heads are {sizes:?}"));
        }
        let rope = wire.rope_parameters.or(wire.rope_scaling);
        let rope_base =
            rope.as_ref().and_then(|rope| rope.rope_theta).or(wire.rope_theta).unwrap_or(10_000.0);
        // Mistral slides whenever it states a window; Qwen only if it says so too.
        let slides = wire.use_sliding_window.unwrap_or(class == "MistralForCausalLM");
        Ok(Config {
            rope_scaling: rope
                .map_or(Ok(RopeScaling::None), |rope| rope.scaling(wire.max_position_embeddings))?,
            class,
            family,
            n_layers: wire.num_hidden_layers as usize,
            n_heads: n_heads as usize,
            n_kv_heads: n_kv_heads as usize,
            tied: wire.tie_word_embeddings.unwrap_or(false),
            head_dim: wire.head_dim.unwrap_or(wire.hidden_size / n_heads),
            hidden: wire.hidden_size,
            ffn_hidden: wire.intermediate_size,
            vocab: wire.vocab_size,
            context: wire.max_position_embeddings,
            norm_epsilon: wire.rms_norm_eps.unwrap_or(1e-6),
            rope_base,
            sliding_window: wire.sliding_window.filter(|_| slides),
        })
    }

    /// What to divide rope's frequencies by, for models that state it per frequency.
    pub(super) fn rope_factors(&self) -> Option<Vec<f32>> {
        match self.rope_scaling {
            RopeScaling::Llama3(scaling) => Some(scaling.factors(self.head_dim as usize, self.rope_base)),
            _ => None,
        }
    }

    /// The keys llama.cpp's converter writes.
    pub(super) fn metadata(&self) -> Metadata {
        let arch = self.family.architecture();
        let mut m = Metadata::new();
        m.insert("general.architecture", arch);
        let mut number = |key: &str, n: u32| m.insert(format!("{arch}.{key}"), n);
        number("context_length", self.context);
        number("embedding_length", self.hidden);
        number("block_count", self.n_layers as u32);
        number("feed_forward_length", self.ffn_hidden);
        number("attention.head_count", self.n_heads as u32);
        number("attention.head_count_kv", self.n_kv_heads as u32);
        number("attention.key_length", self.head_dim);
        number("attention.value_length", self.head_dim);
        number("rope.dimension_count", self.head_dim);
        number("vocab_size", self.vocab);
        if let Some(window) = self.sliding_window {
            number("attention.sliding_window", window);
        }
        m.insert(format!("{arch}.rope.freq_base"), self.rope_base);
        m.insert(format!("{arch}.attention.layer_norm_rms_epsilon"), self.norm_epsilon);
        let scaling = |key: &str| format!("{arch}.rope.scaling.{key}");
        match self.rope_scaling {
            RopeScaling::None | RopeScaling::Llama3(_) => {}
            RopeScaling::Linear { factor } => {
                m.insert(scaling("type"), "linear");
                m.insert(scaling("factor"), factor);
            }
            RopeScaling::Yarn { factor, original_context, attention_factor, beta } => {
                m.insert(scaling("type"), "yarn");
                m.insert(scaling("factor"), factor);
                m.insert(scaling("original_context_length"), original_context);
                // Hugging Face states the whole factor on queries and keys, GGUF what is left of it
                // after YaRN's own 0.1 ln(factor) + 1 (Peng et al. 2023, section 3.4).
                let attention_factor = attention_factor.map(|whole| whole / (0.1 * factor.ln() + 1.0));
                let rest = [
                    ("attn_factor", attention_factor),
                    ("yarn_beta_fast", beta[0]),
                    ("yarn_beta_slow", beta[1]),
                ];
                for (key, value) in rest {
                    value.map(|value| m.insert(scaling(key), value));
                }
            }
        }
        m
    }
}

impl WireRope {
    fn scaling(&self, context: u32) -> Result<RopeScaling, String> {
        let kind = self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or("default");
        let factor = || {
            let factor = self.factor.filter(|factor| factor.is_finite() && *factor >= 1.0);
            factor.ok_or_else(|| format!("its rope scaling \"{kind}\" needs a \"factor\" of at least 1"))
        };
        Ok(match kind {
            "default" => RopeScaling::None,
            "llama3" => {
                let known = Llama3Scaling::with_factor(factor()?);
                RopeScaling::Llama3(Llama3Scaling {
                    low_freq_factor: self.low_freq_factor.unwrap_or(known.low_freq_factor),
                    high_freq_factor: self.high_freq_factor.unwrap_or(known.high_freq_factor),
                    original_context: self.original_max_position_embeddings.unwrap_or(known.original_context),
                    ..known
                })
            }
            "linear" => RopeScaling::Linear { factor: factor()? },
            "yarn" => RopeScaling::Yarn {
                factor: factor()?,
                original_context: self.original_max_position_embeddings.unwrap_or(context),
                attention_factor: self.attention_factor,
                beta: [self.beta_fast, self.beta_slow],
            },
            other => {
                return Err(format!(
                    "its rope scaling is \"{other}\"; default, llama3, linear and yarn are read"
                ));
            }
        })
    }
}
