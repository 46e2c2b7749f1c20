//! All findings of a folder, as one JSON file and as a text.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Fallible, Outcome};

/// In the order in which they are told.
const STAGES: [&str; 11] = [
    "limits",
    "conformance",
    "graphs",
    "engine",
    "sanitizer",
    "model",
    "decode",
    "prefill",
    "extras",
    "serve",
    "peer",
];

/// Writes `report.json` and `report.txt`. What a stage did not come to is missing, and said to be.
pub(crate) fn write(folder: &Path) -> Fallible<Outcome> {
    let mut all = Map::new();
    if let Ok(run) = fs::read_to_string(folder.join("run.json")) {
        all.insert("run".into(), serde_json::from_str(&run)?);
    }
    let mut text = String::new();
    if let Some(run) = all.get("run").and_then(Value::as_object) {
        for (key, value) in run {
            writeln!(text, "{key}: {}", value.as_str().unwrap_or_default())?;
        }
    }
    let mut outcome = Outcome::Well;
    let ends = ends(&findings(folder, "stages"));
    for end in &ends {
        let (stage, said) = (&end["stage"], end["outcome"].as_str().unwrap_or("?"));
        writeln!(text, "{}: {said}, {} s", number(stage), number(&end["seconds"]))?;
        if said != "ok" {
            outcome = Outcome::Wrong;
        }
    }
    all.insert("stages".into(), ends.into());
    for stage in STAGES {
        let findings = findings(folder, stage);
        if findings.is_empty() {
            continue;
        }
        writeln!(text, "\n## {stage}\n")?;
        for finding in &findings {
            if finding["ok"] == json!(false) {
                outcome = Outcome::Wrong;
            }
            describe(finding, &mut text)?;
        }
        all.insert(stage.into(), findings.into());
    }
    fs::write(folder.join("report.json"), serde_json::to_string_pretty(&all)?)?;
    fs::write(folder.join("report.txt"), &text)?;
    print!("{text}");
    Ok(outcome)
}

/// What a stage found. A line that a killed one did not finish is none.
fn findings(folder: &Path, stage: &str) -> Vec<Value> {
    let lines = fs::read_to_string(folder.join(format!("{stage}.jsonl"))).unwrap_or_default();
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How each stage ended that was begun, as often as it was; one that was under way when everything ended did not.
fn ends(told: &[Value]) -> Vec<Value> {
    let mut ends: Vec<Value> = Vec::new();
    for one in told {
        if one["outcome"] == json!("begun") {
            ends.push(json!({"stage": one["stage"], "outcome": "did not end"}));
        } else if let Some(open) = ends.iter_mut().rev().find(|open| open["stage"] == one["stage"]) {
            *open = one.clone();
        }
    }
    ends
}

fn describe(finding: &Value, text: &mut String) -> std::fmt::Result {
    if let Some(check) = finding["check"].as_str() {
        let well = if finding["ok"] == json!(true) { "ok" } else { "WRONG" };
        write!(text, "{well}: {check}")?;
        for key in ["from", "to", "wrong", "seconds", "why"] {
            if !finding[key].is_null() {
                write!(text, ", {key} {}", number(&finding[key]))?;
            }
        }
        return writeln!(text);
    }
    write!(text, "{}", finding["row"].as_str().unwrap_or("?"))?;
    for (key, value) in finding.as_object().into_iter().flatten() {
        if !["row", "kernels", "met", "goal", "value"].contains(&key.as_str()) && !value.is_null() {
            write!(text, ", {key} {}", number(value))?;
        }
    }
    if let (Some(met), goal) = (finding["met"].as_bool(), &finding["goal"]) {
        let verdict = if met { "met" } else { "MISSED" };
        write!(text, ": {} of {} {verdict}", number(&finding["value"]), number(goal))?;
    } else if !finding["value"].is_null() {
        write!(text, ": {}", number(&finding["value"]))?;
    }
    writeln!(text)?;
    for kernel in finding["kernels"].as_array().into_iter().flatten().take(12) {
        let (name, launches) = (kernel["kernel"].as_str().unwrap_or("?"), &kernel["launches"]);
        writeln!(text, "    {name} x {launches}: {} us", number(&kernel["us"]))?;
    }
    Ok(())
}

/// As many digits as tell something.
fn number(value: &Value) -> String {
    match value {
        Value::Number(x) => match x.as_f64() {
            Some(x) if x.fract() != 0.0 => format!("{x:.3}"),
            _ => x.to_string(),
        },
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
