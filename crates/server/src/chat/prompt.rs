//! From a conversation to token ids, through the model's template.

use garrison_tokenizer::ChatInput;
use serde_json::{Map, Value};

use super::messages;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::model::ServedModel;

/// Arguments for the template at most.
const MAX_KWARGS: usize = 64;

/// The prompt that `messages`, `tools` and the template's arguments make.
pub(crate) fn tokens(
    fields: &Fields<'_>,
    tools: Option<Value>,
    model: &ServedModel,
) -> Result<Vec<u32>, ApiError> {
    encode(&input(fields, tools, model)?, model)
}

/// The prompt that a conversation makes.
pub(crate) fn encode(input: &ChatInput, model: &ServedModel) -> Result<Vec<u32>, ApiError> {
    let Some(template) = &model.template else {
        let message = format!("the model {} has no chat template; use /v1/completions", model.name);
        return Err(ApiError::bad_field("messages", message));
    };
    model.tokenizer.encode_chat(template, input).map_err(|error| {
        ApiError::bad_field(
            "messages",
            format!("the model's chat template refused this conversation: {error}"),
        )
    })
}

/// The conversation that `messages`, `tools` and the template's arguments are.
pub(crate) fn input(
    fields: &Fields<'_>,
    tools: Option<Value>,
    model: &ServedModel,
) -> Result<ChatInput, ApiError> {
    Ok(ChatInput {
        tools,
        add_generation_prompt: fields.optional_flag("add_generation_prompt")?.unwrap_or(true),
        kwargs: kwargs(fields)?,
        ..model.tokenizer.chat_input(messages::read(fields)?)
    })
}

/// The template's further arguments.
fn kwargs(fields: &Fields<'_>) -> Result<Map<String, Value>, ApiError> {
    let mut kwargs = match fields.object("chat_template_kwargs")? {
        None => Map::new(),
        Some(given) if given.map().len() > MAX_KWARGS => {
            let message = format!(
                "chat_template_kwargs has {} entries; at most {MAX_KWARGS} are taken",
                given.map().len()
            );
            return Err(ApiError::bad_field("chat_template_kwargs", message));
        }
        Some(given) => given.map().clone(),
    };
    for reserved in ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"] {
        if kwargs.contains_key(reserved) {
            let param = format!("chat_template_kwargs.{reserved}");
            let message = format!("{param} cannot be set this way; it comes from the request or the model");
            return Err(ApiError::bad_field(param, message));
        }
    }
    // OpenAI's field of its own is an argument to templates that know it.
    if let Some(effort) = fields.short_string("reasoning_effort", 32)? {
        kwargs.entry("reasoning_effort").or_insert_with(|| effort.into());
    }
    Ok(kwargs)
}
