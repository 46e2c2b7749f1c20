//! A stream's events, written: every event has its number, and every part is said in deltas and then again whole.

use serde_json::{Map, Value, json};

use super::answer::{Head, State, item, message, text_part};
use crate::answer::Delta;
use crate::request::{PartKind, Request, Seal};
use crate::stream::Event;

/// Writes events. Keeps the answer, which the last event repeats.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    request: Request,
    head: Head,
    /// Number of the next event.
    sequence: u64,
    /// Items that are complete.
    output: Vec<Value>,
    open: Option<Open>,
}

/// The item that goes on.
#[derive(Debug)]
struct Open {
    id: String,
    kind: PartKind,
}

impl StreamWriter {
    /// To a client that asked this. Of the conversation only the instructions are shown again.
    pub(crate) fn new(request: &Request) -> StreamWriter {
        let first = request.messages.first().cloned();
        let request = Request { messages: first.into_iter().collect(), ..request.clone() };
        StreamWriter { request, head: Head::default(), sequence: 0, output: Vec::new(), open: None }
    }

    /// The events that say this.
    pub(crate) fn write(&mut self, delta: Delta) -> Vec<Event> {
        let mut events = Vec::with_capacity(3);
        match delta {
            Delta::Begin { id, model, created, usage: _ } => {
                self.head = Head { id, model, created };
                for name in ["response.created", "response.in_progress"] {
                    let response = self.head.object(&self.request, &State::InProgress, Vec::new());
                    self.push(name, json!({ "response": response }), &mut events);
                }
            }
            Delta::Text(text) => self.say(PartKind::Text(text), &mut events),
            Delta::Refusal(text) => self.say(PartKind::Refusal(text), &mut events),
            Delta::Reasoning(text) => self.say(PartKind::Reasoning { text, seal: None }, &mut events),
            Delta::Seal(seal) => self.seal(seal, &mut events),
            Delta::Call { id, name } => {
                self.close(&mut events);
                self.begin(PartKind::Call { id, name, arguments: String::new() }, &mut events);
            }
            Delta::Arguments(more) => self.argue(&more, &mut events),
            Delta::PartEnd => self.close(&mut events),
            Delta::End { stop, usage, beside } => {
                self.close(&mut events);
                let state = State::Ended { stop: &stop, usage: usage.as_ref() };
                let mut response = self.head.object(&self.request, &state, std::mem::take(&mut self.output));
                let name = match response["status"].as_str() {
                    Some("completed") => "response.completed",
                    _ => "response.incomplete",
                };
                response.extend(beside);
                self.push(name, json!({ "response": response }), &mut events);
            }
            Delta::Failed(failure) => {
                let output = std::mem::take(&mut self.output);
                let response = self.head.object(&self.request, &State::Failed(&failure), output);
                self.push("response.failed", json!({ "response": response }), &mut events);
            }
        }
        events
    }

    fn push(&mut self, name: &'static str, fields: Value, events: &mut Vec<Event>) {
        let mut data = Map::new();
        data.insert("type".into(), name.into());
        data.insert("sequence_number".into(), self.sequence.into());
        if let Value::Object(fields) = fields {
            data.extend(fields);
        }
        self.sequence += 1;
        events.push(Event { name: Some(name), data: Value::Object(data).to_string() });
    }

    /// Says more of a text, a refusal or reasoning.
    fn say(&mut self, more: PartKind, events: &mut Vec<Event>) {
        let goes_on = |open: &Open| std::mem::discriminant(&open.kind) == std::mem::discriminant(&more);
        if !self.open.as_ref().is_some_and(goes_on) {
            self.close(events);
            let empty = match &more {
                PartKind::Text(_) => PartKind::Text(String::new()),
                PartKind::Refusal(_) => PartKind::Refusal(String::new()),
                _ => PartKind::Reasoning { text: String::new(), seal: None },
            };
            self.begin(empty, events);
        }
        self.begin_part(events);
        let Some(open) = &mut self.open else { return };
        let (name, place, text) = match (&mut open.kind, more) {
            (PartKind::Text(text), PartKind::Text(more)) => {
                text.push_str(&more);
                ("response.output_text.delta", "content_index", more)
            }
            (PartKind::Refusal(text), PartKind::Refusal(more)) => {
                text.push_str(&more);
                ("response.refusal.delta", "content_index", more)
            }
            (PartKind::Reasoning { text, .. }, PartKind::Reasoning { text: more, .. }) => {
                text.push_str(&more);
                ("response.reasoning_summary_text.delta", "summary_index", more)
            }
            _ => return,
        };
        let mut fields = json!({
            "item_id": open.id, "output_index": self.output.len(), place: 0, "delta": text,
        });
        if name == "response.output_text.delta" {
            fields["logprobs"] = json!([]);
        }
        self.push(name, fields, events);
    }

