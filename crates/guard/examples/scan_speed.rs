//! How fast clean English text passes: unfolding alone, and with the search for attacks; and how long the second look takes
//! where there is doubt.
//!
//!     cargo run --release -p garrison-guard --example scan_speed

use std::time::Instant;

use garrison_guard::injection::encoder::Encoder;
use garrison_guard::injection::judge;
use garrison_guard::injection::pieces::{LONGEST, pieces};
use garrison_guard::normalize::{Limits, unfold};

/// Enough not to be in a cache.
const BYTES: usize = 16 << 20;

/// Made of the innocent English texts that the classifier learned from, so that lines differ.
fn text() -> String {
    let source = include_str!("../corpus/train/innocent.txt");
    let lines: String = source
        .lines()
        .filter(|l| l.is_ascii() && !l.contains(['<', '\\', '=', '%', '#', '&', '[']))
        .collect();
    let plain: String =
        lines.chars().filter(|c| !matches!(c, '{' | '}')).map(|c| if c == '|' { ' ' } else { c }).collect();
    let once = plain.replace('.', ". ");
    let mut text = once.repeat(BYTES / once.len() + 1);
    text.truncate(BYTES);
    text
}

fn main() {
    let text = text();
    let limits = Limits::for_len(text.len());
    let megabytes = text.len() as f64 / 1e6;
    let (mut unfolding, mut judging) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..5 {
        let start = Instant::now();
        let unfolded = unfold(&text, &limits);
        unfolding = unfolding.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let findings = judge(&unfolded);
        judging = judging.min(start.elapsed().as_secs_f64());
        println!("{} readings, {} findings", unfolded.views().len(), findings.len());
    }
    println!("unfolding {:.0} MB/s, attacks {:.0} MB/s", megabytes / unfolding, megabytes / judging);
    for length in [16, 32, LONGEST] {
        let mut pieces = pieces(&text);
        pieces.truncate(length);
        let mut looking = f64::INFINITY;
        for _ in 0..50 {
            let start = Instant::now();
            std::hint::black_box(Encoder::bundled().classes(&pieces));
            looking = looking.min(start.elapsed().as_secs_f64());
        }
        println!("a second look at {length} pieces {:.2} ms", looking * 1e3);
    }
}
