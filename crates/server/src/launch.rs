//! From valid parameters and tokenized prompts to running sequences.

use std::sync::Arc;
use std::time::Instant;

use garrison_engine::{AdapterHandle, Request};
use garrison_types::Sampling;

use crate::app::Entry;
use crate::attempts::Attempts;
use crate::error::ApiError;
use crate::generation::{Generation, Meter};
use crate::params::Params;
use crate::record::Record;

/// What to run: `n` sequences for each prompt.
pub(crate) struct Launch<'a> {
    pub(crate) entry: &'a Arc<Entry>,
    /// Computed with, besides the model.
    pub(crate) adapter: Option<&'a AdapterHandle>,
    pub(crate) record: &'a Arc<Record>,
    pub(crate) params: &'a Params,
    /// `[prompts]` token ids.
    pub(crate) prompts: &'a [Vec<u32>],
    /// The field that the prompts came in, for errors.
    pub(crate) prompt_param: &'static str,
    /// Length of an answer if the client did not say; cut off at the context.
    pub(crate) default_max_tokens: u32,
    /// Alternatives per generated token.
    pub(crate) logprobs: Option<u32>,
    /// Alternatives per token of the prompt.
    pub(crate) prompt_logprobs: Option<u32>,
    /// Whose scores of the prompt are shown.
    pub(crate) scored: Scored,
    /// Cached prefixes are shared only with requests of the same salt.
    pub(crate) cache_salt: String,
    /// When the request is given up.
    pub(crate) deadline: Option<Instant>,
}

/// The code of an error: this model's queue never has room for so many answers.
pub(crate) const QUEUE_TOO_SHORT: &str = "queue_too_short";

/// Which choices of a prompt tell its scores. To score a prompt is to compute all of it, whatever of it is cached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scored {
    First,
    Each,
}

impl Launch<'_> {
    /// Submits every sequence. If one is refused, those before it are stopped again.
    pub(crate) fn start(&self, most_sequences: usize) -> Result<Generation, ApiError> {
        let engine = &self.entry.model.engine;
        let choices = self.prompts.len() * self.params.n as usize;
        // All of them wait at first. What has no room in an empty queue never will have.
        let queue = engine.config().max_waiting.min(engine.config().max_waiting_per_client);
        let most = most_sequences.min(queue);
        if choices > most {
            let message = format!(
                "{} prompts with n = {} make {choices} answers; one request may ask for {most}",
                self.prompts.len(),
                self.params.n
            );
            let error = ApiError::bad_field("n", message);
            // Elsewhere there may be a longer queue; more than the API allows is too much for everybody.
            return Err(if choices > most_sequences { error } else { error.code(QUEUE_TOO_SHORT) });
        }
        let compiled = self.params.structure.as_ref().map(|s| s.compile(engine)).transpose()?;
        let rules = compiled.as_ref().and_then(|compiled| compiled.rules.clone());
        let checked = rules.as_ref().is_some_and(|rules| rules.need_checking());
        let (mut streams, mut requests) = (Vec::with_capacity(choices), Vec::new());
        for prompt in self.prompts {
            for choice in 0..self.params.n {
                let constraint = compiled.as_ref().map(|compiled| compiled.constraint.clone());
                let request = Request { constraint, ..self.request(prompt, choice, streams.len()) };
                if checked {
                    requests.push(request.clone());
                }
                let submitted = engine.submit(request);
                streams.push(submitted.map_err(|error| ApiError::from_submit(&error, self.prompt_param))?);
            }
        }
        let prompt_tokens: usize = self.prompts.iter().map(Vec::len).sum();
        self.record.set_prompt_tokens(u32::try_from(prompt_tokens).unwrap_or(u32::MAX));
        let meter = Meter::new(Arc::clone(&self.entry.metrics), Arc::clone(self.record), choices);
        let generation = Generation::new(streams, self.params.n as usize, meter);
        Ok(match rules {
            None => generation,
            Some(rules) => generation.following(rules, |rules| {
                checked.then(|| Attempts::new(Arc::clone(self.entry), rules, requests))
            }),
        })
    }

    fn request(&self, prompt: &[u32], choice: u32, index: usize) -> Request {
        let room = self.entry.model.context().saturating_sub(prompt.len()).max(1);
        let asked = self.params.max_tokens().unwrap_or(self.default_max_tokens);
        let max_tokens = asked.min(u32::try_from(room).unwrap_or(u32::MAX));
        Request {
            id: format!("{}-{index}", self.record.id),
            prompt: prompt.to_vec(),
            sampling: Sampling {
                seed: self.params.sampling.seed.wrapping_add(u64::from(choice)),
                ..self.params.sampling.clone()
            },
            stop: self.params.stop_for(max_tokens),
            logprobs: self.logprobs,
            prompt_logprobs: self.prompt_logprobs.filter(|_| choice == 0 || self.scored == Scored::Each),
            adapter: self.adapter.cloned(),
            constraint: None,
            special_tokens: self.params.special_tokens,
            cache_salt: self.cache_salt.clone(),
            client: self.record.client(),
            priority: self.params.priority,
            deadline: self.deadline,
        }
    }
}
