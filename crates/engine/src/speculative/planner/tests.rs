use super::*;

const LOOKUP: Sources = Sources { lookup: true, model: None };
const MODEL: Sources = Sources { lookup: false, model: Some(1000) };

/// Steps cost `fixed + per_token * tokens`.
fn planner(fixed: f64, per_token: f64, sources: Sources) -> Planner {
    let mut planner = Planner::new(64, sources);
    for tokens in (1..=64).flat_map(|tokens| [tokens; 10]) {
        planner.observe(tokens, fixed + per_token * tokens as f64);
        planner.settle(tokens, MaskTimes::default(), 0.0);
    }
    planner
}

/// How many guesses `n` sequences that repeat themselves get, whose guesses were right at this rate.
fn planned(planner: &mut Planner, n: usize, right: usize, wrong: usize) -> usize {
    let tokens: Vec<u32> = (0..8).chain(0..4).collect();
    let source = if planner.sources.lookup { Source::Lookup } else { Source::Model };
    let mut drafts: Vec<Draft> = (0..n).map(|_| Draft::default()).collect();
    for draft in &mut drafts {
        draft.source = source;
        for round in 0..40 {
            draft.checked(1, usize::from(round % (right + wrong) < right));
        }
    }
    let mut candidates: Vec<_> = drafts
        .iter_mut()
        .map(|draft| Candidate { tokens: &tokens, draft, room: 100, generated: 0, unread: 1, mask: 0.0 })
        .collect();
    planner.plan(&mut candidates, n, 64 - n);
    drafts.iter().map(Draft::planned).sum()
}

/// How many guesses of the draft model a single sequence gets that nothing is known of.
fn wanted_alone(planner: &mut Planner, tokens: &[u32], room: usize, unread: usize) -> usize {
    let mut draft = Draft::default();
    let candidate = Candidate { tokens, draft: &mut draft, room, generated: 0, unread, mask: 0.0 };
    planner.plan(&mut [candidate], 1, 63);
    draft.wanted
}

#[test]
fn cheap_tokens_are_guessed_and_dear_ones_are_not() {
    assert_eq!(planned(&mut planner(1.0, 0.001, LOOKUP), 1, 1, 0), 8, "all that the lookup finds");
    assert_eq!(planned(&mut planner(0.0, 1.0, LOOKUP), 1, 1, 0), 0, "a guess costs what a token does");
    assert_eq!(planned(&mut planner(1.0, 0.3, LOOKUP), 1, 0, 1), 0, "they are never right");
    let few = planned(&mut planner(1.0, 0.1, LOOKUP), 1, 3, 1);
    let many = planned(&mut planner(1.0, 0.02, LOOKUP), 1, 3, 1);
    assert!(0 < few && few < many, "{few} and {many}");
    // With sixteen the fixed cost is shared already.
    assert_eq!(planned(&mut planner(1.0, 0.2, LOOKUP), 16, 1, 1), 0);
    assert!(planned(&mut planner(1.0, 0.2, LOOKUP), 1, 1, 1) > 0);
}

#[test]
fn the_draft_models_own_time_counts() {
    let with_draft = |seconds: f64| {
        let mut planner = planner(1.0, 0.02, MODEL);
        (1..=64).for_each(|n| planner.observe_draft(n, n, seconds));
        planned(&mut planner, 1, 4, 1)
    };
    let (cheap, dear, dearest) = (with_draft(0.01), with_draft(0.2), with_draft(1.0));
    assert!(cheap > dear && dear > 0, "{cheap} and {dear}");
    assert_eq!(dearest, 0, "it is as slow as the target");
}

#[test]
fn what_the_draft_model_has_to_read_first_counts() {
    let wanted = |unread: usize| {
        let mut planner = planner(1.0, 0.02, MODEL);
        planner.observe_draft(1, 1, 0.1);
        planner.observe_draft(101, 1, 10.1);
        wanted_alone(&mut planner, &[1; 8], 100, unread)
    };
    assert!(wanted(1) > 0 && wanted(3) > 0);
    assert_eq!(wanted(2000), 0);
}

