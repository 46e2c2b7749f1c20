//! Several runs that belong together: a ramp of loads, a search for the highest rate, two servers in turn.

use std::time::Duration;

use crate::dataset::Dataset;
use crate::document::{Completeness, Document, Machine, Run, SCHEMA, Server};
use crate::energy::{Meter, Readings};
use crate::journal::Journal;
use crate::load::{
    Arrivals, Finished, Interrupt, Load, Observer, Plan, Progress, PulseReading, RunError, Workload, run,
};
use crate::record::Record;
use crate::search::Found;
use crate::summary::{Goals, Summary};

/// Which loads.
#[derive(Clone, Debug, PartialEq)]
pub enum Loads {
    /// These, one after the other.
    Steps(Vec<Load>),
    /// Rates, to find the highest that keeps to the goals, beginning with this one.
    Search {
        /// The first.
        rate: f64,
        /// Their scatter.
        arrivals: Arrivals,
        /// How long each is held, at least: a few requests at a high rate are over before a server is behind.
        at_least: Duration,
    },
}

/// A search ends when the rates that keep to the goals and that do not are this close,
const CLOSE_ENOUGH: f64 = 1.1;
/// or after so many runs.
const MOST_PROBES: usize = 16;
/// or when a harness that sends later than this, in milliseconds, is what goals are missed by.
const LATE_MS: f64 = 5.0;

/// Everything that a session does.
pub struct Session<'a> {
    /// One server, or two that are compared.
    pub servers: Vec<Workload>,
    /// What they cost an hour, if told.
    pub usd_per_hour: Option<f64>,
    /// Loads.
    pub loads: Loads,
    /// How often servers take turns.
    pub rounds: usize,
    /// What answers should keep to.
    pub goals: Goals,
    /// Of every run, but for its load and seed. A warm-up as long as this for a load.
    pub plan: &'a dyn Fn(Load, u64) -> Plan,
    /// Of the first run.
    pub seed: u64,
    /// Makes the questions of a run from its seed.
    pub dataset: &'a dyn Fn(u64) -> Box<dyn Dataset>,
}

