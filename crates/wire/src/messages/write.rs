//! A request's body, written.

use serde_json::{Value, json};

use crate::Format;
use crate::error::WireError;
use crate::fields::{arguments_object, compact};
use crate::request::{
    Delivery, ImageSource, Message, OutputForm, Part, PartKind, Request, Role, Seal, Thinking, Tool,
    ToolChoice,
};

/// Writes a body.
pub(crate) fn write_request(request: &Request, model: &str) -> Result<Value, WireError> {
    let sampling = &request.sampling;
    refuse_unsaid(request)?;
    let Some(max_tokens) = request.max_tokens else {
        let message = "max_tokens is missing, which Anthropic's Messages demand";
        return Err(WireError::malformed("max_tokens", message));
    };
    let (system, messages) = conversation(&request.messages)?;
    let tools = || request.tools.iter().map(tool).collect::<Value>();
    let mut body = compact([
        ("model", (!model.is_empty()).then(|| model.into())),
        ("max_tokens", Some(max_tokens.into())),
        ("system", system),
        ("messages", Some(messages.into())),
        ("tools", (!request.tools.is_empty()).then(tools)),
        ("tool_choice", tool_choice(request)),
        ("temperature", sampling.temperature.map(Value::from)),
        ("top_p", sampling.top_p.map(Value::from)),
        ("top_k", sampling.top_k.map(Value::from)),
        ("stop_sequences", (!request.stop.is_empty()).then(|| json!(request.stop))),
        ("output_config", output_config(request)?),
        ("thinking", thinking(request)),
        ("stream", (request.delivery != Delivery::Whole).then(|| true.into())),
        ("metadata", request.user.as_ref().map(|user| json!({ "user_id": user }))),
    ]);
    request.own.write(Format::Messages, &mut body)?;
    Ok(Value::Object(body))
}

/// What there is no word for.
fn refuse_unsaid(request: &Request) -> Result<(), WireError> {
    let sampling = &request.sampling;
    let is_asked = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    let unsaid = [
        ("frequency_penalty", is_asked(sampling.frequency_penalty)),
        ("presence_penalty", is_asked(sampling.presence_penalty)),
        ("seed", sampling.seed.is_some()),
        ("verbosity", request.verbosity.is_some()),
        ("response_format", request.output == OutputForm::JsonObject),
    ];
    match unsaid.iter().find(|(_, asked)| *asked) {
        Some((name, _)) => Err(WireError::cannot_carry(*name, Format::Messages)),
        None if sampling.temperature.is_some_and(|temperature| temperature > 1.0) => {
            Err(WireError::unsupported("temperature", "above 1 cannot be said in Anthropic's Messages"))
        }
        None => Ok(()),
    }
}

/// `system`, of the first messages, and the others, those of one role joined.
fn conversation(messages: &[Message]) -> Result<(Option<Value>, Vec<Value>), WireError> {
    let is_system = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
    let first = messages.iter().take_while(is_system).count();
    let mut blocks = Vec::new();
    for (i, message) in messages[..first].iter().enumerate() {
        write_parts(i, message, &mut blocks)?;
    }
    let system = (first > 0).then(|| content(blocks));
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for (i, message) in messages.iter().enumerate().skip(first) {
        let role = match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        if turns.last().is_none_or(|(last, _)| *last != role) {
            turns.push((role, Vec::new()));
        }
        if let Some((_, blocks)) = turns.last_mut() {
            write_parts(i, message, blocks)?;
        }
    }
    let turns = turns.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    Ok((system, turns.map(|(role, blocks)| json!({ "role": role, "content": content(blocks) })).collect()))
}

fn write_parts(at: usize, message: &Message, blocks: &mut Vec<Value>) -> Result<(), WireError> {
    if message.name.is_some() {
        return Err(WireError::cannot_carry(format!("messages[{at}].name"), Format::Messages));
    }
    for part in &message.parts {
        blocks.extend(block(at, part)?);
    }
    Ok(())
}

/// One text that carries nothing besides as a string, anything else as blocks.
fn content(mut blocks: Vec<Value>) -> Value {
    match blocks.as_mut_slice() {
        [Value::Object(block)] if block["type"] == "text" && block.len() == 2 => block["text"].take(),
        _ => blocks.into(),
    }
}

