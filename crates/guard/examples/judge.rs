//! How much of each of several sets of texts is blocked as an attack: a row for each.
//!
//!     benches/guard/public | cargo run --release -p garrison-guard --example judge
//!
//! A line of input is `{"set": "name", "text": "…"}`; with `SHOW=name`, the texts of that set that are not blocked
//! are written to standard error.

use std::collections::BTreeMap;
use std::io::BufRead;

use garrison_guard::injection::judge;
use garrison_guard::normalize::{Limits, unfold};
use serde::Deserialize;

#[derive(Deserialize)]
struct Text {
    set: String,
    text: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let show = std::env::var("SHOW").unwrap_or_default();
    let mut sets: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let Text { set, text } = serde_json::from_str(&line?)?;
        let blocked = !judge(&unfold(&text, &Limits::for_len(text.len()))).is_empty();
        if set == show && !blocked {
            eprintln!("{text:?}");
        }
        let counts = sets.entry(set).or_default();
        counts.0 += 1;
        counts.1 += usize::from(blocked);
    }
    println!("| set | texts | blocked |\n| --- | ---: | ---: |");
    for (set, (texts, blocked)) in sets {
        println!("| {set} | {texts} | {:.1}% |", 100.0 * blocked as f64 / texts as f64);
    }
    Ok(())
}
