//! What one event of a stream says, in any dialect of OpenAI's API.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// One chunk; what no figure needs is skipped unread.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    pub(crate) usage: Option<Usage>,
    #[serde(default)]
    pub(crate) timings: Option<Timings>,
    #[serde(borrow, default)]
    error: Option<Fault<'a>>,
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    logprobs: Option<Logprobs>,
    #[serde(default)]
    token_ids: Option<Vec<IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Debug, Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Debug, Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<Cow<'a, str>>,
}

/// One entry per token: chats have `content`, completions `tokens`.
#[derive(Debug, Deserialize)]
struct Logprobs {
    #[serde(default)]
    content: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    tokens: Option<Vec<IgnoredAny>>,
}

/// An error in the middle of a stream: an object, or just a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Fault<'a> {
    Object {
        #[serde(borrow)]
        message: Cow<'a, str>,
    },
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

/// OpenAI's usage.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: Option<u32>,
    #[serde(default)]
    pub(crate) completion_tokens: Option<u32>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u32>,
}

impl Usage {
    /// Prompt tokens that the server had already, if it says so.
    pub(crate) fn cached_tokens(&self) -> Option<u32> {
        self.prompt_tokens_details?.cached_tokens
    }
}

/// What servers tell of their own clock: Garrison's names, and llama.cpp's.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Timings {
    ttft_ms: Option<f64>,
    prompt_ms: Option<f64>,
    #[serde(alias = "draft_n")]
    pub(crate) draft_tokens: Option<u32>,
    #[serde(alias = "draft_n_accepted")]
    pub(crate) accepted_tokens: Option<u32>,
}

/// Longer times, in milliseconds, are not taken: a hundred days.
const MAX_MS: f64 = 1e10;

impl Timings {
    /// How long the request waited for its turn: from arrival to the first token, less the prompt.
    pub(crate) fn queue_ms(&self) -> Option<f64> {
        // What no clock can have measured would make sums infinite.
        let sane = |ms: f64| (0.0..=MAX_MS).contains(&ms).then_some(ms);
        Some((sane(self.ttft_ms?)? - sane(self.prompt_ms?)?).max(0.0))
    }
}

