//! Tokens per second with and without guesses.
//!
//! Clients ask one question after the other; both sides get the same questions and give the same
//! answers. Compared are the time for all of it, prompts included, and how fast a stream decodes: its
//! tokens after the first by the time that they took.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use garrison_engine::{DraftModel, Engine, EngineConfig, Request};
use garrison_gguf::Source;
use garrison_tokenizer::{ChatMessage, ChatTemplate};
use garrison_types::{Sampling, StopConditions};

use super::{Bench, Fallible, Options, execute, finish, median, request};

/// Questions of each client in a round.
const QUESTIONS: usize = 40;
/// Tokens of an answer at most.
const ANSWER: u32 = 96;

pub(crate) fn run(bench: &Bench, options: &Options) -> Fallible<()> {
    let requests = match &options.prompts {
        Some(file) => conversations(bench, file)?,
        None => (0..2048).map(|i| random(bench, options, i)).collect(),
    };
    println!(
        "| clients | plain tokens/s | with guesses | ratio (median) | range | decoding alone: plain | with \
         guesses | ratio (median) | range | guesses right |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for &clients in &options.clients {
        let base = EngineConfig { prompt_lookup: false, prefix_cache: false, ..bench.config(clients) };
        let plain = bench.engine(base)?;
        let guessing = guessing(bench, options, base)?;
        let (mut whole, mut decoding) = (Ratios::default(), Ratios::default());
        for round in 0..=options.rounds {
            let mut pair = [Speeds::default(); 2];
            // They take turns in who goes first.
            for side in [round % 2, 1 - round % 2] {
                let engine = [&plain, &guessing][side];
                pair[side] = serve(engine, &requests, clients, round * clients * QUESTIONS)?;
            }
            // The first round warms up, and lets the planner measure.
            if round > 0 {
                whole.add(pair.map(|p| p.whole));
                decoding.add(pair.map(|p| p.decoding));
            }
        }
        let stats = guessing.stats();
        println!(
            "| {clients} | {} | {} | {} of {} |",
            whole.columns(),
            decoding.columns(),
            stats.spec_accepted_tokens,
            stats.spec_draft_tokens
        );
    }
    Ok(())
}

/// Tokens per second in a round.
#[derive(Clone, Copy, Default)]
struct Speeds {
    /// Of all clients, from the first question to the last answer.
    whole: f64,
    /// Of a stream, after its first token.
    decoding: f64,
}

/// Without guesses and with them, round by round.
#[derive(Default)]
struct Ratios {
    speeds: [Vec<f64>; 2],
    ratios: Vec<f64>,
}

impl Ratios {
    fn add(&mut self, pair: [f64; 2]) {
        self.speeds[0].push(pair[0]);
        self.speeds[1].push(pair[1]);
        self.ratios.push(pair[1] / pair[0]);
    }

    /// Medians and the range, as columns of a table.
    fn columns(&mut self) -> String {
        let [plain, guessing] = &mut self.speeds;
        let ratio = median(&mut self.ratios);
        let (least, most) = (self.ratios.first(), self.ratios.last());
        format!(
            "{:.1} | {:.1} | {ratio:.2} | {:.2} to {:.2}",
            median(plain),
            median(guessing),
            least.unwrap_or(&f64::NAN),
            most.unwrap_or(&f64::NAN)
        )
    }
}

/// An engine that guesses.
fn guessing(bench: &Bench, options: &Options, base: EngineConfig) -> Fallible<Engine> {
    let config = EngineConfig { prompt_lookup: options.lookup, ..base };
    let Some(file) = &options.draft else { return bench.engine(config) };
    let device = bench.device()?;
    let executor = Box::new(execute(&bench.source, Arc::clone(&device), config)?);
    let source = Source::open(Path::new(file))?;
    let spec = garrison_model::ModelSummary::read(&source)?.spec;
    let model = Box::new(execute(&source, device, config)?);
    let draft = DraftModel { executor: model, vocab: spec.vocab, context: spec.context_length };
    Ok(Engine::start_with_draft(executor, draft, Arc::clone(&bench.tokenizer), config)?)
}

/// Answers the questions of a round.
fn serve(engine: &Engine, requests: &[Request], clients: usize, first: usize) -> Fallible<Speeds> {
    let next = AtomicUsize::new(0);
    // Tokens, those after the first of an answer, and the seconds that the latter took.
    let client = || -> Result<(f64, f64, f64), String> {
        let mut sums = (0.0, 0.0, 0.0);
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= clients * QUESTIONS {
                return Ok(sums);
            }
            let request = requests[(first + i) % requests.len()].clone();
            let stream = engine.submit(request).map_err(|e| e.to_string())?;
            let timings = finish(stream).map_err(|e| e.to_string())?.timings;
            let tokens = f64::from(timings.generated_tokens);
            sums = (sums.0 + tokens, sums.1 + tokens - 1.0, sums.2 + timings.generation_ms / 1e3);
        }
    };
    let begun = Instant::now();
    let sums = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        threads.into_iter().map(|t| t.join().map_err(|_| "a client panicked")?.map_err(Into::into)).collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let sums: Fallible<Vec<(f64, f64, f64)>> = sums;
    let (all, later, took) = sums?.iter().fold((0.0, 0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
    Ok(Speeds { whole: all / seconds, decoding: later / took })
}

fn random(bench: &Bench, options: &Options, i: usize) -> Request {
    let prompt = match options.repeat {
        true => bench.prompt(12, i).repeat(4),
        false => bench.prompt(48, i),
    };
    let temperature = if options.repeat { 0.0 } else { 1.0 };
    request(prompt, ANSWER, Sampling { seed: i as u64, temperature, ..Sampling::default() })
}

/// Every second answer is greedy, the others are sampled.
fn conversations(bench: &Bench, file: &str) -> Fallible<Vec<Request>> {
    let vocabulary = bench.source.vocabulary()?;
    let template = ChatTemplate::new(&vocabulary.chat_template.ok_or("the model has no chat template")?)?;
    let mut requests = Vec::new();
    for (i, line) in std::fs::read_to_string(file)?.lines().enumerate() {
        let case: serde_json::Value = serde_json::from_str(line)?;
        let turns = case["messages"].as_array().ok_or("a line has no messages")?;
        let text = |turn: &serde_json::Value| {
            let [role, content] = ["role", "content"].map(|field| turn[field].as_str().unwrap_or_default());
            ChatMessage::text(role, content)
        };
        let input = bench.tokenizer.chat_input(turns.iter().map(text).collect());
        let prompt = bench.tokenizer.encode_chat(&template, &input)?;
        let stop = StopConditions { max_tokens: ANSWER, ..StopConditions::default() };
        let temperature = (i % 2) as f32;
        let sampling = Sampling { seed: i as u64, temperature, ..Sampling::default() };
        requests.push(Request { sampling, ..Request::new("bench", prompt, stop) });
    }
    Ok(requests)
}
