//! What holds of every plan.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

use garrison_route::{
    Accepts, Admission, Cascade, Considered, Features, Language, LastResort, Micros, Need, Needs, Place,
    Policy, Prefer, Price, Privacy, Quality, Scope, Skipped, Statistic, Task, Threshold, Tier, TierState,
    plan,
};
use proptest::prelude::*;

fn tier(name: &str, place: Place, price: Price) -> Tier {
    Tier {
        name: name.into(),
        place,
        price,
        context: 100_000,
        max_output: None,
        has: Needs::from_iter([Need::Tools, Need::Schema]),
        quality: Quality::even(80),
        weight: 0,
        scope: Scope::default(),
    }
}

fn any_tier() -> impl Strategy<Value = Tier> {
    let place = prop_oneof![Just(Place::Local), Just(Place::Remote)];
    let longest = prop::option::of(1..3000u32);
    (0..6u8, place, 0..20_000u64, 0..60_000u64, 100..5000u32, 0..64u8, 0..=100u8, 0..4u32, longest).prop_map(
        |(name, place, input, output, context, has, quality, weight, max_output)| Tier {
            name: format!("t{name}"),
            place,
            price: match place {
                Place::Local => Price::FREE,
                Place::Remote => {
                    Price { input, cached_input: input / 10, cache_write: input / 4 * 5, output }
                }
            },
            context,
            max_output,
            has: Need::ALL.into_iter().filter(|need| has & (1 << *need as u8) != 0).collect(),
            quality: Quality::even(quality),
            weight,
            scope: Scope::default(),
        },
    )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let prefer = prop_oneof![Just(Prefer::Listed), Just(Prefer::Cheapest), Just(Prefer::Fastest)];
    let last = prop_oneof![Just(LastResort::Local), Just(LastResort::Refuse)];
    (
        prop::collection::vec(any_tier(), 0..6),
        any::<bool>(),
        prefer,
        0..=100u8,
        prop::option::of(0..90_000u64),
        last,
        any::<bool>(),
    )
        .prop_map(|(tiers, has_private, prefer, least_quality, max_cost, last_resort, cascades)| {
            Policy {
                tiers,
                private: has_private.then(|| tier("local/private", Place::Local, Price::FREE)),
                prefer,
                least_quality,
                max_cost: max_cost.map(Micros),
                last_resort,
                cascade: cascades.then_some(CASCADE),
            }
        })
}

const CASCADE: Cascade =
    Cascade { statistic: Statistic::Quantile { share: 0.1 }, threshold: Threshold::Fixed(0.5), after: None };

fn any_features() -> impl Strategy<Value = Features> {
    let privacy = prop_oneof![Just(Privacy::Clear), Just(Privacy::Held)];
    let task = prop::sample::select(Task::ALL.to_vec());
    let output = prop::option::of(1..2000u64);
    (0..4000u64, output, 1..4u64, task, 0..64u8, privacy, prop::option::of(0..90_000u64), any::<u64>())
        .prop_map(|(prompt, output_tokens, choices, task, needs, privacy, budget, sticky)| Features {
            prompt_tokens: prompt / 4,
            most_prompt_tokens: prompt,
            output_tokens,
            choices,
            task,
            needs: Need::ALL.into_iter().filter(|need| needs & (1 << *need as u8) != 0).collect(),
            privacy,
            budget: budget.map(Micros),
            sticky,
            language: None,
        })
}

fn any_states() -> impl Strategy<Value = Vec<TierState>> {
    let breaker = prop_oneof![
        Just(Admission::Closed),
        Just(Admission::Probe),
        Just(Admission::Probing),
        Just(Admission::Open { retry_in_ms: 5 })
    ];
    let state = (breaker, prop::option::of(1..9_000_000u64), any::<bool>())
        .prop_map(|(breaker, first_token_us, broke_off)| TierState { breaker, first_token_us, broke_off });
    prop::collection::vec(state, 7)
}

fn of(policy: &Policy, index: usize) -> &Tier {
    policy.tiers.get(index).or(policy.private.as_ref()).unwrap()
}

