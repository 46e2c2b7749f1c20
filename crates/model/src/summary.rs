//! What a model file holds, for people: `models inspect`, `models list`, the log line at load.

use std::collections::BTreeMap;
use std::fmt;

use garrison_gguf::Source;
use garrison_types::TensorType;

use crate::error::Result;
use crate::{ModelSpec, OutputHead, names};

/// A model file at a glance, read without loading it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSummary {
    /// The architecture.
    pub spec: ModelSpec,
    /// Values in all tensors together; a tied embedding counts once.
    pub parameters: u64,
    /// Bytes of all tensors together.
    pub bytes: u64,
    /// Bytes that every step reads: all but an embedding of which steps take single rows.
    pub step_bytes: u64,
    /// How they are stored, the largest share of the bytes first.
    pub types: Vec<TypeShare>,
}

/// The part of a model that is stored as one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeShare {
    /// The type.
    pub ty: TensorType,
    /// Tensors of it.
    pub tensors: usize,
    /// Bytes of those.
    pub bytes: u64,
}

impl ModelSummary {
    /// Reads the metadata and adds up the tensors.
    ///
    /// # Errors
    /// As [`ModelSpec::read`].
    pub fn read(source: &Source) -> Result<ModelSummary> {
        let spec = ModelSpec::read(source)?;
        let (mut parameters, mut bytes, mut step_bytes) = (0, 0, 0);
        let mut shares = BTreeMap::new();
        for info in source.tensors() {
            parameters += info.n_values() as u64;
            bytes += info.n_bytes() as u64;
            if info.name != names::EMBEDDING || spec.output_head == OutputHead::Tied {
                step_bytes += info.n_bytes() as u64;
            }
            let share = shares.entry(info.ty).or_insert(TypeShare { ty: info.ty, tensors: 0, bytes: 0 });
            share.tensors += 1;
            share.bytes += info.n_bytes() as u64;
        }
        let mut types: Vec<TypeShare> = shares.into_values().collect();
        types.sort_by_key(|share| std::cmp::Reverse(share.bytes));
        Ok(ModelSummary { spec, parameters, bytes, step_bytes, types })
    }

    /// Bits that a parameter takes on average.
    pub fn bits_per_parameter(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.parameters.max(1) as f64
    }
}

impl fmt::Display for ModelSummary {
    /// One line: `llama, 1.24B parameters, 16 layers, context 131072, 4.8 bits (Q4_K 67%, Q6_K 33%)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelSpec { architecture, n_layers, context_length, .. } = &self.spec;
        write!(f, "{architecture}, {} parameters, {n_layers} layers, ", Count(self.parameters))?;
        write!(f, "context {context_length}, {:.1} bits (", self.bits_per_parameter())?;
        for (i, share) in self.types.iter().enumerate() {
            let percent = share.bytes as f64 * 100.0 / self.bytes.max(1) as f64;
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} {percent:.0}%", share.ty)?;
        }
        f.write_str(")")
    }
}

/// A large number as people say it: `1.24B`, `260K`.
struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{n}"),
            1_000..1_000_000 => write!(f, "{:.0}K", n / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1}M", n / 1e6),
            _ => write!(f, "{:.2}B", n / 1e9),
        }
    }
}
