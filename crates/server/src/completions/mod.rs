//! `POST /v1/completions`: text or tokens in, their continuation out.
//!
//! What evaluation harnesses score models with, so `echo` and `logprobs` follow what they read to
//! the element. A prompt that is a string is a user's text: control tokens in it are spelled out,
//! and whoever means them sends token ids.

mod parse;
mod respond;
mod routed;

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use garrison_gateway::Form;

use serde_json::Value;

use crate::answer::{Begun, Prepared, handle, produce};
use crate::app::{App, Chosen, Shared};
use crate::error::ApiError;
use crate::fields::{Fields, parse};
use crate::gate::Passed;
use crate::generation::Generation;
use crate::launch::{Launch, Scored};
use crate::model::ServedModel;
use crate::params::Delivery;
use crate::record::Record;
use crate::screen::{self, Asked, Screen};
pub(crate) use parse::CompletionRequest;
use respond::CompletionFormat;
pub(crate) use routed::RoutedCompletion;

/// Length of an answer whose request does not say (OpenAI's).
const DEFAULT_MAX_TOKENS: u32 = 16;

/// The endpoint.
pub(crate) async fn create(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    handle(app, passed, "/v1/completions", headers, body, prepare).await
}

fn prepare(_: &App, record: &Arc<Record>, body: &Bytes) -> Result<Begun, ApiError> {
    let (record, body) = (Arc::clone(record), body.clone());
    Ok(Begun::Later(Box::new(move |app| run(app, &record, body))))
}

fn run(app: &App, record: &Arc<Record>, body: Bytes) -> Result<Prepared, ApiError> {
    let value = parse(&body)?;
    let name = Fields::root(&value)?.string("model")?.map(str::to_owned);
    if let Some(route) = name.as_deref().and_then(|name| app.config.routes.find(name)) {
        let routed = RoutedCompletion::read(app, record, body, value, route)?;
        return Ok(Prepared::RoutedCompletion(Box::new(routed)));
    }
    let chosen = app.model(name.as_deref())?;
    app.check_allowed(record, chosen.name())?;
    record.set_model(chosen.name());
    let (generation, format, delivery) = start(app, record, &chosen, &body, &value, Whose::Model)?;
    Ok(Prepared::Running(produce(generation, format, delivery)))
}

/// Whose policies count for a text, and how long it may take.
#[derive(Clone, Copy)]
enum Whose<'a> {
    /// The model's that continues it.
    Model,
    /// A route's, with a deadline of its own.
    Route { name: &'a str, until: Instant },
}

/// Starts the sequences that continue what is asked: `body` as it came, and as JSON.
fn start(
    app: &App,
    record: &Arc<Record>,
    chosen: &Chosen<'_>,
    body: &[u8],
    value: &Value,
    whose: Whose<'_>,
) -> Result<(Generation, CompletionFormat, Delivery), ApiError> {
    let entry = chosen.entry;
    let fields = Fields::root(value)?;
    let mut request = CompletionRequest::read(&fields, &entry.model, app.config.limits.sequences)?;
    let screen = judge(app, &mut request, chosen.name(), &entry.model, body, whose)?;
    let (name, until) = match whose {
        Whose::Model => (chosen.name(), None),
        Whose::Route { name, until } => (name, Some(until)),
    };
    let launch = Launch {
        entry,
        adapter: chosen.adapter(),
        record,
        params: &request.params,
        prompts: &request.prompts.tokens,
        prompt_param: "prompt",
        default_max_tokens: DEFAULT_MAX_TOKENS,
        logprobs: request.logprobs,
        prompt_logprobs: request.scored_prompt(),
        scored: Scored::Each,
        cache_salt: app.cache_salt(record, &request.params.cache_salt),
        deadline: app.deadline(record).into_iter().chain(until).min(),
    };
    let generation = launch.start(app.config.limits.sequences)?.screened(screen);
    let delivery = request.params.delivery;
    Ok((generation, CompletionFormat::new(request, name, &entry.model), delivery))
}

/// Has the prompts judged, and goes on with what became of them.
fn judge(
    app: &App,
    request: &mut CompletionRequest,
    name: &str,
    model: &ServedModel,
    body: &[u8],
    whose: Whose<'_>,
) -> Result<Option<Screen>, ApiError> {
    let gateway = &app.config.gateway;
    let (policy, tier) = match whose {
        // An adapter has the policies of its model.
        Whose::Model => (&*model.name, format!("local/{name}")),
        Whose::Route { name, .. } => (name, format!("route/{name}")),
    };
    screen::check_tokens(gateway, policy, &request.params, request.logprobs)?;
    let n = request.params.n as usize;
    let form = if request.params.structure.is_some() { Form::Document } else { Form::Text };
    let asked = Asked { body, model: policy, tier, form, choices: request.prompts.tokens.len() * n };
    let judged = screen::prompts(gateway, || request.prompts.as_texts(&model.tokenizer), &asked)?;
    let Some((mut screen, changed)) = judged else { return Ok(None) };
    if let Some(texts) = changed {
        request.prompts.replace(&texts, &model.tokenizer)?;
    }
    screen.set_prompts(&request.prompts.tokens, n);
    Ok(Some(screen))
}
