//! Pictures in a chat that asks for a route: models here read none, so what they read is the chat without them.

use serde_json::Value;

/// The chat without its pictures, which every tier that has no word for them would be asked with. None if it has none.
pub(super) fn without(chat: &Value) -> Option<Value> {
    let messages = chat.get("messages")?.as_array()?;
    let is_image = |part: &Value| part["type"] == "image_url";
    let holds =
        |message: &Value| message["content"].as_array().is_some_and(|parts| parts.iter().any(is_image));
    if !messages.iter().any(holds) {
        return None;
    }
    let mut texts = chat.clone();
    for message in texts.get_mut("messages")?.as_array_mut()? {
        if let Some(parts) = message.get_mut("content").and_then(Value::as_array_mut) {
            parts.retain(|part| !is_image(part));
        }
    }
    Some(texts)
}
