//! Answers that break off once something of them was shown, and go on in the same stream.

use garrison_gateway::{Gateway, InAnswers, InRequests, Operator, Operators, Policy, Rule, Settings};
use garrison_guard::Named;
use garrison_wire::{Delivery, Delta, Format, Request, Stop, StreamWriter};

use super::dialects::{KINDS, asks, begin, end, heard, path, speaking, usage};
use super::*;

fn continuing(upstreams: &[&str]) -> Setup {
    let mut setup = Setup::new(upstreams);
    setup.route.on_cut = OnCut::Continue;
    setup
}

/// An upstream that says this in the words of its API and is cut off.
fn cut(format: Format, deltas: Vec<Delta>) -> FakeServer {
    FakeServer::recording("127.0.0.1:0", move |_, _| {
        let asked = Request { delivery: Delivery::StreamWithUsage, ..Request::new("m", Vec::new()) };
        let mut writer = StreamWriter::new(format, &asked);
        let parts = deltas.iter().map(|delta| (Duration::ZERO, writer.write_bytes(delta.clone())));
        let parts = parts.filter(|(_, bytes)| !bytes.is_empty()).collect();
        Script { ending: Ending::Cut, ..Script::stream(parts) }
    })
    .unwrap()
}

fn words(deltas: &[Delta]) -> String {
    let text = |delta: &Delta| match delta {
        Delta::Text(text) => Some(text.clone()),
        _ => None,
    };
    deltas.iter().filter_map(text).collect()
}

