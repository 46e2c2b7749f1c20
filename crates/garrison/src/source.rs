//! What `M` in `--model M` means: the bundled model, a path, a known name, or a repository on the hub.

use std::fmt;
use std::path::{Path, PathBuf};

use garrison_gguf::Source;

use crate::error::Fault;
use crate::{hub, manifests};

/// A model inside the binary, so that everything can be tried on a machine that has nothing.
#[derive(PartialEq, Eq)]
pub(crate) struct Bundled {
    /// As clients write it.
    pub(crate) name: &'static str,
    /// What it is, in a line.
    pub(crate) description: &'static str,
    gguf: &'static [u8],
}

impl fmt::Debug for Bundled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What `serve` serves unless told otherwise.
pub(crate) static TINY: Bundled = Bundled {
    name: "garrison-tiny",
    description: "the bundled model: a support desk for one invented product",
    gguf: include_bytes!("../../../models/tiny/garrison-tiny.gguf"),
};

/// Every bundled model.
pub(crate) static BUNDLED: [&Bundled; 2] = [&TINY, &DRAFT];

static DRAFT: Bundled = Bundled {
    name: "garrison-tiny-draft",
    description: "its draft model, for --draft-model",
    gguf: include_bytes!("../../../models/tiny/garrison-tiny-draft.gguf"),
};

/// A model or an adapter on the Hugging Face hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubModel {
    /// `OWNER/REPO`.
    pub(crate) repo: String,
    /// The file wanted, or an adapter's folder; without it, the best one for most machines.
    pub(crate) file: Option<String>,
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "hf:{}:{file}", self.repo),
            None => write!(f, "hf:{}", self.repo),
        }
    }
}

/// A model as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelRef {
    /// One inside the binary.
    Bundled(&'static Bundled),
    /// A .gguf file or a safetensors folder.
    Path(PathBuf),
    /// A repository on the hub; `name` is what clients call it.
    Hub(HubModel),
}

impl ModelRef {
    /// Understands `M`, without looking at the network.
    ///
    /// # Errors
    /// If it is neither a path that exists, nor a known name, nor `hf:OWNER/REPO[:FILE]`.
    pub(crate) fn parse(text: &str) -> Result<ModelRef, Fault> {
        if let Some(rest) = text.strip_prefix("hf:") {
            return parse_hub(rest).map(ModelRef::Hub).ok_or_else(|| {
                Fault::usage(format!("model \"{text}\" should be hf:OWNER/REPO or hf:OWNER/REPO:FILE"))
            });
        }
        if let Some(bundled) = BUNDLED.into_iter().find(|bundled| bundled.name == text) {
            return Ok(ModelRef::Bundled(bundled));
        }
        let path = Path::new(text);
        if path.exists() {
            return Ok(ModelRef::Path(path.to_owned()));
        }
        if let Some(manifest) = manifests::find(text) {
            return ModelRef::parse(&manifest.source);
        }
        Err(Fault::usage(format!(
            "model \"{text}\" is neither a file or folder here nor a known name; `garrison models list` shows \
             the names, hf:OWNER/REPO[:FILE] takes any repository of the hub"
        )))
    }

    /// What clients call a model that was given as `text`.
    pub(crate) fn name(&self, text: &str) -> String {
        match self {
            ModelRef::Bundled(bundled) => bundled.name.to_owned(),
            ModelRef::Path(path) => {
                path.file_stem().map_or_else(|| text.to_owned(), |stem| stem.to_string_lossy().into_owned())
            }
            ModelRef::Hub(hub) if text.starts_with("hf:") => match &hub.file {
                Some(file) => file.rsplit('/').next().unwrap_or(file).trim_end_matches(".gguf").to_owned(),
                None => hub.repo.rsplit('/').next().unwrap_or(&hub.repo).to_owned(),
            },
            ModelRef::Hub(_) => text.to_owned(),
        }
    }

    /// Opens the model, downloading it first if it is on the hub and not yet here.
    ///
    /// # Errors
    /// If it cannot be downloaded, read, or is not a model.
    pub(crate) fn open(&self) -> Result<Source, Fault> {
        match self {
            ModelRef::Bundled(bundled) => Source::parse(bundled.gguf)
                .map_err(|e| Fault::failed(format!("the bundled model cannot be read: {e}"))),
            ModelRef::Path(path) => open_path(path),
            ModelRef::Hub(hub) => open_path(&hub::ensure(hub)?),
        }
    }
}

/// A LoRA adapter as its user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdapterRef {
    /// A PEFT folder or a GGUF file.
    Path(PathBuf),
    /// The same in a repository on the hub.
    Hub(HubModel),
}

impl AdapterRef {
    /// Understands a path or `hf:OWNER/REPO[:FOLDER or FILE]`, without looking at either.
    ///
    /// # Errors
    /// If it begins with `hf:` and does not go on like that.
    pub(crate) fn parse(text: &str) -> Result<AdapterRef, Fault> {
        let Some(rest) = text.strip_prefix("hf:") else { return Ok(AdapterRef::Path(text.into())) };
        parse_hub(rest).map(AdapterRef::Hub).ok_or_else(|| {
            Fault::usage(format!(
                "adapter \"{text}\" should be hf:OWNER/REPO or hf:OWNER/REPO:FOLDER or hf:OWNER/REPO:FILE.gguf"
            ))
        })
    }

