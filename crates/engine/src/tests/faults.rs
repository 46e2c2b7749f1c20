//! Failures at allocations, one at a time at every single one, and many at random: books are kept after
//! each step, only the offender fails, everybody else gets the tokens that it gets without failures, and
//! the engine goes on.

use garrison_testkit::tiny_adapter;
use proptest::prelude::*;

use super::rig::*;
use super::scheduling::any_request;
use crate::faults::{self, ALL, Allocation};
use crate::{EngineConfig, Event, Failure, Grammar, Request, Stats, Stream};

/// What a test asks for.
#[derive(Clone, Debug)]
struct Asked {
    request: Request,
    /// Seed of its adapter; 0 for none.
    adapter: u64,
    /// Whether it follows a grammar.
    constrained: bool,
    /// Steps before it comes.
    after: usize,
}

/// So little of everything that each kind of allocation is made often.
fn tight() -> EngineConfig {
    EngineConfig {
        max_seqs: 4,
        max_batch_tokens: 24,
        n_blocks: 11,
        context: 120,
        prompt_lookup: true,
        adapter_slots: 1,
        ..config()
    }
}

/// What came of a run.
struct Run {
    /// None for what could not be asked.
    answers: Vec<Option<Answer>>,
    /// Allocations, by kind.
    counts: [usize; ALL.len()],
    stats: Stats,
}

/// Runs them side by side while the allocations `failing` fail.
fn run(asked: &[Asked], failing: &[(Allocation, usize)]) -> Run {
    let mut rig = Rig::drafted_hosted(tight(), host(16));
    let adapters = [1, 2].map(|seed| rig.engine.add_adapter(tiny_adapter(seed)).unwrap());
    faults::fail(failing);
    let mut streams: Vec<Option<Stream>> = Vec::new();
    for Asked { request, adapter, constrained, after } in asked {
        (0..*after).for_each(|_| rig.step());
        let adapter = adapter.checked_sub(1).map(|i| adapters[i as usize].clone());
        let grammar = Grammar::Regex("[a-f]{12,30}x".into());
        let constraint = constrained.then(|| rig.engine.compile(&grammar)).transpose();
        let submit = |constraint| rig.engine.submit(Request { adapter, constraint, ..request.clone() }).ok();
        streams.push(constraint.ok().and_then(submit));
    }
    rig.run();
    let answers = streams.iter_mut().map(|s| s.as_mut().map(Answer::read)).collect();
    let (counts, stats) = (faults::counts(), rig.engine.stats());
    faults::fail(&[]);
    let next = request(prompt(20, 3), 10);
    let alone = Rig::repeating(config()).answer(next.clone());
    assert_eq!(rig.answer(next), alone, "the engine goes on");
    Run { answers, counts, stats }
}

/// Whether a sequence may end so when only allocations of these kinds fail.
fn is_offender(asked: &Asked, failure: &Failure, kinds: &[Allocation]) -> bool {
    match failure {
        Failure::Device(_) => kinds.contains(&Allocation::Step),
        Failure::Adapter(_) => kinds.contains(&Allocation::Adapter) && asked.adapter > 0,
        Failure::Grammar(_) => kinds.contains(&Allocation::Grammar) && asked.constrained,
        _ => false,
    }
}

/// Holds a run with failures against the one without.
fn check(asked: &[Asked], answers: &[Option<Answer>], clean: &[Option<Answer>], kinds: &[Allocation]) {
    for (i, ((asked, answer), clean)) in asked.iter().zip(answers).zip(clean).enumerate() {
        let (Some(answer), Some(clean)) = (answer, clean) else {
            let grammar = kinds.contains(&Allocation::Grammar) && asked.constrained;
            assert!(answer.is_none() && (clean.is_none() || grammar), "request {i} was refused");
            continue;
        };
        if let Some(Event::Failed(failure)) = answer.events.last() {
            assert!(is_offender(asked, failure, kinds), "request {i} with {kinds:?} failing: {failure:?}");
            let before = answer.events.len() - 1;
            assert_eq!(answer.events[..before], clean.events[..before], "request {i}, before it failed");
        } else {
            assert_eq!(answer, clean, "request {i} with {kinds:?} failing");
        }
    }
}

