//! The crates together: whole models on each backend, engines, and what is said of all crates.
//!
//! One binary, because each that links the engine takes seconds to make, and because long tests of different files run
//! side by side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // test code: what fails is the test

mod arrows;
mod cuda_emulated;
mod cuda_mishaps;
mod cuda_steps;
mod draft;
mod engine_invariance;
mod golden;
mod gpu_check;
mod tokenizer_golden;
