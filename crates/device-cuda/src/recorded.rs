//! Recorded steps of several GPUs.
//!
//! Key decision: a sum over ranks ends a recording and begins the next, so a step is pieces on each rank with sums in
//! between. Whoever sums need not be able to be recorded, and what a replay asks of the host is two launches a layer and
//! rank where a step that is not recorded has a dozen.

use std::sync::{Arc, Mutex};

use garrison_device::{Adapters, Bucket, Capture, DeviceError};

use crate::collective::Collective;
use crate::device::LARGEST_BUCKET;
use crate::driver::Driver;
use crate::gpu::lock;
use crate::sharded::Sharded;

/// A step: the pieces of each rank, each but the last with the sum that comes after it.
pub struct ShardedGraph<D: Driver> {
    pieces: Vec<Vec<D::Graph>>,
    sums: Vec<Sum<D>>,
}

/// What is summed, on each rank, and how many values of it.
pub(crate) struct Sum<D: Driver> {
    pub(crate) parts: Vec<Arc<D::Memory>>,
    pub(crate) len: usize,
}

/// The step that is being recorded, if one is.
pub(crate) struct Recording<D: Driver>(Mutex<Option<ShardedGraph<D>>>);

impl<D: Driver> Default for Recording<D> {
    fn default() -> Self {
        Recording(Mutex::new(None))
    }
}

impl<D: Driver> Recording<D> {
    pub(crate) fn is_recording(&self) -> bool {
        lock(&self.0).is_some()
    }
}

impl<D: Driver, C: Collective<D>> Sharded<D, C> {
    fn begin_piece(&self) -> Result<(), DeviceError> {
        self.ranks.iter().try_for_each(|rank| rank.gpu.driver.begin_recording())
    }

    /// Ends it on every rank, whatever comes of it on the others.
    fn end_piece(&self) -> Result<Vec<D::Graph>, DeviceError> {
        let ended: Vec<_> = self.ranks.iter().map(|rank| rank.gpu.driver.end_recording()).collect();
        ended.into_iter().collect()
    }

    /// Records a sum: what comes after is another piece.
    pub(crate) fn cut_recording(&self, sum: Sum<D>) -> Result<(), DeviceError> {
        let piece = self.end_piece();
        // Begun in any case, since whoever records ends it.
        let begun = self.begin_piece();
        if let Some(graph) = &mut *lock(&self.steps.0) {
            graph.pieces.push(piece?);
            graph.sums.push(sum);
        }
        begun
    }
}

impl<D: Driver, C: Collective<D>> Capture for Sharded<D, C> {
    type Graph = ShardedGraph<D>;

    /// Few, since a step of many layers is hundreds of pieces.
    fn capture_buckets(&self, max_seqs: usize) -> Vec<Bucket> {
        let sizes = (0..).map(|i| 1 << i).take_while(|&n| n < 2 * max_seqs && n <= LARGEST_BUCKET);
        sizes.map(|n| Bucket { adapters: Adapters::Absent, tokens: n, seqs: n }).collect()
    }

    fn capture(
        &self,
        forward: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<ShardedGraph<D>, DeviceError> {
        *lock(&self.steps.0) = Some(ShardedGraph { pieces: Vec::new(), sums: Vec::new() });
        let enqueued = self.begin_piece().and_then(|()| forward());
        let last = self.end_piece();
        let recorded = lock(&self.steps.0).take();
        enqueued?;
        self.check_ranks()?;
        let Some(mut graph) = recorded else { unreachable!("it was begun here") };
        graph.pieces.push(last?);
        Ok(graph)
    }

    fn replay(&self, graph: &ShardedGraph<D>) -> Result<(), DeviceError> {
        self.check_ranks()?;
        for (i, piece) in graph.pieces.iter().enumerate() {
            for (rank, graph) in self.ranks.iter().zip(piece) {
                // SAFETY: whoever recorded the step keeps its buffers, model and cache for as long as the graph, and what
                // the devices themselves lent it is never freed.
                unsafe { rank.gpu.driver.replay(graph) }?;
            }
            graph.sums.get(i).map_or(Ok(()), |sum| self.all_reduce(sum))?;
        }
        Ok(())
    }
}
