//! Nothing that is planted in a request reaches a provider, wherever it is planted; and where the guard is told to clear
//! everything, it does, so that these tests can fail.

use std::collections::BTreeSet;

use garrison_guard::Named;
use garrison_wire::Format;

use super::dialects::{KINDS, speaking, text};
use super::*;

mod faults;

/// What must not leave, and a part of each that no encoding of a request would change.
const CANARIES: [(&str, &str); 3] = [
    ("zoe.kowalska@buecher.example", "kowalska"),
    ("4111 1111 1111 1111", "4111 1111 1111"),
    ("sk-proj-Zx81LmQpR7sTuV2wXyZ4aBcD9eFgH3iJkLmNoPqRsTuVwXy0", "Zx81LmQpR7sTuV2w"),
];

/// Every place of a request that a client can write to.
fn surfaces(canary: &str) -> Vec<(&'static str, Value)> {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let note = format!("The value is {canary} as you know.");
    let messages = |messages: Value| json!({"model": "auto", "messages": messages});
    let call = json!([{"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": json!({"q": note}).to_string()}}]);
    // It begins as a GIF does.
    let hidden = format!("GIF89a{}{note}", "A heron by the mill. ".repeat(3));
    let hidden = format!("data:image/gif;base64,{}", base64(&hidden));
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let tool = |description: &str, default: &str| {
        json!([{"type": "function", "function": {"name": "look_up", "description": description, "parameters": {
            "type": "object", "properties": {"q": {"type": "string", "default": default}}}}}])
    };
    let with = |name: &str, value: Value| {
        let mut body = messages(json!([turn("user", "Hello")]));
        body[name] = value;
        body
    };
    vec![
        ("the message", messages(json!([turn("user", &note)]))),
        (
            "a part of it",
            messages(
                json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": note}]}]),
            ),
        ),
        ("the system prompt", messages(json!([turn("system", &note), turn("user", "Hello")]))),
        (
            "an earlier turn",
            messages(json!([turn("user", &note), turn("assistant", "Yes."), turn("user", "Go on")])),
        ),
        (
            "an earlier answer",
            messages(json!([turn("user", "Hi"), turn("assistant", &note), turn("user", "Go on")])),
        ),
        (
            "a tool's result",
            messages(json!([turn("user", "Hi"), {"role": "tool", "tool_call_id": "c1", "content": note}])),
        ),
        (
            "a call's arguments",
            messages(json!([turn("user", "Hi"), {"role": "assistant", "tool_calls": call}])),
        ),
        ("a name", messages(json!([{"role": "user", "content": "Hi", "name": canary}]))),
        (
            "reasoning",
            messages(
                json!([turn("user", "Hi"), {"role": "assistant", "content": "Yes.", "reasoning_content": note}, turn("user", "Go on")]),
            ),
        ),
        (
            "a field that nobody knows",
            messages(json!([{"role": "user", "content": "Hi", "file_name": format!("{canary}.pdf")}])),
        ),
        ("a tool's description", with("tools", tool(&note, ""))),
        ("a tool's schema", with("tools", tool("Looks up.", canary))),
        ("a stop string", with("stop", json!([canary]))),
        (
            "a schema",
            with(
                "response_format",
                json!({"type": "json_schema", "json_schema": {
            "name": "x", "schema": {"type": "object", "properties": {"a": {"type": "string", "description": note}}}}}),
            ),
        ),
        ("in Base64", messages(json!([turn("user", &format!("See {}", base64(&note)))]))),
        (
            "beside an image",
            messages(
                json!([{"role": "user", "content": [{"type": "text", "text": note}, image("https://a.example/b.png")]}]),
            ),
        ),
        (
            "an image's address",
            messages(
                json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}, image(&format!("https://a.example/b.png?for={canary}"))]}]),
            ),
        ),
        (
            "an image's path",
            messages(
                json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}, image(&format!("https://a.example/{canary}.png"))]}]),
            ),
        ),
        (
            "a text with a picture's data",
            messages(
                json!([{"role": "user", "content": [{"type": "text", "text": "Hi", "image_url": {"url": hidden}}]}]),
            ),
        ),
        ("the user field", with("user", canary.into())),
        ("the metadata", with("metadata", json!({"note": note}))),
    ]
}

