//! Streams in and out: framing and the three grammars behind one face.

use std::fmt::Write as _;

use crate::answer::Delta;
use crate::chat::Chunk;
use crate::error::{StreamError, WireError};
use crate::events::{EventReader, MAX_EVENT_BYTES};
use crate::request::Request;
use crate::{Format, chat, fields, messages, responses};

/// Bytes of a stream at most: beyond any answer, so that a provider that never ends does.
pub const MAX_STREAM_BYTES: usize = 256 << 20;

/// Reads a provider's stream as it comes.
#[derive(Debug)]
pub struct StreamParser {
    events: EventReader,
    reader: Reader,
    taken: usize,
    ended: bool,
}

#[derive(Debug)]
enum Reader {
    Chat(chat::StreamReader),
    Responses(responses::StreamReader),
    Messages(messages::StreamReader),
}

impl StreamParser {
    /// Of a stream in this format.
    pub fn new(format: Format) -> StreamParser {
        let reader = match format {
            Format::Chat => Reader::Chat(chat::StreamReader::default()),
            Format::Responses => Reader::Responses(responses::StreamReader::default()),
            Format::Messages => Reader::Messages(messages::StreamReader::default()),
        };
        StreamParser { events: EventReader::new(MAX_EVENT_BYTES), reader, taken: 0, ended: false }
    }

    /// Takes bytes in and adds what they say to `deltas`, also before an error. After the stream's last event
    /// everything is skipped.
    ///
    /// # Errors
    /// If an event is not of the format, or too large. Nothing that comes later counts then.
    pub fn feed(&mut self, bytes: &[u8], deltas: &mut Vec<Delta>) -> Result<(), StreamError> {
        if self.ended {
            return Ok(());
        }
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > MAX_STREAM_BYTES {
            return Err(StreamError::TooLarge(MAX_STREAM_BYTES));
        }
        let (reader, ended) = (&mut self.reader, &mut self.ended);
        self.events.feed(bytes, |data| {
            if *ended {
                return Ok(());
            }
            match reader {
                Reader::Chat(reader) => reader.event(data, deltas),
                Reader::Responses(reader) => reader.event(data, deltas),
                Reader::Messages(reader) => reader.event(data, deltas),
            }?;
            *ended = matches!(deltas.last(), Some(Delta::End { .. } | Delta::Failed(_)));
            Ok(())
        })
    }

    /// Whether the stream's last event was there.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The bytes have ended.
    ///
    /// # Errors
    /// [`StreamError::Cut`] if that was before the stream's last event.
    pub fn finish(&self) -> Result<(), StreamError> {
        if self.ended { Ok(()) } else { Err(StreamError::Cut) }
    }
}

/// Reads the chunks of a Chat stream that somebody else has told apart.
#[derive(Debug, Default)]
pub struct ChunkReader(chat::StreamReader);

impl ChunkReader {
    /// Takes a chunk in and adds what it says to `deltas`.
    ///
    /// # Errors
    /// If it is none, or of a choice beside the first.
    pub fn chunk(&mut self, chunk: &Chunk, deltas: &mut Vec<Delta>) -> Result<(), WireError> {
        self.0.chunk(fields::parse(chunk.to_json().as_bytes())?, deltas)
    }

    /// The stream has ended: its last delta. None if that was before its choice had a reason to end, so that it was
    /// cut.
    pub fn end(&mut self) -> Option<Delta> {
        self.0.end()
    }
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What `event:` says, where the format names its events.
    pub name: Option<&'static str>,
    /// Without line breaks: JSON, or Chat's `[DONE]`.
    pub data: String,
}

impl Event {
    /// As it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(self.data.len() + 48);
        if let Some(name) = self.name {
            let _ = writeln!(text, "event: {name}");
        }
        let _ = write!(text, "data: {}\n\n", self.data);
        text.into_bytes()
    }
}

/// Writes a stream to a client, delta by delta.
#[derive(Debug)]
pub struct StreamWriter {
    writer: Writer,
}

#[derive(Debug)]
enum Writer {
    Chat(chat::StreamWriter),
    Responses(Box<responses::StreamWriter>),
    Messages(messages::StreamWriter),
}

impl StreamWriter {
    /// To a client that asked `request` in this format.
    pub fn new(format: Format, request: &Request) -> StreamWriter {
        let writer = match format {
            Format::Chat => Writer::Chat(chat::StreamWriter::new(request.delivery)),
            Format::Responses => Writer::Responses(Box::new(responses::StreamWriter::new(request))),
            Format::Messages => Writer::Messages(messages::StreamWriter::default()),
        };
        StreamWriter { writer }
    }

    /// The events that say this; [`Delta::End`] and [`Delta::Failed`] bring the format's last one.
    pub fn write(&mut self, delta: Delta) -> Vec<Event> {
        if matches!(&delta, Delta::Text(t) | Delta::Refusal(t) | Delta::Reasoning(t) | Delta::Arguments(t) if t.is_empty())
        {
            return Vec::new();
        }
        match &mut self.writer {
            Writer::Chat(writer) => writer.write(delta),
            Writer::Responses(writer) => writer.write(delta),
            Writer::Messages(writer) => writer.write(delta),
        }
    }

    /// The same as bytes.
    pub fn write_bytes(&mut self, delta: Delta) -> Vec<u8> {
        self.write(delta).iter().flat_map(Event::to_bytes).collect()
    }
}