/// Hears of a session while it goes on.
pub trait Audience {
    /// A run begins.
    fn begins(&mut self, run: &Run, server: &Server);
    /// Called a few times a second.
    fn tick(&mut self, progress: Progress<'_>, reading: PulseReading);
    /// A run is over.
    fn ends(&mut self, run: &Run);
}

impl Session<'_> {
    /// Runs all of it, or until somebody stops it; what was measured until then is in the document.
    ///
    /// # Errors
    /// If the system does not give what a run needs.
    pub fn run<'a>(
        &self,
        journal: &'a mut Journal,
        audience: &'a mut dyn Audience,
    ) -> Result<Document, RunError> {
        let mut document = self.document();
        journal.document(&document);
        let mut around = Around { relay: Relay { journal, audience }, interrupt: Interrupt::listen()? };
        match &self.loads {
            Loads::Steps(loads) => {
                'all: for round in 0..self.rounds {
                    for (step, load) in loads.iter().enumerate() {
                        let mut turns: Vec<usize> = (0..self.servers.len()).collect();
                        // Whoever goes first may have it easier, or harder; so they take turns at it.
                        if round % 2 == 1 {
                            turns.reverse();
                        }
                        for server in turns {
                            let seed = self.seed.wrapping_add(1000 * round as u64).wrapping_add(step as u64);
                            let begun = Run::begin(server, round, *load, seed);
                            let plan = (self.plan)(begun.load, begun.seed);
                            self.one(begun, &plan, &mut document, &mut around)?;
                            if document.completeness != Completeness::Complete {
                                break 'all;
                            }
                        }
                    }
                }
            }
            Loads::Search { rate, arrivals, at_least } => {
                let shape = (*rate, *arrivals, *at_least);
                document.search = Some(self.search(shape, &mut document, &mut around)?);
            }
        }
        Ok(document)
    }

    fn document(&self) -> Document {
        let server = |workload: &Workload| Server {
            url: workload.target.to_string(),
            endpoint: workload.endpoint,
            models: workload.models.names().map(str::to_owned).collect(),
            usd_per_hour: self.usd_per_hour,
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Document {
            schema: SCHEMA.to_owned(),
            garrison: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix: now.map_or(0, |age| age.as_secs()),
            machine: Machine::here(),
            servers: self.servers.iter().map(server).collect(),
            dataset: (self.dataset)(self.seed).describe(),
            goals: self.goals,
            search: None,
            completeness: Completeness::Complete,
            runs: Vec::new(),
        }
    }

    /// One run, which goes into the document.
    fn one(
        &self,
        mut begun: Run,
        plan: &Plan,
        document: &mut Document,
        around: &mut Around<'_>,
    ) -> Result<(), RunError> {
        let Around { relay, interrupt } = around;
        relay.audience.begins(&begun, &document.servers[begun.server]);
        relay.journal.run(&begun);
        let mut dataset = (self.dataset)(begun.seed);
        let meter = Meter::start();
        let (cpu, wall) = (cpu_seconds(), std::time::Instant::now());
        let Finished { records, ending, .. } =
            run(&self.servers[begun.server], plan, dataset.as_mut(), relay, interrupt)?;
        Readings { energy: begun.energy, unknown: begun.energy_unknown } = meter.read();
        let used = cpu.zip(cpu_seconds()).map(|(before, after)| after - before);
        begun.harness_cores = used.map(|used| used / wall.elapsed().as_secs_f64());
        begun.records = records;
        begun.sum_up(self.goals);
        document.ends(ending);
        around.relay.audience.ends(&begun);
        document.runs.push(begun);
        Ok(())
    }

    /// Doubles the rate until the goals are missed, then halves the distance, by ratio.
    fn search(
        &self,
        (mut rate, arrivals, at_least): (f64, Arrivals, Duration),
        document: &mut Document,
        around: &mut Around<'_>,
    ) -> Result<Found, RunError> {
        let held_seconds = at_least.as_secs_f64();
        let mut found = Found { highest_rate: 0.0, lowest_failing: None, held_seconds, unsent_rate: None };
        for probe in 0..MOST_PROBES {
            let load = Load::Open { rate, arrivals };
            let begun = Run::begin(0, 0, load, self.seed.wrapping_add(probe as u64));
            let mut plan = (self.plan)(load, begun.seed);
            plan.extent = plan.extent.at_least(at_least, rate);
            self.one(begun, &plan, document, around)?;
            if document.completeness != Completeness::Complete {
                break;
            }
            let Some(summary) = document.runs.last().map(|run| &run.summary) else { break };
            let met = keeps_to(summary, self.goals);
            if !met && summary.harness_late_ms.is_some_and(|late| late.p99.value > LATE_MS) {
                found.unsent_rate = Some(rate);
                break;
            }
            if met {
                found.highest_rate = rate;
            } else {
                found.lowest_failing = Some(rate);
            }
            rate = match (found.highest_rate, found.lowest_failing) {
                (low, None) => low * 2.0,
                (0.0, Some(high)) => high / 2.0,
                (low, Some(high)) if high / low <= CLOSE_ENOUGH => break,
                (low, Some(high)) => (low * high).sqrt(),
            };
        }
        Ok(found)
    }
}

/// Whether the 99th percentiles keep to the goals, and nothing failed.
fn keeps_to(summary: &Summary, goals: Goals) -> bool {
    let within = |goal: Option<f64>, d: &Option<crate::Distribution>| match (goal, d) {
        (Some(goal), Some(d)) => d.p99.value <= goal,
        _ => true,
    };
    summary.requests.answered > 0
        && summary.requests.failed == 0
        && within(goals.ttft_ms, &summary.ttft_ms)
        && match &summary.itl_ms {
            // Only single tokens have nothing between them; answers in one piece show nothing.
            None => goals.itl_ms.is_none() || summary.output_tokens.is_some_and(|d| d.max <= 1.0),
            times => within(goals.itl_ms, times),
        }
        && within(goals.e2e_ms, &summary.e2e_ms)
}

/// What all runs of a session have in common.
struct Around<'a> {
    relay: Relay<'a>,
    interrupt: Interrupt,
}

/// Between a run and those who hear of it.
struct Relay<'a> {
    journal: &'a mut Journal,
    audience: &'a mut dyn Audience,
}

impl Observer for Relay<'_> {
    fn record(&mut self, record: &Record, _: &[u64]) {
        self.journal.record(record);
    }

    fn tick(&mut self, progress: Progress<'_>) {
        self.journal.flush();
        self.audience.tick(progress, progress.pulse.read());
    }
}

/// Processor time that this process took so far, where the system tells; in ticks of 10 ms.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
