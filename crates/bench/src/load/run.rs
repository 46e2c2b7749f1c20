//! Runs a plan: whoever waits for the clock is a thread, whoever waits for an answer a task.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use garrison_tokenizer::Tokenizer;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};

use super::ahead::{AHEAD, Ahead};
use super::attempt::{Answered, Job, Shared, attempt, not_sent};
use super::client::Client;
use super::files;
use super::fold::{Counter, Demand};
use super::plan::{Load, Phases, Plan, Schedule};
use super::pulse::Pulse;
use super::socket::Clock;
use super::target::{Endpoint, Target};
use super::urgent::{come_first, look_around};
use crate::dataset::{Conversation, Dataset, Models};
use crate::random::Random;
use crate::record::{Phase, Record};

/// Records on their way to whoever collects them.
const RECORDS_UNDER_WAY: usize = 1024;

/// How often the observer hears of progress.
const TICK: Duration = Duration::from_millis(200);

/// After so many turns of tasks a worker looks for new tasks, and for connections that are ready.
const NEW_TASKS_EVERY: u32 = 8;
const NEW_EVENTS_EVERY: u32 = 16;

/// What is sent where.
#[derive(Clone)]
pub struct Workload {
    /// The server.
    pub target: Target,
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// The models asked for.
    pub models: Models,
    /// Fields of every request.
    pub fields: Map<String, Value>,
    /// Who counts tokens where events do not list them.
    pub tokenizer: Tokens,
}

/// Who knows how many tokens a text has.
#[derive(Clone)]
pub enum Tokens {
    /// Nobody here: what the server says is taken.
    Unknown,
    /// The model's tokenizer.
    Known(Arc<Tokenizer>),
}

/// Hears of a run while it goes on.
pub trait Observer {
    /// A request is over. `arrivals` are the moments at which the events with its tokens came, in nanoseconds since
    /// [`Finished::started`]; of these the record has but the distribution.
    fn record(&mut self, record: &Record, arrivals: &[u64]);

    /// Called a few times a second.
    fn tick(&mut self, progress: Progress<'_>);
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Seconds since its start.
    pub seconds: f64,
    /// Measured requests that are over.
    pub ended: usize,
    /// All there will be, if known.
    pub whole: Option<usize>,
    /// What goes on.
    pub pulse: &'a Pulse,
}

/// What a run left.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Of every request, in the order of their ends.
    pub records: Vec<Record>,
    /// Whether somebody stopped it.
    pub ending: Ending,
    /// What its times count from.
    pub started: Instant,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Ending {
    Complete,
    Interrupted,
}

/// A run that could not begin.
#[derive(Debug, Error)]
pub enum RunError {
    /// No runtime.
    #[error("the system gives no threads or timers: {0}")]
    System(std::io::Error),
}

/// Everything tasks share.
struct Run {
    client: Arc<Client>,
    clock: Clock,
    workload: Workload,
    plan: Plan,
    phases: Phases,
    pulse: Pulse,
    stop: watch::Sender<bool>,
}

impl Run {
    fn shared(&self) -> Shared<'_> {
        Shared {
            client: &self.client,
            clock: self.clock,
            endpoint: self.workload.endpoint,
            limits: self.plan.limits,
            counter: match &self.workload.tokenizer {
                Tokens::Unknown => Counter::Server,
                Tokens::Known(tokenizer) => Counter::Tokenizer(tokenizer),
            },
            pulse: &self.pulse,
        }
    }

    fn job(&self, ask: &Ask, turn: usize, said: &[String]) -> Job {
        let common = (&self.workload.fields, self.workload.endpoint);
        Job::new(common, (&ask.conversation, turn), said, &ask.model, ask.phase)
    }

