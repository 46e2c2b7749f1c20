//! What is refused, and how it is said.

use serde_json::{Value, json};

use crate::client::{Connection, get, post, send};
use crate::world::{World, engine_config};
use garrison_engine::EngineConfig;
use garrison_server::{Limits, ServerConfig, Times};
use std::time::Duration;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

#[test]
fn a_wrong_field_is_named() {
    let world = World::new();
    let user = json!([{"role": "user", "content": "Hi"}]);
    let table = [
        (CHAT, json!({}), "messages"),
        (CHAT, json!({"messages": []}), "messages"),
        (CHAT, json!({"messages": "Hi"}), "messages"),
        (CHAT, json!({"messages": ["Hi"]}), "messages[0]"),
        (CHAT, json!({"messages": [{"content": "Hi"}]}), "messages[0].role"),
        (CHAT, json!({"messages": [{"role": "wizard", "content": "Hi"}]}), "messages[0].role"),
        (CHAT, json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (CHAT, json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content"),
        (
            CHAT,
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
            "messages[0].content[0].type",
        ),
        (
            CHAT,
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1"}}]}]}),
            "messages[1].tool_calls[0].function.arguments",
        ),
        (CHAT, json!({"messages": [{"role": "user", "content": "refuse me"}]}), "messages"),
        (CHAT, json!({"messages": user, "temperature": "hot"}), "temperature"),
        (CHAT, json!({"messages": user, "top_logprobs": 3}), "top_logprobs"),
        (CHAT, json!({"messages": user, "logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        (CHAT, json!({"messages": user, "logprobs": 3}), "logprobs"),
        (CHAT, json!({"messages": user, "max_tokens": 0}), "max_tokens"),
        (CHAT, json!({"messages": user, "response_format": {"type": "yaml"}}), "response_format.type"),
        (
            CHAT,
            json!({"messages": user, "response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
            "response_format.json_schema.schema",
        ),
        (
            CHAT,
            json!({"messages": user, "response_format": {"type": "json_schema", "json_schema": {
                "name": "x", "schema": {"type": "array", "uniqeItems": true}}}}),
            "response_format.json_schema.schema",
        ),
        (TEXT, json!({"prompt": "a", "structured_outputs": {}}), "structured_outputs"),
        (
            TEXT,
            json!({"prompt": "a", "structured_outputs": {"regex": "a", "choice": ["b"]}}),
            "structured_outputs",
        ),
        (TEXT, json!({"prompt": "a", "structured_outputs": {"regex": "("}}), "structured_outputs.regex"),
        (
            TEXT,
            json!({"prompt": "a", "structured_outputs": {"choice": ["b", 1]}}),
            "structured_outputs.choice[1]",
        ),
        (TEXT, json!({"prompt": "a", "structured_outputs": {"json": "{"}}), "structured_outputs.json"),
        (CHAT, json!({"messages": user, "tool_choice": "required"}), "tool_choice"),
        (CHAT, json!({"messages": user, "tools": [{"type": "magic"}]}), "tools[0]"),
        (CHAT, json!({"messages": user, "tools": {}}), "tools"),
        (
            CHAT,
            json!({"messages": user, "tool_choice": {"type": "function", "function": {"name": "g"}},
                "tools": [{"type": "function", "function": {"name": "f"}}]}),
            "tool_choice",
        ),
        (
            CHAT,
            json!({"messages": user, "tool_choice": "required", "response_format": {"type": "json_object"},
                "tools": [{"type": "function", "function": {"name": "f"}}]}),
            "tool_choice",
        ),
        (
            CHAT,
            json!({"messages": user, "tool_choice": "required", "tools": [{"type": "function", "function": {
                "name": "f", "parameters": {"type": "strnig"}}}]}),
            "tools",
        ),
        (CHAT, json!({"messages": user, "modalities": ["audio"]}), "modalities"),
        (CHAT, json!({"messages": user, "chat_template": "{{ 1 }}"}), "chat_template"),
        (
            CHAT,
            json!({"messages": user, "chat_template_kwargs": {"messages": []}}),
            "chat_template_kwargs.messages",
        ),
        (CHAT, json!({"messages": user, "model": 5}), "model"),
        (TEXT, json!({}), "prompt"),
        (TEXT, json!({"prompt": []}), "prompt"),
        (TEXT, json!({"prompt": 5}), "prompt"),
        (TEXT, json!({"prompt": [[]]}), "prompt[0]"),
        (TEXT, json!({"prompt": ["a", 5]}), "prompt[1]"),
        (TEXT, json!({"prompt": [1, "a"]}), "prompt[1]"),
        (TEXT, json!({"prompt": [1, 999999]}), "prompt[1]"),
        (TEXT, json!({"prompt": [[1, -1]]}), "prompt[0][1]"),
        (TEXT, json!({"prompt": "a", "suffix": "b"}), "suffix"),
        (TEXT, json!({"prompt": "a", "logprobs": 21}), "logprobs"),
        (TEXT, json!({"prompt": "a", "logprobs": true}), "logprobs"),
        (TEXT, json!({"prompt": "a", "best_of": 5}), "best_of"),
        (TEXT, json!({"prompt": "a", "max_tokens": 0}), "max_tokens"),
        (TEXT, json!({"prompt": vec!["a"; 100], "n": 100}), "n"),
        // The queue has sixteen places.
        (TEXT, json!({"prompt": vec!["a"; 17]}), "n"),
        (CHAT, json!({"messages": user, "n": 17}), "n"),
        (TEXT, json!({"prompt": "", "add_special_tokens": false}), "prompt"),
        ("/tokenize", json!({"prompt": 1}), "prompt"),
        ("/detokenize", json!({"tokens": [1, 5000]}), "tokens[1]"),
    ];
    for (path, body, param) in table {
        let error = post(&world, path, &body).error(400);
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!(param), &json!("invalid_request_error")),
            "{body}: {error}"
        );
        assert!(error["message"].as_str().unwrap().len() > 15, "{error}");
    }
    // The template's own words reach the client.
    let body = json!({"messages": [{"role": "user", "content": "refuse me"}]});
    let error = post(&world, CHAT, &body).error(400);
    assert!(error["message"].as_str().unwrap().contains("this conversation is not for me"), "{error}");
}

#[test]
fn what_is_not_json_is_pointed_at() {
    let world = World::new();
    for (body, wanted) in [
        ("", "no body"),
        ("{\"model\": \"tiny\",\n \"messages\": [}", "line 2"),
        ("{\"a\": 1} x", "line 1 column 10"),
        ("[1, 2]", "must be a JSON object"),
        ("\"\\ud800\"", "line 1"),
        (&"[".repeat(5000), "recursion"),
    ] {
        let error = send(&world, "POST", CHAT, &[], body).error(400);
        assert!(error["message"].as_str().unwrap().contains(wanted), "{body:.40}: {error}");
    }
}

#[test]
fn unknown_places_and_methods() {
    let world = World::new();
    let error = post(&world, "/v1/embeddings", &json!({})).error(404);
    assert!(error["message"].as_str().unwrap().contains("/v1/embeddings"), "{error}");
    assert_eq!(error["type"], "not_found_error");
    assert!(get(&world, CHAT).error(405)["message"].as_str().unwrap().contains("GET"));
    let body = json!({"model": "gpt-9", "messages": [{"role": "user", "content": "Hi"}]});
    let error = post(&world, CHAT, &body).error(404);
    assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")));
    assert!(error["message"].as_str().unwrap().ends_with("this server has: tiny"), "{error}");
    assert_eq!(get(&world, "/v1/models/gpt-9").error(404)["code"], "model_not_found");
}

#[test]
fn a_prompt_that_can_never_fit_is_refused_at_once_whatever_the_load() {
    let world = World::new();
    world.control.hold();
    let error = post(&world, TEXT, &json!({"prompt": "a".repeat(600)})).error(400);
    assert_eq!(error["code"], "context_length_exceeded");
    assert!(error["message"].as_str().unwrap().contains("601"), "{error}");
    let long = json!({"messages": [{"role": "user", "content": "a".repeat(600)}]});
    assert_eq!(post(&world, CHAT, &long).error(400)["param"], "messages");
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let world =
        World::with(ServerConfig::default(), EngineConfig { max_seqs: 1, max_waiting: 2, ..engine_config() });
    world.control.hold();
    let body = json!({"prompt": "~", "max_tokens": 4}).to_string();
    let mut waiting = Vec::new();
    let refused = loop {
        let mut connection = Connection::open(&world);
        connection.post(TEXT, &[], &body);
        connection.reader.get_ref().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut probe = [0; 1];
        if connection.reader.get_ref().peek(&mut probe).is_ok() {
            break connection.answer();
        }
        waiting.push(connection);
        assert!(waiting.len() < 10, "the queue is never full");
    };
    let error = refused.error(429);
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("queue_full")));
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    // Those in the queue are served.
    world.control.release();
    for mut connection in waiting {
        connection.reader.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(connection.answer().ok()["choices"][0]["text"], "xxxx");
    }
}

#[test]
fn bodies_are_bounded_in_size() {
    let limits = Limits { body_bytes: 10_000, ..Limits::default() };
    let world = World::with(ServerConfig { limits, ..ServerConfig::default() }, engine_config());
    let big = json!({"prompt": "a".repeat(20_000)}).to_string();
    let answer = send(&world, "POST", TEXT, &[], &big);
    let error = answer.error(413);
    assert!(error["message"].as_str().unwrap().contains("10000 bytes"), "{error}");
    // The same without a length given first.
    let mut connection = Connection::open(&world);
    connection.send(
        format!("POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
    );
    for _ in 0..3 {
        connection.send(format!("1388\r\n{}\r\n", "a".repeat(5000)).as_bytes());
    }
    connection.send(b"0\r\n\r\n");
    connection.answer().error(413);
}

#[test]
fn slow_clients_are_given_up() {
    let times =
        Times { body: Duration::from_millis(300), headers: Duration::from_millis(300), ..Times::default() };
    let world = World::with(ServerConfig { times, ..ServerConfig::default() }, engine_config());
    // A body that comes byte by byte.
    let mut connection = Connection::open(&world);
    connection
        .send(format!("POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n").as_bytes());
    for _ in 0..8 {
        connection.send(b"x");
        std::thread::sleep(Duration::from_millis(20));
    }
    let error = connection.answer().error(408);
    assert!(error["message"].as_str().unwrap().contains("0.3 s"), "{error}");
    // Headers that never end: the connection is closed.
    let mut connection = Connection::open(&world);
    connection.send(b"POST /v1/completions HTTP/1.1\r\nHost:");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut connection.reader, &mut rest).unwrap();
    // Others are served meanwhile and after.
    assert_eq!(
        post(&world, TEXT, &json!({"prompt": "Q>", "max_tokens": 2})).ok()["choices"][0]["text"],
        "Hi"
    );
}

#[test]
fn headers_are_bounded() {
    let world = World::new();
    let big = "x".repeat(200_000);
    let mut connection = Connection::open(&world);
    connection.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Big: ");
    // The server may close before all of it is written.
    let _ = std::io::Write::write_all(connection.reader.get_mut(), big.as_bytes());
    let _ = std::io::Write::write_all(connection.reader.get_mut(), b"\r\n\r\n");
    let mut line = String::new();
    let _ = std::io::BufRead::read_line(&mut connection.reader, &mut line);
    assert!(line.is_empty() || line.contains("431"), "{line}");
    assert_eq!(get(&world, "/health").status, 200);
}

#[test]
fn a_failure_of_the_device_is_a_503_or_an_error_event() {
    let world = World::new();
    world.control.fail_next(1);
    let error = post(&world, TEXT, &json!({"prompt": "Q>"})).error(503);
    assert_eq!((&error["type"], &error["code"]), (&json!("server_error"), &json!("device_failed")));

    world.control.hold();
    let mut connection = Connection::open(&world);
    connection.post(TEXT, &[], &json!({"prompt": "~", "stream": true, "max_tokens": 400}).to_string());
    assert_eq!(connection.head().status, 200);
    world.control.fail_next(1);
    world.control.release();
    let mut text = String::new();
    while let Some(chunk) = connection.chunk() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let last = crate::client::parse_events(&text).pop().unwrap();
    assert_eq!(last.json()["error"]["code"], "device_failed", "{text}");
    assert!(!text.contains("[DONE]"));
    // The engine goes on.
    assert_eq!(
        post(&world, TEXT, &json!({"prompt": "Q>", "max_tokens": 2})).ok()["choices"][0]["text"],
        "Hi"
    );
}

#[test]
fn random_bodies_never_break_the_server() {
    let world = World::new();
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        "\"messages\"",
        ":",
        ",",
        "null",
        "-1e400",
        "1e999",
        "\"",
        "\\u0000",
        "true",
        "\"prompt\"",
        "\"n\"",
        "9223372036854775808",
        "\"\\ud83d\"",
        "\u{7f}",
    ];
    let mut state = 0x1234_5678_9ABC_DEF0_u64;
    for _ in 0..300 {
        let mut body = String::from(if state & 1 == 0 { "{\"prompt\":" } else { "" });
        for _ in 0..(state >> 8) % 12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            body.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let answer = send(&world, "POST", if state & 2 == 0 { TEXT } else { CHAT }, &[], &body);
        assert!(answer.status == 400 || answer.status == 200, "{body} gave {}", answer.status);
        let _: Value = answer.json();
    }
}
