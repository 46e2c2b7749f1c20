//! Flags and garrison.toml, resolved once into one [`Config`] that the rest of the binary reads.
//!
//! Flags win over the file, the file over the defaults. Unknown keys are errors: a misspelt limit
//! that is silently ignored is worse than a server that does not start.

mod engine;
mod models;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use garrison_server::SharePrefixes;
use serde::Deserialize;

use self::engine::EngineSection;
use self::models::{ModelSection, resolve_models};
use crate::cache::{CacheConfig, CacheSection};
use crate::error::Fault;
use crate::flags::ServeFlags;
use crate::guard::config::PrivacySection;
use crate::guard::exceptions::GuardExceptions;
use crate::guard::policy::GuardSection;
use crate::limits::{KeySection, LimitSettings, LimitsSection};
use crate::routes::{ProviderSection, RouteSection, RouteSettings};

pub(crate) use self::engine::{DeviceChoice, EngineSettings, OnDeviceLoss, PinThreads};
pub(crate) use self::models::{ModelEntry, parse_mix};

/// Everything `serve` needs to know.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) server: ServerSettings,
    pub(crate) engine: EngineSettings,
    pub(crate) models: Vec<ModelEntry>,
    pub(crate) privacy: PrivacySection,
    pub(crate) guard: GuardSection,
    /// What is judged otherwise, by model and route.
    pub(crate) exceptions: GuardExceptions,
    pub(crate) routes: RouteSettings,
    pub(crate) limits: LimitSettings,
    /// None if no answer is given twice.
    pub(crate) cache: Option<CacheConfig>,
    /// Where what cascades learn is kept; None to forget it with the process.
    pub(crate) labels: Option<PathBuf>,
    /// The collector's URL, if there is one.
    pub(crate) otlp: Option<String>,
}

/// The `[server]` section.
#[derive(Debug)]
pub(crate) struct ServerSettings {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) api_keys_file: Option<PathBuf>,
    pub(crate) max_body_bytes: usize,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) busy_poll: Duration,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) host_names: Vec<String>,
    pub(crate) share_prefixes: SharePrefixes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: ServerSection,
    #[serde(default)]
    engine: EngineSection,
    #[serde(default)]
    model: Vec<ModelSection>,
    #[serde(default)]
    privacy: PrivacySection,
    #[serde(default)]
    guard: GuardSection,
    #[serde(default)]
    provider: Vec<ProviderSection>,
    #[serde(default)]
    route: Vec<RouteSection>,
    #[serde(default)]
    limits: LimitsSection,
    #[serde(default)]
    key: Vec<KeySection>,
    cache: Option<CacheSection>,
    #[serde(default)]
    cascade: CascadeSection,
    #[serde(default)]
    telemetry: TelemetrySection,
}

