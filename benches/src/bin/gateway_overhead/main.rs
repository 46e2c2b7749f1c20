//! What a gateway adds to a provider's answer: to its latency, its first token, each further token; and how many requests
//! it carries.
//!
//!     cargo run --release -p garrison-benches --bin gateway_overhead -- --via NAME=URL,KEY,MODEL … [--requests N] [--seconds S]
//!
//! The provider is here: it answers a chat at once, with as many tokens as it is asked for, and notes in each token when
//! it was sent. Each gateway has to be up and to pass `MODEL` on to it; `--upstream PORT` says where it is to listen, and
//! `--hold` only serves it, so that gateways can be started. One client asks the provider itself and then through each
//! gateway, in turn by a few requests, over connections that stay open; what is added is the difference of the same quantile. Everything
//! reads the same clock. Two proxies that do nothing are asked like gateways: what they add, no gateway can add less than.
//!
//! `--cached NAME=URL,KEY,MODEL` names a gateway that keeps answers: how long they take by what `x-garrison-cache` says.
//! With `--stages` the stages of each gateway's answers are printed instead, of usual ones beside the slowest; keys have to be owners'.
//! With `--soak N --pid PID` the first gateway is sent N short requests instead, and the memory of that process is watched.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command's output

mod cached;
mod client;
mod floor;
mod soak;
mod stages;
mod upstream;

use std::time::{Duration, Instant};

use client::{Connection, Form, Target};
use soak::Soak;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What the command line says.
struct Args {
    via: Vec<Target>,
    requests: usize,
    seconds: u64,
    clients: usize,
    port: u16,
    hold: bool,
    cached: Option<Target>,
    stages: bool,
    soak: Option<u64>,
    pid: Option<u32>,
    growth_mib: f64,
}

fn args() -> Outcome<Args> {
    let mut args = Args {
        via: Vec::new(),
        requests: 2000,
        seconds: 10,
        clients: 16,
        port: 0,
        hold: false,
        cached: None,
        stages: false,
        soak: None,
        pid: None,
        growth_mib: 16.0,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--via" => args.via.push(Target::parse(&value()?)?),
            "--requests" => args.requests = value()?.parse()?,
            "--seconds" => args.seconds = value()?.parse()?,
            "--clients" => args.clients = value()?.parse()?,
            "--upstream" => args.port = value()?.parse()?,
            "--hold" => args.hold = true,
            "--cached" => args.cached = Some(Target::parse(&value()?)?),
            "--stages" => args.stages = true,
            "--soak" => args.soak = Some(value()?.parse()?),
            "--pid" => args.pid = Some(value()?.parse()?),
            "--growth-mib" => args.growth_mib = value()?.parse()?,
            other => return Err(format!("{other} is not known").into()),
        }
    }
    Ok(args)
}

fn main() -> Outcome<()> {
    let args = args()?;
    let port = upstream::start(args.port)?;
    println!("upstream http://127.0.0.1:{port}");
    if args.hold {
        loop {
            std::thread::park();
        }
    }
    if let Some(requests) = args.soak {
        let target = args.via.first().ok_or("--soak needs a gateway: --via NAME=URL,KEY,MODEL")?;
        let pid = args.pid.ok_or("--soak needs --pid, the process whose memory is watched")?;
        let soak = Soak { requests, clients: args.clients, pid, growth_mib: args.growth_mib };
        return soak::run(target, &soak);
    }
    if args.stages {
        return args.via.iter().try_for_each(|target| stages::run(target, args.requests));
    }
    let (key, model) = ("none".into(), "m".into());
    let direct = Target { name: "direct".into(), port, key, model, whole: Form::Stream };
    let targets: Vec<Target> = std::iter::once(direct).chain(floor::start(port)?).chain(args.via).collect();
    for (what, measure) in [
        ("a whole answer of 16 tokens to a prompt of 1 kB", Measure::Whole),
        ("first token of a stream", Measure::First),
        ("a token of a stream, 1 ms after the one before", Measure::Token),
    ] {
        table(what, &targets, measure, args.requests)?;
    }
    println!("\n| answers a second, {} clients | |\n| --- | ---: |", args.clients);
    for target in &targets {
        let rate = throughput(target, args.clients, Duration::from_secs(args.seconds))?;
        println!("| {} | {rate:.0} |", target.name);
    }
    match &args.cached {
        Some(target) => cached::run(target, args.requests),
        None => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Whole,
    First,
    Token,
}

/// Requests to one target before the next has its turn.
const BLOCK: usize = 20;
/// How long whoever was asked last is left alone before the next is asked: one that looks for more before it sleeps takes a
/// processor from others for so long.
const SETTLES: Duration = Duration::from_millis(5);

/// Of every target: quantiles, and what they are above those of the first.
fn table(what: &str, targets: &[Target], measure: Measure, requests: usize) -> Outcome<()> {
    let mut connections = targets.iter().map(Connection::open).collect::<Outcome<Vec<_>>>()?;
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); targets.len()];
    // A stream has many tokens.
    let (rounds, block) = match measure {
        Measure::Token => (requests.div_ceil(100), 1),
        Measure::Whole | Measure::First => (requests.div_ceil(BLOCK), BLOCK),
    };
    let warm_up = rounds.div_ceil(10);
    for round in 0..rounds + warm_up {
        for (connection, times) in connections.iter_mut().zip(&mut times) {
            std::thread::sleep(SETTLES);
            // One after the pause is as slow as the machine is to get going again.
            connection.stream(1, Duration::ZERO)?;
            for _ in 0..block {
                let taken = match measure {
                    Measure::Whole => vec![connection.whole(16)?],
                    Measure::First => vec![connection.stream(4, Duration::ZERO)?.first],
                    Measure::Token => connection.stream(100, Duration::from_millis(1))?.after_sent,
                };
                if round >= warm_up {
                    times.extend(taken);
                }
            }
        }
    }
    println!("\n| {what}, us | p50 | p99 | added p50 | added p99 |\n| --- | ---: | ---: | ---: | ---: |");
    let quantiles: Vec<(f64, f64)> =
        times.iter_mut().map(|times| (quantile(times, 0.5), quantile(times, 0.99))).collect();
    let Some((p50, p99)) = quantiles.first().copied() else { return Ok(()) };
    for (target, (median, slow)) in targets.iter().zip(&quantiles) {
        println!("| {} | {median:.0} | {slow:.0} | {:.0} | {:.0} |", target.name, median - p50, slow - p99);
    }
    Ok(())
}

/// In microseconds.
fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

/// Whole answers a second, asked for by so many clients one after the other.
fn throughput(target: &Target, clients: usize, time: Duration) -> Outcome<f64> {
    let begun = Instant::now();
    let working: Vec<_> = (0..clients)
        .map(|_| {
            let target = target.clone();
            std::thread::spawn(move || -> Result<usize, String> {
                let mut connection = Connection::open(&target).map_err(|e| e.to_string())?;
                let mut answers = 0;
                while begun.elapsed() < time {
                    connection.whole(16).map_err(|e| e.to_string())?;
                    answers += 1;
                }
                Ok(answers)
            })
        })
        .collect();
    let mut answers = 0;
    for client in working {
        answers += client.join().map_err(|_| "a client panicked")??;
    }
    Ok(answers as f64 / begun.elapsed().as_secs_f64())
}
