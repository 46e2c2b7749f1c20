use std::collections::BTreeMap;

use garrison_types::Sampling;

use super::rig::*;
use crate::{EngineConfig, Event, Grammar, Request};

#[test]
fn right_guesses_save_steps_and_change_no_token() {
    let request = Request { logprobs: Some(2), ..request(prompt(40, 1), 120) };
    let mut rig = Rig::drafted(config());
    assert_eq!(rig.answer(request.clone()), Rig::repeating(config()).answer(request));
    let stats = rig.engine.stats();
    assert!(stats.steps < 45, "{} steps for 120 tokens", stats.steps);
    assert!(stats.spec_accepted_tokens > 75, "{stats:?}");
    let log = rig.draft.log();
    assert_eq!(log[0], [42], "what was missed is read at once: the prompt, and two tokens");
    assert!(log[1..].iter().all(|step| step[0] <= 2), "from then on what is new: {log:?}");
}

#[test]
fn sampled_answers_are_the_same_with_everything_on() {
    for seed in 0..8 {
        let r = with_everything(seed);
        for lookup in [false, true] {
            let mut rig = Rig::drafted(EngineConfig { prompt_lookup: lookup, ..config() });
            let guessed = rig.answer(r.clone());
            assert!(rig.engine.stats().spec_accepted_tokens > 20, "seed {seed} must guess");
            assert_eq!(guessed, Rig::repeating(config()).answer(r.clone()));
        }
    }
}

/// The tokens are those of plain decoding, so the distribution is. Shown once without relying on that:
/// a chi-squared test of the fourth token over many seeds, against its exact distribution.
#[test]
fn sampling_with_guesses_follows_the_distribution() {
    // Four letters; each is drawn with odds that depend on the one before.
    let odds = |last: u32| (0..4u32).map(move |i| f64::from(1 + (last * 3 + i * 5) % 7));
    let script = move |wrong: u32| {
        move |past: &[u32], logits: &mut [f32]| {
            logits.fill(f32::NEG_INFINITY);
            let last = past.last().copied().unwrap_or(0) + wrong;
            for (logit, odds) in logits[60..64].iter_mut().zip(odds(last % 7)) {
                *logit = odds.ln() as f32;
            }
        }
    };
    let mut expected: BTreeMap<u32, f64> = [(byte(b'a'), 1.0)].into();
    for _ in 0..4 {
        let mut next = BTreeMap::new();
        for (last, p) in expected {
            let total: f64 = odds(last % 7).sum();
            for (i, o) in odds(last % 7).enumerate() {
                *next.entry(60 + i as u32).or_default() += p * o / total;
            }
        }
        expected = next;
    }
    let config = EngineConfig { max_waiting: 4000, max_waiting_per_client: 4000, ..config() };
    let executor = crate::ScriptedExecutor::new(&config, script(0));
    let mut rig = Rig::drafted_over(config, executor, (config.vocab, config.context), script(1));
    rig.control.set_cost(1.0, 0.0);
    let n = 4000;
    let streams: Vec<_> = (0..n)
        .map(|seed| {
            let sampling = Sampling { seed, ..Sampling::default() };
            rig.submit(Request { sampling, ..request([byte(b'a')], 4) })
        })
        .collect();
    rig.run();
    let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
    for mut stream in streams {
        *counts.entry(Answer::read(&mut stream).tokens()[3]).or_default() += 1.0;
    }
    let stats = rig.engine.stats();
    assert!(stats.spec_accepted_tokens > 500, "{stats:?}");
    assert!(stats.spec_draft_tokens - stats.spec_accepted_tokens > 500, "{stats:?}");
    let chi2: f64 = expected
        .iter()
        .map(|(token, p)| {
            let (seen, wanted) = (counts.get(token).copied().unwrap_or(0.0), p * n as f64);
            (seen - wanted).powi(2) / wanted
        })
        .sum();
    // Three degrees of freedom: 16.3 is passed by one fair sampler in a thousand.
    assert!(chi2 < 16.3, "chi-squared {chi2}: {counts:?} of {expected:?}");
}

