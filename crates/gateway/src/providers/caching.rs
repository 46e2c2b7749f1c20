//! How long a provider keeps what it is told to cache: as long as the price says that the owner wrote down, which is that of the
//! shortest time. A longer one costs more and changes no answer, so nobody is asked for it.

use garrison_wire::{Part, PartKind, Request};
use serde_json::{Map, Value};

/// Anthropic's field, which some others take in chats; and what of it is the time.
const FIELD: &str = "cache_control";
const TIME: &str = "ttl";

/// Takes times out of what a chat asks for.
pub(super) fn shorten_chat(chat: &mut Map<String, Value>) {
    for name in ["messages", "tools"] {
        for item in chat.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            shorten(item.get_mut(FIELD));
            shorten(item.get_mut("function").and_then(|function| function.get_mut(FIELD)));
            let parts = item.get_mut("content").and_then(Value::as_array_mut);
            parts.into_iter().flatten().for_each(|part| shorten(part.get_mut(FIELD)));
        }
    }
}

/// The same of a request of another API.
pub(super) fn shorten_request(request: &mut Request) {
    request.messages.iter_mut().flat_map(|message| &mut message.parts).for_each(shorten_part);
    request.tools.iter_mut().for_each(|tool| shorten(tool.cache_control.as_mut()));
}

fn shorten_part(part: &mut Part) {
    shorten(part.cache_control.as_mut());
    if let PartKind::Result { parts, .. } = &mut part.kind {
        parts.iter_mut().for_each(shorten_part);
    }
}

fn shorten(wish: Option<&mut Value>) {
    if let Some(wish) = wish.and_then(Value::as_object_mut) {
        wish.remove(TIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_wire::Format;
    use serde_json::json;

    #[test]
    fn nobody_is_asked_to_keep_anything_for_longer_than_the_price_says() {
        let hour = json!({"type": "ephemeral", "ttl": "1h"});
        let text = |text: &str| json!({"type": "text", "text": text, "cache_control": hour});
        let mut chat = json!({"messages": [{"role": "system", "content": "Be brief."},
            {"role": "user", "content": [text("ttl"), text("Hi")]}],
            "tools": [{"type": "function", "function": {"name": "f", "cache_control": hour}, "cache_control": hour}]});
        let mut wanted = chat.clone();
        for path in ["/messages/1/content/0", "/messages/1/content/1", "/tools/0", "/tools/0/function"] {
            wanted.pointer_mut(path).unwrap()["cache_control"] = json!({"type": "ephemeral"});
        }
        shorten_chat(chat.as_object_mut().unwrap());
        assert_eq!(chat, wanted);
        let result =
            json!({"type": "tool_result", "tool_use_id": "t", "content": [text("x")], "cache_control": hour});
        let body = json!({"model": "m", "max_tokens": 9, "system": [text("Be brief.")], "messages": [
            {"role": "user", "content": [text("ttl"), result]}],
            "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": hour}]});
        let mut request = Request::parse(Format::Messages, body).unwrap();
        shorten_request(&mut request);
        let written = request.to_json(Format::Messages, "m").unwrap().to_string();
        assert!(!written.contains("1h") && written.contains("\"text\":\"ttl\""), "{written}");
        assert_eq!(written.matches("{\"type\":\"ephemeral\"}").count(), 5, "{written}");
    }
}
