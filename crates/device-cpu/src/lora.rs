//! The adapter slots beside one linear layer.
//!
//! Key decisions:
//! - Values are f16, which is what reading them costs, each matrix multiplied by the power of two that
//!   brings its largest value under 2^15; the scale takes it back. So nothing overflows, and small
//!   values keep the eleven bits that f16 has.
//! - Both matrices are in the order in which they are read, one stretch each: `a` by pairs of ranks,
//!   `b` by 16 outputs.
//! - A slot takes the memory of what is in it.

use garrison_device::{LoraShape, LoraView};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::memory::Lines;
use crate::simd::LANES;

/// Rows of `a` that are computed together.
pub(crate) const PAIR: usize = 2;

/// 16 inputs of a pair of ranks.
pub(crate) type PairChunk = [[f16; LANES]; PAIR];

/// The adapter slots beside one linear layer.
pub struct LoraSlots {
    pub(crate) shape: LoraShape,
    /// `[slots]`, slot 1 first.
    slots: Box<[Option<LoraWeight>]>,
}

/// What is in a slot.
pub(crate) struct LoraWeight {
    pub(crate) rank: usize,
    pub(crate) scale: f32,
    /// `[rank / PAIR, k / LANES, PAIR, LANES]`, rounded up; what is beyond is zero.
    a: Lines<f16>,
    /// `[n / LANES, rank, LANES]`, rounded up; what is beyond is zero.
    b: Lines<f16>,
    /// Values of `a` per pair of ranks.
    pair_len: usize,
}

impl LoraSlots {
    /// Empty slots, or `None` if memory is short.
    pub(crate) fn empty(shape: &LoraShape) -> Option<LoraSlots> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(shape.slots).ok()?;
        slots.resize_with(shape.slots, || None);
        Some(LoraSlots { shape: *shape, slots: slots.into_boxed_slice() })
    }

    /// Puts `content` into slot `slot`, in place of what was there.
    pub(crate) fn put(&mut self, slot: u32, content: Option<LoraWeight>) {
        let at = self.index(slot);
        self.slots[at] = content;
    }

    /// What is in slot `slot`, which is not 0.
    pub(crate) fn get(&self, slot: u32) -> Option<&LoraWeight> {
        self.slots[self.index(slot)].as_ref()
    }

    fn index(&self, slot: u32) -> usize {
        let n = self.slots.len();
        assert!(slot >= 1 && slot as usize <= n, "adapter slot {slot} is not one of 1 to {n}");
        slot as usize - 1
    }
}

impl LoraWeight {
    /// Bytes that a weight takes, or `None` if they are more than can be counted.
    pub(crate) fn bytes(shape: &LoraShape, rank: usize) -> Option<usize> {
        let (a, b) = lens(shape, rank)?;
        a.checked_add(b)?.checked_mul(size_of::<f16>())
    }

    /// Takes an adapter's share of one layer over, or `None` if memory is short.
    pub(crate) fn pack(shape: &LoraShape, view: &LoraView<'_>) -> Option<LoraWeight> {
        view.check(shape);
        let &LoraView { rank, a, b, scale } = view;
        let (a_len, b_len) = lens(shape, rank)?;
        let (a_shift, b_shift) = (LoraView::shift(a), LoraView::shift(b));
        let mut weight = LoraWeight {
            rank,
            scale: (f64::from(scale) * 2f64.powi(-(a_shift + b_shift))) as f32,
            a: Lines::zeroed(a_len)?,
            b: Lines::zeroed(b_len)?,
            pair_len: a_len / rank.div_ceil(PAIR),
        };
        let mut row = Converted::new(shape.k.max(LANES * rank));
        for (i, values) in a.chunks_exact(shape.k).enumerate() {
            let pair = &mut weight.a.get_mut()[i / PAIR * weight.pair_len..][..weight.pair_len];
            let chunks = pair.chunks_exact_mut(PAIR * LANES);
            for (chunk, values) in chunks.zip(row.convert(values, a_shift).chunks(LANES)) {
                chunk[i % PAIR * LANES..][..values.len()].copy_from_slice(values);
            }
        }
        let panels = weight.b.get_mut().chunks_exact_mut(rank * LANES);
        for (panel, outputs) in panels.zip(b.chunks(LANES * rank)) {
            for (lane, values) in row.convert(outputs, b_shift).chunks_exact(rank).enumerate() {
                let to = panel[lane..].iter_mut().step_by(LANES);
                to.zip(values).for_each(|(to, x)| *to = *x);
            }
        }
        Some(weight)
    }

    /// Pairs of ranks.
    pub(crate) fn n_pairs(&self) -> usize {
        self.rank.div_ceil(PAIR)
    }

