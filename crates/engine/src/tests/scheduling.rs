use garrison_testkit::tiny_adapter;
use garrison_types::{FinishReason, Sampling};
use proptest::prelude::*;

use super::rig::*;
use crate::{AdapterHandle, EngineConfig, Event, Failure, Request, Stream, SubmitError};

#[test]
fn sequences_join_and_leave_a_running_batch() {
    let mut rig = Rig::hashing(config());
    let mut first = rig.submit(request(prompt(5, 1), 4));
    rig.step();
    let mut second = rig.submit(request(prompt(7, 2), 2));
    rig.run();
    assert_eq!(rig.control.log(), [vec![5], vec![1, 7], vec![1, 1], vec![1]]);
    assert_eq!(Answer::read(&mut first).tokens().len(), 4);
    assert_eq!(Answer::read(&mut second).tokens().len(), 2);
    let stats = rig.engine.stats();
    assert_eq!((stats.steps, stats.batch_tokens), (4, 5 + 8 + 2 + 1));
    assert_eq!((stats.prompt_tokens, stats.generation_tokens, stats.finished_length), (12, 6, 2));
}

#[test]
fn a_long_prompt_comes_in_chunks_and_stalls_no_stream() {
    let mut rig = Rig::hashing(EngineConfig { max_batch_tokens: 16, ..config() });
    let mut short: Vec<Stream> = (0..3).map(|i| rig.submit(request(prompt(2, i), 20))).collect();
    rig.step();
    let mut long = rig.submit(request(prompt(100, 9), 2));
    for step in 1..=7 {
        rig.step();
        for stream in &mut short {
            assert!(
                matches!(stream.try_recv(), Some(Event::Token(_))),
                "step {step} brings each stream a token"
            );
        }
    }
    rig.run();
    let log = rig.control.log();
    let long_chunks: Vec<usize> = log[1..9].iter().map(|step| step[3]).collect();
    assert_eq!(long_chunks, [13, 13, 13, 13, 13, 13, 13, 9]);
    assert!(log.iter().all(|step| step.iter().sum::<usize>() <= 16));
    assert_eq!(Answer::read(&mut long).tokens().len(), 2);
}

#[test]
fn a_long_prompt_stalls_streams_for_the_time_allowed_at_most() {
    let max_stall = Some(std::time::Duration::from_millis(250));
    let mut rig = Rig::hashing(EngineConfig { max_batch_tokens: 256, max_stall, ..config() });
    let (fixed, per_token) = (0.05, 0.004);
    rig.control.set_cost(fixed, per_token);
    let _warm = rig.answer(request(prompt(300, 3), 1));
    let _stream = rig.submit(request(prompt(2, 1), 100));
    rig.step();
    let before = rig.control.log().len();
    let _long = rig.submit(request(prompt(500, 9), 1));
    for _ in 0..13 {
        rig.step();
    }
    let steps = rig.control.log().split_off(before);
    let seconds: Vec<f64> =
        steps.iter().map(|s| fixed + per_token * s.iter().sum::<usize>() as f64).collect();
    assert!(seconds.iter().all(|&s| s < 0.250), "{seconds:?}");
    let read: usize = steps.iter().filter_map(|s| s.get(1)).sum();
    assert_eq!(read, 500, "in about the steps that the time allows: {steps:?}");
}

/// vLLM #52871: one oversized prompt that takes the engine down.
#[test]
fn a_prompt_that_can_never_fit_is_refused_at_once_and_harms_nobody() {
    let mut rig = Rig::hashing(EngineConfig { n_blocks: 8, max_batch_tokens: 16, ..config() });
    let mut running = rig.submit(request(prompt(40, 1), 30));
    rig.step();
    for tokens in [112, 113, 511, 512, 100_000] {
        let refused = rig.engine.submit(request(prompt(tokens, 2), 1)).unwrap_err();
        assert_eq!(refused, SubmitError::ContextLengthExceeded { prompt_tokens: tokens, limit: 112 });
        rig.step();
    }
    rig.run();
    assert_eq!(Answer::read(&mut running), Rig::hashing(config()).answer(request(prompt(40, 1), 30)));
}

