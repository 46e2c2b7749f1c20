//! Typed metadata: the key-value part of a GGUF file.
//!
//! Getters name the key, the type expected and the type found. Integers are accepted in any width
//! and sign that holds the value, since writers disagree on both.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// A metadata value, in GGUF's types.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A metadata array; all elements have one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// GGUF's number for the type.
    pub(crate) fn type_id(&self) -> u32 {
        match self {
            Value::U8(_) => 0,
            Value::I8(_) => 1,
            Value::U16(_) => 2,
            Value::I16(_) => 3,
            Value::U32(_) => 4,
            Value::I32(_) => 5,
            Value::F32(_) => 6,
            Value::Bool(_) => 7,
            Value::String(_) => 8,
            Value::Array(_) => 9,
            Value::U64(_) => 10,
            Value::I64(_) => 11,
            Value::F64(_) => 12,
        }
    }

    /// The type, as errors and `models inspect` name it: `u32`, `string`, `array of f32`.
    pub fn type_name(&self) -> String {
        match self {
            Value::Array(array) => format!("array of {}", array.element_name()),
            other => type_name(other.type_id()).to_owned(),
        }
    }

    fn as_i128(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(x) => x.into(),
            Value::I8(x) => x.into(),
            Value::U16(x) => x.into(),
            Value::I16(x) => x.into(),
            Value::U32(x) => x.into(),
            Value::I32(x) => x.into(),
            Value::U64(x) => x.into(),
            Value::I64(x) => x.into(),
            _ => return None,
        })
    }
}

impl Array {
    /// GGUF's number for the element type.
    pub(crate) fn element_id(&self) -> u32 {
        match self {
            Array::U8(_) => 0,
            Array::I8(_) => 1,
            Array::U16(_) => 2,
            Array::I16(_) => 3,
            Array::U32(_) => 4,
            Array::I32(_) => 5,
            Array::F32(_) => 6,
            Array::Bool(_) => 7,
            Array::String(_) => 8,
            Array::Array(_) => 9,
            Array::U64(_) => 10,
            Array::I64(_) => 11,
            Array::F64(_) => 12,
        }
    }

    fn element_name(&self) -> &'static str {
        type_name(self.element_id())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::Array(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F64(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn type_name(id: u32) -> &'static str {
    const NAMES: [&str; 13] =
        ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"];
    NAMES.get(id as usize).copied().unwrap_or("unknown")
}

/// All keys of a file, in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key, returning the value it had.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        self.values.insert(key.into(), value.into())
    }

