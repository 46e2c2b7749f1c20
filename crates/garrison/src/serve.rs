//! `garrison serve`: loads the models, listens, says so, and drains when told to stop.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use garrison_server::{Drained, Reloader, ServedModel, Server, ServerConfig};
use garrison_tokenizer::ChatTemplate;
use garrison_types::Sampling;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::adapters;
use crate::config::{EngineSettings, ModelEntry};
use crate::error::Fault;
use crate::flags::ServeFlags;
use crate::load::{self, Loaded};
use crate::reload::Serving;
use crate::source::{ModelRef, TINY};

/// Runs `garrison serve` until SIGTERM or Ctrl-C.
///
/// # Errors
/// If the configuration, a model or the address cannot be used.
pub(crate) fn run(flags: &ServeFlags) -> Result<(), Fault> {
    let (serving, server_config) = Serving::new(flags)?;
    let config = serving.config();
    let mut models = Vec::new();
    let mut device = String::new();
    for entry in &config.models {
        let loaded = load::load(entry, &config.engine)?;
        device.clone_from(&loaded.device);
        models.push(serve_model(entry, &config.engine, loaded)?);
    }
    if config.models.iter().any(|m| m.model == ModelRef::Bundled(&TINY)) {
        tracing::info!(
            "serving the bundled tiny model, which knows one invented product; for a real one: \
             garrison models pull llama-3.2-1b && garrison serve --model llama-3.2-1b"
        );
    }
    if !config.server.host.is_loopback() && server_config.api_keys.is_empty() {
        tracing::warn!("listening beyond this machine without API keys: anyone who reaches it can use it");
    }
    let names: Vec<String> = config.models.iter().map(|m| m.name.clone()).collect();
    let address = SocketAddr::new(config.server.host, config.server.port);
    // It accepts connections and hears signals; the server serves on threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Fault::failed(format!("the async runtime cannot start: {e}")))?;
    let names = names.join(",");
    let outcome = runtime.block_on(serve(
        server_config,
        models,
        address,
        &format!("model={names} device={device}"),
        serving,
    ));
    // What is still at work on a thread, such as a download, has no one to wait for it.
    runtime.shutdown_timeout(STRAGGLERS);
    outcome
}

/// How long work that cannot be cut short is waited for, once every answer is given.
const STRAGGLERS: Duration = Duration::from_secs(2);

async fn serve(
    config: ServerConfig,
    models: Vec<ServedModel>,
    address: SocketAddr,
    what: &str,
    serving: Serving,
) -> Result<(), Fault> {
    let fault = |e: std::io::Error| Fault::failed(format!("signals cannot be received: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let hangup = signal(SignalKind::hangup()).map_err(fault)?;
    let server = Server::bind(config, models, address).await.map_err(|e| Fault::usage(e.to_string()))?;
    tokio::spawn(reload(hangup, serving, server.reloader()));
    announce(&format!("ready http://{} {what}", server.local_addr()));
    let drained = server
        .serve(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping: finishing what is running, refusing new requests");
        })
        .await;
    if drained == Drained::Partly {
        tracing::warn!("some answers were cut off because they took too long to finish");
    }
    Ok(())
}

/// Reads the configuration again at each SIGHUP.
async fn reload(mut hangup: Signal, mut serving: Serving, server: Reloader) {
    while hangup.recv().await.is_some() {
        let server = server.clone();
        let reloading = tokio::task::spawn_blocking(move || {
            let done = serving.reload(&server);
            (serving, done)
        });
        match reloading.await {
            Ok((back, Ok(()))) => {
                serving = back;
                tracing::info!("the configuration was read again and holds from the next request on");
            }
            Ok((back, Err(fault))) => {
                serving = back;
                tracing::error!(
                    "the configuration was read again and is not used; nothing has changed: {fault}"
                );
            }
            // It panicked; what it would have changed is whole or not there.
            Err(_) => {
                tracing::error!("the configuration can no longer be read again; restart for that");
                return;
            }
        }
    }
}

/// The one line on stdout that scripts wait for. A closed stdout is the reader's business.
fn announce(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn serve_model(entry: &ModelEntry, settings: &EngineSettings, loaded: Loaded) -> Result<ServedModel, Fault> {
    let name = &entry.name;
    let adapters = adapters::load(entry, settings, &loaded)?;
    let template = loaded
        .chat_template
        .map(|source| ChatTemplate::new(&source))
        .transpose()
        .map_err(|e| Fault::usage(format!("model {name}: its chat template cannot be used: {e}")))?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    Ok(ServedModel {
        name: name.clone(),
        adapters,
        engine: loaded.engine,
        tokenizer: loaded.tokenizer,
        template,
        created,
        sampling: Sampling::default(),
    })
}
