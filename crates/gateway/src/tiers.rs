//! What became of requests and attempts, counted: by names of the configuration and codes, so that the number of counters
//! is bounded by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use garrison_route::{Micros, Tokens};

/// Counters by labels.
type Table<const N: usize> = BTreeMap<[String; N], u64>;
/// Counters with their labels.
pub type Samples<const N: usize> = Vec<([String; N], u64)>;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct RouteCounts(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    /// By route and tier.
    requests: Table<2>,
    /// By route.
    fallbacks: Table<1>,
    /// By tier and outcome.
    attempts: Table<2>,
    /// By tier and kind.
    tokens: Table<2>,
    /// By tier, in millionths of a US dollar.
    costs: Table<1>,
}

fn add<const N: usize>(table: &mut Table<N>, labels: [&str; N], count: u64) {
    *table.entry(labels.map(str::to_owned)).or_default() += count;
}

impl RouteCounts {
    fn change(&self, change: impl FnOnce(&mut Tables)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A request was answered by a tier, or by `none`.
    pub(crate) fn request(&self, route: &str, tier: &str) {
        self.change(|tables| add(&mut tables.requests, [route, tier], 1));
    }

    /// A request was answered by a later tier than the first that was asked.
    pub(crate) fn fallback(&self, route: &str) {
        self.change(|tables| add(&mut tables.fallbacks, [route], 1));
    }

    /// A tier was asked, with this outcome.
    pub(crate) fn attempt(&self, tier: &str, outcome: &str) {
        self.change(|tables| add(&mut tables.attempts, [tier, outcome], 1));
    }

    /// What a tier took.
    pub(crate) fn took(&self, tier: &str, tokens: Tokens, cost: Micros) {
        self.change(|tables| {
            let Tokens { prompt, cached, cache_written, output } = tokens;
            let kinds = [
                ("prompt", prompt),
                ("cached", cached),
                ("cache_written", cache_written),
                ("output", output),
            ];
            for (kind, count) in kinds {
                if count > 0 {
                    add(&mut tables.tokens, [tier, kind], count);
                }
            }
            if cost > Micros(0) {
                add(&mut tables.costs, [tier], cost.0);
            }
        });
    }

    fn samples<const N: usize>(&self, of: impl FnOnce(&Tables) -> &Table<N>) -> Samples<N> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        of(&tables).iter().map(|(labels, count)| (labels.clone(), *count)).collect()
    }

    /// Requests, by route and by the tier that answered; `none` if nobody did.
    pub fn requests(&self) -> Samples<2> {
        self.samples(|tables| &tables.requests)
    }

    /// Requests that a later tier answered, by route.
    pub fn fallbacks(&self) -> Samples<1> {
        self.samples(|tables| &tables.fallbacks)
    }

    /// Attempts, by tier and outcome.
    pub fn attempts(&self) -> Samples<2> {
        self.samples(|tables| &tables.attempts)
    }

    /// Tokens, by tier and kind: `prompt`, of that `cached` and `cache_written`, and `output`.
    pub fn tokens(&self) -> Samples<2> {
        self.samples(|tables| &tables.tokens)
    }

    /// Millionths of a US dollar, by tier.
    pub fn costs(&self) -> Samples<1> {
        self.samples(|tables| &tables.costs)
    }
}

/// How a tier does at present.
#[derive(Clone, Debug, PartialEq)]
pub struct TierHealth {
    /// Its name.
    pub name: String,
    /// 0 if it is asked, 1 if it is not, 0.5 while it is tried.
    pub open: f64,
    /// Its recent time to the first token, in microseconds, if it has answered.
    pub first_token_us: Option<u64>,
}
