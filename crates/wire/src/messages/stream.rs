//! A stream's events: `message_start`, blocks one after another, `message_delta`, `message_stop`.
//!
//! <https://docs.anthropic.com/en/docs/build-with-claude/streaming>

use serde_json::{Map, Value, json};

use super::answer::{read_stop, read_usage, write_stop, write_usage};
use crate::answer::{Delta, Stop, Usage};
use crate::error::{Failure, StreamError, WireError};
use crate::fields::{self, Fields};
use crate::request::Seal;
use crate::stream::Event;

/// Reads events.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    usage: Usage,
    stop: Option<Stop>,
    block: Option<Block>,
}

/// The block that goes on.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    /// What is said of it is a delta at once.
    Plain,
    /// A call, and whether its arguments have begun.
    Call { has_arguments: bool },
}

impl StreamReader {
    /// Takes one event in.
    pub(crate) fn event(&mut self, data: &[u8], deltas: &mut Vec<Delta>) -> Result<(), StreamError> {
        let mut event = Fields::root(fields::parse(data)?)?;
        match event.required_string("type")?.as_str() {
            "message_start" => self.start(event.required_object("message")?, deltas)?,
            "content_block_start" => {
                let block = event.required_object("content_block")?;
                self.block_start(block, deltas)?;
            }
            "content_block_delta" => {
                let delta = event.required_object("delta")?;
                self.block_delta(delta, deltas)?;
            }
            "content_block_stop" => {
                // A call without arguments is one of an empty object, as a whole answer has it.
                if self.block.take() == Some(Block::Call { has_arguments: false }) {
                    deltas.push(Delta::Arguments("{}".into()));
                }
                deltas.push(Delta::PartEnd);
            }
            "message_delta" => self.message_delta(&mut event)?,
            "message_stop" => {
                let stop = self.stop.take().ok_or(StreamError::Cut)?;
                deltas.push(Delta::End { stop, usage: Some(self.usage), beside: Map::new() });
            }
            "error" => {
                let error = event.required("error")?;
                deltas.push(Delta::Failed(Failure::in_stream(&error)));
            }
            // Pings, and what Anthropic announces that it may add.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, mut message: Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        if let Some(mut usage) = message.object("usage")? {
            self.usage = read_usage(&mut usage, Usage::default())?;
        }
        deltas.push(Delta::Begin {
            id: message.string("id")?.unwrap_or_default(),
            model: message.string("model")?.unwrap_or_default(),
            created: 0,
            usage: Some(Usage { output: 0, reasoning: 0, ..self.usage }),
        });
        Ok(())
    }

    fn block_start(&mut self, mut block: Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        self.block = Some(Block::Plain);
        match block.required_string("type")?.as_str() {
            "text" => push_text(block.string("text")?, Delta::Text, deltas),
            "thinking" => push_text(block.string("thinking")?, Delta::Reasoning, deltas),
            "redacted_thinking" => {
                deltas.push(Delta::Seal(Seal::Redacted(block.required_string("data")?)));
            }
            "tool_use" => {
                deltas.push(Delta::Call {
                    id: block.required_string("id")?,
                    name: block.required_string("name")?,
                });
                // Servers that do not stream arguments give them here.
                let input = block.map("input")?;
                let has_arguments = !input.is_empty();
                if has_arguments {
                    deltas.push(Delta::Arguments(Value::Object(input).to_string()));
                }
                self.block = Some(Block::Call { has_arguments });
            }
            _ => {
                let why = "is of a kind that was not asked for";
                return Err(WireError::unsupported(block.param("type"), why));
            }
        }
        Ok(())
    }

    fn block_delta(&mut self, mut delta: Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        match delta.required_string("type")?.as_str() {
            "text_delta" => push_text(delta.string("text")?, Delta::Text, deltas),
            "thinking_delta" => push_text(delta.string("thinking")?, Delta::Reasoning, deltas),
            "signature_delta" => {
                let signature = delta.string("signature")?.filter(|text| !text.is_empty());
                deltas.extend(signature.map(|text| Delta::Seal(Seal::Signature(text))));
            }
            "input_json_delta" => {
                let Some(Block::Call { has_arguments }) = &mut self.block else {
                    let message = "the stream has arguments outside of a call";
                    return Err(WireError::malformed(delta.param("type"), message));
                };
                let text = delta.string("partial_json")?;
                *has_arguments |= text.as_ref().is_some_and(|text| !text.is_empty());
                push_text(text, Delta::Arguments, deltas);
            }
            // Of documents, which cannot be given; and what may be added.
            _ => {}
        }
        Ok(())
    }

