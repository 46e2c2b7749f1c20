//! `garrison bench`, as a user runs it, against a real `garrison serve` with the bundled model.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Server, assert_refused, garrison, run};
use garrison_testkit::fake_server::{FakeServer, Script};
use serde_json::Value;

fn follows_schema(document: &Value, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/schema").join(name);
    let validator = jsonschema::validator_for(&json(&path)).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

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
        "--tokenizer",
        "garrison-tiny",
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
    assert!(document["dataset"].as_str().unwrap().contains("counted with the model's tokenizer"));

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
        "5",
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
        let times: Vec<f64> =
            row["tokens_per_second"].as_array().unwrap().iter().map(|t| t.as_f64().unwrap()).collect();
        let (least, most) =
            (times.iter().copied().fold(f64::MAX, f64::min), times.iter().copied().fold(0.0, f64::max));
        let of_mean = |what: &str| row["mean"][what].as_f64().unwrap();
        assert_eq!(times.len(), 5);
        assert!((of_mean("value") - times.iter().sum::<f64>() / 5.0).abs() < 1e-6 * most, "{row}");
        assert!(least <= of_mean("low") && of_mean("low") <= of_mean("value"), "{row}");
        assert!(of_mean("value") <= of_mean("high") && of_mean("high") <= most, "{row}");
    }
    assert_eq!(document["completeness"], "complete");
    follows_schema(&document, "engine-1.json");
    let best = |kind: &str, batch: u64| {
        let row = rows.iter().find(|r| r["kind"] == kind && r["batch"] == batch && r["depth"] == 0).unwrap();
        row["need"]["bytes"].as_f64().unwrap()
    };
    // Weights are read once a step, whatever the batch.
    assert!(best("decode", 3) < 1.5 * best("decode", 1));
}

