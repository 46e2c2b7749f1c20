//! A request's body, written.

use serde_json::{Map, Value, json};

use crate::Format;
use crate::error::WireError;
use crate::fields::compact;
use crate::request::{
    Delivery, Image, ImageSource, Message, OutputForm, Part, PartKind, Request, Role, Tool, ToolChoice,
};

/// Writes a body.
pub(crate) fn write_request(request: &Request, model: &str) -> Result<Value, WireError> {
    let sampling = &request.sampling;
    let messages: Vec<Value> =
        write_messages(&request.messages)?.into_iter().map(|(_, message)| message).collect();
    let tools = || request.tools.iter().map(tool).collect::<Value>();
    let mut body = compact([
        ("model", (!model.is_empty()).then(|| model.into())),
        ("messages", Some(messages.into())),
        ("tools", (!request.tools.is_empty()).then(tools)),
        ("tool_choice", request.tool_choice.as_ref().map(tool_choice)),
        ("parallel_tool_calls", request.parallel_calls.map(Value::from)),
        ("response_format", response_format(&request.output)),
        ("temperature", sampling.temperature.map(Value::from)),
        ("top_p", sampling.top_p.map(Value::from)),
        ("top_k", sampling.top_k.map(Value::from)),
        ("frequency_penalty", sampling.frequency_penalty.map(Value::from)),
        ("presence_penalty", sampling.presence_penalty.map(Value::from)),
        ("seed", sampling.seed.map(Value::from)),
        ("stop", (!request.stop.is_empty()).then(|| json!(request.stop))),
        ("max_completion_tokens", request.max_tokens.map(Value::from)),
        ("reasoning_effort", request.reasoning.as_effort().map(Value::from)),
        ("verbosity", request.verbosity.as_deref().map(Value::from)),
        ("user", request.user.as_deref().map(Value::from)),
        ("metadata", (!request.metadata.is_empty()).then(|| request.metadata.clone().into())),
    ]);
    match request.delivery {
        Delivery::Whole => {}
        Delivery::Stream => {
            body.insert("stream".into(), true.into());
        }
        Delivery::StreamWithUsage => {
            body.insert("stream".into(), true.into());
            body.insert("stream_options".into(), json!({ "include_usage": true }));
        }
    }
    request.own.write(Format::Chat, &mut body)?;
    Ok(Value::Object(body))
}

/// The messages, each with the number of the neutral one that it begins with. An assistant's turn that came in
/// several items, as the Responses have it, is one message.
pub(crate) fn write_messages(messages: &[Message]) -> Result<Vec<(usize, Value)>, WireError> {
    let mut out: Vec<(usize, Value)> = Vec::with_capacity(messages.len());
    let mut at = 0;
    while let Some(message) = messages.get(at) {
        if message.role != Role::Assistant {
            for value in spoken(at, message)? {
                out.push((at, value));
            }
            at += 1;
            continue;
        }
        let turn = turn_length(&messages[at..]);
        let parts = messages[at..at + turn].iter().flat_map(|message| &message.parts);
        out.push((at, assistant(at, parts, message.name.as_deref())?));
        at += turn;
    }
    Ok(out)
}

/// How many messages are one turn of the assistant: what was thought goes with what follows, and calls with what
/// they follow.
fn turn_length(messages: &[Message]) -> usize {
    let only = |message: &Message, is: fn(&PartKind) -> bool| {
        !message.parts.is_empty() && message.parts.iter().all(|part| is(&part.kind))
    };
    let thought = |message: &Message| only(message, |kind| matches!(kind, PartKind::Reasoning { .. }));
    let calls = |message: &Message| only(message, |kind| matches!(kind, PartKind::Call { .. }));
    let mut length = 1;
    while let (Some(last), Some(next)) = (messages.get(length - 1), messages.get(length))
        && next.role == Role::Assistant
        && next.name == last.name
        && (thought(last) || calls(next))
    {
        length += 1;
    }
    length
}

/// What anyone but the assistant says: what tools gave back are messages of their own, and come first.
fn spoken(at: usize, message: &Message) -> Result<Vec<Value>, WireError> {
    let (mut out, mut said) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match &part.kind {
            PartKind::Result { call, parts, is_error: _ } => {
                if parts.iter().any(|part| !matches!(part.kind, PartKind::Text(_))) {
                    let param = format!("messages[{at}].content");
                    return Err(WireError::unsupported(
                        param,
                        "holds a tool's result with an image, which Chat Completions cannot carry",
                    ));
                }
                let content = content(parts.iter());
                out.push(json!({ "role": "tool", "tool_call_id": call, "content": content }));
            }
            _ => said.push(part),
        }
    }
    if !said.is_empty() || out.is_empty() {
        let role = match message.role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User | Role::Assistant => "user",
        };
        let mut written =
            compact([("role", Some(role.into())), ("content", Some(content(said.into_iter())))]);
        if let Some(name) = &message.name {
            written.insert("name".into(), name.as_str().into());
        }
        out.push(Value::Object(written));
    }
    Ok(out)
}

