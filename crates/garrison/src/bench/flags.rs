//! What the user typed after `garrison bench`, checked for form.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use garrison_bench::dataset::Lengths;
use garrison_bench::load::{Arrivals, Endpoint};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Put an OpenAI-compatible server under load and report its speeds.
    Serve(Box<ServeFlags>),
    /// Compare two result files: ratios with intervals, and a verdict only where they allow one.
    Compare {
        /// The first result, written with --json.
        #[arg(value_name = "A.json")]
        a: PathBuf,
        /// The second; ratios are its figures over the first's.
        #[arg(value_name = "B.json")]
        b: PathBuf,
    },
    /// Write the report of a result file again; also of what a killed run left (F.partial).
    Report {
        /// The result.
        #[arg(value_name = "F.json")]
        file: PathBuf,
        #[command(flatten)]
        outputs: Outputs,
    },
}

/// Files to write.
#[derive(Args, Debug, Default)]
pub(crate) struct Outputs {
    /// The report as Markdown; it goes to stdout in any case.
    #[arg(long, value_name = "F")]
    pub(crate) markdown: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ServeFlags {
    /// The server, e.g. http://127.0.0.1:8080. Its key is read from GARRISON_API_KEY or OPENAI_API_KEY.
    #[arg(long, value_name = "U")]
    pub(crate) url: String,
    /// A second server under the same load: the two take turns, round after round, and are compared.
    #[arg(long, value_name = "U", conflicts_with = "search")]
    pub(crate) vs: Option<String>,
    /// Rounds of turns [default: 1, with --vs 5].
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<NonZeroUsize>,
    /// The model to ask for, or several by weight, as in base=3,tone=1 [default: the first that the
    /// server lists].
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// chat or completions [default: chat for conversations, completions otherwise].
    #[arg(long, value_name = "E")]
    pub(crate) endpoint: Option<Endpoint>,

    /// Clients that each ask when their last answer is there; several, as in 1,4,16, one after the other.
    #[arg(long, value_name = "C", value_delimiter = ',', conflicts_with = "rate")]
    pub(crate) concurrency: Vec<NonZeroUsize>,
    /// Requests per second, sent whatever becomes of the answers; several one after the other.
    #[arg(long, value_name = "R", value_delimiter = ',')]
    pub(crate) rate: Vec<f64>,
    /// How requests of --rate scatter: constant, poisson, gamma:SHAPE (below 1: bursts).
    #[arg(long, value_name = "A", default_value = "poisson")]
    pub(crate) arrivals: Arrivals,
    /// Find the highest rate whose 99th percentiles keep to --goals, from --rate on.
    #[arg(long, requires = "goals", requires = "rate")]
    pub(crate) search: bool,
    /// What answers should keep to, in ms: ttft=500,itl=50,e2e=10000, or some of these.
    #[arg(long, value_name = "G")]
    pub(crate) goals: Option<String>,

    /// Requests that are measured in each run, or conversations [default: 100].
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub(crate) requests: Option<NonZeroUsize>,
    /// Measure all requests that begin within so many seconds instead.
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<f64>,
    /// Requests before those that count [default: one a client, or 2 s of the rate].
    #[arg(long, value_name = "N")]
    pub(crate) warm_up: Option<usize>,
    /// After the measured requests: hold goes on sending until they have ended; none sends nothing more.
    #[arg(long, value_name = "C", default_value = "hold", value_parser = ["hold", "none"])]
    pub(crate) cool_down: String,
    /// Seconds that an answer may take.
    #[arg(long, value_name = "S", default_value_t = 600.0)]
    pub(crate) timeout: f64,
    /// Seconds to the first token [default: as long as the answer].
    #[arg(long, value_name = "S")]
    pub(crate) timeout_first: Option<f64>,
    /// Requests under way, at most; what finds no room is not sent, and told.
    #[arg(long, value_name = "N", default_value = "10000")]
    pub(crate) max_in_flight: NonZeroUsize,

    /// synthetic, a ShareGPT file (.json), or JSON lines with `messages` or `prompt` (.jsonl).
    #[arg(long, value_name = "D", default_value = "synthetic")]
    pub(crate) dataset: String,
    /// Tokens of synthetic prompts: 512, 64-512, lognormal:MEDIAN:SIGMA.
    #[arg(long, value_name = "L", default_value = "512")]
    pub(crate) prompt_tokens: Lengths,
    /// Tokens of answers, in the same forms.
    #[arg(long, value_name = "L", default_value = "128")]
    pub(crate) gen_tokens: Lengths,
    /// Shared beginnings of synthetic prompts; each prompt begins with one of so many.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) families: usize,
    /// Tokens of each shared beginning.
    #[arg(long, value_name = "N", default_value = "256")]
    pub(crate) prefix_tokens: NonZeroU32,
    /// Turns of a synthetic conversation.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) turns: NonZeroUsize,
    /// A JSON schema that answers have to follow.
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
    /// Further fields of every request, as in temperature=0; may be given several times.
    #[arg(long, value_name = "KEY=JSON")]
    pub(crate) field: Vec<String>,
    /// The model's tokenizer, as `serve --model` takes models: exact prompts, and tokens counted here.
    #[arg(long, value_name = "M")]
    pub(crate) tokenizer: Option<String>,
    /// Of arrivals and prompts.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// What the server costs an hour, in USD, for the cost of a million tokens.
    #[arg(long, value_name = "USD")]
    pub(crate) price_per_hour: Option<f64>,
    /// The result with every request, for `bench compare` and `bench report`.
    #[arg(long, value_name = "F")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
}
