//! Rendering equals Python's, to the character, on `data/template_cases.json`
//! (`data/make_template_cases.py` writes it).

use std::path::PathBuf;

use garrison_tokenizer::{ChatInput, ChatMessage, ChatTemplate, TemplateError};
use serde_json::Value;

const CASES: &str = include_str!("../data/template_cases.json");

/// The folder of data that is not part of the repository, if it is there.
fn shared() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("GARRISON_SHARED").map_or(root, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn input(case: &Value) -> ChatInput {
    let input = &case["input"];
    let messages = input["messages"].as_array().unwrap().iter().map(|message| ChatMessage {
        role: text(&message["role"]).unwrap(),
        content: text(&message["content"]),
        name: text(&message["name"]),
        tool_calls: message.get("tool_calls").cloned(),
        tool_call_id: text(&message["tool_call_id"]),
        reasoning: text(&message["reasoning_content"]),
    });
    ChatInput {
        messages: messages.collect(),
        tools: input.get("tools").cloned(),
        add_generation_prompt: input["add_generation_prompt"].as_bool().unwrap_or(true),
        kwargs: input["kwargs"].as_object().cloned().unwrap_or_default(),
        bos_token: text(&input["bos_token"]).unwrap_or_default(),
        eos_token: text(&input["eos_token"]).unwrap_or_default(),
    }
}

/// What is wrong with `case`, if anything.
fn check(case: &Value, source: &str, now: i64) -> Result<(), String> {
    let template = ChatTemplate::new(source).map_err(|e| e.to_string())?;
    let rendered = template.render_at(&input(case), now);
    match (case["expected"].as_str(), case["raises"].as_str(), rendered) {
        (Some(expected), _, Ok(prompt)) if prompt.text() == expected => Ok(()),
        (Some(expected), _, Ok(prompt)) => {
            Err(format!("expected {expected:?}\n     got {:?}", prompt.text()))
        }
        (_, Some(expected), Err(TemplateError::Refused(message))) if message == expected => Ok(()),
        (_, _, rendered) => Err(format!("expected {case}, got {rendered:?}")),
    }
}

#[test]
fn every_case_renders_as_python_renders_it() {
    let file: Value = serde_json::from_str(CASES).unwrap();
    let now = file["now"].as_i64().unwrap();
    let mut wrong = Vec::new();
    let mut checked = [0, 0];
    for case in file["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let is_shared = case.get("shared").is_some();
        let source = match (is_shared, shared()) {
            (false, _) => file["templates"][name].as_str().unwrap().to_owned(),
            (true, Some(folder)) => {
                std::fs::read_to_string(folder.join("data/templates").join(name)).unwrap()
            }
            (true, None) => continue,
        };
        checked[usize::from(is_shared)] += 1;
        if let Err(reason) = check(case, &source, now) {
            wrong.push(format!("{name} / {}: {reason}", case["conversation"]));
        }
    }
    assert!(checked[0] >= 70, "only {checked:?} cases were found");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hostile_templates_are_errors_within_their_budget() {
    let user = ChatInput {
        messages: vec![ChatMessage { role: "user".into(), content: Some("x".into()), ..Default::default() }],
        ..Default::default()
    };
    let syntax = ChatTemplate::new("{% for m in messages %}\n{{ m.content").unwrap_err();
    assert!(matches!(&syntax, TemplateError::Syntax(text) if text.contains("line 2")), "{syntax}");
    assert!(matches!(ChatTemplate::new(&"x".repeat(2 << 20)), Err(TemplateError::TooLong { .. })));

    let doubling =
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    let nested = format!("{}{}", "{% for i in range(9999) %}".repeat(4), "{% endfor %}".repeat(4));
    let repeated = "{{ 'x' * 99999999999 }}";
    let recursive = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    let deep = "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}";
    for source in [doubling, &nested, repeated, recursive, deep] {
        let error = ChatTemplate::new(source).unwrap().render(&user).unwrap_err();
        assert!(matches!(error, TemplateError::TooMuchWork | TemplateError::Failed(_)), "{source}: {error}");
    }
}

#[test]
fn a_client_cannot_replace_the_models_variables() {
    let template = ChatTemplate::new("{{ bos_token }}|{{ messages | length }}|{{ other }}").unwrap();
    let kwargs = serde_json::json!({"bos_token": "<x>", "messages": [1, 2, 3], "other": "o", "__garrison_now": "soon"});
    let input = ChatInput {
        bos_token: "<s>".into(),
        kwargs: kwargs.as_object().unwrap().clone(),
        ..Default::default()
    };
    assert_eq!(template.render(&input).unwrap().text(), "<s>|0|o");
}
