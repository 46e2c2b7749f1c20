//! A chunk that is passed on, read no further than whoever passes it on has to look.
//!
//! The fields of the chunk, of its choices and of their deltas are told apart in one pass, and each one's value stays the
//! text that it came as until somebody asks for it. A stream is a few hundred of these, and to make values of everything in them and
//! texts of these again takes longer than all that is done with them.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::scan::{NotJson, Scan};
use crate::error::WireError;

/// Fields of one object at most. No API has as many, and they are looked through one by one.
pub const MOST_FIELDS: usize = 64;

/// Choices of one chunk at most. APIs make 128 at most of one prompt, and each takes some 600 bytes here, however little of
/// the text it is.
pub const MOST_CHOICES: usize = 128;

/// Fields that room is made for at once.
const FIRST_FIELDS: usize = 8;

/// Names that chunks usually have, so that they need no room of their own.
const USUAL: [&str; 14] = [
    "id",
    "object",
    "created",
    "model",
    "system_fingerprint",
    "service_tier",
    "choices",
    "usage",
    "index",
    "delta",
    "logprobs",
    "finish_reason",
    "role",
    "content",
];

/// A field's name.
pub type Name = Cow<'static, str>;

/// A value as its JSON text, without line breaks.
#[derive(Clone, Debug)]
pub struct Json {
    /// What it is a part of.
    text: Arc<str>,
    start: usize,
    end: usize,
}

/// An object whose fields were told apart: each name once, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(Name, Json)>);

/// A choice of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// All fields. What `delta` says is said by the other.
    pub fields: Object,
    /// Empty where there is none.
    pub delta: Object,
}

/// A chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// All fields. What `choices` says is said by the other.
    pub fields: Object,
    /// None where there is no list of them.
    pub choices: Option<Vec<Choice>>,
}

impl Json {
    /// A value.
    pub fn of(value: &Value) -> Json {
        Json::whole(value.to_string().into())
    }

    /// A string.
    pub fn string(text: &str) -> Json {
        let mut json = String::with_capacity(text.len() + 2);
        write_string(text, &mut json);
        Json::whole(json.into())
    }

    fn whole(text: Arc<str>) -> Json {
        Json { start: 0, end: text.len(), text }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // Cut out of it by the reader, between characters.
        self.text.get(self.start..self.end).unwrap_or("null")
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }

    /// What it says, if it is a string, and one that has characters for all that it says.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        let json = self.as_str();
        let inner = json.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            serde_json::from_str(json).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        }
    }

    /// The number, if it is a natural one.
    pub fn number(&self) -> Option<u64> {
        self.as_str().parse().ok()
    }

    /// Whether it is a string, be it one with half a character.
    pub fn is_string(&self) -> bool {
        self.as_str().starts_with('"')
    }

    /// Whether it is a list or an object.
    pub fn is_nested(&self) -> bool {
        self.as_str().starts_with(['{', '['])
    }

    /// The value.
    ///
    /// # Errors
    /// If it is nested deeper than values may be, or a string has no characters for what it says.
    pub fn value(&self) -> Result<Value, WireError> {
        serde_json::from_str(self.as_str()).map_err(malformed)
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Json) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Object {
    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The same, unless that is null.
    pub fn some(&self, name: &str) -> Option<&Json> {
        self.get(name).filter(|value| !value.is_null())
    }

    /// Sets a field, in its place if it is there.
    pub fn set(&mut self, name: &'static str, value: Json) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, there)) => *there = value,
            None => self.0.push((Cow::Borrowed(name), value)),
        }
    }

    /// Removes what is not to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Json)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Reads one here in `text`. `each` gets the name of each field and may read its value, or leave it.
    fn read(
        text: &Arc<str>,
        scan: &mut Scan<'_>,
        mut each: impl FnMut(&mut Scan<'_>, &str) -> Result<(), NotJson>,
    ) -> Result<Object, NotJson> {
        let mut fields: Vec<(Name, Json)> = Vec::new();
        scan.object(|scan, name| {
            let Some(name) = read_name(&text[name]) else { return scan.wrong() };
            let start = scan.begins();
            each(scan, &name)?;
            if scan.ended() == start {
                scan.value()?;
            }
            let value = Json { text: Arc::clone(text), start, end: scan.ended() };
            // Of a name that comes twice the last counts, as everywhere.
            if let Some((_, there)) = fields.iter_mut().find(|(known, _)| *known == name) {
                *there = value;
            } else if fields.len() < MOST_FIELDS {
                if fields.is_empty() {
                    fields.reserve(FIRST_FIELDS);
                }
                fields.push((name, value));
            } else {
                return scan.wrong();
            }
            Ok(())
        })?;
        Ok(Object(fields))
    }
}

impl Choice {
    /// Which it is; the first if it does not say.
    pub fn index(&self) -> u64 {
        self.fields.get("index").and_then(Json::number).unwrap_or(0)
    }

