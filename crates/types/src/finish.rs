//! How a sequence ended, and what it took.

use serde::Serialize;

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token, a stop token or a stop string; which one, if it was the client's.
    Stop {
        /// The stop string or token text that matched, if the client named it.
        matched: Option<String>,
    },
    /// `max_tokens` or the context was reached.
    Length,
    /// What came next must not be shown. No engine says so; whoever judges answers does.
    Filtered,
}

impl FinishReason {
    /// OpenAI's word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            FinishReason::Stop { .. } => "stop",
            FinishReason::Length => "length",
            FinishReason::Filtered => "content_filter",
        }
    }
}

/// Tokens in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of those, how many came from the prefix cache.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
}

/// Where a sequence's time went, as `timings` in the last chunk and the body shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of those, how many came from the prefix cache.
    pub cached_tokens: u32,
    /// From leaving the queue to the end of the prompt, in milliseconds.
    pub prompt_ms: f64,
    /// From arrival to the first token, in milliseconds.
    pub ttft_ms: f64,
    /// Tokens generated.
    pub generated_tokens: u32,
    /// From the first token to the last, in milliseconds.
    pub generation_ms: f64,
    /// Tokens proposed by a draft.
    pub draft_tokens: u32,
    /// Of those, how many the target kept.
    pub accepted_tokens: u32,
}
