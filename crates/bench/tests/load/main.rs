//! Load on a server whose every byte and moment is known, held against that truth.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod broken;
mod honest;
mod phases;
mod sessions;
mod tls;
mod world;
