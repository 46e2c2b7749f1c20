//! What the tests share: a tokenizer of bytes, requests, and an engine that is stepped by hand.

use std::sync::{Arc, LazyLock};

use garrison_tokenizer::Tokenizer;
use garrison_types::{Sampling, StopConditions, TokenKind, Vocabulary, VocabularyModel};

use crate::worker::Worker;
use crate::{
    DraftModel, Engine, EngineConfig, Event, Execute, Finish, HostCache, Request, ScriptControl,
    ScriptedExecutor, Stream, TokenEvent,
};

/// Ids of the test vocabulary: three specials, then the bytes, then two control tokens.
pub(super) const EOS: u32 = 2;
pub(super) const CONTROL: u32 = 260;
pub(super) const VOCAB: usize = 261;

/// The token of one byte.
pub(super) fn byte(b: u8) -> u32 {
    u32::from(b) + 3
}

/// The tokens of a text's bytes.
pub(super) fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(byte).collect()
}

pub(super) fn tokenizer() -> Arc<Tokenizer> {
    static SHARED: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| Arc::new(byte_tokenizer()));
    Arc::clone(&SHARED)
}

fn byte_tokenizer() -> Tokenizer {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
    tokens.extend((0..=255u8).map(|b| format!("<0x{b:02X}>")));
    kinds.extend([TokenKind::Byte; 256]);
    for extra in ["<|one|>", "<|two|>"] {
        tokens.push(extra.into());
        kinds.push(TokenKind::Control);
    }
    let vocabulary = Vocabulary {
        model: VocabularyModel::Spm,
        scores: vec![0.0; tokens.len()],
        tokens,
        kinds,
        merges: Vec::new(),
        bos: Some(1),
        eos: vec![EOS],
        unknown: Some(0),
        padding: None,
        add_bos: true,
        add_eos: false,
        add_space_prefix: true,
        chat_template: None,
    };
    Tokenizer::new(&vocabulary).unwrap()
}

pub(super) fn config() -> EngineConfig {
    EngineConfig {
        max_seqs: 8,
        max_batch_tokens: 64,
        n_blocks: 200,
        context: 512,
        max_waiting: 64,
        max_waiting_per_client: 64,
        vocab: VOCAB,
        prefix_cache: true,
        prompt_lookup: false,
        adapter_slots: 0,
        max_stall: None,
    }
}

pub(super) fn request(prompt: impl Into<Vec<u32>>, max_tokens: u32) -> Request {
    let stop = StopConditions { max_tokens, ignore_eos: true, ..StopConditions::default() };
    Request::new("test", prompt.into(), stop)
}

/// A sampled request with penalties, biases, log-probabilities and bans.
pub(super) fn with_everything(seed: u64) -> Request {
    let sampling = Sampling {
        seed,
        temperature: 0.7,
        repetition_penalty: 1.05,
        frequency_penalty: 0.02,
        logit_bias: vec![(70, 1.0)],
        ..Sampling::default()
    };
    let mut r = Request { sampling, logprobs: Some(1), ..request(prompt(9, seed as u32), 80) };
    r.stop.min_tokens = 60;
    r.stop.token_ids = vec![61, 64];
    r
}

/// `n` prompt tokens that depend on `seed`.
pub(super) fn prompt(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 31 + seed * 17) % 256 + 3).collect()
}

/// An engine without a thread.
pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) worker: Worker,
    pub(super) control: ScriptControl,
    /// Steers the draft model, where there is one.
    pub(super) draft: ScriptControl,
}

/// A host cache of `slots` blocks of the scripted executor.
pub(super) fn host(slots: usize) -> HostCache {
    let bytes = (slots + 1) * ScriptedExecutor::BLOCK_BYTES;
    HostCache::in_memory(bytes as u64, ScriptedExecutor::BLOCK_BYTES).unwrap_or_else(|_| HostCache::none())
}

/// What follows depends on the last token alone, mostly: `off` the track now and then.
fn repeats(off: usize) -> impl Fn(&[u32], &mut [f32]) + Send {
    move |past, logits| {
        let last = past.last().copied().unwrap_or(0);
        let on_track = !past.len().is_multiple_of(off);
        let favoured = if on_track { last * 3 + 1 } else { last * 7 + 5 } % 11 + 60;
        for (id, logit) in (0u32..).zip(logits) {
            let peak = if id == favoured { 7.0 } else { 0.0 };
            *logit = peak + (id.wrapping_mul(37) ^ last.wrapping_mul(101)) as f32 % 97.0 / 48.0;
        }
    }
}

impl Rig {
    pub(super) fn hashing(config: EngineConfig) -> Rig {
        Rig::new(config, ScriptedExecutor::hashing(&config))
    }

    /// With a host cache.
    pub(super) fn hosted(config: EngineConfig, host: HostCache) -> Rig {
        Rig::new(config, ScriptedExecutor::hashing(&config).with_host_cache(host))
    }

    /// Answers that repeat themselves: what follows depends on the last token alone, mostly.
    pub(super) fn repeating(config: EngineConfig) -> Rig {
        Rig::repeating_hosted(config, HostCache::none())
    }

