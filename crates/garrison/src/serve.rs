//! `garrison serve`: loads the models, listens, says so, and drains when told to stop.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use garrison_gateway::Gateway;
use garrison_server::{ApiKeys, Drained, Limits, ServedModel, Server, ServerConfig, Times};
use garrison_tokenizer::ChatTemplate;
use garrison_types::Sampling;
use tokio::signal::unix::{SignalKind, signal};

use crate::adapters;
use crate::config::{Config, EngineSettings, ModelEntry, ServerSettings};
use crate::error::Fault;
use crate::flags::ServeFlags;
use crate::guard::policy::{self, Leaves};
use crate::load::{self, Loaded};
use crate::source::{ModelRef, TINY};

/// Runs `garrison serve` until SIGTERM or Ctrl-C.
///
/// # Errors
/// If the configuration, a model or the address cannot be used.
pub(crate) fn run(flags: &ServeFlags) -> Result<(), Fault> {
    let config = Config::resolve(flags)?;
    let leaves = if config.routes.leave() { Leaves::Something } else { Leaves::Nothing };
    let (gateway, audit) = policy::gateway(&config.privacy, &config.guard, &config.exceptions, leaves)?;
    let clearance = match audit.filter(|_| config.routes.leave()) {
        None => None,
        Some(audit) => Some(policy::clearance(&config.privacy, &config.guard, audit)?),
    };
    let routes = config.routes.open(clearance)?;
    let server_config =
        ServerConfig { routes: Arc::new(routes), ..server_config(&config.server, Arc::new(gateway))? };
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2) // it only moves bytes; the engine computes on threads of its own
        .enable_all()
        .build()
        .map_err(|e| Fault::failed(format!("the async runtime cannot start: {e}")))?;
    let outcome = runtime.block_on(serve(server_config, models, address, &names.join(","), &device));
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
    names: &str,
    device: &str,
) -> Result<(), Fault> {
    let fault = |e: std::io::Error| Fault::failed(format!("signals cannot be received: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let server = Server::bind(config, models, address).await.map_err(|e| Fault::usage(e.to_string()))?;
    announce(&format!("ready http://{} model={names} device={device}", server.local_addr()));
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

/// The one line on stdout that scripts wait for. A closed stdout is the reader's business.
fn announce(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn server_config(settings: &ServerSettings, gateway: Arc<Gateway>) -> Result<ServerConfig, Fault> {
    let api_keys = settings.api_keys_file.as_deref().map_or_else(|| Ok(ApiKeys::none()), read_keys)?;
    let limits = Limits { body_bytes: settings.max_body_bytes, ..Limits::default() };
    Ok(ServerConfig {
        api_keys,
        cors_origins: settings.cors_origins.clone(),
        host_names: settings.host_names.clone(),
        share_prefixes: settings.share_prefixes,
        gateway,
        limits,
        times: Times { request: settings.request_timeout, ..Times::default() },
        ..ServerConfig::default()
    })
}

fn read_keys(path: &Path) -> Result<ApiKeys, Fault> {
    let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("API keys file {}: {e}", path.display()));
    let text = fs::read_to_string(path).map_err(|e| refuse(&e))?;
    ApiKeys::parse(&text).map_err(|e| refuse(&e))
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
