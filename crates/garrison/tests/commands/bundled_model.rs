//! The bundled model, asked through the server: what it was trained for, on cases that training
//! never saw, and the same tokens as PyTorch computes from the same weights.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::Server;
use serde_json::{Value, json};

/// The share of held-out cases that must be answered right.
const WANTED: f64 = 0.9;

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Whether `answer` is what a case of `eval.jsonl` expects.
fn is_right(answer: &str, expect: &Value) -> bool {
    if let Some(text) = expect["contains"].as_str() {
        return answer.contains(text);
    }
    if let Some(text) = expect["equals"].as_str() {
        return answer.trim() == text;
    }
    assert!(expect["json"].is_object(), "unknown expectation {expect}");
    serde_json::from_str::<Value>(answer.trim()).is_ok_and(|parsed| parsed == expect["json"])
}

#[test]
fn held_out_questions_are_answered() {
    let server = Server::start(&[]);
    let cases: Vec<Value> = read("eval.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(cases.len() >= 200, "{} cases are too few to tell", cases.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut judged = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let body = json!({
                "model": server.model, "messages": case["messages"], "temperature": 0, "max_tokens": 96,
            });
            let (status, answer) = server.post("/v1/chat/completions", &body);
            assert_eq!(status, 200, "{answer}");
            let text = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
            judged.push((case, is_right(&text, &case["expect"]), text));
        }
        judged
    };
    let judged: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (case, right, text) in &judged {
        let (good, all) = kinds.entry(case["kind"].as_str().unwrap()).or_default();
        *good += usize::from(*right);
        *all += 1;
        if !right {
            println!("wrong: {} → {text:?}, expected {}", case["messages"], case["expect"]);
        }
    }
    let good: usize = kinds.values().map(|(good, _)| good).sum();
    println!("{good} of {} right; by kind {kinds:?}", judged.len());
    assert!(good as f64 >= WANTED * judged.len() as f64, "{good} of {} right: {kinds:?}", judged.len());
}

#[test]
fn the_tokens_are_those_of_pytorch() {
    let exact = ["--kv-dtype", "f32"]; // as PyTorch kept them
    golden(&Server::start(&exact));
    // With a draft model they are the same.
    golden(&Server::start(&[&exact[..], &["--draft-model", "garrison-tiny-draft"]].concat()));
}

fn golden(server: &Server) {
    let cases: Vec<Value> = serde_json::from_str(&read("golden.json")).unwrap();
    assert!(cases.len() >= 8);
    for case in &cases {
        let (_, prompt) = server.post("/tokenize", &json!({"messages": case["messages"]}));
        assert_eq!(prompt["tokens"], case["ids"], "{}", case["text"]);
        let wanted = case["greedy"].as_array().unwrap();
        let body = json!({
            "model": server.model, "prompt": case["ids"], "temperature": 0, "max_tokens": wanted.len(),
            "ignore_eos": true, "return_token_ids": true,
        });
        let (status, answer) = server.post("/v1/completions", &body);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["token_ids"].as_array(), Some(wanted), "{}", case["text"]);
    }
}
