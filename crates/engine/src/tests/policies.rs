use std::time::{Duration, Instant};

use super::rig::*;
use crate::{EngineConfig, Event, Failure, Request, Stream, SubmitError};

fn one_at_a_time() -> EngineConfig {
    EngineConfig { max_seqs: 1, ..config() }
}

/// In which order streams end.
fn order(rig: &mut Rig, mut streams: Vec<Stream>) -> Vec<usize> {
    let mut order = Vec::new();
    while order.len() < streams.len() {
        rig.step();
        for (i, stream) in streams.iter_mut().enumerate() {
            if std::iter::from_fn(|| stream.try_recv()).any(|e| matches!(e, Event::Finished(_))) {
                order.push(i);
            }
        }
    }
    order
}

fn submit(rig: &Rig, requests: impl IntoIterator<Item = Request>) -> Vec<Stream> {
    requests.into_iter().map(|r| rig.submit(r)).collect()
}

#[test]
fn the_more_urgent_goes_first_and_equals_in_order_of_arrival() {
    let mut rig = Rig::hashing(one_at_a_time());
    let with = |priority, i| Request { priority, ..request(prompt(4, i), 2) };
    let streams = submit(&rig, [with(0, 0), with(5, 1), with(-5, 2), with(0, 3), with(-5, 4)]);
    assert_eq!(order(&mut rig, streams), [2, 4, 0, 3, 1]);
}

#[test]
fn what_has_waited_longer_than_the_difference_is_not_overtaken() {
    let mut rig = Rig::hashing(one_at_a_time());
    let with = |priority| Request { priority, ..request(prompt(4, 1), 2) };
    // The queue sees them more than a second apart: one level is a second.
    let mut streams = submit(&rig, [with(1), with(60)]);
    rig.worker.take_ready();
    std::thread::sleep(Duration::from_millis(1500));
    streams.extend(submit(&rig, [with(0)]));
    assert_eq!(order(&mut rig, streams), [0, 2, 1]);
}

#[test]
fn a_flood_from_one_client_does_not_keep_another_waiting() {
    let mut rig = Rig::hashing(one_at_a_time());
    let from = |client, i| Request { client, ..request(prompt(8, i), 4) };
    let flood = (0..6).map(|i| from(1, i));
    let streams = submit(&rig, flood.chain([from(2, 6), from(2, 7)]));
    assert_eq!(order(&mut rig, streams), [0, 6, 1, 7, 2, 3, 4, 5]);
}

#[test]
fn one_client_cannot_fill_the_queue() {
    let rig = Rig::hashing(EngineConfig { max_waiting: 8, max_waiting_per_client: 4, ..one_at_a_time() });
    let ask = |client| rig.engine.submit(Request { client, ..request(prompt(8, client), 4) });
    let mut kept: Vec<_> = (0..4).map(|_| ask(1).unwrap()).collect();
    assert!(matches!(ask(1), Err(SubmitError::QueueFull { waiting: 4, .. })));
    kept.extend((0..4).map(|_| ask(2).unwrap()));
    assert!(matches!(ask(3), Err(SubmitError::QueueFull { waiting: 8, .. })));
}

#[test]
fn shares_are_of_tokens_and_not_of_requests() {
    let mut rig = Rig::hashing(EngineConfig { max_batch_tokens: 256, ..one_at_a_time() });
    let large = |i| Request { client: 1, ..request(prompt(180, i), 10) };
    let small = |i| Request { client: 2, ..request(prompt(10, i), 5) };
    let requests = (0..3).map(large).chain((0..12).map(small));
    let streams = submit(&rig, requests);
    let order = order(&mut rig, streams);
    let before_the_second_large = order.iter().position(|&i| i == 1).unwrap();
    assert_eq!(order[0], 0);
    assert_eq!(before_the_second_large, 11, "200 tokens for one, then ten of 20 for the other: {order:?}");
}

#[test]
fn nobody_saves_up_while_away() {
    let mut rig = Rig::hashing(one_at_a_time());
    let from = |client, i| Request { client, ..request(prompt(8, i), 4) };
    let early = submit(&rig, (0..4).map(|i| from(1, i)));
    order(&mut rig, early);
    // Client 2 comes for the first time while client 1, who was served before, has work: they take turns.
    let streams = submit(&rig, [from(1, 5), from(1, 6), from(2, 7), from(2, 8), from(2, 9)]);
    assert_eq!(order(&mut rig, streams), [0, 2, 1, 3, 4]);
}

