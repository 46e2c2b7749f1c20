//! Tensors by name, in 32 bits, each with the shape that the configuration says.

use std::path::Path;

use candle_core::safetensors::BufferedSafetensors;
use candle_core::{DType, Device, Tensor};

use crate::error::EncoderError;

/// The file, read as a whole.
pub(crate) struct Weights {
    file: BufferedSafetensors,
}

impl Weights {
    pub(crate) fn read(folder: &Path) -> Result<Weights, EncoderError> {
        let path = folder.join("model.safetensors");
        let bytes =
            std::fs::read(&path).map_err(|source| EncoderError::Read { path: path.clone(), source })?;
        let file = BufferedSafetensors::new(bytes)
            .map_err(|e| EncoderError::Invalid { path, reason: e.to_string() })?;
        Ok(Weights { file })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.file.get(name).is_ok()
    }

    /// A tensor of this shape.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, EncoderError> {
        let wrong = |reason: String| EncoderError::Tensor { name: name.to_owned(), reason };
        if !self.has(name) {
            return Err(wrong("is missing".into()));
        }
        let tensor = self.file.load(name, &Device::Cpu).map_err(|e| wrong(e.to_string()))?;
        if tensor.dims() != shape {
            return Err(wrong(format!("has shape {:?}, config.json asks for {shape:?}", tensor.dims())));
        }
        Ok(tensor.to_dtype(DType::F32)?)
    }
}
