//! An answer's body.

use serde_json::{Map, Value, json};

use super::read::read_block;
use crate::answer::{Answer, Stop, Usage};
use crate::error::WireError;
use crate::fields::{Fields, arguments_object};
use crate::request::{Part, PartKind, Seal};

/// Reads a body.
pub(crate) fn read_answer(body: Value) -> Result<Answer, WireError> {
    let mut fields = Fields::root(body)?;
    let mut parts = Vec::new();
    for (at, item) in fields.array("content")? {
        match read_block(&mut Fields::at(&at, item)?)? {
            PartKind::Text(text) if text.is_empty() => {}
            PartKind::Reasoning { text, seal: None } if text.is_empty() => {}
            PartKind::Image(_) | PartKind::Result { .. } => {
                let message = format!("{at} is no block that an answer can hold");
                return Err(WireError::malformed(at, message));
            }
            kind => parts.push(Part::new(kind)),
        }
    }
    let reason = fields.required_string("stop_reason")?;
    let stop = read_stop("stop_reason", &reason, fields.string("stop_sequence")?)?;
    let usage =
        fields.object("usage")?.map(|mut usage| read_usage(&mut usage, Usage::default())).transpose()?;
    Ok(Answer {
        id: fields.string("id")?.unwrap_or_default(),
        model: fields.string("model")?.unwrap_or_default(),
        created: 0,
        parts,
        stop,
        usage,
        beside: Map::new(),
    })
}

/// Reads `stop_reason` and `stop_sequence`.
pub(super) fn read_stop(param: &str, reason: &str, matched: Option<String>) -> Result<Stop, WireError> {
    Ok(match reason {
        "end_turn" => Stop::EndTurn,
        "stop_sequence" => Stop::Sequence(matched.unwrap_or_default()),
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "tool_use" => Stop::Calls,
        "refusal" => Stop::Filtered,
        _ => return Err(WireError::malformed(param, format!("{param} is none that is known"))),
    })
}

/// The two fields again.
pub(super) fn write_stop(stop: &Stop) -> (&'static str, Option<&str>) {
    match stop {
        Stop::EndTurn => ("end_turn", None),
        Stop::Sequence(text) => ("stop_sequence", Some(text)),
        Stop::Length => ("max_tokens", None),
        Stop::Calls => ("tool_use", None),
        Stop::Filtered => ("refusal", None),
    }
}

/// Reads `usage`; what it does not say is as `before`, which is what a stream began with.
pub(super) fn read_usage(usage: &mut Fields, before: Usage) -> Result<Usage, WireError> {
    let uncached = before.input.saturating_sub(before.cached).saturating_sub(before.cache_written);
    let cached = usage.count("cache_read_input_tokens")?.unwrap_or(before.cached);
    let cache_written = usage.count("cache_creation_input_tokens")?.unwrap_or(before.cache_written);
    let uncached = usage.count("input_tokens")?.unwrap_or(uncached);
    let reasoning = match usage.object("output_tokens_details")? {
        Some(mut details) => details.count("thinking_tokens")?.unwrap_or(before.reasoning),
        None => before.reasoning,
    };
    Ok(Usage {
        input: uncached.saturating_add(cached).saturating_add(cache_written),
        cached,
        cache_written,
        output: usage.count("output_tokens")?.unwrap_or(before.output),
        reasoning,
    })
}

/// Writes `usage`.
pub(super) fn write_usage(usage: &Usage) -> Value {
    let mut written = json!({
        "input_tokens": usage.input.saturating_sub(usage.cached).saturating_sub(usage.cache_written),
        "cache_creation_input_tokens": usage.cache_written,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    });
    if usage.reasoning > 0 {
        written["output_tokens_details"] = json!({ "thinking_tokens": usage.reasoning });
    }
    written
}

/// Writes a body.
pub(crate) fn write_answer(answer: &Answer) -> Value {
    let (reason, matched) = write_stop(&answer.stop);
    let content: Vec<Value> = answer.parts.iter().filter_map(|part| block(&part.kind)).collect();
    let mut body = json!({
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": matched,
        "usage": write_usage(&answer.usage.unwrap_or_default()),
    });
    if let Some(body) = body.as_object_mut() {
        body.extend(answer.beside.clone());
    }
    body
}

fn block(kind: &PartKind) -> Option<Value> {
    Some(match kind {
        PartKind::Text(text) | PartKind::Refusal(text) => json!({ "type": "text", "text": text }),
        PartKind::Reasoning { seal: Some(Seal::Redacted(data)), .. } => {
            json!({ "type": "redacted_thinking", "data": data })
        }
        PartKind::Reasoning { text, seal } => {
            let signature = match seal {
                Some(Seal::Signature(signature)) => signature,
                _ => "",
            };
            json!({ "type": "thinking", "thinking": text, "signature": signature })
        }
        PartKind::Call { id, name, arguments } => {
            // An answer that was cut off can end in the middle of a call, whose arguments are then no object.
            let input = arguments_object("input", arguments).unwrap_or_else(|_| json!({}));
            json!({ "type": "tool_use", "id": id, "name": name, "input": input })
        }
        PartKind::Image(_) | PartKind::Result { .. } => return None,
    })
}
