//! From a plan to the ragged batch that the executor runs.

use garrison_device::Batch;

use crate::scheduler::Chunk;
use crate::sequence::Sequence;

/// Writes the step's chunks over `batch`.
pub(crate) fn fill(batch: &mut Batch, running: &[Sequence], chunks: &[Chunk]) {
    batch.clear();
    for Chunk { seq, piece } in chunks {
        let sequence = &running[*seq];
        let kv_len = sequence.kv_len_after(piece);
        // The cache may have blocks for tokens to come; attention reads only what it needs.
        let first = batch.push_sequence(
            &sequence.piece_tokens(piece),
            kv_len as u32,
            &sequence.table().blocks()[..crate::kv::BlockTable::blocks_for(kv_len)],
            sequence.slot(),
        );
        batch.samples.extend(sequence.sample_rows(piece, first));
    }
}
