//! Causal attention of each token over its own sequence's cached keys and values.

mod reference;

use garrison_device::AttentionShape;

use super::Run;
use crate::kv::{KvCells, KvLayer};

/// What the op reads of the step.
pub(crate) struct Step<'a> {
    /// `[tokens]`
    pub(crate) positions: &'a [u32],
    /// `[seqs + 1]`
    pub(crate) q_start: &'a [u32],
    /// All sequences' block tables.
    pub(crate) blocks: &'a [u32],
    /// `[seqs + 1]`
    pub(crate) block_start: &'a [u32],
}

/// Working memory.
pub(crate) struct Scratch;

impl Scratch {
    pub(crate) fn new(_threads: usize) -> Self {
        Scratch
    }
}

pub(crate) fn attention(
    _run: Run<'_>,
    dst: &mut [f32],
    q: &[f32],
    layer: &KvLayer,
    step: &Step<'_>,
    shape: &AttentionShape,
    _scratch: &Scratch,
) {
    match &layer.cells {
        KvCells::F16(cells) => reference::attention(dst, q, cells, step, shape),
        KvCells::BF16(cells) => reference::attention(dst, q, cells, step, shape),
        KvCells::F32(cells) => reference::attention(dst, q, cells, step, shape),
    }
}
