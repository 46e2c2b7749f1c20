//! `[limits]` and `[[key]]` of garrison.toml: what API keys may use of everything, and whom to tell when that is unlike
//! before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use garrison_gateway::{
    AlertRules, AlertSink, Books, KeyLimits, Meters, Micros, MoneyLimit, PerKey, PerMinute, Quotas, Redis,
    Spend,
};
use garrison_server::ApiKeys;
use serde::Deserialize;

use crate::error::Fault;

/// `[limits]`, as it is written: what each key may use that has no `[[key]]` which says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsSection {
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    usd_per_day: Option<f64>,
    usd_per_month: Option<f64>,
    max_cost_usd: Option<f64>,
    /// The SQLite file with what was spent, or the Redis that several Garrisons share.
    ledger: Option<String>,
    alerts: Option<AlertsSection>,
}

/// `[[key]]`, as it is written. The key itself is in the API keys file, with this name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeySection {
    name: String,
    models: Option<Vec<String>>,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    usd_per_day: Option<f64>,
    usd_per_month: Option<f64>,
    max_cost_usd: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertsSection {
    webhook: Option<String>,
    change: Option<f64>,
    least_requests: Option<u64>,
    repeats: Option<u64>,
}

/// Where what was spent is kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Ledger {
    File(PathBuf),
    /// At a URL.
    Redis(String),
}

/// Never shows a URL, which may have a password.
impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ledger::File(path) => f.debug_tuple("File").field(path).finish(),
            Ledger::Redis(_) => f.write_str("Redis"),
        }
    }
}

impl Ledger {
    fn new(text: &str) -> Ledger {
        if text.contains("://") { Ledger::Redis(text.to_owned()) } else { Ledger::File(text.into()) }
    }
}

/// All of it, checked.
#[derive(Debug, Default)]
pub(crate) struct LimitSettings {
    per_key: PerKey,
    pub(crate) ledger: Option<Ledger>,
    alerts: Option<(AlertRules, Option<String>)>,
}

impl LimitSettings {
    /// Checks the sections. `models` are the names that clients can ask for.
    ///
    /// # Errors
    /// If one of them is wrong; the sentence names the section and the key.
    pub(crate) fn resolve(
        limits: &LimitsSection,
        keys: &[KeySection],
        models: &[&str],
    ) -> Result<LimitSettings, Fault> {
        let usual = limits.resolve()?;
        let mut named = BTreeMap::new();
        for key in keys {
            let own = key.resolve(&usual, models)?;
            if named.insert(key.name.clone(), own).is_some() {
                return Err(Fault::usage(format!("[[key]]: two are called \"{}\"", key.name)));
            }
        }
        let costs = |limits: &KeyLimits| limits.money != MoneyLimit::default();
        if limits.ledger.is_none() && (costs(&usual) || named.values().any(costs)) {
            return Err(Fault::usage(
                "[limits]: usd_per_day and usd_per_month need ledger, the file in which what was spent is kept",
            ));
        }
        let alerts = limits.alerts.as_ref().map(AlertsSection::resolve).transpose()?;
        Ok(LimitSettings {
            per_key: PerKey::new(usual, named),
            ledger: limits.ledger.as_deref().map(Ledger::new),
            alerts,
        })
    }

