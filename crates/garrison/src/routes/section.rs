//! A `[[route]]`: tiers, and when which of them is asked.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use garrison_gateway::{
    Cascade, Compare, Continues, LastResort, Need, OnCut, Place, Prefer, Price, Quality, Route, Scope,
    Target, Task, Threshold, Tier, TierPolicy, language, languages,
};
use serde::Deserialize;

use super::cascade::CascadeSection;
use super::provider::{USUAL_CONTEXT, can};
use super::{Names, amount, ms, twins};
use crate::error::Fault;
use crate::guard::exceptions::GuardException;

/// A route, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteSection {
    pub(super) name: String,
    tiers: Vec<String>,
    private: Option<String>,
    prefer: Option<PreferWord>,
    last_resort: Option<LastResortWord>,
    /// Percent that a tier must have at the request's task.
    least_quality: Option<u8>,
    /// Percent that each tier has.
    #[serde(default)]
    quality: BTreeMap<String, QualityWord>,
    /// Shares of an experiment.
    #[serde(default)]
    weights: BTreeMap<String, u32>,
    /// What tiers are asked for, of what they can do.
    #[serde(default)]
    only: BTreeMap<String, OnlySection>,
    /// To the first token.
    timeout_ms: Option<u32>,
    /// Between tokens.
    stall_timeout_ms: Option<u32>,
    /// For the whole request.
    deadline_ms: Option<u32>,
    /// After so long without a token the next tier is asked as well.
    hedge_ms: Option<u32>,
    max_cost_usd: Option<f64>,
    /// When what a model here says is good enough.
    cascade: Option<CascadeSection>,
    /// What becomes of an answer that breaks off.
    on_cut: Option<OnCutWord>,
    /// What is judged otherwise than for all.
    guard: Option<GuardException>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PreferWord {
    Listed,
    Cheapest,
    Fastest,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LastResortWord {
    Local,
    Refuse,
}

/// What a tier is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnlySection {
    /// ISO 639-1's letters.
    languages: Option<Vec<String>>,
    /// At least and at most.
    prompt_tokens: Option<[u64; 2]>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnCutWord {
    Error,
    Continue,
}

/// The same at everything, or by task.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum QualityWord {
    Even(u8),
    ByTask(BTreeMap<String, u8>),
}

impl RouteSection {
    /// Its name, and what is judged otherwise there, if anything is.
    pub(crate) fn exception(&self) -> Option<(&str, &GuardException)> {
        Some((&self.name, self.guard.as_ref()?))
    }

    pub(super) fn resolve(&self, names: &Names<'_>) -> Result<Route, Fault> {
        if self.tiers.is_empty() {
            return Err(self.fault("tiers is empty"));
        }
        twins(&format!("[[route]] \"{}\" tiers", self.name), self.tiers.iter())?;
        let mut tiers = Vec::new();
        let mut targets = Vec::new();
        for name in &self.tiers {
            let (tier, target) = self.tier(name, names)?;
            tiers.push(tier);
            targets.push(target);
        }
        let listed = [
            ("weights", self.weights.keys().collect::<Vec<_>>()),
            ("quality", self.quality.keys().collect()),
            ("only", self.only.keys().collect()),
        ];
        for (key, listed) in listed {
            if let Some(name) = listed.into_iter().find(|name| !self.tiers.contains(name)) {
                return Err(self.fault(&format!("{key} has \"{name}\", which is not among its tiers")));
            }
        }
        let private = match &self.private {
            None if tiers.iter().any(|tier| tier.place == Place::Remote) => {
                return Err(self.fault(
                    "it has tiers elsewhere, so it needs private: the local model for what is not cleared",
                ));
            }
            None => None,
            Some(name) => {
                let (tier, target) = self.tier(name, names)?;
                if tier.place != Place::Local {
                    return Err(self.fault(&format!("private is \"{name}\"; it must be local/MODEL")));
                }
                targets.push(target);
                Some(tier)
            }
        };
        let (cascade, answers) = self.cascade(&tiers)?;
        let policy = TierPolicy {
            cascade,
            tiers,
            private,
            prefer: match self.prefer {
                None | Some(PreferWord::Listed) => Prefer::Listed,
                Some(PreferWord::Cheapest) => Prefer::Cheapest,
                Some(PreferWord::Fastest) => Prefer::Fastest,
            },
            least_quality: self.least_quality.unwrap_or(0),
            max_cost: amount(&format!("[[route]] \"{}\": max_cost_usd", self.name), self.max_cost_usd)?,
            last_resort: match self.last_resort {
                None | Some(LastResortWord::Local) => LastResort::Local,
                Some(LastResortWord::Refuse) => LastResort::Refuse,
            },
        };
        Ok(Route {
            name: self.name.clone(),
            policy,
            targets,
            first_token: ms(self.timeout_ms, 10_000),
            stall: ms(self.stall_timeout_ms, 20_000),
            deadline: ms(self.deadline_ms, 600_000),
            hedge: self.hedge_ms.map(|after| ms(Some(after), 0)),
            on_cut: match self.on_cut {
                None | Some(OnCutWord::Error) => OnCut::Error,
                Some(OnCutWord::Continue) => OnCut::Continue,
            },
            answers,
        })
    }

