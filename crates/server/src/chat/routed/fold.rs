//! Chunks of Chat Completions as one answer.

use serde_json::{Map, Value, json};

/// Adds a chunk to what there is.
pub(super) fn absorb(folded: &mut Map<String, Value>, event: Value) {
    let Value::Object(event) = event else { return };
    for (name, value) in event {
        merge(folded, &name, value);
    }
}

/// Text grows, lists of things with an index grow by index and others at their end, and all else is as it was told
/// first, or last if that was null.
fn merge(map: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        map.entry(name).or_insert(Value::Null);
        return;
    }
    let grows = matches!(name, "content" | "arguments" | "refusal" | "reasoning_content" | "reasoning");
    match (map.get_mut(name), value) {
        (Some(Value::String(text)), Value::String(more)) if grows => text.push_str(&more),
        (Some(Value::Object(there)), Value::Object(more)) => {
            for (name, value) in more {
                merge(there, &name, value);
            }
        }
        (Some(Value::Array(there)), Value::Array(more)) => more.into_iter().for_each(|item| add(there, item)),
        (Some(Value::Null) | None, Value::Array(more)) => {
            let mut items = Vec::new();
            more.into_iter().for_each(|item| add(&mut items, item));
            map.insert(name.to_owned(), Value::Array(items));
        }
        (Some(Value::Null) | None, value) => {
            map.insert(name.to_owned(), value);
        }
        (Some(_), _) => {}
    }
}

fn add(items: &mut Vec<Value>, item: Value) {
    let same = |there: &&mut Value| item["index"].is_u64() && there["index"] == item["index"];
    match (items.iter_mut().find(same), item) {
        (Some(Value::Object(there)), Value::Object(more)) => {
            for (name, value) in more {
                merge(there, &name, value);
            }
        }
        (_, item) => items.push(item),
    }
}

/// From a chunk's shape to an answer's.
pub(super) fn finish(mut folded: Map<String, Value>) -> Value {
    folded.insert("object".into(), "chat.completion".into());
    if let Some(Value::Array(choices)) = folded.get_mut("choices") {
        choices.sort_by_key(|choice| choice["index"].as_u64());
        for choice in choices.iter_mut() {
            let Some(choice) = choice.as_object_mut() else { continue };
            let mut message = choice.remove("delta").unwrap_or_else(|| json!({}));
            if let Some(message) = message.as_object_mut() {
                message.entry("role").or_insert("assistant".into());
                message.entry("content").or_insert(Value::Null);
                if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
                    calls
                        .iter_mut()
                        .filter_map(Value::as_object_mut)
                        .for_each(|call| drop(call.remove("index")));
                }
            }
            choice.insert("message".into(), message);
            choice.entry("logprobs").or_insert(Value::Null);
        }
    }
    Value::Object(folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_become_one_answer() {
        let mut folded = Map::new();
        let call = |index: u32, part: &str| json!({"index": index, "function": {"arguments": part}});
        for (index, delta, reason) in [
            (1, json!({"role": "assistant", "content": ""}), Value::Null),
            (0, json!({"role": "assistant", "content": null}), Value::Null),
            (1, json!({"content": "Hel"}), Value::Null),
            (
                0,
                json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
                Value::Null,
            ),
            (
                0,
                json!({"tool_calls": [call(0, "{\"a\""), {"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}),
                Value::Null,
            ),
            (0, json!({"tool_calls": [call(0, ":1}")]}), Value::Null),
            (1, json!({"content": "lo"}), json!("stop")),
            (0, json!({}), json!("tool_calls")),
        ] {
            let choice = json!({"index": index, "delta": delta, "finish_reason": reason});
            absorb(
                &mut folded,
                json!({"id": "x", "object": "chat.completion.chunk", "choices": [choice], "usage": null}),
            );
        }
        absorb(&mut folded, json!({"choices": [], "usage": {"prompt_tokens": 1}}));
        let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        assert_eq!(
            finish(folded),
            json!({
                "id": "x", "object": "chat.completion", "usage": {"prompt_tokens": 1}, "choices": [
                    {"index": 0, "finish_reason": "tool_calls", "logprobs": null, "message": {
                        "role": "assistant", "content": null,
                        "tool_calls": [call("c1", "f", "{\"a\":1}"), call("c2", "g", "{}")]}},
                    {"index": 1, "finish_reason": "stop", "logprobs": null,
                     "message": {"role": "assistant", "content": "Hello"}}]
            })
        );
    }
}
