//! From a model's name to a running engine, on whichever backend: memory is sized here.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use garrison_device::{BLOCK_SIZE, Ops, StepLimits};
use garrison_device_cpu::available_threads;
use garrison_engine::{
    DraftModel, Engine, EngineConfig, Execute, HostCache, HostCacheError, LocalExecutor, Lookahead,
    Restarting,
};
use garrison_gguf::quantize::Mix;
use garrison_model::{KvCache, Model, ModelSpec, ModelSummary, Workspace};
use garrison_tokenizer::Tokenizer;
use garrison_types::VocabularyModel;

use crate::backend::{Backend, Budget, rest};
use crate::config::{EngineSettings, ModelEntry};
use crate::error::Fault;
use crate::memory;
use crate::restart::Reload;
use crate::source::ModelRef;

/// A model that answers.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// The model's own chat template, as its file has it.
    pub(crate) chat_template: Option<String>,
    /// What computes it, e.g. `cpu`.
    pub(crate) device: String,
    /// What adapters have to fit.
    pub(crate) spec: ModelSpec,
}

/// Threads to compute with.
pub(crate) fn threads(wanted: Option<NonZeroUsize>) -> NonZeroUsize {
    wanted.unwrap_or_else(available_threads)
}

/// Opens, loads and starts a model, with its draft model if it has one.
///
/// # Errors
/// If one of them cannot be read, is not supported, or does not fit; the sentence names it.
pub(crate) fn load(entry: &ModelEntry, settings: &EngineSettings) -> Result<Loaded, Fault> {
    match Backend::open(settings)? {
        Backend::Cpu(device) => load_on(&device, entry, settings, OnLoss::Fails),
        Backend::Cuda(device) => load_on(&device, entry, settings, OnLoss::Restarts),
        Backend::Gpus(device) => load_on(&device, entry, settings, OnLoss::Restarts),
    }
}

/// What a device does when it is lost.
#[derive(Clone, Copy)]
enum OnLoss {
    /// It is not lost while the process lives.
    Fails,
    /// What the settings name is opened again.
    Restarts,
}

impl OnLoss {
    /// An executor that does so.
    fn guard(self, executor: Box<dyn Execute>, reload: impl FnOnce() -> Reload) -> Box<dyn Execute> {
        match self {
            OnLoss::Fails => executor,
            OnLoss::Restarts => Box::new(Restarting::new(executor, reload().maker())),
        }
    }
}