    /// Removes a key, returning the value it had.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.values.remove(key)
    }

    /// A value, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Whether a key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Keys and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// An integer that must be there.
    ///
    /// # Errors
    /// If the key is absent, not an integer, or out of `u32`'s range.
    pub fn u32(&self, key: &str) -> Result<u32> {
        required(key, "u32", self.u32_opt(key)?)
    }

    /// An integer that may be absent.
    ///
    /// # Errors
    /// If it is there and not an integer in `u32`'s range.
    pub fn u32_opt(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let n = value.as_i128().ok_or_else(|| wrong_type(key, "u32", value))?;
        u32::try_from(n).map(Some).map_err(|_| Error::key(key, format!("is {n}, which is no u32")))
    }

    /// A number that must be there.
    ///
    /// # Errors
    /// If the key is absent or not a number.
    pub fn f32(&self, key: &str) -> Result<f32> {
        required(key, "f32", self.f32_opt(key)?)
    }

    /// A number that may be absent.
    ///
    /// # Errors
    /// If it is there and neither float nor integer.
    pub fn f32_opt(&self, key: &str) -> Result<Option<f32>> {
        Ok(Some(match self.get(key) {
            None => return Ok(None),
            Some(Value::F32(x)) => *x,
            Some(Value::F64(x)) => *x as f32,
            Some(value) => value.as_i128().ok_or_else(|| wrong_type(key, "f32", value))? as f32,
        }))
    }

    /// A truth value that may be absent.
    ///
    /// # Errors
    /// If it is there and not a bool.
    pub fn bool_opt(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(x)) => Ok(Some(*x)),
            Some(value) => Err(wrong_type(key, "bool", value)),
        }
    }

    /// A string that must be there.
    ///
    /// # Errors
    /// If the key is absent or not a string.
    pub fn str(&self, key: &str) -> Result<&str> {
        required(key, "string", self.str_opt(key)?)
    }

    /// A string that may be absent.
    ///
    /// # Errors
    /// If it is there and not a string.
    pub fn str_opt(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(x)) => Ok(Some(x)),
            Some(value) => Err(wrong_type(key, "string", value)),
        }
    }

    /// An array of strings, empty if absent.
    ///
    /// # Errors
    /// If it is there and something else.
    pub fn strings(&self, key: &str) -> Result<&[String]> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(Array::String(x))) => Ok(x),
            Some(value) => Err(wrong_type(key, "array of string", value)),
        }
    }

    /// An array of numbers, empty if absent.
    ///
    /// # Errors
    /// If it is there and something else.
    pub fn f32s(&self, key: &str) -> Result<&[f32]> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(Array::F32(x))) => Ok(x),
            Some(value) => Err(wrong_type(key, "array of f32", value)),
        }
    }

    /// An array of integers of any width, empty if absent.
    ///
    /// # Errors
    /// If it is there and something else, or a value is out of `i32`'s range.
    pub fn i32s(&self, key: &str) -> Result<Vec<i32>> {
        let wide: Vec<i128> = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(Array::I32(x))) => return Ok(x.clone()),
            Some(Value::Array(Array::U8(x))) => x.iter().map(|&x| x.into()).collect(),
            Some(Value::Array(Array::I8(x))) => x.iter().map(|&x| x.into()).collect(),
            Some(Value::Array(Array::U16(x))) => x.iter().map(|&x| x.into()).collect(),
            Some(Value::Array(Array::I16(x))) => x.iter().map(|&x| x.into()).collect(),
            Some(Value::Array(Array::U32(x))) => x.iter().map(|&x| x.into()).collect(),
            Some(Value::Array(Array::U64(x))) => x.iter().map(|&x| x.into()).collect(),
            Some(Value::Array(Array::I64(x))) => x.iter().map(|&x| x.into()).collect(),
            Some(value) => return Err(wrong_type(key, "array of i32", value)),
        };
        wide.into_iter()
            .map(|n| i32::try_from(n).map_err(|_| Error::key(key, format!("holds {n}, which is no i32"))))
            .collect()
    }
}

fn required<T>(key: &str, expected: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::key(key, format!("is missing; expected a {expected}")))
}

fn wrong_type(key: &str, expected: &str, found: &Value) -> Error {
    Error::key(key, format!("is of type {}; expected {expected}", found.type_name()))
}

macro_rules! from_type {
    ($($variant:ident: $ty:ty),*) => {$(
        impl From<$ty> for Value {
            fn from(x: $ty) -> Value {
                Value::$variant(x)
            }
        }
        impl From<Vec<$ty>> for Value {
            fn from(x: Vec<$ty>) -> Value {
                Value::Array(Array::$variant(x))
            }
        }
    )*};
}
from_type!(U8: u8, I8: i8, U16: u16, I16: i16, U32: u32, I32: i32, F32: f32, Bool: bool, String: String,
    U64: u64, I64: i64, F64: f64);

impl From<&str> for Value {
    fn from(x: &str) -> Value {
        Value::String(x.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let mut m = Metadata::new();
        m.insert("wide", 7u64);
        m.insert("negative", -1i32);
        m.insert("half", 0.5f64);
        m.insert("word", "hello");
        m.insert("ids", vec![1u32, 2]);
        m
    }

    #[test]
    fn integers_are_accepted_in_any_width() {
        assert_eq!(sample().u32("wide").unwrap(), 7);
        assert_eq!(sample().f32("wide").unwrap(), 7.0);
        assert_eq!(sample().f32("half").unwrap(), 0.5);
        assert_eq!(sample().i32s("ids").unwrap(), [1, 2]);
        assert_eq!(sample().u32_opt("absent").unwrap(), None);
    }

    #[test]
    fn errors_name_the_key_and_the_types() {
        let m = sample();
        let text = |e: Error| e.to_string();
        assert_eq!(text(m.u32("word").unwrap_err()), "metadata key \"word\" is of type string; expected u32");
        assert_eq!(text(m.u32("absent").unwrap_err()), "metadata key \"absent\" is missing; expected a u32");
        assert_eq!(text(m.u32("negative").unwrap_err()), "metadata key \"negative\" is -1, which is no u32");
        assert_eq!(
            text(m.strings("ids").unwrap_err()),
            "metadata key \"ids\" is of type array of u32; expected array of string"
        );
    }
}