    /// Why it has ended, if it has. A reason is a string that says something: some servers write an empty one into every
    /// chunk, and whatever else stands there ends nothing.
    pub fn finish_reason(&self) -> Option<Cow<'_, str>> {
        self.fields.get("finish_reason").and_then(Json::text).filter(|reason| !reason.is_empty())
    }

    /// Says something else than its delta does.
    pub fn say(&mut self, content: &str) {
        self.delta.set("content", Json::string(content));
        if self.fields.get("delta").is_none() {
            self.fields.set("delta", Json::whole("{}".into()));
        }
    }

    fn read(text: &Arc<str>, scan: &mut Scan<'_>) -> Result<Choice, NotJson> {
        let mut delta = Object::default();
        let fields = Object::read(text, scan, |scan, name| {
            if name == "delta" {
                delta = Object::default();
                if scan.peek() != Some(b'n') {
                    delta = Object::read(text, scan, |_, _| Ok(()))?;
                }
            }
            Ok(())
        })?;
        Ok(Choice { fields, delta })
    }
}

impl Chunk {
    /// Reads one.
    ///
    /// # Errors
    /// If it is no JSON object, or its choices or their deltas are none, or one has more than [`MOST_FIELDS`], or it has more
    /// choices than [`MOST_CHOICES`].
    pub fn read(text: &str) -> Result<Chunk, WireError> {
        let text: Arc<str> = if text.contains(['\n', '\r']) {
            // Outside of strings a line break is a blank like any other, and inside of them there is none in JSON.
            let mut scan = Scan::new(text);
            scan.value().and_then(|_| scan.end()).map_err(not_json)?;
            text.replace(['\n', '\r'], " ").into()
        } else {
            text.into()
        };
        let mut scan = Scan::new(&text);
        let mut choices = None;
        let fields = Object::read(&text, &mut scan, |scan, name| {
            if name == "choices" {
                choices = None;
                if scan.peek() != Some(b'n') {
                    let mut list = Vec::with_capacity(1);
                    scan.list(|scan| {
                        if list.len() == MOST_CHOICES {
                            return scan.wrong();
                        }
                        Choice::read(&text, scan).map(|choice| list.push(choice))
                    })?;
                    choices = Some(list);
                }
            }
            Ok(())
        });
        let fields = fields.and_then(|fields| scan.end().map(|()| fields)).map_err(not_json)?;
        Ok(Chunk { fields, choices })
    }

    /// As JSON text without line breaks.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(256);
        write_object(&self.fields, &mut out, |name, out| {
            let Some(choices) = self.choices.as_ref().filter(|_| name == "choices") else {
                return Written::Not;
            };
            write_list(choices, out);
            Written::Here
        });
        out
    }
}

/// Whether a value was written by somebody else.
#[derive(PartialEq, Eq)]
enum Written {
    Here,
    Not,
}

fn write_list(choices: &[Choice], out: &mut String) {
    out.push('[');
    for (i, choice) in choices.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_object(&choice.fields, out, |name, out| {
            if name != "delta" {
                return Written::Not;
            }
            write_object(&choice.delta, out, |_, _| Written::Not);
            Written::Here
        });
    }
    out.push(']');
}

fn write_object(object: &Object, out: &mut String, mut write: impl FnMut(&str, &mut String) -> Written) {
    out.push('{');
    for (i, (name, value)) in object.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        if write(name, out) == Written::Not {
            out.push_str(value.as_str());
        }
    }
    out.push('}');
}