/// What a kill leaves of the engine's measurements are the rows that were done.
#[test]
fn a_killed_measurement_of_the_engine_leaves_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let mut child = garrison()
        .args([
            "bench",
            "engine",
            "--prompt-tokens",
            "16",
            "--gen-tokens",
            "16",
            "--repetitions",
            "9",
            "--threads",
            "1",
        ])
        .args(["--batch", &vec!["1"; 500].join(","), "--json", out.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(180);
    let rows = || {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        serde_json::from_str::<Value>(&text).ok().map_or(0, |d| d["rows"].as_array().unwrap().len())
    };
    while rows() < 3 {
        assert!(Instant::now() < deadline, "no rows are written");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let document = json(&out);
    assert_eq!(document["completeness"], "killed");
    assert!((3..1000).contains(&document["rows"].as_array().unwrap().len()));
    follows_schema(&document, "engine-1.json");
}

/// Ctrl-C ends all runs of a session, also when it comes between two of them.
#[test]
fn ctrl_c_is_heard_whenever_it_comes() {
    let server = FakeServer::start("127.0.0.1:0", |_, _| {
        let (first, gap) = (Duration::from_millis(1), Duration::ZERO);
        Script::healthy(first, gap, 1)
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Summing up takes about as long as a run.
    let steps = vec!["8"; 400].join(",");
    for i in 0..6u64 {
        let out = folder.path().join(format!("{i}.json"));
        let child = garrison()
            .args(["bench", "serve", "--url", &server.url, "--concurrency", &steps, "--requests", "200"])
            .args(["--gen-tokens", "1", "--prompt-tokens", "1", "--json", out.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(700 + 77 * i));
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let stopped = Instant::now();
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
        assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
        let document = json(&out);
        assert_eq!(document["completeness"], "interrupted");
        assert!(document["runs"].as_array().unwrap().len() < 400);
        follows_schema(&document, "serve-1.json");
    }
}

/// A driver's library that is none of NVIDIA's: of two GPUs the first counts 2.5 J between two questions, the second
/// does not count.
const NVML: &str = r#"
    #include <stdio.h>
    static unsigned long long asked;
    int nvmlInit_v2(void) { return 0; }
    int nvmlShutdown(void) { return 0; }
    int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
    int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device) { *device = (void *)(long)(i + 1); return 0; }
    int nvmlDeviceGetName(void *device, char *name, unsigned room) { snprintf(name, room, "Fake GPU"); return 0; }
    int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
        if (device == (void *)2L) return 3;
        *millijoules = 7000000 + 2500 * asked++;
        return 0;
    }
"#;

/// NVML is loaded when a run begins, if it is there; if not, that is told and nothing fails.
#[test]
fn gpus_tell_their_energy_where_there_is_nvml() {
    let server = FakeServer::start("127.0.0.1:0", |_, _| {
        Script::healthy(Duration::from_millis(5), Duration::from_millis(1), 5)
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvidia-ml.so.1");
    let (source, out) = (folder.path().join("nvml.c"), folder.path().join("out.json"));
    let measured = || {
        let output = garrison()
            .args(["bench", "serve", "--url", &server.url, "--requests", "4", "--warm-up", "0"])
            .args(["--cool-down", "none", "--gen-tokens", "5", "--json", out.to_str().unwrap()])
            .env("LD_LIBRARY_PATH", folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let run = json(&out)["runs"][0].clone();
        follows_schema(&json(&out), "serve-1.json");
        (String::from_utf8(output.stdout).unwrap(), run)
    };
    std::fs::write(&library, "no library").unwrap();
    let (text, run) = measured();
    assert!(text.contains("of GPUs: NVML cannot be loaded"), "{text}");
    assert!(run["energy"].as_array().unwrap().iter().all(|e| e["source"] != "Fake GPU 0"));

    std::fs::write(&source, NVML).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(compiled.unwrap().success());
    let (text, run) = measured();
    let gpus: Vec<&Value> =
        run["energy"].as_array().unwrap().iter().filter(|e| e["source"] == "Fake GPU 0").collect();
    assert_eq!(gpus.len(), 1, "{run}");
    assert_eq!(gpus[0]["joules"], 2.5);
    assert!(!text.contains("of GPUs"), "{text}");
    if run["energy"].as_array().unwrap().len() == 1 {
        // 2.5 J for twenty tokens.
        assert!(text.contains("| J an output token | 0.125 |"), "{text}");
    }
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
}

/// What is wrong with a server is told in one sentence, before anything is measured.
#[test]
fn servers_that_cannot_be_measured_are_told_at_once() {
    let told = |url: &str, more: &[&str], wanted: &[&str]| {
        let output = run(&[&["bench", "serve", "--url", url, "--gen-tokens", "4"], more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(wanted.iter().all(|part| said.contains(part)), "no {wanted:?} in {said}");
        assert!(said.trim().lines().count() == 1 && output.stdout.is_empty(), "{said}");
    };
    for more in [&[][..], &["--model", "m"]] {
        told("http://127.0.0.1:9", more, &["http://127.0.0.1:9", "nobody listens there"]);
        told("http://nowhere.invalid:1", more, &["http://nowhere.invalid:1", "cannot connect"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.txt");
    std::fs::write(&keys, "sesame\n").unwrap();
    let locked = Server::start(&["--api-keys-file", keys.to_str().unwrap()]);
    told(&locked.url, &[], &["401", "GARRISON_API_KEY"]);
    told(&locked.url, &["--model", &locked.model], &["401", "GARRISON_API_KEY"]);

    let server = Server::start(&[]);
    told(&server.url, &["--model", "nobody"], &["404", "nobody", &server.model]);
    told(&format!("{}/api", server.url), &[], &["404", "/v1/models", "--url is what comes before /v1"]);
    told(&server.url.replace("http", "https"), &[], &["not TLS"]);
    told(&server.url, &["--field", "temperature=-1"], &["400", "temperature"]);
    let talks = FakeServer::start("127.0.0.1:0", |_, _| Script {
        content_type: "application/json",
        ..Script::stream(vec![(Duration::ZERO, b"{}".to_vec())])
    });
    told(&talks.unwrap().url, &[], &["no stream of events", "application/json"]);
}
