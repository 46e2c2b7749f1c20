//! The CPU backend.

mod isa;
mod pool;

pub use isa::Isa;
pub use pool::Pool;
