//! The program itself, as it is used: many clients at once, and guesses beside none.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::journal::Journal;
use crate::{Fallible, Options, Outcome, Size, speed};

/// What clients ask for.
#[derive(Clone, Copy)]
struct Plan {
    clients: usize,
    requests: usize,
    prompt: usize,
    answer: usize,
}

const FULL: [Plan; 2] = [
    Plan { clients: 256, requests: 256, prompt: 1000, answer: 1000 },
    Plan { clients: 1, requests: 3, prompt: 256, answer: 256 },
];
const SMALL: [Plan; 2] = [
    Plan { clients: 4, requests: 8, prompt: 12, answer: 8 },
    Plan { clients: 1, requests: 2, prompt: 12, answer: 16 },
];
/// Tokens a second over all clients, of an 8B model on an H100.
const GOAL: f64 = 10_000.0;
/// What makes the most of a GPU: prompts in a hurry and in large pieces, and half the bytes for keys and values.
const FAST: [&str; 2] = ["max_batch_tokens = 2048\nbatch_invariant = false\n", "fp8"];
/// As it is without a config file.
const PLAIN: [&str; 2] = ["", "f16"];
/// How long loading may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Throughput with all clients, as fast as can be and as it is by itself; one client's speed with guesses over that without.
pub(crate) fn serve(options: &Options, journal: &mut Journal) -> Fallible<Outcome> {
    let (model, name) = speed::model_file(options, journal)?;
    let [many, alone] = if options.size == Size::Full { FULL } else { SMALL };
    let start = |[keys, dtype]: [&str; 2], lookup: &str| {
        let config = format!("[engine]\nprompt_lookup = {lookup}\nkv_dtype = \"{dtype}\"\n{keys}");
        Server::start(options, &model, many, &config)
    };
    let mut all_clients = |server: &Server, [_, dtype]: [&str; 2]| -> Fallible<()> {
        let rate = server.ask(many, "many")?;
        let value = tokens_per_second(&rate)?;
        journal.write(&json!({
            "row": "clients", "model": name, "kv_dtype": dtype, "batch_invariant": dtype == PLAIN[1],
            "clients": many.clients, "prompt": many.prompt, "answer": many.answer,
            "ttft_ms": rate["ttft_ms"]["p50"], "itl_ms": rate["itl_ms"]["p50"], "failed": rate["requests"]["failed"],
            "value": value, "goal": GOAL, "met": value >= GOAL,
        }))
    };
    all_clients(&start(FAST, "false")?, FAST)?;
    let plain = start(PLAIN, "false")?;
    all_clients(&plain, PLAIN)?;
    let without = tokens_per_second(&plain.ask(alone, "plain")?)?;
    drop(plain);
    let with = start(PLAIN, "true")?.ask(alone, "guesses")?;
    let ratio = tokens_per_second(&with)? / without;
    journal.write(&json!({
        "row": "speculation over plain", "model": name, "accepted": with["accepted_share"],
        "value": ratio, "goal": 1.0, "met": ratio >= 1.0,
    }))?;
    Ok(Outcome::Well)
}

fn tokens_per_second(summary: &Value) -> Fallible<f64> {
    let value = summary["output_tokens_per_second"]["value"].as_f64();
    value.ok_or_else(|| "no request was answered; the server's log is beside this".into())
}

/// A server that is ended when nobody needs it.
struct Server {
    child: Child,
    url: String,
    garrison: PathBuf,
    out: PathBuf,
}

impl Server {
    fn start(options: &Options, model: &Path, plan: Plan, keys: &str) -> Fallible<Server> {
        let garrison = options.garrison.clone();
        let config = options.out.join("serve.toml");
        std::fs::write(&config, keys)?;
        let device = if options.on == "emulator" { "cpu" } else { &options.on };
        let log = File::options().create(true).append(true).open(options.out.join("serve-server.log"))?;
        let context = (plan.prompt + plan.answer).next_multiple_of(64) + 64;
        let mut child = Command::new(&garrison)
            .args(["serve", "--port", "0", "--device", device, "--config"])
            .arg(&config)
            .arg("--model")
            .arg(model)
            .args(["--max-seqs", &plan.clients.to_string(), "--context", &context.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{}: {e}", garrison.display()))?;
        let lines = child.stdout.take();
        let mut server = Server { child, url: String::new(), garrison, out: options.out.clone() };
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            for line in
                lines.into_iter().flat_map(|lines| BufReader::new(lines).lines()).map_while(Result::ok)
            {
                // Nobody listens any more once the server is there.
                let _ = send.send(line);
            }
        });
        let line = receive.recv_timeout(PATIENCE).map_err(|_| {
            format!("{} did not get ready; serve-server.log says why", server.garrison.display())
        })?;
        let url = line.strip_prefix("ready ").and_then(|rest| rest.split(' ').next());
        server.url = url.ok_or_else(|| format!("the server said: {line}"))?.to_owned();
        Ok(server)
    }

    /// What `bench serve` makes of this load.
    fn ask(&self, plan: Plan, what: &str) -> Fallible<Value> {
        let result = self.out.join(format!("serve-{what}.json"));
        let log = File::create(self.out.join(format!("serve-{what}.log")))?;
        let numbers = [plan.clients, plan.requests, plan.prompt, plan.answer].map(|n| n.to_string());
        let [clients, requests, prompt, answer] = &numbers;
        let status = Command::new(&self.garrison)
            .args(["bench", "serve", "--url", &self.url, "--concurrency", clients, "--requests", requests])
            .args([
                "--prompt-tokens",
                prompt,
                "--gen-tokens",
                answer,
                "--warm-up",
                "0",
                "--cool-down",
                "none",
            ])
            .arg("--json")
            .arg(&result)
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()?;
        if !status.success() {
            return Err(format!("bench serve ended with {status}; serve-{what}.log says why").into());
        }
        let mut document: Value = serde_json::from_slice(&std::fs::read(&result)?)?;
        // Every request of the run: too much to bring back.
        std::fs::remove_file(&result)?;
        Ok(document["runs"][0]["summary"].take())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
