//! A hub of our own on loopback, with one repository: `acme/m`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the repository holds, and how it behaves.
#[derive(Clone, Default)]
pub(crate) struct Repository {
    /// Each file, and the SHA-256 that the hub gives for it.
    pub(crate) files: BTreeMap<String, (Vec<u8>, String)>,
    /// Files that are listed besides.
    pub(crate) listed: Vec<String>,
    /// The first downloads, which end halfway.
    pub(crate) cuts: usize,
}

impl Repository {
    /// With this file besides.
    pub(crate) fn with(mut self, name: &str, file: Vec<u8>) -> Repository {
        let sum = sha256(&file);
        self.files.insert(name.to_owned(), (file, sum));
        self
    }
}

/// A hub that runs.
pub(crate) struct Hub {
    endpoint: String,
    /// Where each download started, in bytes.
    pub(crate) starts: Arc<Mutex<Vec<usize>>>,
}

impl Hub {
    pub(crate) fn start(repository: Repository) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let starts = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&starts);
        std::thread::spawn(move || {
            let mut repository = repository;
            for stream in listener.incoming() {
                let _ = answer(&mut stream.unwrap(), &mut repository, &seen); // a client may hang up
            }
        });
        Hub { endpoint, starts }
    }

    /// Has a command use this hub, and a cache in `home`.
    pub(crate) fn serve<'c>(&self, command: &'c mut Command, home: &Path) -> &'c mut Command {
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", home).env_remove("HF_TOKEN")
    }
}

fn answer(
    stream: &mut TcpStream,
    repository: &mut Repository,
    starts: &Mutex<Vec<usize>>,
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
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path.starts_with("/api/models/acme/m") {
        let names = repository.files.keys().chain(&repository.listed);
        let siblings: Vec<String> = names.map(|name| format!(r#"{{"rfilename":"{name}"}}"#)).collect();
        let body = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, siblings.join(","));
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let file = path.strip_prefix("/acme/m/resolve/main/").map(|name| name.replace("%2F", "/"));
    let Some((file, sha256)) = file.and_then(|name| repository.files.get(&name)) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
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
    let half = if repository.cuts > 0 { part.len() / 2 } else { part.len() };
    repository.cuts = repository.cuts.saturating_sub(1);
    stream.write_all(&part[..half])
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
