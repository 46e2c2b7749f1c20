//! What every batch must look like, as assertions: a batch that breaks these is a bug of the
//! scheduler, whatever the executor makes of it.

use std::collections::HashSet;

use garrison_device::{BLOCK_SIZE, Batch, NULL_BLOCK, StepLimits};

/// Asserts that `batch` is well formed and within its limits.
pub(super) fn check(batch: &Batch, limits: &StepLimits, n_blocks: usize, vocab: usize) {
    let (tokens, seqs) = (batch.tokens.len(), batch.n_seqs());
    assert!(tokens > 0 && tokens <= limits.tokens, "{tokens} tokens, at most {}", limits.tokens);
    assert!(seqs <= limits.seqs, "{seqs} sequences, at most {}", limits.seqs);
    assert!(batch.samples.len() <= limits.rows, "{} rows, at most {}", batch.samples.len(), limits.rows);
    assert!(batch.blocks.len() <= limits.blocks, "{} blocks, at most {}", batch.blocks.len(), limits.blocks);
    assert!(batch.tokens.iter().all(|&t| (t as usize) < vocab), "a token outside of the vocabulary");
    assert_eq!((batch.positions.len(), batch.slots.len()), (tokens, tokens));
    assert_eq!(
        (batch.q_start.len(), batch.block_start.len(), batch.adapters.len()),
        (seqs + 1, seqs + 1, seqs)
    );
    assert_eq!((batch.q_start[0], batch.q_start[seqs] as usize), (0, tokens));
    assert_eq!((batch.block_start[0], batch.block_start[seqs] as usize), (0, batch.blocks.len()));
    let slots: HashSet<u32> = batch.slots.iter().copied().collect();
    assert_eq!(slots.len(), tokens, "two tokens are written to one slot");
    for seq in 0..seqs {
        check_sequence(batch, seq, n_blocks);
    }
    let rows: Vec<u32> = batch.samples.iter().map(|s| s.row).collect();
    assert!(rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|&r| (r as usize) < tokens), "rows {rows:?}");
    for sample in &batch.samples {
        assert_eq!(
            sample.position,
            batch.positions[sample.row as usize] + 1,
            "a draw is for the next position"
        );
    }
}

fn check_sequence(batch: &Batch, seq: usize, n_blocks: usize) {
    let own = batch.q_start[seq] as usize..batch.q_start[seq + 1] as usize;
    let table = &batch.blocks[batch.block_start[seq] as usize..batch.block_start[seq + 1] as usize];
    let kv_len = batch.kv_len[seq] as usize;
    assert!(!own.is_empty() && own.len() <= kv_len, "sequence {seq} runs {own:?} of {kv_len} tokens");
    assert_eq!(table.len(), kv_len.div_ceil(BLOCK_SIZE), "the block table covers the sequence, and no more");
    assert!(table.iter().all(|&b| b != NULL_BLOCK && (b as usize) < n_blocks), "blocks {table:?}");
    for (i, at) in own.enumerate() {
        let position = kv_len - (batch.q_start[seq + 1] - batch.q_start[seq]) as usize + i;
        assert_eq!(batch.positions[at] as usize, position, "sequence {seq} runs its last tokens in order");
        let slot = table[position / BLOCK_SIZE] as usize * BLOCK_SIZE + position % BLOCK_SIZE;
        assert_eq!(batch.slots[at] as usize, slot, "a token's slot follows from its position");
    }
}
