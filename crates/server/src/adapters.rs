//! LoRA adapters by name, and vLLM's endpoints to load and unload them while requests run.
//!
//! Key decision: a name stands for a handle of the engine's, and a request takes the handle when it
//! arrives. Loading and unloading only change what the name stands for from then on: no request waits
//! for them and they wait for none. Files are read one at a time, on a thread of their own, and a file
//! that cannot be used changes nothing. To find one may take a download, which nobody waits for but who asked.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use garrison_engine::{Adapter, AdapterHandle};

use crate::answer::blocking_on;
use crate::app::{App, Entry, Shared};
use crate::body::Received;
use crate::envelope::now;
use crate::error::ApiError;
use crate::fields::{Fields, parse};
use crate::gate::Passed;

/// Adapters of one model at most, and bytes of all of them in memory.
const MAX_ADAPTERS: usize = 256;
const MAX_BYTES: usize = 16 << 30;
/// Bytes of a name and of a path at most.
const MAX_NAME: usize = 128;
const MAX_PATH: usize = 4096;

/// Finds the adapter at a path that a client sent, or says in a sentence why not. Which paths may be read is this
/// function's to say. It may take as long as a download does, of one caller at a time: it tells others at once.
pub type FindAdapter = Box<dyn Fn(&str) -> Result<ReadAdapter, String> + Send + Sync>;

/// Reads an adapter that was found, or says in a sentence why not.
pub type ReadAdapter = Box<dyn FnOnce() -> Result<Adapter, String> + Send>;

/// A model's adapters.
pub struct Adapters {
    finder: FindAdapter,
    named: RwLock<BTreeMap<String, Named>>,
}

/// What a name stands for.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) handle: AdapterHandle,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

impl Named {
    fn now(handle: AdapterHandle) -> Named {
        Named { handle, created: now() }
    }
}

impl Adapters {
    /// These adapters from the start, and more as `finder` finds them.
    pub fn new(start: impl IntoIterator<Item = (String, AdapterHandle)>, finder: FindAdapter) -> Adapters {
        let named = start.into_iter().map(|(name, handle)| (name, Named::now(handle))).collect();
        Adapters { finder, named: RwLock::new(named) }
    }

    /// No adapters, ever.
    pub fn none() -> Adapters {
        Adapters::new([], Box::new(|_| Err("this server loads no adapters".into())))
    }

    /// What a name stands for now.
    pub(crate) fn find(&self, name: &str) -> Option<Named> {
        self.read().get(name).cloned()
    }

    /// Every name and what it stands for now.
    pub(crate) fn all(&self) -> Vec<(String, Named)> {
        self.read().iter().map(|(name, named)| (name.clone(), named.clone())).collect()
    }

    /// Every name.
    pub(crate) fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    // A map of names is whole whatever panicked beside it.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Named>> {
        self.named.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Named>> {
        self.named.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of an adapter whose name is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Refuse,
    Replace,
}

/// `POST /v1/load_lora_adapter`: `{lora_name, lora_path, load_inplace}`, as vLLM has it; `model` where
/// several models are served.
pub(crate) async fn load(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    body: Body,
) -> Result<String, ApiError> {
    let received = owners_body(&app, &passed, body).await?;
    // On its own, so that it is loaded also if its client does not wait for a long download.
    let loading = tokio::spawn(async move {
        let found = blocking_on(&app.finders, &app, move |app| Found::read(app, &received)).await?;
        blocking_on(&app.loader, &app, move |app| {
            let (name, model) = (found.name.clone(), found.entry.model.name.clone());
            found.add(app)?;
            tracing::info!(target: "garrison::adapters", model, name, "loaded an adapter");
            Ok(format!("Success: LoRA adapter '{name}' added successfully."))
        })
        .await
    });
    loading
        .await
        .unwrap_or_else(|_| Err(ApiError::internal("loading the adapter failed; see the server's log")))
}

/// `POST /v1/unload_lora_adapter`: `{lora_name}`. Requests that run with it end as they would have.
pub(crate) async fn unload(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    body: Body,
) -> Result<String, ApiError> {
    let received = owners_body(&app, &passed, body).await?;
    let value = parse(&received.bytes)?;
    let name = required(&Fields::root(&value)?, "lora_name", MAX_NAME)?;
    let removed = app.models.iter().find_map(|entry| {
        let named = entry.model.adapters.write().remove(name)?;
        Some((entry, named))
    });
    let (entry, named) = removed.ok_or_else(|| ApiError::no_adapter(name))?;
    entry.model.engine.remove_adapter(named.handle);
    tracing::info!(target: "garrison::adapters", name, "unloaded an adapter");
    Ok(format!("Success: LoRA adapter '{name}' removed successfully."))
}

/// A body, if it is an owner's.
async fn owners_body(app: &App, passed: &Passed, body: Body) -> Result<Received, ApiError> {
    passed.caller.check_owner()?;
    app.bodies.read(body).await
}

fn required<'a>(fields: &Fields<'a>, name: &str, most: usize) -> Result<&'a str, ApiError> {
    let text = fields.short_string(name, most)?.unwrap_or_default();
    let visible = !text.is_empty() && !text.contains(char::is_control);
    if visible {
        Ok(text)
    } else {
        Err(ApiError::bad_field(name, format!("{name} must be a text that is not empty")))
    }
}

