//! Brings a model file onto a device.
//!
//! All tensors are checked before the first is loaded. Then each is handed to the device and its
//! pages of the file are given back at once, so that file and repacked weights together take
//! little more than one copy.

use std::collections::HashSet;

use garrison_device::{Device, WeightView};
use garrison_gguf::Source;

use crate::error::{LoadError, Result};
use crate::weights::{Dims, Weights};
use crate::{Model, ModelSpec, names};

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of the file that the device has taken over.
    pub loaded: u64,
    /// Bytes that it will.
    pub total: u64,
}

impl<D: Device> Model<D> {
    /// Loads a model, reporting to `progress` after each tensor.
    ///
    /// # Errors
    /// If the architecture is not supported, a tensor is missing, or has a shape or type that
    /// contradicts the metadata, or the device cannot take it. No tensor is loaded unless all fit.
    pub fn load(source: &Source, device: &D, mut progress: impl FnMut(LoadProgress)) -> Result<Model<D>> {
        let spec = ModelSpec::read(source)?;
        let total = check(source, &spec)?;
        let mut loaded = 0;
        let weights = Weights::collect(&spec, |name, dims| {
            let (n, k) = dims.rows();
            let tensor = source.read_tensor(name)?;
            let view = WeightView { name, n, k, ty: tensor.ty, data: &tensor.data };
            let weight = device.load_cut_weight(&view, names::cut(name))?;
            loaded += tensor.data.len() as u64;
            drop(tensor);
            source.release(name);
            progress(LoadProgress { loaded, total });
            Ok(weight)
        })?;
        let mut inv_freq = device.alloc::<f32>(spec.rope.inv_freq.len())?;
        device.write(&mut inv_freq, &spec.rope.inv_freq)?;
        Ok(Model { spec, weights, inv_freq, weight_bytes: loaded })
    }
}

/// Checks every tensor that `spec` needs, and that there is no other; returns their bytes together.
fn check(source: &Source, spec: &ModelSpec) -> Result<u64> {
    let mut used = HashSet::new();
    let mut total = 0;
    Weights::collect(spec, |name, dims| {
        let info = source.tensor_info(name).ok_or_else(|| LoadError::Missing {
            tensor: name.to_owned(),
            architecture: spec.architecture.to_string(),
            n_layers: spec.n_layers,
        })?;
        let expected = dims.shape();
        if info.shape != expected {
            let found = info.shape.clone();
            return Err(LoadError::Shape { tensor: name.to_owned(), expected, found });
        }
        if matches!(dims, Dims::Vector(_)) && info.ty.is_quantized() {
            let problem = format!("is of type {}; norms and biases must be F32, F16 or BF16", info.ty);
            return Err(LoadError::tensor(name, problem));
        }
        total += info.n_bytes() as u64;
        used.insert(name.to_owned());
        Ok(())
    })?;
    let unused = |name: &&str| !used.contains(*name) && names::is_of_transformer(name);
    match source.tensors().map(|info| info.name.as_str()).find(unused) {
        None => Ok(total),
        Some(name) => Err(LoadError::tensor(
            name,
            format!(
                "is part of the file, and a {} model is computed without it; the answers would be wrong",
                spec.architecture
            ),
        )),
    }
}
