//! Clients of each API against providers of each: what is said arrives, whatever is between.

use garrison_gateway::{Gateway, InAnswers, Operator, Operators, Settings};
use garrison_wire::{
    Answer as Whole, Delivery, Delta, Fold, Format, Part, PartKind, Request, Seal, Stop, StreamParser,
    StreamWriter, Usage,
};
use serde_json::Map;

use super::*;

pub(super) const KINDS: [(ProviderKind, Format); 3] = [
    (ProviderKind::OpenAi, Format::Chat),
    (ProviderKind::Responses, Format::Responses),
    (ProviderKind::Anthropic, Format::Messages),
];

pub(super) fn path(format: Format) -> &'static str {
    match format {
        Format::Chat => CHAT,
        Format::Messages => "/v1/messages",
        Format::Responses => "/v1/responses",
    }
}

/// What a client of an API sends to say this.
pub(super) fn asks(format: Format, text: &str, stream: bool) -> Value {
    let turns = json!([{"role": "user", "content": text}]);
    match format {
        Format::Chat => json!({"model": "auto", "messages": turns, "stream": stream, "max_tokens": 60,
            "stream_options": if stream { json!({"include_usage": true}) } else { Value::Null }}),
        Format::Messages => json!({"model": "auto", "messages": turns, "stream": stream, "max_tokens": 60}),
        Format::Responses => {
            json!({"model": "auto", "input": text, "stream": stream, "max_output_tokens": 60})
        }
    }
}

/// A tool, as an API has it.
fn tool(format: Format) -> Value {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    match format {
        Format::Chat => json!({"type": "function", "function": {"name": "look_up", "parameters": schema}}),
        Format::Messages => json!({"name": "look_up", "input_schema": schema}),
        Format::Responses => {
            json!({"type": "function", "name": "look_up", "parameters": schema, "strict": false})
        }
    }
}

pub(super) fn usage() -> Usage {
    Usage { input: 40, cached: 10, output: 8, ..Usage::default() }
}

pub(super) fn begin() -> Delta {
    Delta::Begin {
        id: "theirs".into(),
        model: "m".into(),
        created: 5,
        usage: Some(Usage { output: 0, ..usage() }),
    }
}

pub(super) fn end(stop: Stop) -> Delta {
    Delta::End { stop, usage: Some(usage()), beside: Map::new() }
}

pub(super) fn text() -> Vec<Delta> {
    vec![
        begin(),
        Delta::Text("Hello ".into()),
        Delta::Text("there.".into()),
        Delta::PartEnd,
        end(Stop::EndTurn),
    ]
}

fn calls() -> Vec<Delta> {
    let call = |id: &str, q: &str| {
        [
            Delta::Call { id: id.into(), name: "look_up".into() },
            Delta::Arguments("{\"q\":".into()),
            Delta::Arguments(format!("\"{q}\"}}")),
            Delta::PartEnd,
        ]
    };
    let said = [Delta::Text("Let me see.".into()), Delta::PartEnd].into_iter();
    let calls = said.chain(call("call_1", "x")).chain(call("call_2", "y"));
    [begin()].into_iter().chain(calls).chain([end(Stop::Calls)]).collect()
}

/// An upstream that says this in the words of its API.
pub(super) fn speaking(format: Format, deltas: Vec<Delta>) -> FakeServer {
    FakeServer::recording("127.0.0.1:0", move |_, _| {
        let asked = Request { delivery: Delivery::StreamWithUsage, ..Request::new("m", Vec::new()) };
        let mut writer = StreamWriter::new(format, &asked);
        let parts = deltas.iter().map(|delta| (Duration::ZERO, writer.write_bytes(delta.clone())));
        Script::stream(parts.filter(|(_, bytes)| !bytes.is_empty()).collect())
    })
    .unwrap()
}

/// What a client reads: the deltas of a stream.
pub(super) fn heard(format: Format, answer: &Answer) -> Vec<Delta> {
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"), "{}", answer.text());
    let (mut parser, mut deltas) = (StreamParser::new(format), Vec::new());
    parser.feed(answer.text().as_bytes(), &mut deltas).unwrap();
    assert!(parser.has_ended(), "{format:?} is cut: {}", answer.text());
    deltas
}

/// What a client makes of an answer, streamed or whole.
fn understood(format: Format, answer: &Answer, stream: bool) -> Whole {
    if !stream {
        return Whole::parse(format, answer.ok().to_string().as_bytes()).unwrap();
    }
    let mut fold = Fold::default();
    heard(format, answer).into_iter().for_each(|delta| fold.push(delta));
    fold.finish().unwrap()
}

