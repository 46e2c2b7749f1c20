//! The words every crate shares: tensor types and their block layouts, vocabularies as files
//! give them, sampling parameters, and how a sequence ends.
//!
//! Nothing here does IO, holds a thread or knows a device. A type belongs here when two crates
//! that must not import each other both need it.
#![forbid(unsafe_code)]

mod finish;
pub mod quant;
mod sampling;
mod tensor_type;
mod vocabulary;

pub use finish::{FinishReason, Timings, Usage};
pub use sampling::{Sampling, StopConditions};
pub use tensor_type::{TensorType, UnknownTensorType};
pub use vocabulary::{TokenKind, Vocabulary, VocabularyModel};
