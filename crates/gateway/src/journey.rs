//! One request's way along its plan.
//!
//! A [`Journey`] asks one tier after the other until one has said something that a client would see, and gives that
//! answer, or the name of a local model, which whoever called runs by itself. Until then everything that goes wrong
//! leads to the next tier; from then on it is an error that the client is told.
//!
//! What a provider is sent is judged anew for each attempt, as exact bytes, with a receipt for each. A refusal holds
//! the request: it is planned again, and goes to local tiers from then on.

mod ask;
mod cascade;
mod continuing;
mod hedge;
mod kept;
mod purse;
mod timing;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use garrison_guard::{Clearance, Cleared, Outgoing, Taint, Tainted};
use garrison_route::{
    Accepts, Admission, Considered, Decision, Features, Micros, Need, Plan, Policy, Price, Privacy, Skipped,
    Step, Tier, TierState, plan,
};
use tokio::time::{Instant, timeout_at};

use crate::language;
use crate::learning::Comparison;
use crate::limits::NotReserved;
use crate::providers::continuing::Unfinished;
use crate::providers::{Failure, Patience, RemoteRequest};
use crate::remote::{Origin, Remote, Settling, Source, Terms};
use crate::routes::{DEFAULT_REST, Route, Routes, Target};
use crate::trace::Open;
use ask::Size;
pub(crate) use ask::Thoughts;
pub use ask::{Ask, Delivery, Words, task_of};
use kept::Looked;
pub use kept::{Keeping, LookedHere};
pub(crate) use purse::Portion;
use purse::{Purse, Share};
pub use timing::FirstToken;

/// Who answers.
pub enum Destination {
    /// A model here, which whoever called runs.
    Local {
        /// Its name.
        model: String,
        /// The tier's.
        tier: String,
        /// What of its answer is taken: where not all is, [`Journey::weigh`] says.
        accepts: Accepts,
    },
    /// A provider.
    Remote(Box<Remote>),
    /// The answer of a model here that was weighed and is in hand: nobody better answers.
    InHand,
}

/// Nobody answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// The key's budget has no room, and no local model may answer.
    #[error("the budget of this key is used up")]
    Budget,
    /// It would cost more than a request may.
    #[error("this request would cost more than its route or key allows for one")]
    RequestCap,
    /// All tiers want fewer requests.
    #[error("every provider of this route is asked too often")]
    RateLimited(Duration),
    /// The time is over.
    #[error("the time for this request was over before a tier had answered")]
    Deadline,
    /// There are images, and no tier that may be asked takes any.
    #[error("messages holds an image, and no tier of this route that may be asked takes images")]
    Images,
    /// Tiers failed, or none will do.
    #[error("no tier of this route could answer: {0}")]
    Failed(String),
}

/// One request's way along its plan.
pub struct Journey {
    routes: Arc<Routes>,
    route: Arc<Route>,
    ask: Arc<Ask>,
    /// How long what is asked is; for that it has to be written as JSON, so not each time it is planned.
    size: Size,
    plan: Plan,
    /// By which it was planned last.
    features: Features,
    position: usize,
    /// What it may still cost.
    purse: Arc<Purse>,
    /// The tier here whose answer there is, though it was not sure of it.
    in_hand: Option<String>,
    /// There if that answer is compared with the next tier's.
    comparison: Option<Comparison>,
    /// What was said before an answer broke off; empty if none has.
    said: Arc<str>,
    /// Tiers whose answers broke off.
    broke_off: Vec<String>,
    /// Attempts elsewhere so far.
    asked: AtomicUsize,
    deadline: Instant,
    trace: Open,
    failures: Vec<Failure>,
}

impl Routes {
    /// Sets out with a request.
    pub fn begin(self: &Arc<Self>, route: &Arc<Route>, ask: Ask) -> Journey {
        self.earn_attempt(&route.name);
        let trace = self.traces.open(&ask.id, &route.name);
        let deadline = Instant::now() + route.deadline;
        let privacy = if ask.taint == Taint::Clean { Privacy::Clear } else { Privacy::Held };
        let chooses = route.policy.tiers.iter().any(|tier| !tier.scope.languages.is_empty());
        let own = self.spend.as_ref().and_then(|spend| spend.max_cost(&ask.key));
        let features = Features {
            prompt_tokens: 0,
            most_prompt_tokens: 0,
            output_tokens: ask.output_tokens,
            choices: ask.choices as u64,
            task: ask.task,
            language: if chooses { language::of_chat(&ask.chat) } else { None },
            needs: ask.needs,
            privacy,
            budget: None,
            sticky: ask.sticky,
        };
        let mut journey = Journey {
            routes: Arc::clone(self),
            route: Arc::clone(route),
            size: ask.size(),
            ask: Arc::new(ask),
            plan: Plan { steps: Vec::new(), decisions: Vec::new() },
            features,
            position: 0,
            purse: Purse::new(own.into_iter().chain(route.policy.max_cost).min()),
            in_hand: None,
            comparison: None,
            said: Arc::from(""),
            broke_off: Vec::new(),
            asked: AtomicUsize::new(0),
            deadline,
            trace,
            failures: Vec::new(),
        };
        journey.make_plan(privacy);
        journey
    }
}

