//! How texts fare that were not learned from.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use garrison_guard::injection::classifier::{Place, places};
use garrison_guard::injection::second::{look, reads};

use crate::{Failure, read};

/// What the networks and the encoder say of each place of a text that the networks doubt at all.
type Said = Vec<(f32, f32)>;

/// Lower than any border that is worth a thought.
const LEAST: f32 = -1.0;

struct Set {
    texts: Vec<Said>,
    bytes: usize,
}

fn said(text: &str) -> Said {
    let both = |place: &Place| {
        let around = &text[place.around.clone()];
        // What it cannot read has to be judged by the networks alone.
        (place.odds, if reads(around) { look(around).attack() } else { 0.0 })
    };
    places(text, LEAST).iter().map(both).collect()
}

pub(crate) fn report(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut sets: BTreeMap<String, Set> = BTreeMap::new();
    let mut add = |name: &str, text: &str| {
        let set = sets.entry(name.to_owned()).or_insert_with(|| Set { texts: Vec::new(), bytes: 0 });
        set.texts.push(said(text));
        set.bytes += text.len();
    };
    for path in paths {
        if path.is_dir() {
            let [innocent, attacks] = read(path, 1)?;
            innocent.iter().for_each(|line| add("innocent lines", &line.text));
            for line in &attacks {
                add("attacks", &line.text);
                add(&format!("attacks: {}", line.kind), &line.text);
            }
            continue;
        }
        for line in fs::read_to_string(path)?.lines() {
            let value: serde_json::Value = serde_json::from_str(line)?;
            add(value["set"].as_str().unwrap_or_default(), value["text"].as_str().unwrap_or_default());
        }
    }
    for (name, set) in &sets {
        println!("{name}: {} texts, {} kB", set.texts.len(), set.bytes / 1024);
    }
    for doubt in [LEAST, 0.0, 1.0, 2.0] {
        let looks = |set: &Set| {
            let asked = set.texts.iter().flatten().filter(|(networks, _)| *networks > doubt).count();
            format!("{:.3}", asked as f32 / (set.bytes as f32 / 1024.0))
        };
        println!("looks a kilobyte where the networks say more than {doubt}: {}", row(&sets, looks));
    }
    for alone in (0..=14).map(|half| half as f32 / 2.0) {
        println!("networks alone, above {alone}: {}", row(&sets, |set| share(set, |n, _| n > alone)));
    }
    for doubt in [LEAST, 0.0, 1.0, 2.0] {
        for both in (0..=24).map(|half| half as f32 / 2.0) {
            let above = |networks, encoder| networks > doubt && networks + encoder > both;
            println!("asked above {doubt}, sum above {both}: {}", row(&sets, |set| share(set, above)));
        }
    }
    Ok(())
}

fn row(sets: &BTreeMap<String, Set>, of: impl Fn(&Set) -> String) -> String {
    sets.iter().map(|(name, set)| format!("{} of {name}", of(set))).collect::<Vec<_>>().join(", ")
}

/// The part of the texts that have a place for which this holds.
fn share(set: &Set, holds: impl Fn(f32, f32) -> bool) -> String {
    let held = set.texts.iter().filter(|said| said.iter().any(|(n, e)| holds(*n, *e))).count();
    format!("{:.2}%", 100.0 * held as f32 / set.texts.len() as f32)
}
