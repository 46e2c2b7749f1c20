//! What GGUF calls the tensors of a transformer. Safetensors folders are presented under the same
//! names.

use garrison_device::Cut;

pub(crate) const EMBEDDING: &str = "token_embd.weight";
pub(crate) const OUTPUT_NORM: &str = "output_norm.weight";
pub(crate) const OUTPUT: &str = "output.weight";
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

pub(crate) const ATTENTION_NORM: &str = "attn_norm.weight";
pub(crate) const Q: &str = "attn_q.weight";
pub(crate) const K: &str = "attn_k.weight";
pub(crate) const V: &str = "attn_v.weight";
pub(crate) const ATTENTION_OUTPUT: &str = "attn_output.weight";
pub(crate) const Q_BIAS: &str = "attn_q.bias";
pub(crate) const K_BIAS: &str = "attn_k.bias";
pub(crate) const V_BIAS: &str = "attn_v.bias";
pub(crate) const Q_NORM: &str = "attn_q_norm.weight";
pub(crate) const K_NORM: &str = "attn_k_norm.weight";
pub(crate) const FFN_NORM: &str = "ffn_norm.weight";
pub(crate) const GATE: &str = "ffn_gate.weight";
pub(crate) const UP: &str = "ffn_up.weight";
pub(crate) const DOWN: &str = "ffn_down.weight";

/// Whether a tensor of this name is part of what a transformer computes. A file with one that the forward
/// pass does not use is refused: computing without it would give wrong answers and no hint. What is named
/// otherwise belongs to other parts, such as an encoder of images.
pub(crate) fn is_of_transformer(name: &str) -> bool {
    // Old files carry each layer's rope frequencies, which follow from the metadata.
    let is_table = name.ends_with(".attn_rot_embd.weight") || name.ends_with(".rope_freqs.weight");
    let parts = ["blk.", "output", "token_", "position_", "rope_factors"];
    !is_table && parts.iter().any(|part| name.starts_with(part))
}

/// How devices that share a model cut a tensor: attention by heads, the feed-forward block by what is inside of it.
pub(crate) fn cut(name: &str) -> Cut {
    let is = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if is(&[Q, K, V, Q_BIAS, K_BIAS, V_BIAS, GATE, UP]) {
        Cut::Outputs
    } else if is(&[ATTENTION_OUTPUT, DOWN]) {
        Cut::Inputs
    } else {
        Cut::Whole
    }
}

/// The name of layer `i`'s tensor.
pub(crate) fn layer(i: usize, suffix: &str) -> String {
    format!("blk.{i}.{suffix}")
}
