//! The formula, in f64: every score, the softmax, the weighted sum.

use garrison_device::{AttentionShape, BLOCK_SIZE};

use super::Step;
use crate::kv::Cells;

/// For all tokens and heads, one after the other.
pub(super) fn attention<E: Copy + Into<f64> + bytemuck::Zeroable>(
    dst: &mut [f32],
    q: &[f32],
    cells: &Cells<E>,
    step: &Step<'_>,
    shape: &AttentionShape,
) {
    let &AttentionShape { n_heads, n_kv_heads, head_dim, .. } = shape;
    for seq in 0..step.q_start.len() - 1 {
        let table = &step.blocks[step.block_start[seq] as usize..step.block_start[seq + 1] as usize];
        for token in step.q_start[seq] as usize..step.q_start[seq + 1] as usize {
            for head in 0..n_heads {
                let range = (token * n_heads + head) * head_dim..(token * n_heads + head + 1) * head_dim;
                let kv_head = head / (n_heads / n_kv_heads);
                let position = step.positions[token];
                one(&mut dst[range.clone()], &q[range], cells, kv_head, table, position, shape);
            }
        }
    }
}

/// One head of the token at `position`.
fn one<E: Copy + Into<f64> + bytemuck::Zeroable>(
    dst: &mut [f32],
    q: &[f32],
    cells: &Cells<E>,
    kv_head: usize,
    table: &[u32],
    position: u32,
    shape: &AttentionShape,
) {
    let first = position.saturating_sub(shape.window.saturating_sub(1));
    let tile = |p: u32| (table[p as usize / BLOCK_SIZE], p as usize % BLOCK_SIZE);
    let score = |p: u32| -> f64 {
        let (block, offset) = tile(p);
        let keys = cells.key_tile(block, kv_head);
        let dot: f64 =
            q.iter().enumerate().map(|(d, &q)| f64::from(q) * keys[d * BLOCK_SIZE + offset].into()).sum();
        dot * f64::from(shape.scale)
    };
    let mut weights: Vec<f64> = (first..=position).map(score).collect();
    let largest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    weights.iter_mut().for_each(|w| *w = (*w - largest).exp());
    let total: f64 = weights.iter().sum();
    for (d, out) in dst.iter_mut().enumerate() {
        let weigh = |(p, w): (u32, &f64)| -> f64 {
            let (block, offset) = tile(p);
            w * cells.value_tile(block, kv_head)[offset * cells.layout.value_stride + d].into()
        };
        *out = ((first..=position).zip(&weights).map(weigh).sum::<f64>() / total) as f32;
    }
}
