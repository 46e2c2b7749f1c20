//! The engine: requests in, streams of tokens out.
//!
//! One OS thread runs [`Engine`]'s loop: schedule, run, postprocess, and no more. The scheduler sees
//! sequences and counts of blocks; what runs its batches is an [`Execute`]: a [`LocalExecutor`] with
//! a model on a device, or a [`ScriptedExecutor`] in tests. Channels in and out are bounded, a slow
//! client never stalls a step, and a client that goes away stops its sequence within one.
//!
//! Deliberately absent: HTTP, chat templates, choosing a device or a model, and anything async: only
//! [`Stream::recv_async`] knows that its caller may be.
#![forbid(unsafe_code)]

mod engine;
mod request;
mod stream;

mod config;
mod stats;

mod batch;
mod pace;
mod scheduler;
mod sequence;
mod speculative;
mod swap;
mod waiting;
mod worker;

mod adapters;
mod answer;
mod constraint;
mod executor;
mod faults;
mod kv;
mod places;
mod sampler;
mod schema;
mod stop;
#[cfg(test)]
mod tests;

pub use adapters::AdapterHandle;
pub use config::{ConfigError, EngineConfig};
pub use constraint::{Constraint, Grammar, GrammarError};
pub use engine::Engine;
pub use executor::{
    CopyError, DraftModel, Execute, HostCache, HostCacheError, LocalExecutor, Lookahead, MakeExecutor,
    Restarting, ScriptControl, ScriptedExecutor, StepOutput,
};
pub use garrison_model::{Adapter, AdapterError};
pub use request::{
    Event, Failure, Finish, Request, ScoredToken, SpecialTokens, SubmitError, TokenEvent, TokenScores,
};
pub use sampler::Sampler;
pub use schema::{Enforced, Given, SchemaCheck, SchemaParts, UnknownKeywords};
pub use stats::Stats;
pub use stream::Stream;