#[test]
fn what_it_costs_to_begin_is_paid_by_what_is_still_to_come() {
    let wanted = |answer: usize| {
        let mut planner = planner(1.0, 0.02, MODEL);
        planner.observe_draft(1, 1, 0.1);
        planner.observe_draft(101, 1, 10.1);
        (0..100).for_each(|_| planner.ended(answer));
        wanted_alone(&mut planner, &[1; 8], 900, 60)
    };
    assert_eq!(wanted(5), 0, "an answer of five tokens is over too soon");
    assert!(wanted(300) > 0);
}

#[test]
fn expectations_that_are_not_met_are_not_trusted() {
    let mut planner = planner(1.0, 0.02, LOOKUP);
    let steps: Vec<usize> = (0..300)
        .map(|_| {
            let guesses = planned(&mut planner, 1, 9, 1);
            // Whatever it is that is not measured: steps with guesses bring a tenth of what they should.
            planner.step.iter_mut().for_each(|s| s.seconds = 10.0 / s.tokens_per_second.unwrap());
            planner.settle(1, MaskTimes::default(), 0.0);
            guesses
        })
        .collect();
    assert!(steps[0] > 0 && steps[299] == 0, "{steps:?}");
}

#[test]
fn what_was_not_known_speaks_against_no_guess() {
    // A larger step takes three times what it is taken to before any was run.
    let mut planner = Planner::new(64, LOOKUP);
    let step = |planner: &mut Planner, guesses: usize| {
        planner.observe(1 + guesses, 1.0 + 0.3 * guesses as f64);
        planner.settle(1 + guesses, MaskTimes::default(), 0.0);
    };
    (0..20).for_each(|_| step(&mut planner, 0));
    let guesses = planned(&mut planner, 1, 1, 0);
    assert!(guesses > 0);
    step(&mut planner, guesses);
    assert_eq!(planner.trust, 1.0);
    for _ in 0..40 {
        let guesses = planned(&mut planner, 1, 1, 0);
        step(&mut planner, guesses);
    }
    assert!(planner.trust > 0.9, "{}", planner.trust);
}

#[test]
fn a_try_that_pays_brings_trust_back() {
    let mut planner = planner(1.0, 0.02, LOOKUP);
    planner.trust = 0.1;
    let mut steps = 0;
    while planner.trust < 0.7 && steps < 3000 {
        let guesses = planned(&mut planner, 1, 9, 1);
        planner.observe(1 + guesses, 1.0 + 0.02 * (1 + guesses) as f64);
        planner.settle(1 + guesses, MaskTimes::default(), 0.0);
        steps += 1;
    }
    assert!(steps < 400, "{steps} steps");
}

#[test]
fn what_makes_all_steps_late_is_no_argument_against_guesses() {
    // A guess brings a third more. Every other step takes four times as long, whatever is in it.
    let mut planner = planner(1.0, 0.6, LOOKUP);
    let guessed: usize = (0..600)
        .map(|i| {
            let guesses = planned(&mut planner, 1, 9, 1);
            let late = if i % 2 == 0 { 1.0 } else { 4.0 };
            planner.observe(1 + guesses, (1.0 + 0.6 * (1 + guesses) as f64) * late);
            let right = if i % 10 == 0 { 0 } else { guesses };
            planner.settle(1 + right, MaskTimes::default(), 0.0);
            usize::from(i >= 200 && guesses > 0)
        })
        .sum();
    assert!(guessed > 300, "{guessed} of 400 steps had guesses");
}

