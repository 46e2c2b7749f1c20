use garrison_testkit::tiny_adapter;
use garrison_types::Sampling;

use super::rig::*;
use crate::{AdapterHandle, ConfigError, EngineConfig, Event, Failure, Request, SubmitError};

fn with_slots(slots: usize) -> EngineConfig {
    EngineConfig { adapter_slots: slots, ..config() }
}

fn add(rig: &Rig, seed: u64) -> AdapterHandle {
    rig.engine.add_adapter(tiny_adapter(seed)).unwrap()
}

fn adapted(rig: &Rig, seed: u64, request: Request) -> Request {
    Request { adapter: Some(add(rig, seed)), ..request }
}

/// What a request with the adapter of `seed` gets in an engine of its own.
fn alone(seed: u64, request: Request) -> Answer {
    let mut rig = Rig::hashing(with_slots(1));
    let request = adapted(&rig, seed, request);
    rig.answer(request)
}

/// The answers of the rig's next steps.
fn read_all<const N: usize>(rig: &mut Rig, requests: [Request; N]) -> [Answer; N] {
    let mut streams = requests.map(|r| rig.submit(r));
    rig.run();
    streams.each_mut().map(Answer::read)
}

#[test]
fn each_sequence_of_a_batch_has_its_own_adapter() {
    let plain = request(prompt(20, 1), 30);
    let mut rig = Rig::hashing(with_slots(3));
    let requests = [1, 2, 3].map(|seed| adapted(&rig, seed, plain.clone()));
    let [one, two, three] = requests;
    let answers = read_all(&mut rig, [one, plain.clone(), two, three]);
    let expected = [
        alone(1, plain.clone()),
        Rig::hashing(config()).answer(plain.clone()),
        alone(2, plain.clone()),
        alone(3, plain),
    ];
    assert_eq!(answers, expected);
    let texts: std::collections::HashSet<_> = answers.iter().map(Answer::tokens).collect();
    assert_eq!(texts.len(), 4, "the adapters say different things");
    assert!(rig.control.log().iter().any(|step| step.len() == 4), "they ran side by side");
    assert_eq!(rig.engine.stats().adapter_swaps, 3);
}

/// vLLM #47724: a request was served with another user's adapter when adapters came and went.
#[test]
fn a_request_in_flight_keeps_its_adapter_whatever_its_name_becomes() {
    let mut rig = Rig::hashing(with_slots(1));
    // The first one runs while its handle is dropped and others come that want its slot.
    let first = adapted(&rig, 1, request(prompt(20, 1), 60));
    let mut streams = vec![rig.submit(first)];
    for _ in 0..10 {
        rig.step();
    }
    for seed in 2..6 {
        let next = adapted(&rig, seed, request(prompt(20, 1), 60));
        streams.push(rig.submit(next));
        rig.step();
    }
    rig.run();
    for (seed, stream) in (1..).zip(&mut streams) {
        assert_eq!(Answer::read(stream), alone(seed, request(prompt(20, 1), 60)), "adapter {seed}");
    }
    assert_eq!(rig.engine.stats().adapter_swaps, 5);
}

/// vLLM #42125: an adapter that was loaded again under its name met the prefix of the old one.
#[test]
fn a_reloaded_adapter_shares_no_prefix_with_its_predecessor() {
    let mut rig = Rig::hashing(with_slots(2));
    let ask = |rig: &mut Rig, adapter: &AdapterHandle| {
        rig.answer(Request { adapter: Some(adapter.clone()), ..request(prompt(64, 1), 10) })
    };
    let (old, new) = (add(&rig, 1), add(&rig, 2));
    assert_eq!(ask(&mut rig, &old).cached_tokens, 0);
    assert_eq!(ask(&mut rig, &old).cached_tokens, 48, "its own is there");
    let reloaded = ask(&mut rig, &new);
    assert_eq!((reloaded.cached_tokens, &reloaded), (0, &alone(2, request(prompt(64, 1), 10))));
    // The very same weights, loaded again, are another adapter all the same.
    let again = add(&rig, 1);
    assert_eq!(ask(&mut rig, &again).cached_tokens, 0);
    assert_eq!(rig.answer(request(prompt(64, 1), 10)).cached_tokens, 0, "nor does the model alone");
}

