//! The gated feed-forward block, SwiGLU (Shazeer 2020).

use garrison_device::Ops;

use crate::ModelSpec;
use crate::workspace::Scratch;

/// Weights of one layer's feed-forward block.
pub(crate) struct Mlp<W> {
    /// `[1, hidden]`
    pub(crate) norm: W,
    /// `[ffn_hidden, hidden]`
    pub(crate) gate: W,
    /// `[ffn_hidden, hidden]`
    pub(crate) up: W,
    /// `[hidden, ffn_hidden]`
    pub(crate) down: W,
}

/// Adds `down(silu(gate(norm(x))) * up(norm(x)))` to the first `rows` rows of `hidden`.
pub(crate) fn feed_forward<B: Ops>(
    device: &B,
    spec: &ModelSpec,
    layer: &Mlp<B::Weight>,
    scratch: &mut Scratch<B>,
    hidden: &mut B::Buffer,
    rows: usize,
) {
    let Scratch { normed, delta, gate, up, activated, .. } = scratch;
    device.rms_norm(normed, hidden, &layer.norm, rows, spec.norm_eps);
    device.matmul_group(&mut [(gate, &layer.gate), (up, &layer.up)], normed, rows);
    device.silu_mul(activated, gate, up, rows * spec.ffn_hidden);
    device.matmul(delta, activated, &layer.down, rows);
    device.add(hidden, delta, rows * spec.hidden);
}