    /// All turns of one conversation, the first due at `scheduled`.
    async fn converse(&self, ask: Ask, first: Job, scheduled: u64, records: &mpsc::Sender<Answered>) {
        let mut stop = self.stop.subscribe();
        let (mut said, mut job, mut due) = (Vec::new(), Some(first), scheduled);
        for turn in 0..ask.conversation.turns.len() {
            let next = job.take().unwrap_or_else(|| self.job(&ask, turn, &said));
            let window = || self.phases.window();
            let (answered, answer) = attempt(&self.shared(), next, due, window, &mut stop).await;
            let done = answered.record.is_done();
            // The collector goes last, so this fails only when the run is over.
            let _ = records.send(answered).await;
            if !done {
                break;
            }
            said.push(answer);
            due = self.clock.now();
        }
        self.phases.end(ask.phase);
        self.stop_if_all_ended();
    }

    /// Cuts off what is still under way, once nothing of it counts.
    fn stop_if_all_ended(&self) {
        if self.phases.all_ended() {
            self.stop.send_replace(true);
        }
    }
}

/// A conversation with a phase and a model.
struct Ask {
    conversation: Conversation,
    model: String,
    phase: Phase,
}

/// Where conversations come from, with the choice of their model.
struct Asks<'a> {
    dataset: &'a mut dyn Dataset,
    models: Models,
    random: Random,
}

impl Asks<'_> {
    /// A conversation and its model.
    fn next(&mut self) -> (Conversation, String) {
        let model = self.models.at(self.random.uniform()).to_owned();
        (self.dataset.next(), model)
    }
}

/// Ctrl-C, heard from when this is made until it is gone; between runs, too.
pub struct Interrupt(Signal);

impl Interrupt {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn listen() -> Result<Interrupt, RunError> {
        // Whichever runtime goes on hears signals for all; this one only has to be there now.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(RunError::System)?;
        let _within = runtime.enter();
        signal(SignalKind::interrupt()).map(Interrupt).map_err(RunError::System)
    }
}

/// Runs `plan` to its end, or until Ctrl-C.
///
/// # Errors
/// If the system does not give what a run needs; requests that fail are records.
pub fn run(
    workload: &Workload,
    plan: &Plan,
    dataset: &mut dyn Dataset,
    observer: &mut dyn Observer,
    interrupt: &mut Interrupt,
) -> Result<Finished, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        // A request that is due waits behind fewer tokens that have come than it otherwise would.
        .global_queue_interval(NEW_TASKS_EVERY)
        .event_interval(NEW_EVENTS_EVERY)
        .on_thread_start(come_first)
        .enable_all()
        .build()
        .map_err(RunError::System)?;
    let most = match plan.load {
        Load::Closed { concurrency } => concurrency,
        Load::Open { .. } => plan.limits.in_flight,
    };
    files::make_room(most);
    let clock = Clock::start();
    let run = Arc::new(Run {
        client: Arc::new(Client::new(workload.target.clone(), clock)),
        clock,
        workload: workload.clone(),
        plan: plan.clone(),
        phases: Phases::new(plan),
        pulse: Pulse::default(),
        stop: watch::Sender::new(false),
    });
    let (sender, receiver) = mpsc::channel(RECORDS_UNDER_WAY);
    let asks = Asks { dataset, models: workload.models.clone(), random: Random::stream(plan.seed, 4) };
    let (records, ending) = std::thread::scope(|scope| {
        match plan.load {
            Load::Closed { concurrency } => {
                let (run, runtime) = (&run, &runtime);
                scope.spawn(move || closed_loop(run, runtime, asks, concurrency, &sender));
            }
            Load::Open { rate, arrivals } => {
                let schedule = Schedule::new(rate, arrivals, plan.seed);
                let (run, runtime) = (&run, &runtime);
                scope.spawn(move || open_loop(run, runtime, asks, schedule, &sender));
            }
        }
        runtime.block_on(collect(&run, receiver, observer, interrupt))
    });
    runtime.shutdown_background();
    Ok(Finished { records, ending, started: clock.at(0) })
}

/// Half of the threads there are: a server on the same machine needs the others, and few workers with much to do
/// are woken less often than many with little.
fn workers() -> usize {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    (threads / 2).clamp(1, 8)
}

