//! Chat templates: the Jinja programs in model files that write a conversation as one prompt.
//!
//! A render gives the text exactly as Python's does, and remembers what it was made from.
//! [`Tokenizer::encode_rendered`](crate::Tokenizer::encode_rendered) needs that to tell markup
//! that the template wrote from the same characters in a client's text.

mod clock;
mod environment;
pub(crate) mod input;
mod json;

use std::sync::Arc;

use serde_json::{Map, Value};

pub(crate) use environment::Compiled;
pub use input::{ChatInput, ChatMessage};

/// Why a template cannot be used, or refuses a conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template is no valid Jinja.
    #[error("the chat template is not valid: {0}")]
    Syntax(String),
    /// The template is absurdly long.
    #[error("the chat template has {bytes} bytes; at most {limit} are supported")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest length allowed.
        limit: usize,
    },
    /// The template called `raise_exception`: the conversation is not one the model knows.
    #[error("{0}")]
    Refused(String),
    /// The template failed on this conversation.
    #[error("the chat template failed: {0}")]
    Failed(String),
    /// The template ran past its budget of work or memory.
    #[error("the chat template takes too much work on this conversation; shorten it")]
    TooMuchWork,
}

/// A model's chat template, compiled.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: Arc<str>,
    compiled: Arc<Compiled>,
}

/// A prompt as text, with what its tokens depend on beside the text.
#[derive(Clone)]
pub struct RenderedPrompt {
    text: String,
    pub(crate) template: ChatTemplate,
    /// What a client wrote.
    pub(crate) client: Value,
    /// What the server adds: special tokens, the time.
    pub(crate) trusted: Map<String, Value>,
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// If it is not valid Jinja, with the line, or longer than a mebibyte.
    pub fn new(source: &str) -> Result<ChatTemplate, TemplateError> {
        Ok(ChatTemplate { source: source.into(), compiled: Arc::new(Compiled::new(source)?) })
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Writes a conversation as one prompt, to the character as transformers' `apply_chat_template`.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] with the template's own words if it raised an exception; others
    /// if it fails on this conversation or takes too much work.
    pub fn render(&self, input: &ChatInput) -> Result<RenderedPrompt, TemplateError> {
        self.render_at(input, environment::now())
    }

    /// As [`render`](ChatTemplate::render), for templates that write the date, at the moment
    /// `unix_seconds` after 1970 (UTC).
    ///
    /// # Errors
    /// As [`render`](ChatTemplate::render).
    pub fn render_at(&self, input: &ChatInput, unix_seconds: i64) -> Result<RenderedPrompt, TemplateError> {
        let client = input::client_variables(input);
        let trusted = trusted_variables(input, unix_seconds);
        let text = render(&self.compiled, &client, &trusted)?;
        Ok(RenderedPrompt { text, template: self.clone(), client, trusted })
    }
}

impl std::fmt::Debug for RenderedPrompt {
    /// Its size alone: prompts do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RenderedPrompt").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl RenderedPrompt {
    /// The prompt, as Python renders it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Renders again, with other strings in the client's place.
    pub(crate) fn again(&self, client: &Value) -> Result<String, TemplateError> {
        render(&self.template.compiled, client, &self.trusted)
    }
}

/// Renders `compiled`; `trusted` variables hide a client's of the same name.
pub(crate) fn render(
    compiled: &Compiled,
    client: &Value,
    trusted: &Map<String, Value>,
) -> Result<String, TemplateError> {
    let mut variables = client.as_object().cloned().unwrap_or_default();
    variables.extend(trusted.iter().map(|(name, value)| (name.clone(), value.clone())));
    compiled.render(&Value::Object(variables))
}

fn trusted_variables(input: &ChatInput, now: i64) -> Map<String, Value> {
    let mut trusted = Map::new();
    for (name, text) in [("bos_token", &input.bos_token), ("eos_token", &input.eos_token)] {
        // transformers leaves out what a model does not have, and templates ask `is defined`.
        if !text.is_empty() {
            trusted.insert(name.into(), text.clone().into());
        }
    }
    trusted.insert(environment::NOW.into(), now.into());
    trusted
}
