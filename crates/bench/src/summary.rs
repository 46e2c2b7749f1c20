//! Figures of a run, from its records.
//!
//! Latencies are of measured requests that were answered; failures are counted beside them and never
//! averaged in. Rates count everything that arrives, of whatever phase, within the measured window: from
//! when the first measured request is due until the last one ends. With warm-up and cool-down the load is
//! whole during all of it; without them it is what other tools call the duration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::figure::{Distribution, Figure};
use crate::record::{Phase, Record, window_of};
use crate::series::{Second, series};
use crate::stats::{block_means, interval};

/// What an answer has to keep to. Milliseconds; absent means any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Goals {
    /// To the first token.
    pub ttft_ms: Option<f64>,
    /// Between tokens, on average of an answer.
    pub itl_ms: Option<f64>,
    /// To the end.
    pub e2e_ms: Option<f64>,
}

impl Goals {
    /// Whether there is any.
    pub fn are_set(&self) -> bool {
        *self != Goals::default()
    }

    /// Whether an answer keeps to all of them. A failure never does.
    fn are_met(&self, record: &Record) -> bool {
        let within = |goal: Option<f64>, value: Option<f64>| match (goal, value) {
            (Some(goal), Some(value)) => value <= goal,
            (None, _) => true,
            (Some(_), None) => false,
        };
        // A single token has nothing between tokens; several in one event do not show it.
        let itl = self.itl_ms.filter(|_| record.output_tokens > 1);
        record.is_done()
            && within(self.ttft_ms, record.ttft_ms)
            && within(itl, record.tpot_ms)
            && within(self.e2e_ms, record.e2e_ms)
    }
}

/// Measured requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Counts {
    pub measured: usize,
    pub answered: usize,
    pub failed: usize,
    pub cut_off: usize,
    /// Not measured: of warm-up and cool-down.
    pub around: usize,
}

/// Requests that keep to all goals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goodput {
    /// The goals.
    pub goals: Goals,
    /// Of all measured requests.
    pub share: Option<Figure>,
    /// So many a second.
    pub requests_per_second: f64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Length of the measured window.
    pub window_seconds: f64,
    /// Requests.
    pub requests: Counts,
    /// How measured requests ended that were not answered, and how often.
    pub failures: BTreeMap<String, usize>,
    /// What was strange about answers, and how often.
    pub oddities: BTreeMap<String, usize>,
    /// How tokens of events were counted, and for how many answers.
    pub counted_by: BTreeMap<String, usize>,
    /// Time to the first token.
    pub ttft_ms: Option<Distribution>,
    /// Time between tokens, every token counting once.
    pub itl_ms: Option<Distribution>,
    /// Time per output token, every answer counting once.
    pub tpot_ms: Option<Distribution>,
    /// Time to the end.
    pub e2e_ms: Option<Distribution>,
    /// The longest wait within an answer.
    pub stall_ms: Option<Distribution>,
    /// Waiting in the server's queue, as it tells.
    pub queue_ms: Option<Distribution>,
    /// How late the harness began with requests: not part of any figure's meaning, but of its trust.
    pub harness_late_ms: Option<Distribution>,
    /// The longest that anything of an answer lay before the harness read it.
    #[serde(default)]
    pub unread_ms: Option<Distribution>,
    /// Share of tokens that were read together with later ones, so that only the latest possible times of them are
    /// known. The times between them are told as 0: means are right, percentiles may not be.
    #[serde(default)]
    pub merged_share: Option<f64>,
    /// Tokens generated a second.
    pub output_tokens_per_second: Option<Figure>,
    /// Tokens of the prompts of completed answers, a second.
    pub prompt_tokens_per_second: Option<Figure>,
    /// Both.
    pub total_tokens_per_second: Option<Figure>,
    /// Answers completed a second.
    pub requests_per_second: Option<Figure>,
    /// Requests that keep to the goals, if there are any.
    pub goodput: Option<Goodput>,
    /// Tokens of an answer.
    pub output_tokens: Option<Distribution>,
    /// Tokens of a prompt, as the server tells.
    pub prompt_tokens: Option<Distribution>,
    /// Share of prompt tokens that came from a cache, as the server tells.
    pub cached_share: Option<f64>,
    /// Share of guessed tokens that were kept, as the server tells.
    pub accepted_share: Option<f64>,
}

