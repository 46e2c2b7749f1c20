//! The same in plain Rust: one row at a time, one span at a time, in f64.

use garrison_device::BLOCK_SIZE;

use super::kernel::{KvElement, Partial, Queries, SPAN, overlap, visible};

/// Sets `partial` to what the queries see of span number `span`.
pub(super) fn attend<E: KvElement>(queries: &Queries<'_, E>, span: usize, partial: &mut Partial<'_>) {
    let layout = queries.cells.layout;
    let (dim, stride) = (layout.head_dim, layout.value_stride);
    for row in 0..queries.rows() {
        let position = queries.positions[row / queries.group];
        let seen = overlap(&visible(position, queries.window), &(span * SPAN..(span + 1) * SPAN));
        let q = &queries.q[row * dim..][..dim];
        let block = |p: usize| (queries.table[p / BLOCK_SIZE], p % BLOCK_SIZE);
        let mut weights = [0.0f64; SPAN];
        let mut largest = f64::NEG_INFINITY;
        for (p, weight) in seen.clone().zip(&mut weights) {
            let (block, offset) = block(p);
            let keys = queries.cells.key_tile(block, queries.kv_head);
            let products =
                q.iter().enumerate().map(|(d, &q)| f64::from(q) * keys[d * BLOCK_SIZE + offset].into());
            *weight = products.sum();
            largest = largest.max(*weight);
        }
        // The same base must serve `merge`, which knows it as f32.
        partial.largest[row] = largest as f32;
        let base =
            if partial.largest[row] == f32::NEG_INFINITY { 0.0 } else { f64::from(partial.largest[row]) };
        let mut sum = 0.0;
        for weight in &mut weights[..seen.len()] {
            *weight = (*weight - base).exp();
            sum += *weight;
        }
        partial.sum[row] = sum as f32;
        for (d, out) in partial.out[row * stride..][..dim].iter_mut().enumerate() {
            let weigh = |(p, weight): (usize, &f64)| {
                let (block, offset) = block(p);
                weight * queries.cells.value_tile(block, queries.kv_head)[offset * stride + d].into()
            };
            *out = seen.clone().zip(&weights).map(weigh).sum::<f64>() as f32;
        }
    }
}

/// Adds the next span to the spans so far.
pub(super) fn merge(total: &mut Partial<'_>, part: &Partial<'_>) {
    let stride = total.out.len() / total.sum.len();
    for row in 0..total.sum.len() {
        if part.largest[row] == f32::NEG_INFINITY && part.sum[row] == 0.0 {
            continue; // nothing of this span was seen
        }
        let largest = total.largest[row].max(part.largest[row]);
        let base = if largest == f32::NEG_INFINITY { 0.0 } else { largest };
        let (before, now) = ((total.largest[row] - base).exp(), (part.largest[row] - base).exp());
        total.largest[row] = largest;
        total.sum[row] = total.sum[row] * before + part.sum[row] * now;
        for at in row * stride..(row + 1) * stride {
            total.out[at] = total.out[at] * before + part.out[at] * now;
        }
    }
}

/// Writes one row's output `[head_dim]`.
pub(super) fn finish(total: &Partial<'_>, row: usize, dst: &mut [f32]) {
    let stride = total.out.len() / total.sum.len();
    for (dst, out) in dst.iter_mut().zip(&total.out[row * stride..]) {
        *dst = out / total.sum[row];
    }
}
