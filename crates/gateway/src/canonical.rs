//! What a chat asks for, whoever asks and however it was written.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Fields that change no answer: who asks, how it is delivered, and what is kept of it. `model` is the route's name, which
/// everyone who compares chats knows.
const NO_MATTER: [&str; 11] = [
    "model",
    "stream",
    "stream_options",
    "user",
    "metadata",
    "store",
    "priority",
    "cache_salt",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
];

/// The digest of a chat's canonical form. Two chats have the same if they have the same fields, in whatever order, with the
/// same messages; within tools and schemas order counts, since models read them as they are written.
pub fn digest(chat: &Map<String, Value>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut fields: Vec<_> =
        chat.iter().filter(|(name, value)| !NO_MATTER.contains(&name.as_str()) && !value.is_null()).collect();
    fields.sort_by_key(|(name, _)| *name);
    for (name, value) in fields {
        put(&mut hash, name);
        match value {
            Value::Array(messages) if name == "messages" => {
                hash.update((messages.len() as u64).to_le_bytes());
                messages.iter().for_each(|message| put_message(&mut hash, message));
            }
            value => put(&mut hash, &value.to_string()),
        }
    }
    hash.finalize().into()
}

fn put_message(hash: &mut Sha256, message: &Value) {
    let Some(message) = message.as_object() else { return put(hash, &message.to_string()) };
    let mut fields: Vec<_> = message.iter().filter(|(_, value)| !value.is_null()).collect();
    fields.sort_by_key(|(name, _)| *name);
    hash.update((fields.len() as u64).to_le_bytes());
    for (name, value) in fields {
        put(hash, name);
        put(hash, &value.to_string());
    }
}

/// With its length before it, so that no two rows of texts are the same bytes.
fn put(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(chat: Value) -> [u8; 32] {
        digest(chat.as_object().unwrap())
    }

    #[test]
    fn only_what_changes_the_answer_counts() {
        let base = || json!({"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "tools": [{"a": 1, "b": 2}]});
        let with = |name: &str, value: Value| {
            let mut chat = base();
            chat[name] = value;
            of(chat)
        };
        let same = of(
            json!({"tools": [{"a": 1, "b": 2}], "temperature": 0, "model": "auto", "stream": true, "user": "anna",
            "messages": [{"content": "Hi", "role": "user", "name": null}], "stop": null}),
        );
        assert_eq!(of(base()), same);
        let others = [
            with("temperature", json!(1)),
            with("seed", json!(1)),
            with("tools", json!([{"b": 2, "a": 1}])),
            with("messages", json!([{"role": "system", "content": "Hi"}])),
            with("messages", json!([{"role": "user", "content": "Hi"}, {"role": "user", "content": ""}])),
            with("messages", json!([{"role": "user", "content": ["Hi"]}])),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(*other, same, "{i}");
            assert!(others[..i].iter().all(|before| before != other), "{i}");
        }
    }
}
