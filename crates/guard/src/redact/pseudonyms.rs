//! Names that stand for values during one conversation, and the way back.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Values of one conversation that get names at most; what comes after is only replaced.
const MAX_NAMES: usize = 10_000;
/// Bytes of a value that gets a name at most: an answer may say the name again and again, and its client gets all of it.
const MAX_VALUE: usize = 64 << 10;
/// Bytes of all values that get names at most.
const MAX_VALUES: usize = 8 << 20;
/// Bytes of a name at most: what a stream holds back that could be the beginning of one.
const MAX_NAME: usize = 48;

/// The names of one conversation. They hold what they stand for, so they stay where the conversation
/// stays.
#[derive(Debug, Default)]
pub struct Pseudonyms {
    /// By entity, then by value.
    names: HashMap<String, HashMap<Arc<str>, String>>,
    /// By name, the brackets included.
    values: HashMap<String, Arc<str>>,
    /// Bytes of all values.
    bytes: usize,
    /// Names given out, by entity.
    counts: HashMap<String, usize>,
    /// What looks like a name and was in a text already, so that it is not given out.
    reserved: BTreeSet<String>,
}

impl Pseudonyms {
    /// The name of a value of an entity; only the entity's where there is no room for the value.
    pub(super) fn name(&mut self, entity: &str, value: &str) -> String {
        if let Some(name) = self.names.get(entity).and_then(|names| names.get(value)) {
            return name.clone();
        }
        let full = self.values.len() >= MAX_NAMES || self.reserved.len() >= MAX_NAMES;
        let long = value.len() > MAX_VALUE || self.bytes + value.len() > MAX_VALUES;
        if full || long || entity.len() + 10 > MAX_NAME {
            return format!("<{entity}>");
        }
        let count = self.counts.entry(entity.to_owned()).or_default();
        let name = loop {
            *count += 1;
            let name = format!("<{entity}_{count}>");
            if !self.reserved.contains(&name) {
                break name;
            }
        };
        let value: Arc<str> = value.into();
        self.bytes += value.len();
        self.names.entry(entity.to_owned()).or_default().insert(Arc::clone(&value), name.clone());
        self.values.insert(name.clone(), value);
        name
    }

    /// Keeps what looks like a name in a text from being given out for something else. For all texts of a
    /// conversation this comes before any of them is redacted.
    pub fn reserve(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            rest = &rest[at..];
            let end = name_end(rest);
            if let Some(end) = end.filter(|_| self.reserved.len() < MAX_NAMES)
                && !self.values.contains_key(&rest[..end])
            {
                self.reserved.insert(rest[..end].to_owned());
            }
            rest = &rest[1..];
        }
    }

    /// Whether no name was given out.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A text with the values in the places of their names.
    pub fn restore(&self, text: &str) -> String {
        let mut restorer = Restorer::default();
        let mut out = restorer.push(text, self);
        out.push_str(&restorer.finish());
        out
    }
}

/// Reserves what looks like a name in a text that passes in pieces.
#[derive(Debug, Default)]
pub(super) struct Literals {
    /// The beginning of what could become one.
    begun: String,
}

impl Literals {
    /// Takes more of the text.
    pub(super) fn pass(&mut self, text: &str, pseudonyms: &mut Pseudonyms) {
        if self.begun.is_empty() && !text.contains('<') {
            return;
        }
        self.begun.push_str(text);
        pseudonyms.reserve(&self.begun);
        let unfinished = |at: &usize| {
            let inside = &self.begun[at + 1..];
            inside.len() < MAX_NAME && inside.bytes().all(is_inside)
        };
        match self.begun.rfind('<').filter(unfinished) {
            Some(at) => drop(self.begun.drain(..at)),
            None => self.begun.clear(),
        }
    }

    /// The text is interrupted.
    pub(super) fn end(&mut self) {
        self.begun.clear();
    }
}

/// Where the name that begins `text` ends, if one begins it.
fn name_end(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('<')?;
    let end = inside.bytes().take(MAX_NAME).position(|b| !is_inside(b))?;
    (inside.as_bytes()[end] == b'>' && end > 0).then_some(end + 2)
}

fn is_inside(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'
}

/// Puts values back into a text that comes in pieces.
#[derive(Debug, Default)]
pub struct Restorer {
    /// The beginning of what could become a name.
    held: String,
}

impl Restorer {
    /// Takes more text, and gives what is decided.
    pub fn push(&mut self, text: &str, pseudonyms: &Pseudonyms) -> String {
        self.put_back(text, pseudonyms, |value, out| out.push_str(value))
    }

    /// The same within a JSON text, whose strings the values become part of.
    pub fn push_json(&mut self, text: &str, pseudonyms: &Pseudonyms) -> String {
        self.put_back(text, pseudonyms, |value, out| {
            let quoted = serde_json::Value::from(value).to_string();
            out.push_str(&quoted[1..quoted.len() - 1]);
        })
    }

    fn put_back(&mut self, text: &str, pseudonyms: &Pseudonyms, put: fn(&str, &mut String)) -> String {
        self.held.push_str(text);
        let mut out = String::with_capacity(self.held.len());
        let mut rest = self.held.as_str();
        while let Some(at) = rest.find('<') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            match name_end(rest) {
                Some(end) => {
                    let name = &rest[..end];
                    match pseudonyms.values.get(name) {
                        Some(value) => put(value, &mut out),
                        None => out.push_str(name),
                    }
                    rest = &rest[end..];
                }
                None if rest.len() <= MAX_NAME && rest[1..].bytes().all(is_inside) => break,
                None => {
                    out.push('<');
                    rest = &rest[1..];
                }
            }
        }
        if !rest.starts_with('<') {
            out.push_str(rest);
            rest = "";
        }
        self.held = rest.to_owned();
        out
    }

    /// The text has ended; gives the rest.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}
