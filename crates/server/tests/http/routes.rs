//! Routes: who answers, what providers' failures become, and what never leaves.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_gateway::{
    AnswerCache, Audit, Books, Budget, CacheSettings, Calibrations, Clearance, Compare, Continues, Detector,
    DetectorError, Keeps, KeyLimits, LastResort, Meters, Micros, MoneyLimit, Need, Needs, OnCut, PerKey,
    Place, Prefer, Price, Provider, ProviderConfig, ProviderKind, Quality, Quotas, Route, Routes,
    ScanDetector, Scope, Spend, Target, Tier, TierPolicy, vocabulary,
};
use garrison_guard::{
    Finder, FinderDetector, LogConfig, ReceiptLog, ScanConfig, Scanner, SigningKey, verify,
};
use garrison_server::{ApiKeys, ServerConfig};
use garrison_testkit::fake_server::{Ending, FakeServer, Script, done, event, finish, token, usage};
use serde_json::{Value, json};

use crate::client::{Answer, get, post, send};
use crate::world::World;

mod cached;
mod capped;
mod cascade;
mod chosen;
mod continued;
mod dialects;
mod faults;
mod hedged;
mod judged;
mod leaks;
mod money;
mod semantic;
mod shared;
mod telemetry;

const CHAT: &str = "/v1/chat/completions";

/// A server with one route, `auto`, over upstreams called `up0`, `up1` and so on.
struct Setup {
    folder: tempfile::TempDir,
    route: Route,
    upstreams: Vec<String>,
    detector: Arc<dyn Detector>,
    /// Judges what leaves beside the detector, and is demanded, if it is there.
    finder: Option<Arc<dyn Finder>>,
    spend: Option<Spend>,
    cache: Option<Arc<AnswerCache>>,
    keeps: Keeps,
    calibrations: Arc<Calibrations>,
    kind: ProviderKind,
    ca_pem: Option<Vec<u8>>,
    config: ServerConfig,
}

const PRICE: Price = Price { input: 3000, cached_input: 300, cache_write: 3000, output: 15_000 };

fn tier(name: String, place: Place, price: Price) -> Tier {
    Tier {
        name,
        place,
        price,
        context: 100_000,
        max_output: None,
        has: Needs::from_iter([Need::Tools, Need::Schema]),
        quality: Quality::even(100),
        weight: 0,
        scope: Scope::default(),
    }
}

impl Setup {
    fn new(upstreams: &[&str]) -> Setup {
        let remote = |i: usize| tier(format!("up{i}/m"), Place::Remote, PRICE);
        let local = Tier {
            has: Need::ALL.into_iter().filter(|need| *need != Need::Images).collect(),
            ..tier("local/tiny".into(), Place::Local, Price::FREE)
        };
        let targets = (0..upstreams.len()).map(|provider| Target::Remote {
            provider,
            model: "m".into(),
            continues: Continues::WhenTold,
        });
        let route = Route {
            name: "auto".into(),
            policy: TierPolicy {
                tiers: (0..upstreams.len()).map(remote).collect(),
                private: Some(local),
                prefer: Prefer::Listed,
                least_quality: 0,
                max_cost: None,
                last_resort: LastResort::Local,
                cascade: None,
            },
            targets: targets.chain([Target::Local("tiny".into())]).collect(),
            first_token: Duration::from_millis(400),
            stall: Duration::from_millis(400),
            deadline: Duration::from_secs(10),
            hedge: None,
            on_cut: OnCut::Error,
            answers: Compare::Equal,
        };
        let scanner = Scanner::new(&ScanConfig::default()).unwrap();
        Setup {
            folder: tempfile::tempdir().unwrap(),
            route,
            upstreams: upstreams.iter().map(|url| (*url).to_owned()).collect(),
            detector: Arc::new(ScanDetector(Arc::new(scanner))),
            finder: None,
            spend: None,
            cache: None,
            keeps: Keeps::Elsewhere,
            calibrations: Arc::default(),
            kind: ProviderKind::OpenAi,
            ca_pem: None,
            config: ServerConfig::default(),
        }
    }

