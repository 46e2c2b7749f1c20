//! A bound on what checking one value costs: validators apply `allOf`, `not`, `$ref` and the like to the
//! same value again, and forty references can ask for that a million million times.
//!
//! The cost of a schema is the number of schemas that one value is held against, followed through
//! references. What is applied to a value's parts counts for those; the validator remembers its
//! verdicts about containers, so costs do not multiply on the way down.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::constraint::GrammarError;

/// Schemas that one value may be held against.
const MAX_COST: u64 = 20_000;
/// How deep they may be nested, references followed.
const MAX_DEPTH: usize = 1000;
/// References that are not pointers, such as to anchors, whose costs are not followed.
const MAX_OTHERS: usize = 16;

/// Applied to the same value.
const SCHEMAS: [&str; 4] = ["not", "if", "then", "else"];
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const NAMED: [&str; 2] = ["dependentSchemas", "dependencies"];
const OTHERS: [&str; 2] = ["$dynamicRef", "$recursiveRef"];

struct Costs<'a> {
    root: &'a Value,
    /// By a schema's address in memory; 0 while it is being worked out, since validators see circles.
    known: HashMap<*const Value, u64>,
    others: usize,
    addressed: bool,
}

/// Refuses what costs too much. `addressed` says that parts of the schema have addresses of their own.
pub(super) fn check(root: &Value, addressed: bool) -> Result<(), GrammarError> {
    let mut costs = Costs { root, known: HashMap::new(), others: 0, addressed };
    // Any value of the document may be a schema, and what is none costs little.
    let mut left = vec![root];
    while let Some(value) = left.pop() {
        if costs.of(value, 0)? > MAX_COST {
            return Err(GrammarError::at("#", "its references multiply to more than can be checked"));
        }
        match value {
            Value::Object(fields) => left.extend(fields.values()),
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    match costs.others > MAX_OTHERS {
        true => {
            let reason = format!("it has more than {MAX_OTHERS} references to anchors or addresses");
            Err(GrammarError::at("#", &reason))
        }
        false => Ok(()),
    }
}

impl<'a> Costs<'a> {
    fn of(&mut self, schema: &'a Value, depth: usize) -> Result<u64, GrammarError> {
        let Value::Object(fields) = schema else { return Ok(1) };
        if depth > MAX_DEPTH {
            return Err(GrammarError::at("#", "its references nest too deep to be checked"));
        }
        let address: *const Value = schema;
        if let Some(cost) = self.known.get(&address) {
            return Ok(*cost);
        }
        self.known.insert(address, 0);
        let mut cost = 1u64;
        for schema in self.applied(fields) {
            cost = cost.saturating_add(self.of(schema, depth + 1)?);
        }
        // What is unevaluated shows by going through all of it once more.
        if fields.keys().any(|key| key.starts_with("unevaluated")) {
            cost = cost.saturating_mul(2);
        }
        self.known.insert(address, cost);
        Ok(cost)
    }

    fn applied(&mut self, fields: &'a Map<String, Value>) -> Vec<&'a Value> {
        let of = |key: &&str| fields.get(*key);
        let mut applied: Vec<&Value> = SCHEMAS.iter().filter_map(of).collect();
        applied.extend(LISTS.iter().filter_map(of).filter_map(Value::as_array).flatten());
        applied.extend(NAMED.iter().filter_map(of).filter_map(Value::as_object).flat_map(Map::values));
        let target = fields.get("$ref").and_then(Value::as_str);
        let pointer = target.and_then(|t| t.strip_prefix('#')).filter(|p| p.is_empty() || p.starts_with('/'));
        match pointer.filter(|p| !self.addressed && !p.contains('%')) {
            Some(pointer) => applied.extend(self.root.pointer(pointer)),
            None => self.others += usize::from(target.is_some()),
        }
        self.others += OTHERS.iter().filter_map(of).count();
        applied
    }
}
