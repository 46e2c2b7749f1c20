//! `POST /v1/chat/completions`, `/v1/messages` and `/v1/responses`: a conversation in, the assistant's next turn out.
//!
//! The three are one: what comes in another dialect becomes the chat request that it is ([`translated`]), and what the
//! model says ([`turn`]) is written by each endpoint's format ([`respond`], [`neutral`]).
//!
//! The conversation is written by the model's own template, whose markup becomes control tokens
//! and whose messages never do. Tools are rendered into the prompt, calls are read from the answer
//! ([`calls`]) as it comes, and a call that a client demands is enforced by a grammar ([`demand`]).

mod calls;
pub(crate) mod demand;
mod messages;
mod neutral;
mod parse;
pub(crate) mod prompt;
mod respond;
pub(crate) mod tools;
mod translated;
mod turn;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use garrison_tokenizer::ChatInput;
use serde_json::{Value, json};

use crate::answer::{blocking, handle, produce};
use crate::app::{App, Entry, Shared};
use crate::error::ApiError;
use crate::fields::{Fields, parse};
use crate::gate::Passed;
use crate::generation::Generation;
use crate::launch::Launch;
use crate::model::ServedModel;
use crate::params::Params;
use crate::record::Record;
use crate::screen::{self, Asked};
use crate::sse::{Dialect, Production};
use neutral::NeutralFormat;
use parse::ChatRequest;
use respond::ChatFormat;
use tools::Tools;
use translated::{Purpose, Translated};
use turn::Turn;

/// `POST /v1/chat/completions`.
pub(crate) async fn create(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    handle(app, passed, "/v1/chat/completions", headers, body, |app, record, body| {
        let value = parse(body)?;
        let Running { generation, request, prompt, name, model } = run(app, record, body, &value)?;
        let delivery = request.params.delivery;
        Ok(produce(generation, ChatFormat::new(request, prompt, &name, &model.model), delivery))
    })
    .await
}

/// `POST /v1/messages`: Anthropic's.
pub(crate) async fn create_message(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    handle(app, passed, "/v1/messages", headers, body, |app, record, body| {
        translate(app, record, body, Dialect::Messages)
    })
    .await
}

/// `POST /v1/responses`: OpenAI's, of which none is kept.
pub(crate) async fn create_response(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    handle(app, passed, "/v1/responses", headers, body, |app, record, body| {
        translate(app, record, body, Dialect::Responses)
    })
    .await
}

/// `POST /v1/messages/count_tokens`: how long a prompt is.
pub(crate) async fn count_tokens(State(app): Shared, body: Body) -> Result<Json<Value>, ApiError> {
    let received = app.bodies.read(body).await?;
    let counted = blocking(&app, move |app| {
        let asked = Translated::read(Dialect::Messages, parse(&received.bytes)?, Purpose::Count)?;
        let count = || {
            let fields = Fields::root(&asked.chat)?;
            let model = &app.model(fields.string("model")?)?.entry.model;
            Ok(prompt::tokens(&fields, Tools::read(&fields, model)?.shown(), model)?.len())
        };
        count().map_err(|error| asked.in_its_words(error))
    });
    Ok(Json(json!({ "input_tokens": counted.await? })))
}

/// A chat that is being answered.
struct Running {
    generation: Generation,
    request: ChatRequest,
    prompt: Vec<u32>,
    /// What answers, as the client calls it.
    name: String,
    model: Arc<Entry>,
}

/// Answers a request of another dialect: as the chat that it is, but in its own words.
fn translate(app: &App, record: &Arc<Record>, body: &[u8], dialect: Dialect) -> Result<Production, ApiError> {
    let asked = Translated::read(dialect, parse(body)?, Purpose::Answer)?;
    let running = run(app, record, body, &asked.chat).map_err(|error| asked.in_its_words(error))?;
    let Running { generation, request, prompt, name, .. } = running;
    let delivery = request.params.delivery;
    let format = NeutralFormat::new(asked, Turn::new(&request.tools), &name, prompt.len());
    Ok(produce(generation, format, delivery))
}

/// Starts a chat: `body` as it came, and what it says in Chat's words.
fn run(app: &App, record: &Arc<Record>, body: &[u8], chat: &Value) -> Result<Running, ApiError> {
    let fields = Fields::root(chat)?;
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
    let [prompt] = prompts;
    Ok(Running { generation, request, prompt, name: chosen.name().to_owned(), model: Arc::clone(entry) })
}

/// Reads a body and writes its prompt, with nothing started.
pub(crate) fn check(dialect: Dialect, body: Value, model: &ServedModel) -> Result<Params, ApiError> {
    let params = |chat: &Value| {
        let (request, input) = read(&Fields::root(chat)?, model)?;
        prompt::encode(&input, model)?;
        Ok(request.params)
    };
    if dialect == Dialect::Chat {
        return params(&body);
    }
    let asked = Translated::read(dialect, body, Purpose::Answer)?;
    params(&asked.chat).map_err(|error| asked.in_its_words(error))
}

/// What a body asks for, and its conversation.
fn read(fields: &Fields<'_>, model: &ServedModel) -> Result<(ChatRequest, ChatInput), ApiError> {
    let request = ChatRequest::read(fields, model)?;
    let input = prompt::input(fields, request.tools.shown(), model)?;
    Ok((request, input))
}
