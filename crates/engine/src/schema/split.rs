//! The walk that makes the grammar's copy of a schema and notes what is missing in it.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Draft;
use serde_json::{Map, Value, json};

use super::keywords::{self, Content, Enforcer, Format, keyword};
use super::{Enforced, Given, Loosening, UnknownKeywords};
use crate::constraint::GrammarError;

/// Whole numbers beyond this are not exact in llguidance, which reads numbers as `f64`.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
/// Schemas that are read at most. No schema of the size that is taken has as many, but references into
/// parts of what others refer to have these read again.
const MAX_READ: usize = 256 << 10;

/// What can tell `unevaluatedProperties` and `unevaluatedItems` that something was evaluated elsewhere.
const IN_PLACE: [&str; 9] =
    ["$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "contains"];

/// What came of the walk.
pub(super) struct Split {
    /// The grammar's copy.
    pub(super) grammar: Value,
    pub(super) enforced: Enforced,
    pub(super) draft: Draft,
    /// Whether parts have addresses of their own, which a reference may be relative to.
    pub(super) addressed: bool,
}

pub(super) struct Splitter<'a> {
    given: &'a Given<'a>,
    loosened: &'a BTreeSet<Loosening>,
    draft: Draft,
    /// Whether `$schema` says so.
    declared: bool,
    /// Turned out to be of an older draft than supposed.
    older: bool,
    /// Every `$ref` in it that is a pointer, wherever, by the name that it begins with.
    references: BTreeMap<&'a str, BTreeSet<&'a str>>,
    addressed: bool,
    /// Names of the keywords and properties down to where the walk is.
    path: Vec<String>,
    /// Levels of keywords that the grammar's copy does not have.
    outside: usize,
    /// Schemas read so far.
    read: usize,
    enforced: Enforced,
}

impl<'a> Splitter<'a> {
    pub(super) fn run(
        given: &'a Given<'a>,
        loosened: &'a BTreeSet<Loosening>,
    ) -> Result<Split, GrammarError> {
        let declared = match given.schema.get("$schema") {
            None => None,
            Some(uri) => Some(uri.as_str().and_then(keywords::draft).ok_or_else(|| {
                GrammarError::at("#", "$schema must name a draft of JSON Schema, 4 to 2020-12")
            })?),
        };
        let mut splitter = Splitter::new(given, loosened, declared.unwrap_or_default(), declared.is_some());
        let mut grammar = splitter.schema(given.schema);
        if splitter.older {
            splitter = Splitter::new(given, loosened, Draft::Draft201909, true);
            grammar = splitter.schema(given.schema);
        }
        let Splitter { enforced, draft, addressed, .. } = splitter;
        Ok(Split { grammar: grammar?, enforced, draft, addressed })
    }

    fn new(given: &'a Given<'a>, loosened: &'a BTreeSet<Loosening>, draft: Draft, declared: bool) -> Self {
        let mut references: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut addressed = false;
        for fields in objects_of(given.schema) {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some((key, _)) = reference.and_then(|r| r.strip_prefix("#/")?.split_once('/')) {
                references.entry(key).or_default().extend(reference);
            }
            let id = fields.get(if draft == Draft::Draft4 { "id" } else { "$id" });
            let of_root = given.schema.as_object().is_some_and(|root| std::ptr::eq(root, fields));
            addressed |= !of_root && id.is_some_and(Value::is_string);
        }
        Splitter {
            given,
            loosened,
            draft,
            declared,
            older: false,
            references,
            addressed,
            path: Vec::new(),
            outside: 0,
            read: 0,
            enforced: Enforced::default(),
        }
    }

    fn refuse(&self, reason: &str) -> GrammarError {
        let path: String = self.path.iter().map(|part| format!("/{part}")).collect();
        GrammarError::at(&format!("#{path}"), reason)
    }

    fn inside<T>(&mut self, name: &str, walk: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(name.to_owned());
        let done = walk(self);
        self.path.pop();
        done
    }

    fn in_grammar(&mut self, key: &str) {
        if self.outside == 0 {
            self.enforced.grammar.insert(key.to_owned());
        }
    }

    fn validated(&mut self, key: &str) {
        if self.outside == 0 {
            self.enforced.validated.insert(key.to_owned());
        }
    }

    fn is_loosened(&self, key: &str) -> bool {
        self.loosened.iter().any(|loosening| loosening.keywords().contains(&key))
    }

    fn schema(&mut self, schema: &'a Value) -> Result<Value, GrammarError> {
        self.read += 1;
        if self.read > MAX_READ {
            return Err(GrammarError::at("#", "its references lead into each other too often"));
        }
        match schema {
            Value::Bool(_) => Ok(schema.clone()),
            Value::Object(fields) => {
                let mut out = Map::new();
                for (key, value) in fields {
                    self.keyword(key, value, fields, &mut out)?;
                }
                Ok(Value::Object(out))
            }
            _ => Err(self.refuse("a schema must be an object, true or false")),
        }
    }

