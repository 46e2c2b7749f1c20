use super::rig::*;
use crate::{EngineConfig, Event, Request};

/// `n` tokens that all these requests begin with, and `own` of their own.
fn sharing(n: usize, own: usize, seed: u32, max_tokens: u32) -> Request {
    request([prompt(n, 7), prompt(own, seed)].concat(), max_tokens)
}

fn uncached() -> EngineConfig {
    EngineConfig { prefix_cache: false, ..config() }
}

/// llama.cpp #21831: a prompt that was there before is not computed again.
#[test]
fn a_shared_prefix_is_computed_once() {
    let mut rig = Rig::hashing(EngineConfig { max_batch_tokens: 256, ..config() });
    let first = rig.answer(sharing(100, 20, 1, 3));
    let second = rig.answer(sharing(100, 20, 2, 3));
    // Six blocks of 16 are full of what both begin with.
    assert_eq!((first.cached_tokens, second.cached_tokens), (0, 96));
    assert_eq!(rig.control.log(), [vec![120], vec![1], vec![1], vec![24], vec![1], vec![1]]);
    let stats = rig.engine.stats();
    assert_eq!((stats.prefix_cache_queries, stats.prefix_cache_hits), (240, 96));
    for (request, answer) in [(sharing(100, 20, 1, 3), first), (sharing(100, 20, 2, 3), second)] {
        assert_eq!(
            Rig::hashing(uncached()).answer(request),
            answer,
            "a hit changes nothing that a client sees"
        );
    }
}

#[test]
fn a_conversation_goes_on_from_its_answer() {
    let mut rig = Rig::hashing(config());
    let first = rig.answer(request(prompt(30, 1), 40));
    let next = [prompt(30, 1), first.tokens(), prompt(5, 2)].concat();
    // The last token of an answer is never run, so 69 of the 70 can be cached: four blocks.
    assert_eq!(rig.answer(request(next, 2)).cached_tokens, 64);
}

#[test]
fn at_least_one_token_is_computed() {
    let mut rig = Rig::hashing(config());
    let first = rig.answer(request(prompt(64, 1), 4));
    let again = rig.answer(request(prompt(64, 1), 4));
    assert_eq!(again, first);
    assert_eq!(again.cached_tokens, 48, "the last block is computed again for its last token");
}

#[test]
fn requests_that_run_side_by_side_share_blocks() {
    let mut rig = Rig::hashing(config());
    let first = rig.submit(sharing(48, 4, 1, 200));
    rig.step();
    let used = rig.engine.stats().kv_blocks_used;
    let second = rig.submit(sharing(48, 4, 2, 200));
    rig.step();
    assert_eq!(rig.engine.stats().kv_blocks_used, used + 1, "only the block of its own");
    drop((first, second));
    rig.run();
}

#[test]
fn several_answers_to_one_prompt_cost_one_prompt() {
    let mut rig = Rig::hashing(EngineConfig { max_batch_tokens: 40, ..config() });
    let ask = |seed| {
        let sampling = garrison_types::Sampling { seed, ..Default::default() };
        Request { sampling, ..request(prompt(100, 1), 5) }
    };
    let mut streams: Vec<_> = (0..4).map(|seed| rig.submit(ask(seed))).collect();
    rig.run();
    let log = rig.control.log();
    // Each of the others computes the last four tokens, which are less than a block.
    assert_eq!(log[..4], [vec![40], vec![40], vec![20], vec![1, 4, 4, 4]]);
    for (seed, stream) in (0..).zip(&mut streams) {
        assert_eq!(Answer::read(stream), Rig::hashing(uncached()).answer(ask(seed)));
    }
    // What would not gain does not wait.
    let mut rig = Rig::hashing(EngineConfig { max_batch_tokens: 64, ..config() });
    let different = [request(prompt(40, 1), 2), request(prompt(20, 2), 2), request(prompt(16, 1), 2)];
    let streams = different.map(|r| rig.submit(r));
    rig.step();
    assert_eq!(rig.control.log(), [vec![40, 20, 4]]);
    drop(streams);
}

#[test]
fn a_salt_shares_with_its_like_only() {
    let mut rig = Rig::hashing(config());
    let salted = |salt: &str| Request { cache_salt: salt.into(), ..request(prompt(50, 1), 1) };
    let hits = ["", "a", "b", "a", ""].map(|salt| rig.answer(salted(salt)).cached_tokens);
    assert_eq!(hits, [0, 0, 0, 48, 48]);
}

#[test]
fn a_prompt_that_is_scored_is_computed_whole() {
    let mut rig = Rig::hashing(config());
    rig.answer(request(prompt(50, 1), 1));
    let scored = rig.answer(Request { prompt_logprobs: Some(1), ..request(prompt(50, 1), 1) });
    assert_eq!(scored.cached_tokens, 0);
    assert!(matches!(&scored.events[0], Event::Prompt(scores) if scores.len() == 50));
    assert_eq!(rig.answer(request(prompt(50, 1), 1)).cached_tokens, 48);
}

#[test]
fn a_device_that_failed_has_lost_the_cache() {
    let mut rig = Rig::hashing(config());
    rig.answer(request(prompt(50, 1), 1));
    rig.control.fail_next(1);
    let mut lost = rig.submit(request(prompt(50, 1), 1));
    rig.run();
    assert!(matches!(Answer::read(&mut lost).events[..], [Event::Failed(_)]));
    assert_eq!(rig.answer(request(prompt(50, 1), 1)).cached_tokens, 0);
}

#[test]
fn what_was_let_go_longest_ago_makes_room() {
    // Ten blocks; each request leaves two full ones.
    let mut rig = Rig::hashing(EngineConfig { n_blocks: 11, ..config() });
    let mut ask = |seed| rig.answer(request(prompt(40, seed), 1)).cached_tokens;
    assert_eq!([1, 2, 3, 4].map(&mut ask), [0; 4]);
    assert_eq!(ask(1), 32, "it is there, and is now the youngest");
    assert_eq!([5, 6].map(&mut ask), [0; 2], "there is room for four, so 2 and 3 go");
    assert_eq!(ask(1), 32);
    assert_eq!(ask(4), 32);
    assert_eq!(ask(2), 0);
}

#[test]
fn the_preempted_go_on_from_what_is_left_in_the_cache() {
    let small = EngineConfig { n_blocks: 8, max_batch_tokens: 64, ..config() };
    let mut cached = Rig::hashing(small);
    let mut plain = Rig::hashing(EngineConfig { prefix_cache: false, ..small });
    for rig in [&mut cached, &mut plain] {
        let requests = [request(prompt(30, 1), 40), request(prompt(28, 2), 40)];
        let mut streams = requests.clone().map(|r| rig.submit(r));
        rig.run();
        assert!(rig.engine.stats().preemptions > 0, "the case must preempt");
        for (request, stream) in requests.into_iter().zip(&mut streams) {
            assert_eq!(Answer::read(stream), Rig::hashing(config()).answer(request));
        }
    }
    let computed = |rig: &Rig| rig.engine.stats().batch_tokens;
    assert!(computed(&cached) < computed(&plain), "{} and {}", computed(&cached), computed(&plain));
}