    /// Gives every key limits, and named ones their own; with books in the folder.
    fn limit<const N: usize>(&mut self, usual: KeyLimits, named: [(&str, KeyLimits); N]) {
        let named = named.into_iter().map(|(name, limits)| (name.to_owned(), limits)).collect();
        let limits = PerKey::new(usual, named);
        let books = Arc::new(Books::open(&self.folder.path().join("spend.sqlite")).unwrap());
        let meters = Meters::new(Some(Arc::clone(&books)));
        self.spend = Some(Spend::new(books, limits.clone()));
        self.config.quotas = Arc::new(Quotas::new(limits, meters, None));
    }

    /// The same with a tier here before those that there are, answered by a model of this name.
    fn first_here(&mut self, tier: &str, model: &str) {
        let local = Tier { name: tier.into(), ..self.route.policy.private.clone().unwrap() };
        self.route.policy.tiers.insert(0, local);
        self.route.targets.insert(0, Target::Local(model.into()));
    }

    /// The server, and the folder with its receipts.
    fn start(self) -> (World, tempfile::TempDir) {
        self.start_as(World::echoing)
    }

    fn start_as(self, world: fn(ServerConfig) -> World) -> (World, tempfile::TempDir) {
        let (config, folder) = self.configured();
        (world(config), folder)
    }

    /// Its configuration, and the folder.
    fn configured(self) -> (ServerConfig, tempfile::TempDir) {
        let Setup { folder, route, upstreams, detector, finder, spend, cache, keeps, .. } = self;
        let (calibrations, kind, ca_pem, config) = (self.calibrations, self.kind, self.ca_pem, self.config);
        let log = LogConfig::new(folder.path().join("receipts.jsonl"));
        let audit = Audit::new(ReceiptLog::open(log, SigningKey::from_seed([3; 32])).unwrap()).unwrap();
        let budget = Budget { start: Duration::from_secs(10), per_kilobyte: Duration::from_millis(10) };
        let (mut detectors, mut demanded) = (vec![detector], vec!["patterns".to_owned()]);
        if let Some(finder) = finder {
            let known = vocabulary().map(str::to_owned);
            detectors.push(Arc::new(FinderDetector::new(finder, budget, known)));
            demanded.push("names-model".into());
        }
        let clearance = Clearance::new(detectors, demanded, budget, Arc::new(audit));
        let provider = |(i, url): (usize, String)| {
            let config = ProviderConfig {
                name: format!("up{i}"),
                kind,
                base_url: url,
                api_key: Some("sk-upstream".into()),
                ca_pem: ca_pem.clone(),
                connect_timeout: Duration::from_secs(1),
            };
            Provider::new(config).unwrap()
        };
        let providers = upstreams.into_iter().enumerate().map(provider).collect();
        let routes = Routes::new(vec![route], providers, Some(clearance), spend).knowing(calibrations);
        let routes = Arc::new(match cache {
            None => routes,
            Some(cache) => routes.keeping(cache, keeps),
        });
        (ServerConfig { routes, ..config }, folder)
    }
}

fn receipts(folder: &tempfile::TempDir) -> garrison_guard::Report {
    verify(&folder.path().join("receipts.jsonl"), Some(SigningKey::from_seed([3; 32]).public())).unwrap()
}