fn sent(upstream: &FakeServer) -> Value {
    let asked = String::from_utf8(upstream.asked().pop().unwrap()).unwrap();
    serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn every_client_hears_one_answer_whoever_goes_on_with_it() {
    let begun = || vec![begin(), Delta::Text("Hello ".into()), Delta::Text("from ".into())];
    let rest = || vec![begin(), Delta::Text(" afar.".into()), Delta::PartEnd, end(Stop::EndTurn)];
    for (kind, spoken) in KINDS {
        for client in Format::ALL {
            let (first, second) = (cut(spoken, begun()), speaking(spoken, rest()));
            let mut setup = continuing(&[&first.url, &second.url]);
            setup.kind = kind;
            let money = MoneyLimit { per_day: Some(Micros(1_000_000)), per_month: None };
            setup.limit(KeyLimits { money, ..KeyLimits::default() }, []);
            let books = Arc::clone(setup.spend.as_ref().unwrap().books());
            let (world, folder) = setup.start();
            let case = format!("{client:?} of {spoken:?}");
            let asked = asks(client, "What is new?", true).to_string();
            let answer = send(&world, "POST", path(client), &[("x-request-id", "r-1")], &asked);
            let deltas = heard(client, &answer);
            assert_eq!(words(&deltas), "Hello from afar.", "{case}: {}", answer.text());
            let Some(Delta::End { stop: Stop::EndTurn, usage: Some(took), .. }) = deltas.last() else {
                panic!("{case}: {}", answer.text())
            };
            // The first by estimate, the second as it says.
            assert!(took.output >= usage().output + 4 && took.input > usage().input, "{case}: {took:?}");
            let begins = deltas.iter().filter(|delta| matches!(delta, Delta::Begin { .. })).count();
            assert_eq!(begins, 1, "{case}");
            let body = sent(&second).to_string();
            assert!(body.contains("Hello from\"") && body.contains("cut off"), "{case}: {body}");
            let trace = get(&world, "/v1/garrison/requests/r-1").ok();
            let stages = trace["stages"].to_string();
            assert!(stages.contains("broke") && stages.contains("continued"), "{case}: {stages}");
            assert_eq!(trace["decisions"][0]["why"], "broke_off", "{case}");
            assert_eq!((&trace["tier"], &trace["outcome"]), (&json!("up1/m"), &json!("answered")), "{case}");
            let alone = 30 * 3 + 3 + 8 * 15;
            let cost = trace["cost_micro_usd"].as_u64().unwrap();
            assert!(cost > alone, "{case}: {cost} for both");
            assert_eq!(books.spent("anyone").today, Micros(cost), "{case}");
            assert_eq!(receipts(&folder).cleared, 2, "{case}");
            // With nobody else the model here goes on.
            let mut setup = continuing(&[&first.url]);
            setup.kind = kind;
            let (world, _folder) = setup.start();
            let answer = post(&world, path(client), &asks(client, "say:Hello from here.", true));
            let deltas = heard(client, &answer);
            assert_eq!(words(&deltas), "Hello from here.", "{case}: {}", answer.text());
            assert!(matches!(deltas.last(), Some(Delta::End { stop: Stop::EndTurn, .. })), "{case}");
        }
    }
}

#[test]
fn a_client_of_chats_is_told_its_stop_string_also_where_another_could_go_on() {
    let mut setup = continuing(&[]);
    setup.first_here("local/first", "tiny");
    let (world, _folder) = setup.start();
    let mut asked = body("say:One. Two.", true);
    asked["stop"] = json!([". "]);
    let answer = post(&world, CHAT, &asked);
    assert_eq!((said(&answer).0.as_str(), answer.header("x-garrison-tier")), ("One", Some("local/first")));
    assert!(answer.text().contains("\"stop_reason\":\". \""), "{}", answer.text());
}

#[test]
fn a_model_that_takes_a_prefix_is_given_one_and_less_to_say() {
    let first = cut(Format::Messages, vec![begin(), Delta::Text("Hello from ".into())]);
    let second = speaking(
        Format::Messages,
        vec![begin(), Delta::Text("afar.".into()), Delta::PartEnd, end(Stop::EndTurn)],
    );
    let mut setup = continuing(&[&first.url, &second.url]);
    setup.kind = ProviderKind::Anthropic;
    setup.route.targets[1] =
        Target::Remote { provider: 1, model: "m".into(), continues: Continues::FromPrefix };
    let (world, _folder) = setup.start();
    let answer = post(&world, CHAT, &asks(Format::Chat, "What is new?", true));
    assert_eq!(said(&answer).0, "Hello from afar.");
    let body = sent(&second);
    let last = body["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["role"], "assistant");
    assert!(
        last["content"].to_string().contains("\"Hello from\"") && !body.to_string().contains("cut off"),
        "{body}"
    );
    assert_eq!(body["max_tokens"], 57, "60 less a token for four bytes");
}

#[test]
fn however_it_breaks_it_goes_on_and_what_cannot_is_an_honest_error() {
    let ms = Duration::from_millis;
    let good = healthy(" there.");
    let begun = || vec![(ms(0), token("Hel")), (ms(10), token("lo"))];
    let ends = |last: Vec<u8>| [begun(), vec![(ms(20), last)]].concat();
    for (name, script) in [
        ("stalled", Script { ending: Ending::Never, ..Script::stream(begun()) }),
        ("cut", Script { ending: Ending::Cut, ..Script::stream(begun()) }),
        ("half closed", Script { ending: Ending::HalfClosed, ..Script::stream(begun()) }),
        ("ended early", Script::stream(begun())),
        ("done early", Script::stream(ends(done()))),
        ("garbage", Script::stream(ends(b"data: {{{\n\n".to_vec()))),
        ("an error", Script::stream(ends(event(&json!({"error": {"message": "no"}}))))),
    ] {
        let upstream = FakeServer::start("127.0.0.1:0", move |_, _| script.clone()).unwrap();
        let (world, _folder) = continuing(&[&upstream.url, &good.url]).start();
        let answer = post(&world, CHAT, &body("What is new?", true));
        assert_eq!(said(&answer), ("Hello there.".into(), "[DONE]".into()), "{name}: {}", answer.text());
        // And when whoever goes on breaks off, too, the model here has the rest.
        let (world, _folder) = continuing(&[&upstream.url, &upstream.url]).start();
        let answer = post(&world, CHAT, &body("say:HelloHello there.", true));
        assert_eq!(said(&answer), ("HelloHello there.".into(), "[DONE]".into()), "{name}: {}", answer.text());
    }
    let call = json!([{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"q\""}}]);
    let call = event(&json!({"choices": [{"index": 0, "delta": {"tool_calls": call}}]}));
    let in_a_call =
        Script { ending: Ending::Cut, ..Script::stream(vec![(ms(0), [token("See"), call].concat())]) };
    let plain = Script { ending: Ending::Cut, ..Script::stream(begun()) };
    let with = |name: &str, value: Value| {
        let mut asked = body("What is new?", true);
        asked[name] = value;
        asked
    };
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]);
    for (name, script, asked, last_resort) in [
        ("in a call", in_a_call, with("tools", tool), LastResort::Local),
        (
            "a schema",
            plain.clone(),
            with("response_format", json!({"type": "json_object"})),
            LastResort::Local,
        ),
        ("log-probabilities", plain.clone(), with("logprobs", json!(true)), LastResort::Local),
        ("nobody is left", plain, body("What is new?", true), LastResort::Refuse),
    ] {
        let upstream = FakeServer::start("127.0.0.1:0", move |_, _| script.clone()).unwrap();
        let mut setup = continuing(&[&upstream.url]);
        setup.route.policy.last_resort = last_resort;
        let (world, _folder) = setup.start();
        let (_, last) = said(&post(&world, CHAT, &asked));
        let last: Value = serde_json::from_str(&last).unwrap_or_else(|_| panic!("{name} ended with {last}"));
        assert_eq!(last["error"]["code"], "provider_broke_off", "{name}: {last}");
    }
}

