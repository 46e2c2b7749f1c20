//! What of a provider's chunks is shown where answers are judged, and what of a request is judged because it is sent.

use garrison_gateway::{AnswerPolicy, Gateway, InAnswers, Operator, Operators, Settings};

use super::*;

/// An upstream that says these events, and a route to it whose answers are redacted if `settings` say so.
fn saying(events: &[Value], settings: Settings) -> (FakeServer, World, tempfile::TempDir) {
    let bytes: Vec<u8> = events.iter().flat_map(event).chain(done()).collect();
    let upstream = FakeServer::recording("127.0.0.1:0", move |_, _| {
        Script::stream(vec![(Duration::ZERO, bytes.clone())])
    })
    .unwrap();
    let mut setup = Setup::new(&[&upstream.url]);
    setup.config.gateway = Arc::new(Gateway::new(settings).unwrap());
    let (world, folder) = setup.start();
    (upstream, world, folder)
}

fn redacting() -> Settings {
    let private = InAnswers::Redact(Operators::all(Operator::Replace));
    Settings { answers: AnswerPolicy { private, ..AnswerPolicy::default() }, ..Settings::default() }
}

/// A chunk that says this.
fn says(content: &Value, reason: &Value) -> Value {
    json!({"id": "up", "object": "chat.completion.chunk", "model": "m",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": reason}]})
}

fn usage_of(prompt: u32) -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": 5}})
}

/// The reasons that a stream's chunks give.
fn reasons(answer: &Answer) -> Vec<Value> {
    let chunks = answer.events().into_iter().filter(|event| event.data != "[DONE]").map(|event| event.json());
    let choices = chunks.filter_map(|chunk| chunk["choices"].get(0).cloned());
    choices.map(|choice| choice["finish_reason"].clone()).filter(|reason| !reason.is_null()).collect()
}

#[test]
fn a_reason_that_says_nothing_ends_nothing_so_values_that_chunks_cut_are_found() {
    let none = json!("");
    let pieces = ["The card is 4111 1111 ", "1111 1111, write to zoe@buecher", ".example", " now."];
    let mut events: Vec<Value> = pieces.iter().map(|piece| says(&json!(piece), &none)).collect();
    events.extend([says(&json!(""), &json!("stop")), usage_of(20)]);
    for (settings, wanted) in [
        (redacting(), "The card is <CREDIT_CARD>, write to <EMAIL> now.".to_owned()),
        (Settings::default(), pieces.concat()),
    ] {
        let (_upstream, world, _folder) = saying(&events, settings);
        let answer = post(&world, CHAT, &body("Whom?", true));
        assert_eq!(said(&answer), (wanted.clone(), "[DONE]".into()));
        assert_eq!(reasons(&answer), ["stop"]);
        let whole = post(&world, CHAT, &body("Whom?", false)).ok();
        let choice = &whole["choices"][0];
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&json!(wanted), &json!("stop"))
        );
    }
}

#[test]
fn an_answer_that_goes_on_after_its_end_breaks_off_with_nothing_more_shown() {
    let end = |text: &str| says(&json!(text), &json!("stop"));
    let events = [end("The card is 4111 1111"), end(" 1111 1111."), usage_of(20)];
    for settings in [redacting(), Settings::default()] {
        let (_upstream, world, _folder) = saying(&events, settings);
        let answer = post(&world, CHAT, &body("Which?", true));
        let text = answer.text();
        assert!(text.contains("provider_broke_off") && !text.contains("1111 1111."), "{text}");
        let whole = post(&world, CHAT, &body("Which?", false));
        assert!(
            whole.status == 502 || whole.header("x-garrison-privacy") == Some("local"),
            "{}",
            whole.text()
        );
        assert!(!whole.text().contains("4111"), "{}", whole.text());
    }
}
