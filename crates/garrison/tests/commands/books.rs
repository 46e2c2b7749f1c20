//! The books of a server that is killed at any moment under load: nothing that was settled is lost, and what was only
//! reserved counts as that.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Server, garrison};
use garrison_gateway::Books;
use garrison_testkit::fake_server::{FakeServer, Script};
use serde_json::json;

/// What an answer costs, in millionths: 7 tokens of prompt at 3 and 5 of answer at 15.
const COST: u64 = 7 * 3 + 5 * 15;
const CLIENTS: u64 = 6;

fn config(folder: &Path, upstream: &str, usd_per_day: f64) {
    let text = format!(
        "[privacy]\nreceipts = \"receipts.jsonl\"\nreceipts_key = \"receipts.key\"\n\
         [[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"{upstream}\"\n\
         price = {{ \"m\" = {{ input = 3.0, output = 15.0 }} }}\n\
         [[route]]\nname = \"auto\"\ntiers = [\"up/m\"]\nprivate = \"local/garrison-tiny\"\nlast_resort = \"refuse\"\n\
         [limits]\nusd_per_day = {usd_per_day:.6}\nledger = \"spend.sqlite\"\n"
    );
    std::fs::write(folder.join("garrison.toml"), text).unwrap();
}

fn start(folder: &Path) -> Server {
    Server::start_with(&["--config", "garrison.toml"], |command| {
        command.current_dir(folder);
    })
}

/// Asks until the server is gone. Counts what was answered.
fn load(url: &str, stop: &AtomicBool, answered: &AtomicU64) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into();
    for i in 0u64.. {
        if stop.load(Relaxed) {
            return;
        }
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": "What is new?"}], "max_tokens": 50,
            "stream": i % 2 == 0});
        let sent = agent.post(format!("{url}/v1/chat/completions")).send_json(&body);
        let Ok(mut answer) = sent else { return };
        let Ok(text) = answer.body_mut().read_to_string() else { return };
        assert_eq!(answer.status(), 200, "{text}");
        // A whole answer, or a stream to its end.
        if text.contains("[DONE]") || text.contains("\"usage\"") {
            answered.fetch_add(1, Relaxed);
        }
    }
}

#[test]
fn a_server_that_is_killed_at_any_moment_keeps_its_books() {
    let ms = Duration::from_millis;
    let upstream = FakeServer::start("127.0.0.1:0", move |i, _| {
        Script::healthy(ms(i as u64 * 7 % 23), ms(i as u64 % 3), 5)
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert!(
        garrison()
            .current_dir(folder.path())
            .args(["audit", "key", "receipts.key"])
            .output()
            .unwrap()
            .status
            .success()
    );
    config(folder.path(), &upstream.url, 100.0);
    let ledger = folder.path().join("spend.sqlite");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    println!("seed {seed}");
    let answered = AtomicU64::new(0);
    let mut reserve = 0;
    for round in 0..8u32 {
        let server = start(folder.path());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| load(&server.url, &stop, &answered));
            }
            let wait = 60 + u64::from(seed.rotate_left(round * 4) % 500);
            std::thread::sleep(ms(wait));
            // SIGKILL, in the middle of whatever it does.
            server.kill();
            stop.store(true, Relaxed);
        });
        let books = Books::open(&ledger).unwrap();
        let spent = books.spent("anyone").month.0;
        let (asked, answered) = (upstream.truths().len() as u64, answered.load(Relaxed));
        assert!(spent >= COST * asked, "round {round}: {asked} were sent, {spent} are booked");
        // Each client had one request under way, and one whose settlement was not on the disk yet.
        let killed = CLIENTS * 2 * u64::from(round + 1);
        reserve = reserve.max(most());
        let most = COST * answered + killed * reserve;
        assert!(spent <= most, "round {round}: {answered} answered, {spent} booked, {most} at most");
    }
    let answered = answered.load(Relaxed);
    assert!(answered > 30, "only {answered} were answered: there was no load");
    // A budget that is used up by what the last processes booked is used up in the next one.
    let spent = Books::open(&ledger).unwrap().spent("anyone").today.0;
    config(folder.path(), &upstream.url, (spent + COST / 2) as f64 / 1e6);
    let server = start(folder.path());
    let before = upstream.truths().len();
    let body =
        json!({"model": "auto", "messages": [{"role": "user", "content": "What is new?"}], "max_tokens": 50});
    let (status, refused) = server.post("/v1/chat/completions", &body);
    assert_eq!((status, refused["error"]["code"].as_str()), (429, Some("budget_exhausted")));
    // Models here answer all the same.
    let here = json!({"model": "garrison-tiny", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4});
    assert_eq!(server.post("/v1/chat/completions", &here).0, 200);
    assert_eq!(upstream.truths().len(), before);
}

/// The most that is reserved for one request: a token of prompt for each byte and some, and the answer's.
fn most() -> u64 {
    (200 + 64) * 3 + 50 * 15
}