#[test]
fn every_client_hears_what_every_provider_says() {
    for (kind, spoken) in KINDS {
        for (deltas, stop) in [(text(), Stop::EndTurn), (calls(), Stop::Calls), (limited(), Stop::Length)] {
            let mut fold = Fold::default();
            deltas.iter().for_each(|delta| fold.push(delta.clone()));
            let wanted = fold.finish().unwrap().parts;
            let upstream = speaking(spoken, deltas);
            let mut setup = Setup::new(&[&upstream.url]);
            setup.kind = kind;
            let (world, _folder) = setup.start();
            for client in Format::ALL {
                for stream in [true, false] {
                    let mut asked = asks(client, "Look x and y up", stream);
                    asked["tools"] = json!([tool(client)]);
                    let answer = post(&world, path(client), &asked);
                    assert_eq!(answer.header("x-garrison-tier"), Some("up0/m"), "{}", answer.text());
                    let got = understood(client, &answer, stream);
                    let case = format!("{client:?} asks {spoken:?}, stream {stream}");
                    assert_eq!((&got.parts, &got.stop), (&wanted, &stop), "{case}");
                    assert_eq!(got.usage, Some(usage()), "{case}");
                    assert_eq!(got.model, "auto", "{case}");
                }
            }
            let sent = String::from_utf8(upstream.asked().pop().unwrap()).unwrap();
            assert!(
                sent.starts_with(&format!("POST {} ", path(spoken))) && sent.contains("look_up"),
                "{sent}"
            );
        }
    }
}

fn limited() -> Vec<Delta> {
    vec![begin(), Delta::Text("Hel".into()), Delta::PartEnd, end(Stop::Length)]
}

#[test]
fn what_stays_is_answered_here_in_the_clients_words() {
    let upstream = speaking(Format::Chat, text());
    let (world, folder) = Setup::new(&[&upstream.url]).start();
    for client in [Format::Messages, Format::Responses] {
        for stream in [true, false] {
            let answer = post(&world, path(client), &asks(client, "say:Dear zoe@buecher.example", stream));
            assert_eq!(answer.header("x-garrison-tier"), Some("local/tiny"), "{}", answer.text());
            let got = understood(client, &answer, stream);
            assert_eq!((got.parts, got.model), (vec![Part::text("Dear zoe@buecher.example")], "auto".into()));
        }
    }
    assert!(upstream.asked().is_empty());
    assert_eq!(receipts(&folder).cleared, 0);
}

#[test]
fn what_an_api_alone_can_say_reaches_a_provider_of_it_and_comes_back() {
    let thought = vec![
        begin(),
        Delta::Reasoning("Hm.".into()),
        Delta::Seal(Seal::Signature("c2lnbmVk".into())),
        Delta::Text("Yes.".into()),
        Delta::PartEnd,
        end(Stop::EndTurn),
    ];
    let upstream = speaking(Format::Messages, thought);
    let mut setup = Setup::new(&[&upstream.url]);
    setup.kind = ProviderKind::Anthropic;
    setup.route.policy.tiers[0].has = setup.route.policy.tiers[0].has.and(Need::TopK);
    let (world, _folder) = setup.start();
    let mut asked = asks(Format::Messages, "Hi", true);
    let before = json!([{"type": "thinking", "thinking": "Ah.", "signature": "b2xk"}, {"type": "text", "text": "Hello."}]);
    asked["messages"] = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": before}, {"role": "user", "content": "And?"}]);
    asked["top_k"] = json!(5);
    asked["metadata"] = json!({"user_id": "anna"});
    // These change nothing elsewhere.
    (asked["cache_salt"], asked["priority"]) = (json!("salt"), json!(3));
    for stream in [true, false] {
        asked["stream"] = json!(stream);
        let answer = post(&world, path(Format::Messages), &asked);
        let got = understood(Format::Messages, &answer, stream);
        let seal = Some(Seal::Signature("c2lnbmVk".into()));
        assert_eq!(got.parts[0].kind, PartKind::Reasoning { text: "Hm.".into(), seal });
    }
    let sent = String::from_utf8(upstream.asked().remove(0)).unwrap();
    let sent: Value = serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&sent["messages"][1]["content"], &sent["top_k"]), (&before, &json!(5)));
    assert!(["metadata", "cache_salt", "priority"].iter().all(|name| sent.get(*name).is_none()), "{sent}");
}

