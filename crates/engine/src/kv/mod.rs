//! Which block of the KV cache belongs to whom, and what the blocks that nobody holds still hold.
//! Only counts, ids and tokens live here; the keys and values themselves are the executor's, on the
//! device and in the host cache.

mod block_pool;
mod block_table;
mod host_slots;
mod lru;
mod prefix_cache;
#[cfg(test)]
mod tests;

pub(crate) use block_pool::{BlockPool, Save};
pub(crate) use block_table::BlockTable;
pub(crate) use prefix_cache::{Home, Prefix};
