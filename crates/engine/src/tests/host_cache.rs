//! The second tier: what is evicted from the device, saved, and restored.

use std::time::Duration;

use garrison_device::DeviceError;
use garrison_testkit::tiny_adapter;
use garrison_types::Sampling;

use super::rig::*;
use crate::{
    Engine, EngineConfig, Event, Execute, HostCache, Request, Restarting, ScriptControl, ScriptedExecutor,
    Stats,
};

/// Ten blocks on the device.
fn small() -> EngineConfig {
    EngineConfig { n_blocks: 11, max_batch_tokens: 256, ..config() }
}

/// Prompts of seven blocks that have nothing in common, so that the third evicts all of the first.
fn pass_by(rig: &mut Rig, seeds: std::ops::Range<u32>) {
    for seed in seeds {
        rig.answer(request(prompt(110, seed), 1));
    }
}

fn alone(request: Request) -> Answer {
    Rig::hashing(config()).answer(request)
}

/// Its device fails under a request.
fn lose(rig: &mut Rig) {
    rig.control.fail_next(1);
    let mut lost = rig.submit(request(prompt(20, 3), 3));
    rig.run();
    assert!(matches!(Answer::read(&mut lost).events[..], [Event::Failed(_)]));
}

/// With an executor that `next` takes the place of when it is lost.
fn restarting(first: ScriptedExecutor, mut next: impl FnMut() -> ScriptedExecutor + Send + 'static) -> Rig {
    let control = first.control();
    let make = move |_| -> Result<Box<dyn Execute>, DeviceError> { Ok(Box::new(next())) };
    let executor = Restarting::new(Box::new(first), Box::new(make));
    let (engine, worker) = Engine::assemble(Box::new(executor), None, tokenizer(), small()).unwrap();
    Rig { engine, worker, control, draft: ScriptControl::default() }
}

/// Tokens of the prompts that were computed so far.
fn computed(rig: &Rig) -> usize {
    rig.control.log().iter().flatten().sum()
}

#[test]
fn a_conversation_that_returns_computes_only_its_tail() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = 41 * ScriptedExecutor::BLOCK_BYTES as u64;
    let file = HostCache::in_folder(folder.path(), bytes, ScriptedExecutor::BLOCK_BYTES).unwrap();
    for (host, slots) in [(host(40), 40), (file, 40), (HostCache::none(), 0)] {
        let mut rig = Rig::hosted(small(), host);
        let first = rig.answer(request(prompt(70, 1), 20));
        pass_by(&mut rig, 10..13);
        let next = request([prompt(70, 1), first.tokens(), prompt(15, 2)].concat(), 5);
        let before = rig.control.log().len();
        let second = rig.answer(next.clone());
        let wanted = if slots > 0 { 80 } else { 0 };
        assert_eq!(second.cached_tokens, wanted, "five blocks are full of what was there");
        let first_chunk = rig.control.log().into_iter().nth(before).unwrap();
        assert_eq!(first_chunk, [105 - wanted as usize], "only the tail is computed");
        assert_eq!(second, alone(next));
        let stats = rig.engine.stats();
        assert_eq!((stats.host_cache_hits, stats.host_blocks_restored), (wanted.into(), wanted as u64 / 16));
        assert_eq!(stats.host_blocks_total, slots);
        assert_eq!(stats.host_cache_queries > 0, slots > 0);
    }
}

#[test]
fn what_is_back_on_the_device_is_found_there() {
    let mut rig = Rig::hosted(small(), host(40));
    let again = |rig: &mut Rig| rig.answer(request(prompt(70, 1), 1)).cached_tokens;
    again(&mut rig);
    pass_by(&mut rig, 10..13);
    assert_eq!((again(&mut rig), rig.engine.stats().host_cache_hits), (64, 64));
    assert_eq!(
        (again(&mut rig), rig.engine.stats().host_cache_hits),
        (64, 64),
        "not from the host this time"
    );
    pass_by(&mut rig, 10..13);
    assert_eq!((again(&mut rig), rig.engine.stats().host_cache_hits > 64), (64, true), "and it can go again");
}

