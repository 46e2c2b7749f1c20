//! Requests: each format to itself, to the others, and what is refused.

use garrison_wire::{Fault, Format, Request};
use serde_json::{Value, json};

fn translate(from: Format, body: Value, to: Format) -> Value {
    let request = Request::parse(from, body).unwrap();
    request.to_json(to, &request.model).unwrap()
}

fn chat() -> Value {
    json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
            ]},
            {"role": "assistant", "content": "I look.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}},
                {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{\"at\":2}"}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
            {"role": "tool", "tool_call_id": "c2", "content": "a dog"},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": false}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "out", "schema": {"type": "object"}}},
        "temperature": 0.5, "top_p": 0.9,
        "max_completion_tokens": 64,
        "reasoning_effort": "low",
        "user": "u-1",
        "stream": true,
    })
}

fn messages() -> Value {
    json!({
        "model": "m",
        "max_tokens": 64,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 1}},
                {"type": "tool_use", "id": "c2", "name": "look", "input": {"at": 2}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "a cat"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "a dog"},
                {"type": "text", "text": "And?"},
            ]},
        ],
        "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}, "strict": false}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": true},
        "temperature": 0.5, "top_p": 0.9,
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "stream": true,
        "metadata": {"user_id": "u-1"},
    })
}

fn responses() -> Value {
    json!({
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
            ]},
            {"type": "message", "role": "assistant", "content": "I look."},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"at\":1}"},
            {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{\"at\":2}"},
            {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
            {"type": "function_call_output", "call_id": "c2", "output": "a dog"},
            {"type": "message", "role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "name": "look", "description": "Looks.", "strict": false,
            "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "look"},
        "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "out", "schema": {"type": "object"}}},
        "temperature": 0.5, "top_p": 0.9,
        "max_output_tokens": 64,
        "reasoning": {"effort": "low"},
        "stream": true,
        "user": "u-1",
    })
}

/// The same without the places where formats lose something: a picture's `detail`, a schema's name.
fn without(mut body: Value, pointers: &[(&str, &str)]) -> Value {
    for (at, name) in pointers {
        body.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(*name);
    }
    body
}

#[test]
fn a_request_comes_back_as_it_was() {
    for (format, body) in
        [(Format::Chat, chat()), (Format::Messages, messages()), (Format::Responses, responses())]
    {
        assert_eq!(translate(format, body.clone(), format), body, "{format:?}");
    }
}

#[test]
fn the_same_request_is_said_in_every_format() {
    assert_eq!(translate(Format::Chat, chat(), Format::Messages), messages());
    assert_eq!(translate(Format::Responses, responses(), Format::Messages), messages());
    // OpenAI keeps responses unless told otherwise, and nothing of the other formats.
    let mut unkept = responses();
    unkept["store"] = false.into();
    assert_eq!(translate(Format::Chat, chat(), Format::Responses), unkept);
    assert_eq!(translate(Format::Responses, responses(), Format::Chat), chat());
    // Anthropic knows no detail, and no name of a schema.
    let mut poorer = without(chat(), &[("/messages/1/content/1/image_url", "detail")]);
    poorer["response_format"]["json_schema"]["name"] = "answer".into();
    assert_eq!(translate(Format::Messages, messages(), Format::Chat), poorer);
    let mut poorer = without(responses(), &[("/input/0/content/1", "detail")]);
    poorer["text"]["format"]["name"] = "answer".into();
    poorer["store"] = false.into();
    assert_eq!(translate(Format::Messages, messages(), Format::Responses), poorer);
}

