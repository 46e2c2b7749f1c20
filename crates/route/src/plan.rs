//! The plan: which tiers are asked in which order, and why not the others.

use serde::Serialize;

use crate::afford::{afford, expected};
use crate::breaker::Admission;
use crate::money::Micros;
use crate::policy::{Language, LastResort, Need, Needs, Place, Policy, Prefer, Task, Tier};

/// Whether a request may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// Nothing is known against it. Each tier's exact bytes are still judged before they are sent.
    Clear,
    /// It stays here.
    Held,
}

/// What is known of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Tokens of the prompt, estimated.
    pub prompt_tokens: u64,
    /// Tokens that it cannot have more of, whatever the tokenizer: its bytes.
    pub most_prompt_tokens: u64,
    /// Tokens of the answer at most, if the client said so.
    pub output_tokens: Option<u64>,
    /// Answers.
    pub choices: u64,
    /// What kind of work it is.
    pub task: Task,
    /// The language that it is in, where a tier is chosen by it and it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// What it wants of a tier.
    #[serde(skip)]
    pub needs: Needs,
    /// Whether it may leave.
    pub privacy: Privacy,
    /// What its key may still spend, if there is a limit.
    pub budget: Option<Micros>,
    /// The same for all requests of one user, so that an experiment shows each of them one side.
    #[serde(skip)]
    pub sticky: u64,
}

/// How a tier does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierState {
    /// What its breaker says.
    pub breaker: Admission,
    /// Its recent time to the first token, in microseconds, if it has answered.
    pub first_token_us: Option<u64>,
    /// Whether its answer to this request broke off, so that somebody else has to go on with it.
    pub broke_off: bool,
}

/// What of a tier's answer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Accepts {
    /// Whatever it says.
    Anything,
    /// What it is sure of, by the policy's cascade; else the next is asked.
    WhatIsSure,
}

/// A tier to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its place in [`Policy::tiers`], or as many as there are for the private one.
    pub tier: usize,
    /// Tokens of the answer at most, if a limit of money says so or the client does.
    pub output_tokens: Option<u64>,
    /// The most that it can cost: to be reserved before it is asked.
    pub reserve: Micros,
    /// What of its answer is taken.
    pub accepts: Accepts,
}

/// Why a tier is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Skipped {
    /// The request stays here, and the tier is elsewhere.
    NotCleared,
    /// It cannot do what the request wants.
    Lacks {
        /// What.
        need: Need,
    },
    /// Prompt and answer do not fit, or its answers are shorter than what is asked for.
    TooLong,
    /// It is not asked in this language.
    Language,
    /// It is not asked for prompts of this length.
    PromptLength,
    /// It is not good enough at this.
    Quality,
    /// It would cost more than one request may.
    RequestCap,
    /// It would cost more than the key may still spend.
    Budget,
    /// It failed lately, or asked to be left alone.
    Breaker {
        /// What the breaker says.
        breaker: Admission,
    },
    /// It is this tier's answer that broke off.
    BrokeOff,
}

/// What was thought of one tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Its name.
    pub tier: String,
    /// Where it is.
    pub place: Place,
    /// What this request is expected to cost there.
    pub expected: Micros,
    /// Its quality at this task, in percent.
    pub quality: u8,
    /// Its recent time to the first token, in microseconds.
    pub first_token_us: Option<u64>,
    /// The outcome.
    #[serde(flatten)]
    pub considered: Considered,
}

/// The outcome for one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Considered {
    /// It is asked.
    Taken {
        /// When: 0 is first.
        position: usize,
    },
    /// It is asked if nothing else answers, although it would not be taken otherwise.
    LastResort {
        /// When.
        position: usize,
        /// Why it would not be.
        unless: Option<Skipped>,
    },
    /// It is the private one, to which what is held goes first.
    Private {
        /// When.
        position: usize,
    },
    /// It is not asked.
    Skipped(Skipped),
    /// It is the private one, and nothing is held; or it is that one again, listed.
    NotNeeded,
}