#[test]
fn salts_and_adapters_share_nothing_through_the_host_either() {
    let mut rig = Rig::hosted(EngineConfig { adapter_slots: 2, ..small() }, host(60));
    let adapters = [1, 2].map(|seed| rig.engine.add_adapter(tiny_adapter(seed)).unwrap());
    let plain = request(prompt(70, 1), 3);
    let salted = |salt: &str| Request { cache_salt: salt.into(), ..plain.clone() };
    let adapted = |i: usize| Request { adapter: Some(adapters[i].clone()), ..plain.clone() };
    let asked = [plain.clone(), salted("a"), salted("b"), adapted(0), adapted(1)];
    let first: Vec<Answer> = asked
        .iter()
        .map(|request| {
            let answer = rig.answer(request.clone());
            pass_by(&mut rig, 10..13);
            answer
        })
        .collect();
    assert!(first.iter().all(|a| a.cached_tokens == 0), "each is computed for itself");
    for (request, first) in asked.iter().zip(&first) {
        let again = rig.answer(request.clone());
        assert_eq!((again.cached_tokens, &again), (64, first));
    }
}

#[test]
fn the_host_forgets_what_was_evicted_longest_ago() {
    // Four blocks of each prompt are saved, and there is room for twelve.
    let mut rig = Rig::hosted(EngineConfig { n_blocks: 6, ..small() }, host(12));
    let mut ask = |seed| rig.answer(request(prompt(66, seed), 1)).cached_tokens;
    assert_eq!([1, 2, 3, 4].map(&mut ask), [0; 4]);
    assert_eq!(ask(1), 64);
    assert_eq!([5, 6].map(&mut ask), [0; 2]);
    assert_eq!([1, 5].map(&mut ask), [64; 2]);
    assert_eq!(ask(3), 0, "it was evicted before those");
    let stats = rig.engine.stats();
    assert_eq!((stats.host_blocks_used, stats.host_blocks_total), (12, 12));
}

#[test]
fn several_answers_to_one_prompt_restore_it_once() {
    let mut rig = Rig::hosted(EngineConfig { n_blocks: 30, ..small() }, host(60));
    let ask = |seed| {
        let sampling = Sampling { seed, ..Sampling::default() };
        Request { sampling, ..request(prompt(100, 1), 5) }
    };
    rig.answer(ask(9));
    pass_by(&mut rig, 10..15);
    let mut streams: Vec<_> = (0..4).map(|seed| rig.submit(ask(seed))).collect();
    rig.run();
    assert_eq!(rig.engine.stats().host_blocks_restored, 6);
    for (seed, stream) in (0..).zip(&mut streams) {
        let answer = Answer::read(stream);
        assert_eq!((answer.cached_tokens, answer), (96, alone(ask(seed))));
    }
}

/// Two answers that need more blocks than there are, with what copies cost.
fn preempting(host: HostCache, save: f64, restore: f64) -> (Vec<Answer>, Stats) {
    let mut rig = Rig::hosted(EngineConfig { n_blocks: 8, max_batch_tokens: 64, ..config() }, host);
    rig.control.set_cost(0.01, 0.01);
    rig.control.set_copy_cost(save, restore);
    let mut streams = both().map(|r| rig.submit(r));
    rig.run();
    (streams.iter_mut().map(Answer::read).collect(), rig.engine.stats())
}

fn both() -> [Request; 2] {
    [request(prompt(30, 1), 70), request(prompt(28, 2), 70)]
}

#[test]
fn the_preempted_are_swapped_or_computed_again_whichever_is_cheaper() {
    let expected = both().map(alone);
    let (answers, without) = preempting(HostCache::none(), 0.0, 0.0);
    assert_eq!(answers, expected);
    assert!(without.preemptions > 0, "the case must preempt");
    // A block takes 0.16 s to compute.
    let (answers, swapped) = preempting(host(20), 0.01, 0.01);
    assert_eq!(answers, expected);
    assert!(swapped.host_blocks_restored > 0, "{swapped:?}");
    let again = |stats: &Stats| stats.batch_tokens - 58 - 138;
    assert!(again(&swapped) <= 16 * swapped.preemptions, "at most the last block: {swapped:?}");
    assert!(again(&without) > 2 * again(&swapped), "{without:?} and {swapped:?}");
    for (save, restore) in [(1.0, 0.0), (0.0, 1.0), (0.1, 0.1)] {
        let (answers, dear) = preempting(host(20), save, restore);
        assert_eq!(answers, expected);
        assert_eq!((dear.host_blocks_saved, dear.host_blocks_restored), (0, 0), "{save} and {restore}");
        assert_eq!(dear.batch_tokens, without.batch_tokens);
    }
}

#[test]
fn copies_that_become_cheaper_are_found_out() {
    let mut rig = Rig::hosted(small(), host(40));
    rig.control.set_cost(0.01, 0.01);
    rig.control.set_copy_cost(1.0, 1.0);
    pass_by(&mut rig, 10..20);
    assert_eq!(rig.engine.stats().host_blocks_saved, 0);
    rig.control.set_copy_cost(0.0, 0.0);
    pass_by(&mut rig, 20..200);
    assert_eq!(rig.engine.stats().host_blocks_saved, 0, "200 s since, and a trial takes 6 s");
    pass_by(&mut rig, 200..3000);
    assert!(rig.engine.stats().host_blocks_saved > 0);
}

