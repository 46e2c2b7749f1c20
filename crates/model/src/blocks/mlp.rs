//! The gated feed-forward block, SwiGLU (Shazeer 2020).

use garrison_device::{Ops, ProductShape};

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
    let jobs = &mut [(&mut *gate, &layer.gate), (&mut *up, &layer.up)];
    device.norm_matmul_group(jobs, normed, hidden, &layer.norm, spec.norm_eps, count);
    if rows.are_plain() {
        let shape = ProductShape { rows: count, n: spec.hidden, k: spec.ffn_hidden };
        return device.silu_mul_matmul_add(hidden, activated, [gate, up], &layer.down, delta, shape);
    }
    rows.adapt(device, Target::Gate, gate, normed);
    rows.adapt(device, Target::Up, up, normed);
    device.silu_mul(activated, gate, up, count * spec.ffn_hidden);
    device.matmul(delta, activated, &layer.down, count);
    rows.adapt(device, Target::Down, delta, activated);
    device.add(hidden, delta, count * spec.hidden);
}
