//! Random adapters, as large in effect as trained ones.

use std::sync::LazyLock;

use garrison_gguf::Source;
use garrison_model::{Adapter, LowRank, ModelSpec, ModelSummary, Target};

use crate::{Random, TinyModel, tiny_gguf};

/// An adapter of one rank on these targets of every layer: the same for the same seed. It moves each
/// output by about a quarter of what a weight of the usual size makes of it.
///
/// # Panics
/// If there are no targets, or the rank is beyond what is supported.
pub fn adapter(spec: &ModelSpec, rank: usize, targets: &[Target], seed: u64) -> Adapter {
    let mut random = Random::new(seed);
    let mut part = |layer: usize, target: Target| {
        let (n, k) = target.shape(spec);
        // Uniform values have a third of the variance of their reach.
        let a = random.values(rank * k, (3.0 / k as f32).sqrt());
        let b = random.values(n * rank, (3.0 / rank as f32).sqrt());
        (layer, target, LowRank { rank, a, b, scale: 0.25 })
    };
    let all = (0..spec.n_layers).flat_map(|layer| targets.iter().map(move |&target| (layer, target)));
    Adapter::from_parts(spec, all.map(|(layer, target)| part(layer, target))).unwrap()
}

/// A small adapter for executors that look at nothing but its digest: another for each seed.
///
/// # Panics
/// If it cannot be made: a bug.
pub fn tiny_adapter(seed: u64) -> Adapter {
    static SPEC: LazyLock<ModelSpec> = LazyLock::new(|| {
        let source = Source::parse(tiny_gguf(&TinyModel::default())).unwrap();
        ModelSummary::read(&source).unwrap().spec
    });
    adapter(&SPEC, 1, &[Target::Q], seed)
}
