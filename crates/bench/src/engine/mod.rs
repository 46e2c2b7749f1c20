//! `bench engine`: prefill and decode speed of a model in this process, row by row, and how far each is from
//! what the machine allows.
//!
//! Key decision: the limits are measured in the same run, and what a row needs (bytes to read, operations)
//! is counted from the model's shape. So a percentage means the same on every machine, and a slow machine is
//! not a slow engine. A model that fits into the processor's caches can be faster than memory allows.
//!
//! The result file's schema is `schema/engine-1.json` beside this crate's sources.

mod count;
mod measure;

use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use count::{Limits, Need, Work};
pub use measure::{EngineRun, Plan};

use crate::document::{Completeness, DocumentError, Machine, write_at_once};
use crate::figure::{Distribution, Figure};
use crate::report::{number, span};

/// Names the format and its version.
pub const SCHEMA: &str = "garrison-bench-engine/1";

/// What a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Reading prompts.
    Prefill,
    /// Writing answers.
    Decode,
}

/// One combination of batch, length and depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What is measured.
    pub kind: Kind,
    /// Sequences at once.
    pub batch: usize,
    /// Tokens of each: of its prompt, or generated.
    pub tokens: usize,
    /// Tokens of each that were there before.
    pub depth: usize,
    /// `[repetitions]` tokens per second.
    pub tokens_per_second: Vec<f64>,
    /// Their mean, with an interval from five repetitions on.
    pub mean: Figure,
    /// What it needs.
    pub need: Need,
    /// Share of the machine's limit that the best repetition reached.
    pub share_of_limit: f64,
}

impl Row {
    fn new(
        (kind, batch, tokens, depth): (Kind, usize, usize, usize),
        tokens_per_second: Vec<f64>,
        need: Need,
        limits: &Limits,
    ) -> Row {
        let mean = Distribution::of(tokens_per_second.clone()).map_or(Figure::bare(0.0), |d| d.mean);
        let mut row = Row { kind, batch, tokens, depth, tokens_per_second, mean, need, share_of_limit: 0.0 };
        row.hold_against(limits);
        row
    }

    fn hold_against(&mut self, limits: &Limits) {
        self.share_of_limit = self.need.seconds(limits) * self.best() / (self.batch * self.tokens) as f64;
    }

    /// The best repetition: others only ever slow it down.
    pub fn best(&self) -> f64 {
        self.tokens_per_second.iter().copied().fold(0.0, f64::max)
    }
}

/// The result file of `bench engine`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineDocument {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version that wrote it.
    pub garrison: String,
    /// Where it ran.
    pub machine: Machine,
    /// What was run, in words.
    pub model: String,
    /// What computed it, in words.
    pub device: String,
    /// Seconds to load the model.
    pub load_seconds: f64,
    /// The most memory that the process had.
    pub peak_resident_bytes: u64,
    /// What the machine can do, measured in this run.
    pub limits: Limits,
    /// Whether all rows that were planned are there: while they are measured it says killed, which is what it is if
    /// nobody writes the file again.
    pub completeness: Completeness,
    /// The rows.
    pub rows: Vec<Row>,
}

impl EngineDocument {
    /// Takes limits that were measured again, after the rows: of each the better counts, for all rows. Measured once, in
    /// a moment in which others used the machine, rows would look faster than it.
    pub fn hold_against(&mut self, limits: Limits) {
        self.limits = self.limits.or_better(limits);
        for row in &mut self.rows {
            row.hold_against(&self.limits);
        }
    }

    /// Writes it as JSON, at once.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), DocumentError> {
        let json = serde_json::to_vec_pretty(self).map_err(|e| DocumentError::new(path, e))?;
        write_at_once(path, &json)
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.tables(&mut out);
        out
    }

    fn tables(&self, out: &mut String) -> std::fmt::Result {
        let Limits { read_bytes_per_second, int8_ops_per_second, f32_ops_per_second } = self.limits;
        writeln!(out, "{}\n{}, {}", self.model, self.device, self.machine.processor)?;
        writeln!(
            out,
            "limits, measured now: reads {:.1} GB/s, {:.0} Gop/s in 8 bits, {:.0} Gop/s in f32",
            read_bytes_per_second / 1e9,
            int8_ops_per_second / 1e9,
            f32_ops_per_second / 1e9
        )?;
        writeln!(
            out,
            "loaded in {:.2} s; at most {:.3} GB resident\n",
            self.load_seconds,
            self.peak_resident_bytes as f64 / 1e9
        )?;
        writeln!(
            out,
            "| | batch | tokens | depth | tokens/s, best | mean | 95% interval | GB | Gop | bound by | % of limit |"
        )?;
        writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | :---: | ---: | ---: | --- | ---: |")?;
        for row in &self.rows {
            let bound = if row.need.is_bound_by_reading(&self.limits) { "reading" } else { "computing" };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {:.2} | {:.1} | {bound} | {:.0} |",
                if row.kind == Kind::Prefill { "prefill" } else { "decode" },
                row.batch,
                row.tokens,
                row.depth,
                number(row.best()),
                number(row.mean.value),
                span(&row.mean),
                row.need.bytes / 1e9,
                (row.need.int8_ops + row.need.f32_ops) / 1e9,
                row.share_of_limit * 100.0
            )?;
        }
        Ok(())
    }
}
