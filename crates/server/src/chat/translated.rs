//! A request of another dialect as the chat request that it is, and what a refusal of that means in the dialect.
//!
//! Anthropic's Messages and OpenAI's Responses say what Chat Completions say, so they take the same way: every check,
//! limit and judgement is written once. What is refused on it is named as the client named it.

use garrison_wire::{Message, Own, Part, PartKind, Reasoning, Request, Role};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::sse::Dialect;

/// vLLM's and OpenAI's fields for Chat that every dialect's clients may send besides.
const EXTRAS: [&str; 18] = [
    "min_p",
    "top_k",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stop",
    "min_tokens",
    "ignore_eos",
    "stop_token_ids",
    "include_stop_str_in_output",
    "skip_special_tokens",
    "add_generation_prompt",
    "chat_template_kwargs",
    "structured_outputs",
    "priority",
    "cache_salt",
];

/// The Responses' fields that need responses to be kept.
const KEPT: [&str; 5] = ["previous_response_id", "conversation", "store", "background", "prompt"];

/// Chat's fields with what Messages and Responses call them.
const WORDS: [(&str, &str, &str); 6] = [
    ("max_completion_tokens", "max_tokens", "max_output_tokens"),
    ("stop", "stop_sequences", "stop"),
    ("response_format.json_schema", "output_config.format", "text.format"),
    ("response_format", "output_config.format", "text.format"),
    ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use", "parallel_tool_calls"),
    ("reasoning_effort", "output_config.effort", "reasoning.effort"),
];

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is answered.
    Answer,
    /// Its tokens are counted.
    Count,
}

/// A request of a dialect.
pub(super) struct Translated {
    pub(super) dialect: Dialect,
    /// As it was asked, without fields of the dialect's own.
    pub(super) request: Request,
    /// The same as Chat has it.
    pub(super) chat: Value,
    names: Names,
}

/// Where messages are in the client's body.
struct Names {
    /// Of the messages there.
    list: &'static str,
    /// Of the first message, if it stands outside of the list.
    first: Option<&'static str>,
    /// What follows a message's place where its content is.
    content: &'static str,
    /// Whether the list is a text instead, of one message.
    is_text: bool,
}

impl Translated {
    /// Reads a body.
    pub(super) fn read(dialect: Dialect, body: Value, purpose: Purpose) -> Result<Translated, ApiError> {
        let names = Names::of(dialect, &body);
        let mut request = Request::parse(dialect, body)?;
        let extras = extras(dialect, &request.own)?;
        request.own = Own { format: Dialect::Chat, fields: extras };
        if purpose == Purpose::Answer {
            check_answerable(dialect, &request, &names)?;
        }
        // Clients send back what was thought. This server keeps no responses, so an id alone would be of no use to a provider.
        request.sealed |= dialect == Dialect::Responses && request.reasoning != Reasoning::default();
        let chat = request.to_json(Dialect::Chat, &request.model)?;
        Ok(Translated { dialect, request, chat, names })
    }

    /// Refuses images: models here read texts only.
    pub(super) fn check_texts(&self) -> Result<(), ApiError> {
        let is_image = |part: &Part| match &part.kind {
            PartKind::Image(_) => true,
            PartKind::Result { parts, .. } => {
                parts.iter().any(|part| matches!(part.kind, PartKind::Image(_)))
            }
            _ => false,
        };
        let holds_image = |message: &Message| message.parts.iter().any(is_image);
        match self.request.messages.iter().position(holds_image) {
            None => Ok(()),
            Some(index) => {
                let param = self.names.content(index);
                let message = format!("{param} holds an image; this server only takes text");
                Err(ApiError::unsupported(param, message))
            }
        }
    }

    /// A refusal on Chat's way, named as the client named the field.
    pub(super) fn in_its_words(&self, error: ApiError) -> ApiError {
        error.renamed(|param| self.word(param))
    }

    fn word(&self, param: &str) -> Option<String> {
        if param == "messages" {
            return Some(self.names.list.to_owned());
        }
        if let Some((index, field)) = param.strip_prefix("messages[").and_then(|rest| rest.split_once(']')) {
            let origins = self.request.chat_origins().ok()?;
            let origin = *origins.get(index.parse::<usize>().ok()?)?;
            // Parts are cut otherwise there.
            let is_content = field.starts_with(".content");
            return Some(if is_content { self.names.content(origin) } else { self.names.message(origin) });
        }
        if let Some((tool, field)) = param.split_once(".function.") {
            let field = if self.dialect == Dialect::Messages {
                field.replace("parameters", "input_schema")
            } else {
                field.to_owned()
            };
            return Some(format!("{tool}.{field}"));
        }
        let (chat, messages, responses) = WORDS.into_iter().find(|(chat, ..)| {
            param.strip_prefix(chat).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })?;
        let word = if self.dialect == Dialect::Messages { messages } else { responses };
        Some(format!("{word}{}", &param[chat.len()..]))
    }
}

impl Names {
    fn of(dialect: Dialect, body: &Value) -> Names {
        let first = |name: &'static str| body.get(name).is_some_and(|value| !value.is_null()).then_some(name);
        let (list, first, content) = match dialect {
            Dialect::Messages => ("messages", first("system"), ".content"),
            // Kinds of items differ in where theirs is.
            Dialect::Responses => ("input", first("instructions"), ""),
            Dialect::Chat => ("messages", None, ".content"),
        };
        Names { list, first, content, is_text: body.get(list).is_some_and(Value::is_string) }
    }

    fn message(&self, index: usize) -> String {
        match (self.first, index) {
            (Some(first), 0) => first.to_owned(),
            _ if self.is_text => self.list.to_owned(),
            (first, index) => format!("{}[{}]", self.list, index - usize::from(first.is_some())),
        }
    }

    fn content(&self, index: usize) -> String {
        match (self.first, index) {
            (Some(first), 0) => first.to_owned(),
            _ => format!("{}{}", self.message(index), self.content),
        }
    }
}

/// The fields of the dialect's own that are Chat's, too. Others are refused, unless they change nothing.
fn extras(dialect: Dialect, own: &Own) -> Result<Map<String, Value>, ApiError> {
    // Messages have their own field for stop strings.
    let is_extra = |name: &str| EXTRAS.contains(&name) && !(dialect == Dialect::Messages && name == "stop");
    if let Some(name) = own.demands().find(|name| KEPT.contains(name)) {
        let message = format!(
            "{name} is not supported: this server keeps no responses. Send the whole conversation as input, and leave \
             {name} out"
        );
        return Err(ApiError::unsupported(name, message));
    }
    if let Some(name) = own.demands().find(|name| !is_extra(name)) {
        let name: String = name.chars().take(64).collect();
        let message = format!("{name} is not supported by this server; leave it out");
        return Err(ApiError::unsupported(name, message));
    }
    let fields = own.fields.iter().filter(|(name, _)| is_extra(name));
    Ok(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// What Anthropic's API demands of a request, or does that this server does not.
fn check_answerable(dialect: Dialect, request: &Request, names: &Names) -> Result<(), ApiError> {
    if dialect != Dialect::Messages {
        return Ok(());
    }
    if request.max_tokens.is_none() {
        return Err(ApiError::bad_field("max_tokens", "max_tokens is missing"));
    }
    let last = request.messages.len().saturating_sub(1);
    if request.messages.last().is_some_and(|message| message.role == Role::Assistant) {
        let param = names.message(last);
        let message = format!(
            "{param} is the assistant's and the last: this server does not go on with a turn that has begun; end with \
             a turn of the user"
        );
        return Err(ApiError::unsupported(param, message));
    }
    Ok(())
}