fn assistant<'a>(
    at: usize,
    parts: impl Iterator<Item = &'a Part>,
    name: Option<&str>,
) -> Result<Value, WireError> {
    let (mut thought, mut said, mut refusal, mut calls) =
        (String::new(), Vec::new(), String::new(), Vec::new());
    for part in parts {
        match &part.kind {
            PartKind::Text(_) | PartKind::Image(_) => said.push(part),
            PartKind::Reasoning { text, .. } => thought.push_str(text),
            PartKind::Refusal(text) => refusal.push_str(text),
            PartKind::Call { id, name, arguments } => calls.push(call(id, name, arguments)),
            PartKind::Result { .. } => {
                let param = format!("messages[{at}].content");
                return Err(WireError::malformed(param, "a tool's result is said by the user"));
            }
        }
    }
    let text = |text: String| (!text.is_empty()).then(|| text.into());
    let said = (!said.is_empty()).then(|| content(said.into_iter()));
    let said = said.or_else(|| (calls.is_empty() && refusal.is_empty()).then(|| "".into()));
    Ok(Value::Object(compact([
        ("role", Some("assistant".into())),
        ("reasoning_content", text(thought)),
        ("content", said),
        ("refusal", text(refusal)),
        ("tool_calls", (!calls.is_empty()).then(|| calls.into())),
        ("name", name.map(Value::from)),
    ])))
}

/// A call in a message or an answer.
pub(super) fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

/// One text as a string, anything else as parts.
fn content<'a>(parts: impl Iterator<Item = &'a Part>) -> Value {
    let parts: Vec<&Part> = parts.collect();
    match parts.as_slice() {
        [] => "".into(),
        [Part { kind: PartKind::Text(text), .. }] => text.as_str().into(),
        parts => parts.iter().filter_map(|part| content_part(&part.kind)).collect(),
    }
}

fn content_part(kind: &PartKind) -> Option<Value> {
    match kind {
        PartKind::Text(text) => Some(json!({ "type": "text", "text": text })),
        PartKind::Image(image) => {
            let inner = compact([
                ("url", Some(image_url(image).into())),
                ("detail", image.detail.as_deref().map(Value::from)),
            ]);
            Some(json!({ "type": "image_url", "image_url": inner }))
        }
        PartKind::Refusal(text) => Some(json!({ "type": "refusal", "refusal": text })),
        // Said elsewhere in a message.
        PartKind::Call { .. } | PartKind::Result { .. } | PartKind::Reasoning { .. } => None,
    }
}

/// A picture's address, which may hold the picture.
pub(crate) fn image_url(image: &Image) -> String {
    match &image.source {
        ImageSource::Url(url) => url.clone(),
        ImageSource::Inline { media_type, data } => format!("data:{media_type};base64,{data}"),
    }
}

fn tool(tool: &Tool) -> Value {
    let function = compact([
        ("name", Some(tool.name.as_str().into())),
        ("description", tool.description.as_deref().map(Value::from)),
        ("parameters", tool.parameters.clone()),
        ("strict", tool.strict.map(Value::from)),
    ]);
    json!({ "type": "function", "function": function })
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({ "type": "function", "function": { "name": name } }),
    }
}

fn response_format(output: &OutputForm) -> Option<Value> {
    match output {
        OutputForm::Text => None,
        OutputForm::JsonObject => Some(json!({ "type": "json_object" })),
        OutputForm::Schema { name, description, schema, strict } => {
            let inner: Map<String, Value> = compact([
                ("name", Some(schema_name(name).into())),
                ("description", description.as_deref().map(Value::from)),
                ("schema", Some(schema.clone())),
                ("strict", strict.map(Value::from)),
            ]);
            Some(json!({ "type": "json_schema", "json_schema": inner }))
        }
    }
}

/// OpenAI wants a name, which Anthropic has none of.
pub(crate) fn schema_name(name: &str) -> &str {
    if name.is_empty() { "answer" } else { name }
}