    /// Where it is on this machine, downloaded first if it is on the hub and not yet here.
    ///
    /// # Errors
    /// If it cannot be downloaded.
    pub(crate) fn locate(&self) -> Result<PathBuf, Fault> {
        match self {
            AdapterRef::Path(path) => Ok(path.clone()),
            AdapterRef::Hub(hub) => hub::ensure_adapter(hub),
        }
    }
}

/// A text encoder as the owner names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EncoderRef {
    /// A folder, or a manifest that names one.
    Path(PathBuf),
    /// A folder of a repository on the hub.
    Hub(HubModel),
}

impl EncoderRef {
    /// Understands a path or `hf:OWNER/REPO[:FOLDER]`, without looking at either.
    ///
    /// # Errors
    /// If it begins with `hf:` and does not go on like that.
    pub(crate) fn parse(text: &str) -> Result<EncoderRef, Fault> {
        let Some(rest) = text.strip_prefix("hf:") else { return Ok(EncoderRef::Path(text.into())) };
        parse_hub(rest).map(EncoderRef::Hub).ok_or_else(|| {
            Fault::usage(format!("\"{text}\" should be hf:OWNER/REPO or hf:OWNER/REPO:FOLDER"))
        })
    }

    /// Where it is on this machine, downloaded first if it is on the hub and not yet here.
    ///
    /// # Errors
    /// If it cannot be downloaded.
    pub(crate) fn locate(&self) -> Result<PathBuf, Fault> {
        match self {
            EncoderRef::Path(path) => Ok(path.clone()),
            EncoderRef::Hub(hub) => hub::ensure_encoder(hub),
        }
    }
}

impl fmt::Display for AdapterRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdapterRef::Path(path) => write!(f, "{}", path.display()),
            AdapterRef::Hub(hub) => write!(f, "{hub}"),
        }
    }
}

fn open_path(path: &Path) -> Result<Source, Fault> {
    Source::open(path).map_err(|e| Fault::usage(e.to_string()))
}

fn parse_hub(rest: &str) -> Option<HubModel> {
    let (repo, file) = match rest.split_once(':') {
        Some((repo, file)) => (repo, Some(file)),
        None => (rest, None),
    };
    let (owner, name) = repo.split_once('/')?;
    let repo_is_plain = is_plain_path(owner) && is_plain_path(name) && !name.contains('/');
    (repo_is_plain && file.is_none_or(is_plain_path))
        .then(|| HubModel { repo: repo.to_owned(), file: file.map(str::to_owned) })
}

/// Whether a path stays below where it begins, and has nothing unusual in it.
pub(crate) fn is_plain_path(path: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    path.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_can_be_named_in_each_way() {
        let hub = |repo: &str, file: Option<&str>| {
            AdapterRef::Hub(HubModel { repo: repo.into(), file: file.map(str::to_owned) })
        };
        for (text, wanted) in [
            ("adapters/tone", AdapterRef::Path("adapters/tone".into())),
            ("hf:a/b", hub("a/b", None)),
            ("hf:a/b:tones/playful", hub("a/b", Some("tones/playful"))),
        ] {
            assert_eq!(AdapterRef::parse(text).unwrap(), wanted);
            assert_eq!(wanted.to_string(), text);
        }
        for bad in
            ["hf:a", "hf:a/b:../c", "hf:a/b:c/../../d", "hf:a/b:/etc", "hf:../b", "hf:a/b:c/", "hf:a/b:"]
        {
            assert!(AdapterRef::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_model_can_be_named_in_each_way() {
        let hub = |repo: &str, file: Option<&str>| {
            ModelRef::Hub(HubModel { repo: repo.into(), file: file.map(str::to_owned) })
        };
        for (text, wanted, name) in [
            ("garrison-tiny", ModelRef::Bundled(&TINY), "garrison-tiny"),
            ("garrison-tiny-draft", ModelRef::Bundled(&DRAFT), "garrison-tiny-draft"),
            ("hf:a/b-GGUF", hub("a/b-GGUF", None), "b-GGUF"),
            ("hf:a/b:dir/c.Q4.gguf", hub("a/b", Some("dir/c.Q4.gguf")), "c.Q4"),
            ("src", ModelRef::Path("src".into()), "src"),
        ] {
            let parsed = ModelRef::parse(text).unwrap();
            assert_eq!(parsed, wanted);
            assert_eq!(parsed.name(text), name);
        }
        assert_eq!(ModelRef::parse("llama-3.2-1b").unwrap().name("llama-3.2-1b"), "llama-3.2-1b");
        for bad in ["hf:a", "hf:a/b/c", "hf:a/..", "hf:a/b:../c", "hf:/b", "no-such-model"] {
            assert!(ModelRef::parse(bad).is_err(), "{bad}");
        }
    }
}
