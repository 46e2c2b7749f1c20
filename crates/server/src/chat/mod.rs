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
pub(crate) mod routed;
pub(crate) mod tools;
mod translated;
mod turn;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use bytes::Bytes;
use garrison_engine::AdapterHandle;
use garrison_gateway::{FirstToken, Route};
use garrison_tokenizer::ChatInput;
use serde_json::{Value, json};

use crate::answer::{Begun, Prepared, Work, blocking, handle, produce};
use crate::app::{App, Chosen, Entry, Shared};
use crate::error::ApiError;
use crate::fields::{Fields, parse};
use crate::gate::Passed;
use crate::generation::Generation;
use crate::launch::{Launch, Scored};
use crate::model::ServedModel;
use crate::params::Params;
use crate::record::Record;
use crate::screen::{self, Asked, Screen};
use crate::sse::{Dialect, Production};
use neutral::NeutralFormat;
use parse::ChatRequest;
use respond::ChatFormat;
use routed::Routed;
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
    handle(app, passed, "/v1/chat/completions", headers, body, prepare).await
}

fn prepare(app: &App, record: &Arc<Record>, body: &Bytes) -> Result<Begun, ApiError> {
    let value = parse(body)?;
    let fields = Fields::root(&value)?;
    let route = fields.string("model")?.and_then(|name| app.config.routes.find(name)).cloned();
    match route {
        Some(route) => along(app, record, body, value, Client::Chat, route),
        None => Ok(here(record, body, move |app, record, body| {
            Ok(run(app, record, body, &value)?.say_to(Client::Chat))
        })),
    }
}

/// Has a model here answer, on a thread that may block.
fn here(
    record: &Arc<Record>,
    body: &Bytes,
    answer: impl FnOnce(&App, &Arc<Record>, &[u8]) -> Result<Production, ApiError> + Send + 'static,
) -> Begun {
    let (record, body) = (Arc::clone(record), body.clone());
    Begun::Later(Box::new(move |app| Ok(Prepared::Running(answer(app, &record, &body)?))))
}