    /// A pair of rows of `a`, `[k / LANES]` rounded up.
    pub(crate) fn pair(&self, i: usize) -> &[PairChunk] {
        let values = &self.a.get()[i * self.pair_len..][..self.pair_len];
        values.as_chunks::<LANES>().0.as_chunks::<PAIR>().0
    }

    /// What makes 16 outputs of the ranks' sums, `[rank]`.
    pub(crate) fn panel(&self, i: usize) -> &[[f16; LANES]] {
        &self.b.get().as_chunks::<LANES>().0[i * self.rank..][..self.rank]
    }
}

/// Room to convert a row at a time: many values at once are several times faster than one by one,
/// and everybody waits for a slot to be filled.
struct Converted {
    scaled: Vec<f32>,
    halves: Vec<f16>,
}

impl Converted {
    fn new(len: usize) -> Converted {
        Converted { scaled: Vec::with_capacity(len), halves: vec![f16::ZERO; len] }
    }

    /// `values * 2^shift`.
    fn convert(&mut self, values: &[f32], shift: i32) -> &[f16] {
        let factor = 2f32.powi(shift);
        self.scaled.clear();
        self.scaled.extend(values.iter().map(|x| x * factor));
        let halves = &mut self.halves[..values.len()];
        halves.convert_from_f32_slice(&self.scaled);
        halves
    }
}

/// Values of the two matrices as they are stored.
fn lens(shape: &LoraShape, rank: usize) -> Option<(usize, usize)> {
    let a = rank.checked_next_multiple_of(PAIR)?.checked_mul(shape.k.checked_next_multiple_of(LANES)?)?;
    Some((a, rank.checked_mul(shape.n.checked_next_multiple_of(LANES)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: LoraShape = LoraShape { slots: 2, max_rank: 4, n: 18, k: 20 };

    /// `a[r, j]` and `b[o, r]` as they are stored, less the power of two.
    fn unpacked(weight: &LoraWeight, scale: f32) -> (Vec<f32>, Vec<f32>) {
        let back = weight.scale / scale;
        let a = |r: usize, j: usize| weight.pair(r / PAIR)[j / LANES][r % PAIR][j % LANES].to_f32();
        let b = |o: usize, r: usize| weight.panel(o / LANES)[r][o % LANES].to_f32() * back;
        let a = (0..weight.rank).flat_map(|r| (0..SHAPE.k).map(move |j| a(r, j))).collect();
        (a, (0..SHAPE.n).flat_map(|o| (0..weight.rank).map(move |r| b(o, r))).collect())
    }

    #[test]
    fn values_keep_their_places_and_their_bits() {
        for rank in [1, 3, 4] {
            // All have eleven bits at most; the largest of `a` is 2^14, so it is stored as it is.
            let a: Vec<f32> = (0..rank * SHAPE.k).map(|i| 16384.0 - 8.0 * i as f32).collect();
            let b: Vec<f32> = (0..SHAPE.n * rank).map(|i| (i as f32 - 30.0) / 1024.0 / 1024.0).collect();
            let weight = LoraWeight::pack(&SHAPE, &LoraView { rank, a: &a, b: &b, scale: 0.5 }).unwrap();
            assert_eq!(unpacked(&weight, 0.5), (a, b), "rank {rank}");
            assert!(weight.panel(1)[0][2..].iter().all(|x| x.to_f32() == 0.0), "padding is zero");
            assert_eq!(LoraWeight::bytes(&SHAPE, rank), Some(2 * (weight.n_pairs() * 64 + rank * 32)));
        }
    }

    #[test]
    fn no_size_of_values_is_lost() {
        for size in [1e-30f32, 1e-6, 1.0, 1e6, 1e30] {
            let (a, b) = ([size; 20], [1.0 / size; 18]);
            let weight = LoraWeight::pack(&SHAPE, &LoraView { rank: 1, a: &a, b: &b, scale: 2.0 }).unwrap();
            let product = weight.pair(0)[0][0][0].to_f32() * weight.panel(0)[0][0].to_f32() * weight.scale;
            assert!((product - 2.0).abs() < 4e-3, "{size}: {product}");
        }
        let zero = LoraView { rank: 1, a: &[0.0; 20], b: &[0.0; 18], scale: 2.0 };
        assert_eq!(LoraWeight::pack(&SHAPE, &zero).unwrap().scale, 2.0);
    }

    #[test]
    #[should_panic(expected = "adapter slot 3 is not one of 1 to 2")]
    fn a_slot_that_is_not_there_asserts() {
        LoraSlots::empty(&SHAPE).unwrap().get(3);
    }
}
