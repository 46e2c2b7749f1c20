//! Flags and garrison.toml, resolved once into one [`Config`] that the rest of the binary reads.
//!
//! Flags win over the file, the file over the defaults. Unknown keys are errors: a misspelt limit
//! that is silently ignored is worse than a server that does not start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use garrison_device::KvDtype;
use garrison_gguf::quantize::{Mix, UnknownMix};
use garrison_server::SharePrefixes;
use serde::Deserialize;

use crate::cache::{CacheConfig, CacheSection};
use crate::error::Fault;
use crate::flags::{EngineFlags, ServeFlags};
use crate::guard::config::PrivacySection;
use crate::guard::exceptions::{GuardException, GuardExceptions};
use crate::guard::policy::GuardSection;
use crate::limits::{KeySection, LimitSettings, LimitsSection};
use crate::routes::{ProviderSection, RouteSection, RouteSettings};
use crate::source::{AdapterRef, ModelRef, TINY};

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
    pub(crate) cors_origins: Vec<String>,
    pub(crate) host_names: Vec<String>,
    pub(crate) share_prefixes: SharePrefixes,
}

/// The `[engine]` section; also what `chat --model` runs with.
#[derive(Clone, Debug)]
pub(crate) struct EngineSettings {
    pub(crate) device: DeviceChoice,
    pub(crate) threads: Option<NonZeroUsize>,
    pub(crate) pin_threads: PinThreads,
    pub(crate) max_seqs: usize,
    pub(crate) max_batch_tokens: usize,
    pub(crate) context: Option<NonZeroU32>,
    pub(crate) kv_cache_bytes: Option<u64>,
    pub(crate) kv_dtype: KvDtype,
    /// For blocks that are evicted from the KV cache; 0 for none.
    pub(crate) host_cache_bytes: u64,
    /// Where they are kept, if not in memory.
    pub(crate) host_cache_dir: Option<PathBuf>,
    pub(crate) max_waiting: usize,
    pub(crate) max_waiting_per_key: usize,
    pub(crate) prefix_cache: bool,
    pub(crate) prompt_lookup: bool,
    pub(crate) max_stall: Option<Duration>,
    pub(crate) adapter_slots: usize,
    /// Where clients may load adapters from.
    pub(crate) adapter_dirs: Vec<PathBuf>,
    /// Whether they may name repositories of the hub.
    pub(crate) adapter_hub: bool,
    /// Whether a request's tokens are the same in any company, for backends where that costs something.
    pub(crate) batch_invariant: bool,
    pub(crate) on_device_loss: OnDeviceLoss,
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceChoice {
    /// The best there is.
    Auto,
    /// The CPU backend.
    Cpu,
    /// The GPU of that number.
    Cuda(usize),
    /// The GPUs of these numbers, first and last, as one.
    CudaRange(usize, usize),
}

/// What happens when a GPU fails while it serves; what ran on it is lost in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnDeviceLoss {
    /// It is started again, and the model loaded, for the next request.
    #[default]
    Restart,
    /// The same, but the CPU takes over when that does not help.
    Cpu,
}

impl FromStr for OnDeviceLoss {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "restart" => Ok(OnDeviceLoss::Restart),
            "cpu" => Ok(OnDeviceLoss::Cpu),
            _ => Err(Fault::usage(format!("on_device_loss is \"{text}\"; it can be restart or cpu"))),
        }
    }
}

/// Whether the CPU backend's threads are bound to NUMA nodes, where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinThreads {
    /// If this process has the machine to itself.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// A model and what clients call it.
#[derive(Debug)]
pub(crate) struct ModelEntry {
    pub(crate) name: String,
    pub(crate) model: ModelRef,
    /// What its weights become while loading, and its draft model's; as they are in the file without it.
    pub(crate) quantize: Option<Mix>,
    /// A smaller model that guesses what it will say.
    pub(crate) draft: Option<DraftEntry>,
    /// LoRA adapters by the names that clients ask for.
    pub(crate) adapters: BTreeMap<String, AdapterRef>,
    /// What is judged otherwise than for all.
    pub(crate) guard: Option<GuardException>,
}

impl ModelEntry {
    /// A model with nothing besides.
    pub(crate) fn new(name: String, model: ModelRef, quantize: Option<Mix>) -> ModelEntry {
        ModelEntry { name, model, quantize, draft: None, adapters: BTreeMap::new(), guard: None }
    }
}

/// A draft model.
#[derive(Clone, Debug)]
pub(crate) struct DraftEntry {
    /// For messages; clients cannot ask for it.
    pub(crate) name: String,
    pub(crate) model: ModelRef,
}

impl DraftEntry {
    fn parse(text: &str) -> Result<DraftEntry, Fault> {
        let model = ModelRef::parse(text)?;
        Ok(DraftEntry { name: model.name(text), model })
    }
}

