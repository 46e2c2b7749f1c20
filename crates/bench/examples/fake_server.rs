//! An OpenAI-compatible server of known timings, to hold load generators against each other.
//!
//!     cargo run -p garrison-bench --example fake_server -- [ADDRESS] [--first MS] [--gap MS]
//!
//! Each answer has as many tokens as were asked for, one an event, the first after `--first` and the others
//! `--gap` apart. A load generator that tells anything else is wrong by that much.

use std::error::Error;
use std::time::Duration;

use garrison_testkit::fake_server::{FakeServer, Script};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut address, mut first, mut gap) = ("127.0.0.1:8099".to_owned(), 200.0, 20.0);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--first" => first = value()?.parse::<f64>()?,
            "--gap" => gap = value()?.parse::<f64>()?,
            _ => address = arg,
        }
    }
    let server = FakeServer::start(&address, move |_, body| {
        let tokens = ["max_tokens", "max_completion_tokens"].iter().find_map(|name| body[name].as_u64());
        let millis = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        Script::healthy(millis(first), millis(gap), tokens.unwrap_or(16).clamp(1, 100_000) as u32)
    })?;
    println!("ready {}", server.url);
    loop {
        std::thread::park();
    }
}