proptest! {
    #[test]
    fn what_is_not_cleared_never_gets_a_remote_tier(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        let features = Features { privacy: Privacy::Held, ..features };
        let plan = plan(&features, &policy, &states);
        prop_assert!(plan.steps.iter().all(|step| of(&policy, step.tier).place == Place::Local));
        if policy.private.is_some() && !features.needs.has(Need::Images) && !states[policy.tiers.len()].broke_off {
            prop_assert_eq!(plan.steps[0].tier, policy.tiers.len(), "it goes to the private one first");
        }
    }

    #[test]
    fn a_plan_is_never_empty_where_there_is_a_local_tier(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        let policy = Policy { last_resort: LastResort::Local, ..policy };
        let sees = |tier: &Tier| !features.needs.has(Need::Images) || tier.has.has(Need::Images);
        let well = |i: usize| !states[i].broke_off;
        let local = match &policy.private {
            Some(private) if well(policy.tiers.len()) => sees(private),
            _ => {
                let mut tiers = policy.tiers.iter().enumerate();
                tiers.any(|(i, tier)| tier.place == Place::Local && sees(tier) && well(i))
            }
        };
        let plan = plan(&features, &policy, &states);
        prop_assert!(!local || plan.steps.iter().any(|step| of(&policy, step.tier).place == Place::Local));
    }

    #[test]
    fn whose_answer_broke_off_is_not_asked_to_go_on_with_it(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        for step in plan(&features, &policy, &states).steps {
            prop_assert!(!states[step.tier].broke_off);
        }
    }

    #[test]
    fn images_go_only_to_tiers_that_take_them(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        let features = Features { needs: features.needs.and(Need::Images), ..features };
        for step in plan(&features, &policy, &states).steps {
            prop_assert!(of(&policy, step.tier).has.has(Need::Images));
        }
    }

    #[test]
    fn only_what_may_leave_is_asked_of_two_and_never_of_the_same_twice(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        let plan = plan(&features, &policy, &states);
        for position in 0..=plan.steps.len() {
            let Some(beside) = plan.beside(position, &policy) else { continue };
            prop_assert_eq!(features.privacy, Privacy::Clear);
            prop_assert_eq!(Some(&beside), plan.steps.get(position + 1));
            prop_assert!(of(&policy, beside.tier).place == Place::Remote && beside.tier != plan.steps[position].tier);
        }
    }

    #[test]
    fn nothing_is_asked_twice_and_each_step_has_its_decision(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        let plan = plan(&features, &policy, &states);
        let mut seen: Vec<usize> = plan.steps.iter().map(|step| step.tier).collect();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), plan.steps.len());
        let mut positions: Vec<usize> = plan.decisions.iter().filter_map(|decision| match decision.considered {
            Considered::Taken { position } | Considered::LastResort { position, .. } => Some(position),
            Considered::Private { position } => Some(position),
            Considered::Skipped(_) | Considered::NotNeeded => None,
        }).collect();
        positions.sort_unstable();
        prop_assert_eq!(positions, (0..plan.steps.len()).collect::<Vec<_>>());
        prop_assert_eq!(plan.decisions.len(), policy.tiers.len() + usize::from(policy.private.is_some()));
    }

    #[test]
    fn only_a_model_here_is_weighed_and_only_where_what_may_leave_has_somebody_better_to_go_to(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        let plan = plan(&features, &policy, &states);
        let resort = plan.decisions.iter().find_map(|decision| match decision.considered {
            Considered::LastResort { position, .. } => Some(position),
            _ => None,
        });
        for (position, step) in plan.steps.iter().enumerate() {
            let better = (position + 1..plan.steps.len()).any(|later| resort != Some(later));
            let here = of(&policy, step.tier).place == Place::Local;
            let weighed = policy.cascade.is_some() && features.privacy == Privacy::Clear && here && better;
            prop_assert_eq!(step.accepts == Accepts::WhatIsSure, weighed);
        }
    }

    #[test]
    fn no_step_elsewhere_can_cost_more_than_the_limits(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        for step in plan(&features, &policy, &states).steps {
            let tier = of(&policy, step.tier);
            if tier.place == Place::Remote {
                for limit in [policy.max_cost, features.budget].into_iter().flatten() {
                    prop_assert!(step.reserve <= limit);
                    let output = step.output_tokens.unwrap() * features.choices;
                    prop_assert!(tier.price.most(features.most_prompt_tokens, output) <= step.reserve);
                }
            }
        }
    }

    #[test]
    fn no_step_elsewhere_asks_for_more_than_a_model_can_give(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        for step in plan(&features, &policy, &states).steps {
            let tier = of(&policy, step.tier);
            let limited = policy.max_cost.is_some() || features.budget.is_some();
            if tier.place == Place::Local {
                continue;
            }
            prop_assert_eq!(step.output_tokens.is_some(),
                features.output_tokens.is_some() || limited || tier.max_output.is_some());
            let output = step.output_tokens.unwrap_or(0);
            prop_assert!(tier.max_output.is_none_or(|most| output <= u64::from(most)));
            let room = |prompt: u64| u64::from(tier.context).saturating_sub(prompt);
            let careful = room(features.most_prompt_tokens.div_ceil(3));
            let room = if careful < 4096 { room(features.prompt_tokens) } else { careful };
            prop_assert!(features.output_tokens.is_some() || output <= room.max(64));
        }
    }

    #[test]
    fn a_step_within_a_limit_costs_no_more_and_asks_for_no_more(
        features in any_features(), policy in any_policy(), states in any_states(), limit in 0..90_000u64
    ) {
        for step in plan(&features, &policy, &states).steps {
            let tier = of(&policy, step.tier);
            match step.within(Micros(limit), &features, tier) {
                Some(within) if step.reserve <= Micros(limit) => prop_assert_eq!(within, step),
                Some(within) => {
                    prop_assert!(within.reserve <= Micros(limit) && within.output_tokens.is_some());
                    prop_assert!(step.output_tokens.is_none_or(|most| within.output_tokens <= Some(most)));
                    // What a client asks for is not cut.
                    prop_assert!(features.output_tokens.is_none() || within.output_tokens == step.output_tokens);
                }
                None => prop_assert!(step.reserve > Micros(limit)),
            }
        }
    }

    #[test]
    fn the_cheapest_that_is_good_enough_is_first(
        features in any_features(), policy in any_policy(), states in any_states()
    ) {
        let mut policy = Policy { prefer: Prefer::Cheapest, ..policy };
        policy.tiers.iter_mut().for_each(|tier| tier.weight = 0);
        let features = Features { privacy: Privacy::Clear, ..features };
        let plan = plan(&features, &policy, &states);
        let taken: Vec<_> = plan.decisions.iter().filter_map(|decision| match decision.considered {
            Considered::Taken { position } => Some((position, decision)),
            _ => None,
        }).collect();
        for (_, decision) in &taken {
            prop_assert!(decision.quality >= policy.least_quality);
        }
        if let Some((_, first)) = taken.iter().find(|(position, _)| *position == 0) {
            prop_assert!(taken.iter().all(|(_, decision)| decision.expected >= first.expected));
        }
    }
}

