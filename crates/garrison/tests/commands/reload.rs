//! SIGHUP: the configuration is read again under load, and no request notices.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::{Server, garrison};
use garrison_testkit::fake_server::{FakeServer, Script};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// A configuration with these tiers, and more of it.
fn config(upstreams: &[(&str, &str)], tiers: &[&str], more: &str) -> String {
    let mut text = "[server]\napi_keys_file = \"keys.txt\"\n[privacy]\nreceipts = \"receipts.jsonl\"\n\
        receipts_key = \"receipts.key\"\n[cache]\n[limits]\nledger = \"spend.sqlite\"\n"
        .to_owned();
    for (name, url) in upstreams {
        text += &format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
             price = {{ \"m\" = {{ input = 3.0, output = 15.0 }} }}\n"
        );
    }
    text + &format!(
        "[[route]]\nname = \"auto\"\ntiers = {tiers:?}\nprivate = \"local/garrison-tiny\"\nstall_timeout_ms = 9000\n{more}"
    )
}

fn ask(server: &Server, key: &str, body: &Value) -> (u16, String, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request =
        agent.post(format!("{}{CHAT}", server.url)).header("authorization", format!("Bearer {key}"));
    let mut answer = request.send_json(body).unwrap();
    let tier = answer.headers().get("x-garrison-tier").map_or("", |v| v.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), tier, answer.body_mut().read_to_string().unwrap())
}

fn metric(server: &Server, name: &str) -> Option<f64> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.get(format!("{}/metrics", server.url)).header("authorization", "Bearer k1");
    let page = request.call().unwrap().body_mut().read_to_string().unwrap();
    let line = page.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn set_up(folder: &Path) {
    let key = garrison().current_dir(folder).args(["audit", "key", "receipts.key"]).output().unwrap();
    assert!(key.status.success());
    std::fs::write(folder.join("keys.txt"), "owner name=anna k1\n").unwrap();
}

fn start(folder: &Path) -> Server {
    Server::start_with(&["--config", "garrison.toml"], |command| {
        command.current_dir(folder);
    })
}

fn body(text: &str, stream: bool) -> Value {
    json!({"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 50, "stream": stream})
}

/// Sets a flag when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_changed_file_holds_from_the_next_request_on_and_drops_none() {
    let ms = Duration::from_millis;
    // One request takes two seconds, all others are quick.
    let slow = |body: &Value| body["messages"].to_string().contains("slowly");
    let begun = Arc::new(AtomicBool::new(false));
    let has_begun = Arc::clone(&begun);
    let first = FakeServer::start("127.0.0.1:0", move |_, body| {
        if slow(body) {
            has_begun.store(true, Relaxed);
            Script::healthy(ms(10), ms(100), 20)
        } else {
            Script::healthy(ms(5), ms(1), 5)
        }
    })
    .unwrap();
    let second = FakeServer::start("127.0.0.1:0", move |_, _| Script::healthy(ms(5), ms(1), 5)).unwrap();
    let gone = "http://127.0.0.1:1";
    let folder = tempfile::tempdir().unwrap();
    set_up(folder.path());
    let write = |text: String| std::fs::write(folder.path().join("garrison.toml"), text).unwrap();
    let before = [("gone", gone), ("first", &first.url)];
    write(config(&before, &["gone/m", "first/m"], ""));
    let server = start(folder.path());
    // A breaker opens, an answer is kept, money is spent.
    let cached =
        json!({"model": "auto", "messages": [{"role": "user", "content": "Keep this."}], "temperature": 0});
    for _ in 0..4 {
        assert_eq!(ask(&server, "k1", &cached).1, "first/m");
        assert_eq!(ask(&server, "k1", &body("What is new?", false)).1, "first/m");
    }
    let spent = || metric(&server, "garrison:budget_spent_usd{key=\"anna\",period=\"day\"}");
    let open = || metric(&server, "garrison:tier_breaker_open{tier=\"gone/m\"}").unwrap() > 0.0;
    let kept = || metric(&server, "garrison:answer_cache_hits_total").unwrap();
    assert!(spent().unwrap() > 0.0 && open() && kept() == 3.0);

    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // Also if something below fails: the scope waits for its threads.
        let _stop = Stop(&stop);
        for client in 0..4 {
            let (server, stop, asked) = (&server, &stop, &asked);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    let (status, _, text) =
                        ask(server, "k1", &body(&format!("What is new, {client}?"), client % 2 == 0));
                    assert!(status == 200 && !text.contains("\"error\""), "{status} {text}");
                    asked.fetch_add(1, Relaxed);
                }
            });
        }
        let slow = scope.spawn(|| ask(&server, "k1", &body("Tell me slowly.", true)));
        wait_for("the slow one to begin", || begun.load(Relaxed));
        let load = asked.load(Relaxed);
        std::fs::write(folder.path().join("keys.txt"), "name=bert k2\nowner name=anna k1\n").unwrap();
        let after = [("gone", gone), ("second", &second.url)];
        let limits = "[[key]]\nname = \"bert\"\nmodels = [\"auto\"]\nrequests_per_minute = 2\n";
        write(config(&after, &["gone/m", "second/m"], limits));
        assert_eq!(ask(&server, "k2", &body("Am I known?", false)).0, 401);
        server.signal("HUP");
        wait_for("the new key to be known", || {
            ask(&server, "k2", &body("Am I known?", false)).1 == "second/m"
        });
        wait_for("more load", || asked.load(Relaxed) > load + 20);
        let (status, tier, text) = slow.join().unwrap();
        assert_eq!((status, tier.as_str()), (200, "first/m"), "it keeps what it began with");
        assert!(text.contains("[DONE]") && text.matches("\"content\":\" word\"").count() == 20, "{text}");
    });
    let seen = first.truths().len();
    assert_eq!(ask(&server, "k1", &body("What is new?", false)).1, "second/m");
    assert_eq!(first.truths().len(), seen);
    assert_eq!(ask(&server, "k2", &json!({"model": "garrison-tiny", "messages": []})).0, 403);
    wait_for("the limit of the new key", || ask(&server, "k2", &body("And now?", false)).0 == 429);
    assert!(spent().unwrap() > 0.0, "the books go on");
    assert!(
        metric(&server, "garrison:tier_breaker_open{tier=\"gone/m\"}").is_some(),
        "breakers are remembered"
    );
    assert!(kept() >= 3.0, "answers that are kept are");
    // The tier that gave the answer is in use again.
    write(config(&before, &["gone/m", "first/m"], ""));
    server.signal("HUP");
    wait_for("the first tier again", || ask(&server, "k1", &body("What is new?", false)).1 == "first/m");
    let hits = kept();
    assert_eq!(ask(&server, "k1", &cached).1, "first/m");
    assert_eq!(kept(), hits + 1.0, "it was kept over two reloads");
    server.terminate();
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("was read again and holds").count(), 2, "{log}");
}

