//! `garrison bench engine`.

use std::time::Instant;

use garrison_bench::engine::{EngineDocument, EngineRun, Kind, Limits, Plan, Row, SCHEMA, Work};
use garrison_bench::{Completeness, Machine};
use garrison_device::{BLOCK_SIZE, Device, KvShape};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_model::{Model, ModelSummary};

use super::flags::EngineFlags;
use crate::config::PinThreads;
use crate::error::Fault;
use crate::source::{ModelRef, TINY};
use crate::{backend, load};

/// Runs it.
///
/// # Errors
/// If the model cannot be loaded, or memory is short.
pub(super) fn run(flags: &EngineFlags) -> Result<(), Fault> {
    let named = flags.model.as_deref().unwrap_or(TINY.name);
    let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("model {named}: {e}"));
    let options =
        CpuOptions { threads: load::threads(flags.threads), isa: flags.isa.unwrap_or_else(Isa::detect) };
    let nodes = backend::nodes(PinThreads::Auto);
    let device = CpuDevice::on_nodes(options, &nodes).map_err(|e| Fault::usage(e.to_string()))?;
    let started = Instant::now();
    let source = ModelRef::parse(named)?.open()?;
    let summary = ModelSummary::read(&source).map_err(|e| refuse(&e))?;
    let model = Model::load(&source, &device, |_| {}).map_err(|e| refuse(&e))?;
    let load_seconds = started.elapsed().as_secs_f64();
    let plan = Plan {
        batches: flags.batch.iter().map(|n| n.get()).collect(),
        prompts: flags.prompt_tokens.iter().map(|n| n.get()).collect(),
        generated: flags.gen_tokens.get(),
        depths: flags.depth.clone(),
        repetitions: flags.repetitions.get(),
        step_tokens: flags.max_batch_tokens.get(),
    };
    let limits = limits_of(&device);
    let spec = &summary.spec;
    let (n_kv_heads, head_dim) = (spec.n_kv_heads, spec.head_dim);
    let block = device.kv_block_bytes(&KvShape { n_blocks: 1, n_kv_heads, head_dim, dtype: flags.kv_dtype });
    let work = Work::new(&summary, block as f64 / BLOCK_SIZE as f64);
    let mut run = EngineRun::new(&device, &model, plan, flags.kv_dtype).map_err(|e| refuse(&e))?;
    let mut document = EngineDocument {
        schema: SCHEMA.to_owned(),
        garrison: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::here(),
        model: format!("{named}: {summary}"),
        device: format!("cpu, {} threads, {:?}", options.threads, options.isa),
        load_seconds,
        peak_resident_bytes: 0,
        limits,
        completeness: Completeness::Killed,
        rows: Vec::new(),
    };
    // After every row, so that a kill leaves what was measured.
    let keep = |document: &EngineDocument| match &flags.json {
        Some(path) => document.write(path).map_err(|e| Fault::failed(e.to_string())),
        None => Ok(()),
    };
    keep(&document)?; // a file that cannot be written is told before anything is measured
    let take = |row: Row| {
        let kind = if row.kind == Kind::Prefill { "prefill" } else { "decode" };
        eprintln!(
            "{kind} batch {} tokens {} depth {}: {:.1} tokens/s",
            row.batch,
            row.tokens,
            row.depth,
            row.best()
        );
        document.rows.push(row);
        document.peak_resident_bytes = peak_resident_bytes();
        // A disk that is full now may not be at the end, where it is told.
        let _ = keep(&document);
    };
    run.rows(&work, &limits, take).map_err(|e| Fault::failed(e.to_string()))?;
    document.hold_against(limits_of(&device));
    document.completeness = Completeness::Complete;
    keep(&document)?;
    super::show(&document.markdown())
}

/// What the machine can do right now.
fn limits_of(device: &CpuDevice) -> Limits {
    let measured = device.limits();
    Limits {
        read_bytes_per_second: measured.read_bytes_per_second,
        int8_ops_per_second: measured.int8_ops_per_second,
        f32_ops_per_second: measured.f32_ops_per_second,
    }
}

/// The most memory that this process had; 0 where the system does not tell.
fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}
