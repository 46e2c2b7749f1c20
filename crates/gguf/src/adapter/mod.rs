//! Low-rank adapters on disk: a folder as PEFT writes it, or a GGUF file as llama.cpp's converter
//! does. Either is seen as pairs of matrices, each beside the weight that it adds to under that
//! weight's GGUF name.
//!
//! What a folder's configuration says is held against the tensors that are there, and whatever would
//! change the result and is not done here is refused: an adapter that half works is worse than none.

mod ggml;
mod peft;

use std::path::Path;

use garrison_types::quant::dequantize_row;

use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorInfo};
use crate::safetensors::SafetensorsFolder;
use peft::Coverage;

/// An open adapter. Values stay in their file until read.
#[derive(Debug)]
pub struct AdapterSource {
    stored: Stored,
    pairs: Vec<AdapterPair>,
}

#[derive(Debug)]
enum Stored {
    Gguf(Gguf),
    Peft { folder: SafetensorsFolder, coverage: Coverage },
}

/// What an adapter adds to one weight: `scale * b a`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterPair {
    /// The weight, as GGUF names it: `blk.0.attn_q.weight`.
    pub weight: String,
    /// `[rank, k]`, under the file's own name.
    pub a: TensorInfo,
    /// `[n, rank]`, under the file's own name.
    pub b: TensorInfo,
    /// What the product is multiplied by.
    pub scale: f32,
}

impl AdapterPair {
    /// The rank, which both matrices agree on and which is not 0.
    pub fn rank(&self) -> usize {
        self.a.shape[0]
    }
}

/// In which order an adapter's rows for queries and keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOrder {
    /// As the weights of a GGUF file.
    Gguf,
    /// As Hugging Face has them: for Llama, see [`crate::interleave`], they differ.
    HuggingFace,
}

/// Bytes of an adapter's file at most.
const MOST_BYTES: u64 = 4 << 30;

/// Adapters are read while the server runs, and somebody may be writing them: a mapped file that is cut
/// off would end the process.
fn read(path: &Path) -> Result<Bytes> {
    Bytes::read(path, MOST_BYTES)
}

impl AdapterSource {
    /// Opens a folder with `adapter_config.json` and `adapter_model.safetensors`, or a GGUF file.
    ///
    /// # Errors
    /// If it cannot be read, is no LoRA adapter, or is one of a kind that is not supported.
    pub fn open(path: &Path) -> Result<AdapterSource> {
        if path.is_dir() {
            let (folder, coverage, pairs) = peft::open(path)?;
            return Ok(AdapterSource { stored: Stored::Peft { folder, coverage }, pairs });
        }
        if path.extension().is_some_and(|extension| extension == "safetensors" || extension == "bin") {
            return Err(Error::malformed(
                path.display().to_string(),
                "an adapter's weights alone do not say how they are scaled; give the folder with adapter_config.json",
            ));
        }
        let gguf = Gguf::of(read(path)?, path)?;
        let pairs = ggml::pairs(&gguf, &path.display().to_string())?;
        Ok(AdapterSource { stored: Stored::Gguf(gguf), pairs })
    }

    /// The pairs, by the weight's name. No weight has two.
    pub fn pairs(&self) -> &[AdapterPair] {
        &self.pairs
    }

    /// The architecture it was made for, where the file says so.
    pub fn architecture(&self) -> Option<&str> {
        match &self.stored {
            Stored::Gguf(gguf) => gguf.metadata().str_opt("general.architecture").ok().flatten(),
            Stored::Peft { .. } => None,
        }
    }

    /// The order of rows.
    pub fn head_order(&self) -> HeadOrder {
        match self.stored {
            Stored::Gguf(_) => HeadOrder::Gguf,
            Stored::Peft { .. } => HeadOrder::HuggingFace,
        }
    }

    /// Checks that what its configuration says is adapted in a model of so many layers is there.
    ///
    /// # Errors
    /// Names the first module that is not.
    pub fn check_complete(&self, n_layers: usize) -> Result<()> {
        match &self.stored {
            Stored::Gguf(_) => Ok(()),
            Stored::Peft { coverage, .. } => coverage.check_complete(&self.pairs, n_layers),
        }
    }

    /// The values of one of a pair's matrices, as stored.
    ///
    /// # Errors
    /// If it is of another file.
    pub fn read(&self, matrix: &TensorInfo) -> Result<Vec<f32>> {
        let name = &matrix.name;
        let mut values = vec![0.0; matrix.n_values()];
        match &self.stored {
            Stored::Gguf(gguf) => {
                let view = gguf.tensor(name).ok_or_else(|| Error::tensor(name, "is missing"))?;
                dequantize_row(view.info.ty, view.data, &mut values);
                gguf.release(name);
            }
            Stored::Peft { folder, .. } => {
                let view = folder.tensor(name)?;
                dequantize_row(view.ty, view.data, &mut values);
                folder.release(name);
            }
        }
        Ok(values)
    }
}

/// One of a pair's matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    A,
    B,
}

/// Matrices on their way to pairs, by the weight's name.
#[derive(Default)]
struct Halves {
    by_weight: std::collections::BTreeMap<String, [Option<TensorInfo>; 2]>,
}

impl Halves {
    /// Takes a matrix.
    fn insert(&mut self, weight: String, half: Half, info: TensorInfo) -> Result<()> {
        if info.shape.len() != 2 || info.shape.contains(&0) {
            let problem = format!("has shape {:?}; an adapter is made of matrices", info.shape);
            return Err(Error::tensor(&info.name, problem));
        }
        let place = &mut self.by_weight.entry(weight).or_default()[half as usize];
        if let Some(earlier) = place {
            return Err(Error::tensor(&info.name, format!("is for the same weight as \"{}\"", earlier.name)));
        }
        *place = Some(info);
        Ok(())
    }

    /// The pairs, scaled as `scale` says of a weight and a rank.
    fn pairs(self, mut scale: impl FnMut(&str, &TensorInfo) -> Result<f32>) -> Result<Vec<AdapterPair>> {
        let mut pairs = Vec::with_capacity(self.by_weight.len());
        for (weight, halves) in self.by_weight {
            let (a, b) = match halves {
                [Some(a), Some(b)] => (a, b),
                [Some(alone), None] => return Err(Error::tensor(&alone.name, "has no B beside it")),
                [None, Some(alone)] => return Err(Error::tensor(&alone.name, "has no A beside it")),
                [None, None] => continue,
            };
            if a.shape[0] != b.shape[1] {
                let problem = format!("has rank {}, and \"{}\" has {}", b.shape[1], a.name, a.shape[0]);
                return Err(Error::tensor(&b.name, problem));
            }
            let scale = scale(&weight, &a)?;
            if !scale.is_finite() {
                return Err(Error::tensor(&a.name, format!("is scaled by {scale}")));
            }
            pairs.push(AdapterPair { weight, a, b, scale });
        }
        Ok(pairs)
    }
}