impl DeviceChoice {
    /// `2`, or `0-3`.
    fn numbered(text: &str) -> Option<DeviceChoice> {
        match text.split_once('-') {
            None => text.parse().ok().map(DeviceChoice::Cuda),
            Some((first, last)) => {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first < last).then_some(DeviceChoice::CudaRange(first, last))
            }
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(DeviceChoice::numbered).ok_or_else(|| {
                Fault::usage(format!(
                    "device \"{text}\" is not known; known: auto, cpu, cuda, cuda:N, cuda:N-M"
                ))
            }),
        }
    }
}

impl FromStr for PinThreads {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "auto" => Ok(PinThreads::Auto),
            "on" => Ok(PinThreads::On),
            "off" => Ok(PinThreads::Off),
            _ => Err(Fault::usage(format!("pin_threads \"{text}\" is not known; known: auto, on, off"))),
        }
    }
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
    telemetry: TelemetrySection,
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
    cors_origins: Option<Vec<String>>,
    host_names: Option<Vec<String>>,
    share_prefixes: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EngineSection {
    device: Option<String>,
    threads: Option<NonZeroUsize>,
    pin_threads: Option<String>,
    max_seqs: Option<NonZeroUsize>,
    max_batch_tokens: Option<NonZeroUsize>,
    context: Option<NonZeroU32>,
    kv_cache_gib: Option<f64>,
    kv_dtype: Option<String>,
    host_cache_gib: Option<f64>,
    host_cache_dir: Option<PathBuf>,
    max_waiting: Option<usize>,
    max_waiting_per_key: Option<usize>,
    prefix_cache: Option<bool>,
    prompt_lookup: Option<bool>,
    max_stall_ms: Option<u32>,
    adapter_slots: Option<usize>,
    adapter_dirs: Option<Vec<PathBuf>>,
    adapter_hub: Option<bool>,
    batch_invariant: Option<bool>,
    on_device_loss: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelSection {
    name: Option<String>,
    source: String,
    quantize: Option<String>,
    draft: Option<String>,
    #[serde(default)]
    adapters: BTreeMap<String, String>,
    guard: Option<GuardException>,
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
            otlp: file.telemetry.otlp,
        })
    }
}

impl EngineSettings {
    /// From flags alone, for commands without a config file.
    ///
    /// # Errors
    /// If a value is out of range.
    pub(crate) fn from_flags(flags: &EngineFlags) -> Result<EngineSettings, Fault> {
        EngineSettings::from_parts(flags, &EngineSection::default())
    }

    fn from_parts(flags: &EngineFlags, file: &EngineSection) -> Result<EngineSettings, Fault> {
        let device = flags.device.as_deref().or(file.device.as_deref()).unwrap_or("auto").parse()?;
        let pin_threads = flags.pin_threads.as_deref().or(file.pin_threads.as_deref()).unwrap_or("auto");
        let dtype_of_file =
            file.kv_dtype.as_deref().map(str::parse::<KvDtype>).transpose().map_err(Fault::usage)?;
        let kv_cache_bytes = flags.kv_cache_gib.or(file.kv_cache_gib);
        let kv_cache_bytes = kv_cache_bytes.map(|gib| gib_to_bytes("kv_cache_gib", gib)).transpose()?;
        let (host_cache_bytes, host_cache_dir) = host_cache(flags, file)?;
        let size = |flag: Option<NonZeroUsize>, file: Option<NonZeroUsize>, default: usize| {
            flag.or(file).map_or(default, NonZeroUsize::get)
        };
        let max_seqs = size(flags.max_seqs, file.max_seqs, 32);
        let max_batch_tokens = size(flags.max_batch_tokens, file.max_batch_tokens, 512);
        for (name, value, most) in
            [("max_seqs", max_seqs, 4096), ("max_batch_tokens", max_batch_tokens, 1 << 16)]
        {
            if value > most {
                return Err(Fault::usage(format!("{name} is {value}; it can be at most {most}")));
            }
        }
        let max_waiting = file.max_waiting.unwrap_or(256);
        Ok(EngineSettings {
            device,
            threads: flags.threads.or(file.threads),
            pin_threads: pin_threads.parse()?,
            max_seqs,
            max_batch_tokens,
            context: flags.context.or(file.context),
            kv_cache_bytes,
            kv_dtype: flags.kv_dtype.or(dtype_of_file).unwrap_or_default(),
            host_cache_bytes,
            host_cache_dir,
            max_waiting,
            max_waiting_per_key: file.max_waiting_per_key.unwrap_or(max_waiting),
            prefix_cache: file.prefix_cache.unwrap_or(true),
            prompt_lookup: file.prompt_lookup.unwrap_or(true),
            adapter_slots: match file.adapter_slots.unwrap_or(16) {
                slots if slots <= 256 => slots,
                slots => {
                    return Err(Fault::usage(format!("adapter_slots is {slots}; it can be at most 256")));
                }
            },
            adapter_dirs: file.adapter_dirs.clone().unwrap_or_default(),
            adapter_hub: file.adapter_hub.unwrap_or(false),
            batch_invariant: file.batch_invariant.unwrap_or(true),
            on_device_loss: file.on_device_loss.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            max_stall: match file.max_stall_ms.unwrap_or(250) {
                0 => None,
                ms => Some(Duration::from_millis(ms.into())),
            },
        })
    }
}