#[test]
fn sequences_that_read_the_same_prompt_with_other_adapters_do_not_wait_for_each_other() {
    let mut rig = Rig::hashing(EngineConfig { max_batch_tokens: 40, ..with_slots(2) });
    let requests = [1, 2].map(|seed| adapted(&rig, seed, request(prompt(70, 1), 20)));
    let answers = read_all(&mut rig, requests);
    assert_eq!(answers, [1, 2].map(|seed| alone(seed, request(prompt(70, 1), 20))));
    assert!(answers.iter().all(|a| a.cached_tokens == 0));
}

#[test]
fn more_adapters_than_slots_take_turns_and_those_without_pass() {
    let mut rig = Rig::hashing(with_slots(2));
    let long = request(prompt(10, 1), 80);
    let mut streams: Vec<_> = (1..=6).map(|seed| rig.submit(adapted(&rig, seed, long.clone()))).collect();
    let mut plain = rig.submit(request(prompt(10, 2), 5));
    for _ in 0..10 {
        rig.step();
    }
    assert!(plain.try_recv().is_some(), "what needs no slot does not wait for one");
    rig.run();
    for (seed, stream) in (1..).zip(&mut streams) {
        assert_eq!(Answer::read(stream), alone(seed, long.clone()));
    }
}

#[test]
fn the_adapter_used_longest_ago_gives_its_slot_up() {
    let mut rig = Rig::hashing(with_slots(3));
    let adapters: Vec<AdapterHandle> = (1..=5).map(|seed| add(&rig, seed)).collect();
    // What is asked for, and whether its slot has to be filled for that.
    let asked = [
        (0, true),
        (1, true),
        (2, true),
        (0, false),
        (3, true),  // in place of 1, as 0 was used again
        (0, false), // so 2 is next
        (4, true),
        (3, false),
        (0, false),
        (2, true), // in place of 4
        (3, false),
        (0, false),
        (1, true), // in place of 2
        (4, true), // in place of 3
        (0, false),
    ];
    for (i, (adapter, filled)) in asked.into_iter().enumerate() {
        let before = rig.engine.stats().adapter_swaps;
        let asked = request(prompt(20, i as u32), 2);
        let answer = rig.answer(Request { adapter: Some(adapters[adapter].clone()), ..asked.clone() });
        assert_eq!(answer, alone(adapter as u64 + 1, asked));
        assert_eq!(
            rig.engine.stats().adapter_swaps - before,
            u64::from(filled),
            "use {i}, of adapter {adapter}"
        );
    }
}

#[test]
fn those_that_pass_do_not_keep_a_slot_from_who_waits_for_it() {
    let mut rig = Rig::hashing(with_slots(1));
    let adapter = add(&rig, 1);
    let of_first = Request { adapter: Some(adapter.clone()), ..request(prompt(10, 1), 20) };
    let mut first = rig.submit(of_first);
    rig.step();
    let mut waits = rig.submit(adapted(&rig, 2, request(prompt(10, 1), 5)));
    // More of the first adapter, which is there, must not come before.
    let mut later: Vec<_> = (0..5)
        .map(|_| rig.submit(Request { adapter: Some(adapter.clone()), ..request(prompt(10, 1), 5) }))
        .collect();
    while first.try_recv().is_none_or(|e| !matches!(e, Event::Finished(_))) {
        rig.step();
    }
    for _ in 0..7 {
        rig.step();
    }
    assert!(std::iter::from_fn(|| waits.try_recv()).any(|e| matches!(e, Event::Finished(_))));
    rig.run();
    assert!(later.iter_mut().all(|s| Answer::read(s).finish().usage.completion_tokens == 5));
}

#[test]
fn who_waits_for_a_slot_closes_one_and_no_other() {
    let mut rig = Rig::hashing(with_slots(2));
    let [busy, idle] = [1, 2].map(|seed| add(&rig, seed));
    let with = |adapter: &AdapterHandle, tokens| Request {
        adapter: Some(adapter.clone()),
        ..request(prompt(10, 1), tokens)
    };
    let long = [&busy, &busy, &idle].map(|adapter| rig.submit(with(adapter, 60)));
    for _ in 0..4 {
        rig.step();
    }
    let _waits = rig.submit(adapted(&rig, 3, request(prompt(10, 1), 5)));
    let [mut passes, mut stays] = [&busy, &idle].map(|adapter| rig.submit(with(adapter, 5)));
    for _ in 0..6 {
        rig.step();
    }
    assert!(passes.try_recv().is_some(), "the slot with two users stays open");
    assert!(stays.try_recv().is_none(), "the one with a single user is to become empty");
    drop(long);
}

