//! What keys may use: rates, budgets exact under load and however answers end, and what the owner is told.

use garrison_gateway::{AlertRules, AlertSink, PerMinute};

use super::*;
use crate::client::{Connection, wait_until};

fn bearer(key: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {key}"))
}

fn ask(world: &World, key: &str, body: &Value) -> Answer {
    let (name, value) = bearer(key);
    send(world, "POST", CHAT, &[(name, &value)], &body.to_string())
}

fn keys() -> ApiKeys {
    ApiKeys::parse("name=anna sk-anna\nname=bert sk-bert\nowner sk-owner\nobserver sk-board\n").unwrap()
}

fn rates(requests: Option<u64>, tokens: Option<u64>) -> KeyLimits {
    KeyLimits { per_minute: PerMinute { requests, tokens }, ..KeyLimits::default() }
}

#[test]
fn a_key_has_so_many_requests_a_minute_here_and_elsewhere() {
    let upstream = healthy("Hello.");
    let mut setup = Setup::new(&[&upstream.url]);
    setup.limit(KeyLimits::default(), [("anna", rates(Some(3), None))]);
    setup.config.api_keys = keys();
    let (world, _folder) = setup.start();
    let here = json!({"model": "tiny", "messages": [{"role": "user", "content": "say:Hi"}]});
    for (left, asked) in [(2, &here), (1, &body("What is new?", true)), (0, &here)] {
        let answer = ask(&world, "sk-anna", asked);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let left = left.to_string();
        for (name, value) in [("limit", "3"), ("remaining", left.as_str())] {
            assert_eq!(answer.header(&format!("x-ratelimit-{name}-requests")), Some(value));
        }
        assert!(answer.header("x-ratelimit-reset-requests").unwrap().starts_with("1m"));
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), None);
    }
    for path in [CHAT, "/v1/completions", "/v1/messages", "/v1/responses"] {
        let (name, value) = bearer("sk-anna");
        let answer = send(&world, "POST", path, &[(name, &value)], "{}");
        assert_eq!(answer.status, 429, "{path}: {}", answer.text());
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((30..=61).contains(&wait), "{wait}");
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
    }
    assert_eq!(ask(&world, "sk-anna", &here).error(429)["code"], "requests_per_minute");
    assert_eq!(ask(&world, "sk-bert", &here).status, 200, "another key's requests are its own");
}

#[test]
fn tokens_count_as_what_a_request_took_once_it_has_ended() {
    let upstream = healthy("Hello.");
    let mut setup = Setup::new(&[&upstream.url]);
    setup.limit(rates(None, Some(400)), []);
    let (world, _folder) = setup.start();
    // It may take 200 and some for its body, and takes 25: 20 of the prompt and 5 of the answer.
    let mut asked = body("What is new?", false);
    asked["max_tokens"] = json!(200);
    for used in [25, 50, 75] {
        assert_eq!(post(&world, CHAT, &asked).status, 200, "{used}");
    }
    asked["max_tokens"] = json!(330);
    let answer = post(&world, CHAT, &asked);
    assert_eq!(answer.error(429)["code"], "tokens_per_minute");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("x-ratelimit-remaining-tokens"), Some("325"));
    asked["max_tokens"] = json!(1000);
    let answer = post(&world, CHAT, &asked);
    let error = answer.error(429);
    assert!(error["message"].as_str().unwrap().contains("400 tokens"), "{error}");
    assert_eq!(answer.header("retry-after"), None, "waiting does not help");
    // A model here takes what its record says: a token for each byte and some.
    let here =
        json!({"model": "tiny", "messages": [{"role": "user", "content": "say:Hello"}], "max_tokens": 50});
    let took = post(&world, CHAT, &here).ok()["usage"]["total_tokens"].as_u64().unwrap();
    let left = (325 - took).to_string();
    wait_until(Duration::from_secs(5), || {
        post(&world, CHAT, &asked).header("x-ratelimit-remaining-tokens") == Some(&left)
    })
    .unwrap_or_else(|| panic!("{took} were taken, {:?}", post(&world, CHAT, &asked).headers));
}

