//! The engine on its own thread. Nothing here sleeps: the script holds steps and says when they
//! begin.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use garrison_testkit::tiny_adapter;

use super::rig::*;
use crate::{
    AdapterHandle, Engine, EngineConfig, Event, Failure, Request, ScriptControl, ScriptedExecutor, Stream,
    SubmitError,
};

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(config: EngineConfig) -> (Engine, ScriptControl) {
    let executor = ScriptedExecutor::hashing(&config);
    let control = executor.control();
    (Engine::start(Box::new(executor), tokenizer(), config).unwrap(), control)
}

fn read(stream: &mut Stream) -> Answer {
    Answer::of(std::iter::from_fn(|| stream.recv()).collect())
}

fn alone(request: Request) -> Answer {
    Rig::hashing(config()).answer(request)
}

/// The last event is sent just before the sequence is gone.
fn wait_until_idle(engine: &Engine) {
    let start = Instant::now();
    while !engine.is_idle() {
        assert!(start.elapsed() < PATIENCE, "sequences stay in flight: {:?}", engine.stats());
        std::thread::yield_now();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn many_clients_get_what_each_would_alone() {
    let (engine, _) = start(EngineConfig { max_seqs: 5, n_blocks: 30, max_batch_tokens: 24, ..config() });
    std::thread::scope(|scope| {
        for client in 0..16u32 {
            let engine = &engine;
            scope.spawn(move || {
                let request = request(prompt(5 + client as usize * 3, client), 20 + client);
                let mut stream = engine.submit(request.clone()).unwrap();
                assert_eq!(read(&mut stream), alone(request));
            });
        }
    });
    wait_until_idle(&engine);
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.finished_length), (0, 0, 16));
}

#[test]
fn a_stream_can_be_awaited() {
    let (engine, _) = start(config());
    let mut stream = engine.submit(request(prompt(3, 1), 5)).unwrap();
    let events = block_on(async {
        let mut events = Vec::new();
        while let Some(event) = stream.recv_async().await {
            events.push(event);
        }
        events
    });
    assert_eq!(events.len(), 6);
}

#[test]
fn a_client_that_never_reads_stalls_nobody() {
    let (engine, _) = start(config());
    let unread = engine.submit(request(prompt(3, 1), 400)).unwrap();
    for i in 0..5 {
        let mut stream = engine.submit(request(prompt(3, i), 400)).unwrap();
        assert_eq!(read(&mut stream).tokens().len(), 400);
    }
    drop(unread);
}

#[test]
fn a_dropped_stream_frees_its_place() {
    let (engine, control) = start(EngineConfig { max_seqs: 1, ..config() });
    control.hold();
    let first = engine.submit(request(prompt(3, 1), 400)).unwrap();
    assert!(control.wait_for_steps(1, PATIENCE));
    let mut second = engine.submit(request(prompt(3, 2), 2)).unwrap();
    drop(first);
    control.release();
    assert_eq!(read(&mut second), alone(request(prompt(3, 2), 2)));
    assert_eq!(control.log(), [vec![3], vec![3], vec![1]], "nothing of the first after the step that ran");
}

#[test]
fn a_failing_device_fails_its_sequences_and_the_engine_goes_on() {
    let (engine, control) = start(config());
    control.fail_next(1);
    let mut failed = engine.submit(request(prompt(3, 1), 5)).unwrap();
    assert!(matches!(failed.recv(), Some(Event::Failed(Failure::Device(_)))));
    assert_eq!(failed.recv(), None);
    let mut next = engine.submit(request(prompt(3, 1), 5)).unwrap();
    assert_eq!(read(&mut next), alone(request(prompt(3, 1), 5)));
}

