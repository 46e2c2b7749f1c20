//! The commands, run as a user runs them: mistakes are named, files are made, servers stop cleanly.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::support::{Server, assert_refused, garrison, run};
use serde_json::json;

#[test]
fn mistakes_exit_2_with_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let broken = file("broken.gguf", b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0\0");
    let text = file("text.gguf", b"this is not a model");
    let config = file("bad.toml", b"[server]\nprot = 1\n");
    for (args, wanted) in [
        (&["serve", "--prot", "1"][..], "--prot"),
        (&["serve", "--port", "99999"], "99999"),
        (&["serve", "--model", "nowhere"], "nowhere"),
        (&["serve", "--model", &broken], "broken.gguf"),
        (&["serve", "--model", &text], "text.gguf"),
        (&["serve", "--config", &config], "prot"),
        (&["serve", "--config", "/no/such/file"], "/no/such/file"),
        (&["serve", "--device", "tpu"], "tpu"),
        (&["serve", "--device", "cuda:99"], "cuda:99"),
        (&["serve", "--kv-dtype", "q2"], "\"q2\" is not supported; supported: f16, bf16, q8_0, fp8, f32"),
        (&["serve", "--threads", "0"], "0"),
        (&["serve", "--context", "99999999"], "99999999"),
        (&["serve", "--host-cache-gib", "-1"], "-1"),
        (&["serve", "--host-cache-gib", "0.000001"], "host_cache_gib"),
        (&["serve", "--host-cache-dir", "/tmp"], "host_cache_gib is 0"),
        (&["serve", "--host-cache-gib", "0.1", "--host-cache-dir", "/no/such/folder"], "/no/such/folder"),
        (&["serve", "--api-keys-file", "/no/such/keys"], "/no/such/keys"),
        (&["fly"], "fly"),
        (&["chat", "--temperature", "9"], "temperature"),
        (&["models", "inspect", &broken], "broken.gguf"),
        (&["models", "quantize", "garrison-tiny", "/tmp/x.gguf", "--type", "Q9"], "Q9"),
        (&["models", "synth", "--preset", "llama-9", "/tmp/x.gguf"], "llama-9"),
        (&["models", "pull", "hf:nobody"], "hf:nobody"),
    ] {
        assert_refused(&run(args), wanted);
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("serve"));
    let version = run(&["--version"]);
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn serving_starts_answers_and_drains() {
    let server = Server::start(&[]);
    assert_eq!(server.model, "garrison-tiny");
    let body = json!({
        "model": server.model, "stream": true, "max_tokens": 200, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Hello!"}],
    });
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.post(format!("{}/v1/chat/completions", server.url)).send_json(&body).unwrap();
    let mut lines = BufReader::new(answer.body_mut().as_reader()).lines();
    let first = lines.by_ref().map(|l| l.unwrap()).find(|l| l.starts_with("data:")).unwrap();
    assert!(first.contains("chat.completion.chunk"));

    server.terminate();
    let rest: Vec<String> = lines.map(|l| l.unwrap()).filter(|l| l.starts_with("data:")).collect();
    assert_eq!(rest.last().map(String::as_str), Some("data: [DONE]"), "a running stream is finished");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("models pull"), "the bundled model says how to get a real one: {log}");
    assert!(!log.contains("Hello!"), "content is not logged");
}