impl Summary {
    /// Sums up the records of a run.
    pub fn new(records: &[Record], goals: Goals) -> Summary {
        let measured: Vec<&Record> = records.iter().filter(|r| r.phase == Phase::Measured).collect();
        let answered: Vec<&Record> = measured.iter().copied().filter(|r| r.is_done()).collect();
        let failed = measured.iter().filter(|r| r.is_failure()).count();
        let over = |records: &[&Record], value: &dyn Fn(&Record) -> Option<f64>| {
            Distribution::of(records.iter().filter_map(|r| value(r)).collect())
        };
        let rates = Rates::new(records, &measured);
        let share = |part: fn(&Record) -> Option<u32>, whole: fn(&Record) -> Option<u32>| {
            let both = answered.iter().filter_map(|r| part(r).zip(whole(r)));
            let (part, whole) = both.fold((0u64, 0u64), |s, (a, b)| (s.0 + u64::from(a), s.1 + u64::from(b)));
            (whole > 0).then(|| part as f64 / whole as f64)
        };
        let mut oddities = BTreeMap::new();
        let mut counted_by = BTreeMap::new();
        for record in &answered {
            *counted_by.entry(record.counted_by.label().to_owned()).or_insert(0) += 1;
            for oddity in &record.oddities {
                *oddities.entry(oddity.label().to_owned()).or_insert(0) += 1;
            }
        }
        let mut failures = BTreeMap::new();
        for record in measured.iter().filter(|r| r.is_failure()) {
            *failures.entry(record.outcome.label()).or_insert(0) += 1;
        }
        Summary {
            window_seconds: rates.seconds,
            requests: Counts {
                measured: measured.len(),
                answered: answered.len(),
                failed,
                cut_off: measured.len() - answered.len() - failed,
                around: records.len() - measured.len(),
            },
            failures,
            oddities,
            counted_by,
            ttft_ms: over(&answered, &|r| r.ttft_ms),
            itl_ms: Distribution::of_gaps(&answered.iter().map(|r| &r.itl).collect::<Vec<_>>()),
            tpot_ms: over(&answered, &|r| r.tpot_ms),
            e2e_ms: over(&answered, &|r| r.e2e_ms),
            stall_ms: over(&answered, &|r| r.stall_ms),
            queue_ms: over(&answered, &|r| r.queue_ms),
            harness_late_ms: over(&measured, &|r| Some((r.started_ms - r.scheduled_ms).max(0.0))),
            unread_ms: over(&answered, &|r| Some(r.unread_ms)),
            merged_share: share(|r| Some(r.merged_tokens), |r| Some(r.output_tokens)),
            output_tokens_per_second: rates.figure(|s| s.tokens),
            prompt_tokens_per_second: rates.figure(|s| s.prompt_tokens),
            total_tokens_per_second: rates.figure(|s| s.tokens + s.prompt_tokens),
            requests_per_second: rates.figure(|s| s.answered),
            goodput: goals.are_set().then(|| rates.goodput(&measured, goals)),
            output_tokens: over(&answered, &|r| Some(f64::from(r.output_tokens))),
            prompt_tokens: over(&answered, &|r| r.prompt_tokens.map(f64::from)),
            cached_share: share(|r| r.cached_tokens, |r| r.prompt_tokens),
            accepted_share: share(|r| r.accepted_tokens, |r| r.draft_tokens),
        }
    }
}

/// What happened within the measured window.
struct Rates {
    seconds: f64,
    /// Over the whole window.
    totals: Second,
    /// The full seconds within it.
    full: Vec<Second>,
}

/// Full seconds that an interval of a rate needs.
pub(crate) const FEWEST_SECONDS: usize = 10;

impl Rates {
    fn new(records: &[Record], measured: &[&Record]) -> Rates {
        let begin = window_of(records).unwrap_or(0.0);
        let ended = measured.iter().map(|r| r.ended_ms);
        let end = ended.fold(begin, f64::max);
        let within = |at: f64| (begin..=end).contains(&at);
        let mut totals = Second::default();
        for record in records {
            totals.tokens += f64::from(record.window_tokens);
            if record.is_done() && within(record.ended_ms) {
                totals.answered += 1.0;
                totals.prompt_tokens += f64::from(record.prompt_tokens.unwrap_or(0));
            }
        }
        let whole = (begin / 1000.0).ceil() as usize..(end / 1000.0).floor().max(0.0) as usize;
        let all = series(records);
        let full = whole.filter_map(|s| all.get(s).cloned()).collect();
        Rates { seconds: (end - begin) / 1000.0, totals, full }
    }

    /// The share of measured requests that keep to the goals, and the same share of all that is answered.
    fn goodput(&self, measured: &[&Record], goals: Goals) -> Goodput {
        let counted = measured.iter().filter(|r| r.is_done() || r.is_failure());
        let met: Vec<f64> = counted.map(|r| f64::from(u8::from(goals.are_met(r)))).collect();
        let answered = measured.iter().filter(|r| r.is_done()).count().max(1) as f64;
        let of_answered = met.iter().sum::<f64>() / answered;
        let rate = self.figure(|s| s.answered).map_or(0.0, |rate| rate.value);
        let share = Distribution::of(met).map(|d| d.mean);
        Goodput { goals, share, requests_per_second: rate * of_answered }
    }

    /// A rate over the window, with the interval that blocks of seconds give.
    fn figure(&self, of: fn(&Second) -> f64) -> Option<Figure> {
        if self.seconds <= 0.0 {
            return None;
        }
        let value = of(&self.totals) / self.seconds;
        let n = self.full.len();
        if n < FEWEST_SECONDS {
            return Some(Figure::bare(value));
        }
        let values: Vec<f64> = self.full.iter().map(of).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        // Around the rate of the whole window, which has parts of seconds too.
        Some(match interval(block_means(&values, 1)) {
            Some((low, high)) => {
                Figure { value, low: Some(low - mean + value), high: Some(high - mean + value) }
            }
            None => Figure::bare(value),
        })
    }
}