fn load_on<B: Budget>(
    device: &Arc<B>,
    entry: &ModelEntry,
    settings: &EngineSettings,
    on_loss: OnLoss,
) -> Result<Loaded, Fault> {
    let started = Instant::now();
    let name = &entry.name;
    let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("model {name}: {e}"));
    let target = Parts::load(name, &entry.model, entry.quantize, &**device)?;
    let draft = match &entry.draft {
        Some(draft) => {
            let parts = Parts::load(&draft.name, &draft.model, entry.quantize, &**device)?;
            check_draft(&parts.tokenizer, &target.tokenizer)
                .map_err(|reason| refuse(&format!("{} cannot be its draft model: {reason}", draft.name)))?;
            Some(parts)
        }
        None => None,
    };
    let specs = [Some(&target), draft.as_ref()].into_iter().flatten().map(|parts| parts.model.spec());
    let bytes_per_block =
        specs.clone().map(|spec| KvCache::bytes_per_block(&**device, spec, settings.kv_dtype) as u64);
    let workspace: u64 = specs.map(|spec| workspace_bytes::<B>(spec, settings)).sum();
    let budget = settings.kv_cache_bytes.unwrap_or_else(|| device.kv_budget(workspace));
    let config = engine_config(name, target.model.spec(), bytes_per_block.sum(), budget, settings)?;
    let execute = |model: Model<B>, adapter_slots| {
        let config = EngineConfig { vocab: model.spec().vocab, adapter_slots, ..config };
        LocalExecutor::new(Arc::clone(device), model, &config, settings.kv_dtype).map_err(|e| refuse(&e))
    };
    let (tokenizer, spec) = (Arc::new(target.tokenizer), target.model.spec().clone());
    let mut executor = execute(target.model, config.adapter_slots)?;
    executor.look_ahead(Lookahead::OneStep).map_err(|e| refuse(&e))?;
    let host = host_cache(name, executor.block_bytes(), settings).map_err(|e| refuse(&e))?;
    let reload = Reload {
        name: name.clone(),
        model: entry.model.clone(),
        quantize: entry.quantize,
        config: EngineConfig { vocab: spec.vocab, ..config },
        settings: settings.clone(),
        lookahead: Lookahead::OneStep,
    };
    let executor = on_loss.guard(Box::new(executor.with_host_cache(host)), || reload.clone());
    let engine = match draft.zip(entry.draft.as_ref()) {
        Some((draft, of)) => {
            let (vocab, context) = (draft.model.spec().vocab, draft.model.spec().context_length);
            let executed = execute(draft.model, 0)?;
            let reload = || Reload {
                name: of.name.clone(),
                model: of.model.clone(),
                config: EngineConfig { vocab, adapter_slots: 0, ..config },
                // Of what is evicted its share is not kept.
                settings: EngineSettings { host_cache_bytes: 0, ..settings.clone() },
                lookahead: Lookahead::None,
                ..reload
            };
            let model = DraftModel { executor: on_loss.guard(Box::new(executed), reload), vocab, context };
            Engine::start_with_draft(executor, model, Arc::clone(&tokenizer), config)
        }
        None => Engine::start(executor, Arc::clone(&tokenizer), config),
    };
    let engine = engine.map_err(|e| refuse(&e))?;
    tracing::info!(
        model = name,
        draft = entry.draft.as_ref().map(|d| &d.name),
        device = device.name(),
        context = config.sequence_limit(),
        kv_blocks = config.n_blocks - 1,
        activations_mib = workspace >> 20,
        free_mib = device.room().map(|room| room >> 20),
        seconds = started.elapsed().as_secs_f64(),
        "loaded"
    );
    Ok(Loaded { engine, tokenizer, chat_template: target.chat_template, device: device.name(), spec })
}

/// Room for what is evicted from the KV cache. Where memory is short the model serves without.
///
/// # Errors
/// If the folder cannot be used.
pub(crate) fn host_cache(
    name: &str,
    block_bytes: usize,
    settings: &EngineSettings,
) -> Result<HostCache, HostCacheError> {
    let made = match (settings.host_cache_bytes, &settings.host_cache_dir) {
        (0, _) => Ok(HostCache::none()),
        // The system would promise it and end the process later.
        (bytes, None) if memory::available().is_some_and(|free| free < bytes) => {
            Err(HostCacheError::NoMemory { bytes })
        }
        (bytes, None) => HostCache::in_memory(bytes, block_bytes),
        (bytes, Some(folder)) => HostCache::in_folder(folder, bytes, block_bytes),
    };
    if let Err(error @ HostCacheError::NoMemory { .. }) = made {
        tracing::warn!(model = name, %error, "serving without a host cache");
        return Ok(HostCache::none());
    }
    made
}

/// A model in memory.
pub(crate) struct Parts<B: Ops> {
    pub(crate) model: Model<B>,
    tokenizer: Tokenizer,
    chat_template: Option<String>,
}

impl<B: Budget> Parts<B> {
    /// Reads it.
    ///
    /// # Errors
    /// If it cannot be read, is not supported, or the device has no room for it.
    pub(crate) fn load(
        name: &str,
        model: &ModelRef,
        quantize: Option<Mix>,
        device: &B,
    ) -> Result<Self, Fault> {
        let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("model {name}: {e}"));
        let opened = model.open()?;
        let source = match quantize {
            Some(mix) => opened.quantized(mix),
            None => opened,
        };
        let summary = ModelSummary::read(&source).map_err(|e| refuse(&e))?;
        tracing::info!(model = name, "loading: {summary}");
        if let Some(room) = device.room() {
            check_room(summary.bytes, room, &device.name()).map_err(|e| refuse(&e))?;
        }