#[test]
fn keys_have_roles_and_models() {
    let upstream = healthy("Hello.");
    let mut setup = Setup::new(&[&upstream.url]);
    let own = KeyLimits { models: Some(["auto".to_owned()].into()), ..KeyLimits::default() };
    setup.limit(KeyLimits::default(), [("anna", own)]);
    setup.config.api_keys = keys();
    let (world, _folder) = setup.start();
    let tiny = json!({"model": "tiny", "messages": [{"role": "user", "content": "say:Hi"}]});
    assert_eq!(ask(&world, "sk-anna", &body("What is new?", false)).status, 200);
    assert_eq!(
        ask(&world, "sk-anna", &body("say:zoe@buecher.example", false)).header("x-garrison-tier"),
        Some("local/tiny")
    );
    let refused = ask(&world, "sk-anna", &tiny).error(403);
    assert_eq!((&refused["code"], &refused["param"]), (&json!("model_not_allowed"), &json!("model")));
    let (name, value) = bearer("sk-anna");
    let completion = json!({"model": "tiny", "prompt": "x"}).to_string();
    assert_eq!(send(&world, "POST", "/v1/completions", &[(name, &value)], &completion).status, 403);
    let listed = |key: &str| {
        let (name, value) = bearer(key);
        let models = send(&world, "GET", "/v1/models", &[(name, &value)], "").ok();
        models["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (listed("sk-anna"), listed("sk-bert")),
        (vec!["auto".into()], vec!["tiny".into(), "auto".into()])
    );
    // What it may not ask for it is told nothing of, nor has it counted.
    let (name, value) = bearer("sk-anna");
    let may = |method: &str, path: &str, body: &Value| {
        send(&world, method, path, &[(name, &value)], &body.to_string()).status
    };
    assert_eq!(may("GET", "/v1/models/auto", &Value::Null), 200);
    assert_eq!(may("GET", "/v1/models/tiny", &Value::Null), 403);
    assert_eq!(may("POST", "/v1/messages/count_tokens", &tiny), 403);
    let (name, value) = bearer("sk-bert");
    assert_eq!(
        send(&world, "POST", "/v1/messages/count_tokens", &[(name, &value)], &tiny.to_string()).status,
        200
    );
    let (name, value) = bearer("sk-board");
    assert_eq!(send(&world, "GET", "/metrics", &[(name, &value)], "").status, 200);
    assert_eq!(listed("sk-board").len(), 2);
    assert_eq!(ask(&world, "sk-board", &tiny).error(403)["code"], "observer_key");
}

#[test]
fn a_budget_holds_to_the_last_millionth_under_load() {
    // Each answer costs 135 and may cost at most 3 * (bytes + 64) + 15 * 100.
    let upstream = healthy("Hello there.");
    for limit in [
        MoneyLimit { per_day: Some(Micros(6000)), per_month: None },
        MoneyLimit { per_day: Some(Micros(100_000)), per_month: Some(Micros(6000)) },
    ] {
        let mut setup = Setup::new(&[&upstream.url]);
        setup.route.policy.last_resort = LastResort::Refuse;
        setup.limit(KeyLimits { money: limit, ..KeyLimits::default() }, []);
        let books = Arc::clone(setup.spend.as_ref().unwrap().books());
        let (world, _folder) = setup.start();
        let before = upstream.truths().len();
        let answered = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (world, answered, books) = (&world, &answered, &books);
                scope.spawn(move || {
                    for i in 0..12 {
                        let mut asked = body(&format!("What is new, {client}?"), i % 2 == 0);
                        asked["max_tokens"] = json!(100);
                        let answer = post(world, CHAT, &asked);
                        let spent = books.spent("anyone").month;
                        assert!(spent <= Micros(6000), "{spent}");
                        match answer.status {
                            200 => answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
                            _ => {
                                assert_eq!(answer.error(429)["code"], "budget_exhausted");
                                let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                                assert!((1..=31 * 86_400).contains(&wait));
                                0
                            }
                        };
                    }
                });
            }
        });
        let answered = answered.load(std::sync::atomic::Ordering::Relaxed);
        let sent = (upstream.truths().len() - before) as u64;
        assert_eq!(sent, answered, "what was refused was not sent");
        // A stream's client has read the last event a moment before its request is settled.
        wait_until(Duration::from_secs(5), || books.spent("anyone").today == Micros(135 * answered))
            .unwrap_or_else(|| panic!("{:?} for {answered}", books.spent("anyone")));
        assert!(answered <= 44, "{answered} of 96");
        // However many were refused for what others had put aside: one after the other, all that is left is used.
        let mut alone = body("What is new, nobody else?", false);
        alone["max_tokens"] = json!(100);
        let more = (0..44).take_while(|_| post(&world, CHAT, &alone).status == 200).count() as u64;
        let most = Micros(3 * (alone.to_string().len() as u64 + 64) + 15 * 100);
        let spent = books.spent("anyone").today;
        assert_eq!(spent, Micros(135 * (answered + more)));
        assert!(spent.plus(most) > Micros(6000), "{answered} and {more} of 96");
        // Models here are never refused for money.
        let here = json!({"model": "tiny", "messages": [{"role": "user", "content": "say:Hi"}]});
        assert_eq!(post(&world, CHAT, &here).status, 200);
    }
}