/// The same of the other APIs' requests, with the path that they go to.
fn other_surfaces(canary: &str) -> Vec<(&'static str, &'static str, Value)> {
    let note = format!("The value is {canary} as you know.");
    let with = |mut body: Value, name: &str, value: Value| {
        body[name] = value;
        body
    };
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let message = || json!({"model": "auto", "max_tokens": 8, "messages": user("Hello".into())});
    let messages = |messages: Value| with(message(), "messages", messages);
    let input = |input: Value| json!({"model": "auto", "max_output_tokens": 8, "input": input});
    let result = json!([{"type": "tool_result", "tool_use_id": "t1", "content": note}]);
    let call = json!([{"type": "tool_use", "id": "t1", "name": "look_up", "input": {"q": note}}]);
    let thought = json!([{"type": "thinking", "thinking": note, "signature": "c2ln"}, {"type": "text", "text": "Yes."}]);
    let said = |turn: Value| json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": turn}, {"role": "user", "content": "Go on"}]);
    let schema = json!({"type": "object", "properties": {"q": {"type": "string", "description": note}}});
    let output = json!({"type": "function_call_output", "call_id": "c1", "output": note});
    vec![
        ("a message's text", "/v1/messages", messages(user(note.clone().into()))),
        ("a message's block", "/v1/messages", messages(user(json!([{"type": "text", "text": note}])))),
        ("a message's system", "/v1/messages", with(message(), "system", note.clone().into())),
        ("a message's tool result", "/v1/messages", messages(user(result))),
        ("a message's call", "/v1/messages", messages(said(call))),
        ("a message's thinking", "/v1/messages", messages(said(thought))),
        (
            "a message's tool",
            "/v1/messages",
            with(message(), "tools", json!([{"name": "look_up", "input_schema": schema}])),
        ),
        ("a message's stop", "/v1/messages", with(message(), "stop_sequences", json!([canary]))),
        ("a response's input", "/v1/responses", input(note.clone().into())),
        (
            "a response's instructions",
            "/v1/responses",
            with(input("Hi".into()), "instructions", note.clone().into()),
        ),
        (
            "a response's output of a call",
            "/v1/responses",
            input(json!([{"role": "user", "content": "Hi"}, output])),
        ),
        ("a message's user", "/v1/messages", with(message(), "metadata", json!({"user_id": canary}))),
        (
            "a response's metadata",
            "/v1/responses",
            with(input("Hi".into()), "metadata", json!({"note": note})),
        ),
    ]
}

/// Surfaces that are not sent at all: the user, and metadata.
const NEVER_SENT: [&str; 4] = ["the user field", "the metadata", "a message's user", "a response's metadata"];
/// Those that an API has no word for, in the order of the kinds.
const WITHOUT: [&[&str]; 3] = [
    &[],
    &[
        "a name",
        "reasoning",
        "a field that nobody knows",
        "a stop string",
        "a message's thinking",
        "a message's stop",
        "a text with a picture's data",
    ],
    &["a name", "reasoning", "a field that nobody knows", "a text with a picture's data"],
];

fn base64(text: &str) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let sign = SIGNS[(bits >> (18 - 6 * i)) as usize & 63] as char;
            out.push(if i <= chunk.len() { sign } else { '=' });
        }
    }
    out
}

