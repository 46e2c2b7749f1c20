//! Chat Completions, as OpenAI defines it and many servers speak it: the request's body, and what its events mean.
//!
//! <https://platform.openai.com/docs/api-reference/chat>

use garrison_route::Tokens;
use serde_json::{Map, Value, json};

use super::Failure;

/// Fields that leave; all others stay. `user`, `metadata` and `store` are left out on purpose: they tell of whoever
/// asks and change no answer.
pub(crate) const SENT: [&str; 17] = [
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "seed",
    "n",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
    "max_tokens",
    "max_completion_tokens",
];

/// What of a client's chat leaves.
pub(crate) fn sent(chat: &Map<String, Value>) -> Map<String, Value> {
    let there = |field: &&str| chat.get(*field).filter(|value| !value.is_null()).cloned();
    SENT.iter().filter_map(|field| Some(((*field).to_owned(), there(field)?))).collect()
}

/// The body that asks `model` for what the client's chat asks, with at most `output` tokens.
pub(crate) fn body(chat: &Map<String, Value>, model: &str, output: Option<u64>) -> Vec<u8> {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    body.extend(sent(chat));
    if let Some(output) = output {
        // Newer models of OpenAI's know one name only, most other servers the other: the client's is kept.
        let name = if body.contains_key("max_tokens") { "max_tokens" } else { "max_completion_tokens" };
        body.insert(name.into(), output.into());
    }
    body.insert("stream".into(), true.into());
    body.insert("stream_options".into(), json!({ "include_usage": true }));
    Value::Object(body).to_string().into_bytes()
}

/// How far an answer has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// `[choices]` that have ended.
    ended: Vec<bool>,
    /// Whether anything was said that a client would see.
    pub(crate) shows: bool,
    /// What it took, once that was told.
    pub(crate) tokens: Option<Tokens>,
    /// Bytes of text so far, for an answer that is cut before its usage came.
    pub(crate) text_bytes: u64,
}

impl Progress {
    pub(crate) fn new(choices: usize) -> Progress {
        Progress { ended: vec![false; choices], ..Progress::default() }
    }

    /// Whether every choice has ended.
    pub(crate) fn complete(&self) -> bool {
        self.ended.iter().all(|ended| *ended)
    }

    /// Takes an event in.
    pub(crate) fn read(&mut self, event: &Value) -> Result<(), Failure> {
        if event.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Failure::Reported);
        }
        let Some(choices) = event.get("choices").and_then(Value::as_array) else {
            return Err(Failure::Garbage("an event has no choices"));
        };
        for choice in choices {
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
            let ended = usize::try_from(index).ok().and_then(|index| self.ended.get_mut(index));
            let Some(ended) = ended else { return Err(Failure::Garbage("a choice that nobody asked for")) };
            let said = choice.get("delta").map_or(0, said);
            let finished = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
            self.text_bytes += said;
            self.shows |= said > 0 || finished;
            *ended |= finished;
        }
        if let Some(usage) = event.get("usage").filter(|usage| usage.is_object()) {
            self.tokens = Some(tokens(usage));
        }
        Ok(())
    }
}

/// Bytes of everything in a delta that is not its role.
fn said(delta: &Value) -> u64 {
    let Some(delta) = delta.as_object() else { return 0 };
    delta.iter().filter(|(name, _)| *name != "role").map(|(_, value)| text_bytes(value)).sum()
}

fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(map) => map.values().map(text_bytes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn tokens(usage: &Value) -> Tokens {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or(0);
    Tokens {
        prompt: number(usage.get("prompt_tokens")),
        cached: number(usage.pointer("/prompt_tokens_details/cached_tokens")),
        output: number(usage.get("completion_tokens")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_what_the_model_needs_and_nothing_about_who_asks() {
        let chat = json!({
            "model": "auto", "messages": [{"role": "user", "content": "Hi"}], "user": "anna", "metadata": {"a": "b"},
            "store": true, "top_k": 4, "max_tokens": 90, "stop": null, "stream": false
        });
        let body: Value = serde_json::from_slice(&body(chat.as_object().unwrap(), "m", Some(9))).unwrap();
        assert_eq!(
            body,
            json!({
                "model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "stream": true,
                "stream_options": {"include_usage": true}
            })
        );
    }

    #[test]
    fn progress_knows_what_shows_what_ends_and_what_it_took() {
        let mut progress = Progress::new(2);
        let role = json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]});
        progress.read(&role).unwrap();
        assert!(!progress.shows);
        progress.read(&json!({"choices": [{"index": 1, "delta": {"content": "Hi"}}]})).unwrap();
        assert!(progress.shows && progress.text_bytes == 2);
        for index in [0, 1] {
            assert!(!progress.complete());
            let end = json!({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]});
            progress.read(&end).unwrap();
        }
        assert!(progress.complete());
        let usage = json!({"choices": [], "usage": {
            "prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}});
        progress.read(&usage).unwrap();
        assert_eq!(progress.tokens, Some(Tokens { prompt: 9, cached: 4, output: 3 }));
        for (wrong, failure) in [
            (json!({"error": {"message": "no"}}), Failure::Reported),
            (json!([1]), Failure::Garbage("an event has no choices")),
            (json!({"choices": [{"index": 2}]}), Failure::Garbage("a choice that nobody asked for")),
        ] {
            assert_eq!(Progress::new(2).read(&wrong), Err(failure));
        }
    }
}