    fn argue(&mut self, more: &str, events: &mut Vec<Event>) {
        let Some(Open { id, kind: PartKind::Call { arguments, .. } }) = &mut self.open else { return };
        arguments.push_str(more);
        let fields = json!({ "item_id": id, "output_index": self.output.len(), "delta": more });
        self.push("response.function_call_arguments.delta", fields, events);
    }

    fn seal(&mut self, given: Seal, events: &mut Vec<Event>) {
        match given {
            Seal::Item { id, encrypted } => match &mut self.open {
                Some(Open { id: known, kind: PartKind::Reasoning { seal, .. } }) if *known == id => {
                    *seal = Some(Seal::Item { id, encrypted });
                }
                _ => {
                    self.close(events);
                    let seal = Some(Seal::Item { id, encrypted });
                    self.begin(PartKind::Reasoning { text: String::new(), seal }, events);
                }
            },
            // Another provider's; the reasoning before it is complete, though.
            Seal::Signature(_) | Seal::Redacted(_) => self.close(events),
        }
    }

    fn begin(&mut self, kind: PartKind, events: &mut Vec<Event>) {
        let index = self.output.len();
        let id = self.head.item_id(&kind, index);
        let begun = match &kind {
            PartKind::Text(_) | PartKind::Refusal(_) => Some(message(&id, "in_progress", Vec::new())),
            kind => item(kind, &id, "in_progress"),
        };
        self.push("response.output_item.added", json!({ "output_index": index, "item": begun }), events);
        self.open = Some(Open { id, kind });
    }

    /// Before the first text of an item.
    fn begin_part(&mut self, events: &mut Vec<Event>) {
        let Some(Open { id, kind }) = &self.open else { return };
        let (PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Reasoning { text, .. }) = kind else {
            return;
        };
        if let Some((event, place, part)) = part_of(kind).filter(|_| text.is_empty()) {
            let fields = json!({ "item_id": id, "output_index": self.output.len(), place: 0, "part": part });
            self.push(event.added, fields, events);
        }
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        let Some(Open { id, kind }) = self.open.take() else { return };
        let index = self.output.len();
        let at = |more: Value| {
            let mut fields = json!({ "item_id": id, "output_index": index });
            if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
                fields.extend(more);
            }
            fields
        };
        let done = match &kind {
            PartKind::Text(text) => {
                let fields = json!({ "content_index": 0, "text": text, "logprobs": [] });
                Some(("response.output_text.done", fields))
            }
            PartKind::Refusal(text) => {
                Some(("response.refusal.done", json!({ "content_index": 0, "refusal": text })))
            }
            PartKind::Reasoning { text, .. } if !text.is_empty() => {
                Some(("response.reasoning_summary_text.done", json!({ "summary_index": 0, "text": text })))
            }
            PartKind::Call { name, arguments, .. } => Some((
                "response.function_call_arguments.done",
                json!({ "name": name, "arguments": arguments }),
            )),
            _ => None,
        };
        if let Some((name, fields)) = done {
            self.push(name, at(fields), events);
        }
        // An item that is sealed only has nothing to show.
        let is_empty = matches!(&kind, PartKind::Reasoning { text, .. } if text.is_empty());
        if let Some((event, place, part)) = part_of(&kind).filter(|_| !is_empty) {
            self.push(event.done, at(json!({ place: 0, "part": part })), events);
        }
        let complete = item(&kind, &id, "completed");
        self.push("response.output_item.done", json!({ "output_index": index, "item": complete }), events);
        self.output.extend(complete);
    }
}

/// Events around a part inside of an item.
struct PartEvents {
    added: &'static str,
    done: &'static str,
}

/// The part that an item of this kind holds, the events around it, and what they call its place.
fn part_of(kind: &PartKind) -> Option<(PartEvents, &'static str, Value)> {
    let content = PartEvents { added: "response.content_part.added", done: "response.content_part.done" };
    match kind {
        PartKind::Text(text) => Some((content, "content_index", text_part(text))),
        PartKind::Refusal(text) => {
            Some((content, "content_index", json!({ "type": "refusal", "refusal": text })))
        }
        PartKind::Reasoning { text, .. } => {
            let events = PartEvents {
                added: "response.reasoning_summary_part.added",
                done: "response.reasoning_summary_part.done",
            };
            Some((events, "summary_index", json!({ "type": "summary_text", "text": text })))
        }
        PartKind::Call { .. } | PartKind::Image(_) | PartKind::Result { .. } => None,
    }
}