fn block(at: usize, part: &Part) -> Result<Option<Value>, WireError> {
    let block = match &part.kind {
        // Anthropic refuses texts of nothing, which say nothing.
        PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty() => return Ok(None),
        PartKind::Text(text) | PartKind::Refusal(text) => json!({ "type": "text", "text": text }),
        PartKind::Image(image) => {
            let source = match &image.source {
                ImageSource::Url(url) => json!({ "type": "url", "url": url }),
                ImageSource::Inline { media_type, data } => {
                    json!({ "type": "base64", "media_type": media_type, "data": data })
                }
            };
            json!({ "type": "image", "source": source })
        }
        PartKind::Call { id, name, arguments } => {
            let input = arguments_object(&format!("messages[{at}].tool_calls"), arguments)?;
            json!({ "type": "tool_use", "id": id, "name": name, "input": input })
        }
        PartKind::Result { call, parts, is_error } => {
            let mut inner = Vec::with_capacity(parts.len());
            for part in parts {
                inner.extend(self::block(at, part)?);
            }
            let mut result = compact([
                ("type", Some("tool_result".into())),
                ("tool_use_id", Some(call.as_str().into())),
                ("content", (!inner.is_empty()).then(|| content(inner))),
            ]);
            if *is_error {
                result.insert("is_error".into(), true.into());
            }
            Value::Object(result)
        }
        PartKind::Reasoning { text, seal } => match seal {
            Some(Seal::Signature(signature)) => {
                json!({ "type": "thinking", "thinking": text, "signature": signature })
            }
            Some(Seal::Redacted(data)) => json!({ "type": "redacted_thinking", "data": data }),
            Some(Seal::Item { .. }) | None => return Ok(None),
        },
    };
    Ok(Some(cached(block, part.cache_control.as_ref())))
}

fn cached(mut block: Value, cache_control: Option<&Value>) -> Value {
    if let (Some(wish), Some(block)) = (cache_control, block.as_object_mut()) {
        block.insert("cache_control".into(), wish.clone());
    }
    block
}

fn tool(tool: &Tool) -> Value {
    let no_arguments = || json!({ "type": "object", "properties": {} });
    let written = compact([
        ("name", Some(tool.name.as_str().into())),
        ("description", tool.description.as_deref().map(Value::from)),
        ("input_schema", Some(tool.parameters.clone().unwrap_or_else(no_arguments))),
        ("strict", tool.strict.map(Value::from)),
    ]);
    cached(Value::Object(written), tool.cache_control.as_ref())
}

fn tool_choice(request: &Request) -> Option<Value> {
    // Without tools there is nothing to choose from, and Anthropic says so.
    if request.tools.is_empty() {
        return None;
    }
    let auto = request.parallel_calls.map(|_| &ToolChoice::Auto);
    let choice = match request.tool_choice.as_ref().or(auto)? {
        ToolChoice::Auto => json!({ "type": "auto" }),
        ToolChoice::None => return Some(json!({ "type": "none" })),
        ToolChoice::Required => json!({ "type": "any" }),
        ToolChoice::Named(name) => json!({ "type": "tool", "name": name }),
    };
    let mut choice = choice;
    if let (Some(parallel), Some(choice)) = (request.parallel_calls, choice.as_object_mut()) {
        choice.insert("disable_parallel_tool_use".into(), (!parallel).into());
    }
    Some(choice)
}

fn output_config(request: &Request) -> Result<Option<Value>, WireError> {
    let format = match &request.output {
        OutputForm::Text => None,
        OutputForm::JsonObject => return Err(WireError::cannot_carry("response_format", Format::Messages)),
        OutputForm::Schema { schema, .. } => Some(json!({ "type": "json_schema", "schema": schema })),
    };
    let effort = match request.reasoning.effort.as_deref() {
        Some("minimal") => Some("low"),
        // Said by `thinking`.
        Some("none") | None => None,
        Some(effort) => Some(effort),
    };
    let config = compact([("effort", effort.map(Value::from)), ("format", format)]);
    Ok((!config.is_empty()).then(|| config.into()))
}

fn thinking(request: &Request) -> Option<Value> {
    match (request.reasoning.thinking, request.reasoning.effort.as_deref()) {
        (Some(Thinking::Disabled), _) | (None, Some("none")) => Some(json!({ "type": "disabled" })),
        (Some(Thinking::Adaptive), _) => Some(json!({ "type": "adaptive" })),
        (Some(Thinking::Budget(tokens)), _) => Some(json!({ "type": "enabled", "budget_tokens": tokens })),
        (None, _) => None,
    }
}
