//! A request's body, written.

use serde_json::{Map, Value, json};

use super::SEALED;
use crate::Format;
use crate::chat::{image_url, schema_name};
use crate::error::WireError;
use crate::fields::compact;
use crate::request::{Delivery, Message, OutputForm, Part, PartKind, Request, Role, Seal, ToolChoice};

/// Writes a body.
pub(crate) fn write_request(request: &Request, model: &str) -> Result<Value, WireError> {
    refuse_unsaid(request)?;
    let (instructions, rest) = instructions(&request.messages);
    let first = request.messages.len() - rest.len();
    let keeps = if request.own.format == Format::Responses { Keeps::PerhapsAll } else { Keeps::Nothing };
    let mut input = Vec::new();
    for (i, message) in rest.iter().enumerate() {
        write_message(first + i, message, keeps, &mut input)?;
    }
    let mut body = compact([
        ("model", (!model.is_empty()).then(|| model.into())),
        ("instructions", instructions.map(Value::from)),
        ("input", Some(input.into())),
        ("tools", (!request.tools.is_empty()).then(|| tools(request))),
        ("tool_choice", request.tool_choice.as_ref().map(tool_choice)),
        ("parallel_tool_calls", request.parallel_calls.map(Value::from)),
        ("text", text(request)),
        ("temperature", request.sampling.temperature.map(Value::from)),
        ("top_p", request.sampling.top_p.map(Value::from)),
        ("max_output_tokens", request.max_tokens.map(Value::from)),
        ("reasoning", reasoning(request)),
        ("include", request.sealed.then(|| json!([SEALED]))),
        ("stream", (request.delivery != Delivery::Whole).then(|| true.into())),
        ("store", (request.own.format != Format::Responses).then(|| false.into())),
        ("user", request.user.as_deref().map(Value::from)),
        ("metadata", (!request.metadata.is_empty()).then(|| request.metadata.clone().into())),
    ]);
    request.own.write(Format::Responses, &mut body)?;
    Ok(Value::Object(body))
}

/// What whoever reads the body has kept of the conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// What it said before, if its client says so.
    PerhapsAll,
    Nothing,
}

/// What there is no word for.
fn refuse_unsaid(request: &Request) -> Result<(), WireError> {
    let sampling = &request.sampling;
    let is_asked = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    let unsaid = [
        ("stop", !request.stop.is_empty()),
        ("top_k", sampling.top_k.is_some()),
        ("frequency_penalty", is_asked(sampling.frequency_penalty)),
        ("presence_penalty", is_asked(sampling.presence_penalty)),
        ("seed", sampling.seed.is_some()),
    ];
    match unsaid.iter().find(|(_, asked)| *asked) {
        Some((name, _)) => Err(WireError::cannot_carry(*name, Format::Responses)),
        None => Ok(()),
    }
}

/// The first message as `instructions`, if it is one text of the application's, and the rest.
pub(super) fn instructions(messages: &[Message]) -> (Option<&str>, &[Message]) {
    match messages {
        [Message { role: Role::System, parts, name: None }, rest @ ..] => match parts.as_slice() {
            [Part { kind: PartKind::Text(text), .. }] => (Some(text), rest),
            _ => (None, messages),
        },
        _ => (None, messages),
    }
}

/// A message's items, in order: what is said together is one, and calls, results and reasoning are items of their
/// own.
fn write_message(
    at: usize,
    message: &Message,
    keeps: Keeps,
    input: &mut Vec<Value>,
) -> Result<(), WireError> {
    if message.name.is_some() {
        return Err(WireError::cannot_carry(format!("messages[{at}].name"), Format::Responses));
    }
    let mut said = Vec::new();
    for part in &message.parts {
        let item = match &part.kind {
            PartKind::Text(_) | PartKind::Image(_) | PartKind::Refusal(_) => {
                said.push(&part.kind);
                continue;
            }
            PartKind::Call { id, name, arguments } => {
                json!({ "type": "function_call", "call_id": id, "name": name, "arguments": arguments })
            }
            PartKind::Result { call, parts, is_error: _ } => {
                let kinds: Vec<&PartKind> = parts.iter().map(|part| &part.kind).collect();
                let output = content(Role::User, &kinds);
                json!({ "type": "function_call_output", "call_id": call, "output": output })
            }
            PartKind::Reasoning { text, seal: Some(Seal::Item { id, encrypted }) }
                if encrypted.is_some() || keeps == Keeps::PerhapsAll =>
            {
                let summary: Vec<Value> = summary(text);
                let mut item = json!({ "type": "reasoning", "id": id, "summary": summary });
                if let (Some(encrypted), Some(item)) = (encrypted, item.as_object_mut()) {
                    item.insert("encrypted_content".into(), encrypted.as_str().into());
                }
                item
            }
            PartKind::Reasoning { .. } => continue,
        };
        flush(message.role, &mut said, input);
        input.push(item);
    }
    flush(message.role, &mut said, input);
    Ok(())
}

