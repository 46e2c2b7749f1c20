//! `[engine]`: what runs models, and how much of it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use garrison_device::KvDtype;
use serde::Deserialize;

use crate::error::Fault;
use crate::flags::EngineFlags;

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
pub(super) struct EngineSection {
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
    pub(super) max_waiting_per_key: Option<usize>,
    prefix_cache: Option<bool>,
    prompt_lookup: Option<bool>,
    max_stall_ms: Option<u32>,
    pub(super) adapter_slots: Option<usize>,
    adapter_dirs: Option<Vec<PathBuf>>,
    adapter_hub: Option<bool>,
    batch_invariant: Option<bool>,
    on_device_loss: Option<String>,
}

impl EngineSettings {
    /// From flags alone, for commands without a config file.
    ///
    /// # Errors
    /// If a value is out of range.
    pub(crate) fn from_flags(flags: &EngineFlags) -> Result<EngineSettings, Fault> {
        EngineSettings::from_parts(flags, &EngineSection::default())
    }

    /// From both, flags first.
    pub(super) fn from_parts(flags: &EngineFlags, file: &EngineSection) -> Result<EngineSettings, Fault> {
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

fn gib_to_bytes(name: &str, gib: f64) -> Result<u64, Fault> {
    if (0.0..=65536.0).contains(&gib) {
        Ok((gib * (1u64 << 30) as f64) as u64)
    } else {
        Err(Fault::usage(format!("{name} is {gib}; it must be between 0 and 65536")))
    }
}
