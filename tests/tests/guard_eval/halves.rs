//! What a draw says of mends that were made after half of it had been looked at: names and frames are parted by lot, and only
//! misses of one half's names in its frames are shown. Names and frames of the other half are as unseen as a new draw's by the
//! same author.
//!
//! `cargo test -p garrison-tests --test guard_eval -- --ignored --nocapture halves`

use std::collections::BTreeMap;

use garrison_guard::{ScanConfig, Scanner};

use super::draw::Draw;
use super::frames::{Set, frames, labels};
use super::{TEXTS, value};

/// Seed of the lot.
const LOT: u64 = 17_320_508;

#[derive(Clone, Copy, Default)]
struct Half {
    found: usize,
    texts: usize,
    false_alarms: usize,
}

/// The half of a text, by lot.
fn half(text: &str) -> usize {
    let seed = text.bytes().fold(LOT, |seed, b| (seed ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (Draw::new(seed).next() >> 63) as usize
}

#[test]
#[ignore = "prints misses of the half that may be looked at"]
fn halves_of_the_newest_draw() {
    let set = Set::Tenth;
    let scanner = Scanner::new(&ScanConfig::default()).unwrap();
    let mut draw = Draw::new(LOT);
    let mut scores: BTreeMap<&str, [Half; 2]> = BTreeMap::new();
    for (entity, labels) in labels(set) {
        let mut templates: [Vec<String>; 2] = Default::default();
        for (language, label) in *labels {
            for (_, of) in frames(set).into_iter().filter(|(of, _)| of.is_empty() || of == language) {
                // A frame that names the value itself is in the half of its own.
                for frame in of.iter().filter(|frame| !frame.contains("{L}") || half(frame) == half(label)) {
                    templates[half(frame)].push(frame.replace("{L}", label));
                }
            }
        }
        for (which, templates) in templates.iter().enumerate().filter(|(_, all)| !all.is_empty()) {
            let score = &mut scores.entry(entity).or_default()[which];
            for i in 0..TEXTS {
                let value = value(set, entity, &mut draw);
                let (before, after) = templates[i * 7919 % templates.len()].split_once("{V}").unwrap();
                let text = format!("{before}{value}{after}");
                let place = before.len()..before.len() + value.len();
                let findings = scanner.scan(&text);
                let hit = |f: &garrison_guard::Finding| scanner.name(f.entity) == *entity && f.range == place;
                score.texts += 1;
                score.found += usize::from(findings.iter().any(hit));
                score.false_alarms += findings.iter().filter(|f| !hit(f)).count();
                if which == 0 && (!findings.iter().any(hit) || findings.len() > 1) {
                    let other: Vec<_> =
                        findings.iter().map(|f| (scanner.name(f.entity), &text[f.range.clone()])).collect();
                    println!("{entity}: {value:?} in {text:?}: {other:?}");
                }
            }
        }
    }
    println!(
        "| entity | recall | precision | not looked at: recall | precision |\n| --- | ---: | ---: | ---: | ---: |"
    );
    for (entity, halves) in scores {
        let shown = halves.map(|half| {
            let (found, alarms) = (half.found as f64, half.false_alarms as f64);
            format!(
                "{:.1} | {:.1}",
                100.0 * found / half.texts as f64,
                100.0 * found / (found + alarms).max(1.0)
            )
        });
        println!("| {entity} | {} |", shown.join(" | "));
    }
}
