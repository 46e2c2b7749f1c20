//! Keys, origins, ids, connections, clients that leave, and shutting down.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use garrison_engine::EngineConfig;
use garrison_server::{ApiKeys, Drained, ServerConfig, SharePrefixes, Times};
use serde_json::json;

use crate::client::{Connection, get, post, request, send, wait_until};
use crate::world::{World, engine_config};

const TEXT: &str = "/v1/completions";
const CANCELLED: &str = "garrison:sequences_cancelled_total{model_name=\"tiny\"}";

fn endless(stream: bool) -> String {
    json!({"prompt": "~", "stream": stream, "max_tokens": 400}).to_string()
}

#[test]
fn keys_open_everything_but_the_probes() {
    let api_keys = ApiKeys::parse("# two\nsk-one\nsk-two\n").unwrap();
    let world = World::with(ServerConfig { api_keys, ..ServerConfig::default() }, engine_config());
    for path in ["/health", "/ready", "/version"] {
        assert_eq!(get(&world, path).status, 200, "{path}");
    }
    for path in ["/v1/models", "/metrics", "/tokenizer_info", "/v1/embeddings"] {
        let error = get(&world, path).error(401);
        assert_eq!(error["type"], "authentication_error", "{path}");
    }
    for key in ["Bearer sk-three", "Bearer", "Basic sk-one", "Bearer sk-one,sk-two"] {
        let answer = send(&world, "POST", TEXT, &[("Authorization", key)], "{}");
        let error = answer.error(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(!error.to_string().contains("sk-"), "{error}");
    }
    for key in ["Bearer sk-one", "bearer  sk-two"] {
        assert_eq!(send(&world, "GET", "/v1/models", &[("Authorization", key)], "").status, 200);
        assert_eq!(send(&world, "GET", "/metrics", &[("Authorization", key)], "").status, 200);
    }
}

#[test]
fn pages_of_other_origins_are_refused_unless_named() {
    let config =
        ServerConfig { cors_origins: vec!["https://ours.example".into()], ..ServerConfig::default() };
    let world = World::with(config, engine_config());
    let answer = send(&world, "GET", "/v1/models", &[("Origin", "https://theirs.example")], "");
    assert_eq!(answer.error(403)["code"], "origin_not_allowed");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = send(&world, "GET", "/v1/models", &[("Origin", "https://ours.example")], "");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://ours.example"));
    assert_eq!(answer.header("vary"), Some("origin"));
    let preflight = [
        ("Origin", "https://ours.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    let answer = send(&world, "OPTIONS", TEXT, &preflight, "");
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization,content-type"));
    // Without an origin configured, none is named.
    let closed = World::new();
    assert_eq!(send(&closed, "OPTIONS", TEXT, &preflight, "").status, 403);
}

#[test]
fn every_answer_has_a_request_id() {
    let world = World::new();
    let named = send(&world, "GET", "/health", &[("x-request-id", "trace-7")], "");
    assert_eq!(named.header("x-request-id"), Some("trace-7"));
    let odd = send(&world, "GET", "/nowhere", &[("x-request-id", "two words")], "");
    assert_eq!(odd.header("x-request-id").unwrap().len(), 32);
    let streamed = send(
        &world,
        "POST",
        TEXT,
        &[("x-request-id", "s-1")],
        &json!({"prompt": "Q>", "stream": true}).to_string(),
    );
    assert_eq!(streamed.header("x-request-id"), Some("s-1"));
}

#[test]
fn one_connection_serves_many_requests() {
    let world = World::new();
    let mut connection = Connection::open(&world);
    let body = json!({"prompt": "Q>", "max_tokens": 2, "temperature": 0}).to_string();
    for stream in [false, true, false] {
        let body = body.replace('{', &format!("{{\"stream\": {stream}, "));
        connection.post(TEXT, &[], &body);
        let answer = connection.answer();
        let said = if stream {
            let chunks = answer.events().into_iter().filter(|event| event.data != "[DONE]");
            chunks.map(|event| event.json()["choices"][0]["text"].as_str().unwrap().to_owned()).collect()
        } else {
            answer.ok()["choices"][0]["text"].as_str().unwrap().to_owned()
        };
        assert_eq!(said, "Hi");
    }
    connection.send(request("GET", "/nowhere", &[], "").as_bytes());
    connection.answer().error(404);
    connection.post(TEXT, &[], "nonsense");
    connection.answer().error(400);
    connection.post(TEXT, &[], &body);
    connection.answer().ok();
}

#[test]
fn silence_is_broken_by_heartbeats() {
    let times = Times { heartbeat: Duration::from_millis(30), ..Times::default() };
    let world = World::with(ServerConfig { times, ..ServerConfig::default() }, engine_config());
    world.control.hold();
    let mut connection = Connection::open(&world);
    connection.post(TEXT, &[], &endless(true));
    assert_eq!(connection.head().status, 200);
    for _ in 0..3 {
        assert_eq!(connection.chunk().unwrap(), b": heartbeat\n\n");
    }
    world.control.release();
    let event = connection.read_to_event(1).pop().unwrap();
    assert!(event.json()["choices"][0]["text"].as_str().unwrap().starts_with('x'));
}

#[test]
fn a_request_ends_at_its_deadline() {
    let times = Times { request: Some(Duration::from_secs(2)), ..Times::default() };
    let world = World::with(ServerConfig { times, ..ServerConfig::default() }, engine_config());
    world.control.set_delay(Duration::from_millis(20)); // 400 of them are eight seconds
    let endless: serde_json::Value = serde_json::from_str(&endless(false)).unwrap();
    assert_eq!(post(&world, TEXT, &endless).error(504)["code"], "deadline_exceeded");
    assert_eq!(world.metric("garrison:sequences_late_total"), 1.0);
    post(&world, TEXT, &json!({"prompt": "Q>", "temperature": 0})).ok();
}

#[test]
fn keys_take_turns_whatever_priority_one_of_them_claims() {
    let api_keys = ApiKeys::parse("flood\nother").unwrap();
    let config = ServerConfig { api_keys, ..ServerConfig::default() };
    let world = World::with(config, EngineConfig { max_seqs: 1, ..engine_config() });
    world.control.set_delay(Duration::from_millis(20)); // answers end far apart
    world.control.hold();
    let ended = Mutex::new(Vec::new());
    let ask = |key: &'static str, priority: i32| {
        let body = json!({"prompt": "~", "max_tokens": 8, "priority": priority}).to_string();
        let key_header = format!("Bearer {key}");
        send(&world, "POST", TEXT, &[("Authorization", &key_header)], &body).ok();
        ended.lock().unwrap().push((key, priority));
    };
    let waiting = |n: usize| {
        let page = || send(&world, "GET", "/metrics", &[("Authorization", "Bearer flood")], "").text();
        let wanted = format!("garrison:num_requests_waiting{{model_name=\"tiny\"}} {n}\n");
        wait_until(Duration::from_secs(20), || page().contains(&wanted))
            .unwrap_or_else(|| panic!("{}", page()));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| ask("flood", 0));
        assert!(world.control.wait_for_steps(1, Duration::from_secs(20)));
        let ask = &ask;
        for (n, (key, priority)) in [("flood", -1), ("flood", -2), ("other", 100)].into_iter().enumerate() {
            scope.spawn(move || ask(key, priority));
            waiting(n + 1);
        }
        world.control.release();
    });
    assert_eq!(*ended.lock().unwrap(), [("flood", 0), ("other", 100), ("flood", -2), ("flood", -1)]);
}

