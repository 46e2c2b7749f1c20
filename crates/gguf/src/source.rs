//! One face for every kind of model on disk, so that there is one loader.
//!
//! Whatever a model was stored as, it is read as GGUF would have it: GGUF metadata keys, GGUF
//! tensor names, rows of blocks.

use std::borrow::Cow;
use std::path::Path;

use garrison_types::{TensorType, Vocabulary};

use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorInfo};
use crate::metadata::Metadata;
use crate::vocabulary::vocabulary;

/// An open model.
#[derive(Debug)]
pub struct Source {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Gguf(Gguf),
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
    /// Opens a `.gguf` file (of a split set, the first part).
    ///
    /// # Errors
    /// If it cannot be read, or is not a model.
    pub fn open(path: &Path) -> Result<Source> {
        Ok(Source { kind: Kind::Gguf(Gguf::open(path)?) })
    }

    /// Reads a GGUF model from memory.
    ///
    /// # Errors
    /// As [`Gguf::parse`].
    pub fn parse(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Source> {
        Ok(Source { kind: Kind::Gguf(Gguf::parse(bytes)?) })
    }

    /// GGUF metadata.
    pub fn metadata(&self) -> &Metadata {
        match &self.kind {
            Kind::Gguf(gguf) => gguf.metadata(),
        }
    }

    /// All tensors, in the order in which reading is fastest.
    pub fn tensors(&self) -> Box<dyn ExactSizeIterator<Item = &TensorInfo> + '_> {
        match &self.kind {
            Kind::Gguf(gguf) => Box::new(gguf.tensors().map(|view| view.info)),
        }
    }

    /// A tensor's shape and type, if there is one of that name.
    pub fn tensor_info(&self, name: &str) -> Option<&TensorInfo> {
        match &self.kind {
            Kind::Gguf(gguf) => gguf.tensor(name).map(|view| view.info),
        }
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// If there is none of that name, or converting it fails.
    pub fn read_tensor(&self, name: &str) -> Result<TensorData<'_>> {
        match &self.kind {
            Kind::Gguf(gguf) => {
                let view = gguf.tensor(name).ok_or_else(|| missing(name))?;
                let data = Cow::Borrowed(view.data);
                Ok(TensorData { shape: &view.info.shape, ty: view.info.ty, data })
            }
        }
    }

    /// Lets go of a tensor's pages after it was copied elsewhere, so that memory holds one copy.
    pub fn release(&self, name: &str) {
        match &self.kind {
            Kind::Gguf(gguf) => gguf.release(name),
        }
    }

    /// The vocabulary.
    ///
    /// # Errors
    /// If the model has none, or not one that is supported.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        vocabulary(self.metadata())
    }
}

fn missing(name: &str) -> Error {
    Error::tensor(name, "is missing from the model")
}
