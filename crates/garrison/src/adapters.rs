//! Where LoRA adapters come from: those that the owner names at the start, from anywhere, and those
//! that clients load while the server runs, from the owner's adapter folders, and from the hub if the
//! owner says so.

use std::path::{Path, PathBuf};

use garrison_engine::Adapter;
use garrison_model::ModelSpec;
use garrison_server::Adapters;

use crate::config::{EngineSettings, ModelEntry};
use crate::error::Fault;
use crate::load::Loaded;
use crate::source::AdapterRef;

/// A model's adapters.
///
/// # Errors
/// If one that the owner named cannot be used.
pub(crate) fn load(
    entry: &ModelEntry,
    settings: &EngineSettings,
    loaded: &Loaded,
) -> Result<Adapters, Fault> {
    let mut start = Vec::new();
    for (name, source) in &entry.adapters {
        let refuse = |e: &dyn std::fmt::Display| {
            Fault::usage(format!("adapter {name} of model {}: {source}: {e}", entry.name))
        };
        let path = source.locate()?;
        let adapter = Adapter::open(&path, &loaded.spec).map_err(|e| refuse(&e))?;
        tracing::info!(model = entry.name, adapter = name, rank = adapter.rank(), "loaded an adapter");
        start.push((name.clone(), loaded.engine.add_adapter(adapter).map_err(|e| refuse(&e))?));
    }
    let folders = settings.adapter_dirs.iter().map(|dir| {
        dir.canonicalize()
            .map_err(|e| Fault::usage(format!("adapter_dirs: {} cannot be used: {e}", dir.display())))
    });
    let shelves = Shelves {
        folders: folders.collect::<Result<Vec<PathBuf>, Fault>>()?,
        hub: settings.adapter_hub,
        spec: loaded.spec.clone(),
    };
    Ok(Adapters::new(start, Box::new(move |path| shelves.open(path))))
}

/// Where clients may take adapters from.
struct Shelves {
    folders: Vec<PathBuf>,
    /// Whether repositories of the hub count.
    hub: bool,
    /// What the adapters have to fit.
    spec: ModelSpec,
}

impl Shelves {
    /// Opens an adapter that a client names.
    fn open(&self, path: &str) -> Result<Adapter, String> {
        let found = match AdapterRef::parse(path).map_err(|e| e.to_string())? {
            AdapterRef::Path(_) => self.find(path)?,
            AdapterRef::Hub(_) if !self.hub => {
                return Err(
                    "this server takes no adapters from the hub; its owner can set adapter_hub in [engine]"
                        .into(),
                );
            }
            hub @ AdapterRef::Hub(_) => hub.locate().map_err(|e| {
                tracing::warn!(path, %e, "an adapter cannot be downloaded");
                e.to_string()
            })?,
        };
        Adapter::open(&found, &self.spec).map_err(|e| {
            tracing::warn!(path = %found.display(), %e, "an adapter cannot be loaded");
            // The client knows it by the path that it sent.
            e.to_string().replace(&*found.to_string_lossy(), path)
        })
    }

    /// An adapter in one of the folders. What is outside of them is answered alike whether it exists or not.
    fn find(&self, path: &str) -> Result<PathBuf, String> {
        let folders = &self.folders;
        if folders.is_empty() {
            let message = "this server has no adapter folders; its owner can set adapter_dirs in [engine]";
            return Err(message.into());
        }
        let inside = |folder: &PathBuf| {
            let real = folder.join(path).canonicalize().ok()?;
            folders.iter().any(|folder: &PathBuf| is_below(&real, folder)).then_some(real)
        };
        let found: Option<PathBuf> = folders.iter().filter_map(inside).next();
        found.ok_or_else(|| "there is no such adapter in the server's adapter folders".into())
    }
}

fn is_below(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder) && path != folder
}
