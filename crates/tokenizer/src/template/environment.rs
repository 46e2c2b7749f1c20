//! Jinja as transformers configures it (`chat_template_utils.py`): block trimming, loop controls,
//! Python's string methods, `tojson`, `raise_exception`, `strftime_now`, `{% generation %}`.
//!
//! Templates come out of model files, so a render has a budget of work and memory.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;
use regex::Regex;

use super::{TemplateError, clock, json};

/// The one template's name.
const NAME: &str = "chat_template";
/// The longest template; published ones stay under 20 kB.
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// One unit pays for an instruction or 64 bytes: at most 512 MiB and about a second of work.
const FUEL: u64 = 8 << 20;
/// Nested macros and includes.
const RECURSION: usize = 100;
/// Where a render keeps the time it started, so that rendering it again gives the same text.
pub(super) const NOW: &str = "__garrison_now";

/// What `raise_exception` said; carried as the cause of the engine's error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// A compiled template and its environment.
pub(crate) struct Compiled(Environment<'static>);

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compiled")
    }
}

impl Compiled {
    /// Compiles `source`.
    pub(crate) fn new(source: &str) -> Result<Compiled, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TemplateError::TooLong { bytes: source.len(), limit: MAX_SOURCE_BYTES });
        }
        let mut environment = Environment::new();
        environment.set_syntax(syntax()?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(python_method);
        environment.set_formatter(write_value);
        environment.set_recursion_limit(RECURSION);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(false);
        environment.add_filter("tojson", json::tojson);
        environment.add_filter("string", |value: &Value| Value::from(value.to_string()));
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(NAME, without_generation_tags(source)?)
            .map_err(|e| TemplateError::Syntax(describe(&e)))?;
        Ok(Compiled(environment))
    }

    /// Renders with `variables`.
    pub(crate) fn render(&self, variables: &serde_json::Value) -> Result<String, TemplateError> {
        let template = self.0.get_template(NAME).map_err(|e| TemplateError::Syntax(describe(&e)))?;
        template.render(Value::from(Serde(variables))).map_err(|e| match raised(&e) {
            Some(message) => TemplateError::Refused(message),
            None if e.kind() == ErrorKind::OutOfFuel => TemplateError::TooMuchWork,
            None => TemplateError::Failed(describe(&e)),
        })
    }
}

/// White space around blocks as transformers sets it.
fn syntax() -> Result<SyntaxConfig, TemplateError> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(false)
        .build()
        .map_err(|e| TemplateError::Failed(describe(&e)))
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Python's methods on strings, lists and dicts.
fn python_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (method, value.as_str(), args) {
        ("title", Some(text), []) => Ok(title_case(text).into()),
        _ => unknown_method_callback(state, value, method, args),
    }
}

/// `str.title`: a capital after every character that is no letter. (Jinja's filter of that name
/// only begins words after white space and a few signs.)
fn title_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_letter = false;
    for c in text.chars() {
        match after_letter {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        after_letter = c.is_alphabetic();
    }
    out
}

/// `{{ value }}`: as the engine writes it, which is Python's way but for floats.
fn write_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match f64::try_from(value.clone()) {
        Ok(number) if value.is_number() && !value.is_integer() && number.is_finite() => {
            escape_formatter(out, state, &json::python_float(number).into())
        }
        _ => escape_formatter(out, state, value),
    }
}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let raised = Raised(message.to_string());
    Err(Error::new(ErrorKind::InvalidOperation, "the template raised an exception").with_source(raised))
}

fn strftime_now(state: &mut State<'_, '_>, format: &str) -> String {
    let moment = state.lookup(NOW).and_then(|value| value.as_i64()).unwrap_or_default();
    clock::strftime(format, moment)
}

/// What the template said if it refused the conversation itself.
fn raised(error: &Error) -> Option<String> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return Some(message.clone());
        }
        cause = error.source();
    }
    None
}

fn describe(error: &Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}

/// `{% generation %}` marks what to train on; at inference it is a plain scope, as `{% with %}` is.
fn without_generation_tags(source: &str) -> Result<String, TemplateError> {
    let tag = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")
        .map_err(|e| TemplateError::Failed(e.to_string()))?;
    Ok(tag.replace_all(source, "{%$1 ${2}with $3%}").into_owned())
}
