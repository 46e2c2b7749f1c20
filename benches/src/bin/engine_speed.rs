//! Prefill and decode speed of the CPU backend in this process, for `scripts/bench-peers`.
//!
//!     engine_speed MODEL.gguf --threads N [--isa scalar|avx2|avx512] [--prompt 512] [--gen 64] [--reps 1]
//!
//! Prints one JSON line: load_s, prefill and decode tokens per second (the best of the repetitions:
//! noise only ever slows down), and the peak resident memory.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use garrison_device::{Batch, Device, KvDtype, SampleRow, StepBuffers, StepLimits, TokenCounts, Want};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa, available_threads};
use garrison_gguf::Source;
use garrison_model::{AdapterBank, KvCache, Model, Workspace};
use garrison_types::Sampling;

struct Options {
    model: String,
    threads: NonZeroUsize,
    isa: Isa,
    prompt: usize,
    generate: usize,
    repetitions: usize,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let model = args
        .next()
        .ok_or("usage: engine_speed MODEL.gguf [--threads N] [--isa I] [--prompt N] [--gen N] [--reps N]")?;
    let mut options = Options {
        model,
        threads: available_threads(),
        isa: Isa::detect(),
        prompt: 512,
        generate: 64,
        repetitions: 1,
    };
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--threads" => options.threads = value.parse()?,
            "--isa" => options.isa = value.parse()?,
            "--prompt" => options.prompt = value.parse()?,
            "--gen" => options.generate = value.parse()?,
            "--reps" => options.repetitions = value.parse()?,
            _ => return Err(format!("{flag} is not known").into()),
        }
    }
    Ok(options)
}

/// A model with everything a step needs.
struct Runner {
    device: CpuDevice,
    model: Model<CpuDevice>,
    step: StepBuffers<CpuDevice>,
    workspace: Workspace<CpuDevice>,
    kv: KvCache<CpuDevice>,
    table: Vec<u32>,
    logits: Vec<f32>,
}

impl Runner {
    fn load(options: &Options) -> Result<Runner, Box<dyn Error>> {
        let device = CpuDevice::new(CpuOptions { threads: options.threads, isa: options.isa })?;
        let source = Source::open(Path::new(&options.model))?;
        let model = Model::load(&source, &device, |_| {})?;
        let n_blocks = (options.prompt + options.generate).div_ceil(garrison_device::BLOCK_SIZE);
        let limits = StepLimits { tokens: options.prompt.max(1), seqs: 1, rows: 1, blocks: n_blocks };
        let step = StepBuffers::new(&device, limits)?;
        let workspace = Workspace::new(&device, model.spec(), limits)?;
        let kv = KvCache::new(&device, model.spec(), n_blocks + 1, KvDtype::F16)?;
        let logits = vec![0.0; model.spec().vocab];
        let table = (1..=n_blocks as u32).collect();
        Ok(Runner { device, model, step, workspace, kv, table, logits })
    }

    /// Runs `tokens` as the last of `kv_len` and gives the most likely next token.
    fn step(&mut self, tokens: &[u32], kv_len: usize) -> Result<u32, Box<dyn Error>> {
        let mut batch = Batch::default();
        batch.push_sequence(tokens, kv_len as u32, &self.table, 0);
        batch.samples.push(SampleRow {
            row: tokens.len() as u32 - 1,
            want: Want::Sample,
            sampling: Sampling::greedy().into(),
            position: kv_len as u32,
            seen: TokenCounts::default().into(),
            banned: [].into(),
            mask: None,
            logprobs: None,
        });
        self.step.write(&self.device, &batch)?;
        let bank = AdapterBank::none();
        self.model.forward(&self.device, &self.step, &bank, &mut self.workspace, &mut self.kv)?;
        self.device.read(&self.workspace.logits, 0, &mut self.logits)?;
        let best = self.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        Ok(best.map_or(0, |(token, _)| token as u32))
    }
}

fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let started = Instant::now();
    let mut runner = Runner::load(&options)?;
    let load_s = started.elapsed().as_secs_f64();
    let vocab = runner.model.spec().vocab as u32;
    let prompt: Vec<u32> = (0..options.prompt as u32).map(|i| i.wrapping_mul(7919) % vocab).collect();
    runner.step(&prompt[..prompt.len().min(32)], prompt.len().min(32))?; // warm up

    let (mut prefill, mut decode) = (0f64, 0f64);
    for _ in 0..options.repetitions {
        let started = Instant::now();
        let mut token = runner.step(&prompt, prompt.len())?;
        prefill = prefill.max(prompt.len() as f64 / started.elapsed().as_secs_f64());
        let started = Instant::now();
        for i in 0..options.generate {
            token = runner.step(&[token], prompt.len() + i + 1)?;
        }
        decode = decode.max(options.generate as f64 / started.elapsed().as_secs_f64());
    }
    let result = serde_json::json!({
        "load_s": load_s, "prefill_tps": prefill, "decode_tps": decode, "peak_rss_bytes": peak_rss_bytes(),
        "isa": format!("{:?}", options.isa), "threads": options.threads.get(),
    });
    println!("{result}");
    Ok(())
}
