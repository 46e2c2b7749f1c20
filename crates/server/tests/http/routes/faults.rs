//! Every way in which a provider fails: the next tier answers, or the client is told, in bounded time.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What breaks before anything was shown: its name and an upstream that does it.
fn before_anything() -> Vec<(&'static str, String, Option<FakeServer>)> {
    let upstream = |script: Script| FakeServer::start("127.0.0.1:0", move |_, _| script.clone()).unwrap();
    let comment = || vec![(ms(0), b": wait\n\n".to_vec())];
    let role = event(&json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}));
    let stream = Script::stream;
    let scripts = vec![
        ("slow headers", stream(vec![(20 * SECOND, token("late"))])),
        ("slow first token", Script { ending: Ending::Never, ..stream(comment()) }),
        ("nothing but its role", Script { ending: Ending::Never, ..stream(vec![(ms(0), role.clone())]) }),
        ("comments for ever", stream((0..500).map(|i| (ms(20 * i), b": beat\n\n".to_vec())).collect())),
        ("cut before a token", Script { ending: Ending::Cut, ..stream(comment()) }),
        ("half closed", Script { ending: Ending::HalfClosed, ..stream(comment()) }),
        ("an empty stream", stream(comment())),
        ("done without an end", stream(vec![(ms(0), [role, done()].concat())])),
        ("garbage", stream(vec![(ms(0), b"data: <html>\n\n".to_vec())])),
        ("other JSON", stream(vec![(ms(0), b"data: {\"answer\": 42}\n\n".to_vec())])),
        (
            "another's choice",
            stream(vec![(ms(0), event(&json!({"choices": [{"index": 7, "delta": {"content": "x"}}]})))]),
        ),
        ("an error in the stream", stream(vec![(ms(0), event(&json!({"error": {"message": "no"}})))])),
        ("an endless event", stream(vec![(ms(0), b"data: ".to_vec()), (ms(1), vec![b'x'; 5 << 20])])),
        ("a wrong content type", Script { content_type: "text/html", ..stream(vec![(ms(0), token("x"))]) }),
        ("500", Script::refusal(500, "oh")),
        ("503", Script::refusal(503, "oh")),
        ("401", Script::refusal(401, "who")),
        ("400", Script::refusal(400, "no")),
        ("429", Script::refusal(429, "slow")),
        ("429 with Retry-After", Script { headers: "Retry-After: 30\r\n", ..Script::refusal(429, "slow") }),
        (
            "a redirect",
            Script { headers: "Location: http://127.0.0.1:9/\r\n", ..Script::refusal(307, "there") },
        ),
    ];
    let mut faults: Vec<_> = scripts
        .into_iter()
        .map(|(name, script)| {
            let server = upstream(script);
            (name, server.url.clone(), Some(server))
        })
        .collect();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    faults.push(("refused", format!("http://{free}"), None));
    faults.push(("no such name", "http://nowhere.invalid".into(), None));
    let hangs_up = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hangs_up.local_addr().unwrap();
    std::thread::spawn(move || hangs_up.incoming().for_each(drop));
    faults.push(("hung up", format!("http://{address}"), None));
    let no_tls = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = no_tls.local_addr().unwrap();
    std::thread::spawn(move || no_tls.incoming().for_each(drop));
    faults.push(("no TLS", format!("https://{address}"), None));
    faults
}

#[test]
fn whatever_breaks_before_anything_was_shown_leads_to_the_next_tier() {
    let good = healthy("Hello from afar.");
    for (name, url, _server) in before_anything() {
        let (world, folder) = Setup::new(&[&url, &good.url]).start();
        for stream in [true, false] {
            let begun = Instant::now();
            let answer = post(&world, CHAT, &body("What is new?", stream));
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            assert_eq!(answer.header("x-garrison-tier"), Some("up1/m"), "{name}");
            if stream {
                assert_eq!(said(&answer), ("Hello from afar.".into(), "[DONE]".into()), "{name}");
            } else {
                assert_eq!(answer.ok()["choices"][0]["message"]["content"], "Hello from afar.", "{name}");
            }
            assert!(begun.elapsed() < 9 * SECOND, "{name}: {:?}", begun.elapsed());
        }
        assert!(receipts(&folder).cleared >= 3, "{name}: an attempt without a receipt");
    }
}

#[test]
fn with_nobody_left_the_client_is_told_what_happened_or_a_model_here_answers() {
    for (name, url, _server) in before_anything() {
        let mut setup = Setup::new(&[&url]);
        setup.route.policy.last_resort = LastResort::Refuse;
        let (world, _folder) = setup.start();
        let (status, code) = match name {
            "429" | "429 with Retry-After" => (429, "providers_rate_limited"),
            _ => (502, "providers_failed"),
        };
        for stream in [true, false] {
            let answer = post(&world, CHAT, &body("What is new?", stream));
            let error = answer.error(status);
            assert_eq!(error["code"], code, "{name}: {error}");
            if name == "429 with Retry-After" {
                let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((20..=30).contains(&wait), "{wait}");
            }
        }
        let (world, _folder) = Setup::new(&[&url]).start();
        let answer = post(&world, CHAT, &body("say:here", true));
        assert_eq!(said(&answer), ("here".into(), "[DONE]".into()), "{name}");
        assert_eq!(answer.header("x-garrison-tier"), Some("local/tiny"), "{name}");
    }
}

