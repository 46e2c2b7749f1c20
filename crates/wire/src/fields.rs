//! Reading an object field by field, until nothing is left.
//!
//! Fields are taken out by name and kind, so that every refusal names the field, and what nobody asked for remains
//! to be refused or carried. What is null is as good as absent; what is false or empty asks for nothing, and is never
//! refused.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::WireError;

/// An object of a body, and where it is.
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// Put before a field's name: empty at the top, else like `messages[3].`.
    path: String,
}

/// Parses a body.
pub(crate) fn parse(body: &[u8]) -> Result<Value, WireError> {
    serde_json::from_slice(body)
        .map_err(|error| WireError::body(format!("the body is not valid JSON: {error}")))
}

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

/// Refuses `value` at `param`, because something else was wanted. Never shows it.
pub(crate) fn wrong_kind(param: &str, wanted: &str, value: &Value) -> WireError {
    WireError::malformed(param, format!("{param} must be {wanted}, not {}", kind(value)))
}

/// Whether a field that nobody knows can be passed over.
pub(crate) fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

impl Fields {
    /// The body itself.
    pub(crate) fn root(value: Value) -> Result<Fields, WireError> {
        match value {
            Value::Object(map) => Ok(Fields { map, path: String::new() }),
            other => Err(WireError::body(format!("the body must be a JSON object, not {}", kind(&other)))),
        }
    }

    /// The object at `param`.
    pub(crate) fn at(param: &str, value: Value) -> Result<Fields, WireError> {
        match value {
            Value::Object(map) => Ok(Fields { map, path: format!("{param}.") }),
            other => Err(wrong_kind(param, "an object", &other)),
        }
    }

    /// A field's full name.
    pub(crate) fn param(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// Takes a field that is there and not null.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.shift_remove(name).filter(|value| !value.is_null())
    }

    /// Takes a field of one value, and leaves it with any other.
    pub(crate) fn take_if(&mut self, name: &str, is_it: impl FnOnce(&Value) -> bool) -> Option<Value> {
        if self.map.get(name).is_some_and(is_it) { self.take(name) } else { None }
    }

    fn wrong(&self, name: &str, wanted: &str, value: &Value) -> WireError {
        wrong_kind(&self.param(name), wanted, value)
    }

    /// Takes a field that there must be.
    pub(crate) fn required(&mut self, name: &str) -> Result<Value, WireError> {
        self.take(name).ok_or_else(|| WireError::missing(self.param(name)))
    }

    /// Takes a string.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, WireError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// Takes a string that there must be.
    pub(crate) fn required_string(&mut self, name: &str) -> Result<String, WireError> {
        self.string(name)?.ok_or_else(|| WireError::missing(self.param(name)))
    }

    /// Takes `true` or `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, WireError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// Takes a number within `range`.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, WireError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_f64() {
            None => Err(self.wrong(name, "a number", &value)),
            Some(number) if range.contains(&number) => Ok(Some(number)),
            Some(_) => {
                let param = self.param(name);
                let message = format!("{param} must be between {} and {}", range.start(), range.end());
                Err(WireError::malformed(param, message))
            }
        }
    }

    /// Takes a whole number.
    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, WireError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_i64().map(Some).ok_or_else(|| self.wrong(name, "an integer", &value))
    }

    /// Takes a whole number that is not negative.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, WireError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let wanted = "an integer that is not negative";
        value.as_u64().map(Some).ok_or_else(|| self.wrong(name, wanted, &value))
    }

    /// The same, of tokens that are wanted: at least 1.
    pub(crate) fn tokens(&mut self, name: &str) -> Result<Option<u32>, WireError> {
        match self.count(name)? {
            Some(0) => {
                let param = self.param(name);
                let message = format!("{param} must be at least 1");
                Err(WireError::malformed(param, message))
            }
            other => Ok(other.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX))),
        }
    }

    /// Takes an array; absent is empty. Each item comes with its place.
    pub(crate) fn array(&mut self, name: &str) -> Result<Vec<(String, Value)>, WireError> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(placed(&self.param(name), items)),
            Some(other) => Err(self.wrong(name, "an array", &other)),
        }
    }

    /// Takes an object to be read further.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Fields>, WireError> {
        self.take(name).map(|value| Fields::at(&self.param(name), value)).transpose()
    }

    /// Takes an object that there must be.
    pub(crate) fn required_object(&mut self, name: &str) -> Result<Fields, WireError> {
        let value = self.required(name)?;
        Fields::at(&self.param(name), value)
    }

    /// Takes an object as it is; absent is empty.
    pub(crate) fn map(&mut self, name: &str) -> Result<Map<String, Value>, WireError> {
        Ok(self.object(name)?.map_or_else(Map::new, |fields| fields.map))
    }

    /// Leaves out fields that change nothing.
    pub(crate) fn skip(&mut self, names: &[&str]) {
        for name in names {
            self.map.shift_remove(*name);
        }
    }

    /// What is left.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }

    /// Refuses what is left, of what asks for something.
    pub(crate) fn end(self) -> Result<(), WireError> {
        let path = self.path;
        match self.map.iter().find(|(_, value)| !asks_for_nothing(value)) {
            None => Ok(()),
            Some((name, _)) => Err(WireError::unsupported(
                format!("{path}{}", name.chars().take(64).collect::<String>()),
                "is not known here; leave it out",
            )),
        }
    }
}

/// Items with their places.
pub(crate) fn placed(param: &str, items: Vec<Value>) -> Vec<(String, Value)> {
    items.into_iter().enumerate().map(|(i, item)| (format!("{param}[{i}]"), item)).collect()
}

/// The JSON text of a call's arguments as an object.
pub(crate) fn arguments_object(param: &str, arguments: &str) -> Result<Value, WireError> {
    if arguments.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => Ok(Value::Object(map)),
        _ => Err(WireError::malformed(param, format!("{param} must be the JSON text of an object"))),
    }
}

/// An object of the pairs that are there.
pub(crate) fn compact<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Map<String, Value> {
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