/// A route that begins here: its first tier is the model here, which is its private one, too.
fn beginning_here(upstreams: &[&str], on_cut: OnCut) -> Setup {
    let mut setup = Setup::new(upstreams);
    setup.first_here("local/tiny", "tiny");
    setup.route.on_cut = on_cut;
    setup
}

/// A text that takes the model here more steps than [`STEPS`].
const LONG: &str = "say:A heron stands in the shallow water by the mill, and waits for what may come.";
/// After so many the device is lost: one reads the prompt, the others write.
const STEPS: u64 = 3;

fn lost(world: &World, path: &str, asked: &Value) -> Answer {
    world.control.fail_after(STEPS);
    send(world, "POST", path, &[("x-request-id", "r-1")], &asked.to_string())
}

#[test]
fn what_a_model_here_began_goes_on_elsewhere_when_the_device_is_lost() {
    for (kind, spoken) in KINDS {
        for client in Format::ALL {
            let next = speaking(
                spoken,
                vec![begin(), Delta::Text("|and flies.".into()), Delta::PartEnd, end(Stop::EndTurn)],
            );
            let mut setup = beginning_here(&[&next.url], OnCut::Continue);
            setup.kind = kind;
            let money = MoneyLimit { per_day: Some(Micros(1_000_000)), per_month: None };
            setup.limit(KeyLimits { money, ..KeyLimits::default() }, []);
            let books = Arc::clone(setup.spend.as_ref().unwrap().books());
            let (world, folder) = setup.start();
            let case = format!("{client:?} of {spoken:?}");
            let answer = lost(&world, path(client), &asks(client, LONG, true));
            assert_eq!(answer.header("x-garrison-tier"), Some("local/tiny"), "{case}: who began");
            let deltas = heard(client, &answer);
            let text = words(&deltas);
            let shown = text.strip_suffix("|and flies.").unwrap_or_else(|| panic!("{case}: {text}"));
            assert!(!shown.is_empty() && LONG["say:".len()..].starts_with(shown), "{case}: {text}");
            let begins = deltas.iter().filter(|delta| matches!(delta, Delta::Begin { .. })).count();
            assert_eq!(begins, 1, "{case}");
            let Some(Delta::End { stop: Stop::EndTurn, usage: Some(took), .. }) = deltas.last() else {
                panic!("{case}: {}", answer.text())
            };
            assert!(took.output > usage().output && took.input > usage().input, "{case}: {took:?} of both");
            let sent = sent(&next).to_string();
            assert!(sent.contains(&format!("\"{}\"", shown.trim_end())), "{case}: {sent} has what was shown");
            let trace = get(&world, "/v1/garrison/requests/r-1").ok();
            let stages: Vec<&str> =
                trace["stages"].as_array().unwrap().iter().map(|s| s["what"].as_str().unwrap()).collect();
            let wanted = [
                "planned",
                "local",
                "broke",
                "continued",
                "planned",
                "cleared",
                "asked",
                "first_token",
                "answered",
            ];
            assert_eq!(stages, wanted, "{case}");
            assert!(trace["stages"][2]["why"].as_str().unwrap().contains("device_failed"), "{trace}");
            assert_eq!(trace["decisions"][0]["why"], "broke_off", "{case}");
            assert_eq!((&trace["tier"], &trace["outcome"]), (&json!("up0/m"), &json!("answered")), "{case}");
            assert_eq!(Some(books.spent("anyone").today.0), trace["cost_micro_usd"].as_u64(), "{case}");
            assert_eq!(receipts(&folder).cleared, 1, "{case}");
            // And what does not break off is the model's own, whole, with its timings.
            let mut asked = asks(client, "say:All is well.", true);
            asked["temperature"] = json!(0);
            let answer = post(&world, path(client), &asked);
            assert_eq!(words(&heard(client, &answer)), "All is well.", "{case}");
            assert!(answer.text().contains("\"timings\""), "{case}: {}", answer.text());
        }
    }
}