impl Journey {
    /// Plans the way from here on.
    fn make_plan(&mut self, privacy: Privacy) {
        let said = continuing::tokens(&self.said);
        let features = Features {
            prompt_tokens: self.size.usual + said.usual,
            most_prompt_tokens: self.size.most + said.most,
            output_tokens: self.ask.output_tokens.map(|most| continuing::left(most, &self.said)),
            privacy,
            budget: self.routes.spend.as_ref().and_then(|spend| spend.left(&self.ask.key)),
            ..self.features
        };
        self.features = features;
        let policy = &self.policy();
        let tiers = policy.tiers.iter().chain(&policy.private);
        let state = |tier: &Tier| TierState {
            broke_off: self.broke_off.contains(&tier.name),
            ..self.routes.state(&tier.name)
        };
        let states: Vec<TierState> = tiers.map(state).collect();
        self.plan = plan(&features, policy, &states);
        self.position = 0;
        let mut trace = self.trace.lock();
        trace.features = Some(features);
        trace.decisions = self.plan.decisions.clone();
        trace.note("planned", None, None);
    }

    /// The route's policy, under what the request may still cost.
    fn policy(&self) -> Cow<'_, Policy> {
        let (policy, left) = (&self.route.policy, self.purse.left());
        if left == policy.max_cost {
            Cow::Borrowed(policy)
        } else {
            Cow::Owned(Policy { max_cost: left, ..policy.clone() })
        }
    }

    /// The next answer. Asked again when a local model could not answer.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn next(&mut self) -> Result<Destination, Exhausted> {
        while let Some(step) = self.plan.steps.get(self.position).copied() {
            if let Some(in_hand) = self.in_hand_if_it_stays() {
                return Ok(in_hand);
            }
            self.position += 1;
            let Some(tier) = self.tier(step).map(|tier| tier.name.clone()) else { continue };
            match self.route.targets.get(step.tier).cloned() {
                None => {}
                Some(Target::Local(model)) => {
                    let mut trace = self.trace.lock();
                    trace.note("local", Some(&tier), None);
                    (trace.tier, trace.privacy) = (Some(tier.clone()), Some("local"));
                    drop(trace);
                    // Nobody sees whether what goes on with an answer is sure of it.
                    let accepts = if self.said.is_empty() { step.accepts } else { Accepts::Anything };
                    if accepts == Accepts::Anything {
                        self.count(&tier);
                    }
                    return Ok(Destination::Local { model, tier, accepts });
                }
                Some(Target::Remote { .. }) => {
                    if let Some(remote) = self.ask_elsewhere(step).await {
                        self.count(remote.tier());
                        return Ok(Destination::Remote(Box::new(remote)));
                    }
                }
            }
        }
        if let Some(in_hand) = self.take_in_hand() {
            return Ok(in_hand);
        }
        let exhausted = self.exhausted();
        self.routes.counts.request(&self.route.name, "none");
        self.trace.lock().outcome = Some(exhausted.to_string());
        Err(exhausted)
    }

    /// Counts who answers.
    fn count(&self, tier: &str) {
        let counts = &self.routes.counts;
        // Whoever goes on with an answer is not who answers.
        if self.said.is_empty() {
            counts.request(&self.route.name, tier);
        }
        // Going to a model here because the request is held is no fallback.
        if self.failures.iter().any(|failure| *failure != Failure::NotCleared) {
            counts.fallback(&self.route.name);
        }
    }

    /// A model here has begun to answer.
    pub fn answered_here(&self) {
        self.trace.lock().outcome = Some("answered".into());
    }

    /// What becomes of it.
    pub fn trace(&self) -> Open {
        self.trace.clone()
    }

    /// What the request has cost so far.
    pub fn cost(&self) -> Micros {
        self.trace.lock().cost_micro_usd
    }

    /// A model here could not answer; the next tier may.
    pub fn failed_here(&mut self, tier: &str, why: String) {
        let failure = Failure::Here(why);
        self.trace.lock().note("failed", Some(tier), Some(failure.to_string()));
        self.failures.push(failure);
    }

    /// Whether somebody is asked after whoever was asked last.
    pub fn has_next(&self) -> bool {
        self.position < self.plan.steps.len()
    }

    /// When the time for the request is over.
    pub fn deadline(&self) -> std::time::Instant {
        self.deadline.into_std()
    }

    /// The tier of a step: one of the listed, or the private one, which is behind them.
    fn tier(&self, step: Step) -> Option<&Tier> {
        let policy = &self.route.policy;
        policy.tiers.get(step.tier).or(policy.private.as_ref())
    }

    /// Its name.
    fn name(&self, step: Step) -> &str {
        self.tier(step).map_or("", |tier| &tier.name)
    }

    fn note_failure(&mut self, step: Step, failure: Failure) {
        self.trace.lock().note("failed", Some(self.name(step)), Some(failure.to_string()));
        if failure == Failure::NotCleared {
            self.make_plan(Privacy::Held);
        }
        self.failures.push(failure);
    }

    /// Asks a provider, until there is something to show.
    async fn attempt(&self, step: Step, share: Share) -> Result<Remote, Failure> {
        let (routes, tier) = (&self.routes, self.name(step));
        let Some(Target::Remote { provider, model, continues }) = self.route.targets.get(step.tier) else {
            return Err(Failure::Misdirected);
        };
        let provider = routes.providers.get(*provider).ok_or(Failure::Misdirected)?;
        let (step, portion) = self.afford(step, share)?;
        if Instant::now() >= self.deadline {
            return Err(Failure::Deadline);
        }
        if self.is_retry() && !routes.spend_attempt(&self.route.name) {
            return Err(Failure::Attempts);
        }
        let unfinished = Unfinished { said: &self.said, continues: *continues };
        let request = provider.request(&self.ask, &unfinished, model, step.output_tokens)?;
        let cleared = self.clear(request, tier).await?;
        let origin = Origin {
            tier: tier.to_owned(),
            provider: provider.name().to_owned(),
            receipt: cleared.receipt(),
        };
        let leader = match self.look_up(tier, step).await? {
            Looked::Answer(kept, how) => {
                return Ok(self.answer_again(&kept, how, origin).compared_in(self.comparison(tier)));
            }
            Looked::Lead(leader) => Some(leader),
            Looked::Off => None,
        };
        let mut settling = self.enter(step, tier, portion).await?;
        settling.asked();
        self.asked.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let patience = Patience::new(self.route.first_token, self.route.deadline, self.deadline);
        let reply = match provider.send(cleared, &patience, settling.taken()).await {
            Ok(reply) => reply,
            Err(failure) => {
                settling.fail(&failure);
                return Err(failure);
            }
        };
        let source = Source::Live(Box::new(reply), leader);
        let remote = Remote::new(source, settling, origin, &self.route, self.deadline);
        let mut remote = remote.compared_in(self.comparison(tier));
        remote.until_shown(&patience).await?;
        routes.note_speed(tier, begun.elapsed());
        self.trace.lock().note("first_token", Some(tier), None);
        Ok(remote)
    }

    /// Whether one more attempt is one after something went wrong, or beside something slow. After one that was refused it is
    /// none: that tier does well, and this request is for another.
    fn is_retry(&self) -> bool {
        let refused = self.failures.iter().filter(|failure| matches!(failure, Failure::Rejected(_))).count();
        self.asked.load(Ordering::Relaxed) > refused
    }

    /// Takes the right to ask a tier, and the money for it.
    async fn enter(&self, step: Step, tier: &str, portion: Portion) -> Result<Settling, Failure> {
        let ticket = self.routes.enter(tier).ok_or(Failure::Breaker)?;
        let terms = Terms {
            tier: tier.to_owned(),
            price: self.tier(step).map_or(Price::FREE, |tier| tier.price),
            ticket: Some(ticket),
            portion: Some(portion),
            choices: self.ask.choices,
            prompt: self.features.most_prompt_tokens.div_ceil(3),
            output: step.output_tokens.map(|most| most.saturating_mul(self.features.choices)),
            thoughts: self.ask.thoughts(),
            tally: Arc::clone(&self.ask.tally),
        };
        // Before anything is waited for, so that the ticket is given back whatever happens.
        let mut settling = Settling::new(&self.routes, &self.trace, terms);
        if let Some(spend) = self.routes.spend() {
            let reserved = spend.reserve(&self.ask.key, tier, step.reserve).await;
            settling.hold(reserved.map_err(|refused| match refused {
                NotReserved::Budget => Failure::Budget,
                NotReserved::Books => Failure::Books,
            })?);
        }
        Ok(settling)
    }

    /// Has exact bytes judged on their way to a tier.
    async fn clear(&self, request: RemoteRequest, tier: &str) -> Result<Cleared<RemoteRequest>, Failure> {
        let Some(clearance) = self.routes.clearance.clone() else { return Err(Failure::NotCleared) };
        let bytes = request.bytes().len();
        let outgoing = Tainted::new(request, self.ask.taint);
        let judged = if clearance.is_quick(bytes) {
            // Names of what was found, or of the detector that could not tell; never content.
            clearance.judge(outgoing, tier).map_err(|refused| refused.to_string())
        } else {
            self.judge_elsewhere(clearance, outgoing, tier).await
        };
        match judged {
            Ok(cleared) => {
                let mut trace = self.trace.lock();
                trace.receipts.push(cleared.receipt());
                trace.note("cleared", Some(tier), None);
                Ok(cleared)
            }
            Err(why) => {
                self.routes.counts.attempt(tier, Failure::NotCleared.code());
                self.trace.lock().note("held", Some(tier), Some(why));
                Err(Failure::NotCleared)
            }
        }
    }

    /// Judges on a thread that may wait, or tells why it could not.
    async fn judge_elsewhere(
        &self,
        clearance: Arc<Clearance>,
        outgoing: Tainted<RemoteRequest>,
        tier: &str,
    ) -> Result<Cleared<RemoteRequest>, String> {
        let (places, whom) = (Arc::clone(&self.routes.judging), tier.to_owned());
        let judging = async move {
            let place = places.acquire_owned().await;
            tokio::task::spawn_blocking(move || {
                // Held until it is judged, also if nobody waits for that any more.
                let _place = place;
                clearance.judge(outgoing, &whom)
            })
            .await
        };
        match timeout_at(self.deadline, judging).await {
            Ok(Ok(judged)) => judged.map_err(|refused| refused.to_string()),
            Ok(Err(_)) => Err("a detector panicked".to_owned()),
            Err(_) => Err("judging took longer than the request had".to_owned()),
        }
    }

    fn exhausted(&self) -> Exhausted {
        if Instant::now() >= self.deadline {
            return Exhausted::Deadline;
        }
        let lacks_images = |decision: &Decision| {
            matches!(
                decision.considered,
                Considered::Skipped(Skipped::Lacks { need: Need::Images } | Skipped::NotCleared)
            )
        };
        if self.ask.needs.has(Need::Images) && self.plan.decisions.iter().all(lacks_images) {
            return Exhausted::Images;
        }
        let mut rests = Vec::new();
        let mut other = false;
        // Where somebody was asked and failed, that is why nobody answers: he may the next time.
        let is_capped = self.failures.iter().all(|failure| *failure == Failure::RequestCap);
        for failure in &self.failures {
            match failure {
                Failure::Budget => return Exhausted::Budget,
                Failure::RequestCap if is_capped => return Exhausted::RequestCap,
                Failure::RequestCap => {}
                Failure::RateLimited(time) => rests.push(time.unwrap_or(DEFAULT_REST)),
                _ => other = true,
            }
        }
        for decision in &self.plan.decisions {
            let Considered::Skipped(why) = decision.considered else { continue };
            match why {
                Skipped::Budget => return Exhausted::Budget,
                Skipped::RequestCap if is_capped => return Exhausted::RequestCap,
                Skipped::RequestCap => {}
                Skipped::Breaker { breaker: Admission::Resting { retry_in_ms } } => {
                    rests.push(Duration::from_millis(retry_in_ms));
                }
                _ => other = true,
            }
        }
        // The first that comes back decides when it is worth asking again.
        if let (false, Some(wait)) = (other, rests.into_iter().min()) {
            return Exhausted::RateLimited(wait);
        }
        let reasons: Vec<String> = self.failures.iter().map(Failure::to_string).collect();
        Exhausted::Failed(if reasons.is_empty() { "none of them will do".into() } else { reasons.join("; ") })
    }
}
