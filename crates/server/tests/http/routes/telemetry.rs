//! What an OpenTelemetry collector is told, and what never.

use garrison_gateway::{Ended, Telemetry};

use super::*;
use crate::client::{Connection, wait_until};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn collector() -> FakeServer {
    FakeServer::recording("127.0.0.1:0", |_, _| Script { status: 200, ..Script::refusal(200, "") }).unwrap()
}

/// What was posted to a path.
fn posted(collector: &FakeServer, path: &str) -> Vec<Value> {
    let begins = format!("POST {path} ");
    let texts = collector.asked().into_iter().map(|asked| String::from_utf8(asked).unwrap());
    texts
        .filter(|text| text.starts_with(&begins))
        .map(|text| serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap())
        .collect()
}

fn spans(collector: &FakeServer) -> Vec<Value> {
    let of = |batch: Value| batch["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
    posted(collector, "/v1/traces").into_iter().flat_map(of).collect()
}

fn attribute<'a>(of: &'a Value, name: &str) -> &'a Value {
    let all = of["attributes"].as_array().unwrap();
    let found = all.iter().find(|attribute| attribute["key"] == name);
    found.map_or(&Value::Null, |attribute| attribute["value"].as_object().unwrap().values().next().unwrap())
}

#[test]
fn a_collector_is_told_of_requests_in_the_terms_of_the_conventions_and_not_of_what_they_say() {
    let (collector, upstream) = (collector(), healthy("Secret answer."));
    let mut setup = Setup::new(&[&upstream.url]);
    setup.config.telemetry = Some(Telemetry::sending(&collector.url, Duration::from_millis(300)).unwrap());
    let (world, _folder) = setup.start();
    let headers = [("traceparent", PARENT), ("x-request-id", "r-1")];
    assert_eq!(send(&world, "POST", CHAT, &headers, &body("Secret question", true).to_string()).status, 200);
    let tiny = json!({"model": "tiny", "messages": [{"role": "user", "content": "say:Secret"}]});
    assert_eq!(post(&world, CHAT, &tiny).status, 200);
    assert_eq!(post(&world, "/v1/completions", &json!({"model": "auto", "prompt": "Secret"})).status, 400);
    get(&world, "/v1/models").ok();
    wait_until(Duration::from_secs(10), || spans(&collector).len() == 4)
        .unwrap_or_else(|| panic!("{:?}", spans(&collector)));
    let all = spans(&collector);
    let routed = all.iter().find(|span| attribute(span, "garrison.request.id") == "r-1").unwrap();
    assert_eq!(
        (&routed["traceId"], &routed["parentSpanId"]),
        (&json!("0af7651916cd43dd8448eb211c80319c"), &json!("b7ad6b7169203331"))
    );
    assert_eq!(
        (&routed["name"], &routed["kind"], &routed["status"]["code"]),
        (&json!("chat auto"), &json!(2), &json!(0))
    );
    for (name, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("up0")),
        ("gen_ai.request.model", json!("auto")),
        ("gen_ai.usage.input_tokens", json!("20")),
        ("gen_ai.usage.output_tokens", json!("5")),
        ("garrison.tier", json!("up0/m")),
        ("garrison.privacy", json!("cleared")),
        ("garrison.cost_usd", json!(0.000135)),
        ("http.response.status_code", json!("200")),
        ("error.type", Value::Null),
    ] {
        assert_eq!(*attribute(routed, name), value, "{name}");
    }
    let events: Vec<&str> =
        routed["events"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(events, ["planned", "cleared", "asked", "first_token", "answered"]);
    let attempt = all.iter().find(|span| span["kind"] == 3).unwrap();
    assert_eq!((&attempt["traceId"], &attempt["parentSpanId"]), (&routed["traceId"], &routed["spanId"]));
    assert_eq!((&attempt["name"], &attempt["status"]["code"]), (&json!("chat m"), &json!(0)));
    for (name, value) in [
        ("gen_ai.provider.name", json!("up0")),
        ("gen_ai.usage.input_tokens", json!("20")),
        ("garrison.tier", json!("up0/m")),
        ("garrison.cost_usd", json!(0.000135)),
        ("error.type", Value::Null),
    ] {
        assert_eq!(*attribute(attempt, name), value, "{name}");
    }
    let here = all.iter().find(|span| *attribute(span, "gen_ai.request.model") == json!("tiny")).unwrap();
    assert_eq!(*attribute(here, "gen_ai.provider.name"), json!("garrison"));
    assert!(attribute(here, "gen_ai.usage.output_tokens").as_str().unwrap().parse::<u64>().unwrap() >= 6);
    assert!(here["parentSpanId"].is_null() && here["traceId"].as_str().unwrap().len() == 32);
    let refused = all.iter().find(|span| *attribute(span, "error.type") == json!("4xx")).unwrap();
    assert_eq!(
        (attribute(refused, "gen_ai.operation.name"), &refused["status"]["code"]),
        (&json!("text_completion"), &json!(2))
    );
    let nanos = |name: &str| routed[name].as_str().unwrap().parse::<u128>().unwrap();
    assert!(nanos("endTimeUnixNano") > nanos("startTimeUnixNano"));

    let points = |name: &str| -> Vec<Value> {
        let last = posted(&collector, "/v1/metrics").pop();
        let all = last.map(|last| last["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].clone());
        let all = all.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
        let found = all.into_iter().find(|metric| metric["name"] == name);
        found.map_or(Vec::new(), |metric| metric["histogram"]["dataPoints"].as_array().unwrap().clone())
    };
    wait_until(Duration::from_secs(10), || points("gen_ai.server.request.duration").len() == 3)
        .expect("no metrics");
    let of = |points: Vec<Value>, kind: Option<&str>| {
        let mine = points.into_iter().find(|point| {
            attribute(point, "gen_ai.request.model") == "auto"
                && attribute(point, "gen_ai.provider.name") == "up0"
                && kind.is_none_or(|kind| attribute(point, "gen_ai.token.type") == kind)
        });
        mine.unwrap()
    };
    let input = of(points("gen_ai.client.token.usage"), Some("input"));
    assert_eq!((&input["count"], &input["sum"]), (&json!("1"), &json!(20.0)));
    let buckets = input["bucketCounts"].as_array().unwrap();
    assert_eq!(
        (buckets.len(), &buckets[3]),
        (input["explicitBounds"].as_array().unwrap().len() + 1, &json!("1"))
    );
    assert_eq!(of(points("gen_ai.server.time_to_first_token"), None)["count"], "1");
    let everything: String =
        collector.asked().into_iter().map(|asked| String::from_utf8(asked).unwrap()).collect();
    assert!(!everything.contains("ecret"), "{everything}");
}

#[test]
fn requests_of_one_name_are_told_of_as_what_they_are() {
    let (collector, upstream) = (collector(), healthy("Hello."));
    let mut setup = Setup::new(&[&upstream.url]);
    setup.config.telemetry = Some(Telemetry::sending(&collector.url, Duration::from_millis(300)).unwrap());
    let (world, _folder) = setup.start();
    let named = [("x-request-id", "the same")];
    let tiny = json!({"model": "tiny", "messages": [{"role": "user", "content": "say:Hi"}]});
    for asked in [body("What is new?", false), tiny] {
        assert_eq!(send(&world, "POST", CHAT, &named, &asked.to_string()).status, 200);
    }
    wait_until(Duration::from_secs(10), || spans(&collector).len() == 3)
        .unwrap_or_else(|| panic!("{:?}", spans(&collector)));
    let all = spans(&collector);
    let here = all.iter().find(|span| *attribute(span, "gen_ai.request.model") == json!("tiny")).unwrap();
    for (name, value) in [
        ("garrison.tier", Value::Null),
        ("gen_ai.provider.name", json!("garrison")),
        ("garrison.cost_usd", json!(0.0)),
    ] {
        assert_eq!(*attribute(here, name), value, "{name}");
    }
}

#[test]
fn a_client_that_goes_away_is_told_of_as_cut_off() {
    let collector = collector();
    let slow = FakeServer::start("127.0.0.1:0", |_, _| {
        Script::healthy(Duration::from_millis(5), Duration::from_millis(30), 300)
    })
    .unwrap();
    let mut setup = Setup::new(&[&slow.url]);
    setup.config.telemetry = Some(Telemetry::new(&collector.url).unwrap());
    let (world, _folder) = setup.start();
    let mut connection = Connection::open(&world);
    connection.post(CHAT, &[], &body("What is new?", true).to_string());
    connection.head();
    connection.read_to_event(3);
    drop(connection);
    wait_until(Duration::from_secs(10), || spans(&collector).len() == 2).expect("nothing was told");
    let all = spans(&collector);
    let of = |kind: u64| all.iter().find(|span| span["kind"] == kind).unwrap();
    assert_eq!(*attribute(of(3), "error.type"), json!("abandoned"));
    let span = of(2);
    assert_eq!(*attribute(span, "error.type"), json!("cut_off"));
    assert!(span["events"].to_string().contains("abandoned"), "{span}");
}

#[test]
fn a_collector_that_takes_nothing_holds_nobody_up() {
    // It is connected to, and says nothing.
    let stuck = TcpListener::bind("127.0.0.1:0").unwrap();
    let telemetry = Telemetry::new(&format!("http://{}", stuck.local_addr().unwrap())).unwrap();
    let ended = Ended {
        parent: None,
        id: "r".into(),
        operation: "chat",
        path: CHAT,
        model: "m".into(),
        provider: "p".into(),
        tier: None,
        privacy: None,
        cache: None,
        began: std::time::SystemTime::now(),
        took: Duration::from_secs(1),
        first_token: None,
        status: 200,
        complete: true,
        input_tokens: 1,
        output_tokens: 1,
        cost_micro_usd: 0,
        stages: Vec::new(),
        attempts: Vec::new(),
    };
    let begun = Instant::now();
    for _ in 0..20_000 {
        telemetry.tell(ended.clone());
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(telemetry.lost() > 10_000, "{}", telemetry.lost());
    assert!(Telemetry::new("ftp://x").is_err());
}

#[test]
fn each_attempt_has_its_span_within_the_requests() {
    let (collector, upstream) = (collector(), healthy("Hello."));
    let cut = FakeServer::start("127.0.0.1:0", |_, _| Script {
        ending: garrison_testkit::fake_server::Ending::Cut,
        ..Script::stream(vec![(Duration::ZERO, b": wait\n\n".to_vec())])
    })
    .unwrap();
    let mut setup = Setup::new(&[&cut.url, &upstream.url]);
    setup.config.telemetry = Some(Telemetry::sending(&collector.url, Duration::from_millis(300)).unwrap());
    let (world, _folder) = setup.start();
    let headers = [("x-request-id", "r-1")];
    assert_eq!(send(&world, "POST", CHAT, &headers, &body("What is new?", true).to_string()).status, 200);
    wait_until(Duration::from_secs(10), || spans(&collector).len() == 3)
        .unwrap_or_else(|| panic!("{:?}", spans(&collector)));
    let all = spans(&collector);
    let routed = all.iter().find(|span| span["kind"] == 2).unwrap();
    let of = |tier: &str| {
        let is = |span: &&Value| span["kind"] == 3 && attribute(span, "garrison.tier") == tier;
        all.iter().find(is).unwrap()
    };
    let (first, second) = (of("up0/m"), of("up1/m"));
    assert_eq!((attribute(first, "error.type"), &first["status"]["code"]), (&json!("cut"), &json!(2)));
    assert_eq!(*attribute(second, "error.type"), Value::Null);
    let nanos = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
    assert!(nanos(first, "endTimeUnixNano") <= nanos(second, "startTimeUnixNano"));
    for attempt in [first, second] {
        assert_eq!(attempt["parentSpanId"], routed["spanId"]);
        assert!(nanos(attempt, "startTimeUnixNano") >= nanos(routed, "startTimeUnixNano"));
        assert!(nanos(attempt, "endTimeUnixNano") > nanos(attempt, "startTimeUnixNano"));
    }
    let trace = get(&world, "/v1/garrison/requests/r-1").ok();
    let outcomes: Vec<&Value> = trace["attempts"].as_array().unwrap().iter().map(|a| &a["outcome"]).collect();
    assert_eq!(outcomes, [&json!("cut"), &json!("answered")]);
    let total: u64 =
        trace["attempts"].as_array().unwrap().iter().map(|a| a["cost_micro_usd"].as_u64().unwrap()).sum();
    assert_eq!(trace["cost_micro_usd"], total);
}
