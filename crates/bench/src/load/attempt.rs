//! One request, from its due moment to its record.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::client::{Answer, Client, ClientError};
use super::fold::{Counter, Demand, Failure, Fold, News};
use super::plan::Limits;
use super::pulse::Pulse;
use super::socket::Clock;
use super::sse::Parser;
use super::target::Endpoint;
use crate::dataset::{Conversation, Prompt, Turn};
use crate::record::{Outcome, Phase, Record};

/// The most of a refusal's body that is read.
const MAX_REFUSAL: usize = 16 << 10;

/// How long after `[DONE]` a server may take to end the response before its connection is given up.
const LINGER: std::time::Duration = std::time::Duration::from_millis(200);

/// What all requests of a run have in common.
pub(crate) struct Shared<'a> {
    pub(crate) client: &'a Client,
    pub(crate) clock: Clock,
    pub(crate) endpoint: Endpoint,
    pub(crate) limits: Limits,
    pub(crate) counter: Counter<'a>,
    pub(crate) pulse: &'a Pulse,
}

/// A turn ready to be sent.
pub(crate) struct Job {
    pub(crate) demand: Demand,
    pub(crate) body: Bytes,
}

impl Job {
    /// Writes the request of a conversation's turn; `said` are the answers to the turns before.
    pub(crate) fn new(
        shared: (&Map<String, Value>, Endpoint),
        (conversation, turn): (&Conversation, usize),
        said: &[String],
        model: &str,
        phase: Phase,
    ) -> Job {
        let (fields, endpoint) = shared;
        let asked: &Turn = &conversation.turns[turn];
        let mut body = fields.clone();
        body.extend(asked.fields.clone());
        body.insert("model".to_owned(), json!(model));
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        body.insert("max_tokens".to_owned(), json!(asked.max_tokens));
        if asked.length == super::Length::Exactly {
            body.insert("ignore_eos".to_owned(), json!(true));
        }
        match endpoint {
            Endpoint::Chat => body.insert("messages".to_owned(), messages(conversation, turn, said)),
            Endpoint::Completions => body.insert("prompt".to_owned(), prompt(conversation, turn, said)),
        };
        let demand =
            Demand { phase, model: model.to_owned(), max_tokens: asked.max_tokens, length: asked.length };
        Job { demand, body: Value::Object(body).to_string().into() }
    }
}

fn text(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text.clone(),
        // A chat has no place for ids; whoever makes datasets for chats knows it.
        Prompt::Tokens(tokens) => format!("{tokens:?}"),
    }
}

fn messages(conversation: &Conversation, turn: usize, said: &[String]) -> Value {
    let mut messages = Vec::new();
    if !conversation.system.is_empty() {
        messages.push(json!({"role": "system", "content": conversation.system}));
    }
    for (i, turn) in conversation.turns.iter().take(turn + 1).enumerate() {
        messages.push(json!({"role": "user", "content": text(&turn.prompt)}));
        if let Some(answer) = said.get(i) {
            messages.push(json!({"role": "assistant", "content": answer}));
        }
    }
    Value::Array(messages)
}

/// Without a template, turns simply follow each other.
fn prompt(conversation: &Conversation, turn: usize, said: &[String]) -> Value {
    if let (Prompt::Tokens(tokens), 0) = (&conversation.turns[turn].prompt, turn) {
        return json!(tokens);
    }
    let mut whole = conversation.system.clone();
    for (i, turn) in conversation.turns.iter().take(turn + 1).enumerate() {
        for part in [Some(&text(&turn.prompt)), said.get(i)].into_iter().flatten() {
            if !whole.is_empty() {
                whole.push('\n');
            }
            whole += part;
        }
    }
    json!(whole)
}

/// Sends a job and follows its answer. Gives the record and what was said.
pub(crate) async fn attempt(
    shared: &Shared<'_>,
    job: Job,
    scheduled: u64,
    window: impl Fn() -> u64,
    stop: &mut watch::Receiver<bool>,
) -> (Record, String) {
    shared.pulse.begins();
    let mut fold = Fold::new(job.demand, scheduled, shared.clock.now());
    let due = shared.clock.at(scheduled);
    let end = {
        let answered = follow(shared, &job.body, &mut fold, Instant::from_std(due));
        tokio::select! {
            biased;
            end = answered => end,
            _ = stop.wait_for(|stop| *stop) => Failure(Outcome::CutOff, String::new()),
        }
    };
    match end.0 {
        Outcome::Done => shared.pulse.answered(),
        Outcome::CutOff => shared.pulse.cut_off(),
        _ => shared.pulse.failed(),
    }
    let said = fold.said().to_owned();
    (fold.close(end, shared.clock.now(), window(), shared.counter), said)
}

