//! Models from the Hugging Face hub, through hf-hub: into the cache that other tools use too,
//! with progress, resume, and a checksum before a file counts as there.
//!
//! hf-hub keeps a half-downloaded file as `<blob>.part` and goes on from its end. It does not
//! compare what arrived with what was announced, so that is done here: the size always, and the
//! SHA-256 that the hub gives as the entity tag of large files.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo};
use sha2::{Digest, Sha256};

use crate::error::Fault;
use crate::source::HubModel;

/// Which quantization to take when the user names none: the usual balance first.
const PREFERRED: [&str; 5] = ["q4_k_m", "q4_k_s", "q4_0", "q8_0", "f16"];

/// The model's path in the local cache, if all of it is there.
pub(crate) fn cached(model: &HubModel) -> Option<PathBuf> {
    let file = model.file.as_ref()?;
    let cache = Cache::from_env().repo(Repo::model(model.repo.clone()));
    let parts = split_parts(file);
    let paths: Option<Vec<PathBuf>> = parts.iter().map(|part| cache.get(part)).collect();
    paths?.into_iter().next()
}

/// The model's path in the local cache, downloaded first if need be.
///
/// # Errors
/// If the hub cannot be reached, has no such model, or sends something else than it announced.
pub(crate) fn ensure(model: &HubModel) -> Result<PathBuf, Fault> {
    match cached(model) {
        Some(path) => Ok(path),
        None => pull(model),
    }
}

/// Downloads the model, or what is missing of it, and checks it. Returns the file to open, or the
/// folder of a safetensors model.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn pull(model: &HubModel) -> Result<PathBuf, Fault> {
    let api = ApiBuilder::from_env()
        .with_progress(false)
        .with_retries(3)
        .build()
        .map_err(|e| Fault::failed(format!("the hub client cannot start: {e}")))?;
    let repo = api.model(model.repo.clone());
    let files = wanted_files(&repo, model)?;
    let mut first = None;
    for file in &files.names {
        let path = download(&api, &repo, &model.repo, file)?;
        first.get_or_insert(path);
    }
    let first = first.ok_or_else(|| Fault::failed(format!("{model} has nothing to download")))?;
    match files.kind {
        FileKind::Gguf => Ok(first),
        FileKind::Safetensors => first
            .parent()
            .map(Path::to_owned)
            .ok_or_else(|| Fault::failed(format!("{} has no parent folder", first.display()))),
    }
}

struct Files {
    names: Vec<String>,
    kind: FileKind,
}

enum FileKind {
    Gguf,
    Safetensors,
}

fn wanted_files(repo: &ApiRepo, model: &HubModel) -> Result<Files, Fault> {
    if let Some(file) = &model.file {
        return Ok(Files { names: split_parts(file), kind: FileKind::Gguf });
    }
    let info = repo.info().map_err(|e| hub_fault(&model.to_string(), &e))?;
    let names: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
    choose_files(&names).ok_or_else(|| {
        Fault::failed(format!("{model} has neither .gguf files nor safetensors with a config.json"))
    })
}

/// Among a repository's files, the GGUF of the usual quantization, or all of a safetensors model.
fn choose_files(names: &[String]) -> Option<Files> {
    let ggufs: Vec<&String> =
        names.iter().filter(|n| n.ends_with(".gguf") && !n.contains("mmproj")).collect();
    let preferred = PREFERRED.iter().find_map(|p| ggufs.iter().find(|n| n.to_ascii_lowercase().contains(p)));
    if let Some(file) = preferred.or(ggufs.first()) {
        return Some(Files { names: split_parts(file), kind: FileKind::Gguf });
    }
    let top = |n: &&String| !n.contains('/');
    let weights: Vec<String> =
        names.iter().filter(top).filter(|n| n.ends_with(".safetensors")).cloned().collect();
    let described = names.iter().any(|n| n == "config.json");
    if weights.is_empty() || !described {
        return None;
    }
    const BESIDES: [&str; 6] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors.index.json",
    ];
    let mut wanted: Vec<String> = names.iter().filter(|n| BESIDES.contains(&n.as_str())).cloned().collect();
    wanted.extend(weights);
    Some(Files { names: wanted, kind: FileKind::Safetensors })
}

/// `x-00001-of-00003.gguf` stands for all three.
fn split_parts(file: &str) -> Vec<String> {
    let split = || {
        let stem = file.strip_suffix(".gguf")?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, _) = rest.rsplit_once('-')?;
        let digits = count.len();
        let count: u32 = count.parse().ok().filter(|c| (1..=999).contains(c) && digits == 5)?;
        Some((1..=count).map(|i| format!("{prefix}-{i:05}-of-{count:05}.gguf")).collect())
    };
    split().unwrap_or_else(|| vec![file.to_owned()])
}

fn download(api: &Api, repo: &ApiRepo, repo_name: &str, file: &str) -> Result<PathBuf, Fault> {
    let what = format!("hf:{repo_name}:{file}");
    let announced = api.metadata(&repo.url(file)).map_err(|e| hub_fault(&what, &e))?;
    let cache = Cache::from_env().repo(Repo::model(repo_name.to_owned()));
    let blob = cache.blob_path(announced.etag());
    let size = announced.size() as u64;
    if blob.metadata().is_ok_and(|m| m.len() == size) && cache.get(file).is_some() {
        eprintln!("{file}: already here");
    } else {
        reopen_complete_part(&blob.with_extension("part"), size);
        repo.download_with_progress(file, Bar::new()).map_err(|e| hub_fault(&what, &e))?;
    }
    verify(&blob, size, announced.etag()).map_err(|reason| Fault::failed(format!("{what}: {reason}")))?;
    cache
        .get(file)
        .ok_or_else(|| Fault::failed(format!("{what} was downloaded but is not in {}", blob.display())))
}

