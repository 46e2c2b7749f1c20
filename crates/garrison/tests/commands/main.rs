//! The program, run as a user runs it.
//!
//! One binary, because each that links the engine takes seconds to make, and because long tests of different files run
//! side by side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // test code: what fails is the test

mod support;

mod adapters;
mod bench;
mod books;
mod bundled_model;
mod cli;
mod guard;
mod guard_models;
mod guard_serve;
mod hub;
mod reload;
mod routes;
mod semantic;
