//! Answers to schemas that a grammar enforces only in part.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use garrison_engine::EngineConfig;
use serde_json::{Value, json};

use crate::client::*;
use crate::world::*;
use garrison_server::{ApiKeys, ServerConfig};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// Two numbers, which must differ.
fn pair() -> Value {
    json!({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2, "uniqueItems": true})
}

fn ask(prompt: &str, extra: &Value) -> Value {
    let mut body = json!({
        "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 100,
        "response_format": {"type": "json_schema", "json_schema": {"name": "pair", "schema": pair()}},
    });
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// A seed whose second attempt is valid.
fn seed_of_two_attempts(world: &World) -> u64 {
    let attempts = |seed: &u64| {
        let answer = post(world, CHAT, &ask("x", &json!({ "seed": seed }))).ok();
        answer["structured_output"]["attempts"] == 2
    };
    (0..50).find(attempts).expect("a third of all draws are valid")
}

#[test]
fn an_invalid_answer_is_drawn_again() {
    let world = World::wavering(ServerConfig::default());
    let seed = seed_of_two_attempts(&world);
    let (retries, failures) =
        ("garrison:structured_output_retries_total", "garrison:structured_output_failures_total");
    let before = (world.metric(retries), world.metric(failures));
    let answer = post(&world, CHAT, &ask("x", &json!({ "seed": seed, "logprobs": true }))).ok();
    let choice = &answer["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("[1,2]"), &json!("stop")));
    assert_eq!(
        answer["structured_output"],
        json!({"grammar": ["items", "maxItems", "minItems", "type"], "validated": ["uniqueItems"], "attempts": 2})
    );
    // Five tokens each; one attempt is shown.
    assert_eq!(
        (&answer["usage"]["completion_tokens"], &answer["timings"]["generated_tokens"]),
        (&json!(10), &json!(10))
    );
    assert_eq!(choice["logprobs"]["content"].as_array().unwrap().len(), 5);
    let shown = world.metric("garrison:e2e_request_latency_seconds_count") - world.metric(failures);
    assert_eq!(world.metric("garrison:time_to_first_token_seconds_count"), shown);
    assert_eq!((world.metric(retries), world.metric(failures)), (before.0 + 1.0, before.1));
    assert_eq!(
        post(&world, CHAT, &ask("x", &json!({ "seed": seed }))).ok()["choices"][0]["message"],
        choice["message"]
    );

    for usage in [false, true] {
        let options = json!({"seed": seed, "stream": true, "stream_options": {"include_usage": usage}});
        let events = post(&world, CHAT, &ask("x", &options)).events();
        assert_eq!(events.last().unwrap().data, "[DONE]");
        let chunks: Vec<Value> = events[..events.len() - 1].iter().map(Event::json).collect();
        let said: String =
            chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(said, "[1,2]", "nothing of the first attempt");
        let last = chunks.last().unwrap();
        assert_eq!(last["structured_output"]["attempts"], 2, "{last}");
        assert!(chunks.iter().any(|c| c["choices"][0]["finish_reason"] == "stop"));
    }
}

#[test]
fn what_is_never_valid_never_ends_with_stop() {
    let world = World::wavering(ServerConfig::default());
    let answer = post(&world, CHAT, &ask("!", &json!({"n": 2, "logprobs": true}))).ok();
    for choice in answer["choices"].as_array().unwrap() {
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(""), &json!("length")));
        assert_eq!(choice["logprobs"]["content"], json!([]));
    }
    assert_eq!(answer["structured_output"]["attempts"], 4);
    assert_eq!(answer["usage"]["completion_tokens"], 2 * 4 * 5);
    assert_eq!(world.metric("garrison:structured_output_failures_total"), 2.0);
    assert_eq!(world.metric("garrison:structured_output_retries_total"), 6.0);
    assert_eq!(world.metric("garrison:time_to_first_token_seconds_count"), 0.0, "no token was shown");
    let events = post(&world, CHAT, &ask("!", &json!({"stream": true}))).events();
    let chunks: Vec<Value> = events[..events.len() - 1].iter().map(Event::json).collect();
    assert!(chunks.iter().all(|c| c["choices"][0]["delta"]["content"].as_str().is_none_or(str::is_empty)));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
}

#[test]
fn all_attempts_share_one_budget() {
    let world = World::wavering(ServerConfig::default());
    // One attempt takes five tokens, so the third is cut off.
    let answer = post(&world, CHAT, &ask("!", &json!({"max_tokens": 14}))).ok();
    assert_eq!(answer["usage"]["completion_tokens"], 14);
    assert_eq!(
        (&answer["structured_output"]["attempts"], &answer["choices"][0]["finish_reason"]),
        (&json!(3), &json!("length"))
    );
    assert_eq!(answer["choices"][0]["message"]["content"], "[1,1", "what was cut off is shown as always");
    let answer = post(&world, CHAT, &ask("!", &json!({"max_tokens": 5}))).ok();
    assert_eq!(
        (&answer["usage"]["completion_tokens"], &answer["choices"][0]["finish_reason"]),
        (&json!(5), &json!("length"))
    );
    assert_eq!(answer["choices"][0]["message"]["content"], "");
}

