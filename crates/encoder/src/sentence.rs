//! One vector for a whole text, whose likeness to another's is their product: as sentence-transformers computes it
//! (Reimers and Gurevych 2019, "Sentence-BERT").

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::{Config, Pooling};
use crate::error::EncoderError;
use crate::families::{self, Body};
use crate::manifest::{Manifest, Task};
use crate::windows::Windows;

/// A model that gives a text a place among all texts.
pub struct SentenceEncoder {
    body: Box<dyn Body>,
    windows: Windows,
    pooling: Pooling,
    /// Tokens of a text at most, special ones included.
    length: usize,
    dimensions: usize,
    id: String,
}

/// `modules.json`: what sentence-transformers does in turn.
#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// `1_Pooling/config.json`.
#[derive(Deserialize)]
struct PoolingFile {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
}

/// `sentence_bert_config.json`.
#[derive(Deserialize)]
struct LengthFile {
    max_seq_length: Option<usize>,
}

impl SentenceEncoder {
    /// Reads a folder, or the one that a manifest with `task = "sentences"` names: `config.json`, `model.safetensors` and
    /// `tokenizer.json`, and what sentence-transformers writes beside them. Without that, vectors are means of all tokens.
    ///
    /// # Errors
    /// If a file is missing, does not fit the others, or asks for a step that is not computed here.
    pub fn load(path: &Path) -> Result<SentenceEncoder, EncoderError> {
        let manifest = Manifest::read(path, Task::Sentences)?;
        let folder = &manifest.folder;
        let config = Config::read(folder)?;
        let pooling = pooling(folder)?;
        let usual: Option<LengthFile> = optional(&folder.join("sentence_bert_config.json"))?;
        let usual = usual.and_then(|file| file.max_seq_length).unwrap_or(usize::MAX);
        let length = manifest.window.min(usual).min(config.max_position_embeddings);
        // A text has one window here, so none shares anything with another.
        let windows = Windows::read(folder, length, 0)?;
        windows.check_vocabulary(folder, config.vocab_size)?;
        let body = families::load_body(folder, &config)?;
        let dimensions = config.hidden_size;
        Ok(SentenceEncoder { body, windows, pooling, length, dimensions, id: id(folder)? })
    }

    /// Numbers of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The same for the same model and tokenizer only: a digest of both.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The vector of a text, of length 1.
    ///
    /// # Errors
    /// [`EncoderError::TooLong`] if the model does not take it as a whole: two texts that differ in what was cut off would
    /// have one vector. Others if the model fails.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>, EncoderError> {
        let (window, rest) = self.windows.at(text, 0)?;
        if rest.is_some() {
            return Err(EncoderError::TooLong(self.length));
        }
        let ids = Tensor::from_slice(&window.ids, window.ids.len(), &Device::Cpu)?;
        let hidden = self.body.hidden(&ids)?;
        let pooled = match self.pooling {
            // There is no padding, so every token counts.
            Pooling::Mean => hidden.mean(0)?,
            Pooling::Cls => hidden.get(0)?,
        };
        let mut vector: Vec<f32> = pooled.to_vec1()?;
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        vector.iter_mut().for_each(|x| *x /= length);
        Ok(vector)
    }
}

impl std::fmt::Debug for SentenceEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentenceEncoder").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Reads a file that need not be there.
fn optional<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, EncoderError> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| EncoderError::Invalid { path: path.to_owned(), reason: e.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EncoderError::Read { path: path.to_owned(), source }),
    }
}

/// How tokens become one vector.
fn pooling(folder: &Path) -> Result<Pooling, EncoderError> {
    let path = folder.join("modules.json");
    let modules: Vec<Module> = optional(&path)?.unwrap_or_default();
    let mut found = Pooling::Mean;
    for module in modules {
        match module.kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Normalize" => {}
            "Pooling" => found = mode(folder.join(module.path).join("config.json"))?,
            other => {
                let reason = format!(
                    "the module {other} is not computed here; Transformer, Pooling and Normalize are"
                );
                return Err(EncoderError::Invalid { path, reason });
            }
        }
    }
    Ok(found)
}

fn mode(path: PathBuf) -> Result<Pooling, EncoderError> {
    let Some(file) = optional::<PoolingFile>(&path)? else { return Ok(Pooling::Mean) };
    let others = file.pooling_mode_max_tokens
        || file.pooling_mode_mean_sqrt_len_tokens
        || file.pooling_mode_weightedmean_tokens
        || file.pooling_mode_lasttoken;
    match (file.pooling_mode_mean_tokens, file.pooling_mode_cls_token, others) {
        (true, false, false) => Ok(Pooling::Mean),
        (false, true, false) => Ok(Pooling::Cls),
        _ => {
            let reason =
                "it must say pooling_mode_mean_tokens or pooling_mode_cls_token, and no other".to_owned();
            Err(EncoderError::Invalid { path, reason })
        }
    }
}

fn id(folder: &Path) -> Result<String, EncoderError> {
    let mut hash = Sha256::new();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let path = folder.join(name);
        let read = |source| EncoderError::Read { path: path.clone(), source };
        let mut file = std::fs::File::open(&path).map_err(read)?;
        std::io::copy(&mut file, &mut hash).map_err(read)?;
    }
    Ok(hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}
