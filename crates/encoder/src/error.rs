//! What can go wrong, with where and what to do.

use std::path::PathBuf;
use std::time::Duration;

/// Why a model cannot be loaded, or a text not be judged.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// A file is not there or cannot be read.
    #[error("{}: {source}; the folder needs config.json, model.safetensors and tokenizer.json", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file says something that cannot be followed.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What and why.
        reason: String,
    },
    /// A tensor is missing or has another shape than the configuration says.
    #[error("model.safetensors: tensor {name}: {reason}")]
    Tensor {
        /// Which one.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text could not be tokenized.
    #[error("the tokenizer failed: {0}")]
    Tokenize(String),
    /// There was not enough time.
    #[error("the text was not judged within {0:?}; give more time, or judge it in parts")]
    Late(Duration),
    /// It does not fit into the model.
    #[error("the text has more than the {0} tokens that the model takes")]
    TooLong(usize),
    /// A computation failed.
    #[error("the model failed: {0}")]
    Compute(#[from] candle_core::Error),
}
