//! What of a provider's chunk is shown where answers are judged: what was judged, numbers, and a few words that are known.
//! A provider, or whoever writes into its answer, can put text into any other field, so no other is passed on.

use std::borrow::Cow;

use garrison_gateway::Flow;
use garrison_wire::{Choice, Chunk, Json, Object};
use serde_json::Value;

use super::fold::garbage;
use crate::error::ApiError;
use crate::ids;
use crate::screen::{Ends, Screen};

/// What of a chunk is kept. The answer's name and kind are written here, the model's and the time by whoever passes it on.
const OF_CHUNK: [&str; 6] = ["id", "object", "created", "model", "choices", "usage"];
const OF_CHOICE: [&str; 3] = ["index", "delta", "finish_reason"];
const OF_DELTA: [&str; 2] = ["role", "content"];
/// Why choices end, in OpenAI's words.
const REASONS: [&str; 5] = ["stop", "length", "tool_calls", "function_call", "content_filter"];
/// Numbers of `usage` and of the objects in it.
const COUNTS: [&str; 11] = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "audio_tokens",
    "reasoning_tokens",
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
    "prompt_cache_hit_tokens",
    "prompt_cache_miss_tokens",
];
const DETAILS: [&str; 2] = ["prompt_tokens_details", "completion_tokens_details"];

/// Whether anything of a chunk is left to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    Something,
    Nothing,
}

/// Judges the chunks of one answer.
pub(super) struct JudgedChunks {
    screen: Screen,
    /// What the answer is called: the provider's name for it is text, too.
    id: Json,
}

impl JudgedChunks {
    /// With what judges the answer.
    pub(super) fn new(screen: Screen) -> JudgedChunks {
        JudgedChunks { screen, id: Json::string(&format!("chatcmpl-{}", ids::random_hex())) }
    }

    /// Leaves of a chunk what can be shown. A chunk stays as it is where there is nothing to judge by.
    ///
    /// # Errors
    /// If it cannot be judged and must be, or says something in a way that nobody can judge.
    pub(super) fn sift(&mut self, chunk: &mut Chunk) -> Result<Shows, ApiError> {
        if !self.screen.judges() {
            return Ok(Shows::Something);
        }
        self.head(&mut chunk.fields)?;
        let Some(choices) = &mut chunk.choices else { return Ok(Shows::Nothing) };
        let mut kept = Vec::with_capacity(choices.len());
        for mut choice in std::mem::take(choices) {
            if self.choice(&mut choice)? == Shows::Something {
                kept.push(choice);
            }
        }
        let shows = if kept.is_empty() { Shows::Nothing } else { Shows::Something };
        *choices = kept;
        Ok(shows)
    }

    /// All answers have ended.
    pub(super) async fn close(&mut self) -> Result<(), ApiError> {
        self.screen.close().await.map(drop)
    }

    fn head(&self, fields: &mut Object) -> Result<(), ApiError> {
        fields.retain(|name| OF_CHUNK.contains(&name));
        fields.set("id", self.id.clone());
        fields.set("object", Json::string("chat.completion.chunk"));
        if let Some(usage) = fields.some("usage") {
            let counted = counts(&usage.value().map_err(|_| garbage())?);
            fields.set("usage", Json::of(&counted));
        }
        Ok(())
    }

    fn choice(&mut self, choice: &mut Choice) -> Result<Shows, ApiError> {
        let index = usize::try_from(choice.index()).map_err(|_| garbage())?;
        if self.screen.has_ended(index) {
            return Ok(Shows::Nothing);
        }
        let reason = match choice.finish_reason() {
            None => None,
            Some(reason) => Some(*REASONS.iter().find(|known| **known == reason).ok_or_else(garbage)?),
        };
        let said = said(&choice.delta)?;
        let says = said.is_some();
        let ends = if reason.is_some() { Ends::Here } else { Ends::Later };
        let (text, flow) = self.screen.take_text(index, &said.unwrap_or_default(), ends)?;
        let reason = if flow == Flow::Ends { Some("content_filter") } else { reason };
        let starts = choice.delta.get("role").is_some_and(Json::is_string);
        choice.delta.retain(|name| OF_DELTA.contains(&name) && (name != "role" || starts));
        choice.fields.retain(|name| OF_CHOICE.contains(&name));
        choice.fields.set("index", Json::of(&index.into()));
        if starts {
            // Whatever the provider calls it.
            choice.delta.set("role", Json::string("assistant"));
        }
        if says || !text.is_empty() {
            choice.say(&text);
        }
        if let Some(reason) = reason {
            choice.fields.set("finish_reason", Json::string(reason));
        }
        let shows = !text.is_empty() || starts || reason.is_some();
        Ok(if shows { Shows::Something } else { Shows::Nothing })
    }
}

/// What a delta says. Some providers say it in parts, of which those of text are what is said; nobody judges the others.
fn said(delta: &Object) -> Result<Option<Cow<'_, str>>, ApiError> {
    let Some(content) = delta.some("content") else { return Ok(None) };
    if let Some(text) = content.text() {
        return Ok(Some(text));
    }
    let parts = if content.is_nested() { content.value().ok() } else { None };
    let Some(Value::Array(parts)) = parts else { return Err(garbage()) };
    let mut text = String::new();
    for part in &parts {
        match part["type"].as_str() {
            Some("text") => text.push_str(part["text"].as_str().ok_or_else(garbage)?),
            Some(_) => {}
            None => return Err(garbage()),
        }
    }
    Ok(Some(text.into()))
}

/// The counts of a `usage`, without whatever else stands there.
fn counts(usage: &Value) -> Value {
    let kept = usage.as_object().into_iter().flatten().filter_map(|(name, value)| match value {
        Value::Number(count) if COUNTS.contains(&name.as_str()) && count.is_u64() => {
            Some((name.clone(), value.clone()))
        }
        Value::Object(_) if DETAILS.contains(&name.as_str()) => Some((name.clone(), counts(value))),
        _ => None,
    });
    Value::Object(kept.collect())
}