/// A reasoning item's `summary`.
pub(super) fn summary(text: &str) -> Vec<Value> {
    if text.is_empty() { Vec::new() } else { vec![json!({ "type": "summary_text", "text": text })] }
}

fn flush(role: Role, said: &mut Vec<&PartKind>, input: &mut Vec<Value>) {
    if said.is_empty() {
        return;
    }
    let name = match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    input.push(json!({ "type": "message", "role": name, "content": content(role, said) }));
    said.clear();
}

/// One text as a string, anything else as parts.
fn content(role: Role, parts: &[&PartKind]) -> Value {
    match parts {
        [] => "".into(),
        [PartKind::Text(text)] => text.as_str().into(),
        parts => parts.iter().filter_map(|kind| content_part(role, kind)).collect(),
    }
}

fn content_part(role: Role, kind: &PartKind) -> Option<Value> {
    match kind {
        PartKind::Text(text) => {
            let kind = if role == Role::Assistant { "output_text" } else { "input_text" };
            Some(json!({ "type": kind, "text": text }))
        }
        PartKind::Refusal(text) => Some(json!({ "type": "refusal", "refusal": text })),
        PartKind::Image(image) => {
            let mut part = json!({ "type": "input_image", "image_url": image_url(image) });
            if let (Some(detail), Some(part)) = (&image.detail, part.as_object_mut()) {
                part.insert("detail".into(), detail.as_str().into());
            }
            Some(part)
        }
        // Items of their own.
        PartKind::Call { .. } | PartKind::Result { .. } | PartKind::Reasoning { .. } => None,
    }
}

/// The tools, also as an answer shows them.
pub(super) fn tools(request: &Request) -> Value {
    // See the module's words on strictness.
    let unsaid = (request.own.format != Format::Responses).then_some(false);
    let tool = |tool: &crate::Tool| {
        let mut written = compact([
            ("type", Some("function".into())),
            ("name", Some(tool.name.as_str().into())),
            ("description", tool.description.as_deref().map(Value::from)),
            ("strict", tool.strict.or(unsaid).map(Value::from)),
        ]);
        // OpenAI wants the field, and takes null for a tool without arguments.
        written.insert("parameters".into(), tool.parameters.clone().unwrap_or(Value::Null));
        Value::Object(written)
    };
    request.tools.iter().map(tool).collect()
}

/// The choice, also as an answer shows it.
pub(super) fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({ "type": "function", "name": name }),
    }
}

fn text(request: &Request) -> Option<Value> {
    let text = compact([
        ("format", (request.output != OutputForm::Text).then(|| format(&request.output))),
        ("verbosity", request.verbosity.as_deref().map(Value::from)),
    ]);
    (!text.is_empty()).then(|| text.into())
}

/// What the answer must be, also as an answer shows it.
pub(super) fn format(output: &OutputForm) -> Value {
    match output {
        OutputForm::Text => json!({ "type": "text" }),
        OutputForm::JsonObject => json!({ "type": "json_object" }),
        OutputForm::Schema { name, description, schema, strict } => Value::Object(compact([
            ("type", Some("json_schema".into())),
            ("name", Some(schema_name(name).into())),
            ("description", description.as_deref().map(Value::from)),
            ("schema", Some(schema.clone())),
            ("strict", strict.map(Value::from)),
        ])),
    }
}

fn reasoning(request: &Request) -> Option<Value> {
    let reasoning: Map<String, Value> = compact([
        ("effort", request.reasoning.as_effort().map(Value::from)),
        ("summary", request.reasoning.summary.as_deref().map(Value::from)),
    ]);
    (!reasoning.is_empty()).then(|| reasoning.into())
}
