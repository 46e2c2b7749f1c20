//! A fake server, and runs against it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use garrison_bench::dataset::{Dataset, Lengths, Material, Models, Synthetic};
use garrison_bench::load::{
    CoolDown, Endpoint, Extent, Finished, Interrupt, Limits, Load, Observer, Plan, Progress, Target, Tokens,
    Workload, run,
};
use garrison_bench::{Goals, Record, Summary};
use garrison_testkit::fake_server::{FakeServer, Script};
use serde_json::{Map, Value};

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A server on a free port.
pub(crate) fn server(director: impl Fn(usize, &Value) -> Script + Send + Sync + 'static) -> FakeServer {
    FakeServer::start("127.0.0.1:0", director).unwrap()
}

pub(crate) fn plan(load: Load, requests: usize) -> Plan {
    Plan {
        load,
        extent: Extent::Requests(requests),
        warm_up: 0,
        cool_down: CoolDown::None,
        limits: Limits {
            first_token: Duration::from_secs(20),
            answer: Duration::from_secs(20),
            in_flight: 1000,
        },
        seed: 1,
    }
}

pub(crate) fn workload(server: &FakeServer) -> Workload {
    Workload {
        target: Target::new(&server.url, "").unwrap(),
        endpoint: Endpoint::Completions,
        models: Models::one("fake".to_owned()),
        fields: Map::new(),
        tokenizer: Tokens::Unknown,
    }
}

/// Prompts of 16 words for answers of `n` tokens.
pub(crate) fn asks(n: u32) -> impl Dataset {
    Synthetic::new(Material::Words, Lengths::Fixed(16), Lengths::Fixed(n), 1)
}

/// Hears nothing.
pub(crate) struct Deaf;

impl Observer for Deaf {
    fn record(&mut self, _: &Record, _: &[u64]) {}
    fn tick(&mut self, _: Progress<'_>) {}
}

/// Runs and sums up.
pub(crate) fn measure(server: &FakeServer, plan: &Plan, tokens: u32) -> (Finished, Summary) {
    measure_at(&workload(server), plan, tokens)
}

/// The same, with another way to the server.
pub(crate) fn measure_at(workload: &Workload, plan: &Plan, tokens: u32) -> (Finished, Summary) {
    let finished =
        run(workload, plan, &mut asks(tokens), &mut Deaf, &mut Interrupt::listen().unwrap()).unwrap();
    let summary = Summary::new(&finished.records, Goals::default());
    (finished, summary)
}

/// Checks that hold on a quiet machine get three chances. Where the machine was busy each time, as told by how
/// late a thread wakes that only sleeps, nothing is shown.
pub(crate) fn eventually(check: impl Fn() -> Result<(), String>) {
    let mut quiet = false;
    let judged = || {
        let sleeper = Sleeper::start();
        let result = check();
        let late = sleeper.late();
        result.map_err(|e| (format!("{e} (a sleeper was {late:?} late)"), late))
    };
    if let Err(said) = attempts(judged) {
        quiet |= said.iter().any(|(_, late)| *late < Duration::from_micros(500));
        assert!(!quiet, "{said:#?}");
        println!("nothing shown, the machine is busy: {said:#?}");
    }
}

/// What was wrong three times.
pub(crate) fn attempts<E>(check: impl Fn() -> Result<(), E>) -> Result<(), Vec<E>> {
    // One at a time: they are about milliseconds.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut said = Vec::new();
    for _ in 0..3 {
        match check() {
            Ok(()) => return Ok(()),
            Err(e) => said.push(e),
        }
    }
    Err(said)
}

/// A thread that sleeps, again and again, and notes how late it wakes.
struct Sleeper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Sleeper {
    fn start() -> Sleeper {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut late = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(ms(5));
                late.push(before.elapsed() - ms(5));
            }
            late
        });
        Sleeper { stop, thread }
    }

    /// The 95th percentile.
    fn late(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let mut late = self.thread.join().unwrap();
        late.sort();
        late.get(late.len() * 95 / 100).copied().unwrap_or_default()
    }
}