#[test]
fn what_one_format_has_comes_back_in_it() {
    let table = [
        (
            Format::Chat,
            json!({
                "messages": [
                    {"role": "developer", "content": "x", "name": "ops"},
                    {"role": "assistant", "reasoning_content": "hm", "content": "y"},
                    {"role": "assistant", "refusal": "no"},
                    {"role": "assistant", "content": ""},
                ],
                "response_format": {"type": "json_object"}, "top_k": 40, "frequency_penalty": 1.0,
                "presence_penalty": -1.0, "seed": -7, "stop": ["a", "b"], "verbosity": "low", "metadata": {"k": "v"},
                "stream": true, "stream_options": {"include_usage": true},
                "logit_bias": {"5": -100}, "service_tier": "flex", "store": true, "prediction": {"type": "content"},
            }),
        ),
        (
            Format::Messages,
            json!({
                "max_tokens": 9, "top_k": 5, "stop_sequences": ["a"],
                "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://e.example/i"}}]},
                    {"role": "assistant", "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "redacted_thinking", "data": "d"},
                        {"type": "tool_use", "id": "c", "name": "f", "input": {}, "cache_control": {"type": "ephemeral"}},
                    ]},
                    {"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": "c", "is_error": true, "content": [
                            {"type": "text", "text": "t"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "A"}}]}]},
                    {"role": "system", "content": "Now in verse."},
                ],
                "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
                "thinking": {"type": "enabled", "budget_tokens": 2000},
                "context_management": {"edits": [1]}, "service_tier": "auto",
            }),
        ),
        (
            Format::Responses,
            json!({
                "input": [
                    {"type": "message", "role": "developer", "content": "x"},
                    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
                        "encrypted_content": "e"},
                    {"type": "message", "role": "assistant", "content": [
                        {"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
                    {"type": "function_call_output", "call_id": "c", "output": [
                        {"type": "input_text", "text": "t"},
                        {"type": "input_image", "image_url": "https://e.example/i"}]},
                ],
                "tools": [{"type": "function", "name": "f", "parameters": null}], "tool_choice": "required",
                "reasoning": {"effort": "high", "summary": "auto"}, "text": {"verbosity": "high"},
                "previous_response_id": "resp_1", "include": ["reasoning.encrypted_content"],
            }),
        ),
    ];
    for (format, body) in table {
        assert_eq!(translate(format, body.clone(), format), body, "{format:?}");
    }
}