/// What of the canaries an upstream has seen, by surface, when each was planted on each and `judges` had said who judges.
fn leaks(
    (kind, spoken): (ProviderKind, Format),
    judges: impl FnOnce(&mut Setup),
) -> Vec<(&'static str, &'static str)> {
    let mut seen = Vec::new();
    let upstream = speaking(spoken, text());
    let broken = FakeServer::recording("127.0.0.1:0", |_, _| Script::refusal(500, "oh")).unwrap();
    let mut setup = Setup::new(&[&broken.url, &upstream.url]);
    setup.kind = kind;
    judges(&mut setup);
    // Both are asked of whatever may leave.
    setup.route.hedge = Some(Duration::from_millis(1));
    for tier in &mut setup.route.policy.tiers {
        tier.has = tier.has.and(Need::Images);
    }
    let (world, folder) = setup.start();
    let asked = || [broken.asked(), upstream.asked()].concat();
    for (canary, part) in CANARIES {
        let chats = surfaces(canary).into_iter().map(|(surface, body)| (surface, CHAT, body));
        for (surface, path, body) in chats.chain(other_surfaces(canary)) {
            for stream in [true, false] {
                let before = asked().len();
                let mut body = body.clone();
                body["stream"] = json!(stream);
                if path == CHAT {
                    body["max_tokens"] = json!(8);
                }
                // Headers of the client's own stay, too.
                let headers =
                    [("x-note", canary), ("cookie", canary), ("user-agent", canary), ("x-request-id", part)];
                let headers = if part.contains(' ') { &headers[..3] } else { &headers[..] };
                let answer = send(&world, "POST", path, headers, &body.to_string());
                // Models here see no images.
                let refused = surface.contains("image") && answer.status == 400;
                assert!(answer.status == 200 || refused, "{surface}: {}", answer.text());
                let encoded = base64(&format!("The value is {canary} as you know."));
                let leaked = asked()[before.min(asked().len())..].iter().any(|bytes| {
                    let text = String::from_utf8_lossy(bytes);
                    text.contains(part) || text.contains(&encoded)
                });
                if leaked {
                    seen.push((surface, part));
                }
            }
        }
    }
    assert!(!std::fs::read_to_string(folder.path().join("receipts.jsonl")).unwrap().contains("kowalska"));
    seen
}

#[test]
fn no_canary_leaves_from_any_surface() {
    for kind in KINDS {
        assert_eq!(leaks(kind, |_| ()), [], "{kind:?}");
    }
}

/// A guard that lets everything pass, under the name of the one that is demanded.
struct Blind;

impl Detector for Blind {
    fn id(&self) -> &str {
        "patterns/blind"
    }

    fn detect(&self, _: &str) -> Result<Vec<String>, DetectorError> {
        Ok(Vec::new())
    }
}

#[test]
fn a_guard_that_clears_everything_is_noticed() {
    let all: Vec<&str> = surfaces("x")
        .into_iter()
        .map(|(surface, _)| surface)
        .chain(other_surfaces("x").into_iter().map(|(surface, ..)| surface))
        .collect();
    for (kind, without) in KINDS.into_iter().zip(WITHOUT) {
        let seen = leaks(kind, |setup| setup.detector = Arc::new(Blind));
        let is_seen = |surface: &&str| seen.iter().any(|(seen, _)| seen == surface);
        let unseen: BTreeSet<&str> = all.iter().copied().filter(|surface| !is_seen(surface)).collect();
        assert_eq!(unseen, [without, &NEVER_SENT].concat().into_iter().collect(), "{kind:?}");
    }
}

/// Finds the canaries as a model finds names.
struct Model;

impl Finder for Model {
    fn id(&self) -> &str {
        "names-model/fake"
    }

    fn find(&self, text: &str) -> Result<Vec<Named>, DetectorError> {
        let places =
            CANARIES.iter().filter_map(|(_, part)| Some(text.find(part)?..text.find(part)? + part.len()));
        Ok(places.map(|range| Named { entity: "PERSON".into(), range, confidence: 90 }).collect())
    }
}

#[test]
fn what_only_a_model_of_names_finds_leaves_from_no_surface() {
    let seen = leaks(KINDS[0], |setup| {
        setup.detector = Arc::new(Blind);
        setup.finder = Some(Arc::new(Model));
    });
    assert_eq!(seen, []);
}

/// A detector that fails, is late, or panics.
struct Faulty(Way);

type Way = fn() -> Result<Vec<String>, DetectorError>;

impl Detector for Faulty {
    fn id(&self) -> &str {
        "patterns/faulty"
    }

    fn detect(&self, _: &str) -> Result<Vec<String>, DetectorError> {
        (self.0)()
    }
}

#[test]
fn a_guard_that_fails_in_any_way_lets_nothing_out() {
    let ways: [Way; 3] = [
        || Err(DetectorError("no".into())),
        || panic!("a detector that panics, as it should here"),
        || {
            std::thread::sleep(Duration::from_secs(30));
            Ok(Vec::new())
        },
    ];
    for (i, way) in ways.into_iter().enumerate() {
        let upstream = healthy("no");
        let mut setup = Setup::new(&[&upstream.url]);
        setup.detector = Arc::new(Faulty(way));
        setup.route.deadline = Duration::from_secs(60);
        let (world, folder) = setup.start();
        let answer = post(&world, CHAT, &body("say:nothing private", true));
        assert_eq!(said(&answer).0, "nothing private", "{i}");
        assert!(upstream.asked().is_empty() && receipts(&folder).cleared == 0, "{i}");
    }
}