#[test]
fn who_comes_while_nobody_is_there_owes_nothing_and_is_owed_nothing() {
    let mut rig = Rig::hashing(one_at_a_time());
    let from = |client, i| Request { client, ..request(prompt(8, i), 4) };
    for i in 0..20 {
        rig.answer(from(1, i));
    }
    // Client 2 comes first, and client 1 after it: what was before does not count any more.
    let streams = submit(&rig, [from(2, 1), from(2, 2), from(2, 3), from(1, 4), from(1, 5)]);
    assert_eq!(order(&mut rig, streams), [0, 3, 1, 4, 2]);
}

#[test]
fn priorities_move_a_clients_own_sequences_only() {
    let small = EngineConfig { n_blocks: 12, max_batch_tokens: 64, prefix_cache: false, ..config() };
    let mut rig = Rig::hashing(small);
    let ask = |client, priority, i| Request { client, priority, ..request(prompt(30, i), 40) };
    let first = ask(1, 0, 1);
    let mut first_stream = rig.submit(first.clone());
    rig.step();
    let _pushy = rig.submit(ask(2, -100, 2));
    let _pushy_too = rig.submit(ask(2, -100, 3));
    for step in 1..40 {
        rig.step();
        assert!(matches!(first_stream.try_recv(), Some(Event::Token(_))), "step {step}: it came first");
    }
    assert!(rig.engine.stats().preemptions > 0, "the case must preempt");
    rig.run();
}

/// Everybody who comes while others are there is taken to have been served as little as the least of them, so that
/// equals are the rule and not the exception.
#[test]
fn a_priority_puts_no_client_before_another_that_waits() {
    let mut rig = Rig::hashing(one_at_a_time());
    let ask = |client, priority, i| Request { client, priority, ..request(prompt(8, i), 4) };
    let mut streams = submit(&rig, [ask(3, 0, 0)]);
    rig.step();
    streams.extend(submit(&rig, [ask(1, 0, 1), ask(2, -100, 2), ask(1, -100, 3)]));
    // The first client has waited longest, and its own priorities say which of its requests that is for.
    assert_eq!(order(&mut rig, streams), [0, 3, 2, 1]);
}

#[test]
fn the_least_urgent_gives_way_when_blocks_run_out() {
    let small = EngineConfig { n_blocks: 8, max_batch_tokens: 64, prefix_cache: false, ..config() };
    let mut rig = Rig::hashing(small);
    let requests = [
        Request { priority: 9, ..request(prompt(30, 1), 40) },
        Request { priority: 0, ..request(prompt(28, 2), 40) },
    ];
    let [mut patient, mut urgent] = requests.clone().map(|r| rig.submit(r));
    let mut events = Vec::new();
    for step in 1..=40 {
        rig.step();
        let event = urgent.try_recv();
        assert!(matches!(event, Some(Event::Token(_))), "step {step} brings the urgent one a token");
        events.extend(event);
    }
    assert!(rig.engine.stats().preemptions > 0, "the case must preempt");
    rig.run();
    events.extend(std::iter::from_fn(|| urgent.try_recv()));
    let [first, second] = requests.map(|r| Rig::hashing(config()).answer(r));
    assert_eq!((Answer::read(&mut patient), Answer::of(events)), (first, second));
}

#[test]
fn a_deadline_ends_what_waits_and_what_runs_and_nothing_else() {
    let mut rig = Rig::hashing(EngineConfig { max_seqs: 2, ..config() });
    let soon = Some(Instant::now() + Duration::from_millis(300));
    let long = |i, deadline| Request { deadline, ..request(prompt(4, i), 400) };
    let mut streams = submit(&rig, [long(0, soon), long(1, None), long(2, soon)]);
    rig.step();
    rig.step();
    std::thread::sleep(Duration::from_millis(310));
    rig.step();
    let ends = |stream: &mut Stream| Answer::read(stream).events.pop();
    assert_eq!(ends(&mut streams[0]), Some(Event::Failed(Failure::DeadlineExceeded)));
    assert_eq!(ends(&mut streams[2]), Some(Event::Failed(Failure::DeadlineExceeded)));
    assert!(matches!(ends(&mut streams[1]), Some(Event::Token(_))));
    let stats = rig.engine.stats();
    assert_eq!((stats.late, stats.running, stats.waiting, stats.in_flight), (2, 1, 0, 1));
    rig.run();
}
