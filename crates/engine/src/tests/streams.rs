//! What a request is told at the door.

use super::rig::*;
use crate::{EngineConfig, SubmitError};

#[test]
fn a_prompt_that_can_never_fit_is_refused_at_once() {
    let rig = Rig::hashing(config());
    let error = rig.engine.submit(request(prompt(512, 1), 1)).unwrap_err();
    assert_eq!(error, SubmitError::ContextLengthExceeded { prompt_tokens: 512, limit: 512 });
    assert!(rig.engine.submit(request(prompt(511, 1), 1)).is_ok());
    // The cache may be smaller than the context.
    let rig = Rig::hashing(EngineConfig { n_blocks: 3, ..config() });
    let error = rig.engine.submit(request(prompt(32, 1), 1)).unwrap_err();
    assert_eq!(error, SubmitError::ContextLengthExceeded { prompt_tokens: 32, limit: 32 });
    assert!(error.to_string().contains("32 tokens"));
}

#[test]
fn senseless_prompts_are_refused() {
    let rig = Rig::hashing(config());
    assert_eq!(rig.engine.submit(request(vec![], 1)).unwrap_err(), SubmitError::EmptyPrompt);
    let unknown = SubmitError::UnknownToken { token: VOCAB as u32, vocab: VOCAB };
    assert_eq!(rig.engine.submit(request(vec![5, VOCAB as u32], 1)).unwrap_err(), unknown);
    assert!(rig.engine.is_idle());
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let mut rig = Rig::hashing(EngineConfig { max_seqs: 1, max_waiting: 2, ..config() });
    let mut streams = vec![rig.submit(request(prompt(3, 1), 5)), rig.submit(request(prompt(3, 2), 5))];
    let refused = rig.engine.submit(request(prompt(3, 3), 5)).unwrap_err();
    assert!(matches!(refused, SubmitError::QueueFull { waiting: 2, retry_after_s: 1..=60 }), "{refused:?}");
    // One leaves the queue, so one more fits.
    rig.step();
    streams.push(rig.submit(request(prompt(3, 3), 5)));
    assert!(rig.engine.submit(request(prompt(3, 4), 5)).is_err());
    rig.run();
    assert!(streams.iter_mut().all(|s| Answer::read(s).tokens().len() == 5));
}

#[test]
fn a_stream_holds_everything_a_slow_client_has_not_read() {
    let mut rig = Rig::hashing(config());
    let mut slow = rig.submit(request(prompt(3, 1), 500));
    rig.run();
    assert_eq!(Answer::read(&mut slow).tokens().len(), 500);
}

#[test]
fn draining_finishes_what_is_there_and_refuses_the_rest() {
    let mut rig = Rig::hashing(EngineConfig { max_seqs: 1, ..config() });
    let mut streams = [1, 2].map(|i| rig.submit(request(prompt(3, i), 5)));
    rig.step();
    rig.engine.drain();
    assert_eq!(rig.engine.submit(request(prompt(3, 3), 5)).unwrap_err(), SubmitError::Draining);
    assert!(!rig.engine.is_idle());
    // What was accepted runs to its end, and may take more than one run for it.
    let again = rig.engine.submit_again(request(prompt(3, 1), 5)).unwrap();
    rig.run();
    assert!(rig.engine.is_idle());
    assert!(streams.iter_mut().chain([again].iter_mut()).all(|s| Answer::read(s).tokens().len() == 5));
}

#[test]
fn statistics_follow_the_work() {
    let mut rig = Rig::hashing(EngineConfig { max_seqs: 2, n_blocks: 11, ..config() });
    let _streams = [1, 2, 3].map(|i| rig.submit(request(prompt(20, i), 5)));
    assert_eq!((rig.engine.stats().waiting, rig.engine.stats().in_flight), (3, 3));
    rig.step();
    let stats = rig.engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.kv_blocks_used, stats.kv_blocks_total), (2, 1, 4, 10));
    assert_eq!((stats.kv_usage(), stats.prompt_tokens, stats.generation_tokens), (0.4, 40, 2));
}
