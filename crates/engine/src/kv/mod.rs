//! Which block of the KV cache belongs to whom. Only counts and ids live here; the keys and
//! values themselves are the executor's.

mod block_pool;
mod block_table;

pub(crate) use block_pool::BlockPool;
pub(crate) use block_table::BlockTable;
