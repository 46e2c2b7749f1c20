//! Routes: what a client calls a model and is a policy over tiers; and what all requests to them share: providers, the
//! guard's clearance, the books, traces, and how each tier does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garrison_guard::Clearance;
use garrison_route::{Admission, Breaker, BreakerConfig, Policy, RetryBudget, Ticket, TierState};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::cache::{AnswerCache, Compare, Keeps};
use crate::journey::Thoughts;
use crate::learning::Calibrations;
use crate::limits::Spend;
use crate::providers::continuing::Continues;
use crate::providers::{Failure, Provider};
use crate::tiers::{RouteCounts, TierHealth};
use crate::trace::Traces;

/// Who answers for a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A model here, by its name.
    Local(String),
    /// A provider's model.
    Remote {
        /// The provider's place among all.
        provider: usize,
        /// What it calls the model.
        model: String,
        /// How that is made to go on with an answer that another has begun.
        continues: Continues,
    },
}

/// What becomes of an answer that breaks off once something of it was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCut {
    /// The client is told.
    #[default]
    Error,
    /// The next tier goes on with it.
    Continue,
}

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// What clients call it.
    pub name: String,
    /// How tiers are chosen.
    pub policy: Policy,
    /// Who answers for the policy's tiers, in their order, and then for the private one.
    pub targets: Vec<Target>,
    /// To the first token of each tier that is asked elsewhere.
    pub first_token: Duration,
    /// Between two tokens.
    pub stall: Duration,
    /// For the whole request, over all tiers.
    pub deadline: Duration,
    /// After so long without a token the next tier is asked as well, if both are elsewhere. Never, if there is none.
    pub hedge: Option<Duration>,
    /// What becomes of an answer that breaks off.
    pub on_cut: OnCut,
    /// When an answer from here and the next tier's are the same, where a cascade learns.
    pub answers: Compare,
}

impl Route {
    /// The local model that requests are held against, and that answers what stays: the private one, or the first.
    /// None if there is none, which no configuration allows.
    pub fn local_model(&self) -> Option<&str> {
        self.targets.iter().rev().find_map(|target| match target {
            Target::Local(model) => Some(model.as_str()),
            Target::Remote { .. } => None,
        })
    }
}

/// All routes, with what they share.
pub struct Routes {
    routes: BTreeMap<String, Arc<Route>>,
    pub(crate) providers: Vec<Provider>,
    /// None where no tier is elsewhere: then nothing can leave.
    pub(crate) clearance: Option<Arc<Clearance>>,
    /// None where nobody counts money.
    pub(crate) spend: Option<Arc<Spend>>,
    /// None where no answer is given twice.
    pub(crate) cache: Option<Arc<AnswerCache>>,
    /// Whose answers that keeps.
    pub(crate) keeps: Keeps,
    /// What cascades have learned.
    pub(crate) calibrations: Arc<Calibrations>,
    pub(crate) counts: Arc<RouteCounts>,
    pub(crate) traces: Arc<Traces>,
    health: Arc<Mutex<BTreeMap<String, Health>>>,
    /// Each route's own, so that the clients of one do not use up what those of another need.
    retries: Arc<Mutex<BTreeMap<String, RetryBudget>>>,
    /// Bounds what is judged at one time: more would be more than the guard takes, and so held.
    pub(crate) judging: Arc<Semaphore>,
    begun: Instant,
}

/// Requests that are judged at one time.
const MOST_JUDGING: usize = 8;
/// How long a tier is left alone that answers 429 and does not say for how long.
pub(crate) const DEFAULT_REST: Duration = Duration::from_secs(5);

/// No routes at all.
impl Default for Routes {
    fn default() -> Routes {
        Routes::new(Vec::new(), Vec::new(), None, None)
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("routes", &self.routes.keys()).finish_non_exhaustive()
    }
}

/// How a tier does.
#[derive(Clone, Copy, Debug)]
struct Health {
    breaker: Breaker,
    first_token_us: Option<u64>,
    /// Whether it thinks more than it shows, once it has told what it thought: unasked, and asked to.
    hides: [Option<bool>; 2],
}

impl Routes {
    /// Routes over providers. `clearance` judges what leaves; without it nothing does.
    pub fn new(
        routes: Vec<Route>,
        providers: Vec<Provider>,
        clearance: Option<Clearance>,
        spend: Option<Spend>,
    ) -> Routes {
        Routes {
            routes: routes.into_iter().map(|route| (route.name.clone(), Arc::new(route))).collect(),
            providers,
            clearance: clearance.map(Arc::new),
            spend: spend.map(Arc::new),
            cache: None,
            keeps: Keeps::Elsewhere,
            calibrations: Arc::default(),
            counts: Arc::default(),
            traces: Arc::default(),
            health: Arc::default(),
            retries: Arc::default(),
            judging: Arc::new(Semaphore::new(MOST_JUDGING)),
            begun: Instant::now(),
        }
    }

    /// The same with answers kept.
    #[must_use]
    pub fn keeping(self, cache: Arc<AnswerCache>, keeps: Keeps) -> Routes {
        Routes { cache: Some(cache), keeps, ..self }
    }

    /// The same with what cascades have learned before.
    #[must_use]
    pub fn knowing(self, calibrations: Arc<Calibrations>) -> Routes {
        Routes { calibrations, ..self }
    }

