//! Energy that the machine's own counters tell: processors' through RAPL, NVIDIA GPUs' through NVML.
//!
//! It is the whole machine's and not the server's, and means something only where the server is on it. NVML is
//! looked for when a run begins, so this program needs neither a GPU nor a driver; a report without energy says why.

use std::path::{Path, PathBuf};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use serde::{Deserialize, Serialize};

/// Where Linux shows RAPL.
const POWERCAP: &str = "/sys/class/powercap";

/// What one counter counted during a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// E.g. `package-0`, or a GPU's name.
    pub source: String,
    /// Joules.
    pub joules: f64,
}

/// A RAPL domain and its counter in microjoules, which begins anew after `range`.
struct Package {
    name: String,
    counter: PathBuf,
    range: u64,
    begin: u64,
}

/// Counters as they were when something began.
pub struct Meter {
    packages: Vec<Package>,
    /// Index, and millijoules so far.
    gpus: Vec<(u32, u64)>,
    nvml: Option<Nvml>,
    /// Why GPUs say nothing, if they do not.
    silent_gpus: String,
}

/// What was used, or why nobody knows.
pub(crate) struct Readings {
    pub(crate) energy: Vec<Energy>,
    /// A sentence for each kind of counter that says nothing.
    pub(crate) unknown: Vec<String>,
}

impl Meter {
    /// Reads all counters that this process may read; often there are none.
    pub fn start() -> Meter {
        let packages = packages(Path::new(POWERCAP));
        let refuse = |e: NvmlError| match e {
            NvmlError::LibloadingError(e) => format!("of GPUs: NVML cannot be loaded ({e})"),
            e => format!("of GPUs: NVML says {e}"),
        };
        match Nvml::init() {
            Err(e) => Meter { packages, gpus: Vec::new(), nvml: None, silent_gpus: refuse(e) },
            Ok(nvml) => {
                let (gpus, failed) = gpus(&nvml);
                let none = || "of GPUs: NVML knows of none".to_owned();
                let silent_gpus =
                    if gpus.is_empty() { failed.map_or_else(none, refuse) } else { String::new() };
                Meter { packages, gpus, nvml: Some(nvml), silent_gpus }
            }
        }
    }

    /// What was used since then.
    pub(crate) fn read(&self) -> Readings {
        let energy = self.energy();
        let processors = "of processors: no RAPL counter can be read".to_owned();
        let unknown =
            [(self.packages.is_empty(), processors), (self.gpus.is_empty(), self.silent_gpus.clone())];
        let unknown = unknown.into_iter().filter(|(is, _)| *is).map(|(_, why)| why).collect();
        Readings { energy, unknown }
    }

    fn energy(&self) -> Vec<Energy> {
        let of_packages = self.packages.iter().filter_map(|package| {
            let now = number(&package.counter)?;
            let whole = if now >= package.begin { now } else { now.checked_add(package.range)? };
            let used = whole.checked_sub(package.begin)?; // without a range, nobody knows
            Some(Energy { source: package.name.clone(), joules: used as f64 / 1e6 })
        });
        let of_gpus = self.gpus.iter().filter_map(|&(i, begin)| {
            let device = self.nvml.as_ref()?.device_by_index(i).ok()?;
            let used = device.total_energy_consumption().ok()?.checked_sub(begin)?;
            let name = device.name().unwrap_or_else(|_| "GPU".to_owned());
            Some(Energy { source: format!("{name} {i}"), joules: used as f64 / 1e3 })
        });
        of_packages.chain(of_gpus).collect()
    }
}

/// GPUs that count their energy, and why the last that does not does not.
fn gpus(nvml: &Nvml) -> (Vec<(u32, u64)>, Option<NvmlError>) {
    let read = |i| nvml.device_by_index(i)?.total_energy_consumption();
    let (mut gpus, mut failed) = (Vec::new(), None);
    let count = nvml.device_count().unwrap_or_else(|e| {
        failed = Some(e);
        0
    });
    for i in 0..count {
        match read(i) {
            Ok(millijoules) => gpus.push((i, millijoules)),
            Err(e) => failed = Some(e),
        }
    }
    (gpus, failed)
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The whole packages; their parts would count twice.
fn packages(root: &Path) -> Vec<Package> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let package = |folder: PathBuf| {
        let name = std::fs::read_to_string(folder.join("name")).ok()?.trim().to_owned();
        let counter = folder.join("energy_uj");
        let begin = number(&counter)?;
        let range = number(&folder.join("max_energy_range_uj")).unwrap_or(0);
        name.starts_with("package").then_some(Package { name, counter, range, begin })
    };
    entries.flatten().filter_map(|entry| package(entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_may_begin_anew() {
        let root = tempfile::tempdir().unwrap();
        let put = |folder: &str, name: &str, micro: u64| {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            for (file, text) in [
                ("name", name.to_owned()),
                ("energy_uj", micro.to_string()),
                ("max_energy_range_uj", "1000000000".into()),
            ] {
                std::fs::write(folder.join(file), text + "\n").unwrap();
            }
        };
        put("intel-rapl:0", "package-0", 5_000_000);
        put("intel-rapl:0:0", "core", 1_000_000);
        put("intel-rapl:1", "package-1", 999_000_000);
        let packages = packages(root.path());
        let meter = Meter { packages, gpus: Vec::new(), nvml: None, silent_gpus: "of GPUs: none".to_owned() };
        put("intel-rapl:0", "package-0", 7_500_000);
        put("intel-rapl:0:0", "core", 9_000_000);
        put("intel-rapl:1", "package-1", 2_000_000);
        let Readings { energy: mut read, unknown } = meter.read();
        assert_eq!(unknown, ["of GPUs: none"]);
        read.sort_by(|a, b| a.source.cmp(&b.source));
        let read: Vec<_> = read.iter().map(|e| (e.source.as_str(), e.joules)).collect();
        assert_eq!(read, [("package-0", 2.5), ("package-1", 3.0)]);
    }

    #[test]
    fn a_machine_without_counters_tells_nothing() {
        assert!(packages(Path::new("/nowhere")).is_empty());
    }
}