/// An upstream that answers `text` and keeps what it was asked.
fn healthy(text: &'static str) -> FakeServer {
    FakeServer::recording("127.0.0.1:0", move |_, _| {
        let opening =
            event(&json!({"id": "up", "object": "chat.completion.chunk", "model": "m", "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}));
        let mut parts = vec![(Duration::ZERO, opening)];
        parts.extend(text.split_inclusive(' ').map(|word| (Duration::ZERO, token(word))));
        parts.push((Duration::ZERO, [finish("stop"), usage(20, 5), done()].concat()));
        Script::stream(parts)
    })
    .unwrap()
}

fn body(text: &str, stream: bool) -> Value {
    json!({"model": "auto", "messages": [{"role": "user", "content": text}], "stream": stream, "temperature": 0})
}

/// What a stream said, and its last event's data.
fn said(answer: &Answer) -> (String, String) {
    let events = answer.events();
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(&event.data).ok());
    let text = chunks
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    (text, events.last().unwrap().data.clone())
}

#[test]
fn a_route_is_a_model_whose_answer_comes_from_elsewhere() {
    let upstream = healthy("Hello from afar.");
    let (world, folder) = Setup::new(&[&upstream.url]).start();
    let answer = post(&world, CHAT, &body("What is the weather like?", false));
    let whole = answer.ok();
    assert_eq!(whole["choices"][0]["message"], json!({"role": "assistant", "content": "Hello from afar."}));
    assert_eq!((&whole["model"], &whole["object"]), (&json!("auto"), &json!("chat.completion")));
    assert_eq!(
        (&whole["choices"][0]["finish_reason"], &whole["usage"]["prompt_tokens"]),
        (&json!("stop"), &json!(20))
    );
    for (name, value) in [
        ("x-garrison-tier", "up0/m"),
        ("x-garrison-provider", "up0"),
        ("x-garrison-privacy", "cleared"),
        ("x-garrison-receipt", "0"),
        ("x-garrison-cost-usd", "0.000135"), // 20 * 3 + 5 * 15 millionths
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let answer = post(&world, CHAT, &body("What is the weather like?", true));
    assert_eq!(said(&answer), ("Hello from afar.".into(), "[DONE]".into()));
    assert!(answer.text().contains("\"model\":\"auto\"") && !answer.text().contains("usage"));
    assert_eq!(answer.header("x-garrison-receipt"), Some("1"));
    let mut with_usage = body("What is the weather like?", true);
    with_usage["stream_options"] = json!({"include_usage": true});
    let events = post(&world, CHAT, &with_usage).events();
    assert_eq!(events[events.len() - 2].json()["usage"]["completion_tokens"], 5);

    let asked: Vec<String> =
        upstream.asked().into_iter().map(|asked| String::from_utf8(asked).unwrap()).collect();
    assert!(
        asked[0].starts_with("POST /v1/chat/completions HTTP/1.1\r\n")
            && asked[0].contains("Bearer sk-upstream")
    );
    let sent: Value = serde_json::from_str(asked[0].split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&sent["model"], &sent["stream"]), (&json!("m"), &json!(true)));
    let report = receipts(&folder);
    assert_eq!((report.receipts, report.cleared), (3, 3));

    let models = get(&world, "/v1/models").ok();
    assert_eq!((&models["data"][1]["id"], &models["data"][1]["tiers"]), (&json!("auto"), &json!(["up0/m"])));
    assert_eq!(get(&world, "/v1/models/auto").ok()["private"], "local/tiny");
    let refused = post(&world, "/v1/completions", &json!({"model": "auto", "prompt": "x"})).error(400);
    assert_eq!((&refused["param"], &refused["code"]), (&json!("model"), &json!("unsupported_parameter")));
    assert!(refused["message"].as_str().unwrap().contains("its tier up0/m is a provider's"), "{refused}");
}

#[test]
fn a_route_of_models_here_completes_texts_and_one_that_cannot_says_why() {
    let mut setup = Setup::new(&[]);
    let local = setup.route.policy.private.clone().unwrap();
    setup.route.policy.tiers.push(local);
    setup.route.targets.insert(0, Target::Local("tiny".into()));
    // A second one that never fails: the same engine under another tier's name.
    setup.route.policy.private = Some(tier("local/again".into(), Place::Local, Price::FREE));
    setup.route.policy.tiers.push(tier("local/again".into(), Place::Local, Price::FREE));
    setup.route.targets.insert(1, Target::Local("tiny".into()));
    let (world, _folder) = setup.start();
    for stream in [true, false] {
        for (fails, tier) in [(0, "local/tiny"), (1, "local/again")] {
            world.control.fail_next(fails);
            let asked =
                json!({"model": "auto", "prompt": "say:All is well.", "max_tokens": 4, "stream": stream});
            let headers = [("x-request-id", "r-1")];
            let answer = send(&world, "POST", "/v1/completions", &headers, &asked.to_string());
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("x-garrison-tier"), Some(tier), "{}", answer.text());
            assert_eq!(answer.header("x-garrison-privacy"), Some("local"));
            assert!(answer.text().contains("text_completion") && answer.text().contains("\"auto\""));
            let trace = get(&world, "/v1/garrison/requests/r-1").ok();
            assert_eq!((&trace["tier"], &trace["outcome"]), (&json!(tier), &json!("answered")), "{trace}");
        }
    }
    let refused = post(&world, "/v1/completions", &json!({"model": "auto", "prompt": []})).error(400);
    assert_eq!(refused["param"], "prompt");
}

#[test]
fn token_ids_go_along_a_route_whose_models_have_the_same_tokens() {
    let asks = [
        ("prompt", "/v1/completions", json!({"prompt": [40, 41]})),
        ("prompt", "/v1/completions", json!({"prompt": [[40], [41]]})),
        ("stop_token_ids", "/v1/completions", json!({"prompt": "x", "stop_token_ids": [40]})),
        ("logit_bias", "/v1/completions", json!({"prompt": "x", "logit_bias": {"40": 1}})),
        ("stop_token_ids", CHAT, json!({"stop_token_ids": [40]})),
        ("logit_bias", CHAT, json!({"logit_bias": {"40": 1}})),
    ];
    let asked = |path: &str, more: &Value| {
        let mut asked = if path == CHAT { body("say:Hi", false) } else { json!({"model": "auto"}) };
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        asked["max_tokens"] = json!(2);
        asked
    };
    for (model, refused) in [("tiny", false), ("other", true)] {
        let mut setup = Setup::new(&[]);
        setup.first_here("local/first", model);
        let (world, _folder) = setup.start_as(World::echoing_two);
        for (param, path, more) in &asks {
            let answer = post(&world, path, &asked(path, more));
            if refused {
                let error = answer.error(400);
                assert_eq!(
                    (&error["param"], &error["code"]),
                    (&json!(param), &json!("unsupported_parameter"))
                );
                assert!(error["message"].as_str().unwrap().contains("other"), "{error}");
            } else {
                answer.ok();
            }
        }
        for (path, more) in [("/v1/completions", json!({"prompt": "x"})), (CHAT, json!({}))] {
            assert_eq!(
                post(&world, path, &asked(path, &more)).header("x-garrison-tier"),
                Some("local/first")
            );
        }
    }
}

#[test]
fn a_text_to_be_completed_is_planned_by_its_language_its_length_and_what_it_is() {
    let mut setup = Setup::new(&[]);
    for tier in ["local/long", "local/english"] {
        setup.first_here(tier, "tiny");
    }
    setup.route.policy.tiers[0].scope.languages = vec![garrison_gateway::language("en").unwrap()];
    setup.route.policy.tiers[1].scope.prompt_tokens = 200..=u64::MAX;
    let (world, _folder) = setup.start();
    let english =
        "Please tell me what I should do about the water that is dripping from under my kitchen sink.";
    let german =
        "Bitte sagen Sie mir, was ich gegen das Wasser tun soll, das unter meiner Spüle hervortropft.";
    let ids: Vec<u32> = german.bytes().map(crate::world::byte).collect();
    for (prompt, tier, task) in [
        (json!(english), "local/english", "chat"),
        (json!(german), "local/tiny", "chat"),
        (json!(ids), "local/tiny", "chat"),
        (json!(["OK", german]), "local/tiny", "chat"),
        (json!(german.repeat(20)), "local/long", "chat"),
        (json!(format!("{english}\n```")), "local/english", "code"),
    ] {
        let asked = json!({"model": "auto", "prompt": prompt, "max_tokens": 1}).to_string();
        let answer = send(&world, "POST", "/v1/completions", &[("x-request-id", "r-1")], &asked);
        assert_eq!(answer.header("x-garrison-tier"), Some(tier), "{prompt}: {}", answer.text());
        let features = &get(&world, "/v1/garrison/requests/r-1").ok()["features"];
        assert_eq!((&features["task"], &features["output_tokens"]), (&json!(task), &json!(1)), "{features}");
    }
}

#[test]
fn what_is_not_cleared_is_answered_here() {
    let upstream = healthy("no");
    let (world, folder) = Setup::new(&[&upstream.url]).start();
    for stream in [false, true] {
        let answer = post(&world, CHAT, &body("say:Dear zoe@buecher.example", stream));
        let text = if stream {
            said(&answer).0
        } else {
            answer.ok()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
        };
        assert_eq!(text, "Dear zoe@buecher.example");
        assert_eq!(answer.header("x-garrison-privacy"), Some("local"));
        assert_eq!(answer.header("x-garrison-tier"), Some("local/tiny"));
        assert_eq!(answer.header("x-garrison-cost-usd"), Some("0.000000"));
    }
    assert!(upstream.asked().is_empty());
    let report = receipts(&folder);
    assert_eq!((report.receipts, report.cleared), (2, 0));
}

#[test]
fn what_only_models_here_can_do_stays_and_is_told_of() {
    let upstream = healthy("no");
    let (world, _folder) = Setup::new(&[&upstream.url]).start();
    let mut asked = body("say:Hi", false);
    asked["min_p"] = json!(0.1);
    let answer = send(&world, "POST", CHAT, &[("x-request-id", "r-1")], &asked.to_string());
    assert_eq!(answer.ok()["choices"][0]["message"]["content"], "Hi");
    let trace = get(&world, "/v1/garrison/requests/r-1").ok();
    assert_eq!(
        (&trace["decisions"][0]["why"], &trace["decisions"][0]["need"]),
        (&json!("lacks"), &json!("local_parameters"))
    );
    assert_eq!(
        (&trace["tier"], &trace["privacy"], &trace["outcome"]),
        (&json!("local/tiny"), &json!("local"), &json!("answered"))
    );
    assert!(upstream.asked().is_empty() && !trace.to_string().contains("say:"));
    assert_eq!(get(&world, "/v1/garrison/requests/r-2").error(404)["code"], "request_not_found");
}

#[test]
fn languages_and_lengths_choose_among_tiers() {
    let (english, long) = (healthy("In English."), healthy("Anything long."));
    let mut setup = Setup::new(&[&english.url, &long.url]);
    setup.route.policy.tiers[0].scope.languages = vec![garrison_gateway::language("en").unwrap()];
    setup.route.policy.tiers[1].scope.prompt_tokens = 200..=u64::MAX;
    let (world, _folder) = setup.start();
    let german =
        "Bitte sagen Sie mir, was ich gegen das Wasser tun soll, das unter meiner Spüle hervortropft.";
    for (text, tier) in [
        (
            "Please tell me what I should do about the water that is dripping from under my kitchen sink.",
            "up0/m",
        ),
        (german, "local/tiny"),
        (&*german.repeat(20), "up1/m"),
        ("OK", "up0/m"),
    ] {
        let answer = send(&world, "POST", CHAT, &[("x-request-id", "r-1")], &body(text, false).to_string());
        assert_eq!(answer.header("x-garrison-tier"), Some(tier), "{text}");
        let trace = get(&world, "/v1/garrison/requests/r-1").ok();
        if tier == "local/tiny" {
            assert_eq!(trace["features"]["language"], "de");
            let why = |at: usize| trace["decisions"][at]["why"].as_str().unwrap().to_owned();
            assert_eq!((why(0), why(1)), ("language".into(), "prompt_length".into()));
        }
    }
}

#[test]
fn a_trace_tells_each_stage_and_what_it_cost() {
    let upstream = healthy("Hello there.");
    let keys = ApiKeys::parse("sk-client\nowner sk-owner\n").unwrap();
    let mut setup = Setup::new(&["http://127.0.0.1:1", &upstream.url]);
    setup.config.api_keys = keys;
    let (world, _folder) = setup.start();
    let client = [("authorization", "Bearer sk-client"), ("x-request-id", "r-7")];
    assert_eq!(send(&world, "POST", CHAT, &client, &body("What is new?", true).to_string()).status, 200);
    assert_eq!(send(&world, "GET", "/v1/garrison/requests/r-7", &client, "").status, 403);
    let owner = [("authorization", "Bearer sk-owner")];
    let trace = send(&world, "GET", "/v1/garrison/requests/r-7", &owner, "").ok();
    let stages: Vec<(&str, &str)> = trace["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| (stage["what"].as_str().unwrap(), stage["tier"].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(
        stages,
        [
            ("planned", "-"),
            ("cleared", "up0/m"),
            ("asked", "up0/m"),
            ("failed", "up0/m"),
            ("cleared", "up1/m"),
            ("asked", "up1/m"),
            ("first_token", "up1/m"),
            ("answered", "up1/m"),
        ]
    );
    assert_eq!(trace["cost_micro_usd"], 135);
    assert_eq!(trace["receipts"], json!([0, 1]));
    assert!(!trace.to_string().contains("new?"));
}

#[test]
fn money_is_bounded_per_day_and_per_request_and_never_for_models_here() {
    let upstream = healthy("Hello there.");
    let with = |last_resort, per_day: u64, max_cost: Option<u64>| {
        let mut setup = Setup::new(&[&upstream.url]);
        setup.route.policy.last_resort = last_resort;
        setup.route.policy.max_cost = max_cost.map(Micros);
        let money = MoneyLimit { per_day: Some(Micros(per_day)), per_month: None };
        setup.limit(KeyLimits { money, ..KeyLimits::default() }, []);
        setup.start()
    };
    // 135 are settled for each answer, and far more reserved: room for a first one is room for a few.
    let (world, _folder) = with(LastResort::Refuse, 1600, None);
    let mut answered = 0;
    let refused = loop {
        let answer = post(&world, CHAT, &body("What is new?", answered % 2 == 0));
        if answer.status != 200 {
            break answer.error(429);
        }
        answered += 1;
        assert!(answered < 12, "1600 are enough for no more than 11");
    };
    assert_eq!(
        (&refused["code"], &refused["type"]),
        (&json!("budget_exhausted"), &json!("insufficient_quota"))
    );
    assert!(answered >= 2, "{answered}");
    let (world, _folder) = with(LastResort::Local, 0, None);
    let answer = post(&world, CHAT, &body("say:for nothing", false));
    assert_eq!(answer.ok()["choices"][0]["message"]["content"], "for nothing");
    let (world, _folder) = with(LastResort::Refuse, 1_000_000, Some(50));
    assert_eq!(post(&world, CHAT, &body("What is new?", false)).error(429)["code"], "max_cost_exceeded");
    // What is sent has a bound that holds the cap.
    let before = upstream.asked().len();
    let (world, _folder) = with(LastResort::Refuse, 1_000_000, Some(10_000));
    assert_eq!(post(&world, CHAT, &body("What is new?", false)).status, 200);
    let sent = String::from_utf8(upstream.asked()[before].clone()).unwrap();
    let sent: Value = serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
    let most = sent["max_completion_tokens"].as_u64().unwrap();
    assert!((500..=666).contains(&most), "{most}: 10,000 millionths at 15 a token, less the prompt");
}

#[test]
fn a_chat_is_answered_by_anthropic_with_its_tools() {
    let said = |name: &str, mut event: Value| {
        event["type"] = json!(name);
        format!("event: {name}\ndata: {event}\n\n")
    };
    let usage = json!({"input_tokens": 30, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 100,
        "output_tokens": 1});
    let parts = [
        said(
            "message_start",
            json!({"message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage}}),
        ),
        said(
            "content_block_start",
            json!({"index": 0, "content_block": {"type": "tool_use", "id": "t1", "name": "look_up", "input": {}}}),
        ),
        said(
            "content_block_delta",
            json!({"index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"q\": \"x\"}"}}),
        ),
        said("content_block_stop", json!({"index": 0})),
        said(
            "message_delta",
            json!({"delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 8}}),
        ),
        said("message_stop", json!({})),
    ];
    let bytes = parts.concat().into_bytes();
    let upstream = FakeServer::recording("127.0.0.1:0", move |_, _| {
        Script::stream(vec![(Duration::ZERO, bytes.clone())])
    })
    .unwrap();
    let mut setup = Setup::new(&[&upstream.url]);
    setup.kind = ProviderKind::Anthropic;
    setup.route.policy.tiers[0].price.cache_write = 3750;
    let (world, _folder) = setup.start();
    let mut asked = body("Look x up", false);
    asked["tools"] = json!([{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]);
    let answer = post(&world, CHAT, &asked);
    let whole = answer.ok();
    let call = &whole["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["arguments"]), (&json!("t1"), &json!("{\"q\": \"x\"}")));
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(whole["usage"]["prompt_tokens"], 140);
    // 30 * 3 + 10 * 0.3 + 100 * 3.75 + 8 * 15
    assert_eq!(answer.header("x-garrison-cost-usd"), Some("0.000588"));
    let sent = String::from_utf8(upstream.asked().remove(0)).unwrap();
    assert!(sent.starts_with("POST /v1/messages ") && sent.contains("x-api-key: sk-upstream"), "{sent}");
    // What its API has no word for is answered here.
    let mut seeded = body("say:here", false);
    seeded["seed"] = json!(5);
    assert_eq!(post(&world, CHAT, &seeded).header("x-garrison-tier"), Some("local/tiny"));
    assert_eq!(upstream.asked().len(), 1);
}