#[test]
fn a_client_that_leaves_stops_its_sequence_within_a_step() {
    let world = World::new();
    world.control.set_delay(Duration::from_millis(10));
    for stream in [true, false] {
        let before = world.metric(CANCELLED);
        let mut connection = Connection::open(&world);
        connection.post(TEXT, &[], &endless(stream));
        if stream {
            connection.head();
            connection.read_to_event(3);
        } else {
            world.wait_for_metric("garrison:num_requests_running{model_name=\"tiny\"}", 1.0);
        }
        drop(connection);
        world.wait_for_metric(CANCELLED, before + 1.0);
        // It was not the end of its 400 tokens that ended it.
        world.wait_for_metric("garrison:num_requests_running{model_name=\"tiny\"}", 0.0);
        assert_eq!(
            world.metric("garrison:request_success_total{model_name=\"tiny\",finished_reason=\"length\"}"),
            0.0
        );
    }
    assert!(world.control.steps() < 400, "{}", world.control.steps());
}

#[test]
fn a_slow_reader_gets_larger_events_and_misses_nothing() {
    let world = World::new();
    let mut connection = Connection::open(&world);
    connection.post(TEXT, &[], &endless(true));
    connection.head();
    // The engine is not held up by a client that does not read.
    world.wait_for_metric(
        "garrison:request_success_total{model_name=\"tiny\",finished_reason=\"length\"}",
        1.0,
    );
    let mut text = String::new();
    while let Some(chunk) = connection.chunk() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let events = crate::client::parse_events(&text);
    assert_eq!(events.last().unwrap().data, "[DONE]");
    let said: String = events[..events.len() - 1]
        .iter()
        .map(|e| e.json()["choices"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said, "x".repeat(400));
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let times = Times { write: Duration::from_millis(200), ..Times::default() };
    let limits = garrison_server::Limits { header_bytes: 8192, ..Default::default() };
    let config = ServerConfig { times, limits, ..ServerConfig::default() };
    let mut world = World::with(config, EngineConfig { max_waiting: 64, ..engine_config() });
    let mut connection = Connection::open(&world);
    // Alternatives for many choices make more bytes than socket buffers hold.
    let body = json!({"messages": [{"role": "user", "content": "~"}], "n": 20, "stream": true,
                      "logprobs": true, "top_logprobs": 20});
    connection.post("/v1/chat/completions", &[], &body.to_string());
    // Some sequences may end before the client is given up; the rest are stopped then.
    const ENDED: &str = "garrison:request_success_total{model_name=\"tiny\",finished_reason=\"length\"}";
    wait_until(Duration::from_secs(20), || world.metric(ENDED) + world.metric(CANCELLED) == 20.0).unwrap();
    // Shutting down waits for answers under way, but not for this one.
    world.begin_shutdown();
    assert_eq!(world.join(), Drained::Completely);
    let mut received = Vec::new();
    let _ = std::io::Read::read_to_end(&mut connection.reader, &mut received);
    let text = String::from_utf8_lossy(&received);
    assert!(!text.contains("[DONE]"), "all {} bytes fit into buffers", received.len());
}

#[test]
fn an_engine_that_died_is_not_ready() {
    let world = World::new();
    assert_eq!(get(&world, "/ready").status, 200);
    world.control.panic_next();
    let lost = post(&world, TEXT, &json!({"prompt": "Q>"}));
    assert_eq!(lost.error(500)["code"], "engine_stopped");
    assert_eq!(get(&world, "/ready").error(503)["code"], "engine_stopped");
    assert_eq!(get(&world, "/health").status, 200);
    for gauge in ["garrison:num_requests_running", "garrison:num_requests_waiting", "garrison:kv_cache_usage"]
    {
        assert_eq!(world.metric(gauge), 0.0, "{gauge}");
    }
}

#[test]
fn draining_finishes_what_runs_and_refuses_what_comes() {
    let mut world = World::new();
    world.control.hold();
    let mut running = Connection::open(&world);
    running.post(TEXT, &[], &json!({"prompt": "Q>", "stream": true, "temperature": 0}).to_string());
    assert_eq!(running.head().status, 200);
    let mut idle = Connection::open(&world);
    idle.send(request("GET", "/health", &[], "").as_bytes());
    idle.answer().ok();
    world.begin_shutdown();
    let start = Instant::now();
    while get(&world, "/ready").status == 200 {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    let refused = post(&world, TEXT, &json!({"prompt": "Q>"}));
    assert_eq!(refused.error(503)["code"], "draining");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.header("connection"), Some("close"));
    assert_eq!(get(&world, "/health").status, 200);
    world.control.release();
    let mut text = String::new();
    while let Some(chunk) = running.chunk() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("[DONE]"), "{text}");
    assert_eq!(world.join(), Drained::Completely);
}