#[test]
fn what_the_masks_of_guesses_cost_counts() {
    // Steps that wait for this part of what their masks take, a tenth of a step each.
    let wanted = |waited: f64, right: usize, wrong: usize| {
        let mut planner = planner(1.0, 0.02, LOOKUP);
        for _ in 0..50 {
            planner.observe_wait(0.1 * waited);
            planner.settle(1, MaskTimes { made: 0.1, alone: 0.0 }, 0.0);
        }
        let (tokens, mut draft): (Vec<u32>, _) = ((0..8).chain(0..4).collect(), Draft::default());
        (0..40).for_each(|round| draft.checked(1, usize::from(round % (right + wrong) < right)));
        let candidate =
            Candidate { tokens: &tokens, draft: &mut draft, room: 100, generated: 0, unread: 1, mask: 0.5 };
        planner.plan(&mut [candidate], 1, 63);
        draft.planned()
    };
    let (hidden, some, all) = (wanted(0.0, 3, 1), wanted(0.2, 3, 1), wanted(1.0, 3, 1));
    assert!(hidden > some && some > all, "{hidden}, {some} and {all}");
    assert_eq!(wanted(1.0, 1, 3), 0, "it costs half a step and is mostly wrong");
    assert!(wanted(0.0, 1, 3) > 0);
}

#[test]
fn what_the_engine_itself_takes_for_a_step_counts() {
    let wanted = |own: f64| {
        let mut planner = planner(0.2, 0.8, LOOKUP);
        for tokens in 1..=64 {
            (0..100).for_each(|_| {
                planner.observe(tokens, 0.2 + 0.8 * tokens as f64);
                planner.settle(1, MaskTimes::default(), own);
            });
        }
        planned(&mut planner, 1, 9, 1)
    };
    assert_eq!(wanted(0.0), 0, "a guess costs nearly what a step does");
    assert!(wanted(1.0) > 0, "but half of a step's time is the engine's, whatever is guessed");
}

#[test]
fn waits_for_masks_that_nobody_thought_of_are_not_trusted() {
    let mut planner = planner(1.0, 0.02, LOOKUP);
    let steps: Vec<usize> = (0..300)
        .map(|_| {
            let guesses = planned(&mut planner, 1, 9, 1);
            planner.observe(1 + guesses, 1.0);
            planner.settle(1 + guesses, MaskTimes { made: 0.0, alone: 10.0 }, 0.0);
            guesses
        })
        .collect();
    assert!(steps[0] > 0 && steps[299] == 0, "{steps:?}");
}

#[test]
fn the_better_source_is_asked() {
    let mut planner = planner(1.0, 0.001, Sources { lookup: true, model: Some(1000) });
    planner.observe_draft(1, 1, 0.05);
    let tokens: Vec<u32> = (0..8).chain(0..4).collect();
    let mut source = |tokens: &[u32], lookup_right: usize| {
        let mut draft = Draft::default();
        (0..30).for_each(|_| draft.checked(1, lookup_right));
        planner.plan(
            &mut [Candidate { tokens, draft: &mut draft, room: 100, generated: 0, unread: 1, mask: 0.0 }],
            1,
            63,
        );
        assert!(draft.planned() > 0);
        draft.source
    };
    assert_eq!(source(&tokens, 1), Source::Lookup);
    assert_eq!(source(&tokens, 0), Source::Model, "what it repeats is not what follows");
    assert_eq!(source(&tokens[..8], 1), Source::Model, "it repeats nothing");
}

#[test]
fn the_draft_model_is_not_asked_beyond_its_context() {
    let mut planner = planner(1.0, 0.001, Sources { lookup: false, model: Some(20) });
    let mut wanted = |len: usize| wanted_alone(&mut planner, &vec![1; len], 100, 1);
    assert_eq!((wanted(20 - MOST_GUESSES) > 0, wanted(21 - MOST_GUESSES)), (true, 0));
}

#[test]
fn what_does_not_pay_is_tried_again_now_and_then() {
    for sources in [LOOKUP, MODEL] {
        let mut planner = planner(0.0, 1.0, sources);
        let steps: Vec<usize> = (0..2000).map(|_| planned(&mut planner, 1, 1, 1)).collect();
        let tried: usize = steps.iter().sum();
        assert!((5..=25).contains(&tried), "about a hundredth: {tried} guesses in 2000 steps");
    }
}

#[test]
fn nothing_is_guessed_before_anything_was_measured() {
    assert_eq!(planned(&mut Planner::new(64, LOOKUP), 4, 1, 0), 0);
}
