//! Which block of the KV cache belongs to whom, and what the blocks that nobody holds still hold.
//! Only counts, ids and tokens live here; the keys and values themselves are the executor's.

mod block_pool;
mod block_table;
mod lru;
mod prefix_cache;

pub(crate) use block_pool::BlockPool;
pub(crate) use block_table::BlockTable;
pub(crate) use prefix_cache::Prefix;
