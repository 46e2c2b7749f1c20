//! `tojson` as transformers defines it: Python's `json.dumps(value, ensure_ascii=False)`.
//!
//! Jinja's own filter escapes for HTML and sorts keys; models are trained on transformers'.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Deeper values cannot come from a request, and would exhaust the stack.
const MAX_DEPTH: usize = 256;

/// How the text is laid out.
struct Style {
    ensure_ascii: bool,
    sort_keys: bool,
    /// What one level of nesting is indented by; one line if `None`.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
}

/// The filter: `value | tojson(indent=…, ensure_ascii=…, separators=…, sort_keys=…)`.
pub(crate) fn tojson(state: &mut State<'_, '_>, value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        Some(value) if !value.is_none() => Some(indent_of(&value)?),
        _ => None,
    };
    let separators = kwargs.get::<Option<Value>>("separators")?.filter(|value| !value.is_none());
    let (item_separator, key_separator) = match separators {
        Some(pair) => (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string()),
        None if indent.is_some() => (",".to_string(), ": ".to_string()),
        None => (", ".to_string(), ": ".to_string()),
    };
    let style = Style {
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        item_separator,
        key_separator,
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    style.write(value, 0, &mut out)?;
    state.consume_fuel(out.len() as u64 / 8)?;
    Ok(Value::from(out))
}

fn indent_of(value: &Value) -> Result<String, Error> {
    match (value.as_str(), value.as_i64()) {
        (Some(text), _) if text.len() <= 64 => Ok(text.to_string()),
        (None, Some(width)) if width <= 64 => Ok(" ".repeat(width.max(0) as usize)),
        _ => Err(failure(format!("tojson: indent must be a number up to 64 or a short string, not {value}"))),
    }
}

fn failure(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(failure(format!("tojson: the value is nested more than {MAX_DEPTH} levels deep")));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => write_number(value, out)?,
            ValueKind::String => self.write_string(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => self.write_list(value, depth, out)?,
            ValueKind::Map => self.write_map(value, depth, out)?,
            other => return Err(failure(format!("tojson: a value of the kind {other} has no JSON form"))),
        }
        Ok(())
    }

    fn write_list(&self, list: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        out.push('[');
        let mut is_empty = true;
        for item in list.try_iter()? {
            self.separate(is_empty, depth + 1, out);
            self.write(&item, depth + 1, out)?;
            is_empty = false;
        }
        self.close(is_empty, depth, ']', out);
        Ok(())
    }

    fn write_map(&self, map: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        let mut keys: Vec<Value> = map.try_iter()?.collect();
        if self.sort_keys {
            keys.sort();
        }
        out.push('{');
        for (i, key) in keys.iter().enumerate() {
            self.separate(i == 0, depth + 1, out);
            match key.kind() {
                ValueKind::String => self.write_string(key.as_str().unwrap_or_default(), out),
                ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                    out.push('"');
                    self.write(key, depth + 1, out)?;
                    out.push('"');
                }
                other => return Err(failure(format!("tojson: keys cannot be of the kind {other}"))),
            }
            out.push_str(&self.key_separator);
            self.write(&map.get_item(key)?, depth + 1, out)?;
        }
        self.close(keys.is_empty(), depth, '}', out);
        Ok(())
    }

    fn separate(&self, is_first: bool, depth: usize, out: &mut String) {
        if !is_first {
            out.push_str(&self.item_separator);
        }
        self.new_line(depth, out);
    }

    fn close(&self, is_empty: bool, depth: usize, bracket: char, out: &mut String) {
        if !is_empty {
            self.new_line(depth, out);
        }
        out.push(bracket);
    }

    fn new_line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            for _ in 0..depth {
                out.push_str(indent);
            }
        }
    }

    fn write_string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
                c if self.ensure_ascii && !(' '..='~').contains(&c) && c != '\u{7f}' => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

fn write_number(value: &Value, out: &mut String) -> Result<(), Error> {
    if value.is_integer() {
        out.push_str(&value.to_string());
        return Ok(());
    }
    let number = f64::try_from(value.clone())?;
    out.push_str(&match number {
        n if n.is_nan() => "NaN".to_string(),
        n if n.is_infinite() => if n > 0.0 { "Infinity" } else { "-Infinity" }.to_string(),
        n => python_float(n),
    });
    Ok(())
}

/// Python's `repr` of a float: as Rust's shortest form, but with a signed two-digit exponent.
pub(crate) fn python_float(number: f64) -> String {
    let text = format!("{number:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::python_float;

    #[test]
    fn floats_look_like_pythons() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e22, "1.5e+22"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (2.5e-300, "2.5e-300"),
            (-0.0, "-0.0"),
        ];
        for (number, text) in cases {
            assert_eq!(python_float(number), text);
        }
    }
}