#[test]
fn a_grammar_is_followed_through_guesses() {
    let grammars = [
        Grammar::JsonObject,
        Grammar::Regex("([a-f]{3}[0-9]){2,40}".into()),
        // Such lexemes cannot be taken back.
        Grammar::Lark("start: x\nx[max_tokens=70]: /[a-z0-9]+/".into()),
        Grammar::Lark("start: x \"!\"\nx[stop=\"q\"]: /[a-p]{5,60}/".into()),
        Grammar::JsonSchema(
            serde_json::json!({"type": "array", "items": {"enum": ["ab", 17, true]}, "maxItems": 9}),
        ),
    ];
    let (mut accepted, mut rejected) = (0, 0);
    for (i, grammar) in grammars.iter().enumerate() {
        for seed in 0..6 {
            let logit_bias = b"\"}],:".iter().map(|&b| (byte(b), 6.0)).collect();
            let sampling = Sampling { seed, logit_bias, temperature: 0.6, ..Sampling::default() };
            let request = |rig: &Rig| Request {
                constraint: Some(rig.engine.compile(grammar).unwrap()),
                sampling: sampling.clone(),
                ..request(prompt(20, seed as u32), 120)
            };
            for lookup in [false, true] {
                let mut rig = Rig::drafted(EngineConfig { prompt_lookup: lookup, ..config() });
                let mut plain = Rig::repeating(config());
                let guessed = rig.answer(request(&rig));
                assert_eq!(guessed, plain.answer(request(&plain)), "grammar {i}, seed {seed}");
                let stats = rig.engine.stats();
                accepted += stats.spec_accepted_tokens;
                rejected += stats.spec_draft_tokens - stats.spec_accepted_tokens;
            }
        }
    }
    assert!(accepted > 200 && rejected > 20, "{accepted} right, {rejected} wrong");
}

#[test]
fn a_shared_prefix_is_read_once_by_the_draft_model_too() {
    let mut rig = Rig::drafted(EngineConfig { max_batch_tokens: 256, ..config() });
    let sharing = |seed| request([prompt(100, 7), prompt(20, seed)].concat(), 20);
    rig.answer(sharing(1));
    let before = rig.draft.log().len();
    rig.answer(sharing(2));
    assert_eq!(rig.draft.log()[before], [25], "six blocks of 16 are there, and a token was drawn");
}

#[test]
fn a_draft_model_that_fails_is_left_out() {
    let mut rig = Rig::drafted(config());
    let requests = [request(prompt(12, 1), 80), request(prompt(12, 2), 80)];
    let mut streams = requests.clone().map(|r| rig.submit(r));
    for _ in 0..6 {
        rig.step();
    }
    rig.draft.fail_next(usize::MAX);
    let drafted = rig.draft.steps();
    rig.run();
    for (r, stream) in requests.into_iter().zip(&mut streams) {
        assert_eq!(Answer::read(stream), Rig::repeating(config()).answer(r));
    }
    assert_eq!(rig.draft.steps(), drafted + 1, "it is left alone for a while");
    // 256 steps, and 2,048 after the second time.
    answer_for(&mut rig, 300);
    assert_eq!(rig.draft.steps(), drafted + 2);
    answer_for(&mut rig, 1700);
    assert_eq!(rig.draft.steps(), drafted + 2);
    answer_for(&mut rig, 500);
    assert_eq!(rig.draft.steps(), drafted + 3);
    rig.draft.fail_next(0);
    answer_for(&mut rig, 20_000);
    assert_eq!(rig.draft.steps(), drafted + 3, "it is not asked again");
}

/// Has the target run this many steps at least, for answers of 300 tokens.
fn answer_for(rig: &mut Rig, steps: u64) {
    let begun = rig.control.steps();
    let mut seed = 10;
    while rig.control.steps() < begun + steps {
        seed += 1;
        rig.answer(request(prompt(12, seed), 300));
    }
}

/// As it does whose device was lost and is there again; but one that is lost again and again takes the target's
/// requests with it each time.
#[test]
fn a_draft_model_that_recovers_guesses_on_and_is_given_up_at_the_third_time() {
    let mut rig = Rig::drafted(config());
    let fail = |rig: &mut Rig, seed| {
        let asked = request(prompt(12, seed), 480);
        let mut stream = rig.submit(asked.clone());
        (0..4).for_each(|_| rig.step());
        rig.draft.fail_next(1);
        let tried = rig.draft.steps();
        while rig.draft.steps() == tried {
            rig.step();
        }
        rig.run();
        assert_eq!(Answer::read(&mut stream), Rig::repeating(config()).answer(asked));
    };
    for (seed, rest) in [(1, 256), (2, 2048)] {
        let before = rig.draft.log().len();
        fail(&mut rig, seed);
        answer_for(&mut rig, rest);
        let right = rig.engine.stats().spec_accepted_tokens;
        rig.answer(request(prompt(12, seed + 100), 300));
        assert!(rig.engine.stats().spec_accepted_tokens > right + 50);
        let log = rig.draft.log().split_off(before + 1);
        // The first rest ends within the answer.
        let read_again = log.iter().flatten().any(|&tokens| tokens > 12);
        assert!(read_again || seed == 2, "what was lost is read again: {log:?}");
    }
    fail(&mut rig, 3);
    let asked = rig.draft.steps();
    answer_for(&mut rig, 20_000);
    assert_eq!(rig.draft.steps(), asked);
}