/// A workload that needs everything: prompts that return, two adapters in one slot, a grammar, answers
/// that outgrow the cache.
fn workload() -> Vec<Asked> {
    let of = |n, seed, max_tokens, adapter, after| Asked {
        request: request(prompt(n, seed), max_tokens),
        adapter,
        constrained: false,
        after,
    };
    let mut asked = vec![
        of(40, 1, 40, 0, 0),
        of(33, 2, 40, 1, 1),
        of(20, 3, 30, 2, 0),
        of(20, 4, 40, 0, 2),
        of(9, 5, 40, 0, 0),
        of(60, 6, 20, 0, 20),
        of(60, 7, 20, 0, 10),
        of(40, 1, 12, 0, 20),
        of(33, 2, 10, 1, 0),
        of(60, 6, 8, 0, 10),
        of(20, 3, 8, 2, 10),
        of(60, 7, 8, 0, 0),
    ];
    asked[3].constrained = true;
    asked[8].request.prompt_logprobs = Some(1);
    asked[4].request = Request { cache_salt: "salt".into(), ..with_everything(3) };
    asked
}

#[test]
fn any_single_allocation_may_fail() {
    let asked = workload();
    let Run { answers: clean, counts, stats } = run(&asked, &[]);
    assert!(stats.preemptions > 0 && stats.spec_accepted_tokens > 0, "{stats:?}");
    assert!(clean.iter().flatten().all(|a| matches!(a.events.last(), Some(Event::Finished(_)))));
    let (mut unhurt, mut hurt) = ([0; ALL.len()], [0; ALL.len()]);
    for kind in ALL {
        assert!(counts[kind as usize] > 1, "the workload makes no {kind:?}: {counts:?}");
        for number in 0..counts[kind as usize] {
            let Run { answers, .. } = run(&asked, &[(kind, number)]);
            check(&asked, &answers, &clean, &[kind]);
            let lost = answers.iter().zip(&clean).filter(|(a, c)| a != c).count();
            // A step takes down what runs, and a grammar who follows it.
            let most = if kind == Allocation::Grammar { 1 } else { tight().max_seqs };
            assert!(lost <= most, "{lost} were lost to {kind:?} {number}");
            if lost == 0 { unhurt[kind as usize] += 1 } else { hurt[kind as usize] += lost }
        }
    }
    println!("allocations {counts:?}: {unhurt:?} hurt nobody, the others {hurt:?} requests");
    for kind in [Allocation::Blocks, Allocation::HostSlot, Allocation::Save, Allocation::Restore] {
        assert_eq!(hurt[kind as usize], 0, "there is another way than {kind:?}");
    }
    for kind in [Allocation::Adapter, Allocation::Step, Allocation::Grammar] {
        assert!(hurt[kind as usize] > 0, "{kind:?} is needed");
    }
}

fn any_asked() -> impl Strategy<Value = Asked> {
    (any_request(), 0u64..3, 0u8..4, 0usize..6).prop_map(|(request, adapter, kind, after)| Asked {
        request,
        adapter,
        constrained: kind == 0,
        after,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_allocations_may_fail(
        asked in proptest::collection::vec(any_asked(), 1..12),
        failing in proptest::collection::vec((0..ALL.len(), 0usize..150), 1..12),
    ) {
        let clean = run(&asked, &[]).answers;
        let failing: Vec<(Allocation, usize)> =
            failing.into_iter().map(|(kind, number)| (ALL[kind], number)).collect();
        let answers = run(&asked, &failing).answers;
        let kinds: Vec<Allocation> = failing.iter().map(|(kind, _)| *kind).collect();
        check(&asked, &answers, &clean, &kinds);
    }
}
