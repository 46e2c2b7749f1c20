//! `POST /v1/chat/completions`: a conversation in, the assistant's next turn out.
//!
//! The conversation is written by the model's own template, whose markup becomes control tokens
//! and whose messages never do. Tools are rendered into the prompt, calls are read from the answer
//! ([`calls`]) as it comes, and a call that a client demands is enforced by a grammar ([`demand`]).

mod calls;
pub(crate) mod demand;
mod messages;
mod parse;
pub(crate) mod prompt;
mod respond;
pub(crate) mod routed;
pub(crate) mod tools;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use garrison_tokenizer::ChatInput;

use crate::answer::{Prepared, handle, produce};
use crate::app::{App, Chosen, Shared};
use crate::error::ApiError;
use crate::fields::{Fields, parse};
use crate::gate::Passed;
use crate::generation::Generation;
use crate::launch::Launch;
use crate::model::ServedModel;
use crate::record::Record;
use crate::screen::{self, Asked, Screen};
use parse::ChatRequest;
use respond::ChatFormat;
use routed::Routed;

/// The endpoint.
pub(crate) async fn create(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    handle(app, passed, "/v1/chat/completions", headers, body, prepare).await
}

fn prepare(app: &App, record: &Arc<Record>, body: &[u8]) -> Result<Prepared, ApiError> {
    let value = parse(body)?;
    let fields = Fields::root(&value)?;
    let name = fields.string("model")?;
    if let Some(route) = name.and_then(|name| app.config.routes.find(name)) {
        let routed = Routed::read(app, record, body, &fields, route)?;
        return Ok(Prepared::Routed(Box::new(routed)));
    }
    let chosen = app.model(name)?;
    record.set_model(chosen.name());
    let (request, mut input) = read(&fields, &chosen.entry.model)?;
    let delivery = request.params.delivery;
    let mut screen = judge(app, &request, &mut input, body, format!("local/{}", chosen.name()))?;
    let started = start(app, record, &chosen, request, &input, chosen.name())?;
    if let Some(screen) = &mut screen {
        screen.set_prompts(&started.prompts, started.choices);
    }
    Ok(Prepared::Running(produce(started.generation.screened(screen), started.format, delivery)))
}

/// Has a conversation judged, and goes on with what becomes of it.
fn judge(
    app: &App,
    request: &ChatRequest,
    input: &mut ChatInput,
    body: &[u8],
    tier: String,
) -> Result<Option<Screen>, ApiError> {
    let gateway = &app.config.gateway;
    screen::check_tokens(gateway, &request.params, request.logprobs)?;
    let asked = Asked { body, tier, form: request.form(), choices: request.params.n as usize };
    screen::conversation(gateway, input, &asked)
}

/// Running sequences, and how their answer is written.
struct Started {
    generation: Generation,
    format: ChatFormat,
    prompts: [Vec<u32>; 1],
    choices: usize,
}

/// Starts the sequences that answer a conversation, which is called `name` in the answer.
fn start(
    app: &App,
    record: &Arc<Record>,
    chosen: &Chosen<'_>,
    request: ChatRequest,
    input: &ChatInput,
    name: &str,
) -> Result<Started, ApiError> {
    let entry = chosen.entry;
    let prompts = [prompt::encode(input, &entry.model)?];
    let launch = Launch {
        entry,
        adapter: chosen.adapter(),
        record,
        params: &request.params,
        prompts: &prompts,
        prompt_param: "messages",
        default_max_tokens: u32::MAX,
        logprobs: request.logprobs,
        prompt_logprobs: request.params.prompt_logprobs,
        cache_salt: app.cache_salt(record, &request.params.cache_salt),
        deadline: app.deadline(record),
    };
    let generation = launch.start(app.config.limits.sequences)?;
    let choices = request.params.n as usize;
    let format = ChatFormat::new(request, prompts[0].clone(), name, &entry.model);
    Ok(Started { generation, format, prompts, choices })
}

/// What a body asks for, and its conversation.
pub(crate) fn read(fields: &Fields<'_>, model: &ServedModel) -> Result<(ChatRequest, ChatInput), ApiError> {
    let request = ChatRequest::read(fields, model)?;
    let input = prompt::input(fields, request.tools.shown(), model)?;
    Ok((request, input))
}