/// What is common to all cascades.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CascadeSection {
    labels: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TelemetrySection {
    otlp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerSection {
    host: Option<IpAddr>,
    port: Option<u16>,
    api_keys_file: Option<PathBuf>,
    max_body_mib: Option<u32>,
    request_timeout_s: Option<NonZeroU32>,
    busy_poll_us: Option<u32>,
    cors_origins: Option<Vec<String>>,
    host_names: Option<Vec<String>>,
    share_prefixes: Option<String>,
}

impl Config {
    /// Reads the file that the flags name, if any, and lays the flags over it.
    ///
    /// # Errors
    /// If the file cannot be read, has an unknown key or a value out of range, or a model is not there.
    pub(crate) fn resolve(flags: &ServeFlags) -> Result<Config, Fault> {
        let file = flags.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let server = ServerSettings {
            host: flags.host.or(file.server.host).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: flags.port.or(file.server.port).unwrap_or(8080),
            api_keys_file: flags.api_keys_file.clone().or(file.server.api_keys_file),
            max_body_bytes: file.server.max_body_mib.unwrap_or(16).max(1) as usize * 1024 * 1024,
            request_timeout: file.server.request_timeout_s.map(|s| Duration::from_secs(s.get().into())),
            busy_poll: busy_poll(file.server.busy_poll_us.unwrap_or(0))?,
            cors_origins: file.server.cors_origins.unwrap_or_default(),
            host_names: file.server.host_names.unwrap_or_default(),
            share_prefixes: share_prefixes(file.server.share_prefixes.as_deref())?,
        };
        let mut engine = EngineSettings::from_parts(&flags.engine, &file.engine)?;
        if server.api_keys_file.is_some() && file.engine.max_waiting_per_key.is_none() {
            // Whoever floods the server leaves half of the queue to the others.
            engine.max_waiting_per_key = engine.max_waiting.div_ceil(2);
        }
        let models = resolve_models(flags, &file.model)?;
        let loadable = engine.adapter_hub || !engine.adapter_dirs.is_empty();
        let adapters = models.iter().any(|m| !m.adapters.is_empty());
        if file.engine.adapter_slots.is_none() && !adapters && !loadable {
            engine.adapter_slots = 0;
        }
        let local: Vec<&str> = models
            .iter()
            .flat_map(|model| std::iter::once(&model.name).chain(model.adapters.keys()))
            .map(String::as_str)
            .collect();
        let routes =
            RouteSettings::resolve(&file.provider, &file.route, &local, &|name| std::env::var(name).ok())?;
        let known: Vec<&str> = local.iter().copied().chain(routes.names()).collect();
        let limits = LimitSettings::resolve(&file.limits, &file.key, &known)?;
        let cache = file.cache.as_ref().map(CacheSection::resolve).transpose()?;
        if let Some(route) = routes.embeds()
            && !cache.as_ref().is_some_and(CacheConfig::embeds)
        {
            return Err(Fault::usage(format!(
                "[[route]] \"{route}\": cascade.answers is a likeness, which takes an embedder: [cache] semantic = {{ \
                 embedder = … }}"
            )));
        }
        let of_models = models.iter().filter_map(|model| Some((&*model.name, model.guard.as_ref()?)));
        let of_routes = file.route.iter().filter_map(RouteSection::exception);
        let exceptions =
            of_models.chain(of_routes).map(|(name, guard)| (name.to_owned(), guard.clone())).collect();
        Ok(Config {
            server,
            engine,
            models,
            privacy: file.privacy,
            guard: file.guard,
            exceptions,
            routes,
            limits,
            cache,
            labels: file.cascade.labels,
            otlp: file.telemetry.otlp,
        })
    }
}

/// Which requests find each other's prefixes in the cache.
fn share_prefixes(text: Option<&str>) -> Result<SharePrefixes, Fault> {
    match text {
        None | Some("within_key") => Ok(SharePrefixes::WithinKey),
        Some("between_keys") => Ok(SharePrefixes::BetweenKeys),
        Some(other) => Err(Fault::usage(format!(
            "share_prefixes \"{other}\" is not known; known: within_key, between_keys"
        ))),
    }
}

/// Microseconds that a serving thread may look for more before it sleeps, at most: longer than any two tokens are apart.
const MOST_BUSY_US: u32 = 1_000_000;

fn busy_poll(us: u32) -> Result<Duration, Fault> {
    if us > MOST_BUSY_US {
        return Err(Fault::usage(format!("busy_poll_us is {us}; it must be at most {MOST_BUSY_US}")));
    }
    Ok(Duration::from_micros(us.into()))
}

fn read(path: &Path) -> Result<File, Fault> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Fault::usage(format!("config file {} cannot be read: {e}", path.display())))?;
    toml::from_str(&text)
        .map_err(|e| Fault::usage(format!("config file {}: {}", path.display(), explain(&e, &text))))
}

