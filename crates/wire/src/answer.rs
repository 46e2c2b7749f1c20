//! A model's answer, whole and as it is written.

use serde_json::{Map, Value};

use crate::error::Failure;
use crate::request::{Part, PartKind, Seal};

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its name.
    pub id: String,
    /// What answered.
    pub model: String,
    /// Seconds since 1970; 0 where the format does not say, as Anthropic's.
    pub created: u64,
    /// What it says: texts, reasoning, calls, refusals. No part is empty.
    pub parts: Vec<Part>,
    /// Why it ends.
    pub stop: Stop,
    /// What it took, if that was said.
    pub usage: Option<Usage>,
    /// Garrison's own fields beside the format's (`timings`, `guard` and such): written, and not read.
    pub beside: Map<String, Value>,
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model had said everything.
    EndTurn,
    /// It wrote one of the client's stop strings.
    Sequence(String),
    /// It reached the most tokens allowed, or the end of the context.
    Length,
    /// It called tools.
    Calls,
    /// What came next must not be shown, or the model refused.
    Filtered,
}

/// Tokens in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the request, all of them. (Anthropic's `input_tokens` leaves out what the next two count.)
    pub input: u64,
    /// Of those, read from a cache.
    pub cached: u64,
    /// Of those, written to a cache.
    pub cache_written: u64,
    /// Of the answer, all of them.
    pub output: u64,
    /// Of those, thought and not said.
    pub reasoning: u64,
}

/// What a stream says next.
///
/// A stream begins with [`Delta::Begin`] and ends with [`Delta::End`] or [`Delta::Failed`]. Between, a text, a refusal
/// or reasoning goes on with the part before it if that is of its kind and has not ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// There will be an answer.
    Begin {
        /// Its name.
        id: String,
        /// What answers.
        model: String,
        /// Seconds since 1970, or 0.
        created: u64,
        /// What is known before the first token, which is the input at most.
        usage: Option<Usage>,
    },
    /// More of a text.
    Text(String),
    /// More of a refusal.
    Refusal(String),
    /// More of what is thought.
    Reasoning(String),
    /// What seals the reasoning before it. [`Seal::Redacted`] is a part of its own; [`Seal::Item`] also begins one, since
    /// its id is known first, and comes again with what is encrypted.
    Seal(Seal),
    /// A call begins.
    Call {
        /// What its result will refer to.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of the arguments of the call that began last.
    Arguments(String),
    /// The part that was said last is complete.
    PartEnd,
    /// Everything is said.
    End {
        /// Why.
        stop: Stop,
        /// What it took, if that was said.
        usage: Option<Usage>,
        /// See [`Answer::beside`].
        beside: Map<String, Value>,
    },
    /// The provider failed; nothing follows.
    Failed(Failure),
}

/// Why deltas make no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// They do not end.
    Cut,
    /// They end with this.
    Failed(Failure),
}

/// What [`Delta::End`] says.
type End = (Stop, Option<Usage>, Map<String, Value>);

/// Makes an answer of deltas.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    id: String,
    model: String,
    created: u64,
    parts: Vec<Part>,
    /// Whether the last part can go on.
    open: bool,
    end: Option<Result<End, Failure>>,
}

impl Fold {
    /// Takes one in. What comes after the end is not counted.
    pub fn push(&mut self, delta: Delta) {
        if self.end.is_some() {
            return;
        }
        match delta {
            Delta::Begin { id, model, created, usage: _ } => {
                (self.id, self.model, self.created) = (id, model, created);
            }
            Delta::Text(text) => self.say(text, PartKind::Text),
            Delta::Refusal(text) => self.say(text, PartKind::Refusal),
            Delta::Reasoning(text) => self.say(text, |text| PartKind::Reasoning { text, seal: None }),
            Delta::Seal(seal) => self.seal(seal),
            Delta::Call { id, name } => {
                self.parts.push(Part::new(PartKind::Call { id, name, arguments: String::new() }));
                self.open = true;
            }
            Delta::Arguments(more) => {
                if let Some(Part { kind: PartKind::Call { arguments, .. }, .. }) = self.parts.last_mut() {
                    arguments.push_str(&more);
                }
            }
            Delta::PartEnd => self.open = false,
            Delta::End { stop, usage, beside } => self.end = Some(Ok((stop, usage, beside))),
            Delta::Failed(failure) => self.end = Some(Err(failure)),
        }
    }

