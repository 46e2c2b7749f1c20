//! `garrison serve` with a route, as the README shows it: what leaves, what stays, and what happens when nobody is there.

use crate::support::{Server, assert_refused, garrison};
use serde_json::{Value, json};

/// The README's configuration, with its upstream elsewhere.
fn readme(upstream: &str) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let config = text.split("```toml\n").find(|part| part.contains("[[provider]]")).unwrap();
    config.split("```").next().unwrap().replace("http://127.0.0.1:8081", upstream)
}

/// Text, tier and privacy of a chat's answer.
fn ask(server: &Server, text: &str) -> (String, String, String) {
    ask_of(server, "auto", text)
}

fn ask_of(server: &Server, route: &str, text: &str) -> (String, String, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let body = json!({"model": route, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 24});
    let mut answer = agent.post(format!("{}/v1/chat/completions", server.url)).send_json(&body).unwrap();
    let header = |name: &str| answer.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
    let (tier, privacy) = (header("x-garrison-tier"), header("x-garrison-privacy"));
    let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    let said = body["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{body}"));
    (said.to_owned(), tier, privacy)
}

#[test]
fn the_readmes_route_answers_from_elsewhere_and_keeps_what_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let here = |args: &[&str]| garrison().current_dir(folder.path()).args(args).output().unwrap();
    let key = here(&["audit", "key", "receipts.key"]);
    assert!(key.status.success());
    let public = String::from_utf8(key.stdout).unwrap().trim().to_owned();
    let upstream = Server::start(&[]);
    std::fs::write(folder.path().join("routes.toml"), readme(&upstream.url)).unwrap();
    let start = || {
        Server::start_with(&["--config", "routes.toml"], |command| {
            command.current_dir(folder.path());
        })
    };
    let server = start();
    let question = "Hello! What can you help me with?";
    let (afar, tier, privacy) = ask(&server, question);
    assert_eq!((tier.as_str(), privacy.as_str()), ("upstream/garrison-tiny", "cleared"));
    let (_, tier, privacy) = ask(&server, "Please write to zoe@buecher.example about my pipe.");
    assert_eq!((tier.as_str(), privacy.as_str()), ("local/garrison-tiny", "local"));
    // The same model with the same seed's temperature says the same when nobody else is there.
    drop(upstream);
    let (said, tier, _) = ask(&server, question);
    assert_eq!((said, tier.as_str()), (afar, "local/garrison-tiny"));
    server.terminate();
    let (status, log) = server.wait();
    assert!(status.success() && !log.contains("zoe@"), "{log}");
    let verified = here(&["audit", "verify", "receipts.jsonl", "--key", &public]);
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(said.starts_with("3 receipts hold, 2 of them cleared"), "{said}");
    assert!(folder.path().join("spend.sqlite").exists());
    // It starts again with its books and its log.
    let server = start();
    assert_eq!(ask(&server, question).1, "local/garrison-tiny");
}

#[test]
fn the_readmes_cascade_weighs_what_the_model_here_says() {
    let folder = tempfile::tempdir().unwrap();
    let here = |args: &[&str]| garrison().current_dir(folder.path()).args(args).output().unwrap();
    assert!(here(&["audit", "key", "receipts.key"]).status.success());
    let upstream = Server::start(&[]);
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let section = text.split("```toml\n").find(|part| part.contains("cascade = {")).unwrap();
    let config = format!("{}\n{}", readme(&upstream.url), section.split("```").next().unwrap());
    // What nothing can be as sure as goes up, and what anything is stays.
    for (least, wanted) in
        [("0.5", None), ("1.0", Some("upstream/garrison-tiny")), ("0.0", Some("local/garrison-tiny"))]
    {
        std::fs::write(
            folder.path().join("routes.toml"),
            config.replace("least_confidence = 0.5", &format!("least_confidence = {least}")),
        )
        .unwrap();
        let server = Server::start_with(&["--config", "routes.toml"], |command| {
            command.current_dir(folder.path());
        });
        let (said, tier, _) = ask_of(&server, "thrifty", "What does the red light mean?");
        assert!(!said.is_empty());
        assert!(wanted.is_none_or(|wanted| wanted == tier), "{least}: {tier}");
        let (_, tier, privacy) =
            ask_of(&server, "thrifty", "Please write to zoe@buecher.example about my pipe.");
        assert_eq!((tier.as_str(), privacy.as_str()), ("local/garrison-tiny", "local"), "{least}");
    }
}

