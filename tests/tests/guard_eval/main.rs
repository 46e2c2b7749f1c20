//! How well the guard finds each structured entity, on texts that are generated.
//!
//! What is judged and what judges it are kept apart: values are built here from what the authorities
//! publish, by code that calls nothing of the guard ([`values`]), and put into frames ([`frames`]) of
//! which one set was worked with and another is only judged by, with a seed of its own. Beside them
//! are texts with nothing in them ([`innocent`]). A find counts if it has the right entity and exactly
//! the value's bytes; anything else it finds is a false alarm.
//!
//! `cargo test -p garrison-tests --test guard_eval -- --nocapture` prints the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod draw;
mod eighth;
mod eighth_frames;
mod fifth;
mod fourth;
mod frames;
mod halves;
mod innocent;
mod ninth;
mod ninth_frames;
mod ninth_labels;
mod seventh;
mod seventh_frames;
mod sixth;
mod tenth;
mod tenth_frames;
mod tenth_labels;
mod values;

use std::collections::BTreeMap;

use draw::Draw;
use eighth::EIGHTH;
use fifth::FIFTH;
use fourth::FOURTH;
use frames::{Set, frames, labels};
use garrison_guard::{ScanConfig, Scanner};
use seventh::SEVENTH;
use sixth::SIXTH;
use values::FIRST;

/// Texts with a value, for each entity.
const TEXTS: usize = 1000;
/// Texts without one.
const INNOCENT: usize = 10_000;
const RECALL: f64 = 0.995;
const PRECISION: f64 = 0.97;
/// Recall and precision of what is still below the bar in a draw since it was judged the first time: it may not fall. Keys
/// that are UUIDs count only right behind a word for one; what the ninth's are is told in benches/guard/NOTES.md.
const BELOW: &[(Set, &str, f64, f64)] = &[
    (Set::Eighth, "API_KEY", 0.98, 0.97),
    (Set::Ninth, "API_KEY", 0.99, 0.97),
    (Set::Ninth, "IT_VAT", 0.975, 0.97),
    (Set::Ninth, "SE_PERSONAL_NUMBER", 0.99, 0.97),
    (Set::Tenth, "UK_NINO", 0.99, 0.97),
];

#[derive(Default)]
struct Score {
    templates: usize,
    found: usize,
    missed: usize,
    false_alarms: usize,
    examples: Vec<String>,
}

/// Every template of an entity: a frame and what the value is called in it.
fn templates(set: Set, labels: &[(&str, &str)]) -> Vec<String> {
    let mut all = Vec::new();
    for (language, label) in labels {
        let fitting = frames(set).into_iter().filter(|(of, _)| of.is_empty() || of == language);
        all.extend(fitting.flat_map(|(_, frames)| frames).map(|frame| frame.replace("{L}", label)));
    }
    all.sort();
    all.dedup();
    all
}

pub(crate) fn value(set: Set, entity: &str, draw: &mut Draw) -> String {
    let values = match set {
        Set::Development if draw.range(0, 1) == 0 => &FIRST,
        Set::Development => &FOURTH,
        Set::Fifth => &FIFTH,
        Set::Sixth => &SIXTH,
        Set::Seventh => &SEVENTH,
        Set::Eighth => &EIGHTH,
        Set::Ninth => return ninth::value(entity, draw),
        Set::Tenth => return tenth::value(entity, draw),
    };
    values.value(entity, draw)
}

