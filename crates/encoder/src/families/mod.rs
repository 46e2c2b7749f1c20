//! The three families behind one face: ids in, one row of numbers a token out.

mod bert;
mod deberta;
mod modernbert;

use std::path::Path;

use candle_core::{Result, Tensor};

use crate::config::Config;
use crate::error::EncoderError;
use crate::weights::Weights;

/// What is classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Each token.
    Tokens,
    /// The text as a whole.
    Text,
}

/// A loaded model with its head.
pub(crate) trait Classify: Send + Sync {
    /// `[tokens]` ids, the special ones included, to logits: `[tokens, classes]`, or `[1, classes]` for a text.
    fn logits(&self, ids: &Tensor) -> Result<Tensor>;
}

/// A loaded model below its head.
pub(crate) trait Body: Send + Sync {
    /// `[tokens]` ids, the special ones included, to what the last layer says of each: `[tokens, hidden]`.
    fn hidden(&self, ids: &Tensor) -> Result<Tensor>;
}

/// Reads the family that the configuration names.
pub(crate) fn load(
    folder: &Path,
    config: &Config,
    head: Head,
    classes: usize,
) -> std::result::Result<Box<dyn Classify>, EncoderError> {
    let weights = Weights::read(folder)?;
    match config.model_type.as_str() {
        "bert" => Ok(Box::new(bert::Bert::load(&weights, config, head, classes)?)),
        "deberta-v2" => Ok(Box::new(deberta::Deberta::load(&weights, config, head, classes)?)),
        "modernbert" => Ok(Box::new(modernbert::ModernBert::load(&weights, config, head, classes)?)),
        other => Err(EncoderError::Invalid {
            path: folder.join("config.json"),
            reason: format!("model_type \"{other}\" is not known; bert, deberta-v2 and modernbert are"),
        }),
    }
}

/// The same without a head. A file of a model with one has the body's names behind a prefix.
pub(crate) fn load_body(folder: &Path, config: &Config) -> std::result::Result<Box<dyn Body>, EncoderError> {
    let weights = Weights::read(folder)?;
    let prefix =
        |name: &'static str, probe: &str| if weights.has(&format!("{name}{probe}")) { name } else { "" };
    match config.model_type.as_str() {
        "bert" => {
            let prefix = prefix("bert.", "embeddings.word_embeddings.weight");
            Ok(Box::new(bert::BertBody::load(&weights, config, prefix)?))
        }
        "modernbert" => {
            let prefix = prefix("model.", "embeddings.tok_embeddings.weight");
            Ok(Box::new(modernbert::ModernBody::load(&weights, config, prefix)?))
        }
        other => Err(EncoderError::Invalid {
            path: folder.join("config.json"),
            reason: format!("model_type \"{other}\" makes no embeddings here; bert and modernbert do"),
        }),
    }
}
