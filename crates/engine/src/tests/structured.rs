use garrison_types::{FinishReason, Sampling};
use serde_json::{Value, json};

use super::rig::*;
use crate::{EngineConfig, Event, Grammar, GrammarError, Request};

fn wide() -> EngineConfig {
    EngineConfig { n_blocks: 2000, context: 4096, ..config() }
}

/// Random tokens, with a lean to what ends strings and containers.
fn sampling(seed: u64) -> Sampling {
    let logit_bias = b"\"}],".iter().map(|&b| (byte(b), 5.0)).collect();
    Sampling { seed, logit_bias, ..Sampling::default() }
}

fn constrained(rig: &Rig, grammar: &Grammar, seed: u64) -> Request {
    let constraint = Some(rig.engine.compile(grammar).unwrap());
    Request { constraint, sampling: sampling(seed), ..request(prompt(4, seed as u32), 3000) }
}

type IsValid = fn(&Value) -> bool;
type IsRight = fn(&str) -> bool;

/// Schemas, and whether a value is what they say.
fn schemas() -> Vec<(Value, IsValid)> {
    vec![
        (json!({"type": "integer", "minimum": 3, "maximum": 40}), |v| {
            (3..=40).contains(&v.as_i64().unwrap())
        }),
        (json!({"enum": ["red", "green", 7, null]}), |v| {
            [json!("red"), json!("green"), json!(7), Value::Null].contains(v)
        }),
        (json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 5}), |v| {
            let items = v.as_array().unwrap();
            (2..=5).contains(&items.len()) && items.iter().all(Value::is_boolean)
        }),
        (
            json!({
                "type": "object", "additionalProperties": false, "required": ["class", "priority"],
                "properties": {
                    "class": {"enum": ["leak", "billing", "other"]},
                    "priority": {"type": "string", "pattern": "^(low|high)$"},
                    "note": {"type": "string", "maxLength": 9},
                },
            }),
            |v| {
                let keys: Vec<&str> = v.as_object().unwrap().keys().map(String::as_str).collect();
                keys.starts_with(&["class", "priority"])
                    && ["leak", "billing", "other"].contains(&v["class"].as_str().unwrap())
                    && ["low", "high"].contains(&v["priority"].as_str().unwrap())
                    && v.get("note").is_none_or(|n| n.as_str().unwrap().chars().count() <= 9)
            },
        ),
        (json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer"}]}), |v| {
            v.is_number() || v.as_str().is_some_and(|s| s.chars().count() <= 3)
        }),
        (
            json!({
                "$defs": {"node": {
                    "type": "object", "additionalProperties": false, "required": ["v"],
                    "properties": {"v": {"type": "null"}, "next": {"$ref": "#/$defs/node"}},
                }},
                "$ref": "#/$defs/node",
            }),
            |v| std::iter::successors(Some(v), |n| n.get("next")).all(|n| n["v"].is_null()),
        ),
        (json!({"type": "string", "format": "date"}), |v| {
            let text = v.as_str().unwrap();
            text.len() == 10 && text.chars().filter(|c| *c == '-').count() == 2
        }),
    ]
}

#[test]
fn documents_are_valid_or_not_called_finished() {
    let rig = &mut Rig::hashing(wide());
    let mut finished = 0;
    for (schema, is_valid) in schemas() {
        let grammar = Grammar::JsonSchema(schema.clone());
        for seed in 0..150 {
            let r = constrained(rig, &grammar, seed);
            let answer = rig.answer(r);
            if answer.finish().reason == (FinishReason::Stop { matched: None }) {
                let text = answer.text();
                let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text:?}"));
                assert!(is_valid(&value), "{value} for {schema}");
                finished += 1;
            } else {
                assert_eq!(answer.finish().reason, FinishReason::Length);
            }
        }
    }
    assert!(finished >= 1000, "{finished} of 1050 came to an end");
}