    /// Fails if a `[[key]]` is about no key of the file.
    ///
    /// # Errors
    /// With the name of the section that leads nowhere.
    pub(crate) fn check_keys(&self, keys: &ApiKeys) -> Result<(), Fault> {
        let known: BTreeSet<&str> = keys.names().collect();
        match self.per_key.names().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Fault::usage(format!(
                "[[key]] \"{name}\": the API keys file has no key of that name; write \"name={name} KEY\" there"
            ))),
        }
    }

    /// The meters that these limits begin with.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub(crate) fn meters(&self) -> Result<Arc<Meters>, Fault> {
        let books = match &self.ledger {
            None => return Ok(Meters::new(None)),
            Some(Ledger::File(path)) => Books::open(path).map_err(|e| {
                Fault::usage(format!("[limits]: the ledger {} cannot be used: {e}", path.display()))
            })?,
            Some(Ledger::Redis(url)) => {
                let redis = Redis::new(url)
                    .map_err(|e| Fault::usage(format!("[limits]: the ledger cannot be used: {e}")))?;
                Books::shared(redis)
            }
        };
        Ok(Meters::new(Some(Arc::new(books))))
    }

    /// The limits over meters.
    ///
    /// # Errors
    /// If the webhook cannot be used.
    pub(crate) fn quotas(&self, meters: &Arc<Meters>) -> Result<Quotas, Fault> {
        let sink = |webhook: &Option<String>| match webhook {
            None => Ok(AlertSink::log()),
            Some(url) => AlertSink::webhook(url).map_err(|e| Fault::usage(format!("[limits] alerts: {e}"))),
        };
        let alerts = match &self.alerts {
            None => None,
            Some((rules, webhook)) => Some((*rules, sink(webhook)?)),
        };
        Ok(Quotas::new(self.per_key.clone(), Arc::clone(meters), alerts))
    }

    /// What keys may spend of the money that meters count.
    pub(crate) fn spend(&self, meters: &Meters) -> Option<Spend> {
        meters.books().map(|books| Spend::new(Arc::clone(books), self.per_key.clone()))
    }
}

impl LimitsSection {
    fn resolve(&self) -> Result<KeyLimits, Fault> {
        let amount = |key: &str, usd| amount("[limits]", key, usd);
        Ok(KeyLimits {
            models: None,
            per_minute: PerMinute {
                requests: positive("[limits]", "requests_per_minute", self.requests_per_minute)?,
                tokens: positive("[limits]", "tokens_per_minute", self.tokens_per_minute)?,
            },
            money: MoneyLimit {
                per_day: amount("usd_per_day", self.usd_per_day)?,
                per_month: amount("usd_per_month", self.usd_per_month)?,
            },
            max_cost: amount("max_cost_usd", self.max_cost_usd)?,
        })
    }
}

impl KeySection {
    fn resolve(&self, usual: &KeyLimits, models: &[&str]) -> Result<KeyLimits, Fault> {
        let section = format!("[[key]] \"{}\"", self.name);
        let unknown = self.models.iter().flatten().find(|name| !models.contains(&name.as_str()));
        if let Some(name) = unknown {
            return Err(Fault::usage(format!(
                "{section}: models has \"{name}\", which is no model, adapter or route; there are {}",
                models.join(", ")
            )));
        }
        let amount = |key: &str, usd| amount(&section, key, usd);
        Ok(KeyLimits {
            models: self.models.as_ref().map(|models| models.iter().cloned().collect()),
            per_minute: PerMinute {
                requests: positive(&section, "requests_per_minute", self.requests_per_minute)?
                    .or(usual.per_minute.requests),
                tokens: positive(&section, "tokens_per_minute", self.tokens_per_minute)?
                    .or(usual.per_minute.tokens),
            },
            money: MoneyLimit {
                per_day: amount("usd_per_day", self.usd_per_day)?.or(usual.money.per_day),
                per_month: amount("usd_per_month", self.usd_per_month)?.or(usual.money.per_month),
            },
            max_cost: amount("max_cost_usd", self.max_cost_usd)?.or(usual.max_cost),
        })
    }
}

impl AlertsSection {
    fn resolve(&self) -> Result<(AlertRules, Option<String>), Fault> {
        let usual = AlertRules::default();
        let change = self.change.unwrap_or(usual.change);
        if !(change.is_finite() && change > 1.0) {
            return Err(Fault::usage(format!(
                "[limits] alerts: change is {change}; it must be more than 1, as in 2.0 for twice or half the usual"
            )));
        }
        let rules = AlertRules {
            change,
            least_requests: self.least_requests.unwrap_or(usual.least_requests).max(1),
            repeats: self.repeats.unwrap_or(usual.repeats),
        };
        Ok((rules, self.webhook.clone()))
    }
}

