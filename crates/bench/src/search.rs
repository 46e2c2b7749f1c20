//! What a search for the highest rate found, and how sure that is.
//!
//! Key decision: a 99th percentile keeps to a goal if at most one of a hundred is beyond it, and how many are is a
//! share, of which a few hundred requests tell an interval (Wilson 1927). So each rate that was tried says whether it
//! keeps to the goals, and whether chance could have said it.

use serde::{Deserialize, Serialize};

use crate::document::{Document, Run};
use crate::load::Load;
use crate::record::{Phase, Record};
use crate::stats::middle_ms;
use crate::summary::Goals;

/// The highest rate at which the 99th percentiles keep to the goals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Requests per second that kept to them; 0 if none did.
    pub highest_rate: f64,
    /// The lowest rate that did not, if any was tried.
    pub lowest_failing: Option<f64>,
    /// How long each rate was held, at least, in seconds.
    #[serde(default)]
    pub held_seconds: f64,
    /// The rate at which the search ended since the harness could not send so fast: what it saw says nothing of the
    /// server.
    #[serde(default)]
    pub unsent_rate: Option<f64>,
}

/// So many may be beyond a goal.
const ALLOWED: f64 = 0.01;

/// Of the normal distribution, for intervals that hold in 95% of experiments.
const Z: f64 = 1.959_964;

/// Whether something is so, and whether chance could have said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sureness {
    Sure,
    Open,
}

/// What a run says of one goal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// As in `--goals`.
    pub(crate) name: &'static str,
    pub(crate) goal_ms: f64,
    /// Share of requests beyond it; of `itl`, of the times between tokens.
    pub(crate) beyond: f64,
    /// The interval of this share.
    pub(crate) span: (f64, f64),
    /// Whether few enough are beyond.
    pub(crate) keeps: bool,
    pub(crate) sureness: Sureness,
}

impl Kept {
    fn new(name: &'static str, goal_ms: f64, beyond: f64, units: usize) -> Kept {
        let span = wilson(beyond, units as f64);
        let sure = span.1 < ALLOWED || span.0 > ALLOWED;
        let sureness = if sure { Sureness::Sure } else { Sureness::Open };
        Kept { name, goal_ms, beyond, span, keeps: beyond <= ALLOWED, sureness }
    }
}

/// The interval of a share of `n`.
fn wilson(share: f64, n: f64) -> (f64, f64) {
    let squared = Z * Z;
    let middle = share + squared / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + squared / (4.0 * n * n)).sqrt();
    let whole = 1.0 + squared / n;
    (((middle - half) / whole).max(0.0), ((middle + half) / whole).min(1.0))
}

/// What a run says of each goal that is set. A failed request is beyond all.
pub(crate) fn against(run: &Run, goals: Goals) -> Vec<Kept> {
    let counted: Vec<&Record> = run
        .records
        .iter()
        .filter(|r| r.phase == Phase::Measured && (r.is_done() || r.is_failure()))
        .collect();
    let n = counted.len();
    if n == 0 {
        return Vec::new();
    }
    let late = |goal: f64, value: fn(&Record) -> Option<f64>| {
        let beyond = counted.iter().filter(|r| !r.is_done() || value(r).is_some_and(|v| v > goal)).count();
        beyond as f64 / n as f64
    };
    let mut all = Vec::new();
    if let Some(goal) = goals.ttft_ms {
        all.push(Kept::new("ttft", goal, late(goal, |r| r.ttft_ms), n));
    }
    if let Some(goal) = goals.itl_ms {
        let times = || counted.iter().filter(|r| r.is_done()).flat_map(|r| r.itl.buckets());
        let of = |far: bool| {
            let counts = times().filter(|(i, _)| !far || middle_ms(*i) > goal).map(|(_, n)| f64::from(*n));
            counts.sum::<f64>()
        };
        let answers = counted.iter().filter(|r| r.is_done() && r.itl.count() > 0).count();
        if answers > 0 {
            // Those of one answer are alike, so an answer is one observation and not as many as it has tokens.
            all.push(Kept::new("itl", goal, of(true) / of(false), answers));
        }
    }
    if let Some(goal) = goals.e2e_ms {
        all.push(Kept::new("e2e", goal, late(goal, |r| r.e2e_ms), n));
    }
    all
}

/// Fewer answers show no trend.
const FEWEST_FOR_TREND: usize = 20;

/// A trend is told if chance does so in one run of a thousand, and if it matters.
const SURELY: f64 = 3.1;
const MATTERS: f64 = 1.25;

