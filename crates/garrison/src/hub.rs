//! Models and adapters from the Hugging Face hub, through hf-hub: into the cache that other tools use too,
//! with progress, resume, and a checksum before a file counts as there.
//!
//! hf-hub keeps a half-downloaded file as `<blob>.part` and goes on from its end. It does not
//! compare what arrived with what was announced, so that is done here: the size always, and the
//! SHA-256 that the hub gives as the entity tag of large files.

mod progress;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo};
use sha2::{Digest, Sha256};

use crate::error::Fault;
use crate::source::{HubModel, is_plain_path};
use progress::Bar;

/// Which quantization to take when the user names none: the usual balance first.
const PREFERRED: [&str; 5] = ["q4_k_m", "q4_k_s", "q4_0", "q8_0", "f16"];
/// What a PEFT adapter is made of.
const PEFT: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];
/// What a text encoder is made of.
const ENCODER: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];
/// Bytes of a file of an adapter or encoder at most: clients may have adapters downloaded.
const MAX_ADAPTER_FILE: u64 = 4 << 30;

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
    let hub = Hub::open(model)?;
    hub.fetch(&hub.model_files()?, u64::MAX)
}

/// An adapter's path in the local cache, downloaded first if need be: a PEFT folder or a GGUF file.
///
/// # Errors
/// If the hub cannot be reached, has no such adapter, or sends something else than it announced.
pub(crate) fn ensure_adapter(adapter: &HubModel) -> Result<PathBuf, Fault> {
    if let Some(path) = cached_adapter(adapter) {
        return Ok(path);
    }
    let hub = Hub::open(adapter)?;
    let path = hub.fetch(&hub.adapter_files()?, MAX_ADAPTER_FILE)?;
    // Its names are plain and so are those that the hub gave it, so this holds; but clients may ask for it.
    let inside = Cache::from_env()
        .path()
        .canonicalize()
        .is_ok_and(|cache| path.canonicalize().is_ok_and(|path| path.starts_with(cache)));
    if !inside {
        return Err(Fault::failed(format!("{adapter} leads out of the hub's cache")));
    }
    Ok(path)
}

/// A text encoder's folder in the local cache, downloaded first if need be.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_encoder(encoder: &HubModel) -> Result<PathBuf, Fault> {
    let cache = Cache::from_env().repo(Repo::model(encoder.repo.clone()));
    let names = ENCODER.map(|name| inside(encoder, name));
    let here: Option<Vec<PathBuf>> = names.iter().map(|name| cache.get(name)).collect();
    if let Some(folder) = here.as_ref().and_then(|paths| paths.first()?.parent()) {
        return Ok(folder.to_owned());
    }
    let hub = Hub::open(encoder)?;
    hub.fetch(&Files { names: names.to_vec(), kind: FileKind::Safetensors }, MAX_ADAPTER_FILE)
}

fn cached_adapter(adapter: &HubModel) -> Option<PathBuf> {
    let cache = Cache::from_env().repo(Repo::model(adapter.repo.clone()));
    match &adapter.file {
        Some(file) if is_gguf(file) => cache.get(file),
        _ => {
            let [config, weights] = PEFT.map(|name| cache.get(&inside(adapter, name)));
            weights.and(config)?.parent().map(Path::to_owned)
        }
    }
}

fn is_gguf(name: &str) -> bool {
    name.ends_with(".gguf")
}

/// A file of an adapter's folder, or of its repository if it names none.
fn inside(adapter: &HubModel, name: &str) -> String {
    adapter.file.as_ref().map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"))
}

/// A repository on the hub, and what is wanted of it.
struct Hub<'a> {
    api: Api,
    repo: ApiRepo,
    wanted: &'a HubModel,
}

struct Files {
    names: Vec<String>,
    kind: FileKind,
}

enum FileKind {
    Gguf,
    Safetensors,
}

