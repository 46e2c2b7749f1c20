//! What the engine does with many requests at once, in this process, so that nothing but it is measured.
//!
//!     engine_load MODEL.gguf prefix   time to first token with and without a shared prefix
//!     engine_load MODEL.gguf returning     the same for a prompt that was evicted, with and without a host cache
//!     engine_load MODEL.gguf stall    inter-token latency of streams while a long prompt is read
//!     engine_load MODEL.gguf speculation   tokens per second with and without guesses
//!     engine_load MODEL.gguf adapters      what 16 adapters of rank 16 add to a step, and putting one into a slot
//!     engine_load MODEL.gguf mask     what grammars add to a step, of the model and of logits that cost little
//!
//! `--threads N` and `--rounds N` as usual; for `speculation` and `mask` `--clients 1,4,16,32`. For `speculation`: `--draft FILE`, a
//! draft model; `--no-lookup`; and what is asked: `--prompts FILE`, lines of JSON with `messages`, or
//! `--repeat`, random tokens that come several times, or else random tokens.
//! Prints a Markdown table of medians. The two sides of a ratio take turns, since machines are noisy.

mod adapters;
mod mask;
mod returning;
mod speculation;

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_device::KvDtype;
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa, available_threads};
use garrison_engine::{Engine, EngineConfig, Event, Finish, LocalExecutor, Request, Stream};
use garrison_gguf::Source;
use garrison_model::Model;
use garrison_tokenizer::Tokenizer;
use garrison_types::{Sampling, StopConditions};

type Fallible<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: engine_load MODEL.gguf prefix|returning|stall|speculation|adapters|mask [--threads N] [--rounds N] [--clients N,N] \
     [--draft FILE] [--no-lookup] [--prompts FILE | --repeat]";

struct Options {
    model: String,
    scenario: String,
    threads: NonZeroUsize,
    rounds: usize,
    clients: Vec<usize>,
    draft: Option<String>,
    lookup: bool,
    prompts: Option<String>,
    repeat: bool,
}

fn options() -> Fallible<Options> {
    let mut args = std::env::args().skip(1);
    let (model, scenario) = (args.next().ok_or(USAGE)?, args.next().ok_or(USAGE)?);
    let clients = vec![1, 4, 16, 32];
    let mut options = Options {
        model,
        scenario,
        threads: available_threads(),
        rounds: 3,
        clients,
        draft: None,
        lookup: true,
        prompts: None,
        repeat: false,
    };
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--clients" => {
                let list = args.next().ok_or(USAGE)?;
                options.clients = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            "--draft" => options.draft = Some(args.next().ok_or(USAGE)?),
            "--no-lookup" => options.lookup = false,
            "--prompts" => options.prompts = Some(args.next().ok_or(USAGE)?),
            "--repeat" => options.repeat = true,
            "--threads" => options.threads = args.next().ok_or(USAGE)?.parse()?,
            "--rounds" => options.rounds = args.next().ok_or(USAGE)?.parse()?,
            _ => return Err(format!("{flag} is not known; {USAGE}").into()),
        }
    }
    Ok(options)
}

/// A model file, opened once.
struct Bench {
    source: Source,
    tokenizer: Arc<Tokenizer>,
    threads: NonZeroUsize,
    vocab: usize,
    context: usize,
}

impl Bench {
    fn open(options: &Options) -> Fallible<Bench> {
        let source = Source::open(Path::new(&options.model))?;
        let tokenizer = Arc::new(Tokenizer::new(&source.vocabulary()?)?);
        let spec = garrison_model::ModelSummary::read(&source)?.spec;
        let (vocab, context) = (spec.vocab, spec.context_length.min(8192));
        Ok(Bench { source, tokenizer, threads: options.threads, vocab, context })
    }

    fn config(&self, max_seqs: usize) -> EngineConfig {
        EngineConfig {
            max_seqs,
            max_batch_tokens: 512,
            n_blocks: 1 + (max_seqs * 640 + 2 * self.context) / 16,
            context: self.context,
            max_waiting: 64,
            max_waiting_per_client: 64,
            vocab: self.vocab,
            prefix_cache: true,
            max_stall: Some(Duration::from_millis(250)),
            prompt_lookup: true,
            adapter_slots: 0,
        }
    }

    fn device(&self) -> Fallible<Arc<CpuDevice>> {
        Ok(Arc::new(CpuDevice::new(CpuOptions { threads: self.threads, isa: Isa::detect() })?))
    }

    fn engine(&self, config: EngineConfig) -> Fallible<Engine> {
        let executor = execute(&self.source, self.device()?, config)?;
        Ok(Engine::start(Box::new(executor), Arc::clone(&self.tokenizer), config)?)
    }

    /// `n` tokens that differ from those of another seed.
    fn prompt(&self, n: usize, seed: usize) -> Vec<u32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729 + i * i * 31) % self.vocab) as u32).collect()
    }
}