fn features() -> Features {
    Features {
        prompt_tokens: 100,
        most_prompt_tokens: 400,
        output_tokens: None,
        choices: 1,
        task: Task::Chat,
        needs: Needs::NONE,
        privacy: Privacy::Clear,
        budget: None,
        sticky: 0,
        language: None,
    }
}

const WELL: TierState = TierState { breaker: Admission::Closed, first_token_us: None, broke_off: false };

fn policy() -> Policy {
    let price = |input, output| Price { input, cached_input: input, cache_write: input, output };
    Policy {
        tiers: vec![
            tier("a/large", Place::Remote, price(3000, 15_000)),
            tier("b/small", Place::Remote, price(200, 800)),
        ],
        private: Some(tier("local/mine", Place::Local, Price::FREE)),
        prefer: Prefer::Listed,
        least_quality: 0,
        max_cost: None,
        last_resort: LastResort::Local,
        cascade: None,
    }
}

#[test]
fn an_experiment_is_sticky_has_its_shares_and_moves_only_whom_it_must() {
    let mut policy = policy();
    policy.tiers[0].weight = 1;
    policy.tiers[1].weight = 3;
    let first = |sticky: u64, states: &[TierState]| {
        plan(&Features { sticky, ..features() }, &policy, states).steps[0].tier
    };
    let users: Vec<u64> = (0..20_000).map(|i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    let sides: Vec<usize> = users.iter().map(|user| first(*user, &[WELL; 3])).collect();
    let share = sides.iter().filter(|side| **side == 0).count() as f64 / users.len() as f64;
    assert!((share - 0.25).abs() < 0.015, "{share}"); // five standard deviations
    for (user, side) in users.iter().zip(&sides).take(500) {
        assert_eq!(first(*user, &[WELL; 3]), *side);
        let down = TierState { breaker: Admission::Probing, ..WELL };
        assert_eq!(first(*user, &[down, WELL, WELL]), 1);
    }
}

#[test]
fn each_reason_is_told() {
    let why = |features: Features, change: &dyn Fn(&mut Policy), states: &[TierState]| {
        let mut policy = policy();
        change(&mut policy);
        match plan(&features, &policy, states).decisions[0].considered {
            Considered::Skipped(why) => why,
            other => panic!("{other:?}"),
        }
    };
    let well = [WELL; 3];
    let held = Features { privacy: Privacy::Held, ..features() };
    assert_eq!(why(held, &|_| (), &well), Skipped::NotCleared);
    let images = Features { needs: Needs::NONE.and(Need::Images), ..features() };
    assert_eq!(why(images, &|_| (), &well), Skipped::Lacks { need: Need::Images });
    let long = Features { prompt_tokens: 200_000, ..features() };
    assert_eq!(why(long, &|_| (), &well), Skipped::TooLong);
    let much = Features { output_tokens: Some(5000), ..features() };
    assert_eq!(why(much, &|policy| policy.tiers[0].max_output = Some(4096), &well), Skipped::TooLong);
    assert_eq!(why(features(), &|policy| policy.least_quality = 81, &well), Skipped::Quality);
    assert_eq!(why(features(), &|policy| policy.max_cost = Some(Micros(5)), &well), Skipped::RequestCap);
    let poor = Features { budget: Some(Micros(0)), ..features() };
    assert_eq!(why(poor, &|_| (), &well), Skipped::Budget);
    let breaker = Admission::Open { retry_in_ms: 9 };
    let down = [TierState { breaker, ..WELL }, WELL, WELL];
    assert_eq!(why(features(), &|_| (), &down), Skipped::Breaker { breaker });
    let broke = [TierState { broke_off: true, ..WELL }, WELL, WELL];
    assert_eq!(why(features(), &|_| (), &broke), Skipped::BrokeOff);
}

#[test]
fn an_answer_that_nobody_limited_fits_into_what_its_model_can_give() {
    let asked_for = |features: Features, context: u32, max_output: Option<u32>| {
        let mut policy = policy();
        (policy.tiers[0].context, policy.tiers[0].max_output) = (context, max_output);
        plan(&features, &policy, &[WELL; 3]).steps[0].output_tokens
    };
    let asked = |context: u32, max_output: Option<u32>, budget: Option<u64>, most_prompt_tokens: u64| {
        let features = Features { most_prompt_tokens, budget: budget.map(Micros), ..features() };
        asked_for(features, context, max_output)
    };
    let much = Some(1_000_000);
    assert_eq!(asked(128_000, None, much, 3000), Some(16_384));
    assert_eq!(asked(8192, None, much, 3000), Some(7192), "a token of the prompt in three bytes");
    assert_eq!(asked(128_000, Some(4096), much, 3000), Some(4096));
    assert_eq!(asked(8192, Some(8192), much, 3000), Some(7192));
    assert_eq!(asked(1000, None, much, 3000), Some(900), "what may fit is asked");
    assert_eq!(asked(8192, None, Some(24_000), 3000), Some(1000), "money is less");
    assert_eq!(asked(8192, None, None, 3000), None, "nobody says how much");
    assert_eq!(asked(128_000, Some(4096), None, 3000), Some(4096), "the owner does");
    // Much of what it may be at most, a long English text or many pictures are not.
    let long = |prompt_tokens, most_prompt_tokens| {
        let budget = Some(Micros(1_000_000_000));
        let features = Features { prompt_tokens, most_prompt_tokens, budget, ..features() };
        asked_for(features, 128_000, None)
    };
    assert_eq!(long(100_000, 400_000), Some(16_384));
    assert_eq!(long(24 * 1600, 24 * 16_384), Some(16_384));
    assert_eq!(long(120_000, 480_000), Some(8000), "no more than is left by the usual estimate");
    assert_eq!(long(128_000, 512_000), Some(64), "what may fit is asked");
    assert_eq!(long(90_000, 371_000), Some(4333), "where the careful one leaves enough, it counts");
}

#[test]
fn a_cascade_weighs_the_first_tier_unless_nobody_better_may_be_asked() {
    let mut policy = policy();
    policy.tiers.insert(0, tier("local/mine", Place::Local, Price::FREE));
    policy.cascade = Some(CASCADE);
    let first = |features: Features, states: &[TierState]| plan(&features, &policy, states).steps[0].accepts;
    let well = [WELL; 4];
    assert_eq!(first(features(), &well), Accepts::WhatIsSure);
    assert_eq!(first(Features { privacy: Privacy::Held, ..features() }, &well), Accepts::Anything);
    assert_eq!(first(Features { budget: Some(Micros(0)), ..features() }, &well), Accepts::Anything);
    let down = TierState { breaker: Admission::Probing, ..WELL };
    assert_eq!(first(features(), &[WELL, down, down, WELL]), Accepts::Anything);
}

#[test]
fn a_tier_is_asked_for_its_languages_and_lengths_and_for_what_nobody_can_tell() {
    let language = |code: &str| Language::new(code).unwrap();
    let mut policy = policy();
    policy.tiers[0].scope = Scope { languages: vec![language("en"), language("de")], ..Scope::default() };
    policy.tiers[1].scope.prompt_tokens = 50..=120;
    let why =
        |features: &Features, tier: usize| plan(features, &policy, &[WELL; 3]).decisions[tier].considered;
    let asks = |code: Option<&str>, prompt_tokens| Features {
        language: code.map(language),
        prompt_tokens,
        ..features()
    };
    assert_eq!(why(&asks(Some("de"), 100), 0), Considered::Taken { position: 0 });
    assert_eq!(why(&asks(None, 100), 0), Considered::Taken { position: 0 });
    assert_eq!(why(&asks(Some("fr"), 100), 0), Considered::Skipped(Skipped::Language));
    assert_eq!(why(&asks(Some("fr"), 100), 1), Considered::Taken { position: 0 });
    for (length, taken) in [(49, false), (50, true), (120, true), (121, false)] {
        let skipped = why(&asks(None, length), 1) == Considered::Skipped(Skipped::PromptLength);
        assert_eq!(skipped, !taken, "{length}");
    }
    // What no tier is asked for is answered by the last resort, and each is told of.
    let decisions = plan(&asks(Some("fr"), 9), &policy, &[WELL; 3]).decisions;
    assert_eq!(decisions[2].considered, Considered::LastResort { position: 0, unless: None });
    assert_eq!(why(&asks(Some("de"), 100), 2), Considered::LastResort { position: 2, unless: None });
    policy.tiers.push(tier("local/other", Place::Local, Price::FREE));
    let decisions = plan(&asks(Some("de"), 100), &policy, &[WELL; 4]).decisions;
    assert_eq!(decisions[3].considered, Considered::NotNeeded);
    assert_eq!(serde_json::to_value(&decisions[3]).unwrap()["decision"], "not_needed");
    assert!(Language::new("eng").is_none() && Language::new("EN").is_none());
}

#[test]
fn a_decision_reads_as_json() {
    let plan = plan(&Features { privacy: Privacy::Held, ..features() }, &policy(), &[WELL; 3]);
    let json = serde_json::to_value(&plan.decisions).unwrap();
    assert_eq!((&json[0]["decision"], &json[0]["why"]), (&"skipped".into(), &"not_cleared".into()));
    assert_eq!((&json[2]["decision"], &json[2]["tier"]), (&"private".into(), &"local/mine".into()));
}

#[test]
fn a_cap_cuts_an_answer_that_nobody_limited_and_refuses_one_that_is_too_long() {
    let mut policy = policy();
    policy.max_cost = Some(Micros(5000)); // 400 tokens of prompt take 1200, so 253 tokens are left
    assert_eq!(plan(&features(), &policy, &[WELL; 3]).steps[0].output_tokens, Some(253));
    let long = Features { output_tokens: Some(254), ..features() };
    assert_eq!(plan(&long, &policy, &[WELL; 3]).steps[0].tier, 1);
}
