//! Models: their numbers against references, and files that are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // test code: what fails is the test

mod tiny;

mod adapter_files;
mod adapters;
mod forward;
mod refusals;
mod rope;
