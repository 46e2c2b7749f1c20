//! Texts to tokens and back, and chats to texts.
#![allow(clippy::unwrap_used)] // test code: what fails is the test

mod common;

mod markup;
mod templates;
mod tokens;
