//! The engine on any device: a request gets the same tokens in any company, through adapters, in recorded steps
//! and others, with guesses and without, in pieces, and where blocks are short.

use std::sync::Arc;

use garrison_device::{Capture, KvDtype};
use garrison_engine::{
    Engine, EngineConfig, Event, Grammar, LocalExecutor, Lookahead, Request, SpecialTokens, Stream,
};
use garrison_gguf::Source;
use garrison_gguf::quantize::Mix;
use garrison_model::{Model, ModelSummary, Target};
use garrison_testkit::{Random, TinyModel, adapter, tiny_gguf};
use garrison_tokenizer::Tokenizer;
use garrison_types::{Sampling, StopConditions};

/// How an engine is set up.
#[derive(Clone, Copy, Debug)]
struct Setup {
    max_seqs: usize,
    max_batch_tokens: usize,
    n_blocks: usize,
    shortcuts: bool,
    lookahead: Lookahead,
}

const ALONE: Setup =
    Setup { max_seqs: 1, max_batch_tokens: 128, n_blocks: 9, shortcuts: false, lookahead: Lookahead::None };
const TOGETHER: Setup = Setup { max_seqs: 5, n_blocks: 40, ..ALONE };

fn engine<B: Capture>(device: &Arc<B>, source: &Source, setup: Setup) -> Engine {
    let model = Model::load(source, &**device, |_| {}).unwrap();
    let config = EngineConfig {
        max_seqs: setup.max_seqs,
        max_batch_tokens: setup.max_batch_tokens,
        n_blocks: setup.n_blocks,
        context: 128,
        max_waiting: 16,
        max_waiting_per_client: 16,
        vocab: model.spec().vocab,
        prefix_cache: setup.shortcuts,
        prompt_lookup: setup.shortcuts,
        adapter_slots: 2,
        max_stall: None,
    };
    let mut executor = LocalExecutor::new(Arc::clone(device), model, &config, KvDtype::F16).unwrap();
    executor.look_ahead(setup.lookahead).unwrap();
    let tokenizer = Tokenizer::new(&source.vocabulary().unwrap()).unwrap();
    Engine::start(Box::new(executor), Arc::new(tokenizer), config).unwrap()
}

/// Requests of different lengths, greedy and sampled, some through adapters.
fn requests(source: &Source, engine: &Engine) -> Vec<Request> {
    let spec = ModelSummary::read(source).unwrap().spec;
    let handles =
        [1, 2].map(|seed| engine.add_adapter(adapter(&spec, 4, &[Target::Q, Target::Down], seed)).unwrap());
    let mut random = Random::new(3);
    let common: Vec<u32> = (0..16).map(|_| random.below(256) as u32).collect();
    (0..5u64)
        .map(|i| {
            let mut prompt = common[..if i % 2 == 0 { 16 } else { 3 }].to_vec();
            prompt.extend((0..3 + 7 * i as usize).map(|_| random.below(256) as u32));
            let stop = StopConditions { max_tokens: 5, ignore_eos: true, ..StopConditions::default() };
            let sampling =
                if i % 2 == 0 { Sampling::greedy() } else { Sampling { seed: i, ..Sampling::default() } };
            Request {
                sampling,
                logprobs: Some(2),
                special_tokens: SpecialTokens::Show,
                adapter: handles.get(i as usize % 3).cloned(),
                ..Request::new(format!("request {i}"), prompt, stop)
            }
        })
        .collect()
}

/// A stream's events: everything but the times, and what was cached.
///
/// # Panics
/// If the stream does not end with the end of an answer.
pub fn events(mut stream: Stream) -> Vec<Event> {
    let mut events: Vec<Event> = std::iter::from_fn(|| stream.recv()).collect();
    match events.last_mut() {
        Some(Event::Finished(finish)) => {
            finish.timings = Default::default();
            finish.usage.cached_tokens = 0;
        }
        other => panic!("a stream ended with {other:?}"),
    }
    events
}