#[test]
fn first_come_is_first_served() {
    let mut rig = Rig::hashing(EngineConfig { max_seqs: 1, ..config() });
    let mut streams: Vec<Stream> = (0..4).map(|i| rig.submit(request(prompt(3, i), 2))).collect();
    for done in 0..4 {
        rig.step();
        rig.step();
        let ended = streams.iter_mut().map(|s| Answer::read(s).events.len()).collect::<Vec<_>>();
        assert_eq!(ended.iter().position(|&n| n == 3), Some(done), "events now: {ended:?}");
    }
}

#[test]
fn a_client_that_goes_away_is_gone_within_a_step() {
    let mut rig = Rig::hashing(config());
    let mut stays = rig.submit(request(prompt(4, 1), 10));
    let goes = rig.submit(request(prompt(40, 2), 100));
    rig.step();
    rig.step();
    assert_eq!(rig.engine.stats().running, 2);
    let used = rig.engine.stats().kv_blocks_used;
    drop(goes);
    rig.step();
    assert_eq!(rig.control.log().last().unwrap(), &[1], "it takes no part in the next step");
    let stats = rig.engine.stats();
    assert_eq!((stats.running, stats.in_flight, stats.cancelled), (1, 1, 1));
    assert_eq!(used - stats.kv_blocks_used, 3);
    rig.run();
    assert_eq!(Answer::read(&mut stays).tokens().len(), 10);
}

#[test]
fn a_client_that_goes_away_in_the_queue_leaves_it() {
    let mut rig = Rig::hashing(EngineConfig { max_seqs: 1, ..config() });
    let _running = rig.submit(request(prompt(4, 1), 10));
    let waiting = rig.submit(request(prompt(4, 2), 10));
    rig.step();
    assert_eq!((rig.engine.stats().running, rig.engine.stats().waiting), (1, 1));
    waiting.cancel();
    rig.step();
    assert_eq!((rig.engine.stats().running, rig.engine.stats().waiting), (1, 0));
    assert_eq!(rig.engine.stats().in_flight, 1);
}

#[test]
fn the_youngest_gives_way_and_is_computed_again() {
    // Seven blocks of 16: both prompts fit, both answers do not.
    let small = EngineConfig { n_blocks: 8, max_batch_tokens: 20, ..config() };
    let mut rig = Rig::hashing(small);
    let requests = [request(prompt(30, 1), 40), request(prompt(28, 2), 40)];
    let mut streams = requests.clone().map(|r| rig.submit(r));
    rig.run();
    assert!(rig.engine.stats().preemptions > 0, "the case must preempt");
    assert_eq!(rig.engine.stats().prompt_tokens, 58, "a prompt is counted once");
    for (request, stream) in requests.into_iter().zip(&mut streams) {
        let alone = Rig::hashing(config()).answer(request);
        assert_eq!(Answer::read(stream), alone, "preemption changes nothing that a client sees");
    }
}

#[test]
fn a_sequence_that_fills_the_whole_cache_ends_with_length() {
    let mut rig = Rig::hashing(EngineConfig { n_blocks: 4, ..config() });
    let mut first = rig.submit(request(prompt(40, 1), 500));
    let mut second = rig.submit(request(prompt(40, 2), 500));
    rig.run();
    for stream in [&mut first, &mut second] {
        let answer = Answer::read(stream);
        assert_eq!(answer.tokens().len(), 8, "48 tokens fit");
        assert_eq!(answer.finish().reason, FinishReason::Length);
    }
}

#[test]
fn prompts_are_scored_in_pieces_that_fit_the_rows() {
    let wide = EngineConfig { max_batch_tokens: 256, ..config() };
    assert_eq!(wide.step_limits().rows, 64);
    let mut rig = Rig::hashing(wide);
    let scored = Request { prompt_logprobs: Some(2), logprobs: Some(1), ..request(prompt(200, 1), 3) };
    let answer = rig.answer(scored.clone());
    // 199 scores and a draw, 64 at most in a step.
    assert_eq!(rig.control.log(), [vec![64], vec![64], vec![64], vec![8], vec![1], vec![1]]);
    let Event::Prompt(scores) = &answer.events[0] else { panic!("scores come first: {:?}", answer.events) };
    assert_eq!(scores.iter().map(|s| s.token).collect::<Vec<_>>(), scored.prompt);
    assert!(
        scores[0].scores.is_none() && scores[1..].iter().all(|s| s.scores.as_ref().unwrap().top.len() == 2)
    );
    // What scores token i is the distribution after i tokens: that of a greedy answer to them.
    for at in [1, 64, 65, 128, 199] {
        let short = Request { logprobs: Some(2), ..request(&scored.prompt[..at], 1) };
        let drawn = Rig::hashing(config()).answer(short);
        let event = drawn.token_events().next().unwrap();
        assert_eq!(
            event.logprobs.as_ref().unwrap().top,
            scores[at].scores.as_ref().unwrap().top,
            "token {at}"
        );
    }
}

