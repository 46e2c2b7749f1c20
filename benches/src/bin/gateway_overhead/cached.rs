//! What an answer takes that is given again, to an equal request and to one that is alike, beside one that is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::{Connection, Target};
use crate::{Outcome, quantile};

/// Prints how long answers took, by what the cache had to do with them.
///
/// # Errors
/// If a request fails.
pub(crate) fn run(target: &Target, requests: usize) -> Outcome<()> {
    let mut connection = Connection::open(target)?;
    let mut times: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for n in 0..requests {
        // Each question is new and like the others; then it is asked once more.
        let text = format!("Please tell me briefly how the valve number {n} in the cellar is opened.");
        for _ in 0..2 {
            let (time, cache) = connection.same(&text, 16)?;
            // What comes after the first tenth: connections are there, and something was learned.
            if n >= requests / 10 {
                times.entry(cache).or_default().push(time);
            }
        }
    }
    println!(
        "\n| an answer of 16 tokens at temperature 0, {}, us | n | p50 | p99 |\n| --- | ---: | ---: | ---: |",
        target.name
    );
    for (cache, times) in &mut times {
        let (p50, p99) = (quantile(times, 0.5), quantile(times, 0.99));
        println!("| {cache} | {} | {p50:.0} | {p99:.0} |", times.len());
    }
    Ok(())
}
