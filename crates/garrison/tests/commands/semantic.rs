//! `garrison serve` with a semantic cache: with an embedder, without one, and with one that is exchanged while it serves.
//!
//! The embedder is the tiny one of the encoder's own tests, with weights that mean nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Server, assert_refused, garrison};
use garrison_testkit::fake_server::{FakeServer, Script};
use serde_json::{Value, json};

const EMBEDDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../encoder/tests/oracle/bert/tokens");

fn write(folder: &Path, upstream: &str, semantic: &str) {
    let text = format!(
        "[privacy]\nreceipts = \"receipts.jsonl\"\nreceipts_key = \"receipts.key\"\n[cache]\nsemantic = {semantic}\n\
         [[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"{upstream}\"\n\
         price = {{ \"m\" = {{ input = 3.0, output = 15.0 }} }}\n\
         [[route]]\nname = \"auto\"\ntiers = [\"up/m\"]\nprivate = \"local/garrison-tiny\"\n"
    );
    std::fs::write(folder.join("garrison.toml"), text).unwrap();
}

/// What the trace of a new question tells of what is alike.
fn ask(server: &Server, n: usize) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": format!("ok {n}")}], "temperature": 0});
    let id = format!("r-{n}");
    let request = agent.post(format!("{}/v1/chat/completions", server.url)).header("x-request-id", &id);
    assert_eq!(request.send_json(&body).unwrap().status(), 200);
    let trace = agent.get(format!("{}/v1/garrison/requests/{id}", server.url)).call().unwrap();
    let trace: Value = serde_json::from_str(&trace.into_body().read_to_string().unwrap()).unwrap();
    trace["semantic"].clone()
}

#[test]
fn an_embedder_makes_it_work_and_without_one_it_is_off_and_says_so() {
    let ms = Duration::from_millis;
    let upstream = FakeServer::start("127.0.0.1:0", move |_, _| Script::healthy(ms(1), ms(0), 3)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let here = |args: &[&str]| garrison().current_dir(folder.path()).args(args).output().unwrap();
    assert!(here(&["audit", "key", "receipts.key"]).status.success());
    let with = format!("{{ threshold = 0.5, embedder = {EMBEDDER:?}, max_error = 0.5 }}");
    write(folder.path(), &upstream.url, &with);
    let server = Server::start_with(&["--config", "garrison.toml"], |command| {
        command.current_dir(folder.path());
    });
    assert_eq!(ask(&server, 0)["outcome"], "nobody_alike");
    let given = (1..400).find(|n| ask(&server, *n)["outcome"] == "given");
    assert!(given.is_some_and(|n| n > 6), "{given:?}");
    assert!(server.log().contains("requests that are alike"), "{}", server.log());

    write(folder.path(), &upstream.url, "{ threshold = 0.95 }");
    server.signal("HUP");
    let wait_for = |first: usize, wanted: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        for n in first.. {
            if ask(&server, n)["outcome"] == wanted {
                return n + 1;
            }
            assert!(Instant::now() < deadline, "{wanted}");
            std::thread::sleep(ms(20));
        }
        first
    };
    let next = wait_for(1000, "no_embedder");
    assert!(server.log().contains("[cache] semantic is off: there is no embedder"), "{}", server.log());
    // It begins anew, since nobody knows what was learned for whom.
    write(folder.path(), &upstream.url, &with);
    server.signal("HUP");
    wait_for(next, "nobody_alike");

    // Two cannot write the same receipts.
    drop(server);
    for (semantic, wanted) in [
        ("{ embedder = \"nowhere\" }", "nowhere is no folder"),
        ("{ embedder = \".\" }", "needs config.json"),
        ("{ max_error = 2.0 }", "max_error is 2"),
    ] {
        write(folder.path(), &upstream.url, semantic);
        let output = here(&["serve", "--port", "0", "--config", "garrison.toml"]);
        assert_refused(&output, wanted);
    }
}
