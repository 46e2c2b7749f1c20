//! Streams as providers send them: read, cut, and written.

use garrison_wire::{
    Answer, Delta, Failure, FailureKind, Fold, Format, Stop, StreamError, StreamParser, StreamWriter,
    Unfinished, Usage,
};
use serde_json::{Map, Value, json};

use crate::answers::{answer, request, seal};

const CHAT: &str = r#": keep-alive

data: {"id":"id_7","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}

data: {"id":"id_7","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":"Hm, "},"finish_reason":null}]}

data: {"id":"id_7","model":"m","choices":[{"index":0,"delta":{"reasoning_content":"a cat."},"finish_reason":null}]}

data: {"id":"id_7","model":"m","choices":[{"index":0,"delta":{"content":"I look: "},"finish_reason":null}]}

data: {"id":"id_7","model":"m","choices":[{"index":0,"delta":{"content":"\"ä\"\n"},"finish_reason":null}]}

data: {"id":"id_7","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"look","arguments":""}}]},"finish_reason":null}]}

data: {"id":"id_7","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"at\""}}]},"finish_reason":null}]}

data: {"id":"id_7","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":null}]}

data: {"id":"id_7","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"look","arguments":"{}"}}]},"finish_reason":null}]}

data: {"id":"id_7","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"id":"id_7","model":"m","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":5}}}

data: [DONE]

"#;

const MESSAGES: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"id_7","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":30,"cache_creation_input_tokens":10,"cache_read_input_tokens":60,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm, "}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"a cat."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I look: "}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"\"ä\"\n"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"c1","name":"look","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"at\":1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"c2","name":"look","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":20,"output_tokens_details":{"thinking_tokens":5}}}

event: message_stop
data: {"type":"message_stop"}

"#;

const RESPONSES: &str = r#"event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"id_7","object":"response","created_at":1700000000,"status":"in_progress","model":"m","output":[]}}

event: response.in_progress
data: {"type":"response.in_progress","sequence_number":1,"response":{"id":"id_7","object":"response","created_at":1700000000,"status":"in_progress","model":"m","output":[]}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}

event: response.reasoning_summary_part.added
data: {"type":"response.reasoning_summary_part.added","sequence_number":3,"item_id":"rs_1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}

event: response.reasoning_summary_text.delta
data: {"type":"response.reasoning_summary_text.delta","sequence_number":4,"item_id":"rs_1","output_index":0,"summary_index":0,"delta":"Hm, a cat."}

event: response.reasoning_summary_text.done
data: {"type":"response.reasoning_summary_text.done","sequence_number":5,"item_id":"rs_1","output_index":0,"summary_index":0,"text":"Hm, a cat."}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":6,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"Hm, a cat."}],"encrypted_content":"enc"}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":7,"output_index":1,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}

event: response.content_part.added
data: {"type":"response.content_part.added","sequence_number":8,"item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":9,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"I look: ","obfuscation":"xyz"}

event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":10,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"\"ä\"\n"}

event: response.output_text.done
data: {"type":"response.output_text.done","sequence_number":11,"item_id":"msg_1","output_index":1,"content_index":0,"text":"I look: \"ä\"\n"}

event: response.content_part.done
data: {"type":"response.content_part.done","sequence_number":12,"item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"I look: \"ä\"\n","annotations":[]}}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":13,"output_index":1,"item":{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"I look: \"ä\"\n","annotations":[]}]}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":14,"output_index":2,"item":{"id":"fc_1","type":"function_call","status":"in_progress","call_id":"c1","name":"look","arguments":""}}

event: response.function_call_arguments.delta
data: {"type":"response.function_call_arguments.delta","sequence_number":15,"item_id":"fc_1","output_index":2,"delta":"{\"at\":1}"}

event: response.function_call_arguments.done
data: {"type":"response.function_call_arguments.done","sequence_number":16,"item_id":"fc_1","output_index":2,"arguments":"{\"at\":1}"}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":17,"output_index":2,"item":{"id":"fc_1","type":"function_call","status":"completed","call_id":"c1","name":"look","arguments":"{\"at\":1}"}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":18,"output_index":3,"item":{"id":"fc_2","type":"function_call","status":"in_progress","call_id":"c2","name":"look","arguments":""}}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":19,"output_index":3,"item":{"id":"fc_2","type":"function_call","status":"completed","call_id":"c2","name":"look","arguments":"{}"}}

