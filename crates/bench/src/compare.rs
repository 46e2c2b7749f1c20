//! Two sides under the same load: ratios, their intervals, and a verdict where these allow one.
//!
//! Key decision: two sources of chance are kept apart, and the wider interval counts. Requests differ, which
//! resampling them shows; and machines drift from round to round, which only rounds show: with three or more,
//! Student's interval over their log-ratios. So a difference that comes from one lucky round is no verdict.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::document::{Document, Run};
use crate::figure::FEWEST;
use crate::load::Load;
use crate::record::{Phase, Record};
use crate::stats::{Gaps, Weighted, block_means, interval, middle_ms, resamples};
use crate::summary::FEWEST_SECONDS;

/// What is compared, and which way is better.
const METRICS: [(&str, Better); 9] = [
    ("TTFT p50", Better::Lower),
    ("TTFT p99", Better::Lower),
    ("ITL mean", Better::Lower),
    ("ITL p50", Better::Lower),
    ("ITL p99", Better::Lower),
    ("end to end p50", Better::Lower),
    ("end to end p99", Better::Lower),
    ("output tokens/s", Better::Higher),
    ("total tokens/s", Better::Higher),
];

/// Answers that the interval of a 99th percentile needs.
const FEWEST_FOR_P99: usize = 500;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Lower,
    Higher,
}

/// What a ratio allows one to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The first side is better.
    First,
    /// The second side is.
    Second,
    /// The interval holds 1, or there is none.
    Open,
}

/// One figure of both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Which.
    pub metric: String,
    /// Of the first side, the mean over rounds.
    pub first: f64,
    /// Of the second.
    pub second: f64,
    /// Second over first, the geometric mean over rounds.
    pub ratio: f64,
    /// The interval's lower end.
    pub low: Option<f64>,
    /// The interval's upper end.
    pub high: Option<f64>,
    /// What may be said.
    pub verdict: Verdict,
}

/// Both sides under one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The load.
    pub load: Load,
    /// Pairs of runs.
    pub rounds: usize,
    /// Measured requests that failed, of each side.
    pub failed: [usize; 2],
    /// Figures.
    pub ratios: Vec<Ratio>,
}

/// Why two results cannot be compared.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CompareError {
    /// No load in common.
    #[error("the two results have no load in common: {0} and {1}")]
    NothingInCommon(String, String),
    /// Results of two servers each are compared already.
    #[error("the {0} result is of several servers, so which one is meant is open; its report compares them")]
    SeveralServers(&'static str),
}

/// Compares two results, load by load.
///
/// # Errors
/// If they have none in common, or one is of several servers.
pub fn compare_files(first: &Document, second: &Document) -> Result<Vec<Compared>, CompareError> {
    for (document, which) in [(first, "first"), (second, "second")] {
        if document.servers.len() > 1 || document.runs.iter().any(|r| r.server != 0) {
            return Err(CompareError::SeveralServers(which));
        }
    }
    let sides = pairs(first.runs.iter(), second.runs.iter());
    if sides.is_empty() {
        let loads = |d: &Document| d.runs.iter().map(|r| r.load.label()).collect::<Vec<_>>().join(", ");
        return Err(CompareError::NothingInCommon(loads(first), loads(second)));
    }
    Ok(by_load(&sides))
}

/// Compares the two servers of one result.
pub fn compare_servers(document: &Document) -> Vec<Compared> {
    let of = |server: usize| document.runs.iter().filter(move |r| r.server == server);
    by_load(&pairs(of(0), of(1)))
}

/// Two runs of one load and round.
type Pair<'a> = (&'a Run, &'a Run);

/// Each run of `first` with its like of `second`. Loads may be repeated: then the first goes with the first, and
/// none is counted twice.
fn pairs<'a>(first: impl Iterator<Item = &'a Run>, second: impl Iterator<Item = &'a Run>) -> Vec<Pair<'a>> {
    let mut left: Vec<&Run> = second.collect();
    let pair = |a: &'a Run| {
        let at = left.iter().position(|b| b.load == a.load && b.round == a.round)?;
        Some((a, left.remove(at)))
    };
    first.filter_map(pair).collect()
}