/// A model, and everything that a step touches.
fn execute(
    source: &Source,
    device: Arc<CpuDevice>,
    config: EngineConfig,
) -> Fallible<LocalExecutor<CpuDevice>> {
    let model = Model::load(source, &*device, |_| {})?;
    let config = EngineConfig { vocab: model.spec().vocab, ..config };
    Ok(LocalExecutor::new(device, model, &config, KvDtype::F16)?)
}

fn request(prompt: Vec<u32>, max_tokens: u32, sampling: Sampling) -> Request {
    let stop = StopConditions { max_tokens, ignore_eos: true, ..StopConditions::default() };
    Request { sampling, ..Request::new("bench", prompt, stop) }
}

/// Reads a stream to its end.
fn finish(mut stream: Stream) -> Fallible<Finish> {
    while let Some(event) = stream.recv() {
        match event {
            Event::Finished(finish) => return Ok(finish),
            Event::Failed(failure) => return Err(failure.into()),
            _ => {}
        }
    }
    Err("the stream broke off".into())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A first request, and a second one that begins with the same tokens.
fn prefix(bench: &Bench, rounds: usize) -> Fallible<()> {
    let shared = 1000.min(bench.context - 64);
    let engine = bench.engine(bench.config(4))?;
    let (mut first, mut second, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let ttft = |own: usize| -> Fallible<f64> {
            let prompt = [bench.prompt(shared, round), bench.prompt(24, own)].concat();
            Ok(finish(engine.submit(request(prompt, 4, Sampling::greedy()))?)?.timings.ttft_ms)
        };
        let (cold, warm) = (ttft(1000 + round)?, ttft(2000 + round)?);
        first.push(cold);
        second.push(warm);
        ratio.push(warm / cold);
    }
    println!("| shared prefix of {shared}, 24 tokens of its own | ms |\n| --- | --- |");
    println!("| first request, time to first token | {:.1} |", median(&mut first));
    println!("| second request | {:.1} |", median(&mut second));
    println!("| ratio (median) | {:.3} |", median(&mut ratio));
    Ok(())
}

/// Four streams, and then a prompt as long as fits, up to 4,000 tokens.
fn stall(bench: &Bench, rounds: usize) -> Fallible<()> {
    let long = 4000.min(bench.context - 64);
    println!(
        "| streams while a prompt of {long} is read | quiet ms | median ms | worst ms | prompt read in s |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (name, max_stall) in [("max_stall 250 ms", Some(Duration::from_millis(250))), ("chunks of 512", None)]
    {
        let engine = bench.engine(EngineConfig { max_stall, prompt_lookup: false, ..bench.config(5) })?;
        let (mut quiet, mut during, mut worst, mut read) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let sampling = |seed| Sampling { seed, ..Sampling::default() };
            let streams: Fallible<Vec<Stream>> = (0..4)
                .map(|i| {
                    let prompt = bench.prompt(32, round * 10 + i);
                    Ok(engine.submit(request(
                        prompt,
                        900.min(bench.context as u32 - 64),
                        sampling(i as u64),
                    ))?)
                })
                .collect();
            let mut streams = streams?;
            let mut gaps = |until: &mut dyn FnMut(usize) -> bool| -> Vec<f64> {
                let (mut gaps, mut last) = (Vec::new(), Instant::now());
                while !until(gaps.len()) {
                    if streams[0].recv().is_none() {
                        break;
                    }
                    gaps.push(last.elapsed().as_secs_f64() * 1e3);
                    last = Instant::now();
                    for stream in &mut streams[1..] {
                        while stream.try_recv().is_some() {}
                    }
                }
                gaps.split_off(1.min(gaps.len()))
            };
            gaps(&mut |n| n == 8); // their prompts
            quiet.extend(gaps(&mut |n| n == 24));
            let begun = Instant::now();
            let mut reader = engine.submit(request(bench.prompt(long, 77 + round), 1, Sampling::greedy()))?;
            let mut busy = gaps(&mut |_| reader.try_recv().is_some());
            read.push(begun.elapsed().as_secs_f64());
            worst.push(busy.iter().copied().fold(0.0, f64::max));
            during.append(&mut busy);
        }
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {:.2} |",
            median(&mut quiet),
            median(&mut during),
            median(&mut worst),
            median(&mut read)
        );
    }
    Ok(())
}

fn main() -> Fallible<()> {
    let options = options()?;
    let bench = Bench::open(&options)?;
    match options.scenario.as_str() {
        "prefix" => prefix(&bench, options.rounds),
        "returning" => returning::run(&bench, options.rounds),
        "stall" => stall(&bench, options.rounds),
        "speculation" => speculation::run(&bench, &options),
        "adapters" => adapters::run(&bench, options.rounds),
        "mask" => mask::run(&bench, &options),
        other => Err(format!("{other} is not known; {USAGE}").into()),
    }
}
