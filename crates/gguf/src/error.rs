//! What can go wrong with model files, as sentences that name the file, key or tensor.

use std::io;
use std::path::{Path, PathBuf};

/// A model file that cannot be opened, read, converted or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: "open", "map", "write"…
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The bytes are not what the format says they must be.
    #[error("{file} cannot be read: {reason}")]
    Malformed {
        /// The file, or a word for bytes in memory.
        file: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// A metadata key is absent, has another type, or a value nobody can use.
    #[error("metadata key \"{key}\" {problem}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor is absent or unusable.
    #[error("tensor \"{name}\" {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is fine, but Garrison does not do this.
    #[error("{0}")]
    Unsupported(String),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn malformed(file: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Malformed { file: file.into(), reason: reason.into() }
    }

    pub(crate) fn key(key: &str, problem: impl Into<String>) -> Error {
        Error::Key { key: key.to_owned(), problem: problem.into() }
    }

    pub(crate) fn tensor(name: &str, problem: impl Into<String>) -> Error {
        Error::Tensor { name: name.to_owned(), problem: problem.into() }
    }
}
