//! A conversation, from OpenAI's JSON to what templates take.

use garrison_tokenizer::ChatMessage;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::fields::{Fields, object, wrong_kind};

/// Messages of one conversation at most.
const MAX_MESSAGES: usize = 16_384;
/// Parts of one message's content, or calls in it, at most.
const MAX_PARTS: usize = 4096;
/// Bytes of a name or a call's id at most.
const MAX_NAME_BYTES: usize = 256;

/// Reads `messages`.
pub(super) fn read(fields: &Fields<'_>) -> Result<Vec<ChatMessage>, ApiError> {
    let items = fields.array("messages", MAX_MESSAGES)?.unwrap_or_default();
    if items.is_empty() {
        let message =
            "messages must have at least one message, like {\"role\": \"user\", \"content\": \"Hello\"}";
        return Err(ApiError::bad_field("messages", message));
    }
    items.iter().enumerate().map(|(i, item)| message(&object(&format!("messages[{i}]"), item)?)).collect()
}

fn message(fields: &Fields<'_>) -> Result<ChatMessage, ApiError> {
    let role = role(fields)?;
    let tool_calls = tool_calls(fields)?;
    let content = content(fields)?;
    // Only a turn that calls tools may say nothing.
    if content.is_none() && role != "assistant" {
        let param = fields.param("content");
        let message = format!("{param} is missing; a message of the role \"{role}\" needs it");
        return Err(ApiError::bad_field(param, message));
    }
    let reasoning = match fields.string("reasoning_content")? {
        Some(text) => Some(text),
        None => fields.string("reasoning")?,
    };
    Ok(ChatMessage {
        role: role.to_owned(),
        content,
        name: fields.short_string("name", MAX_NAME_BYTES)?.map(str::to_owned),
        tool_calls,
        tool_call_id: fields.short_string("tool_call_id", MAX_NAME_BYTES)?.map(str::to_owned),
        reasoning: reasoning.map(str::to_owned),
    })
}

fn role<'a>(fields: &Fields<'a>) -> Result<&'a str, ApiError> {
    let wanted = "\"system\", \"developer\", \"user\", \"assistant\" or \"tool\"";
    match fields.string("role")? {
        // OpenAI renamed it; open models know the old name.
        Some("developer") => Ok("system"),
        Some(role @ ("system" | "user" | "assistant" | "tool")) => Ok(role),
        Some(_) => {
            let param = fields.param("role");
            let message = format!("{param} must be {wanted}");
            Err(ApiError::bad_field(param, message))
        }
        None => {
            let param = fields.param("role");
            let message = format!("{param} is missing; it must be {wanted}");
            Err(ApiError::bad_field(param, message))
        }
    }
}

/// A string, or text parts, which are joined by line breaks as vLLM does for templates of text.
fn content(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    match fields.get("content") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(_)) => {
            let parts = fields.array("content", MAX_PARTS)?.unwrap_or_default();
            let texts = parts.iter().enumerate().map(|(i, part)| {
                let path = fields.param(&format!("content[{i}]"));
                text_part(&object(&path, part)?)
            });
            Ok(Some(texts.collect::<Result<Vec<_>, _>>()?.join("\n")))
        }
        Some(other) => Err(wrong_kind(&fields.param("content"), "a string or an array of parts", other)),
    }
}

fn text_part<'a>(part: &Fields<'a>) -> Result<&'a str, ApiError> {
    match part.string("type")? {
        Some("text") => part.string("text")?.ok_or_else(|| {
            let param = part.param("text");
            let message = format!("{param} is missing");
            ApiError::bad_field(param, message)
        }),
        Some(kind) => {
            let param = part.param("type");
            let kind: String = kind.chars().take(40).collect();
            let message = format!("{param} is \"{kind}\"; this server only takes \"text\" parts");
            Err(ApiError::unsupported(param, message))
        }
        None => {
            let param = part.param("type");
            let message = format!("{param} is missing; it must be \"text\"");
            Err(ApiError::bad_field(param, message))
        }
    }
}

/// The calls of an assistant's turn. Templates expect the arguments as an object, while OpenAI
/// sends them as JSON text.
fn tool_calls(fields: &Fields<'_>) -> Result<Option<Value>, ApiError> {
    let Some(calls) = fields.array("tool_calls", MAX_PARTS)? else { return Ok(None) };
    if calls.is_empty() {
        return Ok(None);
    }
    let calls = calls.iter().enumerate().map(|(i, call)| {
        let call = object(&fields.param(&format!("tool_calls[{i}]")), call)?;
        tool_call(&call)
    });
    Ok(Some(Value::Array(calls.collect::<Result<_, _>>()?)))
}

fn tool_call(call: &Fields<'_>) -> Result<Value, ApiError> {
    let function = call.object("function")?.ok_or_else(|| missing(call, "function"))?;
    let name = function.string("name")?.ok_or_else(|| missing(&function, "name"))?;
    let mut out = Map::new();
    if let Some(id) = call.short_string("id", MAX_NAME_BYTES)? {
        out.insert("id".into(), id.into());
    }
    out.insert("type".into(), "function".into());
    let mut described = Map::new();
    described.insert("name".into(), name.into());
    described.insert("arguments".into(), arguments(&function)?);
    out.insert("function".into(), Value::Object(described));
    Ok(Value::Object(out))
}

fn arguments(function: &Fields<'_>) -> Result<Value, ApiError> {
    let param = function.param("arguments");
    let parsed = match function.get("arguments") {
        None => return Ok(Value::Object(Map::new())),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Value::Object(Map::new())),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|error| {
            ApiError::bad_field(&param, format!("{param} must be the JSON text of an object: {error}"))
        })?,
        Some(other) => other.clone(),
    };
    match parsed {
        Value::Object(_) => Ok(parsed),
        other => Err(wrong_kind(&param, "the JSON text of an object", &other)),
    }
}

fn missing(fields: &Fields<'_>, name: &str) -> ApiError {
    let param = fields.param(name);
    let message = format!("{param} is missing");
    ApiError::bad_field(param, message)
}
