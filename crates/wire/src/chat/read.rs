//! A request's body, read.

use serde_json::Value;

use crate::Format;
use crate::error::WireError;
use crate::fields::{Fields, asks_for_nothing, placed, wrong_kind};
use crate::request::{
    Delivery, Image, ImageSource, Message, OutputForm, Own, Part, PartKind, Reasoning, Request, Role,
    Sampling, Tool, ToolChoice,
};

/// Fields that ask for an answer that is more than the neutral one.
const REFUSED: [&str; 9] = [
    "functions",
    "function_call",
    "audio",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "return_token_ids",
    "web_search_options",
    "echo",
];

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
    let output = response_format(&mut fields)?;
    let sampling = Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?,
        top_p: fields.number("top_p", 0.0..=1.0)?,
        top_k: fields.count("top_k")?,
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
        seed: fields.integer("seed")?,
    };
    let stop = stop(&mut fields)?;
    let older = fields.tokens("max_tokens")?;
    let max_tokens = fields.tokens("max_completion_tokens")?.or(older);
    let effort = fields.string("reasoning_effort")?;
    let verbosity = fields.string("verbosity")?;
    let delivery = delivery(&mut fields)?;
    let user = fields.string("user")?;
    let metadata = fields.map("metadata")?;
    if fields.count("n")?.is_some_and(|n| n != 1) {
        return Err(WireError::unsupported("n", "other than 1 cannot be carried"));
    }
    modalities(&mut fields)?;
    for name in REFUSED {
        if fields.take(name).is_some_and(|value| !asks_for_nothing(&value)) {
            return Err(WireError::unsupported(name, "cannot be carried"));
        }
    }
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
        reasoning: Reasoning { effort, ..Reasoning::default() },
        sealed: false,
        verbosity,
        delivery,
        user,
        metadata,
        own: Own { format: Format::Chat, fields: fields.rest() },
    })
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, WireError> {
    let items = fields.array("messages")?;
    if items.is_empty() {
        return Err(WireError::malformed("messages", "messages must have at least one message"));
    }
    items.into_iter().map(|(at, item)| message(Fields::at(&at, item)?)).collect()
}

fn message(mut fields: Fields) -> Result<Message, WireError> {
    let role = fields.required_string("role")?;
    let role = match role.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => return assistant(fields),
        "tool" => return tool_result(fields),
        _ => {
            let param = fields.param("role");
            let message =
                format!("{param} must be \"system\", \"developer\", \"user\", \"assistant\" or \"tool\"");
            return Err(WireError::malformed(param, message));
        }
    };
    let content = fields.required("content")?;
    let parts = parts(&fields.param("content"), content)?;
    let name = fields.string("name")?;
    fields.end()?;
    Ok(Message { role, parts, name })
}

fn tool_result(mut fields: Fields) -> Result<Message, WireError> {
    let call = fields.required_string("tool_call_id")?;
    let content = fields.required("content")?;
    let parts = parts(&fields.param("content"), content)?;
    fields.skip(&["name"]);
    fields.end()?;
    Ok(Message::new(Role::User, vec![Part::new(PartKind::Result { call, parts, is_error: false })]))
}

fn assistant(mut fields: Fields) -> Result<Message, WireError> {
    let mut said = Vec::new();
    let reasoning = match fields.string("reasoning_content")? {
        Some(text) => Some(text),
        None => fields.string("reasoning")?,
    };
    if let Some(text) = reasoning.filter(|text| !text.is_empty()) {
        said.push(Part::new(PartKind::Reasoning { text, seal: None }));
    }
    if let Some(content) = fields.take("content").filter(|content| content.as_str() != Some("")) {
        said.extend(parts(&fields.param("content"), content)?);
    }
    if let Some(text) = fields.string("refusal")? {
        said.push(Part::new(PartKind::Refusal(text)));
    }
    for (at, call) in fields.array("tool_calls")? {
        let mut call = Fields::at(&at, call)?;
        let (kind, function) = read_call(&mut call)?;
        function.end()?;
        call.skip(&["index"]);
        call.end()?;
        said.push(Part::new(kind));
    }
    let name = fields.string("name")?;
    fields.skip(&["audio", "annotations"]);
    fields.end()?;
    Ok(Message { role: Role::Assistant, parts: said, name })
}

/// A call in a message or an answer, and what is left of its function.
pub(super) fn read_call(call: &mut Fields) -> Result<(PartKind, Fields), WireError> {
    if call.string("type")?.is_some_and(|kind| kind != "function") {
        return Err(WireError::unsupported(call.param("type"), "other than \"function\" cannot be carried"));
    }
    let id = call.string("id")?.unwrap_or_default();
    let mut function = call.required_object("function")?;
    let name = function.required_string("name")?;
    let arguments = match function.take("arguments") {
        None => String::new(),
        Some(Value::String(text)) => text,
        // Some servers send the object itself.
        Some(object @ Value::Object(_)) => object.to_string(),
        Some(other) => return Err(wrong_kind(&function.param("arguments"), "a string", &other)),
    };
    Ok((PartKind::Call { id, name, arguments }, function))
}

