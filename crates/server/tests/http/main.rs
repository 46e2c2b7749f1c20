//! The server at its HTTP boundary, over the scripted executor.

// Helpers here are test code, too, which clippy cannot see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod world;

mod adapters;
mod chat;
mod completions;
mod dialects;
mod edges;
mod errors;
mod guard;
mod info;
mod logs;
mod moderations;
mod replay;
mod routes;
mod structured;
