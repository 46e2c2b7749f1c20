//! The gateway: what happens to a conversation between the server and whatever answers it.
//!
//! A request's texts are judged first ([`Gateway::judge`]), each as what it is: what a client wrote, what a
//! tool gave back, what the owner's system prompt says. What comes of that is a [`Judged`] request, with
//! the texts to go on with, their taint, and an [`Answers`] that judges what is said in reply, piece by
//! piece. Whatever cannot be judged (a detector fails, panics or is late) goes no further
//! where the policy is to block, and is marked where it is to flag.
//!
//! The gateway sees messages, never the client's HTTP. Where nothing is judged it costs a comparison.
//!
//! What may be answered elsewhere goes along a [`Journey`] over the tiers of a [`Route`], whose order
//! `garrison-route` decides. A [`Provider`] is sent what the guard has cleared, and nothing else.
//!
//! Deliberately absent: the client's HTTP and JSON, the owner's files, models, what a tokenizer does.
#![forbid(unsafe_code)]

mod policy;

mod judge;
mod request;
mod verdicts;

mod answer;
mod calls;
mod watch;

mod audit;
mod counts;
mod moderation;
mod naming;

mod cache;
mod canonical;
mod journey;
mod language;
mod learning;
mod limits;
mod peer;
mod post;
mod providers;
mod pseudonyms;
mod redis;
mod remote;
mod routes;
mod telemetry;
mod tiers;
mod trace;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use garrison_guard::injection::{Canary, RuleError};
use garrison_guard::{ScanConfig, ScanConfigError, Scanner, Workers};

pub use answer::{Answers, Flow};
pub use audit::Audit;
pub use cache::{
    AnswerCache, CacheCounts, CacheSettings, CacheUse, Compare, Embedder, Keeps, Likened, NotEmbedded,
    Semantic, SemanticCache, SemanticCounts, SemanticSettings,
};
pub use calls::Form;
pub use canonical::digest;
pub use counts::{Count, Counts};
pub use garrison_guard::injection::{Policy, Rule, Topic};
pub use garrison_guard::{
    Action, Budget, Clearance, Cleared, Detector, DetectorError, Operator, Operators, ScanDetector, Side,
    Taint, Tainted,
};
pub use garrison_route::{
    Accepts, Cascade, Language, LastResort, Learning, Micros, Need, Needs, Place, Policy as TierPolicy,
    Prefer, Price, Quality, Scope, Statistic, Task, Threshold, Tier, Tokens, Verdict,
};
pub use journey::{
    Ask, Delivery, Destination, Exhausted, FirstToken, Journey, Keeping, LookedHere, Words, task_of,
};
pub use judge::{Fault, NotJudged};
pub use language::{language, languages};
pub use learning::{Calibrations, Comparison, LabelsError};
pub use limits::{
    Alert, AlertKind, AlertRules, AlertSink, Books, BooksError, KeyLimits, Limited, Meters, MoneyLimit,
    PerKey, PerMinute, Quotas, Room, Spend, Spent, Standing, Tally, TooMany, shown,
};
pub use moderation::Moderation;
pub use policy::{AnswerPolicy, Exception, InAnswers, InRequests, LooksFor, RequestPolicy, Settings};
pub use post::PostError;
pub use providers::continuing::Continues;
pub use providers::vocabulary::vocabulary;
pub use providers::{
    Failure, Heard, Provider, ProviderConfig, ProviderError, ProviderKind, RemoteRequest, Reply,
};
pub use redis::{Redis, RedisError};
pub use remote::Remote;
pub use request::{Judged, Origin, Refusal, Report, Request, Text, Writing};
pub use routes::{OnCut, Route, Routes, Target};
pub use telemetry::{Ended, Parent, Telemetry};
pub use tiers::{RouteCounts, Samples, TierHealth};
pub use trace::{Attempt, Open, Stage, Trace, Traces};

use judge::Judge;
use moderation::Beside;
use verdicts::Verdicts;