/// The model that an adapter is for.
fn parent<'a>(app: &'a App, fields: &Fields<'_>) -> Result<&'a Arc<Entry>, ApiError> {
    match (fields.string("model")?, &app.models[..]) {
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(ApiError::bad_field("model", "model must say which of the models the adapter is for"))
        }
        (Some(name), _) => {
            let chosen = app.model(Some(name))?;
            match chosen.adapter() {
                None => Ok(chosen.entry),
                Some(_) => Err(ApiError::bad_field("model", format!("{name} is an adapter itself"))),
            }
        }
    }
}

/// An adapter that can be read, and what is wanted of it.
struct Found {
    /// The model that it is for.
    entry: Arc<Entry>,
    name: String,
    taken: Taken,
    read: ReadAdapter,
}

impl Found {
    /// Reads a body and finds the adapter that it asks for.
    fn read(app: &App, received: &Received) -> Result<Found, ApiError> {
        let value = parse(&received.bytes)?;
        let fields = Fields::root(&value)?;
        let name = required(&fields, "lora_name", MAX_NAME)?;
        let path = required(&fields, "lora_path", MAX_PATH)?;
        let taken = if fields.flag("load_inplace")? { Taken::Replace } else { Taken::Refuse };
        let entry = parent(app, &fields)?;
        check_name(app, entry, name, taken)?;
        let read = (entry.model.adapters.finder)(path).map_err(|reason| refuse(name, &reason))?;
        Ok(Found { entry: Arc::clone(entry), name: name.to_owned(), taken, read })
    }

    /// Reads the adapter and gives it its name.
    fn add(self, app: &App) -> Result<(), ApiError> {
        let Found { entry, name, taken, read } = self;
        // Somebody else may have taken it meanwhile.
        check_name(app, &entry, &name, taken)?;
        let refuse = |reason: String| refuse(&name, &reason);
        let adapter = read().map_err(refuse)?;
        let bytes = adapter.bytes();
        let handle = entry.model.engine.add_adapter(adapter).map_err(|e| refuse(e.to_string()))?;
        let mut named = entry.model.adapters.write();
        let others = named.iter().filter(|(other, _)| **other != name);
        let held: usize = others.map(|(_, n)| n.handle.adapter().bytes()).sum();
        if taken == Taken::Refuse && named.contains_key(&name) {
            return Err(already(&name));
        }
        if named.len() >= MAX_ADAPTERS && !named.contains_key(&name) {
            return Err(refuse(format!("{MAX_ADAPTERS} are loaded already; unload one first")));
        }
        if held.saturating_add(bytes) > MAX_BYTES {
            return Err(refuse(format!(
                "with {} others it would take over {} GiB",
                named.len(),
                MAX_BYTES >> 30
            )));
        }
        if let Some(before) = named.insert(name, Named::now(handle)) {
            drop(named);
            entry.model.engine.remove_adapter(before.handle);
        }
        Ok(())
    }
}

fn refuse(name: &str, reason: &str) -> ApiError {
    ApiError::bad_field("lora_path", format!("the adapter {name} cannot be loaded: {reason}"))
}

/// Fails if the name is another's.
fn check_name(app: &App, entry: &Entry, name: &str, taken: Taken) -> Result<(), ApiError> {
    let is_model = app.models.iter().any(|other| other.model.name == name);
    let is_anothers = app
        .models
        .iter()
        .any(|other| other.model.name != entry.model.name && other.model.adapters.find(name).is_some());
    let is_route = app.config.routes.find(name).is_some();
    if is_model || is_anothers || is_route {
        let message = format!("\"{name}\" is the name of a model, of another model's adapter or of a route");
        return Err(ApiError::bad_field("lora_name", message));
    }
    match taken {
        Taken::Refuse if entry.model.adapters.find(name).is_some() => Err(already(name)),
        _ => Ok(()),
    }
}

fn already(name: &str) -> ApiError {
    let message = format!("the adapter {name} is loaded already; \"load_inplace\": true replaces it");
    ApiError::bad_field("lora_name", message)
}
