//! An answer that another tier has begun, as a provider is asked to go on with it.
//!
//! Some models go on with a last turn of the assistant's (Anthropic's up to Claude 4.5 without thinking, most open ones
//! behind vLLM or llama.cpp); others refuse it or answer anew. The owner says which do. The others are told in a turn of the
//! user's.

use garrison_wire::{Message, Request, Role};
use serde_json::{Map, Value, json};

/// What a model is told that does not go on by itself.
pub(crate) const TOLD: &str = "Your last message was cut off in the middle. Go on exactly where it ends, with the very next \
     character. Do not repeat any of it, do not begin anew, and say nothing about this.";

/// How a model is made to go on with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Continues {
    /// Its words are the last turn of the assistant's, and it goes on with them.
    FromPrefix,
    /// It has to be told.
    #[default]
    WhenTold,
}

/// What was said of an answer before it broke off, if one has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unfinished<'a> {
    /// Empty if nothing has.
    pub(crate) said: &'a str,
    pub(crate) continues: Continues,
}

impl Unfinished<'_> {
    /// Without the space at its end, which Anthropic refuses there and others read as a word's beginning.
    fn text(&self) -> Option<&str> {
        Some(self.said.trim_end()).filter(|text| !text.is_empty())
    }

    /// Adds it to a chat.
    pub(super) fn add_to_chat(&self, chat: &mut Map<String, Value>) {
        let Some(text) = self.text() else { return };
        if let Some(Value::Array(messages)) = chat.get_mut("messages") {
            messages.push(json!({ "role": "assistant", "content": text }));
            if self.continues == Continues::WhenTold {
                messages.push(json!({ "role": "user", "content": TOLD }));
            }
        }
    }

    /// What says in a body of Chat Completions that the last turn is to be gone on with: vLLM's fields, which OpenAI does
    /// not know, nor models that go on with nothing.
    pub(super) fn mark_chat(&self, body: &mut Map<String, Value>) {
        if self.text().is_some() && self.continues == Continues::FromPrefix {
            body.insert("continue_final_message".into(), true.into());
            body.insert("add_generation_prompt".into(), false.into());
        }
    }

    /// Adds it to a request of another API. A model that thinks first goes on with no prefix.
    pub(super) fn add_to(&self, request: &mut Request) {
        let Some(text) = self.text() else { return };
        request.messages.push(Message::text(Role::Assistant, text));
        let thinks = request.reasoning != garrison_wire::Reasoning::default();
        if self.continues == Continues::WhenTold || thinks {
            request.messages.push(Message::text(Role::User, TOLD));
        }
    }
}
