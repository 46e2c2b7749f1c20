//! An answer in the words of any dialect: neutral deltas, which the dialect's writer writes, or folds into one answer.
//! What a model here says becomes deltas in [`NeutralFormat`].

use garrison_engine::Finish;
use garrison_types::{FinishReason, Usage};
use garrison_wire::{Delta, Fold, Request, Stop, StreamWriter, Unfinished};
use serde_json::Map;

use super::calls::Said;
use super::translated::Translated;
use super::turn::Turn;
use crate::answer::Format;
use crate::envelope::{UsageJson, beside, now, to_json};
use crate::error::ApiError;
use crate::generation::{Piece, Totals};
use crate::ids;
use crate::sse::{Dialect, Frame};

/// Writes deltas to one client.
pub(super) struct Voice {
    dialect: Dialect,
    /// What was asked, of which answers repeat something.
    request: Request,
    writer: StreamWriter,
}

impl Voice {
    /// To a client that asked `request` in a dialect.
    pub(super) fn new(dialect: Dialect, mut request: Request) -> Voice {
        // Of the conversation an answer repeats the instructions at most.
        request.messages.truncate(1);
        let writer = StreamWriter::new(dialect, &request);
        Voice { dialect, request, writer }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// How a model here speaks to this client.
    pub(super) fn spoken(&self, turn: Turn) -> Spoken {
        Spoken::new(turn, self.dialect, &self.request)
    }

    /// Whether the client has asked that an answer stops at this.
    pub(super) fn stops_at(&self, text: &str) -> bool {
        self.request.stop.iter().any(|stop| stop == text)
    }

    /// A name for an answer.
    pub(super) fn answer_id(&self) -> String {
        let prefix = match self.dialect {
            Dialect::Chat => "chatcmpl-",
            Dialect::Messages => "msg_",
            Dialect::Responses => "resp_",
        };
        format!("{prefix}{}", ids::random_hex())
    }

    /// The frames that say this. That all is said is a frame of its own.
    pub(super) fn frames(&mut self, deltas: Vec<Delta>) -> Vec<Frame> {
        let events = deltas.into_iter().flat_map(|delta| self.writer.write(delta));
        let frame = |event: garrison_wire::Event| match event.name {
            Some(name) => Some(Frame::Named(name, event.data.into())),
            None if event.data == "[DONE]" => None,
            None => Some(Frame::data(event.data)),
        };
        events.filter_map(frame).collect()
    }

    /// The last frame of an answer that breaks, which `begin` begins if it has not begun.
    pub(super) fn failed(&mut self, begin: Option<Delta>, error: ApiError) -> Frame {
        // Only the Responses' event of a failure tells of the answer before it, so the others are the same wherever a
        // stream breaks.
        if self.dialect != Dialect::Responses {
            return Frame::Failed(error);
        }
        let deltas = begin.into_iter().chain([Delta::Failed(error.failure())]).collect();
        match self.frames(deltas).pop() {
            Some(Frame::Named(name, json)) => Frame::FailedAs(name, json),
            _ => Frame::Failed(error),
        }
    }

    /// The whole answer as JSON text.
    pub(super) fn whole(&self, fold: Fold) -> Result<String, Unfinished> {
        Ok(fold.finish()?.to_json(self.dialect, &self.request).to_string())
    }
}

/// What a model here says in its one choice, as deltas after the first.
pub(super) struct Spoken {
    turn: Turn,
    /// What names of calls begin with.
    call: &'static str,
    /// The client's own stop strings.
    stop: Vec<String>,
}

impl Spoken {
    fn new(turn: Turn, dialect: Dialect, request: &Request) -> Spoken {
        let call = if dialect == Dialect::Messages { "toolu" } else { "call" };
        Spoken { turn, call, stop: request.stop.clone() }
    }

