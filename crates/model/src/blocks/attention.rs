//! Grouped-query attention (Ainslie et al. 2023): [`attend`] reads the cache for every token of
//! the step, [`project`] brings what was read back into the residual stream. They are two
//! functions because in the last layer only the wanted tokens go on after the first.

use garrison_device::{AttentionShape, Ops, RopeShape, StepBuffers};

use crate::lora::Rows;
use crate::workspace::Scratch;
use crate::{ModelSpec, Rope, Target, Workspace};

/// Weights of one layer's attention. Rows of `q`, `k` and `v` are heads times `head_dim`.
pub(crate) struct Attention<W> {
    /// `[1, hidden]`
    pub(crate) norm: W,
    /// `[n_heads * head_dim, hidden]`
    pub(crate) q: W,
    /// `[n_kv_heads * head_dim, hidden]`
    pub(crate) k: W,
    /// `[n_kv_heads * head_dim, hidden]`
    pub(crate) v: W,
    /// `[hidden, n_heads * head_dim]`
    pub(crate) output: W,
    pub(crate) bias: BiasWeights<W>,
    pub(crate) qk_norm: QkNormWeights<W>,
    /// A token sees this many positions, its own included; `u32::MAX` for all.
    pub(crate) window: u32,
}

/// Biases of queries, keys and values: all three or none.
pub(crate) enum BiasWeights<W> {
    None,
    /// `[1, n_heads * head_dim]`, then twice `[1, n_kv_heads * head_dim]`.
    Qkv {
        q: W,
        k: W,
        v: W,
    },
}

/// Norms of queries and keys.
pub(crate) enum QkNormWeights<W> {
    None,
    /// `[1, head_dim]` each, the same for every head.
    PerHead {
        q: W,
        k: W,
    },
}

/// Stores the step's keys and values of `ws.hidden` and fills `ws.attended` for every token of the step.
pub(crate) fn attend<B: Ops>(
    device: &B,
    spec: &ModelSpec,
    layer: &Attention<B::Weight>,
    step: &StepBuffers<B>,
    rows: &Rows<'_, B>,
    ws: &mut Workspace<B>,
    kv: &mut B::KvLayer,
) {
    let tokens = rows.count;
    let Workspace { angles, hidden, attended, scratch: Scratch { normed, q, k, v, .. }, .. } = ws;
    device.rms_norm(normed, hidden, &layer.norm, tokens, spec.norm_eps);
    device.matmul_group(&mut [(q, &layer.q), (k, &layer.k), (v, &layer.v)], normed, tokens);
    rows.adapt(device, Target::Q, q, normed);
    rows.adapt(device, Target::K, k, normed);
    rows.adapt(device, Target::V, v, normed);

    if let BiasWeights::Qkv { q: q_bias, k: k_bias, v: v_bias } = &layer.bias {
        device.add_bias(q, q_bias, tokens);
        device.add_bias(k, k_bias, tokens);
        device.add_bias(v, v_bias, tokens);
    }
    if let QkNormWeights::PerHead { q: q_norm, k: k_norm } = &layer.qk_norm {
        device.rms_norm_in_place(q, q_norm, tokens * spec.n_heads, spec.norm_eps);
        device.rms_norm_in_place(k, k_norm, tokens * spec.n_kv_heads, spec.norm_eps);
    }
    device.rope(q, angles, rope_shape(&spec.rope, spec.n_heads, spec.head_dim), tokens);
    device.rope(k, angles, rope_shape(&spec.rope, spec.n_kv_heads, spec.head_dim), tokens);

    device.store_kv(kv, k, v, step);
    let shape = AttentionShape {
        n_heads: spec.n_heads,
        n_kv_heads: spec.n_kv_heads,
        head_dim: spec.head_dim,
        scale: 1.0 / (spec.head_dim as f32).sqrt(),
        window: layer.window,
    };
    device.attention(attended, q, kv, step, &shape);
}

/// Adds the output projection of `attended` to the rows of `hidden`.
pub(crate) fn project<B: Ops>(
    device: &B,
    spec: &ModelSpec,
    layer: &Attention<B::Weight>,
    rows: &Rows<'_, B>,
    attended: &B::Buffer,
    scratch: &mut Scratch<B>,
    hidden: &mut B::Buffer,
) {
    device.matmul(&mut scratch.delta, attended, &layer.output, rows.count);
    rows.adapt(device, Target::Output, &mut scratch.delta, attended);
    device.add(hidden, &scratch.delta, rows.count * spec.hidden);
}

fn rope_shape(rope: &Rope, n_heads: usize, head_dim: usize) -> RopeShape {
    RopeShape { n_heads, head_dim, rope_dim: rope.dim, pairing: rope.pairing }
}