/// What the second provider is asked when the first has said a canary and was cut off, and what the client hears.
fn continued(canary: &str, detector: Option<Arc<dyn Detector>>) -> (Vec<Vec<u8>>, String) {
    let begun = format!("Write to {canary} and ");
    let cut = FakeServer::start("127.0.0.1:0", move |_, _| Script {
        ending: Ending::Cut,
        ..Script::stream(vec![(Duration::ZERO, token(&begun))])
    })
    .unwrap();
    let second = healthy("no");
    let mut setup = Setup::new(&[&cut.url, &second.url]);
    setup.route.on_cut = OnCut::Continue;
    setup.detector = detector.unwrap_or(setup.detector);
    let (world, _folder) = setup.start();
    let rest = format!("say:{}wait.", "x".repeat(format!("Write to {canary} and ").len()));
    let (text, _) = said(&post(&world, CHAT, &body(&rest, true)));
    (second.asked(), text)
}

#[test]
fn an_answer_that_broke_off_is_cleared_before_another_provider_goes_on_with_it() {
    for (canary, part) in CANARIES {
        let (asked, text) = continued(canary, None);
        assert!(asked.is_empty(), "{part} left with what was shown");
        assert_eq!(text, format!("Write to {canary} and wait."), "the model here goes on");
        let (asked, _) = continued(canary, Some(Arc::new(Blind)));
        assert!(String::from_utf8_lossy(&asked[0]).contains(part), "a blind guard is noticed");
    }
}

/// What of the canaries was sent, or answered by what others were told, when each was planted where innocent words had taught that
/// everything is like everything.
fn leaks_by_likeness(detector: Option<Arc<dyn Detector>>) -> Vec<(&'static str, &'static str)> {
    let mut seen = Vec::new();
    let upstream = healthy("Fine.");
    let beside = CacheSettings { ttl: Duration::from_secs(60), bytes: 1 << 20 };
    let mut setup = Setup::new(&[&upstream.url]);
    setup.cache = Some(semantic::eager(AnswerCache::new(beside), beside));
    setup.detector = detector.unwrap_or(setup.detector);
    for tier in &mut setup.route.policy.tiers {
        tier.has = tier.has.and(Need::Images);
    }
    let (world, _folder) = setup.start();
    let ask = |path: &str, body: &Value| {
        let mut body = body.clone();
        body["temperature"] = json!(0);
        body["max_tokens"] = json!(8);
        let answer = post(&world, path, &body);
        (answer.header("x-garrison-cache").unwrap_or("-").to_owned(), answer.status)
    };
    let mut hits = 0;
    for (at, (surface, _)) in surfaces("x").iter().enumerate() {
        for n in 0..24 {
            let innocent = surfaces(&format!("value{n}")).swap_remove(at).1;
            hits += usize::from(ask(CHAT, &innocent).0 == "semantic");
        }
        for (canary, part) in CANARIES {
            let before = upstream.asked().len();
            let (cache, status) = ask(CHAT, &surfaces(canary).swap_remove(at).1);
            let encoded = base64(&format!("The value is {canary} as you know."));
            let leaked = upstream.asked()[before..].iter().any(|bytes| {
                let text = String::from_utf8_lossy(bytes);
                text.contains(part) || text.contains(&encoded)
            });
            // What is not sent at all may be answered as if it were not there.
            let found = cache == "semantic" && !matches!(*surface, "the user field" | "the metadata");
            if leaked || found {
                seen.push((*surface, part));
            }
            assert!(status == 200 || surface.contains("image"), "{surface}: {status}");
        }
    }
    assert!(hits > 20, "only {hits} answers were given again");
    seen
}

#[test]
fn no_canary_leaves_or_is_looked_for_where_answers_are_given_to_what_is_alike() {
    assert_eq!(leaks_by_likeness(None), []);
    let seen = leaks_by_likeness(Some(Arc::new(Blind)));
    assert!(seen.iter().any(|(surface, _)| *surface == "the message"), "a blind guard is noticed: {seen:?}");
}
