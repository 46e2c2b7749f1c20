//! Answers that are given to requests that are alike: when, to whom never, and what the upstream sees meanwhile.
//!
//! Most tests have an embedder for which all texts are the same, so that only what must be equal tells requests apart.

use garrison_gateway::{Compare, Embedder, NotEmbedded, Semantic, SemanticCache, SemanticSettings};
use garrison_testkit::redis::RedisServer;

use super::*;

/// Everything is like everything.
#[derive(Debug)]
pub(super) struct Same;

impl Embedder for Same {
    fn id(&self) -> &str {
        "same"
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, NotEmbedded> {
        if text.len() > 200 { Err(NotEmbedded::TooLong) } else { Ok(vec![1.0, 0.0]) }
    }
}

const MINUTE: CacheSettings = CacheSettings { ttl: Duration::from_secs(60), bytes: 1 << 20 };

pub(super) fn settings(max_error: f32) -> SemanticSettings {
    SemanticSettings { threshold: 0.9, max_error, answers: Compare::Equal, bytes: 1 << 20 }
}

/// Answers that are given to whatever is alike, after a few that would have been right.
pub(super) fn eager(cache: Arc<AnswerCache>, beside: CacheSettings) -> Arc<AnswerCache> {
    let redis = cache.redis().cloned();
    cache.give_alike(Semantic::On(SemanticCache::new(settings(0.5), beside, Arc::new(Same), redis)));
    cache
}

fn with(upstream: &str, beside: CacheSettings) -> Setup {
    Setup { cache: Some(eager(AnswerCache::new(beside), beside)), ..Setup::new(&[upstream]) }
}

/// How a request was answered, and what its trace tells of what is alike.
fn ask(world: &World, n: usize, body: &Value, headers: &[(&str, &str)]) -> (String, Value) {
    let id = format!("r-{n}");
    let headers = [headers, &[("x-request-id", id.as_str())]].concat();
    let answer = send(world, "POST", CHAT, &headers, &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cache = answer.header("x-garrison-cache").unwrap_or("-").to_owned();
    let trace = send(world, "GET", &format!("/v1/garrison/requests/{id}"), &headers[..headers.len() - 1], "");
    (cache, trace.ok()["semantic"].clone())
}

/// Asks until an answer is given to a request that is alike. What an answer teaches is learned a moment after it was given.
fn learn(world: &World, prefix: &str) -> usize {
    for n in 0..400 {
        let (cache, told) = ask(world, n, &body(&format!("{prefix} {n}?"), n % 2 == 0), &[]);
        assert!(n > 0 || told["outcome"] == "nobody_alike", "{told}");
        if cache == "semantic" {
            assert_eq!(told["outcome"], "given");
            return n;
        }
        assert_eq!(cache, "miss");
    }
    panic!("nothing was given in 400 requests");
}

#[test]
fn a_request_that_is_alike_is_answered_again_once_enough_would_have_been_right() {
    let upstream = healthy("Hello from afar.");
    let (world, folder) = with(&upstream.url, MINUTE).start();
    let asked = learn(&world, "What is new");
    assert!(asked >= 6, "it was given after {asked} others");
    assert_eq!(upstream.truths().len(), asked);
    let (mut whole, mut streamed) = (0, 0);
    for n in 1000..1040 {
        let stream = n % 2 == 0;
        let before = upstream.truths().len();
        let answer = post(&world, CHAT, &body(&format!("What else is new, {n}?"), stream));
        if answer.header("x-garrison-cache") != Some("semantic") {
            assert_eq!(upstream.truths().len(), before + 1, "asked now and then, to be sure");
            continue;
        }
        assert_eq!(upstream.truths().len(), before);
        assert_eq!(answer.header("x-garrison-cost-usd"), Some("0.000000"));
        assert_eq!(answer.header("x-garrison-privacy"), Some("cleared"));
        if stream {
            assert_eq!(said(&answer), ("Hello from afar.".into(), "[DONE]".into()));
            streamed += 1;
        } else {
            let body = answer.ok();
            assert_eq!(body["choices"][0]["message"]["content"], "Hello from afar.");
            let usage = &body["usage"];
            assert_eq!(usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]);
            whole += 1;
        }
    }
    assert!(whole > 8 && streamed > 8, "{whole} {streamed}");
    let page = get(&world, "/metrics").text().to_owned();
    let metric =
        |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(metric("garrison:semantic_cache_enabled "), "1");
    // A second request may have come before the first had taught anything.
    assert!(["1", "2"].contains(&metric("garrison:semantic_cache_entries ").as_str()));
    assert_eq!(metric("garrison:semantic_cache_labels_total{label=\"wrong\"} "), "0");
    assert_eq!(metric("garrison:semantic_cache_hits_total "), (whole + streamed + 1).to_string());
    assert_eq!(
        receipts(&folder).cleared as usize,
        asked + 1 + 40,
        "each was cleared before it was looked for"
    );
}

#[test]
fn what_must_be_equal_is_never_a_matter_of_likeness() {
    let upstream = healthy("Hello.");
    let mut setup = with(&upstream.url, MINUTE);
    setup.config.api_keys = ApiKeys::parse("owner name=anna k1\nowner name=bert k2\n").unwrap();
    let (world, _folder) = setup.start();
    let (anna, bert) = (("authorization", "Bearer k1"), ("authorization", "Bearer k2"));
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let tool = |name: &str| json!([{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}]);
    let with = |name: &str, value: Value| {
        // Each is a text of its own, since equal requests are found as such.
        let mut asked = body(&format!("Is there news of {name}?"), false);
        asked[name] = value;
        asked
    };
    let mut n = 0;
    let mut outcome = |body: &Value, key| {
        n += 1;
        ask(&world, n, body, &[key]).1["outcome"].as_str().unwrap_or("-").to_owned()
    };
    assert_eq!(outcome(&body("What is new?", false), anna), "nobody_alike");
    // What is learned is there a moment later.
    let known = || {
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            get_metric(&world, anna, "garrison:semantic_cache_entries ") == 1
        })
    };
    assert!(known());
    let history = |first: &str| {
        with("messages", json!([turn("user", first), turn("assistant", "Yes."), turn("user", "And?")]))
    };
    let different = [
        (body("And bert's?", false), bert),
        (with("messages", json!([turn("system", "You are brief."), turn("user", "And?")])), anna),
        (with("messages", json!([turn("system", "You are long."), turn("user", "And?")])), anna),
        (history("Hi"), anna),
        (history("Ho"), anna),
        (with("tools", tool("a")), anna),
        (with("tools", tool("b")), anna),
        (with("seed", json!(7)), anna),
        (with("max_tokens", json!(50)), anna),
        (with("stop", json!(["x"])), anna),
        (with("user", json!("carl")), anna),
        (with("cache_salt", json!("mine")), anna),
        (with("messages", json!([{"role": "user", "content": "And?", "name": "carl"}])), anna),
        (with("messages", json!([{"role": "user", "content": [{"type": "text", "text": "And?"}]}])), anna),
    ];
    for (i, (body, key)) in different.iter().enumerate() {
        assert_eq!(outcome(body, *key), "nobody_alike", "{i}: {body}");
    }
    // What has no text of the user's last, or is too long, is found by equality alone.
    let tool_result = json!([turn("user", "Hi"), {"role": "tool", "tool_call_id": "c1", "content": "5"}]);
    assert_eq!(outcome(&with("messages", tool_result), anna), "not_a_text");
    assert_eq!(outcome(&body(&"long ".repeat(50), false), anna), "too_long");
    assert_eq!(outcome(&with("temperature", json!(0.7)), anna), "-", "each answer may be another");
    assert_eq!(outcome(&body("And now?", true), anna), "asked", "and this one is alike");
}

