//! A model by a small file that says where it lies and what its classes mean to the guard.
//!
//! ```toml
//! folder = "bert-base-ner"            # beside this file, or absolute
//! task = "tokens"                     # or "text", or "sentences"
//! sha256 = "5f1c…"                    # of model.safetensors; not looked at unless given
//! threshold = 0.6
//! window = 512
//! overlap = 64
//! labels = { PER = "PERSON", ORG = "ORGANIZATION", LOC = "LOCATION" }   # others are left out
//! attacks = ["INJECTION"]             # of task "text": the classes that are attacks
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::EncoderError;
use crate::tokens::Settings;

/// What a model classifies.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Each token.
    Tokens,
    /// The text.
    Text,
    /// Nothing: it says how alike texts are.
    Sentences,
}

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Where the model lies.
    pub folder: PathBuf,
    /// What it classifies.
    pub task: Task,
    /// Of `model.safetensors`, in hexadecimal.
    pub sha256: Option<String>,
    /// What is less sure is not reported.
    #[serde(default = "threshold")]
    pub threshold: f32,
    /// Tokens of a window.
    #[serde(default = "window")]
    pub window: usize,
    /// Tokens that windows share.
    #[serde(default = "overlap")]
    pub overlap: usize,
    /// What the model's labels are called here; if there are any, others are not reported.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Classes of texts that are attacks.
    #[serde(default)]
    pub attacks: Vec<String>,
}

fn threshold() -> f32 {
    Settings::default().threshold
}

fn window() -> usize {
    Settings::default().window
}

fn overlap() -> usize {
    Settings::default().overlap
}

impl Manifest {
    /// Reads a manifest, or makes one of a folder that has none; checks the digest if there is one.
    ///
    /// # Errors
    /// If it cannot be read, says something unknown, or the weights are others than it says.
    pub fn read(path: &Path, task: Task) -> Result<Manifest, EncoderError> {
        if path.is_dir() {
            return Ok(Manifest {
                folder: path.to_owned(),
                task,
                sha256: None,
                threshold: threshold(),
                window: window(),
                overlap: overlap(),
                labels: BTreeMap::new(),
                attacks: Vec::new(),
            });
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| EncoderError::Read { path: path.to_owned(), source })?;
        let invalid = |reason: String| EncoderError::Invalid { path: path.to_owned(), reason };
        let mut manifest: Manifest = toml::from_str(&text).map_err(|e| invalid(e.to_string()))?;
        if manifest.task != task {
            return Err(invalid(format!("its task is {:?}, {task:?} is needed here", manifest.task)));
        }
        manifest.folder = path.parent().unwrap_or(Path::new(".")).join(&manifest.folder);
        manifest
            .check()
            .map_err(|e| e.unwrap_or_else(|| invalid("sha256 is not that of model.safetensors".into())))?;
        Ok(manifest)
    }

    /// `None` if the digest is another.
    fn check(&self) -> Result<(), Option<EncoderError>> {
        let Some(wanted) = &self.sha256 else { return Ok(()) };
        let path = self.folder.join("model.safetensors");
        let mut file = std::fs::File::open(&path)
            .map_err(|source| Some(EncoderError::Read { path: path.clone(), source }))?;
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash).map_err(|source| Some(EncoderError::Read { path, source }))?;
        let is: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if is.eq_ignore_ascii_case(wanted) { Ok(()) } else { Err(None) }
    }

    /// How the model is run.
    pub fn settings(&self) -> Settings {
        Settings { window: self.window, overlap: self.overlap, threshold: self.threshold }
    }
}
