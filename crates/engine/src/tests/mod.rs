//! The engine on the scripted executor, which checks every batch, step by step or on its thread.

mod adapters;
mod drafting;
mod faults;
mod host_cache;
mod masks;
mod policies;
mod prefix;
mod rig;
mod scheduling;
mod schemas;
mod soak;
mod speculation;
mod streams;
mod structured;
mod text;
mod threaded;
