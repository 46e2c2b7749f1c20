//! Where slow answers lose their time: the stages that the gateway's traces tell of, of usual answers beside the slowest.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::Outcome;
use crate::client::{Connection, Target};

/// Requests that are asked before their traces are read; a gateway remembers 1,024.
const AT_ONCE: usize = 1000;
/// Stages in the order in which they come.
const STAGES: [&str; 5] = ["planned", "cleared", "asked", "first_token", "answered"];
/// What is left of an answer's time: reading the request before it is planned, and everything behind the answer's end.
const AROUND: &str = "around these";

/// How long one answer took, and each of its stages after the one before.
struct Answered {
    whole: f64,
    stages: BTreeMap<&'static str, f64>,
}

/// Prints the stages of usual answers and of the slowest, in microseconds.
///
/// # Errors
/// If a request fails, or its trace cannot be read: the key has to be an owner's.
pub(crate) fn run(target: &Target, requests: usize) -> Outcome<()> {
    let mut connection = Connection::open(target)?;
    for _ in 0..requests.div_ceil(10) {
        connection.whole(16)?;
    }
    let mut answered = Vec::with_capacity(requests);
    while answered.len() < requests {
        let taken: Vec<(String, Duration)> = (answered.len()..requests.min(answered.len() + AT_ONCE))
            .map(|n| {
                let id = format!("stages-{n}");
                Ok((id.clone(), connection.named(&id, 16)?))
            })
            .collect::<Outcome<_>>()?;
        for (id, whole) in taken {
            let trace = serde_json::from_str(&connection.get(&format!("/v1/garrison/requests/{id}"))?)?;
            answered.push(Answered::new(whole, &trace)?);
        }
    }
    answered.sort_by(|a, b| a.whole.total_cmp(&b.whole));
    let n = answered.len();
    let (usual, slow) = (&answered[n * 45 / 100..n * 55 / 100 + 1], &answered[n * 98 / 100..]);
    println!("\n| stages of an answer, {}, us | usual | slowest 2% |\n| --- | ---: | ---: |", target.name);
    for name in STAGES.into_iter().chain([AROUND]) {
        let mean = |of: &[Answered]| of.iter().map(|one| one.stages[name]).sum::<f64>() / of.len() as f64;
        println!("| {name} | {:.0} | {:.0} |", mean(usual), mean(slow));
    }
    let mean = |of: &[Answered]| of.iter().map(|one| one.whole).sum::<f64>() / of.len() as f64;
    println!("| all | {:.0} | {:.0} |", mean(usual), mean(slow));
    Ok(())
}

impl Answered {
    fn new(whole: Duration, trace: &Value) -> Outcome<Answered> {
        let whole = whole.as_secs_f64() * 1e6;
        let noted = trace["stages"].as_array().ok_or("a trace has no stages: is the key an owner's?")?;
        let (mut before, mut stages) = (0.0, BTreeMap::new());
        for name in STAGES {
            let stage = noted.iter().find(|stage| stage["what"] == name);
            let at = stage.and_then(|stage| stage["at_us"].as_f64()).ok_or(format!("it was not {name}"))?;
            stages.insert(name, at - before);
            before = at;
        }
        stages.insert(AROUND, whole - before);
        Ok(Answered { whole, stages })
    }
}
