//! A model as this crate sees it.

use std::sync::Arc;

use garrison_engine::Engine;
use garrison_tokenizer::{ChatTemplate, Tokenizer};
use garrison_types::Sampling;

use crate::adapters::Adapters;

/// A model that the server answers for.
pub struct ServedModel {
    /// What clients write in `model`.
    pub name: String,
    /// Computes it.
    pub engine: Engine,
    /// Its text in and out.
    pub tokenizer: Arc<Tokenizer>,
    /// How its conversations are written; without one, only completions are served.
    pub template: Option<ChatTemplate>,
    /// When it was made or loaded, in seconds since 1970.
    pub created: u64,
    /// Its adapters, which clients ask for by their names.
    pub adapters: Adapters,
    /// Used for what a request leaves out; its seed is not used.
    pub sampling: Sampling,
}

impl ServedModel {
    /// Token ids are below this.
    pub(crate) fn vocab(&self) -> usize {
        self.engine.config().vocab
    }

    /// Tokens of one sequence at most, prompt and answer together.
    pub(crate) fn context(&self) -> usize {
        self.engine.config().sequence_limit()
    }
}
