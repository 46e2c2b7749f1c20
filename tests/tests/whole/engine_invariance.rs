//! The same request gives the same tokens alone and among others with and without adapters, at any
//! `max_batch_tokens`, on any number of threads, with guesses and without, and when the cache is so small
//! that sequences are preempted, swapped to the host or computed again, over 16-bit and 8-bit caches: the
//! engine, the bundled models and the CPU device together.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use garrison_device::KvDtype;
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_engine::{
    Adapter, DraftModel, Engine, EngineConfig, Event, HostCache, LocalExecutor, Request, SpecialTokens,
    Stream,
};
use garrison_gguf::Source;
use garrison_model::{Model, ModelSummary};
use garrison_tests::equal_tokens::events;
use garrison_tokenizer::{AddSpecial, ParseSpecial, Tokenizer};
use garrison_types::{Sampling, StopConditions};

struct Bench {
    source: Source,
    draft: Source,
    adapters: [Adapter; 2],
    tokenizer: Arc<Tokenizer>,
}

/// As many as the largest batch.
const REQUESTS: u64 = 64;

/// How an engine is set up.
#[derive(Clone, Copy, Debug)]
struct Setup {
    threads: usize,
    max_seqs: usize,
    max_batch_tokens: usize,
    n_blocks: usize,
    /// Prefix cache, and guesses by lookup and by the draft model.
    shortcuts: bool,
    max_stall: Option<Duration>,
    kv_dtype: KvDtype,
    host: Host,
}

/// Where evicted blocks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    None,
    Memory,
    Disk,
}

/// Blocks that the host cache holds: fewer than are evicted.
const HOST_BLOCKS: u64 = 120;

/// Steps so short that every prompt comes in many pieces, whose sizes depend on the machine's mood.
const HURRIED: Option<Duration> = Some(Duration::from_millis(5));

const ALONE: Setup = Setup {
    threads: 1,
    max_seqs: 1,
    max_batch_tokens: 512,
    n_blocks: 65,
    shortcuts: false,
    max_stall: None,
    kv_dtype: KvDtype::F16,
    host: Host::None,
};

/// Many at once, with every shortcut.
const COMPANY: Setup = Setup {
    threads: 2,
    max_seqs: 64,
    max_batch_tokens: 512,
    n_blocks: 1200,
    shortcuts: true,
    max_stall: HURRIED,
    kv_dtype: KvDtype::F16,
    host: Host::None,
};

impl Bench {
    fn open() -> Bench {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny");
        let [source, draft] = ["garrison-tiny.gguf", "garrison-tiny-draft.gguf"]
            .map(|f| Source::open(&folder.join(f)).unwrap());
        let spec = ModelSummary::read(&source).unwrap().spec;
        let adapters =
            ["playful", "tickets"].map(|a| Adapter::open(&folder.join("adapters").join(a), &spec).unwrap());
        let tokenizer = Arc::new(Tokenizer::new(&source.vocabulary().unwrap()).unwrap());
        Bench { source, draft, adapters, tokenizer }
    }

    fn engine(&self, setup: Setup) -> Engine {
        let threads = NonZeroUsize::new(setup.threads).unwrap();
        let device = Arc::new(CpuDevice::new(CpuOptions { threads, isa: Isa::detect() }).unwrap());
        let model = Model::load(&self.source, &*device, |_| {}).unwrap();
        let config = EngineConfig {
            max_seqs: setup.max_seqs,
            max_batch_tokens: setup.max_batch_tokens,
            n_blocks: setup.n_blocks,
            context: model.spec().context_length.min(1024),
            max_waiting: 128,
            max_waiting_per_client: 128,
            vocab: model.spec().vocab,
            prefix_cache: setup.shortcuts,
            prompt_lookup: setup.shortcuts,
            adapter_slots: 2,
            max_stall: setup.max_stall,
        };
        let tokenizer = Arc::clone(&self.tokenizer);
        let executor = LocalExecutor::new(Arc::clone(&device), model, &config, setup.kv_dtype).unwrap();
        let (slot, bytes) = (executor.block_bytes(), (HOST_BLOCKS + 1) * executor.block_bytes() as u64);
        let host = match setup.host {
            Host::None => HostCache::none(),
            Host::Memory => HostCache::in_memory(bytes, slot).unwrap(),
            Host::Disk => HostCache::in_folder(&std::env::temp_dir(), bytes, slot).unwrap(),
        };
        let executor = Box::new(executor.with_host_cache(host));
        if !setup.shortcuts {
            return Engine::start(executor, tokenizer, config).unwrap();
        }
        let model = Model::load(&self.draft, &*device, |_| {}).unwrap();
        let (vocab, context) = (model.spec().vocab, model.spec().context_length);
        let plain = EngineConfig { adapter_slots: 0, ..config };
        let draft = Box::new(LocalExecutor::new(device, model, &plain, setup.kv_dtype).unwrap());
        let draft = DraftModel { executor: draft, vocab, context };
        Engine::start_with_draft(executor, draft, tokenizer, config).unwrap()
    }

