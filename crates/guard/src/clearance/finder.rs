//! A [`Finder`] as a detector of what leaves: it is shown what a body says, not how it is written.
//!
//! A model of names has learned sentences. Shown a body as it stands, it would spend its time on quotes and braces and
//! find names among those of fields. So it gets the strings: each sentence by itself, as whoever judged the request has
//! shown it, and all single words together, since a look at each would cost as much as a look at a sentence. Whatever a
//! string says to be encoded is decoded first, and a string that is JSON itself, as calls' arguments are, is taken apart.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Budget, Detector, DetectorError, Finder};
use crate::normalize::{Limits, unfold};

/// Bytes of a string without white space from which on it is read by itself.
const LONG_WORD: usize = 64;

/// How often JSON in a string of JSON is taken apart; what is deeper is read as it stands.
const MAX_NESTED: usize = 8;

/// A finder that judges what leaves.
pub struct FinderDetector {
    finder: Arc<dyn Finder>,
    budget: Budget,
    known: HashSet<String>,
}

impl FinderDetector {
    /// With the time that all strings of a body have together, and the strings that say nothing of anybody since they
    /// are the protocol's or the owner's: names of fields, roles, models. These are not read where a whole string is one.
    pub fn new(
        finder: Arc<dyn Finder>,
        budget: Budget,
        known: impl IntoIterator<Item = String>,
    ) -> FinderDetector {
        FinderDetector { finder, budget, known: known.into_iter().collect() }
    }

    /// What the finder is shown: no text twice.
    fn texts(&self, strings: Vec<String>) -> Vec<String> {
        let (mut seen, mut words, mut texts) = (HashSet::new(), String::new(), Vec::new());
        for string in strings {
            if self.known.contains(&string) || !seen.insert(string.clone()) {
                continue;
            }
            if string.len() >= LONG_WORD || string.contains(char::is_whitespace) {
                texts.push(string);
            } else if !string.is_empty() {
                words.push_str(&string);
                words.push('\n');
            }
        }
        texts.extend(Some(words).filter(|words| !words.is_empty()));
        texts
    }
}

impl Detector for FinderDetector {
    fn id(&self) -> &str {
        self.finder.id()
    }

    /// The entities that the finder finds in any string, in what it says to be encoded as well. What takes longer than
    /// the budget it cannot tell, nor what a bound kept from being decoded to its end.
    fn detect(&self, text: &str) -> Result<Vec<String>, DetectorError> {
        let until = Instant::now() + self.budget.of(text.len());
        let mut entities = BTreeSet::new();
        for text in self.texts(strings(text)?) {
            let unfolded = unfold(&text, &Limits::for_len(text.len()));
            if unfolded.truncated() {
                return Err(DetectorError("a bound was reached before all decodings were seen".into()));
            }
            for view in unfolded.said().filter(|view| view.text().contains(char::is_alphanumeric)) {
                // So that a thread that is left behind ends soon.
                if Instant::now() >= until {
                    return Err(DetectorError("it took too long".into()));
                }
                entities.extend(self.finder.find(view.text())?.into_iter().map(|named| named.entity));
            }
        }
        Ok(entities.into_iter().collect())
    }
}

/// All strings of a body, names of fields included; a text that is no JSON is one.
///
/// # Errors
/// If it begins as JSON and cannot be read as such to its end.
fn strings(text: &str) -> Result<Vec<String>, DetectorError> {
    if !begins_as_json(text) {
        return Ok(vec![text.to_owned()]);
    }
    let mut strings = Vec::new();
    let read = read(text).ok_or_else(|| DetectorError("it is no JSON, or too deep".into()))?;
    for string in read {
        take_apart(string, MAX_NESTED, &mut strings);
    }
    Ok(strings)
}

fn begins_as_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// The strings in a string that is JSON, or else itself.
fn take_apart(string: String, nested: usize, out: &mut Vec<String>) {
    let within = if nested > 0 && begins_as_json(&string) { read(&string) } else { None };
    match within {
        None => out.push(string),
        Some(within) => within.into_iter().for_each(|string| take_apart(string, nested - 1, out)),
    }
}

