//! Chat Completions, as OpenAI defines it and many servers speak it: what of a client's chat leaves.
//!
//! <https://platform.openai.com/docs/api-reference/chat>

use serde_json::{Map, Value, json};

use super::caching;
use super::continuing::Unfinished;

/// Fields that leave; all others stay. `user`, `metadata` and `store` are left out on purpose: they tell of whoever
/// asks and change no answer.
pub(crate) const SENT: [&str; 18] = [
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
    "verbosity",
    "max_tokens",
    "max_completion_tokens",
];

/// What of a client's chat leaves.
pub(crate) fn sent(chat: &Map<String, Value>) -> Map<String, Value> {
    let there = |field: &&str| chat.get(*field).filter(|value| !value.is_null()).cloned();
    let mut sent = SENT.iter().filter_map(|field| Some(((*field).to_owned(), there(field)?))).collect();
    caching::shorten_chat(&mut sent);
    sent
}

/// The body that asks `model` for what the client's chat asks, with at most `output` tokens.
pub(crate) fn body(
    chat: &Map<String, Value>,
    unfinished: &Unfinished<'_>,
    model: &str,
    output: Option<u64>,
) -> Vec<u8> {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    body.extend(sent(chat));
    unfinished.add_to_chat(&mut body);
    unfinished.mark_chat(&mut body);
    if let Some(output) = output {
        // Newer models of OpenAI's know one name only, most other servers the other: the client's is kept.
        let name = if body.contains_key("max_tokens") { "max_tokens" } else { "max_completion_tokens" };
        body.insert(name.into(), output.into());
    }
    body.insert("stream".into(), true.into());
    body.insert("stream_options".into(), json!({ "include_usage": true }));
    Value::Object(body).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::continuing::{Continues, TOLD};
    use super::*;

    const WHOLE: Unfinished<'_> = Unfinished { said: "", continues: Continues::FromPrefix };

    #[test]
    fn a_body_has_what_the_model_needs_and_nothing_about_who_asks() {
        let chat = json!({
            "model": "auto", "messages": [{"role": "user", "content": "Hi"}], "user": "anna", "metadata": {"a": "b"},
            "store": true, "top_k": 4, "max_tokens": 90, "stop": null, "stream": false, "verbosity": "low"
        });
        let body: Value =
            serde_json::from_slice(&body(chat.as_object().unwrap(), &WHOLE, "m", Some(9))).unwrap();
        assert_eq!(
            body,
            json!({
                "model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "stream": true,
                "stream_options": {"include_usage": true}, "verbosity": "low"
            })
        );
    }

    #[test]
    fn what_was_begun_is_the_assistants_last_turn_or_the_model_is_told() {
        let chat = json!({"messages": [{"role": "user", "content": "Hi"}]});
        let asked = |unfinished: Unfinished<'_>| -> Value {
            serde_json::from_slice(&body(chat.as_object().unwrap(), &unfinished, "m", None)).unwrap()
        };
        let begun = json!({"role": "assistant", "content": "Hel"});
        let prefix = asked(Unfinished { said: "Hel \n", continues: Continues::FromPrefix });
        assert_eq!(prefix["messages"], json!([{"role": "user", "content": "Hi"}, begun]));
        assert_eq!(
            (&prefix["continue_final_message"], &prefix["add_generation_prompt"]),
            (&json!(true), &json!(false))
        );
        let told = asked(Unfinished { said: "Hel", continues: Continues::WhenTold });
        let say = json!({"role": "user", "content": TOLD});
        assert_eq!(told["messages"], json!([{"role": "user", "content": "Hi"}, begun, say]));
        assert!(told.get("continue_final_message").is_none());
        assert_eq!(asked(WHOLE)["messages"], chat["messages"]);
    }
}