#[test]
fn every_ending_is_settled() {
    let ms = Duration::from_millis;
    let begun = || vec![(ms(0), token("Hel")), (ms(10), token("lo"))];
    // Estimates: what was sent, three bytes a token, and five bytes of answer.
    for (name, script, goes_away, costs) in [
        ("whole", Script::healthy(ms(0), ms(1), 10), false, Some(7 * 3 + 10 * 15)),
        ("refused", Script::refusal(500, "no"), false, Some(0)),
        ("too often", Script::refusal(429, "no"), false, Some(0)),
        ("cut", Script { ending: Ending::Cut, ..Script::stream(begun()) }, false, None),
        ("stalled", Script { ending: Ending::Never, ..Script::stream(begun()) }, false, None),
        ("nothing comes", Script { ending: Ending::Never, ..Script::stream(vec![]) }, false, None),
        ("client goes", Script::healthy(ms(0), ms(30), 300), true, None),
    ] {
        let upstream = FakeServer::start("127.0.0.1:0", move |_, _| script.clone()).unwrap();
        let mut setup = Setup::new(&[&upstream.url]);
        setup.route.policy.last_resort = LastResort::Refuse;
        let money = MoneyLimit { per_day: Some(Micros(10_000_000)), per_month: None };
        setup.limit(KeyLimits { money, ..KeyLimits::default() }, []);
        let books = Arc::clone(setup.spend.as_ref().unwrap().books());
        let (world, folder) = setup.start();
        let asked = body("What is new?", true);
        if goes_away {
            let mut connection = Connection::open(&world);
            connection.post(CHAT, &[], &asked.to_string());
            connection.head();
            connection.read_to_event(3);
        } else {
            post(&world, CHAT, &asked);
        }
        let settled = |spent: Micros| match costs {
            Some(exactly) => spent == Micros(exactly),
            None => (1..1000).contains(&spent.0),
        };
        wait_until(Duration::from_secs(10), || settled(books.spent("anyone").today))
            .unwrap_or_else(|| panic!("{name}: {:?}", books.spent("anyone")));
        let spent = books.spent("anyone");
        drop((world, books));
        let again = Books::open(&folder.path().join("spend.sqlite")).unwrap();
        assert_eq!(again.spent("anyone"), spent, "{name}: the file says the same");
    }
}

/// What one request costs when the upstream does this, with so many thoughts wanted.
fn settled_at(script: Script, effort: Option<&str>) -> u64 {
    settled_after(vec![script], effort)
}

