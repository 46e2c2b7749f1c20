//! An OpenAI-compatible server of known timings, to hold load generators against each other.
//!
//!     cargo run -p garrison-bench --example fake_server -- [ADDRESS] [--first MS] [--gap MS] [--vary SHARE]
//!
//! Each answer has as many tokens as were asked for, one an event, the first after `--first` and the others
//! `--gap` apart. With `--vary 0.5`, both are longer or shorter by up to a half, in a fixed order of requests and
//! evenly spread. A load generator that tells anything else is wrong by that much.

use std::error::Error;
use std::time::Duration;

use garrison_testkit::fake_server::{FakeServer, Script};

/// Multiples of irrational numbers are spread evenly, however many there are (Weyl 1916). Two that have nothing to do
/// with each other: who is late to begin is not who is slow.
const GOLDEN: f64 = 0.618_033_988_749_895;
const SILVER: f64 = std::f64::consts::SQRT_2 - 1.0;

fn main() -> Result<(), Box<dyn Error>> {
    let mut address = "127.0.0.1:8099".to_owned();
    let (mut first, mut gap, mut vary) = (200.0, 20.0, 0.0);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--first" => first = value()?.parse::<f64>()?,
            "--gap" => gap = value()?.parse::<f64>()?,
            "--vary" => vary = value()?.parse::<f64>()?.clamp(0.0, 1.0),
            _ => address = arg,
        }
    }
    let server = FakeServer::start(&address, move |i, body| {
        let tokens = ["max_tokens", "max_completion_tokens"].iter().find_map(|name| body[name].as_u64());
        let spread = |step: f64| 1.0 + vary * (2.0 * ((i + 1) as f64 * step).fract() - 1.0);
        let millis = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        let (first, gap) = (first * spread(GOLDEN), gap * spread(SILVER));
        Script::healthy(millis(first), millis(gap), tokens.unwrap_or(16).clamp(1, 100_000) as u32)
    })?;
    println!("ready {}", server.url);
    loop {
        std::thread::park();
    }
}
