//! A provider's answer as it comes: bytes become what is heard.

use std::collections::VecDeque;

use garrison_wire::{Chunk, Delta, EventReader, Format, StreamError, StreamParser};

use super::ProviderKind;
use super::failure::{Failure, MOST_ANSWER};
use crate::peer::{Answer, BrokeOff};

/// Bytes of one event at most; a provider that sends more is broken.
const MAX_EVENT: usize = 4 << 20;

/// What is heard of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// A chunk as OpenAI's Chat Completions define it, as it came.
    Chunk(Chunk),
    /// What another API says, in wire's neutral form.
    Delta(Delta),
}

/// A chunk that says this.
#[cfg(test)]
pub(crate) fn chunk(value: &serde_json::Value) -> Chunk {
    Chunk::read(&value.to_string()).unwrap()
}

/// What a provider says.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// More of its answer.
    More(Heard),
    /// `[DONE]`.
    Done,
    /// The connection has ended the answer.
    End,
}

/// Why bytes are no events.
struct NoEvent(&'static str);

/// An event that is larger than [`MAX_EVENT`], or no UTF-8.
const NO_TEXT: NoEvent = NoEvent("an event is too large or no text");

impl From<StreamError> for NoEvent {
    fn from(_: StreamError) -> NoEvent {
        NO_TEXT
    }
}

/// What reads bytes.
enum Reader {
    Chunks(EventReader),
    Deltas(Box<StreamParser>),
}

impl Reader {
    fn of(kind: ProviderKind) -> Reader {
        match kind {
            ProviderKind::OpenAi => Reader::Chunks(EventReader::new(MAX_EVENT)),
            ProviderKind::Responses => Reader::deltas(Format::Responses),
            ProviderKind::Anthropic => Reader::deltas(Format::Messages),
        }
    }

    fn deltas(format: Format) -> Reader {
        Reader::Deltas(Box::new(StreamParser::new(format)))
    }

    /// Adds what bytes say to `ready`, also before an error.
    fn push(&mut self, bytes: &[u8], ready: &mut VecDeque<Said>) -> Result<(), Failure> {
        match self {
            Reader::Chunks(reader) => {
                let fed = reader.feed(bytes, |data| {
                    let text = str::from_utf8(data).map_err(|_| NO_TEXT)?;
                    ready.push_back(if text.trim() == "[DONE]" {
                        Said::Done
                    } else {
                        let chunk = Chunk::read(text).map_err(|_| NoEvent("an event is no chunk"))?;
                        Said::More(Heard::Chunk(chunk))
                    });
                    Ok(())
                });
                fed.map_err(|NoEvent(why)| Failure::Garbage(why))
            }
            Reader::Deltas(parser) => {
                let mut deltas = Vec::new();
                let fed = parser.feed(bytes, &mut deltas);
                ready.extend(deltas.into_iter().map(|delta| Said::More(Heard::Delta(delta))));
                fed.map_err(|error| match error {
                    StreamError::Cut => Failure::Cut,
                    StreamError::TooLarge(_) => Failure::TooLarge,
                    StreamError::Malformed(_) => Failure::Garbage("an event is none of its API's"),
                })
            }
        }
    }
}

/// An answer as it comes.
pub struct Reply {
    answer: Answer,
    reader: Reader,
    ready: VecDeque<Said>,
    /// What is wrong with what came after `ready`.
    broken: Option<Failure>,
    bytes: usize,
}

impl Reply {
    /// What such a provider's answer says.
    pub(super) fn new(kind: ProviderKind, answer: Answer) -> Reply {
        Reply { answer, reader: Reader::of(kind), ready: VecDeque::new(), broken: None, bytes: 0 }
    }

    /// Whether it says chunks of Chat Completions.
    pub(crate) fn says_chunks(&self) -> bool {
        matches!(self.reader, Reader::Chunks(_))
    }

    /// What it says next. It can be dropped while it waits, and asked again.
    pub(crate) async fn next(&mut self) -> Result<Said, Failure> {
        loop {
            if let Some(said) = self.ready.pop_front() {
                return Ok(said);
            }
            if let Some(failure) = self.broken.take() {
                return Err(failure);
            }
            match self.answer.chunk().await {
                Err(BrokeOff) => return Err(Failure::Cut),
                Ok(None) => return Ok(Said::End),
                Ok(Some(bytes)) => {
                    self.bytes += bytes.len();
                    if self.bytes > MOST_ANSWER {
                        return Err(Failure::TooLarge);
                    }
                    self.broken = self.reader.push(&bytes, &mut self.ready).err();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(pieces: &[&[u8]]) -> Result<Vec<String>, Failure> {
        let (mut reader, mut ready) = (Reader::Chunks(EventReader::new(MAX_EVENT)), VecDeque::new());
        pieces.iter().try_for_each(|piece| reader.push(piece, &mut ready))?;
        let text = |said| match said {
            Said::More(Heard::Chunk(chunk)) => chunk.to_json(),
            Said::Done => "done".to_owned(),
            other => panic!("{other:?}"),
        };
        Ok(ready.into_iter().map(text).collect())
    }

    #[test]
    fn what_came_before_garbage_was_said() {
        let (mut reader, mut ready) = (Reader::deltas(Format::Messages), VecDeque::new());
        let start = r#"{"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {}}}"#;
        let bytes = format!("event: message_start\ndata: {start}\n\ndata: <html>\n\n");
        let none = Err(Failure::Garbage("an event is none of its API's"));
        assert_eq!(reader.push(bytes.as_bytes(), &mut ready), none);
        assert!(matches!(ready.pop_front(), Some(Said::More(Heard::Delta(Delta::Begin { .. })))));
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:{\"two\":\ndata: 2}\n\nretry: 3\n\rdata: [DONE]\r\r";
        let wanted = vec!["{\"a\":1}".to_owned(), "{\"two\":2}".into(), "done".into()];
        for cut in 0..=text.len() {
            let (first, rest) = text.as_bytes().split_at(cut);
            assert_eq!(pushed(&[first, rest]), Ok(wanted.clone()), "cut at {cut}");
        }
    }

    #[test]
    fn an_event_has_a_bound_and_is_text() {
        let none = Err(Failure::Garbage("an event is too large or no text"));
        assert_eq!(pushed(&[&vec![b'x'; MAX_EVENT + 1]]), none);
        assert_eq!(pushed(&[b"data: \xFF\n\n"]), none);
        assert_eq!(pushed(&[b"data: two\n\n"]), Err(Failure::Garbage("an event is no chunk")));
    }

    proptest::proptest! {
        #[test]
        fn anything_at_all_is_taken(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = pushed(&[&bytes]);
        }
    }
}