/// What a provider was sent last.
fn sent_last(upstream: &FakeServer) -> Value {
    let sent = String::from_utf8(upstream.asked().pop().unwrap()).unwrap();
    serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn what_was_thought_comes_back_to_a_provider_that_keeps_nothing_if_it_can_read_it() {
    let seal = |encrypted: Option<&str>| {
        Delta::Seal(Seal::Item { id: "rs_1".into(), encrypted: encrypted.map(str::to_owned) })
    };
    let thought = [begin(), seal(None), Delta::Reasoning("Hm.".into()), seal(Some("ZW5j")), Delta::PartEnd];
    let upstream =
        speaking(Format::Responses, thought.into_iter().chain(text().into_iter().skip(1)).collect());
    let mut setup = Setup::new(&[&upstream.url]);
    setup.kind = ProviderKind::Responses;
    let (world, _folder) = setup.start();
    let mut asked = asks(Format::Responses, "Hi", false);
    let ask = |asked: &Value| {
        let answer = post(&world, path(Format::Responses), asked);
        assert_eq!(answer.header("x-garrison-tier"), Some("up0/m"), "{}", answer.text());
        (answer.ok(), sent_last(&upstream))
    };
    assert_eq!(ask(&asked).1.get("include"), None, "models that do not think refuse it");
    let include = json!(["reasoning.encrypted_content"]);
    for (name, value) in [("reasoning", json!({"effort": "low"})), ("include", include.clone())] {
        asked = asks(Format::Responses, "Hi", false);
        asked[name] = value;
        let sent = ask(&asked).1;
        assert_eq!((&sent["include"], &sent["store"]), (&include, &json!(false)), "{name}: {sent}");
    }
    let said = ask(&asked).0["output"].as_array().unwrap().clone();
    assert_eq!((&said[0]["id"], &said[0]["encrypted_content"]), (&json!("rs_1"), &json!("ZW5j")), "{said:?}");
    let user = json!({"role": "user", "content": "Hi"});
    let lost = json!({"type": "reasoning", "id": "rs_0", "summary": []});
    let turns = [user.clone(), lost].into_iter().chain(said).chain([user]);
    asked["input"] = turns.collect();
    let sent = ask(&asked).1;
    let kinds: Vec<&Value> = sent["input"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["message", "reasoning", "message", "message"], "{sent}");
    assert_eq!(
        (&sent["input"][1]["id"], &sent["input"][1]["encrypted_content"]),
        (&json!("rs_1"), &json!("ZW5j"))
    );
}

#[test]
fn a_call_of_a_server_that_says_only_that_it_has_ended_is_one_to_every_client() {
    let mut said = calls();
    said.pop();
    let upstream = speaking(Format::Chat, said.into_iter().chain([end(Stop::EndTurn)]).collect());
    let (world, _folder) = Setup::new(&[&upstream.url]).start();
    for client in [Format::Messages, Format::Responses] {
        for stream in [true, false] {
            let mut asked = asks(client, "Look x and y up", stream);
            asked["tools"] = json!([tool(client)]);
            let got = understood(client, &post(&world, path(client), &asked), stream);
            assert_eq!(got.stop, Stop::Calls, "{client:?}, stream {stream}");
        }
    }
}

#[test]
fn an_answer_that_breaks_ends_with_the_clients_own_error_event() {
    let begun = || vec![begin(), Delta::Text("Hel".into())];
    for (kind, spoken) in KINDS {
        let upstream = speaking(spoken, begun());
        for client in Format::ALL {
            let mut setup = Setup::new(&[&upstream.url]);
            setup.kind = kind;
            let (world, _folder) = setup.start();
            let answer = post(&world, path(client), &asks(client, "Hello", true));
            assert!(answer.text().contains("Hel"), "{}", answer.text());
            let Some(Delta::Failed(failure)) = heard(client, &answer).pop() else {
                panic!("{client:?} of {spoken:?}: {}", answer.text())
            };
            assert_eq!(failure.code.as_deref(), Some("provider_broke_off"), "{client:?}: {}", answer.text());
            assert!(failure.message.contains("cut off"), "{}", failure.message);
            // Nobody has seen anything of a whole one, so a model here answers it.
            let answer = post(&world, path(client), &asks(client, "say:here", false));
            assert_eq!(understood(client, &answer, false).parts, [Part::text("here")]);
        }
    }
}

#[test]
fn when_nobody_answers_the_client_is_told_in_its_words() {
    let broken = FakeServer::recording("127.0.0.1:0", |_, _| Script::refusal(500, "oh")).unwrap();
    let mut setup = Setup::new(&[&broken.url]);
    setup.route.policy.last_resort = LastResort::Refuse;
    let (world, _folder) = setup.start();
    let refused = post(&world, "/v1/messages", &asks(Format::Messages, "Hi", true));
    assert_eq!(refused.status, 502);
    let error: Value = serde_json::from_str(&refused.text()).unwrap();
    assert_eq!(
        (&error["type"], &error["error"]["type"], &error["error"]["code"]),
        (&json!("error"), &json!("api_error"), &json!("providers_failed"))
    );
    let refused = post(&world, "/v1/responses", &asks(Format::Responses, "Hi", false)).error(502);
    assert_eq!((&refused["code"], &refused["type"]), (&json!("providers_failed"), &json!("server_error")));
    // And of what is refused before it is asked.
    let mut wrong = asks(Format::Messages, "Hi", false);
    wrong["stop_sequences"] = json!([""]);
    let refused = post(&world, "/v1/messages", &wrong);
    assert!(refused.status == 400 && refused.text().contains("stop_sequences[0]"), "{}", refused.text());
}

#[test]
fn answers_from_elsewhere_are_judged_in_every_dialect() {
    let words = ["Write ", "to zoe@buech", "er.example ", "soon."].map(|word| Delta::Text(word.into()));
    let said: Vec<Delta> =
        [begin()].into_iter().chain(words).chain([Delta::PartEnd, end(Stop::EndTurn)]).collect();
    for (kind, spoken) in KINDS {
        let upstream = speaking(spoken, said.clone());
        for (operator, shown, stop) in [
            (InAnswers::Redact(Operators::all(Operator::Replace)), "Write to <EMAIL> soon.", Stop::EndTurn),
            (InAnswers::Block, "Write to ", Stop::Filtered),
        ] {
            let mut settings = Settings::default();
            settings.answers.private = operator;
            let mut setup = Setup::new(&[&upstream.url]);
            setup.kind = kind;
            setup.config.gateway = Arc::new(Gateway::new(settings).unwrap());
            let (world, _folder) = setup.start();
            for client in Format::ALL {
                for stream in [true, false] {
                    let got = understood(
                        client,
                        &post(&world, path(client), &asks(client, "Hello", stream)),
                        stream,
                    );
                    let case = format!("{client:?} asks {spoken:?}, stream {stream}");
                    assert_eq!((got.parts, got.stop), (vec![Part::text(shown)], stop.clone()), "{case}");
                }
            }
        }
    }
}

/// Something that looks like the bytes of a picture.
fn picture() -> String {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 26) as usize] as char
    };
    format!("iVBORw0KGgo{}", (0..60_001).map(|_| noise()).collect::<String>())
}

