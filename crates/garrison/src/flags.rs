//! What the user typed, checked for form and nothing else. [`crate::config`] makes sense of it.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use garrison_device::KvDtype;

use crate::bench::flags::BenchCommand;

/// A private LLM endpoint: quantized Llama behind the OpenAI API.
#[derive(Debug, Parser)]
#[command(name = "garrison", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve models over the OpenAI API.
    Serve(ServeFlags),
    /// Chat in the terminal.
    Chat(ChatFlags),
    /// Measure a server's speeds, and compare them.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Find personal data and secrets in a text.
    #[command(subcommand)]
    Guard(GuardCommand),
    /// Check receipts of what left and what stayed.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List, pull, inspect, quantize and synthesize models.
    #[command(subcommand)]
    Models(ModelsCommand),
}

/// Where a model is computed, and with what. Shared by every command that runs one.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct EngineFlags {
    /// Where to compute: auto, cpu, cuda, cuda:N, cuda:N-M.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Threads of the CPU backend [default: what the machine or container allows].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Whether these threads keep to NUMA nodes: auto, on, off [default: auto, which is off in containers].
    #[arg(long, value_name = "WHEN")]
    pub(crate) pin_threads: Option<String>,
    /// Sequences computed at the same time, at most.
    #[arg(long, value_name = "N")]
    pub(crate) max_seqs: Option<NonZeroUsize>,
    /// Tokens computed in one step, at most; longer prompts are taken in chunks.
    #[arg(long, value_name = "N")]
    pub(crate) max_batch_tokens: Option<NonZeroUsize>,
    /// Tokens of prompt and answer together, at most [default: the model's, if memory allows].
    #[arg(long, value_name = "N")]
    pub(crate) context: Option<NonZeroU32>,
    /// Memory for the KV cache in GiB [default: a quarter of what is free, if that much is needed].
    #[arg(long, value_name = "G")]
    pub(crate) kv_cache_gib: Option<f64>,
    /// Quantize while loading, as in `models quantize`: for safetensors folders and 16-bit files.
    #[arg(long, value_name = "TYPE")]
    pub(crate) quantize: Option<String>,
    /// How keys and values are stored: f16, bf16, q8_0, fp8, f32 [default: f16].
    #[arg(long, value_name = "TYPE")]
    pub(crate) kv_dtype: Option<KvDtype>,
    /// Room in GiB for prefixes that are evicted from the KV cache, for each model [default: 0].
    #[arg(long, value_name = "G")]
    pub(crate) host_cache_gib: Option<f64>,
    /// A folder on a disk that has that room [default: it is taken from memory].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) host_cache_dir: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeFlags {
    /// A .gguf file, a safetensors folder, a name from `garrison models list`, or
    /// hf:OWNER/REPO[:FILE]. May be given several times; NAME=M sets the name clients use
    /// [default: the bundled tiny model].
    #[arg(long, value_name = "M")]
    pub(crate) model: Vec<String>,
    /// A garrison.toml; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1].
    #[arg(long)]
    pub(crate) host: Option<IpAddr>,
    /// Port to listen on; 0 picks a free one [default: 8080].
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// A file with one API key a line; without it no key is asked for.
    #[arg(long, value_name = "FILE")]
    pub(crate) api_keys_file: Option<PathBuf>,
    /// A smaller model with the same tokenizer, that guesses what the model will say: answers stay
    /// the same and come sooner. With several models, say `draft` in garrison.toml.
    #[arg(long, value_name = "M")]
    pub(crate) draft_model: Option<String>,
    /// A LoRA adapter, a PEFT folder or a GGUF file or hf:OWNER/REPO[:FOLDER or FILE], that clients ask
    /// for by its name. May be given several times. With several models, say `adapters` in garrison.toml.
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) adapter: Vec<String>,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Args, Debug, Default)]
pub(crate) struct ChatFlags {
    /// The model to load and talk to, as in `serve` [default: the bundled tiny model].
    #[arg(long, value_name = "M", conflicts_with = "url")]
    pub(crate) model: Option<String>,
    /// A running OpenAI-compatible server to talk to instead, e.g. http://127.0.0.1:8080.
    /// Its key is read from GARRISON_API_KEY or OPENAI_API_KEY.
    #[arg(long, value_name = "U")]
    pub(crate) url: Option<String>,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// 0 always picks the most likely token [default: 0.7].
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    /// Scan a file; exits 0 if nothing is found, 1 if something is, 2 if it cannot be scanned.
    Scan {
        /// The file; - is standard input.
        #[arg(value_name = "FILE")]
        file: String,
        /// Findings as JSON.
        #[arg(long)]
        json: bool,
        /// Look for attacks alone, not for personal data.
        #[arg(long, conflicts_with = "redact")]
        attacks: bool,
        /// Write a copy without what was found to standard output, and the findings to standard error.
        #[arg(long)]
        redact: bool,
        /// A garrison.toml, for its [privacy] section.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Make a key that receipts are signed with, in a file that only you can read; prints its public half,
    /// which checks them.
    Key {
        /// The file, which must not be there yet.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Check receipts, offline, with all files that were closed before, back to receipt number 0: exits 0 if they hold, 1 if
    /// anything was altered, dropped, moved or cut off, or a file is missing.
    Verify {
        /// The receipts; their head and the files that were closed before are expected beside them.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Check this file alone, and tell where it begins.
        #[arg(long = "file")]
        alone: bool,
        /// The public key that they must be signed with: 64 hexadecimal digits.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// The models Garrison knows by name, and which of them are on this machine.
    List,
    /// Download a model: a name from `models list` or hf:OWNER/REPO[:FILE].
    Pull {
        /// The model.
        #[arg(value_name = "M")]
        model: String,
    },
    /// Show what a model file holds: shape, quantization, tokenizer, every tensor.
    Inspect {
        /// The model.
        #[arg(value_name = "M")]
        model: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Every tensor too.
        #[arg(long)]
        tensors: bool,
    },
    /// Write a model in another quantization.
    Quantize {
        /// A .gguf file or a safetensors folder.
        #[arg(value_name = "IN")]
        input: String,
        /// The .gguf file to write.
        #[arg(value_name = "OUT")]
        output: PathBuf,
        /// Q4_K_M, Q4_K_S, Q5_K_M, Q5_K_S, Q6_K, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K_S,
        /// Q3_K_M, Q3_K_L, IQ4_NL, IQ4_XS, F16, BF16, F32.
        #[arg(long = "type", value_name = "TYPE")]
        ty: String,
        /// Threads [default: what the machine or container allows].
        #[arg(long, value_name = "N")]
        threads: Option<NonZeroUsize>,
    },
    /// Write a model of a known shape with random weights, to measure speed without a download.
    Synth {
        /// llama-3.2-1b, llama-3.2-3b, llama-3.1-8b, llama-3.3-70b, mistral-7b, qwen2.5-7b, qwen3-8b.
        #[arg(long, value_name = "NAME")]
        preset: String,
        /// As in `models quantize`.
        #[arg(long = "type", value_name = "TYPE", default_value = "Q4_K_M")]
        ty: String,
        /// The .gguf file to write.
        #[arg(value_name = "OUT")]
        output: PathBuf,
        /// Seed of the random weights.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Threads [default: what the machine or container allows].
        #[arg(long, value_name = "N")]
        threads: Option<NonZeroUsize>,
    },
}