#[test]
fn draining_does_not_wait_for_ever() {
    let times = Times { drain: Duration::from_millis(200), ..Times::default() };
    let mut world = World::with(ServerConfig { times, ..ServerConfig::default() }, engine_config());
    world.control.set_delay(Duration::from_millis(50));
    let mut running = Connection::open(&world);
    running.post(TEXT, &[], &endless(true));
    assert_eq!(running.head().status, 200);
    world.begin_shutdown();
    let mut text = String::new();
    while let Some(chunk) = running.chunk() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    // It is told, not just cut.
    let last = crate::client::parse_events(&text).pop().unwrap();
    assert_eq!(last.json()["error"]["code"], "draining");
    assert_eq!(world.join(), Drained::Partly);
}

/// The cached tokens of `prompt`, asked for with `key` and `salt`.
fn cached(world: &World, key: &str, salt: &str) -> u64 {
    let prompt = "A beginning that takes more than two blocks of tokens. Q>";
    let body = json!({"prompt": prompt, "max_tokens": 1, "cache_salt": salt}).to_string();
    let bearer = format!("Bearer {key}");
    let answer = send(world, "POST", "/v1/completions", &[("Authorization", &bearer)], &body).ok();
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

#[test]
fn a_key_does_not_learn_what_another_has_sent() {
    let config = |share_prefixes| ServerConfig {
        api_keys: ApiKeys::parse("sk-one\nsk-two").unwrap(),
        share_prefixes,
        ..ServerConfig::default()
    };
    let world = World::with(config(SharePrefixes::default()), engine_config());
    assert_eq!(cached(&world, "sk-one", ""), 0);
    assert!(cached(&world, "sk-one", "") >= 32);
    assert_eq!(cached(&world, "sk-two", ""), 0);
    // No salt leads out of what is the key's own.
    for salt in ["0", "0/", "/", "../0/"] {
        assert_eq!(cached(&world, "sk-two", salt), 0, "{salt}");
    }
    assert!(cached(&world, "sk-two", "0/") >= 32);
    // Unless the owner says that keys share.
    let world = World::with(config(SharePrefixes::BetweenKeys), engine_config());
    assert_eq!(cached(&world, "sk-one", ""), 0);
    assert!(cached(&world, "sk-two", "") >= 32);
    assert_eq!(cached(&world, "sk-two", "mine"), 0);
}

#[test]
fn a_name_that_was_made_to_resolve_to_this_machine_is_refused() {
    let config = ServerConfig { host_names: vec!["llm.example.org".into()], ..ServerConfig::default() };
    let world = World::with(config, engine_config());
    let ask = |host: &str, more: &str| {
        let mut connection = Connection::open(&world);
        connection.send(format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").as_bytes());
        connection.answer()
    };
    let port = world.address.port();
    // The page's own origin, as the browser sees it, and a request that reads, which has none.
    for more in [format!("Origin: http://evil.example:{port}\r\n"), String::new()] {
        let error = ask(&format!("evil.example:{port}"), &more).error(403);
        assert_eq!(error["code"], "host_not_allowed");
        assert!(error["message"].as_str().unwrap().contains("evil.example"), "{error}");
    }
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "llm.example.org".into()] {
        assert_eq!(ask(&host, "").status, 200, "{host}");
    }
}
