//! `Idempotency-Key` and `Last-Event-ID`.

use std::time::Duration;

use garrison_server::{ApiKeys, Limits, ServerConfig, Times};
use serde_json::{Value, json};

use crate::client::{Answer, Connection, Event, send};
use crate::world::{ANSWER, World, engine_config};

const TEXT: &str = "/v1/completions";
const SEQUENCES: &str = "garrison:time_to_first_token_seconds_count{model_name=\"tiny\"}";

fn body(prompt: &str, stream: bool) -> String {
    json!({"prompt": prompt, "stream": stream, "max_tokens": 100, "temperature": 0}).to_string()
}

fn repeat(world: &World, key: &str, after: Option<u64>, body: &str) -> Answer {
    let after = after.map(|id| id.to_string());
    let mut headers = vec![("Idempotency-Key", key)];
    headers.extend(after.as_deref().map(|id| ("Last-Event-ID", id)));
    send(world, "POST", TEXT, &headers, body)
}

fn said(events: &[Event]) -> String {
    let texts = events.iter().filter(|e| e.data != "[DONE]").map(|e| e.json()["choices"][0]["text"].clone());
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_broken_stream_is_picked_up_where_it_broke() {
    let world = World::new();
    world.control.set_delay(Duration::from_millis(2));
    let body = body("~", true);
    let mut connection = Connection::open(&world);
    connection.post(TEXT, &[("Idempotency-Key", "k1")], &body);
    connection.head();
    let mut events = connection.read_to_event(5);
    drop(connection);
    let last = events.last().unwrap().id;
    let rest = repeat(&world, "k1", Some(last), &body).events();
    assert_eq!(rest[0].id, last + 1);
    events.extend(rest);
    assert_eq!(said(&events), "x".repeat(100));
    assert_eq!(events.last().unwrap().data, "[DONE]");
    assert_eq!(
        events.iter().map(|e| e.id).collect::<Vec<_>>(),
        (1..=events.len() as u64).collect::<Vec<_>>()
    );
    // After the end it is still there, whole or from anywhere, and it ran once.
    assert_eq!(repeat(&world, "k1", None, &body).events(), events);
    let end = events.len() as u64;
    assert_eq!(repeat(&world, "k1", Some(end - 1), &body).events(), events[events.len() - 1..]);
    assert_eq!(world.metric(SEQUENCES), 1.0);
    // What was never sent cannot be resumed from.
    assert_eq!(repeat(&world, "k1", Some(end + 1), &body).error(400)["param"], "Last-Event-ID");
}

#[test]
fn the_same_key_attaches_while_the_first_is_running() {
    let world = World::new();
    for stream in [true, false] {
        let before = world.metric(SEQUENCES);
        world.control.hold();
        let body = body("Q>", stream);
        let key = format!("attach-{stream}");
        let mut both = [(); 2].map(|()| {
            let mut connection = Connection::open(&world);
            connection.post(TEXT, &[("Idempotency-Key", &key)], &body);
            connection
        });
        world.control.release();
        let answers = both.each_mut().map(|connection| connection.answer());
        assert_eq!(answers[0].text(), answers[1].text());
        assert!(answers[0].text().contains("[DONE]") == stream && answers[0].status == 200);
        assert_eq!(world.metric(SEQUENCES), before + 1.0);
    }
}

#[test]
fn a_key_belongs_to_its_body_and_its_owner() {
    let api_keys = ApiKeys::parse("one\ntwo").unwrap();
    let world = World::with(ServerConfig { api_keys, ..ServerConfig::default() }, engine_config());
    let ask = |who: &str, body: &str| {
        let owner = format!("Bearer {who}");
        send(&world, "POST", TEXT, &[("Authorization", owner.as_str()), ("Idempotency-Key", "k")], body)
    };
    let first = ask("one", &body("Q>", false)).ok();
    assert_eq!(first["choices"][0]["text"], ANSWER);
    assert_eq!(ask("one", &body("Q>", false)).ok()["id"], first["id"]);
    assert_ne!(ask("two", &body("Q>", false)).ok()["id"], first["id"]);
    assert_eq!(ask("one", &body("R>", false)).error(409)["code"], "idempotency_key_reused");
}

#[test]
fn a_refused_request_frees_its_key() {
    let world = World::new();
    repeat(&world, "k", None, "{\"prompt\": 5}").error(400);
    assert_eq!(repeat(&world, "k", None, &body("Q>", false)).ok()["choices"][0]["text"], ANSWER);
}

#[test]
fn a_failure_is_not_replayed() {
    let world = World::new();
    world.control.fail_next(1);
    repeat(&world, "k", None, &body("Q>", false)).error(503);
    crate::client::wait_until(Duration::from_secs(20), || {
        repeat(&world, "k", None, &body("Q>", false)).status == 200
    })
    .expect("the failure is kept");
}

#[test]
fn odd_headers_are_refused() {
    let world = World::new();
    let body = body("Q>", true);
    for (headers, param) in [
        (vec![("Last-Event-ID", "3")], "Last-Event-ID"),
        (vec![("Idempotency-Key", "k"), ("Last-Event-ID", "three")], "Last-Event-ID"),
        (vec![("Idempotency-Key", "")], "Idempotency-Key"),
        (vec![("Idempotency-Key", "a b")], "Idempotency-Key"),
    ] {
        assert_eq!(send(&world, "POST", TEXT, &headers, &body).error(400)["param"], param);
    }
    let error = repeat(&world, "never-seen", Some(3), &body).error(404);
    assert_eq!(error["code"], "stream_expired");
}

#[test]
fn what_nobody_reads_is_stopped_and_what_is_old_is_forgotten() {
    let times = Times { replay: Duration::from_millis(150), ..Times::default() };
    let world = World::with(ServerConfig { times, ..ServerConfig::default() }, engine_config());
    world.control.set_delay(Duration::from_millis(20));
    let endless = json!({"prompt": "~", "stream": true, "max_tokens": 400}).to_string();
    let mut connection = Connection::open(&world);
    connection.post(TEXT, &[("Idempotency-Key", "left")], &endless);
    connection.head();
    connection.read_to_event(2);
    drop(connection);
    world.wait_for_metric("garrison:sequences_cancelled_total{model_name=\"tiny\"}", 1.0);
    assert_eq!(repeat(&world, "left", Some(2), &endless).error(404)["code"], "stream_expired");
    world.control.set_delay(Duration::ZERO);
    let first: Value = repeat(&world, "done", None, &body("Q>", false)).ok();
    crate::client::wait_until(Duration::from_secs(20), || {
        repeat(&world, "done", None, &body("Q>", false)).ok()["id"] != first["id"]
    })
    .expect("a recording is kept for ever");
}

#[test]
fn recordings_are_bounded() {
    let limits = Limits { recordings: 2, recording_bytes: 4096, ..Limits::default() };
    let world = World::with(ServerConfig { limits, ..ServerConfig::default() }, engine_config());
    // The window slides: the beginning is gone, the end is there.
    let long = body("~", true);
    world.control.set_delay(Duration::from_millis(1));
    let events = repeat(&world, "long", None, &long).events();
    world.control.set_delay(Duration::ZERO);
    assert_eq!(said(&events), "x".repeat(100));
    assert_eq!(repeat(&world, "long", Some(1), &long).error(404)["code"], "stream_expired");
    let near = events[events.len() - 3].id;
    assert_eq!(repeat(&world, "long", Some(near), &long).events(), events[events.len() - 2..]);
    // The table evicts what ended, never what runs.
    repeat(&world, "second", None, &body("Q>", false)).ok();
    world.control.hold();
    let mut running = [0, 1].map(|i| {
        let mut connection = Connection::open(&world);
        connection.post(TEXT, &[("Idempotency-Key", &format!("run-{i}"))], &long);
        connection.head();
        connection
    });
    assert_eq!(repeat(&world, "more", None, &long).error(429)["code"], "queue_full");
    world.control.release();
    for connection in &mut running {
        while connection.chunk().is_some() {}
    }
}
