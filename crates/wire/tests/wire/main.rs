//! The formats against examples written by hand, and against each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod answers;
mod properties;
mod requests;
mod streams;