fn parts(at: &str, content: Value) -> Result<Vec<Part>, WireError> {
    match content {
        Value::String(text) => Ok(vec![Part::text(text)]),
        Value::Array(items) => placed(at, items).into_iter().map(|(at, item)| part(&at, item)).collect(),
        other => Err(wrong_kind(at, "a string or an array of parts", &other)),
    }
}

fn part(at: &str, item: Value) -> Result<Part, WireError> {
    let mut fields = Fields::at(at, item)?;
    let kind = match fields.required_string("type")?.as_str() {
        "text" => PartKind::Text(fields.required_string("text")?),
        "refusal" => PartKind::Refusal(fields.required_string("refusal")?),
        "image_url" => {
            let mut image = fields.required_object("image_url")?;
            let source = image_source(image.required_string("url")?);
            let detail = image.string("detail")?;
            image.end()?;
            PartKind::Image(Image { source, detail })
        }
        _ => {
            let why = "is of a kind that cannot be carried: only \"text\" and \"image_url\" can";
            return Err(WireError::unsupported(fields.param("type"), why));
        }
    };
    // OpenRouter and LiteLLM take Anthropic's here.
    let cache_control = fields.take("cache_control");
    fields.end()?;
    Ok(Part { kind, cache_control })
}

/// A picture's address, which may hold the picture.
pub(crate) fn image_source(url: String) -> ImageSource {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((media_type, data)) => {
            ImageSource::Inline { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        None => ImageSource::Url(url),
    }
}

fn read_tool(at: &str, tool: Value) -> Result<Tool, WireError> {
    let mut fields = Fields::at(at, tool)?;
    if fields.required_string("type")? != "function" {
        let why = "is of a kind that cannot be carried: only \"function\" can";
        return Err(WireError::unsupported(fields.param("type"), why));
    }
    let mut function = fields.required_object("function")?;
    let cache_control = fields.take("cache_control");
    fields.end()?;
    let tool = Tool {
        name: function.required_string("name")?,
        description: function.string("description")?,
        parameters: function.take("parameters"),
        strict: function.flag("strict")?,
        cache_control,
    };
    function.end()?;
    Ok(tool)
}

fn tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>, WireError> {
    const WANTED: &str =
        "\"auto\", \"none\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": …}}";
    let Some(choice) = fields.take("tool_choice") else { return Ok(None) };
    match &choice {
        Value::String(word) => match word.as_str() {
            "auto" => return Ok(Some(ToolChoice::Auto)),
            "none" => return Ok(Some(ToolChoice::None)),
            "required" => return Ok(Some(ToolChoice::Required)),
            _ => {}
        },
        Value::Object(_) if choice["type"] == "function" => {
            if let Some(name) = choice["function"]["name"].as_str() {
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

fn response_format(fields: &mut Fields) -> Result<OutputForm, WireError> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(OutputForm::Text) };
    let form = match format.required_string("type")?.as_str() {
        "text" => OutputForm::Text,
        "json_object" => OutputForm::JsonObject,
        "json_schema" => {
            let mut inner = format.required_object("json_schema")?;
            let form = OutputForm::Schema {
                name: inner.required_string("name")?,
                description: inner.string("description")?,
                schema: inner.required("schema")?,
                strict: inner.flag("strict")?,
            };
            inner.end()?;
            form
        }
        _ => {
            let param = format.param("type");
            let message = format!("{param} must be \"text\", \"json_object\" or \"json_schema\"");
            return Err(WireError::malformed(param, message));
        }
    };
    format.end()?;
    Ok(form)
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, WireError> {
    match fields.take("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(items)) => {
            placed("stop", items).into_iter().map(|(at, item)| stop_text(&at, item)).collect()
        }
        Some(other) => Err(wrong_kind("stop", "a string or an array of strings", &other)),
    }
}

/// One of an array of stop strings.
pub(crate) fn stop_text(at: &str, item: Value) -> Result<String, WireError> {
    match item {
        Value::String(text) => Ok(text),
        other => Err(wrong_kind(at, "a string", &other)),
    }
}

fn delivery(fields: &mut Fields) -> Result<Delivery, WireError> {
    let stream = fields.flag("stream")?.unwrap_or(false);
    let Some(mut options) = fields.object("stream_options")? else {
        return Ok(if stream { Delivery::Stream } else { Delivery::Whole });
    };
    if !stream {
        return Err(WireError::malformed("stream_options", "stream_options needs \"stream\": true"));
    }
    let usage = options.flag("include_usage")?.unwrap_or(false);
    // Padding against eavesdroppers, which whoever writes the stream decides.
    options.skip(&["include_obfuscation"]);
    options.end()?;
    Ok(if usage { Delivery::StreamWithUsage } else { Delivery::Stream })
}

fn modalities(fields: &mut Fields) -> Result<(), WireError> {
    if fields.array("modalities")?.iter().all(|(_, modality)| modality.as_str() == Some("text")) {
        return Ok(());
    }
    Err(WireError::unsupported("modalities", "other than \"text\" cannot be carried"))
}
