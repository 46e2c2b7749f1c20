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
pub(crate) mod tools;
mod turn;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use garrison_tokenizer::ChatInput;

use crate::answer::{handle, produce};
use crate::app::{App, Shared};
use crate::error::ApiError;
use crate::fields::{Fields, parse};
use crate::gate::Passed;
use crate::launch::Launch;
use crate::model::ServedModel;
use crate::record::Record;
use crate::screen::{self, Asked};
use crate::sse::Production;
use parse::ChatRequest;
use respond::ChatFormat;

/// The endpoint.
pub(crate) async fn create(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    handle(app, passed, "/v1/chat/completions", headers, body, prepare).await
}

fn prepare(app: &App, record: &Arc<Record>, body: &[u8]) -> Result<Production, ApiError> {
    let value = parse(body)?;
    let fields = Fields::root(&value)?;
    let chosen = app.model(fields.string("model")?)?;
    let entry = chosen.entry;
    record.set_model(chosen.name());
    let (request, mut input) = read(&fields, &entry.model)?;
    let gateway = &app.config.gateway;
    screen::check_tokens(gateway, &request.params, request.logprobs)?;
    let n = request.params.n as usize;
    let asked = Asked { body, model: chosen.name(), form: request.form(), choices: n };
    let mut screen = screen::conversation(gateway, &mut input, &asked)?;
    let prompts = [prompt::encode(&input, &entry.model)?];
    if let Some(screen) = &mut screen {
        screen.set_prompts(&prompts, n);
    }
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
    let generation = launch.start(app.config.limits.sequences)?.screened(screen);
    let delivery = request.params.delivery;
    let [prompt] = prompts;
    Ok(produce(generation, ChatFormat::new(request, prompt, chosen.name(), &entry.model), delivery))
}

/// What a body asks for, and its conversation.
pub(crate) fn read(fields: &Fields<'_>, model: &ServedModel) -> Result<(ChatRequest, ChatInput), ApiError> {
    let request = ChatRequest::read(fields, model)?;
    let input = prompt::input(fields, request.tools.shown(), model)?;
    Ok((request, input))
}