#[test]
fn scoring_and_preemption_emit_each_score_once() {
    let mut rig = Rig::hashing(EngineConfig { n_blocks: 9, max_batch_tokens: 9, ..config() });
    let first = request(prompt(50, 3), 40);
    let second = Request { prompt_logprobs: Some(1), ..request(prompt(33, 1), 30) };
    let _first = rig.submit(first);
    let mut stream = rig.submit(second.clone());
    rig.run();
    assert!(rig.engine.stats().preemptions > 0, "the case must preempt");
    assert_eq!(Answer::read(&mut stream), Rig::hashing(config()).answer(second));
}

#[test]
fn a_prompt_can_be_scored_without_an_answer() {
    let mut rig = Rig::hashing(config());
    let answer = rig.answer(Request { prompt_logprobs: Some(0), ..request(prompt(10, 1), 0) });
    assert!(matches!(&answer.events[0], Event::Prompt(scores) if scores.len() == 10));
    assert_eq!((answer.events.len(), answer.finish().usage.completion_tokens), (2, 0));
    let answer = rig.answer(Request { prompt_logprobs: Some(0), ..request(prompt(1, 1), 0) });
    assert!(matches!(&answer.events[0], Event::Prompt(scores) if scores.len() == 1));
    assert_eq!(rig.answer(request(prompt(512, 1), 0)).events.len(), 1, "a prompt may fill the context");
}

#[test]
fn a_failed_step_takes_down_what_runs_and_nothing_else() {
    let mut rig = Rig::hashing(EngineConfig { max_seqs: 2, ..config() });
    let mut running = [1, 2].map(|i| rig.submit(request(prompt(5, i), 5)));
    let mut waiting = rig.submit(request(prompt(5, 3), 5));
    rig.step();
    rig.control.fail_next(1);
    rig.step();
    for stream in &mut running {
        let answer = Answer::read(stream);
        let Some(Event::Failed(Failure::Device(why))) = answer.events.last() else { panic!("{answer:?}") };
        assert!(why.contains("the script says so"), "{why}");
    }
    rig.run();
    assert_eq!(Answer::read(&mut waiting), Rig::hashing(config()).answer(request(prompt(5, 3), 5)));
    assert_eq!((rig.engine.stats().failed, rig.engine.stats().steps), (2, 6));
}

/// Requests that use every feature which could see its neighbours.
pub(super) fn any_request() -> impl Strategy<Value = Request> {
    let sampling =
        (0u32..4, any::<u64>(), prop_oneof![Just(1.0f32), Just(1.3)]).prop_map(|(kind, seed, rep)| {
            let base = Sampling { seed, repetition_penalty: rep, ..Sampling::default() };
            match kind {
                0 => Sampling { temperature: 0.0, ..base },
                1 => base,
                2 => Sampling { top_k: 20, top_p: 0.8, temperature: 0.8, ..base },
                _ => Sampling { min_p: 0.05, frequency_penalty: 0.5, presence_penalty: 0.2, ..base },
            }
        });
    let scoring = prop_oneof![3 => Just(None), 1 => (0u32..3).prop_map(Some)];
    let lengths = (1usize..70, 0u32..40, any::<u32>());
    (lengths, sampling, scoring.clone(), scoring, any::<bool>()).prop_map(
        |((n, max_tokens, seed), sampling, logprobs, prompt_logprobs, ignore_eos)| {
            let mut r = request(prompt(n, seed % 1000), max_tokens);
            r.stop.ignore_eos = ignore_eos;
            r.stop.min_tokens = seed % 3;
            r.stop.strings = vec!["a".into(), "zq".into()];
            Request { sampling, logprobs, prompt_logprobs, ..r }
        },
    )
}

