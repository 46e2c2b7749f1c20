//! Compiles `kernels/*.cu`: for GPUs if nvcc is there, and for the host where the emulator is wanted.
//!
//! Key decision: nothing here fails for want of nvcc. Without it the backend is built without kernels and
//! says so when it is asked for, so that one command builds Garrison everywhere.
#![allow(clippy::expect_used, clippy::panic)] // a build that cannot go on ends

mod emulator;
mod fatbins;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;
use std::{env, fs, thread};

fn main() {
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let kernels = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../kernels");
    println!("cargo::rerun-if-changed={}", kernels.display());
    println!("cargo::rerun-if-changed=build");
    fatbins::build(&kernels, &out);
    if env::var_os("CARGO_FEATURE_EMULATOR").is_some() {
        emulator::build(&kernels, &out);
    }
}

/// `kernels/*.cu`, sorted.
fn sources(kernels: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(kernels).expect("the kernels are part of the repository");
    let mut sources: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "cu"))
        .collect();
    sources.sort();
    sources
}

/// Runs commands, as many at a time as cargo allows; what the first that failed said.
fn run_all(commands: Vec<Command>) -> Result<(), String> {
    let jobs = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1usize).max(1);
    let commands = Mutex::new(commands.into_iter());
    let next = || commands.lock().expect("nobody panics while holding it").next();
    thread::scope(|scope| {
        let one_after_the_other = || std::iter::from_fn(next).try_for_each(run);
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(one_after_the_other)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a job does not panic"))
    })
}

fn run(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// When a file was last written; long ago if there is none.
fn modified(path: &Path) -> SystemTime {
    path.metadata().and_then(|of| of.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When the newest header of a folder was written.
fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).expect("the kernels are part of the repository");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let headers = paths.filter(|path| path.extension().is_some_and(|e| e == "cuh" || e == "h"));
    headers.map(|path| modified(&path)).max().unwrap_or(SystemTime::UNIX_EPOCH)
}
