//! A stream's chunks: `chat.completion.chunk` objects, then `[DONE]`.
//!
//! `finish_reason` alone is no end: the usage comes after it, and what comes between may be lost.

use serde_json::{Map, Value, json};

use super::answer::{or_calls, read_stop, read_usage, write_stop, write_usage};
use crate::answer::{Delta, Stop, Usage};
use crate::error::{Failure, StreamError, WireError};
use crate::fields::{self, Fields, compact};
use crate::request::Delivery;
use crate::stream::Event;

const DONE: &str = "[DONE]";

/// Reads chunks.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    begun: bool,
    /// The call that goes on: its index, where the server counts, and its id.
    call: (Option<u64>, Option<String>),
    calls: u64,
    stop: Option<Stop>,
    usage: Option<Usage>,
}

impl StreamReader {
    /// Takes one event in.
    pub(crate) fn event(&mut self, data: &[u8], deltas: &mut Vec<Delta>) -> Result<(), StreamError> {
        if data.trim_ascii() == DONE.as_bytes() {
            deltas.push(self.end().ok_or(StreamError::Cut)?);
            return Ok(());
        }
        Ok(self.chunk(fields::parse(data)?, deltas)?)
    }

    /// The stream's end. None without a reason: the answer is not complete then, whatever the server thinks.
    pub(crate) fn end(&mut self) -> Option<Delta> {
        let stop = or_calls(self.stop.take()?, self.calls > 0);
        Some(Delta::End { stop, usage: self.usage.take(), beside: Map::new() })
    }

    /// Takes one chunk in.
    pub(crate) fn chunk(&mut self, value: Value, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        let mut chunk = Fields::root(value)?;
        if let Some(error) = chunk.take("error") {
            deltas.push(Delta::Failed(Failure::in_stream(&error)));
            return Ok(());
        }
        if let Some(usage) = chunk.object("usage")? {
            self.usage = Some(read_usage(usage)?);
        }
        let choices = chunk.array("choices")?;
        if !self.begun && !choices.is_empty() {
            self.begun = true;
            deltas.push(Delta::Begin {
                id: chunk.string("id")?.unwrap_or_default(),
                model: chunk.string("model")?.unwrap_or_default(),
                created: chunk.count("created")?.unwrap_or(0),
                usage: None,
            });
        }
        for (at, choice) in choices {
            self.choice(Fields::at(&at, choice)?, deltas)?;
        }
        Ok(())
    }

    fn choice(&mut self, mut choice: Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        if choice.count("index")?.is_some_and(|index| index != 0) {
            return Err(WireError::malformed(
                choice.param("index"),
                "the stream has a choice that was not asked for",
            ));
        }
        if let Some(mut delta) = choice.object("delta")? {
            let reasoning = delta.string("reasoning_content")?.or(delta.string("reasoning")?);
            let said = [
                reasoning.map(Delta::Reasoning),
                delta.string("content")?.map(Delta::Text),
                delta.string("refusal")?.map(Delta::Refusal),
            ];
            let news = |delta: &Delta| !matches!(delta, Delta::Text(t) | Delta::Refusal(t) | Delta::Reasoning(t) if t.is_empty());
            deltas.extend(said.into_iter().flatten().filter(news));
            for (at, call) in delta.array("tool_calls")? {
                self.call(Fields::at(&at, call)?, deltas)?;
            }
        }
        // Some servers write an empty one into every chunk, as [`super::Choice::finish_reason`] knows, too.
        if let Some(reason) = choice.string("finish_reason")?.filter(|reason| !reason.is_empty()) {
            let matched = choice.take("stop_reason");
            self.stop = Some(read_stop(&choice.param("finish_reason"), &reason, matched)?);
        }
        Ok(())
    }

