//! One face for every kind of model on disk, so that there is one loader.
//!
//! Whatever a model was stored as, it is read as GGUF would have it: GGUF metadata keys, GGUF
//! tensor names, rows of blocks; and, if asked, in another type than it was stored in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::thread::available_parallelism;

use garrison_types::{TensorType, Vocabulary};

use crate::convert::Converted;
use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorInfo};
use crate::metadata::Metadata;
use crate::quantize::{Mix, convert};
use crate::vocabulary::vocabulary;

/// An open model.
#[derive(Debug)]
pub struct Source {
    stored: Stored,
    /// As they are to be loaded, which may be in another type than stored.
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
enum Stored {
    Gguf(Gguf),
    Safetensors(Converted),
}

/// A tensor's data, as it is to be loaded.
#[derive(Clone, Debug)]
pub struct TensorData<'a> {
    /// Outermost dimension first, `[n, k]` for a matrix.
    pub shape: &'a [usize],
    /// How values are stored.
    pub ty: TensorType,
    /// Rows of whole blocks; borrowed from the file where nothing had to be converted.
    pub data: Cow<'a, [u8]>,
}

impl Source {
    /// Opens a `.gguf` file (of a split set, the first part), or a folder with `config.json` and
    /// safetensors.
    ///
    /// # Errors
    /// If it cannot be read, or is not a model.
    pub fn open(path: &Path) -> Result<Source> {
        if path.is_dir() {
            if !path.join("config.json").exists() {
                return Err(Error::malformed(
                    path.display().to_string(),
                    "it is a folder without config.json; give a .gguf file or a folder with config.json and safetensors",
                ));
            }
            return Ok(Source::new(Stored::Safetensors(Converted::open(path)?)));
        }
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            return Err(Error::malformed(
                path.display().to_string(),
                "a .safetensors file says nothing about its model; give the folder it is in",
            ));
        }
        Ok(Source::new(Stored::Gguf(Gguf::open(path)?)))
    }

    /// Reads a GGUF model from memory.
    ///
    /// # Errors
    /// As [`Gguf::parse`].
    pub fn parse(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Source> {
        Ok(Source::new(Stored::Gguf(Gguf::parse(bytes)?)))
    }

    /// The same model, its weight matrices quantized while they are read.
    pub fn quantized(mut self, mix: Mix) -> Source {
        let types = mix.plan(self.metadata(), &self.tensors);
        for (info, ty) in self.tensors.iter_mut().zip(types) {
            info.ty = ty;
        }
        self
    }

    /// GGUF metadata.
    pub fn metadata(&self) -> &Metadata {
        match &self.stored {
            Stored::Gguf(gguf) => gguf.metadata(),
            Stored::Safetensors(converted) => converted.metadata(),
        }
    }

    /// All tensors, in the order in which they are stored.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// A tensor's shape and type, if there is one of that name.
    pub fn tensor_info(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// If there is none of that name, or converting it fails.
    pub fn read_tensor(&self, name: &str) -> Result<TensorData<'_>> {
        let i = self.by_name.get(name).copied();
        let i = i.ok_or_else(|| Error::tensor(name, "is missing from the model"))?;
        let info = &self.tensors[i];
        let (data, from) = match &self.stored {
            Stored::Gguf(gguf) => {
                let view = gguf.at(i);
                (Cow::Borrowed(view.data), view.info.ty)
            }
            Stored::Safetensors(converted) => (converted.read(i)?, converted.tensors()[i].ty),
        };
        let n_threads = available_parallelism().map_or(1, usize::from);
        let data = convert(name, data, from, info.ty, n_threads)?;
        Ok(TensorData { shape: &info.shape, ty: info.ty, data })
    }

    /// Lets go of a tensor's pages after it was copied elsewhere, so that memory holds one copy.
    pub fn release(&self, name: &str) {
        match (&self.stored, self.by_name.get(name)) {
            (Stored::Gguf(gguf), _) => gguf.release(name),
            (Stored::Safetensors(converted), Some(&i)) => converted.release(i),
            _ => {}
        }
    }

    /// The vocabulary.
    ///
    /// # Errors
    /// If the model has none, or not one that is supported.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        vocabulary(self.metadata())
    }

    fn new(stored: Stored) -> Source {
        let tensors: Vec<TensorInfo> = match &stored {
            Stored::Gguf(gguf) => gguf.tensors().map(|view| view.info.clone()).collect(),
            Stored::Safetensors(converted) => converted.tensors().to_vec(),
        };
        let by_name = tensors.iter().enumerate().map(|(i, info)| (info.name.clone(), i)).collect();
        Source { stored, tensors, by_name }
    }
}
