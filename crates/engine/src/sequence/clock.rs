//! When things happened to a sequence.

use std::time::Instant;

use garrison_types::{Timings, Usage};

/// Instants, as far as they have come.
pub(super) struct Clock {
    pub(super) arrived: Instant,
    pub(super) admitted: Option<Instant>,
    pub(super) prompt_done: Option<Instant>,
    pub(super) last_token: Option<Instant>,
}

impl Clock {
    /// What clients are told.
    pub(super) fn timings(&self, usage: &Usage) -> Timings {
        let ms = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_duration_since(from).as_secs_f64() * 1e3,
            _ => 0.0,
        };
        Timings {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            prompt_ms: ms(self.admitted, self.prompt_done),
            // The end of the prompt is the first token: the same row of logits gives it.
            ttft_ms: ms(Some(self.arrived), self.prompt_done),
            generated_tokens: usage.completion_tokens,
            generation_ms: ms(self.prompt_done, self.last_token),
            draft_tokens: 0,
            accepted_tokens: 0,
        }
    }
}
