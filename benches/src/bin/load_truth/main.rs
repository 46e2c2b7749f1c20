//! What the load generator adds to the times that it tells: a fake server in another process writes tokens at known
//! moments and notes when it did, and every stamp of the harness is held against that.
//!
//!     load_truth [--streams 50,200,500] [--rate 100] [--tokens 800]
//!
//! Prints three tables. The first has how much later than the server's write each token's stamp is, how much later than
//! planned the server wrote, and how much later than due a request reached it, so that what is the server's and what
//! is the harness' can be told apart. The second has the tokens that are off by more than a millisecond, and how many
//! of them came while a processor stood still for everybody, as far as [`control`] saw it, with the processor time that
//! others took. The third has what is reported beside the server's truth.
//!
//! The server stays on the first processor, and the harness goes where the system puts it.

mod control;
mod server;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use control::{Control, Stall, Times};
use garrison_bench::dataset::{Lengths, Material, Models, Synthetic};
use garrison_bench::load::{
    Arrivals, CoolDown, Endpoint, Extent, Interrupt, Limits, Load, Observer, Plan, Progress, Target, Tokens,
    Workload, run,
};
use garrison_bench::{Distribution, Goals, Record, Summary};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use server::Pace;

type Fallible<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: load_truth [--streams N,N] [--rate TOKENS A SECOND] [--tokens N]";

struct Options {
    streams: Vec<usize>,
    rate: f64,
    tokens: u32,
}

fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let mut options = Options { streams: vec![50, 200, 500], rate: 100.0, tokens: 800 };
    while let Some(arg) = args.next() {
        if arg == "--as-server" {
            let (cpu, pace) = (args.next().ok_or(USAGE)?, args.next().ok_or(USAGE)?);
            pin(cpu.parse()?)?;
            return server::serve(Pace::parse(&pace)?);
        }
        if arg == "--as-control" {
            return control::watch(args.next().ok_or(USAGE)?.parse()?);
        }
        let value = args.next().ok_or(USAGE)?;
        match arg.as_str() {
            "--streams" => options.streams = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--rate" => options.rate = value.parse()?,
            "--tokens" => options.tokens = value.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect();
    let mut runs = Vec::new();
    for &streams in &options.streams {
        runs.push(measure(Pace { streams, rate: options.rate, tokens: options.tokens }, &cpus)?);
    }
    added(&runs);
    off(&runs);
    told(&runs);
    Ok(())
}

/// Stays on one processor, with all threads to come.
fn pin(cpu: usize) -> Fallible<()> {
    let mut alone = CpuSet::new();
    alone.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &alone)?)
}

/// One run's stamps beside the truth. Times are nanoseconds.
struct Measured {
    pace: Pace,
    summary: Summary,
    /// Stamp less write, of every token.
    added: Vec<i64>,
    /// Write less plan, of every token.
    late: Vec<i64>,
    /// Arrival at the server less due, of every request.
    sent: Vec<i64>,
    /// Of every token whose stamp is more than [`OFF`] after its write: both, on the shared clock.
    off: Vec<(i64, i64)>,
    stalls: Vec<Stall>,
    /// Cores that whoever else was there took.
    others: f64,
    /// Seconds taken by the hypervisor from all processors.
    stolen: f64,
    /// From arrival to the first write, of every request.
    first: Vec<i64>,
    /// Between writes, of every token but the first ones.
    between: Vec<i64>,
    /// Cores that the harness and the server took.
    cores: [f64; 2],
}

/// What the harness may add to a stamp, in nanoseconds.
const OFF: i64 = 1_000_000;

/// A request's due moment and its stamps, in nanoseconds of the harness' clock.
struct Stamped {
    due: i64,
    stamps: Vec<u64>,
}

/// By the request's number, which the server tells as the prompt's tokens.
#[derive(Default)]
struct Stamps(BTreeMap<usize, Stamped>);

