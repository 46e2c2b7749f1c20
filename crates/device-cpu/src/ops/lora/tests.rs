use garrison_device::{LoraShape, LoraView};
use half::f16;

use super::super::tests::{assert_close, assert_same_bits, for_every_run, values};
use super::*;
use crate::pool::Pool;
use crate::simd::Level;
use crate::simd::portable::Portable;

const RANKS: [usize; 6] = [1, 2, 7, 16, 33, 64];

/// A bank with an adapter of each rank, in slots 1 to 6; 7 stays empty.
struct Bank {
    slots: LoraSlots,
    /// Per slot `a`, `b` and the scale; rounded to what f16 holds.
    adapters: Vec<(Vec<f32>, Vec<f32>, f32)>,
}

fn bank(n: usize, k: usize) -> Bank {
    let shape = LoraShape { slots: 7, max_rank: 64, n, k };
    let mut slots = LoraSlots::empty(&shape).unwrap();
    let mut adapters = Vec::new();
    for (i, rank) in RANKS.into_iter().enumerate() {
        let round =
            |len, seed| values(len, seed).into_iter().map(|x| f16::from_f32(x).to_f32()).collect::<Vec<_>>();
        let (a, b) = (round(rank * k, 10 + i as u64), round(n * rank, 20 + i as u64));
        let scale = 0.7 / (i + 1) as f32;
        let view = LoraView { rank, a: &a, b: &b, scale };
        slots.put(i as u32 + 1, LoraWeight::pack(&shape, &view));
        adapters.push((a, b, scale));
    }
    Bank { slots, adapters }
}

impl Bank {
    /// The formula, in f64.
    fn reference(&self, dst: &mut [f32], x: &[f32], rows: &[u32]) {
        let LoraShape { n, k, .. } = self.slots.shape;
        for ((dst, x), &slot) in dst.chunks_mut(n).zip(x.chunks(k)).zip(rows) {
            let Some((a, b, scale)) = (slot as usize).checked_sub(1).and_then(|i| self.adapters.get(i))
            else {
                continue;
            };
            let dot = |w: &[f32], x: &[f64]| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>();
            let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            let sums: Vec<f64> = a.chunks(k).map(|a| dot(a, &x)).collect();
            for (dst, b) in dst.iter_mut().zip(b.chunks(sums.len())) {
                *dst = (f64::from(*dst) + f64::from(*scale) * dot(b, &sums)) as f32;
            }
        }
    }
}

/// Shapes with tails, without, and with several tasks along ranks and outputs.
const SHAPES: [(usize, usize); 5] = [(1, 1), (15, 17), (48, 32), (300, 100), (2100, 4099)];

#[test]
fn every_variant_is_close_to_f64() {
    for (n, k) in SHAPES {
        let bank = bank(n, k);
        for rows in [vec![1], vec![0, 7, 0], vec![3, 0, 6, 3, 7, 1, 2, 4, 5, 3], vec![4; 101]] {
            let (x, start) = (values(rows.len() * k, 1), values(rows.len() * n, 2));
            let mut expected = start.clone();
            bank.reference(&mut expected, &x, &rows);
            let size = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for_every_run(|run, isa| {
                let mut got = start.clone();
                lora(run, &mut got, &x, &bank.slots, &rows, &mut Scratch::default());
                let near: Vec<f32> = got.iter().zip(&expected).map(|(g, e)| g - e + size).collect();
                let what = format!("{isa:?} [{n}, {k}] {rows:?}");
                assert_close(&near, &vec![size; near.len()], 2e-6, &what);
            });
        }
    }
}

/// The same bits in any company and order, on any number of threads and any instruction set.
#[test]
fn a_row_depends_on_nothing_else() {
    let (n, k) = (300, 100);
    let bank = bank(n, k);
    let rows: Vec<u32> = (0..160).map(|i| [3, 0, 6, 3, 3, 1, 2, 4][i * i % 8]).collect();
    let (x, start) = (values(rows.len() * k, 3), values(rows.len() * n, 4));
    let mut alone = start.clone();
    let pool = Pool::new(std::num::NonZeroUsize::MIN);
    let run = Run { pool: &pool, level: Level::Scalar };
    for ((dst, x), row) in alone.chunks_mut(n).zip(x.chunks(k)).zip(rows.chunks(1)) {
        lora(run, dst, x, &bank.slots, row, &mut Scratch::default());
    }
    for_every_run(|run, isa| {
        let mut together = start.clone();
        lora(run, &mut together, &x, &bank.slots, &rows, &mut Scratch::default());
        assert_same_bits(&together, &alone, &format!("{isa:?}"));
    });
}

#[test]
fn the_kernel_means_the_same_on_any_width() {
    let (n, k, rank) = (41, 50, 7);
    let bank = bank(n, k);
    let weight = bank.slots.get(3).unwrap();
    let x = values(5 * k, 5);
    let rows = [0, 1, 2, 3, 4];
    let go = |shrink: &dyn Fn(&Shrink<'_>), expand: &dyn Fn(&Expand<'_>)| {
        let (mut sums, mut dst) = (vec![0.0; 5 * 8], values(5 * n, 6));
        let out = Disjoint::new(&mut sums);
        shrink(&Shrink { weight, pairs: 0..4, x: &x, k, rows: &rows, sums: &out, stride: 8, first: 0 });
        let out = Disjoint::new(&mut dst);
        expand(&Expand { weight, panels: 0..3, dst: &out, n, rows: &rows, sums: &sums, stride: 8 });
        dst
    };
    assert_eq!(weight.rank, rank);
    let expected = go(&|w| kernel::shrink_all(Portable, w), &|w| kernel::expand_all(Portable, w));
    for_every_run(|run, isa| {
        let got = go(&|w| kernel::shrink(run.level, w), &|w| kernel::expand(run.level, w));
        assert_same_bits(&got, &expected, &format!("{isa:?}"));
    });
}