/// How large the host cache may be, and where it is if not in memory.
fn host_cache(flags: &EngineFlags, file: &EngineSection) -> Result<(u64, Option<PathBuf>), Fault> {
    let gib = flags.host_cache_gib.or(file.host_cache_gib).unwrap_or(0.0);
    let bytes = gib_to_bytes("host_cache_gib", gib)?;
    let dir = flags.host_cache_dir.clone().or_else(|| file.host_cache_dir.clone());
    if bytes > 0 && file.prefix_cache == Some(false) {
        return Err(Fault::usage(format!(
            "host_cache_gib is {gib} and prefix_cache is false; what is evicted is found by the prefix cache"
        )));
    }
    match dir {
        Some(dir) if bytes == 0 => Err(Fault::usage(format!(
            "host_cache_dir is {} and host_cache_gib is 0; say how much the folder may hold",
            dir.display()
        ))),
        dir => Ok((bytes, dir)),
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

fn gib_to_bytes(name: &str, gib: f64) -> Result<u64, Fault> {
    if (0.0..=65536.0).contains(&gib) {
        Ok((gib * (1u64 << 30) as f64) as u64)
    } else {
        Err(Fault::usage(format!("{name} is {gib}; it must be between 0 and 65536")))
    }
}

/// The type that weights get while loading.
///
/// # Errors
/// If there is none of that name.
pub(crate) fn parse_mix(name: &str) -> Result<Mix, Fault> {
    name.parse().map_err(|e: UnknownMix| Fault::usage(e.to_string()))
}

fn resolve_models(flags: &ServeFlags, file: &[ModelSection]) -> Result<Vec<ModelEntry>, Fault> {
    let mut entries = Vec::new();
    let quantize = flags.engine.quantize.as_deref().map(parse_mix).transpose()?;
    if flags.model.is_empty() {
        for section in file {
            let model = ModelRef::parse(&section.source)?;
            let name = section.name.clone().unwrap_or_else(|| model.name(&section.source));
            let own = section.quantize.as_deref().map(parse_mix).transpose()?;
            let draft = section.draft.as_deref().map(DraftEntry::parse).transpose()?;
            let adapter = |(name, text): (&String, &String)| Ok((name.clone(), AdapterRef::parse(text)?));
            entries.push(ModelEntry {
                name,
                model,
                quantize: quantize.or(own),
                draft,
                adapters: section.adapters.iter().map(adapter).collect::<Result<_, Fault>>()?,
                guard: section.guard.clone(),
            });
        }
    }
    for text in &flags.model {
        let (name, text) = named(text);
        let model = ModelRef::parse(text)?;
        entries.push(ModelEntry::new(name.map_or_else(|| model.name(text), str::to_owned), model, quantize));
    }
    if entries.is_empty() {
        entries.push(ModelEntry::new(TINY.name.to_owned(), ModelRef::Bundled(&TINY), quantize));
    }
    if let Some(text) = &flags.draft_model {
        let [entry] = &mut entries[..] else {
            let message = "--draft-model is for one model; with several, say `draft` in garrison.toml";
            return Err(Fault::usage(message));
        };
        entry.draft = Some(DraftEntry::parse(text)?);
    }
    for text in &flags.adapter {
        let [entry] = &mut entries[..] else {
            let message = "--adapter is for one model; with several, say `adapters` in garrison.toml";
            return Err(Fault::usage(message));
        };
        let (name, path) =
            text.split_once('=')
                .filter(|(name, path)| !name.is_empty() && !path.is_empty())
                .ok_or_else(|| Fault::usage(format!("--adapter \"{text}\" should be NAME=PATH")))?;
        if entry.adapters.insert(name.to_owned(), AdapterRef::parse(path)?).is_some() {
            return Err(Fault::usage(format!("--adapter {name} is given twice; give them different names")));
        }
    }
    let mut names = BTreeSet::new();
    for name in entries.iter().flat_map(|e| std::iter::once(&e.name).chain(e.adapters.keys())) {
        if !names.insert(name) {
            return Err(Fault::usage(format!(
                "two models or adapters are called \"{name}\"; give them different names in garrison.toml"
            )));
        }
    }
    Ok(entries)
}

/// The parts of `NAME=M`. What is there as it is written is `M` alone, and so is what has a slash before
/// the sign: names of files may have one.
fn named(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, model))
            if !name.is_empty() && !name.contains(['/', ':']) && !Path::new(text).exists() =>
        {
            (Some(name), model)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(c.server.host.is_loopback());
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
            ("[server]\nport = \"x\"\n", "line 2"),
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
