//! How fast a core scans a file: `cargo run --release -p garrison-guard --example speed -- FILE [ROUNDS]`.
use std::time::Instant;

use garrison_guard::{ScanConfig, Scanner};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which file?")?;
    let rounds: usize = arguments.next().map_or(Ok(5), |n| n.parse())?;
    let text = std::fs::read_to_string(file)?;
    let scanner = Scanner::new(&ScanConfig::default())?;
    // Tables are made on first use.
    scanner.scan(&text[..text.floor_char_boundary(10_000)]);
    let mut best = f64::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        std::hint::black_box(scanner.scan(&text));
        best = best.min(start.elapsed().as_secs_f64());
    }
    let megabytes = text.len() as f64 / 1e6;
    println!(
        "{megabytes:.1} MB, {} findings, {:.1} MB/s (the best of {rounds})",
        scanner.scan(&text).len(),
        megabytes / best
    );
    Ok(())
}