fn get_metric(world: &World, key: (&str, &str), name: &str) -> u64 {
    let page = send(world, "GET", "/metrics", &[key], "").text().to_owned();
    page.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

#[test]
fn another_route_or_tier_has_answers_of_its_own_and_another_api_too() {
    let (first, second) = (healthy("one"), healthy("two"));
    let beside = MINUTE;
    let cache = eager(AnswerCache::new(beside), beside);
    let of = |url: &str| Setup { cache: Some(Arc::clone(&cache)), ..Setup::new(&[url]) };
    let (world, _folder) = of(&first.url).start();
    learn(&world, "What is new");
    let messages = json!({"model": "auto", "max_tokens": 50, "temperature": 0, "messages": [{"role": "user", "content": "And?"}]});
    let answer = send(&world, "POST", "/v1/messages", &[("x-request-id", "m")], &messages.to_string());
    assert_eq!(answer.header("x-garrison-cache"), Some("miss"));
    assert_eq!(get(&world, "/v1/garrison/requests/m").ok()["semantic"]["outcome"], "nobody_alike");
    for rename in ["route", "tier"] {
        let mut setup = of(&second.url);
        if rename == "tier" {
            setup.route.policy.tiers[0].name = "up9/m".into();
        } else {
            setup.route.name = "other".into();
        }
        let (world, _folder) = setup.start();
        let mut asked = body("And?", false);
        if rename == "route" {
            asked["model"] = json!("other");
        }
        assert_eq!(
            ask(&world, 1, &asked, &[]),
            ("miss".into(), json!({"outcome": "nobody_alike"})),
            "{rename}"
        );
    }
}

#[test]
fn what_likeness_gets_wrong_is_learned_and_not_given() {
    // The answer is in the question, and all questions are alike.
    let upstream = FakeServer::start("127.0.0.1:0", |_, body| {
        let text = body["messages"][0]["content"].as_str().unwrap();
        let word = if text.contains("approve") { "yes" } else { "no" };
        Script::stream(vec![(Duration::ZERO, [token(word), finish("stop"), usage(20, 5), done()].concat())])
    })
    .unwrap();
    let cache = AnswerCache::new(MINUTE);
    cache.give_alike(Semantic::On(SemanticCache::new(settings(0.02), MINUTE, Arc::new(Same), None)));
    let (world, _folder) = Setup { cache: Some(cache), ..Setup::new(&[&upstream.url]) }.start();
    let mut wrong = 0;
    for n in 0..120 {
        let (what, right) = if n % 2 == 0 { ("approve", "yes") } else { ("deny", "no") };
        let answer = post(&world, CHAT, &body(&format!("Should I {what} refund {n}?"), false));
        wrong += usize::from(answer.ok()["choices"][0]["message"]["content"] != right);
    }
    // Two of a hundred may be; one deviation is 1.5.
    assert!(wrong <= 7, "{wrong} of 120");
    assert!(
        get_metric(&world, ("x-note", "x"), "garrison:semantic_cache_labels_total{label=\"wrong\"} ") > 0
    );
}

#[test]
fn an_answer_has_its_time_and_what_is_held_is_neither_kept_nor_found() {
    let upstream = healthy("Hello.");
    let (world, _folder) =
        with(&upstream.url, CacheSettings { ttl: Duration::from_millis(1), bytes: 1 << 20 }).start();
    for n in 0..3 {
        let (cache, told) = ask(&world, n, &body(&format!("What is new, {n}?"), false), &[]);
        assert_eq!((cache.as_str(), &told["outcome"]), ("miss", &json!("nobody_alike")));
        std::thread::sleep(Duration::from_millis(50));
    }
    let (world, _folder) = with(&upstream.url, MINUTE).start();
    learn(&world, "What is new");
    let before = upstream.truths().len();
    for n in 0..20 {
        let (cache, told) =
            ask(&world, 2000 + n, &body(&format!("say:Dear zoe{n}@buecher.example"), false), &[]);
        assert_eq!((cache.as_str(), told), ("-", Value::Null));
    }
    assert_eq!(upstream.truths().len(), before);
}

#[test]
fn without_an_embedder_it_is_off_and_says_so() {
    let upstream = healthy("Hello.");
    let cache = AnswerCache::new(MINUTE);
    cache.give_alike(Semantic::NoEmbedder);
    let (world, _folder) = Setup { cache: Some(cache), ..Setup::new(&[&upstream.url]) }.start();
    for n in 0..2 {
        let (cache, told) = ask(&world, n, &body(&format!("What is new, {n}?"), false), &[]);
        assert_eq!((cache.as_str(), told), ("miss", json!({"outcome": "no_embedder"})));
    }
    assert!(get(&world, "/metrics").text().contains("garrison:semantic_cache_enabled 0\n"));
}

#[test]
fn what_is_given_again_is_judged_as_what_is_new() {
    use garrison_gateway::{AnswerPolicy, Gateway, InAnswers, Operator, Operators, Settings};
    let upstream = healthy("Write to zoe@buecher.example today.");
    let kept = eager(AnswerCache::new(MINUTE), MINUTE);
    let (world, _folder) = Setup { cache: Some(Arc::clone(&kept)), ..Setup::new(&[&upstream.url]) }.start();
    learn(&world, "Whom do I write to");
    drop(world);
    let mut setup = Setup { cache: Some(kept), ..Setup::new(&[&upstream.url]) };
    let answers = AnswerPolicy {
        private: InAnswers::Redact(Operators::all(Operator::Replace)),
        ..AnswerPolicy::default()
    };
    setup.config.gateway = Arc::new(Gateway::new(Settings { answers, ..Settings::default() }).unwrap());
    let (world, _folder) = setup.start();
    let mut given = 0;
    for n in 0..20 {
        let answer = post(&world, CHAT, &body(&format!("Whom, {n}?"), n % 2 == 0));
        given += usize::from(answer.header("x-garrison-cache") == Some("semantic"));
        assert!(!answer.text().contains("zoe@") && answer.text().contains("EMAIL"), "{}", answer.text());
    }
    assert!(given > 0);
}

#[test]
fn several_garrisons_learn_together_and_one_that_starts_again_knows_it() {
    let redis = RedisServer::start().expect("redis-server; scripts/test installs it");
    let upstream = healthy("Hello there.");
    let start = || {
        let shared = garrison_gateway::Redis::new(&redis.url()).unwrap();
        let cache = eager(AnswerCache::shared(MINUTE, shared), MINUTE);
        Setup { cache: Some(cache), ..Setup::new(&[&upstream.url]) }.start()
    };
    let worlds = [start(), start()];
    let mut labels = [0, 0];
    for n in 0..400 {
        let (cache, told) = ask(&worlds[n % 2].0, n, &body(&format!("What is new, {n}?"), false), &[]);
        labels[n % 2] = told["labels"].as_u64().unwrap_or(0).max(labels[n % 2]);
        if cache == "semantic" && labels.iter().all(|labels| *labels > 2) {
            break;
        }
        // What one has learned is on its way to the other.
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(labels.iter().all(|labels| *labels > 2), "{labels:?}");
    assert!(upstream.truths().len() < 60, "{}", upstream.truths().len());
    // Without what it shares, it would begin with nothing.
    let (world, _folder) = start();
    let (_, told) = ask(&world, 1, &body("And now?", false), &[]);
    assert!(told["labels"].as_u64().unwrap() > 2, "{told}");
    drop(redis);
    let (_, told) = ask(&world, 2, &body("And without it?", false), &[]);
    assert!(told["labels"].as_u64().unwrap() > 2, "{told}");
}