event: response.completed
data: {"type":"response.completed","sequence_number":20,"response":{"id":"id_7","object":"response","created_at":1700000000,"status":"completed","model":"m","output":[],"usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},"output_tokens":20,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":120}}}

"#;

const STREAMS: [(Format, &str); 3] =
    [(Format::Chat, CHAT), (Format::Messages, MESSAGES), (Format::Responses, RESPONSES)];

fn read(format: Format, pieces: &[&[u8]]) -> (Vec<Delta>, Result<(), StreamError>) {
    let (mut parser, mut deltas) = (StreamParser::new(format), Vec::new());
    for piece in pieces {
        if let Err(error) = parser.feed(piece, &mut deltas) {
            return (deltas, Err(error));
        }
    }
    let end = parser.finish();
    (deltas, end)
}

pub(crate) fn fold(deltas: Vec<Delta>) -> Result<Answer, Unfinished> {
    let mut fold = Fold::default();
    deltas.into_iter().for_each(|delta| fold.push(delta));
    fold.finish()
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    for (format, text) in STREAMS {
        let (deltas, end) = read(format, &[text.as_bytes()]);
        assert_eq!(end, Ok(()));
        let created = if format == Format::Messages { 0 } else { 1_700_000_000 };
        assert_eq!(fold(deltas).unwrap(), Answer { created, ..answer(seal(format)) }, "{format:?}");
    }
}