    fn cascade(&self, tiers: &[Tier]) -> Result<(Option<Cascade>, Compare), Fault> {
        let Some(section) = &self.cascade else { return Ok((None, Compare::Equal)) };
        if tiers.len() < 2 || tiers[0].place != Place::Local {
            return Err(self.fault("cascade needs local/MODEL as the first of tiers, and another after it"));
        }
        if !matches!(self.prefer, None | Some(PreferWord::Listed)) {
            return Err(self.fault("cascade goes by the order of tiers, so prefer must be \"listed\""));
        }
        let (cascade, answers) = section.resolve().map_err(|what| self.fault(&format!("cascade.{what}")))?;
        let here = tiers.iter().skip(1).find(|tier| tier.place == Place::Local);
        if let (Threshold::Learned(_), Some(tier)) = (cascade.threshold, here) {
            // Labels say whether the next tier would have answered otherwise, and that would be weighed itself.
            return Err(self.fault(&format!(
                "cascade.max_error learns from tiers elsewhere, so only the first of tiers may be here; {} is, too",
                tier.name
            )));
        }
        Ok((Some(cascade), answers))
    }

    fn fault(&self, what: &str) -> Fault {
        Fault::usage(format!("[[route]] \"{}\": {what}", self.name))
    }

    fn tier(&self, name: &str, names: &Names<'_>) -> Result<(Tier, Target), Fault> {
        let Some((provider, model)) = name.split_once('/') else {
            return Err(self.fault(&format!("the tier \"{name}\" must be PROVIDER/MODEL or local/MODEL")));
        };
        let quality = self.quality.get(name).map_or(Ok(Quality::even(100)), |word| self.quality_of(word))?;
        let weight = self.weights.get(name).copied().unwrap_or(0);
        let scope = self.only.get(name).map_or(Ok(Scope::default()), |only| self.scope_of(name, only))?;
        let name = name.to_owned();
        if provider == "local" {
            if !names.local.contains(&model) {
                let known = names.local.join(", ");
                return Err(self.fault(&format!(
                    "there is no model \"{model}\" for the tier {name}; there are {known}"
                )));
            }
            // What does not fit or cannot be done it says itself, as for any other client.
            let tier = Tier {
                name,
                place: Place::Local,
                price: Price::FREE,
                context: u32::MAX,
                max_output: None,
                has: Need::ALL.into_iter().filter(|need| *need != Need::Images).collect(),
                quality,
                weight,
                scope,
            };
            return Ok((tier, Target::Local(model.to_owned())));
        }
        let index = names.providers.iter().position(|known| known.name == provider);
        let Some(index) = index else {
            return Err(self.fault(&format!("the tier {name} names no [[provider]]")));
        };
        let section = &names.providers[index];
        let priced = section.price.get(model).and_then(|price| Some((price, price.resolve()?)));
        let Some((priced, price)) = priced else {
            return Err(self.fault(&format!(
                "the tier {name} has no price; add \"{model}\" = {{ input = …, output = … }} to price of [[provider]] \
                 \"{provider}\" (0 if it costs nothing)"
            )));
        };
        let tier = Tier {
            name,
            place: Place::Remote,
            price,
            context: priced.context.unwrap_or(USUAL_CONTEXT),
            max_output: priced.max_output.map(NonZeroU32::get),
            has: can(&section.kind, priced),
            quality,
            weight,
            scope,
        };
        let continues = if priced.prefill { Continues::FromPrefix } else { Continues::WhenTold };
        Ok((tier, Target::Remote { provider: index, model: model.to_owned(), continues }))
    }

    fn scope_of(&self, tier: &str, only: &OnlySection) -> Result<Scope, Fault> {
        let mut scope = Scope::default();
        for code in only.languages.iter().flatten() {
            let Some(known) = language(code) else {
                let known: Vec<String> = languages().map(|language| language.code().to_owned()).collect();
                let known = known.join(", ");
                return Err(self.fault(&format!("only.\"{tier}\".languages has \"{code}\"; known: {known}")));
            };
            scope.languages.push(known);
        }
        if only.languages.as_ref().is_some_and(Vec::is_empty) {
            return Err(self.fault(&format!("only.\"{tier}\".languages is empty")));
        }
        if let Some([least, most]) = only.prompt_tokens {
            if least > most {
                return Err(
                    self.fault(&format!("only.\"{tier}\".prompt_tokens has more at least than at most"))
                );
            }
            scope.prompt_tokens = least..=most;
        }
        Ok(scope)
    }

    fn quality_of(&self, word: &QualityWord) -> Result<Quality, Fault> {
        let by_task = match word {
            QualityWord::Even(percent) => return Ok(Quality::even(*percent)),
            QualityWord::ByTask(by_task) => by_task,
        };
        let known = |name: &str| Task::ALL.into_iter().find(|task| task.name() == name);
        let mut quality = Quality::even(100);
        for (name, percent) in by_task {
            let Some(task) = known(name) else {
                let tasks = Task::ALL.map(Task::name).join(", ");
                return Err(self.fault(&format!("quality knows no task \"{name}\"; known: {tasks}")));
            };
            quality.0[task as usize] = *percent;
        }
        Ok(quality)
    }
}