    fn keyword(
        &mut self,
        key: &str,
        value: &'a Value,
        fields: &'a Map<String, Value>,
        out: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        if !self.declared && keywords::is_old(key, value) {
            self.older = true;
            return Err(self.refuse("this is of an older draft"));
        }
        let Some((enforcer, content)) = keyword(key, self.draft) else { return self.unknown(key, out) };
        match enforcer {
            Enforcer::Annotation => Ok(()),
            Enforcer::Definitions => {
                let copy = self.inside(key, |s| s.content(value, content))?;
                out.insert(key.to_owned(), copy);
                Ok(())
            }
            Enforcer::Check if asks_nothing(key, value, fields) => Ok(()),
            Enforcer::Check => match self.same_in_grammar(key, fields) {
                Some(same) => {
                    self.in_grammar(key);
                    let copy = self.inside(key, |s| s.content(value, content))?;
                    out.insert(same.to_owned(), copy);
                    Ok(())
                }
                None => self.leave_to_check(key, value, content),
            },
            Enforcer::Grammar => self.constraint(key, value, content, fields, out),
        }
    }

    /// A keyword that the grammar's copy goes without. What is in it is read all the same: it may have
    /// keywords that nobody knows.
    fn leave_to_check(&mut self, key: &str, value: &'a Value, content: Content) -> Result<(), GrammarError> {
        self.validated(key);
        self.outside += 1;
        let read = self.inside(key, |s| s.content(value, content));
        self.outside -= 1;
        read.map(drop)
    }

    /// A keyword of the grammar's that means the same here. Where nothing else evaluates anything,
    /// what is unevaluated is what is additional.
    fn same_in_grammar(&self, key: &str, fields: &Map<String, Value>) -> Option<&'static str> {
        let (same, beside) = match key {
            "unevaluatedProperties" => ("additionalProperties", "additionalProperties"),
            "unevaluatedItems" if self.draft == Draft::Draft202012 => ("items", "items"),
            _ => return None,
        };
        let free = !IN_PLACE.iter().any(|k| fields.contains_key(*k)) && !fields.contains_key(beside);
        free.then_some(same)
    }

    fn unknown(&mut self, key: &str, out: &mut Map<String, Value>) -> Result<(), GrammarError> {
        // A place of the client's own for definitions, as OpenAPI's `components`.
        if self.path.is_empty()
            && let Some(targets) = self.references.remove(key)
        {
            return self.container(key, &targets, out);
        }
        match self.given.unknown {
            UnknownKeywords::Ignore => Ok(()),
            UnknownKeywords::Refuse => {
                let key: String = key.chars().take(60).collect();
                let reason = format!(
                    "{key} is not a keyword of JSON Schema {}; correct it or leave it out (names of your own begin with \"x-\")",
                    name_of(self.draft)
                );
                Err(self.refuse(&reason))
            }
        }
    }

    /// Keeps what references lead to.
    fn container(
        &mut self,
        key: &str,
        targets: &BTreeSet<&str>,
        out: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        let root: &'a Value = self.given.schema;
        let mut copy = root[key].clone();
        for target in targets {
            let Some(schema) = root.pointer(&target[1..]) else { continue };
            let schema = self.inside(&target[2..], |s| s.schema(schema))?;
            let below = &target["#/".len() + key.len()..];
            if let Some(place) = copy.pointer_mut(below) {
                *place = schema;
            }
        }
        out.insert(key.to_owned(), copy);
        Ok(())
    }

    fn content(&mut self, value: &'a Value, content: Content) -> Result<Value, GrammarError> {
        match (content, value) {
            (Content::Schema, schema) => self.schema(schema),
            (Content::SchemaOrSchemas, Value::Object(_) | Value::Bool(_)) => self.schema(value),
            (Content::Schemas | Content::SchemaOrSchemas, Value::Array(schemas)) => {
                let walk = |(i, schema): (usize, _)| self.inside(&i.to_string(), |s| s.schema(schema));
                Ok(Value::Array(schemas.iter().enumerate().map(walk).collect::<Result<_, _>>()?))
            }
            (Content::Named | Content::Dependencies, Value::Object(named)) => {
                let mut out = Map::new();
                for (name, schema) in named {
                    let copy = match (content, schema) {
                        (Content::Dependencies, Value::Array(_)) => schema.clone(),
                        _ => self.inside(name, |s| s.schema(schema))?,
                    };
                    out.insert(name.clone(), copy);
                }
                Ok(Value::Object(out))
            }
            // Malformed, which others say better.
            _ => Ok(value.clone()),
        }
    }

    /// A keyword that the grammar enforces, unless it cannot here.
    fn constraint(
        &mut self,
        key: &str,
        value: &'a Value,
        content: Content,
        fields: &'a Map<String, Value>,
        out: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        match key {
            "format" => return self.format(value, fields, out),
            "$ref" => return self.reference(value, out),
            "items" if value.is_array() && self.draft == Draft::Draft202012 => {
                return Err(self.refuse("items must be one schema in draft 2020-12; prefixItems is a list"));
            }
            "oneOf" if self.is_loosened(key) => {
                self.validated(key);
                // What one of them accepts, any of them does.
                let copy = self.inside(key, |s| s.content(value, content))?;
                also(out, json!({ "anyOf": copy }));
                return Ok(());
            }
            _ if self.is_loosened(key) => return self.leave_to_check(key, value, content),
            "minProperties" if value.as_u64().is_some_and(|n| n > 1) && !names_are_fixed(fields) => {
                // A grammar counts a name twice that is written twice.
                self.validated(key);
            }
            "const" | "enum" | "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
                if has_inexact(value) =>
            {
                self.validated(key);
            }
            _ => {}
        }
        self.in_grammar(key);
        let copy = self.inside(key, |s| s.content(value, content))?;
        // The keyword may be there as that of a format.
        match out.contains_key(key) {
            true => also(out, json!({ key: copy })),
            false => drop(out.insert(key.to_owned(), copy)),
        }
        Ok(())
    }

    fn format(
        &mut self,
        value: &Value,
        fields: &Map<String, Value>,
        out: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        let Some(name) = value.as_str() else { return Err(self.refuse("format must be a string")) };
        let of_strings = match &fields.get("type") {
            Some(Value::String(one)) => one == "string",
            Some(Value::Array(types)) => types.iter().any(|t| t == "string"),
            _ => true,
        };
        match keywords::format(name) {
            // Formats are about strings and leave everything else alone.
            _ if !of_strings => {}
            Some(Format::Annotation) => {}
            Some(Format::Known) => {
                self.in_grammar("format");
                out.insert("format".into(), value.clone());
            }
            Some(Format::Patterns(patterns)) => {
                self.in_grammar("format");
                for pattern in patterns {
                    also(out, json!({ "pattern": pattern }));
                }
            }
            None if jsonschema::options().is_known_format(self.draft, name) => self.validated("format"),
            None if self.given.unknown == UnknownKeywords::Ignore => {}
            None => {
                let name: String = name.chars().take(60).collect();
                let reason = format!("format {name:?} is not one of JSON Schema {}", name_of(self.draft));
                return Err(self.refuse(&reason));
            }
        }
        Ok(())
    }

    fn reference(&mut self, value: &Value, out: &mut Map<String, Value>) -> Result<(), GrammarError> {
        let Some(reference) = value.as_str() else { return Err(self.refuse("$ref must be a string")) };
        let pointer = reference.strip_prefix('#').filter(|p| p.is_empty() || p.starts_with('/'));
        // llguidance takes pointers from the root, without escapes.
        let plain = pointer.filter(|p| !self.addressed && !p.contains(['~', '%']));
        let Some(pointer) = plain else {
            self.validated("$ref");
            return Ok(());
        };
        if self.given.schema.pointer(pointer).is_none() {
            let shown: String = reference.chars().take(100).collect();
            return Err(self.refuse(&format!("$ref leads to {shown:?}, which is not there")));
        }
        if self.is_loosened("$ref") {
            self.validated("$ref");
            return Ok(());
        }
        self.in_grammar("$ref");
        out.insert("$ref".into(), json!(format!("{}{pointer}", self.given.place)));
        Ok(())
    }
}

