//! What a server serves by, made of a configuration; and made anew when the file has changed (SIGHUP).
//!
//! The new file is read and checked whole, and everything that it asks for is made, before anything changes. What is
//! learned and counted (books, rates, breakers, answers that are kept, receipts) goes on. What cannot change while models
//! are loaded and sockets are open refuses the file: a setting that is there and does not hold would be worse.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use garrison_gateway::{AnswerCache, Audit, Calibrations, Gateway, Meters, Routes, Semantic, Telemetry};
use garrison_server::{ApiKeys, Limits, Reloader, ServerConfig, Times};

use crate::config::{Config, ServerSettings};
use crate::error::Fault;
use crate::flags::ServeFlags;
use crate::guard::policy::{self, Judges, Leaves, Receipts};

/// What is made of a configuration and goes on under the next.
struct Kept {
    audit: Option<Audit>,
    meters: Arc<Meters>,
    cache: Option<Arc<AnswerCache>>,
    /// Whether its answers are given to requests that are alike, once this configuration is in use.
    semantic: Semantic,
    routes: Arc<Routes>,
    telemetry: Option<Arc<Telemetry>>,
}

impl Kept {
    /// Changes what goes on as the configuration says.
    fn apply(&self, config: &Config) {
        if let (Some(cache), Some(section)) = (&self.cache, &config.cache) {
            section.apply(cache, &self.semantic);
        }
    }
}

/// A configuration that is in use, and how to read it again.
pub(crate) struct Serving {
    flags: ServeFlags,
    config: Config,
    kept: Kept,
}

impl Serving {
    /// What the flags and their file say, for a server that starts.
    ///
    /// # Errors
    /// If they cannot be used.
    pub(crate) fn new(flags: &ServeFlags) -> Result<(Serving, ServerConfig), Fault> {
        let config = Config::resolve(flags)?;
        let (server_config, kept) = assemble(&config, None)?;
        kept.apply(&config);
        Ok((Serving { flags: flags.clone(), config, kept }, server_config))
    }

    /// The configuration in use.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Reads everything again and serves by it.
    ///
    /// # Errors
    /// If it cannot be used. Then nothing has changed.
    pub(crate) fn reload(&mut self, server: &Reloader) -> Result<(), Fault> {
        let config = Config::resolve(&self.flags)?;
        self.check_same(&config)?;
        let (server_config, kept) = assemble(&config, Some(self))?;
        server.replace(server_config).map_err(|e| Fault::usage(e.to_string()))?;
        kept.apply(&config);
        (self.config, self.kept) = (config, kept);
        Ok(())
    }

    /// Fails if something has changed that cannot while the server runs.
    fn check_same(&self, new: &Config) -> Result<(), Fault> {
        let old = &self.config;
        let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
        let address = |settings: &ServerSettings| (settings.host, settings.port, settings.max_body_bytes);
        for (what, same) in [
            ("[server] host, port and max_body_mib", address(&old.server) == address(&new.server)),
            ("[engine]", text(&old.engine) == text(&new.engine)),
            ("[[model]]", text(&old.models) == text(&new.models)),
            ("[cascade] labels", old.labels == new.labels),
            ("[limits] ledger", old.limits.ledger == new.limits.ledger),
            (
                "[privacy] receipts, receipts_key, receipts_per_file and receipts_survive",
                self.kept.audit.is_none() || old.privacy.has_log_of(&new.privacy),
            ),
        ] {
            if !same {
                return Err(Fault::usage(format!(
                    "{what} cannot change while the server runs; restart it for that"
                )));
            }
        }
        Ok(())
    }
}

/// Makes everything that a configuration asks for, and takes over what goes on.
fn assemble(config: &Config, before: Option<&Serving>) -> Result<(ServerConfig, Kept), Fault> {
    let leaves = if config.routes.leave() { Leaves::Something } else { Leaves::Nothing };
    let open = before.and_then(|before| before.kept.audit.as_ref());
    let receipts = open.map_or(Receipts::Open, Receipts::Continue);
    let Judges { gateway, audit, names } =
        policy::judges(&config.privacy, &config.guard, &config.exceptions, leaves, receipts)?;
    let clearance = match audit.clone().filter(|_| config.routes.leave()) {
        None => None,
        Some(audit) => {
            let models = config.routes.models_elsewhere();
            Some(policy::clearance(&config.privacy, &config.guard, audit, names, models)?)
        }
    };
    let meters = match before {
        None => config.limits.meters()?,
        Some(before) => Arc::clone(&before.kept.meters),
    };
    let mut routes = config.routes.open(clearance, config.limits.spend(&meters))?;
    match (before, &config.labels) {
        (Some(before), _) => routes = routes.following(&before.kept.routes),
        (None, None) => {}
        (None, Some(path)) => {
            let fault = |e| Fault::usage(format!("[cascade]: labels {}: {e}", path.display()));
            routes = routes.knowing(Calibrations::open(path).map_err(fault)?);
        }
    }
    let (cache, semantic) = match &config.cache {
        None => (None, Semantic::Off),
        Some(new) => {
            // Answers are kept on where they were.
            let old =
                before.and_then(|before| Some((before.config.cache.as_ref()?, before.kept.cache.as_ref()?)));
            let same = old.filter(|(old, _)| old.has_store_of(new));
            let cache = same.map_or_else(|| new.open(), |(_, cache)| Ok(Arc::clone(cache)))?;
            let semantic = new.semantic(&cache, same.map(|(old, _)| old))?;
            (Some(cache), semantic)
        }
    };
    if let (Some(cache), Some(section)) = (&cache, &config.cache) {
        routes = routes.keeping(Arc::clone(cache), section.keeps);
    }
    let routes = Arc::new(routes);
    let same = before.filter(|before| before.config.otlp == config.otlp);
    let telemetry = match (same, &config.otlp) {
        (Some(before), _) => before.kept.telemetry.clone(),
        (None, None) => None,
        (None, Some(url)) => {
            Some(Telemetry::new(url).map_err(|e| Fault::usage(format!("[telemetry]: {e}")))?)
        }
    };
    let server_config = ServerConfig {
        routes: Arc::clone(&routes),
        telemetry: telemetry.clone(),
        quotas: Arc::new(config.limits.quotas(&meters)?),
        ..server_config(&config.server, Arc::new(gateway))?
    };
    config.limits.check_keys(&server_config.api_keys)?;
    Ok((server_config, Kept { audit, meters, cache, semantic, routes, telemetry }))
}

fn server_config(settings: &ServerSettings, gateway: Arc<Gateway>) -> Result<ServerConfig, Fault> {
    let api_keys = settings.api_keys_file.as_deref().map_or_else(|| Ok(ApiKeys::none()), read_keys)?;
    let limits = Limits { body_bytes: settings.max_body_bytes, ..Limits::default() };
    Ok(ServerConfig {
        api_keys,
        cors_origins: settings.cors_origins.clone(),
        host_names: settings.host_names.clone(),
        share_prefixes: settings.share_prefixes,
        gateway,
        limits,
        times: Times { request: settings.request_timeout, awake: settings.busy_poll, ..Times::default() },
        ..ServerConfig::default()
    })
}

fn read_keys(path: &Path) -> Result<ApiKeys, Fault> {
    let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("API keys file {}: {e}", path.display()));
    let text = fs::read_to_string(path).map_err(|e| refuse(&e))?;
    ApiKeys::parse(&text).map_err(|e| refuse(&e))
}