/// A `.part` that is complete would be asked for from its end on, which servers refuse; one byte
/// less makes it an ordinary resume.
fn reopen_complete_part(part: &Path, size: u64) {
    if part.metadata().is_ok_and(|m| m.len() >= size && size > 0) {
        let shortened = fs::OpenOptions::new().write(true).open(part).and_then(|f| f.set_len(size - 1));
        if shortened.is_err() {
            let _ = fs::remove_file(part); // then it starts over
        }
    }
}

/// Checks what arrived. What is short goes back to being a `.part`; what is wrong is deleted.
fn verify(blob: &Path, size: u64, etag: &str) -> Result<(), String> {
    let have = blob.metadata().map_err(|e| format!("{}: {e}", blob.display()))?.len();
    if have < size {
        let _ = fs::rename(blob, blob.with_extension("part"));
        return Err(format!(
            "the connection ended after {have} of {size} bytes; run the command again to go on"
        ));
    }
    let is_sha256 = etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit());
    if have == size && is_sha256 {
        let sum = sha256(blob).map_err(|e| format!("{}: {e}", blob.display()))?;
        if sum.eq_ignore_ascii_case(etag) {
            return Ok(());
        }
        let _ = fs::remove_file(blob);
        return Err(format!(
            "the download has SHA-256 {sum}, the hub announced {etag}; it was deleted, try again"
        ));
    }
    if have > size {
        let _ = fs::remove_file(blob);
        return Err(format!(
            "the download has {have} bytes, the hub announced {size}; it was deleted, try again"
        ));
    }
    Ok(())
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            n => hash.update(&chunk[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

fn hub_fault(what: &str, error: &ApiError) -> Fault {
    let said = error.to_string();
    let hint = if said.contains("401") || said.contains("403") {
        "; the model may ask for a licence to be accepted on its page and for a token in HF_TOKEN"
    } else if said.contains("404") {
        "; check the owner, repository and file names"
    } else {
        "; a download that broke off goes on when the command is run again"
    };
    Fault::failed(format!("{what} could not be downloaded: {said}{hint}"))
}

/// Progress on stderr: a line that rewrites itself on a terminal, a line every ten percent elsewhere.
struct Bar {
    file: String,
    done: u64,
    size: u64,
    resumed: u64,
    started: Instant,
    shown: Option<Instant>,
    shown_tenth: u64,
}

impl Bar {
    fn new() -> Bar {
        Bar {
            file: String::new(),
            done: 0,
            size: 0,
            resumed: 0,
            started: Instant::now(),
            shown: None,
            shown_tenth: 0,
        }
    }

    fn show(&mut self) {
        let percent = (self.done * 100).checked_div(self.size).unwrap_or(100);
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = (self.done.saturating_sub(self.resumed)) as f64 / 1e6 / seconds;
        let line =
            format!("{}: {percent:>3}% of {:.1} MB at {rate:.1} MB/s", self.file, self.size as f64 / 1e6);
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let _ = write!(stderr, "\r\x1b[K{line}");
            let _ = stderr.flush();
        } else {
            let _ = writeln!(stderr, "{line}");
        }
    }
}

impl Progress for Bar {
    fn init(&mut self, size: usize, filename: &str) {
        self.file = filename.to_owned();
        self.size = size as u64;
        self.done = 0;
        self.resumed = 0;
        self.shown = None;
    }

    fn update(&mut self, size: usize) {
        if self.shown.is_none() && self.done == 0 {
            self.resumed = size as u64; // the first update says where a resumed download starts
        }
        self.done += size as u64;
        let tenth = (self.done * 10).checked_div(self.size).unwrap_or(10);
        let due = if io::stderr().is_terminal() {
            self.shown.is_none_or(|t| t.elapsed() > Duration::from_millis(100))
        } else {
            tenth > self.shown_tenth
        };
        if due {
            self.shown = Some(Instant::now());
            self.shown_tenth = tenth;
            self.show();
        }
    }

    fn finish(&mut self) {
        self.show();
        if io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn a_split_file_stands_for_all_its_parts() {
        assert_eq!(
            split_parts("m-00001-of-00002.gguf"),
            names(&["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"])
        );
        assert_eq!(split_parts("m.gguf"), names(&["m.gguf"]));
        assert_eq!(split_parts("m-1-of-2.gguf"), names(&["m-1-of-2.gguf"]));
    }

    #[test]
    fn the_usual_quantization_is_chosen() {
        let files =
            choose_files(&names(&["README.md", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj-f16.gguf"])).unwrap();
        assert_eq!(files.names, names(&["m-Q4_K_M.gguf"]));
        let files =
            choose_files(&names(&["config.json", "tokenizer.json", "model.safetensors", "x/y.safetensors"]));
        assert_eq!(files.unwrap().names, names(&["config.json", "tokenizer.json", "model.safetensors"]));
        assert!(choose_files(&names(&["pytorch_model.bin", "config.json"])).is_none());
    }

    #[test]
    fn a_file_is_checked_before_it_counts() {
        let dir = tempfile::tempdir().unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let blob = dir.path().join(abc);
        fs::write(&blob, "abc").unwrap();
        assert_eq!(verify(&blob, 3, abc), Ok(()));
        assert!(verify(&blob, 5, abc).unwrap_err().contains("3 of 5 bytes"));
        assert!(blob.with_extension("part").exists() && !blob.exists(), "a short file is kept for resuming");
        fs::write(&blob, "abd").unwrap();
        assert!(verify(&blob, 3, abc).unwrap_err().contains("SHA-256"));
        assert!(!blob.exists(), "a wrong file is deleted");
    }
}
