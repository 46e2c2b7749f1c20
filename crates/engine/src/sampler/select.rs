//! Drawing a token: temperature, top-k, top-p, min-p, in that order.
//!
//! Key decision: nothing sorts the vocabulary, and nothing collects it either. Each restriction finds
//! its border, the worst token that it keeps, by partial selection among the few that it could be,
//! and then gives every token beyond it the weight 0. The draw walks the weights in the order of the
//! ids, so equal inputs give the same token whatever the selection did inside. Where a few tokens at most can
//! be left, only those are weighed at all.
//!
//! The order of tokens is total: the larger logit first, the lower id first among equals.

use std::cmp::Ordering;

use garrison_types::Sampling;

use super::numeric;

/// A token that may be a border.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    id: u32,
    logit: f32,
    weight: f32,
}

impl Candidate {
    fn order(&self, other: &Candidate) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

/// Memory that draws share.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// `[vocab]` probabilities relative to the most probable token's; 0 for what cannot be drawn.
    weights: Vec<f32>,
    /// Sums of [`numeric::BLOCK`] weights each.
    sums: Vec<f64>,
    /// Room for partial selection.
    candidates: Vec<Candidate>,
    bound: Bound,
}

/// The most tokens that `top_k` leaves for a draw to sort them.
const FEW: usize = 256;

/// Temperatures below this are as good as greedy and would overflow.
const MIN_TEMPERATURE: f32 = 1e-5;

impl Selection {
    /// Draws from `[vocab]` comparable logits with `u` in `[0, 1)`; `None` if all are minus infinity.
    pub(super) fn draw(&mut self, logits: &[f32], sampling: &Sampling, u: f64) -> Option<u32> {
        let k = sampling.top_k as usize;
        if (1..=FEW).contains(&k) && k < logits.len() {
            self.keep_few(logits, sampling, k);
            return self.draw_of_few(u);
        }
        let max = numeric::max(logits);
        if max == f32::NEG_INFINITY {
            return None;
        }
        let scale = 1.0 / sampling.temperature.max(MIN_TEMPERATURE);
        numeric::exp_scaled(&mut self.weights, logits, max, scale);
        if k > 0 && k < logits.len() {
            self.keep_top_k(logits, k);
        }
        if sampling.top_p < 1.0 {
            self.keep_top_p(logits, f64::from(sampling.top_p), max, scale);
        }
        if sampling.min_p > 0.0 {
            for weight in &mut self.weights {
                *weight = if *weight >= sampling.min_p { *weight } else { 0.0 };
            }
        }
        Some(self.draw_by_weight(u))
    }

    /// Leaves the `k` best and of them what the other restrictions keep, weighed and in the order of the ids.
    fn keep_few(&mut self, logits: &[f32], sampling: &Sampling, k: usize) {
        let Selection { candidates, bound, .. } = self;
        bound.best_of(logits, k, candidates);
        let scale = 1.0 / sampling.temperature.max(MIN_TEMPERATURE);
        let max = candidates.first().map_or(f32::NEG_INFINITY, |best| best.logit);
        for c in candidates.iter_mut() {
            c.weight = if c.logit > f32::NEG_INFINITY { numeric::exp((c.logit - max) * scale) } else { 0.0 };
        }
        // The best come first, so each restriction cuts off the end.
        candidates.truncate(candidates.partition_point(|c| c.weight > 0.0));
        if sampling.top_p < 1.0 {
            let weights = candidates.iter().map(|c| f64::from(c.weight));
            let target = f64::from(sampling.top_p) * weights.clone().sum::<f64>();
            let mut reached = 0.0;
            let within = weights.take_while(|weight| {
                let short = reached < target;
                reached += weight;
                short
            });
            let kept = within.count();
            candidates.truncate(kept);
        }
        candidates.truncate(candidates.partition_point(|c| c.weight >= sampling.min_p));
        candidates.sort_unstable_by_key(|c| c.id);
    }

    /// Draws from what [`Selection::keep_few`] left.
    fn draw_of_few(&self, u: f64) -> Option<u32> {
        let mut left = u * self.candidates.iter().map(|c| f64::from(c.weight)).sum::<f64>();
        let hit = self.candidates.iter().find(|c| {
            left -= f64::from(c.weight);
            left < 0.0
        });
        // Rounding left nothing to fall into: the last one.
        hit.or(self.candidates.last()).map(|c| c.id)
    }

