//! What several crates' tests share: the conformance suite that every backend has to pass, checks of whole
//! models on any device, small random models and adapters, a server whose every byte and moment is known, and a Redis to share.
//!
//! Nothing here is part of the product. A check that fails panics with what differed, where and
//! by how much, as a test should.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)] // test code: what fails is the test

mod adapter;
pub mod conformance;
pub mod fake_server;
pub mod models;
mod random;
pub mod redis;
mod tiny;

pub use adapter::{adapter, tiny_adapter};
pub use random::{Random, blocks};
pub use tiny::{Family, TinyModel, tiny_gguf};