#[test]
fn the_readmes_learned_cascade_compares_both_and_remembers_what_it_learned() {
    let folder = tempfile::tempdir().unwrap();
    let here = |args: &[&str]| garrison().current_dir(folder.path()).args(args).output().unwrap();
    assert!(here(&["audit", "key", "receipts.key"]).status.success());
    let upstream = Server::start(&[]);
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let section = text.split("```toml\n").find(|part| part.contains("[cascade]")).unwrap();
    let config = format!("{}\n{}", readme(&upstream.url), section.split("```").next().unwrap());
    std::fs::write(folder.path().join("routes.toml"), config).unwrap();
    let start = || {
        Server::start_with(&["--config", "routes.toml"], |command| {
            command.current_dir(folder.path());
        })
    };
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    // How the last request was weighed, once it was compared.
    let weigh = |server: &Server| {
        let body = json!({"model": "learning", "temperature": 0, "max_tokens": 24,
            "messages": [{"role": "user", "content": "What does the red light mean?"}]});
        let post = agent.post(format!("{}/v1/chat/completions", server.url)).header("x-request-id", "r-1");
        assert_eq!(post.send_json(&body).unwrap().status(), 200);
        for _ in 0..1000 {
            let mut trace = agent.get(format!("{}/v1/garrison/requests/r-1", server.url)).call().unwrap();
            let trace: Value = serde_json::from_str(&trace.body_mut().read_to_string().unwrap()).unwrap();
            if trace["cascade"]["compared"] != "awaited" {
                return (trace["tier"].as_str().unwrap().to_owned(), trace["cascade"].clone());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("it is never compared")
    };
    let server = start();
    for i in 0..20 {
        let (tier, cascade) = weigh(&server);
        let because = if i < 19 { "too_few_labels" } else { "learned" };
        assert_eq!(
            (&*tier, &cascade["learned"]["because"]),
            ("upstream/garrison-tiny", &json!(because)),
            "{i}"
        );
        // The same model says the same.
        assert_eq!(cascade["compared"], "same", "{cascade}");
    }
    server.terminate();
    assert!(server.wait().0.success());
    let (_, cascade) = weigh(&start());
    // The last one may have been lost with the process.
    let learned = &cascade["learned"];
    assert!((19..=20).contains(&learned["labels"].as_u64().unwrap()) && learned["others"] == 0, "{cascade}");
}

#[test]
fn a_route_that_could_leak_or_leads_nowhere_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let good = readme("http://127.0.0.1:1");
    for (from, to, wanted) in [
        (
            "receipts = \"receipts.jsonl\"\nreceipts_key = \"receipts.key\"\n",
            "",
            "nothing leaves without a receipt",
        ),
        ("private = \"local/garrison-tiny\"\n", "", "needs private"),
        ("local/garrison-tiny", "local/nothing", "no model \"nothing\""),
        (
            "kind = \"openai\"",
            "kind = \"openai\"\napi_key_env = \"GARRISON_NO_SUCH_KEY\"",
            "GARRISON_NO_SUCH_KEY",
        ),
        ("name = \"auto\"", "name = \"auto\"\ntimeout = 5", "unknown field `timeout`"),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(folder.path().join("routes.toml"), good.replace(from, to)).unwrap();
        let output = garrison()
            .current_dir(folder.path())
            .args(["serve", "--port", "0", "--config", "routes.toml"])
            .output()
            .unwrap();
        assert_refused(&output, wanted);
    }
}