fn by_load(sides: &[Pair<'_>]) -> Vec<Compared> {
    let mut loads: Vec<Load> = Vec::new();
    for (a, _) in sides {
        if !loads.contains(&a.load) {
            loads.push(a.load);
        }
    }
    let one = |load: &Load| {
        let rounds: Vec<Pair<'_>> = sides.iter().filter(|(a, _)| a.load == *load).copied().collect();
        compare(*load, &rounds)
    };
    loads.iter().map(one).collect()
}

fn compare(load: Load, rounds: &[Pair<'_>]) -> Compared {
    let sampled: Vec<[Side; 2]> =
        (0u64..).zip(rounds).map(|(i, (a, b))| [Side::new(a, 2 * i), Side::new(b, 2 * i + 1)]).collect();
    let ratios = (0..METRICS.len()).filter_map(|metric| ratio(metric, &sampled)).collect();
    let failed = [
        rounds.iter().map(|r| r.0.summary.requests.failed).sum(),
        rounds.iter().map(|r| r.1.summary.requests.failed).sum(),
    ];
    Compared { load, rounds: rounds.len(), failed, ratios }
}

/// A run's figures, as they are and on resamples: `[metrics]`, and `[metrics][resamples]`.
struct Side {
    values: Vec<Option<f64>>,
    resampled: Vec<Vec<f64>>,
}

impl Side {
    fn new(run: &Run, seed: u64) -> Side {
        let answered: Vec<&Record> =
            run.records.iter().filter(|r| r.phase == Phase::Measured && r.is_done()).collect();
        let latencies = Latencies::new(&answered);
        let mut values: Vec<Option<f64>> = latencies.figures(&vec![1; answered.len()]);
        let mut resampled = vec![Vec::new(); METRICS.len()];
        for counts in resamples(answered.len(), seed) {
            for (values, value) in resampled.iter_mut().zip(latencies.figures(&counts)) {
                values.extend(value);
            }
        }
        for ((values, (name, _)), units) in resampled.iter_mut().zip(METRICS).zip(latencies.units()) {
            // As in figures: resampling cannot know a tail of which it has seen next to nothing, and of one
            // answer it makes an interval without width, which would be a verdict each time.
            if units < FEWEST || name.ends_with("p99") && units < FEWEST_FOR_P99 {
                values.clear();
            }
        }
        let rates = [&run.summary.output_tokens_per_second, &run.summary.total_tokens_per_second];
        values.extend(rates.map(|f| f.map(|f| f.value)));
        let begin = run.window_ms.unwrap_or(0.0) / 1000.0;
        let (from, to) = (begin.ceil() as usize, (begin + run.summary.window_seconds).floor() as usize);
        let seconds: Vec<_> = run.series.iter().skip(from).take(to.saturating_sub(from)).collect();
        let tokens: Vec<f64> = seconds.iter().map(|s| s.tokens).collect();
        let total: Vec<f64> = seconds.iter().map(|s| s.tokens + s.prompt_tokens).collect();
        let n = METRICS.len();
        resampled[n - 2] = means_around(values[n - 2], &tokens, seed);
        resampled[n - 1] = means_around(values[n - 1], &total, seed);
        Side { values, resampled }
    }
}

/// Means of blocks of full seconds, around the rate of the whole window, which has parts of seconds too: the
/// interval has to be one of the ratio that is told. Of few seconds there are none.
fn means_around(rate: Option<f64>, seconds: &[f64], seed: u64) -> Vec<f64> {
    let Some(rate) = rate.filter(|_| seconds.len() >= FEWEST_SECONDS) else { return Vec::new() };
    let mut means = block_means(seconds, seed);
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    if mean > 0.0 {
        means.iter_mut().for_each(|m| *m *= rate / mean);
    }
    means
}

/// What latencies are made of, sorted once.
struct Latencies<'a> {
    ttft: Vec<(f64, usize)>,
    e2e: Vec<(f64, usize)>,
    itl: Vec<&'a Gaps>,
}

impl<'a> Latencies<'a> {
    fn new(records: &[&'a Record]) -> Latencies<'a> {
        let sorted = |of: fn(&Record) -> Option<f64>| {
            let mut all: Vec<(f64, usize)> =
                records.iter().enumerate().filter_map(|(i, r)| Some((of(r)?, i))).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            all
        };
        let itl = records.iter().map(|r| &r.itl).collect();
        Latencies { ttft: sorted(|r| r.ttft_ms), e2e: sorted(|r| r.e2e_ms), itl }
    }

    /// Answers that have a value, in the order of [`METRICS`], without the rates.
    fn units(&self) -> [usize; 7] {
        let (ttft, e2e) = (self.ttft.len(), self.e2e.len());
        let itl = self.itl.iter().filter(|g| !g.buckets().is_empty()).count();
        [ttft, ttft, itl, itl, itl, e2e, e2e]
    }

    /// In the order of [`METRICS`], without the rates.
    fn figures(&self, counts: &[u32]) -> Vec<Option<f64>> {
        let of = |sorted: &[(f64, usize)]| {
            Weighted(sorted.iter().map(|&(v, i)| (v, u64::from(counts[i])))).quantiles([0.5, 0.99])
        };
        let most = self.itl.iter().filter_map(|g| g.buckets().last()).map(|b| b.0).max().unwrap_or(0);
        let mut dense = vec![0u64; usize::from(most) + 1];
        for (gaps, &times) in self.itl.iter().zip(counts) {
            for &(index, n) in gaps.buckets() {
                dense[usize::from(index)] += u64::from(n) * u64::from(times);
            }
        }
        let gaps = (0u16..).zip(&dense).filter(|(_, n)| **n > 0).map(|(i, &n)| (middle_ms(i), n));
        let (sum, n) = gaps.clone().fold((0.0, 0u64), |s, (v, n)| (s.0 + v * n as f64, s.1 + n));
        let (ttft, e2e, itl) = (of(&self.ttft), of(&self.e2e), Weighted(gaps).quantiles([0.5, 0.99]));
        let mean = (n > 0).then(|| sum / n as f64);
        let [t50, t99] = [ttft.map(|q| q[0]), ttft.map(|q| q[1])];
        let [i50, i99] = [itl.map(|q| q[0]), itl.map(|q| q[1])];
        vec![t50, t99, mean, i50, i99, e2e.map(|q| q[0]), e2e.map(|q| q[1])]
    }
}

fn ratio(metric: usize, rounds: &[[Side; 2]]) -> Option<Ratio> {
    let values: Vec<(f64, f64)> =
        rounds.iter().filter_map(|[a, b]| a.values[metric].zip(b.values[metric])).collect();
    let values: Vec<(f64, f64)> = values.into_iter().filter(|(a, b)| *a > 0.0 && *b > 0.0).collect();
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = |pick: fn(&(f64, f64)) -> f64| values.iter().map(pick).sum::<f64>() / n as f64;
    let logs: Vec<f64> = values.iter().map(|(a, b)| (b / a).ln()).collect();
    let center = logs.iter().sum::<f64>() / n as f64;
    let spans = [of_requests(metric, rounds), of_rounds(&logs)];
    let span = spans.into_iter().flatten().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let (name, better) = METRICS[metric];
    let verdict = match span {
        Some((low, _)) if low > 0.0 && better == Better::Higher => Verdict::Second,
        Some((low, _)) if low > 0.0 => Verdict::First,
        Some((_, high)) if high < 0.0 && better == Better::Higher => Verdict::First,
        Some((_, high)) if high < 0.0 => Verdict::Second,
        _ => Verdict::Open,
    };
    Some(Ratio {
        metric: name.to_owned(),
        first: mean(|v| v.0),
        second: mean(|v| v.1),
        ratio: center.exp(),
        low: span.map(|s| s.0.exp()),
        high: span.map(|s| s.1.exp()),
        verdict,
    })
}

/// The interval of the mean log-ratio, from resampled requests of both sides of every round.
fn of_requests(metric: usize, rounds: &[[Side; 2]]) -> Option<(f64, f64)> {
    let n = rounds.iter().flatten().map(|side| side.resampled[metric].len()).min()?;
    let log = |i: usize| {
        let of_round = |[a, b]: &[Side; 2]| (b.resampled[metric][i] / a.resampled[metric][i]).ln();
        rounds.iter().map(of_round).sum::<f64>() / rounds.len() as f64
    };
    interval((0..n).map(log).collect())
}

/// Student's 97.5% quantiles, from two degrees of freedom on.
const STUDENT: [f64; 9] = [4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// Student's interval over rounds; two are too few to say anything.
fn of_rounds(logs: &[f64]) -> Option<(f64, f64)> {
    let n = logs.len();
    if n < 3 {
        return None;
    }
    let mean = logs.iter().sum::<f64>() / n as f64;
    let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let t = STUDENT.get(n - 3).copied().unwrap_or(2.2);
    let half = t * (variance / n as f64).sqrt();
    Some((mean - half, mean + half))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Completeness, Machine, SCHEMA, Server};
    use crate::load::Endpoint;
    use crate::record::{CountedBy, Outcome};
    use crate::summary::Goals;

    /// Ends at `ended`, 100 ms after it was due, with `tokens` in its last 50 ms.
    fn record(ended: f64, ttft: f64, tokens: u32) -> Record {
        let mut itl = Gaps::default();
        itl.add((ttft * 1e5) as u64, tokens);
        Record {
            phase: Phase::Measured,
            model: "m".to_owned(),
            scheduled_ms: ended - 100.0,
            started_ms: ended - 100.0,
            ended_ms: ended,
            outcome: Outcome::Done,
            detail: String::new(),
            oddities: Vec::new(),
            ttft_ms: Some(ttft),
            e2e_ms: Some(100.0),
            tpot_ms: None,
            stall_ms: None,
            merged_tokens: 0,
            unread_ms: 0.0,
            itl,
            counted_by: CountedBy::Guess,
            output_tokens: tokens,
            prompt_tokens: None,
            cached_tokens: None,
            draft_tokens: None,
            accepted_tokens: None,
            queue_ms: None,
            tokens_by_second: vec![tokens],
            window_tokens: tokens,
        }
    }

    fn run(server: usize, concurrency: usize, records: Vec<Record>) -> Run {
        let mut run = Run::begin(server, 0, Load::Closed { concurrency }, 1);
        run.records = records;
        run.sum_up(Goals::default());
        run
    }

    fn document(runs: Vec<Run>) -> Document {
        let server =
            Server { url: String::new(), endpoint: Endpoint::Chat, models: Vec::new(), usd_per_hour: None };
        let servers = runs.iter().map(|r| r.server).max().unwrap_or(0) + 1;
        Document {
            schema: SCHEMA.to_owned(),
            garrison: String::new(),
            started_unix: 0,
            machine: Machine::default(),
            servers: vec![server; servers],
            dataset: String::new(),
            goals: Goals::default(),
            search: None,
            completeness: Completeness::Complete,
            runs,
        }
    }

    fn found<'a>(compared: &'a Compared, metric: &str) -> &'a Ratio {
        compared.ratios.iter().find(|r| r.metric == metric).unwrap()
    }

    /// `n` answers a second apart.
    fn answers(n: usize, ttft: f64) -> Vec<Record> {
        (0..n).map(|i| record(200.0 + 1000.0 * i as f64, ttft + i as f64 * 0.01, 4)).collect()
    }

    #[test]
    fn few_answers_and_few_seconds_are_no_verdict() {
        let sides =
            |n| (document(vec![run(0, 1, answers(n, 10.0))]), document(vec![run(0, 1, answers(n, 20.0))]));
        for n in [1, 4] {
            let (a, b) = sides(n);
            let compared = compare_files(&a, &b).unwrap();
            for ratio in &compared[0].ratios {
                assert_eq!((ratio.low, ratio.verdict), (None, Verdict::Open), "{n}: {ratio:?}");
            }
        }
        let (a, b) = sides(12);
        let compared = compare_files(&a, &b).unwrap();
        assert_eq!(found(&compared[0], "TTFT p50").verdict, Verdict::First);
        // Those at both ends are not full.
        let rates = |n| {
            let compared = compare_files(&sides(n).0, &sides(n).1).unwrap();
            found(&compared[0], "output tokens/s").low
        };
        assert!(rates(FEWEST_SECONDS + 1).is_none() && rates(FEWEST_SECONDS + 2).is_some());
    }

    /// Half of one side's tokens come in a part of a second, which the full seconds do not show.
    #[test]
    fn the_interval_of_a_rate_is_around_its_ratio() {
        let mut late = answers(20, 10.0);
        late.push(record(19_900.0, 10.0, 80));
        let (a, b) = (document(vec![run(0, 1, answers(20, 10.0))]), document(vec![run(0, 1, late)]));
        let compared = compare_files(&a, &b).unwrap();
        let rate = found(&compared[0], "output tokens/s");
        assert!(rate.ratio > 1.8, "{rate:?}");
        let (low, high) = rate.low.zip(rate.high).unwrap();
        assert!(low <= rate.ratio + 1e-9 && rate.ratio <= high + 1e-9, "{rate:?}");
    }

    #[test]
    fn a_run_is_compared_once_and_with_its_like() {
        let runs = |server, ttft| {
            [(4, ttft), (9, ttft), (4, 3.0 * ttft)].map(|(c, ttft)| run(server, c, answers(6, ttft)))
        };
        let two = document([runs(0, 10.0), runs(1, 20.0)].concat());
        let compared = compare_servers(&two);
        assert_eq!(compared.iter().map(|c| c.rounds).collect::<Vec<_>>(), [2, 1]);
        // Were the first of the two taken twice, it would be 20.
        let ttft = found(&compared[0], "TTFT p50");
        assert!((ttft.second - 40.0).abs() < 0.1 && (ttft.ratio - 2.0).abs() < 0.01, "{ttft:?}");
        let one = document(runs(0, 10.0).to_vec());
        assert_eq!(compare_files(&one, &two).unwrap_err(), CompareError::SeveralServers("second"));
        let [first, ..] = runs(0, 5.0);
        let compared = compare_files(&one, &document(vec![first])).unwrap();
        assert_eq!((compared.len(), compared[0].rounds), (1, 1));
    }
}