/// The same of the last of several requests.
fn settled_after(scripts: Vec<Script>, effort: Option<&str>) -> u64 {
    let count = scripts.len();
    let upstream = FakeServer::start("127.0.0.1:0", move |i, _| scripts[i].clone()).unwrap();
    let mut setup = Setup::new(&[&upstream.url]);
    setup.route.policy.last_resort = LastResort::Refuse;
    (setup.route.first_token, setup.route.stall) = (Duration::from_millis(100), Duration::from_millis(100));
    setup.limit(KeyLimits::default(), []);
    let books = Arc::clone(setup.spend.as_ref().unwrap().books());
    let (world, _folder) = setup.start();
    let mut cost = 0;
    for _ in 0..count {
        let mut asked = body("What is new?", true);
        asked["max_tokens"] = json!(1000);
        if let Some(effort) = effort {
            asked["reasoning_effort"] = json!(effort);
        }
        let before = books.spent("anyone").today.0;
        send(&world, "POST", CHAT, &[("x-request-id", "r-1")], &asked.to_string());
        let told = || get(&world, "/v1/garrison/requests/r-1").ok()["cost_micro_usd"].as_u64();
        wait_until(Duration::from_secs(5), || told() == Some(books.spent("anyone").today.0 - before))
            .expect("it is settled");
        cost = told().unwrap();
    }
    cost
}

#[test]
fn usage_that_is_told_before_the_end_is_no_less_than_what_was_said() {
    let ms = Duration::from_millis;
    let words = || (ms(1), token(&" word".repeat(60)));
    // A token in three bytes: 100 for 300.
    for (told, costs) in [(0, 7 * 3 + 100 * 15), (3, 7 * 3 + 100 * 15), (200, 7 * 3 + 200 * 15)] {
        let cut = Script { ending: Ending::Cut, ..Script::stream(vec![(ms(0), usage(7, told)), words()]) };
        assert_eq!(settled_at(cut, None), costs, "{told} told at first");
        // What ends properly, and tells nothing more, took no less.
        let end = (ms(2), [finish("stop"), done()].concat());
        let whole = Script::stream(vec![(ms(0), usage(7, told)), words(), end]);
        assert_eq!(settled_at(whole, None), costs, "{told} told at first and never again");
        let end = (ms(2), [finish("stop"), usage(7, 60), done()].concat());
        let whole = Script::stream(vec![(ms(0), usage(7, told)), words(), end]);
        assert_eq!(settled_at(whole, None), 7 * 3 + 60 * 15, "the last word counts");
    }
}

#[test]
fn what_may_have_been_thought_in_secret_costs_what_was_put_aside() {
    let ms = Duration::from_millis;
    let cut = |parts: Vec<Vec<u8>>| {
        let parts = parts.into_iter().map(|part| (ms(0), part)).collect();
        Script { ending: Ending::Cut, ..Script::stream(parts) }
    };
    let thought = || event(&json!({"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]}));
    let silent = || Script { ending: Ending::Never, ..Script::stream(vec![]) };
    let all = |cost: u64| cost > 1000 * 15;
    let estimated = |cost: u64| (1..1000).contains(&cost);
    for (name, cost, wanted) in [
        ("silent", settled_at(silent(), Some("low")), true),
        ("cut", settled_at(cut(vec![token("Hel")]), Some("low")), true),
        ("told at first", settled_at(cut(vec![usage(7, 0), token("Hel")]), Some("low")), true),
        ("told since", settled_at(cut(vec![usage(7, 2), token("Hel")]), Some("low")), false),
        ("shown", settled_at(cut(vec![thought(), token("Hel")]), Some("low")), false),
        ("not to think", settled_at(silent(), Some("none")), false),
        ("not asked to", settled_at(silent(), None), false),
    ] {
        assert!(if wanted { all(cost) } else { estimated(cost) }, "{name}: {cost}");
    }
    for refusal in [Script::refusal(500, "no"), Script::refusal(429, "no"), Script::refusal(400, "no")] {
        assert_eq!(settled_at(refusal, Some("low")), 0, "it has not thought");
    }
    // Whoever has told of thoughts that it did not show may have had more of them.
    let told = |shown: Vec<u8>| {
        let took = event(&json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 40,
            "completion_tokens_details": {"reasoning_tokens": 30}}}));
        Script::stream(vec![(ms(0), [shown, token("Hi"), finish("stop"), took, done()].concat())])
    };
    let aloud = event(&json!({"choices": [{"index": 0, "delta": {"reasoning": "Let me see, ".repeat(10)}}]}));
    let after = |first: Script, effort| settled_after(vec![first, cut(vec![token("Hel")])], effort);
    let (hidden, shown) = (told(Vec::new()), told(aloud));
    assert!(all(after(hidden, None)));
    assert!(estimated(after(shown.clone(), None)) && estimated(after(shown, Some("low"))));
}

