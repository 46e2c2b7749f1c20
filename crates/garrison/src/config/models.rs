//! `[[model]]`: models, what clients call them, and what belongs to each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use garrison_gguf::quantize::{Mix, UnknownMix};
use serde::Deserialize;

use crate::error::Fault;
use crate::flags::ServeFlags;
use crate::guard::exceptions::GuardException;
use crate::source::{AdapterRef, ModelRef, TINY};

/// A model and what clients call it.
#[derive(Debug)]
pub(crate) struct ModelEntry {
    pub(crate) name: String,
    pub(crate) model: ModelRef,
    /// What its weights become while loading, and its draft model's; as they are in the file without it.
    pub(crate) quantize: Option<Mix>,
    /// A smaller model that guesses what it will say.
    pub(crate) draft: Option<DraftEntry>,
    /// LoRA adapters by the names that clients ask for.
    pub(crate) adapters: BTreeMap<String, AdapterRef>,
    /// What is judged otherwise than for all.
    pub(crate) guard: Option<GuardException>,
}

impl ModelEntry {
    /// A model with nothing besides.
    pub(crate) fn new(name: String, model: ModelRef, quantize: Option<Mix>) -> ModelEntry {
        ModelEntry { name, model, quantize, draft: None, adapters: BTreeMap::new(), guard: None }
    }
}

/// A draft model.
#[derive(Clone, Debug)]
pub(crate) struct DraftEntry {
    /// For messages; clients cannot ask for it.
    pub(crate) name: String,
    pub(crate) model: ModelRef,
}

impl DraftEntry {
    fn parse(text: &str) -> Result<DraftEntry, Fault> {
        let model = ModelRef::parse(text)?;
        Ok(DraftEntry { name: model.name(text), model })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelSection {
    name: Option<String>,
    source: String,
    quantize: Option<String>,
    draft: Option<String>,
    #[serde(default)]
    adapters: BTreeMap<String, String>,
    guard: Option<GuardException>,
}

/// The type that weights get while loading.
///
/// # Errors
/// If there is none of that name.
pub(crate) fn parse_mix(name: &str) -> Result<Mix, Fault> {
    name.parse().map_err(|e: UnknownMix| Fault::usage(e.to_string()))
}

/// The models of flags, or else of the file, or else the bundled one.
pub(super) fn resolve_models(flags: &ServeFlags, file: &[ModelSection]) -> Result<Vec<ModelEntry>, Fault> {
    let mut entries = Vec::new();
    let quantize = flags.engine.quantize.as_deref().map(parse_mix).transpose()?;
    if flags.model.is_empty() {
        for section in file {
            let model = ModelRef::parse(&section.source)?;
            let name = section.name.clone().unwrap_or_else(|| model.name(&section.source));
            let own = section.quantize.as_deref().map(parse_mix).transpose()?;
            let draft = section.draft.as_deref().map(DraftEntry::parse).transpose()?;
            let adapter = |(name, text): (&String, &String)| Ok((name.clone(), AdapterRef::parse(text)?));
            entries.push(ModelEntry {
                name,
                model,
                quantize: quantize.or(own),
                draft,
                adapters: section.adapters.iter().map(adapter).collect::<Result<_, Fault>>()?,
                guard: section.guard.clone(),
            });
        }
    }
    for text in &flags.model {
        let (name, text) = named(text);
        let model = ModelRef::parse(text)?;
        entries.push(ModelEntry::new(name.map_or_else(|| model.name(text), str::to_owned), model, quantize));
    }
    if entries.is_empty() {
        entries.push(ModelEntry::new(TINY.name.to_owned(), ModelRef::Bundled(&TINY), quantize));
    }
    if let Some(text) = &flags.draft_model {
        let [entry] = &mut entries[..] else {
            let message = "--draft-model is for one model; with several, say `draft` in garrison.toml";
            return Err(Fault::usage(message));
        };
        entry.draft = Some(DraftEntry::parse(text)?);
    }
    for text in &flags.adapter {
        let [entry] = &mut entries[..] else {
            let message = "--adapter is for one model; with several, say `adapters` in garrison.toml";
            return Err(Fault::usage(message));
        };
        let (name, path) =
            text.split_once('=')
                .filter(|(name, path)| !name.is_empty() && !path.is_empty())
                .ok_or_else(|| Fault::usage(format!("--adapter \"{text}\" should be NAME=PATH")))?;
        if entry.adapters.insert(name.to_owned(), AdapterRef::parse(path)?).is_some() {
            return Err(Fault::usage(format!("--adapter {name} is given twice; give them different names")));
        }
    }
    let mut names = BTreeSet::new();
    for name in entries.iter().flat_map(|e| std::iter::once(&e.name).chain(e.adapters.keys())) {
        if !names.insert(name) {
            return Err(Fault::usage(format!(
                "two models or adapters are called \"{name}\"; give them different names in garrison.toml"
            )));
        }
    }
    Ok(entries)
}

/// The parts of `NAME=M`. What is there as it is written is `M` alone, and so is what has a slash before
/// the sign: names of files may have one.
fn named(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, model))
            if !name.is_empty() && !name.contains(['/', ':']) && !Path::new(text).exists() =>
        {
            (Some(name), model)
        }
        _ => (None, text),
    }
}
