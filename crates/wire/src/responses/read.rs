//! A request's body, read.

use serde_json::Value;

use super::SEALED;
use crate::Format;
use crate::chat::image_source;
use crate::error::WireError;
use crate::fields::{Fields, placed, wrong_kind};
use crate::request::{
    Delivery, Image, Message, OutputForm, Own, Part, PartKind, Reasoning, Request, Role, Sampling, Seal,
    Tool, ToolChoice,
};

/// Reads a body.
pub(crate) fn read_request(body: Value) -> Result<Request, WireError> {
    let mut fields = Fields::root(body)?;
    let model = fields.string("model")?.unwrap_or_default();
    let messages = messages(&mut fields)?;
    let tools = fields
        .array("tools")?
        .into_iter()
        .map(|(at, tool)| read_tool(&at, tool))
        .collect::<Result<_, _>>()?;
    let tool_choice = tool_choice(&mut fields)?;
    let parallel_calls = fields.flag("parallel_tool_calls")?;
    let (output, verbosity) = text(&mut fields)?;
    let sampling = Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?,
        top_p: fields.number("top_p", 0.0..=1.0)?,
        ..Sampling::default()
    };
    let max_tokens = fields.tokens("max_output_tokens")?;
    let reasoning = reasoning(&mut fields)?;
    let is_sealed = |include: &Value| {
        include.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(|item| item == SEALED))
    };
    let sealed = fields.take_if("include", is_sealed).is_some();
    let delivery = if fields.flag("stream")?.unwrap_or(false) { Delivery::Stream } else { Delivery::Whole };
    if let Some(mut options) = fields.object("stream_options")? {
        options.skip(&["include_obfuscation"]);
        options.end()?;
    }
    let user = fields.string("user")?;
    let metadata = fields.map("metadata")?;
    if fields.count("top_logprobs")?.is_some_and(|top| top > 0) {
        return Err(WireError::unsupported("top_logprobs", "cannot be carried"));
    }
    Ok(Request {
        model,
        messages,
        tools,
        tool_choice,
        parallel_calls,
        output,
        sampling,
        stop: Vec::new(),
        max_tokens,
        reasoning,
        sealed,
        verbosity,
        delivery,
        user,
        metadata,
        own: Own { format: Format::Responses, fields: fields.rest() },
    })
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, WireError> {
    let instructions = fields.string("instructions")?;
    let mut messages: Vec<Message> =
        instructions.into_iter().map(|text| Message::text(Role::System, text)).collect();
    match fields.take("input") {
        None => return Err(WireError::missing("input")),
        Some(Value::String(text)) => messages.push(Message::text(Role::User, text)),
        Some(Value::Array(items)) => {
            for (at, item) in placed("input", items) {
                messages.push(item_message(Fields::at(&at, item)?)?);
            }
        }
        Some(other) => return Err(wrong_kind("input", "a string or an array of items", &other)),
    }
    if messages.is_empty() {
        return Err(WireError::malformed("input", "input must have at least one item"));
    }
    Ok(messages)
}

fn item_message(mut item: Fields) -> Result<Message, WireError> {
    let kind = item.string("type")?;
    item.skip(&["status"]);
    let message = match kind.as_deref() {
        None | Some("message") => message(&mut item)?,
        Some("function_call") => {
            item.skip(&["id"]);
            Message::new(Role::Assistant, vec![Part::new(read_call(&mut item)?)])
        }
        Some("function_call_output") => {
            item.skip(&["id"]);
            let call = item.required_string("call_id")?;
            let output = item.required("output")?;
            let parts = parts(&item.param("output"), output)?;
            Message::new(Role::User, vec![Part::new(PartKind::Result { call, parts, is_error: false })])
        }
        Some("reasoning") => Message::new(Role::Assistant, vec![Part::new(read_reasoning(&mut item)?)]),
        Some(_) => {
            let why = "is of a kind that cannot be carried: \"message\", \"function_call\", \
                       \"function_call_output\" and \"reasoning\" can";
            return Err(WireError::unsupported(item.param("type"), why));
        }
    };
    item.end()?;
    Ok(message)
}

fn message(item: &mut Fields) -> Result<Message, WireError> {
    let role = match item.required_string("role")?.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => {
            let param = item.param("role");
            let message = format!("{param} must be \"user\", \"assistant\", \"system\" or \"developer\"");
            return Err(WireError::malformed(param, message));
        }
    };
    let content = item.required("content")?;
    let parts = parts(&item.param("content"), content)?;
    item.skip(&["id", "phase"]);
    Ok(Message::new(role, parts))
}

fn parts(at: &str, content: Value) -> Result<Vec<Part>, WireError> {
    match content {
        Value::String(text) => Ok(vec![Part::text(text)]),
        Value::Array(items) => placed(at, items)
            .into_iter()
            .map(|(at, item)| {
                let mut fields = Fields::at(&at, item)?;
                let kind = read_content(&mut fields)?;
                fields.end()?;
                Ok(Part::new(kind))
            })
            .collect(),
        other => Err(wrong_kind(at, "a string or an array of parts", &other)),
    }
}