fn positive(section: &str, key: &str, number: Option<u64>) -> Result<Option<u64>, Fault> {
    match number {
        Some(0) => Err(Fault::usage(format!("{section}: {key} is 0, which would let nothing pass"))),
        number => Ok(number),
    }
}

fn amount(section: &str, key: &str, usd: Option<f64>) -> Result<Option<Micros>, Fault> {
    let Some(usd) = usd else { return Ok(None) };
    Micros::from_usd(usd)
        .map(Some)
        .ok_or_else(|| Fault::usage(format!("{section}: {key} is {usd}; it must be an amount in US dollars")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        limits: LimitsSection,
        #[serde(default)]
        key: Vec<KeySection>,
    }

    fn resolve(text: &str) -> Result<LimitSettings, String> {
        let file: File = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        LimitSettings::resolve(&file.limits, &file.key, &["auto", "tiny"]).map_err(|e| e.to_string())
    }

    #[test]
    fn a_key_has_the_usual_limits_but_for_its_own() {
        let settings = resolve(
            "[limits]\nrequests_per_minute = 60\nusd_per_day = 2.5\nusd_per_month = 20\nledger = \"spend.sqlite\"\n\
             alerts = { change = 3.0 }\n\
             [[key]]\nname = \"anna\"\nmodels = [\"auto\"]\nusd_per_day = 0.5\nmax_cost_usd = 0.01\n",
        )
        .unwrap();
        let anna = settings.per_key.of("anna");
        assert_eq!(anna.per_minute, PerMinute { requests: Some(60), tokens: None });
        let money = MoneyLimit { per_day: Some(Micros(500_000)), per_month: Some(Micros(20_000_000)) };
        assert_eq!((anna.money, anna.max_cost), (money, Some(Micros(10_000))));
        assert_eq!(settings.per_key.of("bert").money.per_day, Some(Micros(2_500_000)));
        assert_eq!(settings.alerts.as_ref().unwrap().0.change, 3.0);
        let known = ApiKeys::parse("name=anna k1\nname=bert k2\n").unwrap();
        assert!(settings.check_keys(&known).is_ok());
        let said = settings.check_keys(&ApiKeys::parse("name=bert k2\n").unwrap()).unwrap_err().to_string();
        assert!(said.contains("[[key]] \"anna\"") && said.contains("name=anna KEY"), "{said}");
    }

    #[test]
    fn mistakes_name_the_section_and_the_key() {
        for (text, wanted) in [
            ("[limits]\nusd_per_day = 1.0\n", "need ledger"),
            ("[[key]]\nname = \"a\"\nusd_per_month = 1.0\n", "need ledger"),
            ("[limits]\nrequests_per_minute = 0\n", "[limits]: requests_per_minute is 0"),
            ("[limits]\nmax_cost_usd = -1.0\n", "[limits]: max_cost_usd is -1"),
            ("[[key]]\nname = \"a\"\ntokens_per_minute = 0\n", "[[key]] \"a\": tokens_per_minute is 0"),
            ("[[key]]\nname = \"a\"\nmodels = [\"gpt\"]\n", "models has \"gpt\""),
            ("[[key]]\nname = \"a\"\n[[key]]\nname = \"a\"\n", "two are called \"a\""),
            ("[[key]]\nname = \"a\"\nsecret = \"k\"\n", "secret"),
            ("[limits]\nalerts = { change = 1.0 }\n", "change is 1"),
            ("[limits]\nalerts = { web = \"x\" }\n", "web"),
        ] {
            let said = resolve(text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
        let bad = resolve("[limits]\nledger = \"http://x\"\n").unwrap();
        let said = bad.meters().unwrap_err().to_string();
        assert!(said.contains("redis://") && !format!("{bad:?}").contains("http"), "{said}");
        let bad = resolve("[limits]\nalerts = { webhook = \"ftp://x\" }\n").unwrap();
        let said = bad.quotas(&Meters::new(None)).unwrap_err().to_string();
        assert!(said.contains("[limits] alerts: webhook is no http"), "{said}");
    }
}