impl<'a> Chunk<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Chunk<'a>, serde_json::Error> {
        serde_json::from_slice(data)
    }

    /// Why the server gave up, if it did.
    pub(crate) fn error(&self) -> Option<&str> {
        match self.error.as_ref()? {
            Fault::Object { message } | Fault::Text(message) => Some(message),
            Fault::Other(_) => Some("an error of unknown shape"),
        }
    }

    /// Whether it has choices, and so is more than usage or a ping.
    pub(crate) fn has_choices(&self) -> bool {
        !self.choices.is_empty()
    }

    /// Whether a choice ended with it.
    pub(crate) fn finishes(&self) -> bool {
        // Some servers write an empty one into every chunk.
        self.choices.iter().any(|c| c.finish_reason.as_ref().is_some_and(|reason| !reason.is_empty()))
    }

    /// Gives every text in it to `see`: what was said, thought, or called.
    pub(crate) fn texts(&self, mut see: impl FnMut(&str)) {
        for choice in &self.choices {
            choice.text.iter().for_each(|t| see(t));
            let Some(delta) = &choice.delta else { continue };
            for text in [&delta.content, &delta.reasoning_content, &delta.reasoning].into_iter().flatten() {
                see(text);
            }
            for function in delta.tool_calls.iter().flatten().filter_map(|c| c.function.as_ref()) {
                [&function.name, &function.arguments].into_iter().flatten().for_each(|t| see(t));
            }
        }
    }

    /// What it says, without thoughts and calls: what the next turn of a conversation has as the answer.
    pub(crate) fn said(&self) -> &str {
        let first = self.choices.first();
        let delta = first.and_then(|c| c.delta.as_ref()).and_then(|d| d.content.as_deref());
        delta.or(first.and_then(|c| c.text.as_deref())).unwrap_or_default()
    }

    /// How many tokens it says that it has, if it does.
    pub(crate) fn tokens(&self) -> Option<u32> {
        let of_choice = |choice: &Choice<'_>| {
            let scored = choice.logprobs.as_ref().and_then(|l| l.content.as_ref().or(l.tokens.as_ref()));
            choice.token_ids.as_ref().or(scored).map(|tokens| tokens.len() as u32)
        };
        let counts: Vec<u32> = self.choices.iter().filter_map(of_choice).collect();
        (!counts.is_empty()).then(|| counts.iter().fold(0, |sum, n| u32::saturating_add(sum, *n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (String, Option<u32>, Option<String>) {
        let chunk = Chunk::parse(json.as_bytes()).unwrap();
        let mut text = String::new();
        chunk.texts(|t| text.push_str(t));
        (text, chunk.tokens(), chunk.error().map(str::to_owned))
    }

    #[test]
    fn dialects_are_understood() {
        let said = |t: &str, n| (t.to_owned(), n, None);
        for (json, wanted) in [
            (r#"{"choices":[{"delta":{"content":"a\nb"},"finish_reason":null}]}"#, said("a\nb", None)),
            (r#"{"choices":[{"index":0,"text":"x","logprobs":{"tokens":["x"]}}]}"#, said("x", Some(1))),
            (
                r#"{"choices":[{"delta":{"content":"hm"},"logprobs":{"content":[{},{}]}}]}"#,
                said("hm", Some(2)),
            ),
            (r#"{"choices":[{"delta":{},"token_ids":[5,6,7]}]}"#, said("", Some(3))),
            (r#"{"choices":[{"delta":{"reasoning_content":"r","content":null}}]}"#, said("r", None)),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}}]}"#,
                said("f{}", None),
            ),
            (r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#, said("", None)),
            (r#"{"object":"ping"}"#, said("", None)),
        ] {
            assert_eq!(read(json), wanted, "{json}");
        }
        assert_eq!(read(r#"{"error":{"message":"oh","code":1}}"#).2.unwrap(), "oh");
        assert_eq!(read(r#"{"error":"oh"}"#).2.unwrap(), "oh");
        assert!(read(r#"{"error":{"code":1}}"#).2.unwrap().contains("unknown"));
        assert_eq!(read(r#"{"error":null,"choices":[]}"#).2, None);
    }

    #[test]
    fn what_servers_tell_of_themselves() {
        let garrison = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,
            "prompt_tokens_details":{"cached_tokens":4}},"timings":{"ttft_ms":30.0,"prompt_ms":10.0,
            "draft_tokens":6,"accepted_tokens":3}}"#;
        let chunk = Chunk::parse(garrison.as_bytes()).unwrap();
        assert_eq!(chunk.usage.unwrap().cached_tokens(), Some(4));
        let timings = chunk.timings.unwrap();
        assert_eq!(
            (timings.queue_ms(), timings.draft_tokens, timings.accepted_tokens),
            (Some(20.0), Some(6), Some(3))
        );
        let absurd = r#"{"choices":[],"usage":{"completion_tokens":null},
            "timings":{"ttft_ms":1.7e308,"prompt_ms":1.0}}"#;
        let chunk = Chunk::parse(absurd.as_bytes()).unwrap();
        assert_eq!(chunk.usage.unwrap().completion_tokens, None);
        assert_eq!(chunk.timings.unwrap().queue_ms(), None);
        let llama = r#"{"choices":[],"timings":{"prompt_ms":10.0,"draft_n":6,"draft_n_accepted":3}}"#;
        let timings = Chunk::parse(llama.as_bytes()).unwrap().timings.unwrap();
        assert_eq!(
            (timings.queue_ms(), timings.draft_tokens, timings.accepted_tokens),
            (None, Some(6), Some(3))
        );
    }
}