/// A part of a message in the input or output.
pub(super) fn read_content(part: &mut Fields) -> Result<PartKind, WireError> {
    Ok(match part.required_string("type")?.as_str() {
        "input_text" | "output_text" => {
            part.skip(&["logprobs"]);
            PartKind::Text(part.required_string("text")?)
        }
        "refusal" => PartKind::Refusal(part.required_string("refusal")?),
        "input_image" => {
            let source = image_source(part.required_string("image_url")?);
            PartKind::Image(Image { source, detail: part.string("detail")? })
        }
        _ => {
            let why = "is of a kind that cannot be carried: \"input_text\", \"output_text\", \"refusal\" and \
                       \"input_image\" can";
            return Err(WireError::unsupported(part.param("type"), why));
        }
    })
}

/// A call in the input or output.
pub(super) fn read_call(item: &mut Fields) -> Result<PartKind, WireError> {
    Ok(PartKind::Call {
        id: item.required_string("call_id")?,
        name: item.required_string("name")?,
        arguments: item.string("arguments")?.unwrap_or_default(),
    })
}

/// A reasoning item in the input or output. What open models think is its `content`, what others do its `summary`.
pub(super) fn read_reasoning(item: &mut Fields) -> Result<PartKind, WireError> {
    let mut texts = Vec::new();
    for name in ["summary", "content"] {
        for (at, part) in item.array(name)? {
            texts.push(Fields::at(&at, part)?.required_string("text")?);
        }
    }
    let encrypted = item.string("encrypted_content")?;
    let id = item.string("id")?.filter(|id| !id.is_empty());
    Ok(PartKind::Reasoning { text: texts.join("\n\n"), seal: id.map(|id| Seal::Item { id, encrypted }) })
}

fn read_tool(at: &str, tool: Value) -> Result<Tool, WireError> {
    let mut fields = Fields::at(at, tool)?;
    if fields.required_string("type")? != "function" {
        let why = "is of a kind that cannot be carried: only \"function\" can";
        return Err(WireError::unsupported(fields.param("type"), why));
    }
    let tool = Tool {
        name: fields.required_string("name")?,
        description: fields.string("description")?,
        parameters: fields.take("parameters"),
        strict: fields.flag("strict")?,
        cache_control: None,
    };
    fields.end()?;
    Ok(tool)
}

fn tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>, WireError> {
    const WANTED: &str = "\"auto\", \"none\", \"required\" or {\"type\": \"function\", \"name\": …}";
    let Some(choice) = fields.take("tool_choice") else { return Ok(None) };
    match &choice {
        Value::String(word) => match word.as_str() {
            "auto" => return Ok(Some(ToolChoice::Auto)),
            "none" => return Ok(Some(ToolChoice::None)),
            "required" => return Ok(Some(ToolChoice::Required)),
            _ => {}
        },
        Value::Object(_) if choice["type"] == "function" => {
            if let Some(name) = choice["name"].as_str() {
                return Ok(Some(ToolChoice::Named(name.to_owned())));
            }
        }
        Value::Object(_) => {
            let why = "is of a kind that cannot be carried: only \"function\" can";
            return Err(WireError::unsupported("tool_choice.type", why));
        }
        other => return Err(wrong_kind("tool_choice", WANTED, other)),
    }
    Err(WireError::malformed("tool_choice", format!("tool_choice must be {WANTED}")))
}

/// What the answer must be, and how long-winded.
fn text(fields: &mut Fields) -> Result<(OutputForm, Option<String>), WireError> {
    let Some(mut text) = fields.object("text")? else { return Ok((OutputForm::Text, None)) };
    let verbosity = text.string("verbosity")?;
    let form = match text.object("format")? {
        None => OutputForm::Text,
        Some(format) => output_form(format)?,
    };
    text.end()?;
    Ok((form, verbosity))
}

fn output_form(mut format: Fields) -> Result<OutputForm, WireError> {
    let form = match format.required_string("type")?.as_str() {
        "text" => OutputForm::Text,
        "json_object" => OutputForm::JsonObject,
        "json_schema" => OutputForm::Schema {
            name: format.required_string("name")?,
            description: format.string("description")?,
            schema: format.required("schema")?,
            strict: format.flag("strict")?,
        },
        _ => {
            let param = format.param("type");
            let message = format!("{param} must be \"text\", \"json_object\" or \"json_schema\"");
            return Err(WireError::malformed(param, message));
        }
    };
    format.end()?;
    Ok(form)
}

fn reasoning(fields: &mut Fields) -> Result<Reasoning, WireError> {
    let Some(mut reasoning) = fields.object("reasoning")? else { return Ok(Reasoning::default()) };
    let older = reasoning.string("generate_summary")?;
    let read = Reasoning {
        effort: reasoning.string("effort")?,
        thinking: None,
        summary: reasoning.string("summary")?.or(older),
    };
    reasoning.end()?;
    Ok(read)
}