    /// The same with what others have learned: cascades, breakers, speeds, retries, traces and counts, and one bound of what is
    /// judged.
    #[must_use]
    pub fn following(self, others: &Routes) -> Routes {
        Routes {
            calibrations: Arc::clone(&others.calibrations),
            counts: Arc::clone(&others.counts),
            traces: Arc::clone(&others.traces),
            health: Arc::clone(&others.health),
            retries: Arc::clone(&others.retries),
            judging: Arc::clone(&others.judging),
            begun: others.begun,
            ..self
        }
    }

    /// What was counted.
    pub fn counts(&self) -> &RouteCounts {
        &self.counts
    }

    /// How the tiers do that were planned with.
    pub fn tiers(&self) -> Vec<TierHealth> {
        let now = self.now();
        let health = lock(&self.health);
        let of = |(name, health): (&String, &Health)| TierHealth {
            name: name.clone(),
            open: match health.breaker.admission(now) {
                Admission::Closed => 0.0,
                Admission::Probe | Admission::Probing => 0.5,
                Admission::Open { .. } | Admission::Resting { .. } => 1.0,
            },
            first_token_us: health.first_token_us,
        };
        health.iter().map(of).collect()
    }

    /// The answers that are kept, if any are.
    pub fn cache(&self) -> Option<&Arc<AnswerCache>> {
        self.cache.as_ref()
    }

    /// A route by its name.
    pub fn find(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.get(name)
    }

    /// All of them, in the order of their names.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// What became of the last requests.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn with_health<T>(&self, tier: &str, change: impl FnOnce(&mut Health) -> T) -> T {
        let breaker = || Breaker::new(BreakerConfig::default());
        let new = || Health { breaker: breaker(), first_token_us: None, hides: [None; 2] };
        change(lock(&self.health).entry(tier.to_owned()).or_insert_with(new))
    }

    fn with_retries<T>(&self, route: &str, change: impl FnOnce(&mut RetryBudget) -> T) -> T {
        change(lock(&self.retries).entry(route.to_owned()).or_default())
    }

    /// A route is asked, so it may make a share of an attempt more.
    pub(crate) fn earn_attempt(&self, route: &str) {
        self.with_retries(route, RetryBudget::earn);
    }

    /// Takes a further attempt along a route, if there is one left.
    pub(crate) fn spend_attempt(&self, route: &str) -> bool {
        self.with_retries(route, RetryBudget::spend)
    }

    pub(crate) fn state(&self, tier: &str) -> TierState {
        let now = self.now();
        self.with_health(tier, |health| TierState {
            breaker: health.breaker.admission(now),
            first_token_us: health.first_token_us,
            broke_off: false,
        })
    }

    pub(crate) fn enter(&self, tier: &str) -> Option<Ticket> {
        let now = self.now();
        self.with_health(tier, |health| health.breaker.begin(now))
    }

    /// Tells a tier's breaker that it has begun to answer.
    pub(crate) fn begun(&self, tier: &str, ticket: Ticket) {
        self.with_health(tier, |health| health.breaker.begun(ticket));
    }

    /// Tells a tier's breaker how an attempt went.
    pub(crate) fn leave(&self, tier: &str, ticket: Ticket, outcome: Result<(), &Failure>) {
        let now = self.now();
        self.with_health(tier, |health| match outcome {
            Ok(()) => health.breaker.succeed(ticket),
            Err(Failure::RateLimited(time)) => health.breaker.rest(now, time.unwrap_or(DEFAULT_REST)),
            Err(failure) if failure.counts() => health.breaker.fail(ticket, now, random()),
            // A refusal of one request is an answer, too.
            Err(Failure::Rejected(_)) => health.breaker.succeed(ticket),
            Err(_) => health.breaker.abandon(ticket, now),
        });
    }

    /// Nobody waits for the attempt's outcome any more.
    pub(crate) fn abandon(&self, tier: &str, ticket: Ticket) {
        let now = self.now();
        self.with_health(tier, |health| health.breaker.abandon(ticket, now));
    }

    /// Notes how long a tier's first token took: a moving average over about eight answers.
    pub(crate) fn note_speed(&self, tier: &str, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.with_health(tier, |health| {
            health.first_token_us = Some(health.first_token_us.map_or(time, |old| old - old / 8 + time / 8));
        });
    }

    /// Notes whether a tier thinks more than it shows.
    pub(crate) fn note_hides(&self, tier: &str, thoughts: Thoughts, hides: bool) {
        self.with_health(tier, |health| health.hides[thoughts as usize] = Some(hides));
    }

    /// Whether a tier thinks more than it shows. None unless it has told what it thought.
    pub(crate) fn hides(&self, tier: &str, thoughts: Thoughts) -> Option<bool> {
        self.with_health(tier, |health| health.hides[thoughts as usize])
    }

    /// What keys may spend, where that is counted.
    pub fn spend(&self) -> Option<&Arc<Spend>> {
        self.spend.as_ref()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Any number, for jitter and for draws: the standard library's hash keys are drawn from the system.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_route_makes_of_further_attempts_another_has_still() {
        let routes = Routes::default();
        while routes.spend_attempt("a") {}
        assert!(routes.spend_attempt("b") && !Routes::default().following(&routes).spend_attempt("a"));
    }
}
