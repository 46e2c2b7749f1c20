//! What grammars cost: masks of random answers, from logits that cost little and from the model, and what they add to
//! the model's step.

use std::sync::Arc;
use std::time::Instant;

use garrison_engine::{Engine, EngineConfig, Grammar, Request, ScriptedExecutor};
use garrison_types::Sampling;
use serde_json::json;

use super::{Bench, Fallible, Options, finish, median, request};

/// Tokens of an answer.
const ANSWER: u32 = 300;

pub(crate) fn run(bench: &Bench, options: &Options) -> Fallible<()> {
    println!(
        "| clients | vocabulary of {} | compile ms | us of masks a token | beside the model | \
         us a step of the model | more than without (median) | range |",
        bench.vocab
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for &clients in &options.clients {
        let config = EngineConfig { prompt_lookup: false, ..bench.config(clients) };
        let scripted = Box::new(ScriptedExecutor::hashing(&config));
        let little = Engine::start(scripted, Arc::clone(&bench.tokenizer), config)?;
        let model = bench.engine(config)?;
        for engine in [&little, &model] {
            engine.compile(&Grammar::JsonObject)?; // builds what all grammars share
            step(engine, bench, clients, 0, None)?;
        }
        let mut all = [Vec::new(), Vec::new()];
        for (name, grammar) in grammars() {
            let (mut compile, mut masks) = (Vec::new(), [Vec::new(), Vec::new()]);
            let (mut with, mut more) = (Vec::new(), Vec::new());
            for round in 0..options.rounds.max(1) {
                masks[0].push(step(&little, bench, clients, round, Some(&grammar))?.masks);
                let plain = step(&model, bench, clients, round, None)?;
                let constrained = step(&model, bench, clients, round, Some(&grammar))?;
                masks[1].push(constrained.masks);
                compile.push(constrained.compile);
                with.push(constrained.step);
                more.push(constrained.step - plain.step);
            }
            let masks = masks.map(|mut side| median(&mut side));
            for (all, masks) in all.iter_mut().zip(masks) {
                all.push(masks);
            }
            let added = median(&mut more);
            println!(
                "| {clients} | {name} | {:.2} | {:.0} | {:.0} | {:.0} | {added:.0} | {:.0} to {:.0} |",
                median(&mut compile),
                masks[0],
                masks[1],
                median(&mut with),
                more.first().unwrap_or(&f64::NAN),
                more.last().unwrap_or(&f64::NAN),
            );
        }
        let [alone, beside] = all.map(|all| all.iter().sum::<f64>() / all.len() as f64);
        println!("| {clients} | mean of these | | {alone:.0} | {beside:.0} | | | |");
    }
    Ok(())
}

/// What people ask for, each long enough for an answer, and at last one that llguidance finds hard: it counts to a
/// thousand, so that no state of its lexer comes twice.
fn grammars() -> Vec<(&'static str, Grammar)> {
    let string = json!({"type": "string"});
    let item = json!({"type": "object", "required": ["name", "tags", "size"], "additionalProperties": false,
        "properties": {"name": string, "tags": {"type": "array", "items": string}, "size": {"type": "number"}}});
    let items = json!({"type": "array", "items": item, "minItems": 50});
    let ticket = json!({"type": "object", "required": ["id", "kind", "urgent", "due", "notes"],
        "additionalProperties": false, "properties": {
            "id": {"type": "integer", "minimum": 1, "maximum": 99999},
            "kind": {"enum": ["billing", "delivery", "access", "other"]},
            "urgent": {"type": "boolean"},
            "due": {"type": "string", "format": "date"},
            "notes": {"type": "string", "maxLength": 80}}});
    let tickets = json!({"type": "array", "items": ticket, "minItems": 20});
    let sums = "start: (sum \"\\n\"){40,}\nsum: term ((\"+\" | \"-\") term)*\nterm: NUMBER | \"(\" sum \")\"\nNUMBER: /[0-9]+/";
    let regex = |pattern: &str| Grammar::Regex(pattern.into());
    vec![
        ("json_object", Grammar::JsonObject),
        ("schema: array of objects", Grammar::JsonSchema(items)),
        ("schema: enums, dates, bounds", Grammar::JsonSchema(tickets)),
        ("regex: lines of dates", regex("([0-9]{4}-[0-9]{2}-[0-9]{2}\n){100}")),
        ("regex: lines of addresses", regex("([a-z0-9._]{1,20}@[a-z0-9]{1,15}\\.(com|org|net)\n){100}")),
        ("regex: words", regex("([a-z]+ ){400}")),
        ("grammar: sums", Grammar::Lark(sums.into())),
        ("regex: [a-z ]{1000}", regex("[a-z ]{1000}")),
    ]
}

/// What a step took in which each client got a token.
struct Took {
    /// Microseconds of it, in the middle of the clients.
    step: f64,
    /// Microseconds of masks for each token, wherever they were made.
    masks: f64,
    /// Milliseconds to compile the grammar.
    compile: f64,
}

fn step(
    engine: &Engine,
    bench: &Bench,
    clients: usize,
    round: usize,
    grammar: Option<&Grammar>,
) -> Fallible<Took> {
    let begun = Instant::now();
    let constraint = grammar.map(|g| engine.compile(g)).transpose()?;
    let compile = begun.elapsed().as_secs_f64() * 1e3;
    let before = engine.stats();
    let ask = |client: usize| -> Fallible<_> {
        let seed = round * clients + client;
        let sampling = Sampling { seed: seed as u64, ..Sampling::default() };
        let plain = request(bench.prompt(8, seed), ANSWER, sampling);
        Ok(engine.submit(Request { constraint: constraint.clone(), ..plain })?)
    };
    let streams = (0..clients).map(ask).collect::<Fallible<Vec<_>>>()?;
    let mut each = Vec::new();
    for stream in streams {
        let timings = finish(stream)?.timings;
        each.push(timings.generation_ms * 1e3 / f64::from(timings.generated_tokens.max(2) - 1));
    }
    let after = engine.stats();
    let tokens = (after.grammar_tokens - before.grammar_tokens).max(1);
    let masks = (after.mask_nanos - before.mask_nanos) as f64 / 1e3 / tokens as f64;
    Ok(Took { step: median(&mut each), masks, compile })
}
