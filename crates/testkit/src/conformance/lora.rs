//! What adapters add, beside each other in one batch.

use garrison_device::{LoraShape, LoraView, Ops};

use super::{Bounds, Case, Visitor, assert_same_bits, assert_small_error, buffer, index_buffer, results};
use crate::random::Random;

pub(super) fn visit(visitor: &mut impl Visitor) {
    for (n, k) in [(1, 1), (16, 16), (9, 33), (70, 100), (300, 512)] {
        for rows in (1..=9).chain([32, 128]) {
            visitor.visit(Lora { n, k, rows });
        }
    }
}

/// Ranks of slots 1 and on. Of these slot 4 is cleared, 5 filled a second time, and 7 never filled.
const RANKS: [usize; 6] = [1, 16, 7, 8, 33, 64];
const SLOTS: usize = RANKS.len() + 1;
const CLEARED: usize = 4;

struct Lora {
    n: usize,
    k: usize,
    rows: usize,
}

/// The slots of one layer, and what is in them.
struct Bank<'a, B: Ops> {
    device: &'a B,
    slots: B::LoraSlots,
    shape: LoraShape,
    /// Slot 1 first.
    adapters: Vec<Adapter>,
}

struct Adapter {
    rank: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    scale: f32,
}

impl<'a, B: Ops> Bank<'a, B> {
    fn new(device: &'a B, n: usize, k: usize) -> Self {
        let shape = LoraShape { slots: SLOTS, max_rank: 64, n, k };
        let mut slots = device.alloc_lora(&shape).unwrap();
        let mut random = Random::new(7);
        let mut fill = |slot: usize, rank: usize| {
            // Values that training leaves behind: the second matrix is much smaller.
            let (a, b) = (random.values(rank * k, 0.2), random.values(n * rank, 0.003));
            let scale = 2.0 / slot as f32;
            let view = LoraView { rank, a: &a, b: &b, scale };
            device.write_lora(&mut slots, slot as u32, &view).unwrap();
            Adapter { rank, a, b, scale }
        };
        fill(5, 2);
        let adapters = RANKS.iter().enumerate().map(|(i, &rank)| fill(i + 1, rank)).collect();
        device.clear_lora(&mut slots, CLEARED as u32);
        Bank { device, slots, shape, adapters }
    }

    /// The op on rows of `x` and `dst` with these adapters.
    fn run(&self, dst: &[f32], x: &[f32], rows: &[u32]) -> Vec<f32> {
        let mut out = buffer(self.device, dst);
        let adapters = index_buffer(self.device, rows);
        self.device.lora(&mut out, &buffer(self.device, x), &self.slots, &adapters, rows.len());
        results(self.device, &out, dst.len(), "lora")
    }

    /// What the formula adds to one row, in f64.
    fn added(&self, x: &[f32], slot: u32) -> Vec<f64> {
        let LoraShape { n, k, .. } = self.shape;
        let adapter = (slot as usize).checked_sub(1).and_then(|i| self.adapters.get(i));
        let Some(Adapter { rank, a, b, scale }) = adapter.filter(|_| slot as usize != CLEARED) else {
            return vec![0.0; n];
        };
        let dot = |w: &[f32], x: &[f64]| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>();
        let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        let sums: Vec<f64> = a.chunks(k).map(|a| dot(a, &x)).collect();
        b.chunks(*rank).map(|b| f64::from(*scale) * dot(b, &sums)).collect()
    }
}

/// Rows that go through all slots and none, in no order.
fn slots_of(rows: usize, random: &mut Random) -> Vec<u32> {
    (0..rows).map(|_| random.below(SLOTS + 1) as u32).collect()
}

impl Case for Lora {
    fn name(&self) -> String {
        format!("lora [{}, {}] for {} rows", self.n, self.k, self.rows)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let bank = Bank::new(device, self.n, self.k);
        let mut random = Random::new(8);
        let (x, dst) = (random.values(self.rows * self.k, 1.0), random.values(self.rows * self.n, 1.0));
        let rows = slots_of(self.rows, &mut random);
        let got = bank.run(&dst, &x, &rows);
        for ((got, dst), &slot) in got.chunks(self.n).zip(dst.chunks(self.n)).zip(&rows) {
            if slot == 0 || slot as usize == CLEARED || slot as usize == SLOTS {
                assert_same_bits(got, dst, &format!("{}: slot {slot} adds nothing", self.name()));
            }
        }
        got
    }

    fn compare(&self, got: &[f32], expected: &[f32], bounds: &Bounds, what: &str) {
        assert_small_error(got, expected, bounds.product, what);
    }
}

/// Compares what adapters add with the formula, computed in f64. A device may keep the matrices in 16
/// bits: each rounds by up to 2^-9 if those are bfloat16.
///
/// # Panics
/// If the error is larger than that explains.
pub fn check_lora_against_f64<B: Ops>(device: &B) {
    for (n, k, rows) in [(33, 512, 9), (300, 70, 40), (16, 16, 1)] {
        let bank = Bank::new(device, n, k);
        let mut random = Random::new(9);
        let x = random.values(rows * k, 1.0);
        let slots = if rows == 1 { vec![2] } else { slots_of(rows, &mut random) };
        let added = x.chunks(k).zip(&slots).flat_map(|(x, &slot)| bank.added(x, slot));
        let expected: Vec<f32> = added.map(|x| x as f32).collect();
        let got = bank.run(&vec![0.0; rows * n], &x, &slots);
        let what = format!("{}: lora [{n}, {k}] and {rows} rows", device.name());
        assert_small_error(&got, &expected, 1e-5, &what);
    }
}

/// A row gets the same bits alone, in any order and beside rows of any adapter.
pub(super) fn check_rows<B: Ops>(device: &B) {
    let (n, k, rows) = (150, 300, 130);
    let bank = Bank::new(device, n, k);
    let mut random = Random::new(10);
    let (x, dst) = (random.values(rows * k, 1.0), random.values(rows * n, 1.0));
    for slots in [slots_of(rows, &mut random), vec![2; rows]] {
        let all = bank.run(&dst, &x, &slots);
        for i in 0..rows {
            let got = bank.run(&dst[i * n..][..n], &x[i * k..][..k], &slots[i..=i]);
            assert_same_bits(&got, &all[i * n..][..n], &format!("lora: row {i} of {slots:?}, alone"));
        }
        let mut order: Vec<usize> = (0..rows).collect();
        for i in (1..rows).rev() {
            order.swap(i, random.below(i + 1));
        }
        let pick = |from: &[f32], len: usize| -> Vec<f32> {
            order.iter().flat_map(|&i| from[i * len..][..len].to_vec()).collect()
        };
        let shuffled: Vec<u32> = order.iter().map(|&i| slots[i]).collect();
        let got = bank.run(&pick(&dst, n), &pick(&x, k), &shuffled);
        assert_same_bits(&got, &pick(&all, n), "lora: rows in another order");
    }
}
