//! `scripts/gpu-check`, rehearsed: a GPU machine's minutes are not for finding mistakes of a script.

use std::os::unix::fs::PermissionsExt;
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

/// Programs that answer as llama.cpp's do, if they are asked as those are.
fn pretend_llama(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let bench = r#"case "$*" in *"-p 16 -n 0 -o json") echo '[{"n_prompt": 16, "n_gen": 0, "avg_ts": 1000.0}]' ;; *) exit 1 ;; esac"#;
    let batched = r#"echo 'main: n_kv_max = 64'
for batch in 1 3; do echo "{\"pp\": 4, \"tg\": 4, \"pl\": $batch, \"speed_tg\": 1000.0}"; done"#;
    for (name, body) in [("llama-bench", bench), ("llama-batched-bench", batched)] {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn every_stage_runs_to_its_end_on_the_emulator() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut stages = vec![
        "limits",
        "conformance",
        "model",
        "decode",
        "graphs",
        "prefill",
        "engine",
        "extras",
        "peer",
        "sanitizer",
    ];
    let garrison = Path::new(env!("CARGO_BIN_EXE_gpu_check")).with_file_name("garrison");
    if garrison.exists() {
        stages.push("serve");
    } else {
        println!("skipped: serve, since {} is not built", garrison.display());
    }
    let llama = folder.path().join("llama");
    pretend_llama(&llama);
    let output = gpu_check(
        &out,
        &[&["rehearse"], &stages[..]].concat(),
        &[("GPU_CHECK_LLAMA", llama.to_str().unwrap())],
    );
    assert!(output.status.success(), "{}", text(&output));
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    for &stage in &stages {
        let findings = report[stage].as_array().unwrap();
        assert!(!findings.is_empty(), "{stage}");
        assert!(findings.iter().all(|finding| finding["ok"] != Value::Bool(false)), "{findings:?}");
    }
    let rows_of = |stage: &str| -> Vec<&Value> { report[stage].as_array().into_iter().flatten().collect() };
    for (stage, wanted) in [
        (
            "decode",
            &["load", "decode", "decode kernels", "batch ratio", "batch-invariant over fast mode", "done"][..],
        ),
        ("prefill", &["load", "prefill", "prefill kernels", "done"]),
        ("extras", &["load", "verification of 4 guesses", "adapters", "long contexts", "done"]),
    ] {
        let rows: Vec<&str> = rows_of(stage).iter().filter_map(|row| row["row"].as_str()).collect();
        for row in wanted {
            assert!(rows.contains(row), "{row} is not among {rows:?}");
        }
    }
    // Both modes are measured, and the fast one is another.
    for (stage, row, batches) in
        [("prefill", "prefill", 1), ("prefill", "prefill kernels", 1), ("decode", "decode", 2)]
    {
        let fast = rows_of(stage).into_iter().filter(|r| r["row"] == row && r["batch_invariant"] == false);
        assert_eq!(fast.count(), batches, "{row}");
    }
    let products = |of: bool| {
        let rows = rows_of("prefill");
        let row = rows.iter().find(|r| r["row"] == "prefill kernels" && r["batch_invariant"] == of).unwrap();
        let kernels = row["kernels"].as_array().unwrap();
        kernels.iter().filter(|kernel| kernel["kernel"] == "cublasLt").count()
    };
    assert_eq!([true, false].map(products), [0, 1]);
    let ends: Vec<_> =
        rows_of("stages").iter().map(|end| (end["stage"].as_str(), end["outcome"].as_str())).collect();
    assert_eq!(ends, stages.iter().map(|stage| (Some(*stage), Some("ok"))).collect::<Vec<_>>());
    // Theirs are a thousand tokens a second, whatever is asked; ours are on an emulator.
    let beside = rows_of("peer");
    assert_eq!(beside.len(), 3, "{beside:?}");
    for row in beside {
        assert!(row["theirs"] == 1000.0 && row["ours"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["met"], false, "{row}");
    }
    let many = rows_of("serve").into_iter().filter(|row| row["row"] == "clients");
    let many: Vec<&str> = many.filter_map(|row| row["kv_dtype"].as_str()).collect();
    assert!(many.is_empty() && !garrison.exists() || many == ["fp8", "f16"], "{many:?}");
    for row in rows_of("serve") {
        assert!(row["value"].as_f64().unwrap() > 0.0, "{row}");
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
