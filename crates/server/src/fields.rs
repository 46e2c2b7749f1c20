//! Reading a JSON body field by field.
//!
//! A body is read into a `serde_json` tree and each field is asked for by name, kind and range, so
//! that every refusal names the field in `param` and says what was wanted and what came. Derived
//! structs cannot: `flatten`ed ones lose the path, and their sentences speak of Rust types.
//! `null` is as good as absent, as OpenAI's clients mean it. Unknown fields are ignored, because
//! those clients send new ones all the time; fields that are known but not supported are refused
//! by [`Fields::refuse`], never ignored.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::ApiError;

/// An object of the body and where it is.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// Put before a field's name in `param`: empty at the top, else like `messages[3].`.
    path: String,
}

/// Parses a body.
///
/// # Errors
/// 400 with line and column if it is not JSON.
pub(crate) fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Err(ApiError::bad_request("the request has no body; send a JSON object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the request's body is not valid JSON: {error}")))
}

/// What came, for "must be a number, not {}". Never the value itself, which may be long or private.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Refuses `value` at `param`, because something else was wanted.
pub(crate) fn wrong_kind(param: &str, wanted: &str, value: &Value) -> ApiError {
    ApiError::bad_field(param, format!("{param} must be {wanted}, not {}", kind(value)))
}

/// The object at `param`.
pub(crate) fn object<'a>(param: &str, value: &'a Value) -> Result<Fields<'a>, ApiError> {
    match value {
        Value::Object(map) => Ok(Fields { map, path: format!("{param}.") }),
        other => Err(wrong_kind(param, "an object", other)),
    }
}

/// The token id at `param`, which must be in a vocabulary of `vocab`.
pub(crate) fn token_id(param: &str, value: &Value, vocab: usize) -> Result<u32, ApiError> {
    let Value::Number(number) = value else { return Err(wrong_kind(param, "a token id", value)) };
    number.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| (*id as usize) < vocab).ok_or_else(
        || {
            ApiError::bad_field(
                param,
                format!(
                    "{param} holds {number}, which is not a token id of this model: 0 to {}",
                    vocab.saturating_sub(1)
                ),
            )
        },
    )
}

/// The token ids in the array at `param`. A path is made of those alone that are wrong: prompts have many.
pub(crate) fn token_ids(param: &str, values: &[Value], vocab: usize) -> Result<Vec<u32>, ApiError> {
    let id = |(i, value): (usize, &Value)| {
        token_id("", value, vocab).or_else(|_| token_id(&format!("{param}[{i}]"), value, vocab))
    };
    values.iter().enumerate().map(id).collect()
}

impl<'a> Fields<'a> {
    /// The body itself.
    pub(crate) fn root(value: &'a Value) -> Result<Fields<'a>, ApiError> {
        match value {
            Value::Object(map) => Ok(Fields { map, path: String::new() }),
            other => Err(ApiError::bad_request(format!(
                "the request's body must be a JSON object, not {}",
                kind(other)
            ))),
        }
    }

    /// A field's full name, as `param` gives it.
    pub(crate) fn param(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, wanted: &str, value: &Value) -> ApiError {
        wrong_kind(&self.param(name), wanted, value)
    }

    fn out_of_range(&self, name: &str, wanted: String) -> ApiError {
        let param = self.param(name);
        let message = format!("{param} must be {wanted}");
        ApiError::bad_field(param, message)
    }

    /// A number within `range`.
    pub(crate) fn float(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Some(number) = value.as_f64() else { return Err(self.wrong(name, "a number", value)) };
        if !range.contains(&number) {
            let wanted = format!("between {} and {}, not {number}", range.start(), range.end());
            return Err(self.out_of_range(name, wanted));
        }
        Ok(Some(number as f32))
    }

    /// A number above 0 and at most `max`.
    pub(crate) fn positive_float(&self, name: &str, max: f64) -> Result<Option<f32>, ApiError> {
        match self.float(name, 0.0..=max)? {
            // What rounds to 0 as f32 would divide by 0 or keep nothing.
            Some(0.0) => Err(self.out_of_range(name, format!("above 0 and at most {max}"))),
            other => Ok(other),
        }
    }

    /// A whole number within `range`.
    pub(crate) fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Value::Number(number) = value else { return Err(self.wrong(name, "an integer", value)) };
        match number.as_i64() {
            Some(integer) if range.contains(&integer) => Ok(Some(integer)),
            Some(_) => Err(self.out_of_range(
                name,
                format!("an integer between {} and {}, not {number}", range.start(), range.end()),
            )),
            None => Err(self.out_of_range(name, format!("an integer, not {number}"))),
        }
    }

