//! `config.json`, parsed once into what GGUF needs.

use serde::{Deserialize, Deserializer};
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

/// The file's own shape. What it leaves out is what the transformers library assumes, which differs
/// between classes for what is left out and for what is null.
#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    architectures: Vec<String>,
    hidden_size: u32,
    intermediate_size: u32,
    num_hidden_layers: u32,
    num_attention_heads: u32,
    #[serde(default)]
    num_key_value_heads: Stated<u32>,
    hidden_act: Option<String>,
    #[serde(default)]
    head_dim: Stated<u32>,
    vocab_size: u32,
    max_position_embeddings: u32,
    rms_norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    rope_scaling: Option<WireRope>,
    /// Where transformers 5 keeps both of the above.
    rope_parameters: Option<WireRope>,
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    sliding_window: Stated<u32>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    quantization_config: Option<Value>,
}

/// A field that may be left out, or be null.
#[derive(Clone, Copy, Debug, Default)]
enum Stated<T> {
    #[default]
    LeftOut,
    Null,
    As(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Stated<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Stated::Null, Stated::As))
    }
}

impl<T> Stated<T> {
    /// The value, `left_out` where there is none, and nothing for null.
    fn or(self, left_out: impl Into<Option<T>>) -> Option<T> {
        match self {
            Stated::LeftOut => left_out.into(),
            Stated::Null => None,
            Stated::As(value) => Some(value),
        }
    }
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
        // The forward pass has one: x * sigmoid(x).
        if let Some(other) = wire.hidden_act.as_deref().filter(|act| !matches!(*act, "silu" | "swish")) {
            return Err(format!("its \"hidden_act\" is \"{other}\"; silu is computed"));
        }
        let n_heads = wire.num_attention_heads;
        let kv_heads_left_out = match class.as_str() {
            "MistralForCausalLM" => 8,
            "Qwen2ForCausalLM" | "Qwen3ForCausalLM" => 32,
            _ => n_heads,
        };
        let n_kv_heads = wire.num_key_value_heads.or(kv_heads_left_out).unwrap_or(n_heads);
        let head_dim_left_out = (family == Family::Qwen3).then_some(128u32);
        let sizes = [wire.hidden_size, wire.intermediate_size, wire.num_hidden_layers, n_heads, n_kv_heads];
        if sizes.contains(&0) || !n_heads.is_multiple_of(n_kv_heads) {
            return Err(format!("sizes are impossible: hidden, ffn, layers, heads, kv heads are {sizes:?}"));
        }
        let sliding_window = wire.window(&class)?;
        let rope = wire.rope_parameters.or(wire.rope_scaling);
        let rope_base =
            rope.as_ref().and_then(|rope| rope.rope_theta).or(wire.rope_theta).unwrap_or(10_000.0);
        Ok(Config {
            rope_scaling: rope
                .map_or(Ok(RopeScaling::None), |rope| rope.scaling(wire.max_position_embeddings))?,
            class,
            family,
            n_layers: wire.num_hidden_layers as usize,
            n_heads: n_heads as usize,
            n_kv_heads: n_kv_heads as usize,
            tied: wire.tie_word_embeddings.unwrap_or(false),
            head_dim: wire.head_dim.or(head_dim_left_out).unwrap_or(wire.hidden_size / n_heads),
            hidden: wire.hidden_size,
            ffn_hidden: wire.intermediate_size,
            vocab: wire.vocab_size,
            context: wire.max_position_embeddings,
            norm_epsilon: wire.rms_norm_eps.unwrap_or(1e-6),
            rope_base,
            sliding_window,
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

impl Wire {
    /// The window that all layers slide over; `None` if none does.
    ///
    /// Mistral slides whenever it has a window. Of Qwen's layers those from `max_window_layers` on do, if it
    /// says that any does; newer files name the kind of each layer.
    fn window(&self, class: &str) -> Result<Option<u32>, String> {
        let known = ["full_attention", "sliding_attention"];
        let types = self.layer_types.as_deref().unwrap_or_default();
        if let Some(other) = types.iter().find(|kind| !known.contains(&kind.as_str())) {
            return Err(format!("it has a layer of type \"{other}\"; {} are computed", known.join(" and ")));
        }
        let is_mistral = class == "MistralForCausalLM";
        let slides = self.use_sliding_window.unwrap_or(is_mistral);
        let left_out = if class == "LlamaForCausalLM" { None } else { Some(4096u32) };
        let Some(window) = self.sliding_window.or(left_out).filter(|_| slides) else { return Ok(None) };
        let n_layers = self.num_hidden_layers as usize;
        let sliding = match &self.layer_types {
            Some(types) if types.len() != n_layers => {
                return Err(format!("it names the types of {} layers and has {n_layers}", types.len()));
            }
            Some(types) => types.iter().filter(|kind| *kind == "sliding_attention").count(),
            None if is_mistral => n_layers,
            None => n_layers.saturating_sub(self.max_window_layers.unwrap_or(28)),
        };
        match sliding {
            0 => Ok(None),
            all if all == n_layers => Ok(Some(window)),
            some => Err(format!("a window slides over {some} of {n_layers} layers; all or none can")),
        }
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
