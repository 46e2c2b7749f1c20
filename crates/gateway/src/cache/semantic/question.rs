//! What of a request must be equal for an answer to be given again, and what need only be alike: the text of its last
//! message, if that is the user's. System prompt, history, tools, parameters, whose it is, who would answer: all the rest is
//! compared by its digest, never by likeness.

use garrison_wire::{PartKind, Role};
use serde_json::{Map, Value};

use crate::cache::{Asked, Key, key_of};
use crate::journey::{Ask, Words};

/// Of a chat, what tells people behind one key apart, and those who do not want to share. It changes no answer, so of these equal
/// requests need only have the salt in common; those that are alike must have all.
const WHO: [&str; 3] = ["user", "safety_identifier", "cache_salt"];

/// What is asked.
#[derive(Debug, PartialEq)]
pub(crate) struct Question {
    /// The same for all that differ in nothing but their text.
    pub(super) class: Key,
    pub(super) text: String,
}

impl Question {
    #[cfg(test)]
    pub(super) fn plain(class: Key, text: &str) -> Question {
        Question { class, text: text.to_owned() }
    }

    /// None if the last message is not a text of the user's.
    pub(crate) fn of(ask: &Ask, asked: &Asked<'_>, embedder: &str) -> Option<Question> {
        let mut chat = ask.chat.clone();
        let text = take_text(&mut chat)?;
        let words = match &ask.words {
            Words::Chat => String::new(),
            Words::Neutral(request) => {
                let mut request = (**request).clone();
                request.delivery = garrison_wire::Delivery::Whole;
                let last = request.messages.last_mut().filter(|message| message.role == Role::User)?;
                for part in &mut last.parts {
                    let PartKind::Text(text) = &mut part.kind else { return None };
                    text.clear();
                }
                format!("{request:?}")
            }
        };
        let who: Vec<String> = WHO.iter().map(|name| format!("{:?}", ask.chat.get(*name))).collect();
        let class = key_of(&["alike", embedder, &who.concat()], ask, asked, &words, &chat);
        Some(Question { class, text })
    }
}

/// Takes the text out of the last message.
fn take_text(chat: &mut Map<String, Value>) -> Option<String> {
    let last = chat.get_mut("messages")?.as_array_mut()?.last_mut()?.as_object_mut()?;
    if last.get("role")? != "user" {
        return None;
    }
    let text = match last.get_mut("content")? {
        Value::String(text) => std::mem::take(text),
        Value::Array(parts) => {
            let mut texts = Vec::new();
            for part in parts {
                let part = part
                    .as_object_mut()
                    .filter(|part| part.get("type").is_some_and(|kind| kind == "text"))?;
                let Some(Value::String(text)) = part.get_mut("text") else { return None };
                texts.push(std::mem::take(text));
            }
            texts.join("\n")
        }
        _ => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}
