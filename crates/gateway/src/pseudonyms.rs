//! Pseudonyms in requests: names in the places of personal data, and what is left where no name can stand.
//!
//! A text gets names where it says something as it is and where it says it encoded; of a document each string does, so
//! that what is escaped in its JSON text is found and names become part of it. Then all of it is looked at once more:
//! what is still there would go on under a report that says it was replaced, so the request does not go on.

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use garrison_guard::normalize::{Unfolded, unfold};
use garrison_guard::{Named, Operator, Operators, Pseudonyms, Redactor};
use serde_json::{Map, Value};

use crate::judge::{Fault, Judge};
use crate::request::{Text, Writing};

/// How sure a place is that is known from elsewhere.
const SURE: u8 = 100;
/// Bytes that what looks like a name has between its brackets at most.
const MAX_NAME: usize = 48;

/// What came of giving names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// The texts are as they were.
    Unchanged,
    /// The texts with names in them, in which nothing is left.
    Changed(Vec<String>),
    /// Something is left where no name can stand.
    Left {
        /// In which text, the first of several.
        text: usize,
        /// Its entities, in the order of the alphabet.
        found: Vec<String>,
    },
}

/// Puts names in the places of personal data: what the scanner finds, and what finders have `named`, by text.
///
/// # Errors
/// If what was named is too much to be looked for.
pub(crate) fn give(
    judge: &Judge,
    texts: &[Text],
    named: &[Vec<Named>],
    names: &mut Pseudonyms,
) -> Result<Given, Fault> {
    for text in texts {
        names.reserve(&text.text);
    }
    let giving = Giving {
        judge,
        redactor: Redactor::new(Arc::clone(&judge.scanner), Operators::all(Operator::Pseudonym)),
        known: Known::of(texts, named).ok_or(Fault::Failed)?,
    };
    let mut all = Vec::with_capacity(texts.len());
    for (at, (text, named)) in texts.iter().zip(named).enumerate() {
        let value = match text.writing {
            Writing::Plain => None,
            Writing::Json => serde_json::from_str::<Value>(&text.text).ok(),
        };
        let (hidden, mut found) = match value {
            None => {
                let hidden = giving.hide(&text.text, named, names);
                let found = giving.left(&hidden, names);
                (hidden, found)
            }
            Some(value) => {
                let mut found = Vec::new();
                let hidden = giving.hide_strings(value, names, &mut found).to_string();
                found.extend(giving.left(&hidden, names));
                let given = given(&hidden, names);
                let known = giving.known.places(&hidden).into_iter();
                found.extend(known.filter(|named| !is_in(&given, &named.range)).map(|named| named.entity));
                (hidden, found)
            }
        };
        if !found.is_empty() {
            found.sort_unstable();
            found.dedup();
            return Ok(Given::Left { text: at, found });
        }
        all.push(hidden);
    }
    // Where names have run out there may be none, and yet nothing is as it was.
    let unchanged = all.iter().zip(texts).all(|(hidden, text)| *hidden == text.text);
    Ok(if unchanged { Given::Unchanged } else { Given::Changed(all) })
}

/// What finders have named, wherever that was.
struct Known {
    values: AhoCorasick,
    /// `[values]`
    entities: Vec<String>,
}

impl Known {
    /// None if these are too many to look for.
    fn of(texts: &[Text], named: &[Vec<Named>]) -> Option<Known> {
        let values = texts.iter().zip(named).flat_map(|(text, named)| {
            named
                .iter()
                .filter_map(move |named| Some((text.text.get(named.range.clone())?.trim(), &named.entity)))
        });
        let mut values: Vec<_> = values.filter(|(value, _)| !value.is_empty()).collect();
        values.sort_unstable();
        values.dedup();
        let (values, entities): (Vec<_>, Vec<_>) =
            values.into_iter().map(|(value, entity)| (value, entity.clone())).unzip();
        Some(Known { values: AhoCorasick::new(values).ok()?, entities })
    }

