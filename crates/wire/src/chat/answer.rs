//! An answer's body.

use serde_json::{Map, Value, json};

use super::read::read_call;
use super::write::call;
use crate::answer::{Answer, Stop, Usage};
use crate::error::WireError;
use crate::fields::{Fields, compact};
use crate::request::{Part, PartKind};

/// Reads a body.
pub(crate) fn read_answer(body: Value) -> Result<Answer, WireError> {
    let mut fields = Fields::root(body)?;
    let mut choices = fields.array("choices")?;
    if choices.len() != 1 {
        let message = format!("choices must have one item, not {}", choices.len());
        return Err(WireError::malformed("choices", message));
    }
    let (at, choice) = choices.remove(0);
    let mut choice = Fields::at(&at, choice)?;
    let reason = choice.required_string("finish_reason")?;
    let stop = read_stop(&choice.param("finish_reason"), &reason, choice.take("stop_reason"))?;
    let mut message = choice.required_object("message")?;
    let mut parts = Vec::new();
    let reasoning = message.string("reasoning_content")?.or(message.string("reasoning")?);
    let texts = [
        reasoning.map(|text| PartKind::Reasoning { text, seal: None }),
        message.string("content")?.map(PartKind::Text),
        message.string("refusal")?.map(PartKind::Refusal),
    ];
    for kind in texts.into_iter().flatten() {
        match &kind {
            PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Reasoning { text, .. }
                if text.is_empty() => {}
            _ => parts.push(Part::new(kind)),
        }
    }
    let calls = message.array("tool_calls")?;
    let stop = or_calls(stop, !calls.is_empty());
    for (at, call) in calls {
        parts.push(Part::new(read_call(&mut Fields::at(&at, call)?)?.0));
    }
    Ok(Answer {
        id: fields.string("id")?.unwrap_or_default(),
        model: fields.string("model")?.unwrap_or_default(),
        created: fields.count("created")?.unwrap_or(0),
        parts,
        stop,
        usage: fields.object("usage")?.map(read_usage).transpose()?,
        beside: Map::new(),
    })
}

/// Reads `finish_reason`, and vLLM's `stop_reason` beside it.
pub(super) fn read_stop(param: &str, reason: &str, matched: Option<Value>) -> Result<Stop, WireError> {
    Ok(match (reason, matched) {
        ("stop", Some(Value::String(text))) => Stop::Sequence(text),
        ("stop", _) => Stop::EndTurn,
        ("length", _) => Stop::Length,
        ("tool_calls" | "function_call", _) => Stop::Calls,
        ("content_filter", _) => Stop::Filtered,
        _ => return Err(WireError::malformed(param, format!("{param} is none that is known"))),
    })
}

/// Why an answer ended that `called` something: some servers say only that it has ended, and other formats' clients go by the
/// reason.
pub(super) fn or_calls(stop: Stop, called: bool) -> Stop {
    if called && stop == Stop::EndTurn { Stop::Calls } else { stop }
}

/// The two fields again.
pub(super) fn write_stop(stop: &Stop) -> (&'static str, Option<&str>) {
    match stop {
        Stop::EndTurn => ("stop", None),
        Stop::Sequence(text) => ("stop", Some(text)),
        Stop::Length => ("length", None),
        Stop::Calls => ("tool_calls", None),
        Stop::Filtered => ("content_filter", None),
    }
}

/// Reads `usage`.
pub(super) fn read_usage(mut usage: Fields) -> Result<Usage, WireError> {
    let mut read = Usage {
        input: usage.count("prompt_tokens")?.unwrap_or(0),
        output: usage.count("completion_tokens")?.unwrap_or(0),
        ..Usage::default()
    };
    if let Some(mut details) = usage.object("prompt_tokens_details")? {
        read.cached = details.count("cached_tokens")?.unwrap_or(0);
        read.cache_written = details.count("cache_write_tokens")?.unwrap_or(0);
    }
    if let Some(mut details) = usage.object("completion_tokens_details")? {
        read.reasoning = details.count("reasoning_tokens")?.unwrap_or(0);
    }
    Ok(read)
}

/// Writes `usage`.
pub(super) fn write_usage(usage: &Usage) -> Value {
    let written = (usage.cache_written > 0).then(|| usage.cache_written.into());
    let details = compact([("cached_tokens", Some(usage.cached.into())), ("cache_write_tokens", written)]);
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": details,
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning },
    })
}

/// Writes a body.
pub(crate) fn write_answer(answer: &Answer) -> Value {
    let (mut thought, mut said, mut refusal, mut calls) =
        (String::new(), String::new(), String::new(), Vec::new());
    for part in &answer.parts {
        match &part.kind {
            PartKind::Text(text) => said.push_str(text),
            PartKind::Reasoning { text, .. } => thought.push_str(text),
            PartKind::Refusal(text) => refusal.push_str(text),
            PartKind::Call { id, name, arguments } => calls.push(call(id, name, arguments)),
            // No answer holds these.
            PartKind::Image(_) | PartKind::Result { .. } => {}
        }
    }
    let some = |text: String| (!text.is_empty()).then_some(text);
    // A turn that only calls or refuses says nothing, not an empty text.
    let content = if calls.is_empty() && refusal.is_empty() { Some(said) } else { some(said) };
    let mut message = compact([("role", Some("assistant".into()))]);
    message.insert("content".into(), content.into());
    message.insert("refusal".into(), some(refusal).into());
    if let Some(thought) = some(thought) {
        message.insert("reasoning_content".into(), thought.into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    let (reason, matched) = write_stop(&answer.stop);
    let choice = json!({
        "index": 0, "message": message, "logprobs": null, "finish_reason": reason, "stop_reason": matched,
    });
    let mut body = compact([
        ("id", Some(answer.id.as_str().into())),
        ("object", Some("chat.completion".into())),
        ("created", Some(answer.created.into())),
        ("model", Some(answer.model.as_str().into())),
        ("choices", Some(json!([choice]))),
        ("usage", answer.usage.as_ref().map(write_usage)),
    ]);
    body.extend(answer.beside.clone());
    Value::Object(body)
}
