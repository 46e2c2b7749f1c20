//! A server that answers wrongly is reported as such, and averaged into nothing.

use std::time::Duration;

use garrison_bench::load::{Load, run};
use garrison_bench::{Oddity, Outcome};
use garrison_testkit::fake_server::{Ending, Script, done, event, finish, token, usage};
use serde_json::json;

use crate::world::{Deaf, asks, measure, ms, plan, server, workload};

/// Every second answer is healthy, the others are `broken`; the figures are of the healthy ones alone.
fn outcome_of(broken: Script) -> (Outcome, String) {
    let server =
        server(move |i, _| if i % 2 == 0 { broken.clone() } else { Script::healthy(ms(20), ms(5), 4) });
    let mut plan = plan(Load::Closed { concurrency: 1 }, 4);
    plan.limits.first_token = ms(300);
    plan.limits.answer = ms(500);
    let (finished, summary) = measure(&server, &plan, 4);
    assert_eq!((summary.requests.answered, summary.requests.failed), (2, 2), "{:?}", finished.records);
    let ttft = summary.ttft_ms.unwrap();
    assert_eq!((ttft.n, summary.itl_ms.unwrap().n, summary.e2e_ms.unwrap().n), (2, 6, 2));
    assert!((15.0..80.0).contains(&ttft.mean.value), "{ttft:?}");
    let bad: Vec<_> = finished.records.into_iter().filter(|r| !r.is_done()).collect();
    assert_eq!(summary.failures, [(bad[0].outcome.label(), 2)].into());
    (bad[0].outcome, bad[0].detail.clone())
}

fn begun(rest: Vec<(Duration, Vec<u8>)>, ending: Ending) -> Script {
    let parts = [vec![(ms(5), token("a")), (ms(10), token("b"))], rest].concat();
    Script { ending, ..Script::stream(parts) }
}

#[test]
fn wrong_answers_have_names() {
    let error = event(&json!({"error": {"message": "out of memory"}}));
    let cases = [
        (Script::refusal(429, "slow down"), Outcome::Status { status: 429 }, "slow down"),
        (Script::refusal(500, "oh"), Outcome::Status { status: 500 }, "oh"),
        (begun(vec![], Ending::Proper), Outcome::BrokeOff, "finish reason"),
        (begun(vec![], Ending::Cut), Outcome::BrokeOff, ""),
        (begun(vec![(ms(20), error)], Ending::Proper), Outcome::ErrorEvent, "out of memory"),
        (begun(vec![(ms(20), b"data: {oops\n\n".to_vec())], Ending::Proper), Outcome::NotAStream, "oops"),
        (begun(vec![], Ending::Never), Outcome::TimedOut, "0.5 s"),
        (Script { ending: Ending::Never, ..Script::stream(vec![]) }, Outcome::NoFirstToken, "0.3 s"),
        (Script::stream(vec![(ms(5), [finish("stop"), usage(7, 0), done()].concat())]), Outcome::Empty, ""),
        (Script::healthy(ms(5), Duration::ZERO, 500), Outcome::Endless, "events"),
        (
            Script { content_type: "application/json", ..Script::stream(vec![(ms(5), b"{}".to_vec())]) },
            Outcome::NotAStream,
            "application/json",
        ),
    ];
    for (script, wanted, said) in cases {
        let (outcome, detail) = outcome_of(script);
        assert_eq!(outcome, wanted);
        assert!(detail.contains(said), "{wanted:?}: {detail}");
    }
}

#[test]
fn strange_answers_count_and_are_told() {
    let oddities = |parts: Vec<Vec<u8>>| {
        let parts: Vec<_> = (1..).zip(parts).map(|(k, p)| (ms(5 * k), p)).collect();
        let server = server(move |_, _| Script::stream(parts.clone()));
        let (finished, _) = measure(&server, &plan(Load::Closed { concurrency: 1 }, 1), 2);
        let record = finished.records[0].clone();
        assert_eq!(record.outcome, Outcome::Done, "{record:?}");
        record.oddities
    };
    let (a, b) = (token("a"), token("b"));
    let close = [finish("stop"), usage(7, 2), done()].concat();
    assert_eq!(oddities(vec![a.clone(), b.clone(), close.clone()]), []);
    let empty = event(&json!({"choices": [{"index": 0, "delta": {"content": ""}}]}));
    assert_eq!(oddities(vec![empty.clone(), a.clone(), b.clone(), close.clone()]), [], "a stream opens so");
    assert_eq!(oddities(vec![a.clone(), empty, b.clone(), close]), [Oddity::EmptyEvents]);
    assert_eq!(oddities(vec![a.clone(), b.clone(), [finish("stop"), done()].concat()]), [Oddity::NoUsage]);
    assert_eq!(
        oddities(vec![a.clone(), b.clone(), [usage(7, 2), done()].concat()]),
        [Oddity::NoFinishReason]
    );
    assert_eq!(oddities(vec![a.clone(), b, [finish("stop"), usage(7, 2)].concat()]), [Oddity::NoDone]);
    let short = [finish("stop"), usage(7, 1), done()].concat();
    assert_eq!(oddities(vec![a, short]), [Oddity::Short]);
}

#[test]
fn no_server_is_no_connection() {
    let server = server(|_, _| Script::refusal(500, ""));
    let mut workload = workload(&server);
    workload.target = garrison_bench::load::Target::new("http://127.0.0.1:9", "").unwrap();
    let plan = plan(Load::Closed { concurrency: 2 }, 3);
    let finished = run(&workload, &plan, &mut asks(1), &mut Deaf).unwrap();
    assert!(
        finished.records.len() == 3 && finished.records.iter().all(|r| r.outcome == Outcome::Unreachable)
    );
}

/// At the bound an open loop does not wait, which would move later requests; it says what it left out.
#[test]
fn what_finds_no_room_is_not_sent_and_told() {
    let server = server(|_, _| Script::healthy(ms(400), ms(1), 2));
    let load = Load::Open { rate: 100.0, arrivals: garrison_bench::load::Arrivals::Constant };
    let mut plan = plan(load, 20);
    plan.limits.in_flight = 5;
    let (_, summary) = measure(&server, &plan, 2);
    assert_eq!((summary.requests.answered, summary.requests.failed), (5, 15));
    assert_eq!(summary.failures.get("not sent, too many under way"), Some(&15));
    assert_eq!(server.truths().len(), 5);
}