    /// The requests for an engine, each with its adapter or none.
    fn adapted(&self, engine: &Engine) -> Vec<Request> {
        let handles = self.adapters.clone().map(|adapter| engine.add_adapter(adapter).unwrap());
        let adapter = |i: usize| handles.get(i % 3).cloned();
        self.requests().into_iter().enumerate().map(|(i, r)| Request { adapter: adapter(i), ..r }).collect()
    }

    /// Requests of different lengths, greedy and sampled, with and without penalties.
    fn requests(&self) -> Vec<Request> {
        let text = "How do I reset the device? The light blinks twice and then nothing happens, although \
                    the cable is new. I have tried another socket, another room and another day. ";
        (0..REQUESTS)
            .map(|i| {
                let prompt = text.repeat(1 + i as usize % 3);
                let prompt = &prompt[i as usize * 2..];
                let base = Sampling { seed: i, ..Sampling::default() };
                let sampling = match i % 4 {
                    0 => Sampling::greedy(),
                    1 => base,
                    2 => Sampling { top_p: 0.9, top_k: 40, temperature: 0.8, ..base },
                    _ => Sampling { min_p: 0.05, repetition_penalty: 1.2, frequency_penalty: 0.3, ..base },
                };
                let tokens =
                    self.tokenizer.encode_prompt(prompt, AddSpecial::AsVocabulary, ParseSpecial::Spelled);
                let stop = StopConditions {
                    max_tokens: 12 + i as u32 % 16,
                    ignore_eos: true,
                    ..StopConditions::default()
                };
                Request {
                    sampling,
                    logprobs: Some(2),
                    prompt_logprobs: (i % 5 == 0).then_some(1),
                    special_tokens: SpecialTokens::Show,
                    ..Request::new(format!("request {i}"), tokens, stop)
                }
            })
            .collect()
    }
}

#[test]
fn a_request_gets_the_same_tokens_in_any_company() {
    let bench = Bench::open();
    let engine = bench.engine(ALONE);
    let requests = bench.adapted(&engine);
    let alone: Vec<Vec<Event>> = requests.iter().map(|r| events(engine.submit(r.clone()).unwrap())).collect();
    assert!(alone.iter().zip(&requests).all(|(e, r)| e.len() >= r.stop.max_tokens as usize));
    let different: std::collections::HashSet<String> = alone.iter().map(|e| format!("{e:?}")).collect();
    assert_eq!(different.len(), alone.len(), "the requests are different ones");

    let prompts: usize = requests.iter().map(|r| r.prompt.len()).sum();
    let tight = requests.iter().map(|r| r.prompt.len() + 28).max().unwrap().div_ceil(16) * 3;
    for setup in [
        Setup { threads: 1, ..COMPANY },
        Setup { max_batch_tokens: 33, ..COMPANY },
        Setup { threads: 3, max_seqs: 5, max_batch_tokens: 7, ..COMPANY },
        Setup { max_seqs: 3, max_batch_tokens: 1, ..COMPANY },
        Setup { max_batch_tokens: 64, n_blocks: tight, max_stall: None, ..COMPANY },
        Setup { max_batch_tokens: 64, n_blocks: tight, max_stall: None, host: Host::Memory, ..COMPANY },
        Setup { max_batch_tokens: 33, n_blocks: tight, max_stall: None, host: Host::Disk, ..COMPANY },
    ] {
        let engine = bench.engine(setup);
        let asked = bench.adapted(&engine);
        let submit = |i: usize| (i, engine.submit(asked[i].clone()).unwrap());
        let check = |(i, stream): (usize, Stream)| {
            assert_eq!(&events(stream), &alone[i], "{} with {setup:?}", asked[i].id);
        };
        let streams: Vec<_> = (0..asked.len()).map(submit).collect();
        streams.into_iter().for_each(check);
        if setup.host != Host::None {
            // Those that came last come back first, while they are still there.
            let streams: Vec<_> = (0..asked.len()).rev().map(submit).collect();
            streams.into_iter().for_each(check);
        }
        let stats = engine.stats();
        println!(
            "{setup:?}: {prompts} prompt tokens, {} steps, {} tokens run, {} preemptions, {} blocks saved, {} restored",
            stats.steps,
            stats.batch_tokens,
            stats.preemptions,
            stats.host_blocks_saved,
            stats.host_blocks_restored
        );
        if setup.host != Host::None {
            assert!(stats.host_blocks_restored > 20, "the host cache must be used");
        }
        if setup.n_blocks == tight {
            assert!(stats.preemptions > 0, "the small cache must preempt");
        }
    }
}

