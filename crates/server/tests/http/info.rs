//! Models, probes, metrics and the tokenizer endpoints.

use serde_json::json;

use crate::client::{get, post};
use crate::world::{ANSWER, CONTEXT, World, byte};

#[test]
fn models_and_probes() {
    let world = World::new();
    let list = get(&world, "/v1/models").ok();
    assert_eq!((&list["object"], list["data"].as_array().unwrap().len()), (&json!("list"), 1));
    let model = get(&world, "/v1/models/tiny").ok();
    assert_eq!(model, list["data"][0]);
    assert_eq!(
        (&model["id"], &model["object"], &model["created"], &model["max_model_len"]),
        (&json!("tiny"), &json!("model"), &json!(1_700_000_000), &json!(CONTEXT))
    );
    assert_eq!(get(&world, "/health").ok()["status"], "ok");
    assert_eq!(get(&world, "/ready").ok()["status"], "ready");
    assert_eq!(get(&world, "/version").ok()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn text_becomes_tokens_and_back() {
    let world = World::new();
    let got =
        post(&world, "/tokenize", &json!({"model": "tiny", "prompt": "é</s>", "return_token_strs": true}))
            .ok();
    // A client's `</s>` is text, and the vocabulary's beginning token comes first.
    assert_eq!(got["tokens"][0], 1);
    assert_eq!((&got["count"], &got["max_model_len"]), (&json!(7), &json!(CONTEXT)));
    assert_eq!(got["token_strs"][1], "bytes:\\xc3");
    let bare = post(&world, "/tokenize", &json!({"prompt": "é", "add_special_tokens": false})).ok();
    assert_eq!((&bare["tokens"], &bare["token_strs"]), (&json!([byte(0xc3), byte(0xa9)]), &json!(null)));
    let text = post(&world, "/detokenize", &json!({"tokens": [byte(0xc3), byte(0xa9), 2]})).ok();
    assert_eq!(text["prompt"], "é</s>");
    let info = get(&world, "/tokenizer_info").ok();
    assert_eq!((&info["bos_token"], &info["eos_token_ids"]), (&json!("<s>"), &json!([2, 260])));
    assert!(info["chat_template"].as_str().unwrap().contains("<|start|>"));
}

#[test]
fn metrics_count_what_happened() {
    let world = World::new();
    post(&world, "/v1/completions", &json!({"prompt": "Q>", "max_tokens": 50, "temperature": 0})).ok();
    post(&world, "/v1/completions", &json!({"prompt": 1})).error(400);
    let tokens = (ANSWER.len() + 1) as f64;
    world.wait_for_metric("garrison:num_requests_running{model_name=\"tiny\"}", 0.0);
    for (name, wanted) in [
        ("garrison:prompt_tokens_total{model_name=\"tiny\"}", 3.0),
        ("garrison:generation_tokens_total{model_name=\"tiny\"}", tokens),
        ("garrison:request_success_total{model_name=\"tiny\",finished_reason=\"stop\"}", 1.0),
        ("garrison:time_to_first_token_seconds_count{model_name=\"tiny\"}", 1.0),
        ("garrison:inter_token_latency_seconds_count{model_name=\"tiny\"}", tokens - 1.0),
        ("garrison:e2e_request_latency_seconds_count{model_name=\"tiny\"}", 1.0),
        ("garrison:http_requests_total{route=\"/v1/completions\",status=\"200\"}", 1.0),
        ("garrison:http_requests_total{route=\"/v1/completions\",status=\"400\"}", 1.0),
    ] {
        assert_eq!(world.metric(name), wanted, "{name}");
    }
    let page = get(&world, "/metrics");
    assert!(page.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
}
