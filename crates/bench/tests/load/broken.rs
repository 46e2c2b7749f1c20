//! A server that answers wrongly is reported as such, and averaged into nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use garrison_bench::load::{Interrupt, Load, Target, run};
use garrison_bench::{Oddity, Outcome};
use garrison_testkit::fake_server::{Ending, Script, done, event, finish, token, usage};
use serde_json::json;

use crate::world::{Deaf, asks, measure, measure_at, ms, plan, server, workload};

/// Every second answer is healthy, the others are `broken`; the figures are of the healthy ones alone.
fn outcome_of(broken: Script) -> (Outcome, String) {
    let server =
        server(move |i, _| if i % 2 == 0 { broken.clone() } else { Script::healthy(ms(20), ms(15), 4) });
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
        // How late a busy machine reads is no matter here.
        record.oddities.into_iter().filter(|o| *o != Oddity::SeveralEventsARead).collect::<Vec<_>>()
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
    assert_eq!(oddities(vec![a.clone(), short.clone()]), [Oddity::Short]);
    assert_eq!(oddities(vec![a.clone(), token("b"), short]), [Oddity::UsageDiffers, Oddity::Short]);
    // A million tokens in two events would make any server the fastest.
    let boast = [finish("stop"), usage(7, 1_000_000), done()].concat();
    assert_eq!(oddities(vec![a, token("b"), boast]), [Oddity::SeveralTokensAnEvent, Oddity::Long]);
}

#[test]
fn no_server_is_no_connection() {
    let server = server(|_, _| Script::refusal(500, ""));
    let mut workload = workload(&server);
    workload.target = garrison_bench::load::Target::new("http://127.0.0.1:9", "").unwrap();
    let plan = plan(Load::Closed { concurrency: 2 }, 3);
    let finished = run(&workload, &plan, &mut asks(1), &mut Deaf, &mut Interrupt::listen().unwrap()).unwrap();
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

/// Reads one request; false at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> bool {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        if line == "\r\n" {
            return reader.read_exact(&mut vec![0; length]).is_ok();
        }
    }
}

/// A server that answers each connection by hand: `answer` gets the number of the request, and says whether the
/// connection stays.
fn by_hand(answer: fn(usize, &mut TcpStream) -> bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    std::thread::spawn(move || {
        for mut tcp in listener.incoming().flatten() {
            let mut reader = BufReader::new(tcp.try_clone().unwrap());
            while read_request(&mut reader) && answer(count.fetch_add(1, Ordering::SeqCst), &mut tcp) {}
        }
    });
    (url, seen)
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";

/// An answer of one token after the head.
fn say_one(tcp: &mut TcpStream) -> bool {
    let body = [token("a"), finish("stop"), usage(7, 1), done()].concat();
    let head = format!("Content-Length: {}\r\n\r\n", body.len());
    tcp.write_all(&[HEAD, head.as_bytes(), &body].concat()).is_ok()
}

/// Outcomes of so many requests, one after the other, and which of them were sent again.
fn ask_by_hand(url: &str, requests: usize) -> Vec<(Outcome, bool)> {
    let mut workload = workload(&server(|_, _| Script::refusal(500, "")));
    workload.target = Target::new(url, "").unwrap();
    let (finished, _) = measure_at(&workload, &plan(Load::Closed { concurrency: 1 }, requests), 1);
    let again = |oddities: &[Oddity]| oddities.contains(&Oddity::SentAgain);
    finished.records.iter().map(|record| (record.outcome, again(&record.oddities))).collect()
}

/// As llama.cpp's server does: it keeps a connection, or so it says, and closes it after a stream. A request that is on
/// its way then is sent once more, and later ones have connections of their own.
#[test]
fn a_kept_connection_that_the_server_closes_fails_no_request() {
    let (url, seen) = by_hand(|i, tcp| i != 1 && say_one(tcp));
    let mut wanted = vec![(Outcome::Done, false); 6];
    wanted[1].1 = true;
    assert_eq!((ask_by_hand(&url, 6), seen.load(Ordering::SeqCst)), (wanted, 7));
}

/// The server may be at work on what was written, so on a new connection it is not written again, and never twice.
#[test]
fn a_request_that_was_written_is_not_sent_on_and_on() {
    let (url, seen) = by_hand(|i, tcp| i == 0 && say_one(tcp));
    let wanted = [Outcome::Done, Outcome::BrokeOff, Outcome::BrokeOff].map(|outcome| (outcome, false));
    assert_eq!((ask_by_hand(&url, 3), seen.load(Ordering::SeqCst)), (wanted.to_vec(), 4));
}

/// Bytes without tokens, faster than they can be read, end a request long before the server stops.
#[test]
fn a_flood_without_tokens_ends() {
    let (url, _) = by_hand(|_, tcp| {
        let _ = tcp.write_all(&[HEAD, b"\r\n"].concat());
        let comments = b": nothing\n".repeat(10_000);
        let begin = Instant::now();
        while begin.elapsed() < ms(8000) && tcp.write_all(&comments).is_ok() {}
        false
    });
    let mut workload = workload(&server(|_, _| Script::refusal(500, "")));
    workload.target = Target::new(&url, "").unwrap();
    let mut plan = plan(Load::Closed { concurrency: 1 }, 1);
    plan.limits.first_token = ms(2000);
    let finished = run(&workload, &plan, &mut asks(1), &mut Deaf, &mut Interrupt::listen().unwrap()).unwrap();
    let record = &finished.records[0];
    assert!(matches!(record.outcome, Outcome::Endless | Outcome::NoFirstToken), "{record:?}");
    assert!(record.ended_ms < 5000.0, "{record:?}");
}

/// A connection that stays open after the last word, with pings, makes no answer longer.
#[test]
fn an_answer_ends_with_its_last_word() {
    let server = server(|_, _| {
        let last = [token("a"), finish("stop"), usage(7, 1), done()].concat();
        let mut parts = vec![(ms(20), last)];
        parts.extend((1..100).map(|i| (ms(20 + 100 * i), b": ping\n\n".to_vec())));
        Script { ending: Ending::Never, ..Script::stream(parts) }
    });
    let mut plan = plan(Load::Closed { concurrency: 1 }, 1);
    plan.limits.answer = ms(2000);
    let begin = Instant::now();
    let (finished, _) = measure(&server, &plan, 1);
    let record = &finished.records[0];
    assert_eq!(record.outcome, Outcome::Done, "{record:?}");
    let after = record.ended_ms - record.scheduled_ms - record.e2e_ms.unwrap();
    assert!(after.abs() < 0.01 && begin.elapsed() < ms(1500), "{record:?} {:?}", begin.elapsed());
}