#[test]
fn texts_choices_and_grammars_are_followed() {
    let rig = &mut Rig::hashing(wide());
    let lark = "start: greeting \" \" NAME\ngreeting: \"hi\" | \"hello\"\nNAME: /[a-z]{2,4}/";
    let cases: [(Grammar, IsRight); 4] = [
        (Grammar::Regex(r"[ab]{3}-[0-9]{2}".into()), |t| t.len() == 6 && t.as_bytes()[3] == b'-'),
        (Grammar::Choice(vec!["yes".into(), "no \"quoted\"\n".into(), "日本".into()]), |t| {
            ["yes", "no \"quoted\"\n", "日本"].contains(&t)
        }),
        (Grammar::Lark(lark.into()), |t| t.starts_with("hi ") || t.starts_with("hello ")),
        (Grammar::JsonObject, |t| serde_json::from_str::<Value>(t).is_ok_and(|v| v.is_object())),
    ];
    for (grammar, is_right) in cases {
        for seed in 0..10 {
            let r = constrained(rig, &grammar, seed);
            let answer = rig.answer(r);
            let text = answer.text();
            if answer.finish().reason == (FinishReason::Stop { matched: None }) {
                assert!(is_right(&text), "{text:?} for {grammar:?}");
            } else {
                assert_eq!(
                    (&grammar, answer.finish().reason.clone()),
                    (&Grammar::JsonObject, FinishReason::Length)
                );
            }
        }
    }
}

#[test]
fn control_tokens_are_no_text_of_a_grammar() {
    let rig = &mut Rig::hashing(wide());
    let grammar = Grammar::Regex("(?s).{5,9}".into());
    for seed in 0..40 {
        let mut r = constrained(rig, &grammar, seed);
        r.sampling.logit_bias = vec![(CONTROL, 100.0), (1, 100.0)];
        let tokens = rig.answer(r).tokens();
        assert!(!tokens.contains(&CONTROL) && !tokens.contains(&1), "{tokens:?}");
    }
}

#[test]
fn company_preemption_and_the_cache_change_nothing() {
    let rig = &mut Rig::hashing(EngineConfig { n_blocks: 14, max_batch_tokens: 24, ..config() });
    let grammar = Grammar::Regex("[a-z ]{60,90}".into());
    let requests: Vec<Request> = (0..4).map(|seed| constrained(rig, &grammar, seed)).collect();
    let mut streams: Vec<_> = requests.iter().map(|r| rig.submit(Request { ..r.clone() })).collect();
    let mut free = rig.submit(request(prompt(9, 5), 40));
    rig.run();
    assert!(rig.engine.stats().preemptions > 0, "the case must preempt");
    for (r, stream) in requests.into_iter().zip(&mut streams) {
        assert_eq!(Answer::read(stream), Rig::hashing(config()).answer(r));
    }
    assert_eq!(Answer::read(&mut free), Rig::hashing(config()).answer(request(prompt(9, 5), 40)));
}

#[test]
fn nothing_ends_before_the_grammar_may() {
    let rig = &mut Rig::hashing(wide());
    let mut r = constrained(rig, &Grammar::Regex("[0-9]{30}".into()), 1);
    r.stop.ignore_eos = false;
    r.sampling.logit_bias = vec![(EOS, 100.0)];
    let answer = rig.answer(r);
    assert_eq!((answer.text().len(), &answer.finish().reason), (30, &FinishReason::Stop { matched: None }));
    assert!(answer.events.iter().all(|e| !matches!(e, Event::Failed(_))));
}

#[test]
fn a_grammar_that_takes_too_long_is_given_up_and_nobody_else_waits() {
    let rig = &mut Rig::hashing(wide());
    let r = constrained(rig, &Grammar::Lark("start: start start | \"a\"".into()), 1);
    let begun = std::time::Instant::now();
    let mut hard = rig
        .submit(Request { stop: garrison_types::StopConditions { max_tokens: 2000, ..r.stop.clone() }, ..r });
    let mut easy = rig.submit(request(prompt(5, 1), 30));
    rig.run();
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    let end = Answer::read(&mut hard).events.pop();
    assert!(matches!(end, Some(Event::Failed(crate::Failure::Grammar(_)) | Event::Finished(_))), "{end:?}");
    assert_eq!(Answer::read(&mut easy).tokens().len(), 30);
}

