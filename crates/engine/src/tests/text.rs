use garrison_types::{FinishReason, StopConditions};

use super::rig::*;
use crate::{Event, Request, SpecialTokens};

const PROMPT: usize = 3;

/// What comes of a model that says `answer` under these conditions.
fn say(answer: Vec<u32>, stop: StopConditions) -> Answer {
    say_to(answer, |r| Request { stop, ..r })
}

fn say_to(answer: Vec<u32>, change: impl FnOnce(Request) -> Request) -> Answer {
    let mut rig = Rig::saying(PROMPT, answer);
    rig.answer(change(request(prompt(PROMPT, 1), 50)))
}

fn stop(max_tokens: u32) -> StopConditions {
    StopConditions { max_tokens, ..StopConditions::default() }
}

fn stopped(matched: Option<&str>) -> FinishReason {
    FinishReason::Stop { matched: matched.map(String::from) }
}

#[test]
fn an_end_token_ends_and_is_counted_and_not_shown() {
    let answer = say(bytes("hi"), stop(50));
    assert_eq!((answer.text().as_str(), &answer.finish().reason), ("hi", &stopped(None)));
    assert_eq!(answer.tokens(), [byte(b'h'), byte(b'i'), EOS]);
    assert_eq!(answer.finish().usage.completion_tokens, 3);
    assert_eq!(answer.finish().usage.prompt_tokens, PROMPT as u32);
}

#[test]
fn ignore_eos_keeps_going() {
    let answer = say(bytes("hi"), StopConditions { ignore_eos: true, ..stop(6) });
    assert_eq!((answer.text().as_str(), &answer.finish().reason), ("hi", &FinishReason::Length));
    assert_eq!(answer.tokens().len(), 6);
}

#[test]
fn max_tokens_and_the_context_end_with_length() {
    let answer = say(bytes("hello"), stop(3));
    assert_eq!((answer.text().as_str(), &answer.finish().reason), ("hel", &FinishReason::Length));
    let answer = say(vec![byte(b'x'); 1000], stop(u32::MAX));
    assert_eq!(answer.tokens().len(), config().context - PROMPT);
    assert_eq!(answer.finish().reason, FinishReason::Length);
}

#[test]
fn a_stop_string_is_found_across_token_borders() {
    let strings = vec!["END".to_owned(), "never".to_owned()];
    let answer = say(bytes("one ENE ENDtwo"), StopConditions { strings: strings.clone(), ..stop(50) });
    assert_eq!((answer.text().as_str(), &answer.finish().reason), ("one ENE ", &stopped(Some("END"))));
    assert_eq!(answer.tokens().len(), "one ENE END".len(), "nothing is generated after it");
    // While "E" may become "END" it is held back; the "x" of "ENx" sets it free.
    let answer = say(bytes("aENx"), StopConditions { strings: strings.clone(), ..stop(4) });
    let texts: Vec<&str> = answer.token_events().map(|t| t.text.as_str()).collect();
    assert_eq!(texts, ["a", "", "", "ENx"]);
    // Held-back text comes at the end if nothing came of it.
    let answer = say(bytes("aEN"), StopConditions { strings: strings.clone(), ..stop(3) });
    assert_eq!((answer.finish().text.as_str(), answer.text().as_str()), ("EN", "aEN"));
    let shown = StopConditions { strings, include_stop_string: true, ..stop(50) };
    assert_eq!(say(bytes("one END two"), shown).text(), "one END");
}

#[test]
fn stop_tokens_end_by_name() {
    let answer = say(bytes("ab"), StopConditions { token_ids: vec![byte(b'b')], ..stop(50) });
    assert_eq!(answer.text(), "a");
    assert!(matches!(&answer.finish().reason, FinishReason::Stop { matched: Some(_) }));
    assert_eq!(answer.finish().usage.completion_tokens, 2);
    let shown = StopConditions { token_ids: vec![byte(b'b')], include_stop_string: true, ..stop(50) };
    assert_eq!(say(bytes("abc"), shown).text(), "ab");
}

