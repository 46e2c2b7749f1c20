//! What one request may cost holds over everybody who is asked for it: one after the other, two at a time, or to go on with what
//! another has begun, and however they fail.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use garrison_testkit::Random;

use super::*;
use crate::client::wait_until;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How a provider behaves.
#[derive(Clone, Copy, Debug)]
enum Conduct {
    /// It says as much as it may, and what that took.
    Whole,
    /// The same after a while in which another is asked.
    Late,
    /// It says as much as it may, and is cut off.
    Cut,
    /// The same, having told at the beginning what it had taken by then.
    ToldAtFirst,
    /// It says as much as it may, and then nothing more.
    Stalled,
    /// It thinks as long as it may, and shows nothing.
    Silent,
    /// It refuses, and charges nothing.
    Refused,
}

const ALL: [Conduct; 7] = [
    Conduct::Whole,
    Conduct::Late,
    Conduct::Cut,
    Conduct::ToldAtFirst,
    Conduct::Stalled,
    Conduct::Silent,
    Conduct::Refused,
];

/// A provider that takes all that it may and charges for it, in millionths; its tokens are words of five bytes, and of a prompt each
/// byte is one.
fn greedy(conduct: Conduct, charged: Arc<Mutex<Vec<u64>>>) -> FakeServer {
    FakeServer::start("127.0.0.1:0", move |_, asked| {
        let most = asked.get("max_tokens").or(asked.get("max_completion_tokens")).and_then(Value::as_u64);
        // Who is not told how much it may say says more than anybody can pay.
        let tokens = most.unwrap_or(100_000);
        let prompt = asked["messages"].to_string().len() as u64;
        if !matches!(conduct, Conduct::Refused) {
            charged.lock().unwrap().push(prompt * PRICE.input / 1000 + tokens * PRICE.output / 1000);
        }
        let took = |tokens: u64| usage(prompt as u32, tokens as u32);
        let text = token(&" word".repeat(tokens as usize));
        let whole = |after| {
            Script::stream(vec![(after, [text.clone(), finish("length"), took(tokens), done()].concat())])
        };
        match conduct {
            Conduct::Whole => whole(ms(0)),
            Conduct::Late => whole(ms(70)),
            Conduct::Cut => Script { ending: Ending::Cut, ..Script::stream(vec![(ms(0), text)]) },
            Conduct::ToldAtFirst => {
                Script { ending: Ending::Cut, ..Script::stream(vec![(ms(0), took(0)), (ms(1), text)]) }
            }
            Conduct::Stalled => Script { ending: Ending::Never, ..Script::stream(vec![(ms(0), text)]) },
            Conduct::Silent => {
                Script { ending: Ending::Never, ..Script::stream(vec![(ms(0), b": wait\n\n".to_vec())]) }
            }
            Conduct::Refused => Script::refusal(500, "no"),
        }
    })
    .unwrap()
}

/// What became of one request.
#[derive(Debug)]
struct Outcome {
    /// How many were asked and charged something.
    paid: usize,
    hedged: bool,
    continued: bool,
}

/// Asks three providers that are drawn, in a way that is drawn.
fn ask_with(seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let charged = Arc::new(Mutex::new(Vec::new()));
    let conducts: Vec<Conduct> = (0..3).map(|_| ALL[random.below(ALL.len())]).collect();
    let upstreams: Vec<FakeServer> =
        conducts.iter().map(|conduct| greedy(*conduct, Arc::clone(&charged))).collect();
    let urls: Vec<&str> = upstreams.iter().map(|upstream| upstream.url.as_str()).collect();
    let mut setup = Setup::new(&urls);
    (setup.route.first_token, setup.route.stall) = (ms(150), ms(150));
    setup.route.hedge = (random.below(2) == 0).then(|| ms(25));
    setup.route.on_cut = if random.below(2) == 0 { OnCut::Continue } else { OnCut::Error };
    let cap = 2000 + random.below(30_000) as u64;
    let mut limits = KeyLimits::default();
    // Whoever says less, the route or the key.
    if random.below(2) == 0 {
        limits.max_cost = Some(Micros(cap));
        setup.route.policy.max_cost = Some(Micros(1_000_000));
    } else {
        setup.route.policy.max_cost = Some(Micros(cap));
    }
    setup.limit(limits, []);
    let books = Arc::clone(setup.spend.as_ref().unwrap().books());
    let (world, _folder) = setup.start();
    let mut asked = body("say:ok", random.below(2) == 0);
    if random.below(3) == 0 {
        asked["max_tokens"] = json!(20 + random.below(200));
    }
    if conducts.iter().any(|conduct| matches!(conduct, Conduct::Silent)) {
        asked["reasoning_effort"] = json!("high");
    }
    send(&world, "POST", CHAT, &[("x-request-id", "r-1")], &asked.to_string());
    let case = format!("{seed}: {conducts:?}, {cap} for {asked}");
    let trace = || get(&world, "/v1/garrison/requests/r-1").ok();
    // Reserved is what is not settled yet.
    let settled = || books.spent("anyone").today.0 == trace()["cost_micro_usd"].as_u64().unwrap();
    wait_until(Duration::from_secs(5), settled).unwrap_or_else(|| panic!("{case}: {}", trace()));
    let trace = trace();
    let cost = trace["cost_micro_usd"].as_u64().unwrap();
    assert!(cost <= cap, "{case} cost {cost}: {trace}");
    let charged = charged.lock().unwrap();
    let all: u64 = charged.iter().sum();
    let stages = trace["stages"].to_string();
    // What was dropped before a byte of its answer came may have been computed all the same; nobody can tell.
    assert!(all <= cap || stages.contains("abandoned"), "{case} was charged {all}: {trace}");
    Outcome {
        paid: charged.len(),
        hedged: stages.contains("hedged"),
        continued: stages.contains("continued"),
    }
}

