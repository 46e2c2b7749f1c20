//! One adapter, as a file has it and fit for a model.

use std::fmt;

use crate::{ModelSpec, names};

/// A linear layer of a transformer block that an adapter can add to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Target {
    Q,
    K,
    V,
    Output,
    Gate,
    Up,
    Down,
}

impl Target {
    /// Every target, in the order in which a layer computes them.
    pub const ALL: [Target; 7] =
        [Target::Q, Target::K, Target::V, Target::Output, Target::Gate, Target::Up, Target::Down];

    /// What GGUF calls the weight that is added to, within its layer.
    pub const fn tensor(self) -> &'static str {
        match self {
            Target::Q => names::Q,
            Target::K => names::K,
            Target::V => names::V,
            Target::Output => names::ATTENTION_OUTPUT,
            Target::Gate => names::GATE,
            Target::Up => names::UP,
            Target::Down => names::DOWN,
        }
    }

    /// Outputs and inputs of this layer in a model.
    pub fn shape(self, spec: &ModelSpec) -> (usize, usize) {
        match self {
            Target::Q => (spec.q_width(), spec.hidden),
            Target::K | Target::V => (spec.kv_width(), spec.hidden),
            Target::Output => (spec.hidden, spec.q_width()),
            Target::Gate | Target::Up => (spec.ffn_hidden, spec.hidden),
            Target::Down => (spec.hidden, spec.ffn_hidden),
        }
    }
}

/// What is added to one linear layer of `n` outputs and `k` inputs: `scale * b (a x)`.
#[derive(Clone, PartialEq)]
pub struct LowRank {
    /// At least 1.
    pub rank: usize,
    /// `[rank, k]`
    pub a: Vec<f32>,
    /// `[n, rank]`
    pub b: Vec<f32>,
    /// What the product is multiplied by.
    pub scale: f32,
}

impl fmt::Debug for LowRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LowRank")
            .field("rank", &self.rank)
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

/// An adapter that fits a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// `[n_layers]`, each by [`Target`].
    layers: Vec<[Option<LowRank>; Target::ALL.len()]>,
    digest: u64,
}

impl Adapter {
    /// The largest rank that is read. Few are above 256.
    pub const MAX_RANK: usize = 512;

    /// An adapter of these parts, of which there is at least one and one for each layer and target at
    /// most.
    ///
    /// # Errors
    /// If a part does not fit the model, or is not made of numbers.
    pub fn from_parts(
        spec: &ModelSpec,
        parts: impl IntoIterator<Item = (usize, Target, LowRank)>,
    ) -> Result<Adapter, AdapterError> {
        let mut layers = vec![[const { None }; Target::ALL.len()]; spec.n_layers];
        for (layer, target, part) in parts {
            let name = || names::layer(layer, target.tensor());
            let place = layers.get_mut(layer).map(|targets| &mut targets[target as usize]);
            let place = place.ok_or_else(|| {
                let problem = format!("is of a layer that the model, of {} layers, lacks", spec.n_layers);
                AdapterError::tensor(name(), problem)
            })?;
            check(spec, target, &part).map_err(|problem| AdapterError::tensor(name(), problem))?;
            if place.replace(part).is_some() {
                return Err(AdapterError::tensor(name(), "is adapted twice"));
            }
        }
        if layers.iter().flatten().all(Option::is_none) {
            return Err(AdapterError::Empty);
        }
        let digest = digest(&layers);
        Ok(Adapter { layers, digest })
    }

    /// Layers of the model it is for.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// What it adds to one linear layer, if anything.
    pub fn part(&self, layer: usize, target: Target) -> Option<&LowRank> {
        self.layers[layer][target as usize].as_ref()
    }

    /// All its parts, by layer and target.
    pub fn parts(&self) -> impl Iterator<Item = (usize, Target, &LowRank)> {
        self.layers.iter().enumerate().flat_map(|(layer, targets)| {
            Target::ALL
                .into_iter()
                .zip(targets)
                .filter_map(move |(target, part)| Some((layer, target, part.as_ref()?)))
        })
    }

    /// The largest rank of its parts.
    pub fn rank(&self) -> usize {
        self.parts().map(|(_, _, part)| part.rank).max().unwrap_or(0)
    }

    /// Bytes that it takes on the host.
    pub fn bytes(&self) -> usize {
        self.parts().map(|(_, _, part)| (part.a.len() + part.b.len()) * size_of::<f32>()).sum()
    }

    /// A number that follows from everything it adds: the same for the same adapter, in whatever form
    /// it came. For logs and tests; whoever wants to can make two that share it.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

/// What is wrong with a part.
fn check(spec: &ModelSpec, target: Target, part: &LowRank) -> Result<(), String> {
    let (n, k) = target.shape(spec);
    let LowRank { rank, a, b, scale } = part;
    if !(1..=Adapter::MAX_RANK).contains(rank) {
        return Err(format!("is adapted with rank {rank}; 1 to {} are supported", Adapter::MAX_RANK));
    }
    if (a.len(), b.len()) != (rank * k, n * rank) {
        let found = (a.len(), b.len());
        return Err(format!("is adapted with {found:?} values; rank {rank} of [{n}, {k}] has others"));
    }
    if !scale.is_finite() {
        return Err(format!("is adapted with the scale {scale}"));
    }
    for (letter, values) in [("A", a), ("B", b)] {
        if let Some(x) = values.iter().find(|x| !x.is_finite()) {
            return Err(format!("is adapted with the value {x} in {letter}"));
        }
    }
    Ok(())
}

/// 64 bits of everything in the layers.
fn digest(layers: &[[Option<LowRank>; Target::ALL.len()]]) -> u64 {
    // SplitMix64's finalizer (Steele, Lea and Flood 2014, figure 15) over a chain.
    let mix = |h: u64, x: u64| {
        let x = (h.rotate_left(5) ^ x).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^ (x >> 27)
    };
    let mut h = layers.len() as u64;
    for part in layers.iter().flatten() {
        let Some(LowRank { rank, a, b, scale }) = part else {
            h = mix(h, u64::MAX);
            continue;
        };
        h = mix(mix(h, *rank as u64), scale.to_bits().into());
        h = a.iter().chain(b).fold(h, |h, x| mix(h, x.to_bits().into()));
    }
    h
}

/// An adapter that cannot be used, as a sentence that names the key or tensor.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The file itself cannot be used.
    #[error(transparent)]
    File(#[from] garrison_gguf::Error),
    /// Made for a model of another family.
    #[error("the adapter is for models of architecture \"{found}\"; this model's is \"{expected}\"")]
    Architecture {
        /// What the adapter says.
        found: String,
        /// The model's.
        expected: String,
    },
    /// Made for a model of another size.
    #[error(
        "tensor \"{tensor}\" has shape {found:?} where this model needs {expected:?}; the adapter was made for another model"
    )]
    Shape {
        /// The tensor, as the file names it.
        tensor: String,
        /// What the model needs, outermost dimension first.
        expected: Vec<usize>,
        /// What the file has.
        found: Vec<usize>,
    },
    /// A tensor that is there, but cannot be used.
    #[error("tensor \"{tensor}\" {problem}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It adapts nothing.
    #[error("the adapter has no tensors")]
    Empty,
}

impl AdapterError {
    pub(crate) fn tensor(tensor: impl Into<String>, problem: impl Into<String>) -> AdapterError {
        AdapterError::Tensor { tensor: tensor.into(), problem: problem.into() }
    }
}
