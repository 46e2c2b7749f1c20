//! Where LoRA adapters come from: those that the owner names at the start, from anywhere, and those
//! that clients load while the server runs, from the owner's adapter folders, and from the hub if the
//! owner says so.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use garrison_engine::Adapter;
use garrison_model::ModelSpec;
use garrison_server::{Adapters, ReadAdapter};

use crate::config::{EngineSettings, ModelEntry};
use crate::error::Fault;
use crate::load::Loaded;
use crate::source::AdapterRef;

/// How long a client's download is waited for. It goes on where it was when it is asked for again.
const PATIENCE: Duration = Duration::from_secs(600);

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
        downloads: Downloads::default(),
        spec: Arc::new(loaded.spec.clone()),
    };
    Ok(Adapters::new(start, Box::new(move |path| shelves.reader(path))))
}

/// Where clients may take adapters from.
struct Shelves {
    folders: Vec<PathBuf>,
    /// Whether repositories of the hub count.
    hub: bool,
    downloads: Downloads,
    /// What the adapters have to fit.
    spec: Arc<ModelSpec>,
}

impl Shelves {
    /// What reads an adapter that a client names.
    fn reader(&self, path: &str) -> Result<ReadAdapter, String> {
        let (found, path, spec) = (self.find(path)?, path.to_owned(), Arc::clone(&self.spec));
        Ok(Box::new(move || {
            Adapter::open(&found, &spec).map_err(|e| {
                tracing::warn!(path = %found.display(), %e, "an adapter cannot be loaded");
                // The client knows it by the path that it sent.
                e.to_string().replace(&*found.to_string_lossy(), &path)
            })
        }))
    }

    /// Where the adapter that a client names lies, downloaded if need be.
    fn find(&self, path: &str) -> Result<PathBuf, String> {
        match AdapterRef::parse(path).map_err(|e| e.to_string())? {
            AdapterRef::Path(_) => self.find_in_folders(path),
            AdapterRef::Hub(_) if !self.hub => {
                Err("this server takes no adapters from the hub; its owner can set adapter_hub in [engine]"
                    .into())
            }
            hub @ AdapterRef::Hub(_) => {
                let located =
                    self.downloads.within(PATIENCE, move || hub.locate().map_err(|e| e.to_string()));
                located.inspect_err(|e| tracing::warn!(path, %e, "an adapter cannot be downloaded"))
            }
        }
    }

    /// An adapter in one of the folders. What is outside of them is answered alike whether it exists or not.
    fn find_in_folders(&self, path: &str) -> Result<PathBuf, String> {
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

/// Downloads for clients, one at a time: the hub's client waits for ever for a hub that says nothing, so
/// each has a thread of its own, which is left behind if it takes too long.
#[derive(Default)]
struct Downloads {
    busy: Arc<(Mutex<bool>, Condvar)>,
}

/// For how long one waits for another: what is in the cache already takes no longer.
const TURN: Duration = Duration::from_secs(10);

impl Downloads {
    /// Waits for the one before, so long at most; whether it is this one's turn now.
    fn begin(&self, most: Duration) -> bool {
        let (busy, ended) = &*self.busy;
        let busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut busy, _) =
            ended.wait_timeout_while(busy, most, |busy| *busy).unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut *busy, true)
    }

    /// What `download` gives, if that does not take longer than `patience` and none was left behind.
    fn within<T: Send + 'static>(
        &self,
        patience: Duration,
        download: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if !self.begin(TURN.min(patience)) {
            return Err("a download before this one has not ended yet; try again later".into());
        }
        let ended = Ended(Arc::clone(&self.busy));
        let (tell, told) = mpsc::channel();
        let work = move || {
            let done = download();
            // First, so that whoever hears of it can ask for the next one.
            drop(ended);
            let _ = tell.send(done); // nobody may be waiting any more
        };
        let thread = std::thread::Builder::new().name("download".into()).spawn(work);
        thread.map_err(|e| format!("it cannot be downloaded now: {e}"))?;
        told.recv_timeout(patience).unwrap_or_else(|_| {
            Err(format!(
                "the download did not end within {} s; what there is of it is kept for the next try",
                patience.as_secs_f64()
            ))
        })
    }
}

/// Says that a download is over, however it ended.
struct Ended(Arc<(Mutex<bool>, Condvar)>);

impl Drop for Ended {
    fn drop(&mut self) {
        let (busy, ended) = &*self.0;
        *busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
        ended.notify_one();
    }
}

fn is_below(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder) && path != folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_that_stalls_is_left_behind_and_alone() {
        let downloads = Downloads::default();
        assert_eq!(downloads.within(PATIENCE, || Ok(1)), Ok(1));
        let (go_on, stalled) = mpsc::channel::<()>();
        let waits = move || {
            let _ = stalled.recv();
            Ok(())
        };
        let refusal = downloads.within(Duration::from_millis(10), waits).unwrap_err();
        assert!(refusal.contains("within 0.01 s"), "{refusal}");
        let impatient = downloads.within(Duration::from_millis(10), || Ok(2));
        assert!(impatient.unwrap_err().contains("before this one"));
        // One that ends soon is waited for.
        drop(go_on);
        assert_eq!(downloads.within(PATIENCE, || Ok(3)), Ok(3));
    }
}