#[test]
fn a_panic_hangs_no_client() {
    let (engine, control) = start(EngineConfig { max_seqs: 1, ..config() });
    control.hold();
    let mut running = engine.submit(request(prompt(3, 1), 5)).unwrap();
    assert!(control.wait_for_steps(1, PATIENCE));
    let mut waiting = engine.submit(request(prompt(3, 2), 5)).unwrap();
    control.panic_next();
    control.release();
    for stream in [&mut running, &mut waiting] {
        assert_eq!(read(stream).events, [Event::Failed(Failure::Stopped)]);
    }
    assert_eq!(engine.submit(request(prompt(3, 3), 5)).unwrap_err(), SubmitError::Stopped);
    wait_until_idle(&engine);
    engine.stop();
}

#[test]
fn stopping_ends_every_stream() {
    let (engine, control) = start(EngineConfig { max_seqs: 1, ..config() });
    control.hold();
    let mut streams = [1, 2].map(|i| engine.submit(request(prompt(3, i), 400)).unwrap());
    assert!(control.wait_for_steps(1, PATIENCE));
    std::thread::scope(|scope| {
        scope.spawn(|| engine.stop());
        // Once nothing more is taken, the request to stop has been made.
        let refuses = |e: &SubmitError| matches!(e, SubmitError::Draining | SubmitError::Stopped);
        while !engine.submit(request(prompt(3, 9), 1)).is_err_and(|e| refuses(&e)) {
            std::thread::yield_now();
        }
        control.release();
    });
    for stream in &mut streams {
        assert_eq!(read(stream).events.last(), Some(&Event::Failed(Failure::ShuttingDown)));
    }
    let refused = engine.submit(request(prompt(3, 3), 5)).unwrap_err();
    assert!(matches!(refused, SubmitError::Stopped | SubmitError::Draining));
    engine.stop();
}

#[test]
fn dropping_an_idle_engine_ends_its_thread() {
    let (engine, _) = start(config());
    drop(engine);
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn adapters_that_come_and_go_take_no_room_from_requests() {
    let limits = EngineConfig { max_waiting: 4, adapter_slots: 1, ..config() };
    let (engine, control) = start(limits);
    control.hold();
    let mut first = engine.submit(request(prompt(3, 1), 2)).unwrap();
    assert!(control.wait_for_steps(1, PATIENCE));
    for seed in 0..20 {
        let handle = engine.add_adapter(tiny_adapter(seed)).unwrap();
        engine.remove_adapter(handle);
    }
    let waiting = [2, 3, 4, 5].map(|seed| engine.submit(request(prompt(3, seed), 2)).unwrap());
    let refusal = engine.submit(request(prompt(3, 6), 2)).map(|_| ()).unwrap_err();
    assert!(matches!(refusal, SubmitError::QueueFull { .. }), "{refusal}");
    control.release();
    assert_eq!(read(&mut first), alone(request(prompt(3, 1), 2)));
    for (seed, mut stream) in (2..).zip(waiting) {
        assert_eq!(read(&mut stream), alone(request(prompt(3, seed), 2)));
    }
}

#[test]
fn an_adapter_that_nobody_holds_leaves_its_slot_though_the_engine_sleeps() {
    let (engine, control) = start(EngineConfig { adapter_slots: 1, ..config() });
    let run = |handle: &AdapterHandle| {
        let mut stream =
            engine.submit(Request { adapter: Some(handle.clone()), ..request(prompt(3, 1), 3) }).unwrap();
        read(&mut stream);
        wait_until_idle(&engine);
    };
    // Unloaded while a request runs with it.
    let handle = engine.add_adapter(tiny_adapter(1)).unwrap();
    let taken = handle.watch();
    control.hold();
    let adapted = Request { adapter: Some(handle.clone()), ..request(prompt(3, 1), 3) };
    let mut stream = engine.submit(adapted).unwrap();
    assert!(control.wait_for_steps(1, PATIENCE));
    engine.remove_adapter(handle);
    control.release();
    read(&mut stream);
    wait_until("its memory stays", || !taken());
    // Held by somebody else when it is unloaded.
    let handle = engine.add_adapter(tiny_adapter(2)).unwrap();
    run(&handle);
    let (taken, last) = (handle.watch(), handle.clone());
    engine.remove_adapter(handle);
    run(&last);
    assert!(taken());
    drop(last);
    wait_until("its memory stays", || !taken());
}