#[test]
fn what_breaks_after_something_was_shown_is_an_error_event_and_never_a_quiet_end() {
    let good = healthy("no");
    let begun = || vec![(ms(0), token("Hel")), (ms(10), token("lo"))];
    let ends = |last: Vec<u8>| [begun(), vec![(ms(20), last)]].concat();
    for (name, script, code) in [
        ("stalled", Script { ending: Ending::Never, ..Script::stream(begun()) }, "provider_broke_off"),
        ("cut", Script { ending: Ending::Cut, ..Script::stream(begun()) }, "provider_broke_off"),
        (
            "half closed",
            Script { ending: Ending::HalfClosed, ..Script::stream(begun()) },
            "provider_broke_off",
        ),
        ("ended early", Script::stream(begun()), "provider_broke_off"),
        ("done early", Script::stream(ends(done())), "provider_broke_off"),
        ("garbage", Script::stream(ends(b"data: {{{\n\n".to_vec())), "provider_broke_off"),
        ("an error", Script::stream(ends(event(&json!({"error": {"message": "no"}})))), "provider_broke_off"),
        (
            "never ends",
            Script::stream((0..800).map(|i| (ms(20 * i), token("x"))).collect()),
            "deadline_exceeded",
        ),
    ] {
        let upstream = FakeServer::start("127.0.0.1:0", move |_, _| script.clone()).unwrap();
        let mut setup = Setup::new(&[&upstream.url, &good.url]);
        setup.route.deadline = 2 * SECOND;
        let (world, _folder) = setup.start();
        let time = Instant::now();
        let answer = post(&world, CHAT, &body("What is new?", true));
        let (text, last) = said(&answer);
        assert!(text.starts_with(if name == "never ends" { "x" } else { "Hello" }), "{name}: {text}");
        let last: Value = serde_json::from_str(&last).unwrap_or_else(|_| panic!("{name} ended with {last}"));
        assert_eq!(last["error"]["code"], code, "{name}: {last}");
        assert!(time.elapsed() < 9 * SECOND, "{name}: {:?}", time.elapsed());
        // Nobody has seen anything of a whole answer, so that goes on, if there is time.
        if code == "provider_broke_off" {
            let answer = post(&world, CHAT, &body("What is new?", false));
            assert_eq!(answer.ok()["choices"][0]["message"]["content"], "no", "{name}");
        }
    }
}

#[test]
fn a_tier_that_asks_for_rest_or_keeps_failing_is_left_alone() {
    let good = healthy("Hello.");
    let limited = FakeServer::start("127.0.0.1:0", |_, _| Script {
        headers: "Retry-After: 60\r\n",
        ..Script::refusal(429, "slow")
    })
    .unwrap();
    let broken = FakeServer::start("127.0.0.1:0", |_, _| Script::refusal(500, "oh")).unwrap();
    for (upstream, asked) in [(&limited, 1), (&broken, 3)] {
        let (world, _folder) = Setup::new(&[&upstream.url, &good.url]).start();
        let begun = Instant::now();
        for _ in 0..8 {
            assert_eq!(post(&world, CHAT, &body("What is new?", true)).status, 200);
        }
        // The breaker of what fails may be tried again after half a second.
        let probes = begun.elapsed().as_millis() as usize / 500;
        let seen = upstream.truths().len();
        assert!((asked..=asked + probes).contains(&seen), "{seen} of 8, {asked} wanted");
    }
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let slow = FakeServer::start("127.0.0.1:0", |_, _| Script::healthy(ms(5), ms(30), 300)).unwrap();
    let mut setup = Setup::new(&[&slow.url]);
    let money = MoneyLimit { per_day: Some(Micros(10_000_000)), per_month: None };
    setup.limit(KeyLimits { money, ..KeyLimits::default() }, []);
    let (world, _folder) = setup.start();
    let mut connection = crate::client::Connection::open(&world);
    connection.post(CHAT, &[("x-request-id", "r-9")], &body("What is new?", true).to_string());
    assert_eq!(connection.head().status, 200);
    connection.read_to_event(3);
    drop(connection);
    let stages = || get(&world, "/v1/garrison/requests/r-9").ok();
    crate::client::wait_until(Duration::from_secs(20), || stages().to_string().contains("abandoned"))
        .unwrap_or_else(|| panic!("{}", stages()));
    let cost = stages()["cost_micro_usd"].as_u64().unwrap();
    assert!((1..5000).contains(&cost), "an estimate of what was said until then, not {cost}");
}
