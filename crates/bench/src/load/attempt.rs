//! One request, from its due moment to its record.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::client::{Answer, Client, ClientError};
use super::fold::{Counter, Demand, Failure, Fold, News};
use super::plan::Limits;
use super::pulse::Pulse;
use super::socket::{Clock, Moment};
use super::sse::Parser;
use super::target::Endpoint;
use crate::dataset::{Conversation, Prompt, Turn};
use crate::record::{Outcome, Phase, Record};

/// The most of a refusal's body that is read.
const MAX_REFUSAL: usize = 16 << 10;

/// How long after `[DONE]` a server may take to end the response before its connection is given up.
const LINGER: std::time::Duration = std::time::Duration::from_millis(200);

/// Bytes without a token among them that an answer may have, at most: comments, or events that carry nothing.
const MAX_SILENT_BYTES: usize = 16 << 20;

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
        // A chat has no place for ids, nor has a second turn; files and flags that ask for it are refused before.
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

/// What became of one request.
pub(crate) struct Answered {
    pub(crate) record: Record,
    /// `[events with tokens]` when each came.
    pub(crate) arrivals: Vec<u64>,
}

/// Sends a job and follows its answer. Gives what became of it, and what was said.
pub(crate) async fn attempt(
    shared: &Shared<'_>,
    job: Job,
    scheduled: u64,
    window: impl Fn() -> u64,
    stop: &mut watch::Receiver<bool>,
) -> (Answered, String) {
    shared.pulse.begins();
    let mut fold = Fold::new(job.demand, scheduled, shared.clock.now());
    let due = shared.clock.at(scheduled);
    let end = {
        let answered = follow(shared, &job.body, &mut fold, Instant::from_std(due));
        tokio::select! {
            biased;
            end = answered => Some(end),
            // Whatever reads has used up a task's turn at times, and just then this has to be looked at.
            _ = unconstrained(stop.wait_for(|stop| *stop)) => None,
        }
    };
    let end = end.unwrap_or_else(|| {
        // With its last word it is a whole answer, however its connection ends.
        if fold.is_done() { fold.verdict() } else { Failure(Outcome::CutOff, String::new()) }
    });
    match end.0 {
        Outcome::Done => shared.pulse.answered(),
        Outcome::CutOff => shared.pulse.cut_off(),
        _ => shared.pulse.failed(),
    }
    let (said, arrivals) = (fold.said().to_owned(), fold.arrivals());
    let (now, window) = (shared.clock.now(), window());
    let record = match shared.counter {
        Counter::Server => fold.close(end, now, window, Counter::Server),
        // A long text takes a tokenizer longer than the next token of other answers takes to come.
        counter => tokio::task::block_in_place(|| fold.close(end, now, window, counter)),
    };
    (Answered { record, arrivals }, said)
}

/// A request that there was no room for.
pub(crate) fn not_sent(shared: &Shared<'_>, demand: Demand, scheduled: u64) -> Answered {
    shared.pulse.begins();
    shared.pulse.failed();
    let now = shared.clock.now();
    let detail = format!("{} requests were under way", shared.limits.in_flight);
    let fold = Fold::new(demand, scheduled, now);
    let record = fold.close(Failure(Outcome::NotSent, detail), now, 0, shared.counter);
    Answered { record, arrivals: Vec::new() }
}

async fn follow(shared: &Shared<'_>, body: &Bytes, fold: &mut Fold, due: Instant) -> Failure {
    let (first_until, all_until) = (due + shared.limits.first_token, due + shared.limits.answer);
    // Unconstrained, since a server that never stops sending uses up the task's turns, and sleeps would not fire.
    let for_first = unconstrained(sleep_until(first_until));
    let for_all = unconstrained(sleep_until(all_until));
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
        Err(e @ (ClientError::Connect(_) | ClientError::Untrusted(_) | ClientError::NotTls(_))) => {
            return Failure(Outcome::Unreachable, e.to_string());
        }
        Err(e) => return Failure(Outcome::BrokeOff, e.to_string()),
    };
    fold.sent(answer.sent);
    if answer.status != 200 || !answer.content_type.starts_with("text/event-stream") {
        return tokio::select! {
            refusal = refused(answer) => refusal,
            () = &mut for_all => late(false),
        };
    }
    let mut parser = Parser::default();
    // Once `[DONE]` is here, until when the connection's end is waited for.
    let mut lingers = None;
    let (mut silent, mut pieces) = (0, 0);
    loop {
        let part = tokio::select! {
            biased;
            part = answer.next() => part,
            () = &mut for_first, if !fold.began() => return late(true),
            () = &mut for_all, if lingers.is_none() => return late(false),
            () = unconstrained(sleep_until(lingers.unwrap_or(all_until))), if lingers.is_some() => {
                return fold.verdict();
            }
        };
        match part {
            Ok(Some((_, _))) if lingers.is_some() => {}
            Ok(Some((bytes, at))) => {
                silent += bytes.len();
                match take(shared.pulse, fold, &mut parser, &bytes, at) {
                    Ok(true) => lingers = Some(Instant::now() + LINGER),
                    Ok(false) => {}
                    Err(failure) => return failure,
                }
                if std::mem::replace(&mut pieces, fold.pieces()) != pieces {
                    silent = 0;
                }
            }
            Ok(None) => {
                answer.keep().await;
                return fold.verdict();
            }
            Err(_) if lingers.is_some() => return fold.verdict(),
            Err(e) => return Failure(Outcome::BrokeOff, e.to_string()),
        }
        // Where there is always a part to read, only the clock tells.
        let now = Instant::now();
        match lingers {
            Some(until) if now >= until => return fold.verdict(),
            Some(_) => {}
            None if now >= first_until && !fold.began() => return late(true),
            None if now >= all_until => return late(false),
            None if silent > MAX_SILENT_BYTES => {
                return Failure(Outcome::Endless, format!("{silent} bytes without a token"));
            }
            None => {}
        }
    }
}

/// Takes the events that a part completes; whether `[DONE]` was among them.
fn take(
    pulse: &Pulse,
    fold: &mut Fold,
    parser: &mut Parser,
    bytes: &[u8],
    at: Moment,
) -> Result<bool, Failure> {
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
