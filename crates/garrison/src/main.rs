//! The `garrison` binary: flags and file become one [`config::Config`], and that becomes a running
//! server, a chat, or a file. Only [`backend`] picks what computes.
#![forbid(unsafe_code)]

mod adapters;
mod backend;
mod bench;
mod cache;
mod chat;
mod config;
mod error;
mod flags;
mod guard;
mod hub;
mod limits;
mod load;
mod manifests;
mod memory;
mod models;
mod output;
mod reload;
mod restart;
mod routes;
mod serve;
mod source;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing_subscriber::EnvFilter;

use crate::flags::{Command, Flags};

fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(e) => return refuse(&e),
    };
    let result = match &flags.command {
        Command::Serve(flags) => {
            log_to_stderr("info");
            serve::run(flags)
        }
        Command::Guard(command) => {
            log_to_stderr("warn");
            match guard::run(command) {
                Ok(code) => return code,
                Err(fault) => Err(fault),
            }
        }
        Command::Audit(command) => {
            log_to_stderr("warn");
            guard::audit(command)
        }
        Command::Chat(flags) => {
            log_to_stderr("warn");
            chat::run(flags)
        }
        Command::Bench(command) => {
            log_to_stderr("warn");
            bench::run(command)
        }
        Command::Models(command) => {
            log_to_stderr("warn");
            models::run(command)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("garrison: {}", output::printable(&fault.to_string()));
            fault.exit_code()
        }
    }
}

/// Help and version go to stdout; a mistake becomes one sentence that names it, and exit code 2.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody is left to tell if this fails.
        let _ = output::show(&error.render().to_string());
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{}", error.render());
        return ExitCode::from(2);
    }
    let rendered = error.render().to_string();
    let sentence: Vec<&str> = rendered.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    eprintln!("garrison: {}", sentence.join(" ").trim_start_matches("error: "));
    ExitCode::from(2)
}

/// Logs go to stderr, as RUST_LOG says.
fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
