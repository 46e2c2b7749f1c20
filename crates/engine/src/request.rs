//! What a client of the engine asks for and what it gets back.

use std::time::Instant;

use crate::adapters::AdapterHandle;
use crate::constraint::{Constraint, GrammarError};
use garrison_types::{FinishReason, Sampling, StopConditions, Timings, Usage};

/// One sequence to generate. Parsed and range-checked by the caller; the engine checks only what
/// depends on its own limits.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names the request in logs; never content.
    pub id: String,
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// When to stop.
    pub stop: StopConditions,
    /// How many most probable tokens to report with each generated token; `None` reports none.
    pub logprobs: Option<u32>,
    /// The same for each token of the prompt after the first (echo, prompt_logprobs).
    pub prompt_logprobs: Option<u32>,
    /// An adapter of the same engine, from [`crate::Engine::add_adapter`].
    pub adapter: Option<AdapterHandle>,
    /// What the answer must be, from [`crate::Engine::compile`]. While it is on, `min_tokens` is not.
    pub constraint: Option<Constraint>,
    /// Whether control tokens are left out of the text.
    pub special_tokens: SpecialTokens,
    /// Requests share cached prefixes only with those of the same salt; usually empty.
    pub cache_salt: String,
    /// Who asks; clients share the engine evenly.
    pub client: u32,
    /// Among this client's requests, lower goes first (vLLM's `priority`); one level weighs as much
    /// as a second of waiting.
    pub priority: i32,
    /// The request is given up when it has not ended by then.
    pub deadline: Option<Instant>,
}

impl Request {
    /// A request with nothing special: greedy, reported without scores, for anybody's cache.
    pub fn new(id: impl Into<String>, prompt: Vec<u32>, stop: StopConditions) -> Request {
        Request {
            id: id.into(),
            prompt,
            sampling: Sampling::greedy(),
            stop,
            logprobs: None,
            prompt_logprobs: None,
            adapter: None,
            constraint: None,
            special_tokens: SpecialTokens::Skip,
            cache_salt: String::new(),
            client: 0,
            priority: 0,
            deadline: None,
        }
    }
}

/// What becomes of control tokens in generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They are left out.
    Skip,
    /// They are shown.
    Show,
}

/// What a stream carries, in this order: `Prompt` at most once, `Token` any number of times, and
/// one of `Finished` or `Failed` last.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Scores of the prompt's tokens, asked for with `prompt_logprobs`.
    Prompt(Vec<ScoredToken>),
    /// One generated token and the text it completes.
    Token(TokenEvent),
    /// The sequence ended.
    Finished(Finish),
    /// The engine could not go on with this sequence.
    Failed(Failure),
}

/// One generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// Its id.
    pub token: u32,
    /// Text that can be shown now: whole characters, and nothing that may yet become part of a
    /// stop string. Empty while a character or a possible stop string is incomplete.
    pub text: String,
    /// Present if the request asked for log-probabilities.
    pub logprobs: Option<TokenScores>,
}

/// A token's log-probability and the alternatives'.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenScores {
    /// Of the token itself.
    pub logprob: f32,
    /// The token's place among all tokens, 1 being the most probable.
    pub rank: u32,
    /// `(token, log-probability)`, best first.
    pub top: Vec<(u32, f32)>,
}

/// A token of the prompt; the first one has no scores.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredToken {
    /// Its id.
    pub token: u32,
    /// Its scores given what comes before it.
    pub scores: Option<TokenScores>,
}

/// How a sequence ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// Text held back until now (a possible stop string that was none, an incomplete character).
    pub text: String,
    /// Tokens in and out.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
}

/// Why the engine gave a sequence up after accepting it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The device failed; the step's sequences are lost.
    #[error("the device failed while computing this request: {0}")]
    Device(String),
    /// The grammar of the answer became too complex.
    #[error("the answer's grammar cannot be followed any further: {0}")]
    Grammar(GrammarError),
    /// The device has no room for the adapter.
    #[error("the adapter could not be put to use: {0}")]
    Adapter(String),
    /// The request had not ended by its deadline.
    #[error("the request was not finished in time; it was stopped at its deadline")]
    DeadlineExceeded,
    /// The engine's thread is gone after a failure of its own.
    #[error("the engine has stopped after a failure; see the server's log")]
    Stopped,
    /// The engine is stopping and did not get to it.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Why the engine did not accept a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The prompt and one token can never fit.
    #[error(
        "the prompt has {prompt_tokens} tokens; this model takes at most {limit}, prompt and answer together"
    )]
    ContextLengthExceeded {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens of prompt and answer together at most.
        limit: usize,
    },
    /// The prompt has no tokens.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A token id is outside of the vocabulary.
    #[error("token id {token} is outside of the vocabulary of {vocab}")]
    UnknownToken {
        /// The id.
        token: u32,
        /// The vocabulary's size.
        vocab: usize,
    },
    /// The adapter was made for another engine.
    #[error("the adapter belongs to another model")]
    ForeignAdapter,
    /// The queue is full.
    #[error("{waiting} requests are waiting already; try again in {retry_after_s} s")]
    QueueFull {
        /// Requests in the queue.
        waiting: usize,
        /// When to come back.
        retry_after_s: u32,
    },
    /// The engine finishes what is running and takes no more.
    #[error("the server is shutting down and takes no new requests")]
    Draining,
    /// The engine's thread is gone after a failure.
    #[error("the engine has stopped after a failure; see the server's log")]
    Stopped,
}