#[test]
fn completions_and_choices_are_checked_each() {
    let world = World::wavering(ServerConfig::default());
    let body = json!({
        "prompt": ["x>", "!>"], "n": 4, "temperature": 1, "seed": 5, "max_tokens": 100, "echo": true,
        "structured_outputs": {"json": pair()},
    });
    let answer = post(&world, TEXT, &body).ok();
    let mut valid = 0;
    for (i, choice) in answer["choices"].as_array().unwrap().iter().enumerate() {
        let prompt = if i < 4 { "x>" } else { "!>" };
        let stopped = choice["finish_reason"] == "stop";
        let text = if stopped { "[1,2]" } else { "" };
        assert_eq!(choice["text"], format!("{prompt}{text}"), "{choice}");
        valid += usize::from(stopped);
    }
    assert!((1..=4).contains(&valid), "{valid} of the first four");
}

#[test]
fn a_deadline_and_a_client_that_leaves_end_the_attempts() {
    let mut config = ServerConfig::default();
    config.times.request = Some(std::time::Duration::from_millis(300));
    let world = World::wavering(config);
    world.control.set_delay(std::time::Duration::from_millis(30));
    post(&world, CHAT, &ask("!", &json!({}))).error(504);
    assert_eq!(world.metric("garrison:structured_output_failures_total"), 0.0);

    // Without a deadline: nothing but the client's leaving ends these in time.
    let world = World::wavering(ServerConfig::default());
    world.control.set_delay(std::time::Duration::from_millis(100));
    let mut leaver = Connection::open(&world);
    leaver.post(CHAT, &[], &ask("!", &json!({"stream": true})).to_string());
    leaver.head();
    drop(leaver);
    world.wait_for_metric("garrison:sequences_in_flight", 0.0);
    assert_eq!(world.metric("garrison:structured_output_failures_total"), 0.0);
}

#[test]
fn a_retry_that_finds_the_queue_full_waits() {
    let engine = EngineConfig { max_seqs: 1, max_waiting: 2, ..engine_config() };
    let world = World::wavering_within(ServerConfig::default(), engine);
    world.control.set_delay(std::time::Duration::from_millis(10));
    let (done, busy) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // More than there are places, so that there is hardly ever a free one.
        for _ in 0..4 {
            scope.spawn(|| {
                let begun = std::time::Instant::now();
                while !done.load(Relaxed) && begun.elapsed().as_secs_f32() < 1.5 {
                    let answer = post(&world, TEXT, &json!({"prompt": "x>", "max_tokens": 3}));
                    busy.fetch_add(usize::from(answer.status == 429), Relaxed);
                }
            });
        }
        let answer = loop {
            let answer = post(&world, CHAT, &ask("!", &json!({"stream": true})));
            if answer.status != 429 {
                break answer;
            }
        };
        done.store(true, Relaxed);
        let events = answer.events();
        let chunks: Vec<Value> = events[..events.len() - 1].iter().map(Event::json).collect();
        let last = chunks.last().unwrap();
        assert_eq!(
            (&last["choices"][0]["finish_reason"], &last["structured_output"]["attempts"]),
            (&json!("length"), &json!(4)),
            "{last}"
        );
    });
    assert!(busy.load(Relaxed) > 0, "the queue was never full");
}

