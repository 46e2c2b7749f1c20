//! `models pull` against a hub of our own on loopback: a download that breaks off goes on where it
//! was, and a file that is not what the hub announced does not stay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use support::garrison;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one file, `m-Q4_K_M.gguf`.
struct Hub {
    endpoint: String,
    /// Where each download started, in bytes.
    starts: Arc<Mutex<Vec<usize>>>,
}

impl Hub {
    /// Serves `file`; the first `cuts` downloads end halfway.
    fn start(file: Vec<u8>, sha256: String, cuts: usize) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let starts = Arc::new(Mutex::new(Vec::new()));
        let (seen, left) = (starts.clone(), AtomicUsize::new(cuts));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(&mut stream.unwrap(), &file, &sha256, &seen, &left); // a client may hang up
            }
        });
        Hub { endpoint, starts }
    }

    fn pull(&self, home: &Path) -> Output {
        garrison()
            .args(["models", "pull", "hf:acme/m"])
            .env("HF_ENDPOINT", &self.endpoint)
            .env("HF_HOME", home)
            .env_remove("HF_TOKEN")
            .output()
            .unwrap()
    }
}

fn answer(
    stream: &mut TcpStream,
    file: &[u8],
    sha256: &str,
    starts: &Mutex<Vec<usize>>,
    cuts: &AtomicUsize,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if let Some(bytes) = line.strip_prefix("range: bytes=") {
            range =
                bytes.split_once('-').map(|(a, b)| (a.parse().unwrap_or(0usize), b.parse::<usize>().ok()));
        }
        if line.is_empty() {
            break;
        }
    }
    if request.contains("/api/models/") {
        let body = format!(
            r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"README.md"}},{{"rfilename":"m-Q4_K_M.gguf"}}]}}"#
        );
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let (from, to) = range.unwrap_or((0, None));
    let to = to.unwrap_or(file.len() - 1).min(file.len() - 1);
    let part = &file[from..=to];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {from}-{to}/{}\r\n\
         x-repo-commit: {COMMIT}\r\netag: \"{sha256}\"\r\nconnection: close\r\n\r\n",
        part.len(),
        file.len()
    )?;
    if part.len() == 1 {
        return stream.write_all(part); // the question for size and tag
    }
    starts.lock().unwrap().push(from);
    let cut = cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
    stream.write_all(if cut { &part[..part.len() / 2] } else { part })
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn model() -> Vec<u8> {
    (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn a_broken_download_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start(model(), sha256(&model()), 6); // more cuts than one run retries
    let mut runs = 0;
    let path = loop {
        runs += 1;
        let output = hub.pull(home.path());
        if output.status.success() {
            break String::from_utf8(output.stdout).unwrap();
        }
        assert!(runs < 5, "{}", String::from_utf8_lossy(&output.stderr));
    };
    assert_eq!(std::fs::read(path.trim()).unwrap(), model());
    let starts = hub.starts.lock().unwrap().clone();
    assert!(
        starts.len() > 3 && starts.windows(2).all(|w| w[0] < w[1]),
        "each start is further on: {starts:?}"
    );

    let again = hub.pull(home.path());
    assert!(again.status.success());
    assert_eq!(hub.starts.lock().unwrap().len(), starts.len(), "what is here is not downloaded again");
}

#[test]
fn a_file_that_is_not_what_was_announced_does_not_stay() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start(model(), sha256(b"something else"), 0);
    let output = hub.pull(home.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("SHA-256") && said.contains("hf:acme/m"), "{said}");
    let left: Vec<_> =
        walk(home.path()).into_iter().filter(|p| p.metadata().is_ok_and(|m| m.len() > 1000)).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path) } else { vec![path] }
        })
        .collect()
}