#[test]
fn what_is_short_for_something_is_understood() {
    let table = [
        (
            Format::Chat,
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
            "max_tokens": 5, "stop": "x", "temperature": null, "n": 1, "logprobs": false, "tools": []}),
            json!({"messages": [{"role": "user", "content": "a"}], "max_completion_tokens": 5, "stop": ["x"]}),
        ),
        (
            Format::Responses,
            json!({"input": "a", "store": false, "instructions": null}),
            json!({"input": [{"type": "message", "role": "user", "content": "a"}], "store": false}),
        ),
        // An answer's items as the client got them.
        (
            Format::Responses,
            json!({"input": [
            {"role": "user", "content": "a"},
            {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "text": "b", "annotations": [], "logprobs": []}]},
            {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c", "name": "f",
             "arguments": "{}"}]}),
            json!({"input": [
            {"type": "message", "role": "user", "content": "a"},
            {"type": "message", "role": "assistant", "content": "b"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}),
        ),
        (
            Format::Messages,
            json!({"max_tokens": 5, "output_format": {"type": "json_schema", "schema": {}},
            "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}),
            json!({"max_tokens": 5, "output_config": {"format": {"type": "json_schema", "schema": {}}},
            "messages": [{"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}),
        ),
        // What this crate's own models thought is not signed, and Anthropic does not want it back.
        (
            Format::Messages,
            json!({"max_tokens": 5, "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "b", "citations": null}]}]}),
            json!({"max_tokens": 5, "messages": [
            {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
        ),
    ];
    for (format, body, normal) in table {
        assert_eq!(translate(format, body, format), normal, "{format:?}");
    }
}

#[test]
fn items_of_one_turn_are_one_message() {
    let input = json!({"input": [
        {"role": "user", "content": "a"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
        {"type": "reasoning", "id": "rs_2", "summary": []},
        {"role": "assistant", "content": "b"},
        {"role": "assistant", "content": "c"},
    ]});
    let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
    assert_eq!(
        translate(Format::Responses, input, Format::Chat),
        json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "reasoning_content": "hm", "tool_calls": [call("c1", "f"), call("c2", "g")]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "tool", "tool_call_id": "c2", "content": "2"},
            {"role": "assistant", "content": "b"},
            {"role": "assistant", "content": "c"},
        ]})
    );
}

#[test]
fn what_is_wrong_is_named() {
    let user = json!([{"role": "user", "content": "a"}]);
    let chat = |name: &str, value: Value| {
        let mut body = json!({"messages": user});
        body[name] = value;
        (Format::Chat, body)
    };
    let messages = |name: &str, value: Value| {
        let mut body = json!({"messages": user, "max_tokens": 5});
        body[name] = value;
        (Format::Messages, body)
    };
    let responses = |name: &str, value: Value| {
        let mut body = json!({"input": "a"});
        body[name] = value;
        (Format::Responses, body)
    };
    let (bad, un) = (Fault::Malformed, Fault::Unsupported);
    let table = [
        (chat("messages", json!([])), "messages", bad),
        (chat("messages", json!([{"role": "judge", "content": "a"}])), "messages[0].role", bad),
        (chat("messages", json!([{"role": "user"}])), "messages[0].content", bad),
        (chat("messages", json!([{"role": "user", "content": 1}])), "messages[0].content", bad),
        (
            chat("messages", json!([{"role": "user", "content": [{"type": "input_audio"}]}])),
            "messages[0].content[0].type",
            un,
        ),
        (chat("messages", json!([{"role": "user", "content": "a", "mood": "x"}])), "messages[0].mood", un),
        (chat("messages", json!([{"role": "tool", "content": "a"}])), "messages[0].tool_call_id", bad),
        (chat("temperature", json!(2.5)), "temperature", bad),
        (chat("temperature", json!("hot")), "temperature", bad),
        (chat("max_tokens", json!(0)), "max_tokens", bad),
        (chat("n", json!(2)), "n", un),
        (chat("logprobs", json!(true)), "logprobs", un),
        (chat("tools", json!([{"type": "custom"}])), "tools[0].type", un),
        (chat("tools", json!([{"type": "function", "function": {}}])), "tools[0].function.name", bad),
        (chat("tool_choice", json!("maybe")), "tool_choice", bad),
        (chat("tool_choice", json!({"type": "allowed_tools"})), "tool_choice.type", un),
        (chat("response_format", json!({"type": "json_schema"})), "response_format.json_schema", bad),
        (chat("stop", json!(["a", 1])), "stop[1]", bad),
        (chat("stream_options", json!({"include_usage": true})), "stream_options", bad),
        (chat("modalities", json!(["audio"])), "modalities", un),
        (messages("temperature", json!(1.5)), "temperature", bad),
        (
            messages("messages", json!([{"role": "user", "content": [{"type": "document"}]}])),
            "messages[0].content[0].type",
            un,
        ),
        (
            messages(
                "messages",
                json!([{"role": "user", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}]),
            ),
            "messages[0].content[0]",
            bad,
        ),
        (
            messages(
                "messages",
                json!([{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]),
            ),
            "messages[0].content[0].source.type",
            un,
        ),
        (
            messages("tools", json!([{"type": "web_search_20250305", "name": "web_search"}])),
            "tools[0].type",
            un,
        ),
        (messages("tools", json!([{"name": "f"}])), "tools[0].input_schema", bad),
        (messages("tool_choice", json!({"type": "all"})), "tool_choice.type", bad),
        (messages("thinking", json!({"type": "enabled"})), "thinking.budget_tokens", bad),
        (messages("metadata", json!({"user_id": "u", "team": "t"})), "metadata.team", un),
        (messages("output_config", json!({"format": {"type": "yaml"}})), "output_config.format.type", bad),
        (responses("input", json!([])), "input", bad),
        (responses("input", json!(null)), "input", bad),
        (responses("input", json!([{"type": "item_reference", "id": "x"}])), "input[0].type", un),
        (
            responses("input", json!([{"role": "user", "content": [{"type": "input_file"}]}])),
            "input[0].content[0].type",
            un,
        ),
        (responses("input", json!([{"type": "function_call", "name": "f"}])), "input[0].call_id", bad),
        (responses("tools", json!([{"type": "web_search"}])), "tools[0].type", un),
        (
            responses("text", json!({"format": {"type": "json_schema", "schema": {}}})),
            "text.format.name",
            bad,
        ),
        (responses("top_logprobs", json!(3)), "top_logprobs", un),
    ];
    for ((format, body), param, fault) in table {
        let error = Request::parse(format, body.clone()).expect_err(&body.to_string());
        assert_eq!((error.param.as_deref(), error.fault), (Some(param), fault), "{body}: {error}");
        assert!(error.message.contains(param.rsplit('.').next().unwrap()), "{error}");
    }
    let not_an_object = Request::parse(Format::Chat, json!([])).unwrap_err();
    assert_eq!(not_an_object.param, None);
}

#[test]
fn what_another_format_has_no_word_for_is_named() {
    let chat = |more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 5});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (Format::Chat, body)
    };
    let responses = |more: Value| {
        let mut body = json!({"input": "a", "max_output_tokens": 5});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (Format::Responses, body)
    };
    let messages = |more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 5});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (Format::Messages, body)
    };
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://e.example/i"}});
    let result = json!({"type": "tool_result", "tool_use_id": "c", "content": [image]});
    let table = [
        (chat(json!({"max_tokens": null})), Format::Messages, "max_tokens"),
        (chat(json!({"seed": 1})), Format::Messages, "seed"),
        (chat(json!({"frequency_penalty": 0.5})), Format::Messages, "frequency_penalty"),
        (chat(json!({"temperature": 1.5})), Format::Messages, "temperature"),
        (chat(json!({"response_format": {"type": "json_object"}})), Format::Messages, "response_format"),
        (chat(json!({"logit_bias": {"5": 1}})), Format::Messages, "logit_bias"),
        (chat(json!({"store": true})), Format::Messages, "store"),
        (
            chat(json!({"messages": [{"role": "user", "content": "a", "name": "x"}]})),
            Format::Messages,
            "messages[0].name",
        ),
        (
            chat(json!({"messages": [{"role": "assistant", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]}]})),
            Format::Messages,
            "messages[0].tool_calls",
        ),
        (chat(json!({"stop": "x"})), Format::Responses, "stop"),
        (chat(json!({"top_k": 5})), Format::Responses, "top_k"),
        (chat(json!({"seed": 1})), Format::Responses, "seed"),
        (responses(json!({"previous_response_id": "resp_1"})), Format::Chat, "previous_response_id"),
        (responses(json!({"background": true})), Format::Messages, "background"),
        (responses(json!({"include": ["message.output_text.logprobs"]})), Format::Chat, "include"),
        (responses(json!({"truncation": "auto"})), Format::Chat, "truncation"),
        (messages(json!({"context_management": {"edits": [1]}})), Format::Chat, "context_management"),
        (
            messages(json!({"messages": [{"role": "user", "content": [result]}]})),
            Format::Chat,
            "messages[0].content",
        ),
    ];
    for ((from, body), to, param) in table {
        let request = Request::parse(from, body.clone()).unwrap();
        let error = request.to_json(to, "m").expect_err(&body.to_string());
        assert_eq!(error.param.as_deref(), Some(param), "{body}: {error}");
    }
    // Of what was thought an id alone is left out where nothing is kept.
    let thought = |encrypted: Value| json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encrypted});
    let turns = json!([{"role": "user", "content": "a"}, thought(Value::Null), thought("e".into())]);
    let mut request = Request::parse(Format::Responses, json!({"input": turns})).unwrap();
    request.own.format = Format::Chat;
    let written = request.to_json(Format::Responses, "m").unwrap();
    assert_eq!(written["input"].as_array().unwrap()[1..], [thought("e".into())]);
    // What changes nothing of the answer is left out.
    let (from, body) = responses(json!({
        "service_tier": "flex", "prompt_cache_key": "k", "include": ["reasoning.encrypted_content"],
        "truncation": "disabled", "store": false, "metadata": {"k": "v"}, "reasoning": {"summary": "auto"},
    }));
    let bare = json!({"model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 5});
    let request = Request::parse(from, body).unwrap();
    assert_eq!(request.to_json(Format::Messages, "m").unwrap(), bare);
}

#[test]
fn budgets_of_thought_become_efforts() {
    for (thinking, effort) in [
        (json!({"type": "disabled"}), json!("none")),
        (json!({"type": "enabled", "budget_tokens": 1024}), json!("low")),
        (json!({"type": "enabled", "budget_tokens": 4096}), json!("medium")),
        (json!({"type": "enabled", "budget_tokens": 16000}), json!("high")),
        (json!({"type": "adaptive"}), Value::Null),
    ] {
        let body =
            json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 5, "thinking": thinking});
        assert_eq!(translate(Format::Messages, body, Format::Chat)["reasoning_effort"], effort);
    }
    let none =
        json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 5, "reasoning_effort": "none"});
    assert_eq!(translate(Format::Chat, none, Format::Messages)["thinking"], json!({"type": "disabled"}));
}
