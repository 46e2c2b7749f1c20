//! Whether a document is what a schema says: the `jsonschema` crate, kept offline and in bounds.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use super::cost;
use super::split::{Split, objects_of};
use crate::constraint::{GrammarError, on_large_stack};

/// Bytes of one compiled expression at most, and of all those of a request.
const PATTERN_BYTES: usize = 1 << 20;
const ALL_PATTERNS_BYTES: usize = 16 << 20;

/// Bytes that each expression in these schemas may have when it is compiled.
pub(super) fn pattern_bytes<'a>(schemas: impl Iterator<Item = &'a Value>) -> usize {
    let in_fields = |fields: &Map<String, Value>| {
        let named = fields.get("patternProperties").and_then(Value::as_object);
        usize::from(fields.contains_key("pattern")) + named.map_or(0, Map::len)
    };
    let patterns: usize = schemas.flat_map(objects_of).map(in_fields).sum();
    PATTERN_BYTES.min(ALL_PATTERNS_BYTES / patterns.max(1))
}

/// A schema's validator. It fetches nothing, asserts formats, and matches expressions in linear time.
pub struct SchemaCheck {
    validator: Validator,
}

impl fmt::Debug for SchemaCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaCheck").finish_non_exhaustive()
    }
}

impl SchemaCheck {
    /// For the schema as the client sent it, with expressions of at most `pattern_bytes` each.
    pub(super) fn new(
        schema: &Value,
        split: &Split,
        pattern_bytes: usize,
    ) -> Result<SchemaCheck, GrammarError> {
        let patterns = PatternOptions::regex().size_limit(pattern_bytes).dfa_size_limit(pattern_bytes);
        let build = || {
            cost::check(schema, split.addressed)?;
            jsonschema::options()
                .with_draft(split.draft)
                .offline()
                .should_validate_formats(true)
                .with_pattern_options(patterns)
                .build(schema)
                .map_err(|error| {
                    // What it says of a schema, it says of an instance of the drafts' own schemas.
                    GrammarError::at(&format!("#{}", error.instance_path()), &error.to_string())
                })
        };
        Ok(SchemaCheck { validator: on_large_stack(build)? })
    }

    /// Whether a text is a document that the schema accepts. Takes as long as the document is large:
    /// not for a thread that others wait for.
    pub fn accepts_text(&self, text: &str) -> bool {
        serde_json::from_str(text).is_ok_and(|document| self.accepts(&document))
    }

    /// Whether the schema accepts a document.
    pub fn accepts(&self, document: &Value) -> bool {
        // Only the verdict: asking for the reasons would do without the validator's memory.
        on_large_stack(|| Ok(self.validator.is_valid(document))).unwrap_or(false)
    }
}
