//! Chunks of Chat Completions as one answer.

use garrison_gateway::Failure;
use garrison_wire::{Choice, Chunk, Json, MOST_CHOICES, MOST_FIELDS, Name, Object};
use serde_json::{Map, Value};

use crate::error::ApiError;

/// Things with an index in one list at most, which each chunk may add to: an answer calls tools a few times. They are looked
/// through one by one.
const MOST_INDEXED: usize = 1024;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Folded {
    head: Parts,
    /// At most [`MOST_CHOICES`].
    choices: Vec<FoldedChoice>,
}

#[derive(Debug)]
struct FoldedChoice {
    index: u64,
    fields: Parts,
    delta: Parts,
}

/// Fields, in the order in which they came.
#[derive(Debug, Default)]
struct Parts(Vec<(Name, Part)>);

/// A field's value.
#[derive(Debug)]
enum Part {
    /// As it was told.
    Told(Json),
    /// A text that grows.
    Text(String),
    /// A list or an object, which grow.
    Nested(Value),
}

impl Folded {
    /// Adds a chunk to what there is.
    pub(super) fn absorb(&mut self, chunk: &Chunk) -> Result<(), ApiError> {
        self.head.absorb(&chunk.fields, "choices")?;
        for choice in chunk.choices.iter().flatten() {
            self.choice(choice)?;
        }
        Ok(())
    }

    fn choice(&mut self, choice: &Choice) -> Result<(), ApiError> {
        let index = choice.index();
        let at = match self.choices.iter().position(|there| there.index == index) {
            Some(at) => at,
            None if self.choices.len() == MOST_CHOICES => return Err(garbage()),
            None => {
                self.choices.push(FoldedChoice { index, fields: Parts::default(), delta: Parts::default() });
                self.choices.len() - 1
            }
        };
        let Some(there) = self.choices.get_mut(at) else { return Ok(()) };
        there.fields.absorb(&choice.fields, "delta")?;
        there.delta.absorb(&choice.delta, "")
    }

    /// The answer that was said in chunks.
    pub(super) fn finish(self) -> String {
        let mut answer = self.head.values();
        answer.insert("object".into(), "chat.completion".into());
        let mut choices = self.choices;
        choices.sort_by_key(|choice| choice.index);
        answer.insert("choices".into(), choices.into_iter().map(FoldedChoice::finish).collect());
        Value::Object(answer).to_string()
    }
}

impl FoldedChoice {
    fn finish(self) -> Value {
        let mut choice = self.fields.values();
        let mut message = self.delta.values();
        message.entry("role").or_insert("assistant".into());
        message.entry("content").or_insert(Value::Null);
        if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
            calls.iter_mut().filter_map(Value::as_object_mut).for_each(|call| drop(call.remove("index")));
        }
        choice.insert("message".into(), message.into());
        choice.entry("index").or_insert(self.index.into());
        choice.entry("logprobs").or_insert(Value::Null);
        Value::Object(choice)
    }
}

impl Parts {
    /// Text grows, lists of things with an index grow by index and others at their end, and all else is as it was told
    /// first, or last if that was null. `apart` is held elsewhere.
    fn absorb(&mut self, object: &Object, apart: &str) -> Result<(), ApiError> {
        for (name, json) in object.iter().filter(|(name, _)| *name != apart) {
            if let Some((_, part)) = self.0.iter_mut().find(|(known, _)| known == name) {
                part.absorb(name, json)?;
            } else if self.0.len() < MOST_FIELDS {
                self.0.push((name.clone(), Part::of(name, json)?));
            } else {
                return Err(garbage());
            }
        }
        Ok(())
    }

    fn values(self) -> Map<String, Value> {
        let value = |part| match part {
            // A number that is too large for one says nothing.
            Part::Told(json) => json.value().unwrap_or(Value::Null),
            Part::Text(text) => text.into(),
            Part::Nested(value) => value,
        };
        self.0.into_iter().map(|(name, part)| (name.into_owned(), value(part))).collect()
    }
}

impl Part {
    fn of(name: &str, json: &Json) -> Result<Part, ApiError> {
        if json.is_nested() {
            let value = match json.value().map_err(|_| garbage())? {
                Value::Array(items) => Value::Array(added(Vec::new(), items)?),
                value => value,
            };
            return Ok(Part::Nested(value));
        }
        match json.text() {
            Some(text) if grows(name) => Ok(Part::Text(text.into_owned())),
            Some(_) => Ok(Part::Told(json.clone())),
            None if json.is_string() => Err(garbage()),
            None => Ok(Part::Told(json.clone())),
        }
    }

    fn absorb(&mut self, name: &str, json: &Json) -> Result<(), ApiError> {
        match self {
            _ if json.is_null() => {}
            Part::Told(told) if told.is_null() => *self = Part::of(name, json)?,
            Part::Text(text) if json.is_string() => text.push_str(&json.text().ok_or_else(garbage)?),
            Part::Nested(there) if json.is_nested() => grow(there, json.value().map_err(|_| garbage())?)?,
            Part::Told(_) | Part::Text(_) | Part::Nested(_) => {}
        }
        Ok(())
    }
}

