//! `scripts/gpu-check`, rehearsed: a GPU machine's minutes are not for finding mistakes of a script.
#![allow(clippy::unwrap_used)] // a test may

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn gpu_check(out: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/gpu-check");
    Command::new(script)
        .args(arguments)
        .env("GPU_CHECK_BIN", env!("CARGO_BIN_EXE_gpu_check"))
        .env("GPU_CHECK_OUT", out)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn every_stage_runs_to_its_end_on_the_emulator() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = gpu_check(&out, &["rehearse"], &[]);
    assert!(output.status.success(), "{}", text(&output));
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    for stage in ["limits", "conformance", "graphs", "engine", "sanitizer", "speed"] {
        let findings = report[stage].as_array().unwrap();
        assert!(!findings.is_empty(), "{stage}");
        assert!(findings.iter().all(|finding| finding["ok"] != Value::Bool(false)), "{findings:?}");
    }
    let rows: Vec<&str> =
        report["speed"].as_array().unwrap().iter().filter_map(|row| row["row"].as_str()).collect();
    for row in ["load", "decode", "prefill", "decode kernels", "batch ratio", "adapters", "done"] {
        assert!(rows.contains(&row), "{row} is not among {rows:?}");
    }
    assert!(report["run"]["command"].as_str().unwrap().starts_with("scripts/gpu-check limits"));
    assert!(std::fs::read_to_string(out.join("report.txt")).unwrap().contains("decode, "));
}

#[test]
fn what_cannot_run_says_why_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // No GPU has this number, where there are any.
    let output = gpu_check(folder.path(), &["limits", "sanitizer"], &[("GPU_CHECK_DEVICE", "cuda:99")]);
    assert!(!output.status.success() && text(&output).contains("wrong: limits"), "{}", text(&output));
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["limits"][0]["ok"], false);
    assert!(report["sanitizer"][0]["check"].is_string());

    let output = gpu_check(folder.path(), &["speeds"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("\"speeds\" is not a stage"), "{}", text(&output));

    let output = gpu_check(folder.path(), &["rehearse", "engine"], &[("GPU_CHECK_SECONDS", "0")]);
    assert!(!output.status.success() && text(&output).contains("its time was up"), "{}", text(&output));
}