/// Writes a JSON string.
fn write_string(text: &str, out: &mut String) {
    if text.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.push_str(&Value::from(text).to_string());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

fn malformed(error: serde_json::Error) -> WireError {
    // Where and in what way, never what.
    WireError::body(format!("a chunk is none: {error}"))
}

fn not_json(NotJson { at }: NotJson) -> WireError {
    WireError::body(format!("a chunk is none: byte {at} is not as it has to be"))
}

/// A field's name, of its JSON text. None if that has half a character.
fn read_name(json: &str) -> Option<Name> {
    let inner = json.get(1..json.len() - 1)?;
    let name: Cow<'_, str> =
        if inner.contains('\\') { serde_json::from_str::<String>(json).ok()?.into() } else { inner.into() };
    let usual = USUAL.iter().find(|usual| **usual == name);
    Some(usual.map_or_else(|| Cow::Owned(name.into_owned()), |usual| Cow::Borrowed(*usual)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Chunk {
        Chunk::read(&value.to_string()).unwrap()
    }

    #[test]
    fn a_chunk_is_written_as_it_was_read() {
        for value in [
            json!({"id": "a\"\\\n\u{1}ü", "choices": [{"index": 1, "delta": {"role": "assistant", "content": "\t"}, "x": [1, {}]}], "y": null}),
            json!({"choices": []}),
            json!({"choices": null, "usage": {"a": 1}}),
            json!({"choices": [{"delta": null}, {}], "strange \" name\n": 1e300}),
            json!({}),
        ] {
            let chunk = read(&value);
            let mut wanted = value;
            // What says nothing is an empty delta.
            if let Some(delta) = wanted.pointer_mut("/choices/0/delta").filter(|delta| delta.is_null()) {
                *delta = json!({});
            }
            assert_eq!(serde_json::from_str::<Value>(&chunk.to_json()).unwrap(), wanted);
        }
    }

    #[test]
    fn values_are_what_they_say_and_line_breaks_go() {
        let text = "{ \"a\" : \"x\\u00e9\\n\",\r\n \"b\": 12 ,\"c\": [ 1,\n2 ], \"a\": \"last\", \"d\": \"\\ud800\" }";
        let chunk = Chunk::read(text).unwrap();
        let get = |name| chunk.fields.get(name).unwrap();
        assert_eq!((get("a").text().as_deref(), get("b").number()), (Some("last"), Some(12)));
        assert_eq!((get("c").as_str(), get("c").value().unwrap()), ("[ 1, 2 ]", json!([1, 2])));
        assert!(get("c").is_nested() && chunk.choices.is_none() && !chunk.to_json().contains(['\n', '\r']));
        assert!(get("d").text().is_none(), "half a character");
        assert!(Chunk::read("{\"a\":\n\"x\ny\"}").is_err(), "a line break within a string");
    }

    #[test]
    fn what_is_changed_is_written() {
        let mut chunk =
            read(&json!({"model": "m", "choices": [{"index": 0, "delta": {"content": "a", "b": 1}}]}));
        chunk.fields.set("model", Json::string("route \"x\""));
        chunk.fields.set("created", Json::of(&json!(5)));
        let choice = &mut chunk.choices.as_mut().unwrap()[0];
        choice.delta.retain(|name| name != "b");
        choice.delta.set("content", Json::string("c"));
        let wanted = json!({"model": "route \"x\"", "choices": [{"index": 0, "delta": {"content": "c"}}], "created": 5});
        assert_eq!(serde_json::from_str::<Value>(&chunk.to_json()).unwrap(), wanted);
    }

    #[test]
    fn a_choice_ends_with_a_reason_that_says_something() {
        for (reason, wanted) in [
            (json!("stop"), Some("stop")),
            (json!("st\"op"), Some("st\"op")),
            (json!(""), None),
            (Value::Null, None),
            (json!(0), None),
            (json!(["stop"]), None),
        ] {
            let chunk = read(&json!({"choices": [{"delta": {}, "finish_reason": reason}]}));
            assert_eq!(chunk.choices.unwrap()[0].finish_reason().as_deref(), wanted, "{reason}");
        }
        let none = read(&json!({"choices": [{"delta": {}}]}));
        assert_eq!(none.choices.unwrap()[0].finish_reason(), None);
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let many: Vec<String> = (0..=MOST_FIELDS).map(|i| format!("\"f{i}\":1")).collect();
        let many = format!("{{{}}}", many.join(","));
        for text in [
            "",
            "[]",
            "1",
            "{",
            "{} x",
            "{\"choices\": 1}",
            "{\"choices\": [1]}",
            "{\"choices\": [{\"delta\": \"x\"}]}",
            &many,
        ] {
            assert!(Chunk::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_chunk_has_so_many_choices_and_one_that_says_nothing_takes_no_room() {
        let with = |choices: usize| format!("{{\"choices\":[{}]}}", vec!["{}"; choices].join(","));
        let most = Chunk::read(&with(MOST_CHOICES)).unwrap().choices.unwrap();
        assert_eq!(most.len(), MOST_CHOICES);
        assert!(most.iter().all(|choice| choice.fields.0.capacity() == 0 && choice.delta.0.capacity() == 0));
        assert!(Chunk::read(&with(MOST_CHOICES + 1)).is_err());
        // It ends where there is one too many, not at the end of the text.
        let too_many = with(1 << 20);
        for text in [&too_many, &too_many.replace(":[", ":\n[")] {
            let error = Chunk::read(text).unwrap_err().to_string();
            let begins = text.find('[').unwrap() + 1;
            assert!(error.contains(&format!("byte {}", begins + 3 * MOST_CHOICES)), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_is_a_chunk_as_a_value_would_be_or_none(text in "[{}\\[\\]\",:a-c0-9 \\\\n\n\r]{0,40}") {
            if let Ok(chunk) = Chunk::read(&text) {
                let value: Value = serde_json::from_str(&text).unwrap();
                proptest::prop_assert!(value.is_object());
                let again: Value = serde_json::from_str(&chunk.to_json()).unwrap();
                proptest::prop_assert_eq!(again, value);
            }
        }
    }
}
