//! Anthropic's Messages: a chat is translated on its way there, and what is said on its way back, into the chunks that
//! all providers' answers are here.
//!
//! <https://docs.anthropic.com/en/api/messages>

use std::collections::VecDeque;

use garrison_wire::{Delivery, Format, Request, StreamError, StreamParser, StreamWriter};
use serde_json::{Map, Value};

use super::{Failure, openai};

/// The API's version, which every request has to name.
pub(crate) const VERSION: &str = "2023-06-01";
/// Tokens of an answer where neither the client nor a limit says how many: the API demands a number.
const USUAL_OUTPUT: u64 = 8192;

/// The body that asks `model` for what the client's chat asks, with at most `output` tokens.
///
/// # Errors
/// If the API has no word for something that the chat asks for.
pub(crate) fn body(chat: &Map<String, Value>, model: &str, output: Option<u64>) -> Result<Vec<u8>, Failure> {
    let untold = |error: garrison_wire::WireError| Failure::NoWord(error.param.unwrap_or_default());
    let mut request = Request::parse(Format::Chat, Value::Object(openai::sent(chat))).map_err(untold)?;
    let asked = output.or(request.max_tokens.map(u64::from)).unwrap_or(USUAL_OUTPUT);
    request.max_tokens = Some(u32::try_from(asked).unwrap_or(u32::MAX));
    request.delivery = Delivery::StreamWithUsage;
    Ok(request.to_json(Format::Messages, model).map_err(untold)?.to_string().into_bytes())
}

/// Makes chunks of what comes.
pub(crate) struct Translator {
    parser: StreamParser,
    writer: StreamWriter,
}

impl Translator {
    pub(crate) fn new() -> Translator {
        let client = Request { delivery: Delivery::StreamWithUsage, ..Request::new("", Vec::new()) };
        Translator {
            parser: StreamParser::new(Format::Messages),
            writer: StreamWriter::new(Format::Chat, &client),
        }
    }

    /// Takes bytes in; adds the data of the events that they make.
    pub(crate) fn push(&mut self, bytes: &[u8], ready: &mut VecDeque<String>) -> Result<(), Failure> {
        let mut deltas = Vec::new();
        let fed = self.parser.feed(bytes, &mut deltas);
        let events = deltas.into_iter().flat_map(|delta| self.writer.write(delta));
        ready.extend(events.map(|event| event.data));
        fed.map_err(|error| match error {
            StreamError::Cut => Failure::Cut,
            StreamError::TooLarge(_) => Failure::TooLarge,
            StreamError::Malformed(_) => Failure::Garbage("an event is none of Anthropic's"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_chat_becomes_messages_or_names_what_they_have_no_word_for() {
        let chat = |extra: Value| {
            let mut chat = json!({"messages": [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "user": "anna"});
            chat.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            chat.as_object().unwrap().clone()
        };
        let body = body(&chat(json!({})), "claude", Some(70)).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["model"], &body["max_tokens"], &body["stream"]),
            (&json!("claude"), &json!(70), &json!(true))
        );
        assert!(body["system"].to_string().contains("Be brief.") && !body.to_string().contains("anna"));
        let refused = super::body(&chat(json!({"seed": 7})), "claude", None).unwrap_err();
        assert_eq!(refused, Failure::NoWord("seed".into()));
    }

    #[test]
    fn what_is_said_becomes_chunks() {
        let events = [
            json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
                "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 3}}),
            json!({"type": "message_stop"}),
        ];
        let mut translator = Translator::new();
        let (mut ready, mut progress) = (VecDeque::new(), openai::Progress::new(1));
        for event in events {
            let name = event["type"].as_str().unwrap();
            translator.push(format!("event: {name}\ndata: {event}\n\n").as_bytes(), &mut ready).unwrap();
        }
        assert_eq!(ready.pop_back().as_deref(), Some("[DONE]"));
        for data in ready {
            progress.read(&serde_json::from_str(&data).unwrap()).unwrap();
        }
        assert!(progress.shows && progress.complete() && progress.text_bytes == 5);
        assert_eq!(progress.tokens.unwrap().prompt, 9);
        assert_eq!(progress.tokens.unwrap().output, 3);
        let garbage = Translator::new().push(b"data: <html>\n\n", &mut VecDeque::new());
        assert_eq!(garbage, Err(Failure::Garbage("an event is none of Anthropic's")));
    }
}