#[test]
fn one_slot_is_filled_for_a_step() {
    let mut rig = Rig::hashing(with_slots(4));
    let _streams: Vec<_> =
        (1..=4).map(|seed| rig.submit(adapted(&rig, seed, request(prompt(10, 1), 60)))).collect();
    for step in 1..=4 {
        rig.step();
        assert_eq!(rig.engine.stats().adapter_swaps, step);
    }
}

#[test]
fn an_adapter_that_nobody_holds_leaves_its_slot() {
    let mut rig = Rig::hashing(with_slots(1));
    let adapter = add(&rig, 1);
    rig.answer(Request { adapter: Some(adapter.clone()), ..request(prompt(10, 1), 5) });
    rig.answer(Request { adapter: Some(adapter.clone()), ..request(prompt(10, 2), 5) });
    assert_eq!(rig.engine.stats().adapter_swaps, 1, "it stays while somebody may ask for it");
    drop(adapter);
    rig.answer(request(prompt(10, 1), 5));
    assert!(rig.worker.scheduler.unloaded_adapters().is_empty(), "it is gone already");
}

#[test]
fn a_device_without_room_for_an_adapter_fails_its_requests_only() {
    let mut rig = Rig::hashing(with_slots(2));
    rig.control.fail_adapters(1);
    let bad = adapted(&rig, 1, request(prompt(10, 1), 5));
    let good = request(prompt(10, 2), 5);
    let mut streams = [bad, good.clone()].map(|r| rig.submit(r));
    rig.run();
    let last = Answer::read(&mut streams[0]).events.pop();
    assert!(matches!(last, Some(Event::Failed(Failure::Adapter(_)))), "{last:?}");
    assert_eq!(Answer::read(&mut streams[1]), Rig::hashing(config()).answer(good));
    let retried = adapted(&rig, 1, request(prompt(10, 1), 5));
    assert_eq!(rig.answer(retried), alone(1, request(prompt(10, 1), 5)), "the slot is of use again");
}

#[test]
fn a_failed_device_gets_its_adapters_again() {
    let mut rig = Rig::hashing(with_slots(2));
    let adapter = add(&rig, 1);
    let asked = Request { adapter: Some(adapter), ..request(prompt(10, 1), 5) };
    rig.answer(asked.clone());
    rig.control.fail_next(1);
    rig.answer(asked.clone());
    assert_eq!(rig.answer(asked), alone(1, request(prompt(10, 1), 5)));
    assert_eq!(rig.engine.stats().adapter_swaps, 2);
}

#[test]
fn adapters_belong_to_an_engine_with_slots() {
    let rig = Rig::hashing(config());
    assert_eq!(rig.engine.add_adapter(tiny_adapter(1)).unwrap_err(), ConfigError::NoAdapterSlots);
    let other = Rig::hashing(with_slots(1));
    let foreign = adapted(&other, 1, request(prompt(10, 1), 5));
    let own = Rig::hashing(with_slots(1));
    assert_eq!(own.engine.submit(foreign).err(), Some(SubmitError::ForeignAdapter));
}

#[test]
fn guesses_are_made_for_adapted_sequences_too() {
    // The draft model knows nothing of adapters; some guesses are right all the same.
    for seed in 0..4 {
        let sampling = Sampling { seed, temperature: 0.3, ..Sampling::default() };
        let plain = Request { sampling, ..request(prompt(20, 1), 80) };
        let lookup = EngineConfig { prompt_lookup: true, ..with_slots(2) };
        let mut rig = Rig::drafted(lookup);
        let requests = [1, 2].map(|a| adapted(&rig, a, plain.clone()));
        let [one, two] = requests;
        let answers = read_all(&mut rig, [one, two, plain.clone()]);
        let mut expected = Rig::repeating(with_slots(2));
        let requests = [1, 2].map(|a| adapted(&expected, a, plain.clone()));
        let [one, two] = requests;
        assert_eq!(answers, read_all(&mut expected, [one, two, plain]));
        assert!(rig.engine.stats().spec_accepted_tokens > 0);
    }
}
