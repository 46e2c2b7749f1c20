//! What is reported is what happened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use garrison_bench::load::{Arrivals, Load};
use garrison_bench::{CountedBy, Distribution, Goals, Oddity, Summary};
use garrison_testkit::fake_server::{Script, Truth, done, event, finish, token, tokens, usage};
use serde_json::json;

use crate::world::{attempts, eventually, measure, ms, plan, server};

/// Within 1% or 1 ms.
fn close(what: &str, found: f64, truth: f64) -> Result<(), String> {
    let error = (found - truth).abs();
    if error <= (truth * 0.01).max(1.0) { Ok(()) } else { Err(format!("{what}: {found}, in truth {truth}")) }
}

/// Mean and quantiles in the form of a figure, but computed here from all values.
fn truth_of(mut values: Vec<f64>) -> [f64; 6] {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let rank = q * (values.len() - 1) as f64;
        let (low, high) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
        low + (high - low) * rank.fract()
    };
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    [mean, at(0.5), at(0.9), at(0.95), at(0.99), at(1.0)]
}

pub(crate) fn agrees(what: &str, found: Option<Distribution>, truth: Vec<f64>) -> Result<(), String> {
    let max = (found.map(|d| d.max), truth.iter().copied().fold(0.0, f64::max));
    agrees_but_for_the_longest(what, found, truth)?;
    close(&format!("{what} max"), max.0.unwrap(), max.1)
}

