//! OpenAI's Responses.
//!
//! Left out in silence when reading: ids, states and phases that output items bring back as input (reasoning items keep
//! theirs), empty annotations, and how a stream is padded. When writing to this format: reasoning without an item's id,
//! which OpenAI would refuse, whether a tool failed, and wishes about caching.
//!
//! In normal form the input is a list of items, a message has its `type`, and one text is a string and not a list of
//! parts. Tools are strict here unless they say otherwise, and elsewhere only if they say so, so a tool of another
//! format is written with `"strict": false`; for the same reason a request of another format has `"store": false`.
//!
//! An item of reasoning without its encrypted content is no more than an id, which OpenAI only knows if it kept the response. So
//! where nothing is kept it is left out: OpenAI would not find it, and refuse the request.

mod answer;
mod read;
mod stream;
mod stream_out;
mod write;

pub(crate) use answer::{read_answer, write_answer};
pub(crate) use read::read_request;
pub(crate) use stream::StreamReader;
pub(crate) use stream_out::StreamWriter;
pub(crate) use write::write_request;

/// What `include` asks for so that reasoning comes encrypted.
const SEALED: &str = "reasoning.encrypted_content";
