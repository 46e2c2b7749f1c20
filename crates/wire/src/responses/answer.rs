//! An answer's body, the `response` object, whole and in the events that begin and end a stream.

use serde_json::{Map, Value, json};

use super::read::{read_call, read_content, read_reasoning};
use super::write::{format, instructions, summary, tool_choice, tools};
use crate::answer::{Answer, Stop, Usage};
use crate::error::{Failure, WireError};
use crate::fields::Fields;
use crate::request::{Part, PartKind, Request, Seal};

/// Reads a body.
pub(crate) fn read_answer(body: Value) -> Result<Answer, WireError> {
    let mut response = Fields::root(body)?;
    let mut parts = Vec::new();
    for (at, item) in response.array("output")? {
        read_item(Fields::at(&at, item)?, &mut parts)?;
    }
    let called = parts.iter().any(|part: &Part| matches!(part.kind, PartKind::Call { .. }));
    let stop = read_stop(&mut response, called)?;
    Ok(Answer {
        id: response.string("id")?.unwrap_or_default(),
        model: response.string("model")?.unwrap_or_default(),
        created: read_created(&mut response)?,
        parts,
        stop,
        usage: response.object("usage")?.map(read_usage).transpose()?,
        beside: Map::new(),
    })
}

fn read_item(mut item: Fields, parts: &mut Vec<Part>) -> Result<(), WireError> {
    match item.required_string("type")?.as_str() {
        "message" => {
            for (at, content) in item.array("content")? {
                let kind = read_content(&mut Fields::at(&at, content)?)?;
                if !matches!(&kind, PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty()) {
                    parts.push(Part::new(kind));
                }
            }
        }
        "function_call" => parts.push(Part::new(read_call(&mut item)?)),
        "reasoning" => parts.push(Part::new(read_reasoning(&mut item)?)),
        _ => return Err(WireError::unsupported(item.param("type"), "is of a kind that was not asked for")),
    }
    Ok(())
}

/// Reads `created_at`, which OpenAI's types have as a float.
pub(super) fn read_created(response: &mut Fields) -> Result<u64, WireError> {
    Ok(response.number("created_at", 0.0..=f64::MAX)?.unwrap_or(0.0) as u64)
}

/// Reads why a response ended; `called` if it holds calls.
pub(super) fn read_stop(response: &mut Fields, called: bool) -> Result<Stop, WireError> {
    match response.required_string("status")?.as_str() {
        "completed" if called => Ok(Stop::Calls),
        "completed" => Ok(Stop::EndTurn),
        "incomplete" => {
            let mut details = response.required_object("incomplete_details")?;
            match details.required_string("reason")?.as_str() {
                "max_output_tokens" => Ok(Stop::Length),
                "content_filter" => Ok(Stop::Filtered),
                _ => {
                    let param = details.param("reason");
                    Err(WireError::malformed(param.clone(), format!("{param} is none that is known")))
                }
            }
        }
        "failed" => {
            let error = response.take("error").unwrap_or_default();
            let Failure { message, .. } = Failure::in_stream(&error);
            Err(WireError::malformed("status", format!("status says that the provider failed: {message}")))
        }
        _ => Err(WireError::malformed("status", "status says that the response has not ended")),
    }
}

/// Reads `usage`.
pub(super) fn read_usage(mut usage: Fields) -> Result<Usage, WireError> {
    let mut read = Usage {
        input: usage.count("input_tokens")?.unwrap_or(0),
        output: usage.count("output_tokens")?.unwrap_or(0),
        ..Usage::default()
    };
    if let Some(mut details) = usage.object("input_tokens_details")? {
        read.cached = details.count("cached_tokens")?.unwrap_or(0);
        read.cache_written = details.count("cache_write_tokens")?.unwrap_or(0);
    }
    if let Some(mut details) = usage.object("output_tokens_details")? {
        read.reasoning = details.count("reasoning_tokens")?.unwrap_or(0);
    }
    Ok(read)
}

fn write_usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": { "cached_tokens": usage.cached, "cache_write_tokens": usage.cache_written },
        "output_tokens": usage.output,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning },
        "total_tokens": usage.input + usage.output,
    })
}