/// The same without the longest time: of very many, one moment at which the harness was not let run decides it.
fn agrees_but_for_the_longest(
    what: &str,
    found: Option<Distribution>,
    truth: Vec<f64>,
) -> Result<(), String> {
    let d = found.ok_or(format!("no {what}"))?;
    assert_eq!(d.n, truth.len() as u64, "{what}");
    let found = [d.mean.value, d.p50.value, d.p90.value, d.p95.value, d.p99.value];
    for (name, (found, truth)) in
        ["mean", "p50", "p90", "p95", "p99"].into_iter().zip(found.into_iter().zip(truth_of(truth)))
    {
        close(&format!("{what} {name}"), found, truth)?;
    }
    Ok(())
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// TTFT of each request, and times between tokens, as the server did it.
pub(crate) fn truths(all: &[Truth]) -> (Vec<f64>, Vec<f64>) {
    let first = all.iter().map(|t| millis(t.sent[0] - t.arrived)).collect();
    // The last part is usage and [DONE].
    let tokens = all.iter().flat_map(|t| t.sent[..t.sent.len() - 1].windows(2));
    (first, tokens.map(|w| millis(w[1] - w[0])).collect())
}

/// Answers that differ: slow and fast firsts, gaps from 2 to 60 ms, and a stall.
pub(crate) fn varied(i: usize) -> Script {
    let mut at = ms(20 + 37 * (i as u64 % 7));
    let mut parts = Vec::new();
    for k in 0..30u64 {
        parts.push((at, token(" word")));
        let stalls = i % 10 == 3 && k == 12;
        at += if stalls { ms(250) } else { ms(2 + (k * 7 + i as u64 * 3) % 23) };
    }
    parts.push((at, [finish("stop"), usage(16, 30), done()].concat()));
    Script::stream(parts)
}

#[test]
fn ttft_and_itl_are_the_servers_at_every_percentile() {
    eventually(|| {
        let server = server(|i, _| varied(i));
        let load = Load::Open { rate: 60.0, arrivals: Arrivals::Poisson };
        let (_, summary) = measure(&server, &plan(load, 150), 30);
        assert_eq!((summary.requests.answered, summary.requests.failed), (150, 0), "{:?}", summary.failures);
        let (first, between) = truths(&server.truths());
        agrees("ttft", summary.ttft_ms, first)?;
        agrees("itl", summary.itl_ms, between)
    });
}

/// The server stops for a second. Requests that were due meanwhile leave on time and are charged for all of it.
#[test]
fn a_stall_is_charged_to_everyone_who_would_have_waited() {
    eventually(|| {
        let begin = std::sync::Mutex::new(None);
        let server = server(move |_, _| {
            let now = std::time::Instant::now();
            let begin = *begin.lock().unwrap().get_or_insert(now);
            // Between 1 s and 2 s nothing is answered.
            let since = now - begin;
            let wait = if (ms(1000)..ms(2000)).contains(&since) { ms(2000) - since } else { ms(5) };
            Script::healthy(wait.max(ms(5)), ms(1), 2)
        });
        let load = Load::Open { rate: 50.0, arrivals: Arrivals::Constant };
        let (finished, summary) = measure(&server, &plan(load, 150), 2);
        let charged = finished.records.iter().filter(|r| r.ttft_ms.unwrap() > 100.0).count();
        // All of the fifty but the last five wait longer; one at a time would have seen a single slow answer.
        if !(43..=47).contains(&charged) {
            return Err(format!("{charged} slow answers"));
        }
        close("p95", summary.ttft_ms.unwrap().p95.value, 1000.0 - 7.45 * 20.0).or_else(|e| {
            // Where the stall begins relative to a request shifts all by less than one distance.
            let p95 = summary.ttft_ms.unwrap().p95.value;
            if (820.0..880.0).contains(&p95) { Ok(()) } else { Err(e) }
        })?;
        close("lateness", summary.harness_late_ms.unwrap().p50.value, 0.0)
    });
}

#[test]
fn events_with_several_tokens_count_by_token() {
    eventually(|| {
        // Four tokens every 40 ms; ids say so.
        let server = server(|_, _| {
            let mut parts: Vec<_> =
                (0..10).map(|k| (ms(50 + 40 * k), tokens("a b c d", &[1, 2, 3, 4]))).collect();
            parts.push((ms(410), [finish("length"), usage(16, 40), done()].concat()));
            Script::stream(parts)
        });
        let (finished, summary) = measure(&server, &plan(Load::Closed { concurrency: 2 }, 6), 40);
        assert_eq!(finished.records[0].counted_by, CountedBy::TokenLists);
        assert_eq!(finished.records[0].oddities, [Oddity::SeveralTokensAnEvent]);
        let itl = summary.itl_ms.unwrap();
        assert_eq!(itl.n, 6 * 36, "all tokens but those of each first event");
        close("mean", itl.mean.value, 10.0)?;
        close("p50", itl.p50.value, 10.0)?;
        close("stall", summary.stall_ms.unwrap().p50.value, 40.0)?;
        close("tpot", summary.tpot_ms.unwrap().p50.value, 360.0 / 39.0)
    });
}

/// Four events in a packet have one time. As in other tools the gaps within are 0; but they are told, and means and
/// the time per output token are right.
#[test]
fn events_of_one_packet_are_told_as_such() {
    eventually(|| {
        let server = server(|_, _| {
            let four = token(" word").repeat(4);
            let mut parts: Vec<_> = (0..10).map(|k| (ms(50 + 40 * k), four.clone())).collect();
            parts.push((ms(410), [finish("length"), usage(16, 40), done()].concat()));
            Script::stream(parts)
        });
        let (finished, summary) = measure(&server, &plan(Load::Closed { concurrency: 2 }, 6), 40);
        let record = &finished.records[0];
        assert_eq!(
            (record.counted_by, &record.oddities[..]),
            (CountedBy::Events, &[Oddity::SeveralEventsARead][..])
        );
        let itl = summary.itl_ms.unwrap();
        assert_eq!(itl.n, 6 * 39);
        close("p50", itl.p50.value, 0.0)?;
        close("p90", itl.p90.value, 40.0)?;
        close("mean", itl.mean.value, 360.0 / 39.0)?;
        close("tpot", summary.tpot_ms.unwrap().p50.value, 360.0 / 39.0)?;
        // Where a machine is so late that two packets are read at once, there are more.
        if finished.records.iter().all(|r| r.merged_tokens == 30) && summary.merged_share == Some(0.75) {
            Ok(())
        } else {
            Err(format!("{:?}", summary.merged_share))
        }
    });
}

/// Nothing is known of the time between tokens that came all at once: it is not 0, and no goal for it is kept.
#[test]
fn an_answer_in_one_packet_has_no_time_between_tokens() {
    let server = server(|_, _| {
        let all = [token(" word").repeat(8), finish("length"), usage(16, 8), done()].concat();
        Script::stream(vec![(ms(60), all)])
    });
    let (finished, summary) = measure(&server, &plan(Load::Closed { concurrency: 1 }, 2), 8);
    let record = &finished.records[0];
    assert_eq!(record.oddities, [Oddity::SeveralEventsARead, Oddity::AtOnce]);
    assert_eq!((record.tpot_ms, record.itl.count(), record.merged_tokens), (None, 0, 7));
    assert_eq!((summary.itl_ms, summary.tpot_ms, summary.stall_ms), (None, None, None));
    assert!(summary.ttft_ms.unwrap().p50.value >= 60.0);
    let goals = Goals { itl_ms: Some(1000.0), ..Goals::default() };
    assert_eq!(Summary::new(&finished.records, goals).goodput.unwrap().requests_per_second, 0.0);
}

/// The same without ids: usage tells how many there were, the text where.
#[test]
fn usage_is_spread_over_events_by_their_text() {
    let server = server(|_, _| {
        let texts = ["one", "one two thr", "x", "yz 12345 678901 2"];
        let mut parts: Vec<_> = (0..).zip(texts).map(|(k, t)| (ms(10 + 30 * k), token(t))).collect();
        parts.push((ms(100), [finish("stop"), usage(16, 16), done()].concat()));
        Script::stream(parts)
    });
    let (finished, summary) = measure(&server, &plan(Load::Closed { concurrency: 1 }, 1), 16);
    let record = &finished.records[0];
    assert_eq!((record.counted_by, record.output_tokens), (CountedBy::UsageSpread, 16));
    // 3, 11, 1, 17 bytes of 32: 1.5 is 2, 7 is 7 - 2, 7.5 is 8 - 7, 16 is 16 - 8.
    assert_eq!(summary.itl_ms.unwrap().n, 5 + 1 + 8);
    assert_eq!(record.tokens_by_second.iter().sum::<u32>(), 16);
}

/// What only the server knows is what it says: prompts from its cache, guesses that were right, waiting in its queue.
#[test]
fn caches_guesses_and_queues_are_what_the_server_tells() {
    let server = server(|i, _| {
        let odd = i as u32 % 2;
        let told = event(&json!({
            "choices": [],
            "usage": {"prompt_tokens": 100, "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 80 - 60 * odd}},
            "timings": {"ttft_ms": 50 + 20 * odd, "prompt_ms": 20, "draft_tokens": 10, "accepted_tokens": 9 - 6 * odd},
        }));
        let last = [finish("length"), told, done()].concat();
        Script::stream(vec![(ms(5), token("a")), (ms(10), token("b")), (ms(11), last)])
    });
    let (finished, summary) = measure(&server, &plan(Load::Closed { concurrency: 1 }, 10), 2);
    assert_eq!((summary.cached_share, summary.accepted_share), (Some(0.5), Some(0.6)));
    let queue = summary.queue_ms.unwrap();
    assert_eq!((queue.n, queue.mean.value, queue.max), (10, 40.0, 50.0));
    let record = &finished.records[1];
    assert_eq!(
        (record.cached_tokens, record.draft_tokens, record.accepted_tokens),
        (Some(20), Some(10), Some(3))
    );
    // A server that tells nothing is not one without caches.
    let silent = crate::world::server(|_, _| Script::healthy(ms(5), ms(1), 2));
    let (_, summary) = measure(&silent, &plan(Load::Closed { concurrency: 1 }, 2), 2);
    assert_eq!((summary.cached_share, summary.accepted_share, summary.queue_ms), (None, None, None));
}

/// 500 streams of 100 tokens a second, on however many cores there are: the times of tokens are right to
/// a millisecond. Where the machine is so busy that the server misses its own times, nothing is shown: the harness
/// is then late, too, and packets that lie unread for longer than the next takes to come are merged by the kernel,
/// which keeps the last one's time.
#[test]
fn five_hundred_streams_of_a_hundred_tokens_a_second() {
    let kept_up = AtomicBool::new(false);
    let check = || {
        let server = server(|i, _| Script::healthy(ms(300 + i as u64 % 100), ms(10), 200));
        let load = Load::Open { rate: 1000.0, arrivals: Arrivals::Constant };
        let (_, summary) = measure(&server, &plan(load, 500), 200);
        let (_, between) = truths(&server.truths());
        let [_, p50, p90, _, p99, _] = truth_of(between.clone());
        println!("itl {:?}\nin truth {:?}", summary.itl_ms, truth_of(between.clone()));
        if !(9.5..10.5).contains(&p50) || p90 > 10.5 || p99 > 12.0 {
            return Err(format!(
                "the server itself is late: p50 {p50}, p90 {p90}, p99 {p99} ms instead of 10"
            ));
        }
        kept_up.store(true, Ordering::Relaxed);
        assert_eq!((summary.requests.answered, summary.requests.failed), (500, 0), "{:?}", summary.failures);
        agrees_but_for_the_longest("itl", summary.itl_ms, between)
    };
    if let Err(said) = attempts(check) {
        assert!(!kept_up.load(Ordering::Relaxed), "{said:?}");
        println!("nothing shown: {said:?}");
    }
}

#[test]
fn rates_are_those_of_the_window() {
    eventually(|| {
        let server = server(|_, _| Script::healthy(ms(20), ms(10), 9));
        let (_, summary) = measure(&server, &plan(Load::Closed { concurrency: 4 }, 40), 9);
        // Four clients, 100 ms an answer and a little.
        let rate = summary.requests_per_second.unwrap().value;
        let tokens = summary.output_tokens_per_second.unwrap().value;
        let prompts = summary.prompt_tokens_per_second.unwrap().value;
        if !(37.0..=40.1).contains(&rate) {
            return Err(format!("{rate} requests a second"));
        }
        assert!(
            (tokens / rate - 9.0).abs() < 1e-6 && (prompts / rate - 7.0).abs() < 1e-6,
            "{tokens} {prompts}"
        );
        close("e2e", summary.e2e_ms.unwrap().p50.value, 100.0)
    });
}
