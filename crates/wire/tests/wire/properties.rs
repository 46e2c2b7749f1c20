//! Whatever an answer is: its stream says the same, however the text is cut by the model and the bytes by the network.

use garrison_wire::{
    Answer, Delivery, Delta, Format, Message, Part, PartKind, Request, Role, Seal, Stop, StreamError,
    StreamParser, StreamWriter, Usage,
};
use proptest::prelude::*;
use serde_json::Map;

use crate::streams::fold;

fn word() -> impl Strategy<Value = String> {
    // Signs that JSON, SSE and UTF-8 treat with care.
    proptest::collection::vec(
        prop_oneof![
            "[a-z]{1,5}",
            Just("\n".to_owned()),
            Just("\r\n\n".into()),
            Just("\"}".into()),
            Just("data: ".into()),
            Just("ä€😀".into()),
            Just("\u{2028}".into()),
            Just("[DONE]".into())
        ],
        1..5,
    )
    .prop_map(|words| words.concat())
}

fn part() -> impl Strategy<Value = Part> {
    let seal = prop_oneof![
        Just(None),
        "[a-z]{1,8}".prop_map(|s| Some(Seal::Signature(s))),
        ("[a-z]{1,8}", proptest::option::of("[a-z]{1,8}"))
            .prop_map(|(id, encrypted)| Some(Seal::Item { id: format!("rs_{id}"), encrypted })),
    ];
    let arguments = prop_oneof![
        Just(serde_json::json!({})),
        (word(), any::<i32>()).prop_map(|(a, b)| serde_json::json!({"a": a, "b": [b, null]})),
    ];
    prop_oneof![
        4 => word().prop_map(PartKind::Text),
        2 => (word(), seal).prop_map(|(text, seal)| PartKind::Reasoning { text, seal }),
        1 => "[a-z]{1,8}".prop_map(|s| PartKind::Reasoning { text: String::new(), seal: Some(Seal::Redacted(s)) }),
        1 => word().prop_map(PartKind::Refusal),
        3 => ("c[0-9]{1,9}", "[a-z]{1,5}", arguments)
            .prop_map(|(id, name, arguments)| PartKind::Call { id, name, arguments: arguments.to_string() }),
    ]
    .prop_map(Part::new)
}

fn answer() -> impl Strategy<Value = Answer> {
    let stop = prop_oneof![
        Just(Stop::EndTurn),
        Just(Stop::Length),
        Just(Stop::Filtered),
        Just(Stop::Sequence("x".into()))
    ];
    let usage = (0u64..1000, 0u64..1000, 0u64..1000, 0u64..1000, 0u64..1000).prop_map(
        |(uncached, cached, written, output, r)| Usage {
            input: uncached + cached + written,
            cached,
            cache_written: written,
            output: output + r,
            reasoning: r,
        },
    );
    (proptest::collection::vec(part(), 0..6), stop, usage).prop_map(|(mut parts, stop, usage)| {
        // Ids tell calls apart.
        for (i, part) in parts.iter_mut().enumerate() {
            if let PartKind::Call { id, .. } = &mut part.kind {
                *id = format!("{id}_{i}");
            }
        }
        let calls = parts.iter().any(|part| matches!(part.kind, PartKind::Call { .. }));
        Answer {
            id: "resp_1".into(),
            model: "m".into(),
            created: 7,
            parts,
            stop: if calls { Stop::Calls } else { stop },
            usage: Some(usage),
            beside: Map::new(),
        }
    })
}

/// The same deltas with their texts cut further.
fn cut_deltas(answer: &Answer, every: usize) -> Vec<Delta> {
    let mut out = Vec::new();
    for delta in answer.deltas() {
        let (text, again): (&str, fn(String) -> Delta) = match &delta {
            Delta::Text(text) => (text, Delta::Text),
            Delta::Refusal(text) => (text, Delta::Refusal),
            Delta::Reasoning(text) => (text, Delta::Reasoning),
            Delta::Arguments(text) => (text, Delta::Arguments),
            _ => {
                out.push(delta);
                continue;
            }
        };
        let letters: Vec<char> = text.chars().collect();
        out.extend(letters.chunks(every).map(|piece| again(piece.iter().collect())));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_stream_is_the_whole_answer(answer in answer(), every in 1usize..9, cut in 1usize..40) {
        let messages = vec![Message::text(Role::System, "Be brief."), Message::text(Role::User, "Hello?")];
        let request = Request { delivery: Delivery::StreamWithUsage, ..Request::new("m", messages) };
        for format in Format::ALL {
            let mut writer = StreamWriter::new(format, &request);
            let bytes: Vec<u8> =
                cut_deltas(&answer, every).into_iter().flat_map(|delta| writer.write_bytes(delta)).collect();
            let (mut parser, mut deltas) = (StreamParser::new(format), Vec::new());
            for piece in bytes.chunks(cut) {
                prop_assert_eq!(parser.feed(piece, &mut deltas), Ok(()));
            }
            prop_assert_eq!(parser.finish(), Ok(()));
            let folded = fold(deltas).unwrap();
            prop_assert_eq!(folded.to_json(format, &request), answer.to_json(format, &request), "{:?}", format);
            // What was written whole is read as what it was.
            let whole = answer.to_json(format, &request);
            let read = Answer::parse(format, whole.to_string().as_bytes()).unwrap();
            prop_assert_eq!(read.to_json(format, &request), whole);
            // Without its last byte it was cut.
            let mut parser = StreamParser::new(format);
            prop_assert_eq!(parser.feed(&bytes[..bytes.len() - 1], &mut Vec::new()), Ok(()));
            prop_assert_eq!(parser.finish(), Err(StreamError::Cut));
        }
    }

    #[test]
    fn garbage_ends_in_an_error_or_a_cut(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for format in Format::ALL {
            let (mut parser, mut deltas) = (StreamParser::new(format), Vec::new());
            let fed = parser.feed(&bytes, &mut deltas);
            prop_assert!(fed.is_err() || parser.finish() == Err(StreamError::Cut));
        }
    }
}
