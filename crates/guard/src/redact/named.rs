//! What others than the scanner name in a text, as a model of names does.

use std::ops::Range;

use super::{Operator, Pseudonyms, Put, Redactor, Value};
use crate::clearance::Named;
use crate::entity::Entity;
use crate::scan::Finding;

/// A text without what was named in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedactedNames {
    /// What is left.
    pub text: String,
    /// The names of what was replaced, in order.
    pub found: Vec<String>,
    /// What the text ends before, if it ends early.
    pub stopped: Option<String>,
}

impl Redactor {
    /// Puts pseudonyms in the places of what the scanner finds and of what else was `named`, whatever the operators
    /// say; where both overlap, what the scanner found has its own name, and the rest the other's.
    pub fn pseudonyms(&self, text: &str, named: &[Named], pseudonyms: &mut Pseudonyms) -> String {
        let scanned = self.scanner.scan(text);
        let mut places = beside(text, named, &scanned);
        places.extend(scanned.into_iter().map(|finding| (finding.range, self.scanner.name(finding.entity))));
        in_order(&mut places);
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for (range, name) in places {
            // What two of the named share is told once.
            let start = range.start.max(at);
            let Some(value) = text.get(start..range.end).filter(|value| !value.is_empty()) else { continue };
            out.push_str(&text[at..start]);
            out.push_str(&pseudonyms.name(name, value));
            at = range.end;
        }
        out + &text[at..]
    }

    /// Redacts what was `named` in a text and is nothing that the scanner finds, which is left to be redacted as that. What
    /// begins at byte `stop_from` or later, where nothing must be changed, ends the text.
    pub fn redact_named(
        &self,
        text: &str,
        named: &[Named],
        stop_from: usize,
        pseudonyms: &mut Pseudonyms,
    ) -> RedactedNames {
        let mut places = beside(text, named, &self.scanner.scan(text));
        in_order(&mut places);
        let mut redacted =
            RedactedNames { text: String::with_capacity(text.len()), found: Vec::new(), stopped: None };
        let mut at = 0;
        for (range, name) in places {
            let start = range.start.max(at);
            let Some(value) = text.get(start..range.end).filter(|value| !value.is_empty()) else { continue };
            redacted.text.push_str(&text[at..start]);
            at = range.end;
            let operator = match Entity::named(name) {
                _ if start >= stop_from => Operator::Stop,
                Some(entity) => self.operators.of(entity),
                None => self.operators.default,
            };
            if self.put(name, operator, Value::of(value), pseudonyms, &mut redacted.text) == Put::Stop {
                redacted.stopped = Some(name.to_owned());
                return redacted;
            }
            redacted.found.push(name.to_owned());
        }
        redacted.text.push_str(&text[at..]);
        redacted
    }
}

/// What of the named is no part of what the scanner found, without blanks at its ends.
fn beside<'n>(text: &str, named: &'n [Named], scanned: &[Finding]) -> Vec<(Range<usize>, &'n str)> {
    let mut places = Vec::new();
    for Named { entity, range, .. } in named {
        let mut from = range.start;
        let inside = |found: &&Finding| found.range.start < range.end && range.start < found.range.end;
        let taken = scanned.iter().filter(inside).map(|found| found.range.clone());
        for taken in taken.chain(std::iter::once(range.end..range.end)) {
            let rest = text.get(from..taken.start).unwrap_or_default();
            let blank = rest.len() - rest.trim_start().len();
            if !rest.trim().is_empty() {
                let start = from + blank;
                places.push((start..start + rest.trim().len(), entity.as_str()));
            }
            from = taken.end;
        }
    }
    places
}

/// Where they begin, the longer of two first.
fn in_order(places: &mut [(Range<usize>, &str)]) {
    places.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Operators, Scanner};
    use super::*;
    use crate::scan::ScanConfig;

    #[test]
    fn what_others_name_gets_pseudonyms_beside_what_the_scanner_finds() {
        let scanner = Arc::new(Scanner::new(&ScanConfig::default()).unwrap());
        let redactor = Redactor::new(Arc::clone(&scanner), Operators::all(Operator::Replace));
        let named = |text: &str, value: &str, entity: &str| {
            let start = text.find(value).unwrap();
            Named { entity: entity.to_owned(), range: start..start + value.len(), confidence: 90 }
        };
        let text = "Ana, a@b.example and Zoë in Köln. Ana!";
        let mut pseudonyms = Pseudonyms::default();
        let found = [
            named(text, "Köln", "LOCATION"),
            // Twice the same, and more than the scanner's.
            named(text, "Ana", "PERSON"),
            named(text, "Ana", "PERSON"),
            named(text, "a@b.example and Zoë", "PERSON"),
        ];
        let hidden = redactor.pseudonyms(text, &found, &mut pseudonyms);
        assert_eq!(hidden, "<PERSON_1>, <EMAIL_1> <PERSON_2> in <LOCATION_1>. Ana!");
        assert_eq!(pseudonyms.restore(&hidden), text);
        let redact = |operators, stop_from| {
            Redactor::new(Arc::clone(&scanner), operators).redact_named(
                text,
                &found,
                stop_from,
                &mut Pseudonyms::default(),
            )
        };
        let replaced = redact(Operators::all(Operator::Replace), usize::MAX);
        assert_eq!(
            replaced.text, "<PERSON>, a@b.example <PERSON> in <LOCATION>. Ana!",
            "an address is left to the scanner"
        );
        assert_eq!((replaced.found.len(), replaced.stopped), (3, None));
        let people =
            Operators { by_entity: vec![(Entity::PERSON, Operator::Drop)], ..Operators::all(Operator::Mask) };
        assert_eq!(redact(people, usize::MAX).text, ", a@b.example  in ****. Ana!");
        let stopped = redact(Operators::all(Operator::Replace), 25);
        assert_eq!(
            (stopped.text.as_str(), stopped.stopped.as_deref()),
            ("<PERSON>, a@b.example <PERSON> in ", Some("LOCATION"))
        );
        let stopped = redact(Operators::all(Operator::Stop), usize::MAX);
        assert_eq!((stopped.text.as_str(), stopped.stopped.as_deref()), ("", Some("PERSON")));
    }
}
