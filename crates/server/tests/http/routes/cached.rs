//! Answers that are given again: to whom, when, and past whom they never get.

use super::*;
use crate::client::Connection;

fn cache() -> Arc<AnswerCache> {
    AnswerCache::new(CacheSettings { ttl: Duration::from_secs(60), bytes: 1 << 20 })
}

fn with_cache(upstreams: &[&str]) -> Setup {
    Setup { cache: Some(cache()), ..Setup::new(upstreams) }
}

fn text(answer: &Answer) -> String {
    answer.ok()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn an_equal_request_is_answered_again_whole_or_as_a_stream_and_for_nothing() {
    let upstream = healthy("Hello from afar.");
    let mut setup = with_cache(&[&upstream.url]);
    let money = MoneyLimit { per_day: Some(Micros(1_000_000)), per_month: None };
    setup.limit(KeyLimits { money, ..KeyLimits::default() }, []);
    let books = Arc::clone(setup.spend.as_ref().unwrap().books());
    let (world, folder) = setup.start();
    let first = post(&world, CHAT, &body("What is new?", true));
    assert_eq!(first.header("x-garrison-cache"), Some("miss"));
    assert_eq!(said(&first).0, "Hello from afar.");
    let again = post(&world, CHAT, &body("What is new?", false));
    assert_eq!(text(&again), "Hello from afar.");
    for (name, value) in [
        ("x-garrison-cache", "exact"),
        ("x-garrison-cost-usd", "0.000000"),
        ("x-garrison-tier", "up0/m"),
        ("x-garrison-privacy", "cleared"),
        ("x-garrison-receipt", "1"),
    ] {
        assert_eq!(again.header(name), Some(value), "{name}");
    }
    let usage = &again.ok()["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["prompt_tokens_details"]["cached_tokens"]),
        (&json!(20), &json!(20))
    );
    let mut reordered = json!({"temperature": 0, "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"content": "What is new?", "role": "user"}], "user": "anna"});
    reordered["model"] = json!("auto");
    let stream = send(&world, "POST", CHAT, &[("x-request-id", "r-3")], &reordered.to_string());
    assert_eq!(said(&stream), ("Hello from afar.".into(), "[DONE]".into()));
    assert_eq!(stream.header("x-garrison-cache"), Some("exact"));
    let events = stream.events();
    assert_eq!(events[events.len() - 2].json()["usage"]["completion_tokens"], 5);
    let trace = get(&world, "/v1/garrison/requests/r-3").ok();
    assert_eq!(
        (&trace["cache"], &trace["cost_micro_usd"], &trace["outcome"]),
        (&json!("exact"), &json!(0), &json!("answered"))
    );
    assert!(trace["stages"].to_string().contains("cached") && !trace["stages"].to_string().contains("asked"));
    let messages = json!({"model": "auto", "max_tokens": 50, "temperature": 0, "messages": [{"role": "user", "content": "What is new?"}]});
    for cached in ["miss", "exact"] {
        let answer = post(&world, "/v1/messages", &messages);
        assert_eq!(answer.ok()["content"][0]["text"], "Hello from afar.");
        assert_eq!(
            answer.header("x-garrison-cache"),
            Some(cached),
            "another API's request is found by its own words"
        );
    }
    assert_eq!(upstream.truths().len(), 2);
    assert_eq!(books.spent("anyone").today, Micros(2 * 135));
    assert_eq!(receipts(&folder).cleared, 5, "each was cleared for its tier before it was looked for");
}

#[test]
fn what_is_not_equal_or_not_the_same_each_time_is_asked() {
    let upstream = healthy("Hello.");
    let (world, _folder) = with_cache(&[&upstream.url]).start();
    let with = |name: &str, value: Value| {
        let mut asked = body("What is new?", false);
        asked[name] = value;
        asked
    };
    let tool = |name: &str| json!([{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}]);
    let system = |text: &str| json!([{"role": "system", "content": text}, {"role": "user", "content": "What is new?"}]);
    let different = [
        with("max_tokens", json!(50)),
        with("seed", json!(7)),
        with("temperature", json!(0.0)),
        with("tools", tool("a")),
        with("tools", tool("b")),
        with("messages", system("You are brief.")),
        with("messages", system("You are long.")),
        with("stop", json!(["x"])),
        with("cache_salt", json!("team-a")),
        with("cache_salt", json!("team-b")),
    ];
    for (i, asked) in different.iter().enumerate() {
        let answer = post(&world, CHAT, asked);
        assert_eq!(answer.header("x-garrison-cache"), Some("miss"), "{i}: {}", answer.text());
    }
    assert_eq!(upstream.truths().len(), different.len());
    for (i, asked) in different.iter().enumerate() {
        assert_eq!(post(&world, CHAT, asked).header("x-garrison-cache"), Some("exact"), "{i}");
    }
    for _ in 0..2 {
        let answer = post(&world, CHAT, &with("temperature", json!(0.7)));
        assert_eq!(answer.header("x-garrison-cache"), None, "each answer may be another");
    }
    assert_eq!(upstream.truths().len(), different.len() + 2);
}

#[test]
fn no_key_is_given_what_another_asked() {
    let upstream = healthy("Hello.");
    let mut setup = with_cache(&[&upstream.url]);
    setup.config.api_keys = ApiKeys::parse("name=anna k1\nname=bert k2\nname=anna k3\n").unwrap();
    let (world, _folder) = setup.start();
    let ask = |key: &str| {
        let value = format!("Bearer {key}");
        let answer = send(
            &world,
            "POST",
            CHAT,
            &[("authorization", &value)],
            &body("What is new?", false).to_string(),
        );
        answer.header("x-garrison-cache").unwrap().to_owned()
    };
    assert_eq!(
        [ask("k1"), ask("k1"), ask("k2"), ask("k3"), ask("k2")],
        ["miss", "exact", "miss", "exact", "exact"]
    );
}

#[test]
fn what_is_held_is_neither_kept_nor_found() {
    let upstream = healthy("Hello.");
    let (world, _folder) = with_cache(&[&upstream.url]).start();
    for _ in 0..2 {
        let answer = post(&world, CHAT, &body("say:Dear zoe@buecher.example", false));
        assert_eq!(
            (answer.header("x-garrison-tier"), answer.header("x-garrison-cache")),
            (Some("local/tiny"), None)
        );
    }
    assert_eq!(
        get(&world, "/metrics").text().lines().find(|l| l.starts_with("garrison:answer_cache_entries ")),
        Some("garrison:answer_cache_entries 0")
    );
    assert!(upstream.asked().is_empty());
}

#[test]
fn equal_requests_at_one_time_are_asked_once_and_survive_the_first() {
    let ms = Duration::from_millis;
    let slow = FakeServer::start("127.0.0.1:0", move |i, _| match i {
        // The first is never answered: its client goes away. The second fails.
        0 => Script { ending: Ending::Never, ..Script::stream(vec![(ms(0), token("x"))]) },
        1 => Script { ending: Ending::Cut, ..Script::stream(vec![(ms(300), token("x"))]) },
        _ => Script::healthy(ms(200), ms(2), 5),
    })
    .unwrap();
    let mut setup = with_cache(&[&slow.url]);
    setup.route.first_token = Duration::from_secs(5);
    setup.route.stall = Duration::from_secs(5);
    let (world, _folder) = setup.start();
    let mut leader = Connection::open(&world);
    leader.post(CHAT, &[], &body("What is new?", true).to_string());
    assert_eq!(leader.head().status, 200);
    std::thread::scope(|scope| {
        let followers: Vec<_> = (0..6)
            .map(|i| {
                scope.spawn({
                    let world = &world;
                    move || post(world, CHAT, &body("What is new?", i % 2 == 0))
                })
            })
            .collect();
        std::thread::sleep(ms(300));
        assert_eq!(slow.truths().len(), 1, "the others wait");
        drop(leader);
        let mut cached = 0;
        for (i, follower) in followers.into_iter().enumerate() {
            let answer = follower.join().unwrap();
            let (text, last) = if i % 2 == 0 { said(&answer) } else { (text(&answer), String::new()) };
            // Whoever led second had a stream that broke, or asked the model here instead.
            if answer.header("x-garrison-tier") == Some("local/tiny") || last.contains("provider_broke_off") {
                continue;
            }
            assert_eq!(text, " word word word word word", "{i}");
            cached += usize::from(answer.header("x-garrison-cache") == Some("exact"));
        }
        assert!(cached >= 4, "{cached} of 6 were answered by another's request");
    });
    assert_eq!(slow.truths().len(), 3, "one after the other, not all at once");
}

#[test]
fn an_equal_request_is_waited_for_no_longer_than_a_first_token() {
    let ms = Duration::from_millis;
    let upstream = FakeServer::start("127.0.0.1:0", move |i, _| match i {
        0 => Script::healthy(ms(0), ms(200), 20),
        _ => Script::healthy(ms(0), ms(0), 2),
    })
    .unwrap();
    let mut setup = with_cache(&[&upstream.url]);
    setup.route.first_token = ms(300);
    let (world, _folder) = setup.start();
    let mut leader = Connection::open(&world);
    leader.post(CHAT, &[], &body("What is new?", true).to_string());
    assert_eq!(leader.head().status, 200);
    let begun = Instant::now();
    let ask = || post(&world, CHAT, &body("What is new?", false));
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let followers: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        followers.into_iter().map(|follower| follower.join().unwrap()).collect()
    });
    assert!((ms(300)..ms(2000)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    for answer in &answers {
        assert_eq!((&*text(answer), answer.header("x-garrison-tier")), (" word word", Some("up0/m")));
    }
    let asked = answers.iter().filter(|answer| answer.header("x-garrison-cache") == Some("miss")).count();
    assert_eq!((asked, upstream.truths().len()), (1, 2), "one of those who waited was asked for all of them");
}

#[test]
fn what_is_given_again_is_judged_as_what_is_new() {
    use garrison_gateway::{AnswerPolicy, Gateway, InAnswers, Operator, Operators, Settings};
    // It was kept while nobody judged answers; now personal data is redacted.
    let upstream = healthy("Write to zoe@buecher.example today.");
    let kept = cache();
    let (world, _folder) = Setup { cache: Some(Arc::clone(&kept)), ..Setup::new(&[&upstream.url]) }.start();
    assert!(said(&post(&world, CHAT, &body("Whom?", true))).0.contains("zoe@"));
    drop(world);
    let mut setup = Setup { cache: Some(kept), ..Setup::new(&[&upstream.url]) };
    let answers = AnswerPolicy {
        private: InAnswers::Redact(Operators::all(Operator::Replace)),
        ..AnswerPolicy::default()
    };
    setup.config.gateway = Arc::new(Gateway::new(Settings { answers, ..Settings::default() }).unwrap());
    let (world, _folder) = setup.start();
    for stream in [true, false] {
        let answer = post(&world, CHAT, &body("Whom?", stream));
        assert_eq!(answer.header("x-garrison-cache"), Some("exact"));
        assert!(!answer.text().contains("zoe@") && answer.text().contains("EMAIL"), "{}", answer.text());
    }
    assert_eq!(upstream.truths().len(), 1);
}

/// A route whose model here answers all, and is kept as well.
fn keeping_here() -> Setup {
    let mut setup = with_cache(&[]);
    setup.keeps = Keeps::Everywhere;
    setup
}

#[test]
fn what_a_model_here_says_is_given_again_without_a_step_if_the_owner_says_so() {
    let mut setup = keeping_here();
    setup.config.api_keys = ApiKeys::parse("name=anna k1\nname=bert k2\n").unwrap();
    let (world, folder) = setup.start();
    let ask = |key: &str, asked: &Value| {
        let key = format!("Bearer {key}");
        let headers = [("authorization", &*key), ("x-request-id", "r-1")];
        let before = world.control.steps();
        let answer = send(&world, "POST", CHAT, &headers, &asked.to_string());
        let cache = answer.header("x-garrison-cache").map(str::to_owned);
        let text = if asked["stream"] == true { said(&answer).0 } else { text(&answer) };
        (text, cache, world.control.steps() - before)
    };
    let private = "say:Dear zoe@buecher.example, all is well.";
    for (i, stream) in [true, false, true].into_iter().enumerate() {
        let (text, cache, steps) = ask("k1", &body(private, stream));
        assert_eq!(text, "Dear zoe@buecher.example, all is well.");
        assert_eq!(
            (cache.as_deref(), steps == 0),
            if i == 0 { (Some("miss"), false) } else { (Some("exact"), true) }
        );
    }
    let (_, cache, steps) = ask("k2", &body(private, true));
    assert!(cache.as_deref() == Some("miss") && steps > 0, "another key's is another's");
    let mut drawn = body(private, true);
    drawn["temperature"] = json!(0.7);
    assert_eq!(ask("k1", &drawn).1, None, "each answer may be another");
    drawn["seed"] = json!(7);
    assert_eq!([ask("k1", &drawn).1, ask("k1", &drawn).1], [Some("miss".into()), Some("exact".into())]);
    let mut scored = body(private, false);
    scored["logprobs"] = json!(true);
    assert_eq!([ask("k1", &scored).1, ask("k1", &scored).1], [None, None], "more than a text is asked for");
    assert_eq!(receipts(&folder).receipts, 0);
    // What breaks off is not kept.
    world.control.fail_after(3);
    let broken = body("say:A long enough text that ends in the middle of a word, or so it seems.", true);
    let key = [("authorization", "Bearer k1")];
    assert!(!send(&world, "POST", CHAT, &key, &broken.to_string()).text().contains("[DONE]"));
    assert_eq!(ask("k1", &broken).1.as_deref(), Some("miss"));
    // By default none of this is kept.
    let (world, _folder) = with_cache(&[]).start();
    for _ in 0..2 {
        assert_eq!(post(&world, CHAT, &body(private, true)).header("x-garrison-cache"), None);
    }
}

#[test]
fn every_client_is_given_again_what_a_model_here_said_and_it_is_judged_as_what_is_new() {
    use garrison_gateway::{Gateway, InAnswers, Operator, Operators, Settings};
    use garrison_wire::{Delta, Format, Stop};

    let kept = cache();
    for judged in [false, true] {
        let mut setup = Setup { cache: Some(Arc::clone(&kept)), ..keeping_here() };
        if judged {
            let mut settings = Settings::default();
            settings.answers.private = InAnswers::Redact(Operators::all(Operator::Replace));
            setup.config.gateway = Arc::new(Gateway::new(settings).unwrap());
        }
        let (world, _folder) = setup.start();
        // Messages and the Responses become the same in words that are neither's, and so find each other's.
        for (i, client) in [Format::Chat, Format::Messages, Format::Responses].into_iter().enumerate() {
            for wanted in [if judged || i == 2 { "exact" } else { "miss" }, "exact"] {
                let mut asked = super::dialects::asks(client, "say:To zoe@buecher.example.", true);
                asked["temperature"] = json!(0);
                let answer = post(&world, super::dialects::path(client), &asked);
                assert_eq!(answer.header("x-garrison-cache"), Some(wanted), "{client:?} {judged}");
                let deltas = super::dialects::heard(client, &answer);
                let text =
                    |delta: &Delta| if let Delta::Text(text) = delta { text.clone() } else { String::new() };
                let said: String = deltas.iter().map(text).collect();
                assert_eq!(
                    said,
                    if judged { "To <EMAIL>." } else { "To zoe@buecher.example." },
                    "{client:?}"
                );
                assert!(matches!(deltas.last(), Some(Delta::End { stop: Stop::EndTurn, .. })), "{client:?}");
                assert_eq!(answer.text().contains("timings"), wanted == "miss", "{client:?}");
            }
        }
    }
}