/// A request that there was no room for.
pub(crate) fn not_sent(shared: &Shared<'_>, demand: Demand, scheduled: u64) -> Record {
    shared.pulse.begins();
    shared.pulse.failed();
    let now = shared.clock.now();
    let detail = format!("{} requests were under way", shared.limits.in_flight);
    let fold = Fold::new(demand, scheduled, now);
    fold.close(Failure(Outcome::NotSent, detail), now, 0, shared.counter)
}

async fn follow(shared: &Shared<'_>, body: &Bytes, fold: &mut Fold, due: Instant) -> Failure {
    let for_first = sleep_until(due + shared.limits.first_token);
    let for_all = sleep_until(due + shared.limits.answer);
    tokio::pin!(for_first, for_all);
    let late = |first: bool| {
        let outcome = if first { Outcome::NoFirstToken } else { Outcome::TimedOut };
        let limit = if first { shared.limits.first_token } else { shared.limits.answer };
        Failure(outcome, format!("{:.1} s have passed", limit.as_secs_f64()))
    };
    let sent = shared.client.send(shared.endpoint.path(), body);
    let answer = tokio::select! {
        biased;
        answer = sent => answer,
        () = &mut for_first => return late(true),
        () = &mut for_all => return late(false),
    };
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(e @ ClientError::Connect(_)) => return Failure(Outcome::Unreachable, e.to_string()),
        Err(e) => return Failure(Outcome::BrokeOff, e.to_string()),
    };
    if answer.status != 200 || !answer.content_type.starts_with("text/event-stream") {
        return tokio::select! {
            refusal = refused(answer) => refusal,
            () = &mut for_all => late(false),
        };
    }
    let mut parser = Parser::default();
    let mut done = false;
    loop {
        let part = tokio::select! {
            biased;
            part = answer.next() => part,
            () = &mut for_first, if !fold.began() => return late(true),
            () = &mut for_all => return late(false),
            () = tokio::time::sleep(LINGER), if done => return fold.verdict(),
        };
        match part {
            Ok(Some((bytes, at))) => match take(shared.pulse, fold, &mut parser, &bytes, at) {
                Ok(is_done) => done |= is_done,
                Err(failure) => return failure,
            },
            Ok(None) => {
                answer.keep().await;
                return fold.verdict();
            }
            Err(_) if done => return fold.verdict(),
            Err(e) => return Failure(Outcome::BrokeOff, e.to_string()),
        }
    }
}

/// Takes the events that a part completes; whether `[DONE]` was among them.
fn take(pulse: &Pulse, fold: &mut Fold, parser: &mut Parser, bytes: &[u8], at: u64) -> Result<bool, Failure> {
    let (mut done, mut failure) = (false, None);
    let fed = parser.feed(bytes, |data| {
        if failure.is_some() || done {
            return;
        }
        match fold.event(data, at) {
            Ok(News::Nothing) => {}
            Ok(News::First { count, ttft }) => pulse.first(count, ttft),
            Ok(News::Tokens { count, gap }) => pulse.tokens(count, gap),
            Ok(News::Done) => done = true,
            Err(e) => failure = Some(e),
        }
    });
    match (failure, fed) {
        (Some(failure), _) => Err(failure),
        (None, Err(_)) => Err(Failure(Outcome::NotAStream, "an event is too large".to_owned())),
        (None, Ok(())) => Ok(done),
    }
}

/// What an answer that is no stream says.
async fn refused(answer: Answer<'_>) -> Failure {
    let (status, kind) = (answer.status, answer.content_type.clone());
    let body = answer.read(MAX_REFUSAL).await.unwrap_or_default();
    let said: Option<Value> = serde_json::from_slice(&body).ok();
    let message = said.as_ref().and_then(|v| v["error"]["message"].as_str().or(v["message"].as_str()));
    let message = message.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
    if status == 200 {
        return Failure(Outcome::NotAStream, format!("the content is {kind:?}: {message}"));
    }
    Failure(Outcome::Status { status }, message)
}