#[test]
fn a_bad_file_changes_nothing_and_says_so() {
    let ms = Duration::from_millis;
    let upstream = FakeServer::start("127.0.0.1:0", move |_, _| Script::healthy(ms(1), ms(1), 5)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    set_up(folder.path());
    let good = config(&[("first", &upstream.url)], &["first/m"], "");
    std::fs::write(folder.path().join("garrison.toml"), &good).unwrap();
    let server = start(folder.path());
    let bad = [
        (good.replace("[cache]", "[cache]\ntll_s = 3"), "tll_s"),
        (good.replace("first/m\"", "last/m\""), "last/m names no [[provider]]"),
        (good.replace("kind =", "api_key_env = \"GARRISON_NOT_SET\"\nkind ="), "GARRISON_NOT_SET"),
        (format!("{good}[[key]]\nname = \"carl\"\n"), "name=carl KEY"),
        (good.replace("spend.sqlite", "other.sqlite"), "[limits] ledger cannot change while the server runs"),
        (good.replace("receipts.jsonl", "other.jsonl"), "receipts"),
        (format!("{good}[engine]\nmax_seqs = 3\n"), "[engine] cannot change"),
        ("= 3".into(), "line 1"),
    ];
    for (count, (text, _)) in bad.iter().enumerate() {
        std::fs::write(folder.path().join("garrison.toml"), text).unwrap();
        server.signal("HUP");
        wait_for("the log", || server.log().matches("nothing has changed").count() == count + 1);
        let (status, tier, text) = ask(&server, "k1", &body("What is new?", false));
        assert_eq!((status, tier.as_str()), (200, "first/m"), "{text}");
    }
    std::fs::write(folder.path().join("keys.txt"), "two words\n").unwrap();
    std::fs::write(folder.path().join("garrison.toml"), &good).unwrap();
    server.signal("HUP");
    wait_for("the log", || server.log().matches("nothing has changed").count() == bad.len() + 1);
    assert_eq!(ask(&server, "k1", &body("What is new?", false)).0, 200);
    let log = server.log();
    for (text, wanted) in &bad {
        assert!(log.contains(wanted), "{wanted} is not told of {text}: {log}");
    }
    assert!(log.contains("line 1 of the API keys file"), "{log}");
}
