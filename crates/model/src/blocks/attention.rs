//! Grouped-query attention (Ainslie et al. 2023): [`attend`] reads the cache for every token of
//! the step, [`project`] brings what was read back into the residual stream. In the last layer
//! nobody asks for more of most tokens than their keys and values: [`attend_wanted`] leaves it at that.

use garrison_device::{AttentionShape, Ops, ProductShape, Queries, RopeShape, StepBuffers};

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
    let block = Block { device, spec, layer };
    let Workspace { angles, hidden, attended, scratch, .. } = ws;
    let Scratch { normed, q, k, v, .. } = scratch;
    let jobs = &mut [(q, &layer.q), (k, &layer.k), (v, &layer.v)];
    device.norm_matmul_group(jobs, normed, hidden, &layer.norm, spec.norm_eps, rows.count);
    block.store_keys_and_values(rows, scratch, angles, step, kv);
    block.finish_queries(rows, scratch, angles);
    device.attention(attended, &scratch.q, kv, step, Queries::Tokens, &block.shape());
}

/// As [`attend`], but fills `ws.attended` for the wanted tokens alone, and `ws.wanted_hidden` with what they
/// have so far. `rows` are those of the step and the wanted ones.
pub(crate) fn attend_wanted<B: Ops>(
    device: &B,
    spec: &ModelSpec,
    layer: &Attention<B::Weight>,
    step: &StepBuffers<B>,
    [rows, wanted]: [&Rows<'_, B>; 2],
    ws: &mut Workspace<B>,
    kv: &mut B::KvLayer,
) {
    let block = Block { device, spec, layer };
    let Workspace { angles, hidden, attended, wanted_hidden, wanted_angles, scratch, .. } = ws;
    let Scratch { normed, k, v, .. } = scratch;
    let jobs = &mut [(k, &layer.k), (v, &layer.v)];
    device.norm_matmul_group(jobs, normed, hidden, &layer.norm, spec.norm_eps, rows.count);
    block.store_keys_and_values(rows, scratch, angles, step, kv);
    if wanted.count == 0 {
        return;
    }
    device.gather(wanted_hidden, hidden, &step.rows, wanted.count, spec.hidden);
    device.gather(wanted_angles, angles, &step.rows, wanted.count, spec.rope.dim);
    let Scratch { normed, q, .. } = scratch;
    let jobs = &mut [(q, &layer.q)];
    device.norm_matmul_group(jobs, normed, wanted_hidden, &layer.norm, spec.norm_eps, wanted.count);
    block.finish_queries(wanted, scratch, wanted_angles);
    device.attention(attended, &scratch.q, kv, step, Queries::Wanted, &block.shape());
}

/// What both ways have in common.
struct Block<'a, B: Ops> {
    device: &'a B,
    spec: &'a ModelSpec,
    layer: &'a Attention<B::Weight>,
}

impl<B: Ops> Block<'_, B> {
    /// From products to what the cache keeps.
    fn store_keys_and_values(
        &self,
        rows: &Rows<'_, B>,
        scratch: &mut Scratch<B>,
        angles: &B::Buffer,
        step: &StepBuffers<B>,
        kv: &mut B::KvLayer,
    ) {
        let Block { device, spec, layer } = *self;
        let Scratch { normed, k, v, .. } = scratch;
        rows.adapt(device, Target::K, k, normed);
        rows.adapt(device, Target::V, v, normed);
        if let BiasWeights::Qkv { k: k_bias, v: v_bias, .. } = &layer.bias {
            device.add_bias(k, k_bias, rows.count);
            device.add_bias(v, v_bias, rows.count);
        }
        if let QkNormWeights::PerHead { k: norm, .. } = &layer.qk_norm {
            device.rms_norm_in_place(k, norm, rows.count * spec.n_kv_heads, spec.norm_eps);
        }
        let shape = rope_shape(&spec.rope, spec.n_kv_heads, spec.head_dim);
        device.rope_store_kv(kv, [k, v], angles, shape, step);
    }

    /// From a product to queries.
    fn finish_queries(&self, rows: &Rows<'_, B>, scratch: &mut Scratch<B>, angles: &B::Buffer) {
        let Block { device, spec, layer } = *self;
        let Scratch { normed, q, .. } = scratch;
        rows.adapt(device, Target::Q, q, normed);
        if let BiasWeights::Qkv { q: bias, .. } = &layer.bias {
            device.add_bias(q, bias, rows.count);
        }
        if let QkNormWeights::PerHead { q: norm, .. } = &layer.qk_norm {
            device.rms_norm_in_place(q, norm, rows.count * spec.n_heads, spec.norm_eps);
        }
        device.rope(q, angles, rope_shape(&spec.rope, spec.n_heads, spec.head_dim), rows.count);
    }

    fn shape(&self) -> AttentionShape {
        let Block { spec, layer, .. } = self;
        AttentionShape {
            n_heads: spec.n_heads,
            n_kv_heads: spec.n_kv_heads,
            head_dim: spec.head_dim,
            scale: 1.0 / (spec.head_dim as f32).sqrt(),
            window: layer.window,
        }
    }
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
    let delta = &mut scratch.delta;
    if rows.are_plain() {
        let shape = ProductShape { rows: rows.count, n: spec.hidden, k: spec.q_width() };
        return device.matmul_add(hidden, attended, &layer.output, delta, shape);
    }
    device.matmul(delta, attended, &layer.output, rows.count);
    rows.adapt(device, Target::Output, delta, attended);
    device.add(hidden, delta, rows.count * spec.hidden);
}

fn rope_shape(rope: &Rope, n_heads: usize, head_dim: usize) -> RopeShape {
    RopeShape { n_heads, head_dim, rope_dim: rope.dim, pairing: rope.pairing }
}
