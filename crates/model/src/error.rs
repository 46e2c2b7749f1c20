//! Why a model could not be loaded, as sentences that name the key or tensor.

use garrison_device::DeviceError;

/// A model that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file itself cannot be used.
    #[error(transparent)]
    File(#[from] garrison_gguf::Error),
    /// The forward pass does not fit this family.
    #[error("models of architecture \"{found}\" are not supported; supported: {supported}")]
    Architecture {
        /// What the file says.
        found: String,
        /// What it could have said.
        supported: String,
    },
    /// A number or word in the metadata that no forward pass can use.
    #[error("metadata key \"{key}\" {problem}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error("tensor \"{tensor}\" is missing; a {architecture} model of {n_layers} layers needs it")]
    Missing {
        /// The tensor.
        tensor: String,
        /// Who needs it.
        architecture: String,
        /// How many layers the file says there are.
        n_layers: usize,
    },
    /// A tensor's shape contradicts the metadata.
    #[error("tensor \"{tensor}\" has shape {found:?}; the model's metadata asks for {expected:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What the metadata asks for, outermost dimension first.
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
    /// The device has no room for a weight, or no use for it.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl LoadError {
    pub(crate) fn key(key: impl Into<String>, problem: impl Into<String>) -> LoadError {
        LoadError::Key { key: key.into(), problem: problem.into() }
    }

    pub(crate) fn tensor(tensor: impl Into<String>, problem: impl Into<String>) -> LoadError {
        LoadError::Tensor { tensor: tensor.into(), problem: problem.into() }
    }
}

/// A result of loading.
pub(crate) type Result<T, E = LoadError> = std::result::Result<T, E>;