fn judge(set: Set, seed: u64) -> BTreeMap<String, Score> {
    let scanner = Scanner::new(&ScanConfig::default()).unwrap();
    let mut draw = Draw::new(seed);
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let alarm = |scores: &mut BTreeMap<String, Score>, name: &str, text: &str, value: &str| {
        let score = scores.entry(name.to_owned()).or_default();
        score.false_alarms += 1;
        score.examples.push(format!("false: {value:?} in {text:?}"));
    };
    for (entity, labels) in labels(set) {
        let templates = templates(set, labels);
        scores.entry((*entity).to_owned()).or_default().templates = templates.len();
        for i in 0..TEXTS {
            let value = value(set, entity, &mut draw);
            let (before, after) = templates[i % templates.len()].split_once("{V}").unwrap();
            let text = format!("{before}{value}{after}");
            let place = before.len()..before.len() + value.len();
            let mut hit = false;
            for finding in scanner.scan(&text) {
                let name = scanner.name(finding.entity);
                if name == *entity && finding.range == place {
                    hit = true;
                } else {
                    alarm(&mut scores, name, &text, &text[finding.range]);
                }
            }
            let score = scores.entry((*entity).to_owned()).or_default();
            if hit {
                score.found += 1;
            } else {
                score.missed += 1;
                score.examples.push(format!("missed: {text:?}"));
            }
        }
    }
    for _ in 0..INNOCENT {
        let text = innocent::text(set, &mut draw);
        for finding in scanner.scan(&text) {
            alarm(&mut scores, scanner.name(finding.entity), &text, &text[finding.range]);
        }
    }
    scores
}

fn hold(set: Set, seed: u64) {
    let scores = judge(set, seed);
    println!("| entity | templates | texts | recall | precision |\n| --- | --- | --- | --- | --- |");
    let mut short = Vec::new();
    for (entity, score) in scores.iter().filter(|(_, score)| score.templates > 0) {
        let (found, all) = (score.found as f64, (score.found + score.missed) as f64);
        let (recall, precision) = (found / all, found / (found + score.false_alarms as f64).max(1.0));
        println!(
            "| {entity} | {} | {all} | {:.2}% | {:.2}% |",
            score.templates,
            recall * 100.0,
            precision * 100.0
        );
        let known = BELOW.iter().find(|(of, name, ..)| *of == set && name == entity);
        let (least_recall, least_precision) = known.map_or((RECALL, PRECISION), |(_, _, r, p)| (*r, *p));
        if recall < least_recall || precision < least_precision {
            short.push(format!("{entity}: recall {recall:.4}, precision {precision:.4}"));
            for example in score.examples.iter().step_by(score.examples.len() / 4 + 1) {
                short.push(format!("    {example}"));
            }
        }
    }
    assert!(short.is_empty(), "below the bar:\n{}", short.join("\n"));
}

#[test]
fn every_entity_has_twenty_templates_of_its_own_in_each_set() {
    let judged = |set: Set, entity: &str| {
        let names =
            labels(set).iter().find(|(name, _)| *name == entity).expect("every set has every entity").1;
        templates(set, names)
    };
    for (entity, _) in labels(Set::Tenth) {
        let held = judged(Set::Tenth, entity);
        for set in [Set::Development, Set::Fifth, Set::Sixth, Set::Seventh, Set::Eighth, Set::Ninth] {
            let work = judged(set, entity);
            assert!(work.len() >= 20 && held.len() >= 20, "{entity}: {} and {}", work.len(), held.len());
            assert!(
                !work.iter().any(|template| held.contains(template)),
                "{entity}: a template is in two sets"
            );
        }
    }
    assert_eq!(labels(Set::Tenth).len(), labels(Set::Ninth).len());
}

#[test]
fn on_the_development_set() {
    hold(Set::Development, 1);
}

#[test]
fn on_the_fifth_draw() {
    hold(Set::Fifth, 22_360_679);
}

#[test]
fn on_the_sixth_draw() {
    hold(Set::Sixth, 24_494_897);
}

#[test]
fn on_the_seventh_draw() {
    hold(Set::Seventh, 26_457_513);
}

#[test]
fn on_the_eighth_draw() {
    hold(Set::Eighth, 28_284_271);
}

#[test]
fn on_the_ninth_draw() {
    hold(Set::Ninth, 30_000_000);
}

#[test]
fn on_the_held_out_set() {
    hold(Set::Tenth, 31_622_776);
}
