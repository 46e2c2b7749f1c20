//! `garrison bench`: flags become what [`garrison_bench`] runs, and what it measured a report.

mod engine;
pub(crate) mod flags;
mod serve;

use std::io::IsTerminal;
use std::path::Path;

use garrison_bench::report::Styling;
use garrison_bench::{Completeness, Document, report};

use self::flags::{BenchCommand, Outputs};
use crate::error::Fault;
use crate::output;

/// Runs `garrison bench`.
///
/// # Errors
/// If nothing could be measured, or a file not be read or written.
pub(crate) fn run(command: &BenchCommand) -> Result<(), Fault> {
    match command {
        BenchCommand::Serve(flags) => serve::run(flags),
        BenchCommand::Engine(flags) => engine::run(flags),
        BenchCommand::Compare { a, b } => {
            let comparison = report::comparison_of_files(&read(a)?, &read(b)?);
            show(&comparison.map_err(|e| Fault::usage(e.to_string()))?)
        }
        BenchCommand::Report { file, outputs } => publish(&read(file)?, outputs),
    }
}

fn read(path: &Path) -> Result<Document, Fault> {
    Document::read(path).map_err(|e| Fault::usage(e.to_string()))
}

/// Shows a document, and writes the files that were asked for.
fn publish(document: &Document, outputs: &Outputs) -> Result<(), Fault> {
    let text = report::markdown(document);
    if let Some(path) = &outputs.markdown {
        write(path, &text)?;
    }
    if let Some(path) = &outputs.html {
        write(path, &report::html(document))?;
    }
    show(&text)?;
    if document.completeness == Completeness::Interrupted {
        return Err(Fault::failed("the run was stopped before its end"));
    }
    if document.runs.iter().all(|run| run.summary.requests.answered == 0) {
        return Err(Fault::failed("no measured request was answered"));
    }
    Ok(())
}

/// Shows a report: as Markdown, or with columns that stand below each other where a person looks.
fn show(markdown: &str) -> Result<(), Fault> {
    if !std::io::stdout().is_terminal() {
        return output::show(markdown);
    }
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    output::show(&report::terminal(markdown, if plain { Styling::Plain } else { Styling::Ansi }))
}

fn write(path: &Path, text: &str) -> Result<(), Fault> {
    std::fs::write(path, text)
        .map_err(|e| Fault::failed(format!("{} cannot be written: {e}", path.display())))
}