    fn message_delta(&mut self, event: &mut Fields) -> Result<(), WireError> {
        let mut delta = event.required_object("delta")?;
        if let Some(reason) = delta.string("stop_reason")? {
            let matched = delta.string("stop_sequence")?;
            self.stop = Some(read_stop(&delta.param("stop_reason"), &reason, matched)?);
        }
        if let Some(mut usage) = event.object("usage")? {
            self.usage = read_usage(&mut usage, self.usage)?;
        }
        Ok(())
    }
}

fn push_text(text: Option<String>, delta: fn(String) -> Delta, deltas: &mut Vec<Delta>) {
    deltas.extend(text.filter(|text| !text.is_empty()).map(delta));
}

/// Writes events.
#[derive(Debug, Default)]
pub(crate) struct StreamWriter {
    /// Blocks begun so far.
    blocks: usize,
    open: Option<Kind>,
}

/// Of the block that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call,
}

impl StreamWriter {
    /// The events that say this.
    pub(crate) fn write(&mut self, delta: Delta) -> Vec<Event> {
        let mut events = Vec::with_capacity(2);
        match delta {
            Delta::Begin { id, model, created: _, usage } => {
                let message = json!({
                    "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
                    "stop_reason": null, "stop_sequence": null,
                    "usage": write_usage(&usage.unwrap_or_default()),
                });
                events.push(event("message_start", json!({ "message": message })));
            }
            Delta::Text(text) | Delta::Refusal(text) => {
                self.go_on(Kind::Text, || json!({ "type": "text", "text": "" }), &mut events);
                events.push(self.delta(json!({ "type": "text_delta", "text": text })));
            }
            Delta::Reasoning(text) => {
                self.think(&mut events);
                events.push(self.delta(json!({ "type": "thinking_delta", "thinking": text })));
            }
            Delta::Seal(Seal::Signature(signature)) => {
                self.think(&mut events);
                events.push(self.delta(json!({ "type": "signature_delta", "signature": signature })));
                self.close(&mut events);
            }
            Delta::Seal(Seal::Redacted(data)) => {
                self.close(&mut events);
                self.begin(Kind::Thinking, json!({ "type": "redacted_thinking", "data": data }), &mut events);
                self.close(&mut events);
            }
            // Another provider's.
            Delta::Seal(Seal::Item { .. }) => {}
            Delta::Call { id, name } => {
                self.close(&mut events);
                let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                self.begin(Kind::Call, block, &mut events);
            }
            Delta::Arguments(text) => {
                events.push(self.delta(json!({ "type": "input_json_delta", "partial_json": text })));
            }
            Delta::PartEnd => self.close(&mut events),
            Delta::End { stop, usage, beside } => {
                self.close(&mut events);
                let (reason, matched) = write_stop(&stop);
                let mut last = json!({
                    "delta": { "stop_reason": reason, "stop_sequence": matched },
                    "usage": write_usage(&usage.unwrap_or_default()),
                });
                if let Some(last) = last.as_object_mut() {
                    last.extend(beside);
                }
                events.push(event("message_delta", last));
                events.push(event("message_stop", json!({})));
            }
            Delta::Failed(failure) => {
                let body = failure.to_json(crate::Format::Messages);
                events.push(Event { name: Some("error"), data: body.to_string() });
            }
        }
        events
    }

    fn think(&mut self, events: &mut Vec<Event>) {
        self.go_on(Kind::Thinking, || json!({ "type": "thinking", "thinking": "", "signature": "" }), events);
    }

    fn go_on(&mut self, kind: Kind, block: fn() -> Value, events: &mut Vec<Event>) {
        if self.open != Some(kind) {
            self.close(events);
            self.begin(kind, block(), events);
        }
    }

    fn begin(&mut self, kind: Kind, block: Value, events: &mut Vec<Event>) {
        self.open = Some(kind);
        events.push(event("content_block_start", json!({ "index": self.blocks, "content_block": block })));
        self.blocks += 1;
    }

    fn delta(&self, delta: Value) -> Event {
        event("content_block_delta", json!({ "index": self.blocks.saturating_sub(1), "delta": delta }))
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        if self.open.take().is_some() {
            events.push(event("content_block_stop", json!({ "index": self.blocks - 1 })));
        }
    }
}

/// An event, which says its name in its data, too.
fn event(name: &'static str, fields: Value) -> Event {
    let mut data = Map::new();
    data.insert("type".into(), name.into());
    if let Value::Object(fields) = fields {
        data.extend(fields);
    }
    Event { name: Some(name), data: Value::Object(data).to_string() }
}
