//! `[[provider]]` and `[[route]]` of garrison.toml: where requests go. Everything
//! is checked at the start, names that lead nowhere and variables that are not set included.

mod cascade;
mod provider;
mod section;
#[cfg(test)]
mod tests;

use std::time::Duration;

use garrison_gateway::{Clearance, Compare, Micros, Provider, ProviderConfig, Route, Routes, Spend, Target};

use crate::error::Fault;

pub(crate) use provider::ProviderSection;
pub(crate) use section::RouteSection;

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

    /// What providers call the models of all tiers elsewhere.
    pub(crate) fn models_elsewhere(&self) -> impl Iterator<Item = &str> {
        let targets = self.routes.iter().flat_map(|route| &route.targets);
        targets.filter_map(|target| match target {
            Target::Remote { model, .. } => Some(model.as_str()),
            Target::Local(_) => None,
        })
    }

    /// A route whose cascade compares answers by how alike they are, if there is one: that takes an embedder.
    pub(crate) fn embeds(&self) -> Option<&str> {
        let embeds = |route: &&Route| matches!(route.answers, Compare::Alike(_));
        self.routes.iter().find(embeds).map(|route| &*route.name)
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

/// Refuses names that cannot be any, and the second of two that are the same.
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

fn ms(ms: Option<u32>, default: u32) -> Duration {
    Duration::from_millis(ms.unwrap_or(default).max(1).into())
}
