//! What became of routed requests: stages, times, decisions and costs, never content.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use garrison_route::{Decision, Features, Micros, Tokens, Weighed};
use serde::Serialize;

use crate::cache::Likened;

/// Requests that are remembered at most; the oldest go first.
const MOST_TRACES: usize = 1024;
/// Stages of one request that are remembered at most.
const MOST_STAGES: usize = 64;

/// What is known of a request.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// The request's id.
    pub id: String,
    /// The route that it asked for.
    pub route: String,
    /// When it came, in milliseconds since 1970.
    pub arrived_ms: u64,
    /// What was known when it was planned last.
    pub features: Option<Features>,
    /// What was thought of each tier then.
    pub decisions: Vec<Decision>,
    /// What happened, in order.
    pub stages: Vec<Stage>,
    /// What tiers elsewhere were asked, in order.
    pub attempts: Vec<Attempt>,
    /// Who answered, if somebody has.
    pub tier: Option<String>,
    /// `local` if it was answered here, `cleared` if elsewhere.
    pub privacy: Option<&'static str>,
    /// Numbers of the receipts of what left.
    pub receipts: Vec<u64>,
    /// What the tier that answered says it took.
    pub tokens: Option<Tokens>,
    /// What all tiers that were asked cost together, in millionths of a US dollar.
    pub cost_micro_usd: Micros,
    /// How what a model here said was weighed, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cascade: Option<Weighed>,
    /// `exact` if an answer that was given to an equal request was given again, `semantic` if that request was alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<&'static str>,
    /// What came of looking for a request that is alike, if that was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semantic: Option<Likened>,
    /// How it ended, once it has.
    pub outcome: Option<String>,
    #[serde(skip)]
    begun: Instant,
}

/// Something that happened to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// When, in microseconds after it came.
    pub at_us: u64,
    /// What: `planned`, `cleared`, `held`, `asked`, `first_token`, `hedged`, `failed`, `abandoned`,
    /// `answered`, `broke`, `continued` by another, `local`, `weighed`, `kept` though unsure, `waiting` for an equal
    /// request, `cached`.
    pub what: &'static str,
    /// Of which tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Why, in codes or a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One tier elsewhere that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Which.
    pub tier: String,
    /// When, in microseconds after the request came.
    pub at_us: u64,
    /// For how long, in microseconds, once it is over.
    pub took_us: Option<u64>,
    /// `answered`, `abandoned`, or the code of how it failed, once it is over.
    pub outcome: Option<&'static str>,
    /// What it took, by estimate where the provider has not said.
    pub tokens: Tokens,
    /// What it cost, in millionths of a US dollar.
    pub cost_micro_usd: Micros,
}

/// Which of a trace's attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptId(usize);

impl Trace {
    fn new(id: &str, route: &str) -> Trace {
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Trace {
            id: id.to_owned(),
            route: route.to_owned(),
            arrived_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            features: None,
            decisions: Vec::new(),
            stages: Vec::new(),
            attempts: Vec::new(),
            tier: None,
            privacy: None,
            receipts: Vec::new(),
            tokens: None,
            cost_micro_usd: Micros(0),
            cascade: None,
            cache: None,
            semantic: None,
            outcome: None,
            begun: Instant::now(),
        }
    }

    fn since_begun(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A tier is asked. None if there were more than are remembered.
    pub(crate) fn begin_attempt(&mut self, tier: &str) -> Option<AttemptId> {
        let at = self.attempts.len();
        (at < MOST_STAGES).then(|| {
            self.attempts.push(Attempt {
                tier: tier.to_owned(),
                at_us: self.since_begun(),
                took_us: None,
                outcome: None,
                tokens: Tokens::default(),
                cost_micro_usd: Micros(0),
            });
            AttemptId(at)
        })
    }

    /// It is over.
    pub(crate) fn end_attempt(&mut self, id: AttemptId, outcome: &'static str, tokens: Tokens, cost: Micros) {
        let now = self.since_begun();
        if let Some(attempt) = self.attempts.get_mut(id.0) {
            attempt.took_us = Some(now.saturating_sub(attempt.at_us));
            (attempt.outcome, attempt.tokens, attempt.cost_micro_usd) = (Some(outcome), tokens, cost);
        }
    }

    pub(crate) fn note(&mut self, what: &'static str, tier: Option<&str>, why: Option<String>) {
        if self.stages.len() < MOST_STAGES {
            let at_us = self.since_begun();
            self.stages.push(Stage { at_us, what, tier: tier.map(str::to_owned), why });
        }
    }
}

/// A trace that is being written.
#[derive(Clone, Debug)]
pub struct Open(Arc<Mutex<Trace>>);

impl Open {
    /// What is known by now.
    pub fn so_far(&self) -> Trace {
        self.lock().clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Trace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last requests.
#[derive(Debug, Default)]
pub struct Traces(Mutex<VecDeque<Open>>);

impl Traces {
    pub(crate) fn open(&self, id: &str, route: &str) -> Open {
        let open = Open(Arc::new(Mutex::new(Trace::new(id, route))));
        let mut traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if traces.len() >= MOST_TRACES {
            traces.pop_front();
        }
        traces.push_back(open.clone());
        open
    }

    /// The last request with an id, if it is still remembered. Clients choose ids, so several may have one.
    pub fn find(&self, id: &str) -> Option<Trace> {
        let traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        traces.iter().rev().find(|open| open.lock().id == id).map(Open::so_far)
    }
}