/// Tiers in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What is done.
    pub steps: Vec<Step>,
    /// Why: one for each tier of the policy in its order, the private one last.
    pub decisions: Vec<Decision>,
}

impl Plan {
    /// The step that is asked beside the one at `position` while that is slow: the one that would follow it, if both are
    /// elsewhere. A model here is not set to work on what somebody else may be about to answer.
    pub fn beside(&self, position: usize, policy: &Policy) -> Option<Step> {
        let is_remote =
            |step: &Step| policy.tiers.get(step.tier).is_some_and(|tier| tier.place == Place::Remote);
        self.steps.get(position).filter(|step| is_remote(step))?;
        self.steps.get(position + 1).filter(|step| is_remote(step)).copied()
    }
}

/// Plans a request. `states` has the tiers of the policy in its order, then the private one.
///
/// A route with a local tier always has a plan, but where its last resort is to refuse.
pub fn plan(features: &Features, policy: &Policy, states: &[TierState]) -> Plan {
    let tiers: Vec<&Tier> = policy.tiers.iter().chain(&policy.private).collect();
    let listed = policy.tiers.len();
    let judged: Vec<Result<Step, Skipped>> =
        (0..tiers.len()).map(|i| judge(features, policy, i, tiers[i], states.get(i).copied())).collect();
    let mut order: Vec<usize> = (0..listed).filter(|i| judged[*i].is_ok()).collect();
    sort(&mut order, features, policy, states);
    draw(&mut order, features, &policy.tiers);

    let held = features.privacy == Privacy::Held;
    let broke_off = |i: usize| states.get(i).is_some_and(|state| state.broke_off);
    if held
        && let Some(private) = policy.private.as_ref().filter(|tier| sees(tier, features))
        && !broke_off(listed)
    {
        order.retain(|i| policy.tiers[*i].name != private.name);
        order.insert(0, listed);
    }
    let last = last_resort(&order, features, policy, broke_off);
    order.extend(last);

    let mut steps: Vec<Step> =
        order.iter().map(|i| judged[*i].unwrap_or_else(|_| free(*i, features))).collect();
    if policy.cascade.is_some() && !held {
        weigh_all_but_the_last(&mut steps, last, &tiers);
    }
    let decisions = (0..tiers.len()).map(|i| {
        let position = order.iter().position(|taken| *taken == i);
        let considered = match (position, judged[i]) {
            (Some(position), _) if held && i == listed => Considered::Private { position },
            (Some(position), outcome) if last == Some(i) => {
                Considered::LastResort { position, unless: outcome.err() }
            }
            (Some(position), _) => Considered::Taken { position },
            (None, Err(why)) => Considered::Skipped(why),
            (None, Ok(_)) => Considered::NotNeeded,
        };
        Decision {
            tier: tiers[i].name.clone(),
            place: tiers[i].place,
            expected: expected(features, tiers[i]),
            quality: tiers[i].quality.at(features.task),
            first_token_us: states.get(i).and_then(|state| state.first_token_us),
            considered,
        }
    });
    Plan { decisions: decisions.collect(), steps }
}

/// Whether a tier will do.
fn judge(
    features: &Features,
    policy: &Policy,
    index: usize,
    tier: &Tier,
    state: Option<TierState>,
) -> Result<Step, Skipped> {
    if tier.place == Place::Remote && features.privacy == Privacy::Held {
        return Err(Skipped::NotCleared);
    }
    if let Some(need) = features.needs.lacking_in(tier.has) {
        return Err(Skipped::Lacks { need });
    }
    let length = features.prompt_tokens.saturating_add(features.output_tokens.unwrap_or(0));
    let longest = tier.max_output.unwrap_or(u32::MAX);
    if length > u64::from(tier.context)
        || features.output_tokens.is_some_and(|most| most > u64::from(longest))
    {
        return Err(Skipped::TooLong);
    }
    if !tier.scope.speaks(features.language) {
        return Err(Skipped::Language);
    }
    if !tier.scope.prompt_tokens.contains(&features.prompt_tokens) {
        return Err(Skipped::PromptLength);
    }
    if tier.quality.at(features.task) < policy.least_quality {
        return Err(Skipped::Quality);
    }
    let step = afford(features, policy, index, tier)?;
    match state {
        Some(TierState { broke_off: true, .. }) => Err(Skipped::BrokeOff),
        Some(TierState { breaker, .. }) if !breaker.admits() => Err(Skipped::Breaker { breaker }),
        _ => Ok(step),
    }
}

