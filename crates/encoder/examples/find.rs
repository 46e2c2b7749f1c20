//! What a model of names finds in a file: a line for each, with bytes, and how long it took.
//!
//!     cargo run --release -p garrison-encoder --example find -- MODEL FILE
//!
//! MODEL is a folder with config.json, model.safetensors and tokenizer.json, or a manifest.

use std::path::Path;
use std::time::{Duration, Instant};

use garrison_encoder::NameDetector;
use garrison_guard::Budget;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (model, file) = (arguments.next().ok_or("which model?")?, arguments.next().ok_or("which file?")?);
    let budget = Budget { start: Duration::from_secs(3600), per_kilobyte: Duration::ZERO };
    let names = NameDetector::load(Path::new(&model), budget)?;
    let text = std::fs::read_to_string(&file)?;
    let start = Instant::now();
    let found = names.find(&text)?;
    for span in &found {
        println!(
            "{file}:{}-{}: {} ({:.0}%)",
            span.range.start,
            span.range.end,
            span.label,
            span.score * 100.0
        );
    }
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    eprintln!(
        "{} found, {:.2} ms a kilobyte",
        found.len(),
        milliseconds / (text.len() as f64 / 1024.0).max(1e-3)
    );
    Ok(())
}