    /// Walks blocks, then the block that `u` falls into.
    fn draw_by_weight(&mut self, u: f64) -> u32 {
        numeric::block_sums(&mut self.sums, &self.weights);
        let mut left = u * self.sums.iter().sum::<f64>();
        let mut block = 0;
        while block + 1 < self.sums.len() && left >= self.sums[block] {
            left -= self.sums[block];
            block += 1;
        }
        let start = block * numeric::BLOCK;
        let end = (start + numeric::BLOCK).min(self.weights.len());
        for (i, &weight) in self.weights[start..end].iter().enumerate() {
            left -= f64::from(weight);
            if left < 0.0 {
                return (start + i) as u32;
            }
        }
        // Rounding left nothing to fall into: the last token that has any weight.
        self.weights[..end].iter().rposition(|&w| w > 0.0).unwrap_or(0) as u32
    }

    fn keep_top_k(&mut self, logits: &[f32], k: usize) {
        let bound = self.bound.of(logits, k);
        self.collect(logits, |logit, weight| weight > 0.0 && logit >= bound);
        if self.candidates.len() > k {
            let last = *self.candidates.select_nth_unstable_by(k - 1, Candidate::order).1;
            self.drop_beyond(logits, &last);
        } else {
            // All others have no weight, or the bound was exact.
            for (weight, &logit) in self.weights.iter_mut().zip(logits) {
                *weight = if logit >= bound { *weight } else { 0.0 };
            }
        }
    }

    /// Keeps the fewest best tokens that weigh `p` of all together. `max` is the best logit.
    fn keep_top_p(&mut self, logits: &[f32], p: f64, max: f32, scale: f32) {
        /// Sixteen nats below the best, and one bucket for all that lies deeper.
        const BUCKETS: usize = 1024;
        const PER_NAT: f32 = 64.0;
        let per_logit = scale * PER_NAT;
        // Subtraction and multiplication are monotonic, so a better logit is never in a worse bucket.
        let bucket_of = |logit: f32| (((max - logit) * per_logit) as usize).min(BUCKETS - 1);

        numeric::block_sums(&mut self.sums, &self.weights);
        let mass: f64 = self.sums.iter().sum();
        // Tokens below this weigh less than 1 - p together: they are outside of the nucleus. Half of
        // it leaves room for rounding.
        let least = ((1.0 - p) * mass / logits.len() as f64 * 0.5) as f32;
        let mut sums = [0f64; BUCKETS];
        for (&logit, &weight) in logits.iter().zip(&self.weights) {
            if weight >= least {
                sums[bucket_of(logit)] += f64::from(weight);
            }
        }
        let (target, mut before, mut bucket) = (p * mass, 0.0, 0);
        while bucket + 1 < BUCKETS && before + sums[bucket] < target {
            before += sums[bucket];
            bucket += 1;
        }
        self.collect(logits, |logit, weight| weight > 0.0 && weight >= least && bucket_of(logit) == bucket);
        if let Some(last) = last_within(&mut self.candidates, target - before) {
            self.drop_beyond(logits, &last);
        }
    }

    fn collect(&mut self, logits: &[f32], wanted: impl Fn(f32, f32) -> bool) {
        let all = logits.iter().zip(&self.weights).enumerate();
        let wanted = all.filter(|&(_, (&logit, &weight))| wanted(logit, weight));
        self.candidates.clear();
        self.candidates.extend(wanted.map(|(id, (&logit, &weight))| Candidate {
            id: id as u32,
            logit,
            weight,
        }));
    }

    /// Leaves no weight to tokens worse than `last`.
    fn drop_beyond(&mut self, logits: &[f32], last: &Candidate) {
        let split = last.id as usize + 1;
        let (low, high) = self.weights.split_at_mut(split);
        for (weight, &logit) in low.iter_mut().zip(logits) {
            *weight = if logit >= last.logit { *weight } else { 0.0 };
        }
        for (weight, &logit) in high.iter_mut().zip(&logits[split..]) {
            *weight = if logit > last.logit { *weight } else { 0.0 };
        }
    }
}

/// Finds a logit that at least `k` logits reach, and few more than that: the `k`-th largest of the maxima of
/// small blocks.
#[derive(Debug, Default)]
struct Bound {
    /// `[blocks]`, in the order of the logits; none if the blocks would be too small to save anything.
    maxima: Vec<f32>,
    /// Logits in a block.
    block: usize,
    /// Room to select among the maxima.
    order: Vec<f32>,
}