    /// A whole number from `min`, cut off at `u32::MAX`.
    pub(crate) fn count(&self, name: &str, min: u32) -> Result<Option<u32>, ApiError> {
        let integer = self.integer(name, i64::MIN..=i64::MAX)?;
        match integer {
            None => Ok(None),
            Some(value) if value < i64::from(min) => {
                Err(self.out_of_range(name, format!("an integer of at least {min}, not {value}")))
            }
            Some(value) => Ok(Some(u32::try_from(value).unwrap_or(u32::MAX))),
        }
    }

    /// `true` or `false`; absent is false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.optional_flag(name)?.unwrap_or(false))
    }

    /// `true`, `false` or absent.
    pub(crate) fn optional_flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    /// A string.
    pub(crate) fn string(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// A string of at most `max` bytes.
    pub(crate) fn short_string(&self, name: &str, max: usize) -> Result<Option<&'a str>, ApiError> {
        match self.string(name)? {
            Some(text) if text.len() > max => {
                Err(self.out_of_range(name, format!("a string of at most {max} bytes, not {}", text.len())))
            }
            other => Ok(other),
        }
    }

    /// An array of at most `max` items.
    pub(crate) fn array(&self, name: &str, max: usize) -> Result<Option<&'a [Value]>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) if items.len() > max => {
                Err(self.out_of_range(name, format!("an array of at most {max} items, not {}", items.len())))
            }
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong(name, "an array", other)),
        }
    }

    /// An object.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, ApiError> {
        self.get(name).map(|value| object(&self.param(name), value)).transpose()
    }

    /// The object's own map.
    pub(crate) fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// Refuses a field that this version understands but does not do. `false` asks for nothing.
    pub(crate) fn refuse(&self, name: &str, why: &str) -> Result<(), ApiError> {
        match self.get(name) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(_) => {
                let param = self.param(name);
                let message = format!("{param} {why}");
                Err(ApiError::unsupported(param, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error<T: std::fmt::Debug>(result: Result<T, ApiError>) -> Value {
        serde_json::from_str(&result.unwrap_err().to_json()).unwrap()
    }

    #[test]
    fn a_refusal_names_the_field_the_wish_and_what_came() {
        let body = json!({"t": "hot", "big": 3.5, "n": 0, "half": 1.5, "s": 1, "list": [1, 2, 3], "o": []});
        let fields = Fields::root(&body).unwrap();
        let table = [
            (error(fields.float("t", 0.0..=2.0)), "t", "t must be a number, not a string"),
            (error(fields.float("big", 0.0..=2.0)), "big", "big must be between 0 and 2, not 3.5"),
            (error(fields.positive_float("n", 1.0)), "n", "n must be above 0 and at most 1"),
            (error(fields.integer("half", 1..=9)), "half", "half must be an integer, not 1.5"),
            (error(fields.integer("n", 1..=9)), "n", "n must be an integer between 1 and 9, not 0"),
            (error(fields.count("n", 1)), "n", "n must be an integer of at least 1, not 0"),
            (error(fields.string("s")), "s", "s must be a string, not a number"),
            (error(fields.short_string("t", 2)), "t", "t must be a string of at most 2 bytes, not 3"),
            (error(fields.flag("s")), "s", "s must be true or false, not a number"),
            (error(fields.array("list", 2)), "list", "list must be an array of at most 2 items, not 3"),
            (error(fields.object("o").map(|_| ())), "o", "o must be an object, not an array"),
            (
                error(token_id("x", &json!(9), 9)),
                "x",
                "x holds 9, which is not a token id of this model: 0 to 8",
            ),
        ];
        for (got, param, message) in table {
            assert_eq!(got["error"]["param"], param);
            assert_eq!(got["error"]["message"], message);
        }
    }

    #[test]
    fn null_is_absent_and_nested_fields_have_a_path() {
        let body = json!({"a": null, "stream_options": {"include_usage": 1}});
        let fields = Fields::root(&body).unwrap();
        assert_eq!(fields.float("a", 0.0..=1.0), Ok(None));
        let nested = fields.object("stream_options").unwrap().unwrap();
        assert_eq!(error(nested.flag("include_usage"))["error"]["param"], "stream_options.include_usage");
    }

    #[test]
    fn broken_json_says_where() {
        for (body, wanted) in [
            ("", "no body"),
            ("{\n\"a\": }", "line 2 column 6"),
            ("{\"a\": 1", "line 1"),
            ("\u{1}", "line 1 column 1"),
        ] {
            let got = error(parse(body.as_bytes()));
            assert!(got["error"]["message"].as_str().unwrap().contains(wanted), "{got}");
        }
        // Deep nesting is refused rather than recursed into.
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_not_supported_is_refused_unless_it_asks_for_nothing() {
        let body = json!({"on": true, "off": false, "none": null});
        let fields = Fields::root(&body).unwrap();
        assert!(fields.refuse("on", "is not supported").is_err());
        assert!(fields.refuse("off", "is not supported").is_ok());
        assert!(fields.refuse("none", "is not supported").is_ok());
    }
}
