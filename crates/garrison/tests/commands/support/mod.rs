//! What the end-to-end tests share: the binary, started as a user starts it.

pub(crate) mod hub;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub(crate) fn garrison() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_garrison"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    garrison().args(args).output().unwrap()
}

/// Asserts exit code 2 and one line on stderr that contains `wanted`.
pub(crate) fn assert_refused(output: &Output, wanted: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let said: Vec<&str> = stderr.lines().filter(|l| l.starts_with("garrison: ")).collect();
    assert!(said.len() == 1 && said[0].contains(wanted), "wanted one sentence with {wanted:?}, got {stderr}");
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// What it logs; a file, since nobody reads while it runs and a full pipe would stop it.
    log: tempfile::NamedTempFile,
    pub(crate) url: String,
    pub(crate) model: String,
}

impl Server {
    /// Starts `garrison serve --port 0 ARGS` and waits for its ready line.
    pub(crate) fn start(args: &[&str]) -> Server {
        Server::start_with(args, |_| {})
    }

    /// The same with `more` done to the command.
    pub(crate) fn start_with(args: &[&str], more: impl FnOnce(&mut Command)) -> Server {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = garrison();
        more(&mut command);
        let mut child = command
            .args(["serve", "--port", "0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [ready, url, model, device] = words[..] else {
            let _ = child.kill();
            panic!("no ready line but {line:?}; {}", std::fs::read_to_string(log.path()).unwrap());
        };
        assert_eq!(ready, "ready");
        assert!(device.starts_with("device="), "{line}");
        let model = model.strip_prefix("model=").unwrap().to_owned();
        let url = url.to_owned();
        Server { child, log, url, model }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Sends SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
        let gone = || std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // A zombie holds no lock and no port; it is reaped when this is dropped.
        while gone().is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits for the end and gives what was logged.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, std::fs::read_to_string(self.log.path()).unwrap());
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Posts JSON and gives status and body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.try_post(path, body);
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}")))
    }

    /// Posts JSON and gives status and body, whatever that is.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.post(format!("{}{path}", self.url)).send_json(body).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
