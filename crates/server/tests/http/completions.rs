//! `/v1/completions`.

use serde_json::{Value, json};

use crate::client::post;
use crate::world::{ANSWER, EOS, World, byte};

const PATH: &str = "/v1/completions";

fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(byte).collect()
}

#[test]
fn prompts_come_in_four_forms() {
    let world = World::new();
    let table = [
        (json!("Q>"), 1, 3),
        (json!(["Q>", "QQ>"]), 2, 3 + 4),
        (json!(ids("Q>")), 1, 2),
        (json!([ids("Q>"), ids("QQ>")]), 2, 2 + 3),
    ];
    for (prompt, answers, prompt_tokens) in table {
        let body = json!({"model": "tiny", "prompt": prompt, "temperature": 0, "max_tokens": 50});
        let got = post(&world, PATH, &body).ok();
        assert_eq!(got["object"], "text_completion");
        assert!(got["id"].as_str().unwrap().starts_with("cmpl-"));
        let choices = got["choices"].as_array().unwrap();
        assert_eq!(choices.len(), answers);
        for (i, choice) in choices.iter().enumerate() {
            assert_eq!((&choice["index"], &choice["text"]), (&json!(i), &json!(ANSWER)));
            assert_eq!((&choice["finish_reason"], &choice["logprobs"]), (&json!("stop"), &Value::Null));
        }
        assert_eq!(got["usage"]["prompt_tokens"], prompt_tokens, "{body}");
    }
}

#[test]
fn choices_are_grouped_by_prompt_and_the_default_length_is_sixteen() {
    let world = World::new();
    let got = post(&world, PATH, &json!({"prompt": ["a~", "b>"], "n": 2, "temperature": 0})).ok();
    let texts: Vec<&str> =
        got["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect();
    let endless = "x".repeat(16);
    // The answer has one byte more than the default allows: its last character is the `!`.
    let cut = ANSWER.get(..16).unwrap_or(ANSWER);
    assert_eq!(texts, [&endless, &endless, cut, cut]);
}

/// What lm-evaluation-harness sends and reads (`OpenAICompletionsAPI.parse_logprobs`): it slices
/// `[prompt's length: -1]` and takes the maximum of each alternative.
#[test]
fn a_harness_can_score_a_prompt() {
    let world = World::new();
    // After `>` the script would say "Hi": the continuation " Hi" after "Q>" is scored.
    let context = ids("Q>");
    let whole = ids("Q>Hx");
    for max_tokens in [1, 0] {
        let body = json!({"model": "tiny", "prompt": [whole], "max_tokens": max_tokens, "logprobs": 1,
                          "temperature": 0, "echo": true, "seed": 1234});
        let got = post(&world, PATH, &body).ok();
        let logprobs = &got["choices"][0]["logprobs"];
        let length = whole.len() + max_tokens;
        for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(logprobs[key].as_array().unwrap().len(), length, "{key}");
        }
        assert_eq!(
            (&logprobs["token_logprobs"][0], &logprobs["top_logprobs"][0]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(
            logprobs["text_offset"].as_array().unwrap()[..4],
            [json!(0), json!(1), json!(2), json!(3)]
        );
        let scored = &logprobs["token_logprobs"].as_array().unwrap()[context.len()..whole.len()];
        let top = &logprobs["top_logprobs"].as_array().unwrap()[context.len()..whole.len()];
        // "H" is what the model would say, "x" is not.
        assert_eq!(top[0]["H"], scored[0]);
        assert!(scored[0].as_f64().unwrap() > -1e-3 && scored[1].as_f64().unwrap() < -50.0);
        let best = top[1].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).fold(f64::MIN, f64::max);
        assert!(best > scored[1].as_f64().unwrap());
        assert_eq!(top[1].as_object().unwrap().len(), 2, "the best and the token itself");
        assert_eq!(got["usage"]["completion_tokens"], max_tokens);
        let text = got["choices"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("Q>Hx") && (max_tokens == 1 || text.len() == 4), "{text}");
    }
}

#[test]
fn generated_tokens_have_scores_end_token_included() {
    let world = World::new();
    let body = json!({"prompt": "Q>", "logprobs": 0, "temperature": 0, "max_tokens": 50});
    let logprobs = post(&world, PATH, &body).ok()["choices"][0]["logprobs"].clone();
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), ANSWER.len() + 1);
    assert_eq!(logprobs["top_logprobs"][0].as_object().unwrap().len(), 1);
    // Offsets count characters: both bytes of ö lie at its place.
    let offsets: Vec<u64> =
        logprobs["text_offset"].as_array().unwrap().iter().map(|o| o.as_u64().unwrap()).collect();
    assert_eq!(offsets[..8], [0, 1, 2, 3, 4, 5, 6, 6]);
    assert_eq!(*offsets.last().unwrap(), ANSWER.chars().count() as u64);
    assert_eq!(logprobs["tokens"][5], "bytes:\\xc3");
}

#[test]
fn streams_echo_first_and_add_up() {
    let world = World::new();
    let body = json!({"prompt": ["Q>", "R>"], "echo": true, "logprobs": 1, "stream": true, "temperature": 0,
                      "max_tokens": 50, "return_token_ids": true, "stream_options": {"include_usage": true}});
    let events = post(&world, PATH, &body).events();
    assert_eq!(events.last().unwrap().data, "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1].iter().map(|e| e.json()).collect();
    for (index, prompt) in ["Q>", "R>"].into_iter().enumerate() {
        let of_choice: Vec<&Value> =
            chunks.iter().filter_map(|c| c["choices"].get(0)).filter(|c| c["index"] == index).collect();
        let text: String = of_choice.iter().map(|c| c["text"].as_str().unwrap()).collect();
        assert_eq!(text, format!("{prompt}{ANSWER}"));
        let scored: usize = of_choice.iter().map(|c| c["logprobs"]["tokens"].as_array().unwrap().len()).sum();
        // The prompt's beginning token, its text, the answer and the end token.
        assert_eq!(scored, 1 + 2 + ANSWER.len() + 1);
        assert_eq!(of_choice[0]["prompt_token_ids"].as_array().unwrap().len(), 3);
        let ids = of_choice.iter().flat_map(|choice| choice["token_ids"].as_array().unwrap());
        assert_eq!(ids.last().unwrap(), &json!(EOS));
    }
    assert_eq!(chunks.last().unwrap()["usage"]["prompt_tokens"], 6);
}

#[test]
fn seeds_repeat_and_choices_differ() {
    let world = World::new();
    let ask = |seed: i64| {
        // A bias that levels all tokens makes every draw a real one.
        let bias: serde_json::Map<String, Value> =
            ('a'..='p').map(|c| (byte(c as u8).to_string(), json!(100))).collect();
        let body = json!({"prompt": "~", "n": 2, "seed": seed, "logit_bias": bias, "max_tokens": 24});
        let got = post(&world, PATH, &body).ok();
        [0, 1].map(|i| got["choices"][i]["text"].as_str().unwrap().to_owned())
    };
    let first = ask(7);
    assert_eq!(ask(7), first);
    assert_ne!(ask(8), first);
    assert_ne!(first[0], first[1]);
}