/// A local tier that is asked whatever is against it; it says itself what does not fit.
fn free(index: usize, features: &Features) -> Step {
    let output_tokens = features.output_tokens;
    Step { tier: index, output_tokens, reserve: Micros(0), accepts: Accepts::Anything }
}

/// What a model here says is weighed if somebody comes after it who may know better. A last resort is nobody who does.
fn weigh_all_but_the_last(steps: &mut [Step], last_resort: Option<usize>, tiers: &[&Tier]) {
    let better = steps.iter().rposition(|step| last_resort != Some(step.tier)).unwrap_or(0);
    for step in &mut steps[..better] {
        if tiers[step.tier].place == Place::Local {
            step.accepts = Accepts::WhatIsSure;
        }
    }
}

fn sort(order: &mut [usize], features: &Features, policy: &Policy, states: &[TierState]) {
    // What has never answered counts as fast, so that it is tried.
    let speed = |i: usize| states.get(i).and_then(|state| state.first_token_us).unwrap_or(0);
    let cost = |i: usize| expected(features, &policy.tiers[i]);
    match policy.prefer {
        Prefer::Listed => {}
        Prefer::Cheapest => order.sort_by_key(|i| (cost(*i), speed(*i))),
        Prefer::Fastest => order.sort_by_key(|i| (speed(*i), cost(*i))),
    }
}

/// Puts the tier first that an experiment gives this user: weighted rendezvous hashing (C. Schindelhauer and
/// G. Schomaker, "Weighted distributed hash tables", 2005), so that when a tier is away only its users move.
fn draw(order: &mut Vec<usize>, features: &Features, tiers: &[Tier]) {
    let score = |i: usize| {
        let tier = &tiers[i];
        (tier.weight > 0).then(|| -unit(mix(features.sticky, &tier.name)).ln() / f64::from(tier.weight))
    };
    let scored = order.iter().enumerate().filter_map(|(at, i)| Some((at, score(*i)?)));
    if let Some((at, _)) = scored.min_by(|(_, a), (_, b)| a.total_cmp(b)) {
        let drawn = order.remove(at);
        order.insert(0, drawn);
    }
}

/// FNV-1a over the name, then the finalizer of MurmurHash3: the same in every build, unlike the standard hasher.
fn mix(sticky: u64, name: &str) -> u64 {
    let mut hash = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ sticky, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    for multiplier in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(multiplier);
    }
    hash ^ (hash >> 33)
}

/// A hash as a number above 0 and at most 1.
fn unit(hash: u64) -> f64 {
    ((hash >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Whether a tier can see what the request shows.
fn sees(tier: &Tier, features: &Features) -> bool {
    !features.needs.has(Need::Images) || tier.has.has(Need::Images)
}

/// The local tier that is asked when nothing else has answered, if none is in the plan yet. One that cannot see what the
/// request shows is of no use, nor is one whose answer it is that broke off.
fn last_resort(
    order: &[usize],
    features: &Features,
    policy: &Policy,
    broke_off: impl Fn(usize) -> bool,
) -> Option<usize> {
    let held = features.privacy == Privacy::Held;
    let listed = policy.tiers.len();
    let is_local = |i: &usize| *i == listed || policy.tiers[*i].place == Place::Local;
    if order.iter().any(is_local) || (policy.last_resort == LastResort::Refuse && !held) {
        return None;
    }
    let private = policy.private.as_ref().filter(|_| !broke_off(listed));
    match private {
        Some(private) => sees(private, features).then_some(listed),
        None => (0..listed).find(|i| is_local(i) && sees(&policy.tiers[*i], features) && !broke_off(*i)),
    }
}