    /// The same with a host cache.
    pub(super) fn repeating_hosted(config: EngineConfig, host: HostCache) -> Rig {
        let rig = Rig::new(config, ScriptedExecutor::new(&config, repeats(29)).with_host_cache(host));
        rig.control.set_cost(1.0, 0.0);
        rig
    }

    /// The same with a cheap draft model that is wrong at other places.
    pub(super) fn drafted(config: EngineConfig) -> Rig {
        Rig::drafted_hosted(config, HostCache::none())
    }

    /// And with a host cache.
    pub(super) fn drafted_hosted(config: EngineConfig, host: HostCache) -> Rig {
        let target = ScriptedExecutor::new(&config, repeats(29)).with_host_cache(host);
        let rig = Rig::drafted_over(config, target, (config.vocab, config.context), repeats(7));
        rig.control.set_cost(1.0, 0.0);
        rig
    }

    /// With a draft model that follows `script` within `limits` of vocabulary and context.
    pub(super) fn drafted_by(
        config: EngineConfig,
        limits: (usize, usize),
        script: impl Fn(&[u32], &mut [f32]) + Send + 'static,
    ) -> Rig {
        let rig = Rig::drafted_over(config, ScriptedExecutor::new(&config, repeats(29)), limits, script);
        rig.control.set_cost(1.0, 0.0);
        rig
    }

    /// The same over any target.
    pub(super) fn drafted_over(
        config: EngineConfig,
        executor: ScriptedExecutor,
        (vocab, context): (usize, usize),
        script: impl Fn(&[u32], &mut [f32]) + Send + 'static,
    ) -> Rig {
        let drafter = ScriptedExecutor::new(&config, script);
        let (control, draft) = (executor.control(), drafter.control());
        let model = DraftModel { executor: Box::new(drafter), vocab, context };
        let (engine, worker) =
            Engine::assemble(Box::new(executor), Some(model), tokenizer(), config).unwrap();
        draft.set_cost(0.05, 0.001);
        Rig { engine, worker, control, draft }
    }

    /// Whatever the prompt, the answer is `answer`, and then end tokens.
    pub(super) fn saying(prompt_len: usize, answer: Vec<u32>) -> Rig {
        let config = config();
        let next = move |past: &[u32]| answer.get(past.len() - prompt_len).copied().unwrap_or(EOS);
        Rig::new(config, ScriptedExecutor::following(&config, next))
    }

    fn new(config: EngineConfig, executor: ScriptedExecutor) -> Rig {
        let control = executor.control();
        let executor: Box<dyn Execute> = Box::new(executor);
        let (engine, worker) = Engine::assemble(executor, None, tokenizer(), config).unwrap();
        Rig { engine, worker, control, draft: ScriptControl::default() }
    }

    pub(super) fn submit(&self, request: Request) -> Stream {
        self.engine.submit(request).unwrap()
    }

    /// One step, after which everything must be in order.
    pub(super) fn step(&mut self) {
        self.worker.take_ready();
        self.worker.step();
        self.worker.scheduler.check();
    }

    /// Steps until nothing is left to do, which must happen.
    pub(super) fn run(&mut self) {
        for _ in 0..100_000 {
            self.step();
            if self.worker.scheduler.is_idle() {
                let (used, _) = self.worker.scheduler.blocks();
                assert_eq!(used, 0, "an idle engine holds no blocks");
                assert!(self.engine.is_idle());
                return;
            }
        }
        panic!("the engine does not come to an end");
    }

    /// Runs one request alone.
    pub(super) fn answer(&mut self, request: Request) -> Answer {
        let mut stream = self.submit(request);
        self.run();
        Answer::read(&mut stream)
    }
}

/// Everything a stream carried. Equal if the client sees the same, apart from times and how much was cached.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) events: Vec<Event>,
    pub(super) cached_tokens: u32,
}

impl PartialEq for Answer {
    fn eq(&self, other: &Answer) -> bool {
        self.events == other.events
    }
}

impl Answer {
    pub(super) fn read(stream: &mut Stream) -> Answer {
        Answer::of(std::iter::from_fn(|| stream.try_recv()).collect())
    }

    pub(super) fn of(events: Vec<Event>) -> Answer {
        let mut answer = Answer { events, cached_tokens: 0 };
        for event in &mut answer.events {
            if let Event::Finished(finish) = event {
                finish.timings = Default::default();
                answer.cached_tokens = std::mem::take(&mut finish.usage.cached_tokens);
            }
        }
        answer
    }

    pub(super) fn token_events(&self) -> impl Iterator<Item = &TokenEvent> {
        self.events.iter().filter_map(|e| if let Event::Token(t) = e { Some(t) } else { None })
    }

    pub(super) fn tokens(&self) -> Vec<u32> {
        self.token_events().map(|t| t.token).collect()
    }

    pub(super) fn finish(&self) -> &Finish {
        match self.events.last() {
            Some(Event::Finished(finish)) => finish,
            other => panic!("the stream ended with {other:?}"),
        }
    }

    pub(super) fn text(&self) -> String {
        self.token_events().map(|t| t.text.as_str()).chain([self.finish().text.as_str()]).collect()
    }
}