#[test]
fn deep_grammars_are_refused_or_compiled_but_do_no_harm() {
    let rig = Rig::hashing(config());
    let chain: String = (0..2500).map(|i| format!("r{i}: r{}\n", i + 1)).collect();
    let tokens: String = (0..2500).map(|i| format!("T{i}: T{}\n", i + 1)).collect();
    let refs: serde_json::Map<String, Value> =
        (0..4000).map(|i| (format!("{i}"), json!({ "$ref": format!("#/$defs/{}", i + 1) }))).collect();
    let nested = (0..120).fold(json!({"type": "null"}), |inner, _| json!({"type": "array", "items": inner}));
    for grammar in [
        Grammar::Lark(format!("start: r0\n{chain}r2500: \"a\"")),
        Grammar::Lark(format!("start: T0\n{tokens}T2500: \"a\"")),
        Grammar::Lark(format!("start: {}\"a\"{}", "(".repeat(9000), ")".repeat(9000))),
        Grammar::JsonSchema(json!({ "$ref": "#/$defs/0", "$defs": refs })),
        Grammar::JsonSchema(nested),
        Grammar::JsonSchema(json!({ "$ref": "#" })),
        Grammar::Regex("(".repeat(50_000) + &")".repeat(50_000)),
        Grammar::Regex("(a{100}){100}".into()),
    ] {
        if let Err(error) = rig.engine.compile(&grammar) {
            assert!(error.to_string().len() < 300, "{error}");
        }
    }
    for large in [
        Grammar::Lark("x".repeat(40 << 10)),
        Grammar::Regex("x".repeat(300 << 10)),
        Grammar::JsonSchema(json!({ "enum": (0..100_000).collect::<Vec<_>>() })),
        Grammar::Choice(vec!["x".repeat(300 << 10)]),
    ] {
        let error = rig.engine.compile(&large).unwrap_err();
        assert!(matches!(error, GrammarError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn lark_cannot_name_control_tokens() {
    let rig = &mut Rig::hashing(wide());
    for text in ["start: <|one|>", "start: <[260]>", "start: <[*]> \"b\"", "start: (<[255-260]>)+"] {
        let Ok(constraint) = rig.engine.compile(&Grammar::Lark(text.into())) else { continue };
        let sampling = Sampling { logit_bias: vec![(CONTROL, 100.0)], ..sampling(1) };
        let r = Request { constraint: Some(constraint), sampling, ..request(prompt(4, 1), 20) };
        let answer = rig.answer(r);
        assert!(!answer.tokens().contains(&CONTROL), "{text}: {:?}", answer.tokens());
    }
}

#[test]
fn any_text_can_be_a_choice() {
    let rig = &mut Rig::hashing(wide());
    for text in ["\u{7f}", "\u{0}\u{1f}", "a\tb\\n", "🦙\"'`/"] {
        let r = constrained(rig, &Grammar::Choice(vec![text.into()]), 1);
        assert_eq!(rig.answer(r).text(), text);
    }
}

#[test]
fn what_nothing_can_follow_is_told_from_what_is_malformed() {
    let rig = Rig::hashing(config());
    for grammar in [
        Grammar::Regex(r"[^\s\S]".into()),
        Grammar::JsonSchema(json!({"allOf": [{"type": "integer"}, {"type": "string"}]})),
        Grammar::JsonSchema(json!(false)),
    ] {
        let error = rig.engine.compile(&grammar).unwrap_err();
        assert!(matches!(error, GrammarError::Unsatisfiable(_)), "{grammar:?}: {error:?}");
    }
    for grammar in [Grammar::Regex("(".into()), Grammar::JsonSchema(json!({"type": "strnig"}))] {
        let error = rig.engine.compile(&grammar).unwrap_err();
        assert!(matches!(error, GrammarError::Refused(_)), "{grammar:?}: {error:?}");
    }
}

#[test]
fn what_cannot_be_enforced_is_refused_with_the_reason() {
    let rig = Rig::hashing(config());
    for (grammar, reason) in [
        (Grammar::JsonSchema(json!({"type": "object", "not": {}})), "not"),
        (Grammar::JsonSchema(json!({"type": "array", "uniqueItems": true})), "uniqueItems"),
        (Grammar::JsonSchema(json!({"type": "strnig"})), "strnig"),
        (Grammar::JsonSchema(json!(5)), "schema"),
        (Grammar::Regex("(".into()), "unclosed group"),
        (Grammar::Regex(r"[^\s\S]".into()), "nothing"),
        (Grammar::Regex(format!("{}(", "x".repeat(9000))), "unclosed"),
        (Grammar::Choice(vec![]), "choose"),
        (Grammar::Lark("start: missing".into()), "missing"),
    ] {
        let error = rig.engine.compile(&grammar).unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains('\n') && error.len() < 300, "{grammar:?}: {error}");
    }
}
