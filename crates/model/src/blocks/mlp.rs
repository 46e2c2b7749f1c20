//! The gated feed-forward block, SwiGLU (Shazeer 2020).

use garrison_device::Ops;

use crate::lora::Rows;
use crate::workspace::Scratch;
use crate::{ModelSpec, Target};

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

/// Adds `down(silu(gate(norm(x))) * up(norm(x)))` to the rows of `hidden`.
pub(crate) fn feed_forward<B: Ops>(
    device: &B,
    spec: &ModelSpec,
    layer: &Mlp<B::Weight>,
    rows: &Rows<'_, B>,
    scratch: &mut Scratch<B>,
    hidden: &mut B::Buffer,
) {
    let count = rows.count;
    let Scratch { normed, delta, gate, up, activated, .. } = scratch;
    device.rms_norm(normed, hidden, &layer.norm, count, spec.norm_eps);
    device.matmul_group(&mut [(gate, &layer.gate), (up, &layer.up)], normed, count);
    rows.adapt(device, Target::Gate, gate, normed);
    rows.adapt(device, Target::Up, up, normed);
    device.silu_mul(activated, gate, up, count * spec.ffn_hidden);
    device.matmul(delta, activated, &layer.down, count);
    rows.adapt(device, Target::Down, delta, activated);
    device.add(hidden, delta, count * spec.hidden);
}