#[test]
fn a_deadline_that_passes_while_a_retry_waits_is_told_as_any_other() {
    let mut config = ServerConfig { api_keys: ApiKeys::parse("a\nb").unwrap(), ..ServerConfig::default() };
    config.times.request = Some(std::time::Duration::from_millis(1200));
    let engine = EngineConfig { max_seqs: 1, max_waiting_per_client: 1, ..engine_config() };
    let world = World::wavering_within(config, engine);
    world.control.set_delay(std::time::Duration::from_millis(5));
    let ask_with = |key: &str, body: &Value| {
        let mut connection = Connection::open(&world);
        connection.post(CHAT, &[("Authorization", &format!("Bearer {key}"))], &body.to_string());
        connection
    };
    let metric = |name: &str| {
        let page = send(&world, "GET", "/metrics", &[("Authorization", "Bearer a")], "").text();
        let line = page.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    world.control.hold();
    let mut asks = ask_with("a", &ask("!", &json!({})));
    assert!(world.control.wait_for_steps(1, std::time::Duration::from_secs(20)));
    // The other key's goes next and goes on, and the key's own second request keeps its only place.
    let endless =
        json!({"messages": [{"role": "user", "content": "x"}], "ignore_eos": true, "max_tokens": 400});
    let others = ["b", "a"].map(|key| {
        let waiting = metric("garrison:num_requests_waiting");
        let other = ask_with(key, &endless);
        let waits = || metric("garrison:num_requests_waiting") > waiting;
        wait_until(std::time::Duration::from_secs(20), waits).unwrap();
        other
    });
    world.control.release();
    assert_eq!(asks.answer().error(504)["code"], "deadline_exceeded");
    assert_eq!(metric("garrison:structured_output_failures_total"), 0.0);
    drop(others);
}

#[test]
fn a_server_that_drains_lets_retries_through() {
    let mut world = World::wavering(ServerConfig::default());
    world.control.hold();
    let mut asks = Connection::open(&world);
    asks.post(CHAT, &[], &ask("!", &json!({})).to_string());
    assert!(world.control.wait_for_steps(1, std::time::Duration::from_secs(20)));
    world.begin_shutdown();
    let begun = std::time::Instant::now();
    while get(&world, "/ready").status == 200 {
        assert!(begun.elapsed().as_secs() < 20);
    }
    world.control.release();
    let answer = asks.answer().ok();
    assert_eq!(answer["structured_output"]["attempts"], 4);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(world.join(), garrison_server::Drained::Completely);
}

#[test]
fn an_end_token_that_is_a_stop_token_ends_as_complete() {
    let world = World::wavering(ServerConfig::default());
    let ends = get(&world, "/tokenizer_info").ok()["eos_token_ids"].clone();
    let stops = |text: &str, kept: bool, not: &Value| {
        // More digits could always follow, so that only an end token ends a number.
        let schema = json!({ "type": "integer", "minimum": -999_999, "maximum": -1, "not": not });
        let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } });
        let stop = json!({
            "stop_token_ids": ends, "include_stop_str_in_output": kept, "response_format": format,
        });
        let answer = post(&world, CHAT, &ask(text, &stop)).ok();
        (answer["choices"][0].clone(), answer["structured_output"]["attempts"].clone())
    };
    for kept in [false, true] {
        let (choice, attempts) = stops("!", kept, &json!({ "type": "integer" }));
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"], attempts),
            (&json!(""), &json!("length"), json!(4))
        );
        let (choice, attempts) = stops("!", kept, &json!({ "type": "string" }));
        assert_eq!((&choice["finish_reason"], attempts), (&json!("stop"), json!(1)), "{choice}");
        assert!(!choice["stop_reason"].is_null(), "{choice}");
    }
}

#[test]
fn a_schema_that_a_grammar_enforces_streams_as_it_is_written() {
    let world = World::wavering(ServerConfig::default());
    let mut schema = pair();
    schema.as_object_mut().unwrap().remove("uniqueItems");
    let format = json!({"type": "json_schema", "json_schema": {"name": "pair", "schema": schema}});
    let answer = post(&world, CHAT, &ask("x", &json!({ "response_format": format }))).ok();
    assert_eq!(answer["structured_output"]["validated"], json!([]));
    assert_eq!(answer["choices"][0]["message"]["content"], WAVERING);
    let plain = post(&world, CHAT, &ask("x", &json!({"response_format": null}))).ok();
    assert_eq!(plain.get("structured_output"), None);
}

#[test]
fn arguments_of_demanded_calls_are_checked() {
    // The model says what the grammar leaves it: its favourites are not in it.
    let world = World::new();
    let call = |parameters: Value, strict: Value| {
        json!({
            "messages": [{"role": "user", "content": "x"}], "tool_choice": "required", "max_tokens": 400,
            "temperature": 1, "seed": 3,
            "tools": [{"type": "function", "function": {"name": "pick", "strict": strict, "parameters": parameters}}],
        })
    };
    let parameters = json!({
        "type": "object", "additionalProperties": false, "required": ["a", "b"], "$defs": {"n": {"enum": [1, 2]}},
        "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/properties/a"}}, "not": {"properties": {"b": {"const": 2}}},
    });
    let answer = post(&world, CHAT, &call(parameters.clone(), json!(true))).ok();
    let choice = &answer["choices"][0];
    assert_eq!(answer["structured_output"]["validated"], json!(["not"]));
    if choice["finish_reason"] == "tool_calls" {
        let arguments = choice["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(arguments).unwrap()["b"], 1, "{arguments}");
    } else {
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("length"), &json!("")));
    }
    // What no keyword is concerns only who is strict.
    let mut odd = parameters;
    odd["properties"]["a"]["minLenght"] = json!(1);
    post(&world, CHAT, &call(odd.clone(), Value::Null)).ok();
    let error = post(&world, CHAT, &call(odd, json!(true))).error(400);
    assert_eq!(error["param"], "tools");
    assert!(error["message"].as_str().unwrap().contains("#/properties/a: minLenght"), "{error}");
}

#[test]
fn what_nobody_enforces_is_named() {
    let world = World::new();
    for (schema, wanted) in [
        (json!({"type": "array", "uniqeItems": true}), "uniqeItems"),
        (json!({"type": "string", "format": "colour"}), "colour"),
        (json!({"$ref": "https://example.org/schema"}), "example.org"),
    ] {
        let body = ask("x", &json!({"response_format": null, "structured_outputs": {"json": schema}}));
        let error = post(&world, CHAT, &body).error(400);
        assert_eq!(error["param"], "structured_outputs.json");
        assert!(error["message"].as_str().unwrap().contains(wanted), "{error}");
    }
}