    /// What more of the text says, to the last delta.
    pub(super) fn deltas(&mut self, mut piece: Piece, totals: Option<&Totals>) -> Vec<Delta> {
        let said = self.turn.said(&mut piece);
        let mut deltas: Vec<Delta> = said.into_iter().map(|said| self.delta(said)).collect();
        if let Some(finish) = &piece.finish {
            deltas.push(Delta::End {
                stop: self.stop(finish),
                usage: Some(usage(totals.map_or(&finish.usage, |totals| &totals.usage))),
                beside: totals.map_or_else(Map::new, beside),
            });
        }
        deltas
    }

    fn delta(&self, said: Said) -> Delta {
        match said {
            Said::Text(text) => Delta::Text(text),
            Said::Call { name, .. } => {
                Delta::Call { id: format!("{}_{}", self.call, ids::random_hex()), name }
            }
            Said::Arguments { text, .. } => Delta::Arguments(text),
        }
    }

    fn stop(&self, finish: &Finish) -> Stop {
        match &finish.reason {
            reason if self.turn.ends_with_calls(reason) => Stop::Calls,
            FinishReason::Stop { matched: Some(text) } if self.stop.contains(text) => {
                Stop::Sequence(text.clone())
            }
            FinishReason::Stop { .. } => Stop::EndTurn,
            FinishReason::Length => Stop::Length,
            FinishReason::Filtered => Stop::Filtered,
        }
    }
}

/// Writes the answer to one request of a dialect, which has one choice.
pub(super) struct NeutralFormat {
    voice: Voice,
    spoken: Spoken,
    /// The first delta, until it is written.
    begin: Option<Delta>,
}

impl NeutralFormat {
    /// Of an answer by `model` to a prompt of so many tokens.
    pub(super) fn new(asked: Translated, turn: Turn, model: &str, prompt_tokens: usize) -> NeutralFormat {
        let voice = Voice::new(asked.dialect, asked.request);
        let spoken = voice.spoken(turn);
        let begin = Delta::Begin {
            id: voice.answer_id(),
            model: model.to_owned(),
            created: now(),
            usage: Some(garrison_wire::Usage {
                input: prompt_tokens as u64,
                ..garrison_wire::Usage::default()
            }),
        };
        NeutralFormat { voice, spoken, begin: Some(begin) }
    }

    /// What more of the text says, from the first delta to the last.
    fn deltas(&mut self, piece: Piece, totals: Option<&Totals>) -> Vec<Delta> {
        let mut deltas: Vec<Delta> = self.begin.take().into_iter().collect();
        deltas.extend(self.spoken.deltas(piece, totals));
        deltas
    }
}

fn usage(usage: &Usage) -> garrison_wire::Usage {
    garrison_wire::Usage {
        input: usage.prompt_tokens.into(),
        cached: usage.cached_tokens.into(),
        output: usage.completion_tokens.into(),
        ..garrison_wire::Usage::default()
    }
}

impl Format for NeutralFormat {
    fn dialect(&self) -> Dialect {
        self.voice.dialect()
    }

    fn chunks(&mut self, _choice: usize, piece: Piece, closing: Option<&Totals>) -> Vec<Frame> {
        let deltas = self.deltas(piece, closing);
        self.voice.frames(deltas)
    }

    // Of a stream that states what was used in a chunk of its own, which only Chat's clients can ask for.
    fn usage_chunk(&mut self, totals: &Totals) -> Frame {
        let usage = UsageJson::from(&totals.usage);
        Frame::data(to_json(&usage))
    }

    fn failed(&mut self, error: ApiError) -> Frame {
        self.voice.failed(self.begin.take(), error)
    }

    fn whole(&mut self, choices: Vec<Piece>, totals: &Totals) -> String {
        let mut fold = Fold::default();
        for piece in choices {
            self.deltas(piece, Some(totals)).into_iter().for_each(|delta| fold.push(delta));
        }
        let no_end = |_| ApiError::internal("the answer has no end").to_json_in(self.voice.dialect());
        self.voice.whole(fold).unwrap_or_else(no_end)
    }
}
