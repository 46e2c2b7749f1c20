//! The shapes of models by name.

use garrison_types::TensorType;

use crate::error::{Error, Result};
use crate::gguf::TensorInfo;
use crate::metadata::Metadata;
use crate::rope::Llama3Scaling;

/// What a model of random weights looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Under `general.name`.
    pub name: String,
    /// `llama`, `qwen2` or `qwen3`; decides which keys and tensors there are.
    pub architecture: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward block.
    pub ffn_hidden: usize,
    /// Layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
    /// Longest context.
    pub context: usize,
    /// Rope's base.
    pub rope_base: f32,
    /// Llama 3's rope scaling, if the model has it.
    pub rope_scaling: Option<Llama3Scaling>,
    /// RMS norm's epsilon.
    pub norm_epsilon: f32,
}

/// A name that is no preset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a preset; there are {list}", list = Shape::PRESETS.join(", "))]
pub struct UnknownPreset(pub String);

impl Shape {
    /// Names that [`Shape::preset`] knows.
    pub const PRESETS: [&str; 9] = [
        "tiny",
        "llama-3.2-1b",
        "llama-3.2-3b",
        "llama-3.1-8b",
        "llama-3.1-70b",
        "llama-3.3-70b",
        "mistral-7b",
        "qwen2.5-7b",
        "qwen3-8b",
    ];

    /// The shape of a published model.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn preset(name: &str) -> Result<Shape, UnknownPreset> {
        let llama3 = |hidden, ffn_hidden, n_layers, n_heads, head_dim| Shape {
            name: format!("{name}-synthetic"),
            architecture: "llama",
            hidden,
            ffn_hidden,
            n_layers,
            n_heads,
            n_kv_heads: 8,
            head_dim,
            vocab: 128_256,
            tied: false,
            context: 131_072,
            rope_base: 500_000.0,
            rope_scaling: Some(Llama3Scaling::with_factor(8.0)),
            norm_epsilon: 1e-5,
        };
        let small = |shape: Shape| Shape {
            tied: true,
            rope_scaling: Some(Llama3Scaling::with_factor(32.0)),
            ..shape
        };
        let qwen = |architecture, shape: Shape| Shape {
            architecture,
            rope_base: 1e6,
            rope_scaling: None,
            norm_epsilon: 1e-6,
            ..shape
        };
        Ok(match name {
            "tiny" => Shape {
                n_kv_heads: 4,
                vocab: 512,
                context: 2048,
                tied: true,
                rope_scaling: None,
                ..llama3(256, 768, 4, 8, 64)
            },
            "llama-3.2-1b" => small(llama3(2048, 8192, 16, 32, 64)),
            "llama-3.2-3b" => small(llama3(3072, 8192, 28, 24, 128)),
            "llama-3.1-8b" => llama3(4096, 14336, 32, 32, 128),
            "llama-3.1-70b" | "llama-3.3-70b" => llama3(8192, 28672, 80, 64, 128),
            "mistral-7b" => Shape {
                vocab: 32_768,
                context: 32_768,
                rope_base: 1e6,
                rope_scaling: None,
                ..llama3(4096, 14336, 32, 32, 128)
            },
            "qwen2.5-7b" => Shape {
                n_kv_heads: 4,
                vocab: 152_064,
                context: 32_768,
                ..qwen("qwen2", llama3(3584, 18944, 28, 28, 128))
            },
            "qwen3-8b" => {
                Shape { vocab: 151_936, context: 40_960, ..qwen("qwen3", llama3(4096, 12288, 36, 32, 128)) }
            }
            _ => return Err(UnknownPreset(name.to_owned())),
        })
    }

    pub(super) fn validate(&self) -> Result<()> {
        let all = [
            ("hidden", self.hidden),
            ("ffn_hidden", self.ffn_hidden),
            ("n_layers", self.n_layers),
            ("n_heads", self.n_heads),
            ("n_kv_heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("context", self.context),
        ];
        if let Some((name, n)) = all.into_iter().find(|&(_, n)| n == 0 || n > 1 << 24) {
            return Err(Error::Unsupported(format!("a model with {name} = {n} cannot be made")));
        }
        Ok(())
    }

    /// What to divide rope's frequencies by; empty for plain rope.
    pub(super) fn rope_factors(&self) -> Vec<f32> {
        self.rope_scaling.map(|scaling| scaling.factors(self.head_dim, self.rope_base)).unwrap_or_default()
    }

    pub(super) fn metadata(&self) -> Metadata {
        let mut m = Metadata::new();
        let arch = self.architecture;
        m.insert("general.architecture", arch);
        m.insert("general.name", self.name.as_str());
        let mut number = |key: &str, n: usize| m.insert(format!("{arch}.{key}"), n as u32);
        number("context_length", self.context);
        number("embedding_length", self.hidden);
        number("block_count", self.n_layers);
        number("feed_forward_length", self.ffn_hidden);
        number("attention.head_count", self.n_heads);
        number("attention.head_count_kv", self.n_kv_heads);
        number("attention.key_length", self.head_dim);
        number("attention.value_length", self.head_dim);
        number("rope.dimension_count", self.head_dim);
        number("vocab_size", self.vocab);
        m.insert(format!("{arch}.rope.freq_base"), self.rope_base);
        m.insert(format!("{arch}.attention.layer_norm_rms_epsilon"), self.norm_epsilon);
        m
    }

    /// All tensors, matrices still as F32.
    pub(super) fn tensors(&self) -> Vec<TensorInfo> {
        let (hidden, ffn) = (self.hidden, self.ffn_hidden);
        let (q, kv) = (self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim);
        let mut all = vec![TensorInfo::f32("token_embd.weight", &[self.vocab, hidden])];
        if self.rope_scaling.is_some() {
            all.push(TensorInfo::f32("rope_freqs.weight", &[self.head_dim / 2]));
        }
        for layer in 0..self.n_layers {
            let mut add = |part: &str, shape: &[usize]| {
                all.push(TensorInfo::f32(format!("blk.{layer}.{part}"), shape));
            };
            add("attn_norm.weight", &[hidden]);
            add("attn_q.weight", &[q, hidden]);
            add("attn_k.weight", &[kv, hidden]);
            add("attn_v.weight", &[kv, hidden]);
            if self.architecture == "qwen2" {
                add("attn_q.bias", &[q]);
                add("attn_k.bias", &[kv]);
                add("attn_v.bias", &[kv]);
            }
            if self.architecture == "qwen3" {
                add("attn_q_norm.weight", &[self.head_dim]);
                add("attn_k_norm.weight", &[self.head_dim]);
            }
            add("attn_output.weight", &[hidden, q]);
            add("ffn_norm.weight", &[hidden]);
            add("ffn_gate.weight", &[ffn, hidden]);
            add("ffn_up.weight", &[ffn, hidden]);
            add("ffn_down.weight", &[hidden, ffn]);
        }
        all.push(TensorInfo::f32("output_norm.weight", &[hidden]));
        if !self.tied {
            all.push(TensorInfo::f32("output.weight", &[self.vocab, hidden]));
        }
        debug_assert!(all.iter().all(|info| info.ty == TensorType::F32));
        all
    }
}