impl Bound {
    /// Logits in a block at most, and at least.
    const LARGEST: usize = 64;
    const SMALLEST: usize = 8;

    /// The bound of `[vocab]` comparable logits; minus infinity if it is not worth looking for.
    fn of(&mut self, logits: &[f32], k: usize) -> f32 {
        self.maxima.clear();
        // With twice as many blocks as are wanted, few of the best share one.
        self.block = (logits.len() / (2 * k)).min(Bound::LARGEST);
        if self.block < Bound::SMALLEST {
            return f32::NEG_INFINITY;
        }
        numeric::maxima(&mut self.maxima, logits, self.block);
        self.order.clone_from(&self.maxima);
        *self.order.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    }

    /// The `k` best of `[vocab]` comparable logits over `out`, best first, not weighed.
    fn best_of(&mut self, logits: &[f32], k: usize, out: &mut Vec<Candidate>) {
        out.clear();
        let k = k.min(logits.len());
        if k == 0 {
            return;
        }
        let bound = self.of(logits, k);
        let mut take = |first: usize, logits: &[f32]| {
            let reach = logits.iter().enumerate().filter(|&(_, &logit)| logit >= bound);
            out.extend(reach.map(|(i, &logit)| Candidate { id: (first + i) as u32, logit, weight: 0.0 }));
        };
        if self.maxima.is_empty() {
            take(0, logits);
        }
        for (i, (&most, block)) in self.maxima.iter().zip(logits.chunks(self.block.max(1))).enumerate() {
            if most >= bound {
                take(i * self.block, block);
            }
        }
        if out.len() > k {
            out.select_nth_unstable_by(k - 1, Candidate::order);
            out.truncate(k);
        }
        out.sort_unstable_by(Candidate::order);
    }
}

/// The worst of the fewest best candidates that weigh `target` together; all of them if they never
/// do. Reorders the slice.
fn last_within(candidates: &mut [Candidate], target: f64) -> Option<Candidate> {
    const SORTED: usize = 32;
    let (mut low, mut high, mut before) = (0, candidates.len(), 0.0);
    while high - low > SORTED {
        let half = (high - low) / 2;
        candidates[low..high].select_nth_unstable_by(half, Candidate::order);
        let sum: f64 = candidates[low..low + half].iter().map(|c| f64::from(c.weight)).sum();
        if before + sum >= target {
            high = low + half;
        } else {
            before += sum;
            low += half;
        }
    }
    candidates[low..high].sort_unstable_by(Candidate::order);
    let mut reached = before;
    for c in &candidates[low..high] {
        reached += f64::from(c.weight);
        if reached >= target {
            return Some(*c);
        }
    }
    candidates[..high].last().copied()
}

