//! One engine that lives long: everything at once, with every invariant checked after each step.

use garrison_testkit::tiny_adapter;
use garrison_types::Sampling;

use super::rig::*;
use crate::{AdapterHandle, EngineConfig, Event, Failure, Grammar, Request, Stream, SubmitError};

/// Steps in the tests; `GARRISON_SOAK_STEPS=3000000` is about ten minutes.
const STEPS: u64 = 20_000;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn any_request(dice: &mut Dice, rig: &Rig, adapters: &[AdapterHandle]) -> Request {
    // One in twenty can never fit.
    let n = if dice.one_in(20) { 400 } else { 1 + dice.below(60) as usize };
    let mut request = request(prompt(n, dice.below(5) as u32), dice.below(50) as u32);
    request.sampling = match dice.below(3) {
        0 => Sampling::greedy(),
        1 => Sampling { seed: dice.below(9), temperature: 0.7, ..Sampling::default() },
        _ => Sampling { seed: dice.below(9), repetition_penalty: 1.1, ..Sampling::default() },
    };
    request.stop.ignore_eos = dice.one_in(2);
    request.client = dice.below(4) as u32;
    request.priority = dice.below(5) as i32 - 2;
    request.cache_salt = if dice.one_in(4) { "salt".into() } else { String::new() };
    request.logprobs = dice.one_in(4).then_some(2);
    request.prompt_logprobs = dice.one_in(8).then_some(1);
    if dice.one_in(2) {
        request.adapter = adapters.get(dice.below(adapters.len() as u64 + 1) as usize).cloned();
    }
    if dice.one_in(8) {
        let grammar = Grammar::Regex("[a-f]{1,40}x".into());
        request.constraint = Some(rig.engine.compile(&grammar).unwrap());
    }
    request
}

#[test]
fn a_long_life_leaves_nothing_behind() {
    let steps = std::env::var("GARRISON_SOAK_STEPS").ok().and_then(|s| s.parse().ok()).unwrap_or(STEPS);
    let config = EngineConfig {
        max_seqs: 6,
        max_batch_tokens: 24,
        n_blocks: 20,
        max_waiting: 12,
        prompt_lookup: true,
        adapter_slots: 2,
        ..config()
    };
    let mut rig = Rig::drafted_hosted(config, host(12));
    let mut dice = Dice(1);
    let mut adapters: Vec<AdapterHandle> = Vec::new();
    let mut streams: Vec<Stream> = Vec::new();
    let (mut refused, mut left) = (0, 0);
    for step in 0..steps {
        match dice.below(12) {
            0..4 => match rig.engine.submit(any_request(&mut dice, &rig, &adapters)) {
                Ok(stream) => streams.push(stream),
                Err(SubmitError::ContextLengthExceeded { .. } | SubmitError::QueueFull { .. }) => {
                    refused += 1
                }
                Err(other) => panic!("step {step}: {other}"),
            },
            4 if !streams.is_empty() => {
                let gone = dice.below(streams.len() as u64) as usize;
                drop(streams.swap_remove(gone));
                left += 1;
            }
            5 if adapters.len() < 5 => {
                adapters.push(rig.engine.add_adapter(tiny_adapter(dice.below(9))).unwrap());
            }
            6 if !adapters.is_empty() && dice.one_in(3) => {
                let gone = dice.below(adapters.len() as u64) as usize;
                adapters.swap_remove(gone);
            }
            7 if dice.one_in(100) => rig.control.fail_next(1),
            8 if dice.one_in(20) => rig.control.fail_adapters(1),
            9 if dice.one_in(20) => rig.control.fail_copies(dice.below(3) as usize, dice.below(3) as usize),
            _ => {}
        }
        rig.step();
        // Whoever reads keeps a stream until its end.
        streams.retain_mut(|stream| {
            let ended = |e: &Event| matches!(e, Event::Finished(_) | Event::Failed(_));
            !std::iter::from_fn(|| stream.try_recv()).any(|event| ended(&event))
        });
        assert!(streams.len() <= rig.engine.stats().in_flight, "what ended says so");
    }
    rig.control.fail_next(0);
    rig.control.fail_adapters(0);
    rig.control.fail_copies(0, 0);
    rig.run();
    for stream in &mut streams {
        let last = Answer::read(stream).events.pop();
        let failed = matches!(last, Some(Event::Failed(Failure::Device(_) | Failure::Adapter(_))));
        assert!(failed || matches!(last, Some(Event::Finished(_))), "{last:?}");
    }
    let stats = rig.engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.in_flight, stats.kv_blocks_used), (0, 0, 0, 0));
    assert!(refused > 0 && left > 0 && stats.preemptions > 0 && stats.cancelled > 0, "{stats:?}");
    assert!(stats.host_cache_hits > 0 && stats.host_copies_failed > 0, "{stats:?}");
    assert!(stats.adapter_swaps > 10 && stats.spec_accepted_tokens > 0 && stats.prefix_cache_hits > 0);
}