/// None, and three that are the same in every engine.
fn adapters(rig: &Rig) -> [Option<AdapterHandle>; 4] {
    std::array::from_fn(|i| (i > 0).then(|| rig.engine.add_adapter(tiny_adapter(i as u64)).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// The model: each request alone, in a large engine. Whatever the limits, the arrivals and the
    /// neighbours, every client gets exactly that; and every step keeps the invariants (the rig
    /// checks the pool and the order, the executor each batch).
    #[test]
    fn a_request_gets_the_same_answer_in_any_company(
        requests in proptest::collection::vec((any_request(), 0usize..6, 0usize..4), 1..17),
        adapter_slots in 1usize..4,
        max_seqs in 1usize..17,
        max_batch_tokens in prop_oneof![1usize..6, 6usize..200],
        n_blocks in 8usize..40,
        (prefix_cache, prompt_lookup, drafted) in any::<(bool, bool, bool)>(),
        slots in prop_oneof![Just(0usize), 1usize..30],
    ) {
        let config =
            EngineConfig { max_seqs, max_batch_tokens, n_blocks, prefix_cache, prompt_lookup, adapter_slots, ..config() };
        let mut rig = if drafted {
            Rig::drafted_hosted(config, host(slots))
        } else {
            Rig::repeating_hosted(config, host(slots))
        };
        let mut streams = Vec::new();
        let adapters = adapters(&rig);
        for (request, steps_before, adapter) in &requests {
            for _ in 0..*steps_before {
                rig.step();
            }
            streams.push(rig.engine.submit(Request { adapter: adapters[*adapter].clone(), ..request.clone() }));
        }
        rig.run();
        for ((request, _, adapter), stream) in requests.iter().zip(streams) {
            let Ok(mut stream) = stream else {
                prop_assert!(request.prompt.len() + 1 > config.sequence_limit());
                continue;
            };
            let plain = EngineConfig { prefix_cache: false, prompt_lookup: false, ..super::rig::config() };
            let mut alone =
                Rig::repeating(EngineConfig { context: config.sequence_limit(), adapter_slots: 1, ..plain });
            let request = Request { adapter: self::adapters(&alone)[*adapter].clone(), ..request.clone() };
            prop_assert_eq!(Answer::read(&mut stream), alone.answer(request));
        }
    }

    /// With clients leaving and steps failing at random, nothing leaks and nothing hangs.
    #[test]
    fn cancellations_and_failures_leave_nothing_behind(
        script in proptest::collection::vec((0u8..8, any_request(), 0usize..4), 1..60),
        max_batch_tokens in 1usize..40,
        n_blocks in 8usize..30,
        slots in 0usize..10,
    ) {
        let lookup = EngineConfig { prompt_lookup: true, adapter_slots: 2, ..config() };
        let config = EngineConfig { max_seqs: 4, max_batch_tokens, n_blocks, ..lookup };
        let mut rig = Rig::drafted_hosted(config, host(slots));
        let mut streams: Vec<Stream> = Vec::new();
        let adapters = adapters(&rig);
        for (action, request, adapter) in script {
            match action {
                0 | 1 => {
                    let request = Request { adapter: adapters[adapter].clone(), ..request };
                    streams.extend(rig.engine.submit(request).ok());
                }
                2 if !streams.is_empty() => drop(streams.swap_remove(streams.len() / 2)),
                3 => rig.control.fail_next(1),
                4 => rig.control.fail_adapters(1),
                5 if adapter == 0 => rig.draft.fail_next(1),
                6 => rig.control.fail_copies(adapter % 2, adapter / 2),
                _ => rig.step(),
            }
        }
        rig.control.fail_next(0);
        rig.run();
        for stream in &mut streams {
            let last = Answer::read(stream).events.pop();
            let failed = matches!(last, Some(Event::Failed(Failure::Device(_) | Failure::Adapter(_))));
            prop_assert!(failed || matches!(last, Some(Event::Finished(_))), "{last:?}");
        }
        let stats = rig.engine.stats();
        prop_assert_eq!((stats.running, stats.waiting, stats.in_flight, stats.kv_blocks_used), (0, 0, 0, 0));
    }
}
