//! Recorded steps, one for each bucket of sizes, where the device can record (CUDA graphs).
//!
//! Only pure decodes are recorded: there every sequence brings one token and wants one row. A batch
//! between two buckets is padded up to the larger one with sequences that read and write the null
//! block. A decode with adapters and one without are different recordings, so that the latter costs what
//! it would if there were no adapters. A device that records nothing has no buckets, and none of this ever runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use garrison_device::{Adapters, Batch, Bucket, NULL_BLOCK, SampleRow};
use garrison_types::Sampling;

/// The recorded steps, smallest bucket first.
pub(super) struct Graphs<G> {
    graphs: BTreeMap<Bucket, G>,
}

impl<G> Graphs<G> {
    /// Records each bucket with `record`, largest first: memory that a large one takes serves the
    /// small ones too.
    pub(super) fn record<E>(
        mut buckets: Vec<Bucket>,
        mut record: impl FnMut(Bucket) -> Result<G, E>,
    ) -> Result<Graphs<G>, E> {
        buckets.sort_unstable();
        buckets.retain(|b| b.tokens == b.seqs);
        let graphs = buckets.into_iter().rev().map(|b| Ok((b, record(b)?))).collect::<Result<_, E>>()?;
        Ok(Graphs { graphs })
    }

    /// Whether nothing is recorded.
    pub(super) fn is_empty(&self) -> bool {
        self.graphs.is_empty()
    }

    /// The smallest bucket that holds `batch`, if it is a pure decode, and its recording.
    pub(super) fn hit(&self, batch: &Batch) -> Option<(Bucket, &G)> {
        let n = batch.n_seqs();
        if batch.tokens.len() != n || batch.samples.len() != n {
            return None;
        }
        let least = Bucket { adapters: Adapters::among(&batch.adapters), tokens: n, seqs: n };
        let (bucket, graph) = self.graphs.range(least..).next()?;
        (bucket.adapters == least.adapters).then_some((*bucket, graph))
    }
}

/// Pads a pure decode to the size of `bucket`; the extra rows' results are not read.
pub(super) fn pad(batch: &mut Batch, bucket: Bucket) {
    while batch.n_seqs() < bucket.seqs {
        let row = batch.push_sequence(&[0], 1, &[NULL_BLOCK], 0);
        batch.samples.push(any_row(row));
    }
}

/// A row of logits that is wanted, and not yet how its token is drawn.
pub(super) fn any_row(row: u32) -> SampleRow {
    SampleRow::plain(row, Arc::new(Sampling::greedy()), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(adapters: Adapters, n: usize) -> Bucket {
        Bucket { adapters, tokens: n, seqs: n }
    }

    fn decodes(n: usize) -> Batch {
        let mut batch = Batch::default();
        pad(&mut batch, bucket(Adapters::Absent, n));
        batch
    }

    #[test]
    fn a_decode_hits_the_smallest_bucket_that_holds_it() {
        let buckets = [1, 8, 2, 4].map(|n| bucket(Adapters::Absent, n)).to_vec();
        let mut order = Vec::new();
        let graphs = Graphs::record(buckets, |b| {
            order.push(b.seqs);
            Ok::<usize, ()>(b.seqs)
        });
        let graphs = graphs.unwrap();
        assert_eq!(order, [8, 4, 2, 1]);
        let hit = |n| graphs.hit(&decodes(n)).map(|(_, graph)| *graph);
        assert_eq!([1, 2, 3, 5, 8, 9].map(hit), [Some(1), Some(2), Some(4), Some(8), Some(8), None]);
        let mut prefill = decodes(1);
        prefill.push_sequence(&[1, 2], 2, &[3], 0);
        assert!(graphs.hit(&prefill).is_none(), "a prompt runs eagerly");
    }

    #[test]
    fn a_decode_with_adapters_has_a_recording_of_its_own() {
        use Adapters::{Absent, Present};
        let buckets = vec![bucket(Absent, 2), bucket(Absent, 8), bucket(Present, 4)];
        let graphs = Graphs::record(buckets, Ok::<Bucket, ()>).unwrap();
        let hit = |n: usize, slot: u32| {
            let mut batch = decodes(n);
            batch.adapters[n - 1] = slot;
            graphs.hit(&batch).map(|(_, graph)| *graph)
        };
        assert_eq!([hit(2, 0), hit(3, 0)], [Some(bucket(Absent, 2)), Some(bucket(Absent, 8))]);
        assert_eq!(
            [hit(2, 5), hit(4, 1), hit(5, 1)],
            [Some(bucket(Present, 4)), Some(bucket(Present, 4)), None]
        );
        assert_eq!(hit(9, 0), None, "without adapters there is no use for a recording with them");
    }

    #[test]
    fn padding_touches_only_the_null_block() {
        let mut batch = Batch::default();
        batch.push_sequence(&[7], 20, &[5, 2], 0);
        batch.samples = decodes(1).samples;
        pad(&mut batch, bucket(Adapters::Absent, 4));
        assert_eq!((batch.n_seqs(), batch.samples.len()), (4, 4));
        assert_eq!(batch.slots, [2 * 16 + 3, 0, 0, 0]);
        assert_eq!(batch.samples.iter().map(|s| s.row).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
