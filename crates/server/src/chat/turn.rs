//! What one choice says, whatever JSON it is written in: its text, or the calls in it, and why it ended.

use garrison_types::FinishReason;

use super::calls::{CallReader, Said};
use super::tools::Tools;
use crate::generation::Piece;

/// One choice's turn, as its text comes.
#[derive(Clone)]
pub(super) struct Turn {
    /// Reads tool calls from the text, if there can be any.
    reader: Option<CallReader>,
}

impl Turn {
    /// Of an answer in which these tools may be called.
    pub(super) fn new(tools: &Tools) -> Turn {
        Turn { reader: tools.reader() }
    }

    /// What is said with more of the text, which is taken out of the piece.
    pub(super) fn said(&mut self, piece: &mut Piece) -> Vec<Said> {
        let text = std::mem::take(&mut piece.text);
        match &mut self.reader {
            Some(reader) => reader.read(&text, piece.finish.is_some()),
            None if text.is_empty() => Vec::new(),
            None => vec![Said::Text(text)],
        }
    }

    /// Whether a turn that ended so ended with calls: it made some, and was not cut off.
    pub(super) fn ends_with_calls(&self, reason: &FinishReason) -> bool {
        let called = self.reader.as_ref().is_some_and(|reader| reader.calls() > 0);
        called && matches!(reason, FinishReason::Stop { .. })
    }
}