    fn say(&mut self, more: String, part: fn(String) -> PartKind) {
        if more.is_empty() {
            return;
        }
        let kind = part(more);
        if let Some(last) = self.parts.last_mut().filter(|_| self.open) {
            match (&mut last.kind, &kind) {
                (PartKind::Text(text), PartKind::Text(more))
                | (PartKind::Refusal(text), PartKind::Refusal(more))
                | (
                    PartKind::Reasoning { text, seal: None | Some(Seal::Item { .. }) },
                    PartKind::Reasoning { text: more, .. },
                ) => {
                    text.push_str(more);
                    return;
                }
                _ => {}
            }
        }
        self.parts.push(Part::new(kind));
        self.open = true;
    }

    fn seal(&mut self, seal: Seal) {
        // An item goes on after its id is known; the others come at the end of what they seal.
        let goes_on = matches!(seal, Seal::Item { .. });
        let is_same = |known: &Option<Seal>| match (known, &seal) {
            (None, Seal::Signature(_) | Seal::Item { .. }) => true,
            (Some(Seal::Item { id, .. }), Seal::Item { id: more, .. }) => id == more,
            _ => false,
        };
        let open = self.parts.last_mut().filter(|_| self.open);
        match open.map(|part| &mut part.kind) {
            Some(PartKind::Reasoning { seal: known, .. }) if is_same(known) => *known = Some(seal),
            _ => self.parts.push(Part::new(PartKind::Reasoning { text: String::new(), seal: Some(seal) })),
        }
        self.open = goes_on;
    }

    /// The answer.
    ///
    /// # Errors
    /// If the deltas did not end, or ended with a failure.
    pub fn finish(self) -> Result<Answer, Unfinished> {
        let (stop, usage, beside) = match self.end {
            None => return Err(Unfinished::Cut),
            Some(Err(failure)) => return Err(Unfinished::Failed(failure)),
            Some(Ok(end)) => end,
        };
        let Fold { id, model, created, parts, .. } = self;
        Ok(Answer { id, model, created, parts, stop, usage, beside })
    }
}

impl Answer {
    /// The stream that says the same, each part in one piece.
    pub fn deltas(&self) -> Vec<Delta> {
        let begin = Delta::Begin {
            id: self.id.clone(),
            model: self.model.clone(),
            created: self.created,
            usage: self.usage.map(|usage| Usage { output: 0, reasoning: 0, ..usage }),
        };
        let mut deltas = vec![begin];
        for part in &self.parts {
            match part.kind.clone() {
                PartKind::Text(text) => deltas.push(Delta::Text(text)),
                PartKind::Refusal(text) => deltas.push(Delta::Refusal(text)),
                PartKind::Reasoning { text, seal } => {
                    if let Some(Seal::Item { id, .. }) = &seal {
                        deltas.push(Delta::Seal(Seal::Item { id: id.clone(), encrypted: None }));
                    }
                    if !text.is_empty() {
                        deltas.push(Delta::Reasoning(text));
                    }
                    let said = matches!(seal, Some(Seal::Item { encrypted: None, .. }));
                    deltas.extend(seal.filter(|_| !said).map(Delta::Seal));
                }
                PartKind::Call { id, name, arguments } => {
                    deltas.extend([Delta::Call { id, name }, Delta::Arguments(arguments)]);
                }
                // No answer holds these.
                PartKind::Image(_) | PartKind::Result { .. } => continue,
            }
            deltas.push(Delta::PartEnd);
        }
        deltas.push(Delta::End { stop: self.stop.clone(), usage: self.usage, beside: self.beside.clone() });
        deltas
    }
}
