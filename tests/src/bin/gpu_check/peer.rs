//! llama.cpp's own measurements on the same file, where a build of it was brought along, beside what `decode` and `prefill` found.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::journal::Journal;
use crate::{Fallible, Options, Outcome, Size, speed};

/// Batches, prompt, depth and tokens: those of the stages `decode` and `prefill`.
struct Plan {
    batches: &'static str,
    prompt: &'static str,
    depth: &'static str,
    steps: &'static str,
    /// Cells of the KV cache that the largest batch needs.
    cells: &'static str,
}

const FULL: Plan =
    Plan { batches: "1,2,4,8,16,32,64", prompt: "2048", depth: "512", steps: "64", cells: "40960" };
const SMALL: Plan = Plan { batches: "1,3", prompt: "16", depth: "4", steps: "4", cells: "64" };

/// Prompts by `llama-bench`, decoding by `llama-batched-bench`.
pub(crate) fn peer(options: &Options, journal: &mut Journal) -> Fallible<Outcome> {
    let Some(folder) = &options.llama else {
        let why = "no build was brought along (GPU_CHECK_LLAMA), so nothing is compared";
        journal.write(&json!({"check": "llama.cpp", "ok": true, "why": why}))?;
        return Ok(Outcome::Well);
    };
    let (model, name) = speed::model_file(options, journal)?;
    let plan = if options.size == Size::Full { FULL } else { SMALL };
    let found = |stage| std::fs::read_to_string(options.out.join(stage)).unwrap_or_default();
    let ours = found("decode.jsonl") + &found("prefill.jsonl");
    let ours: Vec<Value> = ours.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut tell = |row: &str, batch: u64, theirs: f64| {
        let of = |own: &&Value| own["row"] == row && own["model"] == json!(name);
        let own = ours.iter().rev().filter(of).find(|own| row == "prefill" || own["batch"] == batch);
        let own = own.and_then(|own| own["tokens_per_second"].as_f64());
        journal.write(&json!({
            "row": format!("{row} over llama.cpp"), "model": name, "batch": batch, "theirs": theirs, "ours": own,
            "value": own.map(|own| own / theirs), "goal": 1.0, "met": own.map(|own| own >= theirs),
        }))
    };
    let said = run(folder, "llama-bench", &model, &["-p", plan.prompt, "-n", "0", "-o", "json"])?;
    let rows: Value = serde_json::from_str(&said).map_err(|e| format!("llama-bench: {e}"))?;
    let prefill = rows[0]["avg_ts"].as_f64().ok_or("llama-bench: there is no avg_ts")?;
    tell("prefill", 1, prefill)?;
    let asked = ["-c", plan.cells, "-npp", plan.depth, "-ntg", plan.steps, "-npl", plan.batches];
    let said =
        run(folder, "llama-batched-bench", &model, &[&asked[..], &["--output-format", "jsonl"]].concat())?;
    for row in said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let (Some(batch), Some(theirs)) = (row["pl"].as_u64(), row["speed_tg"].as_f64()) else { continue };
        tell("decode", batch, theirs)?;
    }
    Ok(Outcome::Well)
}

/// What a program of llama.cpp's says, with all layers on the GPU.
fn run(folder: &Path, program: &str, model: &Path, arguments: &[&str]) -> Fallible<String> {
    let path = folder.join(program);
    let output = Command::new(&path)
        .arg("-m")
        .arg(model)
        .args(["-ngl", "99"])
        .args(arguments)
        .env("LD_LIBRARY_PATH", folder)
        .output()
        .map_err(|e| format!("{}: {e}", path.display()))?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(format!("{program} ended with {}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
