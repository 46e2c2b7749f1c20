//! From a plan to the ragged batch that the executor runs.

use garrison_device::Batch;

use crate::kv::BlockTable;
use crate::scheduler::Chunk;
use crate::sequence::Sequence;

/// Writes the step's chunks over `batch`, with blocks for `lookahead` tokens more where they are there.
pub(crate) fn fill(batch: &mut Batch, running: &[Sequence], chunks: &[Chunk], lookahead: usize) {
    batch.clear();
    for Chunk { seq, piece } in chunks {
        let sequence = &running[*seq];
        let kv_len = sequence.kv_len_after(piece);
        // The cache may have blocks for tokens to come; attention reads only what it needs.
        let table = sequence.table().blocks();
        let table = &table[..table.len().min(BlockTable::blocks_for(kv_len + lookahead))];
        let tokens = sequence.piece_tokens(piece);
        let first = batch.push_sequence(&tokens, kv_len as u32, table, sequence.slot());
        batch.samples.extend(sequence.sample_rows(piece, first));
    }
}