/// The strings of a JSON text as they come, those of fields that are there twice as well. None if it is none.
fn read(text: &str) -> Option<Vec<String>> {
    let mut strings = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text);
    Strings(&mut strings).deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(strings)
}

/// Collects strings of whatever is read.
struct Strings<'a>(&'a mut Vec<String>);

impl<'de> DeserializeSeed<'de> for Strings<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strings<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, string: &str) -> Result<(), E> {
        self.0.push(string.to_owned());
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Strings(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_key_seed(Strings(self.0))?.is_some() {
            fields.next_value_seed(Strings(self.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::json;

    use super::super::Named;
    use super::*;

    /// Keeps what it is shown, and finds one name.
    #[derive(Default)]
    struct Shown(Mutex<Vec<String>>);

    const NAME: &str = "Zoë Kowalska";

    impl Finder for Shown {
        fn id(&self) -> &str {
            "names-model/1"
        }

        fn find(&self, text: &str) -> Result<Vec<Named>, DetectorError> {
            self.0.lock().unwrap().push(text.to_owned());
            let named = |(at, name): (usize, &str)| Named {
                entity: "PERSON".into(),
                range: at..at + name.len(),
                confidence: 90,
            };
            Ok(text.match_indices(NAME).map(named).collect())
        }
    }

    const BUDGET: Budget = Budget { start: Duration::from_secs(20), per_kilobyte: Duration::ZERO };

    fn detector(budget: Budget) -> (Arc<Shown>, FinderDetector) {
        let shown = Arc::new(Shown::default());
        let known = ["messages", "role", "user", "content"].map(str::to_owned);
        (Arc::clone(&shown), FinderDetector::new(shown, budget, known))
    }

    #[test]
    fn it_is_shown_sentences_by_themselves_words_together_and_no_syntax() {
        let (shown, detector) = detector(BUDGET);
        let body = r#"{"messages": [
            {"role": "user", "content": "Say \"hello\" to\nhim."}, {"role": "user", "content": "Say \"hello\" to\nhim."},
            {"role": "assistant", "content": {"n": [1, true, null, 1.5]}}, {"role": "user", "content": "{not JSON}"}]}"#;
        assert_eq!(detector.detect(body).unwrap(), [""; 0]);
        let mut shown = shown.0.lock().unwrap().clone();
        shown.sort_unstable();
        assert_eq!(shown, ["Say \"hello\" to\nhim.", "assistant\nn\n", "{not JSON}"]);
    }

    #[test]
    fn a_name_is_found_in_every_string_however_it_is_written() {
        let call = json!({"q": {"who": format!("For {NAME}.")}}).to_string();
        let twice = json!({"arguments": format!("{{\"a\": \"{NAME}\", \"a\": \"b\"}}")});
        let (_, detector) = detector(BUDGET);
        for body in [
            json!({"messages": [{"role": "user", "content": format!("Write to {NAME} now.")}]}),
            json!({ NAME: 1 }),
            json!({"arguments": call}),
            json!({ "input": json!({ "body": call }).to_string() }),
            twice,
            json!(["Wm/DqyBLb3dhbHNrYQ=="]),
            json!(["Zo%C3%AB%20Kowalska"]),
        ] {
            assert_eq!(detector.detect(&body.to_string()).unwrap(), ["PERSON"], "{body}");
        }
        assert_eq!(detector.detect(&format!("A text: {NAME}")).unwrap(), ["PERSON"]);
        assert_eq!(detector.detect("[\"Zo\\u00eb Kowalska\"]").unwrap(), ["PERSON"]);
    }

    #[test]
    fn what_it_cannot_read_or_not_in_time_it_cannot_tell() {
        let (_, patient) = detector(BUDGET);
        let deep = "[".repeat(400) + "1" + &"]".repeat(400);
        for body in ["{\"a\": ", "[1] 2", &deep] {
            assert!(patient.detect(body).is_err(), "{body}");
        }
        let (shown, late) = detector(Budget { start: Duration::ZERO, per_kilobyte: Duration::ZERO });
        assert!(late.detect("[\"Hello there\"]").is_err());
        assert!(shown.0.lock().unwrap().is_empty(), "nothing is begun when the time is over");
    }
}