/// What shows a picture and asks what is on it.
fn shows(format: Format, data: &str) -> Value {
    let mut body = asks(format, "", false);
    let url = format!("data:image/png;base64,{data}");
    match format {
        Format::Chat => {
            body["messages"][0]["content"] = json!([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]);
        }
        Format::Messages => {
            let source = json!({"type": "base64", "media_type": "image/png", "data": data});
            body["messages"][0]["content"] =
                json!([{"type": "text", "text": "What is this?"}, {"type": "image", "source": source}]);
        }
        Format::Responses => {
            body["input"] = json!([{"role": "user", "content": [
                {"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": url}]}]);
        }
    }
    body
}

#[test]
fn images_go_to_tiers_that_take_them_and_are_refused_by_name_otherwise() {
    let data = picture();
    for (kind, spoken) in KINDS {
        let blind = speaking(spoken, text());
        let seeing = speaking(spoken, text());
        let mut setup = Setup::new(&[&blind.url, &seeing.url]);
        setup.kind = kind;
        setup.route.policy.tiers[1].has = setup.route.policy.tiers[1].has.and(Need::Images);
        let (world, _folder) = setup.start();
        for client in Format::ALL {
            let id = [("x-request-id", "r-1")];
            let answer = send(&world, "POST", path(client), &id, &shows(client, &data).to_string());
            let trace = get(&world, "/v1/garrison/requests/r-1").ok();
            assert_eq!(answer.header("x-garrison-tier"), Some("up1/m"), "{} {trace}", answer.text());
            assert_eq!(understood(client, &answer, false).parts, [Part::text("Hello there.")]);
            assert_eq!(
                (&trace["decisions"][0]["why"], &trace["decisions"][0]["need"]),
                (&json!("lacks"), &json!("images"))
            );
            let sent = String::from_utf8(seeing.asked().pop().unwrap()).unwrap();
            assert!(sent.contains(&data) && sent.contains("What is this?"), "{client:?} to {spoken:?}");
            // What must stay stays, and a model here sees no pictures.
            let mut private = shows(client, &data).to_string();
            private = private.replace("What is this?", "Is this zoe@buecher.example?");
            let refused = send(&world, "POST", path(client), &[], &private);
            assert_eq!(refused.status, 400, "{}", refused.text());
            assert!(refused.text().contains("holds an image"), "{}", refused.text());
        }
        assert!(blind.asked().is_empty() && seeing.asked().len() == 3);
    }
}
