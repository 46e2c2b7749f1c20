//! What a template renders: a conversation and what goes with it.

use serde_json::{Map, Value, json};

/// A conversation to be written as one prompt.
///
/// All its strings are a client's, except the two special tokens and the well-known roles: none of
/// them becomes a control token, wherever the template puts it.
#[derive(Clone, Debug, Default)]
pub struct ChatInput {
    /// The turns, oldest first.
    pub messages: Vec<ChatMessage>,
    /// Tools in OpenAI's shape, if any.
    pub tools: Option<Value>,
    /// Whether the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// Further variables (`chat_template_kwargs`), such as `enable_thinking`. They cannot replace
    /// `messages`, `tools`, `add_generation_prompt` or the special tokens.
    pub kwargs: Map<String, Value>,
    /// The text of the token that begins a text; empty if there is none.
    pub bos_token: String,
    /// The text of the token that ends a text; empty if there is none.
    pub eos_token: String,
}

/// One turn. Templates see the fields that are there, under OpenAI's names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, `tool`, …
    pub role: String,
    /// The text; templates see `""` where there is none, since most of them search in it.
    pub content: Option<String>,
    /// The speaker's or the tool's name.
    pub name: Option<String>,
    /// Calls in OpenAI's shape, with `function.arguments` as an object, which templates expect.
    pub tool_calls: Option<Value>,
    /// Which call a tool's answer belongs to.
    pub tool_call_id: Option<String>,
    /// The thinking before the answer; `reasoning_content` in templates.
    pub reasoning: Option<String>,
}

impl ChatMessage {
    /// A turn of nothing but text.
    pub fn text(role: impl Into<String>, content: impl Into<String>) -> ChatMessage {
        ChatMessage { role: role.into(), content: Some(content.into()), ..ChatMessage::default() }
    }
}

/// Roles that are part of a template's markup (`<|user|>`, built from pieces in some templates)
/// rather than a client's text.
pub(crate) const TRUSTED_ROLES: [&str; 8] =
    ["system", "user", "assistant", "tool", "developer", "function", "ipython", "model"];

/// Names that belong to the request or the model.
pub(crate) const RESERVED: [&str; 5] =
    ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"];

/// The variables of the template that a client wrote, in transformers' order and shape.
pub(crate) fn client_variables(input: &ChatInput) -> Value {
    let mut variables = Map::new();
    variables.insert("messages".into(), input.messages.iter().map(message).collect());
    variables.insert("tools".into(), input.tools.clone().unwrap_or(Value::Null));
    // transformers defines it even where it is not given.
    variables.insert("documents".into(), Value::Null);
    variables.insert("add_generation_prompt".into(), input.add_generation_prompt.into());
    let allowed = input.kwargs.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
    variables.extend(allowed.map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(variables)
}

fn message(message: &ChatMessage) -> Value {
    let mut fields = Map::new();
    fields.insert("role".into(), json!(message.role));
    fields.insert("content".into(), json!(message.content.as_deref().unwrap_or("")));
    let optional = [
        ("name", message.name.as_ref().map(|text| json!(text))),
        ("tool_calls", message.tool_calls.clone()),
        ("tool_call_id", message.tool_call_id.as_ref().map(|text| json!(text))),
        ("reasoning_content", message.reasoning.as_ref().map(|text| json!(text))),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            fields.insert(name.into(), value);
        }
    }
    Value::Object(fields)
}
