//! OpenAI's Chat Completions.
//!
//! Left out in silence, because they change nothing about an answer: when reading, what repeats itself (`name` of a
//! tool's message), what an assistant's message carries back from an answer (`audio`, `annotations`, empty
//! `function_call`), and when writing to this format, whether a tool failed (its text tells), seals of reasoning, and
//! wishes about caching. Vendors' fields that this format shares by habit: `reasoning_content` (also read as
//! `reasoning`), `top_k`, and `stop_reason`.
//!
//! In normal form a limit is `max_completion_tokens`, one text is a string and not a list of parts, and an
//! assistant's message says its reasoning, text, refusal and calls in this order.

mod answer;
mod chunk;
mod read;
mod scan;
mod stream;
mod write;

pub(crate) use answer::{read_answer, write_answer};
pub use chunk::{Choice, Chunk, Json, MOST_CHOICES, MOST_FIELDS, Name, Object};
pub(crate) use read::{image_source, read_request, stop_text};
pub(crate) use stream::{StreamReader, StreamWriter};
pub(crate) use write::{image_url, schema_name, write_messages, write_request};
