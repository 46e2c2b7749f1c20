//! Text encoders: names and places token by token, whether a text is an attack, and how alike two texts are.
//!
//! [`TokenClassifier`] and [`TextClassifier`] read a folder as the hub has it (`config.json`,
//! `model.safetensors`, `tokenizer.json`) of the families BERT, DeBERTa v2 and v3, and ModernBERT, and run it with
//! candle on the CPU. Long texts go through in overlapping windows, against a clock. Both are detectors of the
//! guard, so what they find does not leave, and what they cannot judge in time does not either. [`SentenceEncoder`] reads
//! folders of sentence-transformers, of BERT and ModernBERT, and takes a text only as a whole.
//!
//! Deliberately absent: downloading, training, batches of texts, the GPU, and what to look for: a [`Manifest`] or
//! the model's own labels say that.
#![forbid(unsafe_code)]

mod config;
mod detector;
mod error;
mod families;
mod layers;
mod manifest;
mod sentence;
mod spans;
mod text;
mod tokens;
mod weights;
mod windows;

pub use detector::{AttackDetector, NameDetector, USUAL_BUDGET};
pub use error::EncoderError;
pub use manifest::{Manifest, Task};
pub use sentence::SentenceEncoder;
pub use spans::Span;
pub use text::TextClassifier;
pub use tokens::{Settings, TokenClassifier};
