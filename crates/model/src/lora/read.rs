//! Adapters from files. What pairs of matrices a file holds, and how they are scaled, is
//! [`AdapterSource`]'s to say; here they are held against a model.

use std::path::Path;

use garrison_device::RopePairing;
use garrison_gguf::{AdapterPair, AdapterSource, HeadOrder, TensorInfo, interleave};

use crate::{Adapter, AdapterError, Architecture, LowRank, ModelSpec, Target, names};

impl Adapter {
    /// Reads a folder as PEFT writes it, or a GGUF file. Shapes are checked before values are read, so
    /// what it takes is bounded by the model and [`Adapter::MAX_RANK`].
    ///
    /// # Errors
    /// If it cannot be read, is of a kind that is not supported, or was made for another model.
    pub fn open(path: &Path, spec: &ModelSpec) -> Result<Adapter, AdapterError> {
        let source = AdapterSource::open(path)?;
        check_architecture(&source, spec)?;
        let places =
            source.pairs().iter().map(|pair| place(pair, spec)).collect::<Result<Vec<_>, AdapterError>>()?;
        if places.is_empty() {
            return Err(AdapterError::Empty);
        }
        source.check_complete(spec.n_layers)?;
        let mut parts = Vec::with_capacity(places.len());
        for (pair, (layer, target)) in source.pairs().iter().zip(places) {
            let a = values(&source, &pair.a)?;
            let b = in_order(values(&source, &pair.b)?, target, spec, source.head_order());
            parts.push((layer, target, LowRank { rank: pair.rank(), a, b, scale: pair.scale }));
        }
        Adapter::from_parts(spec, parts)
    }
}

/// Files that are called Llama may be Mistral's: the two have the same tensors.
fn check_architecture(source: &AdapterSource, spec: &ModelSpec) -> Result<(), AdapterError> {
    let plain = |name: &str| match name {
        "mistral" => Architecture::Llama.name().to_owned(),
        other => other.to_owned(),
    };
    match source.architecture() {
        Some(found) if plain(found) != plain(spec.architecture.name()) => Err(AdapterError::Architecture {
            found: found.to_owned(),
            expected: spec.architecture.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The layer and target of a pair that fits the model.
fn place(pair: &AdapterPair, spec: &ModelSpec) -> Result<(usize, Target), AdapterError> {
    let refuse = |problem: String| Err(AdapterError::tensor(&pair.a.name, problem));
    let parts = pair.weight.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let layer = parts.and_then(|(layer, _)| layer.parse::<usize>().ok());
    let target = Target::ALL.into_iter().find(|t| parts.is_some_and(|(_, name)| name == t.tensor()));
    let (Some(layer), Some(target)) = (layer, target) else {
        return refuse(format!("adapts {}, which is no linear layer of a transformer block", pair.weight));
    };
    if layer >= spec.n_layers || names::layer(layer, target.tensor()) != pair.weight {
        return refuse(format!("adapts {}; this model has {} layers", pair.weight, spec.n_layers));
    }
    let ((n, k), rank) = (target.shape(spec), pair.rank());
    if rank > Adapter::MAX_RANK {
        return refuse(format!("has rank {rank}; at most {} is supported", Adapter::MAX_RANK));
    }
    for (matrix, expected) in [(&pair.a, vec![rank, k]), (&pair.b, vec![n, rank])] {
        if matrix.shape != expected {
            let (tensor, found) = (matrix.name.clone(), matrix.shape.clone());
            return Err(AdapterError::Shape { tensor, expected, found });
        }
    }
    Ok((layer, target))
}

fn values(source: &AdapterSource, matrix: &TensorInfo) -> Result<Vec<f32>, AdapterError> {
    let values = source.read(matrix)?;
    match values.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(AdapterError::tensor(&matrix.name, format!("holds the value {x}"))),
        None => Ok(values),
    }
}

/// The rows of `b` in the order of the model's own weight.
fn in_order(b: Vec<f32>, target: Target, spec: &ModelSpec, order: HeadOrder) -> Vec<f32> {
    let heads = match target {
        Target::Q => spec.n_heads,
        Target::K => spec.n_kv_heads,
        _ => return b,
    };
    match (order, spec.rope.pairing) {
        (HeadOrder::HuggingFace, RopePairing::Adjacent) => interleave(&b, heads * spec.head_dim, heads),
        _ => b,
    }
}
