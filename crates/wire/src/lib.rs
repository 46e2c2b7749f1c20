//! The public wire formats, and the way from each to each through one neutral form.
//!
//! [`Format`] names them: OpenAI's Chat Completions and Responses, and Anthropic's Messages. A [`Request`],
//! an [`Answer`], a stream of [`Delta`]s and a [`Failure`] are what all three say; each format reads its own
//! JSON into these and writes them as its own JSON. Pure functions over values and bytes: no IO, no clock.
//!
//! Three rules:
//!
//! - What a request asks for arrives or is refused by the field's name ([`WireError`]). A field that only one
//!   format has travels in [`Request::own`], and is refused where another format is written, unless it changes
//!   nothing about the answer. What is left out in silence is listed with each format.
//! - Streams are read as they come ([`StreamParser`]), in bounded memory. A stream that ends without its format's
//!   last event was cut ([`StreamError::Cut`]); it is never a short answer.
//! - A stream says what the whole answer says: [`Fold`] makes the one of the other.
//!
//! Deliberately absent: what a model can do, prices, retries, and fields that ask a provider for its own tools.
#![forbid(unsafe_code)]

mod answer;
mod error;
mod request;
mod stream;

mod chat;
mod messages;
mod responses;

mod events;
mod fields;

use serde_json::Value;

pub use answer::{Answer, Delta, Fold, Stop, Unfinished, Usage};
pub use chat::{Choice, Chunk, Json, MOST_CHOICES, MOST_FIELDS, Name, Object};
pub use error::{Failure, FailureKind, Fault, StreamError, WireError};
pub use events::{EventReader, MAX_EVENT_BYTES};
pub use request::{
    Delivery, Image, ImageSource, Message, OutputForm, Own, Part, PartKind, Reasoning, Request, Role,
    Sampling, Seal, Thinking, Tool, ToolChoice,
};
pub use stream::{ChunkReader, Event, MAX_STREAM_BYTES, StreamParser, StreamWriter};

/// A public API's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI's `POST /v1/chat/completions`, and what OpenAI-compatible servers make of it.
    Chat,
    /// OpenAI's `POST /v1/responses`.
    Responses,
    /// Anthropic's `POST /v1/messages`.
    Messages,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 3] = [Format::Chat, Format::Responses, Format::Messages];

    /// What the format is called in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Format::Chat => "OpenAI's Chat Completions",
            Format::Responses => "OpenAI's Responses",
            Format::Messages => "Anthropic's Messages",
        }
    }
}

impl Request {
    /// Reads a request's body.
    ///
    /// # Errors
    /// If a field is not what the format says, or asks for something that no other part of this crate can say.
    pub fn parse(format: Format, body: Value) -> Result<Request, WireError> {
        match format {
            Format::Chat => chat::read_request(body),
            Format::Responses => responses::read_request(body),
            Format::Messages => messages::read_request(body),
        }
    }

    /// For each message of the body that [`Format::Chat`] gets: the index of the one in [`Request::messages`] that it
    /// begins with.
    ///
    /// # Errors
    /// As [`Request::to_json`].
    pub fn chat_origins(&self) -> Result<Vec<usize>, WireError> {
        Ok(chat::write_messages(&self.messages)?.into_iter().map(|(origin, _)| origin).collect())
    }

    /// The request's body, for `model` instead of [`Request::model`].
    ///
    /// # Errors
    /// If the format has no word for something that the request asks for.
    pub fn to_json(&self, format: Format, model: &str) -> Result<Value, WireError> {
        match format {
            Format::Chat => chat::write_request(self, model),
            Format::Responses => responses::write_request(self, model),
            Format::Messages => messages::write_request(self, model),
        }
    }
}

impl Answer {
    /// Reads a whole answer's body.
    ///
    /// # Errors
    /// If it is not such an answer: `param` is the place in the body.
    pub fn parse(format: Format, body: &[u8]) -> Result<Answer, WireError> {
        let value = fields::parse(body)?;
        match format {
            Format::Chat => chat::read_answer(value),
            Format::Responses => responses::read_answer(value),
            Format::Messages => messages::read_answer(value),
        }
    }

    /// The answer's body, to a client that asked `request` in this format.
    pub fn to_json(&self, format: Format, request: &Request) -> Value {
        match format {
            Format::Chat => chat::write_answer(self),
            Format::Responses => responses::write_answer(self, request),
            Format::Messages => messages::write_answer(self),
        }
    }
}