    /// A call's beginning, or more of it. Some servers count calls wrong or not at all, but a beginning has a name.
    fn call(&mut self, mut call: Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = call.count("index")?;
        let id = call.string("id")?.filter(|id| !id.is_empty());
        let Some(mut function) = call.object("function")? else { return Ok(()) };
        let name = function.string("name")?.filter(|name| !name.is_empty());
        let (current, known) = &self.call;
        let is_new = self.calls == 0 || index.is_some() && index != *current || id.is_some() && id != *known;
        if is_new {
            let Some(name) = name else {
                let param = function.param("name");
                return Err(WireError::malformed(
                    param,
                    "the stream goes on with a call that has ended or not begun",
                ));
            };
            self.calls += 1;
            self.call = (index, id.clone());
            // A call needs a name that its result can refer to.
            let id = id.unwrap_or_else(|| format!("call_{}", self.calls));
            deltas.push(Delta::Call { id, name });
        }
        match function.take("arguments") {
            None => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(Value::String(text)) => deltas.push(Delta::Arguments(text)),
            Some(other) => {
                return Err(fields::wrong_kind(&function.param("arguments"), "a string", &other));
            }
        }
        Ok(())
    }
}

/// Writes chunks.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    delivery: Delivery,
    id: String,
    model: String,
    created: u64,
    /// Calls so far.
    calls: usize,
}

impl StreamWriter {
    /// To a client that asked for this delivery.
    pub(crate) fn new(delivery: Delivery) -> StreamWriter {
        StreamWriter { delivery, id: String::new(), model: String::new(), created: 0, calls: 0 }
    }

    /// The chunks that say this.
    pub(crate) fn write(&mut self, delta: Delta) -> Vec<Event> {
        let delta = match delta {
            Delta::Begin { id, model, created, usage: _ } => {
                (self.id, self.model, self.created) = (id, model, created);
                json!({ "role": "assistant", "content": "" })
            }
            Delta::Text(text) => json!({ "content": text }),
            Delta::Refusal(text) => json!({ "refusal": text }),
            Delta::Reasoning(text) => json!({ "reasoning_content": text }),
            Delta::Call { id, name } => {
                self.calls += 1;
                let function = json!({ "name": name, "arguments": "" });
                json!({ "tool_calls": [
                    { "index": self.calls - 1, "id": id, "type": "function", "function": function }] })
            }
            Delta::Arguments(text) => {
                let index = self.calls.saturating_sub(1);
                json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
            }
            Delta::Seal(_) | Delta::PartEnd => return Vec::new(),
            Delta::End { stop, usage, beside } => return self.end(&stop, usage.as_ref(), beside),
            Delta::Failed(failure) => return vec![event(&json!({ "error": failure.openai() }))],
        };
        vec![event(&self.chunk(json!([choice(delta, None)]), None, Map::new()))]
    }

    fn end(&self, stop: &Stop, usage: Option<&Usage>, beside: Map<String, Value>) -> Vec<Event> {
        let last = json!([choice(json!({}), Some(stop))]);
        let mut events = match self.delivery {
            Delivery::StreamWithUsage => {
                let usage = usage.map_or(Value::Null, write_usage);
                let chunks = [self.chunk(last, None, Map::new()), self.chunk(json!([]), Some(usage), beside)];
                chunks.iter().map(event).collect()
            }
            Delivery::Whole | Delivery::Stream => vec![event(&self.chunk(last, None, beside))],
        };
        events.push(Event { name: None, data: DONE.into() });
        events
    }

    fn chunk(&self, choices: Value, usage: Option<Value>, beside: Map<String, Value>) -> Value {
        // Where the last chunk states the usage, the others have one of null.
        let usage = usage.or((self.delivery == Delivery::StreamWithUsage).then_some(Value::Null));
        let mut chunk = compact([
            ("id", Some(self.id.as_str().into())),
            ("object", Some("chat.completion.chunk".into())),
            ("created", Some(self.created.into())),
            ("model", Some(self.model.as_str().into())),
            ("choices", Some(choices)),
            ("usage", usage),
        ]);
        chunk.extend(beside);
        Value::Object(chunk)
    }
}

fn choice(delta: Value, stop: Option<&Stop>) -> Value {
    let (reason, matched) =
        stop.map(write_stop).map_or((None, None), |(reason, matched)| (Some(reason), matched));
    let mut choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason });
    if let (Some(matched), Some(choice)) = (matched, choice.as_object_mut()) {
        choice.insert("stop_reason".into(), matched.into());
    }
    choice
}

fn event(chunk: &Value) -> Event {
    Event { name: None, data: chunk.to_string() }
}