        let vocabulary = source.vocabulary().map_err(|e| refuse(&e))?;
        if matches!(vocabulary.model, VocabularyModel::Bpe { .. })
            && !source.metadata().contains("tokenizer.ggml.pre")
        {
            tracing::warn!(
                model = name,
                "the file does not say how its tokenizer cuts words (tokenizer.ggml.pre); if answers are poor, \
                 convert the model again"
            );
        }
        // Building a large vocabulary takes as long as packing many layers, so both happen at once.
        let (tokenizer, model) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| Tokenizer::new(&vocabulary));
            let model = Model::load(&source, device, |_| {}).map_err(|e| refuse(&e));
            (tokenizer.join(), model)
        });
        let model = model?;
        let tokenizer = tokenizer
            .map_err(|_| Fault::failed(format!("model {name}: the tokenizer could not be built")))?
            .map_err(|e| refuse(&e))?;
        if tokenizer.vocab_size() > model.spec().vocab {
            return Err(refuse(&format!(
                "its tokenizer has {} tokens but its embedding only {} rows; the tokenizer is of another model",
                tokenizer.vocab_size(),
                model.spec().vocab
            )));
        }
        Ok(Parts { model, tokenizer, chat_template: vocabulary.chat_template })
    }
}

/// Whether a device with `room` bytes has some left beside `weights`, before they are read in vain.
fn check_room(weights: u64, room: u64, device: &str) -> Result<(), String> {
    let left = rest(room, 0);
    if weights <= left {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    Err(format!(
        "its weights take {:.1} GiB, and of the {:.1} GiB that {device} has free {:.1} are for them, as activations, \
         recorded steps and the KV cache need some, too; take a smaller model or quantization (--quantize), or --device cpu",
        gib(weights),
        gib(room),
        gib(left)
    ))
}

/// Tokens that one of two tokenizers may have beyond the other: some files pad the vocabulary.
const PADDING_TOKENS: usize = 256;

/// Guesses are token ids: the same id must be the same text to both.
fn check_draft(draft: &Tokenizer, target: &Tokenizer) -> Result<(), String> {
    let (own, wanted) = (draft.vocab_size(), target.vocab_size());
    if own.abs_diff(wanted) > PADDING_TOKENS {
        return Err(format!(
            "its tokenizer has {own} tokens and not {wanted}; a draft model needs the same tokenizer"
        ));
    }
    let text = |t: &Tokenizer, id| t.token_text(id);
    for id in 0..own.min(wanted) as u32 {
        if draft.token_bytes(id) != target.token_bytes(id) || draft.is_control(id) != target.is_control(id) {
            return Err(format!(
                "token {id} is {:?} to its tokenizer and not {:?}; a draft model needs the same tokenizer",
                text(draft, id),
                text(target, id)
            ));
        }
    }
    Ok(())
}

/// Bytes of activations and logits of the largest step, about.
fn workspace_bytes<B: Ops>(spec: &ModelSpec, settings: &EngineSettings) -> u64 {
    let tokens = settings.max_batch_tokens.max(settings.max_seqs);
    let limits = StepLimits { tokens, seqs: settings.max_seqs, rows: tokens, blocks: 0 };
    Workspace::<B>::bytes(spec, limits) as u64
}

/// Sizes the KV cache: as much as all sequences could need, within the budget. A block has room for
/// keys and values of the model and of its draft model.
fn engine_config(
    name: &str,
    spec: &ModelSpec,
    bytes_per_block: u64,
    budget: u64,
    settings: &EngineSettings,
) -> Result<EngineConfig, Fault> {
    let plan = plan_kv(
        KvNeed {
            bytes_per_block,
            trained_context: spec.context_length,
            wanted_context: settings.context.map(|c| c.get() as usize),
            max_seqs: settings.max_seqs,
        },
        budget,
    )
    .map_err(|reason| Fault::usage(format!("model {name}: {reason}")))?;
    Ok(EngineConfig {
        max_seqs: settings.max_seqs,
        max_batch_tokens: settings.max_batch_tokens,
        n_blocks: plan.blocks + 1, // the null block
        context: plan.context,
        max_waiting: settings.max_waiting,
        max_waiting_per_client: settings.max_waiting_per_key,
        vocab: spec.vocab,
        prefix_cache: settings.prefix_cache,
        prompt_lookup: settings.prompt_lookup,
        adapter_slots: settings.adapter_slots,
        max_stall: settings.max_stall,
    })
}

struct KvNeed {
    bytes_per_block: u64,
    trained_context: usize,
    wanted_context: Option<usize>,
    max_seqs: usize,
}

#[derive(Debug, PartialEq)]
struct KvPlan {
    blocks: usize,
    context: usize,
}

fn plan_kv(need: KvNeed, budget: u64) -> Result<KvPlan, String> {
    let context = need.wanted_context.unwrap_or(need.trained_context);
    if context > need.trained_context {
        return Err(format!(
            "context {context} is more than the {} tokens that the model was trained for",
            need.trained_context
        ));
    }
    let per_sequence = context.div_ceil(BLOCK_SIZE);
    let affordable = usize::try_from(budget / need.bytes_per_block.max(1)).unwrap_or(usize::MAX);
    let blocks = per_sequence.saturating_mul(need.max_seqs).min(affordable);
    if blocks == 0 {
        return Err(format!(
            "a KV cache of {budget} bytes does not hold one block of {} bytes; raise kv_cache_gib, or, where that is all \
             the GPU has left, lower max_batch_tokens or take a smaller model or quantization (--quantize)",
            need.bytes_per_block
        ));
    }
    let reachable = blocks * BLOCK_SIZE;
    match need.wanted_context {
        Some(wanted) if wanted > reachable => Err(format!(
            "context {wanted} needs a KV cache of {:.2} GiB and there are {:.2} GiB for it, enough for {reachable} \
             tokens; lower --context or raise --kv-cache-gib",
            (per_sequence as u64 * need.bytes_per_block) as f64 / (1u64 << 30) as f64,
            budget as f64 / (1u64 << 30) as f64
        )),
        _ => Ok(KvPlan { blocks, context: context.min(reachable) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_too_large_is_refused_before_it_is_read() {
        assert_eq!(check_room(40 << 30, 80 << 30, "cuda:0"), Ok(()));
        let said = check_room(42 << 30, 24 << 30, "cuda:0").unwrap_err();
        assert!(said.contains("take 42.0 GiB") && said.contains("24.0 GiB that cuda:0 has free"), "{said}");
        assert!(said.contains("--quantize"), "{said}");
    }

    fn need(wanted_context: Option<usize>) -> KvNeed {
        KvNeed { bytes_per_block: 1000, trained_context: 1024, wanted_context, max_seqs: 4 }
    }

    #[test]
    fn the_kv_cache_is_what_is_needed_within_the_budget() {
        assert_eq!(plan_kv(need(None), 1 << 30), Ok(KvPlan { blocks: 256, context: 1024 }));
        assert_eq!(plan_kv(need(Some(100)), 1 << 30), Ok(KvPlan { blocks: 28, context: 100 }));
        assert_eq!(
            plan_kv(need(None), 10_000),
            Ok(KvPlan { blocks: 10, context: 160 }),
            "less context, not none"
        );
        assert!(plan_kv(need(Some(500)), 10_000).unwrap_err().contains("160 tokens"));
        assert!(plan_kv(need(Some(2000)), 1 << 30).unwrap_err().contains("trained for"));
        assert!(plan_kv(need(None), 10).unwrap_err().contains("kv_cache_gib"));
    }
}