#[test]
fn who_was_never_connected_costs_nothing_whatever_it_might_have_thought() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    // It is there, and says nothing of TLS.
    let url = format!("https://{}", silent.local_addr().unwrap());
    let good = healthy("Hello.");
    // It is waited for in vain, or dropped while another answers.
    for hedge in [None, Some(Duration::from_millis(50))] {
        let mut setup = Setup::new(&[&url, &good.url]);
        setup.route.hedge = hedge;
        setup.limit(KeyLimits::default(), []);
        let books = Arc::clone(setup.spend.as_ref().unwrap().books());
        let (world, _folder) = setup.start();
        let mut asked = body("What is new?", false);
        asked["reasoning_effort"] = json!("low");
        let answer = post(&world, CHAT, &asked);
        assert_eq!(answer.header("x-garrison-tier"), Some("up1/m"), "{}", answer.text());
        // What the other one says that it took.
        wait_until(Duration::from_secs(5), || books.spent("anyone").today == Micros(135))
            .unwrap_or_else(|| panic!("{hedge:?}: {:?}", books.spent("anyone")));
    }
}

#[test]
fn a_request_may_cost_what_its_route_and_its_key_allow() {
    let upstream = healthy("Hello there.");
    let mut setup = Setup::new(&[&upstream.url]);
    setup.route.policy.last_resort = LastResort::Refuse;
    setup.route.policy.max_cost = Some(Micros(100_000));
    let own = |most| KeyLimits { max_cost: Some(Micros(most)), ..KeyLimits::default() };
    setup.limit(KeyLimits::default(), [("anna", own(50)), ("bert", own(1_000_000))]);
    setup.config.api_keys = keys();
    let (world, _folder) = setup.start();
    assert_eq!(ask(&world, "sk-anna", &body("What is new?", false)).error(429)["code"], "max_cost_exceeded");
    let mut long = body("What is new?", false);
    long["max_tokens"] = json!(10_000);
    assert_eq!(ask(&world, "sk-bert", &long).error(429)["code"], "max_cost_exceeded", "the route's is less");
    assert_eq!(ask(&world, "sk-bert", &body("What is new?", false)).status, 200);
}

#[test]
fn the_owner_is_told_of_traffic_that_is_sent_twice_and_not_of_what_it_says() {
    let upstream = healthy("Hello.");
    let webhook =
        FakeServer::recording("127.0.0.1:0", |_, _| Script { status: 200, ..Script::refusal(200, "") })
            .unwrap();
    let mut setup = Setup::new(&[&upstream.url]);
    let rules = AlertRules { repeats: 3, ..AlertRules::default() };
    let sink = AlertSink::webhook(&webhook.url).unwrap();
    let limits = PerKey::default();
    setup.config.quotas = Arc::new(Quotas::new(limits, Meters::new(None), Some((rules, sink))));
    setup.config.api_keys = keys();
    let (world, _folder) = setup.start();
    for key in ["sk-anna", "sk-bert"] {
        for i in 0..4 {
            ask(&world, key, &body(&format!("Secret question {i}"), i % 2 == 0));
        }
    }
    assert!(webhook.asked().is_empty());
    for i in 0..4 {
        // As a stream or whole, it is the same traffic.
        ask(&world, "sk-anna", &body(&format!("Secret question {i}"), i % 2 == 1));
    }
    wait_until(Duration::from_secs(10), || !webhook.asked().is_empty()).expect("nobody was told");
    let told = String::from_utf8(webhook.asked().remove(0)).unwrap();
    let said: Value = serde_json::from_str(told.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        (&said["alert"], &said["key"], &said["now"]),
        (&json!("repeated_traffic"), &json!("anna"), &json!(3.0))
    );
    assert!(!told.contains("ecret"), "{told}");
    assert_eq!(webhook.asked().len(), 1, "once an hour");
}
