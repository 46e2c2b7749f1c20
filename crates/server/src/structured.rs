//! What an answer must be: OpenAI's `response_format` and vLLM's `structured_outputs`.

use garrison_engine::{Constraint, Engine, Grammar};
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, wrong_kind};

/// Texts to choose from at most.
const MAX_CHOICES: usize = 1024;
/// Bytes of a regular expression or grammar at most. Schemas are bounded by the body and by what
/// the compiler takes.
const MAX_GRAMMAR_BYTES: usize = 256 << 10;

/// A grammar, and the field that asked for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Structure {
    pub(crate) grammar: Grammar,
    param: String,
}

impl Structure {
    /// A grammar that `param` asks for.
    pub(crate) fn new(grammar: Grammar, param: &str) -> Structure {
        Structure { grammar, param: param.into() }
    }

    /// What the request asks for, if it asks for something.
    pub(crate) fn read(fields: &Fields<'_>) -> Result<Option<Structure>, ApiError> {
        let format = response_format(fields)?;
        let outputs = structured_outputs(fields)?;
        if format.is_some() && outputs.is_some() {
            let message =
                "structured_outputs and response_format both say what the answer must be; send one of them";
            return Err(ApiError::bad_field("structured_outputs", message));
        }
        Ok(format.or(outputs))
    }

    /// Compiles the grammar for a model.
    pub(crate) fn compile(&self, engine: &Engine) -> Result<Constraint, ApiError> {
        engine.compile(&self.grammar).map_err(|error| {
            ApiError::bad_field(&self.param, format!("{} cannot be enforced: {error}", self.param))
        })
    }
}

fn response_format(fields: &Fields<'_>) -> Result<Option<Structure>, ApiError> {
    let Some(format) = fields.object("response_format")? else { return Ok(None) };
    let found = |grammar, param: &str| Ok(Some(Structure::new(grammar, param)));
    match format.string("type")? {
        Some("text") => Ok(None),
        Some("json_object") => found(Grammar::JsonObject, "response_format"),
        Some("json_schema") => {
            let missing = || {
                let param = "response_format.json_schema.schema";
                ApiError::bad_field(param, format!("{param} is missing"))
            };
            let schema = format.object("json_schema")?.ok_or_else(missing)?;
            let schema = schema.get("schema").ok_or_else(missing)?;
            found(Grammar::JsonSchema(schema.clone()), "response_format.json_schema.schema")
        }
        Some(_) => {
            let message = "response_format.type must be \"text\", \"json_object\" or \"json_schema\"";
            Err(ApiError::bad_field("response_format.type", message))
        }
        None => Err(ApiError::bad_field("response_format.type", "response_format.type is missing")),
    }
}

fn structured_outputs(fields: &Fields<'_>) -> Result<Option<Structure>, ApiError> {
    let Some(outputs) = fields.object("structured_outputs")? else { return Ok(None) };
    let mut found = Vec::new();
    if let Some(schema) = outputs.get("json") {
        // vLLM takes the schema as an object or as text.
        let schema = match schema {
            Value::String(text) => serde_json::from_str(text).map_err(|e| {
                let param = outputs.param("json");
                ApiError::bad_field(&param, format!("{param} is not valid JSON: {e}"))
            })?,
            other => other.clone(),
        };
        found.push((Grammar::JsonSchema(schema), "json"));
    }
    if outputs.flag("json_object")? {
        found.push((Grammar::JsonObject, "json_object"));
    }
    if let Some(regex) = outputs.short_string("regex", MAX_GRAMMAR_BYTES)? {
        found.push((Grammar::Regex(regex.to_owned()), "regex"));
    }
    if let Some(choices) = outputs.array("choice", MAX_CHOICES)? {
        let texts = choices.iter().enumerate().map(|(i, choice)| {
            let param = format!("{}[{i}]", outputs.param("choice"));
            choice.as_str().map(str::to_owned).ok_or_else(|| wrong_kind(&param, "a string", choice))
        });
        found.push((Grammar::Choice(texts.collect::<Result<_, _>>()?), "choice"));
    }
    if let Some(grammar) = outputs.short_string("grammar", MAX_GRAMMAR_BYTES)? {
        found.push((Grammar::Lark(grammar.to_owned()), "grammar"));
    }
    let count = found.len();
    match (found.pop(), count) {
        (Some((grammar, name)), 1) => Ok(Some(Structure::new(grammar, &outputs.param(name)))),
        _ => {
            let message = format!(
                "structured_outputs needs exactly one of json, json_object, regex, choice and grammar, not {count}"
            );
            Err(ApiError::bad_field("structured_outputs", message))
        }
    }
}
