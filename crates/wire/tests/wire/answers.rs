//! Whole answers: read, and written again.

use garrison_wire::{Answer, Format, Message, Part, PartKind, Request, Role, Seal, Stop, Usage};
use serde_json::{Map, Value, json};

pub(crate) fn request() -> Request {
    Request::new("m", vec![Message::text(Role::User, "Hello?")])
}

/// An answer that every format can say, but for what a format adds itself.
pub(crate) fn answer(seal: Option<Seal>) -> Answer {
    let call = |id: &str, arguments: &str| {
        Part::new(PartKind::Call { id: id.into(), name: "look".into(), arguments: arguments.into() })
    };
    Answer {
        id: "id_7".into(),
        model: "m".into(),
        created: 1_700_000_000,
        parts: vec![
            Part::new(PartKind::Reasoning { text: "Hm, a cat.".into(), seal }),
            Part::text("I look: \"ä\"\n"),
            call("c1", "{\"at\":1}"),
            call("c2", "{}"),
        ],
        stop: Stop::Calls,
        usage: Some(Usage { input: 100, cached: 60, cache_written: 10, output: 20, reasoning: 5 }),
        beside: Map::new(),
    }
}

pub(crate) fn chat() -> Value {
    json!({
        "id": "id_7", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": "I look: \"ä\"\n", "refusal": null, "reasoning_content": "Hm, a cat.",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}},
                    {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                ],
            },
            "logprobs": null, "finish_reason": "tool_calls", "stop_reason": null,
        }],
        "usage": {
            "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
    })
}

pub(crate) fn messages() -> Value {
    json!({
        "id": "id_7", "type": "message", "role": "assistant", "model": "m",
        "content": [
            {"type": "thinking", "thinking": "Hm, a cat.", "signature": "sig"},
            {"type": "text", "text": "I look: \"ä\"\n"},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 1}},
            {"type": "tool_use", "id": "c2", "name": "look", "input": {}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 30, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 60,
            "output_tokens": 20, "output_tokens_details": {"thinking_tokens": 5}},
    })
}

pub(crate) fn responses() -> Value {
    json!({
        "id": "id_7", "object": "response", "created_at": 1_700_000_000, "status": "completed",
        "background": false, "error": null, "incomplete_details": null, "instructions": null,
        "max_output_tokens": null, "model": "m",
        "output": [
            {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm, a cat."}],
             "encrypted_content": "enc"},
            {"id": "msg_id_7_1", "type": "message", "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "text": "I look: \"ä\"\n", "annotations": [], "logprobs": []}]},
            {"id": "fc_id_7_2", "type": "function_call", "status": "completed", "call_id": "c1", "name": "look",
             "arguments": "{\"at\":1}"},
            {"id": "fc_id_7_3", "type": "function_call", "status": "completed", "call_id": "c2", "name": "look",
             "arguments": "{}"},
        ],
        "parallel_tool_calls": true, "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null}, "store": false, "temperature": null,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null,
        "truncation": "disabled",
        "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
            "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 120},
        "user": null, "metadata": {},
    })
}

/// What each format keeps of the reasoning's seal.
pub(crate) fn seal(format: Format) -> Option<Seal> {
    match format {
        Format::Chat => None,
        Format::Messages => Some(Seal::Signature("sig".into())),
        Format::Responses => Some(Seal::Item { id: "rs_1".into(), encrypted: Some("enc".into()) }),
    }
}

#[test]
fn an_answer_is_read_and_written_in_every_format() {
    for (format, body) in
        [(Format::Chat, chat()), (Format::Messages, messages()), (Format::Responses, responses())]
    {
        let created = if format == Format::Messages { 0 } else { 1_700_000_000 };
        let answer = Answer { created, ..answer(seal(format)) };
        assert_eq!(Answer::parse(format, body.to_string().as_bytes()).unwrap(), answer, "{format:?}");
        assert_eq!(answer.to_json(format, &request()), body, "{format:?}");
    }
}

