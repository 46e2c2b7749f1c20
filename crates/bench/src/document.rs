//! The result file: what was measured, on what, and every record, so that it can be summed up again.
//!
//! Its schema is `schema/serve-1.json` beside this crate's sources. The number after the slash goes up when
//! something that readers rely on changes; what they do not know they should skip.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::energy::Energy;
use crate::load::{Ending, Endpoint, Load};
use crate::record::{Record, window_of};
use crate::series::{Second, series};
use crate::summary::{Goals, Summary};

/// Names the format and its version.
pub const SCHEMA: &str = "garrison-bench-serve/1";

/// Larger files are not read.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Where something ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Threads it offers this process.
    pub cores: usize,
    /// The kernel.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, n)| n));
        Machine {
            processor: name.unwrap_or("unknown").trim().to_owned(),
            cores: std::thread::available_parallelism().map_or(0, |n| n.get()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// A server that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its address.
    pub url: String,
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// The models asked for.
    pub models: Vec<String>,
    /// What it costs an hour, if told.
    pub usd_per_hour: Option<f64>,
}

/// Whether all that was planned was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// It was.
    Complete,
    /// Somebody stopped it.
    Interrupted,
    /// Read from what a run left that was killed.
    Killed,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Index into the servers.
    pub server: usize,
    /// Rounds compare servers under the same requests.
    pub round: usize,
    /// How requests followed each other.
    pub load: Load,
    /// Of arrivals and prompts.
    pub seed: u64,
    /// When measured requests began to be due.
    pub window_ms: Option<f64>,
    /// Processor time that the harness took, in seconds of one core a second.
    pub harness_cores: Option<f64>,
    /// What counters of energy said.
    #[serde(default)]
    pub energy: Vec<Energy>,
    /// Which counters said nothing, and why.
    #[serde(default)]
    pub energy_unknown: Vec<String>,
    /// The figures.
    pub summary: Summary,
    /// `[seconds]`
    pub series: Vec<Second>,
    /// Every request.
    #[serde(default)]
    pub records: Vec<Record>,
}

impl Run {
    /// Sums records up.
    pub(crate) fn sum_up(&mut self, goals: Goals) {
        self.window_ms = window_of(&self.records);
        self.summary = Summary::new(&self.records, goals);
        self.series = series(&self.records);
    }

    /// A run without requests yet.
    pub(crate) fn begin(server: usize, round: usize, load: Load, seed: u64) -> Run {
        Run {
            server,
            round,
            load,
            seed,
            window_ms: None,
            harness_cores: None,
            energy: Vec::new(),
            energy_unknown: Vec::new(),
            summary: Summary::new(&[], Goals::default()),
            series: Vec::new(),
            records: Vec::new(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version that wrote it.
    pub garrison: String,
    /// Seconds since 1970 when it began.
    pub started_unix: u64,
    /// Where the harness ran.
    pub machine: Machine,
    /// What was measured.
    pub servers: Vec<Server>,
    /// What was asked.
    pub dataset: String,
    /// What answers should keep to.
    pub goals: Goals,
    /// What a search for the highest rate found.
    #[serde(default)]
    pub search: Option<crate::search::Found>,
    /// Whether all was done.
    pub completeness: Completeness,
    /// In the order in which they ran.
    pub runs: Vec<Run>,
}

/// A result file that is none.
#[derive(Debug, Error)]
#[error("{path}: {reason}")]
pub struct DocumentError {
    path: String,
    reason: String,
}

impl DocumentError {
    pub(crate) fn new(path: &Path, reason: impl ToString) -> DocumentError {
        DocumentError { path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// Writes a file so that a reader finds the old one or the new one, never a part.
pub(crate) fn write_at_once(path: &Path, bytes: &[u8]) -> Result<(), DocumentError> {
    let beside = path.with_added_extension("new");
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|e| DocumentError::new(path, e))
}

impl Document {
    /// Notes how the last run ended.
    pub(crate) fn ends(&mut self, ending: Ending) {
        if ending == Ending::Interrupted {
            self.completeness = Completeness::Interrupted;
        }
    }

    /// Writes it at once: a reader finds the old file or the new one, never a part.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), DocumentError> {
        let json = serde_json::to_vec(self).map_err(|e| DocumentError::new(path, e))?;
        write_at_once(path, &json)
    }

    /// Reads a result file, or what a killed run left of one.
    ///
    /// # Errors
    /// If it is neither, or of a version that is not known.
    pub fn read(path: &Path) -> Result<Document, DocumentError> {
        let refuse = |e: &dyn ToString| DocumentError::new(path, e.to_string());
        let size = std::fs::metadata(path).map_err(|e| refuse(&e))?.len();
        if size > MAX_FILE_BYTES {
            return Err(refuse(&format!("{size} bytes are more than any result")));
        }
        let bytes = std::fs::read(path).map_err(|e| refuse(&e))?;
        // A kill may have cut a character in two.
        let text = String::from_utf8_lossy(&bytes);
        let document = match serde_json::from_str(&text) {
            Ok(document) => document,
            Err(e) => crate::journal::restore(&text).ok_or_else(|| refuse(&e))?,
        };
        let Document { schema, .. } = &document;
        if schema != SCHEMA {
            return Err(refuse(&format!("its schema is \"{schema}\"; this program reads \"{SCHEMA}\"")));
        }
        Ok(document)
    }
}