/// What breaks off an answer that cannot be understood.
pub(super) fn garbage() -> ApiError {
    ApiError::broke_off(&Failure::Garbage("an event is none of its API's"))
}

/// Whether a text of this name comes in pieces.
fn grows(name: &str) -> bool {
    matches!(name, "content" | "arguments" | "refusal" | "reasoning_content" | "reasoning")
}

fn grow(there: &mut Value, more: Value) -> Result<(), ApiError> {
    match (there, more) {
        (Value::Object(there), Value::Object(more)) => {
            more.into_iter().try_for_each(|(name, value)| merge(there, &name, value))
        }
        (Value::Array(there), Value::Array(more)) => {
            *there = added(std::mem::take(there), more)?;
            Ok(())
        }
        (_, _) => Ok(()),
    }
}

/// The same as of parts, within what is nested.
fn merge(map: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), ApiError> {
    if value.is_null() {
        map.entry(name).or_insert(Value::Null);
        return Ok(());
    }
    match (map.get_mut(name), value) {
        (Some(Value::String(text)), Value::String(more)) if grows(name) => text.push_str(&more),
        (Some(Value::Null) | None, Value::Array(more)) => {
            map.insert(name.to_owned(), Value::Array(added(Vec::new(), more)?));
        }
        (Some(Value::Null) | None, value) => {
            map.insert(name.to_owned(), value);
        }
        (Some(there), value) => grow(there, value)?,
    }
    Ok(())
}

/// A list with more: what has the index of something that is there grows into that.
fn added(mut items: Vec<Value>, more: Vec<Value>) -> Result<Vec<Value>, ApiError> {
    for item in more {
        let index = item["index"].as_u64();
        // What has none is looked for by nobody, of which there may be many: a log-probability for each token.
        let same = index.and_then(|_| items.iter().position(|there| there["index"].as_u64() == index));
        match (same.and_then(|at| items.get_mut(at)), item) {
            (Some(there @ Value::Object(_)), item @ Value::Object(_)) => grow(there, item)?,
            (_, item) => {
                if index.is_some() && items.len() >= MOST_INDEXED {
                    return Err(garbage());
                }
                items.push(item);
            }
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chunks_become_one_answer() {
        let mut folded = Folded::default();
        let mut absorb = |value: Value| folded.absorb(&Chunk::read(&value.to_string()).unwrap()).unwrap();
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
            (1, json!({"content": "lo\n"}), json!("stop")),
            (0, json!({}), json!("tool_calls")),
        ] {
            let choice = json!({"index": index, "delta": delta, "finish_reason": reason});
            absorb(json!({"id": "x", "object": "chat.completion.chunk", "choices": [choice], "usage": null}));
        }
        absorb(json!({"id": "y", "choices": [], "usage": {"prompt_tokens": 1}}));
        let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let answer: Value = serde_json::from_str(&folded.finish()).unwrap();
        assert_eq!(
            answer,
            json!({
                "id": "x", "object": "chat.completion", "usage": {"prompt_tokens": 1}, "choices": [
                    {"index": 0, "finish_reason": "tool_calls", "logprobs": null, "message": {
                        "role": "assistant", "content": null,
                        "tool_calls": [call("c1", "f", "{\"a\":1}"), call("c2", "g", "{}")]}},
                    {"index": 1, "finish_reason": "stop", "logprobs": null,
                     "message": {"role": "assistant", "content": "Hello\n"}}]
            })
        );
    }

    #[test]
    fn what_is_no_text_or_too_much_breaks_off() {
        let absorb = |folded: &mut Folded, text: String| folded.absorb(&Chunk::read(&text).unwrap());
        let half = r#"{"choices": [{"index": 0, "delta": {"content": "\ud800"}}]}"#;
        assert!(absorb(&mut Folded::default(), half.into()).is_err());
        let mut folded = Folded::default();
        let told = (0..=MOST_FIELDS).map(|i| absorb(&mut folded, format!("{{\"f{i}\": 1}}")));
        assert_eq!(told.filter(Result::is_err).count(), 1);
        let mut folded = Folded::default();
        let choices = (0..=MOST_CHOICES as u64).map(|i| {
            let index = u64::MAX - i;
            absorb(&mut folded, format!("{{\"choices\": [{{\"index\": {index}}}]}}")).is_err()
        });
        assert_eq!(choices.filter(|refused| *refused).count(), 1, "one choice too many");
        let calls = |of: std::ops::Range<usize>| {
            let calls: Vec<String> = of.map(|i| format!("{{\"index\": {i}}}")).collect();
            format!("{{\"choices\": [{{\"delta\": {{\"tool_calls\": [{}]}}}}]}}", calls.join(","))
        };
        let mut folded = Folded::default();
        assert!(absorb(&mut folded, calls(0..MOST_INDEXED)).is_ok());
        assert!(
            absorb(&mut folded, calls(0..1)).is_ok() && absorb(&mut folded, calls(9_999..10_000)).is_err()
        );
        assert!(absorb(&mut Folded::default(), calls(0..MOST_INDEXED + 1)).is_err());
    }
}
