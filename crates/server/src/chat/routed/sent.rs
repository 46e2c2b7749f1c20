//! What a provider is sent of a chat and a model here does not read. It is judged with the rest, as somebody else's model
//! reads it.

use garrison_gateway::Origin;
use serde_json::{Map, Value};

use super::super::tools::Tools;
use crate::screen::Unread;

/// What reading a message takes from it.
const OF_MESSAGE: [&str; 6] = ["role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"];
/// What OpenAI's own answers have besides, mostly as null, so that these names say nothing.
const BESIDE: [&str; 5] = ["refusal", "annotations", "audio", "function_call", "reasoning"];
const OF_TEXT: [&str; 2] = ["type", "text"];
/// Of a picture nobody here reads anything.
const OF_PICTURE: [&str; 1] = ["type"];
const OF_CALL: [&str; 3] = ["id", "type", "function"];
const OF_FUNCTION: [&str; 2] = ["name", "arguments"];
/// What of a chat is sent beside messages and tools, and is not a number.
const OF_CHAT: [(&str, Origin); 5] = [
    ("response_format", Origin::Tool),
    ("tool_choice", Origin::User),
    ("stop", Origin::User),
    ("reasoning_effort", Origin::User),
    ("verbosity", Origin::User),
];

/// What of a chat, as it came, nobody here reads.
pub(in crate::chat) fn unread(chat: &Value, tools: &Tools) -> Vec<Unread> {
    let mut found = Vec::new();
    for (i, message) in chat.get("messages").and_then(Value::as_array).into_iter().flatten().enumerate() {
        of_message(&format!("messages[{i}]"), message, &mut found);
    }
    // Models read tools that they are told not to use, too.
    let listed =
        chat.get("tools").filter(|_| tools.shown().is_none()).map(|listed| ("tools", Origin::Tool, listed));
    let fields = OF_CHAT.iter().filter_map(|(name, origin)| Some((*name, *origin, chat.get(*name)?)));
    // A word that is no tool's name is one of a few.
    let is_read = |name: &str, value: &Value| name == "tool_choice" && value.is_string();
    for (name, origin, value) in listed.into_iter().chain(fields) {
        if is_read(name, value) || !says(value) {
            continue;
        }
        found.push(Unread { origin, place: name.to_owned(), value: value.clone() });
    }
    found
}

fn of_message(place: &str, message: &Value, found: &mut Vec<Unread>) {
    let Some(fields) = message.as_object() else { return };
    let origin = match fields.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Origin::System,
        Some("tool") => Origin::Tool,
        _ => Origin::User,
    };
    let mut add = |place: String, value: &Value| {
        if says(value) {
            found.push(Unread { origin, place, value: value.clone() });
        }
    };
    let thinks = fields.get("reasoning_content").is_some_and(Value::is_string);
    // Of two names for what was thought one is read.
    let is_read = |name: &str| OF_MESSAGE.contains(&name) || name == "reasoning" && !thinks;
    for (name, value) in fields.iter().filter(|(name, _)| !is_read(name)) {
        add(format!("{place}.{name}"), value);
        if !BESIDE.contains(&name.as_str()) {
            add(place.to_owned(), &name.as_str().into());
        }
    }
    for (j, part) in fields.get("content").and_then(Value::as_array).into_iter().flatten().enumerate() {
        add(format!("{place}.content[{j}]"), &rest_of_part(part));
    }
    for (j, call) in fields.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        add(format!("{place}.tool_calls[{j}]"), &rest_of_call(call));
    }
}

/// A part without its text or its picture. It is the one that it says it is, whatever else it has.
fn rest_of_part(part: &Value) -> Value {
    if part["type"] != "image_url" {
        let mut rest = without(part, &OF_TEXT);
        if let Some(kind) = part["type"].as_str().filter(|kind| *kind != "text") {
            rest.insert("type".into(), kind.into());
        }
        return Value::Object(rest);
    }
    let mut rest = without(part, &OF_PICTURE);
    let picture = rest.get_mut("image_url").and_then(Value::as_object_mut);
    if let Some(picture) = picture.filter(|picture| picture.get("url").is_some_and(is_data)) {
        picture.remove("url");
    }
    Value::Object(rest)
}

