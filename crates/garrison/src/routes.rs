//! `[[provider]]` and `[[route]]` of garrison.toml: where requests go. Everything
//! is checked at the start, names that lead nowhere and variables that are not set included.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use garrison_gateway::{
    Cascade, Clearance, Continues, LastResort, Micros, Need, Needs, OnCut, Place, Prefer, Price, Provider,
    ProviderConfig, ProviderKind, Quality, Route, Routes, Scope, Spend, Statistic, Target, Task, Tier,
    TierPolicy, language, languages,
};
use serde::Deserialize;

use crate::error::Fault;
use crate::guard::exceptions::GuardException;

/// A provider, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderSection {
    name: String,
    kind: String,
    base_url: String,
    /// The environment variable with its key.
    api_key_env: Option<String>,
    /// An authority of the owner's own, in PEM.
    ca_file: Option<PathBuf>,
    connect_timeout_ms: Option<u32>,
    /// Its models.
    #[serde(default)]
    price: BTreeMap<String, PriceSection>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceSection {
    /// US dollars per million tokens.
    input: f64,
    output: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    /// Tokens of prompt and answer.
    context: Option<u32>,
    /// Whether it takes pictures, and may: nobody looks into them before they leave.
    #[serde(default)]
    images: bool,
    /// Whether it goes on with a last turn of the assistant's.
    #[serde(default)]
    prefill: bool,
}

/// A route, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteSection {
    name: String,
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

/// A cascade, as it is written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CascadeSection {
    /// The probability that an answer's must come to.
    least_confidence: f64,
    by: Option<ByWord>,
    /// The share of tokens that are less sure than the one that counts.
    quantile: Option<f64>,
    /// Decides after so many tokens.
    after_tokens: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ByWord {
    Quantile,
    Mean,
}

/// Of all tokens this share is less sure than the one that counts, unless the owner says otherwise.
const USUAL_QUANTILE: f64 = 0.1;

/// The same at everything, or by task.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum QualityWord {
    Even(u8),
    ByTask(BTreeMap<String, u8>),
}

/// All of it, checked.
#[derive(Debug, Default)]
pub(crate) struct RouteSettings {
    routes: Vec<Route>,
    providers: Vec<ProviderConfig>,
}

/// What a tier's name is looked up in.
struct Names<'a> {
    providers: &'a [ProviderSection],
    local: &'a [&'a str],
}

