//! A chat answer in a dialect of its own: what the model says becomes neutral deltas, which the dialect's writer
//! writes, or folds into one answer.

use garrison_engine::Finish;
use garrison_types::{FinishReason, Usage};
use garrison_wire::{Delta, Fold, Request, Stop, StreamWriter};
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

/// Writes the answer to one request of a dialect, which has one choice.
pub(super) struct NeutralFormat {
    dialect: Dialect,
    request: Request,
    turn: Turn,
    writer: StreamWriter,
    /// The first delta, until it is written.
    begin: Option<Delta>,
}

impl NeutralFormat {
    /// Of an answer by `model` to a prompt of so many tokens.
    pub(super) fn new(asked: Translated, turn: Turn, model: &str, prompt_tokens: usize) -> NeutralFormat {
        let Translated { dialect, mut request, .. } = asked;
        // Of the conversation an answer repeats the instructions at most.
        request.messages.truncate(1);
        let prefix = if dialect == Dialect::Messages { "msg" } else { "resp" };
        let begin = Delta::Begin {
            id: format!("{prefix}_{}", ids::random_hex()),
            model: model.to_owned(),
            created: now(),
            usage: Some(garrison_wire::Usage {
                input: prompt_tokens as u64,
                ..garrison_wire::Usage::default()
            }),
        };
        let writer = StreamWriter::new(dialect, &request);
        NeutralFormat { dialect, request, turn, writer, begin: Some(begin) }
    }

    /// What more of the text says, from the first delta to the last.
    fn deltas(&mut self, mut piece: Piece, totals: Option<&Totals>) -> Vec<Delta> {
        let mut deltas: Vec<Delta> = self.begin.take().into_iter().collect();
        deltas.extend(self.turn.said(&mut piece).into_iter().map(|said| self.delta(said)));
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
                let prefix = if self.dialect == Dialect::Messages { "toolu" } else { "call" };
                Delta::Call { id: format!("{prefix}_{}", ids::random_hex()), name }
            }
            Said::Arguments { text, .. } => Delta::Arguments(text),
        }
    }

    fn stop(&self, finish: &Finish) -> Stop {
        match &finish.reason {
            reason if self.turn.ends_with_calls(reason) => Stop::Calls,
            FinishReason::Stop { matched: Some(text) } if self.request.stop.contains(text) => {
                Stop::Sequence(text.clone())
            }
            FinishReason::Stop { .. } => Stop::EndTurn,
            FinishReason::Length => Stop::Length,
            FinishReason::Filtered => Stop::Filtered,
        }
    }

    fn write(&mut self, deltas: Vec<Delta>) -> Vec<Frame> {
        let events = deltas.into_iter().flat_map(|delta| self.writer.write(delta));
        events
            .map(|event| match event.name {
                Some(name) => Frame::Named(name, event.data.into()),
                None => Frame::data(event.data),
            })
            .collect()
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
        self.dialect
    }

    fn chunks(&mut self, _choice: usize, piece: Piece, closing: Option<&Totals>) -> Vec<Frame> {
        let deltas = self.deltas(piece, closing);
        self.write(deltas)
    }

    // Of a stream that states what was used in a chunk of its own, which only Chat's clients can ask for.
    fn usage_chunk(&mut self, totals: &Totals) -> Frame {
        let usage = UsageJson::from(&totals.usage);
        Frame::data(to_json(&usage))
    }

    fn failed(&mut self, error: ApiError) -> Frame {
        // Anthropic's error event says nothing of the answer before it, so it is the same wherever a stream breaks.
        if self.dialect == Dialect::Messages {
            return Frame::Failed(error);
        }
        let mut deltas: Vec<Delta> = self.begin.take().into_iter().collect();
        deltas.push(Delta::Failed(error.failure()));
        match self.write(deltas).pop() {
            Some(Frame::Named(name, json)) => Frame::FailedAs(name, json),
            _ => Frame::Failed(error),
        }
    }

    fn whole(&mut self, choices: Vec<Piece>, totals: &Totals) -> String {
        let mut fold = Fold::default();
        for piece in choices {
            self.deltas(piece, Some(totals)).into_iter().for_each(|delta| fold.push(delta));
        }
        match fold.finish() {
            Ok(answer) => answer.to_json(self.dialect, &self.request).to_string(),
            Err(_) => ApiError::internal("the answer has no end").to_json_in(self.dialect),
        }
    }
}
