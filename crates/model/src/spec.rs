//! The architecture of a model as data, with every question answered.
//!
//! What GGUF metadata leaves optional, implies or says in two ways is resolved in [`crate::read`]
//! once, at load. So the forward pass and everyone who sizes buffers reads plain numbers and
//! small enums, never a default.

use std::fmt;

use crate::Rope;

/// A family of models that share tensor names and conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2 to 3.3, and everything else that is written under its name: Mistral, TinyLlama…
    Llama,
    /// Mistral, where the file names it.
    Mistral,
    /// Qwen 2 and 2.5, dense.
    Qwen2,
    /// Qwen 3, dense.
    Qwen3,
}

impl Architecture {
    /// Every supported family.
    pub const ALL: [Architecture; 4] =
        [Architecture::Llama, Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3];

    /// As `general.architecture` names it; also the prefix of the family's keys.
    pub const fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether queries, keys and values have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum QkvBias {
    Absent,
    Present,
}

/// Whether queries and keys are normalized before the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorm {
    /// They are not.
    Absent,
    /// Each head on its own, with one weight for all heads.
    PerHead,
}

/// What turns the last hidden state into logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputHead {
    /// The token embedding again.
    Tied,
    /// A weight of its own.
    Separate,
}

/// Everything the forward pass, and whoever sizes its buffers, needs to know of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The family.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward block.
    pub ffn_hidden: usize,
    /// Layers, at least one.
    pub n_layers: usize,
    /// Query heads; a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Values per head, of queries, keys and values alike; even.
    pub head_dim: usize,
    /// Rows of the token embedding, and so logits per row.
    pub vocab: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// How queries and keys are turned.
    pub rope: Rope,
    /// Biases of queries, keys and values.
    pub qkv_bias: QkvBias,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// Where logits come from.
    pub output_head: OutputHead,
    /// `[n_layers]` positions a token sees, its own included; `u32::MAX` for all.
    pub windows: Vec<u32>,
    /// Positions the model was trained for.
    pub context_length: usize,
}

impl ModelSpec {
    /// Values per token of all query heads together.
    pub fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Values per token of all key heads together, or of all value heads.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}