#[test]
fn over_eight_bit_caches_a_request_gets_the_same_tokens_too() {
    let bench = Bench::open();
    let answers = |setup: Setup| -> Vec<Vec<Event>> {
        let engine = bench.engine(setup);
        let requests = bench.adapted(&engine).into_iter().step_by(5);
        let streams: Vec<Stream> = requests.map(|r| engine.submit(r).unwrap()).collect();
        streams.into_iter().map(events).collect()
    };
    let f16 = answers(ALONE);
    for kv_dtype in [KvDtype::Q8_0, KvDtype::F8E4M3] {
        let alone = answers(Setup { kv_dtype, ..ALONE });
        assert_ne!(alone, f16, "{kv_dtype:?} is what the cache holds");
        for setup in [
            Setup { kv_dtype, ..COMPANY },
            Setup { kv_dtype, threads: 3, max_seqs: 5, max_batch_tokens: 7, ..COMPANY },
            Setup { kv_dtype, max_batch_tokens: 64, n_blocks: 16, max_stall: None, ..COMPANY },
        ] {
            assert_eq!(answers(setup), alone, "{setup:?}");
        }
    }
}

#[test]
fn a_prefix_from_the_cache_changes_no_token() {
    let bench = Bench::open();
    let wide = Setup { max_seqs: 4, max_batch_tokens: 96, n_blocks: 260, ..COMPANY };
    warm_is_as_cold(&bench, wide, |_, _| ());
    // Room for one request and little more: the others evict it before it returns.
    let tight = Setup { n_blocks: 22, max_stall: None, ..wide };
    for host in [Host::Memory, Host::Disk] {
        let engine = warm_is_as_cold(&bench, Setup { host, ..tight }, |engine, others| {
            for other in others {
                let mut stream = engine.submit(other.clone()).unwrap();
                while stream.recv().is_some() {}
            }
        });
        assert!(engine.stats().host_cache_hits > 16 * 50, "{:?}", engine.stats());
    }
}

/// Asks each request twice, and `between` others; it finds all that it can, and says the same.
fn warm_is_as_cold(bench: &Bench, setup: Setup, between: impl Fn(&Engine, &[Request])) -> Engine {
    let engine = bench.engine(setup);
    let requests: Vec<Request> =
        bench.requests().into_iter().take(16).map(|r| Request { prompt_logprobs: None, ..r }).collect();
    for request in &requests {
        let cold = events(bench.engine(ALONE).submit(request.clone()).unwrap());
        let mut stream = engine.submit(request.clone()).unwrap();
        while stream.recv().is_some() {}
        between(&engine, &requests[..3]);
        let mut warm = engine.submit(request.clone()).unwrap();
        let mut cached = 0;
        let mut seen: Vec<Event> = std::iter::from_fn(|| warm.recv()).collect();
        if let Some(Event::Finished(finish)) = seen.last_mut() {
            finish.timings = Default::default();
            cached = std::mem::take(&mut finish.usage.cached_tokens) as usize;
        }
        assert_eq!(cached, (request.prompt.len() - 1) / 16 * 16, "{}", request.id);
        assert_eq!(seen, cold, "{}", request.id);
    }
    engine
}
