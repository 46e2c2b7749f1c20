//! `config.json`: which family, which sizes, which labels.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::EncoderError;

/// What Hugging Face writes beside the weights; what a family does not need is left out.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Config {
    pub(crate) model_type: String,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    #[serde(default = "positions")]
    pub(crate) max_position_embeddings: usize,
    #[serde(default)]
    pub(crate) type_vocab_size: usize,
    #[serde(default, alias = "hidden_activation")]
    pub(crate) hidden_act: Activation,
    #[serde(default, alias = "norm_eps")]
    pub(crate) layer_norm_eps: Option<f64>,
    #[serde(default)]
    pub(crate) id2label: BTreeMap<String, String>,
    // DeBERTa (He et al. 2021, "DeBERTaV3").
    #[serde(default)]
    pub(crate) relative_attention: bool,
    #[serde(default)]
    pub(crate) max_relative_positions: i64,
    #[serde(default)]
    pub(crate) position_buckets: i64,
    #[serde(default)]
    pub(crate) pos_att_type: Option<AttentionTypes>,
    #[serde(default)]
    pub(crate) share_att_key: bool,
    #[serde(default = "yes")]
    pub(crate) position_biased_input: bool,
    #[serde(default)]
    pub(crate) norm_rel_ebd: Option<String>,
    #[serde(default)]
    pub(crate) conv_kernel_size: usize,
    #[serde(default)]
    pub(crate) embedding_size: Option<usize>,
    #[serde(default)]
    pub(crate) pooler_hidden_act: Option<Activation>,
    // ModernBERT (Warner et al. 2024).
    #[serde(default)]
    pub(crate) global_attn_every_n_layers: Option<usize>,
    #[serde(default)]
    pub(crate) layer_types: Option<Vec<LayerType>>,
    #[serde(default)]
    pub(crate) local_attention: Option<usize>,
    #[serde(default)]
    pub(crate) global_rope_theta: Option<f64>,
    #[serde(default)]
    pub(crate) local_rope_theta: Option<f64>,
    #[serde(default)]
    pub(crate) rope_parameters: Option<BTreeMap<LayerType, Rope>>,
    #[serde(default)]
    pub(crate) classifier_pooling: Pooling,
    #[serde(default)]
    pub(crate) classifier_activation: Activation,
}

fn positions() -> usize {
    512
}

fn yes() -> bool {
    true
}

/// The function between two matrices.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) enum Activation {
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    #[serde(rename = "gelu_new", alias = "gelu_fast", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    #[serde(rename = "relu")]
    Relu,
    #[serde(rename = "silu", alias = "swish")]
    Silu,
    #[serde(rename = "tanh")]
    Tanh,
}

/// "c2p|p2c" in old files, a list in new ones.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum AttentionTypes {
    Joined(String),
    List(Vec<String>),
}

impl AttentionTypes {
    pub(crate) fn has(&self, kind: &str) -> bool {
        match self {
            Self::Joined(text) => text.split('|').any(|k| k.trim() == kind),
            Self::List(list) => list.iter().any(|k| k == kind),
        }
    }
}

/// Who a position sees.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LayerType {
    FullAttention,
    SlidingAttention,
}

/// How fast positions turn.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Rope {
    pub(crate) rope_theta: f64,
}

/// What a whole text is classified by.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pooling {
    #[default]
    Cls,
    Mean,
}

/// More layers, heads or positions than this are a mistake in the file.
const MOST: usize = 1 << 20;

impl Config {
    pub(crate) fn read(folder: &Path) -> Result<Config, EncoderError> {
        let path = folder.join("config.json");
        let text =
            std::fs::read(&path).map_err(|source| EncoderError::Read { path: path.clone(), source })?;
        let invalid = |reason: String| EncoderError::Invalid { path: path.clone(), reason };
        let config: Config = serde_json::from_slice(&text).map_err(|e| invalid(e.to_string()))?;
        let heads = config.num_attention_heads;
        if heads == 0 || config.hidden_size == 0 || !config.hidden_size.is_multiple_of(heads) {
            return Err(invalid(format!(
                "hidden_size {} is no multiple of {heads} heads",
                config.hidden_size
            )));
        }
        let sizes = [config.num_hidden_layers, heads, config.max_position_embeddings, config.hidden_size];
        if sizes.iter().any(|n| *n > MOST) || config.max_position_embeddings < 4 {
            return Err(invalid(format!(
                "sizes {sizes:?} (layers, heads, positions, hidden) cannot be right"
            )));
        }
        let distances = [config.position_buckets, config.max_relative_positions];
        if distances.iter().any(|n| n.unsigned_abs() > MOST as u64) {
            return Err(invalid(format!("distances {distances:?} cannot be right")));
        }
        Ok(config)
    }

    /// How wide a head is.
    pub(crate) fn head(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// What the classes are called, in their order.
    pub(crate) fn labels(&self, folder: &Path) -> Result<Vec<String>, EncoderError> {
        let by_number: BTreeMap<usize, &String> =
            self.id2label.iter().filter_map(|(n, label)| Some((n.parse().ok()?, label))).collect();
        let whole = by_number.keys().copied().eq(0..self.id2label.len());
        if by_number.len() < 2 || !whole {
            let reason = "id2label must name every class, from 0 on, and at least two".to_owned();
            return Err(EncoderError::Invalid { path: folder.join("config.json"), reason });
        }
        Ok(by_number.into_values().cloned().collect())
    }
}