/// Each client asks when its last answer is there; a permit is a client with nothing to wait for.
fn closed_loop(
    run: &Arc<Run>,
    runtime: &Runtime,
    mut asks: Asks<'_>,
    concurrency: usize,
    records: &mpsc::Sender<Answered>,
) {
    let clients = Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS)));
    while let Ok(client) = runtime.block_on(Arc::clone(&clients).acquire_owned()) {
        if *run.stop.borrow() {
            return;
        }
        // The window begins with its first request, and making that up is no part of it.
        let (conversation, model) = asks.next();
        let now = run.clock.now();
        let Some(phase) = run.phases.begin(now) else { return run.stop_if_all_ended() };
        let ask = Ask { conversation, model, phase };
        let job = run.job(&ask, 0, &[]);
        let (run, records) = (Arc::clone(run), records.clone());
        runtime.spawn(async move {
            let now = run.clock.now(); // making up a prompt is no part of its latency
            run.converse(ask, job, now, &records).await;
            drop(client);
        });
    }
}

/// Sends at the moments of the schedule, whatever becomes of the answers.
fn open_loop(
    run: &Arc<Run>,
    runtime: &Runtime,
    mut asks: Asks<'_>,
    schedule: Schedule,
    records: &mpsc::Sender<Answered>,
) {
    come_first();
    let room = Arc::new(Semaphore::new(run.plan.limits.in_flight.min(Semaphore::MAX_PERMITS)));
    let begin = run.clock.now() + AHEAD.as_nanos() as u64;
    let moments = schedule.map(move |at| begin + at);
    let sent = Arc::new(AtomicUsize::new(0));
    let ahead = Ahead {
        client: Arc::clone(&run.client),
        clock: run.clock,
        most: run.plan.limits.in_flight,
        sent: Arc::clone(&sent),
    };
    runtime.spawn(ahead.connect(moments.clone(), run.stop.subscribe()));
    for moment in moments {
        // Cool-down goes on until everything measured has ended, which the clock alone does not tell.
        if *run.stop.borrow() {
            return;
        }
        let Some(phase) = run.phases.begin(moment) else { return run.stop_if_all_ended() };
        let (conversation, model) = asks.next();
        let ask = Ask { conversation, model, phase };
        let job = run.job(&ask, 0, &[]);
        if !sleep_until(run, moment) {
            return;
        }
        sent.fetch_add(1, Ordering::Relaxed);
        look_around(Instant::now());
        match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => {
                let (run, records) = (Arc::clone(run), records.clone());
                runtime.spawn(async move {
                    run.converse(ask, job, moment, &records).await;
                    drop(permit);
                });
            }
            Err(_) => {
                let Job { demand, .. } = job;
                lose(run, demand, moment, records);
            }
        }
    }
}

fn lose(run: &Run, demand: Demand, moment: u64, records: &mpsc::Sender<Answered>) {
    let phase = demand.phase;
    let _ = records.blocking_send(not_sent(&run.shared(), demand, moment));
    run.phases.end(phase);
    run.stop_if_all_ended();
}

/// Sleeps until `moment`; false if the run was stopped meanwhile.
fn sleep_until(run: &Run, moment: u64) -> bool {
    // In pieces, so that the end of the run is noticed; the last is exact to some fifty microseconds,
    // which timers of the runtime, at a millisecond, are not.
    loop {
        if *run.stop.borrow() {
            return false;
        }
        let left = Duration::from_nanos(moment.saturating_sub(run.clock.now()));
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

async fn collect(
    run: &Run,
    mut records: mpsc::Receiver<Answered>,
    observer: &mut dyn Observer,
    interrupt: &mut Interrupt,
) -> (Vec<Record>, Ending) {
    let mut all = Vec::new();
    let mut ending = Ending::Complete;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            Some(()) = interrupt.0.recv(), if ending == Ending::Complete => {
                ending = Ending::Interrupted;
                run.stop.send_replace(true);
            }
            _ = tick.tick() => {
                let (ended, whole) = run.phases.progress();
                let seconds = run.clock.now() as f64 / 1e9;
                observer.tick(Progress { seconds, ended, whole, pulse: &run.pulse });
            }
            record = records.recv() => match record {
                Some(Answered { record, arrivals }) => {
                    observer.record(&record, &arrivals);
                    all.push(record);
                }
                None => return (all, ending),
            }
        }
    }
}