/// Whether requests waited longer for their first token in the second half of a run than in the first (Mann and Whitney
/// 1947): the server was falling behind, and is not done with it.
pub(crate) fn rises(run: &Run) -> bool {
    let mut answered: Vec<(f64, f64)> = run
        .records
        .iter()
        .filter(|r| r.phase == Phase::Measured && r.is_done())
        .filter_map(|r| Some((r.scheduled_ms, r.ttft_ms?)))
        .collect();
    if answered.len() < FEWEST_FOR_TREND {
        return false;
    }
    answered.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = answered.len() / 2;
    let mut ranked: Vec<(f64, bool)> =
        answered.iter().enumerate().map(|(i, (_, ttft))| (*ttft, i >= half)).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ranks: f64 =
        ranked.iter().zip(1..).filter(|((_, late), _)| *late).map(|(_, rank)| f64::from(rank)).sum();
    let (first, second) = (half as f64, (answered.len() - half) as f64);
    let above = ranks - second * (second + 1.0) / 2.0;
    let spread = (first * second * (first + second + 1.0) / 12.0).sqrt();
    let median = |part: bool| {
        let of: Vec<f64> = ranked.iter().filter(|(_, late)| *late == part).map(|(ttft, _)| *ttft).collect();
        of[of.len() / 2]
    };
    (above - first * second / 2.0) / spread > SURELY && median(true) > MATTERS * median(false)
}

/// The runs of a search by their rates, ascending.
pub(crate) fn probes(document: &Document) -> Vec<(f64, &Run)> {
    let rate = |run: &Run| match run.load {
        Load::Open { rate, .. } => rate,
        Load::Closed { .. } => 0.0,
    };
    let mut probes: Vec<(f64, &Run)> = document.runs.iter().map(|run| (rate(run), run)).collect();
    probes.sort_by(|a, b| a.0.total_cmp(&b.0));
    probes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Arrivals, Load};
    use crate::record::{CountedBy, Outcome};
    use crate::stats::Gaps;

    /// The figures that Wilson's formula has in the literature (Newcombe 1998, table I, method 3).
    #[test]
    fn intervals_of_shares_are_those_of_the_literature() {
        for (k, n, low, high) in [
            (81.0, 263.0, 0.2553, 0.3662),
            (15.0, 148.0, 0.0624, 0.1605),
            (0.0, 20.0, 0.0, 0.1611),
            (1.0, 29.0, 0.0061, 0.1718),
        ] {
            let (found_low, found_high) = wilson(k / n, n);
            assert!((found_low - low).abs() < 6e-5 && (found_high - high).abs() < 6e-5, "{k} of {n}");
        }
    }

    fn run(ttft_ms: impl Iterator<Item = f64>) -> Run {
        let mut run = Run::begin(0, 0, Load::Open { rate: 10.0, arrivals: Arrivals::Constant }, 1);
        let record = |(i, ttft_ms): (usize, f64)| Record {
            phase: Phase::Measured,
            model: String::new(),
            scheduled_ms: 100.0 * i as f64,
            started_ms: 0.0,
            ended_ms: 0.0,
            outcome: Outcome::Done,
            detail: String::new(),
            oddities: Vec::new(),
            ttft_ms: Some(ttft_ms),
            e2e_ms: None,
            tpot_ms: None,
            stall_ms: None,
            merged_tokens: 0,
            unread_ms: 0.0,
            itl: Gaps::default(),
            counted_by: CountedBy::Events,
            output_tokens: 1,
            prompt_tokens: None,
            cached_tokens: None,
            draft_tokens: None,
            accepted_tokens: None,
            queue_ms: None,
            tokens_by_second: Vec::new(),
            window_tokens: 0,
        };
        run.records = ttft_ms.enumerate().map(record).collect();
        run
    }

    #[test]
    fn a_goal_is_kept_or_missed_and_chance_may_have_done_it() {
        let goals = Goals { ttft_ms: Some(100.0), ..Goals::default() };
        let said = |n: usize, beyond: usize| {
            let kept = against(&run((0..n).map(|i| if i < beyond { 150.0 } else { 50.0 })), goals);
            (kept[0].keeps, kept[0].sureness)
        };
        assert_eq!(said(100, 0), (true, Sureness::Open), "a hundred say nothing of one in a hundred");
        assert_eq!(said(400, 0), (true, Sureness::Sure));
        assert_eq!(said(400, 6), (false, Sureness::Open));
        assert_eq!(said(100, 8), (false, Sureness::Sure));
        let mut failed = run((0..400).map(|_| 50.0));
        failed.records[..20].iter_mut().for_each(|r| r.outcome = Outcome::BrokeOff);
        assert_eq!(against(&failed, goals)[0].beyond, 0.05, "what fails keeps to nothing");
        assert!(against(&run(std::iter::empty()), goals).is_empty());
    }

    #[test]
    fn a_queue_that_grows_is_seen() {
        let noise = |i: usize| (i * 7919 % 31) as f64;
        assert!(rises(&run((0..60).map(|i| 50.0 + i as f64 * 2.0 + noise(i)))));
        assert!(!rises(&run((0..60).map(|i| 50.0 + noise(i)))));
        assert!(!rises(&run((0..60).map(|i| 500.0 + i as f64 + noise(i)))), "a little is no matter");
        assert!(!rises(&run((0..10).map(|i| i as f64))));
    }
}
