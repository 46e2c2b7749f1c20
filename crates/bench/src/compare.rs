//! Two sides under the same load: ratios, their intervals, and a verdict where these allow one.
//!
//! Key decision: two sources of chance are kept apart, and the wider interval counts. Requests differ, which
//! resampling them shows; and machines drift from round to round, which only rounds show: with three or more,
//! Student's interval over their log-ratios. So a difference that comes from one lucky round is no verdict.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::document::{Document, Run};
use crate::load::Load;
use crate::record::{Phase, Record};
use crate::stats::{Gaps, Weighted, block_means, interval, middle_ms, resamples};

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
}

/// Compares two results, load by load.
///
/// # Errors
/// If they have none in common.
pub fn compare_files(first: &Document, second: &Document) -> Result<Vec<Compared>, CompareError> {
    let pairs = |a: &'_ Run| second.runs.iter().find(|b| b.load == a.load && b.round == a.round).cloned();
    let sides: Vec<(Run, Run)> = first.runs.iter().filter_map(|a| pairs(a).map(|b| (a.clone(), b))).collect();
    if sides.is_empty() {
        let loads = |d: &Document| d.runs.iter().map(|r| r.load.label()).collect::<Vec<_>>().join(", ");
        return Err(CompareError::NothingInCommon(loads(first), loads(second)));
    }
    Ok(by_load(sides))
}

/// Compares the two servers of one result.
pub fn compare_servers(document: &Document) -> Vec<Compared> {
    let of = |server: usize| document.runs.iter().filter(move |r| r.server == server);
    let sides = of(0).filter_map(|a| {
        of(1).find(|b| b.load == a.load && b.round == a.round).map(|b| (a.clone(), b.clone()))
    });
    by_load(sides.collect())
}

fn by_load(sides: Vec<(Run, Run)>) -> Vec<Compared> {
    let mut loads: Vec<Load> = Vec::new();
    for (a, _) in &sides {
        if !loads.contains(&a.load) {
            loads.push(a.load);
        }
    }
    let one = |load: &Load| {
        let rounds: Vec<&(Run, Run)> = sides.iter().filter(|(a, _)| a.load == *load).collect();
        compare(*load, &rounds)
    };
    loads.iter().map(one).collect()
}

fn compare(load: Load, rounds: &[&(Run, Run)]) -> Compared {
    let sampled: Vec<[Side; 2]> =
        (0u64..).zip(rounds).map(|(i, (a, b))| [Side::new(a, 2 * i), Side::new(b, 2 * i + 1)]).collect();
    let ratios = (0..METRICS.len()).filter_map(|metric| ratio(metric, &sampled)).collect();
    let failed = |pick: fn(&(Run, Run)) -> &Run| rounds.iter().map(|r| pick(r).summary.requests.failed).sum();
    Compared { load, rounds: rounds.len(), failed: [failed(|r| &r.0), failed(|r| &r.1)], ratios }
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
        for (values, (name, _)) in resampled.iter_mut().zip(METRICS) {
            // As in figures: resampling cannot know a tail of which it has seen next to nothing.
            if name.ends_with("p99") && answered.len() < FEWEST_FOR_P99 {
                values.clear();
            }
        }
        let rates = [&run.summary.output_tokens_per_second, &run.summary.total_tokens_per_second];
        values.extend(rates.map(|f| f.map(|f| f.value)));
        let from = (run.window_ms.unwrap_or(0.0) / 1000.0).ceil() as usize;
        let full = run.summary.window_seconds.floor() as usize;
        let seconds: Vec<_> = run.series.iter().skip(from).take(full.saturating_sub(1)).collect();
        let tokens: Vec<f64> = seconds.iter().map(|s| s.tokens).collect();
        let total: Vec<f64> = seconds.iter().map(|s| s.tokens + s.prompt_tokens).collect();
        let n = METRICS.len();
        resampled[n - 2] = block_means(&tokens, seed);
        resampled[n - 1] = block_means(&total, seed);
        Side { values, resampled }
    }
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
