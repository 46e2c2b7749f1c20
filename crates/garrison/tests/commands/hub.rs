//! `models pull` and adapters against a hub of our own on loopback: a download that breaks off goes on
//! where it was, a file that is not what the hub announced does not stay, and nothing leaves the cache.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::hub::{Hub, Repository, sha256};
use crate::support::{Server, garrison};
use serde_json::{Value, json};

const FILE: &str = "m-Q4_K_M.gguf";

fn pull(hub: &Hub, home: &Path) -> Output {
    hub.serve(garrison().args(["models", "pull", "hf:acme/m"]), home).output().unwrap()
}

/// What becomes of a server that cannot start.
fn serve(hub: &Hub, home: &Path, adapter: &str) -> Output {
    hub.serve(garrison().args(["serve", "--port", "0", "--adapter", adapter]), home).output().unwrap()
}

fn model() -> Vec<u8> {
    (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn a_broken_download_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    // More cuts than one run retries.
    let hub = Hub::start(Repository { cuts: 6, ..Repository::default().with(FILE, model()) });
    let mut runs = 0;
    let path = loop {
        runs += 1;
        let output = pull(&hub, home.path());
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

    let again = pull(&hub, home.path());
    assert!(again.status.success());
    assert_eq!(hub.starts.lock().unwrap().len(), starts.len(), "what is here is not downloaded again");
}

#[test]
fn a_file_that_is_not_what_was_announced_does_not_stay() {
    let home = tempfile::tempdir().unwrap();
    let files = [(FILE.to_owned(), (model(), sha256(b"something else")))].into();
    let hub = Hub::start(Repository { files, ..Repository::default() });
    let output = pull(&hub, home.path());
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

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/adapters").join(name)
}

/// A repository with the bundled adapters: one as its own folder, one beside it.
fn adapters() -> Repository {
    let mut repository =
        Repository::default().with("tickets.gguf", std::fs::read(bundled("tickets.gguf")).unwrap());
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let bytes = std::fs::read(bundled("playful").join(file)).unwrap();
        repository = repository.with(&format!("tones/playful/{file}"), bytes);
    }
    repository
}

fn said(server: &Server, model: &str) -> String {
    let body = json!({"model": model, "temperature": 0, "max_tokens": 48,
        "messages": [{"role": "user", "content": "The pipe under my sink drips since yesterday."}]});
    let (status, answer) = server.post("/v1/chat/completions", &body);
    assert_eq!(status, 200, "{answer}");
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn adapters_are_pulled_and_served_as_those_from_a_folder_are() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start(Repository { cuts: 2, ..adapters() });
    let here = format!("here={}", bundled("playful").display());
    let flags =
        ["--adapter", &here, "--adapter", "there=hf:acme/m:tones/playful", "--adapter", "tickets=hf:acme/m"];
    let server = Server::start_with(&flags, |command| {
        hub.serve(command, home.path());
    });
    let (here, there, tickets) = (said(&server, "here"), said(&server, "there"), said(&server, "tickets"));
    assert_eq!(there, here);
    assert!(there != said(&server, "garrison-tiny") && tickets != here);
    drop(server);

    let downloads = hub.starts.lock().unwrap().len();
    let again = Server::start_with(&["--adapter", "there=hf:acme/m:tones/playful"], |command| {
        hub.serve(command, home.path());
    });
    assert_eq!(said(&again, "there"), here);
    assert_eq!(hub.starts.lock().unwrap().len(), downloads, "what is here is not downloaded again");
}

#[test]
fn an_adapter_that_is_not_on_the_hub_is_named() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start(adapters());
    for (adapter, wanted) in [
        ("hf:acme/nothing", "hf:acme/nothing could not be downloaded"),
        ("hf:acme/m:tones", "hf:acme/m:tones is no adapter"),
        ("hf:acme/m:other.gguf", "hf:acme/m:other.gguf could not be downloaded"),
    ] {
        let flag = format!("a={adapter}");
        let output = serve(&hub, home.path(), &flag);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let said: Vec<&str> = stderr.lines().filter(|l| l.starts_with("garrison: ")).collect();
        assert!(said.len() == 1 && said[0].contains(wanted), "{stderr}");
    }
}

#[test]
fn clients_load_adapters_from_the_hub_if_the_owner_says_so() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start(adapters());
    let config = home.path().join("garrison.toml");
    let start = |text: &str| {
        std::fs::write(&config, text).unwrap();
        Server::start_with(&["--config", config.to_str().unwrap()], |command| {
            hub.serve(command, home.path());
        })
    };
    let load = |server: &Server, path: &str| {
        server.try_post("/v1/load_lora_adapter", &json!({"lora_name": "a", "lora_path": path}))
    };
    let closed = start("[engine]\nadapter_slots = 2\n");
    let (status, said_no) = load(&closed, "hf:acme/m:tones/playful");
    assert!(status == 400 && said_no.contains("adapter_hub"), "{said_no}");
    assert!(hub.starts.lock().unwrap().is_empty());
    drop(closed);

    let open = start("[engine]\nadapter_hub = true\n");
    for (path, wanted) in [
        ("hf:acme/nothing", "hf:acme/nothing"),
        ("hf:acme/m:../../../etc", "should be hf:OWNER/REPO"),
        ("hf:acme/..:passwd", "should be hf:OWNER/REPO"),
        ("hf:acme/m:tones/../../x", "should be hf:OWNER/REPO"),
        ("tones/playful", "adapter_dirs"),
    ] {
        let (status, said) = load(&open, path);
        let error: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((status, &error["error"]["param"]), (400, &json!("lora_path")), "{said}");
        let local = home.path().to_str().unwrap();
        assert!(said.contains(wanted) && !said.contains(local), "{path}: {said}");
    }
    assert_eq!(load(&open, "hf:acme/m:tones/playful").0, 200);
    assert!(said(&open, "a") != said(&open, "garrison-tiny"));
}

#[test]
fn a_hub_cannot_make_files_outside_of_the_cache() {
    let home = tempfile::tempdir().unwrap();
    // Both would be written: the one by its name, the other by the tag that its blob is named after.
    let named = Repository { listed: vec!["../../../../out.gguf".into()], ..Repository::default() };
    let out = "../../../out".to_owned();
    let tagged =
        Repository { files: [("m.gguf".to_owned(), (model(), out))].into(), ..Repository::default() };
    for (repository, wanted) in [(named, "is no adapter"), (tagged, "a name that no file can have")] {
        let hub = Hub::start(repository);
        let output = serve(&hub, home.path(), "a=hf:acme/m");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && stderr.contains(wanted), "{stderr}");
        assert!(hub.starts.lock().unwrap().is_empty(), "nothing of it was downloaded");
    }
}

#[test]
fn a_hub_that_says_nothing_keeps_no_server_from_ending() {
    let home = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let config = home.path().join("garrison.toml");
    std::fs::write(&config, "[engine]\nadapter_hub = true\n").unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()], |command| {
        command.env("HF_ENDPOINT", endpoint).env("HF_HOME", home.path()).env_remove("HF_TOKEN");
    });
    let body = json!({"lora_name": "a", "lora_path": "hf:acme/m"}).to_string();
    let mut client = std::net::TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let head = "POST /v1/load_lora_adapter HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    write!(client, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    // The download has begun when the hub is called.
    let _call = silent.accept().unwrap();
    drop(client);
    server.terminate();
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}