/// Writes a body.
pub(crate) fn write_answer(answer: &Answer, request: &Request) -> Value {
    let head = Head { id: answer.id.clone(), model: answer.model.clone(), created: answer.created };
    let mut output = Vec::new();
    for part in &answer.parts {
        // What another provider hid has nothing to show here.
        if matches!(&part.kind, PartKind::Reasoning { text, seal } if text.is_empty() && !matches!(seal, Some(Seal::Item { .. })))
        {
            continue;
        }
        let id = head.item_id(&part.kind, output.len());
        output.extend(item(&part.kind, &id, "completed"));
    }
    let mut body =
        head.object(request, &State::Ended { stop: &answer.stop, usage: answer.usage.as_ref() }, output);
    body.extend(answer.beside.clone());
    Value::Object(body)
}

/// A finished or begun output item.
pub(super) fn item(kind: &PartKind, id: &str, status: &str) -> Option<Value> {
    Some(match kind {
        PartKind::Text(text) => message(id, status, vec![text_part(text)]),
        PartKind::Refusal(text) => message(id, status, vec![json!({ "type": "refusal", "refusal": text })]),
        PartKind::Call { id: call, name, arguments } => json!({
            "id": id, "type": "function_call", "status": status, "call_id": call, "name": name,
            "arguments": arguments,
        }),
        PartKind::Reasoning { text, seal } => {
            let mut item = json!({ "id": id, "type": "reasoning", "summary": summary(text) });
            if let (Some(Seal::Item { encrypted: Some(text), .. }), Some(item)) = (seal, item.as_object_mut())
            {
                item.insert("encrypted_content".into(), text.as_str().into());
            }
            item
        }
        // No answer holds these.
        PartKind::Image(_) | PartKind::Result { .. } => return None,
    })
}

/// A message item.
pub(super) fn message(id: &str, status: &str, content: Vec<Value>) -> Value {
    json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
}

/// A message's text.
pub(super) fn text_part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

/// What every `response` object of one answer says.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
}

/// How far a response is.
pub(super) enum State<'a> {
    InProgress,
    Ended { stop: &'a Stop, usage: Option<&'a Usage> },
    Failed(&'a Failure),
}

impl Head {
    /// The id of an output item: its own, or one made of the response's and the item's place.
    pub(super) fn item_id(&self, kind: &PartKind, index: usize) -> String {
        let prefix = match kind {
            PartKind::Reasoning { seal: Some(Seal::Item { id, .. }), .. } => return id.clone(),
            PartKind::Reasoning { .. } => "rs",
            PartKind::Call { .. } => "fc",
            _ => "msg",
        };
        let tail = self.id.strip_prefix("resp_").unwrap_or(&self.id);
        format!("{prefix}_{tail}_{index}")
    }

    /// The `response` object.
    pub(super) fn object(
        &self,
        request: &Request,
        state: &State<'_>,
        output: Vec<Value>,
    ) -> Map<String, Value> {
        let (status, incomplete, error, usage) = match state {
            State::InProgress => ("in_progress", Value::Null, Value::Null, None),
            State::Ended { stop: Stop::Length, usage } => {
                ("incomplete", json!({ "reason": "max_output_tokens" }), Value::Null, *usage)
            }
            State::Ended { stop: Stop::Filtered, usage } => {
                ("incomplete", json!({ "reason": "content_filter" }), Value::Null, *usage)
            }
            State::Ended { usage, .. } => ("completed", Value::Null, Value::Null, *usage),
            State::Failed(failure) => {
                let code = failure.code.as_deref().unwrap_or("server_error");
                ("failed", Value::Null, json!({ "code": code, "message": failure.message }), None)
            }
        };
        let reasoning =
            json!({ "effort": request.reasoning.as_effort(), "summary": request.reasoning.summary });
        let object = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": false,
            "error": error,
            "incomplete_details": incomplete,
            "instructions": instructions(&request.messages).0,
            "max_output_tokens": request.max_tokens,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": request.parallel_calls.unwrap_or(true),
            "previous_response_id": null,
            "reasoning": reasoning,
            "store": false,
            "temperature": request.sampling.temperature,
            "text": { "format": format(&request.output) },
            "tool_choice": request.tool_choice.as_ref().map_or("auto".into(), tool_choice),
            "tools": tools(request),
            "top_p": request.sampling.top_p,
            "truncation": "disabled",
            "usage": usage.map(write_usage),
            "user": request.user,
            "metadata": request.metadata,
        });
        match object {
            Value::Object(object) => object,
            _ => Map::new(),
        }
    }
}
