//! Anthropic's Messages.
//!
//! Left out in silence when reading: who called (`caller`), if that was the model itself, how arguments are streamed
//! and thinking is shown (`eager_input_streaming`, `display`), and of an answer citations of documents, which cannot be
//! given, and what tells of the provider's own doings. When writing to this format: the name and
//! strictness of a schema for the answer (schemas are always followed), OpenAI's labels (`metadata`), `detail` of
//! images, and reasoning that Anthropic did not sign, which it would refuse and does not miss. Consecutive messages
//! of one role are one turn to Anthropic, and are joined.
//!
//! A request without `max_tokens` cannot be written: Anthropic demands it, and what is right depends on the model.

mod answer;
mod read;
mod stream;
mod write;

pub(crate) use answer::{read_answer, write_answer};
pub(crate) use read::read_request;
pub(crate) use stream::{StreamReader, StreamWriter};
pub(crate) use write::write_request;
