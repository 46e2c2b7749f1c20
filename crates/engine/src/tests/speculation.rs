use garrison_testkit::tiny_adapter;

use super::rig::*;
use crate::{EngineConfig, Event, Request, Stream};

fn guessing() -> EngineConfig {
    EngineConfig { prompt_lookup: true, ..config() }
}

/// An engine whose steps cost much, however many tokens they have: guessing pays.
fn eager(config: EngineConfig) -> Rig {
    let rig = Rig::repeating(config);
    rig.control.set_cost(1.0, 0.01);
    rig
}

#[test]
fn right_guesses_save_steps_and_change_no_token() {
    let request = Request { logprobs: Some(2), ..request(prompt(12, 1), 120) };
    let mut rig = eager(guessing());
    let guessed = rig.answer(request.clone());
    assert_eq!(guessed, Rig::repeating(config()).answer(request));
    let stats = rig.engine.stats();
    assert!(stats.steps < 60, "{} steps for 120 tokens", stats.steps);
    assert!(stats.spec_accepted_tokens > 60 && stats.spec_accepted_tokens < stats.spec_draft_tokens);
    assert_eq!(stats.generation_tokens, 120);
    assert_eq!(stats.batch_tokens - stats.spec_draft_tokens, stats.steps + 11, "a prompt of 12, then ones");
}

#[test]
fn the_report_says_what_was_guessed() {
    let mut rig = eager(guessing());
    let mut stream = rig.submit(request(prompt(12, 1), 120));
    rig.run();
    let finish = std::iter::from_fn(|| stream.try_recv()).last();
    let Some(crate::Event::Finished(finish)) = finish else { panic!("{finish:?}") };
    let stats = rig.engine.stats();
    assert_eq!(u64::from(finish.timings.draft_tokens), stats.spec_draft_tokens);
    assert_eq!(u64::from(finish.timings.accepted_tokens), stats.spec_accepted_tokens);
}

#[test]
fn sampled_answers_are_the_same_with_everything_on() {
    for seed in 0..8 {
        let r = with_everything(seed);
        let mut rig = eager(guessing());
        let guessed = rig.answer(r.clone());
        assert!(rig.engine.stats().spec_accepted_tokens > 0, "seed {seed} must guess");
        assert_eq!(guessed, Rig::repeating(config()).answer(r));
    }
}

#[test]
fn an_answer_ends_where_it_would_without_guesses() {
    // Ends by length, by a stop string and by a token, each in the middle of what is guessed.
    let plain = Rig::repeating(config()).answer(request(prompt(12, 1), 100));
    for max_tokens in 40..56 {
        let answer = eager(guessing()).answer(request(prompt(12, 1), max_tokens));
        assert_eq!(answer.tokens(), plain.tokens()[..max_tokens as usize]);
    }
    let text = plain.text();
    for at in 50..60 {
        let mut r = request(prompt(12, 1), 100);
        r.stop.strings = vec![text[at..at + 4].into()];
        r.stop.min_tokens = 45;
        assert_eq!(eager(guessing()).answer(r.clone()), Rig::repeating(config()).answer(r));
    }
}

#[test]
fn guesses_take_no_block_that_another_needs() {
    // Two answers that together fill every block: guesses must not preempt either.
    let tight = EngineConfig { n_blocks: 9, prefix_cache: false, ..guessing() };
    let mut rig = eager(tight);
    let requests = [request(prompt(14, 1), 50), request(prompt(14, 2), 50)];
    let mut streams = requests.clone().map(|r| rig.submit(r));
    rig.run();
    assert_eq!(rig.engine.stats().preemptions, 0);
    for (r, stream) in requests.into_iter().zip(&mut streams) {
        assert_eq!(Answer::read(stream), Rig::repeating(config()).answer(r));
    }
}

#[test]
fn sequences_without_guesses_move_in_every_step() {
    // Eight sequences of which seven repeat themselves, and eight rows: none for a guess.
    let narrow = EngineConfig { max_seqs: 8, max_batch_tokens: 8, ..guessing() };
    let mut rig = eager(narrow);
    let repeating: Vec<_> = (0..7).map(|i| rig.submit(request(prompt(2, i), 200))).collect();
    let constraint = rig.engine.compile(&crate::Grammar::Regex("[a-z]{300}".into())).unwrap();
    let mut plain = rig.submit(Request { constraint: Some(constraint), ..request(prompt(2, 9), 200) });
    for _ in 0..30 {
        rig.step();
    }
    while plain.try_recv().is_some() {}
    for step in 0..60 {
        rig.step();
        assert!(plain.try_recv().is_some(), "step {step} brings it a token");
    }
    drop(repeating);
}

#[test]
fn nothing_is_guessed_while_a_prompt_is_read() {
    let mut rig = eager(EngineConfig { max_batch_tokens: 24, ..guessing() });
    let _first = rig.submit(request(prompt(12, 1), 100));
    for _ in 0..20 {
        rig.step();
    }
    let _second = rig.submit(request(prompt(200, 2), 4));
    rig.step();
    for _ in 0..8 {
        assert_eq!(rig.control.log().last().unwrap()[..], [1, 23], "the prompt gets the step");
        rig.step();
    }
    assert!(rig.engine.stats().spec_draft_tokens > 0);
}

/// Steps until the stream ends.
fn steps_of(rig: &mut Rig, stream: &mut Stream) -> usize {
    let ends = |stream: &mut Stream| {
        std::iter::from_fn(|| stream.try_recv()).any(|event| matches!(event, Event::Finished(_)))
    };
    let mut steps = 0;
    while !ends(stream) {
        rig.step();
        steps += 1;
    }
    steps
}

#[test]
fn who_cannot_be_admitted_keeps_nobody_from_guessing() {
    // What waits for blocks needs all but one; or it waits for the only slot.
    let cases = [(20, 2, request(prompt(290, 2), 4)), (200, 1, request(prompt(12, 2), 4))];
    for (n_blocks, adapter_slots, waiting) in cases {
        let steps = |waiting: Option<Request>| {
            let mut rig = eager(EngineConfig { n_blocks, adapter_slots, ..guessing() });
            let [one, two] = [1, 2].map(|seed| rig.engine.add_adapter(tiny_adapter(seed)).ok());
            let mut first = rig.submit(Request { adapter: one, ..request(prompt(12, 1), 120) });
            rig.step();
            let waits = waiting.map(|waits| rig.submit(Request { adapter: two, ..waits }));
            let steps = steps_of(&mut rig, &mut first);
            assert_eq!(rig.engine.stats().waiting, usize::from(waits.is_some()));
            rig.run();
            steps
        };
        let alone = steps(None);
        let beside = steps(Some(waiting));
        assert!(alone < 60 && beside < alone + 3, "{beside} steps and not {alone}");
    }
}

/// vLLM #49548, #50851: speculation that is slower than none.
#[test]
fn where_tokens_cost_as_much_as_steps_nothing_is_guessed() {
    let mut rig = Rig::repeating(guessing());
    rig.control.set_cost(0.01, 1.0);
    rig.answer(request(prompt(12, 1), 300));
    let stats = rig.engine.stats();
    assert!(stats.spec_draft_tokens < 300 * 3 / 64, "probes only: {}", stats.spec_draft_tokens);
}