/// Requests to a model in this mix get the same events alone, together, and where blocks and steps are short.
///
/// # Panics
/// If they do not.
pub fn check<B: Capture>(device: &Arc<B>, mix: Mix) {
    let source = Source::parse(tiny_gguf(&TinyModel { mix, ..TinyModel::default() })).unwrap();
    let engine_alone = engine(device, &source, ALONE);
    let alone: Vec<_> = requests(&source, &engine_alone)
        .into_iter()
        .map(|request| events(engine_alone.submit(request).unwrap()))
        .collect();
    assert!(alone.iter().all(|events| events.len() > 5));
    for setup in [
        Setup { shortcuts: true, ..TOGETHER },
        // Prompts in pieces, and blocks for two of five.
        Setup { max_batch_tokens: 11, n_blocks: 9, shortcuts: true, ..TOGETHER },
    ] {
        hold(device, &source, setup, requests, &alone);
    }
}

/// Holds what requests get from an engine against what is expected.
fn hold<B: Capture>(
    device: &Arc<B>,
    source: &Source,
    setup: Setup,
    requests: fn(&Source, &Engine) -> Vec<Request>,
    expected: &[Vec<Event>],
) {
    let engine = engine(device, source, setup);
    let streams: Vec<_> = requests(source, &engine).into_iter().map(|r| engine.submit(r).unwrap()).collect();
    for (stream, expected) in streams.into_iter().zip(expected) {
        assert_eq!(&events(stream), expected, "{setup:?}");
    }
}

/// Requests whose next step can mostly be planned: that end by length, by tokens that stop them and by grammars, with
/// adapters, penalties and tokens banned at first; and one of which log-probabilities are wanted, which cannot.
fn plain_requests(source: &Source, engine: &Engine) -> Vec<Request> {
    let plain = |(i, request): (usize, Request)| {
        let token_ids = if i == 1 { Vec::new() } else { (0..256).step_by(9).collect() };
        let min_tokens = if i == 4 { 3 } else { 0 };
        let stop = StopConditions { max_tokens: 12 + i as u32, min_tokens, token_ids, ..request.stop };
        let frequency_penalty = if i == 3 { 0.5 } else { 0.0 };
        let grammar = match i {
            0 => Some(Grammar::Regex("[ -~]{1,40}".into())),
            3 => Some(Grammar::Regex("[0-9a-f]{4,9}".into())),
            _ => None,
        };
        let constraint = grammar.map(|grammar| engine.compile(&grammar).unwrap());
        let sampling = Sampling { frequency_penalty, ..request.sampling };
        Request { stop, sampling, constraint, logprobs: (i == 2).then_some(1), ..request }
    };
    requests(source, engine).into_iter().enumerate().map(plain).collect()
}

/// Requests to a model in this mix get the same events from an engine that begins with steps before they are asked for as from one that does
/// not: alone, together, where others come while they run, with guesses, and where blocks are short.
///
/// # Panics
/// If they do not.
pub fn check_ahead<B: Capture>(device: &Arc<B>, mix: Mix) {
    let source = Source::parse(tiny_gguf(&TinyModel { mix, ..TinyModel::default() })).unwrap();
    let engine_alone = engine(device, &source, ALONE);
    let expected: Vec<_> = plain_requests(&source, &engine_alone)
        .into_iter()
        .map(|request| events(engine_alone.submit(request).unwrap()))
        .collect();
    let lookahead = Lookahead::OneStep;
    for setup in [
        Setup { lookahead, ..ALONE },
        Setup { lookahead, ..TOGETHER },
        Setup { lookahead, max_seqs: 2, ..TOGETHER },
        Setup { lookahead, shortcuts: true, ..TOGETHER },
        Setup { lookahead, max_batch_tokens: 11, n_blocks: 9, ..TOGETHER },
    ] {
        hold(device, &source, setup, plain_requests, &expected);
    }
}
