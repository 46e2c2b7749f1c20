//! What a conversation that returns waits for, after others have taken its blocks.

use std::sync::Arc;

use garrison_engine::{Engine, EngineConfig, HostCache, HostCacheError};
use garrison_types::Sampling;

use super::{Bench, Fallible, execute, finish, median, request};

/// Tokens of its prompt, and blocks of the device: room for one and little more.
const TOKENS: usize = 1024;
const BLOCKS: usize = TOKENS / 16 + 8;

/// Where evicted blocks go.
#[derive(Clone, Copy)]
enum Host {
    None,
    Memory,
    Disk,
}

pub(super) fn run(bench: &Bench, rounds: usize) -> Fallible<()> {
    let tokens = TOKENS.min(bench.context - 64);
    let hosts = [("no host cache", Host::None), ("in memory", Host::Memory), ("on disk", Host::Disk)];
    let engines = hosts.map(|(name, host)| start(bench, host).map(|engine| (name, engine)));
    let engines = engines.into_iter().collect::<Fallible<Vec<_>>>()?;
    let mut ratios = vec![Vec::new(); engines.len()];
    let mut times = vec![Vec::new(); engines.len()];
    for round in 0..rounds {
        for (i, (_, engine)) in engines.iter().enumerate() {
            let ttft = |seed: usize| -> Fallible<f64> {
                let asked = request(bench.prompt(tokens, seed), 4, Sampling::greedy());
                Ok(finish(engine.submit(asked)?)?.timings.ttft_ms)
            };
            let first = ttft(3 * round)?;
            ttft(3 * round + 1)?;
            let again = ttft(3 * round)?;
            times[i].push(again);
            ratios[i].push(again / first);
        }
    }
    println!(
        "| a prompt of {tokens} that returns | time to first token, ms | to that of its first time | blocks restored |"
    );
    println!("| --- | --- | --- | --- |");
    for (((name, engine), times), ratios) in engines.iter().zip(&mut times).zip(&mut ratios) {
        let restored = engine.stats().host_blocks_restored;
        println!("| {name} | {:.1} | {:.3} | {restored} |", median(times), median(ratios));
    }
    Ok(())
}

fn start(bench: &Bench, host: Host) -> Fallible<Engine> {
    let config = EngineConfig { n_blocks: BLOCKS, prompt_lookup: false, ..bench.config(1) };
    let executor = execute(&bench.source, bench.device()?, config)?;
    let host = room(host, executor.block_bytes())?;
    Ok(Engine::start(Box::new(executor.with_host_cache(host)), Arc::clone(&bench.tokenizer), config)?)
}

/// Room for eight such prompts.
fn room(host: Host, block_bytes: usize) -> Result<HostCache, HostCacheError> {
    let bytes = (8 * BLOCKS * block_bytes) as u64;
    match host {
        Host::None => Ok(HostCache::none()),
        Host::Memory => HostCache::in_memory(bytes, block_bytes),
        Host::Disk => HostCache::in_folder(&std::env::temp_dir(), bytes, block_bytes),
    }
}
