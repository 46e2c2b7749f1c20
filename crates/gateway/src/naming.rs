//! Names in an answer: what a finder, as a model of names does, tells beside the recognizers, while the answer is written.
//!
//! A finder needs the words around a name, so the answer is looked at in *steps*: a step ends with the first sentence that
//! is over after [`STEP`] bytes, and before it has [`MAX_STEP`]. It is given on once it was looked at, and nothing else is
//! looked at with it: so steps depend on the text and never on how it came, and a stream is redacted as the whole text is.
//!
//! A step goes through what comes behind before the next one is looked at, so that pseudonyms are numbered alike, too.

use std::sync::Arc;
use std::time::Instant;

use garrison_guard::{Action, Operator, Operators, Pseudonyms, Redactor};

use crate::calls::{DocumentStart, Form};
use crate::judge::{Fault, Judge, find};
use crate::policy::InAnswers;
use crate::request::Report;

/// Bytes after which the end of a sentence ends a step.
const STEP: usize = 96;
/// Bytes that a step has at most, and so what is held back.
pub(crate) const MAX_STEP: usize = 512;

/// One answer in which names are looked for.
pub(crate) struct Naming {
    judge: Arc<Judge>,
    what: What,
    document: DocumentStart,
    /// What was not looked at yet, and where it begins.
    text: String,
    base: usize,
    stopped: bool,
}

/// What becomes of what is found.
enum What {
    /// It is told, and everything goes on at once.
    Flag,
    Redact(Box<Redactor>),
}

impl Naming {
    /// None if nobody looks for names.
    pub(crate) fn new(judge: &Arc<Judge>, form: Form) -> Option<Naming> {
        let redact = |operators| What::Redact(Box::new(Redactor::new(Arc::clone(&judge.scanner), operators)));
        let what = match &judge.settings.answers.private {
            _ if judge.settings.answer_finders.is_empty() => return None,
            InAnswers::Off => return None,
            InAnswers::Flag => What::Flag,
            InAnswers::Redact(operators) => redact(operators.clone()),
            InAnswers::Block => redact(Operators::all(Operator::Stop)),
        };
        let document = DocumentStart::new(form);
        Some(Naming {
            judge: Arc::clone(judge),
            what,
            document,
            text: String::new(),
            base: 0,
            stopped: false,
        })
    }

    /// Whether what is found only marks the answer, so that nothing is held back.
    pub(crate) fn only_marks(&self) -> bool {
        matches!(self.what, What::Flag)
    }

    /// Whether the answer ended because of something that was found.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes more of the answer.
    pub(crate) fn take(&mut self, text: &str) {
        self.text.push_str(text);
        self.document.push(text);
    }

    /// The next step, if all of it has come, without what was found in it.
    pub(crate) fn next(
        &mut self,
        names: &mut Pseudonyms,
        report: &mut Report,
    ) -> Result<Option<String>, Fault> {
        match step_end(&self.text).filter(|_| !self.stopped) {
            Some(end) => self.look(end, names, report).map(Some),
            None => Ok(None),
        }
    }

    /// The last step: the answer has ended.
    pub(crate) fn rest(&mut self, names: &mut Pseudonyms, report: &mut Report) -> Result<String, Fault> {
        if self.stopped || self.text.is_empty() {
            return Ok(String::new());
        }
        self.look(self.text.len(), names, report)
    }

    fn look(&mut self, end: usize, names: &mut Pseudonyms, report: &mut Report) -> Result<String, Fault> {
        let step = &self.text[..end];
        let (mut named, begun) = (Vec::new(), Instant::now());
        for finder in &self.judge.settings.answer_finders {
            named.extend(find(finder, step)?);
        }
        let most = self.judge.settings.budget.of(end);
        if begun.elapsed() > most {
            return Err(Fault::Late(most));
        }
        let shown = match &self.what {
            What::Flag => {
                report.note(Action::Flagged, named.into_iter().map(|named| named.entity));
                step.to_owned()
            }
            What::Redact(redactor) => {
                let document = self.document.push("").map_or(usize::MAX, |at| at.saturating_sub(self.base));
                let redacted = redactor.redact_named(step, &named, document, names);
                report.note(Action::Redacted, redacted.found);
                if let Some(entity) = redacted.stopped {
                    report.note(Action::Blocked, [entity]);
                    self.stopped = true;
                }
                redacted.text
            }
        };
        self.text.drain(..end);
        self.base += end;
        Ok(shown)
    }
}

/// Where the first step of a text ends, if that has come.
fn step_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let seen = bytes.len().min(MAX_STEP);
    let over = |at: &usize| match bytes[*at] {
        b'\n' => true,
        b' ' => matches!(bytes[at - 1], b'.' | b'!' | b'?' | b':' | b';'),
        _ => false,
    };
    if let Some(at) = (STEP..seen).find(over) {
        return Some(at + 1);
    }
    if bytes.len() < MAX_STEP {
        return None;
    }
    let blank = bytes[STEP..MAX_STEP].iter().rposition(u8::is_ascii_whitespace);
    Some(blank.map_or_else(|| text.floor_char_boundary(MAX_STEP), |at| STEP + at + 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may

    use super::*;

    #[test]
    fn steps_end_with_sentences_else_between_words_else_anywhere() {
        let sentence = "Somebody wrote a sentence of this length. ";
        assert_eq!(step_end(&sentence.repeat(2)), None);
        assert_eq!(step_end(&sentence.repeat(9)), Some(3 * sentence.len()));
        assert_eq!(step_end(&format!("{}\nx", "a".repeat(200))), Some(201));
        let words = "word ".repeat(200);
        assert_eq!(step_end(&words), Some(510));
        assert_eq!(step_end(&words[..511]), None, "a sentence may still end in it");
        assert_eq!(step_end(&"é".repeat(400)), Some(512));
    }
}
