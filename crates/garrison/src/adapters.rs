//! Where LoRA adapters come from: those that the owner names at the start, from anywhere, and those
//! that clients load while the server runs, from the owner's adapter folders only.

use std::path::PathBuf;

use garrison_engine::Adapter;
use garrison_model::ModelSpec;
use garrison_server::Adapters;

use crate::config::{EngineSettings, ModelEntry};
use crate::error::Fault;
use crate::load::Loaded;

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
    for (name, path) in &entry.adapters {
        let refuse = |e: &dyn std::fmt::Display| {
            Fault::usage(format!("adapter {name} of model {}: {}: {e}", entry.name, path.display()))
        };
        let adapter = Adapter::open(path, &loaded.spec).map_err(|e| refuse(&e))?;
        tracing::info!(model = entry.name, adapter = name, rank = adapter.rank(), "loaded an adapter");
        start.push((name.clone(), loaded.engine.add_adapter(adapter).map_err(|e| refuse(&e))?));
    }
    let spec = loaded.spec.clone();
    let folders = settings.adapter_dirs.iter().map(|dir| {
        dir.canonicalize()
            .map_err(|e| Fault::usage(format!("adapter_dirs: {} cannot be used: {e}", dir.display())))
    });
    let folders = folders.collect::<Result<Vec<PathBuf>, Fault>>()?;
    Ok(Adapters::new(start, Box::new(move |path| open(&folders, path, &spec))))
}

/// Opens an adapter that a client names. What is outside of the folders is answered alike whether it
/// exists or not.
fn open(folders: &[PathBuf], path: &str, spec: &ModelSpec) -> Result<Adapter, String> {
    if folders.is_empty() {
        return Err("this server has no adapter folders; its owner can set adapter_dirs in [engine]".into());
    }
    let candidates = folders.iter().map(|folder| folder.join(path));
    let inside = |candidate: PathBuf| {
        let real = candidate.canonicalize().ok()?;
        folders.iter().any(|folder| real.starts_with(folder) && real != *folder).then_some(real)
    };
    let found: Option<PathBuf> = candidates.filter_map(inside).next();
    let found = found.ok_or("there is no such adapter in the server's adapter folders")?;
    Adapter::open(&found, spec).map_err(|e| {
        tracing::warn!(path = %found.display(), %e, "an adapter cannot be loaded");
        // The client knows it by the path that it sent.
        e.to_string().replace(&*found.to_string_lossy(), path)
    })
}