/// Whether an address is the picture itself.
fn is_data(url: &Value) -> bool {
    url.as_str().is_some_and(|url| url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")))
}

/// A call without what is read of it. Its arguments are sent as the text that they came as, which may say a thing twice,
/// while the last counts for whoever reads it.
fn rest_of_call(call: &Value) -> Value {
    let mut rest = without(call, &OF_CALL);
    if let Some(kind) = call["type"].as_str().filter(|kind| *kind != "function") {
        rest.insert("type".into(), kind.into());
    }
    let mut function = without(&call["function"], &OF_FUNCTION);
    if let Some(text) = call["function"]["arguments"].as_str().filter(|text| !is_read_whole(text)) {
        function.insert("arguments".into(), text.into());
    }
    if !function.is_empty() {
        rest.insert("function".into(), function.into());
    }
    Value::Object(rest)
}

/// Whether a JSON text says no more than its value.
fn is_read_whole(text: &str) -> bool {
    let dense = |text: &str| text.chars().filter(|c| !c.is_ascii_whitespace()).count();
    match serde_json::from_str::<Value>(text) {
        Ok(value) => dense(&value.to_string()) == dense(text),
        Err(_) => text.trim().is_empty(),
    }
}

fn without(value: &Value, read: &[&str]) -> Map<String, Value> {
    let fields = value.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| !read.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Whether there is any text in it.
fn says(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(says),
        Value::Object(fields) => !fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(chat: &Value) -> Vec<(String, Value)> {
        let found = unread(chat, &Tools::default());
        found.into_iter().map(|unread| (unread.place, unread.value)).collect()
    }

    #[test]
    fn an_ordinary_chat_is_read_whole() {
        let call = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"q\": \"a  b\"}"}}]);
        let chat = json!({"model": "m", "temperature": 0, "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "anna", "refusal": null},
            {"role": "assistant", "content": null, "tool_calls": call, "reasoning": "Hm."},
            {"role": "tool", "tool_call_id": "c", "content": "x"}], "tools": [{"type": "function"}],
            "tool_choice": "auto", "stop": null});
        assert_eq!(
            found(&chat),
            [("tools".to_owned(), chat["tools"].clone())],
            "the model here is shown none"
        );
    }

    #[test]
    fn what_nobody_here_reads_is_found() {
        let data = json!({"url": "data:image/png;base64,AAAA", "detail": "x"});
        let call = json!({"id": "c", "type": "function", "note": "n",
            "function": {"name": "f", "arguments": "{\"q\": \"one\", \"q\": \"two\"}"}});
        let chat = json!({"messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Hi", "cache": "y"}, {"type": "image_url", "image_url": data}], "refusal": "no",
                "say": null},
            {"role": "assistant", "tool_calls": [call], "reasoning": "a", "reasoning_content": "b"}],
            "response_format": {"type": "json_schema"}, "stop": ["s"], "seed": 1, "verbosity": {"x": "v"}});
        let found = found(&chat);
        let has = |place: &str, value: Value| found.contains(&(place.to_owned(), value));
        assert!(has("messages[0].refusal", json!("no")) && has("messages[0]", json!("say")), "{found:?}");
        assert!(has("messages[0].content[0]", json!({"cache": "y"})), "{found:?}");
        assert!(has("messages[0].content[1]", json!({"image_url": {"detail": "x"}})), "{found:?}");
        // Each is judged whole that has what is the other's.
        let both = |kind: &str| json!({"type": kind, "text": "Hi", "image_url": {"url": "data:image/png;base64,AAAA"}});
        let chat_of = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
        let beside = |kind: &str| self::found(&chat_of(both(kind))).swap_remove(0).1;
        assert_eq!(beside("text"), json!({"image_url": both("text")["image_url"]}));
        assert_eq!(beside("image_url"), json!({"text": "Hi", "image_url": {}}));
        let twice = json!({"note": "n", "function": {"arguments": "{\"q\": \"one\", \"q\": \"two\"}"}});
        assert!(
            has("messages[1].tool_calls[0]", twice) && has("messages[1].reasoning", json!("a")),
            "{found:?}"
        );
        assert!(
            has("response_format", json!({"type": "json_schema"})) && has("stop", json!(["s"])),
            "{found:?}"
        );
        assert!(has("verbosity", json!({"x": "v"})), "{found:?}");
    }
}