impl Observer for Stamps {
    fn record(&mut self, record: &Record, arrivals: &[u64]) {
        if let Some(number) = record.prompt_tokens.filter(|_| record.is_done()) {
            let due = (record.scheduled_ms * 1e6) as i64;
            self.0.insert(number as usize, Stamped { due, stamps: arrivals.to_vec() });
        }
    }

    fn tick(&mut self, _: Progress<'_>) {}
}

fn measure(pace: Pace, cpus: &[usize]) -> Fallible<Measured> {
    let server_cpu = cpus.first().ok_or("no processor")?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--as-server", &server_cpu.to_string(), &pace.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(child.stdout.take().ok_or("no stdout")?);
    let mut url = String::new();
    said.read_line(&mut url)?;
    let workload = Workload {
        target: Target::new(url.trim(), "")?,
        endpoint: Endpoint::Completions,
        models: Models::one("fake".to_owned()),
        fields: serde_json::Map::new(),
        tokenizer: Tokens::Unknown,
    };
    let minute = Duration::from_secs(60);
    let plan = Plan {
        // As many at once as there are streams, unless answers are shorter than this takes.
        load: Load::Open {
            rate: pace.streams as f64 / server::BEGINNING.as_secs_f64(),
            arrivals: Arrivals::Constant,
        },
        extent: Extent::Requests(pace.streams),
        warm_up: 0,
        cool_down: CoolDown::None,
        limits: Limits { first_token: minute, answer: minute, in_flight: pace.streams },
        seed: 1,
    };
    let mut asks = Synthetic::new(Material::Words, Lengths::Fixed(16), Lengths::Fixed(pace.tokens), 1);
    let mut stamps = Stamps::default();
    let control = Control::start(cpus)?;
    let (before, begun, times) = (cores_of(&child)?, Instant::now(), Times::now()?);
    let finished = run(&workload, &plan, &mut asks, &mut stamps, &mut Interrupt::listen()?)?;
    let (after, wall) = (cores_of(&child)?, begun.elapsed().as_secs_f64());
    let Times { busy, stolen } = Times::now()?;
    let ours = after[0] - before[0] + after[1] - before[1] + control.seconds()?;
    let others = ((busy - times.busy - ours) / wall).max(0.0);
    let stalls = control.stop()?;
    drop(child.stdin.take()); // then it tells the truth
    let mut truth = String::new();
    said.read_to_string(&mut truth)?;
    child.wait()?;
    let summary = Summary::new(&finished.records, Goals::default());
    if summary.requests.answered < pace.streams {
        return Err(format!("not all were answered: {:?}", summary.failures).into());
    }
    let started = server::shared_clock(finished.started)?;
    let cores = [0, 1].map(|i| (after[i] - before[i]) / wall);
    let mut measured = Measured {
        summary,
        cores,
        stalls,
        others,
        stolen: stolen - times.stolen,
        added: Vec::new(),
        late: Vec::new(),
        sent: Vec::new(),
        off: Vec::new(),
        first: Vec::new(),
        between: Vec::new(),
        pace,
    };
    for (number, line) in truth.lines().enumerate() {
        let of_request: Vec<i64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let stamps = stamps.0.get(&number).ok_or("a request without stamps")?;
        measured.take(number, &of_request, stamps, started);
    }
    Ok(measured)
}

impl Measured {
    /// Takes a request's truth (when it arrived, and when each token was written) and its stamps.
    fn take(&mut self, number: usize, truth: &[i64], found: &Stamped, started: i64) {
        let (arrived, writes) = (truth[0], &truth[1..]);
        self.sent.push(arrived - (started + found.due));
        self.first.push(writes[0] - arrived);
        self.between.extend(writes.windows(2).map(|w| w[1] - w[0]));
        for (k, (&write, &stamp)) in writes.iter().zip(&found.stamps).enumerate() {
            let stamp = started + stamp as i64;
            self.added.push(stamp - write);
            if stamp - write > OFF {
                self.off.push((write, stamp));
            }
            self.late.push(write - arrived - self.pace.due(number, k as u32).as_nanos() as i64);
        }
    }
}

/// Processor time of this process and of `child` so far, in seconds.
fn cores_of(child: &Child) -> Fallible<[f64; 2]> {
    Ok([seconds_of("self")?, seconds_of(&child.id().to_string())?])
}

/// Processor time of a process so far, in seconds.
fn seconds_of(id: &str) -> Fallible<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no stat")?.1.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

/// As the harness computes them, but from all values.
fn quantiles<const N: usize>(values: &[i64], qs: [f64; N]) -> [f64; N] {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    qs.map(|q| {
        let rank = q * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[rank.floor() as usize] as f64, sorted[rank.ceil() as usize] as f64);
        low + (high - low) * rank.fract()
    })
}

