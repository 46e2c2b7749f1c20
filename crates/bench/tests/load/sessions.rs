//! Several runs, their document, and what is left of it.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use garrison_bench::dataset::Dataset;
use garrison_bench::load::{Arrivals, Load, Plan, Progress, PulseReading};
use garrison_bench::report::markdown;
use garrison_bench::{
    Audience, Completeness, Document, Goals, Journal, Loads, Run, Server, Session, Verdict, compare_files,
    compare_servers,
};
use garrison_testkit::fake_server::{FakeServer, Script};

use crate::world::{asks, eventually, ms, plan, server, workload};

struct Nobody;

impl Audience for Nobody {
    fn begins(&mut self, _: &Run, _: &Server) {}
    fn tick(&mut self, _: Progress<'_>, _: PulseReading) {}
    fn ends(&mut self, _: &Run) {}
}

/// A session of so many requests a run, with 8 tokens each.
fn session(
    servers: &[&FakeServer],
    loads: Loads,
    (requests, rounds): (usize, usize),
    goals: Goals,
    journal: &mut Journal,
) -> Document {
    let make = |_: u64| -> Box<dyn Dataset> { Box::new(asks(8)) };
    let shape = |load: Load, seed: u64| Plan { seed, ..plan(load, requests) };
    let session = Session {
        servers: servers.iter().map(|s| workload(s)).collect(),
        usd_per_hour: Some(2.0),
        loads,
        rounds,
        goals,
        plan: &shape,
        seed: 5,
        dataset: &make,
    };
    session.run(journal, &mut Nobody).unwrap()
}

fn clients(n: usize) -> Loads {
    Loads::Steps(vec![Load::Closed { concurrency: n }])
}

fn steady(gap: u64) -> FakeServer {
    server(move |_, _| Script::healthy(ms(20), ms(gap), 8))
}

fn schema() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/serve-1.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_result_file_follows_its_schema_and_reads_back() {
    let broken =
        server(
            |i, _| if i % 3 == 0 { Script::refusal(503, "busy") } else { Script::healthy(ms(5), ms(1), 8) },
        );
    let goals = Goals { ttft_ms: Some(100.0), ..Goals::default() };
    let loads = Loads::Steps(vec![
        Load::Closed { concurrency: 2 },
        Load::Open { rate: 200.0, arrivals: Arrivals::Gamma { shape: 0.5 } },
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    let document = session(&[&broken], loads, (12, 1), goals, &mut Journal::none());
    document.write(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&json).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let read = Document::read(&path).unwrap();
    assert_eq!(markdown(&read), markdown(&document));
    let text = markdown(&document);
    for wanted in [
        "| 2 clients | 8 | 4 |",
        "failed: 4 × HTTP status 503**, e.g. \"busy\"",
        "keep to the goals",
        "USD per million output tokens",
        "200 requests/s (gamma 0.5)",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    let other = serde_json::json!({"schema": "garrison-bench-serve/2"}).to_string();
    std::fs::write(&path, other).unwrap();
    assert!(Document::read(&path).is_err());
}

/// What is there of a killed run can be read as a result, a line cut in the middle included.
#[test]
fn a_killed_run_leaves_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    let mut journal = Journal::beside(&path).unwrap();
    let whole = session(&[&steady(2)], clients(2), (20, 1), Goals::default(), &mut journal);
    drop(journal); // as a kill leaves it, with everything written
    let partial = folder.path().join("result.json.partial");
    let text = std::fs::read_to_string(&partial).unwrap();
    let read = Document::read(&partial).unwrap();
    assert_eq!((read.completeness, &read.runs[0].records), (Completeness::Killed, &whole.runs[0].records));
    assert_eq!(read.runs[0].summary, whole.runs[0].summary);

    let line = text.lines().map(str::len).take(10).sum::<usize>() + 10 + 30;
    std::fs::write(&partial, &text[..line]).unwrap();
    let read = Document::read(&partial).unwrap();
    assert_eq!(read.runs[0].summary.requests.answered, 8, "ten lines, of which two are no records");
    assert!(markdown(&read).contains("Killed"));
    std::fs::write(&partial, "{}").unwrap();
    assert!(Document::read(&partial).is_err());
}

#[test]
fn a_verdict_is_given_only_where_the_rounds_allow_one() {
    let (fast, slow) = (steady(5), steady(10));
    let verdict = |document: &Document, metric: &str| {
        let compared = compare_servers(document);
        let found = compared[0].ratios.iter().find(|r| r.metric == metric).cloned().unwrap();
        (found.verdict, found)
    };
    eventually(|| {
        let document = session(&[&slow, &fast], clients(2), (20, 3), Goals::default(), &mut Journal::none());
        let order: Vec<usize> = document.runs.iter().map(|r| r.server).collect();
        assert_eq!(order, [0, 1, 1, 0, 0, 1], "they take turns at going first");
        let seeds: Vec<u64> = document.runs.iter().map(|r| r.seed).collect();
        assert_eq!(seeds, [5, 5, 1005, 1005, 2005, 2005], "the same requests for both, others in each round");
        let (said, ratio) = verdict(&document, "ITL mean");
        assert!(ratio.low.unwrap() <= ratio.ratio && ratio.ratio <= ratio.high.unwrap());
        let same = session(&[&fast, &fast], clients(2), (20, 3), Goals::default(), &mut Journal::none());
        let (open, equal) = verdict(&same, "end to end p50");
        let right = (0.4..0.65).contains(&ratio.ratio) && (0.8..1.25).contains(&equal.ratio);
        if right && said == Verdict::Second && open == Verdict::Open {
            Ok(())
        } else {
            Err(format!("{ratio:?} {equal:?}"))
        }
    });
}

/// Rounds that disagree give no verdict, however many requests each has.
#[test]
fn one_lucky_round_is_no_verdict() {
    let base = session(&[&steady(5)], clients(2), (20, 1), Goals::default(), &mut Journal::none());
    let scaled = |factors: [f64; 4]| {
        let mut document = base.clone();
        document.runs = (0..4)
            .map(|round| {
                let mut run = base.runs[0].clone();
                run.round = round;
                for record in &mut run.records {
                    record.ttft_ms = record.ttft_ms.map(|ttft| ttft * factors[round]);
                }
                run
            })
            .collect();
        document
    };
    let one = scaled([1.0; 4]);
    let ttft = |other: &Document| {
        let compared = compare_files(&one, other).unwrap();
        compared[0].ratios.iter().find(|r| r.metric == "TTFT p50").unwrap().verdict
    };
    assert_eq!(ttft(&scaled([0.5, 0.52, 0.48, 0.5])), Verdict::Second);
    assert_eq!(ttft(&scaled([2.0, 1.9, 2.1, 2.0])), Verdict::First);
    assert_eq!(ttft(&scaled([0.5, 1.3, 1.2, 0.9])), Verdict::Open);
    let mut elsewhere = one.clone();
    elsewhere.runs[0].load = Load::Closed { concurrency: 9 };
    elsewhere.runs.truncate(1);
    assert!(compare_files(&one, &elsewhere).unwrap_err().to_string().contains("9 clients"));
}

/// A server that answers 40 requests a second, one after the other. Twenty requests at any rate are answered within
/// half a second; but no more than 40 a second, if they go on.
#[test]
fn a_search_holds_each_rate_until_a_server_is_behind() {
    eventually(|| {
        let search = |at_least: Duration| {
            let free = Mutex::new(Instant::now());
            let server = server(move |_, _| {
                let mut free = free.lock().unwrap();
                *free = (*free).max(Instant::now()) + ms(25);
                Script::healthy(free.saturating_duration_since(Instant::now()), ms(1), 2)
            });
            let goals = Goals { ttft_ms: Some(500.0), ..Goals::default() };
            let loads = Loads::Search { rate: 30.0, arrivals: Arrivals::Constant, at_least };
            session(&[&server], loads, (20, 1), goals, &mut Journal::none())
        };
        let (held, short) = (search(ms(2000)), search(Duration::ZERO));
        let highest = |document: &Document| document.search.unwrap().highest_rate;
        assert!(markdown(&held).contains("held for 2.00 s at least"));
        // In so short a time a rate that this server cannot do looks as if it could.
        let text = markdown(&held);
        if !text.contains("still rising") || !text.contains("keeps to it, perhaps by chance") {
            return Err(format!("as if it were sure: {text}"));
        }
        assert!(held.runs.iter().all(|run| run.summary.requests.measured >= 45));
        if highest(&short) < 100.0 {
            return Err(format!("a burst is enough to see it: {}", highest(&short)));
        }
        // In 2 s 53 a second are half a second behind.
        if (35.0..=55.0).contains(&highest(&held)) { Ok(()) } else { Err(format!("{:?}", held.search)) }
    });
}

/// A server that is quick up to 40 requests at once and slow beyond: about 160 a second, at 250 ms each.
#[test]
fn the_search_finds_the_rate_that_keeps_to_the_goals() {
    eventually(|| {
        let running = Mutex::new(Vec::<Instant>::new());
        let server = server(move |_, _| {
            let mut ends = running.lock().unwrap();
            let now = Instant::now();
            ends.retain(|end| *end > now);
            ends.push(now + ms(250));
            Script::healthy(ms(if ends.len() > 40 { 600 } else { 200 }), ms(7), 8)
        });
        let goals = Goals { ttft_ms: Some(400.0), ..Goals::default() };
        let at_least = ms(800);
        let loads = Loads::Search { rate: 40.0, arrivals: Arrivals::Constant, at_least };
        let document = session(&[&server], loads, (150, 1), goals, &mut Journal::none());
        let found = document.search.unwrap();
        // On a busy machine a rate may not be sent in time, and then nothing is known of it.
        let Some(failing) = found.lowest_failing.filter(|_| found.highest_rate > 0.0) else {
            return Err(format!("{found:?}"));
        };
        assert!(failing / found.highest_rate <= 1.1, "{found:?}");
        let text = markdown(&document);
        assert!(text.contains("**Highest rate") && text.contains("| ttft 400.0 |"), "{text}");
        // A rate far beyond what the server can do is missed by far more than chance.
        assert!(text.contains("| does not |"), "{text}");
        if (110.0..=185.0).contains(&found.highest_rate) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}
