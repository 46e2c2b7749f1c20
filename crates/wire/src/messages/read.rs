//! A request's body, read.

use serde_json::{Map, Value};

use crate::Format;
use crate::chat::stop_text;
use crate::error::WireError;
use crate::fields::{Fields, placed, wrong_kind};
use crate::request::{
    Delivery, Image, ImageSource, Message, OutputForm, Own, Part, PartKind, Reasoning, Request, Role,
    Sampling, Seal, Thinking, Tool, ToolChoice,
};

/// Reads a body. `max_tokens` may be missing, as it is where tokens are counted.
pub(crate) fn read_request(body: Value) -> Result<Request, WireError> {
    let mut fields = Fields::root(body)?;
    let model = fields.string("model")?.unwrap_or_default();
    let messages = messages(&mut fields)?;
    let tools = fields
        .array("tools")?
        .into_iter()
        .map(|(at, tool)| read_tool(&at, tool))
        .collect::<Result<_, _>>()?;
    let (tool_choice, parallel_calls) = tool_choice(&mut fields)?;
    let sampling = Sampling {
        temperature: fields.number("temperature", 0.0..=1.0)?,
        top_p: fields.number("top_p", 0.0..=1.0)?,
        top_k: fields.count("top_k")?,
        ..Sampling::default()
    };
    let stop = fields.array("stop_sequences")?.into_iter().map(|(at, item)| stop_text(&at, item));
    let stop = stop.collect::<Result<_, _>>()?;
    let max_tokens = fields.tokens("max_tokens")?;
    let (output, effort) = output_config(&mut fields)?;
    let thinking = thinking(&mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let user = match fields.object("metadata")? {
        None => None,
        Some(mut metadata) => {
            let user = metadata.string("user_id")?;
            metadata.end()?;
            user
        }
    };
    Ok(Request {
        model,
        messages,
        tools,
        tool_choice,
        parallel_calls,
        output,
        sampling,
        stop,
        max_tokens,
        reasoning: Reasoning { effort, thinking, summary: None },
        sealed: false,
        verbosity: None,
        delivery: if stream { Delivery::Stream } else { Delivery::Whole },
        user,
        metadata: Map::new(),
        own: Own { format: Format::Messages, fields: fields.rest() },
    })
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, WireError> {
    let mut messages = Vec::new();
    if let Some(system) = fields.take("system") {
        messages.push(Message::new(Role::System, parts("system", system)?));
    }
    let items = fields.array("messages")?;
    if items.is_empty() {
        return Err(WireError::malformed("messages", "messages must have at least one message"));
    }
    for (at, item) in items {
        messages.push(message(Fields::at(&at, item)?)?);
    }
    Ok(messages)
}

fn message(mut fields: Fields) -> Result<Message, WireError> {
    let role = match fields.required_string("role")?.as_str() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => {
            let param = fields.param("role");
            let message = format!("{param} must be \"user\", \"assistant\" or \"system\"");
            return Err(WireError::malformed(param, message));
        }
    };
    let content = fields.required("content")?;
    let at = fields.param("content");
    let parts = parts(&at, content)?;
    fields.end()?;
    let foreign = |part: &Part| match part.kind {
        PartKind::Call { .. } | PartKind::Reasoning { .. } => role != Role::Assistant,
        PartKind::Result { .. } => role != Role::User,
        _ => false,
    };
    match parts.iter().position(foreign) {
        None => Ok(Message::new(role, parts)),
        Some(i) => {
            let param = format!("{at}[{i}]");
            let message = format!("{param} is not what a message of this role can hold");
            Err(WireError::malformed(param, message))
        }
    }
}

fn parts(at: &str, content: Value) -> Result<Vec<Part>, WireError> {
    match content {
        Value::String(text) => Ok(vec![Part::text(text)]),
        Value::Array(items) => placed(at, items).into_iter().map(|(at, item)| part(&at, item)).collect(),
        other => Err(wrong_kind(at, "a string or an array of blocks", &other)),
    }
}

fn part(at: &str, item: Value) -> Result<Part, WireError> {
    let mut block = Fields::at(at, item)?;
    let kind = read_block(&mut block)?;
    let cache_control = block.take("cache_control");
    block.end()?;
    Ok(Part { kind, cache_control })
}

/// What a block of a message or an answer is.
pub(super) fn read_block(block: &mut Fields) -> Result<PartKind, WireError> {
    Ok(match block.required_string("type")?.as_str() {
        "text" => PartKind::Text(block.required_string("text")?),
        "image" => image(block)?,
        "tool_use" => call(block)?,
        "tool_result" => result(block)?,
        "thinking" => PartKind::Reasoning {
            text: block.required_string("thinking")?,
            // Garrison's own models sign nothing, which clients bring back as an empty signature.
            seal: block.string("signature")?.filter(|text| !text.is_empty()).map(Seal::Signature),
        },
        "redacted_thinking" => PartKind::Reasoning {
            text: String::new(),
            seal: Some(Seal::Redacted(block.required_string("data")?)),
        },
        _ => {
            let why = "is of a kind that cannot be carried: \"text\", \"image\", \"tool_use\", \"tool_result\", \
                       \"thinking\" and \"redacted_thinking\" can";
            return Err(WireError::unsupported(block.param("type"), why));
        }
    })
}

fn image(block: &mut Fields) -> Result<PartKind, WireError> {
    let mut source = block.required_object("source")?;
    let read = match source.required_string("type")?.as_str() {
        "base64" => ImageSource::Inline {
            media_type: source.required_string("media_type")?,
            data: source.required_string("data")?,
        },
        "url" => ImageSource::Url(source.required_string("url")?),
        _ => {
            let why = "is of a kind that cannot be carried: \"base64\" and \"url\" can";
            return Err(WireError::unsupported(source.param("type"), why));
        }
    };
    source.end()?;
    Ok(PartKind::Image(Image { source: read, detail: None }))
}

fn call(block: &mut Fields) -> Result<PartKind, WireError> {
    let id = block.required_string("id")?;
    let name = block.required_string("name")?;
    let arguments = match block.required("input")? {
        input @ Value::Object(_) => input.to_string(),
        other => return Err(wrong_kind(&block.param("input"), "an object", &other)),
    };
    // Who called is the model itself, unless it is a tool of Anthropic's.
    if let Some(mut caller) = block.object("caller")?
        && caller.string("type")?.is_some_and(|kind| kind != "direct")
    {
        return Err(WireError::unsupported(caller.param("type"), "other than \"direct\" cannot be carried"));
    }
    Ok(PartKind::Call { id, name, arguments })
}

fn result(block: &mut Fields) -> Result<PartKind, WireError> {
    let call = block.required_string("tool_use_id")?;
    let parts = match block.take("content") {
        None => Vec::new(),
        Some(content) => parts(&block.param("content"), content)?,
    };
    let inner = |part: &Part| matches!(part.kind, PartKind::Text(_) | PartKind::Image(_));
    if let Some(i) = parts.iter().position(|part| !inner(part)) {
        let param = format!("{}[{i}].type", block.param("content"));
        return Err(WireError::unsupported(
            param,
            "cannot stand in a tool's result: \"text\" and \"image\" can",
        ));
    }
    Ok(PartKind::Result { call, parts, is_error: block.flag("is_error")?.unwrap_or(false) })
}

fn read_tool(at: &str, tool: Value) -> Result<Tool, WireError> {
    let mut fields = Fields::at(at, tool)?;
    if fields.string("type")?.is_some_and(|kind| kind != "custom") {
        let why = "is a tool of Anthropic's own, which cannot be carried: only the client's (\"custom\") can";
        return Err(WireError::unsupported(fields.param("type"), why));
    }
    let tool = Tool {
        name: fields.required_string("name")?,
        description: fields.string("description")?,
        parameters: Some(fields.required("input_schema")?),
        strict: fields.flag("strict")?,
        cache_control: fields.take("cache_control"),
    };
    // How arguments are streamed is no matter of the answer.
    fields.skip(&["eager_input_streaming"]);
    fields.end()?;
    Ok(tool)
}

fn tool_choice(fields: &mut Fields) -> Result<(Option<ToolChoice>, Option<bool>), WireError> {
    let Some(mut choice) = fields.object("tool_choice")? else { return Ok((None, None)) };
    let read = match choice.required_string("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required_string("name")?),
        _ => {
            let param = choice.param("type");
            let message = format!("{param} must be \"auto\", \"any\", \"tool\" or \"none\"");
            return Err(WireError::malformed(param, message));
        }
    };
    let parallel = choice.flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
    choice.end()?;
    Ok((Some(read), parallel))
}

/// What the answer must be, and how much effort it is worth. `output_format` is the older name of the one.
fn output_config(fields: &mut Fields) -> Result<(OutputForm, Option<String>), WireError> {
    let older = fields.object("output_format")?;
    let (format, effort) = match fields.object("output_config")? {
        None => (older, None),
        Some(mut config) => {
            let (format, effort) = (config.object("format")?, config.string("effort")?);
            config.end()?;
            (format.or(older), effort)
        }
    };
    let Some(mut format) = format else { return Ok((OutputForm::Text, effort)) };
    if format.required_string("type")? != "json_schema" {
        let param = format.param("type");
        let message = format!("{param} must be \"json_schema\"");
        return Err(WireError::malformed(param, message));
    }
    let schema = format.required("schema")?;
    format.end()?;
    Ok((OutputForm::Schema { name: String::new(), description: None, schema, strict: None }, effort))
}

fn thinking(fields: &mut Fields) -> Result<Option<Thinking>, WireError> {
    let Some(mut thinking) = fields.object("thinking")? else { return Ok(None) };
    let read = match thinking.required_string("type")?.as_str() {
        "disabled" => Thinking::Disabled,
        "adaptive" => Thinking::Adaptive,
        "enabled" => match thinking.tokens("budget_tokens")? {
            Some(tokens) => Thinking::Budget(tokens),
            None => return Err(WireError::missing(thinking.param("budget_tokens"))),
        },
        _ => {
            let why = "is of a kind that cannot be carried: \"enabled\", \"adaptive\" and \"disabled\" can";
            return Err(WireError::unsupported(thinking.param("type"), why));
        }
    };
    // What is shown of it is no part of the answer.
    thinking.skip(&["display"]);
    thinking.end()?;
    Ok(Some(read))
}