impl Hub<'_> {
    fn open(wanted: &HubModel) -> Result<Hub<'_>, Fault> {
        let api = ApiBuilder::from_env()
            .with_progress(false)
            .with_retries(3)
            .build()
            .map_err(|e| Fault::failed(format!("the hub client cannot start: {e}")))?;
        let repo = api.model(wanted.repo.clone());
        Ok(Hub { api, repo, wanted })
    }

    fn model_files(&self) -> Result<Files, Fault> {
        if let Some(file) = &self.wanted.file {
            return Ok(Files { names: split_parts(file), kind: FileKind::Gguf });
        }
        choose_files(&self.listed()?).ok_or_else(|| {
            let wanted = self.wanted;
            Fault::failed(format!("{wanted} has neither .gguf files nor safetensors with a config.json"))
        })
    }

    fn adapter_files(&self) -> Result<Files, Fault> {
        if let Some(file) = self.wanted.file.as_ref().filter(|file| is_gguf(file)) {
            return Ok(Files { names: vec![file.clone()], kind: FileKind::Gguf });
        }
        choose_adapter(&self.listed()?, self.wanted).ok_or_else(|| {
            let (wanted, [config, weights]) = (self.wanted, PEFT);
            Fault::failed(format!(
                "{wanted} is no adapter: it has neither {config} and {weights} nor one .gguf file"
            ))
        })
    }

    /// The repository's files. Those with unusual names are not for us, least of all those that would
    /// lead out of the cache.
    fn listed(&self) -> Result<Vec<String>, Fault> {
        let info = self.repo.info().map_err(|e| hub_fault(&self.wanted.to_string(), &e))?;
        let names = info.siblings.into_iter().map(|s| s.rfilename);
        Ok(names.filter(|name| is_plain_path(name)).collect())
    }

    /// Downloads what is missing of the files, none of more than `most` bytes, and checks them. Returns the
    /// file to open, or the folder.
    fn fetch(&self, files: &Files, most: u64) -> Result<PathBuf, Fault> {
        let mut first = None;
        for file in &files.names {
            let path = self.download(file, most)?;
            first.get_or_insert(path);
        }
        let first = first.ok_or_else(|| Fault::failed(format!("{} has nothing to download", self.wanted)))?;
        match files.kind {
            FileKind::Gguf => Ok(first),
            FileKind::Safetensors => first
                .parent()
                .map(Path::to_owned)
                .ok_or_else(|| Fault::failed(format!("{} has no parent folder", first.display()))),
        }
    }

    fn download(&self, file: &str, most: u64) -> Result<PathBuf, Fault> {
        let Hub { api, repo, wanted } = self;
        let what = format!("hf:{}:{file}", wanted.repo);
        let announced = api.metadata(&repo.url(file)).map_err(|e| hub_fault(&what, &e))?;
        let (etag, size) = (announced.etag(), announced.size() as u64);
        // Both become names of files.
        if ![etag, announced.commit_hash()].into_iter().all(|name| is_plain_path(name) && !name.contains('/'))
        {
            return Err(Fault::failed(format!("{what}: the hub gives it a name that no file can have here")));
        }
        if size > most {
            return Err(Fault::failed(format!("{what} has {size} bytes; at most {most} are downloaded")));
        }
        let cache = Cache::from_env().repo(Repo::model(wanted.repo.clone()));
        let blob = cache.blob_path(etag);
        if blob.metadata().is_ok_and(|m| m.len() == size) && cache.get(file).is_some() {
            eprintln!("{file}: already here");
        } else {
            reopen_complete_part(&blob.with_extension("part"), size);
            repo.download_with_progress(file, Bar::new()).map_err(|e| hub_fault(&what, &e))?;
        }
        verify(&blob, size, etag).map_err(|reason| Fault::failed(format!("{what}: {reason}")))?;
        cache
            .get(file)
            .ok_or_else(|| Fault::failed(format!("{what} was downloaded but is not in {}", blob.display())))
    }
}

/// Of a repository's files those of an adapter: a PEFT folder, or the only GGUF file.
fn choose_adapter(names: &[String], adapter: &HubModel) -> Option<Files> {
    let peft = PEFT.map(|name| inside(adapter, name));
    if peft.iter().all(|name| names.contains(name)) {
        return Some(Files { names: peft.to_vec(), kind: FileKind::Safetensors });
    }
    let here = |name: &&String| {
        let folder = name.rsplit_once('/').map(|(folder, _)| folder);
        is_gguf(name) && folder == adapter.file.as_deref()
    };
    let mut ggufs = names.iter().filter(here);
    match (ggufs.next(), ggufs.next()) {
        (Some(only), None) => Some(Files { names: vec![only.clone()], kind: FileKind::Gguf }),
        _ => None,
    }
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
        "; it may ask for a licence to be accepted on its page and for a token in HF_TOKEN"
    } else if said.contains("404") {
        "; check the owner, repository and file names"
    } else {
        "; a download that broke off goes on when the command is run again"
    };
    Fault::failed(format!("{what} could not be downloaded: {said}{hint}"))
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
    fn an_adapter_is_found_where_it_is_said_to_be() {
        let files = names(&[
            "README.md",
            "a/adapter_config.json",
            "a/adapter_model.safetensors",
            "b/x.gguf",
            "y.gguf",
        ]);
        let chosen = |file: Option<&str>| {
            let wanted = HubModel { repo: "o/r".into(), file: file.map(str::to_owned) };
            choose_adapter(&files, &wanted).map(|files| files.names)
        };
        assert_eq!(chosen(Some("a")), Some(names(&["a/adapter_config.json", "a/adapter_model.safetensors"])));
        assert_eq!((chosen(Some("b")), chosen(None)), (Some(names(&["b/x.gguf"])), Some(names(&["y.gguf"]))));
        assert_eq!(
            (
                chosen(Some("c")),
                choose_adapter(&names(&["1.gguf", "2.gguf"]), &HubModel { repo: "o/r".into(), file: None })
                    .is_none()
            ),
            (None, true)
        );
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
