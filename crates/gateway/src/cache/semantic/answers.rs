//! Whether two answers are the same, which is how it is learned whether one would have done for the other.

use std::collections::BTreeMap;

use garrison_wire::{Delta, Stop};
use serde_json::Value;

use super::evidence::Label;
use super::{Compare, Embedder, likeness};
use crate::cache::{Kept, Saved};

/// What an answer says, by choice.
#[derive(Debug, Default, PartialEq)]
struct Said(BTreeMap<u64, Choice>);

#[derive(Debug, Default, PartialEq)]
struct Choice {
    text: String,
    /// Of each call the tool and its arguments.
    calls: Vec<(String, String)>,
    /// Why it ends, in Chat's words. A stop string is not told apart from the model's own end: only some servers tell, and the
    /// text is the same.
    end: String,
}

/// Whether `kept` would have done where `new` was said. Calls and the reasons for which they end must be equal; texts must be
/// what `compare` wants.
pub(super) fn label(kept: &Kept, new: &Kept, compare: Compare, embedder: &dyn Embedder) -> Label {
    let (kept, new) = (Said::of(kept), Said::of(new));
    let same = kept.0.len() == new.0.len()
        && kept.0.iter().zip(&new.0).all(|((i, a), (j, b))| {
            i == j
                && a.end == b.end
                && same_calls(&a.calls, &b.calls)
                && same_text(&a.text, &b.text, compare, embedder)
        });
    if same { Label::Right } else { Label::Wrong }
}

fn same_calls(a: &[(String, String)], b: &[(String, String)]) -> bool {
    // Models write the same arguments with other blanks.
    let same = |a: &str, b: &str| match (serde_json::from_str::<Value>(a), serde_json::from_str::<Value>(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
}

fn same_text(a: &str, b: &str, compare: Compare, embedder: &dyn Embedder) -> bool {
    if normal(a) == normal(b) {
        return true;
    }
    let Compare::Alike(least) = compare else { return false };
    // What is too long to be compared is not known to be the same.
    match (embedder.embed(a), embedder.embed(b)) {
        (Ok(a), Ok(b)) => likeness(&a, &b) >= least,
        _ => false,
    }
}

/// Without case, more than one blank at a time, and the sign at its end.
fn normal(text: &str) -> String {
    let text = text.trim().trim_end_matches(['.', '!']).to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Said {
    fn of(kept: &Kept) -> Said {
        let mut said = Said::default();
        for saved in &kept.said {
            match saved {
                // It was written from a value.
                Saved::Chunk(text) => serde_json::from_str(text).iter().for_each(|chunk| said.chunk(chunk)),
                Saved::Delta(delta) => said.delta(delta),
            }
        }
        said
    }

    fn chunk(&mut self, chunk: &Value) {
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let own = self.0.entry(choice["index"].as_u64().unwrap_or(0)).or_default();
            let delta = &choice["delta"];
            for name in ["content", "refusal"] {
                own.text.push_str(delta[name].as_str().unwrap_or_default());
            }
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let at = call["index"].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
                // Calls come in their order; one that jumps ahead is no call of any tool.
                if at >= own.calls.len() {
                    own.calls.push(Default::default());
                }
                if let Some((name, arguments)) = own.calls.last_mut() {
                    name.push_str(call["function"]["name"].as_str().unwrap_or_default());
                    arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
                }
            }
            own.end.push_str(choice["finish_reason"].as_str().unwrap_or_default());
        }
    }

    fn delta(&mut self, delta: &Delta) {
        let own = self.0.entry(0).or_default();
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => own.text.push_str(text),
            Delta::Call { name, .. } => own.calls.push((name.clone(), String::new())),
            Delta::Arguments(more) => {
                if let Some((_, arguments)) = own.calls.last_mut() {
                    arguments.push_str(more);
                }
            }
            Delta::End { stop, .. } => ending(stop).clone_into(&mut own.end),
            Delta::Begin { .. }
            | Delta::Reasoning(_)
            | Delta::Seal(_)
            | Delta::PartEnd
            | Delta::Failed(_) => {}
        }
    }
}