/// Finds nothing in what was asked, and something once a word stands in it again: in what was answered.
#[derive(Debug)]
struct Twice(&'static str);

impl Detector for Twice {
    fn id(&self) -> &str {
        "patterns"
    }

    fn detect(&self, text: &str) -> Result<Vec<String>, DetectorError> {
        Ok(if text.matches(self.0).count() > 1 { vec!["TWICE".into()] } else { Vec::new() })
    }
}

#[test]
fn what_a_model_here_said_leaves_only_if_it_is_cleared_with_the_rest() {
    let next = healthy("no");
    let asked = |text: &str| body(text, true);
    for (name, text, detector) in [
        (
            "what was asked",
            "say:Dear zoe@buecher.example, a heron stands in the water and waits for you.",
            None,
        ),
        ("what was said", LONG, Some(Twice("A"))),
    ] {
        let mut setup = beginning_here(&[&next.url], OnCut::Continue);
        if let Some(detector) = detector {
            setup.detector = Arc::new(detector);
        }
        let (world, folder) = setup.start();
        let answer = lost(&world, CHAT, &asked(text));
        let (shown, last) = said(&answer);
        let last: Value = serde_json::from_str(&last).unwrap_or_else(|_| panic!("{name} ended with {last}"));
        assert_eq!(last["error"]["code"], "device_failed", "{name}: {last}");
        assert!(!shown.is_empty(), "{name}");
        assert!(next.asked().is_empty() && receipts(&folder).cleared == 0, "{name} has left");
        let trace = get(&world, "/v1/garrison/requests/r-1").ok();
        assert!(trace["stages"].to_string().contains("held"), "{name}: {trace}");
        assert!(trace["outcome"].as_str().unwrap().contains("failed"), "{name}: {trace}");
        // The model here has the next request, as before.
        assert_eq!(said(&post(&world, CHAT, &asked("say:Well."))).0, "Well.", "{name}");
    }
}

/// Finds the first letter of [`LONG`], as if it were a name that no rule knows, but not in what asks for it.
struct Letter;

impl Letter {
    fn places(text: &str) -> Vec<Named> {
        let asks = text.starts_with("say:");
        let places = text.match_indices("A").filter(|_| !asks);
        let named = |(at, name): (usize, &str)| Named {
            entity: "PERSON".into(),
            range: at..at + name.len(),
            confidence: 80,
        };
        places.map(named).collect()
    }
}

impl Finder for Letter {
    fn id(&self) -> &str {
        "letter"
    }

    fn find(&self, text: &str) -> Result<Vec<Named>, DetectorError> {
        Ok(Letter::places(text))
    }
}

impl Detector for Letter {
    fn id(&self) -> &str {
        "letter"
    }

    fn detect(&self, text: &str) -> Result<Vec<String>, DetectorError> {
        Ok(Letter::places(text).into_iter().map(|named| named.entity).collect())
    }
}

/// What judges the route's texts.
type Judges = fn(&mut Settings);

#[test]
fn what_the_routes_own_judges_find_in_what_was_said_does_not_leave() {
    let next = healthy("no");
    let stays: [(&str, Judges); 6] = [
        ("names in requests", |settings| {
            settings.requests.private = InRequests::Flag;
            settings.request_finders = vec![Arc::new(Letter)];
        }),
        ("attacks in requests", |settings| {
            settings.requests.injection.user = Policy::Flag;
            settings.request_detectors = vec![Arc::new(Letter)];
        }),
        ("names in answers, redacted", |settings| {
            settings.answers.private = InAnswers::Redact(Operators::all(Operator::Replace));
            settings.answer_finders = vec![Arc::new(Letter)];
        }),
        ("names in answers", |settings| {
            settings.answers.private = InAnswers::Flag;
            settings.answer_finders = vec![Arc::new(Letter)];
        }),
        ("rules of answers", |settings| {
            settings.answers.rules = Policy::Flag;
            settings.rules = vec![Rule { name: "letter".into(), pattern: "(?i)a".into() }];
        }),
        ("judges of answers", |settings| {
            settings.answers.rules = Policy::Flag;
            settings.answer_detectors = vec![Arc::new(Letter)];
        }),
    ];
    let leaves: [(&str, Judges); 1] = [("nothing is found", |settings| {
        settings.requests.private = InRequests::Flag;
        settings.answers.private = InAnswers::Flag;
    })];
    let cases = stays.iter().map(|case| (case, true)).chain(leaves.iter().map(|case| (case, false)));
    for ((name, judges), stays) in cases {
        let budget = Budget { start: Duration::from_secs(20), per_kilobyte: Duration::ZERO };
        let mut settings = Settings { budget, ..Settings::default() };
        judges(&mut settings);
        let mut setup = beginning_here(&[&next.url], OnCut::Continue);
        setup.config.gateway = Arc::new(Gateway::new(settings).unwrap());
        let (world, folder) = setup.start();
        let answer = lost(&world, CHAT, &body(LONG, true));
        let (_, last) = said(&answer);
        let trace = get(&world, "/v1/garrison/requests/r-1").ok();
        if stays {
            assert!(next.asked().is_empty() && receipts(&folder).cleared == 0, "{name} has left: {trace}");
            assert!(last.contains("device_failed"), "{name}: {last}");
            assert!(trace["stages"].to_string().contains("stays here"), "{name}: {trace}");
        } else {
            assert_eq!((&*last, next.asked().len()), ("[DONE]", 1), "{name}: {trace}");
        }
    }
}

#[test]
fn what_a_judge_has_ended_nobody_is_asked_to_go_on_with() {
    let words =
        "To 4111 1111 1111 1111. And more words than any judge holds back, so that it is decided by now.";
    let next = healthy("no");
    for (kind, spoken) in KINDS {
        for client in Format::ALL {
            let broken = cut(spoken, vec![begin(), Delta::Text(words.into())]);
            let mut settings = Settings::default();
            settings.answers.private = InAnswers::Block;
            let mut setup = continuing(&[&broken.url, &next.url]);
            setup.kind = kind;
            // So that what was said could leave.
            setup.detector = Arc::new(Twice("no such word"));
            setup.config.gateway = Arc::new(Gateway::new(settings).unwrap());
            let (world, _folder) = setup.start();
            let asked = asks(client, "Whom?", true).to_string();
            let answer = send(&world, "POST", path(client), &[("x-request-id", "r-1")], &asked);
            let deltas = heard(client, &answer);
            let trace = get(&world, "/v1/garrison/requests/r-1").ok();
            let case = format!("{client:?} of {spoken:?}: {trace} {}", answer.text());
            assert_eq!(self::words(&deltas), "To ", "{case}");
            assert!(matches!(deltas.last(), Some(Delta::End { stop: Stop::Filtered, .. })), "{case}");
            assert!(answer.text().contains("\"verdict\":\"block\""), "{case}");
            assert!(!trace["stages"].to_string().contains("continued"), "{case}");
        }
    }
    assert!(next.asked().is_empty());
}

#[test]
fn what_fails_here_before_anything_was_shown_leads_to_the_next_tier() {
    for on_cut in [OnCut::Error, OnCut::Continue] {
        let next = healthy("Hello from afar.");
        let (world, folder) = beginning_here(&[&next.url], on_cut).start();
        for stream in [true, false] {
            world.control.fail_next(1);
            let answer =
                send(&world, "POST", CHAT, &[("x-request-id", "r-1")], &body(LONG, stream).to_string());
            assert_eq!(answer.header("x-garrison-tier"), Some("up0/m"), "{}", answer.text());
            assert!(answer.text().contains("afar."), "{}", answer.text());
            let trace = get(&world, "/v1/garrison/requests/r-1").ok();
            assert_eq!(trace["stages"][2]["why"], "the model here failed: device_failed", "{trace}");
        }
        // A whole answer is not seen before its end, so any failure leads on.
        let whole = lost(&world, CHAT, &body(LONG, false));
        assert_eq!(whole.ok()["choices"][0]["message"]["content"], "Hello from afar.");
        assert_eq!(receipts(&folder).cleared, 3);
        assert_eq!(world.metric("garrison:route_fallbacks_total{route=\"auto\"}"), 3.0);
        // So does a prompt that is too long here.
        let long = post(&world, CHAT, &body(&"word ".repeat(1000), true));
        assert_eq!(long.header("x-garrison-tier"), Some("up0/m"), "{}", long.text());
        // A stream that has begun goes on, or says that it does not.
        let (text, last) = said(&lost(&world, CHAT, &body(LONG, true)));
        match on_cut {
            OnCut::Error => assert!(last.contains("device_failed"), "{text} {last}"),
            OnCut::Continue => {
                assert!(text.ends_with("Hello from afar.") && last == "[DONE]", "{text} {last}")
            }
        }
        // And an engine that stops for good.
        world.control.panic_next();
        for stream in [true, false] {
            let answer = post(&world, CHAT, &body(LONG, stream));
            assert_eq!(answer.header("x-garrison-tier"), Some("up0/m"), "{}", answer.text());
        }
    }
}

#[test]
fn a_deadline_holds_here_too_and_a_judge_ends_what_would_go_on() {
    let next = healthy("no");
    let mut setup = beginning_here(&[&next.url], OnCut::Continue);
    setup.route.deadline = Duration::from_millis(1500);
    let (world, _folder) = setup.start();
    world.control.set_delay(Duration::from_millis(40));
    let longer = format!("say:{}", "A heron stands in the shallow water by the mill. ".repeat(40));
    let (text, last) = said(&post(&world, CHAT, &body(&longer, true)));
    assert!(!text.is_empty() && last.contains("deadline_exceeded"), "{text} {last}");
    assert!(next.asked().is_empty(), "nobody has time left");

    let mut settings = Settings::default();
    settings.answers.private = InAnswers::Block;
    let mut setup = beginning_here(&[&next.url], OnCut::Continue);
    setup.config.gateway = Arc::new(Gateway::new(settings).unwrap());
    let (world, _folder) = setup.start();
    let text = format!("say:To 4111 1111 1111 1111. {}", &LONG["say:".len()..]);
    for client in Format::ALL {
        let answer = post(&world, path(client), &asks(client, &text, true));
        let deltas = heard(client, &answer);
        assert_eq!(words(&deltas), "To ", "{client:?}: {}", answer.text());
        assert!(matches!(deltas.last(), Some(Delta::End { stop: Stop::Filtered, .. })), "{}", answer.text());
        assert!(answer.text().contains("\"verdict\":\"block\""), "{client:?}: {}", answer.text());
    }
}
