//! What adapters cost: 16 sequences that decode with 16 different ones, and with none beside full slots, against an
//! engine that has no adapters at all; and the time that everybody waits while one is put into a slot.

use std::time::Instant;

use garrison_engine::{Adapter, AdapterHandle, Engine, EngineConfig, Execute, Request};
use garrison_model::{ModelSummary, Target};
use garrison_testkit::adapter;
use garrison_types::Sampling;

use super::{Bench, Fallible, execute, finish, median, request};

const ADAPTERS: usize = 16;
const RANK: usize = 16;
/// What is compared.
const KINDS: usize = 4;
/// Tokens of each answer. Prompts are short, so nearly all steps decode.
const ANSWER: u32 = 48;

pub(crate) fn run(bench: &Bench, rounds: usize) -> Fallible<()> {
    let spec = ModelSummary::read(&bench.source)?.spec;
    let adapters: Vec<Adapter> =
        (0..ADAPTERS as u64).map(|seed| adapter(&spec, RANK, &Target::ALL, seed)).collect();
    let config = EngineConfig {
        adapter_slots: ADAPTERS,
        prompt_lookup: false,
        prefix_cache: false,
        ..bench.config(ADAPTERS)
    };
    swap(bench, config, &adapters)?;
    let engine = bench.engine(config)?;
    let handles =
        adapters.into_iter().map(|a| Ok(Some(engine.add_adapter(a)?))).collect::<Fallible<Vec<_>>>()?;
    let without = bench.engine(EngineConfig { adapter_slots: 0, ..config })?;
    let none = vec![None; ADAPTERS];
    let one = vec![handles[0].clone(); ADAPTERS];
    println!("| {ADAPTERS} sequences | tokens/s | of those without (median) | range |");
    println!("| --- | --- | --- | --- |");
    let kinds = [
        ("no adapters at all", &without, &none),
        ("16 in their slots, none used", &engine, &none),
        ("all with one", &engine, &one),
        ("each with its own", &engine, &handles),
    ];
    let (mut speeds, mut ratios) = ([const { Vec::new() }; KINDS], [const { Vec::new() }; KINDS]);
    for round in 0..=rounds {
        let mut speed = [0.0; KINDS];
        // The first round fills the slots, so it begins with the last kind.
        for i in (0..KINDS).rev() {
            let kind = (i + round) % KINDS;
            let (_, engine, adapters) = kinds[kind];
            speed[kind] = decode(bench, engine, adapters, round)?;
        }
        for kind in (0..KINDS).filter(|_| round > 0) {
            speeds[kind].push(speed[kind]);
            ratios[kind].push(speed[kind] / speed[0]);
        }
    }
    for (i, (name, ..)) in kinds.iter().enumerate() {
        let ratio = median(&mut ratios[i]);
        let (least, most) = (ratios[i].first().unwrap_or(&f64::NAN), ratios[i].last().unwrap_or(&f64::NAN));
        println!("| {name} | {:.1} | {ratio:.3} | {least:.3} to {most:.3} |", median(&mut speeds[i]));
    }
    Ok(())
}

/// Generated tokens per second, all prompts read.
fn decode(bench: &Bench, engine: &Engine, adapters: &[Option<AdapterHandle>], round: usize) -> Fallible<f64> {
    let submit = |(i, adapter): (usize, &Option<AdapterHandle>)| {
        let sampling = Sampling { seed: i as u64, ..Sampling::default() };
        let plain = request(bench.prompt(8, round * 64 + i), ANSWER, sampling);
        engine.submit(Request { adapter: adapter.clone(), ..plain })
    };
    let mut streams = adapters.iter().enumerate().map(submit).collect::<Result<Vec<_>, _>>()?;
    for stream in &mut streams {
        stream.recv(); // its first token: the prompt is read
    }
    let begun = Instant::now();
    for stream in streams {
        finish(stream)?;
    }
    Ok(((ANSWER - 1) as usize * ADAPTERS) as f64 / begun.elapsed().as_secs_f64())
}

/// The time that a slot takes to fill: what a step is late by.
fn swap(bench: &Bench, config: EngineConfig, adapters: &[Adapter]) -> Fallible<()> {
    let mut executor = execute(&bench.source, bench.device()?, config)?;
    let mut times = Vec::new();
    for adapter in adapters {
        let begun = Instant::now();
        executor.load_adapter(1, adapter)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let ms = median(&mut times);
    let (least, most) = (times.first().unwrap_or(&f64::NAN), times.last().unwrap_or(&f64::NAN));
    println!(
        "an adapter of rank {RANK} on all linear layers is in its slot after {ms:.1} ms ({least:.1} to {most:.1})\n"
    );
    Ok(())
}
