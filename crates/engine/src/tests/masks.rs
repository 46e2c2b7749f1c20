//! Masks on threads of their own: a parser that does as it is told tells when they are made, how long
//! they take, and whether they come at all.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use garrison_types::FinishReason;
use serde_json::json;

use super::rig::*;
use crate::constraint::{Constraint, Parser};
use crate::{Engine, EngineConfig, Event, Failure, Grammar, GrammarError, Request, ScriptedExecutor, Stream};

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// What nobody would make while everybody waits.
const DEAR: Duration = Duration::from_millis(1);

/// Whose mask is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    /// The next token's, the `usize`th of its answer from 0 on.
    Next(usize),
    /// A guess's.
    Guess,
}

type Act = Arc<dyn Fn(Whose) -> Result<(), GrammarError> + Send + Sync>;

/// A parser that does something before each mask.
struct Steered {
    parser: Box<dyn Parser>,
    act: Act,
    whose: Whose,
}

impl Parser for Steered {
    fn consume(&mut self, token: u32) -> Result<(), GrammarError> {
        self.parser.consume(token)
    }

    fn mask(&mut self) -> Result<Arc<[u32]>, GrammarError> {
        (self.act)(self.whose)?;
        if let Whose::Next(n) = &mut self.whose {
            *n += 1;
        }
        self.parser.mask()
    }

    fn followable(&self, tokens: &[u32]) -> usize {
        self.parser.followable(tokens)
    }

    fn is_complete(&self) -> bool {
        self.parser.is_complete()
    }

    fn ahead(&self) -> Box<dyn Parser> {
        Box::new(Steered { parser: self.parser.ahead(), act: Arc::clone(&self.act), whose: Whose::Guess })
    }

    fn apart(&self) -> Box<dyn Parser> {
        Box::new(Steered { parser: self.parser.apart(), act: Arc::clone(&self.act), whose: self.whose })
    }
}

/// A request whose masks are dear, so that none is made by the engine's thread, and that `act` is told of.
fn steered(
    engine: &Engine,
    grammar: &Grammar,
    request: Request,
    act: impl Fn(Whose) -> Result<(), GrammarError> + Send + Sync + 'static,
) -> Request {
    let act: Act = Arc::new(move |whose| match whose {
        Whose::Next(0) => {
            thread::sleep(DEAR);
            Ok(())
        }
        _ => act(whose),
    });
    let parser = engine.compile(grammar).unwrap().into_parser();
    let steered = Steered { parser, act, whose: Whose::Next(0) };
    Request { constraint: Some(Constraint::new(Box::new(steered)).unwrap()), ..request }
}

fn dear(_: Whose) -> Result<(), GrammarError> {
    thread::sleep(DEAR);
    Ok(())
}

fn letters() -> Grammar {
    Grammar::Regex("[a-z ]{40}".into())
}

/// Something that is shut until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.1.wait_timeout_while(self.0.lock().unwrap(), PATIENCE, |open| !*open).unwrap();
        assert!(!shut.1.timed_out(), "nobody opened");
    }
}

fn threaded(config: EngineConfig) -> (Engine, crate::ScriptControl) {
    let executor = ScriptedExecutor::hashing(&config);
    let control = executor.control();
    (Engine::start(Box::new(executor), tokenizer(), config).unwrap(), control)
}

fn read(stream: &mut Stream) -> Answer {
    Answer::of(std::iter::from_fn(|| stream.recv()).collect())
}

#[test]
fn the_forward_pass_does_not_wait_for_a_mask() {
    let (engine, control) = threaded(config());
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let asked = steered(&engine, &letters(), request(prompt(4, 1), 5), move |_| {
        waits.pass();
        Ok(())
    });
    control.hold();
    let mut masked = engine.submit(asked.clone()).unwrap();
    assert!(control.wait_for_steps(1, PATIENCE));
    let mut free = engine.submit(request(prompt(5, 2), 5)).unwrap();
    control.release();
    // The first token's mask was there. The second's is not, and its step has begun, with both.
    assert!(control.wait_for_steps(2, PATIENCE), "the forward pass waits for the mask");
    assert_eq!(control.log()[1], [1, 5]);
    gate.open();
    assert_eq!(read(&mut free), Rig::hashing(config()).answer(request(prompt(5, 2), 5)));
    assert_eq!(read(&mut masked), Rig::hashing(config()).answer(asked));
}

#[test]
fn the_masks_of_a_batch_are_made_side_by_side() {
    let config = config();
    let rig = &mut Rig::hashing(config);
    let threads = thread::available_parallelism().unwrap().get().min(2);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let streams: Vec<Stream> = (0..4)
        .map(|seed| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let asked = steered(&rig.engine, &letters(), request(prompt(4, seed), 8), move |_| {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                thread::sleep(5 * DEAR);
                now.fetch_sub(1, SeqCst);
                Ok(())
            });
            rig.submit(asked)
        })
        .collect();
    rig.run();
    drop(streams);
    assert!(most.load(SeqCst) >= threads, "{most:?} at a time");
}

#[test]
fn what_masks_take_is_counted() {
    let rig = &mut Rig::hashing(config());
    let asked = steered(&rig.engine, &letters(), request(prompt(4, 1), 8), dear);
    rig.answer(asked);
    let stats = rig.engine.stats();
    // The first one is made with the grammar, the last one is wanted by nobody.
    assert_eq!(stats.grammar_tokens, 8);
    assert!((6_000_000..8_000_000_000).contains(&stats.mask_nanos), "{}", stats.mask_nanos);
    rig.answer(request(prompt(4, 1), 8));
    assert_eq!((stats.grammar_tokens, stats.mask_nanos), {
        let after = rig.engine.stats();
        (after.grammar_tokens, after.mask_nanos)
    });
}