/// toml's message in one line, with the line number instead of a drawing.
fn explain(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
    match line {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use garrison_device::KvDtype;

    use super::*;
    use crate::source::TINY;

    #[test]
    fn a_model_may_be_given_a_name() {
        let names = |models: &[&str]| {
            let model = models.iter().map(|m| (*m).to_owned()).collect();
            let flags = ServeFlags { model, ..ServeFlags::default() };
            Config::resolve(&flags).map(|c| c.models.into_iter().map(|m| m.name).collect::<Vec<_>>())
        };
        assert_eq!(
            names(&["a=garrison-tiny", "garrison-tiny", "b=src"]).unwrap(),
            ["a", "garrison-tiny", "b"]
        );
        assert!(names(&["=garrison-tiny"]).is_err() && names(&["a="]).is_err());
    }

    fn resolve(text: &str, change: impl FnOnce(&mut ServeFlags)) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("garrison.toml");
        std::fs::write(&path, text).unwrap();
        let mut flags = ServeFlags { config: Some(path), ..ServeFlags::default() };
        change(&mut flags);
        Config::resolve(&flags).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let c = resolve("[server]\nport = 9000\n[engine]\nmax_seqs = 4\nkv_dtype = \"bf16\"\n", |f| {
            f.port = Some(1)
        })
        .unwrap();
        assert_eq!((c.server.port, c.engine.max_seqs, c.engine.max_batch_tokens), (1, 4, 512));
        assert_eq!(c.engine.kv_dtype, KvDtype::BF16);
        assert_eq!((c.engine.host_cache_bytes, c.engine.host_cache_dir), (0, None));
        assert!(c.server.host.is_loopback() && c.server.busy_poll.is_zero());
        let awake = resolve("[server]\nbusy_poll_us = 200\n", |_| {}).unwrap().server.busy_poll;
        assert_eq!(awake, Duration::from_micros(200));
        assert_eq!(c.engine.pin_threads, PinThreads::Auto);
        assert!(c.engine.batch_invariant && !c.engine.adapter_hub && c.engine.adapter_slots == 0);
        assert_eq!(c.models[0].name, TINY.name);
    }

    #[test]
    fn threads_are_pinned_as_the_flag_says_else_the_file() {
        let pinned = |file: &str, flag: Option<&str>| {
            let set = |flags: &mut ServeFlags| flags.engine.pin_threads = flag.map(str::to_owned);
            resolve(file, set).map(|c| c.engine.pin_threads)
        };
        let off = "[engine]\npin_threads = \"off\"\n";
        assert_eq!(pinned(off, None), Ok(PinThreads::Off));
        assert_eq!(pinned(off, Some("on")), Ok(PinThreads::On));
        let said = pinned(off, Some("always")).unwrap_err();
        assert_eq!(said, "pin_threads \"always\" is not known; known: auto, on, off");
    }

    #[test]
    fn every_key_that_the_readme_shows_is_known() {
        let readme = include_str!("../../../README.md");
        let examples: Vec<&str> =
            readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(examples.len() >= 6);
        for example in examples {
            toml::from_str::<File>(example).unwrap_or_else(|e| panic!("{e} in {example}"));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, wanted) in [
            ("[server]\nprot = 1\n", "prot"),
            ("[serve]\n", "serve"),
            ("[cascade]\nstore = \"x\"\n", "store"),
            (
                "[[route]]\nname = \"a\"\ntiers = [\"local/garrison-tiny\", \"up/m\"]\n\
                 private = \"local/garrison-tiny\"\ncascade = { max_error = 0.05, answers = 0.9 }\n\
                 [[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
                 price = { m = { input = 1.0, output = 1.0 } }\n[[model]]\nsource = \"garrison-tiny\"\n",
                "takes an embedder",
            ),
            ("[server]\nport = \"x\"\n", "line 2"),
            ("[server]\nbusy_poll_us = 1000001\n", "busy_poll_us"),
            ("[engine]\nkv_dtype = \"q3\"\n", "q3"),
            ("[engine]\nkv_cache_gib = -1\n", "kv_cache_gib"),
            ("[engine]\nhost_cache_gib = nan\n", "host_cache_gib"),
            ("[engine]\nhost_cache_gib = 1\nprefix_cache = false\n", "prefix_cache"),
            ("[engine]\nhost_cache_dir = \"/tmp\"\n", "say how much"),
            ("[engine]\ndevice = \"tpu\"\n", "tpu"),
            ("[engine]\ndevice = \"cuda:x\"\n", "cuda:x"),
            ("[engine]\ndevice = \"cuda:3-3\"\n", "cuda:N-M"),
            ("[engine]\npin_threads = \"yes\"\n", "auto, on, off"),
            ("[engine]\npin_threads = true\n", "line 2"),
            ("[engine]\nmax_seqs = 100000\n", "max_seqs"),
            ("[[model]]\nsource = \"nowhere.gguf\"\n", "nowhere.gguf"),
            (
                "[[model]]\nname = \"a\"\nsource = \"garrison-tiny\"\n[[model]]\nname = \"a\"\nsource = \"garrison-tiny\"\n",
                "\"a\"",
            ),
            ("[[model]]\nsource = \"garrison-tiny\"\nquantize = \"Q9\"\n", "Q9"),
            ("[[model]]\nsource = \"garrison-tiny\"\nadapters = { a = \"hf:a/b:../c\" }\n", "hf:a/b:../c"),
            ("[engine]\nbatch_invariant = 1\n", "line 2"),
            ("[engine]\non_device_loss = \"pray\"\n", "restart or cpu"),
            ("[[model]]\nsource = \"garrison-tiny\"\ndraft = \"no-such\"\n", "no-such"),
            ("= 3", "line 1"),
        ] {
            let said = resolve(text, |_| {}).unwrap_err();
            assert!(said.contains(wanted) && !said.contains('\n'), "{text:?}: {said}");
        }
    }
}