impl RouteSettings {
    /// Checks the sections. `local` are the names of models and adapters here, `variable` is the environment.
    ///
    /// # Errors
    /// If one of them is wrong; the sentence names the section and the key.
    pub(crate) fn resolve(
        providers: &[ProviderSection],
        routes: &[RouteSection],
        local: &[&str],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<RouteSettings, Fault> {
        twins("[[provider]]", providers.iter().map(|provider| &provider.name))?;
        twins("[[route]]", routes.iter().map(|route| &route.name))?;
        let names = Names { providers, local };
        Ok(RouteSettings {
            routes: routes.iter().map(|route| route.resolve(&names)).collect::<Result<_, _>>()?,
            providers: providers
                .iter()
                .map(|provider| provider.resolve(variable))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether a route has a tier elsewhere.
    pub(crate) fn leave(&self) -> bool {
        let targets = self.routes.iter().flat_map(|route| &route.targets);
        targets.into_iter().any(|target| matches!(target, Target::Remote { .. }))
    }

    /// The routes' names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| route.name.as_str())
    }

    /// The routes themselves. Nothing is sent.
    ///
    /// # Errors
    /// If a provider cannot be set up.
    pub(crate) fn open(&self, clearance: Option<Clearance>, spend: Option<Spend>) -> Result<Routes, Fault> {
        let provider = |config: &ProviderConfig| {
            Provider::new(config.clone())
                .map_err(|e| Fault::usage(format!("[[provider]] \"{}\": {e}", config.name)))
        };
        let providers = self.providers.iter().map(provider).collect::<Result<Vec<_>, Fault>>()?;
        Ok(Routes::new(self.routes.clone(), providers, clearance, spend))
    }
}

fn twins<'a>(section: &str, names: impl Iterator<Item = &'a String>) -> Result<(), Fault> {
    let mut seen = Vec::new();
    for name in names {
        if name.is_empty() || name.contains(['/', ' ']) && section == "[[provider]]" || name == "local" {
            return Err(Fault::usage(format!(
                "{section}: \"{name}\" cannot be a name; it must not be empty, \"local\" or, of a provider, have \
                 slashes or spaces"
            )));
        }
        if seen.contains(&name) {
            return Err(Fault::usage(format!("{section}: two are called \"{name}\"")));
        }
        seen.push(name);
    }
    Ok(())
}

fn amount(key: &str, usd: Option<f64>) -> Result<Option<Micros>, Fault> {
    let Some(usd) = usd else { return Ok(None) };
    Micros::from_usd(usd)
        .map(Some)
        .ok_or_else(|| Fault::usage(format!("{key} is {usd}; it must be an amount in US dollars")))
}

impl ProviderSection {
    fn resolve(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<ProviderConfig, Fault> {
        let fault = |what: String| Fault::usage(format!("[[provider]] \"{}\": {what}", self.name));
        let kind = match self.kind.as_str() {
            "openai" => ProviderKind::OpenAi,
            "openai-responses" => ProviderKind::Responses,
            "anthropic" => ProviderKind::Anthropic,
            other => {
                let known = "openai, openai-responses, anthropic";
                return Err(fault(format!("kind \"{other}\" is not known; known: {known}")));
            }
        };
        let api_key = match &self.api_key_env {
            None => None,
            Some(name) => match variable(name).filter(|key| !key.trim().is_empty()) {
                Some(key) => Some(key.trim().to_owned()),
                None => {
                    return Err(fault(format!(
                        "api_key_env names {name}, which is not set in the environment"
                    )));
                }
            },
        };
        let ca_pem = match &self.ca_file {
            None => None,
            Some(path) => {
                Some(fs::read(path).map_err(|e| fault(format!("ca_file {}: {e}", path.display())))?)
            }
        };
        for (model, price) in &self.price {
            price
                .resolve()
                .ok_or_else(|| fault(format!("the price of \"{model}\" must be amounts in US dollars")))?;
        }
        Ok(ProviderConfig {
            name: self.name.clone(),
            kind,
            base_url: self.base_url.clone(),
            api_key,
            ca_pem,
            connect_timeout: ms(self.connect_timeout_ms, 2000),
        })
    }
}

impl PriceSection {
    fn resolve(&self) -> Option<Price> {
        Price::from_usd_per_million(self.input, self.output)?.cached(self.cached_input, self.cache_write)
    }
}

fn ms(ms: Option<u32>, default: u32) -> Duration {
    Duration::from_millis(ms.unwrap_or(default).max(1).into())
}

/// Tokens that a provider's model takes unless its price says otherwise.
const USUAL_CONTEXT: u32 = 128_000;

/// What models of a kind of provider can do.
fn can(kind: &str, model: &PriceSection) -> Needs {
    let more = [(Need::TopK, kind == "anthropic"), (Need::Images, model.images)];
    let more = more.into_iter().filter(|(_, can)| *can).map(|(need, _)| need);
    [Need::Tools, Need::Schema].into_iter().chain(more).collect()
}

impl RouteSection {
    /// Its name, and what is judged otherwise there, if anything is.
    pub(crate) fn exception(&self) -> Option<(&str, &GuardException)> {
        Some((&self.name, self.guard.as_ref()?))
    }

    fn resolve(&self, names: &Names<'_>) -> Result<Route, Fault> {
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
        let policy = TierPolicy {
            cascade: self.cascade(&tiers)?,
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
        })
    }

    fn cascade(&self, tiers: &[Tier]) -> Result<Option<Cascade>, Fault> {
        let Some(section) = self.cascade else { return Ok(None) };
        if tiers.len() < 2 || tiers[0].place != Place::Local {
            return Err(self.fault("cascade needs local/MODEL as the first of tiers, and another after it"));
        }
        if !matches!(self.prefer, None | Some(PreferWord::Listed)) {
            return Err(self.fault("cascade goes by the order of tiers, so prefer must be \"listed\""));
        }
        let share = |key: &str, value: f64| match value {
            0.0..=1.0 => Ok(value),
            _ => Err(self.fault(&format!("cascade.{key} is {value}; it must be from 0 to 1"))),
        };
        let statistic = match (section.by, section.quantile) {
            (Some(ByWord::Mean), None) => Statistic::Mean,
            (Some(ByWord::Mean), Some(_)) => {
                return Err(self.fault("cascade.quantile says nothing where by is \"mean\""));
            }
            (None | Some(ByWord::Quantile), quantile) => {
                Statistic::Quantile { share: share("quantile", quantile.unwrap_or(USUAL_QUANTILE))? }
            }
        };
        if section.after_tokens == Some(0) {
            return Err(self.fault("cascade.after_tokens must be at least 1"));
        }
        let least = share("least_confidence", section.least_confidence)?;
        Ok(Some(Cascade { statistic, least, after: section.after_tokens }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        provider: Vec<ProviderSection>,
        #[serde(default)]
        route: Vec<RouteSection>,
    }

    fn resolve(text: &str) -> Result<RouteSettings, String> {
        let file: File = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let variable = |name: &str| (name == "SET").then(|| "sk-1\n".to_owned());
        RouteSettings::resolve(&file.provider, &file.route, &["tiny", "tone"], &variable)
            .map_err(|e| e.to_string())
    }

    const PROVIDER: &str = "[[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
        api_key_env = \"SET\"\nprice = { \"org/m\" = { input = 3.0, output = 15.0, cached_input = 0.3, cache_write = 3.75 } }\n";

    #[test]
    fn sections_become_routes() {
        let text = format!(
            "{PROVIDER}[[route]]\nname = \"auto\"\ntiers = [\"up/org/m\", \"local/tone\"]\nprivate = \"local/tiny\"\n\
             timeout_ms = 5000\nmax_cost_usd = 0.10\nprefer = \"cheapest\"\nleast_quality = 60\n\
             quality = {{ \"local/tone\" = {{ code = 20 }} }}\nweights = {{ \"up/org/m\" = 3 }}\n\
             only = {{ \"up/org/m\" = {{ languages = [\"en\", \"de\"], prompt_tokens = [10, 4000] }} }}\n"
        );
        let settings = resolve(&text).unwrap();
        assert!(settings.leave());
        assert_eq!(settings.providers[0].api_key.as_deref(), Some("sk-1"));
        let Route { policy, targets, first_token, .. } = &settings.routes[0];
        assert_eq!(*first_token, Duration::from_secs(5));
        assert_eq!(
            targets[0],
            Target::Remote { provider: 0, model: "org/m".into(), continues: Continues::WhenTold }
        );
        assert_eq!((policy.cascade, settings.routes[0].on_cut), (None, OnCut::Error));
        assert_eq!(targets[1..], [Target::Local("tone".into()), Target::Local("tiny".into())]);
        let Price { cached_input, cache_write, .. } = policy.tiers[0].price;
        assert_eq!((cached_input, cache_write, policy.tiers[0].weight), (300, 3750, 3));
        assert_eq!(policy.tiers[1].quality.at(Task::Code), 20);
        let scope = &policy.tiers[0].scope;
        assert_eq!((scope.languages.len(), &scope.prompt_tokens), (2, &(10..=4000)));
        assert_eq!(policy.tiers[1].scope, Scope::default());
        assert!(!format!("{settings:?}").contains("sk-1"), "no key is shown");
        assert!(!resolve("").unwrap().leave());
    }

    #[test]
    fn a_cascade_and_what_becomes_of_broken_answers_are_read() {
        let route = |cascade: &str| {
            let provider = PROVIDER.replace("output = 15.0", "output = 15.0, prefill = true");
            let text = format!(
                "{provider}[[route]]\nname = \"auto\"\ntiers = [\"local/tiny\", \"up/org/m\"]\nprivate = \"local/tiny\"\n\
                 on_cut = \"continue\"\ncascade = {{ {cascade} }}\n"
            );
            resolve(&text).unwrap().routes.remove(0)
        };
        let usual = route("least_confidence = 0.4");
        let statistic = Statistic::Quantile { share: 0.1 };
        assert_eq!(usual.policy.cascade, Some(Cascade { statistic, least: 0.4, after: None }));
        assert_eq!(usual.on_cut, OnCut::Continue);
        let prefill = Target::Remote { provider: 0, model: "org/m".into(), continues: Continues::FromPrefix };
        assert_eq!(usual.targets[1], prefill);
        let mean = route("least_confidence = 0.6, by = \"mean\", after_tokens = 16").policy.cascade;
        assert_eq!(mean, Some(Cascade { statistic: Statistic::Mean, least: 0.6, after: Some(16) }));
        let least = route("least_confidence = 0.2, quantile = 0.0").policy.cascade.unwrap();
        assert_eq!(least.statistic, Statistic::Quantile { share: 0.0 });
    }

    #[test]
    fn mistakes_name_the_section_and_the_key() {
        let route = |rest: &str| format!("{PROVIDER}[[route]]\nname = \"auto\"\n{rest}\n");
        let provider = |from: &str, to: &str| PROVIDER.replace(from, to);
        let only = |keys: &str| {
            route(&format!("tiers = [\"local/tiny\"]\nonly = {{ \"local/tiny\" = {{ {keys} }} }}"))
        };
        let cascade =
            |keys: &str| route(&format!("tiers = [\"local/tiny\", \"local/tone\"]\ncascade = {{ {keys} }}"));
        for (text, wanted) in [
            (provider("\"SET\"", "\"NOT_SET\""), "\"up\": api_key_env names NOT_SET"),
            (provider("\"openai\"", "\"open\""), "kind \"open\""),
            (provider("= 3.0", "= -3.0"), "price of \"org/m\""),
            (provider("3.75", "-3.75"), "price of \"org/m\""),
            (provider("base_url", "url"), "url"),
            (format!("{PROVIDER}{PROVIDER}"), "two are called \"up\""),
            (provider("\"up\"", "\"local\""), "cannot be a name"),
            (route("tiers = []"), "tiers is empty"),
            (route("tiers = [\"tiny\"]"), "PROVIDER/MODEL"),
            (route("tiers = [\"down/m\"]"), "down/m names no [[provider]]"),
            (route("tiers = [\"up/m\"]"), "up/m has no price"),
            (route("tiers = [\"local/large\"]"), "no model \"large\""),
            (route("tiers = [\"local/tiny\", \"local/tiny\"]"), "two are called"),
            (route("tiers = [\"up/org/m\"]"), "needs private"),
            (route("tiers = [\"up/org/m\"]\nprivate = \"up/org/m\""), "must be local/MODEL"),
            (route("tiers = [\"local/tiny\"]\nweights = { x = 1 }"), "weights has \"x\""),
            (
                route("tiers = [\"local/tiny\"]\nquality = { \"local/tiny\" = { poems = 1 } }"),
                "no task \"poems\"",
            ),
            (route("tiers = [\"local/tiny\"]\nmax_cost_usd = -1.0"), "max_cost_usd is -1"),
            (route("tiers = [\"local/tiny\"]\nprefer = \"best\""), "best"),
            (route("tiers = [\"local/tiny\"]\non_cut = \"again\""), "again"),
            (route("tiers = [\"local/tiny\"]\nonly = { x = {} }"), "only has \"x\""),
            (only("languages = [\"klingon\"]"), "only.\"local/tiny\".languages has \"klingon\"; known: "),
            (only("languages = []"), "languages is empty"),
            (only("prompt_tokens = [5, 4]"), "only.\"local/tiny\".prompt_tokens"),
            (only("length = 5"), "length"),
            (cascade("least_confidence = 1.5"), "cascade.least_confidence is 1.5"),
            (cascade("least_confidence = 0.5, quantile = -0.1"), "cascade.quantile is -0.1"),
            (
                cascade("least_confidence = 0.5, by = \"mean\", quantile = 0.1"),
                "cascade.quantile says nothing",
            ),
            (cascade("least_confidence = 0.5, by = \"entropy\""), "entropy"),
            (cascade("least_confidence = 0.5, after_tokens = 0"), "cascade.after_tokens"),
            (cascade("least = 0.5"), "least"),
            (cascade("least_confidence = 0.5") + "prefer = \"cheapest\"\n", "prefer must be \"listed\""),
            (route("tiers = [\"local/tiny\"]\ncascade = { least_confidence = 0.5 }"), "another after it"),
            (
                route(
                    "tiers = [\"up/org/m\", \"local/tiny\"]\nprivate = \"local/tiny\"\n\
                     cascade = { least_confidence = 0.5 }",
                ),
                "local/MODEL as the first",
            ),
        ] {
            let said = resolve(&text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }

    #[test]
    fn a_url_that_is_none_is_named_when_it_is_opened() {
        let text = PROVIDER.replace("http://", "ftp://");
        assert!(
            resolve(&text).unwrap().open(None, None).unwrap_err().to_string().contains("\"up\": base_url")
        );
    }
}