#[test]
fn min_tokens_holds_every_kind_of_stop_off() {
    let early = StopConditions { min_tokens: 5, ..stop(8) };
    // The script wants the end token after two; it is banned until five are there.
    let answer = say(bytes("hi"), early.clone());
    assert_eq!(answer.tokens().len(), 6);
    assert_eq!(answer.tokens().iter().position(|&t| t == EOS), Some(5));
    let named = StopConditions { token_ids: vec![byte(b'h')], ..early.clone() };
    assert!(!say(bytes("hi"), named).tokens()[..5].contains(&byte(b'h')));
    let strings = StopConditions { strings: vec!["b".into()], ..early };
    let answer = say(bytes("abababab"), strings);
    assert_eq!((answer.text().as_str(), answer.tokens().len()), ("ababa", 6));
}

#[test]
fn text_never_carries_half_a_character() {
    let text = "a→😀b";
    let answer = say(bytes(text), stop(50));
    let texts: Vec<&str> = answer.token_events().map(|t| t.text.as_str()).collect();
    assert_eq!(texts, ["a", "", "", "→", "", "", "", "😀", "b", ""]);
    // Cut in the middle of a character, the end says so.
    let answer = say(bytes(text), stop(3));
    assert_eq!((answer.finish().text.as_str(), answer.text().as_str()), ("\u{FFFD}", "a\u{FFFD}"));
}

#[test]
fn an_incomplete_character_at_the_end_can_complete_a_stop_string() {
    let strings = vec!["\u{FFFD}".to_owned()];
    let answer = say(bytes("a→")[..2].to_vec(), StopConditions { strings, ..stop(2) });
    assert_eq!((answer.text().as_str(), &answer.finish().reason), ("a", &stopped(Some("\u{FFFD}"))));
}

#[test]
fn control_tokens_are_left_out_or_shown() {
    let said = vec![byte(b'a'), CONTROL, byte(b'b')];
    assert_eq!(say(said.clone(), stop(50)).text(), "ab");
    let shown = say_to(said, |r| Request { special_tokens: SpecialTokens::Show, stop: stop(3), ..r });
    assert_eq!(shown.text(), "a<|two|>b");
}

#[test]
fn each_token_carries_its_scores_if_asked() {
    let answer = say_to(bytes("hi"), |r| Request { logprobs: Some(2), ..r });
    for event in answer.token_events() {
        let scores = event.logprobs.as_ref().unwrap();
        assert_eq!((scores.top.len(), scores.top[0].0), (2, event.token));
        assert!(scores.logprob > -1e-3 && scores.top[0].1 == scores.logprob);
    }
    assert!(say(bytes("hi"), stop(50)).token_events().all(|t| t.logprobs.is_none()));
    let answer = say_to(bytes("hi"), |r| Request { logprobs: Some(0), ..r });
    assert!(answer.token_events().all(|t| t.logprobs.as_ref().unwrap().top.is_empty()));
}

#[test]
fn times_are_measured_from_arrival() {
    let mut rig = Rig::saying(PROMPT, bytes("hello"));
    let mut stream = rig.submit(request(prompt(PROMPT, 1), 5));
    std::thread::sleep(std::time::Duration::from_millis(5));
    rig.control.set_delay(std::time::Duration::from_millis(4));
    rig.run();
    let events: Vec<Event> = std::iter::from_fn(|| stream.try_recv()).collect();
    let Some(Event::Finished(finish)) = events.last() else { panic!("{events:?}") };
    let t = finish.timings;
    assert!(t.ttft_ms >= 9.0, "waiting and the prompt: {t:?}");
    assert!(t.prompt_ms >= 4.0 && t.prompt_ms < t.ttft_ms, "the prompt alone: {t:?}");
    assert!(t.generation_ms >= 16.0, "four steps: {t:?}");
    assert_eq!((t.prompt_tokens, t.generated_tokens), (3, 5));
}
