//! Names, places and whatever else a model tags, in texts of any length.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use crate::config::Config;
use crate::error::EncoderError;
use crate::families::{self, Classify, Head};
use crate::layers::softmax;
use crate::spans::{Merge, Span, Tag, Tagged};
use crate::windows::{Window, Windows};

/// How a model is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Tokens of a window at most, special ones included; a model that takes fewer has fewer.
    pub window: usize,
    /// Tokens that two windows share.
    pub overlap: usize,
    /// What is less sure is not reported, from 0 to 1.
    pub threshold: f32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { window: 512, overlap: 64, threshold: 0.5 }
    }
}

/// A model that says of each token what it is part of.
pub struct TokenClassifier {
    model: Box<dyn Classify>,
    windows: Windows,
    tags: Vec<Tag>,
    threshold: f32,
}

/// A model, its windows and its labels.
pub(crate) type Loaded = (Box<dyn Classify>, Windows, Vec<String>);

/// A model, its windows and its labels, checked against each other.
pub(crate) fn load(folder: &Path, settings: &Settings, head: Head) -> Result<Loaded, EncoderError> {
    let config = Config::read(folder)?;
    let labels = config.labels(folder)?;
    let length = settings.window.min(config.max_position_embeddings);
    let windows = Windows::read(folder, length, settings.overlap.min(length / 4))?;
    windows.check_vocabulary(folder, config.vocab_size)?;
    Ok((families::load(folder, &config, head, labels.len())?, windows, labels))
}

/// The probabilities of a window's classes: `[rows, classes]`.
pub(crate) fn probabilities(model: &dyn Classify, ids: &[u32]) -> Result<Vec<Vec<f32>>, EncoderError> {
    let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
    Ok(softmax(&model.logits(&ids)?)?.to_vec2()?)
}

/// A clock that a text is judged against.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    time: Duration,
}

impl Clock {
    pub(crate) fn new(time: Duration) -> Clock {
        Clock { start: Instant::now(), time }
    }

    pub(crate) fn check(self) -> Result<(), EncoderError> {
        if self.start.elapsed() < self.time { Ok(()) } else { Err(EncoderError::Late(self.time)) }
    }
}

impl TokenClassifier {
    /// Reads `config.json`, `model.safetensors` and `tokenizer.json` in a folder.
    ///
    /// # Errors
    /// If one is missing or does not fit the others.
    pub fn load(folder: &Path, settings: &Settings) -> Result<TokenClassifier, EncoderError> {
        let (model, windows, labels) = load(folder, settings, Head::Tokens)?;
        let tags = labels.iter().map(|label| Tag::parse(label)).collect();
        Ok(TokenClassifier { model, windows, tags, threshold: settings.threshold })
    }

    /// What it finds in a text, in the order of the text, with places in bytes.
    ///
    /// # Errors
    /// If it is not done within `time`, which is looked at before each window, or the model fails.
    pub fn find(&self, text: &str, time: Duration) -> Result<Vec<Span>, EncoderError> {
        let clock = Clock::new(time);
        let (mut merge, mut until) = (Merge::new(text, &self.tags), 0);
        self.windows.each(text, |window| {
            clock.check()?;
            self.judge(&window, &mut merge, &mut until)
        })?;
        clock.check()?;
        Ok(merge.finish(self.threshold))
    }

    /// Takes what a window says of the tokens that it answers for, from the byte `until` on.
    fn judge(&self, window: &Window, merge: &mut Merge<'_>, until: &mut usize) -> Result<(), EncoderError> {
        let rows = probabilities(self.model.as_ref(), &window.ids)?;
        let mut before = None;
        for token in &window.tokens {
            let goes_on = token.word.is_some() && token.word == before;
            before = token.word;
            if !window.answers(token, *until) {
                continue;
            }
            let bytes = token.bytes.start.max(*until)..token.bytes.end;
            *until = bytes.end;
            let row = rows.get(token.row).map(Vec::as_slice).unwrap_or_default();
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            if let Some((tag, score)) = best {
                merge.push(Tagged { bytes, tag, score: *score, goes_on });
            }
        }
        Ok(())
    }

    /// Logits of one window of ids, special ones included, for tests against another implementation.
    ///
    /// # Errors
    /// If the model fails.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<Vec<f32>>, EncoderError> {
        let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
        Ok(self.model.logits(&ids)?.to_vec2()?)
    }

    /// Ids of the first window of a text and their bytes; the special ones have none.
    ///
    /// # Errors
    /// If it cannot be tokenized.
    pub fn first_window(&self, text: &str) -> Result<Vec<u32>, EncoderError> {
        Ok(self.windows.at(text, 0)?.0.ids)
    }
}

impl std::fmt::Debug for TokenClassifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenClassifier").field("tags", &self.tags).finish_non_exhaustive()
    }
}
