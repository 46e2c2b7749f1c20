//! One class for a text, or for the window of it that fits the class best.

use std::path::Path;
use std::time::Duration;

use candle_core::{Device, Tensor};

use crate::error::EncoderError;
use crate::families::{Classify, Head};
use crate::tokens::{Clock, Settings, load, probabilities};
use crate::windows::Windows;

/// A model that says what kind of text this is.
pub struct TextClassifier {
    model: Box<dyn Classify>,
    windows: Windows,
    labels: Vec<String>,
}

impl TextClassifier {
    /// Reads `config.json`, `model.safetensors` and `tokenizer.json` in a folder.
    ///
    /// # Errors
    /// If one is missing or does not fit the others.
    pub fn load(folder: &Path, settings: &Settings) -> Result<TextClassifier, EncoderError> {
        let (model, windows, labels) = load(folder, settings, Head::Text)?;
        Ok(TextClassifier { model, windows, labels })
    }

    /// What its classes are called.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Of each class the highest probability that any window of the text gives it, in the order of
    /// [`labels`](Self::labels); so what is somewhere in a long text is not thinned out by the rest.
    ///
    /// # Errors
    /// If it is not done within `time`, which is looked at before each window, or the model fails.
    pub fn judge(&self, text: &str, time: Duration) -> Result<Vec<f32>, EncoderError> {
        let clock = Clock::new(time);
        let mut highest = vec![0f32; self.labels.len()];
        self.windows.each(text, |window| {
            clock.check()?;
            let rows = probabilities(self.model.as_ref(), &window.ids)?;
            let row = rows.first().map(Vec::as_slice).unwrap_or_default();
            highest.iter_mut().zip(row).for_each(|(h, p)| *h = h.max(*p));
            Ok(())
        })?;
        clock.check()?;
        Ok(highest)
    }

    /// Logits of one window of ids, special ones included, for tests against another implementation.
    ///
    /// # Errors
    /// If the model fails.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>, EncoderError> {
        let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
        Ok(self.model.logits(&ids)?.get(0)?.to_vec1()?)
    }
}

impl std::fmt::Debug for TextClassifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextClassifier").field("labels", &self.labels).finish_non_exhaustive()
    }
}