#[test]
fn a_conversation_that_was_evicted_comes_back_from_the_host_cache() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = ["--host-cache-gib", "0.05", "--host-cache-dir", folder.path().to_str().unwrap()];
    let mut texts = Vec::new();
    for (host, returns) in [(&[][..], false), (&on_disk[..2], true), (&on_disk[..], true)] {
        let server = Server::start(&[&["--kv-cache-gib", "0.002", "--max-seqs", "2"], host].concat());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        let ask = |i: usize| {
            let text = format!("This is note {i} on the garden's valves and zones. ").repeat(12);
            let body = json!({"model": server.model, "prompt": text, "max_tokens": 8, "temperature": 0});
            let (status, answer) = server.post("/v1/completions", &body);
            assert_eq!(status, 200, "{answer}");
            let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
            (answer["choices"][0]["text"].as_str().unwrap().to_owned(), cached)
        };
        let (first, _) = ask(0);
        (1..12).for_each(|i| drop(ask(i)));
        let (again, cached) = ask(0);
        assert_eq!((&again, cached > 100), (&first, returns), "{cached} tokens with {host:?}");
        texts.push(again);
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

#[test]
fn a_host_cache_that_memory_is_too_short_for_is_left_out() {
    let server = Server::start(&["--host-cache-gib", "60000"]);
    server.terminate();
    let (status, log) = server.wait();
    assert!(status.success() && log.contains("serving without a host cache"), "{log}");
}

#[test]
fn the_same_request_gives_the_same_tokens_at_any_size() {
    let ask = |server: &Server| {
        let body = json!({
            "model": server.model, "temperature": 0.8, "seed": 5, "max_tokens": 40, "return_token_ids": true,
            "messages": [{"role": "user", "content": "What does the red light mean, and what should I do about it?"}],
        });
        let (status, answer) = server.post("/v1/chat/completions", &body);
        assert_eq!(status, 200, "{answer}");
        answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let answers: Vec<String> = [
        &["--threads", "1"][..],
        &["--threads", "2"],
        &["--threads", "3", "--max-batch-tokens", "7"],
        &["--max-batch-tokens", "1", "--max-seqs", "1"],
    ]
    .iter()
    .map(|flags| ask(&Server::start(flags)))
    .collect();
    assert!(!answers[0].is_empty());
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
}

#[test]
fn a_model_can_be_synthesized_quantized_inspected_and_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    let (f16, q4) = (path("synth.gguf"), path("small.gguf"));
    let ok = |args: &[&str]| {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    ok(&["models", "synth", "--preset", "tiny", "--type", "F16", &f16]);
    ok(&["models", "quantize", &f16, &q4, "--type", "Q4_K_M"]);
    let told: serde_json::Value =
        serde_json::from_str(&ok(&["models", "inspect", "--json", "--tensors", &q4])).unwrap();
    let types: Vec<&str> =
        told["tensors"].as_array().unwrap().iter().filter_map(|t| t["type"].as_str()).collect();
    assert!(types.contains(&"Q4_K") && types.contains(&"Q6_K"), "{types:?}");
    assert!(std::fs::metadata(&q4).unwrap().len() < std::fs::metadata(&f16).unwrap().len() / 2);

    let server = Server::start(&["--model", &q4]);
    assert_eq!(server.model, "small");
    let (status, answer) = server.post(
        "/v1/completions",
        &json!({"model": "small", "prompt": [1, 2, 3], "max_tokens": 4, "ignore_eos": true}),
    );
    assert_eq!((status, answer["usage"]["completion_tokens"].as_u64()), (200, Some(4)), "{answer}");
}

#[test]
fn chat_answers_what_is_piped_in() {
    let mut chat = garrison()
        .args(["chat", "--temperature", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    chat.stdin.take().unwrap().write_all(b"Hello!\n/stats\n/nonsense\n/exit\n").unwrap();
    let output = chat.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.trim().len() > 10, "an answer: {stdout}");
    assert!(stderr.contains("tokens/s") && stderr.contains("/nonsense is not a command"), "{stderr}");
}

#[test]
fn chat_talks_to_a_server() {
    let server = Server::start(&[]);
    let mut chat = garrison()
        .args(["chat", "--url", &server.url, "--temperature", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    chat.stdin.take().unwrap().write_all(b"Hello!\n").unwrap();
    let output = chat.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).trim().len() > 10);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for args in [&["models", "list"][..], &["models", "inspect", "garrison-tiny"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = garrison().args(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let out = out.wait_with_output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        assert!(out.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}
