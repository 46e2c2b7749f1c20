//! Hugging Face's tensor names to GGUF's.

use super::config::{Config, Family};

/// What becomes of a tensor.
pub(super) enum Mapped {
    /// It has this name in GGUF.
    To { name: String, rows: Rows },
    /// It is not a weight, or a copy of one.
    Unused,
    /// Nobody knows; leaving it out could change what the model says.
    Unknown,
}

/// In which order rows are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rows {
    AsStored,
    /// The halves of each head interleaved.
    Interleaved {
        n_heads: usize,
    },
}

pub(super) fn map(source: &str, config: &Config) -> Mapped {
    let to = |name: String| Mapped::To { name, rows: Rows::AsStored };
    match source {
        "model.embed_tokens.weight" => return to("token_embd.weight".into()),
        "model.norm.weight" => return to("output_norm.weight".into()),
        "lm_head.weight" if config.tied => return Mapped::Unused,
        "lm_head.weight" => return to("output.weight".into()),
        // Old checkpoints carry rope's frequencies, which follow from the configuration.
        _ if source.ends_with(".rotary_emb.inv_freq") => return Mapped::Unused,
        _ => {}
    }
    let Some((layer, gguf, kind)) = in_layer(source) else { return Mapped::Unknown };
    if layer >= config.n_layers || !matches!(kind, "weight" | "bias") {
        return Mapped::Unknown;
    }
    let rows = match (config.family, gguf) {
        (Family::Llama, "attn_q") => Rows::Interleaved { n_heads: config.n_heads },
        (Family::Llama, "attn_k") => Rows::Interleaved { n_heads: config.n_kv_heads },
        _ => Rows::AsStored,
    };
    Mapped::To { name: format!("blk.{layer}.{gguf}.{kind}"), rows }
}

/// The linear layers of a transformer block.
pub(crate) const LINEAR_LAYERS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// GGUF's name of a linear layer's weight, if it is one of a transformer block.
pub(crate) fn layer_weight(source: &str) -> Option<String> {
    let (layer, gguf, kind) = in_layer(source)?;
    let is_linear = LINEAR_LAYERS.iter().any(|part| source.ends_with(&format!(".{part}.weight")));
    is_linear.then(|| format!("blk.{layer}.{gguf}.{kind}"))
}

/// The layer, GGUF's name of the module in it, and `weight` or `bias`.
fn in_layer(source: &str) -> Option<(usize, &'static str, &str)> {
    let (layer, part) = source.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, kind) = part.rsplit_once('.')?;
    let gguf = match module {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some((layer.parse().ok()?, gguf, kind))
}