#[test]
fn restores_that_turn_out_dear_are_given_up_half_way() {
    let mut rig = Rig::hosted(EngineConfig { max_batch_tokens: 24, ..small() }, host(40));
    rig.control.set_cost(0.01, 0.01);
    rig.control.set_copy_cost(0.0, 0.15);
    rig.answer(request(prompt(70, 1), 10));
    pass_by(&mut rig, 10..13);
    rig.control.set_copy_cost(0.0, 100.0);
    let answer = rig.answer(request(prompt(70, 1), 10));
    let restored = rig.engine.stats().host_blocks_restored;
    assert!((1..4).contains(&restored), "{restored} of the four blocks that were asked for at first");
    assert_eq!(answer, alone(request(prompt(70, 1), 10)));
}

#[test]
fn a_copy_that_fails_is_a_miss_and_nothing_else() {
    // How many copies fail, and what is still found: four blocks are saved, the end first.
    for (saves, restores, found) in [(0, 0, 64), (1, 0, 48), (3, 0, 16), (4, 0, 0), (0, 1, 0), (0, 2, 0)] {
        let mut rig = Rig::hosted(small(), host(40));
        rig.answer(request(prompt(70, 1), 10));
        rig.control.fail_copies(saves, 0);
        pass_by(&mut rig, 10..13);
        rig.control.fail_copies(0, restores);
        let mut stream = rig.submit(request(prompt(70, 1), 10));
        rig.run();
        let answer = Answer::read(&mut stream);
        assert_eq!(answer.cached_tokens, found, "{saves} and {restores}");
        assert_eq!(answer, alone(request(prompt(70, 1), 10)));
        let stats = rig.engine.stats();
        assert_eq!((stats.failed, stats.host_copies_failed), (0, (saves + restores.min(1)) as u64));
    }
}

#[test]
fn a_restore_that_fails_half_way_leaves_what_is_there() {
    let mut rig = Rig::hosted(EngineConfig { max_batch_tokens: 2, ..small() }, host(40));
    rig.answer(request(prompt(70, 1), 10));
    pass_by(&mut rig, 10..13);
    let mut stream = rig.submit(request(prompt(70, 1), 10));
    // Two tokens' worth of copies a step; nothing is known of their cost, so a block at a time.
    while rig.engine.stats().host_blocks_restored < 2 {
        rig.step();
    }
    rig.control.fail_copies(0, 1);
    rig.run();
    let answer = Answer::read(&mut stream);
    assert_eq!((answer.cached_tokens, answer), (32, alone(request(prompt(70, 1), 10))));
}

#[test]
fn a_cache_that_always_fails_is_given_up() {
    let mut rig = Rig::hosted(small(), host(40));
    rig.control.fail_copies(usize::MAX, usize::MAX);
    pass_by(&mut rig, 10..40);
    let stats = rig.engine.stats();
    // Eight in a row, and what else was to be saved before that step.
    assert!((8..18).contains(&stats.host_copies_failed) && stats.failed == 0, "{stats:?}");
    assert_eq!(rig.answer(request(prompt(70, 1), 10)), alone(request(prompt(70, 1), 10)));
}

#[test]
fn who_goes_away_while_it_is_restored_leaves_the_rest_to_others() {
    let mut rig = Rig::hosted(EngineConfig { max_batch_tokens: 1, ..small() }, host(40));
    let asked = request(prompt(70, 1), 10);
    rig.answer(asked.clone());
    pass_by(&mut rig, 10..13);
    let gone = rig.submit(asked.clone());
    rig.step();
    rig.step();
    assert_eq!(rig.engine.stats().host_blocks_restored, 2);
    drop(gone);
    let answer = rig.answer(asked.clone());
    assert_eq!((answer.cached_tokens, answer), (64, alone(asked)));
    assert_eq!(rig.engine.stats().host_blocks_restored, 4, "two of them were on the device");
}

#[test]
fn a_device_that_failed_finds_what_is_on_the_host() {
    let mut rig = Rig::hosted(small(), host(40));
    let asked = request(prompt(70, 1), 10);
    rig.answer(asked.clone());
    pass_by(&mut rig, 10..13);
    lose(&mut rig);
    let answer = rig.answer(asked.clone());
    assert_eq!((answer.cached_tokens, answer), (64, alone(asked)));
}

