//! What `scripts/gpu-check` runs: one stage on a GPU, or on what stands in for one.
//!
//!     gpu_check limits|conformance|model|decode|graphs|prefill|engine|extras|serve|peer --on cuda:0|emulator --out FOLDER
//!               [--size small|full] [--from N] [--seconds N] [--preset NAME --models FOLDER] [--garrison FILE]
//!               [--llama FOLDER]
//!     gpu_check report --out FOLDER
//!
//! Machines with a GPU are there for minutes. So every finding is a line of `FOLDER/STAGE.jsonl` as soon as it is made,
//! each is looked for on its own, and a stage whose device is lost says at which of them, so that it can be taken up
//! behind it. Exits 0 if all is well, 1 if something is wrong, 3 if the device is lost.
#![forbid(unsafe_code)]

mod checks;
mod journal;
mod peer;
mod report;
mod serve;
mod speed;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_device_cuda::{Build, Cuda, CudaDevice, Driver, Emulator, Hurry, NoDense, Order, Profiled};

use journal::Journal;

/// More than any stage takes.
const HOUR: Duration = Duration::from_secs(3600);

type Fallible<T> = Result<T, Box<dyn Error>>;

/// How a stage ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Well,
    Wrong,
    Lost,
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// What an emulator can do in seconds.
    Small,
    Full,
}

struct Options {
    stage: String,
    on: String,
    out: PathBuf,
    size: Size,
    /// The first check that is run.
    from: usize,
    /// When a stage of many checks ends by itself, with what it has.
    until: Instant,
    /// Whose shape the model has.
    preset: String,
    /// Where models are written.
    models: PathBuf,
    /// The program that serves.
    garrison: PathBuf,
    /// Where llama.cpp's programs are, if they are anywhere.
    llama: Option<PathBuf>,
}

fn options() -> Fallible<Options> {
    let mut args = std::env::args().skip(1);
    let stage = args
        .next()
        .ok_or("which stage? limits, conformance, model, decode, graphs, prefill, engine, extras, serve, peer or report")?;
    let beside = std::env::current_exe()?.with_file_name("garrison");
    let mut options = Options {
        stage,
        on: "cuda:0".into(),
        out: ".".into(),
        size: Size::Full,
        from: 0,
        until: Instant::now() + HOUR,
        preset: "llama-3.1-8b".into(),
        models: std::env::temp_dir(),
        garrison: beside,
        llama: None,
    };
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} wants a value"))?;
        match flag.as_str() {
            "--on" => options.on = value,
            "--out" => options.out = value.into(),
            "--from" => options.from = value.parse()?,
            "--seconds" => options.until = Instant::now() + Duration::from_secs(value.parse().unwrap_or(0)),
            "--preset" => options.preset = value,
            "--models" => options.models = value.into(),
            "--garrison" => options.garrison = value.into(),
            "--llama" => options.llama = Some(value.into()),
            "--size" if value == "small" => options.size = Size::Small,
            "--size" if value == "full" => options.size = Size::Full,
            _ => return Err(format!("{flag} {value} is not known").into()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Wrong) => ExitCode::FAILURE,
        Ok(Outcome::Lost) => ExitCode::from(3),
        Err(error) => {
            eprintln!("gpu_check: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Fallible<Outcome> {
    // These need no device here: what they run opens it.
    match options.stage.as_str() {
        "report" => return report::write(&options.out),
        "model" => return speed::write_model(options, &mut Journal::open(&options.out, "model")?),
        "serve" => return serve::serve(options, &mut Journal::open(&options.out, "serve")?),
        "peer" => return peer::peer(options, &mut Journal::open(&options.out, "peer")?),
        _ => {}
    }
    match options.on.strip_prefix("cuda:") {
        Some(ordinal) => {
            let ordinal = ordinal.parse()?;
            stage(&|| Ok(Cuda::open(ordinal)?), options)
        }
        None if options.on == "emulator" => {
            stage(&|| Ok(Emulator::new(Build::Fast, Order::Forward)?), options)
        }
        None => Err(format!("--on {} is neither cuda:N nor emulator", options.on).into()),
    }
}

/// A device that is asked for when it is needed: prompts in a hurry on it, or why not.
type Hurried<'a, D> = &'a dyn Fn() -> Fallible<Result<Gpu<D>, NoDense>>;
type Gpu<D> = Arc<CudaDevice<Profiled<D>>>;

fn stage<D: Driver>(open: &dyn Fn() -> Fallible<D>, options: &Options) -> Fallible<Outcome> {
    let device = Arc::new(CudaDevice::new(Profiled::new(open()?))?);
    let hurried: Hurried<'_, D> = &|| {
        let mut device = CudaDevice::new(Profiled::new(open()?))?;
        // What is checked is small, and what is rehearsed.
        let all = options.size == Size::Small || matches!(&*options.stage, "conformance" | "graphs");
        let when = if all { Hurry::From(8) } else { Hurry::WherePaid };
        Ok(device.hurry(when).map(|_| Arc::new(device)))
    };
    let mut journal = Journal::open(&options.out, &options.stage)?;
    match options.stage.as_str() {
        "conformance" => checks::conformance(&device, hurried, options, &mut journal),
        "graphs" => checks::graphs(&device, hurried, options, &mut journal),
        "engine" => checks::engine(&device, options, &mut journal),
        "limits" => speed::limits(&device, options, &mut journal),
        "decode" => speed::decode(device, hurried, options, &mut journal),
        "prefill" => speed::prefill(device, hurried, options, &mut journal),
        "extras" => speed::extras(device, options, &mut journal),
        other => Err(format!("{other} is no stage").into()),
    }
}
