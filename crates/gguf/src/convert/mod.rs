//! A Hugging Face folder seen as GGUF: metadata keys, tensor names and row order as llama.cpp's
//! converter writes them, so that everything downstream knows one format.
//!
//! Nothing is converted ahead: a tensor's bytes are produced when it is read.

mod config;
mod names;
mod tokenizer;

pub(crate) use names::{LINEAR_LAYERS, layer_weight};

use std::borrow::Cow;
use std::path::Path;

use garrison_types::TensorType;

use crate::error::{Error, Result};
use crate::gguf::TensorInfo;
use crate::metadata::Metadata;
use crate::quantize::convert;
use crate::safetensors::SafetensorsFolder;
use config::Config;
use names::{Mapped, Rows};

/// A folder of safetensors that reads as a GGUF model.
#[derive(Debug)]
pub(crate) struct Converted {
    folder: SafetensorsFolder,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// Of the same length as `tensors`.
    recipes: Vec<Recipe>,
}

/// How a tensor's bytes come about.
#[derive(Debug)]
enum Recipe {
    /// The folder's tensor of this name, with its rows in this order.
    From { name: String, rows: Rows },
    /// These values.
    Values(Vec<f32>),
}

impl Converted {
    pub(crate) fn open(path: &Path) -> Result<Converted> {
        let folder = SafetensorsFolder::open(path)?;
        let config = Config::read(folder.config())
            .map_err(|problem| Error::malformed(path.join("config.json").display().to_string(), problem))?;
        let mut metadata = config.metadata();
        if let Some(name) = path.file_name() {
            metadata.insert("general.name", &*name.to_string_lossy());
        }
        tokenizer::insert(&mut metadata, &folder)?;
        let mut converted = Converted { folder, metadata, tensors: Vec::new(), recipes: Vec::new() };
        converted.plan(&config)?;
        Ok(converted)
    }

    fn plan(&mut self, config: &Config) -> Result<()> {
        if let Some(factors) = config.rope_factors() {
            let shape = vec![factors.len()];
            self.push(
                TensorInfo { name: "rope_freqs.weight".into(), shape, ty: TensorType::F32 },
                Recipe::Values(factors),
            );
        }
        let names: Vec<String> = self.folder.names().map(str::to_owned).collect();
        for source in names {
            let (name, rows) = match names::map(&source, config) {
                Mapped::To { name, rows } => (name, rows),
                Mapped::Unused => continue,
                Mapped::Unknown => {
                    let problem = format!("is no part of a {} that Garrison knows", config.class);
                    return Err(Error::tensor(&source, problem));
                }
            };
            let view = self.folder.tensor(&source)?;
            if view.shape.is_empty() || view.shape.contains(&0) {
                return Err(Error::tensor(&source, format!("has the impossible shape {:?}", view.shape)));
            }
            if let Rows::Interleaved { n_heads } = rows
                && !view.shape[0].is_multiple_of(2 * n_heads)
            {
                return Err(Error::tensor(
                    &source,
                    format!("has {} rows for {n_heads} heads", view.shape[0]),
                ));
            }
            // Norms and biases are small and read often: F32, as every GGUF has them.
            let ty = if view.shape.len() == 1 { TensorType::F32 } else { view.ty };
            let shape = view.shape.to_vec();
            if self.tensors.iter().any(|info| info.name == name) {
                return Err(Error::tensor(&source, format!("is a second \"{name}\"")));
            }
            self.push(TensorInfo { name, shape, ty }, Recipe::From { name: source, rows });
        }
        if !config.tied && !self.tensors.iter().any(|info| info.name == "output.weight") {
            let problem = "is missing, and config.json does not say tie_word_embeddings";
            return Err(Error::tensor("lm_head.weight", problem));
        }
        Ok(())
    }

    fn push(&mut self, info: TensorInfo, recipe: Recipe) {
        self.tensors.push(info);
        self.recipes.push(recipe);
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(crate) fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The bytes of tensor `i`, of the type its info states.
    pub(crate) fn read(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        let info = &self.tensors[i];
        let (name, rows) = match &self.recipes[i] {
            Recipe::Values(values) => {
                return Ok(Cow::Owned(values.iter().flat_map(|x| x.to_le_bytes()).collect()));
            }
            Recipe::From { name, rows } => (name, rows),
        };
        let view = self.folder.tensor(name)?;
        let data = match rows {
            Rows::AsStored => Cow::Borrowed(view.data),
            Rows::Interleaved { n_heads } => Cow::Owned(interleave(view.data, view.shape[0], *n_heads)),
        };
        convert(&info.name, data, view.ty, info.ty, 1)
    }

    pub(crate) fn release(&self, i: usize) {
        if let Recipe::From { name, .. } = &self.recipes[i] {
            self.folder.release(name);
        }
    }
}

/// Reorders the rows of a query or key projection, or of what is added to one.
///
/// Hugging Face rotates value `j` of a head with value `j + head_dim / 2`; GGUF's Llama rotates
/// neighbours. So row `2j + s` of a head is what was row `j + s * head_dim / 2`.
pub fn interleave<T: Copy>(data: &[T], n_rows: usize, n_heads: usize) -> Vec<T> {
    let row_len = data.len() / n_rows;
    let head_dim = n_rows / n_heads;
    let mut out = Vec::with_capacity(data.len());
    for head in data.chunks_exact(head_dim * row_len) {
        for row in 0..head_dim {
            let from = row / 2 + (row % 2) * (head_dim / 2);
            out.extend_from_slice(&head[from * row_len..][..row_len]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_interleaved_head_by_head() {
        let rows: Vec<u8> = (0..8).flat_map(|row| [row, row + 100]).collect();
        let out = interleave(&rows, 8, 2);
        let order: Vec<u8> = out.chunks(2).map(|row| row[0]).collect();
        assert_eq!(order, [0, 2, 1, 3, 4, 6, 5, 7]);
        assert!(out.chunks(2).all(|row| row[1] == row[0] + 100));
    }
}
