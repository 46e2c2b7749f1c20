//! The scalar kernel: the definition that the vector ones are held to, bit for bit.
//!
//! It reads the same packed bytes and the same int8 activations, one row at a time, and performs
//! the float operations of `kernel` in the same order. Sums of activations are taken anew rather
//! than read, so that a wrong sum shows.

use garrison_types::TensorType;

use super::activations::Quantized;
use super::kernel::{Columns, Stripe};
use super::layout::{Layout, Meaning, PANEL};
use super::unpack::{RowBlock, unpack_row};

/// Computes a stripe of a quantized weight.
pub(super) fn quantized(l: &Layout, s: &Stripe<'_>) {
    let Columns::Int8(x) = s.x else { unreachable!("quantized weights meet quantized activations") };
    let mut block = RowBlock::new();
    let mut sums = vec![0.0f32; s.rows];
    for_each_row(s, |panel, r, write| {
        sums.fill(0.0);
        for (b, packed) in panel.chunks_exact(l.bytes).enumerate() {
            block.read(l, packed, r);
            for (m, acc) in sums.iter_mut().enumerate() {
                *acc = add_block(l, &block, x, x.place(b, m), *acc);
            }
        }
        for (m, &sum) in sums.iter().enumerate() {
            write(m, sum);
        }
    });
}

/// `acc` plus the product of a block of weights and block `at` of the activations.
fn add_block(l: &Layout, w: &RowBlock, x: &Quantized, at: usize, acc: f32) -> f32 {
    let q = &x.q[at * l.len..][..l.len];
    let d = x.d[at];
    let (mut dot, mut minimum) = (0i32, 0i32);
    for (run, (w16, x16)) in w.q[..l.len].chunks_exact(16).zip(q.chunks_exact(16)).enumerate() {
        let products: i32 = w16.iter().zip(x16).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
        dot += w.scales[run] * products;
        minimum += w.mins[run] * x16.iter().map(|&x| i32::from(x)).sum::<i32>();
    }
    let acc = (w.d * d).mul_add(dot as f32, acc);
    match (l.meaning, l.min) {
        (Meaning::Unsigned, Some(_)) => (w.min * d).mul_add(minimum as f32, acc),
        _ => acc,
    }
}

/// Computes a stripe of a float weight.
pub(super) fn floats(ty: TensorType, s: &Stripe<'_>) {
    let Columns::Floats(x) = s.x else { unreachable!("float weights meet float activations") };
    let mut row = vec![0.0f32; s.k];
    for_each_row(s, |panel, r, write| {
        unpack_row(ty, panel, r, &mut row);
        for m in 0..s.rows {
            let x = &x[m * s.k..][..s.k];
            let mut sums = [0.0f32; 2];
            for (i, (&w, &x)) in row.iter().zip(x).enumerate() {
                sums[i % 2] = w.mul_add(x, sums[i % 2]);
            }
            write(m, sums[0] + sums[1]);
        }
    });
}

/// Calls `compute(panel, row in it, write(column, value))` for each row of the stripe.
fn for_each_row(s: &Stripe<'_>, mut compute: impl FnMut(&[u8], usize, &dyn Fn(usize, f32))) {
    for p in s.range.clone() {
        let panel = &s.panels[p * s.panel_bytes..][..s.panel_bytes];
        for r in 0..PANEL.min(s.n - p * PANEL) {
            compute(panel, r, &|m, value| {
                assert!(m < s.rows);
                // SAFETY: `dst` is `[rows, n]`, and the rows of these panels are this task's.
                unsafe { *s.dst.add(m * s.n + p * PANEL + r) = value };
            });
        }
    }
}