#[test]
fn a_stream_says_the_same_however_it_is_cut_into_pieces() {
    for (format, text) in STREAMS {
        let (whole, _) = read(format, &[text.as_bytes()]);
        for at in 0..text.len() {
            let (a, b) = text.as_bytes().split_at(at);
            assert_eq!(read(format, &[a, b]), (whole.clone(), Ok(())), "{format:?} at {at}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read(format, &single), (whole, Ok(())), "{format:?}");
    }
}

#[test]
fn a_stream_that_ends_early_was_cut() {
    for (format, text) in STREAMS {
        let (whole, _) = read(format, &[text.as_bytes()]);
        for at in 0..text.len() {
            let (deltas, end) = read(format, &[&text.as_bytes()[..at]]);
            assert_eq!(end, Err(StreamError::Cut), "{format:?} at {at}");
            assert!(whole.starts_with(&deltas), "{format:?} at {at}");
            assert_eq!(fold(deltas), Err(Unfinished::Cut));
        }
    }
    // An end without a reason is none.
    let (_, end) =
        read(Format::Chat, &[b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n"]);
    assert_eq!(end, Err(StreamError::Cut));
    let (_, end) = read(Format::Messages, &[b"data: {\"type\":\"message_stop\"}\n\n"]);
    assert_eq!(end, Err(StreamError::Cut));
    let (_, end) = read(Format::Chat, &[b"<html>Bad Gateway</html>"]);
    assert_eq!(end, Err(StreamError::Cut));
}

#[test]
fn what_comes_after_the_end_is_skipped() {
    for (format, text) in STREAMS {
        let more = format!("{text}data: nonsense\n\n");
        assert_eq!(read(format, &[more.as_bytes()]), read(format, &[text.as_bytes()]));
    }
}

#[test]
fn a_failure_in_a_stream_is_said() {
    let table = [
        (Format::Chat, r#"{"error":{"message":"busy","type":"overloaded_error","code":"c"}}"#),
        (
            Format::Messages,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"busy","code":"c"}}"#,
        ),
        (
            Format::Responses,
            r#"{"type":"error","code":"c","message":"busy","error_type":"x","sequence_number":3}"#,
        ),
        (
            Format::Responses,
            r#"{"type":"response.failed","response":{"error":{"code":"c","message":"busy"}}}"#,
        ),
    ];
    for (format, data) in table {
        let (deltas, end) = read(format, &[format!("data: {data}\n\n").as_bytes()]);
        let [Delta::Failed(failure)] = deltas.as_slice() else { panic!("{deltas:?}") };
        assert_eq!((failure.message.as_str(), failure.code.as_deref()), ("busy", Some("c")));
        assert_eq!(end, Ok(()), "a provider that says that it failed was not cut");
        assert!(matches!(fold(deltas), Err(Unfinished::Failed(_))));
    }
}

#[test]
fn what_is_no_event_of_the_format_is_refused() {
    let table = [
        (Format::Chat, "nonsense"),
        (Format::Chat, "[1]"),
        (Format::Chat, r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#),
        (
            Format::Chat,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"a"}}]}}]}"#,
        ),
        (Format::Chat, r#"{"choices":[{"delta":{"content":5}}]}"#),
        (Format::Messages, r#"{"no":"type"}"#),
        (Format::Messages, r#"{"type":"content_block_start","content_block":{"type":"server_tool_use"}}"#),
        (
            Format::Messages,
            r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"a"}}"#,
        ),
        (Format::Responses, r#"{"type":"response.output_text.delta","output_index":0,"delta":"a"}"#),
        (Format::Responses, r#"{"type":"response.output_item.added","item":{"type":"mcp_call"}}"#),
    ];
    for (format, data) in table {
        let (_, end) = read(format, &[format!("data: {data}\n\n").as_bytes()]);
        assert!(matches!(end, Err(StreamError::Malformed(_))), "{data}: {end:?}");
    }
}

#[test]
fn odd_servers_are_understood() {
    // Calls without an index, one whole call per chunk, as Gemini's and older servers send them.
    let call = |id: &str| {
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [
            {"index": 0, "id": id, "function": {"name": "f", "arguments": "{}"}}]}}]})
    };
    // An empty reason in each chunk ends nothing.
    let none = json!({"choices": [{"delta": {}, "finish_reason": ""}]});
    let end = json!({"choices": [{"delta": {}, "finish_reason": "stop", "stop_reason": "X"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
    let chunks = [call("a"), none.clone(), call("b"), end, none];
    let text: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let text = text + "data: [DONE]\n\n";
    let answer = fold(read(Format::Chat, &[text.as_bytes()]).0).unwrap();
    assert_eq!(answer.parts.len(), 2);
    assert_eq!(answer.stop, Stop::Sequence("X".into()));
    assert_eq!(answer.usage, Some(Usage { input: 3, output: 4, ..Usage::default() }));
}

fn events(format: Format, deltas: Vec<Delta>) -> Vec<(Option<&'static str>, Value)> {
    let mut writer = StreamWriter::new(format, &request());
    let events = deltas.into_iter().flat_map(|delta| writer.write(delta));
    events
        .map(|event| (event.name, serde_json::from_str(&event.data).unwrap_or_else(|_| event.data.into())))
        .collect()
}

fn begin() -> Delta {
    let usage = Some(Usage { input: 9, cached: 4, ..Usage::default() });
    Delta::Begin { id: "id_7".into(), model: "m".into(), created: 5, usage }
}

fn end(stop: Stop) -> Delta {
    let usage = Some(Usage { input: 9, cached: 4, output: 2, ..Usage::default() });
    Delta::End { stop, usage, beside: json!({"timings": {}}).as_object().unwrap().clone() }
}

#[test]
fn anthropics_events_come_in_anthropics_order() {
    let call = Delta::Call { id: "c".into(), name: "f".into() };
    let said = events(
        Format::Messages,
        vec![
            begin(),
            Delta::Text("a".into()),
            Delta::Text("b".into()),
            call,
            Delta::Arguments("{}".into()),
            end(Stop::Calls),
        ],
    );
    let wanted = [
        json!({"type": "message_start", "message": {"id": "id_7", "type": "message", "role": "assistant", "model": "m",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 5,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 0}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "b"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block":
            {"type": "tool_use", "id": "c", "name": "f", "input": {}}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage":
            {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 2},
            "timings": {}}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(said.iter().map(|(_, data)| data.clone()).collect::<Vec<_>>(), wanted);
    assert!(said.iter().all(|(name, data)| data["type"] == name.unwrap()));
}

#[test]
fn the_responses_events_are_numbered_and_repeat_each_part() {
    let call = Delta::Call { id: "c".into(), name: "f".into() };
    let said = events(
        Format::Responses,
        vec![
            begin(),
            Delta::Reasoning("hm".into()),
            Delta::Text("a".into()),
            Delta::Text("b".into()),
            call,
            Delta::Arguments("{}".into()),
            end(Stop::Calls),
        ],
    );
    let names: Vec<&str> =
        said.iter().map(|(name, _)| name.unwrap().strip_prefix("response.").unwrap()).collect();
    assert_eq!(
        names,
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    for (i, (name, data)) in said.iter().enumerate() {
        assert_eq!((data["type"].as_str(), data["sequence_number"].as_u64()), (*name, Some(i as u64)));
    }
    assert_eq!(said[12].1["text"], "ab");
    assert_eq!(
        said[14].1["item"],
        json!({"id": "msg_id_7_1", "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": "ab", "annotations": [], "logprobs": []}]})
    );
    let response = &said[19].1["response"];
    assert_eq!((&response["status"], &response["timings"]), (&json!("completed"), &json!({})));
    assert_eq!(response["output"].as_array().unwrap().len(), 3);
    assert_eq!(response["output"][2]["arguments"], "{}");
    let cut = events(Format::Responses, vec![begin(), Delta::Text("a".into()), end(Stop::Length)]);
    assert_eq!(cut.last().unwrap().0, Some("response.incomplete"));
}

#[test]
fn chats_usage_comes_if_it_was_asked_for() {
    let write = |delivery| {
        let request = garrison_wire::Request { delivery, ..request() };
        let mut writer = StreamWriter::new(Format::Chat, &request);
        let deltas = [begin(), Delta::Text("a".into()), end(Stop::EndTurn)];
        let events: Vec<_> = deltas.into_iter().flat_map(|delta| writer.write(delta)).collect();
        assert_eq!(events.last().unwrap().data, "[DONE]");
        events[..events.len() - 1]
            .iter()
            .map(|e| serde_json::from_str(&e.data).unwrap())
            .collect::<Vec<Value>>()
    };
    let plain = write(garrison_wire::Delivery::Stream);
    assert!(plain.len() == 3 && plain.iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(plain[2]["timings"], json!({}));
    let usage = write(garrison_wire::Delivery::StreamWithUsage);
    assert!(usage.len() == 4 && usage[..3].iter().all(|chunk| chunk["usage"].is_null()));
    assert_eq!((&usage[3]["choices"], &usage[3]["usage"]["total_tokens"]), (&json!([]), &json!(11)));
}

#[test]
fn a_failure_ends_a_stream_in_each_formats_words() {
    let failure = Failure { code: Some("late".into()), ..Failure::new(FailureKind::Timeout, "too late") };
    for format in Format::ALL {
        let mut writer = StreamWriter::new(format, &request());
        let mut bytes = writer.write_bytes(begin());
        bytes.extend(writer.write_bytes(Delta::Text("a".into())));
        bytes.extend(writer.write_bytes(Delta::Failed(failure.clone())));
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            !text.contains("[DONE]") && !text.contains("message_stop") && !text.contains("completed\""),
            "{text}"
        );
        let (deltas, end) = read(format, &[text.as_bytes()]);
        assert_eq!(end, Ok(()));
        let Some(Delta::Failed(read)) = deltas.last() else { panic!("{deltas:?}") };
        assert_eq!((read.message.as_str(), read.code.as_deref()), ("too late", Some("late")));
    }
}

#[test]
fn a_stream_of_an_empty_answer_is_whole() {
    for format in Format::ALL {
        let mut writer = StreamWriter::new(format, &request());
        let deltas = [begin(), Delta::Text(String::new()), Delta::PartEnd, end(Stop::EndTurn)];
        let bytes: Vec<u8> = deltas.into_iter().flat_map(|delta| writer.write_bytes(delta)).collect();
        let (deltas, end) = read(format, &[&bytes]);
        assert_eq!(end, Ok(()));
        let answer = fold(deltas).unwrap();
        assert_eq!((answer.parts, answer.beside), (vec![], Map::new()));
    }
}