fn ending(stop: &Stop) -> &'static str {
    match stop {
        Stop::EndTurn | Stop::Sequence(_) => "stop",
        Stop::Length => "length",
        Stop::Calls => "tool_calls",
        Stop::Filtered => "content_filter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::semantic::NotEmbedded;
    use crate::providers::Heard;
    use serde_json::json;

    /// Likeness by the first letter.
    #[derive(Debug)]
    struct Letters;

    impl Embedder for Letters {
        fn id(&self) -> &str {
            "letters"
        }

        fn embed(&self, text: &str) -> Result<Vec<f32>, NotEmbedded> {
            if text.len() > 40 {
                return Err(NotEmbedded::TooLong);
            }
            let first = text.bytes().next().unwrap_or(b' ');
            Ok((0..=255).map(|byte| f32::from(u8::from(byte == first))).collect())
        }
    }

    fn chunks(parts: &[Value]) -> Kept {
        let mut kept = Kept::default();
        for part in parts {
            kept.push(&Heard::Chunk(crate::providers::chunk(&json!({"choices": [part]}))));
        }
        kept
    }

    fn text(parts: &[&str]) -> Kept {
        let said = parts.iter().map(|part| json!({"index": 0, "delta": {"content": part}}));
        chunks(&said.chain([json!({"index": 0, "delta": {}, "finish_reason": "stop"})]).collect::<Vec<_>>())
    }

    fn call(arguments: &[&str]) -> Kept {
        let begin = json!({"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}});
        let more = arguments.iter().map(|part| json!({"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}}));
        chunks(&[begin].into_iter().chain(more).collect::<Vec<_>>())
    }

    #[test]
    fn answers_are_the_same_whatever_they_were_cut_into() {
        let same = |a: &Kept, b: &Kept, compare| label(a, b, compare, &Letters) == Label::Right;
        assert!(same(&text(&["It is ", "Paris."]), &text(&["it  is", " paris"]), Compare::Equal));
        assert!(!same(&text(&["It is Paris."]), &text(&["It is Rome."]), Compare::Equal));
        assert!(same(&text(&["It is Paris."]), &text(&["Is it? Paris."]), Compare::Alike(0.9)));
        assert!(!same(&text(&["It is Paris."]), &text(&["Rome."]), Compare::Alike(0.9)));
        assert!(!same(&text(&[&"I".repeat(50)]), &text(&["I"]), Compare::Alike(0.9)), "too long to be told");
        assert!(same(&call(&["{\"q\": ", "1}"]), &call(&["{\"q\":1}"]), Compare::Alike(0.0)));
        assert!(!same(&call(&["{\"q\": 2}"]), &call(&["{\"q\": 1}"]), Compare::Alike(0.0)));
        assert!(!same(
            &text(&["It is"]),
            &chunks(&[json!({"index": 0, "delta": {"content": "It is"}, "finish_reason": "length"})]),
            Compare::Alike(0.0)
        ));
        let mut deltas = Kept::default();
        deltas.push(&Heard::Delta(Delta::Text("It is Paris".into())));
        assert!(same(&deltas, &deltas.clone(), Compare::Equal));
        assert!(!same(&deltas, &text(&["It is Paris"]), Compare::Equal), "it does not end alike");
        let ended = |stop: Stop| {
            let mut kept = deltas.clone();
            kept.push(&Heard::Delta(Delta::End { stop, usage: None, beside: serde_json::Map::new() }));
            kept
        };
        let whole = ended(Stop::EndTurn);
        assert!(
            same(&ended(Stop::Sequence(".".into())), &whole, Compare::Equal),
            "only some tell of stop strings"
        );
        assert!(same(&whole, &text(&["It is Paris"]), Compare::Equal), "chunks and deltas end alike");
        for stop in [Stop::Length, Stop::Calls, Stop::Filtered] {
            assert!(!same(&ended(stop), &whole, Compare::Equal));
        }
    }
}
