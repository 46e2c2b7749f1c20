//! The backend's kernels and what launches them: on the emulator, under sanitizers, and on a GPU where there is one.
#![allow(clippy::unwrap_used, clippy::panic)] // test code: what fails is the test

mod suite;

mod conformance;
mod emulator;
mod gpu;
mod hurry;
mod model;
mod sanitized;
