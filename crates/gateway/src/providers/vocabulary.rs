//! Words of the APIs that providers are asked in.

use super::continuing::TOLD;

/// Names of fields and fixed values of Chat Completions, Responses, Messages and JSON Schema, as they are sent.
const WORDS: [&str; 137] = [
    "$defs",
    "$ref",
    "adaptive",
    "add_generation_prompt",
    "additionalProperties",
    "allOf",
    "any",
    "anyOf",
    "arguments",
    "array",
    "assistant",
    "auto",
    "base64",
    "boolean",
    "budget_tokens",
    "cache_control",
    "call_id",
    "const",
    "content",
    "continue_final_message",
    "data",
    "default",
    "description",
    "detail",
    "developer",
    "disable_parallel_tool_use",
    "disabled",
    "effort",
    "enabled",
    "encrypted_content",
    "enum",
    "ephemeral",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "frequency_penalty",
    "function",
    "function_call",
    "function_call_output",
    "high",
    "id",
    "image",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "image_url",
    "include",
    "include_usage",
    "input",
    "input_image",
    "input_schema",
    "input_text",
    "instructions",
    "integer",
    "is_error",
    "items",
    "json_object",
    "json_schema",
    "logprobs",
    "low",
    "maxItems",
    "maxLength",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "maximum",
    "media_type",
    "medium",
    "message",
    "messages",
    "metadata",
    "minItems",
    "minLength",
    "minimal",
    "minimum",
    "model",
    "n",
    "name",
    "none",
    "null",
    "number",
    "object",
    "oneOf",
    "output",
    "output_config",
    "output_text",
    "parallel_tool_calls",
    "parameters",
    "pattern",
    "presence_penalty",
    "properties",
    "reasoning",
    "reasoning.encrypted_content",
    "reasoning_content",
    "reasoning_effort",
    "redacted_thinking",
    "refusal",
    "required",
    "response_format",
    "role",
    "schema",
    "seed",
    "signature",
    "source",
    "stop",
    "stop_sequences",
    "store",
    "stream",
    "stream_options",
    "strict",
    "string",
    "summary",
    "summary_text",
    "system",
    "temperature",
    "text",
    "thinking",
    "title",
    "tool",
    "tool_call_id",
    "tool_calls",
    "tool_choice",
    "tool_result",
    "tool_use",
    "tool_use_id",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "ttl",
    "type",
    "uniqueItems",
    "url",
    "user",
    "user_id",
    "verbosity",
];

/// Strings of bodies that say nothing of whoever asks, where a whole string is one of them: words of the APIs, and what
/// Garrison says itself. Who looks for names in what is sent need not read them.
pub fn vocabulary() -> impl Iterator<Item = &'static str> {
    WORDS.into_iter().chain([TOLD])
}

/// Whether it is a name or value of the APIs, and nobody's own.
pub(super) fn is_word(text: &str) -> bool {
    WORDS.binary_search(&text).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use garrison_guard::{Budget, Detector, DetectorError, Finder, FinderDetector, Named};
    use garrison_wire::Format;
    use serde_json::{Map, Value, json};

    use super::super::continuing::{Continues, Unfinished};
    use super::super::{neutral, openai};
    use super::*;
    use crate::journey::Words;

    /// Keeps every line that it is shown.
    #[derive(Default)]
    struct Shown(Mutex<Vec<String>>);

    impl Finder for Shown {
        fn id(&self) -> &str {
            "shown"
        }

        fn find(&self, text: &str) -> Result<Vec<Named>, DetectorError> {
            self.0.lock().unwrap().extend(text.lines().map(str::to_owned));
            Ok(Vec::new())
        }
    }

    /// A chat with everything in it; what the client chose begins with `zz`.
    fn chat() -> Map<String, Value> {
        let schema = json!({"type": "object", "properties": {"zz_q": {
            "type": "array", "items": {"type": "string", "enum": ["zz_a"], "description": "zz all of it"}}}, "required": ["zz_q"],
            "additionalProperties": false});
        let call = json!({"id": "zz_1", "type": "function", "function": {"name": "zz_look", "arguments": "{\"zz_q\":[\"zz_a\"]}"}});
        let chat = json!({
            "messages": [
                {"role": "system", "content": "zz be brief"},
                {"role": "user", "content": [{"type": "text", "text": "zz hello"}]},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "zz_1", "content": "zz found it"},
                {"role": "user", "content": "zz go on"}],
            "tools": [{"type": "function", "function": {"name": "zz_look", "description": "zz looks", "parameters": schema}}],
            "tool_choice": "auto", "parallel_tool_calls": false, "temperature": 0.5, "top_p": 0.9,
        });
        chat.as_object().unwrap().clone()
    }

    #[test]
    fn words_are_in_order() {
        assert!(WORDS.is_sorted() && is_word("messages") && !is_word("zoe"));
    }

    #[test]
    fn who_looks_for_names_is_shown_what_clients_wrote_and_nothing_else() {
        let begun = |continues| Unfinished { said: "zz I began", continues };
        let mut bodies = Vec::new();
        for continues in [Continues::WhenTold, Continues::FromPrefix] {
            bodies.push(openai::body(&chat(), &begun(continues), "zz_m", Some(9)));
            for format in [Format::Messages, Format::Responses] {
                bodies.push(
                    neutral::body(format, &chat(), &Words::Chat, &begun(continues), "zz_m", Some(9)).unwrap(),
                );
            }
        }
        for body in bodies {
            let (shown, text) = (Arc::new(Shown::default()), String::from_utf8(body).unwrap());
            let budget = Budget { start: Duration::from_secs(20), per_kilobyte: Duration::ZERO };
            let finder: Arc<dyn Finder> = Arc::<Shown>::clone(&shown);
            let known = vocabulary().map(str::to_owned);
            FinderDetector::new(finder, budget, known).detect(&text).unwrap();
            let lines = shown.0.lock().unwrap();
            for own in [
                "zz be brief",
                "zz hello",
                "zz found it",
                "zz go on",
                "zz looks",
                "zz all of it",
                "zz I began",
            ] {
                assert!(lines.iter().any(|line| line == own), "{own} is not read in {text}");
            }
            let foreign: Vec<&String> = lines.iter().filter(|line| !line.starts_with("zz")).collect();
            assert!(foreign.is_empty(), "{foreign:?} of {text}");
        }
    }
}
