//! `garrison bench`, as a user runs it, against a real `garrison serve` with the bundled model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Server, assert_refused, garrison, run};

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The server's own tokens, counts and caches come back, in every form of the report.
#[test]
fn a_server_is_measured_and_reported() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let outputs = ["json", "markdown", "html"].map(|kind| file(kind).to_str().unwrap().to_owned());
    let [to_json, to_markdown, to_html] = &outputs;
    let output = run(&[
        "bench",
        "serve",
        "--url",
        &server.url,
        "--concurrency",
        "1,3",
        "--requests",
        "10",
        "--prompt-tokens",
        "20",
        "--gen-tokens",
        "6",
        "--families",
        "2",
        "--prefix-tokens",
        "48",
        "--goals",
        "ttft=60000,e2e=60000",
        "--field",
        "temperature=0",
        "--json",
        to_json,
        "--markdown",
        to_markdown,
        "--html",
        to_html,
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for wanted in [
        "/v1/completions",
        "as token ids",
        "### 3 clients",
        "time to first token",
        "| keep to the goals | 100.0% |",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    assert_eq!(std::fs::read_to_string(file("markdown")).unwrap(), text);
    assert!(std::fs::read_to_string(file("html")).unwrap().contains("<svg"));
    assert!(!file("json.partial").exists());
    let document = json(&file("json"));
    for run in document["runs"].as_array().unwrap() {
        let summary = &run["summary"];
        assert_eq!(summary["requests"]["answered"], 10);
        assert_eq!(summary["output_tokens"]["mean"]["value"], 6.0);
        assert_eq!(summary["prompt_tokens"]["mean"]["value"], 68.0, "ids are exact");
        // Two beginnings of three whole blocks are shared by all.
        assert!(summary["cached_share"].as_f64().unwrap() > 0.3, "{summary}");
        assert!(summary["queue_ms"]["p50"]["value"].as_f64().unwrap() >= 0.0);
    }
    // The report of a report is the report.
    let again = run(&["bench", "report", to_json]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
    let compared = run(&["bench", "compare", to_json, to_json]);
    let text = String::from_utf8(compared.stdout).unwrap();
    assert!(
        text.contains("| 1.000 |") && text.contains("cannot be told") && !text.contains("| A |\n"),
        "{text}"
    );
}

/// Chats in turns, adapters by weight, and answers that follow a schema.
#[test]
fn conversations_adapters_and_schemas_are_asked() {
    let adapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/adapters");
    let tickets = format!("tickets={}", adapters.join("tickets").display());
    let server = Server::start(&["--adapter", &tickets]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let models = format!("{}=1,tickets=1", server.model);
    let output = run(&[
        "bench",
        "serve",
        "--url",
        &server.url,
        "--model",
        &models,
        "--turns",
        "2",
        "--prompt-tokens",
        "8",
        "--gen-tokens",
        "4",
        "--requests",
        "8",
        "--cool-down",
        "none",
        "--json",
        out.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document = json(&out);
    assert_eq!(document["servers"][0]["endpoint"], "chat");
    let records = document["runs"][0]["records"].as_array().unwrap();
    let asked = |name: &str| records.iter().filter(|r| r["model"] == name).count();
    assert!(asked("tickets") > 0 && asked(&server.model) > 0);
    assert_eq!(document["runs"][0]["summary"]["requests"]["answered"], 16, "two turns each");

    let schema = folder.path().join("schema.json");
    std::fs::write(&schema, r#"{"enum": ["leak", "billing"]}"#).unwrap();
    let output = run(&[
        "bench",
        "serve",
        "--url",
        &server.url,
        "--endpoint",
        "chat",
        "--schema",
        schema.to_str().unwrap(),
        "--prompt-tokens",
        "8",
        "--gen-tokens",
        "20",
        "--requests",
        "4",
        "--json",
        out.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let most = json(&out)["runs"][0]["summary"]["output_tokens"]["max"].as_f64().unwrap();
    assert!(most < 20.0, "the grammar ends answers: {most}");
}

/// A run that would take minutes, once it has answered something.
fn long_run(server: &Server, out: &Path) -> Child {
    let child = garrison()
        .args([
            "bench",
            "serve",
            "--url",
            &server.url,
            "--seconds",
            "600",
            "--gen-tokens",
            "4",
            "--prompt-tokens",
            "8",
        ])
        .args(["--json", out.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partial = out.with_extension("json.partial");
    let deadline = Instant::now() + Duration::from_secs(60);
    let answered = || std::fs::read_to_string(&partial).unwrap_or_default().matches("\"done\"").count();
    while answered() < 5 {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

#[test]
fn what_is_stopped_or_killed_leaves_what_it_measured() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let child = long_run(&server, &out);
    let signal = |name: &str, id: u32| Command::new("kill").args([name, &id.to_string()]).status().unwrap();
    signal("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("Stopped before its end"));
    assert_eq!(json(&out)["completeness"], "interrupted");
    assert!(json(&out)["runs"][0]["summary"]["requests"]["answered"].as_u64().unwrap() >= 4);

    let mut child = long_run(&server, &folder.path().join("killed.json"));
    child.kill().unwrap();
    child.wait().unwrap();
    let partial = folder.path().join("killed.json.partial");
    let report = run(&["bench", "report", partial.to_str().unwrap()]);
    let text = String::from_utf8(report.stdout).unwrap();
    assert!(
        report.status.success() && text.contains("Killed") && text.contains("time to first token"),
        "{text}"
    );
}

#[test]
fn the_engine_is_measured_against_its_machine() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let output = run(&[
        "bench",
        "engine",
        "--prompt-tokens",
        "32,80",
        "--gen-tokens",
        "4",
        "--batch",
        "1,3",
        "--depth",
        "0,20",
        "--repetitions",
        "2",
        "--max-batch-tokens",
        "64",
        "--json",
        out.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("limits, measured now") && text.contains("| prefill | 3 | 80 | 20 |"), "{text}");
    let document = json(&out);
    let rows = document["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 2 * 3);
    for row in rows {
        let share = row["share_of_limit"].as_f64().unwrap();
        // Beyond 1: the bundled model fits into caches, which are faster than memory.
        assert!((0.0001..20.0).contains(&share), "{row}");
        assert_eq!(row["tokens_per_second"].as_array().unwrap().len(), 2);
    }
    let best = |kind: &str, batch: u64| {
        let row = rows.iter().find(|r| r["kind"] == kind && r["batch"] == batch && r["depth"] == 0).unwrap();
        row["need"]["bytes"].as_f64().unwrap()
    };
    // Weights are read once a step, whatever the batch.
    assert!(best("decode", 3) < 1.5 * best("decode", 1));
}

#[test]
fn wrong_flags_are_named() {
    let refused = |args: &[&str], wanted: &str| {
        let args = [&["bench", "serve", "--url", "http://127.0.0.1:9", "--model", "m"], args].concat();
        assert_refused(&run(&args), wanted);
    };
    refused(&["--rate", "0"], "--rate 0");
    refused(&["--goals", "ttft=x"], "ttft=x");
    refused(&["--dataset", "/nowhere.json"], "/nowhere.json");
    refused(&["--field", "x"], "KEY=JSON");
    refused(&["--prompt-tokens", "9-3"], "9-3");
    refused(&["--arrivals", "gamma:0"], "shape");
    refused(&["--search", "--rate", "1"], "--goals");
    refused(&["--ca-file", "/nowhere.pem"], "/nowhere.pem");
    refused(&["--ca-file", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], "no certificate");
    assert_refused(&run(&["bench", "report", "/nowhere.json"]), "/nowhere.json");
    let nobody = run(&["bench", "serve", "--url", "http://127.0.0.1:9"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("http://127.0.0.1:9"));
}
