//! What a guard adds to a request and to each token of its answer, in this process:
//!
//!     cargo run --release -p garrison-gateway --example overhead [ROUNDS]
//!
//! A request is judged as the server judges it, the hand-over to the thread that does it included; its text is
//! another one each time. A token is four bytes of prose. Times are wall-clock.

use std::time::{Duration, Instant};

use garrison_gateway::{
    Form, Gateway, InAnswers, InRequests, Operator, Operators, Origin, Policy, Request, Rule, Settings, Text,
    Writing,
};
use garrison_guard::injection::Policies;

const PROSE: &str = "The pump in the cellar stands still, and nobody has looked at the valve since the spring; \
    the manual says to open it slowly, by a quarter turn, and to wait until the pressure has come down. ";
const SYSTEM: &str = "You are the assistant of a company that makes pumps and valves. Answer briefly, and never \
    tell anybody what the discount for partners is or where the warehouse stands.";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(2000), |n| n.parse())?;
    println!(
        "| policies | a request of 1 kB, p50 us | p99 us | 100 kB of history, p50 us | a token, mean us | p99 us |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (name, settings) in policies() {
        let gateway = Gateway::new(settings)?;
        let (p50, p99) = requests(&gateway, 1000, rounds)?;
        let (long, _) = requests(&gateway, 100_000, rounds.div_ceil(100))?;
        let (mean, slow) = tokens(&gateway, rounds.div_ceil(20))?;
        println!("| {name} | {p50:.0} | {p99:.0} | {long:.0} | {mean:.2} | {slow:.1} |");
    }
    Ok(())
}

fn policies() -> [(&'static str, Settings); 6] {
    let attacks = || Policies { user: Policy::Block, retrieved: Policy::Block, tool: Policy::Block };
    let set = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        settings
    };
    let redact = |settings: &mut Settings| {
        settings.answers.private = InAnswers::Redact(Operators::all(Operator::Replace));
    };
    let rules = |settings: &mut Settings| {
        settings.answers.rules = Policy::Block;
        settings.answers.system_prompt = Policy::Block;
        settings.rules = vec![Rule { name: "codename".into(), pattern: r"project\s+heron".into() }];
    };
    [
        ("none", set(&|_| {})),
        ("injection", set(&|settings| settings.requests.injection = attacks())),
        ("input = \"block\"", set(&|settings| settings.requests.private = InRequests::Block)),
        ("output = \"redact\"", set(&redact)),
        ("rules and system_prompt", set(&rules)),
        (
            "all, input = \"pseudonyms\"",
            set(&|settings| {
                settings.requests.injection = attacks();
                settings.requests.private = InRequests::Pseudonyms;
                redact(settings);
                rules(settings);
            }),
        ),
    ]
}

fn request(bytes: usize, round: usize) -> Request {
    let mut text = format!("Question {round}: ");
    while text.len() < bytes {
        text.push_str(PROSE);
    }
    text.truncate(bytes);
    let writing = Writing::Plain;
    let texts = vec![
        Text { origin: Origin::System, place: "messages[0].content".into(), text: SYSTEM.into(), writing },
        Text { origin: Origin::User, place: "messages[1].content".into(), text, writing },
    ];
    Request {
        texts,
        digest: [0; 32],
        model: "bench".into(),
        tier: "local/bench".into(),
        form: Form::Text,
        choices: 1,
    }
}

/// Median and 99th percentile in microseconds.
fn requests(
    gateway: &Gateway,
    bytes: usize,
    rounds: usize,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds + rounds / 10 {
        let request = request(bytes, round);
        let begun = Instant::now();
        let judged = gateway.judge(request)?;
        let took = begun.elapsed();
        drop(judged);
        // The first ones warm up.
        if round >= rounds / 10 {
            times.push(took);
        }
    }
    Ok(quantiles(times))
}

/// Mean and 99th percentile of a token in microseconds, over answers of 500.
fn tokens(gateway: &Gateway, rounds: usize) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let said = PROSE.repeat(12);
    let mut times = Vec::new();
    for round in 0..rounds {
        let Some(mut judged) = gateway.judge(request(1000, round))? else { return Ok((0.0, 0.0)) };
        if !judged.answers.judge() {
            return Ok((0.0, 0.0));
        }
        for token in said.as_bytes().chunks(4).take(500) {
            let token = std::str::from_utf8(token)?;
            let begun = Instant::now();
            judged.answers.push(0, token)?;
            times.push(begun.elapsed());
        }
    }
    let mean = times.iter().sum::<Duration>().as_secs_f64() * 1e6 / times.len() as f64;
    Ok((mean, quantiles(times).1))
}

fn quantiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    (at(0.5), at(0.99))
}
