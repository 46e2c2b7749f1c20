//! `POST /v1/completions`: text or tokens in, their continuation out.
//!
//! What evaluation harnesses score models with, so `echo` and `logprobs` follow what they read to
//! the element. A prompt that is a string is a user's text: control tokens in it are spelled out,
//! and whoever means them sends token ids.

mod parse;
mod respond;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use garrison_gateway::Form;

use crate::answer::{Begun, Prepared, handle, produce};
use crate::app::{App, Shared};
use crate::error::ApiError;
use crate::fields::{Fields, parse};
use crate::gate::Passed;
use crate::launch::Launch;
use crate::model::ServedModel;
use crate::record::Record;
use crate::screen::{self, Asked, Screen};
use crate::sse::Production;
pub(crate) use parse::CompletionRequest;
use respond::CompletionFormat;

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
    Ok(Begun::Later(Box::new(move |app| Ok(Prepared::Running(run(app, &record, &body)?)))))
}

fn run(app: &App, record: &Arc<Record>, body: &[u8]) -> Result<Production, ApiError> {
    let value = parse(body)?;
    let fields = Fields::root(&value)?;
    let name = fields.string("model")?;
    if name.is_some_and(|name| app.config.routes.find(name).is_some()) {
        let message = "this model is a route, and routes answer chats: use /v1/chat/completions";
        return Err(ApiError::unsupported("model", message));
    }
    let chosen = app.model(name)?;
    let entry = chosen.entry;
    app.check_allowed(record, chosen.name())?;
    record.set_model(chosen.name());
    let mut request = CompletionRequest::read(&fields, &entry.model, app.config.limits.sequences)?;
    let screen = judge(app, &mut request, chosen.name(), &entry.model, body)?;
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
        cache_salt: app.cache_salt(record, &request.params.cache_salt),
        deadline: app.deadline(record),
    };
    let generation = launch.start(app.config.limits.sequences)?.screened(screen);
    let delivery = request.params.delivery;
    let format = CompletionFormat::new(request, chosen.name(), &entry.model);
    Ok(produce(generation, format, delivery))
}

/// Has the prompts judged, and goes on with what became of them.
fn judge(
    app: &App,
    request: &mut CompletionRequest,
    name: &str,
    model: &ServedModel,
    body: &[u8],
) -> Result<Option<Screen>, ApiError> {
    let gateway = &app.config.gateway;
    screen::check_tokens(gateway, &model.name, &request.params, request.logprobs)?;
    let n = request.params.n as usize;
    let form = if request.params.structure.is_some() { Form::Document } else { Form::Text };
    let tier = format!("local/{name}");
    let asked = Asked { body, model: &model.name, tier, form, choices: request.prompts.tokens.len() * n };
    let judged = screen::prompts(gateway, || request.prompts.as_texts(&model.tokenizer), &asked)?;
    let Some((mut screen, changed)) = judged else { return Ok(None) };
    if let Some(texts) = changed {
        request.prompts.replace(&texts, &model.tokenizer)?;
    }
    screen.set_prompts(&request.prompts.tokens, n);
    Ok(Some(screen))
}
