//! What an answer must be: OpenAI's `response_format`, vLLM's `structured_outputs`, and demanded calls.

use std::collections::BTreeSet;
use std::sync::Arc;

use garrison_engine::{
    Constraint, Enforced, Engine, Given, Grammar, GrammarError, SchemaCheck, SchemaParts, UnknownKeywords,
};
use serde_json::Value;

use crate::chat::demand::Demand;
use crate::error::ApiError;
use crate::fields::{Fields, wrong_kind};

/// Texts to choose from at most.
const MAX_CHOICES: usize = 1024;
/// Bytes of a regular expression or grammar at most. Schemas are bounded by the body and by what
/// the compiler takes.
const MAX_GRAMMAR_BYTES: usize = 256 << 10;

/// What an answer must be, and the field that asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Structure {
    wanted: Wanted,
    param: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Grammar(Grammar),
    /// A document that the schema accepts.
    Schema(Value),
    Calls(Demand),
}

/// A [`Structure`] for one model.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) constraint: Constraint,
    /// There if the answer follows schemas.
    pub(crate) rules: Option<Arc<Rules>>,
}

/// What is known of the schemas that an answer follows.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Of all schemas together.
    pub(crate) enforced: Enforced,
    /// How a text is taken apart, and by schema what its documents are checked with.
    documents: Documents,
    checks: Vec<Option<Arc<SchemaCheck>>>,
}

#[derive(Debug)]
enum Documents {
    Whole,
    Calls(Demand),
}

impl Rules {
    fn new(documents: Documents, parts: Vec<SchemaParts>) -> Rules {
        let keywords = |list: fn(&Enforced) -> &BTreeSet<String>| {
            parts.iter().flat_map(|part| list(&part.enforced)).cloned().collect()
        };
        let enforced = Enforced { grammar: keywords(|e| &e.grammar), validated: keywords(|e| &e.validated) };
        Rules { enforced, documents, checks: parts.into_iter().map(|part| part.check).collect() }
    }

    /// Whether the grammar alone does not make an answer valid.
    pub(crate) fn need_checking(&self) -> bool {
        self.checks.iter().any(Option::is_some)
    }

    /// Whether a complete answer is valid. For a thread that may block.
    pub(crate) fn accept(&self, text: &str) -> bool {
        match &self.documents {
            Documents::Whole => self.checks.iter().flatten().all(|check| check.accepts_text(text)),
            Documents::Calls(demand) => demand.read(text).is_some_and(|calls| {
                calls.iter().all(|(i, arguments)| {
                    self.checks[*i].as_ref().is_none_or(|check| check.accepts(arguments))
                })
            }),
        }
    }
}

impl Structure {
    fn new(wanted: Wanted, param: &str) -> Structure {
        Structure { wanted, param: param.into() }
    }

    /// Calls that `tool_choice` demands.
    pub(crate) fn of_calls(demand: Demand) -> Structure {
        Structure::new(Wanted::Calls(demand), "tools")
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

    /// Compiles it for a model.
    pub(crate) fn compile(&self, engine: &Engine) -> Result<Compiled, ApiError> {
        self.try_compile(engine).map_err(|error| {
            ApiError::bad_field(&self.param, format!("{} cannot be enforced: {error}", self.param))
        })
    }

    fn try_compile(&self, engine: &Engine) -> Result<Compiled, GrammarError> {
        let (constraint, rules) = match &self.wanted {
            Wanted::Grammar(grammar) => (engine.compile(grammar)?, None),
            Wanted::Schema(schema) => {
                let given = Given { schema, unknown: UnknownKeywords::Refuse, place: "#".into() };
                let assemble = |parts: &[SchemaParts]| {
                    Grammar::JsonSchema(parts.first().map_or(Value::Bool(true), |part| part.grammar.clone()))
                };
                let (constraint, parts) = engine.compile_schemas(&[given], assemble)?;
                (constraint, Some(Rules::new(Documents::Whole, parts)))
            }
            Wanted::Calls(demand) => {
                let assemble = |parts: &[SchemaParts]| demand.grammar(parts);
                let (constraint, parts) = engine.compile_schemas(&demand.schemas(), assemble)?;
                (constraint, Some(Rules::new(Documents::Calls(demand.clone()), parts)))
            }
        };
        Ok(Compiled { constraint, rules: rules.map(Arc::new) })
    }
}

fn response_format(fields: &Fields<'_>) -> Result<Option<Structure>, ApiError> {
    let Some(format) = fields.object("response_format")? else { return Ok(None) };
    let found = |wanted, param: &str| Ok(Some(Structure::new(wanted, param)));
    match format.string("type")? {
        Some("text") => Ok(None),
        Some("json_object") => found(Wanted::Grammar(Grammar::JsonObject), "response_format"),
        Some("json_schema") => {
            let missing = || {
                let param = "response_format.json_schema.schema";
                ApiError::bad_field(param, format!("{param} is missing"))
            };
            let schema = format.object("json_schema")?.ok_or_else(missing)?;
            let schema = schema.get("schema").ok_or_else(missing)?;
            found(Wanted::Schema(schema.clone()), "response_format.json_schema.schema")
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
        found.push((Wanted::Schema(schema), "json"));
    }
    if outputs.flag("json_object")? {
        found.push((Wanted::Grammar(Grammar::JsonObject), "json_object"));
    }
    if let Some(regex) = outputs.short_string("regex", MAX_GRAMMAR_BYTES)? {
        found.push((Wanted::Grammar(Grammar::Regex(regex.to_owned())), "regex"));
    }
    if let Some(choices) = outputs.array("choice", MAX_CHOICES)? {
        let texts = choices.iter().enumerate().map(|(i, choice)| {
            let param = format!("{}[{i}]", outputs.param("choice"));
            choice.as_str().map(str::to_owned).ok_or_else(|| wrong_kind(&param, "a string", choice))
        });
        found.push((Wanted::Grammar(Grammar::Choice(texts.collect::<Result<_, _>>()?)), "choice"));
    }
    if let Some(grammar) = outputs.short_string("grammar", MAX_GRAMMAR_BYTES)? {
        found.push((Wanted::Grammar(Grammar::Lark(grammar.to_owned())), "grammar"));
    }
    let count = found.len();
    match (found.pop(), count) {
        (Some((wanted, name)), 1) => Ok(Some(Structure::new(wanted, &outputs.param(name)))),
        _ => {
            let message = format!(
                "structured_outputs needs exactly one of json, json_object, regex, choice and grammar, not {count}"
            );
            Err(ApiError::bad_field("structured_outputs", message))
        }
    }
}