fn added(runs: &[Measured]) {
    println!("| streams | µs | | p50 | p90 | p99 | p99.9 | max | read together | cores |");
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for run in runs {
        let together = format!("{:.3}%", run.summary.merged_share.unwrap_or(0.0) * 100.0);
        let rows = [
            ("stamps after writes", &run.added, together, format!("{:.2}", run.cores[0])),
            ("writes after plans", &run.late, String::new(), format!("{:.2}", run.cores[1])),
            ("requests at the server after they were due", &run.sent, String::new(), String::new()),
        ];
        for (name, values, together, cores) in rows {
            let told = quantiles(values, QUANTILES).map(|nanos| format!("{:.0}", nanos / 1e3)).join(" | ");
            println!("| {} | {name} | {} | {told} | {together} | {cores} |", run.pace.streams, values.len());
        }
    }
    println!();
}

fn off(runs: &[Measured]) {
    println!(
        "| streams | tokens off by more than 1 ms | near a stall | stalls above 1 ms | longest, ms | stolen, ms | cores of others |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for run in runs {
        let near = |(write, stamp): &&(i64, i64)| {
            run.stalls.iter().any(|stall| stall.from < *stamp + OFF && stall.to > *write - OFF)
        };
        println!(
            "| {} | {} | {} | {} | {:.1} | {:.0} | {:.2} |",
            run.pace.streams,
            run.off.len(),
            run.off.iter().filter(near).count(),
            run.stalls.iter().filter(|stall| stall.millis() > 1.0).count(),
            run.stalls.iter().map(Stall::millis).fold(0.0, f64::max),
            run.stolen * 1e3,
            run.others
        );
    }
    println!();
}

fn told(runs: &[Measured]) {
    println!("| streams | ms | mean | p50 | p90 | p95 | p99 | max | within 1% or 1 ms |");
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    for run in runs {
        let of = |d: &Option<Distribution>| {
            d.map_or([f64::NAN; 6], |d| {
                [d.mean.value, d.p50.value, d.p90.value, d.p95.value, d.p99.value, d.max]
            })
        };
        let truth = |values: &[i64]| {
            let mean = values.iter().sum::<i64>() as f64 / values.len() as f64;
            let [p50, p90, p95, p99, max] = quantiles(values, [0.5, 0.9, 0.95, 0.99, 1.0]);
            [mean, p50, p90, p95, p99, max].map(|nanos| nanos / 1e6)
        };
        let rows = [
            ("time to first token", of(&run.summary.ttft_ms), truth(&run.first)),
            ("between tokens", of(&run.summary.itl_ms), truth(&run.between)),
        ];
        for (name, told, truth) in rows {
            let agrees = told.iter().zip(truth).all(|(a, b)| (a - b).abs() <= (b * 0.01).max(1.0));
            let row = |values: [f64; 6]| values.map(|v| format!("{v:.3}")).join(" | ");
            let verdict = if agrees { "yes" } else { "no" };
            println!("| {} | {name} | {} | {verdict} |", run.pace.streams, row(told));
            println!("| | in truth | {} | |", row(truth));
        }
    }
}