#[test]
fn what_goes_wrong_with_a_mask_ends_its_own_sequence_only() {
    let fails = |_: Whose| Err(GrammarError::NoToken);
    let panics = |_: Whose| -> Result<(), GrammarError> { panic!("the script says: panic") };
    let slow = |_: Whose| {
        thread::sleep(700 * DEAR);
        Ok(())
    };
    let cases: [(Act, GrammarError); 3] = [
        (Arc::new(fails), GrammarError::NoToken),
        (Arc::new(panics), GrammarError::ParserFailed),
        (Arc::new(slow), GrammarError::TooSlow),
    ];
    for (act, error) in cases {
        let rig = &mut Rig::hashing(config());
        let after = move |whose| if whose == Whose::Next(3) { act(whose) } else { Ok(()) };
        // More than there are threads.
        let hurt = [1; 5].map(|seed| {
            let act = after.clone();
            rig.submit(steered(&rig.engine, &letters(), request(prompt(4, seed), 30), act))
        });
        let other = steered(&rig.engine, &letters(), request(prompt(4, 2), 30), dear);
        let mut well = rig.submit(other.clone());
        let mut free = rig.submit(request(prompt(5, 3), 30));
        rig.run();
        for mut hurt in hurt {
            let events = Answer::read(&mut hurt).events;
            let (last, tokens) = events.split_last().unwrap();
            assert_eq!(last, &Event::Failed(Failure::Grammar(error.clone())));
            assert_eq!(tokens.len(), 3, "what was drawn before stays, and nothing is drawn without a mask");
        }
        assert_eq!(Answer::read(&mut well), Rig::hashing(config()).answer(other));
        assert_eq!(Answer::read(&mut free), Rig::hashing(config()).answer(request(prompt(5, 3), 30)));
        assert_eq!(rig.engine.stats().failed, 5);
        let mut next = rig.submit(steered(&rig.engine, &letters(), request(prompt(4, 1), 5), dear));
        rig.run();
        assert_eq!(Answer::read(&mut next).tokens().len(), 5, "the threads go on");
    }
}

#[test]
fn where_masks_are_made_changes_no_token() {
    let grammar = Grammar::JsonSchema(json!({
        "type": "array", "minItems": 5, "maxItems": 9,
        "items": {"type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {"a": {"type": "string", "maxLength": 12}, "b": {"type": "boolean"}}},
    }));
    let guessing = EngineConfig { prompt_lookup: true, ..config() };
    for seed in 0..12 {
        let plain = request(prompt(4, seed), 200);
        let sampling = garrison_types::Sampling { seed: seed.into(), ..Default::default() };
        let plain = Request {
            sampling,
            stop: garrison_types::StopConditions { ignore_eos: false, ..plain.stop.clone() },
            ..plain
        };
        let rig = &mut Rig::repeating(config());
        let here = Request { constraint: Some(rig.engine.compile(&grammar).unwrap()), ..plain.clone() };
        let wanted = rig.answer(here.clone());
        let mut guesses = 0;
        for mut rig in [Rig::repeating(config()), Rig::repeating(guessing), Rig::drafted(config())] {
            let there = steered(&rig.engine, &grammar, plain.clone(), |_| Ok(()));
            assert_eq!(rig.answer(there), wanted);
            let again = Request { constraint: Some(rig.engine.compile(&grammar).unwrap()), ..plain.clone() };
            assert_eq!(rig.answer(again), wanted);
            guesses += rig.engine.stats().spec_accepted_tokens;
        }
        assert!(guesses > 0, "the case must guess");
    }
}

#[test]
fn a_guess_without_a_mask_is_worth_nothing_and_harms_nobody() {
    let grammar = Grammar::Regex("(?s).{60}".into());
    let fails = |whose| if whose == Whose::Guess { Err(GrammarError::NoToken) } else { Ok(()) };
    let guessing = EngineConfig { prompt_lookup: true, ..config() };
    for mut rig in [Rig::repeating(guessing), Rig::drafted(config())] {
        let asked = request(prompt(4, 1), 60);
        let hurt = steered(&rig.engine, &grammar, asked.clone(), fails);
        let wanted = Rig::repeating(config())
            .answer(Request { constraint: Some(rig.engine.compile(&grammar).unwrap()), ..asked });
        assert_eq!(rig.answer(hurt), wanted);
        assert!(rig.engine.stats().spec_draft_tokens > 0, "the case must guess");
        assert_eq!(wanted.finish().reason, FinishReason::Stop { matched: None });
    }
}

#[test]
fn an_engine_ends_with_masks_in_flight() {
    for panics in [false, true] {
        let (engine, control) = threaded(config());
        let made = Arc::new(AtomicUsize::new(0));
        control.hold();
        let mut streams: Vec<Stream> = (0..8)
            .map(|seed| {
                let made = Arc::clone(&made);
                let asked = steered(&engine, &letters(), request(prompt(4, seed), 30), move |_| {
                    made.fetch_add(1, SeqCst);
                    thread::sleep(100 * DEAR);
                    Ok(())
                });
                engine.submit(asked).unwrap()
            })
            .collect();
        assert!(control.wait_for_steps(1, PATIENCE));
        control.release();
        // The first token of each came with the request; the masks of the second are being made.
        let begun = Instant::now();
        while made.load(SeqCst) == 0 {
            assert!(begun.elapsed() < PATIENCE);
            thread::yield_now();
        }
        if panics {
            control.panic_next();
        }
        let begun = Instant::now();
        engine.stop();
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        for stream in &mut streams {
            let last = read(stream).events.pop();
            assert!(
                matches!(last, Some(Event::Failed(Failure::ShuttingDown | Failure::Stopped))),
                "{last:?}"
            );
        }
    }
}