#[test]
fn the_cap_of_a_request_holds_for_all_who_are_asked_for_it_together() {
    const CASES: u64 = 64;
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Relaxed)).filter(|seed| *seed < CASES) {
                    let outcome = ask_with(seed);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let count = |which: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| which(outcome)).count();
    let seen = [count(|o| o.paid > 1), count(|o| o.hedged && o.paid > 1), count(|o| o.continued)];
    assert!(outcomes.len() == CASES as usize && seen.iter().all(|seen| *seen > 2), "{seen:?} were of use");
}

#[test]
fn who_comes_after_has_what_is_left_and_a_hedge_has_half() {
    let cap = 6000;
    let most = |asked: &[u8]| -> u64 {
        let text = String::from_utf8(asked.to_vec()).unwrap();
        let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        body["max_completion_tokens"].as_u64().unwrap()
    };
    let cut = FakeServer::recording("127.0.0.1:0", |_, _| {
        let said = token(&"x".repeat(300));
        Script { ending: Ending::Cut, ..Script::stream(vec![(ms(0), said)]) }
    })
    .unwrap();
    let good = healthy("Hello.");
    let mut setup = Setup::new(&[&cut.url, &good.url]);
    setup.route.policy.max_cost = Some(Micros(cap));
    let (world, _folder) = setup.start();
    let answer =
        send(&world, "POST", CHAT, &[("x-request-id", "r-1")], &body("What is new?", false).to_string());
    assert_eq!(answer.header("x-garrison-tier"), Some("up1/m"), "{}", answer.text());
    let trace = get(&world, "/v1/garrison/requests/r-1").ok();
    let spent = trace["attempts"][0]["cost_micro_usd"].as_u64().unwrap();
    let (first, second) = (most(&cut.asked()[0]), most(&good.asked()[0]));
    assert!(
        (first - second).abs_diff(spent / 15) <= 1,
        "{first}, then {second} at 15 each when {spent} are spent"
    );
    // What is left after a costly failure is too little to be of use: the client is told of the failure, or answered here.
    for (last_resort, status) in [(LastResort::Refuse, 502), (LastResort::Local, 200)] {
        let all = greedy(Conduct::Cut, Arc::default());
        let good = healthy("no");
        let mut setup = Setup::new(&[&all.url, &good.url]);
        setup.route.policy.max_cost = Some(Micros(cap));
        setup.route.policy.last_resort = last_resort;
        let (world, _folder) = setup.start();
        let answer = post(&world, CHAT, &body("say:here", false));
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 502 {
            assert_eq!(answer.error(502)["code"], "providers_failed");
        }
        assert!(good.asked().is_empty());
    }
    // Where the route hedges, the first leaves room for the second; where there is room for one only, there is one, and it has all.
    for (asked_for, cap, hedged) in [(None, 20_000, true), (None, cap, false), (Some(300), cap, false)] {
        let slow = FakeServer::recording("127.0.0.1:0", |_, _| Script::healthy(ms(300), ms(1), 3)).unwrap();
        let good = healthy("Hello.");
        let mut setup = Setup::new(&[&slow.url, &good.url]);
        setup.route.policy.max_cost = Some(Micros(cap));
        setup.route.hedge = Some(ms(30));
        let (world, _folder) = setup.start();
        let mut asked = body("What is new?", false);
        if let Some(tokens) = asked_for {
            asked["max_completion_tokens"] = json!(tokens);
        }
        let answer = post(&world, CHAT, &asked);
        let tier = if hedged { "up1/m" } else { "up0/m" };
        assert_eq!(answer.header("x-garrison-tier"), Some(tier), "{}", answer.text());
        assert_eq!(good.asked().len(), usize::from(hedged));
        let each = most(&slow.asked()[0]);
        if hedged {
            assert!(each >= 512 && each * 15 * 2 < cap && most(&good.asked()[0]) >= each, "{each} of {cap}");
        } else {
            assert_eq!(each, asked_for.unwrap_or(first));
        }
    }
}

#[test]
fn who_may_think_in_secret_leaves_something_for_whoever_comes_after() {
    // Where half is too little for a usual answer, the first has all, and it is what failed that the client is told of.
    for (cap, answers) in [(20_000, true), (6000, false)] {
        let silent = greedy(Conduct::Silent, Arc::default());
        let good = healthy("Hello.");
        let mut setup = Setup::new(&[&silent.url, &good.url]);
        setup.route.policy.max_cost = Some(Micros(cap));
        setup.route.policy.last_resort = LastResort::Refuse;
        let (world, _folder) = setup.start();
        let mut asked = body("What is new?", false);
        asked["reasoning_effort"] = json!("low");
        let answer = post(&world, CHAT, &asked);
        if answers {
            assert_eq!(answer.header("x-garrison-tier"), Some("up1/m"), "{}", answer.text());
        } else {
            assert_eq!(answer.error(502)["code"], "providers_failed");
            assert!(good.asked().is_empty());
        }
    }
}