/// Why a gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// An entity, or the allow list.
    #[error(transparent)]
    Scan(#[from] ScanConfigError),
    /// A topic or rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// There are no random bytes for the canary.
    #[error("the system gives no random bytes")]
    Random,
}

/// Judges what passes.
pub struct Gateway {
    /// There if anything is judged where there is no exception.
    judge: Option<Arc<Judge>>,
    /// Those of models and routes that have one of their own, or none.
    exceptions: BTreeMap<String, Option<Arc<Judge>>>,
    scan: ScanConfig,
    /// Made when it is first needed, if nothing is judged: it takes a while.
    scanner: OnceLock<Arc<Scanner>>,
    /// What is asked about texts beside the rules.
    beside: Beside,
    workers: Workers,
    counts: Arc<Counts>,
}

/// Threads that judge requests at one time at most, those that were left behind included.
const MAX_WORKING: usize = 64;

/// One that lets everything pass.
impl Default for Gateway {
    fn default() -> Gateway {
        Gateway::open()
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("judges", &self.judge.is_some()).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that lets everything pass, and can still be asked about texts ([`Gateway::moderate`]).
    pub fn open() -> Gateway {
        Gateway {
            judge: None,
            exceptions: BTreeMap::new(),
            scan: ScanConfig::default(),
            scanner: OnceLock::new(),
            beside: Beside::nothing(),
            workers: Workers::new(MAX_WORKING),
            counts: Arc::default(),
        }
    }

    /// A gateway with policies.
    ///
    /// # Errors
    /// If what is looked for cannot be.
    pub fn new(settings: Settings) -> Result<Gateway, GatewayError> {
        let scanner = Arc::new(Scanner::new(&settings.scan)?);
        let counts = Arc::new(Counts::default());
        let canary = Canary::random().map_err(|_| GatewayError::Random)?;
        let (scan, beside) = (settings.scan.clone(), Beside::of(&settings));
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|_| GatewayError::Random)?;
        let judge = |settings: Settings| -> Result<Option<Arc<Judge>>, GatewayError> {
            let judges = settings.judge();
            let (canary, counts) = (canary.clone(), Arc::clone(&counts));
            let judge = Judge::new(settings, Arc::clone(&scanner), canary, counts, Verdicts::new(secret))?;
            Ok(judges.then(|| Arc::new(judge)))
        };
        let names = settings.exceptions.keys();
        let exceptions = names.map(|name| Ok((name.clone(), judge(settings.for_name(name))?)));
        let exceptions = exceptions.collect::<Result<_, GatewayError>>()?;
        Ok(Gateway {
            judge: judge(settings.for_name(""))?,
            exceptions,
            scan,
            scanner: OnceLock::from(scanner),
            beside,
            workers: Workers::new(MAX_WORKING),
            counts,
        })
    }

    /// What judges requests for a model or route, if anything does.
    fn judge_of(&self, model: &str) -> Option<&Arc<Judge>> {
        match self.exceptions.get(model) {
            Some(own) => own.as_ref(),
            None => self.judge.as_ref(),
        }
    }

    /// Whether anything is judged of what is asked of this model or route.
    pub fn judges(&self, model: &str) -> bool {
        self.judge_of(model).is_some()
    }

    /// Whether judging what is asked of this model or route takes only as long as the text is, and waits for nothing.
    pub fn is_quick(&self, model: &str) -> bool {
        self.judge_of(model).is_none_or(|judge| judge.is_quick())
    }

    /// Whether answers of this model or route are changed or ended, so that nothing else may tell what the model wrote:
    /// neither tokens nor their probabilities.
    pub fn hides(&self, model: &str) -> bool {
        self.judge_of(model).is_some_and(|judge| judge.hides())
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn scanner(&self) -> Result<Arc<Scanner>, ScanConfigError> {
        if let Some(scanner) = self.scanner.get() {
            return Ok(Arc::clone(scanner));
        }
        let made = Arc::new(Scanner::new(&self.scan)?);
        Ok(Arc::clone(self.scanner.get_or_init(|| made)))
    }
}
