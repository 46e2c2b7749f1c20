//! The server at its HTTP boundary, over the scripted executor.

mod client;
mod world;

mod chat;
mod completions;
mod edges;
mod errors;
mod info;
mod replay;