#[test]
fn every_end_has_each_formats_word() {
    let table = [
        (Stop::EndTurn, "stop", "end_turn", "completed", Value::Null),
        (Stop::Length, "length", "max_tokens", "incomplete", json!({"reason": "max_output_tokens"})),
        (Stop::Filtered, "content_filter", "refusal", "incomplete", json!({"reason": "content_filter"})),
        (Stop::Sequence("END".into()), "stop", "stop_sequence", "completed", Value::Null),
    ];
    for (stop, chat, messages, status, details) in table {
        let answer = Answer { parts: vec![Part::text("a")], stop: stop.clone(), ..answer(None) };
        let written = |format| answer.to_json(format, &request());
        assert_eq!(written(Format::Chat)["choices"][0]["finish_reason"], chat);
        assert_eq!(written(Format::Messages)["stop_reason"], messages);
        let response = written(Format::Responses);
        assert_eq!((response["status"].as_str(), &response["incomplete_details"]), (Some(status), &details));
        for format in Format::ALL {
            let read = Answer::parse(format, written(format).to_string().as_bytes()).unwrap();
            // The Responses know no stop strings.
            let wanted = match (&stop, format) {
                (Stop::Sequence(_), Format::Responses) => Stop::EndTurn,
                _ => stop.clone(),
            };
            assert_eq!(read.stop, wanted, "{format:?}");
        }
    }
}

#[test]
fn what_servers_leave_out_or_add_is_borne() {
    let table = [
        (
            Format::Chat,
            json!({"choices": [{"message": {"content": null, "tool_calls": [
            {"id": "c", "index": 0, "function": {"name": "f", "arguments": {"a": 1}}}]}, "finish_reason": "stop",
            "content_filter_results": {}}], "provider": "x"}),
        ),
        (
            Format::Messages,
            json!({"content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1},
            "caller": {"type": "direct"}, "novelty": 1}], "stop_reason": "tool_use", "container": null}),
        ),
        (
            Format::Responses,
            json!({"status": "completed", "output": [
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a\":1}", "novelty": 1}]}),
        ),
    ];
    for (format, body) in table {
        let answer = Answer::parse(format, body.to_string().as_bytes()).unwrap();
        let call = PartKind::Call { id: "c".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
        assert_eq!((answer.parts, answer.usage), (vec![Part::new(call)], None), "{format:?}");
        assert_eq!(answer.stop, Stop::Calls, "{format:?}");
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    let table = [
        (Format::Chat, json!({"choices": []}), "choices"),
        (Format::Chat, json!({"choices": [{"message": {"content": "a"}}]}), "choices[0].finish_reason"),
        (
            Format::Chat,
            json!({"choices": [{"message": {"content": "a"}, "finish_reason": "abort"}]}),
            "choices[0].finish_reason",
        ),
        (Format::Messages, json!({"content": []}), "stop_reason"),
        (Format::Messages, json!({"content": [], "stop_reason": "pause_turn"}), "stop_reason"),
        (
            Format::Messages,
            json!({"content": [{"type": "server_tool_use"}], "stop_reason": "end_turn"}),
            "content[0].type",
        ),
        (Format::Responses, json!({"output": [], "status": "in_progress"}), "status"),
        (
            Format::Responses,
            json!({"output": [], "status": "failed", "error": {"message": "boom"}}),
            "status",
        ),
        (
            Format::Responses,
            json!({"output": [{"type": "mcp_call"}], "status": "completed"}),
            "output[0].type",
        ),
    ];
    for (format, body, param) in table {
        let error = Answer::parse(format, body.to_string().as_bytes()).expect_err(&body.to_string());
        assert_eq!(error.param.as_deref(), Some(param), "{error}");
    }
    assert!(Answer::parse(Format::Chat, b"<html>").is_err());
}

#[test]
fn garrisons_own_fields_stand_beside_a_formats() {
    let beside = json!({"timings": {"ttft_ms": 1.5}}).as_object().unwrap().clone();
    let answer = Answer { beside, ..answer(None) };
    for format in Format::ALL {
        assert_eq!(answer.to_json(format, &request())["timings"]["ttft_ms"], 1.5);
    }
}