/// Has a route answer: read at once where that waits for nothing.
fn along(
    app: &App,
    record: &Arc<Record>,
    body: &Bytes,
    chat: Value,
    client: Client,
    route: Arc<Route>,
) -> Result<Begun, ApiError> {
    app.check_allowed(record, &route.name)?;
    let quick = app.config.gateway.is_quick(&route.name);
    let (record, body) = (Arc::clone(record), body.clone());
    let read: Work = Box::new(move |app| {
        let routed = Routed::read(app, &record, &body, chat, client, &route)?;
        Ok(Prepared::Routed(Box::new(routed)))
    });
    if quick { Ok(Begun::Ready(read(app)?)) } else { Ok(Begun::Later(read)) }
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
pub(crate) async fn count_tokens(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let received = app.bodies.read(body).await?;
    let counted = blocking(&app, move |app| {
        let asked = Translated::read(Dialect::Messages, parse(&received.bytes)?, Purpose::Count)?;
        asked.check_texts()?;
        let count = || {
            let fields = Fields::root(&asked.chat)?;
            let chosen = app.model(fields.string("model")?)?;
            app.check_allowed(&passed.record, chosen.name())?;
            let model = &chosen.entry.model;
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
    /// The number of the adapter that it computes with, 0 for none.
    adapter: u64,
}

impl Running {
    /// The same with nothing of it shown before its first `after` tokens are there, or all of them: their
    /// log-probabilities, `[choices][tokens]`, if they are known.
    async fn hold(&mut self, after: Option<u32>) -> Result<Vec<Vec<f32>>, ApiError> {
        self.generation.hold(after).await
    }

    /// The same with somebody who waits to hear of its first token.
    fn timed(self, first: FirstToken) -> Running {
        Running { generation: self.generation.timed(first), ..self }
    }

    /// The same with its answer judged, if anything is.
    fn screened(self, mut screen: Option<Screen>) -> Running {
        if let Some(screen) = &mut screen {
            screen.set_prompts(std::slice::from_ref(&self.prompt), self.request.params.n as usize);
        }
        Running { generation: self.generation.screened(screen), ..self }
    }

    /// The answer in the client's words.
    fn say_to(self, client: Client) -> Production {
        let Running { generation, request, prompt, name, model, .. } = self;
        let delivery = request.params.delivery;
        match client {
            Client::Chat => {
                produce(generation, ChatFormat::new(request, prompt, &name, &model.model), delivery)
            }
            Client::Other(asked) => {
                let turn = Turn::new(&request.tools);
                produce(generation, NeutralFormat::new(*asked, turn, &name, prompt.len()), delivery)
            }
        }
    }
}

/// Whose words an answer is written in.
enum Client {
    /// Chat Completions'.
    Chat,
    /// Those of another API, in which this was asked.
    Other(Box<Translated>),
}

impl Client {
    /// A refusal, named as the client named the field.
    fn word(&self, error: ApiError) -> ApiError {
        match self {
            Client::Chat => error,
            Client::Other(asked) => asked.in_its_words(error),
        }
    }
}

/// Answers a request of another dialect: as the chat that it is, but in its own words.
fn translate(app: &App, record: &Arc<Record>, body: &Bytes, dialect: Dialect) -> Result<Begun, ApiError> {
    let mut asked = Translated::read(dialect, parse(body)?, Purpose::Answer)?;
    if let Some(route) = app.config.routes.find(&asked.request.model).cloned() {
        let chat = std::mem::take(&mut asked.chat);
        return along(app, record, body, chat, Client::Other(Box::new(asked)), route);
    }
    asked.check_texts()?;
    Ok(here(record, body, move |app, record, body| {
        let running = run(app, record, body, &asked.chat).map_err(|error| asked.in_its_words(error))?;
        Ok(running.say_to(Client::Other(Box::new(asked))))
    }))
}

/// Starts a chat with a model here: `body` as it came, and what it says in Chat's words.
fn run(app: &App, record: &Arc<Record>, body: &[u8], chat: &Value) -> Result<Running, ApiError> {
    let fields = Fields::root(chat)?;
    let chosen = app.model(fields.string("model")?)?;
    app.check_allowed(record, chosen.name())?;
    record.set_model(chosen.name());
    let (request, mut input) = read(&fields, &chosen.entry.model)?;
    let screen = judge(app, &request, &mut input, body, Whose::Model(&chosen))?;
    Ok(start(app, record, &chosen, request, &input, chosen.name(), &Start::USUAL)?.screened(screen))
}

/// Whose policies count for a conversation.
enum Whose<'a> {
    Model(&'a Chosen<'a>),
    /// Those of a route of this name, along which the chat is sent as it came.
    Route(&'a str, &'a Value),
}

/// Has a conversation judged, and goes on with what becomes of it.
fn judge(
    app: &App,
    request: &ChatRequest,
    input: &mut ChatInput,
    body: &[u8],
    whose: Whose<'_>,
) -> Result<Option<Screen>, ApiError> {
    let gateway = &app.config.gateway;
    let (model, tier) = match whose {
        // An adapter has the policies of its model.
        Whose::Model(chosen) => (&*chosen.entry.model.name, format!("local/{}", chosen.name())),
        Whose::Route(name, _) => (name, format!("route/{name}")),
    };
    screen::check_tokens(gateway, model, &request.params, request.logprobs)?;
    let asked = Asked { body, model, tier, form: request.form(), choices: request.params.n as usize };
    let unread = || match whose {
        Whose::Model(_) => Vec::new(),
        Whose::Route(_, chat) => routed::unread(chat, &request.tools),
    };
    screen::conversation(gateway, input, unread, &asked)
}

/// How an answer begins.
struct Start {
    /// What somebody else has said of it already, which is gone on with; or nothing.
    said: String,
    /// Whether the tokens' log-probabilities are wanted here, whatever the client wants.
    scores: Scores,
    /// When it is given up, if that is sooner than for every request.
    until: Option<Instant>,
}

/// Whose wish decides whether tokens have log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    Asked,
    Always,
}

impl Start {
    const USUAL: Start = Start { said: String::new(), scores: Scores::Asked, until: None };
}

/// Starts the sequences that answer a conversation, which is called `name` in the answer.
fn start(
    app: &App,
    record: &Arc<Record>,
    chosen: &Chosen<'_>,
    mut request: ChatRequest,
    input: &ChatInput,
    name: &str,
    how: &Start,
) -> Result<Running, ApiError> {
    let entry = chosen.entry;
    let mut prompts = [prompt::encode(input, &entry.model)?];
    if !how.said.is_empty() {
        // Behind the template's beginning of a turn, so that the model goes on with it as with its own.
        let said = entry.model.tokenizer.encode_plain(&how.said);
        request.params.spend(u32::try_from(said.len()).unwrap_or(u32::MAX));
        prompts[0].extend(said);
    }
    let logprobs = match how.scores {
        Scores::Asked => request.logprobs,
        Scores::Always => request.logprobs.or(Some(0)),
    };
    let launch = Launch {
        entry,
        adapter: chosen.adapter(),
        record,
        params: &request.params,
        prompts: &prompts,
        prompt_param: "messages",
        default_max_tokens: u32::MAX,
        logprobs,
        prompt_logprobs: request.params.prompt_logprobs,
        scored: Scored::First,
        cache_salt: app.cache_salt(record, &request.params.cache_salt),
        deadline: app.deadline(record).into_iter().chain(how.until).min(),
    };
    let generation = launch.start(app.config.limits.sequences)?;
    let [prompt] = prompts;
    let adapter = chosen.adapter().map_or(0, AdapterHandle::number);
    Ok(Running { generation, request, prompt, name: name.to_owned(), model: Arc::clone(entry), adapter })
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
    asked.check_texts()?;
    params(&asked.chat).map_err(|error| asked.in_its_words(error))
}

/// What a body asks for, and its conversation.
fn read(fields: &Fields<'_>, model: &ServedModel) -> Result<(ChatRequest, ChatInput), ApiError> {
    let request = ChatRequest::read(fields, model)?;
    let input = prompt::input(fields, request.tools.shown(), model)?;
    Ok((request, input))
}