    /// Where a text has one of the values as words of its own.
    fn places(&self, text: &str) -> Vec<Named> {
        let mut places = Vec::new();
        for found in self.values.find_overlapping_iter(text) {
            let range = found.range();
            let (before, after) = (&text[..range.start], &text[range.end..]);
            if !before.ends_with(is_cased)
                && !after.starts_with(is_cased)
                && let Some(entity) = self.entities.get(found.pattern().as_usize())
            {
                places.push(Named { entity: entity.clone(), range, confidence: SURE });
            }
        }
        places
    }
}

/// Whether a character beside a word makes it another one; scripts without cases set no words apart.
fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || c.is_numeric()
}

struct Giving<'a> {
    judge: &'a Judge,
    redactor: Redactor,
    known: Known,
}

impl Giving<'_> {
    /// A text with names in it.
    fn hide(&self, text: &str, named: &[Named], names: &mut Pseudonyms) -> String {
        let unfolded = unfold(text, &self.judge.limits(text.len()));
        let mut named = named.to_vec();
        named.extend(self.encoded(&unfolded));
        self.redactor.pseudonyms(text, &named, names)
    }

    /// A document with names in its strings, keys among them; notes what is left in one of these.
    fn hide_strings(&self, value: Value, names: &mut Pseudonyms, left: &mut Vec<String>) -> Value {
        match value {
            Value::String(text) => self.hide_string(&text, names, left).into(),
            Value::Array(items) => {
                items.into_iter().map(|item| self.hide_strings(item, names, left)).collect()
            }
            Value::Object(fields) => {
                let mut hidden = Map::with_capacity(fields.len());
                for (key, value) in fields {
                    let key = self.hide_string(&key, names, left);
                    hidden.insert(key, self.hide_strings(value, names, left));
                }
                hidden.into()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    fn hide_string(&self, text: &str, names: &mut Pseudonyms, left: &mut Vec<String>) -> String {
        let hidden = self.hide(text, &self.known.places(text), names);
        left.extend(self.left(&hidden, names));
        hidden
    }

    /// Where a text says something encoded.
    fn encoded(&self, unfolded: &Unfolded) -> Vec<Named> {
        let said = unfolded.said().filter(|view| !view.how().is_empty());
        let found = said.flat_map(|view| {
            self.judge.scanner.scan(view.text()).into_iter().map(move |finding| Named {
                entity: self.judge.scanner.name(finding.entity).to_owned(),
                range: view.original(finding.range),
                confidence: SURE,
            })
        });
        found.collect()
    }

    /// The entities that a text with names still has, in any reading. Names themselves are none, whatever they stand beside.
    fn left(&self, text: &str, names: &Pseudonyms) -> Vec<String> {
        let unfolded = unfold(text, &self.judge.limits(text.len()));
        let mut found = Vec::new();
        for view in unfolded.said() {
            let given = given(view.text(), names);
            let left = self.judge.scanner.scan(view.text()).into_iter();
            let left = left.filter(|finding| !is_in(&given, &finding.range));
            found.extend(left.map(|finding| self.judge.scanner.name(finding.entity).to_owned()));
        }
        found
    }
}

/// Whether a place shares anything with one of the names, which are in order.
fn is_in(names: &[Range<usize>], at: &Range<usize>) -> bool {
    let next = names.partition_point(|name| name.end <= at.start);
    names.get(next).is_some_and(|name| name.start < at.end)
}

/// Where a text has names that were given.
fn given(text: &str, names: &Pseudonyms) -> Vec<Range<usize>> {
    let end = |at: usize| text.as_bytes()[at..].iter().take(MAX_NAME + 2).position(|byte| *byte == b'>');
    let places = text.match_indices('<').filter_map(|(at, _)| Some(at..at + end(at)? + 1));
    places.filter(|at| text.get(at.clone()).is_some_and(|name| names.restore(name) != name)).collect()
}
