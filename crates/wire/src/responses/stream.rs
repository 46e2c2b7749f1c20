//! A stream's events, read. Each part is said in deltas and then again whole; the deltas count, and the whole only
//! where a server sent no deltas.

use serde_json::{Map, Value};

use super::answer::{read_created, read_stop, read_usage};
use super::read::{read_call, read_reasoning};
use crate::answer::Delta;
use crate::error::{Failure, StreamError, WireError};
use crate::fields::{self, Fields};
use crate::request::{PartKind, Seal};

/// Reads events.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    begun: bool,
    called: bool,
    /// The item that goes on, and whether anything was said of it.
    item: Option<(u64, Said)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Something,
}

impl StreamReader {
    /// Takes one event in.
    pub(crate) fn event(&mut self, data: &[u8], deltas: &mut Vec<Delta>) -> Result<(), StreamError> {
        let mut event = Fields::root(fields::parse(data)?)?;
        match event.required_string("type")?.as_str() {
            "response.created" | "response.in_progress" => self.begin(&mut event, deltas)?,
            "response.output_item.added" => self.item_added(&mut event, deltas)?,
            "response.output_text.delta" => self.said(&mut event, Delta::Text, deltas)?,
            "response.refusal.delta" => self.said(&mut event, Delta::Refusal, deltas)?,
            "response.function_call_arguments.delta" => self.said(&mut event, Delta::Arguments, deltas)?,
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.said(&mut event, Delta::Reasoning, deltas)?;
            }
            "response.reasoning_summary_part.added" => self.summary_part(&mut event, deltas)?,
            "response.content_part.done" => deltas.push(Delta::PartEnd),
            "response.output_item.done" => self.item_done(&mut event, deltas)?,
            "response.completed" | "response.incomplete" => self.end(&mut event, deltas)?,
            "response.failed" => {
                let error = event.required_object("response")?.take("error").unwrap_or_default();
                deltas.push(Delta::Failed(Failure::in_stream(&error)));
            }
            "error" => deltas.push(Delta::Failed(failure(event))),
            // What repeats the deltas, and what OpenAI may add.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, event: &mut Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let mut response = event.required_object("response")?;
        deltas.push(Delta::Begin {
            id: response.string("id")?.unwrap_or_default(),
            model: response.string("model")?.unwrap_or_default(),
            created: read_created(&mut response)?,
            usage: None,
        });
        Ok(())
    }

    fn item_added(&mut self, event: &mut Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = event.count("output_index")?.unwrap_or(0);
        self.item = Some((index, Said::Nothing));
        let mut item = event.required_object("item")?;
        match item.required_string("type")?.as_str() {
            "message" => {}
            "reasoning" => {
                let id = item.string("id")?.filter(|id| !id.is_empty());
                deltas.extend(id.map(|id| Delta::Seal(Seal::Item { id, encrypted: None })));
            }
            "function_call" => {
                self.called = true;
                if let PartKind::Call { id, name, .. } = read_call(&mut item)? {
                    deltas.push(Delta::Call { id, name });
                }
            }
            _ => {
                return Err(WireError::unsupported(
                    item.param("type"),
                    "is of a kind that was not asked for",
                ));
            }
        }
        Ok(())
    }

    fn said(
        &mut self,
        event: &mut Fields,
        delta: fn(String) -> Delta,
        deltas: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let index = event.count("output_index")?.unwrap_or(0);
        match &mut self.item {
            Some((current, said)) if *current == index => *said = Said::Something,
            _ => {
                let param = event.param("output_index");
                return Err(WireError::malformed(
                    param,
                    "the stream goes on with an item that has ended or not begun",
                ));
            }
        }
        deltas.push(delta(event.required_string("delta")?));
        Ok(())
    }

    /// Parts of a summary are paragraphs.
    fn summary_part(&mut self, event: &mut Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        if event.count("summary_index")?.unwrap_or(0) > 0 {
            deltas.push(Delta::Reasoning("\n\n".into()));
        }
        Ok(())
    }

    fn item_done(&mut self, event: &mut Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        let said = self.item.take().map_or(Said::Nothing, |(_, said)| said);
        let mut item = event.required_object("item")?;
        match item.required_string("type")?.as_str() {
            "reasoning" => {
                if let PartKind::Reasoning { text, seal } = read_reasoning(&mut item)? {
                    if said == Said::Nothing && !text.is_empty() {
                        deltas.push(Delta::Reasoning(text));
                    }
                    let news = |seal: &Seal| matches!(seal, Seal::Item { encrypted: Some(_), .. });
                    deltas.extend(seal.filter(news).map(Delta::Seal));
                }
            }
            "function_call" if said == Said::Nothing => {
                if let PartKind::Call { arguments, .. } = read_call(&mut item)? {
                    deltas.push(Delta::Arguments(arguments));
                }
            }
            _ => {}
        }
        deltas.push(Delta::PartEnd);
        Ok(())
    }

    fn end(&mut self, event: &mut Fields, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        let mut response = event.required_object("response")?;
        let usage = response.object("usage")?.map(read_usage).transpose()?;
        let stop = read_stop(&mut response, self.called)?;
        deltas.push(Delta::End { stop, usage, beside: Map::new() });
        Ok(())
    }
}

/// An `error` event has the error's fields beside its type.
fn failure(event: Fields) -> Failure {
    let mut fields = event.rest();
    let inner = fields.remove("error");
    Failure::in_stream(&inner.unwrap_or(Value::Object(fields)))
}
