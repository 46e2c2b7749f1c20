//! The bundled adapters through the server: what they were trained for, on cases that training never
//! saw; the same tokens as PyTorch computes; and loading while the server runs.

use std::path::{Path, PathBuf};

use crate::support::{Server, assert_refused, run};
use serde_json::{Value, json};

const MODEL: &str = "garrison-tiny";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/adapters").canonicalize().unwrap()
}

fn flag(name: &str, path: &str) -> String {
    format!("{name}={}", folder().join(path).display())
}

/// Serves both adapters; `more` is more of the command line.
fn both(more: &[&str]) -> Server {
    let (playful, tickets) = (flag("playful", "playful"), flag("tickets", "tickets"));
    Server::start(&[&["--adapter", &playful, "--adapter", &tickets], more].concat())
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// Whether `answer` is what a case of `eval.jsonl` expects.
fn is_right(answer: &str, expect: &Value) -> bool {
    if expect["json"].is_object() {
        return serde_json::from_str::<Value>(answer.trim()).is_ok_and(|parsed| parsed == expect["json"]);
    }
    let text = |field: &str| expect[field].as_str();
    let content = text("contains").map(|t| answer.contains(t)).or(text("equals").map(|t| answer.contains(t)));
    let any = expect["any"].as_array().unwrap().iter().any(|t| answer.contains(t.as_str().unwrap()));
    any && content.unwrap_or(true)
}

fn answer(server: &Server, model: &str, messages: &Value) -> String {
    let body = json!({"model": model, "messages": messages, "temperature": 0, "max_tokens": 96});
    let (status, answer) = server.post("/v1/chat/completions", &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["model"], model);
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn each_adapter_does_its_job_where_the_model_alone_does_not() {
    let server = both(&[]);
    let cases: Vec<Value> = read("eval.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for adapter in ["playful", "tickets"] {
        let own: Vec<&Value> = cases.iter().filter(|c| c["adapter"] == adapter).collect();
        let right = |model: &str| {
            own.iter().filter(|c| is_right(&answer(&server, model, &c["messages"]), &c["expect"])).count()
        };
        let (with, without) = (right(adapter), right(MODEL));
        println!("{adapter}: {with} of {} right, the model alone {without}", own.len());
        assert!(own.len() >= 50 && with * 100 >= own.len() * 80 && without * 100 <= own.len() * 5);
    }
}

fn golden(server: &Server, named: impl Fn(&str) -> String) {
    let cases: Vec<Value> = serde_json::from_str(&read("golden.json")).unwrap();
    assert!(cases.len() >= 8);
    for case in &cases {
        let wanted = case["greedy"].as_array().unwrap();
        let body = json!({
            "model": named(case["adapter"].as_str().unwrap()), "prompt": case["ids"], "temperature": 0,
            "max_tokens": wanted.len(), "ignore_eos": true, "return_token_ids": true,
        });
        let (status, answer) = server.post("/v1/completions", &body);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["token_ids"].as_array(), Some(wanted), "{}", case["greedy_text"]);
    }
}

#[test]
fn the_tokens_are_those_of_pytorch() {
    let exact = ["--kv-dtype", "f32"]; // as PyTorch kept them
    golden(&both(&exact), str::to_owned);
    // With a draft model, which knows nothing of adapters, they are the same.
    golden(&both(&[&exact[..], &["--draft-model", "garrison-tiny-draft"]].concat()), str::to_owned);
}

#[test]
fn adapters_are_loaded_from_the_owners_folders_only() {
    let dir = tempfile::tempdir().unwrap();
    let (allowed, config) = (dir.path().join("allowed"), dir.path().join("garrison.toml"));
    let copy = |from: &str, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(folder().join(from).join(file), to.join(file)).unwrap();
        }
    };
    copy("playful", &allowed.join("mine/playful"));
    copy("playful", &dir.path().join("outside"));
    std::os::unix::fs::symlink(dir.path().join("outside"), allowed.join("link")).unwrap();
    std::fs::copy(folder().join("tickets.gguf"), allowed.join("tickets.gguf")).unwrap();
    copy("tickets", &allowed.join("broken"));
    let weights = std::fs::read(allowed.join("broken/adapter_model.safetensors")).unwrap();
    std::fs::write(allowed.join("broken/adapter_model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    std::fs::write(&config, format!("[engine]\nkv_dtype = \"f32\"\nadapter_dirs = [{:?}]\n", allowed))
        .unwrap();

    let server = Server::start(&["--config", config.to_str().unwrap()]);
    let load = |name: &str, path: &str| {
        server.try_post("/v1/load_lora_adapter", &json!({"lora_name": name, "lora_path": path}))
    };
    let absolute = allowed.join("mine/playful");
    assert_eq!(load("a", "mine/playful").0, 200);
    assert_eq!(load("b", absolute.to_str().unwrap()).0, 200);
    assert_eq!(load("c", "tickets.gguf").0, 200);
    let outside = dir.path().join("outside");
    for path in
        ["../outside", "link", outside.to_str().unwrap(), "/etc", "", ".", "nowhere", "mine/../../outside"]
    {
        let (status, said) = load("d", path);
        let unknown = path.is_empty() || said.contains("no such adapter in the server's adapter folders");
        assert!(status == 400 && unknown && !said.contains(dir.path().to_str().unwrap()), "{path:?}: {said}");
    }
    let (status, said) = load("d", "broken");
    assert!(status == 400 && said.contains("the adapter d cannot be loaded"), "{said}");
    golden(&server, |adapter| if adapter == "playful" { "b".into() } else { "c".into() });
    assert_eq!(server.try_post("/v1/unload_lora_adapter", &json!({"lora_name": "a"})).0, 200);
    golden(&server, |adapter| if adapter == "playful" { "b".into() } else { "c".into() });
}

#[test]
fn what_cannot_serve_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let empty = format!("mine={}", dir.path().display());
    assert_refused(&run(&["serve", "--adapter", &empty]), "adapter mine of model garrison-tiny");
    assert_refused(&run(&["serve", "--adapter", "mine"]), "NAME=PATH");
    let twice = flag(MODEL, "playful");
    assert_refused(&run(&["serve", "--adapter", &twice]), "\"garrison-tiny\"");
    let other = dir.path().join("other.gguf").into_os_string().into_string().unwrap();
    assert!(run(&["models", "synth", "--preset", "tiny", "--type", "F16", &other]).status.success());
    assert_refused(&run(&["serve", "--draft-model", &other]), "needs the same tokenizer");
    let playful = flag("playful", "playful");
    assert_refused(
        &run(&["serve", "--model", &other, "--adapter", &playful]),
        "adapter playful of model other",
    );
}
