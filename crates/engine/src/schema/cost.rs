//! A bound on what checking one document costs: validators apply `allOf`, `not`, `$ref` and the like to
//! the same value again, and forty references can ask for that a million million times, in one value or
//! on the way down through its parts.
//!
//! The cost of a schema is the most schemas that the values on one way from the top of a document to a
//! leaf are held against, followed through references: a document costs at most that for each value
//! in it. The validator remembers its verdicts only where references go in circles, and of scalars
//! not even there.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::constraint::GrammarError;

/// Schemas that the values on one way down may be held against.
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

/// Applied to parts, and each of them maybe to the same part.
const OF_PARTS: [&str; 7] = [
    "items",
    "additionalItems",
    "additionalProperties",
    "propertyNames",
    "contains",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Lists whose schemas are for a part each.
const PART_EACH: [&str; 2] = ["prefixItems", "items"];

/// Costs by a schema's address in memory; `None` while one is being worked out.
type Known = HashMap<*const Value, Option<u64>>;

struct Costs<'a> {
    root: &'a Value,
    /// Of a value alone, and with its parts.
    in_place: Known,
    whole: Known,
    /// Where circles close. The validator remembers what these said of which object or array.
    circles: HashSet<*const Value>,
    others: usize,
    addressed: bool,
}

/// Refuses what costs too much. `addressed` says that parts of the schema have addresses of their own.
pub(super) fn check(root: &Value, addressed: bool) -> Result<(), GrammarError> {
    let (in_place, whole, circles) = (Known::new(), Known::new(), HashSet::new());
    let mut costs = Costs { root, in_place, whole, circles, others: 0, addressed };
    // Any value of the document may be a schema, and what is none costs little.
    let values = values_of(root);
    for value in &values {
        within(costs.in_place(value, 0)?)?;
    }
    for value in &values {
        within(costs.whole(value, 0)?)?;
    }
    // Each of these may be gone through once more for a value.
    let again = costs.circles.iter().filter_map(|address| costs.whole.get(address).copied().flatten());
    within(again.fold(0, u64::saturating_add))?;
    match costs.others > MAX_OTHERS {
        true => {
            let reason = format!("it has more than {MAX_OTHERS} references to anchors or addresses");
            Err(GrammarError::at("#", &reason))
        }
        false => Ok(()),
    }
}

fn within(cost: u64) -> Result<(), GrammarError> {
    match cost > MAX_COST {
        true => Err(GrammarError::at("#", "its references multiply to more than can be checked")),
        false => Ok(()),
    }
}

fn values_of(root: &Value) -> Vec<&Value> {
    let (mut found, mut left) = (Vec::new(), vec![root]);
    while let Some(value) = left.pop() {
        found.push(value);
        match value {
            Value::Object(fields) => left.extend(fields.values()),
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    found
}

impl<'a> Costs<'a> {
    /// What the schema costs for a value without its parts.
    fn in_place(&mut self, schema: &'a Value, depth: usize) -> Result<u64, GrammarError> {
        let Value::Object(fields) = schema else { return Ok(1) };
        let address: *const Value = schema;
        match self.in_place.get(&address) {
            Some(Some(cost)) => return Ok(*cost),
            // Such circles say nothing, and validators go through all the ways around them.
            Some(None) => {
                return Err(GrammarError::at(
                    "#",
                    "a reference in it leads back to itself for the same value",
                ));
            }
            None => {}
        }
        deep_enough(depth)?;
        self.in_place.insert(address, None);
        self.count_others(fields);
        let mut cost = 1u64;
        for schema in self.applied(fields) {
            cost = cost.saturating_add(self.in_place(schema, depth + 1)?);
        }
        let cost = cost.saturating_mul(rounds(fields));
        self.in_place.insert(address, Some(cost));
        Ok(cost)
    }

    /// What it costs for a value and one way down through its parts.
    fn whole(&mut self, schema: &'a Value, depth: usize) -> Result<u64, GrammarError> {
        let Value::Object(fields) = schema else { return Ok(1) };
        let address: *const Value = schema;
        match self.whole.get(&address) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                // Objects and arrays are remembered; what is neither has no parts.
                self.circles.insert(address);
                return self.in_place(schema, depth);
            }
            None => {}
        }
        deep_enough(depth)?;
        self.whole.insert(address, None);
        let mut cost = 1u64;
        for schema in self.applied(fields).into_iter().chain(to_parts(fields)) {
            cost = cost.saturating_add(self.whole(schema, depth + 1)?);
        }
        for schemas in to_a_part_each(fields) {
            let mut most = 0;
            for schema in schemas {
                most = most.max(self.whole(schema, depth + 1)?);
            }
            cost = cost.saturating_add(most);
        }
        let cost = cost.saturating_mul(rounds(fields));
        self.whole.insert(address, Some(cost));
        Ok(cost)
    }

    /// What is applied to the same value.
    fn applied(&self, fields: &'a Map<String, Value>) -> Vec<&'a Value> {
        let of = |key: &&str| fields.get(*key);
        let mut applied: Vec<&Value> = SCHEMAS.iter().filter_map(of).collect();
        applied.extend(LISTS.iter().filter_map(of).filter_map(Value::as_array).flatten());
        applied.extend(NAMED.iter().filter_map(of).filter_map(Value::as_object).flat_map(Map::values));
        applied.extend(self.pointer(fields).and_then(|pointer| self.root.pointer(pointer)));
        applied
    }

    fn pointer(&self, fields: &'a Map<String, Value>) -> Option<&'a str> {
        let pointer = fields.get("$ref")?.as_str()?.strip_prefix('#')?;
        let plain = pointer.is_empty() || pointer.starts_with('/');
        (plain && !self.addressed && !pointer.contains('%')).then_some(pointer)
    }

    fn count_others(&mut self, fields: &'a Map<String, Value>) {
        let refers = fields.get("$ref").is_some_and(Value::is_string);
        self.others += usize::from(refers && self.pointer(fields).is_none());
        self.others += OTHERS.iter().filter(|key| fields.contains_key(**key)).count();
    }
}

fn deep_enough(depth: usize) -> Result<(), GrammarError> {
    match depth > MAX_DEPTH {
        true => Err(GrammarError::at("#", "its references nest too deep to be checked")),
        false => Ok(()),
    }
}

/// What is unevaluated shows by going through all of it once more.
fn rounds(fields: &Map<String, Value>) -> u64 {
    if fields.keys().any(|key| key.starts_with("unevaluated")) { 2 } else { 1 }
}

fn to_parts(fields: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let patterns = fields.get("patternProperties").and_then(Value::as_object);
    let single = OF_PARTS.iter().filter_map(|key| fields.get(*key));
    single.chain(patterns.into_iter().flat_map(Map::values))
}

/// Groups of schemas of which one part meets one at most.
fn to_a_part_each(fields: &Map<String, Value>) -> Vec<Vec<&Value>> {
    let lists = PART_EACH.iter().filter_map(|key| fields.get(*key)?.as_array());
    let mut groups: Vec<Vec<&Value>> = lists.map(|list| list.iter().collect()).collect();
    groups.extend(fields.get("properties").and_then(Value::as_object).map(|named| named.values().collect()));
    groups
}