/// Nine conversations of which nothing can be restored once gave the host cache up for good.
#[test]
fn an_executor_that_is_made_again_begins_with_an_empty_host_cache() {
    let hosted = || ScriptedExecutor::hashing(&small()).with_host_cache(host(40));
    let mut rig = restarting(hosted(), hosted);
    pass_by(&mut rig, 10..16);
    assert!(rig.engine.stats().host_blocks_used > 20);
    lose(&mut rig);
    assert_eq!(rig.engine.stats().host_blocks_used, 0);
    pass_by(&mut rig, 10..22);
    assert_eq!(rig.engine.stats().host_copies_failed, 0);
    let restored = rig.engine.stats().host_blocks_restored;
    pass_by(&mut rig, 20..21);
    assert!(rig.engine.stats().host_blocks_restored > restored, "the new one is used as the old one was");
}

/// There may be no memory for it the second time.
#[test]
fn an_executor_that_is_made_again_may_lack_a_host_cache() {
    let bare = || ScriptedExecutor::hashing(&small());
    let mut rig = restarting(bare().with_host_cache(host(40)), bare);
    lose(&mut rig);
    pass_by(&mut rig, 10..20);
    assert_eq!(rig.answer(request(prompt(70, 1), 10)), alone(request(prompt(70, 1), 10)));
}

#[test]
fn what_is_restored_is_read_by_the_draft_model_again() {
    let mut rig = Rig::drafted_hosted(EngineConfig { n_blocks: 20, ..small() }, host(60));
    rig.control.set_cost(1.0, 0.01);
    let asked = request(prompt(100, 7), 30);
    rig.answer(asked.clone());
    pass_by(&mut rig, 10..15);
    let before = rig.draft.log().len();
    let answer = rig.answer(asked.clone());
    assert_eq!((answer.cached_tokens, answer), (96, Rig::repeating(config()).answer(asked)));
    assert!(rig.draft.log()[before][0] > 96, "{:?}", rig.draft.log()[before]);
}

/// Seconds of each step from now on, copies included.
fn timed_steps(rig: &mut Rig, n: usize, step: (f64, f64), copies: (f64, f64)) -> Vec<f64> {
    let spent = |rig: &Rig| {
        let stats = rig.engine.stats();
        stats.steps as f64 * step.0
            + stats.batch_tokens as f64 * step.1
            + stats.host_blocks_saved as f64 * copies.0
            + stats.host_blocks_restored as f64 * copies.1
    };
    let mut seconds = Vec::new();
    for _ in 0..n {
        let before = spent(rig);
        rig.step();
        seconds.push(spent(rig) - before);
    }
    seconds
}

#[test]
fn copies_stall_streams_for_the_time_allowed_at_most() {
    let max_stall = Some(Duration::from_millis(250));
    let large = EngineConfig { n_blocks: 60, max_batch_tokens: 512, max_stall, ..config() };
    let (step, copies) = ((0.05, 0.004), (0.02, 0.03));
    let mut rig = Rig::hosted(large, host(200));
    rig.control.set_cost(step.0, step.1);
    rig.control.set_copy_cost(copies.0, copies.1);
    let asked = request(prompt(400, 1), 1);
    rig.answer(asked.clone());
    (2..6).for_each(|seed| drop(rig.answer(request(prompt(400, seed), 1))));
    let mut stream = rig.submit(request(prompt(2, 1), 120));
    rig.step();
    // Twenty-five blocks are evicted for it, 0.5 s, and twenty-four restored, 0.72 s; then others are evicted
    // for what is computed.
    let mut returning = rig.submit(asked.clone());
    let mut new = rig.submit(request(prompt(400, 9), 1));
    let seconds = timed_steps(&mut rig, 30, step, copies);
    assert!(seconds.iter().all(|&s| s < 0.250 * 1.1), "{seconds:?}");
    let stats = rig.engine.stats();
    assert_eq!((stats.host_blocks_restored, stats.preemptions), (24, 0), "{stats:?}");
    assert_eq!(Answer::read(&mut returning), alone(asked));
    assert_eq!(Answer::read(&mut new).tokens().len(), 1, "in about the steps that the time allows");
    let all = std::iter::from_fn(|| stream.try_recv()).count();
    assert_eq!(all, 31, "and each brought the stream a token");
}

#[test]
fn without_a_prefix_cache_there_is_nothing_to_save() {
    let mut rig = Rig::hosted(EngineConfig { prefix_cache: false, ..small() }, host(40));
    pass_by(&mut rig, 10..14);
    let stats = rig.engine.stats();
    assert_eq!((stats.host_blocks_total, stats.host_blocks_saved), (0, 0));
    assert_eq!(computed(&rig), 4 * 110);
}
