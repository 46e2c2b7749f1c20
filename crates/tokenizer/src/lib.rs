//! Text in and out: tokenizers, incremental detokenization and chat templates.
//!
//! The rule this crate exists to keep: a user's text never becomes a control token. Markup is
//! written by the model's template and only there; [`Tokenizer::encode_plain`] cannot produce it,
//! and [`Tokenizer::encode_rendered`] produces it only where the template, not a client, wrote it.
//!
//! Deliberately absent: downloading, reading GGUF, HTTP, and training.
#![forbid(unsafe_code)]

mod detokenizer;
mod encode;
mod error;
mod prompt;
mod template;
mod tokenizer;
mod tokens;

pub use detokenizer::Detokenizer;
pub use error::TokenizerError;
pub use template::{ChatInput, ChatMessage, ChatTemplate, RenderedPrompt, TemplateError};
pub use tokenizer::{AddSpecial, ParseSpecial, SkipSpecial, Tokenizer};