/// The `k` best of `[vocab]` comparable logits, best first.
pub(super) fn best(logits: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut kept = Vec::new();
    Bound::default().best_of(logits, k, &mut kept);
    kept.into_iter().map(|c| (c.id, c.logit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, by sorting everything.
    fn reference(logits: &[f32], s: &Sampling) -> Vec<u32> {
        let max = numeric::max(logits);
        let scale = 1.0 / s.temperature.max(MIN_TEMPERATURE);
        let all = logits.iter().enumerate();
        let mut sorted: Vec<Candidate> = all
            .map(|(id, &logit)| Candidate {
                id: id as u32,
                logit,
                weight: numeric::exp((logit - max) * scale),
            })
            .filter(|c| c.weight > 0.0)
            .collect();
        sorted.sort_by(Candidate::order);
        if s.top_k > 0 {
            sorted.truncate(s.top_k as usize);
        }
        if s.top_p < 1.0 {
            let target = f64::from(s.top_p) * sorted.iter().map(|c| f64::from(c.weight)).sum::<f64>();
            let mut reached = 0.0;
            let mut keep = 0;
            while keep < sorted.len() && reached < target {
                reached += f64::from(sorted[keep].weight);
                keep += 1;
            }
            sorted.truncate(keep);
        }
        sorted.retain(|c| c.weight >= s.min_p);
        let mut ids: Vec<u32> = sorted.iter().map(|c| c.id).collect();
        ids.sort_unstable();
        ids
    }

    fn kept(logits: &[f32], s: &Sampling) -> Vec<u32> {
        let mut selection = Selection::default();
        let drawn = selection.draw(logits, s, 0.999_999).unwrap();
        let weights = selection.weights.iter().enumerate();
        let ids: Vec<u32> = match selection.weights.is_empty() {
            true => selection.candidates.iter().map(|c| c.id).collect(),
            false => weights.filter(|(_, w)| **w > 0.0).map(|(id, _)| id as u32).collect(),
        };
        assert!(ids.contains(&drawn));
        ids
    }

    /// Deterministic values that look normal, with ties.
    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..n).map(|_| ((next() + next() + next() + next() - 2.0) * 600.0).round() / 100.0).collect()
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_sorting_would_keep(
            n in prop_oneof![1usize..40, 1000usize..5000],
            seed in any::<u64>(),
            temperature in prop_oneof![Just(0.01f32), 0.1f32..3.0],
            top_k in prop_oneof![Just(0u32), 1u32..60, 1u32..6000],
            top_p in prop_oneof![Just(1.0f32), 0.001f32..0.9999],
            min_p in prop_oneof![Just(0.0f32), 0.001f32..1.0],
        ) {
            prop_assume!(top_k as usize != 0 || top_p < 1.0 || min_p > 0.0);
            prop_assume!((top_k as usize) < n || top_p < 1.0 || min_p > 0.0);
            let sampling = Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
            let logits = noise(n, seed);
            prop_assert_eq!(kept(&logits, &sampling), reference(&logits, &sampling));
        }
    }

    #[test]
    fn equals_are_kept_by_id() {
        let sampling = |top_k, top_p| Sampling { top_k, top_p, ..Sampling::default() };
        let flat = vec![1.5; 9000];
        assert_eq!(kept(&flat, &sampling(3, 1.0)), [0, 1, 2]);
        assert_eq!(kept(&flat, &sampling(0, 0.5)).len(), 4500);
        assert_eq!(*kept(&flat, &sampling(0, 0.5)).last().unwrap(), 4499);
        assert_eq!(kept(&flat, &sampling(0, 1e-9)), [0]);
    }

    #[test]
    fn a_draw_from_all_reaches_both_ends() {
        let mut selection = Selection::default();
        let sampling = Sampling::default();
        let logits = vec![0.0; 1000];
        for (u, want) in [(0.0, 0), (0.2505, 250), (0.9995, 999), (1.0 - f64::EPSILON / 2.0, 999)] {
            assert_eq!(selection.draw(&logits, &sampling, u), Some(want));
        }
        let mut one = vec![f32::NEG_INFINITY; 1000];
        one[700] = -3.0;
        for u in [0.0, 0.5, 1.0 - f64::EPSILON / 2.0] {
            assert_eq!(selection.draw(&one, &sampling, u), Some(700));
        }
        assert_eq!(selection.draw(&[f32::NEG_INFINITY; 8], &sampling, 0.5), None);
    }

    #[test]
    fn a_draw_from_few_is_that_of_the_walk_over_all() {
        let logits = noise(1280, 5);
        for (top_k, top_p, min_p) in [(1, 1.0, 0.0), (40, 0.95, 0.0), (256, 0.5, 0.01), (200, 1.0, 0.2)] {
            let sampling = Sampling { top_k, top_p, min_p, ..Sampling::default() };
            let mut few = Selection::default();
            for i in 0..500 {
                let u = f64::from(i) / 500.0;
                let drawn = few.draw(&logits, &sampling, u);
                // What is drawn is the token of the kept ones that `u` falls into, in the order of the ids.
                let kept = reference(&logits, &sampling);
                let weight = |id: &u32| f64::from(numeric::exp(logits[*id as usize] - numeric::max(&logits)));
                let mut left = u * kept.iter().map(weight).sum::<f64>();
                let wanted = kept.iter().copied().find(|id| {
                    left -= weight(id);
                    left < 0.0
                });
                assert_eq!(drawn, wanted, "{sampling:?} at {u}");
            }
        }
        assert_eq!(
            Selection::default().draw(
                &[f32::NEG_INFINITY; 80],
                &Sampling { top_k: 3, ..Sampling::default() },
                0.5
            ),
            None
        );
    }

    #[test]
    fn the_best_are_those_of_a_full_sort() {
        for n in [1, 63, 64, 1000, 1280, 20_000] {
            let logits = noise(n, 7);
            let mut sorted: Vec<(u32, f32)> =
                logits.iter().enumerate().map(|(i, &x)| (i as u32, x)).collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            for k in [0, 1, 5, 20, 100, n] {
                assert_eq!(best(&logits, k), sorted[..k.min(n)], "{k} of {n}");
            }
        }
    }
}