/// Adds a condition that must hold, too.
fn also(out: &mut Map<String, Value>, condition: Value) {
    match out.entry("allOf").or_insert_with(|| json!([])) {
        Value::Array(all) => all.push(condition),
        other => *other = json!([condition]),
    }
}

/// Every object in a value, itself included.
pub(super) fn objects_of(value: &Value) -> Vec<&Map<String, Value>> {
    let (mut found, mut left) = (Vec::new(), vec![value]);
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                found.push(fields);
                left.extend(fields.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    found
}

/// Whether a keyword asks for nothing as it stands.
fn asks_nothing(key: &str, value: &Value, fields: &Map<String, Value>) -> bool {
    match key {
        "uniqueItems" | "not" => value == &Value::Bool(false),
        "unevaluatedItems" | "unevaluatedProperties" | "propertyNames" => value == &Value::Bool(true),
        "if" => !fields.contains_key("then") && !fields.contains_key("else"),
        "then" | "else" => !fields.contains_key("if"),
        "minContains" | "maxContains" => !fields.contains_key("contains"),
        _ => false,
    }
}

/// Whether an object has only the properties that are listed.
fn names_are_fixed(fields: &Map<String, Value>) -> bool {
    fields.get("additionalProperties") == Some(&Value::Bool(false))
        && !fields.contains_key("patternProperties")
}

/// Whether there is a number that `f64` may not hold.
fn has_inexact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.as_f64().is_some_and(|n| n.abs() < MAX_EXACT),
        Value::Array(items) => items.iter().any(has_inexact),
        Value::Object(fields) => fields.values().any(has_inexact),
        _ => false,
    }
}

fn name_of(draft: Draft) -> &'static str {
    match draft {
        Draft::Draft4 => "draft-04",
        Draft::Draft6 => "draft-06",
        Draft::Draft7 => "draft-07",
        Draft::Draft201909 => "2019-09",
        _ => "2020-12",
    }
}
