//! A model here answers first; how sure it is decides whether a tier elsewhere is asked.

use garrison_gateway::{
    Cascade, Gateway, InAnswers, Learning, Operator, Operators, Settings, Statistic, Threshold,
};
use garrison_wire::{Delta, Format};

use super::dialects::{asks, heard, path};
use super::*;
use crate::world::UNSURE;

/// A route whose first tier is the model here, and whose least sure token must have a probability of 0.8.
fn cascading(upstreams: &[&str]) -> Setup {
    let mut setup = Setup::new(upstreams);
    setup.first_here("local/tiny", "tiny");
    let statistic = Statistic::Quantile { share: 0.0 };
    setup.route.policy.cascade = Some(Cascade { statistic, threshold: Threshold::Fixed(0.8), after: None });
    setup
}

fn ask(world: &World, text: &str, stream: bool) -> (String, Answer) {
    let answer = send(world, "POST", CHAT, &[("x-request-id", "r-1")], &body(text, stream).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = if stream {
        let (text, last) = said(&answer);
        assert_eq!(last, "[DONE]");
        text
    } else {
        answer.ok()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    (text, answer)
}

fn trace(world: &World) -> Value {
    get(world, "/v1/garrison/requests/r-1").ok()
}

fn stages(trace: &Value) -> Vec<&str> {
    trace["stages"].as_array().unwrap().iter().map(|stage| stage["what"].as_str().unwrap()).collect()
}

#[test]
fn what_the_model_here_is_sure_of_is_the_answer_and_what_not_goes_up() {
    let upstream = healthy("Hello from afar.");
    let (world, folder) = cascading(&[&upstream.url]).start();
    for stream in [true, false] {
        let (text, answer) = ask(&world, "say:I know.", stream);
        assert_eq!((&*text, answer.header("x-garrison-tier")), ("I know.", Some("local/tiny")));
        let trace = trace(&world);
        assert_eq!(trace["cascade"]["verdict"], "accepted", "{trace}");
        assert!(trace["cascade"]["confidence"].as_f64().unwrap() > 0.999, "{trace}");
        assert_eq!(
            (&trace["cascade"]["tokens"], stages(&trace)),
            (&json!(8), vec!["planned", "local", "weighed"])
        );
        assert!(!answer.text().contains("logprob\""), "nobody asked for them");
    }
    assert!(upstream.asked().is_empty() && receipts(&folder).receipts == 0);
    for stream in [true, false] {
        let (text, answer) = ask(&world, "say:Is it so?", stream);
        assert_eq!((&*text, answer.header("x-garrison-tier")), ("Hello from afar.", Some("up0/m")));
        let trace = trace(&world);
        let weighed = &trace["cascade"];
        assert_eq!((&weighed["verdict"], &weighed["least"]), (&json!("unsure"), &json!(0.8)));
        assert!((weighed["confidence"].as_f64().unwrap() - UNSURE).abs() < 1e-4, "{weighed}");
        let why = trace["stages"][2]["why"].as_str().unwrap();
        assert!(why.starts_with("0.5987 of 0.8 by quantile 0 over 10 tokens"), "{why}");
        assert_eq!(stages(&trace)[2..], ["weighed", "cleared", "asked", "first_token", "answered"]);
        assert!(!trace.to_string().contains("so?"));
    }
    assert_eq!(world.metric("garrison:route_requests_total{route=\"auto\",tier=\"up0/m\"}"), 2.0);
    assert_eq!(world.metric("garrison:route_requests_total{route=\"auto\",tier=\"local/tiny\"}"), 2.0);
}

#[test]
fn what_may_not_leave_keeps_the_answer_of_the_model_here() {
    let upstream = healthy("no");
    let (world, folder) = cascading(&[&upstream.url]).start();
    for stream in [true, false] {
        let (text, answer) = ask(&world, "say:Dear zoe@buecher.example?", stream);
        assert_eq!(text, "Dear zoe@buecher.example?");
        assert_eq!(answer.header("x-garrison-privacy"), Some("local"));
        assert_eq!(answer.header("x-garrison-cost-usd"), Some("0.000000"));
        let trace = trace(&world);
        assert_eq!(
            stages(&trace),
            ["planned", "local", "weighed", "held", "failed", "planned", "kept"],
            "{trace}"
        );
        assert_eq!((&trace["tier"], &trace["privacy"]), (&json!("local/tiny"), &json!("local")));
    }
    assert!(upstream.asked().is_empty() && receipts(&folder).cleared == 0);
    assert_eq!(world.metric("garrison:route_requests_total{route=\"auto\",tier=\"local/tiny\"}"), 2.0);
}

#[test]
fn where_nobody_better_can_be_asked_the_model_here_answers() {
    let broken = FakeServer::start("127.0.0.1:0", |_, _| Script::refusal(500, "oh")).unwrap();
    let good = healthy("no");
    let (world, _folder) = cascading(&[&broken.url]).start();
    for i in 0..6 {
        let (text, answer) = ask(&world, "say:Is it so?", i % 2 == 0);
        assert_eq!((&*text, answer.header("x-garrison-tier")), ("Is it so?", Some("local/tiny")), "{i}");
        if i == 0 {
            assert_eq!(stages(&trace(&world)).last(), Some(&"kept"));
        }
    }
    // Its breaker is open by now, so that nothing is weighed. It may be tried again meanwhile.
    let trace = trace(&world);
    assert!(trace["cascade"].is_null() || stages(&trace).contains(&"asked"), "{trace}");
    assert!(broken.truths().len() >= 3);
    let mut poor = cascading(&[&good.url]);
    let money = MoneyLimit { per_day: Some(Micros(0)), per_month: None };
    poor.limit(KeyLimits { money, ..KeyLimits::default() }, []);
    let (world, _folder) = poor.start();
    let (text, _) = ask(&world, "say:Is it so?", true);
    assert_eq!(text, "Is it so?");
    let trace = get(&world, "/v1/garrison/requests/r-1").ok();
    assert_eq!((&trace["decisions"][1]["why"], &trace["cascade"]), (&json!("budget"), &Value::Null));
    assert!(good.asked().is_empty());
}

#[test]
fn a_decision_after_a_few_tokens_lets_the_rest_pass_as_it_comes() {
    let upstream = healthy("Hello from afar.");
    let mut setup = cascading(&[&upstream.url]);
    setup.route.policy.cascade.as_mut().unwrap().after = Some(4);
    let (world, _folder) = setup.start();
    for stream in [true, false] {
        let (text, _) = ask(&world, "say:Sure. But why?", stream);
        assert_eq!(text, "Sure. But why?");
        assert_eq!(trace(&world)["cascade"]["tokens"], 4);
        let (text, _) = ask(&world, "say:Eh? Sure.", stream);
        assert_eq!(text, "Hello from afar.");
    }
}

#[test]
fn a_whole_answer_that_breaks_after_it_was_weighed_leads_to_the_next_tier() {
    let upstream = healthy("Hello from afar.");
    let mut setup = cascading(&[&upstream.url]);
    setup.route.policy.cascade.as_mut().unwrap().after = Some(1);
    let (world, _folder) = setup.start();
    world.control.fail_after(3);
    let long = "say:A heron stands in the shallow water by the mill, and waits for what may come.";
    let (text, answer) = ask(&world, long, false);
    let trace = trace(&world);
    assert_eq!((&*text, answer.header("x-garrison-tier")), ("Hello from afar.", Some("up0/m")), "{trace}");
    assert_eq!(trace["cascade"]["verdict"], "accepted", "{trace}");
    assert_eq!(stages(&trace)[2..4], ["weighed", "failed"], "{trace}");
}

#[test]
fn every_client_and_several_choices_and_judged_answers_go_the_same_way() {
    let upstream = healthy("Write to zoe@buecher.example soon.");
    let mut settings = Settings::default();
    settings.answers.private = InAnswers::Redact(Operators::all(Operator::Replace));
    let mut setup = cascading(&[&upstream.url]);
    setup.config.gateway = Arc::new(Gateway::new(settings).unwrap());
    let (world, _folder) = setup.start();
    for client in Format::ALL {
        for (asked, wanted) in
            [("say:To 4111 1111 1111 1111.", "To <CREDIT_CARD>."), ("say:Whom?", "Write to <EMAIL> soon.")]
        {
            let answer = post(&world, path(client), &asks(client, asked, true));
            let text: String = heard(client, &answer)
                .into_iter()
                .filter_map(|delta| match delta {
                    Delta::Text(text) => Some(text),
                    _ => None,
                })
                .collect();
            assert_eq!(text, wanted, "{client:?}: {}", answer.text());
        }
    }
    let (world, _folder) = cascading(&[&upstream.url]).start();
    let mut two = body("say:I know.", true);
    two["n"] = json!(2);
    let answer = post(&world, CHAT, &two);
    for choice in 0..2 {
        let chunks = answer.events().into_iter().filter_map(|e| serde_json::from_str::<Value>(&e.data).ok());
        let of = chunks.filter(|chunk| chunk["choices"][0]["index"] == choice);
        let text: String =
            of.filter_map(|c| c["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
        assert_eq!(text, "I know.", "{}", answer.text());
    }
    assert_eq!(answer.events().last().unwrap().data, "[DONE]");
}

/// The same with a threshold that is learned: of all answers at most a quarter may be others than the next tier's.
pub(super) fn learning(upstreams: &[&str], calibrations: &Arc<Calibrations>) -> Setup {
    let mut setup = cascading(upstreams);
    let learning = Learning { max_error: 0.25, floor: 0.0, ceiling: None, compare: 0.5 };
    setup.route.policy.cascade.as_mut().unwrap().threshold = Threshold::Learned(learning);
    setup.calibrations = Arc::clone(calibrations);
    setup
}

/// Asks, and waits for what comes of the comparison, if there is one: who answered, and how the model here was weighed.
fn learn(world: &World, text: &str, stream: bool) -> (String, Value) {
    let (_, answer) = ask(world, text, stream);
    let cascade = || trace(world)["cascade"].clone();
    let told = crate::client::wait_until(Duration::from_secs(20), || cascade()["compared"] != "awaited");
    told.unwrap_or_else(|| panic!("never compared: {}", trace(world)));
    (answer.header("x-garrison-tier").unwrap().to_owned(), cascade())
}

#[test]
fn a_threshold_is_learned_from_what_the_next_tier_says_and_outlives_the_process() {
    let upstream = healthy("Hello from afar.");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cascade.sqlite");
    let calibrations = Calibrations::open(&path).unwrap();
    let (world, _folder) = learning(&[&upstream.url], &calibrations).start();
    let sure = "say:hello from  afar";
    for i in 0..16 {
        let (tier, cascade) = learn(&world, sure, i % 2 == 0);
        assert_eq!(
            (&*tier, &cascade["compared"]),
            ("up0/m", &json!("same")),
            "both answer at first: {cascade}"
        );
        let because = if i < 3 { "too_few_labels" } else { "learned" };
        assert_eq!(
            (&cascade["learned"]["labels"], &cascade["learned"]["because"]),
            (&json!(i), &json!(because))
        );
        assert_eq!(cascade["verdict"], if i < 3 { "unsure" } else { "compared" }, "{cascade}");
    }
    // Nothing speaks against any threshold, so the model here answers what it is not sure of as well, but for what is compared.
    let (mut here, mut there) = (0, 0);
    let cascade = loop {
        let (tier, cascade) = learn(&world, "say:Is it so?", here % 2 == 0);
        if cascade["learned"]["because"] == "learned" && cascade["least"].as_f64().unwrap() > UNSURE {
            break cascade;
        }
        let compared = cascade["compared"] == "other";
        assert_eq!(tier, if compared { "up0/m" } else { "local/tiny" }, "{cascade}");
        if compared {
            there += 1
        } else {
            here += 1
        }
        assert!(here + there < 200, "{cascade}");
    };
    assert_eq!(cascade["verdict"], "unsure", "{cascade}");
    // (others + 1) of (labels + 1) are more than a quarter from here on.
    assert_eq!(
        (there, &cascade["learned"]["others"], &cascade["learned"]["labels"]),
        (5, &json!(5), &json!(21))
    );
    assert!(
        (cascade["least"].as_f64().unwrap() - UNSURE).abs() < 1e-4,
        "just above what was wrong: {cascade}"
    );
    let why = trace(&world)["stages"][2]["why"].as_str().unwrap().to_owned();
    assert!(
        why.starts_with("0.5987 of 0.5987, learned from 21 labels, by quantile 0 over 10 tokens: not"),
        "{why}"
    );
    // What it is sure of stays here, if it is not compared.
    let mut tiers: Vec<String> = (0..40).map(|i| learn(&world, sure, i % 2 == 0).0).collect();
    tiers.sort_unstable();
    tiers.dedup();
    assert_eq!(tiers, ["local/tiny", "up0/m"]);
    assert!(calibrations.flush());
    let labels = learn(&world, "say:Is it so?", true).1["learned"]["labels"].as_u64().unwrap();
    drop((world, calibrations));
    // Whoever writes the file closes it once all is written.
    let mut opened = None;
    crate::client::wait_until(Duration::from_secs(20), || {
        opened = Calibrations::open(&path).ok();
        opened.is_some()
    });
    let (world, _folder) = learning(&[&upstream.url], &opened.unwrap()).start();
    let (_, cascade) = learn(&world, "say:Is it so?", true);
    assert!(cascade["learned"]["labels"].as_u64().unwrap() >= labels, "{cascade}");
    assert!(cascade["learned"]["others"].as_u64().unwrap() >= 5, "{cascade}");
}

#[test]
fn a_stop_string_that_only_one_of_two_tells_of_is_no_difference() {
    let upstream = FakeServer::start("127.0.0.1:0", |_, _| {
        let choice = json!({"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"});
        let end = [event(&json!({"choices": [choice]})), usage(20, 5), done()].concat();
        Script::stream(vec![(Duration::ZERO, token("All is well.")), (Duration::ZERO, end)])
    })
    .unwrap();
    let (world, _folder) = learning(&[&upstream.url], &Arc::default()).start();
    for text in ["say:All is well.END", "say:All is well."] {
        let mut asked = body(text, true);
        asked["stop"] = json!(["END"]);
        send(&world, "POST", CHAT, &[("x-request-id", "r-1")], &asked.to_string());
        let compared = || trace(&world)["cascade"]["compared"].clone();
        crate::client::wait_until(Duration::from_secs(20), || compared() != "awaited").unwrap();
        assert_eq!(compared(), "same", "{text}");
    }
}

#[test]
fn what_is_held_teaches_nothing_and_a_comparison_that_fails_keeps_the_answer() {
    let broken = FakeServer::start("127.0.0.1:0", |_, _| Script::refusal(400, "no")).unwrap();
    let calibrations = Arc::default();
    let (world, folder) = learning(&[&broken.url], &calibrations).start();
    for stream in [true, false] {
        // Nobody better answers, so there is nothing to compare, and what there is is given.
        let (text, _) = ask(&world, "say:I know.", stream);
        assert_eq!(text, "I know.");
        let trace = trace(&world);
        assert_eq!(stages(&trace).last(), Some(&"kept"), "{trace}");
        let (text, answer) = ask(&world, "say:Dear zoe@buecher.example", stream);
        assert_eq!(
            (&*text, answer.header("x-garrison-privacy")),
            ("Dear zoe@buecher.example", Some("local"))
        );
    }
    let labels = trace(&world)["cascade"]["learned"]["labels"].clone();
    assert!(labels == 0 && receipts(&folder).cleared == 2, "{labels}");
}