#[test]
fn a_small_draft_model_knows_its_limits() {
    let short = |context| {
        let mut rig = Rig::drafted_by(config(), (VOCAB, context), |past, logits| {
            assert!(past.len() <= 60, "it reads no more than it can");
            logits[0] = 1.0;
        });
        rig.answer(request(prompt(30, 1), 100));
        rig.draft.steps()
    };
    assert!(short(60) > 0);
    assert_eq!(short(20), 0);
    let mut rig = Rig::drafted_by(config(), (64, 512), |_, _| ());
    rig.answer(request([60, 61, 200, 62], 40));
    assert_eq!(rig.engine.stats().spec_draft_tokens, 0, "it does not know token 200");
}

#[test]
fn a_draft_model_that_catches_up_stalls_streams_for_the_time_allowed_at_most() {
    let max_stall = Some(std::time::Duration::from_millis(250));
    let mut rig = Rig::drafted(EngineConfig { max_batch_tokens: 512, max_stall, ..config() });
    let (target, draft) = ((0.05, 0.002), (0.005, 0.001));
    rig.control.set_cost(target.0, target.1);
    rig.draft.set_cost(draft.0, draft.1);
    let mut stream = rig.submit(request(prompt(4, 1), 400));
    (0..5).for_each(|_| rig.step());
    let _other = rig.submit(request(prompt(450, 2), 60));
    let (mut ran, mut read) = (rig.control.log().len(), rig.draft.log().len());
    let mut caught_up = 0;
    for _ in 0..30 {
        while stream.try_recv().is_some() {}
        rig.step();
        assert!(stream.try_recv().is_some());
        let (steps, drafts) = (rig.control.log().split_off(ran), rig.draft.log().split_off(read));
        (ran, read) = (ran + steps.len(), read + drafts.len());
        let seconds = |log: &[Vec<usize>], (fixed, each): (f64, f64)| {
            log.iter().map(|step| fixed + each * step.iter().sum::<usize>() as f64).sum::<f64>()
        };
        let took = seconds(&steps, target) + seconds(&drafts, draft);
        assert!(took < 0.250, "{took} s: {steps:?} and {drafts:?}");
        caught_up += drafts.iter().flatten().filter(|&&tokens| tokens > 20).sum::<usize>();
    }
    assert!(caught_up > 400, "it reads the prompt, too: {caught_up} tokens of it");
}

/// vLLM #49548, #50851: speculation that is slower than none.
#[test]
fn a_draft_model_that_does_not_pay_is_hardly_asked() {
    for (target, draft) in [((0.01, 1.0), (0.05, 0.0)), ((1.0, 0.0), (2.0, 0.0))] {
        let mut rig = Rig::drafted(config());
        rig.control.set_cost(target.0, target.1);
        rig.draft.set_cost(draft.0, draft.1);
        let streams: Vec<_> = (0..4).map(|i| rig.submit(request(prompt(12, i), 400))).collect();
        rig.run();
        let spent = rig.draft.steps() as f64 * draft.0;
        let stats = rig.engine.stats();
        let plain = (target.0 + 4.0 * target.1) * 400.0;
        let more = spent + stats.spec_draft_tokens as f64 * target.1;
        assert!(more < 0.03 * plain, "{more} of {plain} s: {stats:?}");
        drop(streams);
    }
}

#[test]
fn guesses_of_many_sequences_are_made_side_by_side() {
    let mut rig = Rig::drafted(config());
    let streams: Vec<_> = (0..6).map(|i| rig.submit(request(prompt(12, i), 60))).collect();
    rig.run();
    let log = rig.draft.log();
    assert!(log.iter().filter(|step| step.len() == 6).count() > 10, "{log:?}");
    for (i, mut stream) in streams.into_iter().enumerate() {
        let events = Answer::read(&mut stream);
        assert_eq!(events, Rig::repeating(config()).answer(request(prompt(12, i as u32), 60)));
        assert!(matches!(events.events.last(), Some(Event::Finished(_))));
    }
}
