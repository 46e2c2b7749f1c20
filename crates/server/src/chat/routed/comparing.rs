//! An answer of a model here that nobody is shown, to be compared with the next tier's.

use garrison_gateway::Comparison;
use garrison_wire::Request;

use super::super::Running;
use super::super::neutral::Voice;
use super::super::turn::Turn;
use crate::sse::Dialect;

/// Tells the comparison what the model says to its end, unless it breaks off or nobody wants to know any more.
pub(super) async fn tell(running: Running, comparison: Comparison) {
    let Running { mut generation, request, .. } = running;
    let asked = Request { stop: request.params.stop_strings().to_vec(), ..Request::new("", Vec::new()) };
    let mut spoken = Voice::new(Dialect::Chat, asked).spoken(Turn::new(&request.tools));
    let mut said = Vec::new();
    while !comparison.is_abandoned() {
        match generation.next().await {
            Some(Ok((_, piece))) => said.extend(spoken.deltas(piece, None)),
            // An answer that broke off is none.
            Some(Err(_)) => return,
            None => return comparison.here(said),
        }
    }
}
