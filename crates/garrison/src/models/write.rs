//! `models quantize` and `models synth`: files made from other files, and from nothing.

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use garrison_gguf::quantize::{Progress, quantize_file};
use garrison_gguf::synth::{self, Shape};

use crate::config::parse_mix;
use crate::error::Fault;
use crate::load::threads;
use crate::source::ModelRef;

/// Writes `input` in another quantization.
///
/// # Errors
/// If the type is not known, the input is no model, or the output cannot be written.
pub(super) fn quantize(input: &str, output: &Path, ty: &str, n: Option<NonZeroUsize>) -> Result<(), Fault> {
    let mix = parse_mix(ty)?;
    let model = ModelRef::parse(input)?;
    if let ModelRef::Path(path) = &model
        && output.canonicalize().is_ok_and(|out| path.canonicalize().is_ok_and(|path| path == out))
    {
        return Err(Fault::usage(format!(
            "{input} would be overwritten while it is read; choose another output"
        )));
    }
    let source = model.open()?;
    let started = Instant::now();
    quantize_file(&source, output, mix, threads(n).get(), &mut show)
        .map_err(|e| Fault::failed(format!("{input}: {e}")))?;
    finish(output, started)
}

/// Writes a model of a known shape with random weights.
///
/// # Errors
/// If shape or type are not known, or the output cannot be written.
pub(super) fn synth(
    preset: &str,
    ty: &str,
    output: &Path,
    seed: u64,
    n: Option<NonZeroUsize>,
) -> Result<(), Fault> {
    let shape = Shape::preset(preset).map_err(|e| Fault::usage(e.to_string()))?;
    let mix = parse_mix(ty)?;
    let started = Instant::now();
    synth::synth(&shape, mix, seed, output, threads(n).get()).map_err(|e| Fault::failed(e.to_string()))?;
    finish(output, started)
}

fn show(p: Progress<'_>) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{}/{} {} → {}", p.done + 1, p.total, p.tensor.name, p.to);
        let _ = stderr.flush(); // progress is only comfort
    }
}

fn finish(output: &Path, started: Instant) -> Result<(), Fault> {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let bytes = output.metadata().map_err(|e| Fault::failed(format!("{}: {e}", output.display())))?.len();
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    crate::output::show(&format!(
        "{}: {:.1} MB in {seconds:.1} s, {:.0} MB/s\n",
        output.display(),
        bytes as f64 / 1e6,
        bytes as f64 / 1e6 / seconds
    ))
}
